"""Tune an array whose trimmers a person turns: which one next, which way, how far, and whom to give up.

Nothing counts a screwdriver's turns, so the sweeps alone tell where every trimmer stands: places are
unknown at first and again after each turn, and the model of the array (`coils.tuning.estimate`) finds them.
All ports' matched capacitances are solved for together; the trimmer whose way there lowers the array's
reflections most comes first, so that in the best case none is touched twice. Decisions only, no instrument.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.tuning.advice import find_reworks
from coils.tuning.estimate import Estimate, Observation, first_estimate, refine
from coils.tuning.gauge import Gauge
from coils.tuning.targets import least_worst, own_reflections, solve_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.circuit.elements import Complex, Real
    from coils.tuning.advice import Rework
    from coils.tuning.belief import Belief, Prior
    from coils.tuning.design import ArrayDesign
    from coils.tuning.local_state import ArraySweep
    from coils.tuning.targets import Target

#: Where a trimmer that nobody has measured may stand, in parts of half its travel about the middle: a uniform
#: distribution over the travel has 0.58.
_ANYWHERE: Final = 0.6
#: What a gauge leaves open, and what an untouched trimmer may have moved, in parts of half the travel.
_GAUGED: Final = 0.1
_UNTOUCHED: Final = 2e-3
#: Every other point of the first sweep is enough once its dips have been found.
_THINNED: Final = 2
#: Believed misfits of S lie between these: noise, and what an imperfect calibration adds.
_LEAST_NOISE: Final = 1e-3
_MOST_NOISE: Final = 2e-2
#: A turn that would change no reflection by more than this is not worth a hand.
_WORTHWHILE: Final = 0.012
#: Change of a reflection that is near enough to the target.
_NEAR: Final = 0.015
#: A trimmer so far off, by the reflection that it would cause alone, comes before all touching up.
_FAR: Final = 0.5
#: Sweeps that count besides the first: older ones were seen with trimmers that have moved since.
_RECENT: Final = 2
#: Tolerances of a turn, relative to the capacitance: no hand is better, no port needs worse.
_FINEST: Final = 5e-4
_COARSEST: Final = 0.01


@dataclass(frozen=True, slots=True)
class HandTuning:
    """All that is known; made by `begin`, replaced by `take_in`, `note_turn` and `give_up`.

    Parameters
    ----------
    prior
        The drawing, or what an earlier tuning left.
    limit_db, enough_db
        Every |S_ii| must be below the one; turning goes on down to the other, lower one.
    observations, estimate
        What was seen, and what it means.
    capacitances
        As believed now, F, shape (channel, trimmer).
    touched
        Trimmers turned since the last sweep of the array, shape as ``capacitances``.
    stuck
        Trimmers that do not answer, shape as ``capacitances``.
    floor, ceiling
        Ends of the travel that were run against, F, shape as ``capacitances``; 0 and inf before.
    reflections
        Each port's at its own frequency in the last sweep, shape (port,).
    offset
        Those less the model's, shape (port,).
    target
        Where all trimmers belong.
    """

    prior: Prior
    limit_db: float
    enough_db: float
    observations: tuple[Observation, ...]
    estimate: Estimate
    capacitances: Real
    touched: NDArray[np.bool_]
    stuck: NDArray[np.bool_]
    floor: Real
    ceiling: Real
    reflections: Complex
    offset: Complex
    target: Target

    @property
    def design(self) -> ArrayDesign:
        """The drawing."""
        return self.prior.belief.design

    @property
    def belief(self) -> Belief:
        """The model as corrected by the sweeps."""
        return self.estimate.belief

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """Ports none of whose own trimmers is stuck, shape (port,)."""
        return _wanted(self.design, self.stuck)

    @property
    def worst(self) -> float:
        """Largest |S_ii| of the ports that can be helped, in the last sweep."""
        return float(np.max(np.abs(self.reflections[self.wanted]), initial=0.0))

    @property
    def is_reached(self) -> bool:
        """Whether the last sweep shows every port that can be helped where turning may stop."""
        return self.worst < float(10.0 ** (self.enough_db / 20.0))

    def reworks(self) -> tuple[Rework, ...]:
        """Return the fixed capacitors to change where the travel does not suffice; empty where it does."""
        if self.target.worst(self.wanted) < 10.0 ** (self.limit_db / 20.0):
            return ()
        low, high = _reach(self.belief, self.stuck, self.capacitances, self.floor, self.ceiling)
        start = self.target.capacitances
        return find_reworks(self.belief, start, self.offset, low, high, self.wanted, self.stuck)


@dataclass(frozen=True, slots=True)
class Turn:
    """One trimmer to turn, all others left as they are.

    Parameters
    ----------
    axis
        The trimmer's name.
    channel, column
        Of the trimmer in the design, from 0.
    port
        The trimmer's own port: index in S.
    before, after
        Capacitance now and to reach, F.
    tolerance
        Error of ``after`` that does no harm, F.
    lowest, highest
        Ends of its travel, F.
    reflection
        Of the port at its own frequency once it is turned, others as they are now.
    """

    axis: str
    channel: int
    column: int
    port: int
    before: float
    after: float
    tolerance: float
    lowest: float
    highest: float
    reflection: complex

    @property
    def change(self) -> float:
        """Capacitance to add, F; negative: to take away."""
        return self.after - self.before

    @property
    def part(self) -> float:
        """The change in parts of the whole travel."""
        return self.change / (self.highest - self.lowest)

    def back(self, now: float, reflection: complex) -> Turn:
        """Return the turn that takes this one back.

        Parameters
        ----------
        now
            Where the trimmer stands, F.
        reflection
            Of the port before this turn.
        """
        return replace(self, before=now, after=self.before, reflection=reflection)


def begin(prior: Prior, sweep: ArraySweep, limit_db: float = -20.0, margin_db: float = 1.0) -> HandTuning:
    """Return what a first sweep tells, trimmers anywhere.

    Parameters
    ----------
    prior
        `Prior.from_design` of the drawing, or `Prior.kept` of the belief that an earlier tuning ended with.
    sweep
        Wide enough for every dip, ports in the order of the design's.
    limit_db
        Every |S_ii| must be below.
    margin_db
        How far below the limit turning goes on: a margin for drift and calibration.

    Raises
    ------
    ValueError
        The sweep does not hold the ports' frequencies.
    """
    design = prior.belief.design
    shape = (design.channels, len(design.trimmers))
    seen = Observation(sweep.frequencies, sweep.s, np.zeros(shape), np.full(shape, _ANYWHERE))
    estimate = first_estimate(prior, seen)
    thinned = replace(seen, frequencies=seen.frequencies[::_THINNED], s=seen.s[::_THINNED])
    nowhere = np.zeros(shape, dtype=np.bool_)
    reflections = _own(design, sweep)
    now = estimate.capacitances(thinned.places)
    offset = reflections - own_reflections(estimate.belief, now)
    floor, ceiling = np.zeros(shape), np.full(shape, np.inf)
    enough_db = limit_db - margin_db
    target = _target(estimate.belief, now, offset, nowhere, floor, ceiling, enough_db)
    return HandTuning(
        prior=prior,
        limit_db=limit_db,
        enough_db=enough_db,
        observations=(thinned,),
        estimate=estimate,
        capacitances=now,
        touched=nowhere,
        stuck=nowhere,
        floor=floor,
        ceiling=ceiling,
        reflections=reflections,
        offset=offset,
        target=target,
    )


def take_in(state: HandTuning, sweep: ArraySweep) -> HandTuning:
    """Learn from another sweep of the array, wide or narrow, after any number of turns.

    Raises
    ------
    ValueError
        The sweep does not hold the ports' frequencies.
    """
    design, before = state.design, state.estimate
    expected = _places(before.belief, state.capacitances) - before.shifts[-1]
    slack = np.where(state.touched, _GAUGED, _UNTOUCHED)
    seen = Observation(sweep.frequencies, sweep.s, expected, slack)
    noise = float(np.clip(1.2 * np.sqrt(np.mean(before.misfit**2)), _LEAST_NOISE, _MOST_NOISE))
    observations, shifts = (*state.observations, seen), before.shifts
    if len(observations) > 1 + _RECENT:
        observations = (observations[0], *observations[-_RECENT:])
        shifts = np.concatenate([shifts[:1], shifts[-_RECENT + 1 :]])
    before = replace(before, shifts=shifts)
    estimate = refine(before, observations, noise)
    retried = refine(refine(before, observations, 10.0 * noise), observations, noise)
    estimate = min(estimate, retried, key=lambda one: float(np.sum(one.cost)))
    reflections = _own(design, sweep)
    now = estimate.capacitances(seen.places)
    offset = reflections - own_reflections(estimate.belief, now)
    return _aimed(
        replace(
            state,
            observations=observations,
            estimate=estimate,
            capacitances=now,
            touched=np.zeros(now.shape, dtype=np.bool_),
            reflections=reflections,
            offset=offset,
        )
    )


def note_turn(state: HandTuning, turn: Turn, capacitance: float) -> HandTuning:
    """Return the state after a turn that ended at a capacitance in F, as its gauge read it."""
    capacitances, touched = state.capacitances.copy(), state.touched.copy()
    capacitances[turn.channel, turn.column] = capacitance
    touched[turn.channel, turn.column] = True
    return replace(state, capacitances=capacitances, touched=touched)


def give_up(state: HandTuning, turn: Turn) -> HandTuning:
    """Return the state in which a trimmer stays where it is; the rest is tuned around it."""
    stuck = state.stuck.copy()
    stuck[turn.channel, turn.column] = True
    return _aimed(replace(state, stuck=stuck))


def note_end(state: HandTuning, turn: Turn, capacitance: float) -> HandTuning:
    """Return the state in which a trimmer's travel ends at a capacitance in F, on the side of the turn."""
    floor, ceiling = state.floor.copy(), state.ceiling.copy()
    side = ceiling if turn.change > 0.0 else floor
    side[turn.channel, turn.column] = capacitance
    return _aimed(replace(note_turn(state, turn, capacitance), floor=floor, ceiling=ceiling))


def next_turn(state: HandTuning) -> Turn | None:
    """Return the most worthwhile turn, or None where nothing worth a hand is left.

    Of all trimmers that are not yet where they belong, the one whose way there lowers the sum of squared
    reflections most; where none lowers it alone, the one that the matched array feels most.
    """
    here, there = state.capacitances, state.target.capacitances
    # what only ports feel that cannot be helped is left alone
    slopes = np.max(np.abs(state.target.slopes[state.wanted]), axis=0, initial=0.0)
    effect = slopes * np.abs(np.log(there / here))
    low, high = _reach(state.belief, np.zeros_like(state.stuck), here, state.floor, state.ceiling)
    best: tuple[bool, float, float, int, int, Complex] | None = None
    reflections = own_reflections(state.belief, here) + state.offset
    helped = state.wanted
    for channel, column in np.argwhere((effect > _WORTHWHILE) & ~state.stuck & ~state.touched):
        trial = here.copy()
        trial[channel, column] = there[channel, column]
        after = own_reflections(state.belief, trial) + state.offset
        gain = float(np.sum(np.abs(reflections[helped]) ** 2) - np.sum(np.abs(after[helped]) ** 2))
        felt = float(effect[channel, column])
        key = (felt > _FAR, max(gain, 0.0), felt)
        if best is None or key > best[:3]:
            best = (*key, int(channel), int(column), after)
    if best is None:
        return None
    _, _, _, channel, column, after = best
    port = _port_of(state.design, channel, column)
    return Turn(
        state.design.axes[channel][column],
        channel,
        column,
        port,
        float(here[channel, column]),
        float(there[channel, column]),
        float(_tolerances(there, slopes)[channel, column]),
        float(low[channel, column]),
        float(high[channel, column]),
        complex(after[port]),
    )


def gauge(state: HandTuning, turn: Turn, frequencies: Real) -> Gauge:
    """Return what reads a trimmer's capacitance from its port's reflection at frequencies in Hz."""
    return Gauge.of(
        state.belief,
        state.capacitances,
        (turn.channel, turn.column),
        turn.port,
        (turn.lowest, turn.highest),
        frequencies,
    )


def _tolerances(there: Real, slopes: Real) -> Real:
    """Return errors of the capacitances that do no harm, F."""
    return np.asarray(there * np.clip(_NEAR / np.maximum(slopes, 1e-9), _FINEST, _COARSEST))


def _aimed(state: HandTuning) -> HandTuning:
    """Return the state with a new target."""
    target = _target(
        state.belief,
        state.capacitances,
        state.offset,
        state.stuck,
        state.floor,
        state.ceiling,
        state.enough_db,
    )
    return replace(state, target=target)


def _target(
    belief: Belief,
    now: Real,
    offset: Complex,
    stuck: NDArray[np.bool_],
    floor: Real,
    ceiling: Real,
    enough_db: float,
) -> Target:
    """Return where all trimmers belong, within their travel."""
    lowest, highest = _reach(belief, stuck, now, floor, ceiling)
    wanted = _wanted(belief.design, stuck)
    enough = 10.0 ** (enough_db / 20.0)
    target = solve_target(belief, now, offset, lowest, highest, wanted)
    if target.worst(wanted) > enough:
        nearest = least_worst(belief, target, offset, lowest, highest, wanted, enough)
        target = nearest if nearest.worst(wanted) < enough else target
    return target


def _reach(
    belief: Belief, stuck: NDArray[np.bool_], now: Real, floor: Real, ceiling: Real
) -> tuple[Real, Real]:
    """Return the capacitances between which each trimmer can be turned, F; stuck ones stay."""
    ends = [belief.capacitances(np.full(now.shape, place)) for place in (-1.0, 1.0)]
    lowest, highest = np.minimum(*ends), np.maximum(*ends)
    # where the sweep has seen a trimmer beyond the data sheet's end, it can be
    lowest, highest = np.maximum(lowest, floor), np.minimum(highest, ceiling)
    lowest, highest = np.minimum(lowest, now), np.maximum(highest, now * (1.0 + 1e-9))
    return np.where(stuck, now, lowest), np.where(stuck, now * (1.0 + 1e-9), highest)


def _wanted(design: ArrayDesign, stuck: NDArray[np.bool_]) -> NDArray[np.bool_]:
    wanted = np.ones(design.circuit.port_count, dtype=np.bool_)
    for arm, columns in zip(design.arms, design.arm_trimmers(), strict=True):
        wanted[arm.ports] = ~np.any(stuck[:, list(columns)], axis=1)
    return wanted


def _port_of(design: ArrayDesign, channel: int, column: int) -> int:
    """Return the port that a trimmer tunes or matches: its index in S."""
    for arm, columns in zip(design.arms, design.arm_trimmers(), strict=True):
        if column in columns:
            return int(arm.ports[channel])
    return int(design.arms[0].ports[channel])


def _places(belief: Belief, capacitances: Real) -> Real:
    columns = [
        trimmer.place(capacitances[:, column], belief.terms[:, column])
        for column, trimmer in enumerate(belief.design.trimmers)
    ]
    return np.stack(columns, axis=1)


def _own(design: ArrayDesign, sweep: ArraySweep) -> Complex:
    """Return each port's reflection at its own frequency, shape (port,)."""
    wanted = design.port_frequencies()
    own = np.unique(wanted)
    s = sweep.at(own)
    ports = np.arange(wanted.size)
    return np.asarray(s[np.searchsorted(own, wanted), ports, ports], dtype=np.complex128)
