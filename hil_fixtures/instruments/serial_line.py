"""Serial lines of the simulated instruments.

True here: one handler lives as long as the line, whoever opens and closes the other end, as a
microcontroller does behind its USB port. Where the system has pseudo terminals the line is one, in raw
mode; elsewhere (Windows) it is a TCP server that pySerial opens as ``socket://host:port``, for one
client at a time. Baud rates do not matter on either.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from typing import TYPE_CHECKING, Final, Literal, Self

from hil_fixtures.instruments.wire import BackgroundLoop, ReplyShaper, TcpServer, Wire, shared_loop, unshaped

if TYPE_CHECKING:
    from types import TracebackType

    from hil_fixtures.instruments.wire import ByteHandler, HandlerFactory

#: Bytes read from the pseudo terminal at once; the kernel's buffer is not larger.
_CHUNK: Final = 4096


def has_pty() -> bool:
    """Return whether this system has pseudo terminals."""
    return importlib.util.find_spec("termios") is not None


class SerialLine:
    """A serial line with an instrument at its far end.

    Parameters
    ----------
    make_handler
        Called once, on the background thread, when the line starts.
    kind
        ``"pty"``, ``"socket"``, or None for the best this system has.
    shape
        Link faults.
    """

    def __init__(
        self,
        make_handler: HandlerFactory,
        kind: Literal["pty", "socket"] | None = None,
        shape: ReplyShaper = unshaped,
    ) -> None:
        self._end: _PtyEnd | _SocketEnd
        wants_pty = has_pty() if kind is None else kind == "pty"
        self._end = _PtyEnd(make_handler, shape) if wants_pty else _SocketEnd(make_handler, shape)

    @property
    def address(self) -> str:
        """What pySerial's ``serial_for_url`` opens: a device path or ``socket://host:port``.

        Raises
        ------
        RuntimeError
            The line is not started.
        """
        return self._end.address

    def start(self) -> Self:
        """Plug the instrument in; returns when it can be opened."""
        self._end.start()
        return self

    def close(self) -> None:
        """Unplug the instrument, whether or not it is open at the other end; may be called twice.

        Raises
        ------
        ExceptionGroup
            The handler raised.
        """
        self._end.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _PtyEnd:
    """The master end of a pseudo terminal."""

    def __init__(self, make_handler: HandlerFactory, shape: ReplyShaper) -> None:
        self._make_handler = make_handler
        self._shape = shape
        self._loop: BackgroundLoop | None = None
        self._path = ""
        self._unsent = bytearray()

    @property
    def address(self) -> str:
        if not self._path:
            raise RuntimeError("start the line before asking for its address")
        return self._path

    def start(self) -> None:
        if self._loop is not None:
            return
        loop = shared_loop.acquire()
        try:
            loop.run(self._plug_in(loop))
        except BaseException:
            shared_loop.release()
            raise
        self._loop = loop

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            try:
                loop.run(self._unplug())
            finally:
                shared_loop.release()

    async def _plug_in(self, loop: BackgroundLoop) -> None:
        import pty
        import tty

        # The line's own end of the slave stays open: without it the master reports an error
        # as soon as the first client closes, as if the instrument were gone.
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._path = os.ttyname(self._slave)
        self._wire = Wire(loop, self._write, self._hang_up, self._shape)
        self._handler = self._make_handler(self._wire)
        asyncio.get_running_loop().add_reader(self._master, self._read)

    async def _unplug(self) -> None:
        if self._master >= 0:
            self._hang_up(True)

    def _read(self) -> None:
        self._wire.send(self._handler.receive(os.read(self._master, _CHUNK)))

    def _write(self, data: bytes) -> None:
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._unsent:
                del self._unsent[: os.write(self._master, self._unsent)]
        except BlockingIOError:  # nobody reads; the kernel's buffer is full
            loop.add_writer(self._master, self._flush)
        else:
            loop.remove_writer(self._master)

    def _hang_up(self, _at_once: bool) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        os.close(self._master)
        os.close(self._slave)
        self._master = -1
        self._wire.lost()
        self._handler.closed()


class _SocketEnd:
    """The same handler behind a TCP server; a second client is turned away."""

    def __init__(self, make_handler: HandlerFactory, shape: ReplyShaper) -> None:
        self._make_handler = make_handler
        self._shape = shape
        self._server = TcpServer(self._connect)
        self._loop: BackgroundLoop | None = None
        self._client: Wire | None = None

    @property
    def address(self) -> str:
        host, port = self._server.address
        return f"socket://{host}:{port}"

    def start(self) -> None:
        if self._loop is None:
            self._loop = shared_loop.acquire()
            self._loop.run(self._plug_in(self._loop))
            self._server.start()

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            try:
                self._server.close()
                loop.run(self._unplug())
            finally:
                shared_loop.release()

    async def _plug_in(self, loop: BackgroundLoop) -> None:
        self._wire = Wire(loop, self._write, self._hang_up, self._shape)
        self._handler = self._make_handler(self._wire)

    async def _unplug(self) -> None:
        self._wire.lost()
        self._handler.closed()

    def _connect(self, client: Wire) -> ByteHandler:
        if self._client is not None:
            client.abort()
            return _TurnedAway()
        self._client = client
        return _Client(self)

    def receive(self, data: bytes) -> None:
        self._wire.send(self._handler.receive(data))

    def release(self) -> None:
        self._client = None

    def _write(self, data: bytes) -> None:
        if self._client is not None:
            self._client.send(data)

    def _hang_up(self, at_once: bool) -> None:
        if self._client is not None:
            self._client.abort() if at_once else self._client.close()


class _Client:
    """The client that has the line."""

    def __init__(self, end: _SocketEnd) -> None:
        self._end = end

    def receive(self, data: bytes, /) -> bytes:
        """Pass bytes to the instrument; it answers by its own wire."""
        self._end.receive(data)
        return b""

    def closed(self) -> None:
        """Free the line."""
        self._end.release()


class _TurnedAway:
    """A client that finds the line taken."""

    def receive(self, _data: bytes, /) -> bytes:
        """Answer nothing."""
        return b""

    def closed(self) -> None:
        """Nothing to free."""
