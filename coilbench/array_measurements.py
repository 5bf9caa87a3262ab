"""Single runs on an array: sweep it, tune it, match it. Each ends in a record of the coil and a report."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.array_calibration import use_calibration
from coilbench.array_plans import MARGIN_DB, tune_plan
from coilbench.array_run import Statement, array_run, conclude
from coilbench.base.errors import BenchFileError
from coilbench.base.units import engineering
from coilbench.coil_record import judge_character, nucleus_record
from coilbench.procedures.characterise import characterise
from coilbench.procedures.match import MatchPlan, match
from coilbench.procedures.tune import nucleus_ports, tune
from coilbench.report.array_sections import (
    array_values,
    noise_section,
    scattering_section,
    sweep_section,
    tuning_section,
    tuning_values,
)
from coilbench.report.page import Rows, Section
from coilbench.session import storing, write_atomically
from coils.quality import decibels
from coils.tuning.kept import plain_belief

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.array_run import ArrayRun
    from coilbench.base.events import EventSink
    from coilbench.outcome import Outcome
    from coilbench.procedures.characterise import ArrayCharacter, NucleusCharacter
    from coilbench.procedures.match import MatchResult, PortMatch

#: In a run folder: what a tuning learned of the array.
KEPT_FILE: Final = "tuning.json"
#: Ohm, of every port.
_Z0: Final = 50.0


def _kept(earlier: Path | None) -> dict[str, Any] | None:
    """Return what an earlier tuning left in its run folder."""
    if earlier is None:
        return None
    path = earlier / KEPT_FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchFileError(
            f"{path}: cannot be read ({error}); --from takes the run folder of a tuning by drawing"
        ) from error
    if not isinstance(kept, dict):
        raise BenchFileError(f"{path}: is not what a tuning leaves")
    return kept


def sweep_array(
    bench: Path,
    runs: Path,
    watcher: EventSink,
    /,
    *,
    serial_number: str | None = None,
    tuner: bool = True,
    calibration: Path | None = None,
    temperature: float | None = None,
) -> Outcome:
    """Sweep all ports of an array as it stands, judge it and keep its record.

    Parameters
    ----------
    bench, runs, watcher, serial_number
        As `coilbench.array_run.array_run` takes them.
    tuner
        Open the tuner too, so that detuning bias is off; False where there is none.
    calibration
        Folder of a calibration of ours that corrects the sweep; None: the analyzer's own.
    temperature
        Of the room now, K, which the calibration is compared with; None: not known.

    Raises
    ------
    MeasurementError
        The calibration is not valid: no number is stated.
    CoilbenchError
        The array could not be swept.
    """
    names = ("analyzer", "tuner") if tuner else ("analyzer",)
    with array_run(bench, runs, "sweep", watcher, serial_number=serial_number, instruments=names) as run:
        run.step("Sweep all ports")
        plan, analyzer, entry = run.character_plan(), run.analyzer, None
        if calibration is not None:
            analyzer, uncertainty, entry = use_calibration(run, calibration, temperature)
            plan = replace(plan, uncertainty=uncertainty)
        character = characterise(analyzer, plan, emit=run.folder.emit, abort=run.abort)
        sections = (
            sweep_section(character, plan.limits.reflection_db),
            scattering_section(character),
            noise_section(character),
        )
        statement = array_statement(character, character_lines(character), sections, {})
        return conclude(run, replace(statement, s_uncertainty=plan.uncertainty, calibration=entry))


def tune_array(
    bench: Path,
    runs: Path,
    watcher: EventSink,
    /,
    *,
    serial_number: str | None = None,
    earlier: Path | None = None,
    check_motors: bool = False,
) -> Outcome:
    """Tune and match every port of an array with its tuner, then judge the array and keep its record.

    Parameters
    ----------
    bench, runs, watcher, serial_number
        As `coilbench.array_run.array_run` takes them.
    earlier
        Run folder of an earlier tuning of this array, whose trimmers have not been moved or homed since.
    check_motors
        Probe and home all axes at the end, and name motors that stand still or lose steps.

    Raises
    ------
    BenchFileError
        The earlier tuning cannot be read or used, or there is no drawing.
    CoilbenchError
        The array could not be tuned; the trimmers stay where they are.
    """
    with array_run(bench, runs, "tune", watcher, serial_number=serial_number) as run:
        file = run.file
        run.step("Tune and match")
        plan = tune_plan(file, kept=_kept(earlier), check_motors=check_motors)
        tuned = tune(run.analyzer, run.tuner, plan, emit=run.folder.emit, abort=run.abort)
        if tuned.belief is not None:
            write_atomically(run.folder.path / KEPT_FILE, json.dumps(plain_belief(tuned.belief)))
        for name, network in (("before", tuned.before), ("after", tuned.after)):
            with storing(run.folder.path / name):
                network.write_touchstone(name, dir=str(run.folder.path))
        run.step("Characterise the array")
        character = characterise(run.analyzer, run.character_plan(), emit=run.folder.emit, abort=run.abort)
        unreached = [
            f"Port {port.port} (channel {port.channel}, {port.nucleus}) stays at {port.after_db:.1f} dB: "
            f"{port.reason}."
            for port in tuned.ports
            if not port.reached
        ]
        worst = max(tuned.ports, key=lambda port: port.after_db)
        lines = (
            (
                f"Tuning: worst of {len(tuned.ports)} ports {worst.after_db:.1f} dB (port {worst.port}) "
                f"after {tuned.sweeps} sweeps and {tuned.moves} moves."
            ),
            *unreached,
            *(f"To make it reachable: {advice}." for advice in tuned.advice),
            *(
                f"{suspect.axis} {suspect.text}: check motor, coupling and cable."
                for suspect in tuned.suspects
            ),
            *character_lines(character),
        )
        sections = (
            tuning_section(tuned, character, file.limits.s11_db),
            scattering_section(character),
            noise_section(character),
        )
        return conclude(run, array_statement(character, lines, sections, {"tuning": tuning_values(tuned)}))


def match_array(
    bench: Path, runs: Path, watcher: EventSink, /, *, serial_number: str | None = None, adjust: bool = True
) -> Outcome:
    """Match every port with its match trimmer alone, or only say how far each port is off.

    Parameters
    ----------
    bench, runs, watcher, serial_number
        As `coilbench.array_run.array_run` takes them.
    adjust
        False: move nothing, and open no tuner.

    Raises
    ------
    CoilbenchError
        The array could not be matched; the trimmers stay where they are.
    """
    names = ("analyzer", "tuner") if adjust else ("analyzer",)
    with array_run(bench, runs, "match", watcher, serial_number=serial_number, instruments=names) as run:
        matched = _adjust(run) if adjust else None
        run.step("Characterise the array")
        plan = run.character_plan()
        character = characterise(run.analyzer, plan, emit=run.folder.emit, abort=run.abort)
        lines = [] if matched is None else _match_lines(matched)
        sections = (
            _match_section(character, matched),
            sweep_section(character, plan.limits.reflection_db),
            scattering_section(character),
        )
        values: dict[str, Any] = {"match_state": match_state(character)}
        if matched is not None:
            values["matching"] = {
                "sweeps": matched.sweeps,
                "moves": matched.moves,
                "ports": list(matched.ports),
                "positions_steps": matched.positions,
            }
        return conclude(
            run, array_statement(character, (*lines, *character_lines(character)), sections, values)
        )


def match_state(character: ArrayCharacter, /) -> list[dict[str, Any]]:
    """Return how far each port is off: its impedance, and the offset and coupling of its resonance."""
    return [row for group in character.nuclei for row in _match_rows(group)]


def _adjust(run: ArrayRun) -> MatchResult:
    """Move the match trimmers."""
    file = run.file
    run.step("Match with the match trimmers alone")
    plan = MatchPlan(
        nucleus_ports(file),
        file.limits.s11_db,
        file.limits.s11_db - MARGIN_DB,
        if_bandwidth=file.sweep.if_bandwidth,
        power_dbm=file.sweep.sweep_power_dbm,
    )
    return match(run.analyzer, run.tuner, plan, emit=run.folder.emit, abort=run.abort)


def array_statement(
    character: ArrayCharacter, lines: tuple[str, ...], sections: tuple[Section, ...], values: dict[str, Any]
) -> Statement:
    """Return what a run says that characterised the array.

    Parameters
    ----------
    lines, sections
        For a person.
    values
        Of record.json, besides the characterised array.
    """
    return Statement(
        nuclei=tuple(nucleus_record(group) for group in character.nuclei),
        judged=judge_character(character),
        lines=lines,
        sections=sections,
        values={**values, "array_characterised": array_values(character)},
        network=character.network,
    )


def character_lines(character: ArrayCharacter, /) -> tuple[str, ...]:
    """Return what each nucleus' ports are like, a line each."""
    said = []
    for group in character.nuclei:
        rho = np.abs(group.noise_correlation - np.eye(len(group.ports)))
        q_loaded = [fit.q_loaded for fit in group.resonances if fit is not None]
        q = f"median QL {np.median(q_loaded):.0f}" if q_loaded else "no port is a single resonance"
        said.append(
            f"{group.nucleus} at {engineering(group.frequency, 'Hz', digits=6)}: {q} "
            f"({len(q_loaded)} of {len(group.ports)} ports), largest predicted noise correlation "
            f"{rho.max():.2f}, least SNR factor {group.snr_factor.min():.3f}."
        )
    return tuple(said)


def _match_rows(group: NucleusCharacter) -> list[dict[str, Any]]:
    """Return how far each port of a nucleus is off."""
    rows = []
    for place, (port, fit) in enumerate(zip(group.ports, group.resonances, strict=True)):
        gamma = complex(group.s[place, place])
        z = _Z0 * (1.0 + gamma) / (1.0 - gamma) if abs(1.0 - gamma) > 1e-9 else complex(np.inf)
        rows.append(
            {
                "nucleus": group.nucleus,
                "channel": place + 1,
                "port": port,
                "reflection_db": decibels(abs(gamma)),
                "impedance_ohm_re_im": z,
                "resonance_offset_hz": None if fit is None else fit.frequency - group.frequency,
                "coupling": None if fit is None else fit.coupling,
                "refused": group.refusals[place],
            }
        )
    return rows


def _match_section(character: ArrayCharacter, matched: MatchResult | None) -> Section:
    """Return how far each port is off, and what its match trimmer did."""
    found: dict[int, PortMatch] = {} if matched is None else {each.port: each for each in matched.ports}
    rows = []
    for row in match_state(character):
        z = complex(row["impedance_ohm_re_im"])
        offset, coupling = row["resonance_offset_hz"], row["coupling"]
        port = found.get(row["port"])
        rows.append(
            (
                str(row["channel"]),
                row["nucleus"],
                f"{row['reflection_db']:.1f}",
                f"{z.real:.1f} {'-' if z.imag < 0 else '+'} j{abs(z.imag):.1f}",
                "" if offset is None else f"{offset / 1e3:+.1f}",
                "" if coupling is None else f"{coupling:.2f} ({'over' if coupling > 1 else 'under'}coupled)",
                "" if port is None else f"{port.steps:+d}",
                row["refused"] if port is None else port.reason or "below the limit",
            )
        )
    headings = (
        "channel",
        "nucleus",
        "|Sii| / dB",
        "Z / Ω",
        "resonance off by / kHz",
        "coupling",
        "match trimmer moved by",
        "remark",
    )
    text = "At the Larmor frequency, all other ports terminated; 1 is critical coupling."
    return Section("How far each port is off", text, (), (Rows(headings, tuple(rows)),))


def _match_lines(matched: MatchResult) -> list[str]:
    """Say how matching went."""
    worst = max(matched.ports, key=lambda port: abs(port.after))
    return [
        (
            f"Matching: worst of {len(matched.ports)} ports {decibels(abs(worst.after)):.1f} dB (port "
            f"{worst.port}) after {matched.sweeps} sweeps and {matched.moves} moves."
        ),
        *(
            f"Port {port.port} (channel {port.channel}, {port.nucleus}) stays at "
            f"{decibels(abs(port.after)):.1f} dB: {port.reason}."
            for port in matched.ports
            if port.reason
        ),
    ]
