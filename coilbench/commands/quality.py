"""Commands on finished runs: report, qc, trend, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from coilbench.base.events import Event
from coilbench.commands.options import Json, watched

RunFolder = Annotated[Path, typer.Argument(help="A run folder.")]


def report(
    path: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="HTML file; by default report.html in the run folder, written anew.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Analyse a finished run again from its raw data and write its report; the record stays as it was."""
    from coilbench.outcome import EXIT_CODES
    from coilbench.reanalysis import reanalyse, rewrite_report
    from coilbench.session import jsonable
    from coilbench.verdict_table import print_judged

    with watched(quiet=as_json) as watcher:
        again = reanalyse(path, watcher)
        page = rewrite_report(again, out)
    if as_json:
        print(json.dumps(jsonable({"schema": 1, **again.values(), "report": str(page)}), allow_nan=False))
    else:
        print_judged(Console(), again.verdict, again.judged, (*again.truths, *again.remarks))
        print(f"\nReport: {page}")
    raise typer.Exit(EXIT_CODES[again.verdict])


def qc(
    path: RunFolder,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Run folder to compare with; by default the oldest of the same coil beside it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Control a run's quality: channels against their baseline, uniformity, streaks, geometry, sharpness."""
    from coilbench.offline_qc import quality_report
    from coilbench.outcome import EXIT_CODES
    from coilbench.session import jsonable
    from coilbench.verdict_table import print_judged

    with watched(quiet=as_json) as watcher:
        found = quality_report(path, baseline, watcher)
    verdict = found.quality.verdict
    if as_json:
        print(json.dumps(jsonable(found.values()), allow_nan=False))
    else:
        print_judged(Console(), verdict, found.quality.judged, found.lines())
    raise typer.Exit(EXIT_CODES[verdict])


def trend(
    runs: Annotated[Path, typer.Argument(help="Folder of run folders.")] = Path("runs"),
    coil: Annotated[
        str | None, typer.Option(help="Serial number; needed where there are runs of several coils.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="HTML file; by default trends/SERIAL.html in the folder of runs.")
    ] = None,
    reset: Annotated[
        str | None, typer.Option(help="Begin a new baseline with the next run, for this reason.")
    ] = None,
    signed_by: Annotated[str, typer.Option("--signed-by", help="Who signs for --reset.")] = "",
    as_json: Json = False,
) -> None:
    """Chart a coil's quantities over all its runs, noise and signal apart; an alarm of the last run fails."""
    from coilbench.coil_passport import file_name
    from coilbench.outcome import EXIT_CODES
    from coilbench.session import jsonable
    from coilbench.trend_report import coil_trend, reset_trend, write_trend_page
    from coilbench.verdict_table import print_judged

    if reset is not None:
        written = reset_trend(runs, coil, reset, signed_by)
        Console(stderr=True).print(f"Reset: {written}", highlight=False, markup=False, soft_wrap=True)
    with watched(quiet=as_json) as watcher:
        watcher(Event("step", f"Read the runs in {runs}"))
        found = coil_trend(runs, coil)
        page = write_trend_page(found, out or runs / "trends" / f"{file_name(found.coil)}.html")
    if as_json:
        print(json.dumps(jsonable({"schema": 1, **found.values(), "report": str(page)}), allow_nan=False))
    else:
        print_judged(Console(), found.verdict, found.judged, found.remarks)
        print(f"\nCharts: {page}")
    raise typer.Exit(EXIT_CODES[found.verdict])


def export(
    path: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files; by default `export` in the run folder.")
    ] = None,
    phantom: Annotated[
        str | None,
        typer.Option(help="Patient's name in DICOM, PHANTOM^...; by default the bench file's phantom."),
    ] = None,
    performer: Annotated[
        str | None,
        typer.Option(help="Who measured, for QuAAC: 'Name <mail@domain>'; else the program."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run's maps and figures as DICOM, its quantities as CSV, JSON and QuAAC."""
    from coilbench.export.quaac import PROGRAM
    from coilbench.run_export import export_run

    with watched(quiet=as_json) as watcher:
        files = export_run(path, out, watcher, phantom=phantom, performer=performer or PROGRAM)
    if as_json:
        print(json.dumps({"schema": 1, "files": [str(file) for file in files]}))
    else:
        print("\n".join(str(file) for file in files))
