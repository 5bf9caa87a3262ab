"""The HiSLIP server keeps IVI-6.1: judged by pyvisa-py and by frames written by hand."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Self

import pytest
import pyvisa
from hypothesis import given
from hypothesis import strategies as st

from hil_fixtures.instruments.hislip import HislipServer
from hil_fixtures.instruments.hislip_frames import BadHeaderError, Frame, FrameReader, MessageType
from hil_fixtures.instruments.hislip_locks import LockResponse, LockTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyvisa.resources import MessageBasedResource


class Parrot:
    """Repeats queries; ``forever?`` never answers; ``big?`` answers 3 MB with line feeds in it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.triggers = 0
        self.interruptions = 0

    async def answer(self, message: str, /) -> bytes:
        self.heard.append(message)
        if message == "forever?":
            await asyncio.get_running_loop().create_future()
        if message == "big?":
            return b"#73000000" + b"\n1234" * 600_000 + b"\n"
        return message.encode() + b"\n" if "?" in message else b""

    def trigger(self) -> None:
        self.triggers += 1

    def status_byte(self, message_available: bool, /) -> int:
        return 0x40 | 0x10 * message_available

    def interrupted(self) -> None:
        self.interruptions += 1


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture
def server(parrot: Parrot) -> Iterator[HislipServer]:
    with HislipServer(parrot) as server:
        yield server


@pytest.fixture
def manager() -> Iterator[pyvisa.ResourceManager]:
    manager = pyvisa.ResourceManager("@py")
    yield manager
    manager.close()


@pytest.fixture
def visa(server: HislipServer, manager: pyvisa.ResourceManager) -> MessageBasedResource:
    return manager.open_resource(server.resource, read_termination="\n", write_termination="\n", timeout=2000)


class Client:
    """Both channels of a HiSLIP client, frame by frame."""

    def __init__(self, server: HislipServer) -> None:
        self.sync = socket.create_connection(server.address, timeout=2)
        self.async_ = socket.create_connection(server.address, timeout=2)
        self.sync.sendall(Frame(MessageType.INITIALIZE, 0, 0x0100 << 16 | 0x7878, b"hislip0").encoded())
        response = self.read(self.sync)
        assert response.type == MessageType.INITIALIZE_RESPONSE
        assert (response.control, response.parameter >> 16) == (0, 0x0100)  # synchronized, version 1.0
        self.async_.sendall(Frame(MessageType.ASYNC_INITIALIZE, 0, response.parameter & 0xFFFF).encoded())
        assert self.read(self.async_) == Frame(MessageType.ASYNC_INITIALIZE_RESPONSE, 0, 0x5253)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sync.close()
        self.async_.close()

    def read(self, link: socket.socket) -> Frame:
        header = self.exactly(link, 16)
        _, kind, control, parameter, length = struct.unpack("!2sBBIQ", header)
        return Frame(kind, control, parameter, self.exactly(link, length))

    def exactly(self, link: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = link.recv(count - len(data))
            assert part, "the server hung up"
            data += part
        return data

    def ask(self, frame: Frame) -> Frame:
        self.async_.sendall(frame.encoded())
        return self.read(self.async_)


@pytest.fixture
def client(server: HislipServer) -> Iterator[Client]:
    with Client(server) as client:
        yield client


def test_pyvisa_queries_and_large_blocks(visa: MessageBasedResource) -> None:
    assert visa.query("hello?") == "hello?"
    visa.write("big?")
    assert visa.read_bytes(3_000_010) == b"#73000000" + b"\n1234" * 600_000 + b"\n"
    assert visa.query("still in step?") == "still in step?"


def test_device_clear_ends_an_endless_query(visa: MessageBasedResource) -> None:
    """After a timed-out query the clear brings the link back in step."""
    visa.timeout = 50
    with pytest.raises(pyvisa.VisaIOError):
        visa.query("forever?")
    visa.timeout = 2000
    visa.clear()
    assert visa.query("back?") == "back?"


def test_status_byte_shows_the_waiting_message(visa: MessageBasedResource) -> None:
    """MAV (bit 4) is set from the answer's arrival until the client says that it has read it."""
    assert visa.read_stb() == 0x40
    visa.write("hello?")
    while visa.read_stb() != 0x50:
        pass
    assert visa.read() == "hello?"
    assert visa.read_stb() == 0x40


def test_trigger_is_in_order_with_messages(client: Client, parrot: Parrot) -> None:
    client.sync.sendall(
        Frame(MessageType.DATA_END, 0, 2, b"arm\n").encoded()
        + Frame(MessageType.TRIGGER, 0, 4).encoded()
        + Frame(MessageType.DATA_END, 0, 6, b"done?\n").encoded()
    )
    assert client.read(client.sync) == Frame(MessageType.DATA_END, 0, 6, b"done?\n")
    assert parrot.heard == ["arm", "done?"]
    assert parrot.triggers == 1


def test_answers_are_cut_to_the_clients_message_size(client: Client) -> None:
    size = client.ask(Frame(MessageType.ASYNC_MAX_MESSAGE_SIZE, payload=struct.pack("!Q", 4)))
    assert size.type == MessageType.ASYNC_MAX_MESSAGE_SIZE_RESPONSE
    assert struct.unpack("!Q", size.payload) == (1 << 20,)
    client.sync.sendall(
        Frame(MessageType.DATA, 0, 100, b"abcd").encoded()
        + Frame(MessageType.DATA_END, 0, 102, b"efg?\n").encoded()
    )
    frames = [client.read(client.sync) for _ in range(3)]
    assert frames == [
        Frame(MessageType.DATA, 0, 102, b"abcd"),
        Frame(MessageType.DATA, 0, 102, b"efg?"),
        Frame(MessageType.DATA_END, 0, 102, b"\n"),
    ]


def test_sending_before_reading_interrupts(client: Client, parrot: Parrot) -> None:
    """The unread answer's client is told on both channels; the new answer follows."""
    client.sync.sendall(Frame(MessageType.DATA_END, 0, 100, b"first?\n").encoded())
    assert client.read(client.sync).payload == b"first?\n"
    client.sync.sendall(Frame(MessageType.DATA_END, 0, 102, b"second?\n").encoded())
    assert client.read(client.sync) == Frame(MessageType.INTERRUPTED, 0, 102)
    assert client.read(client.async_) == Frame(MessageType.ASYNC_INTERRUPTED, 0, 102)
    assert client.read(client.sync).payload == b"second?\n"
    assert parrot.interruptions == 1
    client.sync.sendall(Frame(MessageType.DATA_END, 1, 104, b"third?\n").encoded())  # RMT delivered
    assert client.read(client.sync) == Frame(MessageType.DATA_END, 0, 104, b"third?\n")


def test_locks_keep_others_out_until_released(server: HislipServer, client: Client, parrot: Parrot) -> None:
    lock, info = Frame(MessageType.ASYNC_LOCK, 1, 0), Frame(MessageType.ASYNC_LOCK_INFO)
    granted = Frame(MessageType.ASYNC_LOCK_RESPONSE, LockResponse.SUCCESS)
    with Client(server) as other:
        assert client.ask(lock) == granted
        assert client.ask(lock).control == LockResponse.ERROR
        assert other.ask(lock).control == LockResponse.FAILURE
        assert other.ask(info) == Frame(MessageType.ASYNC_LOCK_INFO_RESPONSE, 1, 1)
        other.sync.sendall(Frame(MessageType.DATA_END, 0, 2, b"mine?\n").encoded())
        client.sync.sendall(Frame(MessageType.DATA_END, 0, 2, b"yours?\n").encoded())
        assert client.read(client.sync).payload == b"yours?\n"
        assert parrot.heard == ["yours?"]
        assert client.ask(Frame(MessageType.ASYNC_LOCK, 0, 2)) == granted
        assert other.read(other.sync).payload == b"mine?\n"
        assert client.ask(info) == Frame(MessageType.ASYNC_LOCK_INFO_RESPONSE, 0, 0)


def test_lock_of_a_vanished_client_is_freed_for_one_who_waits(server: HislipServer, client: Client) -> None:
    with Client(server) as gone:
        assert gone.ask(Frame(MessageType.ASYNC_LOCK, 1, 0)).control == LockResponse.SUCCESS
        client.async_.sendall(Frame(MessageType.ASYNC_LOCK, 1, 2000).encoded())
    assert client.read(client.async_).control == LockResponse.SUCCESS


def test_shared_locks_go_together_by_name() -> None:
    async def story() -> list[LockResponse]:
        table = LockTable()
        return [
            await table.request(1, b"bench", 0.0),
            await table.request(2, b"bench", 0.0),
            await table.request(3, b"other", 0.0),
            await table.request(3, b"", 0.0),
            await table.release(2),
            await table.release(2),
            await table.request(1, b"", 0.0),
        ]

    assert asyncio.run(story()) == [
        LockResponse.SUCCESS,
        LockResponse.SUCCESS,
        LockResponse.FAILURE,
        LockResponse.FAILURE,
        LockResponse.SUCCESS_SHARED_RELEASED,
        LockResponse.ERROR,
        LockResponse.SUCCESS,
    ]


def test_broken_header_and_wrong_order_are_fatal(server: HislipServer) -> None:
    """FatalError codes 1 (header), 2 (one channel only) and 3 (not initialized), then the end."""
    initialize = Frame(MessageType.INITIALIZE, 0, 0x01007878, b"hislip0").encoded()
    for sent, skipped, code in (
        (b"GET / HTTP/1.1\r\n", 0, 1),
        (initialize + Frame(MessageType.DATA_END, 0, 2, b"x?\n").encoded(), 16, 2),
        (Frame(MessageType.ASYNC_INITIALIZE, 0, 999).encoded(), 0, 3),
        (Frame(MessageType.DATA_END, 0, 2, b"x?\n").encoded(), 0, 3),
    ):
        with socket.create_connection(server.address, timeout=2) as link:
            link.sendall(sent)
            received = b""
            while part := link.recv(4096):
                received += part
            assert received[skipped:] == Frame(MessageType.FATAL_ERROR, code).encoded()


def test_unknown_message_type_is_an_error_and_leaves_the_session_usable(client: Client) -> None:
    assert client.ask(Frame(200)) == Frame(MessageType.ERROR, 1)
    client.sync.sendall(Frame(26).encoded())
    assert client.read(client.sync) == Frame(MessageType.ERROR, 1)
    client.sync.sendall(Frame(MessageType.DATA_END, 0, 2, b"well?\n").encoded())
    assert client.read(client.sync).payload == b"well?\n"


@given(
    st.lists(
        st.builds(
            Frame, st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=40)
        )
    ),
    st.lists(st.integers(1, 30)),
)
def test_frames_survive_any_fragmentation(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frame.encoded() for frame in frames)
    reader, seen, position = FrameReader(), [], 0
    for cut in cuts:
        seen += reader.feed(stream[position : position + cut])
        position += cut
    assert seen + reader.feed(stream[position:]) == frames


def test_reader_refuses_what_is_no_header() -> None:
    with pytest.raises(BadHeaderError, match="48 54 54 50"):
        FrameReader().feed(b"HTTP/1.1 200 OK\r\n")
