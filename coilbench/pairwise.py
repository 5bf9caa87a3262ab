"""What pairwise measuring by hand rests on: the plan in words, the loads, the corrections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from coilbench.array_calibration import calibration_entry
from coilbench.base.errors import BenchFileError
from coilbench.procedures.calibrate import utc_now
from coilbench.switched_analyzer import read_standard
from coils.calibration import Conditions, correct_one_path, load_record, require_valid
from coils.calibration.budget import COVERAGE, record_budget, reflection_residuals
from drivers.protocols import ForwardAnalyzer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from coilbench.procedures.assemble import Correct, CorrectBothWays, Loads
    from coils.assembly import Connection, ConnectionPlan
    from coils.calibration import CalibrationRecord, MeasuredStandard
    from coils.quality import Calibration
    from drivers.protocols import Abort, NetworkAnalyzer, SweepPlan

#: |Γ| of an ordinary 50 ohm load that nobody has measured: assumed, VSWR 1.1, 26 dB; of cheap loads twice as
#: much. Give a measured load where it matters.
ORDINARY_LOAD: Final = 0.048

#: Returns the largest expanded uncertainty of |S| that a calibration leaves in the connections so far; before
#: the first one, in whatever hangs on the cables.
Leaves: TypeAlias = Callable[[], float]


@dataclass(frozen=True, slots=True)
class KnownLoads:
    """What the ports that are not connected end in.

    Parameters
    ----------
    reflections
        From frequencies in Hz to shape (frequency, port).
    uncertainty
        Standard uncertainty of each complex reflection.
    source
        Where they come from, in words.
    """

    reflections: Loads
    uncertainty: float
    source: str


def ideal_loads(ports: Sequence[int], /) -> KnownLoads:
    """Return loads that are taken for exactly 50 ohm, as uncertain as ordinary ones are."""
    count = max(ports)
    return KnownLoads(
        lambda frequencies: np.zeros((frequencies.size, count), dtype=np.complex128), ORDINARY_LOAD, "ideal"
    )


def read_loads(folder: Path, ports: Sequence[int], sweep: SweepPlan, uncertainty: float, /) -> KnownLoads:
    """Read ``load-<port>.s1p`` of every port.

    Parameters
    ----------
    sweep
        Every load must be known there.
    uncertainty
        Standard uncertainty of each complex reflection in the files.

    Raises
    ------
    BenchFileError
        Files are missing, cannot be read, do not cover the sweep, or hold no load; all are named.
    """
    ends = np.array([end for segment in sweep.segments for end in (segment.start, segment.stop)])
    loads: dict[int, MeasuredStandard] = {}
    mistakes: list[str] = []
    for port in ports:
        path = folder / f"load-{port}.s1p"
        try:
            loads[port] = read_standard(path)
            largest = float(np.abs(loads[port].scattering(ends)).max())
        except (OSError, ValueError, IndexError, KeyError) as error:
            mistakes.append(f"{path.name} ({error})")
            continue
        if not largest < 0.5:
            mistakes.append(f"{path.name} (reflects {largest:.2f}: that is no load)")
    if mistakes:
        raise BenchFileError(f"--loads {folder}: {'; '.join(mistakes)}")

    def reflections(frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
        out = np.zeros((frequencies.size, max(ports)), dtype=np.complex128)
        for port, load in loads.items():
            out[:, port - 1] = load.scattering(frequencies)[:, 0, 0]
        return out

    return KnownLoads(reflections, uncertainty, str(folder))


def describe_plan(plan: ConnectionPlan, /) -> tuple[str, ...]:
    """Return a connection plan in words: how many, and which cable goes where, a line for each that stays."""
    cables = len(plan.connections[0].ports)
    head = (
        f"{len(plan.connections)} connections of {cables} cables; {plan.cable_moves} times a cable is moved"
    )
    return (head, *_routes(plan.connections))


def _routes(connections: Sequence[Connection]) -> Iterator[str]:
    """Yield consecutive connections in which the same cable moves as one line."""
    begin = 0
    while begin < len(connections):
        moved = connections[begin].moved
        end = begin + 1
        while end < len(connections) and len(moved) == 1 and connections[end].moved == moved:
            end += 1
        ports = connections[begin].ports
        stays = [f"cable {c} stays on {port}" for c, port in enumerate(ports, 1) if c not in moved]
        goes = [
            f"cable {c} to {', '.join(str(each.ports[c - 1]) for each in connections[begin:end])}"
            for c in moved
        ]
        numbers = f"{begin + 1}" if end == begin + 1 else f"{begin + 1}-{end}"
        yield f"  {numbers}: {'; '.join((*stays, *goes))}"
        begin = end


@dataclass(frozen=True, slots=True)
class Corrections:
    """How the connections are corrected.

    Parameters
    ----------
    whole
        Of connections that are swept in all directions at once.
    both_ways
        Of pairs that are connected both ways.
    leaves
        What that leaves uncertain.
    entry
        For the passport; None: the analyzer's own calibration.
    """

    whole: Correct
    both_ways: CorrectBothWays
    leaves: Leaves
    entry: Calibration | None


def as_they_are(uncertainty: float, /) -> Corrections:
    """Return no correction: the analyzer is calibrated at its cables' ends, to this expanded uncertainty."""

    def both_ways(forward: NDArray[np.complex128], reverse: NDArray[np.complex128]) -> NDArray[np.complex128]:
        return np.stack([forward, reverse[:, ::-1]], axis=-1)

    return Corrections(lambda _ports, _frequencies, s: s, both_ways, lambda: uncertainty, None)


def with_calibration(
    analyzer: NetworkAnalyzer,
    folder: Path,
    sweep: SweepPlan,
    at: Sequence[float],
    *,
    cables: tuple[int, ...],
    temperature: float | None,
    least: float,
    abort: Abort,
) -> Corrections:
    """Return the correction with a calibration of ours, which must be valid now and at every connection.

    Parameters
    ----------
    at
        Frequencies in Hz at which what it leaves is stated.
    cables
        Analyzer ports that are used; the calibration must be of these.
    temperature
        Of the room now, K; None: not known.
    least
        Expanded uncertainty of |S| that is stated even where the kit claims to be better known; for one-path
        calibrations, whose budget is that of reflections alone.

    Raises
    ------
    MeasurementError
        The calibration is not valid; the reasons are in the text.
    BenchFileError
        It is of another kind, or of other ports.
    """
    record = load_record(folder)
    forward_only = isinstance(analyzer, ForwardAnalyzer)
    _require_fit(record, folder, cables, forward_only=forward_only)
    actual = analyzer.configure(sweep)
    swept = analyzer.sweep((1,) if forward_only else cables, abort=abort)
    axis = np.asarray(swept.f, dtype=np.float64)
    settings = {"power_dbm": actual.power_dbm}

    def require(frequencies: NDArray[np.float64]) -> None:
        require_valid(record, Conditions(utc_now(), temperature, analyzer.identity, frequencies, settings))

    require(axis)
    correction = record.solve()
    places = [int(np.argmin(np.abs(axis - frequency))) for frequency in at]
    left: list[float] = []

    def left_in(s: NDArray[np.complex128]) -> float:
        return float(np.max(record_budget(record, s).expanded[places]))

    def whole(
        _ports: tuple[int, ...], frequencies: NDArray[np.float64], s: NDArray[np.complex128]
    ) -> NDArray[np.complex128]:
        require(frequencies)
        left.append(left_in(s))
        return correction.correct(s)

    def both_ways(forward: NDArray[np.complex128], reverse: NDArray[np.complex128]) -> NDArray[np.complex128]:
        require(axis)
        return correct_one_path(correction, forward, reverse)

    def leaves() -> float:
        if not forward_only:
            return max(left) if left else left_in(np.asarray(swept.s, dtype=np.complex128))
        residuals = reflection_residuals(record, cables[0])
        total = residuals.directivity + residuals.tracking + residuals.source_match
        return max(least, float(COVERAGE * np.max(total[places])))

    return Corrections(whole, both_ways, leaves, calibration_entry(record, folder))


def _require_fit(
    record: CalibrationRecord, folder: Path, cables: tuple[int, ...], *, forward_only: bool
) -> None:
    """Refuse a calibration that cannot correct these connections.

    Raises
    ------
    BenchFileError
        It is of another kind, or of other ports of the analyzer.
    """
    allowed = ("one-path",) if forward_only else ("solt", "unknown-thru", "trl")
    if record.kind not in allowed:
        raise BenchFileError(
            f"--calibration {folder}: is a {record.kind} calibration; this analyzer's pairs take "
            f"{' or '.join(allowed)}"
        )
    if record.ports != cables:
        ours, theirs = (", ".join(map(str, ports)) for ports in (cables, record.ports))
        raise BenchFileError(
            f"--calibration {folder}: is of the analyzer's ports {theirs}; connected are ports {ours}"
        )
