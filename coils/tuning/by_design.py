"""Tune and match all ports of an array whose drawing is known, in as few sweeps as there are surprises.

One wide sweep, and the model of the array (`coils.tuning.estimate`) knows what every trimmer, loop and trap
is; all trimmers jump to where the model has every port matched (`coils.tuning.targets`); a narrow sweep
there teaches it the trimmers' curves; another jump, usually the last. Nothing here touches an instrument:
`begin` and `advance` take what was measured and say what to do.

Ports that cannot be matched within the travel get advice (`coils.tuning.advice`), trimmers that do not follow
their motors are named (`coils.tuning.suspects`). When the model is at a loss, it looks at the motors
(`coils.tuning.motors`); when that explains nothing either, it says so and stops where the array was best:
`coils.tuning.local` goes on from there without a model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.tuning.advice import find_reworks
from coils.tuning.design_state import DesignTuning, HomeAndReturn, Purpose, amplitude
from coils.tuning.endings import finished
from coils.tuning.estimate import NOISE, Estimate, Observation, first_estimate, refine
from coils.tuning.local_state import ArraySweep, Move, TuningGoal
from coils.tuning.motors import ELSEWHERE, displacements, followed, stand_elsewhere, stood_still
from coils.tuning.suspects import (
    explain_stillness,
    kept_still,
    named_suspects,
    standing_still,
    strange_channels,
)
from coils.tuning.targets import least_worst, own_reflections, solve_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from coils.circuit.elements import Complex, Real
    from coils.tuning.advice import Rework
    from coils.tuning.belief import Belief, Prior
    from coils.tuning.design import ArrayDesign
    from coils.tuning.design_state import Action

#: Where a trimmer truly is, about its count: in steps before its play was taken up, and after.
_UNKNOWN_PLAY: Final = 12.0
_APPROACHED: Final = 2.0
#: Part of a move by which it may fall short.
_SHORT: Final = 0.003
#: Believed misfits of S lie between these: noise, and what an imperfect calibration adds.
_LEAST_NOISE: Final = 1e-3
_MOST_NOISE: Final = 2e-2
#: With this misfit believed, a fit comes through where a sharper one is caught.
_CAUTIOUS: Final = 0.05
#: Every other point of the first sweep is enough once its dips have been found.
_THINNED: Final = 2
#: A move that would change no reflection by more than this is not worth the gears' wear.
_WORTHWHILE: Final = 0.012
#: Sweeps without progress after which the model is at a loss.
_PATIENCE: Final = 3
_PROGRESS: Final = 0.8
#: Largest difference between a promised and a measured reflection that still counts as kept.
_AS_EXPECTED: Final = 0.1


def begin(
    prior: Prior,
    travel: Mapping[str, tuple[int, int]],
    positions: Mapping[str, int],
    goal: TuningGoal | None = None,
    *,
    check_motors: bool = False,
) -> DesignTuning:
    """Return the first state; a sweep of `DesignTuning.span` comes next, nothing has to move before it.

    Parameters
    ----------
    prior
        `Prior.from_design` of the drawing, or `Prior.kept` of the belief that an earlier tuning ended with.
    travel
        Limits of every axis in steps.
    positions
        Of every axis now.
    goal
        When to stop.
    check_motors
        Probe all motors before the end, home all axes and return, and name those that stand still or lose
        steps; without it motors are probed only when the model is at a loss.

    Raises
    ------
    ValueError
        An axis is missing, or its travel is too short.
    """
    aims = goal or TuningGoal()
    axes = prior.belief.design.axes
    missing = [name for row in axes for name in row if name not in travel or name not in positions]
    if missing:
        raise ValueError(f"the design names axes that do not exist: {', '.join(missing)}")
    limits = np.array([[travel[name] for name in row] for row in axes], dtype=np.float64)
    if np.any(limits[..., 1] - limits[..., 0] < 4 * aims.play):
        raise ValueError(f"the travel of an axis is shorter than {4 * aims.play} steps")
    now = np.array([[positions[name] for name in row] for row in axes], dtype=np.float64)
    nothing = np.ones(prior.belief.design.circuit.port_count, dtype=np.complex128)
    return DesignTuning(
        prior=prior,
        goal=aims,
        lowest=limits[..., 0] + aims.play,
        highest=limits[..., 1],
        middle=limits.mean(axis=2),
        half=0.5 * (limits[..., 1] - limits[..., 0]),
        purpose=Purpose.FIRST,
        check_motors=check_motors,
        checked=False,
        sweeps=0,
        stalled=0,
        observations=(),
        estimate=None,
        positions=now,
        approached=np.zeros(now.shape, dtype=np.bool_),
        reflections=nothing,
        best_positions=now,
        best_reflections=nothing,
        best_power=float(np.inf),
        accused=np.zeros(now.shape, dtype=np.bool_),
        stuck=np.zeros(now.shape, dtype=np.bool_),
        suspects=(),
        expected=None,
    )


def advance(
    state: DesignTuning, sweep: ArraySweep, positions: Mapping[str, int]
) -> tuple[DesignTuning, Action]:
    """Return the next state and what to do.

    Parameters
    ----------
    sweep
        Taken after the last action, ports in the order of the design's.
    positions
        Of every axis, as read back.

    Raises
    ------
    ValueError
        The state has stopped, or the sweep does not hold the ports' frequencies.
    """
    if state.purpose is Purpose.STOPPED:
        raise ValueError("tuning is over; begin again")
    purpose, now = state.purpose, state.positions_from(positions)
    if purpose is Purpose.PROBE:
        return _probed(state, sweep, now)
    state = _homed(state, sweep, now) if purpose is Purpose.MOTORS else _taken_in(state, sweep, now)
    if purpose is Purpose.REFERENCE:
        return _probing(state)
    if state.worst(state.reflections) < amplitude(state.goal.enough_db):
        return _ended(state, ())
    return _next(state)


def _taken_in(state: DesignTuning, sweep: ArraySweep, now: Real) -> DesignTuning:
    """Learn from a sweep."""
    moved = now != state.positions
    steps = (now - state.positions) / state.half
    # before a look at the motors all come from below, whether their counts change or not
    approached = state.approached | moved | (state.purpose is Purpose.REFERENCE)
    slack = np.where(approached & state.approached, _APPROACHED, _UNKNOWN_PLAY) / state.half
    slack += np.where(state.accused, 1.0, _SHORT) * np.abs(steps)
    seen = Observation(sweep.frequencies, sweep.s, (now - state.middle) / state.half, slack)
    estimate, observations, odd = _estimated(state, seen, steps)
    # one sweep may deceive: a trimmer is stuck when it has stood still twice
    again = kept_still(estimate, steps) & state.accused if state.observations else odd
    sent = now - state.positions
    told = named_suspects(state.design.axes, again, "stuck", "did not move when sent {steps}", sent)
    state = replace(
        state,
        approached=approached,
        stuck=state.stuck | again,
        accused=(state.accused & ~moved) | again | odd,
        suspects=state.suspects + told,
    )
    return _arrived(state, estimate, observations, now, _own(state.design, sweep))


def _arrived(
    state: DesignTuning,
    estimate: Estimate,
    observations: tuple[Observation, ...],
    now: Real,
    reflections: Complex,
) -> DesignTuning:
    """Note where the array stands, and whether that is the best so far."""
    # what was best before homing cannot be found again by counts
    first = state.estimate is None or state.purpose is Purpose.MOTORS
    better = first or state.ranked(reflections) < state.ranked(state.best_reflections)
    progress = first or _power(reflections) < _PROGRESS * state.best_power
    progress |= state.worst(reflections) < _PROGRESS * state.worst(state.best_reflections)
    return replace(
        state,
        purpose=Purpose.JUMP,
        sweeps=state.sweeps + 1,
        stalled=0 if progress else state.stalled + 1,
        observations=observations,
        estimate=estimate,
        positions=now,
        reflections=reflections,
        best_positions=now if better else state.best_positions,
        best_reflections=reflections if better else state.best_reflections,
        best_power=min(_power(reflections), state.best_power),
    )


def _probing(state: DesignTuning) -> tuple[DesignTuning, Action]:
    """Send every axis that may follow a little towards the middle of its travel."""
    steps = np.where(state.positions < state.middle, 1.0, -1.0) * state.goal.probe
    targets = np.clip(state.positions + steps, state.lowest, state.highest)
    chosen = ~state.stuck
    approach = state.named(targets - state.goal.play, chosen & (targets < state.positions))
    return replace(state, purpose=Purpose.PROBE), Move(approach, state.named(targets, chosen))


def _probed(state: DesignTuning, sweep: ArraySweep, now: Real) -> tuple[DesignTuning, Action]:
    """Name whoever did not follow a probing move; then home all axes if asked for, or go back and go on."""
    sent = (now - state.positions) / state.half
    slack = _APPROACHED / state.half + np.abs(sent)
    seen = Observation(sweep.frequencies, sweep.s, (now - state.middle) / state.half, slack)
    found = displacements(state.known, state.observations[-1], seen)
    still = stood_still(found, sent)
    text = "did not move when probed by {steps}"
    told = named_suspects(state.design.axes, still, "stuck", text, now - state.positions)
    state = replace(
        state,
        sweeps=state.sweeps + 1,
        stalled=0,
        stuck=state.stuck | still,
        accused=(state.accused & ~followed(found, sent)) | still,
        suspects=state.suspects + told,
    )
    if state.check_motors:
        home = HomeAndReturn(state.named(state.positions, np.ones_like(state.stuck)))
        return replace(state, purpose=Purpose.MOTORS), home
    if not told:
        return finished(replace(state, positions=now, reflections=_own(state.design, sweep)), ())
    approach = state.named(state.positions - state.goal.play, now > state.positions)
    return replace(state, purpose=Purpose.JUMP), Move(approach, state.named(state.positions, ~state.stuck))


def _homed(state: DesignTuning, sweep: ArraySweep, now: Real) -> DesignTuning:
    """Name whoever came back from home to another place, and learn where that is."""
    before = state.known
    places, nothing = (now - state.middle) / state.half, np.zeros_like(now)
    seen = Observation(sweep.frequencies, sweep.s, places, nothing + ELSEWHERE)
    found = displacements(before, state.observations[-1], seen)
    slipped = stand_elsewhere(found, state.goal.homing / state.half)
    text = "stands {steps} elsewhere after homing and back"
    told = named_suspects(state.design.axes, slipped, "slipping", text, found.moved * state.half)
    seen = replace(seen, slack=np.where(slipped, ELSEWHERE, _APPROACHED / state.half))
    observations = (*state.observations, seen)
    shifts = before.shifts[-1:] + np.where(slipped, found.moved, 0.0)
    start = replace(before, shifts=np.concatenate([before.shifts, shifts]))
    estimate = refine(start, observations, _believed(before))
    state = replace(state, suspects=state.suspects + told)
    return _arrived(state, estimate, observations, now, _own(state.design, sweep))


def _believed(estimate: Estimate) -> float:
    """Return the misfit of S to believe in, from what the last fit left."""
    return float(np.clip(1.2 * np.sqrt(np.mean(estimate.misfit**2)), _LEAST_NOISE, _MOST_NOISE))


def _estimated(
    state: DesignTuning, seen: Observation, moved: Real
) -> tuple[Estimate, tuple[Observation, ...], NDArray[np.bool_]]:
    """Return the estimate with a new observation, the observations to keep, and trimmers that are odd."""
    nobody = np.zeros(moved.shape, dtype=np.bool_)
    before = state.estimate
    if before is None:
        if state.span is None:
            return first_estimate(state.prior, seen), (_thinned(seen),), nobody
        start = Estimate.before(state.prior, seen.places)
        return refine(refine(start, (seen,), 5.0 * NOISE), (seen,)), (seen,), nobody
    noise = _believed(before)
    observations = (*state.observations, seen)
    estimate = refine(before, observations, noise)
    if np.any(state.accused & (moved != 0.0)):
        still = refine(standing_still(before, moved, state.accused), observations, noise)
        estimate = min(estimate, still, key=lambda one: float(np.sum(one.cost)))
    if np.any(strange_channels(estimate)):
        retried = refine(refine(before, observations, _CAUTIOUS), observations, noise)
        estimate = min(estimate, retried, key=lambda one: float(np.sum(one.cost)))
    return explain_stillness(estimate, before, observations, moved, noise)


def _thinned(seen: Observation) -> Observation:
    return replace(seen, frequencies=seen.frequencies[::_THINNED], s=seen.s[::_THINNED])


def _own(design: ArrayDesign, sweep: ArraySweep) -> Complex:
    """Return each port's reflection at its own frequency, shape (port,)."""
    wanted = design.port_frequencies()
    own = np.unique(wanted)
    s = sweep.at(own)
    ports = np.arange(wanted.size)
    return np.asarray(s[np.searchsorted(own, wanted), ports, ports], dtype=np.complex128)


def _next(state: DesignTuning) -> tuple[DesignTuning, Action]:
    """Jump to where the model has all ports matched, or stop where that is no better."""
    estimate = state.known
    if state.sweeps >= state.goal.sweeps:
        return finished(state, ())
    shifts = estimate.shifts[-1]
    places = (state.positions - state.middle) / state.half
    now = estimate.capacitances(places)
    offset = state.reflections - own_reflections(estimate.belief, now)
    lowest, highest = _reach(state, estimate.belief, now)
    wanted = state.wanted
    target = solve_target(estimate.belief, now, offset, lowest, highest, wanted)
    enough = amplitude(state.goal.enough_db)
    if target.worst(wanted) > enough:
        target = least_worst(estimate.belief, target, offset, lowest, highest, wanted, enough)
    reworks: tuple[Rework, ...] = ()
    if target.worst(wanted) > amplitude(state.goal.limit_db):
        # all cannot be reached: then rather the nearest for each than the same miss for all
        target = solve_target(estimate.belief, target.capacitances, offset, lowest, highest, wanted)
        start = target.capacitances
        reworks = find_reworks(estimate.belief, start, offset, lowest, highest, wanted, state.stuck)
    # a travel that ends too early is believed once the array has been seen where the model put it
    if reworks and _landed(state) and not _accused_of(state, reworks):
        return _ended(state, reworks)
    worst = state.worst(state.reflections)
    satisfied = worst < amplitude(state.goal.limit_db) and target.worst(wanted) > _PROGRESS * worst
    if satisfied or state.stalled >= _PATIENCE:
        return _ended(state, ())
    places = _places(estimate.belief, target.capacitances) - shifts
    targets = np.clip(np.rint(state.middle + state.half * places), state.lowest, state.highest)
    steps = targets - state.positions
    slopes = np.max(np.abs(target.slopes), axis=0)
    effect = slopes * np.abs(np.log(target.capacitances / now))
    chosen = (steps != 0.0) & ~state.stuck & (effect > _WORTHWHILE)
    if not np.any(chosen):
        return _ended(state, reworks)
    down = chosen & (targets < state.positions)
    up = chosen & ~state.approached
    approach = state.named(targets - state.goal.play, down | up)
    moving = replace(state, expected=target.reflections)
    return moving, Move(approach, state.named(targets, chosen))


def _landed(state: DesignTuning) -> bool:
    """Answer whether the last jump ended where the model said."""
    if state.expected is None:
        return False
    return state.worst(state.reflections - state.expected) < _AS_EXPECTED


def _accused_of(state: DesignTuning, reworks: tuple[Rework, ...]) -> bool:
    """Answer whether a rework would be of a trimmer that may be stuck instead."""
    parts = {rework.part for rework in reworks}
    return any(state.design.axes[channel][column] in parts for channel, column in np.argwhere(state.accused))


def _reach(state: DesignTuning, belief: Belief, now: Real) -> tuple[Real, Real]:
    """Return the capacitances between which each trimmer can be sent, F; stuck ones stay."""
    shifts = state.known.shifts[-1]
    ends = [
        belief.capacitances((steps - state.middle) / state.half + shifts)
        for steps in (state.lowest, state.highest)
    ]
    lowest, highest = np.minimum(*ends), np.maximum(*ends)
    return np.where(state.stuck, now, lowest), np.where(state.stuck, now * (1.0 + 1e-9), highest)


def _places(belief: Belief, capacitances: Real) -> Real:
    columns = [
        trimmer.place(capacitances[:, column], belief.terms[:, column])
        for column, trimmer in enumerate(belief.design.trimmers)
    ]
    return np.stack(columns, axis=1)


def _ended(state: DesignTuning, reworks: tuple[Rework, ...]) -> tuple[DesignTuning, Action]:
    """End here, but look at the motors first if asked for or if nothing else explains what is left."""
    limit = amplitude(state.goal.limit_db)
    helpless = not reworks and state.worst(state.reflections) >= limit
    if state.checked or not (state.check_motors or helpless):
        return finished(state, reworks)
    # whoever has not moved yet stands anywhere in its play
    fresh = ~state.approached & ~state.stuck
    targets = np.maximum(state.positions, state.lowest)
    take_up = Move(state.named(targets - state.goal.play, fresh), state.named(targets, fresh))
    return replace(state, purpose=Purpose.REFERENCE, checked=True), take_up


def _power(reflections: Complex) -> float:
    return float(np.sum(np.abs(reflections) ** 2))
