"""Tune and match every port of an array by measured sweeps: an immutable state and one pure step.

`begin` says where to go first; after that, each sweep goes into `advance`, which answers with the next move
or says that it is over. All ports of all nuclei move together, one sweep of the whole array for each move:

1. every match trimmer a little, then every tune trimmer a little: what they do is learned (`trimmers`);
2. the positions at which no port should reflect, by prediction; go there, at most as far as
   predictions have been right so far; measure, learn from the error, and again until all are below the aim.

When that stalls with a port still far from resonance (an analyzer's residual errors hide the little that it
absorbs there), wide sweeps follow, and its dip is walked to its frequency in strides. A state that is worse
than the best one seen is left by planning again from the best one. Every trimmer ends
each move from below (gears have play) and never leaves its travel. What cannot be reached is named with what
is missing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.tuning.local_state import Action, Move, Phase, Seen, Stop, TuningGoal, TuningState, Unreached
from coils.tuning.trimmers import (
    Transition,
    first_guess,
    learn,
    prediction_error,
    probed_slopes,
    reflections,
    solve_steps,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from coils.tuning.local_state import ArraySweep, TunablePort

#: Part of a port's frequency on either side from which sweeps are used to learn.
LEARNING_SPAN: Final = 0.025
_LEARNING_POINTS: Final = 11
#: A probe that changes a port's reflection by less than this (rms) has moved nothing.
_NO_ANSWER: Final = 8e-4
#: Part of its fellows' capacitance per step below which a trimmer counts as not moving.
_DEAD_SLOPE: Final = 0.1
#: A port that reflects more than this at its own frequency is far from resonance there.
_FAR: Final = 0.7
#: A minimum of |S_ii| below this is a dip; it is looked for within so much of the port's frequency.
_DIP: Final = 0.93
_DIP_SPAN: Final = 0.3
#: How far a dip is moved at once, as a part of the port's frequency: about two bandwidths.
_STRIDE: Final = 0.02
#: Relative improvement of the sum of squared reflections that counts as progress.
_PROGRESS: Final = 0.95


def begin(
    ports: Sequence[TunablePort],
    travel: Mapping[str, tuple[int, int]],
    positions: Mapping[str, int],
    goal: TuningGoal | None = None,
) -> tuple[TuningState, Move]:
    """Return the first state and the first move: every trimmer where it is, but approached from below.

    Parameters
    ----------
    ports
        All ports that are swept, in the order of the S-matrix.
    travel
        Limits of every axis in steps.
    positions
        Of every axis now.

    Raises
    ------
    ValueError
        An axis is missing or named twice, or its travel is too short.
    """
    aims = goal or TuningGoal()
    names = [name for port in ports for name in (port.tune, port.match)]
    if len(set(names)) != len(names) or not set(names) <= set(travel) & set(positions):
        wrong = sorted(name for name in set(names) if names.count(name) > 1 or name not in travel)
        raise ValueError(f"every axis must exist and belong to one port; wrong: {', '.join(wrong)}")
    limits = np.array([travel[name] for name in names], dtype=np.float64).reshape(-1, 2, 2)
    lowest, highest = limits[..., 0] + aims.play, limits[..., 1]
    if np.any(highest - lowest < 2 * aims.probe):
        raise ValueError(f"the travel of an axis is shorter than {aims.play + 2 * aims.probe} steps")
    state = TuningState(
        ports=tuple(ports),
        goal=aims,
        lowest=lowest,
        highest=highest,
        phase=Phase.BASELINE,
        trimmers=None,
        sweeps=0,
        reach=float(aims.largest_move),
        error=None,
        last=None,
        best=None,
        match_probe=None,
        stalled=0,
        silent=(),
        dead=(),
    )
    now = state.as_array(positions)
    targets = np.clip(now, lowest, highest)
    every = np.ones(targets.shape, dtype=np.bool_)
    return state, Move(state.named(targets - aims.play, every), state.named(targets, every))


def advance(
    state: TuningState, sweep: ArraySweep, positions: Mapping[str, int]
) -> tuple[TuningState, Action]:
    """Return the next state and what to do.

    Parameters
    ----------
    sweep
        Taken after the last move.
    positions
        Of every axis, as read back.

    Raises
    ------
    ValueError
        The state has stopped, or the sweep does not hold the ports' frequencies.
    """
    if state.phase is Phase.STOPPED:
        raise ValueError("tuning is over; begin again")
    before = state
    own, bands = state.own_frequencies()
    now = state.as_array(positions)
    seen = Seen(now, sweep, reflections(sweep.at(own), bands))
    state = replace(state, sweeps=state.sweeps + 1, last=seen)
    state = _remember(state, seen)
    if max(state.reflections_db) < state.goal.aim_db:
        return _stop(state)
    if before.phase is Phase.BASELINE:
        return replace(state, phase=Phase.MATCH_PROBE), _probe(state, 1)
    if before.last is None:
        raise ValueError("the state holds no baseline")
    if np.array_equal(sweep.frequencies, before.last.sweep.frequencies):
        transition = _transition(state, before.last, seen)
        if before.phase is Phase.MATCH_PROBE:
            return replace(state, phase=Phase.TUNE_PROBE, match_probe=transition), _probe(state, 0)
        state = _learned(state, transition)
    return _continue(state)


def _continue(state: TuningState) -> tuple[TuningState, Action]:
    """Go on matching or walking, or stop for want of sweeps or of progress."""
    if state.phase is not Phase.WALKING:
        state = replace(state, phase=Phase.MATCHING)
        if state.stalled >= state.goal.patience and _far_ports(state):
            return _walk(state)
    # a walking dip shows at its port's frequency only when it arrives there
    patience = state.goal.patience * (2 if state.phase is Phase.WALKING else 1)
    if state.sweeps >= state.goal.sweeps or state.stalled >= patience:
        return _stop(state)
    return _next_move(state)


def _remember(state: TuningState, seen: Seen) -> TuningState:
    """Keep the best sweep, and count those that brought nothing."""
    best = state.best
    if best is None or seen.score < best.score:
        progress = best is None or seen.score < _PROGRESS * best.score
        stalled = 0 if progress else state.stalled + 1
        return replace(state, best=seen, stalled=stalled)
    if state.phase in {Phase.MATCH_PROBE, Phase.TUNE_PROBE}:
        return state
    return replace(state, stalled=state.stalled + 1)


def _learned(state: TuningState, transition: Transition) -> TuningState:
    """Take in what the last move did."""
    trimmers = state.trimmers
    if trimmers is None:
        first = state.match_probe
        if first is None:
            raise ValueError("the state holds no match probe")
        _, groups = state.own_frequencies()
        trimmers = learn(first_guess(first, transition, groups), first).moved(first.steps)
        learned = learn(trimmers, transition).moved(transition.steps)
        return replace(
            state,
            trimmers=learned,
            match_probe=None,
            silent=_silent_ports(first, transition),
            dead=_dead_axes(probed_slopes(trimmers, first, transition), groups),
        )
    error = prediction_error(trimmers, transition)
    own = np.arange(transition.before.shape[-1])
    change = float(np.sqrt(np.mean(np.abs((transition.after - transition.before)[:, own, own]) ** 2)))
    reach = state.reach * (2.0 if error < 0.25 * change else 1.0 if error < 0.6 * change else 0.5)
    trimmers = learn(trimmers, transition).moved(transition.steps)
    most = state.goal.probe if state.phase is Phase.WALKING else state.goal.largest_move
    bounded = float(np.clip(reach, state.goal.play, 2.0 * most))
    return replace(state, trimmers=trimmers, reach=bounded, error=error)


def _next_move(state: TuningState) -> tuple[TuningState, Action]:
    """Plan from the last sweep, or from the best one when the last is clearly worse."""
    if state.trimmers is None or state.last is None or state.best is None:
        raise ValueError("nothing has been learned yet")
    origin, trimmers = state.last, state.trimmers
    walking = state.phase is Phase.WALKING
    if not walking and state.stalled >= 2 and state.best.score < 0.5 * origin.score:
        origin, trimmers = state.best, trimmers.moved(state.best.positions - origin.positions)
        state = replace(state, reach=max(0.5 * state.reach, 2.0 * state.goal.play))
    own, bands = _stepping_stones(state, origin) if walking else state.own_frequencies()
    lowest, highest = state.lowest - origin.positions, state.highest - origin.positions
    lowest[list(state.silent)], highest[list(state.silent)] = 0.0, 0.0
    steps = solve_steps(trimmers, own, origin.sweep.at(own), bands, lowest, highest)
    longest = np.max(np.abs(steps), axis=1, keepdims=True)
    steps = steps * np.minimum(1.0, state.reach / np.maximum(longest, 1.0))
    targets = np.clip(np.rint(origin.positions + steps), state.lowest, state.highest)
    move = state.move_to(targets)
    if move.targets:
        return state, move
    return _stop(state) if walking or not _far_ports(state) else _walk(state)


def _far_ports(state: TuningState) -> tuple[int, ...]:
    """Return the places of the ports that hardly absorb at their own frequency, silent ones left out."""
    if state.last is None:
        return ()
    far = np.flatnonzero(np.abs(state.last.gamma) > _FAR)
    return tuple(int(place) for place in far if int(place) not in state.silent)


def _walk(state: TuningState) -> tuple[TuningState, Action]:
    """Sweep widely from here on, to bring the dips of far ports to their frequencies step by step."""
    nothing: Mapping[str, int] = {}
    careful = replace(state, phase=Phase.WALKING, stalled=0, reach=2.0 * state.goal.probe)
    return careful, Move(nothing, nothing)


def _stepping_stones(state: TuningState, seen: Seen) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return a frequency for each port at which to match it next, and the index of each.

    What a port absorbs far from its resonance is too little to predict from; at its dip it is not. So a far
    port is matched a little beside its dip, towards its own frequency.
    """
    axis = seen.sweep.frequencies
    wanted = np.array([port.frequency for port in state.ports])
    for place in _far_ports(state):
        own = wanted[place]
        band = np.flatnonzero(np.abs(axis / own - 1.0) <= _DIP_SPAN)
        levels = np.abs(seen.sweep.s[band, place, place])
        if levels.size and float(np.min(levels)) < _DIP:
            dip = axis[band[int(np.argmin(levels))]]
            stone = dip + np.clip(own - dip, -_STRIDE * own, _STRIDE * own)
            if stone != own:
                wanted[place] = axis[int(np.argmin(np.abs(axis - stone)))]
    return wanted, np.arange(wanted.size, dtype=np.intp)


def _stop(state: TuningState) -> tuple[TuningState, Stop]:
    """End here or, when it is better, where the best sweep was taken."""
    restore = None
    if state.best is not None and state.last is not None and state.best.score < state.last.score:
        move = state.move_to(state.best.positions)
        restore = move if move.targets else None
    stopped = replace(state, phase=Phase.STOPPED)
    return stopped, Stop(_unreached(state), restore)


def _unreached(state: TuningState) -> tuple[Unreached, ...]:
    """Name the ports above the limit with what keeps them there."""
    if state.best is None:
        return ()
    high = [place for place, level in enumerate(state.best_reflections_db) if level >= state.goal.limit_db]
    if not high:
        return ()
    missing = _missing_travel(state)
    found: list[Unreached] = []
    for place in high:
        port = state.ports[place]
        axes = (port.tune, port.match)
        dead = [
            name for column, name in enumerate(axes) if place in state.silent or (place, column) in state.dead
        ]
        reasons = [
            f"{name} would have to go {abs(beyond):.0f} steps beyond the "
            f"{'upper' if beyond > 0 else 'lower'} end of its travel"
            for name, beyond in zip(axes, missing[place], strict=True)
            if abs(beyond) >= 1.0
        ]
        if dead:
            reasons = [f"does not answer to {' and '.join(dead)}: check motor, cable, axis names and bias"]
        elif not reasons:
            reasons = [f"no progress in {state.sweeps} sweeps"]
        found.append(Unreached(port.port, state.best_reflections_db[place], "; ".join(reasons)))
    return tuple(found)


def _missing_travel(state: TuningState) -> NDArray[np.float64]:
    """Return how far beyond its travel each trimmer would have to go, shape (port, 2)."""
    if state.trimmers is None or state.best is None or state.last is None:
        return np.zeros_like(state.lowest)
    trimmers = state.trimmers.moved(state.best.positions - state.last.positions)
    own, bands = state.own_frequencies()
    room = state.highest - state.lowest
    steps = solve_steps(
        trimmers,
        own,
        state.best.sweep.at(own),
        bands,
        state.lowest - room - state.best.positions,
        state.highest + room - state.best.positions,
    )
    wanted = state.best.positions + steps
    return np.asarray(wanted - np.clip(wanted, state.lowest, state.highest), dtype=np.float64)


def _silent_ports(match: Transition, tune: Transition) -> tuple[int, ...]:
    """Return the places of the ports whose reflection no probe changed."""
    own = np.arange(match.before.shape[-1])

    def change(transition: Transition) -> NDArray[np.float64]:
        difference = (transition.after - transition.before)[:, own, own]
        return np.asarray(np.sqrt(np.mean(np.abs(difference) ** 2, axis=0)), dtype=np.float64)

    quiet = np.maximum(change(match), change(tune)) < _NO_ANSWER
    return tuple(int(place) for place in np.flatnonzero(quiet))


def _dead_axes(slopes: NDArray[np.float64], groups: NDArray[np.intp]) -> tuple[tuple[int, int], ...]:
    """Return place and column of the trimmers that showed little of their fellows' slope when probed."""
    usual = np.array([np.median(slopes[groups == group], axis=0) for group in groups])
    return tuple((int(place), int(column)) for place, column in np.argwhere(slopes < _DEAD_SLOPE * usual))


def _probe(state: TuningState, column: int) -> Move:
    """Move every tune (0) or match (1) trimmer a little, upwards where there is room."""
    if state.last is None:
        raise ValueError("the state holds no baseline")
    targets = state.last.positions.copy()
    up = targets[:, column] + state.goal.probe
    down = targets[:, column] - state.goal.probe
    targets[:, column] = np.where(up <= state.highest[:, column], up, down)
    return state.move_to(targets)


def _transition(state: TuningState, before: Seen, after: Seen) -> Transition:
    """Return both sweeps at a few frequencies around the ports' own."""
    own, _ = state.own_frequencies()
    axis = after.sweep.frequencies
    chosen: list[NDArray[np.float64]] = []
    for frequency in own:
        near = axis[np.abs(axis / frequency - 1.0) <= LEARNING_SPAN]
        if near.size > _LEARNING_POINTS:
            near = near[np.unique(np.linspace(0, near.size - 1, _LEARNING_POINTS).round().astype(np.intp))]
        chosen.append(near if near.size else np.array([frequency]))
    if state.phase is Phase.WALKING:
        stones, _ = _stepping_stones(state, after)
        chosen += [axis[np.abs(axis / stones[place] - 1.0) <= _STRIDE] for place in _far_ports(state)]
    frequencies = np.unique(np.concatenate(chosen))
    return Transition(
        frequencies,
        before.sweep.at(frequencies),
        after.sweep.at(frequencies),
        after.positions - before.positions,
    )
