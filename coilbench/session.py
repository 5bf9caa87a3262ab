"""One run, one folder: events while it runs, the record at the end, nothing half-written.

A folder without ``record.json`` is a run that did not finish; its raw stream is readable all the same.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, TextIO

import numpy as np

from coilbench.base.errors import RunAborted, StorageError
from coilbench.base.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from coilbench.base.events import EventSink

#: Version of the layout of record.json.
RECORD_SCHEMA: Final = 1
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(slots=True)
class RunFolder:
    """A run's folder and its event log.

    Parameters
    ----------
    path
        The folder; it did not exist before.
    watcher
        Also receives every event (the progress display).
    """

    path: Path
    watcher: EventSink
    _log: TextIO

    def emit(self, event: Event, /) -> None:
        """Append an event to events.jsonl and hand it to the watcher.

        Raises
        ------
        StorageError
            The disk refused.
        """
        self._write(event)
        self.watcher(event)

    def give_up(self, error: BaseException, /) -> None:
        """Write down why the run ends without a record, and tell the reader of ``error`` what is left."""
        reasons = [str(error), *getattr(error, "__notes__", ())]
        # a full disk may be the very reason
        with contextlib.suppress(StorageError):
            self._write(Event("failed", "; ".join(reasons), {"error": type(error).__name__}))
        if (self.path / "raw.mrd").is_file():
            error.add_note(
                f"what was acquired before is safe in {self.path}; `coilbench recon` reconstructs it"
            )
        else:
            error.add_note(f"nothing had been acquired yet; what happened is in {self.path}")

    def _write(self, event: Event) -> None:
        line = {
            "utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "kind": event.kind,
            "message": event.message,
            "data": jsonable(event.data),
        }
        with storing(self.path / "events.jsonl"):
            self._log.write(json.dumps(line, allow_nan=False) + "\n")
            self._log.flush()

    def finish(self, record: dict[str, Any], /) -> Path:
        """Write record.json, atomically and last, and return its path.

        Raises
        ------
        StorageError
            The disk refused; there is no record, so the run counts as unfinished.
        """
        text = json.dumps(jsonable({"schema": RECORD_SCHEMA, **record}), indent=1, allow_nan=False)
        return write_atomically(self.path / "record.json", text)

    def close(self) -> None:
        """Close the event log."""
        # every event was flushed when it came; what a full disk refused then it refuses again now
        with contextlib.suppress(OSError):
            self._log.close()


@contextmanager
def run_folder(parent: Path, name: str, watcher: EventSink, /) -> Iterator[RunFolder]:
    """Make a new folder ``parent/<UTC>_<name>_<4 hex>`` and keep its event log open.

    An error that leaves the block is logged there, and gets a note on what can be read in the folder.

    Raises
    ------
    StorageError
        The folder cannot be made.
    """
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    path = parent / f"{stamp}_{_UNSAFE.sub('-', name)[:48]}_{secrets.token_hex(2)}"
    with storing(path):
        parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
        log = (path / "events.jsonl").open("x", encoding="utf-8")
    folder = RunFolder(path, watcher, log)
    try:
        yield folder
    except Exception as error:
        folder.give_up(error)
        raise
    finally:
        folder.close()


def write_atomically(path: Path, text: str, /) -> Path:
    """Write ``text`` beside ``path``, sync it, and rename it into place.

    Raises
    ------
    StorageError
        The disk refused; what stood at ``path`` before is untouched.
    """
    part = path.with_name(path.name + ".part")
    with storing(path):
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    return path


@contextmanager
def storing(path: Path, /) -> Iterator[None]:
    """Say what it means that the disk refuses to store ``path``, where a library would say OSError.

    Raises
    ------
    StorageError
        The block raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def storage_error(path: Path, error: OSError, /) -> StorageError:
    """Return what a refused write means to the user."""
    return StorageError(
        f"{path}: the disk refused ({error.strerror or error}); free some space or choose another folder "
        "with --runs"
    )


def jsonable(value: Any, /) -> Any:  # noqa: ANN401, PLR0911 - any JSON value, a return for each kind
    """Return ``value`` as JSON values: arrays as lists, dataclasses as objects, NaN and infinity as null.

    Raises
    ------
    TypeError
        The value has no JSON form.
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (complex, np.complexfloating)):
        return [jsonable(value.real), jsonable(value.imag)]
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if is_dataclass(value) and not isinstance(value, type):
        return jsonable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    return str(value)


def software() -> dict[str, str]:
    """Return the versions that decide a run's numbers."""
    names = ("coilbench", "numpy", "scipy", "scikit-rf", "finufft", "ismrmrd", "h5py", "pyvisa", "pypulseq")
    return {"python": sys.version.split()[0], **{name: metadata.version(name) for name in names}}


@contextmanager
def stop_signals() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM (Ctrl-Break on Windows) into RunAborted, so that every ``finally`` makes safe.

    Only the first one counts: the outputs are on their way off then, and a second one would interrupt that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        what = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        raise RunAborted(f"stopped by {what}; outputs are off")

    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
