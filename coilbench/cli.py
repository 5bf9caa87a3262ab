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
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console

from coilbench.base.errors import COULD_NOT_MEASURE, CoilbenchError
from coilbench.commands import array, data, design, loop, passport, probing, quality

app = typer.Typer(
    name="coilbench",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


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


_COMMANDS: Final = {
    "The whole loop": (loop.demo, loop.run),
    "The coil array": (
        array.sweep,
        array.tune,
        array.match,
        probing.decouple,
        probing.qfactor,
        probing.detune,
        design.design,
        array.calibrate,
        passport.passport,
    ),
    "The bench": (loop.init, loop.sim, loop.doctor),
    "Raw data and images": (data.recon, data.noise, data.snr, data.tsc),
    "Finished runs": (quality.report, quality.qc, quality.trend, quality.export),
}
for panel, commands in _COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
