"""The command on resonances: qfactor."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer resolves annotations
from typing import Annotated

import typer
from rich.console import Console

from coilbench.base.errors import COULD_NOT_MEASURE
from coilbench.commands.options import Json  # noqa: TC001 - typer resolves annotations


def qfactor(
    paths: Annotated[list[Path], typer.Argument(help="Touchstone (.s1p, .s2p) or NPL text files.")],
    as_json: Json = False,
) -> None:
    """Fit resonance frequency, loaded and unloaded Q with uncertainty, or say why it can't be done."""
    from coilbench.offline import q_factors
    from coilbench.session import jsonable
    from coilbench.verdict_table import print_q_factors

    summary, fitted = q_factors(paths)
    if as_json:
        print(json.dumps(jsonable({"schema": 1, **summary}), allow_nan=False))
    else:
        print_q_factors(Console(), summary)
    raise typer.Exit(0 if fitted else COULD_NOT_MEASURE)
