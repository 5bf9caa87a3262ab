"""Who does what a run asks a person to do: the person at the terminal, or the hands of a simulated bench."""

from __future__ import annotations

import socket
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from coilbench.base.errors import BenchFileError, ConnectionFailed, ReplyTimeout, RunAborted
from coilbench.procedures.operator import Answer

if TYPE_CHECKING:
    from coilbench.base.events import Event, EventSink
    from coilbench.base.operator import Ask
    from coilbench.procedures.operator import Request

#: Seconds that a simulated operator may take.
_PATIENCE: Final = 30.0


def ask_person(watcher: EventSink, /) -> Ask:
    """Return what shows a sentence on standard error and waits for Enter.

    Parameters
    ----------
    watcher
        The progress display, which stands still meanwhile; any other event sink is left alone.
    """
    pausing = getattr(watcher, "pausing", nullcontext)

    def ask(sentence: str) -> None:
        with pausing():
            print(
                f"\n  ▸ {sentence}\n    Enter when done, Ctrl-C to stop: ",
                end="",
                file=sys.stderr,
                flush=True,
            )
            if not sys.stdin.readline():
                raise RunAborted(f"nobody answered: {sentence}")

    return ask


def print_notes(event: Event, /) -> None:
    """Print what a person must read even where only JSON is wanted: an event sink for standard error."""
    if event.kind == "note":
        print(event.message, file=sys.stderr)


class PersonAtStandards:
    """Asks for one standard or cable after the other; answers are Enter, r and a.

    Parameters
    ----------
    watcher
        The progress display, which stands still meanwhile; any other event sink is left alone.
    """

    def __init__(self, watcher: EventSink) -> None:
        self._pausing = getattr(watcher, "pausing", nullcontext)

    def ask(self, request: Request, /) -> Answer:
        """Show a request and wait for its answer; the end of the input is an a."""
        with self._pausing():
            if request.reason:
                print(f"\n  ! {request.reason}", file=sys.stderr)
            print(f"\n  ▸ {request.number}/{request.total}: {request.instruction}", file=sys.stderr)
            words = "    Enter when done, r to repeat the one before, a to end: "
            while True:
                print(words, end="", file=sys.stderr, flush=True)
                line = sys.stdin.readline()
                answer = {"": Answer.DONE, "r": Answer.REPEAT, "a": Answer.ABORT}.get(line.strip().lower())
                if not line:
                    return Answer.ABORT
                if answer is not None:
                    return answer


def ask_address(address: str, /) -> Ask:
    """Return what sends each sentence to a simulated operator.

    Parameters
    ----------
    address
        Such as ``"tcp://127.0.0.1:5060"``; one sentence a line is answered by ``done`` or by ``cannot: `` and
        why.

    Raises
    ------
    BenchFileError
        The address is none.
    """
    place = urlsplit(address)
    if place.scheme != "tcp" or not place.hostname or not place.port:
        raise BenchFileError(f"an operator's address is tcp://host:port; got {address!r}")
    host, port = place.hostname, place.port

    def ask(sentence: str) -> None:
        try:
            with socket.create_connection((host, port), timeout=_PATIENCE) as link:
                link.sendall(sentence.encode("ascii", "replace") + b"\n")
                with link.makefile("r", encoding="ascii", errors="replace") as lines:
                    answer = lines.readline().strip()
        except TimeoutError as error:
            raise ReplyTimeout(f"operator ({address})", "did not answer", sentence) from error
        except OSError as error:
            raise ConnectionFailed(f"operator ({address})", str(error)) from error
        if answer != "done":
            raise RunAborted(f"the operator at {address} {answer or 'hung up'} (asked: {sentence})")

    return ask
