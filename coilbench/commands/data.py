"""Commands on raw data and images, ours or foreign: recon, noise, snr, tsc."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from coilbench.commands.options import (
    EchoTime,
    FlipAngle,
    Json,
    Phantom,
    RepetitionTime,
    timing,
    watched,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DataFile = Annotated[Path, typer.Argument(help="Raw data: a run folder, MRD (.mrd, .h5), .npz or .mat.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Also draw it into this file, .svg or .png.")]


class MethodName(StrEnum):
    """How to reconstruct."""

    GRIDDING = "gridding"
    CG_SENSE = "cg-sense"
    TV = "tv"
    WAVELET = "wavelet"
    ANATOMICAL = "anatomical"


class Backend(StrEnum):
    """What transforms between k-space and image."""

    FINUFFT = "finufft"
    NUMBA = "numba"
    DUCC0 = "ducc0"


class Filter(StrEnum):
    """Window on k-space."""

    NONE = "none"
    HAMMING = "hamming"


def recon(
    path: DataFile,
    out: Annotated[Path | None, typer.Option(help="NIfTI file for the image.")] = None,
    method: Annotated[MethodName, typer.Option(help="How to reconstruct.")] = MethodName.GRIDDING,
    backend: Annotated[
        Backend,
        typer.Option(help="Of the non-uniform transform; numba, the fastest, is the extra `fast`."),
    ] = Backend.FINUFFT,
    filter_name: Annotated[
        Filter, typer.Option("--filter", help="Window on k-space, with gridding.")
    ] = Filter.NONE,
    strength: Annotated[
        float | None,
        typer.Option(help="Of the penalty, 1 by default: noise deviations, or voxels with anatomical."),
    ] = None,
    iterations: Annotated[int, typer.Option(min=1, help="Of cg-sense, at most.")] = 10,
    channels: Annotated[int | None, typer.Option(min=1, help="Compress to so many virtual channels.")] = None,
    anatomy: Annotated[
        Path | None, typer.Option(help="NIfTI image of the same place, for --method anatomical.")
    ] = None,
    sensitivities: Annotated[
        str | None,
        typer.Option(
            help="low-resolution, walsh, espirit; predicted by [array.geometry]; or a phantom's run folder."
        ),
    ] = None,
    field_map: Annotated[
        Path | None, typer.Option(help="NIfTI map of the field in Hz of this nucleus, to correct for it.")
    ] = None,
    correct_delays: Annotated[
        bool, typer.Option("--correct-delays", help="Estimate each gradient's delay and correct it.")
    ] = False,
    dicom: Annotated[
        str | None, typer.Option("--dicom", help="Also write DICOM, of a patient named PHANTOM^...")
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Reconstruct raw data, ours or foreign, into a NIfTI image."""
    from coilbench.image_on_grid import anatomy_on_grid, field_on_grid
    from coilbench.offline import reconstruct
    from coilbench.run_sensitivities import object_radius, sensitivities_named
    from recon.recipe import Recipe

    with watched(quiet=as_json) as watcher:
        recipe = Recipe(
            method=method.value,
            backend=backend.value,
            filter_window=filter_name.value,
            strength=strength,
            iterations=iterations,
            virtual_channels=channels,
            anatomy=None if anatomy is None else partial(anatomy_on_grid, anatomy),
            sensitivities=None if sensitivities is None else sensitivities_named(sensitivities, path),
            field=None if field_map is None else partial(field_on_grid, field_map),
            delays_within=object_radius(path) if correct_delays else None,
        )
        image = reconstruct(path, out, watcher, recipe=recipe, phantom=dicom)
        _draw(plot, image.figure)
    print_values(image.values(), as_json=as_json)


def noise(path: DataFile, plot: Plot = None, as_json: Json = False) -> None:
    """State covariance, bandwidth and faults of the receivers' noise, beside what the S-matrix predicts."""
    from coilbench.offline_noise import noise_report
    from coilbench.outcome import EXIT_CODES
    from coilbench.verdict_table import print_judged

    with watched(quiet=as_json) as watcher:
        report = noise_report(path, watcher)
        _draw(plot, report.figure)
    print_values(report.values(), as_json=as_json)
    if not as_json:
        for line in report.faults:
            print(f"fault: {line}")
    if report.verdict is not None:
        if not as_json:
            print_judged(Console(), report.verdict, report.judged, ())
        raise typer.Exit(EXIT_CODES[report.verdict])


def snr(
    paths: Annotated[
        list[Path],
        typer.Argument(help="A run folder or raw data with a noise scan; or 1 or 2 images (DICOM, NIfTI)."),
    ],
    channels: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of images: also the biased SNR by the air around the object, for so many channels."
        ),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """State the SNR of raw data with a noise scan, or of repeated images by their difference."""
    from coilbench.offline import snr_of_paths

    with watched(quiet=as_json) as watcher:
        summary = snr_of_paths(paths, watcher, plot=plot, channels=channels)
    print_values(summary, as_json=as_json)


def tsc(
    path: Annotated[
        Path, typer.Argument(help="A run folder; or, with --phantom, radial raw data (MRD) or an image.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the maps; by default `tsc` in the run folder, or NAME-tsc."),
    ] = None,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Of a run: also as DICOM parametric maps in mmol/L.")
    ] = False,
    phantom: Phantom = None,
    repetition_time: RepetitionTime = None,
    echo_time: EchoTime = None,
    flip_angle: FlipAngle = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Folder for regression, maps and budget, as PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Quantify sodium, of a run again or of foreign data: vials with their budget, line, and maps."""
    from coilbench.foreign_tsc import foreign_sodium
    from coilbench.offline_tsc import sodium_report
    from coilbench.outcome import EXIT_CODES
    from coilbench.stored_run import is_run
    from coilbench.verdict_table import print_judged

    with watched(quiet=as_json) as watcher:
        if is_run(path):
            report: Any = sodium_report(path, watcher)
            files = report.write_maps(out, dicom=dicom)
            figures = report.section().figures if plot is not None else ()
        else:
            said = timing(repetition_time, echo_time, flip_angle)
            report = foreign_sodium(path, phantom, said, watcher)
            files = report.write_maps(out or path.with_name(f"{path.name.split('.')[0]}-tsc"))
            figures = report.figures() if plot is not None else ()
        if plot is not None:
            files += _draw_all(plot, figures)
    if as_json:
        print_values({**report.values(), "files": [str(file) for file in files]}, as_json=True)
    else:
        print_judged(Console(), report.verdict, report.judged, report.lines())
        print("\n" + "\n".join(str(file) for file in files))
    raise typer.Exit(EXIT_CODES[report.verdict])


def print_values(summary: dict[str, Any], *, as_json: bool) -> None:
    """Print plain values, as one JSON object or a line each."""
    from coilbench.session import jsonable
    from coilbench.verdict_table import print_summary

    if as_json:
        print(json.dumps(jsonable({"schema": 1, **summary}), allow_nan=False))
    else:
        print_summary(Console(), summary)


def _draw(path: Path | None, figure: Any) -> None:  # noqa: ANN401 - what makes a figure
    if path is not None:
        from coilbench.report.canvas import write_figure

        write_figure(path, figure())


def _draw_all(folder: Path, figures: tuple[tuple[str, Figure | str], ...]) -> tuple[Path, ...]:
    """Write the figures of a report's chapter as PNG into a folder; return the files."""
    from coilbench.report.canvas import write_figure
    from coilbench.session import storing

    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, (_, figure) in enumerate(figures, start=1):
        if not isinstance(figure, str):
            written.append(folder / f"figure-{number}.png")
            write_figure(written[-1], figure)
    return tuple(written)
