"""The command that designs a coil: design."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coilbench.base.errors import BenchFileError
from coilbench.commands.options import Json, Runs, finish, watched

if TYPE_CHECKING:
    from coilbench.coil_design import DrawnLoop, MeasuredLoop


def design(
    b0: Annotated[str, typer.Option("--field", help="Of the magnet.")] = "3 T",
    nuclei: Annotated[str, typer.Option("--nuclei", help="Two, separated by a comma.")] = "23Na,1H",
    size: Annotated[
        str, typer.Option("--size", help="Diameter of a circle, or width x height.")
    ] = "100mm x 110mm",
    wire: Annotated[str, typer.Option("--wire", help="Diameter of the round wire.")] = "2 mm",
    distance: Annotated[str, typer.Option("--distance", help="From loop to sample.")] = "15 mm",
    conductivity: Annotated[float, typer.Option(min=0.0, help="Of the sample, S/m.")] = 0.6,
    permittivity: Annotated[float, typer.Option(min=1.0, help="Of the sample, relative.")] = 80.0,
    inductance: Annotated[
        str | None, typer.Option("--inductance", help="Measured, instead of a drawn loop; with --q.")
    ] = None,
    q: Annotated[
        str | None, typer.Option("--q", metavar="LOW,HIGH", help="Measured with the sample at both nuclei.")
    ] = None,
    capacitors: Annotated[
        str, typer.Option("--capacitors", help="E6, E12, E24, or values separated by commas.")
    ] = "E24",
    trimmer: Annotated[
        str, typer.Option("--trimmer", metavar="MIN,MAX", help="Range of the trimmers at hand.")
    ] = "1pF,30pF",
    capacitor_q: Annotated[float, typer.Option(min=1.0, help="At the lower nucleus.")] = 900.0,
    coil_q: Annotated[float, typer.Option(min=1.0, help="Of the trap's coil at the lower nucleus.")] = 220.0,
    weight: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much the lower nucleus' SNR counts.")
    ] = 0.5,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Design a dual-tuned loop with a trap: parts, trimmers, and what each nucleus costs the other."""
    from coilbench.base.nuclei import nucleus
    from coilbench.coil_design import Wish, design_coil
    from coils.circuit.coil import PartQuality

    try:
        names = [nucleus(name.strip()).name for name in nuclei.split(",")]
    except ValueError as error:
        raise BenchFileError(f"--nuclei: {error}") from None
    if len(set(names)) != 2:
        raise BenchFileError(f"--nuclei takes two different ones, such as 23Na,1H; got {nuclei!r}")
    field = _quantity("--field", b0, "T")
    low = min(nucleus(name).larmor_frequency(field) for name in names)
    wish = Wish(
        b0=field,
        nuclei=(names[0], names[1]),
        loop=_loop(size, wire, distance, conductivity, permittivity, inductance, q),
        capacitors=capacitors if capacitors.startswith("E") else _quantities("--capacitors", capacitors, "F"),
        trimmer=_pair("--trimmer", trimmer, "F"),
        quality=PartQuality(capacitor_q, coil_q, frequency=low),
        low_importance=weight,
    )
    with watched(quiet=as_json) as watcher:
        outcome, parts = design_coil(wish, runs, watcher)
    if not as_json:
        print("\n".join(parts))
        print(f"Picture: {outcome.folder / 'trade-off.svg'}")
    finish(outcome, as_json=as_json, next_steps=("coilbench tune", "coilbench qfactor --bench bench.toml"))


def _loop(
    size: str,
    wire: str,
    distance: str,
    conductivity: float,
    permittivity: float,
    inductance: str | None,
    q: str | None,
) -> DrawnLoop | MeasuredLoop:
    """Return the loop as drawn, or as measured when inductance and Q are given."""
    from coilbench.coil_design import DrawnLoop, MeasuredLoop

    if (inductance is None) != (q is None):
        raise BenchFileError("a measured loop needs both --inductance and --q")
    if inductance is not None and q is not None:
        return MeasuredLoop(_quantity("--inductance", inductance, "H"), _pair("--q", q, ""))
    sizes = tuple(_quantity("--size", part, "m") for part in size.lower().split("x"))
    if len(sizes) > 2:
        raise BenchFileError(f"--size takes a diameter or width x height; got {size!r}")
    return DrawnLoop(
        sizes,
        _quantity("--wire", wire, "m"),
        _quantity("--distance", distance, "m"),
        conductivity,
        permittivity,
    )


def _quantity(option: str, text: str, unit: str) -> float:
    """Return a positive quantity."""
    from coilbench.base.units import parse_quantity

    try:
        value = parse_quantity(text.strip(), unit)
    except ValueError as error:
        raise BenchFileError(f"{option}: {error}") from None
    if not value > 0.0:
        raise BenchFileError(f"{option} must be above 0; got {text!r}")
    return value


def _quantities(option: str, text: str, unit: str) -> tuple[float, ...]:
    return tuple(_quantity(option, part, unit) for part in text.split(","))


def _pair(option: str, text: str, unit: str) -> tuple[float, float]:
    found = _quantities(option, text, unit)
    if len(found) != 2:
        raise BenchFileError(f"{option} takes two values separated by a comma; got {text!r}")
    return found[0], found[1]
