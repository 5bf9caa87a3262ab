"""The NanoVNA's serial shell: echo, answer, prompt.

Firmware NanoVNA-D 1.2.52, main.c, "Shell": a line is ended by a carriage return, every character is echoed,
the answer's lines end in CR LF, then comes the prompt ``ch> ``; an unknown word is answered ``word?``. A line
holds 63 characters, what is longer is silently cut off.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final

from coilbench.base.errors import (
    ConnectionLost,
    InstrumentFault,
    ProtocolError,
    ReplyTimeout,
    RunAborted,
)
from drivers.protocols import Abort, never

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.link import Link

PROMPT: Final = b"ch> "
#: Characters in a line; the 64th ends the string (VNA_SHELL_MAX_LENGTH).
LINE_LENGTH: Final = 63
#: Bytes of the longest answer: 401 points of five numbers of 16 characters, and room.
_ANSWER_LIMIT: Final = 64 * 1024
#: Seconds one look at a running scan takes at most.
_SLICE: Final = 0.2


class NanoVnaShell:
    """Commands and answers over one serial line.

    Whoever loses step (timeout, abort, a damaged answer) gets it back before the next command: a carriage
    return ends whatever line was begun, then an unknown word, never used twice, must come back with ``?``.

    Parameters
    ----------
    link
        Open, with a carriage return as its newline.

    Raises
    ------
    ReplyTimeout
        No NanoVNA shell answers.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._words = itertools.count(1)
        self._in_step = False
        self._busy_until = 0.0
        self._closed = False
        self._resynchronise()

    @property
    def name(self) -> str:
        """Name and address, as every error gives them."""
        return self._link.describe()

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    @property
    def is_in_step(self) -> bool:
        """Whether the next answer is known to belong to the next command."""
        return self._in_step and self._link.is_open

    def ask(self, command: str, *, timeout: float | None = None, abort: Abort = never) -> list[str]:
        """Send ``command`` and return the lines of its answer, without echo and prompt.

        Parameters
        ----------
        command
            At most 63 characters.
        timeout
            Seconds until the prompt; None: the link's.
        abort
            Asked every 0.2 s.

        Raises
        ------
        ReplyTimeout, ConnectionLost
            No prompt in time, or no instrument.
        ProtocolError
            The echo is not what was sent: characters were lost.
        InstrumentFault
            The shell does not know the command.
        RunAborted
            ``abort`` said so; the instrument may still be scanning.
        """
        if len(command) > LINE_LENGTH:
            raise ValueError(f"the shell takes {LINE_LENGTH} characters, got {len(command)}: {command!r}")
        with self._link.lock:
            if not self.is_in_step:
                self._resynchronise()
            limit = self._link.timeout if timeout is None else timeout
            self._in_step = False
            self._link.write_line(command)
            self._busy_until = time.monotonic() + limit
            lines = self._read_answer(command, abort)
            self._in_step = True
        if lines == [f"{command.split(maxsplit=1)[0]}?"]:
            raise InstrumentFault(self.name, "its firmware does not know this command", command)
        return lines

    def close(self) -> None:
        """Release the line for good; may be called twice."""
        self._closed = True
        self._link.close()

    def _read_answer(self, command: str, abort: Abort) -> list[str]:
        while True:
            remaining = self._busy_until - time.monotonic()
            try:
                raw = self._link.read_until(PROMPT, max(0.0, min(_SLICE, remaining)), limit=_ANSWER_LIMIT)
                break
            except ReplyTimeout:
                if abort():
                    raise RunAborted(f"{self.name}: stopped while waiting for '{command}'") from None
                if remaining <= 0.0:
                    raise
        lines = raw.removesuffix(PROMPT).decode("ascii", "replace").split("\r\n")
        if lines[0] != command:
            raise ProtocolError(
                self.name,
                f"the shell understood '{lines[0][:80]}'; characters were lost on the line",
                command,
            )
        if lines.pop() != "":
            raise ProtocolError(self.name, "the answer's last line does not end before the prompt", command)
        return [line.strip() for line in lines[1:]]

    def _resynchronise(self) -> None:
        if self._closed:
            raise ConnectionLost(self.name, "it was closed; open the instrument again")
        try:
            if not self._link.is_open:
                self._link.reopen()
            self._find_step()
        except (ConnectionLost, ReplyTimeout, ProtocolError):
            # an adapter that was pulled and plugged in again needs a new handle
            self._link.reopen()
            self._find_step()

    def _find_step(self) -> None:
        word = f"resync{next(self._words)}"
        # a scan that was given up still runs, and the shell listens only after it
        patience = max(0.0, self._busy_until - time.monotonic()) + self._link.timeout
        self._link.write(b"\r")
        self._link.write_line(word)
        self._link.read_until(f"{word}?\r\n".encode() + PROMPT, patience, limit=2 * _ANSWER_LIMIT)
        self._busy_until = 0.0
        self._in_step = True


def numbers(shell: NanoVnaShell, command: str, lines: Sequence[str], columns: int) -> list[list[float]]:
    """Return the answer's lines as numbers.

    Raises
    ------
    InstrumentFault
        The answer is a single line of words: the instrument's refusal.
    ProtocolError
        A line has another count of numbers, or something else in it.
    """
    rows: list[list[float]] = []
    for line in lines:
        fields = line.split()
        try:
            row = [float(field) for field in fields]
        except ValueError:
            if len(lines) == 1 and fields and fields[0].isalpha():
                raise InstrumentFault(shell.name, f"the instrument says '{line}'", command) from None
            raise ProtocolError(
                shell.name, f"expected {columns} numbers, got '{line[:80]}'", command
            ) from None
        if len(row) != columns:
            raise ProtocolError(shell.name, f"expected {columns} numbers, got '{line[:80]}'", command)
        rows.append(row)
    return rows
