"""The wires of simulated instruments carry bytes, answer late, fail loudly and leave nothing behind."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
import serial

from hil_fixtures.instruments.serial_line import SerialLine, has_pty
from hil_fixtures.instruments.wire import Piece, TcpServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hil_fixtures.instruments.wire import Wire


class Shouter:
    """Answers in capitals at once; answers ``later`` after a timer; breaks on ``break``."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.is_closed = threading.Event()

    def receive(self, data: bytes, /) -> bytes:
        if data == b"break":
            raise ZeroDivisionError("broken on purpose")
        if data == b"later":
            self.wire.loop.call_later(0.02, self.wire.send, b"late")
            return b"now "
        if data == b"bye":
            self.wire.send(b"good")
            self.wire.close()
            return b""
        return data.upper()

    def closed(self) -> None:
        self.is_closed.set()


def exactly(link: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count and (part := link.recv(count - len(received))):
        received += part
    return received


def test_reply_at_once_and_later_arrive_in_order() -> None:
    with TcpServer(Shouter) as server, socket.create_connection(server.address, timeout=2) as link:
        assert server.address[0] == "127.0.0.1"
        link.sendall(b"later")
        assert exactly(link, 8) == b"now late"


def test_orderly_close_sends_everything_first() -> None:
    with TcpServer(Shouter) as server, socket.create_connection(server.address, timeout=2) as link:
        link.sendall(b"bye")
        assert exactly(link, 4) == b"good"
        assert link.recv(1) == b""


def test_hang_up_resets_connections_and_the_server_goes_on() -> None:
    with TcpServer(Shouter) as server:
        with socket.create_connection(server.address, timeout=2) as link:
            link.sendall(b"a")
            assert exactly(link, 1) == b"A"
            server.hang_up()
            with pytest.raises(ConnectionResetError):
                link.recv(1)
        with socket.create_connection(server.address, timeout=2) as link:
            link.sendall(b"b")
            assert exactly(link, 1) == b"B"


def test_close_ends_handlers_connections_and_the_thread() -> None:
    """Deterministic: no wait is needed after ``close``; a second close does nothing."""
    handlers: list[Shouter] = []

    def make(wire: Wire) -> Shouter:
        handlers.append(Shouter(wire))
        return handlers[-1]

    first, second = TcpServer(make).start(), TcpServer(make).start()
    links = [socket.create_connection(first.address, timeout=2) for _ in range(3)]
    for link in links:
        link.sendall(b"x")
        assert exactly(link, 1) == b"X"
    first.close()
    assert all(handler.is_closed.is_set() for handler in handlers)
    assert [thread.name for thread in threading.enumerate()].count("instrument-wires") == 1
    second.close()
    second.close()
    assert "instrument-wires" not in [thread.name for thread in threading.enumerate()]
    for link in links:
        link.close()


def test_broken_handler_hangs_up_and_is_reported_at_close() -> None:
    server = TcpServer(Shouter).start()
    with socket.create_connection(server.address, timeout=2) as link:
        link.sendall(b"break")
        assert link.recv(1) == b""
    with pytest.raises(ExceptionGroup) as caught:
        server.close()
    assert caught.group_contains(ZeroDivisionError, match="on purpose")


def test_shaper_cuts_delays_and_hangs_up() -> None:
    def shape(reply: bytes) -> list[Piece]:
        return [Piece(reply[:1]), Piece(reply[1:3], delay=0.01), Piece(b"", hang_up=True)]

    with (
        TcpServer(Shouter, shape=shape) as server,
        socket.create_connection(server.address, timeout=2) as link,
    ):
        link.sendall(b"abcdef")
        assert exactly(link, 6) == b"ABC"


@pytest.fixture(
    params=[pytest.param("pty", marks=pytest.mark.skipif(not has_pty(), reason="no pty")), "socket"]
)
def line(request: pytest.FixtureRequest) -> Iterator[SerialLine]:
    with SerialLine(Shouter, request.param) as line:
        yield line


def test_serial_line_is_raw_and_survives_its_clients(line: SerialLine) -> None:
    """Every byte value passes unchanged, and a second client finds the same instrument."""
    everything = bytes(range(256)) * 40
    for _ in range(2):
        with serial.serial_for_url(line.address, timeout=2) as port:
            port.write(everything)
            assert port.read(len(everything)) == everything.upper()


def test_unplugged_serial_line_is_an_error_for_its_client(line: SerialLine) -> None:
    with serial.serial_for_url(line.address, timeout=2) as port:
        port.write(b"a")
        assert port.read(1) == b"A"
        line.close()
        with pytest.raises(serial.SerialException):
            port.read(1)


def test_second_client_of_a_socket_line_is_turned_away() -> None:
    with SerialLine(Shouter, "socket") as line, serial.serial_for_url(line.address, timeout=2) as port:
        port.write(b"a")
        assert port.read(1) == b"A"
        host, number = line.address.removeprefix("socket://").split(":")
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection((host, int(number)), timeout=2) as intruder,
        ):
            intruder.recv(1)
        port.write(b"b")
        assert port.read(1) == b"B"
