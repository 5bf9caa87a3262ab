"""Wires of the simulated instruments: real TCP servers, all served by one background thread.

True here: every server listens on the loopback interface unless told otherwise; handlers run on the
background thread only and must not block it (give long work to ``BackgroundLoop.in_worker``); what a
handler raises hangs up its wire and comes out of ``close``; after ``close`` no socket, task or thread
of the server is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias, TypeVar, TypeVarTuple, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

#: Wall seconds in which starting or closing a server on loopback must be done.
_PATIENCE: Final = 10.0

#: Threads for handlers' long work: more than the instruments of one lab, so that none waits for another.
_WORKERS: Final = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a reply, as it leaves an instrument.

    Parameters
    ----------
    data
        Bytes put on the wire.
    delay
        Wall seconds to wait before them.
    hang_up
        Close the wire after them.
    """

    data: bytes
    delay: float = 0.0
    hang_up: bool = False


#: Turns one reply into what really leaves the instrument; the place where link faults act.
ReplyShaper: TypeAlias = "Callable[[bytes], Sequence[Piece]]"


def unshaped(reply: bytes) -> Sequence[Piece]:
    """Return the reply as one piece: a link without faults."""
    return (Piece(reply),)


class ByteHandler(Protocol):
    """The instrument's end of one wire: bytes in, bytes out."""

    def receive(self, data: bytes, /) -> bytes:
        """Take the bytes that arrived, in any fragmentation, and return what to answer now.

        What is to be answered later goes through ``Wire.send``.
        """
        ...

    def closed(self) -> None:
        """Learn that the wire is gone: the last call."""
        ...


class BackgroundLoop:
    """An asyncio loop in its own thread, with worker threads for long work.

    ``close`` cancels what still runs, joins all threads and raises what handlers raised.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._record)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="instrument-worker")
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failures: list[Exception] = []
        self._thread = threading.Thread(target=self._serve, name="instrument-wires", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on the background thread."""
        return threading.current_thread() is self._thread

    def run(self, work: Coroutine[Any, Any, T], /) -> T:
        """Run ``work`` on the background thread and return its result; called from another thread.

        Raises
        ------
        TimeoutError
            It was not done within 10 s.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def call_soon(self, function: Callable[[*Arguments], object], /, *arguments: *Arguments) -> None:
        """Call ``function`` on the background thread; may be called from any thread."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def call_later(
        self, seconds: float, function: Callable[[*Arguments], object], /, *arguments: *Arguments
    ) -> asyncio.TimerHandle:
        """Call ``function`` after ``seconds``; background thread only. Cancel it by its handle."""
        return self._loop.call_later(seconds, function, *arguments)

    def start_task(self, work: Coroutine[Any, Any, None], /) -> asyncio.Task[None]:
        """Start ``work`` beside the handlers; background thread only. Cancel it by its task."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    async def in_worker(self, work: Callable[[*Arguments], T], /, *arguments: *Arguments) -> T:
        """Run blocking ``work`` in a worker thread and wait for its result."""
        return await self._loop.run_in_executor(self._workers, work, *arguments)

    def raise_failures(self) -> None:
        """Raise what handlers raised since the last call.

        Raises
        ------
        ExceptionGroup
            All of it; a simulated instrument is broken.
        """
        failures, self._failures = self._failures, []
        if failures:
            raise ExceptionGroup("a simulated instrument failed on its own thread", failures)

    def close(self) -> None:
        """Stop the thread and all that runs on it.

        Raises
        ------
        ExceptionGroup
            What handlers raised and nobody has seen yet.
        """
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._workers.shutdown(wait=True)
            self._loop.run_until_complete(self._cancel_all())
            self._loop.close()
        self.raise_failures()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _cancel_all(self) -> None:
        me = asyncio.current_task()
        leftover = [task for task in asyncio.all_tasks() if task is not me]
        for task in leftover:
            task.cancel()
        await asyncio.gather(*leftover, return_exceptions=True)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._failures.append(error)

    def _record(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._failures.append(error if isinstance(error, Exception) else RuntimeError(context["message"]))


class _SharedLoop:
    """The one background loop of the process, alive while a server uses it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._loop: BackgroundLoop | None = None

    def acquire(self) -> BackgroundLoop:
        """Return the loop, started for its first user."""
        with self._lock:
            self._users += 1
            if self._loop is None:
                self._loop = BackgroundLoop()
            return self._loop

    def release(self) -> None:
        """Give the loop back; its last user stops it."""
        with self._lock:
            self._users -= 1
            loop = cast("BackgroundLoop", self._loop)
            if self._users:
                loop.raise_failures()
            else:
                self._loop = None
                loop.close()


#: Shared by all servers, because dozens of instruments need one thread, not dozens.
shared_loop: Final = _SharedLoop()


class Wire:
    """One open connection as the instrument sees it; ``send`` may be called from any thread.

    Parameters
    ----------
    loop
        Thread and timers that the handler may use.
    write
        Puts bytes on the wire; called on the background thread.
    hang_up
        Closes the wire; ``True`` means at once, throwing away what is not yet sent.
    shape
        Link faults.
    """

    def __init__(
        self,
        loop: BackgroundLoop,
        write: Callable[[bytes], None],
        hang_up: Callable[[bool], None],
        shape: ReplyShaper = unshaped,
    ) -> None:
        self.loop: Final = loop
        self._write = write
        self._hang_up = hang_up
        self._shape = shape
        self._pieces: deque[Piece] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._open = True

    def send(self, reply: bytes, /) -> None:
        """Put one reply on the wire, after those before it; ignored when the wire is gone."""
        if self.loop.is_current:
            self._send(reply)
        else:
            self.loop.call_soon(self._send, reply)

    def close(self) -> None:
        """Hang up when everything before has been sent."""
        self.loop.call_soon(self._enqueue, (Piece(b"", hang_up=True),))

    def abort(self) -> None:
        """Hang up at once (TCP: with a reset), as an instrument does that loses power."""
        self.loop.call_soon(self._hang_up, True)

    def lost(self) -> None:
        """Forget what is not yet sent; called by the server when the wire is gone."""
        self._open = False
        self._pieces.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, reply: bytes) -> None:
        if reply:
            self._enqueue(self._shape(reply))

    def _enqueue(self, pieces: Sequence[Piece]) -> None:
        if self._open:
            self._pieces.extend(pieces)
            if self._timer is None:
                self._drain()

    def _drain(self) -> None:
        self._timer = None
        while self._pieces:
            if self._pieces[0].delay > 0.0:
                piece = self._pieces.popleft()
                self._pieces.appendleft(Piece(piece.data, 0.0, piece.hang_up))
                self._timer = self.loop.call_later(piece.delay, self._drain)
                return
            piece = self._pieces.popleft()
            if piece.data:
                self._write(piece.data)
            if piece.hang_up:
                self._hang_up(False)
                return


#: Makes the instrument's end of a new wire.
HandlerFactory: TypeAlias = "Callable[[Wire], ByteHandler]"


class _Connection(asyncio.Protocol):
    """One accepted TCP connection."""

    def __init__(self, server: TcpServer, loop: BackgroundLoop) -> None:
        self._server = server
        self._loop = loop
        self.gone: Final = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the new wire a handler."""
        self.transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        self.wire = Wire(self._loop, self.transport.write, self._hang_up, self._server.shape)
        self.handler = self._server.make_handler(self.wire)

    def data_received(self, data: bytes) -> None:
        """Pass what arrived to the handler, and its answer back."""
        self.wire.send(self.handler.receive(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the handler that the wire is gone."""
        del exc
        self._server.connections.discard(self)
        self.gone.set_result(None)
        self.wire.lost()
        self.handler.closed()

    def drop(self, at_once: bool) -> None:
        """End the connection with a reset, or in good order if the client has taken all that was sent."""
        self._hang_up(at_once or self.transport.get_write_buffer_size() > 0)

    def _hang_up(self, at_once: bool) -> None:
        if not at_once:
            self.transport.close()
        elif not self.transport.is_closing():
            peer: socket.socket = self.transport.get_extra_info("socket")
            # Lingering for zero seconds makes the kernel send RST in place of FIN.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


class TcpServer:
    """A TCP server that gives every connection its own handler.

    Parameters
    ----------
    make_handler
        Called on the background thread with each new wire.
    host
        Interface to listen on; only this machine unless told otherwise.
    port
        0 takes a free one.
    shape
        Link faults, for all connections.
    """

    def __init__(
        self,
        make_handler: HandlerFactory,
        host: str = "127.0.0.1",
        port: int = 0,
        shape: ReplyShaper = unshaped,
    ) -> None:
        self.make_handler: Final = make_handler
        self.shape: Final = shape
        self.connections: Final[set[_Connection]] = set()
        self._wanted = (host, port)
        self._loop: BackgroundLoop | None = None
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that clients connect to.

        Raises
        ------
        RuntimeError
            The server is not started.
        """
        if self._server is None:
            raise RuntimeError("start the server before asking for its address")
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    def start(self) -> Self:
        """Listen; returns when clients can connect.

        Raises
        ------
        OSError
            The port is taken.
        """
        if self._loop is None:
            loop = shared_loop.acquire()
            try:
                self._server = loop.run(self._listen(loop))
            except BaseException:
                shared_loop.release()
                raise
            self._loop = loop
        return self

    def hang_up(self) -> None:
        """Reset every open connection, as a power cut does; the server goes on listening."""
        if self._loop is not None:
            self._loop.run(self._drop_connections())

    def close(self) -> None:
        """Stop listening and end every connection; may be called twice.

        Clients see the end of the stream, as from an instrument that is switched off in good order.

        Raises
        ------
        ExceptionGroup
            A handler raised.
        """
        loop, self._loop = self._loop, None
        if loop is not None:
            try:
                loop.run(self._shut())
            finally:
                shared_loop.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _listen(self, loop: BackgroundLoop) -> asyncio.Server:
        host, port = self._wanted
        return await asyncio.get_running_loop().create_server(lambda: _Connection(self, loop), host, port)

    async def _drop_connections(self, at_once: bool = True) -> None:
        dropped = tuple(self.connections)
        for connection in dropped:
            connection.drop(at_once)
        if dropped:
            await asyncio.wait([connection.gone for connection in dropped], timeout=_PATIENCE)

    async def _shut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for _ in range(3):  # a connection being accepted just now takes two rounds to appear
                await asyncio.sleep(0)
            await self._drop_connections(at_once=False)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), _PATIENCE)
