"""Commands that need hands at the array: qfactor, detune, decouple."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from coilbench.base.errors import COULD_NOT_MEASURE, BenchFileError
from coilbench.commands.options import (
    BenchPath,
    Json,
    Runs,
    Seed,
    Serial,
    Simulated,
    finish,
    next_steps,
    on_bench,
    port_pair,
    watched,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coilbench.array_probing import Hands
    from coilbench.base.events import EventSink
    from coils.decoupling.remedies import Relation

Probes = Annotated[
    str | None, typer.Option("--probes", metavar="P,Q", help="The analyzer's ports of two probes.")
]
Channels = Annotated[
    list[int] | None, typer.Option("--channel", min=1, help="Only this channel; may be repeated.")
]
Bias = Annotated[str, typer.Option("--bias", help="Current that detunes a channel.")]
OperatorAt = Annotated[
    str | None,
    typer.Option("--operator", metavar="ADDRESS", help="Who does what a person is asked; default: you."),
]


def qfactor(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Touchstone (.s1p, .s2p) or NPL text files.")
    ] = None,
    bench: Annotated[
        Path | None, typer.Option("--bench", help="Measure on this bench, with and without the phantom.")
    ] = None,
    probes: Probes = None,
    channel: Channels = None,
    bias: Bias = "80 mA",
    serial: Serial = None,
    operator: OperatorAt = None,
    runs: Runs = Path("runs"),
    simulated: Simulated = False,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Fit resonance, loaded and unloaded Q of files; or measure Q with and without the load on a bench."""
    if (bench is not None or simulated) and paths:
        raise BenchFileError("either files to fit, or a bench to measure on; not both")
    if bench is None and not simulated:
        if not paths:
            raise BenchFileError("name files to fit, or a bench with --bench bench.toml or --simulated")
        _fit_files(paths, as_json=as_json)
    from coilbench.array_probing import measure_array_q

    with _hands(
        bench or Path("bench.toml"), probes, channel, bias, serial, operator, runs, simulated, seed, as_json
    ) as (path, watcher, hands):
        outcome = measure_array_q(path, runs, watcher, hands)
    finish(outcome, as_json=as_json, next_steps=next_steps(outcome, "coilbench detune", runs))


def detune(
    bench: BenchPath = Path("bench.toml"),
    probes: Probes = None,
    channel: Channels = None,
    bias: Bias = "80 mA",
    no_switching: Annotated[
        bool, typer.Option("--no-switching", help="Do not record how fast it switches.")
    ] = False,
    serial: Serial = None,
    operator: OperatorAt = None,
    runs: Runs = Path("runs"),
    simulated: Simulated = False,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Measure depth and speed of active detuning of every channel at every nucleus, with two probes."""
    if probes is None and not simulated:
        raise BenchFileError("active detuning is measured with two probes: --probes P,Q names their ports")
    from coilbench.array_probing import measure_array_detuning

    with _hands(bench, probes, channel, bias, serial, operator, runs, simulated, seed, as_json) as (
        path,
        watcher,
        hands,
    ):
        outcome = measure_array_detuning(path, runs, watcher, hands, switching=not no_switching)
    finish(outcome, as_json=as_json, next_steps=next_steps(outcome, "coilbench decouple", runs))


def decouple(
    bench: BenchPath = Path("bench.toml"),
    probes: Probes = None,
    channel: Channels = None,
    bias: Bias = "80 mA",
    inductance: Annotated[
        list[str] | None,
        typer.Option("--inductance", metavar="23Na=250nH", help="Of each loop, a trap included; repeatable."),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            "--pair", metavar="1-2=overlapped", help="How two loops lie: overlapped, side-by-side or sharing."
        ),
    ] = None,
    serial: Serial = None,
    operator: OperatorAt = None,
    runs: Runs = Path("runs"),
    simulated: Simulated = False,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Measure coupling and, with probes, preamplifier decoupling; say which pairs to treat, and how."""
    from coilbench.array_probing import measure_array_decoupling

    inductances = _inductances(inductance or [])
    relations = _relations(pair or [])
    with _hands(bench, probes, channel, bias, serial, operator, runs, simulated, seed, as_json) as (
        path,
        watcher,
        hands,
    ):
        outcome = measure_array_decoupling(
            path, runs, watcher, hands, inductances=inductances, relations=relations
        )
    finish(outcome, as_json=as_json, next_steps=next_steps(outcome, "coilbench detune", runs))


def _fit_files(paths: list[Path], *, as_json: bool) -> NoReturn:
    """Fit files and leave."""
    from coilbench.offline import q_factors
    from coilbench.session import jsonable
    from coilbench.verdict_table import print_q_factors

    summary, fitted = q_factors(paths)
    if as_json:
        print(json.dumps(jsonable({"schema": 1, **summary}), allow_nan=False))
    else:
        print_q_factors(Console(), summary)
    raise typer.Exit(0 if fitted else COULD_NOT_MEASURE)


@contextmanager
def _hands(
    bench: Path,
    probes: str | None,
    channels: list[int] | None,
    bias: str,
    serial: str | None,
    operator: str | None,
    runs: Path,
    simulated: bool,
    seed: int,
    as_json: bool,
) -> Iterator[tuple[Path, EventSink, Hands]]:
    """Yield bench file, event sink and hands; a simulated bench has probes and hands of its own."""
    from coilbench.array_probing import Hands
    from coilbench.asking import ask_address, ask_person
    from coilbench.base.units import parse_quantity

    try:
        current = parse_quantity(bias, "A")
    except ValueError as error:
        raise BenchFileError(f"--bias: {error}") from None
    pair = port_pair(probes)
    with (
        watched(quiet=as_json) as watcher,
        on_bench(bench, runs, simulated=simulated, seed=seed, tuned=True, probes=True) as at,
    ):
        address = operator or at.operator
        ask = ask_person(watcher) if address is None else ask_address(address)
        chosen = tuple(channels) if channels else None
        yield at.path, watcher, Hands(ask, pair or at.probes, chosen, current, serial)


def _inductances(texts: list[str]) -> dict[str, float]:
    """Return inductances in H by nucleus from texts such as ``"23Na=250nH"``."""
    from coilbench.base.nuclei import nucleus
    from coilbench.base.units import parse_quantity

    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[nucleus(name).name] = parse_quantity(value, "H")
        except ValueError as error:
            raise BenchFileError(f"--inductance {text}: {error}") from None
    return found


def _relations(texts: list[str]) -> list[Relation]:
    """Return how loops lie from texts such as ``"1-2=overlapped"``."""
    from coils.decoupling.remedies import Neighbours, Relation

    words = {"overlapped": Neighbours.OVERLAP, "side-by-side": Neighbours.GAP, "sharing": Neighbours.SHARED}
    found = []
    for text in texts:
        channels, _, word = text.partition("=")
        numbers = channels.split("-")
        if len(numbers) != 2 or not all(each.isdecimal() for each in numbers) or word not in words:
            raise BenchFileError(
                f"--pair takes two channels and one of {', '.join(words)}: 1-2=overlapped; got {text!r}"
            )
        first, second = sorted(int(each) for each in numbers)
        found.append(Relation((first, second), words[word]))
    return found
