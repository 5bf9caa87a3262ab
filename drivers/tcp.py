"""TCP streams that do not dawdle: no Nagle delay, keepalive, end of file noticed.

Nagle's algorithm and delayed acknowledgement together cost 40 ms for each write that is followed by a query.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import Final

from drivers.link import WireLost, WireRefused, WireTimeout

#: Seconds of silence, seconds between probes, probes: a pulled cable is noticed after about 25 s.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))

#: Not epoll: it sleeps on when another thread closes the socket.
_SELECTOR: Final = getattr(selectors, "PollSelector", selectors.SelectSelector)


class TcpWire:
    """A TCP stream without Nagle's delay, with keepalive.

    Parameters
    ----------
    host, port
        Where the instrument listens.
    scheme
        What its address begins with: ``tcp``, or ``socket`` for an instrument that is serial elsewhere.
    """

    def __init__(self, host: str, port: int, *, scheme: str = "tcp") -> None:
        self._host = host
        self._port = port
        self._scheme = scheme
        self._socket: socket.socket | None = None

    @property
    def address(self) -> str:
        """The address as ``tcp://host:port``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{self._port}"

    def open(self, timeout: float, /) -> None:
        """Connect, or raise ``WireRefused``."""
        self.close()
        try:
            connection = socket.create_connection((self._host, self._port), timeout)
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise WireRefused(
                f"cannot be opened ({reason}); is it switched on, on this network, and is its remote "
                "interface enabled?"
            ) from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            # not every system has all three; keepalive then runs at the system's own pace
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        connection.setblocking(False)
        self._socket = connection

    def send(self, data: bytes, timeout: float, /) -> None:
        """Send all bytes, or raise ``WireTimeout`` or ``WireLost``."""
        connection = self._connected()
        rest = memoryview(data)
        deadline = time.monotonic() + timeout
        while rest:
            try:
                rest = rest[connection.send(rest) :]
            except (BlockingIOError, InterruptedError):
                _wait(connection, selectors.EVENT_WRITE, deadline)
            except OSError as error:
                raise WireLost(f"connection lost while sending ({error.strerror})") from error

    def receive_into(self, buffer: memoryview, timeout: float, /) -> int:
        """Write at least one byte into ``buffer``, or raise ``WireTimeout`` or ``WireLost``."""
        connection = self._connected()
        deadline = time.monotonic() + timeout
        while True:
            try:
                count = connection.recv_into(buffer)
            except (BlockingIOError, InterruptedError):
                _wait(connection, selectors.EVENT_READ, deadline)
                continue
            except OSError as error:
                raise WireLost(f"connection lost ({error.strerror})") from error
            if count == 0:
                raise WireLost("the instrument closed the connection")
            return count

    def clear(self, timeout: float, /) -> bool:
        """Return False: a plain stream has no device clear."""
        del timeout
        return False

    def close(self) -> None:
        """Close the socket; a thread waiting on it gets ``WireLost``."""
        connection, self._socket = self._socket, None
        if connection is not None:
            # shutdown wakes a waiting thread; the peer may be gone already
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise WireLost("the connection is closed")
        return self._socket


def _wait(connection: socket.socket, event: int, deadline: float) -> None:
    remaining = deadline - time.monotonic()
    if remaining <= 0.0:
        raise WireTimeout
    try:
        with _SELECTOR() as selector:
            selector.register(connection, event)
            ready = selector.select(remaining)
    except (OSError, ValueError) as error:
        raise WireLost("the connection was closed by another thread") from error
    if not ready:
        raise WireTimeout
