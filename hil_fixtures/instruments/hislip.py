"""HiSLIP 1.0 servers.

Written from IVI-6.1 revision 1.1 (2011). True here: synchronized mode, both channels, exclusive and
shared locks with waiting, device clear, status query with message-available, interrupted answers,
answers cut to the client's maximum message size. Not here: overlap mode (not offered), service requests,
remote/local lockout (acknowledged, no effect), encryption and the other additions of version 2.0.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, Self

from hil_fixtures.instruments.hislip_frames import (
    BadHeaderError,
    FatalErrorCode,
    Frame,
    FrameReader,
    MessageType,
)
from hil_fixtures.instruments.hislip_locks import LockTable
from hil_fixtures.instruments.hislip_session import Session
from hil_fixtures.instruments.wire import TcpServer, Wire, unshaped

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from hil_fixtures.instruments.scpi_socket import MessageInstrument
    from hil_fixtures.instruments.wire import ReplyShaper

#: Protocol version 1.0 in the upper half of InitializeResponse's parameter.
_VERSION: Final = 0x0100

#: The sub-address every instrument has.
_SUB_ADDRESS: Final = b"hislip0"


class HislipServer:
    """Lets any number of clients talk HiSLIP with one instrument.

    Parameters
    ----------
    instrument
        Takes the messages.
    vendor
        Two-letter vendor abbreviation (VXIplug&play), such as ``b"RS"``.
    host, port
        As for :class:`TcpServer`; 4880 is the usual port.
    shape
        Link faults, on both channels.
    """

    def __init__(
        self,
        instrument: MessageInstrument,
        vendor: bytes = b"RS",
        host: str = "127.0.0.1",
        port: int = 0,
        shape: ReplyShaper = unshaped,
    ) -> None:
        self._instrument = instrument
        self._vendor = vendor
        self._locks = LockTable()
        self._numbers = itertools.count(1)
        self._sessions: dict[int, Session] = {}
        self._server = TcpServer(lambda wire: _Channel(self, wire), host, port, shape)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port.

        Raises
        ------
        RuntimeError
            The server is not started.
        """
        return self._server.address

    @property
    def resource(self) -> str:
        """The VISA resource name, as pyvisa-py understands it with a port of one's own."""
        host, port = self.address
        return f"TCPIP::{host}::hislip0,{port}::INSTR"

    def start(self) -> Self:
        """Listen; returns when clients can connect."""
        self._server.start()
        return self

    def hang_up(self) -> None:
        """Reset every open connection, as a power cut does; the server goes on listening."""
        self._server.hang_up()

    def close(self) -> None:
        """Stop listening and end every session; may be called twice."""
        self._server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open_session(self, wire: Wire) -> Session:
        """Start a session on its first channel."""
        number = next(self._numbers) & 0xFFFF
        session = Session(number, wire, self._instrument, self._locks)
        self._sessions[number] = session
        parameter = _VERSION << 16 | number
        wire.send(Frame(MessageType.INITIALIZE_RESPONSE, 0, parameter).encoded())
        return session

    def join_session(self, number: int, wire: Wire) -> Session | None:
        """Give a session its second channel; None if there is no such session."""
        session = self._sessions.get(number)
        if session is not None:
            session.attach(wire)
            vendor = int.from_bytes(self._vendor, "big")
            wire.send(Frame(MessageType.ASYNC_INITIALIZE_RESPONSE, 0, vendor).encoded())
        return session

    def end_session(self, session: Session) -> None:
        """Close both channels of a session."""
        if self._sessions.pop(session.number, None) is not None:
            session.close()


class _Channel:
    """One TCP connection: until its first frame neither channel, then one of a session's two."""

    def __init__(self, server: HislipServer, wire: Wire) -> None:
        self._server = server
        self._wire = wire
        self._reader = FrameReader()
        self._session: Session | None = None
        self._take: Callable[[Frame], None] = self._initialize

    def receive(self, data: bytes, /) -> bytes:
        """Act on the frames completed by these bytes."""
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except BadHeaderError:
            self._fail(FatalErrorCode.POOR_HEADER)
        return b""

    def closed(self) -> None:
        """End the session with either of its channels."""
        if self._session is not None:
            self._server.end_session(self._session)

    def _initialize(self, frame: Frame) -> None:
        if frame.type == MessageType.INITIALIZE and frame.payload in (b"", _SUB_ADDRESS):
            self._session = self._server.open_session(self._wire)
            self._take = self._session.take_synchronous
        elif frame.type == MessageType.ASYNC_INITIALIZE:
            self._session = self._server.join_session(frame.parameter, self._wire)
            if self._session is None:
                self._fail(FatalErrorCode.INVALID_INITIALIZATION)
            else:
                self._take = self._session.take_asynchronous
        else:
            self._fail(FatalErrorCode.INVALID_INITIALIZATION)

    def _fail(self, code: FatalErrorCode) -> None:
        self._wire.send(Frame(MessageType.FATAL_ERROR, code).encoded())
        self._wire.close()
