"""Measure a device with more ports than the analyzer: by a switch matrix, or by asking for cables.

Connections that disagree with the others are measured again once; what is then still missing or doubtful is
marked in the result, never filled in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from coilbench.base.errors import InstrumentFault, MeasurementError, ReplyTimeout, RunAborted
from coilbench.base.events import Event, EventSink, ignore
from coilbench.base.verdict import Judged, Verdict, overall
from coilbench.procedures.calibrate import Now, utc_now
from coilbench.procedures.operator import Operator, Request, carry_out
from coils.assembly import (
    Assembly,
    Connection,
    PartialSweep,
    assemble,
    plan_connections,
    suspect_connections,
)
from coils.assembly.checks import indistinguishable_ports, judge_assembly
from coils.calibration import Conditions, deembed, require_valid
from drivers.protocols import Abort, SweepPlan, never

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from coils.calibration import CalibrationRecord, ValidityLimits
    from drivers.protocols import ForwardAnalyzer, NetworkAnalyzer, SwitchMatrix

#: From device ports, frequencies and raw S of one connection to S at the device's ports.
Correct: TypeAlias = Callable[
    [tuple[int, ...], "NDArray[np.float64]", "NDArray[np.complex128]"], "NDArray[np.complex128]"
]
#: From the columns (S11, S21) of a pair in both directions, shape (frequency, 2) each, to its S.
CorrectBothWays: TypeAlias = Callable[
    ["NDArray[np.complex128]", "NDArray[np.complex128]"], "NDArray[np.complex128]"
]
#: Reflections of all device ports' loads at given frequencies, shape (frequency, port).
Loads: TypeAlias = Callable[["NDArray[np.float64]"], "NDArray[np.complex128]"]

#: Is given every sweep as soon as it is whole and corrected.
Keep: TypeAlias = Callable[[PartialSweep], None]

#: Sweeps of one connection before its pair is given up.
_ATTEMPTS: Final = 2


def discard(_part: PartialSweep, /) -> None:
    """Keep nothing."""


def uncorrected(
    _ports: tuple[int, ...], _frequencies: NDArray[np.float64], s: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Return S as it came: for an analyzer that is calibrated at the device's ports."""
    return s


def through_paths(paths: Callable[[int, int, NDArray[np.float64]], NDArray[np.complex128]]) -> Correct:
    """Return a correction that takes away the known ways through a switch.

    Parameters
    ----------
    paths
        Called with analyzer port, device port and frequencies; returns S of the way, shape
        (frequency, 2, 2), its first port at the analyzer.
    """

    def correct(
        ports: tuple[int, ...], frequencies: NDArray[np.float64], s: NDArray[np.complex128]
    ) -> NDArray[np.complex128]:
        return deembed(s, np.stack([paths(place, port, frequencies) for place, port in enumerate(ports, 1)]))

    return correct


def with_calibration(
    record: CalibrationRecord,
    analyzer: NetworkAnalyzer,
    *,
    settings: Mapping[str, float],
    temperature: float | None = None,
    drift: float | None = None,
    limits: ValidityLimits | None = None,
    now: Now = utc_now,
) -> Correct:
    """Return a correction at the cable ends that checks before each use that its calibration is still valid.

    Parameters
    ----------
    record
        Of all ports that are used.
    settings, temperature, drift, limits
        As `Conditions` and `require_valid` take them.

    Notes
    -----
    The correction raises MeasurementError when the calibration is not valid, or has expired meanwhile.
    """
    correction = record.solve()

    def correct(
        _ports: tuple[int, ...], frequencies: NDArray[np.float64], s: NDArray[np.complex128]
    ) -> NDArray[np.complex128]:
        conditions = Conditions(now(), temperature, analyzer.identity, frequencies, settings, drift)
        require_valid(record, conditions, limits)
        return correction.correct(s)

    return correct


@dataclass(frozen=True, slots=True)
class AssemblyPlan:
    """What to measure.

    Parameters
    ----------
    ports
        Device ports, counted from 1.
    sweep
        Of every connection.
    loads
        What every device port ends in while not connected.
    noise
        Standard deviation of a complex S-parameter between connections, repeatability of cables and relays
        included.
    analyzer_ports
        Ports of the analyzer that are used, in the order of the cables.
    reciprocal
        Whether the device must be reciprocal.
    systematic
        Expanded uncertainty of the calibration that all connections share.
    load_uncertainty
        Standard uncertainty of each load's complex reflection. A load that is not as said makes its port's
        partners look different while it is connected, by |S_ik|² times this.
    """

    ports: tuple[int, ...]
    sweep: SweepPlan
    loads: Loads
    noise: float
    analyzer_ports: tuple[int, ...] = (1, 2)
    reciprocal: bool = True
    systematic: float = 0.0
    load_uncertainty: float = 0.0


@dataclass(frozen=True, slots=True)
class AssembledDevice:
    """A device measured part by part.

    Parameters
    ----------
    ports
        Device ports in the order of the assembly's rows.
    assembly
        Its S-matrix; ports that were not asked for end in their loads. Places in it count from 1.
    parts
        Every sweep, in order.
    failures
        Connections that could not be measured, with the reason.
    blind
        Pairs of ports between which a wrong cable would not have been noticed.
    judged, verdict
        Of the matrix as a whole.
    noise
        Standard deviation of a complex S-parameter between connections that it was judged by: the plan's, and
        what the uncertainty of the loads adds.
    """

    ports: tuple[int, ...]
    assembly: Assembly
    parts: tuple[PartialSweep, ...]
    failures: tuple[tuple[tuple[int, ...], str], ...]
    blind: tuple[tuple[int, int], ...]
    judged: tuple[Judged, ...]
    verdict: Verdict
    noise: float

    @property
    def missing(self) -> tuple[tuple[int, int], ...]:
        """Pairs of device ports without an accepted sweep."""
        return tuple((self.ports[one - 1], self.ports[other - 1]) for one, other in self.assembly.missing)


def assemble_with_switch(
    analyzer: NetworkAnalyzer,
    switch: SwitchMatrix,
    plan: AssemblyPlan,
    *,
    correct: Correct = uncorrected,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> AssembledDevice:
    """Measure all ports through a switch matrix, which is parked afterwards.

    Raises
    ------
    RunAborted
        ``abort`` said so.
    InstrumentError
        The analyzer or the switch is gone, or a relay does not move.
    MeasurementError
        Nothing could be measured, the calibration is not valid, or every connection contradicts the others.
    ValueError
        The plan asks for ports that the switch does not lead to.
    """
    if absent := sorted(set(plan.ports) - set(switch.device_ports)):
        raise ValueError(f"{switch.name} leads to no port {', '.join(map(str, absent))}")
    session = _Session(analyzer, plan, _whole_sweeps(analyzer, plan, correct, abort), emit, abort)
    try:
        for connection in session.connections:
            switch.connect(connection.ports)
            session.measure(connection)
        for connection in session.doubtful():
            switch.connect(connection.ports)
            session.measure(connection)
    finally:
        switch.make_safe()
    return session.result()


def assemble_by_hand(
    analyzer: NetworkAnalyzer,
    operator: Operator,
    plan: AssemblyPlan,
    *,
    correct: Correct = uncorrected,
    keep: Keep = discard,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> AssembledDevice:
    """Measure all ports by asking for cables to be moved, as few as possible; errors as above.

    Parameters
    ----------
    keep
        Is given every sweep at once: what hands have done must not be lost.

    Raises
    ------
    RunAborted
        ``abort`` or the operator said so.
    InstrumentError
        The analyzer is gone.
    MeasurementError
        As above.
    """
    session = _Session(analyzer, plan, _whole_sweeps(analyzer, plan, correct, abort), emit, abort, keep)
    return _by_operator(session, operator)


def assemble_one_way(
    analyzer: ForwardAnalyzer,
    operator: Operator,
    plan: AssemblyPlan,
    correct: CorrectBothWays,
    *,
    keep: Keep = discard,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> AssembledDevice:
    """Measure all ports with an analyzer that drives its first port only; every pair is connected both ways.

    Parameters
    ----------
    correct
        From both directions to S of a pair, such as `correct_one_path` with a calibration of that kind.
    keep
        As `assemble_by_hand`; of a pair once both directions are there.

    Raises
    ------
    RunAborted, InstrumentError, MeasurementError
        As `assemble_by_hand`.
    """
    columns: dict[tuple[int, ...], NDArray[np.complex128]] = {}

    def take(ports: tuple[int, ...]) -> PartialSweep | None:
        reflection, transmission = analyzer.sweep_forward(abort=abort)
        columns[ports] = np.stack([reflection.s[:, 0, 0], transmission.s[:, 0, 0]], axis=-1)
        pair = (min(ports), max(ports))
        if pair not in columns or pair[::-1] not in columns:
            return None
        frequencies = np.asarray(reflection.f, dtype=np.float64)
        return PartialSweep(pair, frequencies, correct(columns[pair], columns[pair[::-1]]))

    return _by_operator(_Session(analyzer, plan, take, emit, abort, keep, both_directions=True), operator)


def _by_operator(session: _Session, operator: Operator) -> AssembledDevice:
    _ask_for(session.connections, session, operator, anew=False)
    _ask_for(session.doubtful(), session, operator, anew=True)
    return session.result()


def _whole_sweeps(
    analyzer: NetworkAnalyzer, plan: AssemblyPlan, correct: Correct, abort: Abort
) -> Callable[[tuple[int, ...]], PartialSweep]:
    """Return what sweeps all connected ports at once and corrects them."""

    def take(ports: tuple[int, ...]) -> PartialSweep:
        network = analyzer.sweep(plan.analyzer_ports[: len(ports)], abort=abort)
        frequencies = np.asarray(network.f, dtype=np.float64)
        return PartialSweep(
            ports, frequencies, correct(ports, frequencies, np.asarray(network.s, dtype=np.complex128))
        )

    return take


def _ask_for(
    connections: tuple[Connection, ...], session: _Session, operator: Operator, *, anew: bool
) -> None:
    requests = [
        Request(_instruction(connection, anew=anew), number, len(connections))
        for number, connection in enumerate(connections, 1)
    ]
    carry_out(requests, operator, lambda place: session.measure(connections[place]))


def _instruction(connection: Connection, *, anew: bool) -> str:
    cables = range(1, len(connection.ports) + 1) if anew else connection.moved
    moves = ", ".join(f"cable {cable} to port {connection.ports[cable - 1]}" for cable in cables)
    stays = [cable for cable in range(1, len(connection.ports) + 1) if cable not in cables]
    kept = "".join(f"; cable {cable} stays on port {connection.ports[cable - 1]}" for cable in stays)
    return f"{'check: ' if anew else ''}connect {moves}{kept}; a load on every other port"


class _Session:
    """The sweeps of one device so far."""

    def __init__(
        self,
        analyzer: NetworkAnalyzer,
        plan: AssemblyPlan,
        take: Callable[[tuple[int, ...]], PartialSweep | None],
        emit: EventSink,
        abort: Abort,
        keep: Keep = discard,
        *,
        both_directions: bool = False,
    ) -> None:
        self._plan, self._take, self._both_directions = plan, take, both_directions
        self._emit, self._abort, self._keep = emit, abort, keep
        self._done = 0
        self._parts: dict[tuple[int, ...], PartialSweep] = {}
        self._failures: dict[tuple[int, ...], str] = {}
        planned = plan_connections(plan.ports, len(plan.analyzer_ports), both_directions=both_directions)
        self.connections: Final = planned.connections
        analyzer.configure(plan.sweep)
        emit(
            Event(
                "assemble.planned",
                f"{len(plan.ports)} ports by {len(self.connections)} connections of "
                f"{len(plan.analyzer_ports)} cables",
                {"ports": list(plan.ports), "connections": [list(c.ports) for c in self.connections]},
            )
        )

    def measure(self, connection: Connection) -> None:
        """Sweep one connection; a failed sweep is tried again, then given up."""
        for attempt in range(1, _ATTEMPTS + 1):
            if self._abort():
                raise RunAborted(f"stopped before connection {connection.ports}")
            try:
                part = self._take(connection.ports)
            except (InstrumentFault, ReplyTimeout) as error:
                self._failures[connection.ports] = str(error)
                self._emit(
                    Event(
                        "assemble.failed",
                        f"ports {connection.ports}, attempt {attempt}: {error}",
                        {"ports": list(connection.ports), "attempt": attempt},
                    )
                )
                continue
            self._failures.pop(connection.ports, None)
            if part is not None:
                self._parts[part.ports] = part
                self._keep(part)
            self._done += 1
            named = "-".join(map(str, connection.ports))
            self._emit(
                Event(
                    "assemble.swept",
                    f"ports {named} ({self._done}; planned are {len(self.connections)})",
                    {"ports": list(connection.ports), "done": self._done, "of": len(self.connections)},
                )
            )
            return

    def doubtful(self) -> tuple[Connection, ...]:
        """Return the connections to be measured again: failed, or in disagreement with the others."""
        again = list(self._failures)
        if self._parts:
            parts = tuple(self._parts.values())
            loads = self._plan.loads(parts[0].frequencies)
            for suspicion in suspect_connections(parts, loads, self._noise()):
                self._emit(Event("assemble.suspicious", str(suspicion), {"ports": list(suspicion.ports)}))
                again.append(suspicion.ports)
                if self._both_directions:
                    again.append(suspicion.ports[::-1])
        return tuple(Connection(ports, tuple(range(1, len(ports) + 1))) for ports in again)

    def _noise(self) -> float:
        """Return the plan's noise with what the loads add at the pair that is coupled most."""
        largest = 0.0
        for part in self._parts.values():
            coupling = np.abs(np.nan_to_num(part.s))
            coupling[:, range(len(part.ports)), range(len(part.ports))] = 0.0
            largest = max(largest, float(np.sqrt(np.mean(coupling**4, axis=0)).max()))
        return float(np.hypot(self._plan.noise, self._plan.load_uncertainty * largest))

    def result(self) -> AssembledDevice:
        """Assemble and judge what has been measured.

        Raises
        ------
        MeasurementError
            Nothing has been measured, or every connection contradicts the others.
        """
        parts = tuple(self._parts.values())
        if not parts:
            reasons = "; ".join(self._failures.values())
            raise MeasurementError(f"no connection could be measured: {reasons}")
        ports, noise = self._plan.ports, self._noise()
        whole = assemble(parts, self._plan.loads(parts[0].frequencies), noise=noise)
        assembly = _of_ports(whole, np.array(ports) - 1)
        judged = judge_assembly(
            assembly,
            noise,
            systematic=self._plan.systematic,
            reciprocal=self._plan.reciprocal,
        )
        blind = indistinguishable_ports(assembly, noise)
        result = AssembledDevice(
            ports=ports,
            assembly=assembly,
            parts=parts,
            failures=tuple(self._failures.items()),
            blind=tuple((ports[one - 1], ports[other - 1]) for one, other in blind),
            judged=judged,
            verdict=overall(judged),
            noise=noise,
        )
        self._emit(
            Event(
                "assemble.finished",
                f"{len(ports)} ports assembled: {result.verdict}; {len(result.missing)} pairs missing, "
                f"{len(assembly.suspicions)} connections in doubt",
                {
                    "verdict": str(result.verdict),
                    "missing": [list(pair) for pair in result.missing],
                    "suspicions": [str(suspicion) for suspicion in assembly.suspicions],
                },
            )
        )
        return result


def _of_ports(assembly: Assembly, inside: NDArray[np.int64]) -> Assembly:
    """Return the part of an assembly that belongs to some ports."""
    grid = np.ix_(inside, inside)
    return Assembly(
        frequencies=assembly.frequencies,
        s=assembly.s[:, grid[0], grid[1]],
        count=assembly.count[grid],
        loads=assembly.loads[:, inside],
        spread=assembly.spread[inside],
        suspicions=assembly.suspicions,
        incomplete=assembly.incomplete,
        filled=assembly.filled[:, grid[0], grid[1]],
    )
