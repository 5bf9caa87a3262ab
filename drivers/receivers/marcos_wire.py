"""The MaRCoS server's messages: msgpack over TCP, protocol 1.0.5.

A request is ``[type, index, 0, version, commands]``, its reply ``[128, index + 1, 0, version, results,
status]``; nothing but msgpack itself says where a message ends (marcos_server src/iface.cpp). The server
serves one client at a time: a second one may connect, but is not heard until the first has left.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgpack

from coilbench.base.errors import InstrumentFault, ProtocolError, ReplyTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivers.link import Link

_log: Final = logging.getLogger("coilbench.marcos")

#: Version of the protocol: major, minor, debug (marcos_client server_comms.py).
VERSION: Final = (1, 0, 5)
#: Port the server listens on.
PORT: Final = 11111
_REQUEST, _REPLY, _REPLY_ERROR = 0, 128, 129
#: Largest reply taken, in bytes: a sample of a channel is two integers of 5 bytes.
_LARGEST_REPLY: Final = 1 << 30
#: Seconds between two looks at whether the caller still wants to wait.
_SLICE: Final = 0.05
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of the server.

    Parameters
    ----------
    index
        The request's index and one.
    version
        Major, minor and debug version of the server's protocol.
    results
        Answer to each command by its name.
    errors, warnings, infos
        The server's words.
    """

    index: int
    version: tuple[int, int, int]
    results: Mapping[str, Any]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    infos: tuple[str, ...]


def pack_request(index: int, commands: Mapping[str, object]) -> bytes:
    """Return a request's bytes."""
    major, minor, debug = VERSION
    version = major << 16 | minor << 8 | debug
    return bytes(msgpack.packb([_REQUEST, index, 0, version, dict(commands)]) or b"")


class ReplyParser:
    """Bytes in, replies out; any cutting of the bytes gives the same replies.

    Parameters
    ----------
    largest
        Bytes of an unfinished reply after which it is refused.
    """

    def __init__(self, largest: int = _LARGEST_REPLY) -> None:
        self._unpacker = msgpack.Unpacker(max_buffer_size=largest, strict_map_key=False)

    def feed(self, data: bytes) -> Reply | None:
        """Take more bytes and return the reply when it is whole.

        Raises
        ------
        ValueError
            These are no bytes of a MaRCoS reply; the link must be opened again.
        """
        try:
            self._unpacker.feed(data)
            message = next(self._unpacker, None)
        except (msgpack.UnpackException, ValueError, TypeError, UnicodeDecodeError) as error:
            # TypeError: a map whose key is itself a list or a map
            raise ValueError(f"not msgpack: {type(error).__name__} {error}") from None
        return None if message is None else _reply(message)


def _reply(message: object) -> Reply:
    match message:
        case [(128 | 129), int(index), _, int(version), dict(results), dict(status)]:
            return Reply(
                index,
                (version >> 16 & 0xFF, version >> 8 & 0xFF, version & 0xFF),
                results,
                _words(status, "errors"),
                _words(status, "warnings"),
                _words(status, "infos"),
            )
        case _:
            raise ValueError(f"expected [128, index, 0, version, results, status], got {str(message)[:80]}")


def _words(status: Mapping[str, object], kind: str) -> tuple[str, ...]:
    words = status.get(kind, [])
    return tuple(str(word) for word in words) if isinstance(words, list) else (str(words),)


class BoardLink:
    """One board's server: one request at a time, every reply checked.

    Parameters
    ----------
    link
        Open; closed by ``close``.
    """

    def __init__(self, link: Link) -> None:
        self._link: Final = link
        self._index = 0
        self._parser = ReplyParser()
        self._is_busy = False

    @property
    def name(self) -> str:
        """Name and address, as error messages give them."""
        return self._link.describe()

    @property
    def address(self) -> str:
        """Where the board is."""
        return self._link.address

    @property
    def is_busy(self) -> bool:
        """Whether a request is still without its reply; the link must be opened again to ask another."""
        return self._is_busy

    def reopen(self) -> None:
        """Open the link again and forget what was asked on the old one.

        Raises
        ------
        ConnectionFailed
            The board does not take the connection.
        """
        self._parser = ReplyParser()
        self._is_busy = False
        self._link.reopen()

    def close(self) -> None:
        """Release the link."""
        self._link.close()

    def ask(self, commands: Mapping[str, object], timeout: float | None = None) -> Reply:
        """Send commands and return their reply.

        Raises
        ------
        InstrumentFault
            The server reports errors; its words are in the text.
        ReplyTimeout, ConnectionLost, ProtocolError
            The server does not answer, is gone, or sends what it must not.
        """
        self.send(commands)
        reply = self.receive(self._link.timeout if timeout is None else timeout)
        if reply.errors:
            raise InstrumentFault(self.name, "; ".join(reply.errors), self._link.command)
        return reply

    def send(self, commands: Mapping[str, object]) -> None:
        """Send commands; ``receive`` must follow.

        Raises
        ------
        ReplyTimeout, ConnectionLost
            The server takes no bytes, or is gone.
        """
        self._index = (self._index + 1) & 0x7FFFFFFF
        self._is_busy = True
        self._link.write(pack_request(self._index, commands), command=" ".join(commands))

    def receive(
        self, timeout: float, cancelled: Callable[[], bool] = lambda: False, *, hint: str = ""
    ) -> Reply:
        """Return the reply to what was sent; warnings and infos go to the log.

        Parameters
        ----------
        timeout
            Seconds.
        cancelled
            Asked between two looks.
        hint
            What to do when nothing comes, for the error's text.

        Raises
        ------
        ReplyTimeout
            It did not come in time, or ``cancelled`` answered True.
        ConnectionLost
            The server is gone, even in the middle of its reply.
        ProtocolError
            It sent what it must not.
        """
        deadline = time.monotonic() + timeout
        while True:
            reply = self._read(min(_SLICE, max(0.0, deadline - time.monotonic())))
            if reply is not None:
                break
            if cancelled() or time.monotonic() >= deadline:
                raise ReplyTimeout(self.name, f"no reply within {timeout:g} s{hint}", self._link.command)
        if reply.index != self._index + 1:
            raise ProtocolError(
                self.name, f"expected reply {self._index + 1}, got reply {reply.index}", self._link.command
            )
        self._is_busy = False
        for word in reply.warnings:
            _log.warning("%s: %s", self.name, word)
        for word in reply.infos:
            _log.info("%s: %s", self.name, word)
        return reply

    def _read(self, timeout: float) -> Reply | None:
        try:
            data = self._link.read_some(timeout, limit=_CHUNK)
        except ReplyTimeout:
            return None
        try:
            return self._parser.feed(data)
        except ValueError as error:
            self._link.close()
            raise ProtocolError(self.name, str(error), self._link.command) from None
