"""Calibrate a bench's analyzer for the sweeps of its array, and use that calibration for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.array_run import array_run, conclude_without_coil
from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.base.verdict import Verdict, judge
from coilbench.calibrated_analyzer import CalibratedAnalyzer
from coilbench.procedures.calibrate import CalibrationPlan, calibrate
from coilbench.report.page import Rows, Section
from coils.calibration import (
    CalibrationRecord,
    DefinitionUncertainty,
    Kit,
    MeasuredStandard,
    ValidityLimits,
    ideal_kit,
    load_record,
    save_record,
)
from coils.calibration.budget import COVERAGE, reflection_residuals
from coils.quality import Calibration
from drivers.protocols import ForwardAnalyzer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coilbench.array_run import ArrayRun
    from coilbench.base.events import EventSink
    from coilbench.outcome import Outcome
    from coilbench.procedures.operator import Operator
    from coils.calibration import CalibrationKind
    from drivers.protocols import NetworkAnalyzer

#: Where a run keeps its calibration.
FOLDER: Final = "calibration"
#: Files of a measured kit, by the names that calibrations use.
_KIT_FILES: Final = {name: f"{name}.s1p" for name in ("short", "open", "load", "reflect")} | {
    name: f"{name}.s2p" for name in ("thru", "line")
}


@dataclass(frozen=True, slots=True)
class CalibrationWish:
    """What shall be calibrated.

    Parameters
    ----------
    kind
        As `coils.calibration.calibration_steps` knows it.
    kit
        Folder with ``short.s1p``, ``open.s1p``, ``load.s1p`` and ``thru.s2p``; None: ideal standards.
    uncertainty
        Standard uncertainty of each standard's complex reflection, linear.
    temperature
        Of the room, K; None: not known.
    pairwise
        Calibrate the cables of an analyzer of few ports, for sweeps pair by pair.
    """

    kind: CalibrationKind
    kit: Path | None
    uncertainty: float
    temperature: float | None
    pairwise: bool = False


def cables(analyzer: NetworkAnalyzer, ports: Sequence[int], /) -> tuple[int, ...]:
    """Return the analyzer's ports whose cables are moved from port to port of an array."""
    if isinstance(analyzer, ForwardAnalyzer):
        return (1, 2)
    return tuple(range(1, min(analyzer.port_count, len(ports)) + 1))


def calibrate_array(
    bench: Path, runs: Path, watcher: EventSink, operator: Operator, wish: CalibrationWish, /
) -> Outcome:
    """Calibrate all ports of a bench's array for the very sweeps that characterise it.

    Raises
    ------
    CoilbenchError
        It could not be calibrated.
    """
    names = ("analyzer",)
    with array_run(
        bench, runs, "calibrate", watcher, instruments=names, ports_at_once=2 if wish.pairwise else None
    ) as run:
        run.step("Calibrate")
        plan = run.character_plan()
        ports = tuple(sorted(port for group in plan.nuclei for port in group.ports))
        if wish.pairwise:
            ports = cables(run.analyzer, ports)
        wanted = CalibrationPlan(
            wish.kind, ports, read_kit(wish.kit, wish.uncertainty), plan.sweep_plan(), wish.temperature
        )
        try:
            record = calibrate(run.analyzer, wanted, operator, emit=run.folder.emit, abort=run.abort)
        except ValueError as error:
            raise BenchFileError(f"cannot calibrate: {error}") from None
        save_record(record, run.folder.path / FOLDER)
        # a third of the limit: a port that just passes is then told from one that does not
        allowed = 10.0 ** (run.file.limits.s11_db / 20.0) / 3.0
        residuals = _directivities(record, [group.frequency for group in plan.nuclei])
        judged = tuple(
            judge(f"uncertainty of |S{port}{port}| when matched", value, "", at_most=allowed)
            for port, value in sorted(residuals.items(), key=lambda entry: -entry[1])[:1]
        )
        where, how = run.folder.path / FOLDER, " --pairwise" if wish.pairwise else ""
        lines = (
            f"{record.kind} calibration of ports {', '.join(map(str, ports))} with {record.kit.name}.",
            f"Use it within {_hours():g} h: coilbench sweep{how} --calibration {where}",
        )
        rows = tuple((str(port), f"{value:.2g}") for port, value in sorted(residuals.items()))
        table = Rows(("port", "radius of the 95 % circle of a matched reflection"), rows)
        text = "From the standards' uncertainties alone; noise and connections come on top."
        section = Section("What the standards leave", text, (), (table,))
        values = {"calibration": str(where), "kind_of_calibration": record.kind, "ports": list(ports)}
        return conclude_without_coil(run, judged, lines, (section,), values)


def use_calibration(
    run: ArrayRun, folder: Path, temperature: float | None, /
) -> tuple[NetworkAnalyzer, float, Calibration]:
    """Return the run's analyzer behind a calibration, what that leaves uncertain, and its passport entry.

    Returns
    -------
    The analyzer; the largest expanded uncertainty of any |S| at a Larmor frequency; the entry.

    Raises
    ------
    MeasurementError
        The calibration is not valid now; the reasons are in the text.
    BenchFileError
        It does not fit this array.
    """
    record = load_record(folder)
    plan = run.character_plan()
    try:
        analyzer = CalibratedAnalyzer(run.analyzer, record, temperature)
    except ValueError as error:
        raise BenchFileError(f"--calibration {folder}: {error}") from None
    missing = {port for group in plan.nuclei for port in group.ports} - set(record.ports)
    if missing:
        absent = ", ".join(map(str, sorted(missing)))
        raise BenchFileError(f"--calibration {folder}: ports {absent} are not calibrated")
    analyzer.configure(plan.sweep_plan())
    swept = analyzer.sweep_all(abort=run.abort)
    at = [int(np.argmin(np.abs(swept.frequencies - group.frequency))) for group in plan.nuclei]
    uncertainty = float(np.max(swept.budget.expanded[at]))
    if not np.isfinite(uncertainty):
        raise MeasurementError(f"{folder}: the uncertainty of the calibration is not finite; calibrate again")
    return analyzer, uncertainty, calibration_entry(record, folder)


def calibration_entry(record: CalibrationRecord, folder: Path, /) -> Calibration:
    """Return what a passport says of a calibration that is valid now and was read from a folder."""
    return Calibration(
        name=folder.parent.name if folder.name == FOLDER else folder.name,
        kind=record.kind,
        performed=record.created,
        expires=record.created + ValidityLimits().age,
        temperature=record.temperature,
        verdict=Verdict.PASS,
        reason="",
    )


def read_kit(folder: Path | None, uncertainty: float, /) -> Kit:
    """Return a kit of measured standards, or of ideal ones, each as uncertain as said.

    Parameters
    ----------
    folder
        With Touchstone files; None: ideal standards.
    uncertainty
        Standard uncertainty of each complex reflection, linear.

    Raises
    ------
    BenchFileError
        The folder holds no standard, or one that cannot be read.
    """
    if folder is None:
        kit = ideal_kit()
    else:
        found = {name: folder / file for name, file in _KIT_FILES.items() if (folder / file).is_file()}
        if not found:
            raise BenchFileError(f"--kit {folder}: holds none of {', '.join(_KIT_FILES.values())}")
        kit = Kit(folder.name, {name: _standard(path) for name, path in found.items()})
    known = {name: DefinitionUncertainty(uncertainty) for name in kit.standards}
    return Kit(kit.name, kit.standards, known)


def _standard(path: Path) -> MeasuredStandard:
    from skrf.network import Network

    try:
        network = Network(str(path))
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise BenchFileError(f"{path}: cannot be read as Touchstone: {error}") from None
    return MeasuredStandard(np.asarray(network.f, dtype=np.float64), np.asarray(network.s))


def _directivities(record: CalibrationRecord, frequencies: list[float]) -> dict[int, float]:
    """Return by port the 95 % radius of a matched reflection, the worst of some frequencies."""
    at = [int(np.argmin(np.abs(record.frequencies - frequency))) for frequency in frequencies]
    found: dict[int, float] = {}
    for port in record.ports:
        try:
            residuals: Any = reflection_residuals(record, port)
        except ValueError:  # calibrated without short, open and load
            continue
        found[port] = float(COVERAGE * np.max(residuals.directivity[at]))
    return found


def _hours() -> float:
    return ValidityLimits().age.total_seconds() / 3600.0
