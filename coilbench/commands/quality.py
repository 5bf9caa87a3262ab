"""Commands on finished runs: report, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
