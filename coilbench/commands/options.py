"""What commands share: options, progress, a bench that may be simulated, the last screen."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from coilbench.base.errors import BenchFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coilbench.foreign_sodium import Timing
    from coilbench.outcome import Outcome

Json = Annotated[bool, typer.Option("--json", help="Print the record alone, as one JSON object.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder for run folders.")]
BenchPath = Annotated[Path, typer.Argument(help="Bench file.")]
Serial = Annotated[
    str | None, typer.Option("--serial", help="Serial number of the coil; by default the bench file's.")
]
Simulated = Annotated[
    bool, typer.Option("--simulated", help="On simulated instruments, which need no bench file.")
]
Seed = Annotated[int, typer.Option(min=0, help="With --simulated: which array, load and noise.")]
Phantom = Annotated[
    Path | None,
    typer.Option(help="Of foreign data: bench file, or a file with its [phantom] and [limits] alone."),
]
RepetitionTime = Annotated[
    str | None, typer.Option(help="Such as '100 ms', of foreign data that do not say it.")
]
EchoTime = Annotated[str | None, typer.Option(help="Such as '0.3 ms', of foreign data that do not say it.")]
FlipAngle = Annotated[
    float | None, typer.Option(min=0.1, max=179.9, help="In degrees, of foreign data that do not say it.")
]
Tuned = Annotated[bool, typer.Option("--tuned", help="With --simulated: start tuned and matched.")]


@contextmanager
def watched(*, quiet: bool) -> Iterator[Any]:
    """Yield an event sink: a progress display, or nothing where only JSON is wanted."""
    from coilbench.base.events import ignore
    from coilbench.display import Display

    if quiet:
        yield ignore
        return
    with Display(Console(stderr=True)) as display:
        yield display


@dataclass(frozen=True, slots=True)
class OnBench:
    """A bench that may be simulated.

    Parameters
    ----------
    path
        Its bench file.
    operator
        Address of who does what a person is asked to do; None: the person at the terminal.
    probes
        The analyzer's ports of two probes; None: not said.
    """

    path: Path
    operator: str | None = None
    probes: tuple[int, int] | None = None


@contextmanager
def on_bench(
    bench: Path, runs: Path, *, simulated: bool, seed: int, tuned: bool = False, probes: bool = False
) -> Iterator[OnBench]:
    """Yield the bench of a bench file, or simulated instruments that run meanwhile.

    Parameters
    ----------
    bench
        Bench file, as named.
    runs
        Where the simulated bench's file is written.
    simulated, seed, tuned, probes
        As asked for; ``probes`` puts two probes and cables that can be moved on the simulated bench.
    """
    if not simulated:
        yield OnBench(bench)
        return
    from coilbench.simulated_bench import bench_file_text, simulated_instruments

    with simulated_instruments(seed, tuned=tuned, probes=probes) as at:
        runs.mkdir(parents=True, exist_ok=True)
        path = runs / "simulated-bench.toml"
        path.write_text(bench_file_text(at), encoding="utf-8")
        ports = at.get("probe_ports")
        yield OnBench(path, at.get("operator"), None if ports is None else (ports[0], ports[1]))


def port_pair(text: str | None, /) -> tuple[int, int] | None:
    """Return two ports from a text such as ``"17,18"``.

    Raises
    ------
    BenchFileError
        It is no such text.
    """
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise BenchFileError(f"--probes takes the two ports of the probes, such as 17,18; got {text!r}")
    first, second = (int(part) for part in parts)
    if first == second or min(first, second) < 1:
        raise BenchFileError(f"--probes takes two different ports, counted from 1; got {text!r}")
    return first, second


def travel_in_turns(texts: list[str], /) -> dict[str, float]:
    """Return the travel of kinds of trimmers in turns from texts such as ``"na.tune=15"``.

    Raises
    ------
    BenchFileError
        A text is none of these.
    """
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = 0.0
        if not name or not 0.0 < found[name] < 1e3:
            raise BenchFileError(f"--turns takes a kind of trimmer and its turns, na.tune=15; got {text!r}")
    return found


def kelvin(text: str | None, /) -> float | None:
    """Return a temperature in K; None stays None.

    Raises
    ------
    BenchFileError
        It is no temperature of a room.
    """
    from coilbench.base.units import parse_quantity

    if text is None:
        return None
    try:
        value = parse_quantity(text, "K")
    except ValueError as error:
        raise BenchFileError(f"--temperature: {error}") from None
    if not 250.0 < value < 330.0:
        raise BenchFileError(f"--temperature is that of a room in K; got {text!r}")
    return value


def metres(option: str, text: str | None, /) -> float | None:
    """Return a length in m; None stays None.

    Raises
    ------
    BenchFileError
        It is no length between 1 mm and 10 m.
    """
    return _within(option, text, "m", (1e-3, 10.0), "a length between 1 mm and 10 m, such as '256 mm'")


def seconds(option: str, text: str | None, /) -> float | None:
    """Return a time in s; None stays None.

    Raises
    ------
    BenchFileError
        It is no time between 1 us and 100 s.
    """
    return _within(option, text, "s", (1e-6, 100.0), "a time between 1 us and 100 s, such as '0.3 ms'")


def timing(repetition_time: str | None, echo_time: str | None, flip_angle: float | None, /) -> Timing:
    """Return how a scan was made, as far as the options say it.

    Raises
    ------
    BenchFileError
        One of them is no time of a scan.
    """
    from coilbench.foreign_sodium import Timing

    return Timing(
        seconds("--repetition-time", repetition_time),
        seconds("--echo-time", echo_time),
        None if flip_angle is None else math.radians(flip_angle),
    )


def _within(option: str, text: str | None, unit: str, ends: tuple[float, float], said: str) -> float | None:
    from coilbench.base.units import parse_quantity

    if text is None:
        return None
    try:
        value = parse_quantity(text, unit)
    except ValueError as error:
        raise BenchFileError(f"{option}: {error}") from None
    if not ends[0] < value < ends[1]:
        raise BenchFileError(f"{option} is {said}; got {text!r}")
    return value


def finish(outcome: Outcome, *, as_json: bool, next_steps: tuple[str, ...]) -> NoReturn:
    """Print the record, or the verdict table and where to look, and leave with the verdict's exit code."""
    from coilbench.verdict_table import print_verdict

    if as_json:
        print((outcome.folder / "record.json").read_text(encoding="utf-8"))
    else:
        print_verdict(Console(), outcome, next_steps)
    raise typer.Exit(outcome.exit_code)


def next_steps(outcome: Outcome, command: str, runs: Path, /) -> tuple[str, ...]:
    """Return what to try after a run on an array: another command, and the passport of its coil."""
    import json
    import shlex

    record = json.loads((outcome.folder / "record.json").read_text(encoding="utf-8"))
    where = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
    return (command, f"coilbench passport {shlex.quote(record['array'])}{where}")
