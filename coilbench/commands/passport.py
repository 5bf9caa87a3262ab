"""The command on a coil's history: passport."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from coilbench.commands.options import Json, Runs  # noqa: TC001 - typer resolves annotations


def passport(
    serial_number: Annotated[str, typer.Argument(help="Serial number of the coil.")],
    runs: Runs = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(help="HTML file; by default in the folder `passports` of the runs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put all that is known of one coil on one page: verdict, S-matrix, Q, noise, what changed, history."""
    from coilbench.coil_passport import write_passport
    from coilbench.outcome import EXIT_CODES
    from coilbench.session import jsonable
    from coilbench.verdict_table import print_judged

    issued = write_passport(runs, serial_number, out)
    if as_json:
        print(json.dumps(jsonable({"schema": 1, **issued.values}), allow_nan=False))
    else:
        print_judged(Console(), issued.verdict, issued.judged, issued.lines)
        print(f"\nPassport: {issued.page}")
    raise typer.Exit(EXIT_CODES[issued.verdict])
