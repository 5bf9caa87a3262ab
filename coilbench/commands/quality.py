"""Commands on finished runs: report, qc, trend, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from coilbench.base.errors import BenchFileError
from coilbench.base.events import Event
from coilbench.commands.options import (
    EchoTime,
    FlipAngle,
    Json,
    Phantom,
    RepetitionTime,
    metres,
    timing,
    watched,
)

if TYPE_CHECKING:
    from coilbench.base.events import EventSink
    from coilbench.foreign_qc import ForeignQuality

RunFolder = Annotated[Path, typer.Argument(help="A run folder.")]
RunOrData = Annotated[
    list[Path],
    typer.Argument(
        help="A run folder; or raw data with a noise scan (MRD, .npz); or 1 or 2 images (DICOM, NIfTI)."
    ),
]
Bench = Annotated[
    Path | None, typer.Option(help="Bench file whose limits [qc] judge foreign data; else the default ones.")
]
FieldOfView = Annotated[
    str | None, typer.Option(help="Such as '256 mm', of raw data whose file does not say it.")
]


def report(
    paths: RunOrData,
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file; by default report.html in the run folder, or NAME-report.html."),
    ] = None,
    bench: Bench = None,
    field_of_view: FieldOfView = None,
    phantom: Phantom = None,
    repetition_time: RepetitionTime = None,
    echo_time: EchoTime = None,
    flip_angle: FlipAngle = None,
    as_json: Json = False,
) -> None:
    """Analyse a finished run again and write its report (its record stays), or report on foreign data.

    With --phantom the report on foreign data holds their sodium concentrations too.
    """
    from coilbench.foreign_report import ForeignReport
    from coilbench.foreign_tsc import foreign_sodium
    from coilbench.outcome import EXIT_CODES
    from coilbench.reanalysis import reanalyse, rewrite_report
    from coilbench.session import jsonable
    from coilbench.stored_run import is_run
    from coilbench.verdict_table import print_judged

    a_run = len(paths) == 1 and is_run(paths[0])
    if a_run and (bench or field_of_view or phantom or repetition_time or echo_time or flip_angle):
        raise BenchFileError(
            "a run folder holds its own limits, phantom and timing: leave out --bench, --field-of-view, "
            "--phantom, --repetition-time, --echo-time, --flip-angle"
        )
    with watched(quiet=as_json) as watcher:
        if a_run:
            again = reanalyse(paths[0], watcher)
            page, verdict, judged = rewrite_report(again, out), again.verdict, again.judged
            lines: tuple[str, ...] = (*again.truths, *again.remarks)
            values = again.values()
        else:
            said = timing(repetition_time, echo_time, flip_angle)
            quality = _foreign(paths, None, bench, field_of_view, watcher)
            sodium = None if phantom is None else foreign_sodium(paths[0], phantom, said, watcher)
            found = ForeignReport(quality, sodium)
            page, verdict, judged = found.write(paths[0], out), found.verdict, found.judged
            lines, values = found.lines(), found.values()
    if as_json:
        print(json.dumps(jsonable({"schema": 1, **values, "report": str(page)}), allow_nan=False))
    else:
        print_judged(Console(), verdict, judged, lines)
        print(f"\nReport: {page}")
    raise typer.Exit(EXIT_CODES[verdict])


def qc(
    paths: RunOrData,
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="Run folder, or data of the same kind, to compare with; by default the oldest run of the "
            "same coil beside a run."
        ),
    ] = None,
    other_ports: Annotated[
        Path | None,
        typer.Option(
            help="Run folder with the other nucleus's ports in another state: what that does to the SNR."
        ),
    ] = None,
    bench: Bench = None,
    field_of_view: FieldOfView = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw channel levels (run) or the outline (foreign): .svg, .png."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Control quality: channels against their baseline, uniformity, ghosts, geometry, sharpness."""
    from coilbench.offline_qc import quality_report
    from coilbench.outcome import EXIT_CODES
    from coilbench.report.canvas import write_figure
    from coilbench.session import jsonable
    from coilbench.stored_run import is_run
    from coilbench.verdict_table import print_judged

    a_run = len(paths) == 1 and is_run(paths[0])
    if a_run and (bench or field_of_view):
        raise BenchFileError(
            "a run folder holds its own limits and lengths: leave out --bench, --field-of-view"
        )
    if other_ports and not a_run:
        raise BenchFileError("--other-ports compares two run folders; foreign data take --baseline")
    with watched(quiet=as_json) as watcher:
        found = (
            quality_report(paths[0], baseline, watcher, other_ports=other_ports)
            if a_run
            else _foreign(paths, baseline, bench, field_of_view, watcher)
        )
        if plot is not None:
            write_figure(plot, found.figure())
    if as_json:
        print(json.dumps(jsonable(found.values()), allow_nan=False))
    else:
        print_judged(Console(), found.verdict, found.judged, found.lines())
    raise typer.Exit(EXIT_CODES[found.verdict])


def _foreign(
    paths: list[Path],
    baseline: Path | None,
    bench: Path | None,
    field_of_view: str | None,
    watcher: EventSink,
) -> ForeignQuality:
    """Return the quality control of foreign data."""
    from coilbench.foreign_qc import foreign_quality, limits_of

    extent = metres("--field-of-view", field_of_view)
    return foreign_quality(paths, limits_of(bench), baseline, watcher, field_of_view=extent)


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
        print_judged(Console(), found.verdict, found.judged, found.lines())
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
