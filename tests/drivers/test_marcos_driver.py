"""The MaRCoS receiver driver against four simulated boards, the scanner that triggers them, and bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import msgpack
import numpy as np
import pytest

from acquisition.sequence import GradientLimits, RadialTiming, radial_sequence
from acquisition.trajectory import design_radial, golden_directions
from coilbench.base.errors import (
    ConnectionFailed,
    ConnectionLost,
    DataLost,
    InstrumentError,
    LimitExceeded,
    ProtocolError,
    ReplyTimeout,
    RunAborted,
)
from coilbench.base.nuclei import nucleus
from drivers.protocols import ReceivePlan
from drivers.receivers.marcos import FIFO_SAMPLES, open_receiver
from drivers.scanners.sequence_player import open_scanner
from hil_fixtures.contracts.receiver import ReceiverContract
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.instruments.trigger_line import silent_shot

SODIUM = nucleus("23Na")
#: A whole multiple of 1/TR, near the Larmor frequency at 3 T.
CARRIER = 33_787_650.0
PLAN = ReceivePlan(frequency=CARRIER, dwell_time=10e-6, samples=60)


@pytest.fixture(scope="module")
def sequence():
    """Return a scan of 400 repetitions with gradients too weak to matter within a window."""
    design = design_radial(
        gamma_bar=SODIUM.gamma_bar, kmax=100.0, readout_duration=5e-3, max_gradient=0.02, max_slew=120.0
    )
    return radial_sequence(
        design,
        golden_directions(400),
        RadialTiming(0.2e-3, 5e-3, 20e-3, 60, 10e-6),
        flip_angle=np.pi / 2,
        nucleus=SODIUM,
        transmit_frequency=CARRIER,
        b0=3.0,
        fov=0.32,
        limits=GradientLimits(max_gradient=0.03, max_slew=150.0),
    )


class Bench:
    """A lab with its scanner loaded, and what opens receivers on it."""

    def __init__(self, sequence):
        self._stack = contextlib.ExitStack()
        self.lab = self._stack.enter_context(Lab(tuned=True))
        self.addresses = self.lab.addresses["receivers"]
        self.scanner = open_scanner(self.lab.addresses["scanner"], name="scanner")
        self._stack.callback(self.scanner.close)
        self.scanner.load(sequence)

    def receiver(self, addresses=None, **options):
        options = {"name": "receiver", "timeout": 2.0, "trigger_timeout": 5.0, **options}
        receiver = open_receiver(addresses or self.addresses, **options)
        self._stack.callback(receiver.close)
        return receiver

    def give_triggers(self, count):
        self.scanner.play(0, count)
        self.scanner.wait()

    def run(self, receiver, windows):
        receiver.arm(windows)
        self.give_triggers(windows)
        return receiver.collect()

    def close(self):
        self._stack.close()


@pytest.fixture(scope="module")
def healthy(sequence):
    """Yield one bench for all tests that break nothing."""
    bench = Bench(sequence)
    yield bench
    bench.close()


@pytest.fixture
def bench(sequence):
    """Yield a bench that the test may break."""
    bench = Bench(sequence)
    yield bench
    bench.close()


@pytest.fixture
def receiver(healthy):
    """Yield all boards of the healthy bench; closed whatever happens, because they take one client each."""
    with contextlib.closing(healthy.receiver()) as receiver:
        yield receiver
    healthy.scanner.enable_rf(False)


class TestContract(ReceiverContract):
    """All that a receiver must keep, on four boards."""

    @pytest.fixture
    def give_triggers(self, healthy):
        return healthy.give_triggers


# -- what is received ---------------------------------------------------------------------------------


def test_identity_says_that_these_are_no_real_boards(receiver):
    """Version and nature of every board end up in the record."""
    assert receiver.identity.count("MaRCoS 1.0.5 simulation") == 4
    assert receiver.channel_count == 8


def test_the_setting_follows_from_the_boards_clock(receiver):
    """Frequency, dwell time and the filter's delay, to the formula."""
    setting = receiver.configure(ReceivePlan(CARRIER, 10e-6, 500, 100e-6))
    actual = setting.plan
    assert actual.frequency == round(CARRIER / 122.88e6 * 2**31) * 122.88e6 / 2**31
    assert setting.filter_decimation == 1229
    assert actual.dwell_time == 1229 / 122.88e6
    assert actual.delay == 12288 / 122.88e6
    assert setting.first_sample_time == pytest.approx(actual.delay - 2 * actual.dwell_time)
    assert (setting.filter_stages, setting.settling_samples) == (6, 6)
    assert receiver.windows_per_run == 14336 // 500


def test_noise_has_the_worlds_size_in_volts(healthy, receiver):
    """Each channel's noise agrees with the world's own, far below the 2 % that a wrong factor would make."""
    setting = receiver.configure(PLAN)
    healthy.scanner.enable_rf(False)
    data = healthy.run(receiver, 200).data[..., 6:]
    truth = healthy.lab.world.sample(
        [silent_shot(10**6 + number) for number in range(200)],
        range(8),
        setting.plan.frequency,
        setting.plan.delay,
        setting.plan.dwell_time,
        setting.plan.samples,
    )[..., 6:]
    power, expected = (np.mean(np.abs(each) ** 2, axis=(0, 2)) for each in (data, truth))
    # 200 x 54 samples, correlated over about two: 1 / sqrt(5400) = 1.4 % each, five of their difference
    assert power == pytest.approx(expected, rel=0.1)


def test_a_faster_spin_turns_counter_clockwise_and_shots_are_in_phase(healthy, receiver):
    """With the oscillator 2 kHz below the spins the phase rises by 2 kHz; every shot begins alike."""
    healthy.scanner.enable_rf(True)
    larmor = healthy.lab.world.spin_frequency
    setting = receiver.configure(ReceivePlan(larmor - 2e3, 10e-6, 60))
    data = healthy.run(receiver, 40).data[..., 10:]
    mean = data.mean(axis=0)
    steps = np.angle(np.sum(mean[:, 1:] * mean[:, :-1].conj(), axis=1))
    # a sample's signal is some four times its noise; 50 samples of 40 shots: 10 Hz; a wrong sign is 4 kHz off
    assert steps / (2 * np.pi * setting.plan.dwell_time) == pytest.approx(np.full(8, 2e3), abs=200.0)
    first, second = data[:20].mean(axis=0), data[20:].mean(axis=0)
    phase = np.angle(np.sum(second * first.conj(), axis=-1))
    # 0.25 / sqrt(20 * 50) of each half: 0.011 rad of their difference
    assert np.all(np.abs(phase) < 0.1)


def test_channels_are_ordered_by_address(healthy):
    """Boards in another order give the same channels in that order."""
    healthy.scanner.enable_rf(True)
    blocks = []
    for addresses in (healthy.addresses, healthy.addresses[::-1]):
        with contextlib.closing(healthy.receiver(addresses)) as receiver:
            receiver.configure(PLAN)
            blocks.append(healthy.run(receiver, 40).data[..., 10:].mean(axis=(0, 2)))
    healthy.scanner.enable_rf(False)
    forward, backward = (np.abs(block) for block in blocks)
    assert backward.reshape(4, 2)[::-1].ravel() == pytest.approx(forward, rel=0.1)
    assert np.ptp(forward) > 0.2 * forward.mean()


def test_a_part_of_the_boards_is_a_receiver_too(healthy):
    """One board has two channels."""
    with contextlib.closing(healthy.receiver(healthy.addresses[2:3])) as receiver:
        receiver.configure(PLAN)
        assert healthy.run(receiver, 2).data.shape == (2, 2, 60)


# -- limits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dwell_time": 3 / 122.88e6}, "0.03255 to 33.33"),
        ({"dwell_time": 34e-6}, "0.03255 to 33.33"),
        ({"samples": FIFO_SAMPLES + 1}, "1 to 14336"),
        ({"samples": 0}, "1 to 14336"),
        ({"frequency": 130e6}, "0 to 122.88 MHz"),
        ({"delay": -1e-6}, "negative"),
    ],
)
def test_what_the_boards_cannot_do_is_refused_with_what_they_can(receiver, change, words):
    """One message with every allowed range."""
    plan = {"frequency": CARRIER, "dwell_time": 10e-6, "samples": 60, **change}
    with pytest.raises(LimitExceeded, match=words):
        receiver.configure(ReceivePlan(**plan))


def test_the_second_nyquist_zone_is_allowed_with_a_warning(receiver, caplog):
    """23Na at 7 T lies above half the clock: the true frequency is set, and noise folding mentioned."""
    setting = receiver.configure(ReceivePlan(78.88e6, 10e-6, 60))
    assert setting.plan.frequency == pytest.approx(78.88e6, abs=0.03)
    assert "folds in" in caplog.text


# -- opening ----------------------------------------------------------------------------------------------


def test_all_missing_boards_are_named_at_once(bench):
    """Two boards that cannot be reached, one that is silent: one message names the three."""
    bench.lab.unplug("receiver1")
    bench.lab.unplug("receiver3")
    bench.lab.faults.receivers[3].silent = True
    with pytest.raises(ConnectionFailed, match="3 of 4 boards") as failure:
        bench.receiver(timeout=0.3)
    text = str(failure.value)
    for number in (0, 2, 3):
        assert bench.addresses[number] in text
        assert f"board {number + 1}" in text
    assert bench.addresses[1] not in text
    assert bench.receiver(bench.addresses[1:2]).channel_count == 2


def test_a_second_client_is_told_why_it_hears_nothing(bench):
    """The real server lets it hang silently until the first has gone."""
    first = bench.receiver()
    with pytest.raises(ConnectionFailed, match=r"one client at\s+a time"):
        bench.receiver(bench.addresses[:1], timeout=0.3)
    first.close()
    assert bench.receiver(bench.addresses[:1]).channel_count == 2


@pytest.mark.parametrize("addresses", [[], ["tcp://127.0.0.1:1", "tcp://127.0.0.1:1"]])
def test_no_board_or_one_twice_is_a_mistake(addresses):
    """Nothing is opened."""
    with pytest.raises(ValueError, match="each once"):
        open_receiver(addresses, name="receiver")


# -- faults while receiving -------------------------------------------------------------------------------


def test_an_overflow_discards_the_block_with_the_servers_words(bench):
    """Where samples are missing is unknown; afterwards the receiver works again."""
    receiver = bench.receiver()
    receiver.configure(PLAN)
    bench.run(receiver, 2)
    bench.lab.faults.receivers[1].fifo_depth = 100
    with pytest.raises(DataLost, match=r"board 2.*RX FIFO/s full during sequence") as lost:
        bench.run(receiver, 20)
    assert "from number 2" in str(lost.value)
    bench.lab.faults.receivers[1].fifo_depth = None
    assert bench.run(receiver, 3).first_window == 22


def test_missing_samples_are_noticed_and_their_channel_named(bench):
    """A board that says nothing but delivers less loses the whole block."""
    receiver = bench.receiver()
    receiver.configure(PLAN)
    bench.lab.faults.receivers[2].lost_samples = 5
    with pytest.raises(DataLost, match=r"board 3.*rx1 delivered 3 windows and 55 samples instead of 4"):
        bench.run(receiver, 4)


def test_missing_triggers_are_a_timeout_that_says_so(bench):
    """Boards that wait for ever are given up; the next run begins with halted boards."""
    receiver = bench.receiver(trigger_timeout=0.2, repetition_limit=0.05)
    receiver.configure(PLAN)
    bench.lab.faults.scanner.missing_triggers = 1
    receiver.arm(4)
    bench.scanner.play(0, 4)
    with pytest.raises(ReplyTimeout, match=r"board \d.*4 triggers are needed"):
        receiver.collect()
    bench.scanner.wait()
    bench.lab.faults.scanner.missing_triggers = 0
    block = bench.run(receiver, 2)
    assert block.first_window == 4
    assert block.data.shape == (2, 8, 60)


def test_a_connection_lost_in_the_middle_of_a_reply_names_the_board(bench):
    """The others are not waited for longer than a moment; afterwards the receiver works again."""
    receiver = bench.receiver()
    receiver.configure(PLAN)
    receiver.arm(4)
    bench.lab.faults.receiver_links[2].close_mid_reply()
    bench.give_triggers(4)
    begin = time.monotonic()
    with pytest.raises(ConnectionLost, match="board 3"):
        receiver.collect()
    assert time.monotonic() - begin < 3.0
    assert bench.run(receiver, 2).data.shape == (2, 8, 60)


def test_a_board_that_dies_when_armed_does_not_hold_up_the_others(bench):
    """It is reported in seconds although the patience for triggers is long."""
    receiver = bench.receiver(trigger_timeout=60.0)
    receiver.configure(PLAN)
    bench.lab.faults.receivers[0].hang_up = True
    begin = time.monotonic()
    with pytest.raises(ConnectionLost, match="board 1"):
        bench.run(receiver, 4)
    assert time.monotonic() - begin < 10.0


def test_replies_in_small_pieces_are_put_together(bench):
    """TCP may cut a reply anywhere."""
    receiver = bench.receiver()
    receiver.configure(PLAN)
    for faults in bench.lab.faults.receiver_links:
        faults.split(97)
    assert bench.run(receiver, 2).data.shape == (2, 8, 60)


def test_abort_ends_the_wait_and_leaves_the_receiver_usable(bench):
    """Ctrl-C does not wait for triggers; the windows asked for keep their numbers."""
    receiver = bench.receiver()
    receiver.configure(PLAN)
    receiver.arm(4)
    begin = time.monotonic()
    with pytest.raises(RunAborted, match="receiver"):
        receiver.collect(abort=lambda: True)
    assert time.monotonic() - begin < 2.0
    assert bench.run(receiver, 2).first_window == 4


def test_make_safe_halts_boards_that_wait_for_triggers(bench):
    """An armed receiver can be made safe, and armed again."""
    receiver = bench.receiver()
    receiver.configure(PLAN)
    receiver.arm(4)
    receiver.make_safe()
    assert bench.run(receiver, 1).data.shape == (1, 8, 60)


def test_make_safe_of_vanished_boards_does_not_raise(bench, caplog):
    """It says so in the log instead."""
    receiver = bench.receiver(timeout=0.2)
    bench.lab.unplug("receiver2")
    receiver.make_safe()
    assert "board 2" in caplog.text


# -- literal bytes ----------------------------------------------------------------------------------------


class Server:
    """A board that answers each request with what the function makes of it."""

    def __init__(self, answer):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    unpacker = msgpack.Unpacker()
                    while data := connection.recv(65536):
                        unpacker.feed(data)
                        for request in unpacker:
                            connection.sendall(self._answer(request))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5.0)


def board(samples=None, status=None, version=0x010005, skew=1):
    """Return a board's answers; ``samples`` are the integers of run_seq."""

    def answer(request):
        _, index, _, _, commands = request
        results = {}
        for command in commands:
            results[command] = {"are_you_real": "hardware", "halt_and_reset": True, "run_seq": samples}[
                command
            ]
        told = status if "run_seq" in commands else {}
        return msgpack.packb([128, index + skew, 0, version, results, told or {}])

    return answer


def received(samples, windows=1, count=2, **options):
    with Server(board(samples, **options)) as server:
        receiver = open_receiver([server.address], name="rx", timeout=1.0, trigger_timeout=1.0)
        try:
            receiver.configure(ReceivePlan(10e6, 1024 / 122.88e6, count))
            receiver.arm(windows)
            return receiver.collect().data
        finally:
            receiver.close()


def test_integers_become_volts_with_the_imaginary_part_turned_round():
    """Two's complement, 2**-24 of full scale (0.25 V) at a power-of-two decimation, conjugated."""
    samples = {
        "rx0_i": [0x00400000, 0xFFC00000],
        "rx0_q": [0x00200000, 0],
        "rx1_i": [1, 2],
        "rx1_q": [0, 0xFFFFFFFF],
    }
    data = received(samples)
    assert data[0, 0] == pytest.approx(np.array([0.0625 - 0.03125j, -0.0625]))
    assert data[0, 1] == pytest.approx(np.array([1, 2 + 1j]) * 0.25 / 2**24)


def test_errors_of_the_server_lose_the_data_even_when_the_count_is_right():
    """The server's words are kept."""
    full = {f"rx{channel}_{part}": [1, 2] for channel in (0, 1) for part in "iq"}
    with pytest.raises(DataLost, match="memory buffer underrun around byte address 0x40"):
        received(full, status={"errors": ["memory buffer underrun around byte address 0x40"]})


def test_no_data_at_all_is_said_channel_by_channel():
    """The real server answers 0 instead of a map when nothing came."""
    with pytest.raises(DataLost, match=r"rx0 delivered 0 windows instead of 1.*rx1 delivered 0 windows"):
        received(0, status={"warnings": ["no RX data received"]})


@pytest.mark.parametrize(
    "samples",
    [
        {"rx0_i": [1, 2], "rx0_q": [1], "rx1_i": [1, 2], "rx1_q": [1, 2]},
        {"rx0_i": [1, -2], "rx0_q": [1, 2], "rx1_i": [1, 2], "rx1_q": [1, 2]},
        {"rx0_i": ["1", "x"], "rx0_q": [1, 2], "rx1_i": [1, 2], "rx1_q": [1, 2]},
    ],
)
def test_what_are_no_samples_is_a_protocol_error(samples):
    """Unequal parts, negative numbers and text."""
    with pytest.raises(ProtocolError, match=r"run_seq.*(real and|integers)"):
        received(samples)


def test_another_major_version_is_refused_and_another_minor_noted(caplog):
    """The server's own rule."""
    with (
        Server(board(version=0x020005)) as server,
        pytest.raises(ConnectionFailed, match=r"2\.0\.5.*1\.0\.5"),
    ):
        open_receiver([server.address], name="rx", timeout=1.0)
    with Server(board(version=0x010100)) as server:
        open_receiver([server.address], name="rx", timeout=1.0).close()
    assert "1.1.0" in caplog.text


def test_a_reply_to_another_request_is_refused():
    """Index and reply belong together."""
    with Server(board(skew=2)) as server, pytest.raises(ConnectionFailed, match="expected reply"):
        open_receiver([server.address], name="rx", timeout=1.0)


def test_an_instrument_of_another_kind_is_no_board():
    """A web server at the address is said to be no MaRCoS server."""
    with (
        Server(lambda _request: b"HTTP/1.1 400 Bad Request\r\n\r\n") as server,
        pytest.raises(ConnectionFailed, match=r"expected \[128"),
    ):
        open_receiver([server.address], name="rx", timeout=1.0)


def test_every_failure_is_an_instrument_error():
    """Who opens instruments needs to catch one kind of error only."""
    with pytest.raises(InstrumentError, match="rx board 1"):
        open_receiver(["tcp://127.0.0.1:1"], name="rx", timeout=0.5)
