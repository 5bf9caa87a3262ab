"""One instrument's bytes: a Wire carries them, a Link cuts them into lines and blocks.

A timeout never loses what has arrived: the bytes stay in the link and the next read begins with them.
A link that timed out is therefore still in step for a reader who goes on waiting for the same answer,
and only for that one: whoever gives up calls ``clear`` or ``reopen`` before the next question.
An end of file is ``ConnectionLost``, never an empty answer.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from coilbench.base.errors import ConnectionFailed, ConnectionLost, ProtocolError, ReplyTimeout

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_log: Final = logging.getLogger("coilbench.wire")

#: Longest line taken before the peer is told to be speaking something else, in bytes.
LINE_LIMIT: Final = 16 * 1024 * 1024
#: Bytes asked of the wire at once while a line is being read.
_CHUNK: Final = 64 * 1024
#: Bytes of a message shown in the wire log and in errors.
_SHOWN: Final = 120


class WireTimeout(Exception):  # noqa: N818 - never leaves a link
    """Nothing came (or went) in time; a Link turns it into ``ReplyTimeout`` with all names."""


class WireLost(Exception):  # noqa: N818 - never leaves a link
    """The peer closed or vanished; a Link turns it into ``ConnectionLost`` with all names."""


class WireRefused(Exception):  # noqa: N818 - never leaves a link
    """The wire could not be opened; a Link turns it into ``ConnectionFailed`` with all names."""


class Wire(Protocol):
    """Carries bytes to and from one instrument, unbuffered; what a Link needs of a transport."""

    @property
    def address(self) -> str:
        """Where the instrument is, as the bench file gives it."""
        ...

    def open(self, timeout: float, /) -> None:
        """Open, or raise ``WireRefused`` with what to do."""
        ...

    def send(self, data: bytes, timeout: float, /) -> None:
        """Send all bytes, or raise ``WireTimeout`` or ``WireLost``."""
        ...

    def receive_into(self, buffer: memoryview, timeout: float, /) -> int:
        """Write at least one byte into ``buffer`` and return how many.

        Raises
        ------
        WireTimeout, WireLost
            Nothing came in time, or the peer is gone.
        """
        ...

    def clear(self, timeout: float, /) -> bool:
        """Make the instrument forget all that was asked; return False when this wire has no such means."""
        ...

    def close(self) -> None:
        """Release the wire; may be called twice."""
        ...


def shown(data: bytes | bytearray | memoryview) -> str:
    """Return the beginning of a message as readable text, with its length when it was cut."""
    head = repr(bytes(data[:_SHOWN]))[2:-1]
    return head if len(data) <= _SHOWN else f"{head}... ({len(data)} bytes)"


class Link:
    """Lines, exact blocks and whatever has arrived, over any Wire.

    Timeouts are seconds from the call to the complete answer; None means the link's own ``timeout``.
    Safe for one reading and one writing thread; a question with its answer holds ``lock``.

    Parameters
    ----------
    wire
        Not yet open; the link opens and owns it.
    name
        The instrument's name in the bench file.
    timeout
        Seconds that an ordinary answer may take.
    newline
        What ``write_line`` appends.

    Raises
    ------
    ConnectionFailed
        The wire could not be opened.
    """

    def __init__(self, wire: Wire, name: str, *, timeout: float = 5.0, newline: bytes = b"\n") -> None:
        self.timeout = timeout
        self.newline = newline
        self.lock: Final = threading.RLock()
        self._wire = wire
        self._name = name
        self._buffer = bytearray()
        self._command: str | None = None
        self._is_open = False
        self.reopen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where the instrument is, as the bench file gives it."""
        return self._wire.address

    @property
    def is_open(self) -> bool:
        """Whether the link is open, as far as has been noticed."""
        return self._is_open

    @property
    def command(self) -> str | None:
        """The last message sent, as errors name it."""
        return self._command

    def describe(self) -> str:
        """Return name and address, as every error gives them."""
        return f"{self._name} ({self.address})"

    def reopen(self) -> None:
        """Close, forget what had arrived, and open again.

        Raises
        ------
        ConnectionFailed
            The instrument does not take the connection.
        """
        self.close()
        try:
            self._wire.open(self.timeout)
        except WireRefused as error:
            raise ConnectionFailed(self.describe(), str(error)) from error
        self._is_open = True
        _log.debug("%s opened", self.describe())

    def close(self) -> None:
        """Release the wire; may be called twice."""
        was_open, self._is_open = self._is_open, False
        self._buffer.clear()
        self._command = None
        self._wire.close()
        if was_open:
            _log.debug("%s closed", self.describe())

    def clear(self) -> None:
        """Make sure that no answer to anything asked before can come any more.

        Device clear where the wire has it, else close and open again.

        Raises
        ------
        ConnectionFailed, ConnectionLost
            The instrument does not come back.
        """
        self._buffer.clear()
        self._command = None
        try:
            cleared = self._is_open and self._wire.clear(self.timeout)
        except (WireTimeout, WireLost):
            cleared = False
        if cleared:
            _log.debug("%s cleared", self.describe())
        else:
            self.reopen()

    def write(self, data: bytes, *, command: str | None = None, timeout: float | None = None) -> None:
        """Send bytes as they are.

        Parameters
        ----------
        data
            All of it is sent.
        command
            How errors call this message; None: its first bytes.

        Raises
        ------
        ReplyTimeout, ConnectionLost
            The instrument takes no bytes, or is gone.
        """
        self._command = shown(data).removesuffix("\\n").removesuffix("\\r") if command is None else command
        self._require_open()
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s > %s", self.describe(), shown(data))
        limit = self.timeout if timeout is None else timeout
        try:
            self._wire.send(data, limit)
        except WireTimeout:
            raise ReplyTimeout(
                self.describe(), f"took no bytes for {limit:g} s; is another program using it?", self._command
            ) from None
        except WireLost as error:
            raise self._lost(error) from None

    def write_line(self, text: str, *, timeout: float | None = None) -> None:
        """Send ``text`` and the link's newline.

        Raises
        ------
        ReplyTimeout, ConnectionLost
            The instrument takes no bytes, or is gone.
        """
        self.write(text.encode("ascii") + self.newline, command=text, timeout=timeout)

    def read_line(self, timeout: float | None = None, *, limit: int = LINE_LIMIT) -> str:
        r"""Return the next line without its ``\n`` or ``\r\n``.

        Raises
        ------
        ReplyTimeout
            The line did not end in time; what came of it is kept for the next read.
        ProtocolError
            More than ``limit`` bytes without an end, or bytes that are not ASCII.
        ConnectionLost
            The instrument is gone.
        """
        raw = self.read_until(b"\n", timeout, limit=limit)
        try:
            return raw.decode("ascii").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise ProtocolError(
                self.describe(), f"expected a line of ASCII text, got '{shown(raw)}'", self._command
            ) from None

    def read_until(self, end: bytes, timeout: float | None = None, *, limit: int = LINE_LIMIT) -> bytes:
        """Return everything up to and including ``end``; errors as ``read_line``."""
        deadline = self._deadline(timeout)
        searched = 0
        while (place := self._buffer.find(end, searched)) < 0:
            searched = max(0, len(self._buffer) - len(end) + 1)
            if len(self._buffer) > limit:
                raise ProtocolError(
                    self.describe(),
                    f"no end of line in {len(self._buffer)} bytes beginning '{shown(self._buffer)}'; "
                    "is this the right instrument at this address?",
                    self._command,
                )
            self._fill(deadline, "a complete line")
        return bytes(self._take(place + len(end)))

    def read_exact(self, count: int, timeout: float | None = None) -> bytearray:
        """Return exactly ``count`` bytes.

        Raises
        ------
        ReplyTimeout
            Not all came in time; what came is kept for the next read.
        ConnectionLost
            The instrument is gone.
        """
        block = bytearray(count)
        self.read_into(memoryview(block), timeout)
        return block

    def read_into(self, target: memoryview, timeout: float | None = None) -> None:
        """Fill ``target`` (bytes, writable) without copying; errors as ``read_exact``."""
        deadline = self._deadline(timeout)
        ready = min(len(target), len(self._buffer))
        target[:ready] = self._buffer[:ready]
        del self._buffer[:ready]
        while ready < len(target):
            try:
                ready += self._receive(target[ready:], deadline, f"{len(target)} bytes, got {ready}")
            except ReplyTimeout:
                self._buffer[:0] = target[:ready]
                raise
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s < %s", self.describe(), shown(target))

    def read_some(self, timeout: float | None = None, *, limit: int = _CHUNK) -> bytes:
        """Return what has arrived, at least one byte and at most ``limit``; errors as ``read_exact``."""
        if not self._buffer:
            self._fill(self._deadline(timeout), "any byte")
        return bytes(self._take(min(limit, len(self._buffer))))

    def unread(self) -> bytes:
        """Return what has arrived and was not read, at most 64 KiB, without waiting; usually nothing.

        Raises
        ------
        ConnectionLost
            The peer has gone in the meantime.
        """
        if not self._buffer:
            try:
                self._fill(0.0, "nothing")
            except ReplyTimeout:
                return b""
        return bytes(self._take(min(_CHUNK, len(self._buffer))))

    def _take(self, count: int) -> bytearray:
        taken = self._buffer[:count]
        del self._buffer[:count]
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s < %s", self.describe(), shown(taken))
        return taken

    def _fill(self, deadline: float, expected: str) -> None:
        chunk = bytearray(_CHUNK)
        count = self._receive(memoryview(chunk), deadline, expected)
        self._buffer += memoryview(chunk)[:count]

    def _receive(self, target: memoryview, deadline: float, expected: str) -> int:
        self._require_open()
        try:
            return self._wire.receive_into(target, max(0.0, deadline - time.monotonic()))
        except WireTimeout:
            came = f"; so far '{shown(self._buffer)}'" if self._buffer else ""
            raise ReplyTimeout(
                self.describe(), f"no answer in time: expected {expected}{came}", self._command
            ) from None
        except WireLost as error:
            raise self._lost(error) from None

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    def _require_open(self) -> None:
        if not self._is_open:
            raise ConnectionLost(
                self.describe(), "the link is closed; open the instrument again", self._command
            )

    def _lost(self, error: WireLost) -> ConnectionLost:
        self._is_open = False
        return ConnectionLost(
            self.describe(), f"{error}; check power and cable, then open it again", self._command
        )
