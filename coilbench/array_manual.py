"""A run on an array that a person tunes with a screwdriver: guided, logged, judged at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from coilbench.array_drawing import drawn_array
from coilbench.array_measurements import array_statement
from coilbench.array_run import array_run, conclude, conclude_without_coil
from coilbench.procedures.characterise import characterise
from coilbench.procedures.manual import HandPlan, tune_by_hand
from coilbench.procedures.tune_plan import nucleus_ports
from coilbench.report.array_sections import noise_section, scattering_section, sweep_section
from coilbench.report.page import Rows, Section
from coils.quality.judgement import judge_parameter, worst_of_each

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from coilbench.array_run import ArrayRun
    from coilbench.base.events import EventSink
    from coilbench.outcome import Outcome
    from coilbench.procedures.manual import HandResult
    from coilbench.procedures.manual_plan import AskHand, ShowLive


@dataclass(frozen=True, slots=True)
class Screwdriver:
    """Who turns the trimmers, and what is known of them.

    Parameters
    ----------
    ask, show
        As `coilbench.procedures.manual.tune_by_hand` takes them.
    clockwise
        What a turn clockwise does to the capacitance.
    turns
        Travel of each kind of trimmer in turns, by its name (``na.tune``), where it is known.
    """

    ask: AskHand
    show: ShowLive
    clockwise: Literal["more", "less"]
    turns: Mapping[str, float]


def tune_array_by_hand(
    bench: Path, runs: Path, watcher: EventSink, hand: Screwdriver, /, *, serial_number: str | None = None
) -> Outcome:
    """Guide a person through tuning and matching an array, then judge it; keep its record where it can be.

    An analyzer on all ports leaves a record of the coil; one with fewer ports only the reflections.

    Parameters
    ----------
    bench, runs, watcher, serial_number
        As `coilbench.array_run.array_run` takes them; no tuner is opened.
    hand
        Who turns.

    Raises
    ------
    CoilbenchError
        The array could not be tuned; the trimmers stay as they are.
    """
    with array_run(
        bench, runs, "tune", watcher, serial_number=serial_number, instruments=("analyzer",), ports_at_once=1
    ) as run:
        file = run.file
        run.step("Tune and match by hand")
        plan = HandPlan(
            nucleus_ports(file),
            file.limits.s11_db,
            design=drawn_array(file),
            turns=hand.turns,
            clockwise=hand.clockwise,
            span=file.sweep.span,
            points=file.sweep.points,
            if_bandwidth=file.sweep.if_bandwidth,
            power_dbm=file.sweep.sweep_power_dbm,
        )
        tuned = tune_by_hand(
            run.analyzer, plan, ask=hand.ask, show=hand.show, emit=run.folder.emit, abort=run.abort
        )
        values = {"tuning_by_hand": _values(tuned)}
        ports = {port.port for port in tuned.ports}
        if not ports <= set(run.analyzer.reflection_ports):
            return _conclude_by_port(run, tuned, values)
        run.step("Characterise the array")
        character = characterise(run.analyzer, run.character_plan(), emit=run.folder.emit, abort=run.abort)
        sections = (
            _section(tuned),
            sweep_section(character, file.limits.s11_db),
            scattering_section(character),
            noise_section(character),
        )
        return conclude(run, array_statement(character, _lines(tuned), sections, values))


def _conclude_by_port(run: ArrayRun, tuned: HandResult, values: dict[str, Any]) -> Outcome:
    """Judge the reflections alone."""
    uncertainty = run.character_plan().uncertainty
    rows = [
        judge_parameter(
            "reflection",
            (port.port,),
            10.0 ** (port.after_db / 20.0),
            run.file.limits.s11_db,
            uncertainty,
        )
        for port in tuned.ports
    ]
    return conclude_without_coil(run, worst_of_each(rows), _lines(tuned), (_section(tuned),), values)


def _lines(tuned: HandResult) -> tuple[str, ...]:
    worst = max(tuned.ports, key=lambda port: port.after_db)
    return (
        (
            f"Tuning by hand: worst of {len(tuned.ports)} ports {worst.after_db:.1f} dB (port {worst.port}) "
            f"after {tuned.turns} turns and {tuned.sweeps} sweeps."
        ),
        *(f"{axis} does not answer." for axis in tuned.silent),
        *(f"To make it reachable: {advice}." for advice in tuned.advice),
    )


def _values(tuned: HandResult) -> dict[str, Any]:
    return {
        "reached": tuned.reached,
        "turns": tuned.turns,
        "sweeps": tuned.sweeps,
        "silent": list(tuned.silent),
        "advice": [str(advice) for advice in tuned.advice],
        "ports": list(tuned.ports),
    }


def _section(tuned: HandResult) -> Section:
    rows = tuple(
        (
            str(port.channel),
            port.nucleus,
            str(port.port),
            f"{port.before_db:.1f}",
            f"{port.after_db:.1f}",
            "reached" if port.reached else port.reason,
        )
        for port in tuned.ports
    )
    headings = ("channel", "nucleus", "port", "before / dB", "after / dB", "limit")
    text = (
        f"{tuned.turns} turns by hand; every one is in events.jsonl with the capacitances before and after."
    )
    return Section("Tune and match by hand", text, (), (Rows(headings, rows),))
