"""The command line. Results go to standard output, everything for people to standard error.

Exit codes: 0 passed, 1 failed its limits, 2 inconclusive, 3 could not measure (wrong bench file or
argument, unreachable instrument, aborted run, disk full). Science is imported when a command needs it.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from coilbench.base.errors import COULD_NOT_MEASURE, CoilbenchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coilbench.outcome import Outcome

app = typer.Typer(
    name="coilbench",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Json = Annotated[bool, typer.Option("--json", help="Print the record alone, as one JSON object.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder for run folders.")]
BenchPath = Annotated[Path, typer.Argument(help="Bench file.")]
DataFile = Annotated[Path, typer.Argument(help="Raw data: a run folder, MRD (.mrd, .h5), .npz or .mat.")]


def _version(asked: bool) -> None:
    if asked:
        from coilbench import __version__

        print(f"coilbench {__version__}")
        raise typer.Exit


@app.callback()
def coilbench(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Dual-tuned 23Na/1H coil arrays, from the soldering bench to a signed-off phantom image."""


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a cp1252 console must not end a run
    words = sys.argv[1:]
    remarks = _Remarks()
    logging.getLogger("coilbench").addHandler(remarks)
    try:
        code = app(args=words, standalone_mode=False)
    except CoilbenchError as error:
        code = _explain(error, as_json="--json" in words)
    except ExceptionGroup as group:
        code = _explain(group, as_json="--json" in words)
    except KeyboardInterrupt:
        code = _explain(CoilbenchError("stopped by Ctrl-C; outputs are off"), as_json="--json" in words)
    except OSError as error:
        where = error.filename or "a file"
        code = _explain(CoilbenchError(f"{where}: {error.strerror or error}"), as_json="--json" in words)
    except Exception as error:  # noqa: BLE001 - 1 means 'failed a limit', so nothing may end with it
        code = _defect(error, as_json="--json" in words)
    finally:
        logging.getLogger("coilbench").removeHandler(remarks)
    remarks.tell()
    raise SystemExit(code if isinstance(code, int) else 0)


def _explain(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong in one message, and as a record when asked for JSON."""
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
    lines = [line for part in parts for line in (str(part), *getattr(part, "__notes__", ()))]
    for line in dict.fromkeys(lines):
        _say(line)
    if as_json:
        print(json.dumps({"schema": 1, "verdict": "could not measure", "error": "\n".join(lines)}))
    return COULD_NOT_MEASURE


def _defect(error: Exception, *, as_json: bool) -> int:
    """Let click's errors show themselves; show the traceback of a defect of ours."""
    show = getattr(error, "show", None)
    if show is not None:
        show()
        return COULD_NOT_MEASURE
    traceback.print_exception(error)
    return _explain(
        CoilbenchError(f"this is a defect of coilbench ({type(error).__name__}: {error}); please report it"),
        as_json=as_json,
    )


def _say(line: str) -> None:
    """Tell a person something on standard error, past the progress display."""
    Console(stderr=True).print(f"coilbench: {line}", markup=False, highlight=False, soft_wrap=True)


class _Remarks(logging.Handler):
    """Keeps what drivers warn of until the result or the error has been said, each remark once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._texts[record.getMessage()] = None

    def tell(self) -> None:
        """Say them all."""
        for text in self._texts:
            _say(f"remark: {text}")


@contextmanager
def _watched(*, quiet: bool) -> Iterator[Any]:
    """Yield an event sink: a progress display, or nothing where only JSON is wanted."""
    from coilbench.base.events import ignore
    from coilbench.display import Display

    if quiet:
        yield ignore
        return
    with Display(Console(stderr=True)) as display:
        yield display


@app.command()
def demo(
    seed: Annotated[int, typer.Option(min=0, help="Which simulated array, load and noise.")] = 1,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Run the whole loop on simulated instruments: tune, scan, reconstruct, quantify, report."""
    from coilbench.phantom_run import run_bench_file
    from coilbench.simulated_bench import bench_file_text, simulated_instruments

    with simulated_instruments(seed) as addresses, _watched(quiet=as_json) as watcher:
        runs.mkdir(parents=True, exist_ok=True)
        path = runs / "demo-bench.toml"
        path.write_text(bench_file_text(addresses), encoding="utf-8")
        outcome = run_bench_file(path, runs, watcher)
    _finish(
        outcome, as_json=as_json, next_steps=("coilbench init", "coilbench sim", "coilbench run bench.toml")
    )


@app.command()
def run(bench: BenchPath = Path("bench.toml"), runs: Runs = Path("runs"), as_json: Json = False) -> None:
    """Run the whole loop on the instruments of a bench file."""
    from coilbench.phantom_run import run_bench_file

    with _watched(quiet=as_json) as watcher:
        outcome = run_bench_file(bench, runs, watcher)
    _finish(
        outcome, as_json=as_json, next_steps=(f"coilbench run {bench}", f"coilbench recon {outcome.folder}")
    )


def _finish(outcome: Outcome, *, as_json: bool, next_steps: tuple[str, ...]) -> NoReturn:
    """Print the record, or the verdict table and where to look, and leave with the verdict's exit code."""
    from coilbench.verdict_table import print_verdict

    if as_json:
        print((outcome.folder / "record.json").read_text(encoding="utf-8"))
    else:
        print_verdict(Console(), outcome, next_steps)
    raise typer.Exit(outcome.exit_code)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write the bench file.")] = Path("bench.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented bench file for the simulated bench, to start from."""
    from coilbench.base.errors import BenchFileError
    from coilbench.simulated_bench import DEFAULT_ADDRESSES, bench_file_text

    if path.exists() and not force:
        raise BenchFileError(f"{path} exists; name another file or add --force")
    path.write_text(bench_file_text(DEFAULT_ADDRESSES), encoding="utf-8")
    print(path)
    Console(stderr=True).print(
        f"Next: `coilbench sim` in one terminal, `coilbench run {path}` in another.", highlight=False
    )


@app.command()
def sim(
    seed: Annotated[int, typer.Option(min=0, help="Which simulated array, load and noise.")] = 1,
    tuned: Annotated[bool, typer.Option("--tuned", help="Start with the array tuned and matched.")] = False,
) -> None:
    """Serve the simulated instruments at the addresses of a fresh bench file until Ctrl-C."""
    from coilbench.simulated_bench import serve

    raise typer.Exit(serve(seed, tuned=tuned))


@app.command()
def doctor(bench: BenchPath = Path("bench.toml"), as_json: Json = False) -> None:
    """Check the installation, the bench file and every instrument, one line each."""
    from coilbench.checkup import check_bench, print_checks

    checks = check_bench(bench)
    if as_json:
        print(json.dumps({"schema": 1, "checks": [check.as_json() for check in checks]}))
    else:
        print_checks(Console(), checks)
    raise typer.Exit(0 if all(check.passed for check in checks) else COULD_NOT_MEASURE)


@app.command()
def recon(
    path: DataFile,
    out: Annotated[Path | None, typer.Option(help="NIfTI file for the image.")] = None,
    as_json: Json = False,
) -> None:
    """Reconstruct raw data, ours or foreign, into a NIfTI image."""
    from coilbench.offline import reconstruct

    with _watched(quiet=as_json) as watcher:
        summary = reconstruct(path, out, watcher)
    _print_summary(summary, as_json=as_json)


@app.command()
def snr(path: DataFile, as_json: Json = False) -> None:
    """State noise, channel correlation and SNR of raw data with a noise scan."""
    from coilbench.offline import signal_to_noise

    with _watched(quiet=as_json) as watcher:
        summary = signal_to_noise(path, watcher)
    _print_summary(summary, as_json=as_json)


@app.command()
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


def _print_summary(summary: dict[str, Any], *, as_json: bool) -> None:
    from coilbench.session import jsonable
    from coilbench.verdict_table import print_summary

    if as_json:
        print(json.dumps(jsonable({"schema": 1, **summary}), allow_nan=False))
    else:
        print_summary(Console(), summary)
