"""A link loses nothing, invents nothing, and says who failed: over sockets, under every fragmentation."""

from __future__ import annotations

import logging
import socket
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coilbench.base.errors import ConnectionFailed, ConnectionLost, ProtocolError, ReplyTimeout
from drivers.address import open_link
from drivers.link import Link, WireLost, WireTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator


class ScriptedWire:
    """Delivers pieces one per read; an empty piece is a silence."""

    address = "scripted"

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = list(pieces)
        self.sent = b""
        self.opened = 0

    def open(self, _timeout: float, /) -> None:
        self.opened += 1

    def send(self, data: bytes, _timeout: float, /) -> None:
        self.sent += data

    def receive_into(self, buffer: memoryview, _timeout: float, /) -> int:
        if not self.pieces:
            raise WireLost("the instrument closed the connection")
        piece = self.pieces.pop(0)
        if not piece:
            raise WireTimeout
        buffer[: len(piece)] = piece[: len(buffer)]
        if len(piece) > len(buffer):
            self.pieces.insert(0, piece[len(buffer) :])
        return min(len(piece), len(buffer))

    def clear(self, _timeout: float, /) -> bool:
        return False

    def close(self) -> None:
        pass


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut ``data`` at ``places``; equal places make empty pieces, which are silences."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def tcp_address(listener: socket.socket) -> str:
    return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


LINES = st.lists(st.text("abc,+-.0123456789E ", max_size=12), min_size=1, max_size=6)


@given(lines=LINES, ends=st.data(), places=st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=200, deadline=None)
def test_link_lines_survive_every_fragmentation_and_silence(
    lines: list[str], ends: st.DataObject, places: list[int]
) -> None:
    """However a stream is cut, and wherever it pauses, the same lines come out in the same order."""
    raw = b"".join(
        line.encode() + ends.draw(st.sampled_from([b"\n", b"\r\n"]), label="line end") for line in lines
    )
    link = Link(ScriptedWire(cut(raw, places)), "vna")
    read: list[str] = []
    for _ in range(len(lines) + len(places) + 1):
        if len(read) == len(lines):
            break
        try:
            read.append(link.read_line(0.0))
        except ReplyTimeout:
            continue
    assert read == lines


@given(
    parts=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6),
    places=st.lists(st.integers(0, 10_000), max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_link_exact_reads_survive_every_fragmentation_and_silence(
    parts: list[bytes], places: list[int]
) -> None:
    """Exact reads give back exactly what was sent; a timeout in the middle loses nothing."""
    link = Link(ScriptedWire(cut(b"".join(parts), places)), "vna")
    read: list[bytes] = []
    for _ in range(len(parts) + len(places) + 1):
        if len(read) == len(parts):
            break
        try:
            read.append(bytes(link.read_exact(len(parts[len(read)]), 0.0)))
        except ReplyTimeout:
            continue
    assert read == parts


def test_link_mixes_lines_blocks_and_leftovers_in_one_stream() -> None:
    """A line, an exact block holding newlines, and the rest follow each other without a byte lost."""
    link = Link(ScriptedWire([b"#15a\n", b"b\nc\nnext line\r", b"\ntail"]), "vna")
    assert bytes(link.read_exact(3)) == b"#15"
    assert bytes(link.read_exact(5)) == b"a\nb\nc"
    assert link.read_line() == ""
    assert link.read_line() == "next line"
    assert link.read_some(limit=2) == b"ta"
    assert link.read_some() == b"il"


def test_link_bounds_a_line_that_never_ends() -> None:
    """A peer that sends anything but lines is named as such instead of filling the memory."""
    link = Link(ScriptedWire([b"x" * 1000] * 20), "vna")
    with pytest.raises(ProtocolError, match="is this the right instrument") as caught:
        link.read_line(limit=4000)
    assert caught.value.instrument == "vna (scripted)"


def test_link_refuses_lines_that_are_not_text() -> None:
    """Bytes above 127 in a line are damage on the wire, not an answer."""
    with pytest.raises(ProtocolError, match="ASCII"):
        Link(ScriptedWire([b"1.0\xff\n"]), "vna").read_line()


def test_link_errors_name_instrument_address_and_last_command(listener: socket.socket) -> None:
    """Silence is a ReplyTimeout that tells who was asked what."""
    with open_link(tcp_address(listener), name="vna", timeout=0.05) as link:
        link.write_line("SYST:ERR?")
        with pytest.raises(ReplyTimeout) as caught:
            link.read_line()
    assert caught.value.instrument == f"vna ({tcp_address(listener)})"
    assert caught.value.command == "SYST:ERR?"


def test_link_end_of_file_is_connection_lost_at_once(listener: socket.socket) -> None:
    """A peer that hangs up in the middle of an answer is lost, not late, and is noticed without waiting."""
    with open_link(tcp_address(listener), name="vna", timeout=30.0) as link:
        connection, _ = listener.accept()
        connection.sendall(b"half an ans")
        connection.close()
        start = time.monotonic()
        with pytest.raises(ConnectionLost, match="closed the connection"):
            link.read_line()
        assert time.monotonic() - start < 5.0
        assert not link.is_open
        with pytest.raises(ConnectionLost, match="open the instrument again"):
            link.write_line("*IDN?")


def test_link_reopens_after_a_loss_and_forgets_what_had_arrived(listener: socket.socket) -> None:
    """Half an answer of the old connection never begins an answer of the new one."""
    with open_link(tcp_address(listener), name="vna", timeout=5.0) as link:
        first, _ = listener.accept()
        first.sendall(b"stale ")
        assert link.read_some(limit=1) == b"s"
        link.reopen()
        second, _ = listener.accept()
        second.sendall(b"fresh\n")
        assert link.read_line() == "fresh"
        first.close()
        second.close()


def test_link_tcp_has_no_nagle_delay_and_keeps_alive(listener: socket.socket) -> None:
    """NODELAY and keepalive are set on the socket: without the first, write then query takes 40 ms."""
    with open_link(tcp_address(listener), name="vna") as link:
        raw = link._wire._socket  # type: ignore[attr-defined]  # the option is set on the real socket
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_link_close_wakes_a_waiting_reader(listener: socket.socket) -> None:
    """Closing from another thread ends a wait with ConnectionLost, not with its timeout."""
    link = open_link(tcp_address(listener), name="vna", timeout=60.0)
    started = threading.Event()
    caught: list[Exception] = []

    def read() -> None:
        started.set()
        try:
            link.read_line()
        except ConnectionLost as error:
            caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    started.wait()
    link.close()
    reader.join(10.0)
    assert not reader.is_alive()
    assert len(caught) == 1


def test_link_unreachable_instrument_is_named_with_what_to_check() -> None:
    """A refused connection says which instrument, and asks for power, network and remote interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=r"scanner \(tcp://127.0.0.1:\d+\).*switched on"):
        open_link(f"tcp://127.0.0.1:{port}", name="scanner")


@pytest.mark.parametrize(
    "address", ["", "localhost:5025", "tcp://host", "http://x:1", "TCPIP", "tcp://h:port"]
)
def test_link_unknown_address_lists_the_forms(address: str) -> None:
    """What is no address is answered with the forms that are."""
    with pytest.raises(ConnectionFailed, match="tcp://host:port"):
        open_link(address, name="vna")


def test_link_logs_every_message_on_the_wire(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """The wire log holds both directions with the instrument's name."""
    caplog.set_level(logging.DEBUG, logger="coilbench.wire")
    with open_link(tcp_address(listener), name="vna") as link:
        connection, _ = listener.accept()
        link.write_line("*IDN?")
        connection.sendall(b"maker,model\n")
        link.read_line()
        connection.close()
    assert any("vna" in line and "> *IDN?" in line for line in caplog.messages)
    assert any("vna" in line and "< maker,model" in line for line in caplog.messages)


def test_link_sends_more_than_the_peer_buffers(listener: socket.socket) -> None:
    """A long message goes out whole although the peer reads it slowly."""
    message = bytes(range(256)) * 40_000
    received = bytearray()

    def drain() -> None:
        connection, _ = listener.accept()
        with connection:
            while len(received) < len(message):
                received.extend(connection.recv(65536))

    reader = threading.Thread(target=drain)
    with open_link(tcp_address(listener), name="scanner", timeout=30.0) as link:
        reader.start()
        link.write(message)
        reader.join(30.0)
    assert bytes(received) == message


def test_link_send_to_a_peer_that_never_reads_times_out(listener: socket.socket) -> None:
    """A peer that takes nothing is reported after the timeout instead of blocking for ever."""
    with (
        open_link(tcp_address(listener), name="scanner", timeout=0.1) as link,
        pytest.raises(ReplyTimeout, match="took no bytes"),
    ):
        link.write(bytes(64 * 1024 * 1024), command="SEQ:LOAD")
