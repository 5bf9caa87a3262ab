"""The common part of SCPI: questions and answers in step, blocks, the error queue, waiting for a sweep.

After a timeout, an abort or a malformed answer nobody knows which answer comes next: the session is then
poisoned, and before the next message it clears the instrument (device clear, or a new connection) and asks
who answers. A late answer can therefore never be taken for the answer to another question.
"""

from __future__ import annotations

import logging
import math
import re
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import (
    ConnectionFailed,
    ConnectionLost,
    InstrumentFault,
    ProtocolError,
    ReplyTimeout,
    RunAborted,
)
from drivers.link import shown
from drivers.protocols import Abort, never

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drivers.link import Link

_log: Final = logging.getLogger("coilbench.wire")

#: Seconds one look at a running sweep takes at most; an abort is noticed after this time.
WAIT_SLICE: Final = 0.2
#: Errors read from a queue before it is taken for endless; queues hold some ten (SCPI-99 vol. 2, 21.8).
_QUEUE_LIMIT: Final = 100
#: Seconds before each attempt to come back: many instruments release their only socket late.
_ATTEMPTS: Final = (0.0, 0.1, 0.5)
#: Seconds per byte that a block may take on top of the ordinary timeout: 100 kB/s, a tenth of 10BASE-T.
_SECONDS_PER_BYTE: Final = 1e-5
_ERROR: Final = re.compile(r'^\s*([+-]?\d+)\s*,\s*"(.*)"\s*$', re.DOTALL)


def parse_number(text: str, /) -> float:
    """Return a finite number from an answer.

    Raises
    ------
    ValueError
        Not a number, not finite, or 9.91E37, SCPI's not-a-number (SCPI-99 vol. 1, 7.2.1.5).
    """
    value = float(text)
    if not math.isfinite(value) or abs(value) > 9.89e37:
        raise ValueError(f"{text!r} stands for no number")
    return value


def parse_block_header(header: bytes, /) -> int:
    """Return the byte count that a definite-length block announces (IEEE 488.2, 8.7.9).

    Parameters
    ----------
    header
        ``#``, one digit n, then n digits.

    Raises
    ------
    ValueError
        Anything else, also the indefinite ``#0``: without a count its end cannot be checked.
    """
    if len(header) < 2 or header[:1] != b"#" or not header[1:].isdigit() or header[1:2] == b"0":
        raise ValueError(f"expected '#', a digit and that many digits, got {header[:12]!r}")
    if len(header) != 2 + int(header[1:2]):
        raise ValueError(
            f"expected {header[1:2].decode()} digits after '#{header[1:2].decode()}', got {header!r}"
        )
    return int(header[2:])


class ScpiSession:
    """Questions and answers with one SCPI instrument.

    Parameters
    ----------
    link
        Open; its newline ends every message.

    Raises
    ------
    ReplyTimeout, ConnectionLost, ProtocolError
        ``*IDN?`` was not answered as it must be.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._poisoned = False
        self._renewals = 0
        self._closed = False
        try:
            self._identity = self._ask_identity()
        except (ReplyTimeout, ProtocolError):
            # a program killed in the middle of an answer leaves the rest of it in a USB instrument
            link.clear()
            self._identity = self._ask_identity()

    @property
    def link(self) -> Link:
        """The link under the session."""
        return self._link

    @property
    def name(self) -> str:
        """Name and address, as every error gives them."""
        return self._link.describe()

    @property
    def identity(self) -> str:
        """The answer to ``*IDN?``."""
        return self._identity

    @property
    def is_poisoned(self) -> bool:
        """Whether the next message must be preceded by ``recover``."""
        return self._poisoned or not self._link.is_open

    @property
    def renewals(self) -> int:
        """How often the session has come back; settings made before may be gone."""
        return self._renewals

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called; a link that was lost is not closed."""
        return self._closed

    def poison(self) -> None:
        """Declare that unread answers may be under way."""
        self._poisoned = True

    def write(self, *commands: str) -> None:
        """Send commands, each as a message of its own, without asking whether they were understood."""
        with self._link.lock, _Poisoning(self):
            if not self.is_poisoned and (stray := self._link.unread()):
                # an answer that came twice would become the answer to this question
                _log.warning("%s sent '%s' unasked; clearing the link", self.name, shown(stray))
                self._poisoned = True
            if self.is_poisoned:
                self.recover()
            for command in commands:
                self._link.write_line(command)

    def configure(self, *commands: str) -> None:
        """Send commands and then read the error queue once.

        Raises
        ------
        InstrumentFault
            The instrument refused one of them; its own words, and all commands of the batch, are in the text.
        """
        with self._link.lock:
            self.write(*commands)
            self.raise_errors("; ".join(commands))

    def begin(self, *commands: str) -> None:
        """Send the commands that make the instrument safe, then empty its error queue into the log.

        What the queue holds may come from whoever used the instrument before. It says nothing about these
        commands: send those that must have been understood once more with ``configure``.

        Raises
        ------
        ReplyTimeout, ConnectionLost, ProtocolError
            The instrument does not answer, is gone, or its queue has no end.
        """
        with self._link.lock:
            self.write(*commands)
            for entry in self.errors():
                _log.info("%s reported %s when it was opened", self.name, entry)

    def query(self, question: str, *, timeout: float | None = None) -> str:
        """Return the answer to ``question`` as text.

        Raises
        ------
        ReplyTimeout, ConnectionLost, ProtocolError
            No answer, no instrument, or no text. The session is poisoned then.
        """
        with self._link.lock, _Poisoning(self):
            self.write(question)
            return self._link.read_line(timeout).strip()

    def query_number(self, question: str) -> float:
        """Return the answer to ``question`` as a finite number.

        Raises
        ------
        ProtocolError
            The answer is no finite number.
        """
        answer = self.query(question)
        try:
            return parse_number(answer)
        except ValueError:
            raise ProtocolError(self.name, f"expected a number, got '{answer[:80]}'", question) from None

    def query_integer(self, question: str) -> int:
        """Return the answer to ``question`` as a whole number; errors as ``query_number``."""
        value = self.query_number(question)
        if value != round(value):
            raise ProtocolError(self.name, f"expected a whole number, got {value:g}", question)
        return round(value)

    def query_ascii(self, question: str, count: int | None = None) -> NDArray[np.float64]:
        """Return comma-separated numbers.

        Parameters
        ----------
        question
            A query whose answer is ASCII data.
        count
            How many there must be; None: any number.

        Raises
        ------
        ProtocolError
            Another count, or an entry that is no finite number.
        """
        answer = self.query(question)
        try:
            values = np.array([parse_number(field) for field in answer.split(",")], dtype=np.float64)
        except ValueError as error:
            raise ProtocolError(self.name, f"expected numbers and commas: {error}", question) from None
        self._require_count(values.size, count, question)
        return values

    def query_doubles(self, question: str, count: int | None = None) -> NDArray[np.float64]:
        """Return a block of little-endian 64-bit numbers (``FORM REAL,64``, ``FORM:BORD SWAP``).

        Values are not judged here: the caller knows which part of the answer a bad one belongs to.

        Parameters
        ----------
        question
            A query whose answer is one definite-length block.
        count
            How many numbers there must be; None: any.

        Returns
        -------
        Shape (number,).

        Raises
        ------
        ProtocolError
            No block, another length, or no newline behind it.
        """
        payload = self.query_block(question, None if count is None else 8 * count)
        if len(payload) % 8:
            raise ProtocolError(
                self.name, f"{len(payload)} bytes are not a whole number of doubles", question
            )
        return np.frombuffer(payload, dtype="<f8").astype(np.float64, copy=False)

    def query_block(self, question: str, length: int | None = None) -> bytearray:
        """Return the payload of a definite-length block; errors as ``query_doubles``.

        Parameters
        ----------
        question
            A query whose answer is one block.
        length
            How many bytes it must hold; another count is refused before the payload is read.
        """
        with self._link.lock, _Poisoning(self):
            self.write(question)
            announced = self._read_block_header(question)
            if length is not None and announced != length:
                raise ProtocolError(
                    self.name, f"expected a block of {length} bytes, {announced} announced", question
                )
            payload = self._link.read_exact(announced, self._link.timeout + announced * _SECONDS_PER_BYTE)
            if (end := self._link.read_exact(1)) == b"\r":
                end = self._link.read_exact(1)
            if end != b"\n":
                raise ProtocolError(
                    self.name,
                    f"expected a newline after the block's {announced} bytes, got {bytes(end)!r}",
                    question,
                )
            return payload

    def wait(self, command: str, timeout: float, *, abort: Abort = never) -> None:
        """Send ``command``, which ends in ``*OPC?``, once, and look for its answer until it comes.

        Parameters
        ----------
        command
            Such as ``"INIT1:IMM;*OPC?"``.
        timeout
            Seconds after which to give up, computed from the sweep.
        abort
            Asked between two looks.

        Raises
        ------
        ReplyTimeout
            Not done in time.
        RunAborted
            ``abort`` said so; the instrument may still be sweeping.
        """
        with self._link.lock, _Poisoning(self):
            self.write(command)
            deadline = time.monotonic() + timeout
            answer = self._read_in_slices(command, deadline, timeout, abort)
            if answer.strip() not in {"1", "+1"}:
                raise ProtocolError(self.name, f"expected '1' when done, got '{answer[:80]}'", command)

    def errors(self) -> list[str]:
        """Read the instrument's error queue until it is empty.

        Raises
        ------
        ProtocolError
            An answer that is no queue entry, or a queue without end.
        """
        found: list[str] = []
        while len(found) < _QUEUE_LIMIT:
            answer = self.query("SYST:ERR?")
            match = _ERROR.match(answer)
            if match is None:
                self.poison()
                raise ProtocolError(self.name, f"expected code and text, got '{answer[:80]}'", "SYST:ERR?")
            if int(match[1]) == 0:
                return found
            found.append(answer)
        raise ProtocolError(self.name, f"the error queue does not end: {found[:3]} ...", "SYST:ERR?")

    def raise_errors(self, command: str) -> None:
        """Raise what the error queue holds as ``InstrumentFault`` after ``command``."""
        if found := self.errors():
            raise InstrumentFault(self.name, "the instrument reports " + " and ".join(found), command)

    def recover(self) -> None:
        """Clear the instrument, or connect anew, and make sure that the same one answers.

        Raises
        ------
        ConnectionFailed, ConnectionLost, ReplyTimeout, ProtocolError
            It does not come back, or another instrument answers. The session stays poisoned.
        """
        with self._link.lock:
            if self._closed:
                raise ConnectionLost(self.name, "the session is closed; open the instrument again")
            identity = self._come_back()
            if identity != self._identity:
                self._poisoned = True
                raise ProtocolError(
                    self.name, f"expected {self._identity!r} to come back, got {identity!r}", "*IDN?"
                )
            self._renewals += 1
            for entry in self.errors():
                _log.warning("%s had reported %s", self.name, entry)

    def close(self) -> None:
        """Close the link for good; may be called twice."""
        self._closed = True
        self._link.close()

    def _come_back(self) -> str:
        deadline = time.monotonic() + self._link.timeout
        step = self._link.clear
        for pause in _ATTEMPTS:
            try:
                step()
                return self._ask_identity()
            except (ConnectionFailed, ConnectionLost, ReplyTimeout, ProtocolError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(pause)
                step = self._link.reopen
        step()
        return self._ask_identity()

    def _ask_identity(self) -> str:
        self._poisoned = True
        self._link.write_line("*IDN?")
        identity = self._link.read_line().strip()
        if identity.count(",") < 3:
            raise ProtocolError(
                self.name, f"expected maker,model,serial,firmware; got '{identity[:80]}'", "*IDN?"
            )
        self._poisoned = False
        return identity

    def _read_in_slices(self, command: str, deadline: float, timeout: float, abort: Abort) -> str:
        while True:
            remaining = deadline - time.monotonic()
            try:
                return self._link.read_line(max(0.0, min(WAIT_SLICE, remaining)))
            except ReplyTimeout:
                if abort():
                    raise RunAborted(f"{self.name}: stopped while waiting for '{command}'") from None
                if remaining <= 0.0:
                    raise ReplyTimeout(
                        self.name,
                        f"not done after {timeout:.1f} s; is an external trigger selected, or the averaging "
                        "changed by hand?",
                        command,
                    ) from None

    def _read_block_header(self, question: str) -> int:
        header = bytes(self._link.read_exact(2))
        if header[:1] == b"#" and header[1:].isdigit():
            header += bytes(self._link.read_exact(int(header[1:])))
        try:
            return parse_block_header(header)
        except ValueError as error:
            raise ProtocolError(self.name, f"no block came: {error}", question) from None

    def _require_count(self, came: int, expected: int | None, question: str) -> None:
        if expected is not None and came != expected:
            raise ProtocolError(self.name, f"expected {expected} numbers, got {came}", question)


class _Poisoning:
    """Poisons a session when an exchange ends in any other way than with its answer."""

    def __init__(self, session: ScpiSession) -> None:
        self._session = session

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._session.poison()
