"""The simulated MaRCoS boards speak protocol 1.0.5 and sample what their programs say."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

import msgpack
import numpy as np
import pytest

from hil_fixtures.instruments.marcos_board import MarcosBoard, MarcosSettings, cic_factor
from hil_fixtures.instruments.marcos_program import CLOCK, BoardState, NeedsTrigger, Program
from hil_fixtures.instruments.trigger_line import TriggerLine, silent_shot
from hil_fixtures.instruments.wire import TcpServer
from hil_fixtures.physics.shot import Shot
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

#: A program that a real server with the Verilated marga core answered with 100 samples on each channel.
PROVEN = bytes.fromhex(
    "c0000090c80000024000008340000084f000009004000002c00000906400000200400085"
    "00e00086c003009000190002c00000900000008500000086640000020000 0001".replace(" ", "")
)
VERSION = 0x010005


class Client:
    """A msgpack client on a socket."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=10.0)
        self._unpacker = msgpack.Unpacker(max_buffer_size=2**30)

    def send(self, payload: object, kind: int = 0, version: int = VERSION, index: int = 0) -> None:
        self.socket.sendall(msgpack.packb([kind, index, 0, version, payload]))

    def read(self) -> list[Any]:
        while True:
            for reply in self._unpacker:
                return list(reply)
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._unpacker.feed(data)

    def ask(self, payload: object, kind: int = 0, version: int = VERSION, index: int = 0) -> list[Any]:
        self.send(payload, kind, version, index)
        return self.read()

    def is_closed_by_peer(self) -> bool:
        return self.socket.recv(1) == b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def world() -> World:
    return World.tuned(seed=2)


@pytest.fixture
def line(world: World) -> TriggerLine:
    return TriggerLine(world)


@pytest.fixture
def board(line: TriggerLine) -> MarcosBoard:
    return MarcosBoard(0, line, settings=MarcosSettings(trigger_wait=0.1))


@pytest.fixture
def server(board: MarcosBoard) -> Iterator[TcpServer]:
    with TcpServer(board.open_link) as server:
        yield server


@pytest.fixture
def client(server: TcpServer) -> Iterator[Client]:
    with Client(server.address) as client:
        client.ask({"ctrl": 0})
        yield client


def words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def write(buffer: int, value: int, delay: int = 0) -> int:
    return (0x80 | buffer) << 24 | delay << 16 | value


def wait(clocks: int) -> int:
    """Return a WAIT that takes ``clocks``."""
    return 2 << 24 | (clocks - 3)


FOREVER = 4 << 24
FINISH = 1 << 24


def prepare(rate: int, lo: int = 0) -> list[int]:
    """Return words that reset both receivers, set their rate and oscillator 0."""
    return [
        write(16, 0),
        write(9, lo & 0xFFFF),
        write(10, 0x8000 | lo >> 16),
        wait(50),
        write(16, 0x00C0),
        write(3, rate),
        write(4, rate),
        wait(50),
        write(16, 0x00F0),
        wait(10),
        write(16, 0x00C0),
    ]


def triggered(
    rate: int, samples: int, windows: int, lo: int, delay: int = 1000, trigger: int = FOREVER
) -> bytes:
    """Return a program of equal windows, ``delay`` clocks after each trigger's first output."""
    one = [
        *prepare(rate, lo),
        trigger,
        write(10, lo >> 16),
        wait(delay - 1),
        write(16, 0x03C0),
        wait(samples * rate - 1),
        write(16, 0x00C0),
    ]
    return words(*one * windows, FINISH)


def spoke(line: TriggerLine, time: float, flip_angle: float = np.pi / 2) -> Shot:
    """Return a shot of a 90 degree pulse that ended at the trigger, and a gradient after it."""
    return Shot(
        index=line.next_index(),
        time=time,
        transmit_frequency=33_787_900.0,
        flip_angle=flip_angle,
        rf_centre=-1e-4,
        rf_duration=2e-4,
        repetition_time=0.1,
        direction=np.array([0.0, 0.0, 1.0]),
        k_times=np.array([0.0, 1e-4, 5e-3]),
        k_radius=np.array([0.0, 0.0, 50.0]),
    )


def fire_when_armed(line: TriggerLine, shots: Sequence[Shot]) -> threading.Thread:
    """Give the triggers from another thread as soon as the boards wait for them."""

    def fire() -> None:
        assert line.wait_armed(10.0, lambda: False)
        line.fire(shots)

    thread = threading.Thread(target=fire)
    thread.start()
    return thread


def iq(result: dict[str, list[int]], receiver: int) -> NDArray[np.complex128]:
    """Return I + iQ of a reply as integers."""
    pair = [np.array(result[f"rx{receiver}_{part}"], dtype=np.uint32).view(np.int32) for part in "iq"]
    return pair[0] + 1j * pair[1]


LO = round(33_787_900.0 / CLOCK * 2**31)


def test_bytes_of_are_you_real(client: Client) -> None:
    """Request and reply byte for byte as recorded from the real server."""
    client.socket.sendall(bytes.fromhex("95000700ce0001000581ac6172655f796f755f7265616c00"))
    expected = bytes.fromhex("96cc800800ce0001000581ac6172655f796f755f7265616caa73696d756c6174696f6e80")
    received = b""
    while len(received) < len(expected):
        received += client.socket.recv(100)
    assert received == expected
    assert msgpack.unpackb(received) == [128, 8, 0, 65541, {"are_you_real": "simulation"}, {}]


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ((1, 0, 5), {}),
        ((1, 0, 1), {"infos": ["Client version 1.0.1 differs slightly from server version 1.0.5"]}),
        ((1, 3, 255), {"warnings": ["Client version 1.3.255 different from server version 1.0.5"]}),
        ((2, 5, 7), {"errors": ["Client version 2.5.7 significantly different from server version 1.0.5"]}),
    ],
)
def test_version_rule(client: Client, version: tuple[int, int, int], status: dict[str, list[str]]) -> None:
    """Major differs: error; minor: warning; debug: info."""
    number = version[0] << 16 | version[1] << 8 | version[2]
    assert client.ask({"acq_rlim": 1000}, version=number) == [128, 1, 0, VERSION, {"acq_rlim": 0}, status]


@pytest.mark.parametrize(
    ("commands", "results", "status"),
    [
        ({"asdfasdf": 1}, {"UNKNOWN1": -1}, {"errors": ["not all client commands were understood"]}),
        ({"fpga_clk": [0xDF0D, 0x03F03F30, 0x00100700]}, {"fpga_clk": 0}, {}),
        (
            {"fpga_clk": [1, 2]},
            {"fpga_clk": -1},
            {"errors": ["you only provided some FPGA clock control words; check you're providing all 3"]},
        ),
        (
            {"acq_rlim": 999},
            {"acq_rlim": -1},
            {"errors": ["acquisition retry limit outside the range [1000, 10,000,000]; check your settings"]},
        ),
        ({"regstatus": 0}, {"regstatus": [0, 0, 0, 0, 0, 0xFFFFFF, 0]}, {}),
        ({"halt_and_reset": 0, "direct": 0x0F00A500}, {"halt_and_reset": True, "direct": 0}, {}),
        ({"read_rx": 0}, {"read_rx": 0}, {"warnings": ["no RX data received"]}),
        ({"mar_mem": bytes(8)}, {"mar_mem": 0}, {"infos": ["mar mem data bytes copied: 8"]}),
        (
            {"mar_mem": bytes(262145)},
            {"mar_mem": -1},
            {"errors": ["too much mar mem data: 262145 bytes > 262144 -- streaming not yet implemented"]},
        ),
        ({}, {}, {"errors": ["no commands present or incorrectly formatted request"]}),
        ({"run_seq": words(FINISH)}, {"run_seq": 0}, {"warnings": ["no RX data received"]}),
    ],
)
def test_commands(client: Client, commands: object, results: object, status: object) -> None:
    """Results and texts of the real server (its own client's test_server.py, and its source)."""
    assert client.ask(commands, index=3) == [128, 4, 0, VERSION, results, status]


def test_emergency_stop_is_not_implemented(client: Client) -> None:
    """Type 1 is answered with type 129 and says that it did nothing."""
    reply = client.ask({}, kind=1)
    assert reply[0] == 129
    assert reply[5]["errors"] == ["Emergency stop not yet implemented!"]


def test_malformed_packet_is_answered_once_then_dropped(server: TcpServer) -> None:
    """A payload that is no map; the next client is served."""
    with Client(server.address) as client:
        text = "no commands present or incorrectly formatted request"
        assert client.ask([1, 2, 3]) == [128, 1, 0, VERSION, {}, {"errors": [text]}]
        assert client.is_closed_by_peer()
    with Client(server.address) as client:
        assert client.ask({"ctrl": 0})[4] == {"ctrl": 0}


def test_second_client_hangs_until_the_first_has_gone(server: TcpServer) -> None:
    """It connects, is not answered, and is when the first closes."""
    with Client(server.address) as first, Client(server.address) as second:
        assert first.ask({"ctrl": 0})[4] == {"ctrl": 0}
        second.send({"are_you_real": 0})
        assert first.ask({"ctrl": 0})[4] == {"ctrl": 0}
        second.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            second.read()
        first.socket.close()
        second.socket.settimeout(10.0)
        assert second.read()[4] == {"are_you_real": "simulation"}


def test_requests_may_come_in_any_pieces(client: Client) -> None:
    """One byte at a time, and two requests in one packet."""
    request = msgpack.packb([0, 0, 0, VERSION, {"ctrl": 0}])
    for position in range(len(request)):
        client.socket.sendall(request[position : position + 1])
    assert client.read()[4] == {"ctrl": 0}
    client.socket.sendall(request + request)
    assert client.read() == client.read()


def test_proven_program_returns_a_hundred_samples(client: Client) -> None:
    """The 88-byte request that the real server answered with 100 samples on both channels."""
    assert len(msgpack.packb([0, 0, 0, VERSION, {"run_seq": PROVEN}])) == 88
    reply = client.ask({"run_seq": PROVEN})
    assert {name: len(values) for name, values in reply[4]["run_seq"].items()} == {
        "rx0_i": 100, "rx0_q": 100, "rx1_i": 100, "rx1_q": 100,
    }  # fmt: skip
    assert reply[5] == {}


def test_overflow_as_the_real_server_reported_it(client: Client) -> None:
    """100 000 samples at /4: 30 674 delivered, and the error at byte address 0x30."""
    code = bytearray(PROVEN)
    code[8:9], code[12:13] = b"\x04", b"\x04"
    code[44:48] = words(wait(400_000))
    reply = client.ask({"run_seq": bytes(code)})
    assert len(reply[4]["run_seq"]["rx0_i"]) == pytest.approx(30_674, abs=1)
    assert reply[5] == {"errors": ["RX FIFO/s full during sequence around byte address 0x30"]}


def test_windows_that_the_server_can_empty_do_not_overflow(client: Client) -> None:
    """100 000 samples at /64 take longer than reading them: nothing is lost."""
    code = words(*prepare(64, LO), write(16, 0x03C0), wait(6_400_000 - 1), write(16, 0x00C0), FINISH)
    reply = client.ask({"run_seq": code})
    assert len(reply[4]["run_seq"]["rx0_i"]) == 100_000
    assert reply[5] == {}


@pytest.mark.parametrize(("rate", "factor"), [(4, 1.0), (1024, 1.0), (4095, 1.00146593), (1229, 1.338284)])
def test_cic_factor(rate: int, factor: float) -> None:
    """2^frac(6 log2(4096/rate)): 1 at powers of two, below 2 always."""
    assert cic_factor(rate) == pytest.approx(factor, rel=1e-4)


def test_samples_are_the_worlds_in_the_boards_own_numbers(
    client: Client, line: TriggerLine, world: World
) -> None:
    """Volts, times 2^24/(0.25 V cic_factor), conjugated: to half a step of each integer."""
    shots = [spoke(line, 0.1 * number) for number in range(3)]
    firing = fire_when_armed(line, shots)
    reply = client.ask({"run_seq": triggered(1229, 40, 3, LO)})
    firing.join()
    start = (10 + 1000) / CLOCK
    # The oscillator restarts one output after the trigger's latency: it lags one at zero at the trigger.
    lag = np.exp(2j * np.pi * (LO / 2**31) * 10)
    volts = world.sample(shots, [0, 1], LO * CLOCK / 2**31, start, 1229 / CLOCK, 40) * lag
    for receiver in (0, 1):
        got = iq(reply[4]["run_seq"], receiver) * 0.25 * cic_factor(1229) / 2**24
        expected = volts[:, receiver].reshape(-1).conj()
        step = 0.25 * cic_factor(1229) / 2**24
        assert np.max(np.abs(got.real - expected.real)) < 0.51 * step
        assert np.max(np.abs(got.imag - expected.imag)) < 0.51 * step
        assert np.max(np.abs(expected)) > 100 * step


def test_client_must_conjugate(client: Client, line: TriggerLine) -> None:
    """A spin faster than the oscillator turns clockwise in what the server sends."""
    slower = round((33_787_900.0 - 10_000.0) / CLOCK * 2**31)
    shot = spoke(line, 0.0)
    firing = fire_when_armed(line, [shot])
    reply = client.ask({"run_seq": triggered(1229, 60, 1, slower, delay=100)})
    firing.join()
    turned = iq(reply[4]["run_seq"], 0)[8:18]
    turn = np.angle(np.sum(turned[1:] * turned[:-1].conj())) / (2 * np.pi * 1229 / CLOCK)
    assert turn == pytest.approx(-10_000.0, abs=1_000.0)


def test_oscillator_that_restarts_keeps_phase_when_the_carrier_fits(world: World) -> None:
    """Restarted at each trigger, equal ``turns`` in windows 0.1 s apart; running on, they advance by f TR."""
    line = TriggerLine(world)
    shots = [silent_shot(line.next_index(), 0.1 * number) for number in (1, 2, 3)]
    restarted = Program(triggered(600, 20, 3, LO)).run(BoardState(), shots, 0.0, no_more=True)
    assert np.ptp([window.turns for window in restarted.windows]) < 1e-6
    free = words(
        *prepare(600, LO),
        write(10, LO >> 16),
        *[FOREVER, write(16, 0x03C0), wait(5999), write(16, 0x00C0)] * 3,
    )
    running = Program(free).run(BoardState(), shots, 0.0, no_more=True)
    turns = np.array([window.turns for window in running.windows[::2]])
    expected = LO * 0.1 * CLOCK / 2**31
    steps = (np.diff(turns) - expected + 0.5) % 1.0 - 0.5
    assert np.max(np.abs(steps)) < 1e-5


def test_decimator_counts_on_between_windows() -> None:
    """Half a sample left over makes the next window's first sample come half a sample early."""
    line = [write(16, 0x03C0), wait(6_300 - 1), write(16, 0x00C0), wait(1000)] * 2
    run = Program(words(*prepare(600, 0), *line)).run(BoardState(), (), 0.0, no_more=True)
    first, second = run.windows[0], run.windows[2]
    assert (first.count, second.count) == (10, 11)
    assert second.start - first.start == 6_300 + 1_001 - 300


def test_delayed_outputs() -> None:
    """A buffer word with a delay comes out that many clocks after it was issued."""
    late = [write(16, 0x03C0, delay=100), wait(700), write(16, 0x00C0, delay=0)]
    run = Program(words(*prepare(60, 0), *late)).run(BoardState(), (), 0.0, no_more=True)
    assert run.windows[0].count == (701 - 100) // 60


def test_trigger_during_a_window_is_missed(world: World) -> None:
    """A readout longer than the repetition time receives every second trigger."""
    line = TriggerLine(world)
    shots = [silent_shot(line.next_index(), 1e-3 * number) for number in range(4)]
    code = triggered(600, 250, 2, LO)
    run = Program(code).run(BoardState(), shots, 0.0, no_more=False)
    assert [window.shot for window in run.windows] == [shots[0], shots[0], shots[2], shots[2]]
    with pytest.raises(NeedsTrigger):
        Program(code).run(BoardState(), shots[:2], 0.0, no_more=False)


def test_trigger_that_does_not_come_times_out_with_an_error(client: Client) -> None:
    """TRIG with a limit: the run goes on untriggered, the window holds noise, and the reply says so."""
    reply = client.ask({"run_seq": triggered(600, 20, 2, LO, trigger=3 << 24 | 0xFFFFFF)})
    assert reply[5]["errors"] == ["2 trigger/s timed out during sequence, first around byte address 0x2c"]
    assert len(reply[4]["run_seq"]["rx0_i"]) == 40
    assert np.std(reply[4]["run_seq"]["rx0_i"]) > 0


def test_server_version_that_says_nothing_of_timeouts(line: TriggerLine) -> None:
    """marcos_server 1.0.5 itself: the same windows, no error."""
    quiet = MarcosBoard(0, line, settings=MarcosSettings(trigger_wait=0.02, report_timeouts=False))
    with TcpServer(quiet.open_link) as server, Client(server.address) as client:
        reply = client.ask({"run_seq": triggered(600, 20, 1, LO, trigger=3 << 24 | 0xFFFFFF)})
        assert reply[5] == {}


def test_trigger_limit_holds_in_the_scanners_time(client: Client, line: TriggerLine) -> None:
    """A second trigger 0.2 s after the first is too late for a limit of 136.5 ms."""
    firing = fire_when_armed(line, [spoke(line, 0.0), spoke(line, 0.2)])
    reply = client.ask({"run_seq": triggered(600, 20, 2, LO, trigger=3 << 24 | 0xFFFFFF)})
    firing.join()
    assert reply[5]["errors"][0].startswith("1 trigger/s timed out")


def test_client_that_leaves_frees_a_waiting_board(server: TcpServer, line: TriggerLine) -> None:
    """TRIG_FOREVER without a trigger: the next client is served all the same."""
    with Client(server.address) as client:
        client.ask({"ctrl": 0})
        client.send({"run_seq": triggered(600, 20, 1, LO)})
        assert line.wait_armed(10.0, lambda: False)
    with Client(server.address) as client:
        assert client.ask({"ctrl": 0})[4] == {"ctrl": 0}


def test_faults(client: Client, board: MarcosBoard, line: TriggerLine) -> None:
    """A stuck server overflows, a lossy channel is short, a dying board hangs up."""
    board.faults.fifo_depth = 30
    firing = fire_when_armed(line, [spoke(line, 0.0), spoke(line, 0.1)])
    reply = client.ask({"run_seq": triggered(600, 20, 2, LO)})
    firing.join()
    assert reply[5]["errors"][0].startswith("RX FIFO/s full during sequence around byte address 0x")
    assert len(reply[4]["run_seq"]["rx0_i"]) == 30
    board.faults.fifo_depth, board.faults.lost_samples = None, 3
    firing = fire_when_armed(line, [spoke(line, 0.2)])
    reply = client.ask({"run_seq": triggered(600, 20, 1, LO)})
    firing.join()
    assert [len(values) for values in reply[4]["run_seq"].values()] == [20, 20, 17, 17]
    board.faults.hang_up = True
    client.send({"run_seq": PROVEN})
    with pytest.raises((ConnectionResetError, EOFError)):
        client.read()


def test_four_boards_share_one_shot(world: World) -> None:
    """Armed together they sample the same noise and signal: covariance between boards is the world's own.

    The loops couple through the load, so the noise of channels on different boards is correlated: by more
    than five times the 1/sqrt(M) that M independent samples would show by chance.
    """
    line = TriggerLine(world)
    boards = [MarcosBoard(number, line) for number in range(4)]
    servers = [TcpServer(board.open_link).start() for board in boards]
    try:
        clients = [Client(server.address) for server in servers]
        for client in clients:
            client.ask({"ctrl": 0})
            client.send({"run_seq": triggered(1229, 200, 50, LO)})
        shots = [spoke(line, 0.1 * number, flip_angle=0.0) for number in range(50)]
        assert line.wait_armed(10.0, lambda: False)
        line.fire(shots)
        replies = [client.read()[4]["run_seq"] for client in clients]
        for client in clients:
            client.socket.close()
    finally:
        for server in servers:
            server.close()
    data = np.stack([iq(reply, receiver) for reply in replies for receiver in (0, 1)])
    volts = world.sample(shots, range(8), LO * CLOCK / 2**31, 1010 / CLOCK, 1229 / CLOCK, 200)
    direct = volts.transpose(1, 0, 2).reshape(8, -1).conj()
    ratio = np.vdot(direct, data) / np.vdot(direct, direct)
    assert np.max(np.abs(data - ratio * direct)) < 1.0
    measured, true = np.corrcoef(data), np.corrcoef(direct)
    assert np.max(np.abs(measured - true)) < 1e-3
    assert np.max(np.abs(measured[:2, 2:])) > 5.0 / np.sqrt(data.shape[1])


def test_board_that_is_not_armed_misses_its_trigger(world: World) -> None:
    """The armed one answers; the other waits for the next trigger."""
    line = TriggerLine(world)
    boards = [MarcosBoard(number, line) for number in range(2)]
    with (
        TcpServer(boards[0].open_link) as one,
        TcpServer(boards[1].open_link) as other,
        Client(one.address) as first,
        Client(other.address) as second,
    ):
        first.ask({"ctrl": 0})
        second.ask({"ctrl": 0})
        first.send({"run_seq": triggered(600, 20, 1, LO)})
        assert not line.wait_armed(0.2, lambda: False)
        line.fire([spoke(line, 0.0)])
        assert len(first.read()[4]["run_seq"]["rx0_i"]) == 20
        firing = fire_when_armed(line, [spoke(line, 0.1)])
        second.send({"run_seq": triggered(600, 20, 1, LO)})
        first.socket.close()
        assert len(second.read()[4]["run_seq"]["rx0_i"]) == 20
        firing.join()
