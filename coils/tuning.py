"""Tune and match every port of an array by measured sweeps: an immutable state and one pure step.

`begin` says where to go first; after that, each sweep goes into `advance`, which answers with the next move
or says that it is over. All ports of all nuclei move together, one sweep of the whole array for each move:

1. every match trimmer a little, then every tune trimmer a little: what they do is learned (`coils.trimmers`);
2. the positions at which no port should reflect, by prediction; go there, at most as far as predictions have
been
   right so far; measure, learn from the error, again until every reflection is below the aim.

A state that is worse than the best one seen is left by planning again from the best one. Every trimmer ends
each move from below (gears have play) and never leaves its travel. What cannot be reached is named with what
is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from coils.quality import decibels
from coils.trimmers import (
    Transition,
    Trimmers,
    first_guess,
    learn,
    prediction_error,
    reflections,
    solve_steps,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: Part of a port's frequency on either side from which sweeps are used to learn.
LEARNING_SPAN: Final = 0.025
_LEARNING_POINTS: Final = 11
#: A probe that changes a port's reflection by less than this (rms) has moved nothing.
_NO_ANSWER: Final = 8e-4
#: Part of its fellows' capacitance per step below which a trimmer counts as not moving.
_DEAD_SLOPE: Final = 0.1
#: Relative improvement of the sum of squared reflections that counts as progress.
_PROGRESS: Final = 0.95


@dataclass(frozen=True, slots=True)
class TunablePort:
    """One port, its frequency and its two trimmers.

    Parameters
    ----------
    port
        Its number, counted from 1, as the analyzer labels it.
    frequency
        Where it shall not reflect, Hz.
    tune, match
        Names of the axes.
    """

    port: int
    frequency: float
    tune: str
    match: str


@dataclass(frozen=True, slots=True)
class TuningGoal:
    """When to stop, and how carefully to move.

    Parameters
    ----------
    limit_db
        Every |S_ii| must be below.
    aim_db
        Tuning goes on down to here, as a margin for drift and noise.
    play
        Steps below its target from which every trimmer approaches; more than the gears' play.
    probe
        Steps of the two moves from which the trimmers are learned.
    largest_move
        Most steps of one trimmer in one move before predictions have proved right.
    sweeps
        Most sweeps.
    patience
        Sweeps without progress after which it stops.
    """

    limit_db: float = -20.0
    aim_db: float = -26.0
    play: int = 60
    probe: int = 150
    largest_move: int = 1500
    sweeps: int = 40
    patience: int = 6

    def __post_init__(self) -> None:
        """Check the order of limit and aim.

        Raises
        ------
        ValueError
            The aim is not below the limit, or a number of steps or sweeps is not positive.
        """
        if not self.aim_db < self.limit_db < 0.0:
            raise ValueError(f"need aim < limit < 0 dB; got {self.aim_db} and {self.limit_db} dB")
        if min(self.play, self.probe, self.largest_move, self.sweeps, self.patience) < 1:
            raise ValueError("play, probe, largest_move, sweeps and patience must be positive")


@dataclass(frozen=True, slots=True)
class ArraySweep:
    """One sweep of all ports.

    Parameters
    ----------
    frequencies
        Hz, shape (frequency,), rising; each port's own frequency must be inside.
    s
        Shape (frequency, port, port).
    """

    frequencies: NDArray[np.float64]
    s: NDArray[np.complex128]

    def at(self, frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return S at other frequencies, interpolated linearly; shape (frequency, port, port).

        Raises
        ------
        ValueError
            A frequency lies outside the sweep.
        """
        axis = self.frequencies
        tolerance = 1e-9 * axis[-1]
        if np.min(frequencies) < axis[0] - tolerance or np.max(frequencies) > axis[-1] + tolerance:
            raise ValueError(
                f"the sweep from {axis[0]:.0f} to {axis[-1]:.0f} Hz does not contain "
                f"{', '.join(f'{frequency:.0f}' for frequency in frequencies)} Hz"
            )
        right = np.clip(np.searchsorted(axis, frequencies), 1, axis.size - 1)
        part = np.clip((frequencies - axis[right - 1]) / (axis[right] - axis[right - 1]), 0.0, 1.0)
        weight = part[:, None, None]
        return np.asarray((1.0 - weight) * self.s[right - 1] + weight * self.s[right], dtype=np.complex128)


class Phase(StrEnum):
    """What the next sweep is for."""

    BASELINE = "baseline"
    MATCH_PROBE = "match probe"
    TUNE_PROBE = "tune probe"
    MATCHING = "matching"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Move:
    """Where to send trimmers.

    Parameters
    ----------
    approach
        Absolute positions to pass first, so that every axis arrives from below; may be empty.
    targets
        Absolute positions by axis.
    """

    approach: Mapping[str, int]
    targets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Unreached:
    """A port that stayed above the limit, and why."""

    port: int
    reflection_db: float
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Tuning is over.

    Parameters
    ----------
    unreached
        Ports above the limit; empty: success.
    restore
        Move to the best positions seen, when the present ones are not; take a last sweep after it.
    """

    unreached: tuple[Unreached, ...]
    restore: Move | None


Action: TypeAlias = Move | Stop


@dataclass(frozen=True, slots=True)
class _Seen:
    """A sweep and where the trimmers stood."""

    positions: NDArray[np.float64]
    sweep: ArraySweep
    gamma: NDArray[np.complex128]

    @property
    def score(self) -> float:
        return float(np.sum(np.abs(self.gamma) ** 2))


@dataclass(frozen=True, slots=True)
class TuningState:
    """All that is known; made by `begin`, replaced by `advance`.

    Parameters
    ----------
    ports, goal
        As given.
    lowest, highest
        Where targets may lie in steps, tune and match, shape (port, 2); room for the approach is kept below.
    phase
        What the next sweep is for.
    trimmers
        What is believed at the positions of the last sweep; None before the probes.
    sweeps
        Sweeps used.
    reach
        Steps that one move may take now.
    error
        Error of the last prediction (rms of the own reflections); None before the first.
    """

    ports: tuple[TunablePort, ...]
    goal: TuningGoal
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    phase: Phase
    trimmers: Trimmers | None
    sweeps: int
    reach: float
    error: float | None
    last: _Seen | None
    best: _Seen | None
    match_probe: Transition | None
    stalled: int
    silent: tuple[int, ...]

    @property
    def reflections_db(self) -> tuple[float, ...]:
        """|S_ii| at the ports' own frequencies in the last sweep, in the order of ``ports``."""
        return _decibels(self.last)

    @property
    def best_reflections_db(self) -> tuple[float, ...]:
        """|S_ii| at the ports' own frequencies in the best sweep."""
        return _decibels(self.best)


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
    )
    now = _as_array(state, positions)
    targets = np.clip(now, lowest, highest)
    everything = _named(state, targets)
    return state, Move(_named(state, targets - aims.play), everything)


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
    own, bands = _own_frequencies(state)
    now = _as_array(state, positions)
    seen = _Seen(now, sweep, reflections(sweep.at(own), bands))
    state = replace(state, sweeps=state.sweeps + 1, last=seen)
    state = _remember(state, seen)
    if _is_below(seen, state.goal.aim_db):
        return _stop(state)
    if before.phase is Phase.BASELINE:
        return replace(state, phase=Phase.MATCH_PROBE), _probe(state, 1)
    if before.last is None:
        raise ValueError("the state holds no baseline")
    transition = _transition(state, before.last, seen)
    if before.phase is Phase.MATCH_PROBE:
        return replace(state, phase=Phase.TUNE_PROBE, match_probe=transition), _probe(state, 0)
    state = _learned(state, transition)
    if state.sweeps >= state.goal.sweeps or state.stalled >= state.goal.patience:
        return _stop(state)
    return _next_move(replace(state, phase=Phase.MATCHING))


def _remember(state: TuningState, seen: _Seen) -> TuningState:
    """Keep the best sweep, and count those that brought nothing."""
    best = state.best
    if best is None or seen.score < best.score:
        progress = best is None or seen.score < _PROGRESS * best.score
        stalled = 0 if progress else state.stalled + 1
        return replace(state, best=seen, stalled=stalled)
    probing = state.phase in {Phase.MATCH_PROBE, Phase.TUNE_PROBE}
    return replace(state, stalled=state.stalled if probing else state.stalled + 1)


def _learned(state: TuningState, transition: Transition) -> TuningState:
    """Take in what the last move did."""
    trimmers = state.trimmers
    if trimmers is None:
        first = state.match_probe
        if first is None:
            raise ValueError("the state holds no match probe")
        trimmers = learn(first_guess(first, transition), first).moved(first.steps)
        trimmers = learn(trimmers, transition).moved(transition.steps)
        silent = _silent_ports(first, transition)
        return replace(state, trimmers=trimmers, match_probe=None, silent=silent)
    error = prediction_error(trimmers, transition)
    own = np.arange(transition.before.shape[-1])
    change = float(np.sqrt(np.mean(np.abs((transition.after - transition.before)[:, own, own]) ** 2)))
    reach = state.reach * (2.0 if error < 0.25 * change else 1.0 if error < 0.6 * change else 0.5)
    trimmers = learn(trimmers, transition).moved(transition.steps)
    bounded = float(np.clip(reach, 2.0 * state.goal.play, 2.0 * state.goal.largest_move))
    return replace(state, trimmers=trimmers, reach=bounded, error=error)


def _next_move(state: TuningState) -> tuple[TuningState, Action]:
    """Plan from the last sweep, or from the best one when the last is clearly worse."""
    if state.trimmers is None or state.last is None or state.best is None:
        raise ValueError("nothing has been learned yet")
    origin, trimmers = state.last, state.trimmers
    if state.stalled >= 2 and state.best.score < 0.5 * origin.score:
        origin, trimmers = state.best, trimmers.moved(state.best.positions - origin.positions)
        state = replace(state, reach=max(0.5 * state.reach, 2.0 * state.goal.play))
    own, bands = _own_frequencies(state)
    lowest, highest = state.lowest - origin.positions, state.highest - origin.positions
    lowest[list(state.silent)], highest[list(state.silent)] = 0.0, 0.0
    steps = solve_steps(trimmers, own, origin.sweep.at(own), bands, lowest, highest)
    longest = np.max(np.abs(steps), axis=1, keepdims=True)
    steps = steps * np.minimum(1.0, state.reach / np.maximum(longest, 1.0))
    targets = np.clip(np.rint(origin.positions + steps), state.lowest, state.highest)
    move = _move(state, targets)
    return (state, move) if move.targets else _stop(state)


def _stop(state: TuningState) -> tuple[TuningState, Stop]:
    """End here or, when it is better, where the best sweep was taken."""
    restore = None
    if state.best is not None and state.last is not None and state.best.score < state.last.score:
        move = _move(state, state.best.positions)
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
    missing, dead_axes = _missing_travel(state), _dead_axes(state)
    found: list[Unreached] = []
    for place in high:
        port = state.ports[place]
        axes = (port.tune, port.match)
        dead = [axes[column] for column in np.flatnonzero(dead_axes[place])]
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
    own, bands = _own_frequencies(state)
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


def _dead_axes(state: TuningState) -> NDArray[np.bool_]:
    """Return which axes seem not to move, shape (port, 2): tune and match.

    Those of silent ports, and those whose learned slope is a small part of their fellows'.
    """
    dead = np.zeros(state.lowest.shape, dtype=np.bool_)
    if state.trimmers is not None:
        _, bands = _own_frequencies(state)
        for column, slope in enumerate((state.trimmers.tune_slope, state.trimmers.match_slope)):
            usual = np.array([np.median(slope[bands == band]) for band in bands])
            dead[:, column] = slope < _DEAD_SLOPE * usual
    dead[list(state.silent)] = True
    return dead


def _probe(state: TuningState, column: int) -> Move:
    """Move every tune (0) or match (1) trimmer a little, upwards where there is room."""
    if state.last is None:
        raise ValueError("the state holds no baseline")
    targets = state.last.positions.copy()
    up = targets[:, column] + state.goal.probe
    down = targets[:, column] - state.goal.probe
    targets[:, column] = np.where(up <= state.highest[:, column], up, down)
    return _move(state, targets)


def _move(state: TuningState, targets: NDArray[np.float64]) -> Move:
    """Return the move to ``targets`` of the axes that are not there; those that go down pass below."""
    if state.last is None:
        raise ValueError("the state holds no position")
    changed = targets != state.last.positions
    down = targets < state.last.positions
    return Move(_named(state, targets - state.goal.play, down), _named(state, targets, changed))


def _transition(state: TuningState, before: _Seen, after: _Seen) -> Transition:
    """Return both sweeps at a few frequencies around the ports' own."""
    own, _ = _own_frequencies(state)
    axis = after.sweep.frequencies
    chosen: list[NDArray[np.float64]] = []
    for frequency in own:
        near = axis[np.abs(axis / frequency - 1.0) <= LEARNING_SPAN]
        if near.size > _LEARNING_POINTS:
            near = near[np.unique(np.linspace(0, near.size - 1, _LEARNING_POINTS).round().astype(np.intp))]
        chosen.append(near if near.size else np.array([frequency]))
    frequencies = np.unique(np.concatenate(chosen))
    return Transition(
        frequencies,
        before.sweep.at(frequencies),
        after.sweep.at(frequencies),
        after.positions - before.positions,
    )


def _own_frequencies(state: TuningState) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the ports' frequencies without repetition, and which of them is each port's."""
    every = np.array([port.frequency for port in state.ports])
    own, bands = np.unique(every, return_inverse=True)
    return own, np.asarray(bands, dtype=np.intp)


def _is_below(seen: _Seen, level_db: float) -> bool:
    return max(_decibels(seen)) < level_db


def _decibels(seen: _Seen | None) -> tuple[float, ...]:
    return () if seen is None else tuple(decibels(float(size)) for size in np.abs(seen.gamma))


def _as_array(state: TuningState, positions: Mapping[str, int]) -> NDArray[np.float64]:
    return np.array([[positions[port.tune], positions[port.match]] for port in state.ports], dtype=np.float64)


def _named(
    state: TuningState, targets: NDArray[np.float64], chosen: NDArray[np.bool_] | None = None
) -> Mapping[str, int]:
    """Return the chosen targets by axis name."""
    wanted = np.ones(targets.shape, dtype=np.bool_) if chosen is None else chosen
    return MappingProxyType(
        {
            name: round(float(targets[place, column]))
            for place, port in enumerate(state.ports)
            for column, name in enumerate((port.tune, port.match))
            if wanted[place, column]
        }
    )
