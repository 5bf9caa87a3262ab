"""Tune and match all ports of an array at their frequencies, with the bench's analyzer and tuner.

The decisions are in `coils.tuning.local`; here they meet instruments: a wide sweep before, narrow sweeps around
every nucleus' frequency while tuning (wide ones when dips must be found), a wide sweep after. Every sweep and
every move is an event with all its data. Detuning bias is switched off first. Nothing is assumed of what was
set: frequencies and positions are read back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import RunAborted
from coilbench.base.events import Event, EventSink, ignore
from coils.quality import decibels
from coils.tuning.local import advance, begin
from coils.tuning.local_state import ArraySweep, Move, Phase, Stop, TunablePort, TuningGoal, TuningState
from drivers.protocols import Abort, Segment, SweepPlan, never

if TYPE_CHECKING:
    from collections.abc import Sequence

    import skrf

    from coilbench.bench_file import BenchFile
    from drivers.protocols import NetworkAnalyzer, Tuner

#: Half width of the narrow sweeps over their centre, and their points: a loaded bandwidth is about 1 %.
NARROW_SPAN: Final = 0.02
_NARROW_POINTS: Final = 21
#: Fewest points of a wide sweep that shows every dip.
_WALKING_POINTS: Final = 201


@dataclass(frozen=True, slots=True)
class NucleusPorts:
    """The ports of one nucleus, in the order of the channels.

    Parameters
    ----------
    nucleus
        Name, such as ``"23Na"``.
    frequency
        Where the ports shall not reflect, Hz.
    ports
        Analyzer ports of channel 1, 2, ..., counted from 1.
    axis_prefix
        As in the axes' names ``ch1.<prefix>.tune`` and ``ch1.<prefix>.match``.
    """

    nucleus: str
    frequency: float
    ports: tuple[int, ...]
    axis_prefix: str

    def tunable_ports(self) -> tuple[TunablePort, ...]:
        """Return the ports with their axes."""
        return tuple(
            TunablePort(
                port,
                self.frequency,
                f"ch{channel}.{self.axis_prefix}.tune",
                f"ch{channel}.{self.axis_prefix}.match",
            )
            for channel, port in enumerate(self.ports, start=1)
        )


def nucleus_ports(file: BenchFile, /) -> tuple[NucleusPorts, ...]:
    """Return the array's ports by nucleus, in rising order of frequency."""
    groups = [
        NucleusPorts(name, file.larmor_frequency(name), file.array.ports[name], file.array.axes[name])
        for name in file.array.nuclei
    ]
    return tuple(sorted(groups, key=lambda group: group.frequency))


@dataclass(frozen=True, slots=True)
class TunePlan:
    """What to tune and how to sweep.

    Parameters
    ----------
    nuclei
        In rising order of frequency.
    goal
        Limit, aim and how to move.
    span
        Half width of the wide sweeps over their centre.
    points
        Of the wide sweeps, for each nucleus.
    if_bandwidth, power_dbm
        Of all sweeps, Hz and dBm.
    """

    nuclei: tuple[NucleusPorts, ...]
    goal: TuningGoal = field(default_factory=TuningGoal)
    span: float = 0.2
    points: int = 201
    if_bandwidth: float = 1e3
    power_dbm: float = -10.0

    def sweep_plan(self, span: float, points: int) -> SweepPlan:
        """Return one segment around each nucleus; an odd number of points puts its frequency on the axis."""
        segments = tuple(
            Segment(group.frequency * (1.0 - span), group.frequency * (1.0 + span), points | 1)
            for group in self.nuclei
        )
        return SweepPlan(segments, self.if_bandwidth, self.power_dbm)


@dataclass(frozen=True, slots=True)
class PortOutcome:
    """What became of one port.

    Parameters
    ----------
    port, channel
        Counted from 1.
    nucleus
        Name.
    frequency
        Hz.
    before_db, after_db
        |S_ii| at ``frequency`` in the wide sweeps.
    reached
        Whether ``after_db`` is below the limit.
    reason
        Why not; empty when reached.
    """

    port: int
    channel: int
    nucleus: str
    frequency: float
    before_db: float
    after_db: float
    reached: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TuneResult:
    """A finished tuning.

    Parameters
    ----------
    before, after
        Wide sweeps; ports in rising order.
    ports
        In the order of the plan.
    sweeps
        All sweeps of the array, the two wide ones included.
    moves
        Trimmer movements: axes moved, summed over all moves (running back to approach from below not
        counted).
    positions
        Of every axis at the end.
    """

    before: skrf.Network
    after: skrf.Network
    ports: tuple[PortOutcome, ...]
    sweeps: int
    moves: int
    positions: dict[str, int]

    @property
    def reached(self) -> bool:
        """Whether every port is below the limit."""
        return all(port.reached for port in self.ports)


def tune(
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    plan: TunePlan,
    *,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> TuneResult:
    """Tune and match every port of the plan.

    Ports that cannot reach the limit are in the result with the reason; the trimmers then stand where the
    array was best.

    Raises
    ------
    RunAborted
        ``abort`` said so; the trimmers stay where they are.
    InstrumentError
        An instrument failed.
    ValueError
        The plan names axes or ports that do not exist.
    """
    return _Tuning(analyzer, tuner, plan, emit, abort).run()


class _Tuning:
    """One run of `tune`: the instruments and what has been counted."""

    def __init__(
        self, analyzer: NetworkAnalyzer, tuner: Tuner, plan: TunePlan, emit: EventSink, abort: Abort
    ) -> None:
        self.analyzer = analyzer
        self.tuner = tuner
        self.plan = plan
        self.emit = emit
        self.abort = abort
        self.tunable = sorted(
            (port for group in plan.nuclei for port in group.tunable_ports()), key=lambda port: port.port
        )
        self.positions: dict[str, int] = {}
        self.sweeps = 0
        self.moves = 0

    def run(self) -> TuneResult:
        """Sweep, move and sweep again until it is over."""
        axes = self.tuner.axes
        self.positions = self.tuner.positions()
        travel = {name: (axis.minimum, axis.maximum) for name, axis in axes.items()}
        state, move = begin(self.tunable, travel, self.positions, self.plan.goal)
        for channel in range(1, self.tuner.bias_channels + 1):
            self.tuner.set_bias(channel, 0.0)
        self._say(
            "tune.started",
            f"tuning {len(self.tunable)} ports to below {self.plan.goal.limit_db:g} dB",
            limit_db=self.plan.goal.limit_db,
            aim_db=self.plan.goal.aim_db,
            frequencies={group.nucleus: group.frequency for group in self.plan.nuclei},
            positions=dict(self.positions),
        )
        self._move(move, Phase.BASELINE)
        self._configure(self.plan.span, self.plan.points)
        before = self._sweep()
        self._configure(NARROW_SPAN, _NARROW_POINTS)
        state, stop = self._iterate(state)
        if stop.restore is not None:
            self._move(stop.restore, Phase.STOPPED)
        self._configure(self.plan.span, self.plan.points)
        after = self._sweep()
        ports = self._outcomes(before, after, stop)
        result = TuneResult(before, after, ports, self.sweeps, self.moves, dict(self.positions))
        self._conclude(result)
        return result

    def _iterate(self, state: TuningState) -> tuple[TuningState, Stop]:
        """Take narrow sweeps and follow `advance` until it stops."""
        wide = False
        while True:
            purpose = state.phase
            if purpose is Phase.WALKING and not wide:
                wide = True
                self._configure(self.plan.span, max(self.plan.points, _WALKING_POINTS))
            network = self._sweep()
            sweep = ArraySweep(np.asarray(network.f), np.asarray(network.s))
            state, action = advance(state, sweep, self.positions)
            levels = dict(zip((port.port for port in self.tunable), state.reflections_db, strict=True))
            above = sum(level >= self.plan.goal.limit_db for level in levels.values())
            self._say(
                "tune.swept",
                f"sweep {self.sweeps} ({purpose}): {len(levels) - above} of {len(levels)} ports below "
                f"{self.plan.goal.limit_db:g} dB, worst {max(levels.values()):.1f} dB",
                sweep=self.sweeps,
                purpose=str(purpose),
                reflections_db={str(port): level for port, level in levels.items()},
                prediction_error=state.error,
            )
            if isinstance(action, Stop):
                return state, action
            self._move(action, state.phase)

    def _configure(self, span: float, points: int) -> None:
        self.analyzer.configure(self.plan.sweep_plan(span, points))

    def _sweep(self) -> skrf.Network:
        self._check_abort()
        self.sweeps += 1
        return self.analyzer.sweep([port.port for port in self.tunable], abort=self.abort)

    def _move(self, move: Move, phase: Phase) -> None:
        """Pass the approach, then go to the targets."""
        self._check_abort()
        if not move.targets:
            return
        for targets in (move.approach, move.targets):
            if targets:
                self.positions.update(self.tuner.move(targets, abort=self.abort))
        self.moves += len(move.targets)
        self._say(
            "tune.moved",
            f"{len(move.targets)} trimmers moved ({phase})",
            purpose=str(phase),
            approach=dict(move.approach),
            targets=dict(move.targets),
            positions=dict(self.positions),
        )

    def _outcomes(self, before: skrf.Network, after: skrf.Network, stop: Stop) -> tuple[PortOutcome, ...]:
        """Judge every port by the wide sweeps; what `coils.tuning.local` knows of a failure is the reason."""
        reasons = {entry.port: entry.reason for entry in stop.unreached}
        order = [port.port for port in self.tunable]
        outcomes = []
        for group in self.plan.nuclei:
            levels = (
                reflection_levels(before, order, group.ports, group.frequency),
                reflection_levels(after, order, group.ports, group.frequency),
            )
            for channel, (port, first, last) in enumerate(zip(group.ports, *levels, strict=True), start=1):
                reached = last < self.plan.goal.limit_db
                reason = (
                    "" if reached else reasons.get(port, "rose above the limit after it had been reached")
                )
                outcomes.append(
                    PortOutcome(port, channel, group.nucleus, group.frequency, first, last, reached, reason)
                )
        return tuple(outcomes)

    def _conclude(self, result: TuneResult) -> None:
        for port in result.ports:
            if not port.reached:
                self._say(
                    "tune.unreached",
                    f"port {port.port} (channel {port.channel}, {port.nucleus}) stays at "
                    f"{port.after_db:.1f} dB: {port.reason}",
                    port=port.port,
                    channel=port.channel,
                    nucleus=port.nucleus,
                    reflection_db=port.after_db,
                    reason=port.reason,
                )
        worst = max(port.after_db for port in result.ports)
        reached = sum(port.reached for port in result.ports)
        self._say(
            "tune.finished",
            f"{reached} of {len(result.ports)} ports below {self.plan.goal.limit_db:g} dB after "
            f"{result.sweeps} sweeps and {result.moves} trimmer movements; worst {worst:.1f} dB",
            reached=result.reached,
            sweeps=result.sweeps,
            moves=result.moves,
            reflections_db={str(port.port): port.after_db for port in result.ports},
            positions=result.positions,
        )

    def _check_abort(self) -> None:
        if self.abort():
            raise RunAborted(f"tuning stopped after {self.sweeps} sweeps; the trimmers stay where they are")

    def _say(self, kind: str, message: str, **data: object) -> None:
        self.emit(Event(kind, message, data))


def reflection_levels(
    network: skrf.Network, order: Sequence[int], ports: Sequence[int], frequency: float
) -> tuple[float, ...]:
    """Return |S_ii| in dB of ``ports`` at a frequency.

    Parameters
    ----------
    order
        Port number of each row of the network's S-matrix.
    frequency
        Hz, inside the sweep.
    """
    sweep = ArraySweep(np.asarray(network.f), np.asarray(network.s))
    matrix = sweep.at(np.array([frequency]))[0]
    places = [list(order).index(port) for port in ports]
    return tuple(decibels(abs(complex(matrix[place, place]))) for place in places)
