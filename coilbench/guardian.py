"""A second process that makes the bench safe when the first one dies or hangs.

The owner starts it with a pipe and keeps beating. End of file (the owner died, even by SIGKILL), silence,
or an explicit ``trip`` make it open every instrument over a way of its own and call its driver's
``make_safe``; a ``release`` ends it without a word. It ignores Ctrl-C: it lives in a session of its own.

This is a software guard, not a certified interlock.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from coilbench.base.errors import CoilbenchError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable
    from types import TracebackType

#: Seconds of silence after which the owner is taken for hung.
HEARTBEAT_TIMEOUT: Final = 1.0
#: Times that each instrument is tried, and seconds between two tries (doubled each time).
ATTEMPTS: Final = 5
_PAUSE: Final = 0.025
#: How the guardian process ends: without action; everything safe; not everything safe.
_RELEASED, _SAFE, _UNSAFE = 0, 2, 3
#: Seconds that the guardian may take to start, and to act after ``trip``.
_START_TIMEOUT: Final = 20.0
_TRIP_TIMEOUT: Final = 15.0


@dataclass(frozen=True, slots=True)
class SafeAction:
    """One instrument that the guardian makes safe.

    Parameters
    ----------
    name
        What the bench file calls it.
    driver
        Its driver (``drivers.registry``).
    address
        A way to it that is still free when the owner hangs.
    """

    name: str
    driver: str
    address: str


class GuardianFailed(CoilbenchError):  # noqa: N818 - reads as a statement at the bench
    """The guardian did not start: nothing would switch the outputs off if this process died."""


class Guardian:
    """The owner's side: a context manager that keeps a guardian process informed that all is well.

    Leaving the block normally releases the guardian; leaving it by an error trips it.

    Parameters
    ----------
    actions
        What to make safe. Without any, no process is started.
    log_path
        The guardian appends one JSON line per instrument here when it has tripped.
    timeout
        Seconds of silence after which it trips.
    """

    def __init__(
        self, actions: Iterable[SafeAction], log_path: Path, *, timeout: float = HEARTBEAT_TIMEOUT
    ) -> None:
        self._actions: Final = tuple(actions)
        self._log_path: Final = log_path
        self._timeout: Final = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: Final = threading.Lock()
        self._end: Final = threading.Event()
        self._is_settled = False

    @property
    def is_watching(self) -> bool:
        """Whether the guardian process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_lost(self) -> bool:
        """Whether the guardian process was there and has ended: nothing may be switched on any more."""
        return self._process is not None and self._process.poll() is not None

    def __enter__(self) -> Self:
        """Start the guardian and return when it watches.

        Raises
        ------
        GuardianFailed
            It did not start.
        """
        if not self._actions:
            return self
        process = subprocess.Popen(
            [sys.executable, "-m", "coilbench.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # a session or group of its own: a terminal's Ctrl-C must not reach it
            start_new_session=os.name != "nt",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._process = process
        order = {
            "actions": [asdict(action) for action in self._actions],
            "log_path": str(self._log_path.resolve()),
            "timeout": self._timeout,
        }
        told = self._tell(json.dumps(order))
        threading.Thread(target=self._beat, name="guardian's heartbeat", daemon=True).start()
        if not told or not self._started(process):
            process.kill()
            self._finish(1.0)
            raise GuardianFailed(
                "the guardian process did not start; nothing would make the bench safe if this program died"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release after success, trip after an error.

        Raises
        ------
        GuardianFailed
            All went well here, but the guardian had tripped meanwhile: what was measured since is not valid.
        """
        if self._is_settled:
            return
        if error is None:
            if not self.release():
                raise GuardianFailed(
                    f"the guardian switched the outputs off during the run; see {self._log_path}. Was this "
                    "program stopped, or the machine overloaded?"
                )
            return
        if self.is_lost:
            error.add_note(
                f"the guardian had ended during the run; see {self._log_path}. Nothing was switched on after "
                "that; was it stopped, or the machine overloaded?"
            )
        elif not self.trip(f"{type(error).__name__}: {error}"):
            error.add_note(
                "the guardian could not make sure that every output is off: look at RF amplifier, analyzer "
                f"and bias yourself; {self._log_path} says which it could not reach"
            )

    def trip(self, reason: str) -> bool:
        """Make the bench safe now; return whether the guardian says that every instrument is.

        It watches no more afterwards.
        """
        self._tell(f"trip {json.dumps(reason)}")
        return self._finish(_TRIP_TIMEOUT) in {None, _SAFE}

    def release(self) -> bool:
        """End the guardian without action; return False when it had tripped before."""
        self._tell("release")
        return self._finish(_TRIP_TIMEOUT) in {None, _RELEASED}

    def _tell(self, line: str) -> bool:
        """Send a line; return False when there is no guardian to hear it."""
        process = self._process
        if process is None or process.stdin is None:
            return False
        with self._lock:
            try:
                process.stdin.write(line.encode() + b"\n")
                process.stdin.flush()
            except (OSError, ValueError):
                return False
        return True

    def _beat(self) -> None:
        while not self._end.wait(self._timeout / 4):
            if not self._tell("beat"):
                return

    def _started(self, process: subprocess.Popen[bytes]) -> bool:
        answer: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        stdout = process.stdout
        if stdout is None:
            return False
        threading.Thread(target=lambda: answer.put(stdout.readline()), daemon=True).start()
        try:
            return answer.get(timeout=_START_TIMEOUT).strip() == b"watching"
        except queue.Empty:
            return False

    def _finish(self, timeout: float) -> int | None:
        """Wait for the guardian's end and return its exit code; None when there is none."""
        self._end.set()
        self._is_settled = True
        process = self._process
        if process is None:
            return None
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            # still trying; it goes on by itself
            return _UNSAFE
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        return code


def main() -> int:
    """Watch the owner at the other end of standard input; return the exit code."""
    # unbuffered: a thread that waits inside a buffered reader would make the interpreter abort at its end
    owner = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115 - lives as long as we
    order = json.loads(owner.readline())
    actions = [SafeAction(**action) for action in order["actions"]]
    heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(owner, heard), daemon=True).start()
    sys.stdout.write("watching\n")
    sys.stdout.flush()
    # the drivers are imported now, while there is time; a trip meanwhile waits for the import
    threading.Thread(target=_preload, args=({action.driver for action in actions},), daemon=True).start()
    reason = _watch(heard, order["timeout"])
    if reason is None:
        return _RELEASED
    return _SAFE if _make_all_safe(actions, reason, Path(order["log_path"])) else _UNSAFE


def _listen(stream: io.RawIOBase, heard: queue.SimpleQueue[str | None]) -> None:
    for line in stream:
        heard.put(line.decode(errors="replace").strip())
    heard.put(None)


def _watch(heard: queue.SimpleQueue[str | None], timeout: float) -> str | None:
    """Return why to trip, or None when released."""
    while True:
        try:
            line = heard.get(timeout=timeout)
        except queue.Empty:
            return f"the owner was silent for {timeout:g} s"
        if line is None:
            return "the owner died"
        word, _, rest = line.partition(" ")
        if word == "release":
            return None
        if word == "trip":
            return f"asked to: {json.loads(rest)}"


def _preload(drivers: set[str]) -> None:
    from importlib.metadata import entry_points

    from drivers import registry

    for entry in entry_points(group=registry.GROUP):
        if entry.name in drivers:
            entry.load()


def _make_all_safe(actions: list[SafeAction], reason: str, log_path: Path) -> bool:
    """Make all instruments safe at once; each result is written as soon as it is there."""
    lock = threading.Lock()

    def act(action: SafeAction) -> bool:
        begin = time.monotonic()
        attempts, complaint = _make_safe(action)
        result = {
            "time": datetime.now(UTC).isoformat(),
            "reason": reason,
            "instrument": action.name,
            "driver": action.driver,
            "address": action.address,
            "safe": complaint is None,
            "attempts": attempts,
            "seconds": round(time.monotonic() - begin, 4),
            "error": complaint,
        }
        # a full or missing disk must not keep the next instrument from being made safe
        with lock, contextlib.suppress(OSError), log_path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(result) + "\n")
        return complaint is None

    with ThreadPoolExecutor(max_workers=len(actions)) as pool:
        return all(list(pool.map(act, actions)))


def _make_safe(action: SafeAction) -> tuple[int, str | None]:
    """Return how many attempts were made and, if none succeeded, what the last one ran into."""
    from drivers import registry
    from drivers.complaints import Complaints

    complaint: str | None = None
    for attempt in range(1, ATTEMPTS + 1):
        try:
            instrument = registry.open_instrument(action.driver, action.address, name=action.name)
            # make_safe never raises; drivers log what went wrong as a warning
            with Complaints() as complaints:
                instrument.make_safe()
            instrument.close()
            complaint = "; ".join(complaints.texts) or None
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the next attempt must be made
            complaint = f"{type(error).__name__}: {error}"
        if complaint is None:
            return attempt, None
        if attempt < ATTEMPTS:
            time.sleep(_PAUSE * 2**attempt)
    return ATTEMPTS, complaint


if __name__ == "__main__":
    raise SystemExit(main())
