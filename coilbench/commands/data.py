"""Commands on raw data: recon and snr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from coilbench.commands.options import Json, watched

DataFile = Annotated[Path, typer.Argument(help="Raw data: a run folder, MRD (.mrd, .h5), .npz or .mat.")]


def recon(
    path: DataFile,
    out: Annotated[Path | None, typer.Option(help="NIfTI file for the image.")] = None,
    as_json: Json = False,
) -> None:
    """Reconstruct raw data, ours or foreign, into a NIfTI image."""
    from coilbench.offline import reconstruct

    with watched(quiet=as_json) as watcher:
        summary = reconstruct(path, out, watcher)
    _print_summary(summary, as_json=as_json)


def snr(path: DataFile, as_json: Json = False) -> None:
    """State noise, channel correlation and SNR of raw data with a noise scan."""
    from coilbench.offline import signal_to_noise

    with watched(quiet=as_json) as watcher:
        summary = signal_to_noise(path, watcher)
    _print_summary(summary, as_json=as_json)


def _print_summary(summary: dict[str, Any], *, as_json: bool) -> None:
    from coilbench.session import jsonable
    from coilbench.verdict_table import print_summary

    if as_json:
        print(json.dumps(jsonable({"schema": 1, **summary}), allow_nan=False))
    else:
        print_summary(Console(), summary)
