"""Match every port with its match trimmer alone, and say what matching cannot do.

No circuit is assumed: what a trimmer does to its port's impedance is measured by moving it, all ports at
once, and followed by secants. A trimmer moves the impedance along a line; where that line passes the
reference impedance at a distance, the rest is for the tune trimmer, and is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import RunAborted
from coilbench.base.events import Event, EventSink, ignore
from coils.quality import decibels
from drivers.protocols import Abort, Segment, SweepPlan, never

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coilbench.procedures.tune import NucleusPorts
    from drivers.protocols import NetworkAnalyzer, Tuner

#: Half width of the sweeps over their centre, and their points.
_SPAN: Final = 0.01
_POINTS: Final = 3
#: A port that reflects more than this is off resonance: matching it would only hide that.
FAR: Final = 0.95
#: A move that changes a port's reflection by less than this has moved nothing.
_NO_ANSWER: Final = 8e-4
#: Trial positions along a trimmer's line.
_TRIALS: Final = 801
#: How many times its last move a trimmer may go on the strength of what that move did.
_TRUST: Final = 8.0
#: Relative improvement of the summed squares below which matching stops.
_PROGRESS: Final = 0.98


@dataclass(frozen=True, slots=True)
class MatchPlan:
    """What to match and how carefully.

    Parameters
    ----------
    nuclei
        In rising order of frequency.
    limit_db, aim_db
        Every |S_ii| shall be below the limit; matching goes on down to the aim.
    probe
        Steps of the move from which each trimmer is learned.
    play
        Steps below its target from which every trimmer approaches.
    sweeps
        Most sweeps.
    if_bandwidth, power_dbm
        Hz and dBm.
    """

    nuclei: tuple[NucleusPorts, ...]
    limit_db: float = -20.0
    aim_db: float = -30.0
    probe: int = 120
    play: int = 60
    sweeps: int = 12
    if_bandwidth: float = 1e3
    power_dbm: float = -10.0

    def sweep_plan(self) -> SweepPlan:
        """Return a few points around each nucleus, its frequency in the middle."""
        segments = tuple(
            Segment(group.frequency * (1.0 - _SPAN), group.frequency * (1.0 + _SPAN), _POINTS)
            for group in self.nuclei
        )
        return SweepPlan(segments, self.if_bandwidth, self.power_dbm)


@dataclass(frozen=True, slots=True)
class PortMatch:
    """What became of one port.

    Parameters
    ----------
    port, channel, nucleus, frequency
        Which, counted from 1; Hz.
    before, after
        Complex reflection at ``frequency``.
    reachable
        Least |reflection| that its match trimmer alone can give, by what it did; nan where unknown.
    steps
        How far the trimmer stands from where it stood.
    reason
        Why the port is above the limit; empty when it is below.
    """

    port: int
    channel: int
    nucleus: str
    frequency: float
    before: complex
    after: complex
    reachable: float
    steps: int
    reason: str


@dataclass(frozen=True, slots=True)
class MatchResult:
    """A finished matching.

    Parameters
    ----------
    ports
        In the order of the plan.
    sweeps, moves
        Sweeps of the array, and trimmer movements.
    positions
        Of every axis at the end.
    """

    ports: tuple[PortMatch, ...]
    sweeps: int
    moves: int
    positions: dict[str, int]

    @property
    def reached(self) -> bool:
        """Whether every port is below the limit."""
        return not any(port.reason for port in self.ports)


def match(
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    plan: MatchPlan,
    *,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> MatchResult:
    """Match every port of the plan with its match trimmer; the tune trimmers stay where they are.

    Raises
    ------
    RunAborted
        ``abort`` said so; the trimmers stay where they are.
    InstrumentError
        An instrument failed.
    KeyError
        The plan names an axis that does not exist.
    """
    return _Matching(analyzer, tuner, plan, emit, abort).run()


class _Matching:
    """One run of `match`; arrays follow the ports of the plan."""

    def __init__(
        self, analyzer: NetworkAnalyzer, tuner: Tuner, plan: MatchPlan, emit: EventSink, abort: Abort
    ) -> None:
        self.analyzer, self.tuner, self.plan, self.emit, self.abort = analyzer, tuner, plan, emit, abort
        self.ports = [(group, channel) for group in plan.nuclei for channel in range(len(group.ports))]
        self.names = [group.tunable_ports()[channel].match for group, channel in self.ports]
        self.sweeps = 0
        self.moves = 0
        axes = [tuner.axes[name] for name in self.names]
        self.lowest = np.array([axis.minimum + plan.play for axis in axes], dtype=np.float64)
        self.highest = np.array([axis.maximum for axis in axes], dtype=np.float64)

    def run(self) -> MatchResult:
        """Probe once, then follow secants until nothing gets better."""
        for channel in range(1, self.tuner.bias_channels + 1):
            self.tuner.set_bias(channel, 0.0)
        self.analyzer.configure(self.plan.sweep_plan())
        start = self._move(self._positions())
        first = self._sweep("baseline")
        active = np.abs(first) < FAR
        up = start + self.plan.probe <= self.highest
        here = self._move(np.where(active, start + np.where(up, 1, -1) * self.plan.probe, start))
        gamma = self._sweep("probe")
        slope, answered = _slopes(start, here, first, gamma)
        active &= answered
        slope = np.where(active, slope, 0.0)
        last_step = np.full(len(self.ports), float(self.plan.probe))
        best = min(((_score(first), start, first), (_score(gamma), here, gamma)), key=lambda entry: entry[0])
        while self.sweeps < self.plan.sweeps and decibels(float(np.max(np.abs(gamma)))) > self.plan.aim_db:
            reach = _TRUST * np.maximum(last_step, self.plan.play)
            target = _best_positions(
                here,
                gamma,
                slope,
                np.maximum(self.lowest, here - reach),
                np.minimum(self.highest, here + reach),
            )
            if np.array_equal(target, here):
                break
            there = self._move(target)
            found = self._sweep("secant")
            secant, answered = _slopes(here, there, gamma, found)
            slope = np.where(active & answered & (np.abs(there - here) >= 10), secant, slope)
            last_step = np.abs(there - here)
            improved = _score(found) < _PROGRESS * best[0]
            if _score(found) < best[0]:
                best = (_score(found), there, found)
            here, gamma = there, found
            if not improved:
                break
        if not np.array_equal(best[1], here):
            here = self._move(best[1])
            gamma = self._sweep("back to the best")
        return self._result(start, here, first, gamma, slope, active)

    def _positions(self) -> NDArray[np.float64]:
        positions = self.tuner.positions()
        now = np.array([positions[name] for name in self.names], dtype=np.float64)
        return np.clip(now, self.lowest, self.highest)

    def _move(self, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """Approach every target from below, as gears have play, and return where the trimmers stand."""
        if self.abort():
            raise RunAborted(f"matching stopped after {self.sweeps} sweeps; the trimmers stay where they are")
        wanted = {name: round(float(target)) for name, target in zip(self.names, targets, strict=True)}
        before = self.tuner.positions()
        is_first = self.sweeps == 0  # brings the play of every gear to one side
        approach = {
            name: step - self.plan.play for name, step in wanted.items() if step < before[name] or is_first
        }
        arrive = {name: step for name, step in wanted.items() if step != before[name] or is_first}
        for move in (approach, arrive):
            if move:
                self.tuner.move(move, abort=self.abort)
        after = self.tuner.positions()
        moved = {name: step for name, step in wanted.items() if step != before[name]}
        self.moves += len(moved)
        said = f"{len(moved)} match trimmers moved" if moved else "every match trimmer approached from below"
        self.emit(Event("match.moved", said, {"targets": moved}))
        return np.array([after[name] for name in self.names], dtype=np.float64)

    def _sweep(self, purpose: str) -> NDArray[np.complex128]:
        """Return every port's reflection at its own frequency."""
        if self.abort():
            raise RunAborted(f"matching stopped after {self.sweeps} sweeps; the trimmers stay where they are")
        order = sorted(group.ports[channel] for group, channel in self.ports)
        network = self.analyzer.sweep(order, abort=self.abort)
        self.sweeps += 1
        found = np.empty(len(self.ports), dtype=np.complex128)
        for place, (group, channel) in enumerate(self.ports):
            at = int(np.argmin(np.abs(network.f - group.frequency)))
            own = order.index(group.ports[channel])
            found[place] = network.s[at, own, own]
        worst = decibels(float(np.max(np.abs(found))))
        below = int(np.sum(20.0 * np.log10(np.maximum(np.abs(found), 1e-12)) < self.plan.limit_db))
        self.emit(
            Event(
                "match.progress",
                f"sweep {self.sweeps} ({purpose}): {below} of {len(found)} ports below "
                f"{self.plan.limit_db:g} dB, worst {worst:.1f} dB",
                {"done": self.sweeps, "total": self.plan.sweeps, "purpose": purpose},
            )
        )
        return found

    def _result(
        self,
        start: NDArray[np.float64],
        here: NDArray[np.float64],
        first: NDArray[np.complex128],
        gamma: NDArray[np.complex128],
        slope: NDArray[np.complex128],
        active: NDArray[np.bool_],
    ) -> MatchResult:
        """Say of every port what it reached, and why not more."""
        room = self.highest - self.lowest
        free = _best_positions(here, gamma, slope, here - room, here + room)
        least = np.where(active, np.abs(_along(here, gamma, slope, free)), np.nan)
        ports = []
        for place, (group, channel) in enumerate(self.ports):
            level = decibels(abs(complex(gamma[place])))
            reason = ""
            if level >= self.plan.limit_db:
                reason = self._reason(place, complex(first[place]), float(free[place]), float(least[place]))
            ports.append(
                PortMatch(
                    group.ports[channel],
                    channel + 1,
                    group.nucleus,
                    group.frequency,
                    complex(first[place]),
                    complex(gamma[place]),
                    float(least[place]),
                    round(float(here[place] - start[place])),
                    reason,
                )
            )
        return MatchResult(tuple(ports), self.sweeps, self.moves, self.tuner.positions())

    def _reason(self, place: int, first: complex, free: float, least: float) -> str:
        """Say why a port is above the limit."""
        name = self.names[place]
        if abs(first) >= FAR:
            return f"off resonance ({decibels(abs(first)):.1f} dB before): tune first"
        if not np.isfinite(least):
            return f"does not answer to {name}: check motor, cable and axis name"
        if decibels(least) >= self.plan.limit_db:
            return f"{name} alone can bring it to {decibels(least):.1f} dB at best: the rest is tuning's"
        if free > self.highest[place] or free < self.lowest[place]:
            beyond = free - (self.highest if free > self.highest[place] else self.lowest)[place]
            end = "upper" if beyond > 0 else "lower"
            return f"{name} would have to go about {abs(beyond):.0f} steps beyond the {end} end of its travel"
        return f"no progress in {self.sweeps} sweeps"


def _impedance(gamma: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return impedances over the reference impedance."""
    return np.asarray((1.0 + gamma) / np.where(np.abs(1.0 - gamma) < 1e-9, 1e-9, 1.0 - gamma))


def _slopes(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    gamma_before: NDArray[np.complex128],
    gamma_after: NDArray[np.complex128],
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """Return the change of each impedance per step, and which ports answered at all."""
    steps = after - before
    answered = (np.abs(gamma_after - gamma_before) > _NO_ANSWER) & (steps != 0)
    change = _impedance(gamma_after) - _impedance(gamma_before)
    return np.where(answered, change / np.where(steps == 0, 1.0, steps), 0.0), answered


def _along(
    here: NDArray[np.float64],
    gamma: NDArray[np.complex128],
    slope: NDArray[np.complex128],
    positions: NDArray[np.float64],
) -> NDArray[np.complex128]:
    """Return the reflections expected at other positions, shape (..., port)."""
    z = _impedance(gamma) + slope * (positions - here)
    return np.asarray((z - 1.0) / (z + 1.0), dtype=np.complex128)


def _best_positions(
    here: NDArray[np.float64],
    gamma: NDArray[np.complex128],
    slope: NDArray[np.complex128],
    lowest: NDArray[np.float64],
    highest: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the positions between two bounds at which the least reflection is expected; whole steps."""
    trials = lowest + np.linspace(0.0, 1.0, _TRIALS)[:, None] * (highest - lowest)
    size = np.abs(_along(here, gamma, slope, trials))
    best = trials[np.argmin(size, axis=0), np.arange(len(here))]
    return np.where(slope == 0.0, here, np.rint(best))


def _score(gamma: NDArray[np.complex128]) -> float:
    return float(np.sum(np.abs(gamma) ** 2))
