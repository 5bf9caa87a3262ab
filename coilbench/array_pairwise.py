"""Sweep an array of many ports with an analyzer of few: a person moves the cables, pair after pair."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import skrf

from coilbench.array_calibration import cables
from coilbench.array_measurements import array_statement, character_lines
from coilbench.array_plans import character_plan
from coilbench.array_run import array_run, conclude, conclude_without_coil
from coilbench.base.errors import BenchFileError, MeasurementError, RunAborted
from coilbench.base.events import Event
from coilbench.bench_file import read_bench_file
from coilbench.pairwise import (
    as_they_are,
    describe_plan,
    ideal_loads,
    read_loads,
    with_calibration,
)
from coilbench.pairwise_words import (
    Prepared,
    assembly_lines,
    assembly_values,
    load_notes,
    uncertainty,
)
from coilbench.procedures.assemble import AssemblyPlan, assemble_by_hand, assemble_one_way
from coilbench.procedures.characterise import characterise_network
from coilbench.report.array_sections import noise_section, scattering_section, sweep_section
from coilbench.report.assembly_section import assembly_section, listed_pairs
from coilbench.session import storing
from coils.assembly import plan_connections
from coils.quality import judge_array, worst_of_each
from drivers.protocols import ForwardAnalyzer

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.array_run import ArrayRun
    from coilbench.base.events import EventSink
    from coilbench.base.verdict import Judged
    from coilbench.outcome import Outcome
    from coilbench.pairwise import KnownLoads
    from coilbench.procedures.assemble import AssembledDevice
    from coilbench.procedures.characterise import ArrayCharacter, CharacterisePlan
    from coilbench.procedures.operator import Operator
    from coilbench.report.page import Section
    from coils.assembly import PartialSweep

#: In a run folder: every connection as measured, corrected.
PAIRS: Final = "pairs"
#: In a run folder: a matrix with pairs missing (nan); never the coil's record.
INCOMPLETE: Final = "incomplete"
#: Standard deviation of a complex S-parameter between two connections that hands made. SMA connectors repeat
#: to 0.01 dB, that is -59 dB (rfessentials.com, connector repeatability); -55 dB for bent cables is assumed,
#: to within a factor of two.
REPEATABILITY: Final = 2e-3


@dataclass(frozen=True, slots=True)
class PairwiseWish:
    """How the pairs shall be measured.

    Parameters
    ----------
    loads
        Folder of ``load-<port>.s1p``; None: every load is taken for 50 ohm.
    repeatability
        Standard deviation of a complex S-parameter between two connections.
    calibration
        Folder of a calibration of the analyzer's ports; None: the analyzer's own.
    temperature
        Of the room now, K; None: not known.
    """

    loads: Path | None = None
    repeatability: float = REPEATABILITY
    calibration: Path | None = None
    temperature: float | None = None


def sweep_pairwise(
    bench: Path,
    runs: Path,
    watcher: EventSink,
    operator: Operator,
    wish: PairwiseWish,
    /,
    *,
    serial_number: str | None = None,
    tuner: bool = True,
) -> Outcome:
    """Sweep all ports of an array by asking for cables, judge it and keep its record.

    The plan is told first, as events of kind ``note``. Every connection is stored when it has been measured.
    A matrix with pairs missing, or with gain, is stored and judged, but makes no record of the coil.

    Parameters
    ----------
    bench, runs, watcher, serial_number, tuner
        As `coilbench.array_measurements.sweep_array` takes them.
    operator
        Who moves the cables.

    Raises
    ------
    BenchFileError
        A switch or the analyzer itself leads to all ports, or loads or calibration do not fit.
    MeasurementError
        The calibration is not valid, or nothing could be measured.
    RunAborted
        The operator ended it; what was measured is in the run folder.
    CoilbenchError
        The array could not be swept.
    """
    file = read_bench_file(bench)
    if file.instruments.switch is not None:
        raise BenchFileError(
            "[instruments.switch] already connects every pair by itself: leave out --pairwise"
        )
    loads = _loads(character_plan(file), wish)
    names = ("analyzer", "tuner") if tuner else ("analyzer",)
    with array_run(
        bench, runs, "sweep", watcher, serial_number=serial_number, instruments=names, ports_at_once=2
    ) as run:
        prepared = _prepare(run, wish, loads)
        device, notices = _measure(run, prepared, operator)
        return _conclude(run, prepared, device, notices)


def _ports(character: CharacterisePlan) -> tuple[int, ...]:
    return tuple(sorted(port for group in character.nuclei for port in group.ports))


def _loads(character: CharacterisePlan, wish: PairwiseWish) -> KnownLoads:
    """Return the loads of all ports: those of the files, each known as well as any S, or ideal ones."""
    ports = _ports(character)
    if wish.loads is None:
        return ideal_loads(ports)
    return read_loads(wish.loads, ports, character.sweep_plan(), character.uncertainty / 2.0)


def _prepare(run: ArrayRun, wish: PairwiseWish, loads: KnownLoads) -> Prepared:
    """Check all that can be checked before anybody moves a cable."""
    analyzer, character = run.analyzer, run.character_plan()
    ports = _ports(character)
    one_way = isinstance(analyzer, ForwardAnalyzer)
    if not one_way and analyzer.port_count >= max(ports):
        raise BenchFileError(f"{analyzer.name} has all {max(ports)} ports: leave out --pairwise")
    if len(ports) < 2:
        raise BenchFileError("--pairwise measures pairs; this array has one port")
    sweep = character.sweep_plan()
    used = cables(analyzer, ports)
    corrections = (
        as_they_are(character.uncertainty)
        if wish.calibration is None
        else with_calibration(
            analyzer,
            wish.calibration,
            sweep,
            [group.frequency for group in character.nuclei],
            cables=used,
            temperature=wish.temperature,
            least=character.uncertainty,
            abort=run.abort,
        )
    )
    assembly = AssemblyPlan(
        ports,
        sweep,
        loads.reflections,
        wish.repeatability,
        analyzer_ports=used,
        systematic=corrections.leaves(),
        load_uncertainty=loads.uncertainty,
    )
    return Prepared(character, assembly, loads, corrections, one_way)


def _measure(
    run: ArrayRun, prepared: Prepared, operator: Operator
) -> tuple[AssembledDevice, tuple[str, ...]]:
    """Tell the plan, measure, and return the device with all suspicions that came up on the way."""
    plan, notices = prepared.assembly, list[str]()
    connections = plan_connections(plan.ports, len(plan.analyzer_ports), both_directions=prepared.one_way)
    for line in (*describe_plan(connections), *load_notes(prepared)):
        run.folder.emit(Event("note", line))
    run.step("Sweep pair by pair")

    def emit(event: Event) -> None:
        run.folder.emit(event)
        if event.kind == "assemble.suspicious":
            notices.append(event.message)
            run.folder.emit(Event("note", event.message))
        elif event.kind == "assemble.swept":
            done = {"done": event.data["done"], "total": event.data["of"]}
            run.folder.emit(Event("assemble.progress", event.message, done))

    folder = run.folder.path / PAIRS

    def keep(part: PartialSweep) -> None:
        network = skrf.Network(f=part.frequencies, f_unit="Hz", s=part.s, z0=50.0)
        with storing(folder):
            folder.mkdir(exist_ok=True)
            network.write_touchstone(part.name, dir=str(folder))

    try:
        if isinstance(run.analyzer, ForwardAnalyzer):
            both_ways = prepared.corrections.both_ways
            device = assemble_one_way(
                run.analyzer, operator, plan, both_ways, keep=keep, emit=emit, abort=run.abort
            )
        else:
            whole = prepared.corrections.whole
            device = assemble_by_hand(
                run.analyzer, operator, plan, correct=whole, keep=keep, emit=emit, abort=run.abort
            )
    except RunAborted as error:
        if folder.is_dir():
            error.add_note(f"the connections measured so far are in {folder}")
        raise
    return device, tuple(notices)


def _conclude(
    run: ArrayRun, prepared: Prepared, device: AssembledDevice, notices: tuple[str, ...]
) -> Outcome:
    """Judge and store the array, or what is known of it."""
    known = uncertainty(prepared, device)
    plan = replace(prepared.character, uncertainty=known.total)
    lines = assembly_lines(prepared, device, notices, known)
    section = assembly_section(device, notices)
    values = {"pairwise": assembly_values(prepared, device, notices, known)}
    character, reason = _characterise(run, device, plan)
    if character is None:
        return _conclude_incomplete(run, device, plan, (*lines, reason), section, values)
    sections = (
        sweep_section(character, plan.limits.reflection_db),
        scattering_section(character),
        noise_section(character),
        section,
    )
    statement = array_statement(character, (*lines, *character_lines(character)), sections, values)
    return conclude(
        run,
        replace(
            statement,
            judged=(*statement.judged, *device.judged),
            s_uncertainty=known.total,
            calibration=prepared.corrections.entry,
        ),
    )


def _characterise(
    run: ArrayRun, device: AssembledDevice, plan: CharacterisePlan
) -> tuple[ArrayCharacter | None, str]:
    """Return the array's character, or None and why there is none."""
    try:
        return characterise_network(device.assembly.network(), plan, emit=run.folder.emit), ""
    except MeasurementError as error:
        return None, f"No record of the coil: {error}."


def _conclude_incomplete(
    run: ArrayRun,
    device: AssembledDevice,
    plan: CharacterisePlan,
    lines: tuple[str, ...],
    section: Section,
    values: dict[str, Any],
) -> Outcome:
    """Store and judge what was measured; the coil gets no record from it."""
    assembly = device.assembly
    network = skrf.Network(f=assembly.frequencies, f_unit="Hz", s=assembly.s, z0=50.0)
    network.comments = f"not measured (nan): ports {listed_pairs(device.missing) or 'none'}"
    with storing(run.folder.path / INCOMPLETE):
        network.write_touchstone(INCOMPLETE, dir=str(run.folder.path))
    return conclude_without_coil(run, (*_judge(device, plan), *device.judged), lines, (section,), values)


def _judge(device: AssembledDevice, plan: CharacterisePlan) -> tuple[Judged, ...]:
    """Judge the S-parameters that are there; those that are not are inconclusive."""
    assembly, size = device.assembly, max(device.ports)
    index = np.array(device.ports) - 1
    at_frequency = []
    for group in plan.nuclei:
        matrix = np.full((size, size), complex(np.nan, np.nan))
        at = int(np.argmin(np.abs(assembly.frequencies - group.frequency)))
        matrix[np.ix_(index, index)] = assembly.s[at]
        at_frequency.append((group.ports, matrix))
    return worst_of_each(judge_array(at_frequency, plan.limits, uncertainty=plan.uncertainty))
