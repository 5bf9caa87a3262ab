"""The tune/match controller's driver against the simulated controller, on a serial line and on TCP."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from coilbench.base.errors import (
    ConnectionFailed,
    ConnectionLost,
    InstrumentError,
    InstrumentFault,
    LimitExceeded,
    ProtocolError,
    ReplyTimeout,
    RunAborted,
)
from drivers.actuators.tune_controller import open_tuner
from hil_fixtures.contracts.tuner import TunerContract
from hil_fixtures.instruments.serial_line import SerialLine, has_pty
from hil_fixtures.instruments.tune_controller import TuneController
from hil_fixtures.instruments.wire import TcpServer
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from drivers.protocols import Tuner


class Bench:
    """A world, its controller, and ways in."""

    def __init__(self, time_scale: float = 0.0) -> None:
        self.world = World()
        self.controller = TuneController(self.world, time_scale=time_scale)
        self.link_faults = self.controller.link_faults
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self.controller)

    def serial_address(self, kind=None):
        line = SerialLine(self.controller.open_link, kind, self.link_faults)
        return self._stack.enter_context(line).address

    def tcp_address(self):
        server = TcpServer(self.controller.open_link, shape=self.link_faults)
        host, port = self._stack.enter_context(server).address
        return f"tcp://{host}:{port}"

    def tuner(self, address=None, **options):
        options = {"name": "tuner", "timeout": 0.3, **options}
        tuner = open_tuner(address or self.tcp_address(), **options)
        self._stack.callback(tuner.close)
        return tuner

    def close(self):
        self.controller.faults.silent = False
        self._stack.close()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def slow_bench():
    """Yield a controller whose motors take real time, one tenth of what they would need."""
    bench = Bench(time_scale=0.1)
    yield bench
    bench.close()


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


class TestContractOnTcp(TunerContract):
    """All that a tuner must keep, on TCP."""

    @pytest.fixture
    def tuner(self, bench):
        return bench.tuner()


@pytest.mark.skipif(not has_pty(), reason="this system has no pseudo-terminals")
class TestContractOnASerialLine(TunerContract):
    """All that a tuner must keep, on a serial line."""

    @pytest.fixture
    def tuner(self, bench):
        return bench.tuner(bench.serial_address("pty"))


def test_it_is_a_tuner(bench):
    """Type checkers and isinstance agree with the protocol."""
    tuner: Tuner = bench.tuner(bench.serial_address("socket"))
    assert len(tuner.axes) == 32
    assert tuner.axes["ch1.na.tune"].maximum == 4000
    assert tuner.identity.startswith("coilbench,tune-controller,")


def test_positions_are_the_worlds_positions(bench):
    """What the driver says is where the trimmers are."""
    tuner = bench.tuner()
    tuner.move({"ch5.h.match": 1234})
    assert bench.world.axis_position("ch5.h.match") == 1234


# -- limits ---------------------------------------------------------------------------------------


def test_limits_are_refused_before_the_wire(bench):
    """A controller that has gone silent cannot even notice a refused move or current."""
    tuner = bench.tuner(bias_limit=0.05)
    bench.controller.faults.silent = True
    begin = time.monotonic()
    with pytest.raises(LimitExceeded, match=r"ch1\.h\.tune to 4001 \(allowed 0 to 4000\)"):
        tuner.move({"ch1.na.tune": 100, "ch1.h.tune": 4001})
    with pytest.raises(LimitExceeded, match=r"0 to 50\.0 mA; asked for 50\.1 mA"):
        tuner.set_bias(3, 0.0501)
    assert time.monotonic() - begin < 0.2
    bench.controller.faults.silent = False


def test_the_bench_files_bias_limit_holds_below_the_controllers(bench):
    """The limit itself is allowed; the smaller of the two limits holds."""
    tuner = bench.tuner(bias_limit=0.05)
    assert tuner.bias_limit == pytest.approx(0.05)
    assert tuner.set_bias(8, 0.05) == pytest.approx(0.05)
    assert bench.world.bias(8) == pytest.approx(0.05)
    assert bench.tuner(bias_limit=1.0).bias_limit == pytest.approx(0.2)


@pytest.mark.parametrize(("option", "value"), [("bias_limit", -0.1), ("watchdog", 0.05), ("watchdog", 61.0)])
def test_senseless_options_are_refused(option, value):
    """Nothing is opened with them."""
    with pytest.raises(ValueError, match=option):
        open_tuner("tcp://127.0.0.1:1", name="tuner", **{option: value})


# -- lost and damaged answers -----------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lost", "wrong check sum", "garbage"])
def test_a_lost_or_damaged_reply_is_asked_for_again_and_moves_once(bench, fault):
    """Three replies in a row may be lost; the axis arrives and the link stays in step."""
    tuner = bench.tuner(timeout=0.2)
    if fault == "lost":
        bench.link_faults.drop_reply(3)
    elif fault == "garbage":
        bench.link_faults.garbage(3)
    else:
        bench.controller.faults.corrupt_replies = 3
    assert tuner.move({"ch2.na.tune": 777}) == {"ch2.na.tune": 777}
    assert tuner.repetitions == 3
    assert tuner.positions()["ch2.na.tune"] == 777


def test_late_and_repeated_replies_are_not_taken_for_others(bench):
    """A reply that comes after its repetition is discarded by its number."""
    tuner = bench.tuner()
    bench.link_faults.delay(0.45)
    assert tuner.set_bias(1, 0.02) == pytest.approx(0.02)
    assert tuner.set_bias(2, 0.03) == pytest.approx(0.03)
    assert tuner.positions().keys() == tuner.axes.keys()


def test_replies_in_single_bytes_and_noise_between_them_do_no_harm(bench):
    """The serial line may cut and disturb as it likes."""
    tuner = bench.tuner()
    bench.link_faults.split(1)
    assert tuner.move({"ch1.na.tune": 42}) == {"ch1.na.tune": 42}
    bench.link_faults.heal()
    bench.link_faults.prepend(b"\xff\x00*<9 OK\n")
    assert tuner.positions()["ch1.na.tune"] == 42


def test_a_silent_controller_is_given_up_and_never_read_again(bench):
    """After four unanswered requests the link is dead; what comes late answers nothing."""
    tuner = bench.tuner(timeout=0.1)
    bench.controller.faults.silent = True
    begin = time.monotonic()
    with pytest.raises(ReplyTimeout, match="4 requests"):
        tuner.positions()
    assert time.monotonic() - begin < 2.0
    bench.controller.faults.silent = False
    with pytest.raises(ConnectionLost, match="open"):
        tuner.positions()


def test_a_lost_connection_is_said_at_once(bench):
    """Closing the connection in the middle of a reply is no time-out."""
    tuner = bench.tuner()
    bench.link_faults.close_mid_reply()
    with pytest.raises(ConnectionLost, match="tuner"):
        tuner.positions()


def test_make_safe_finds_a_new_way_after_a_lost_connection(bench):
    """A broken link does not keep the bias on."""
    tuner = bench.tuner()
    tuner.set_bias(4, 0.05)
    bench.link_faults.hang_up()
    with contextlib.suppress(InstrumentError):
        tuner.positions()
    tuner.make_safe()
    assert bench.world.bias(4) == 0.0


def test_make_safe_of_a_vanished_controller_does_not_raise(bench, caplog):
    """It says so in the log instead."""
    tuner = bench.tuner(timeout=0.05)
    bench.controller.faults.silent = True
    tuner.make_safe()
    assert "its watchdog must" in caplog.text


# -- motion -----------------------------------------------------------------------------------------


def test_a_stuck_axis_is_named_and_the_others_arrive(bench):
    """The error says which axis stalled and what helps."""
    tuner = bench.tuner()
    bench.controller.faults.stuck.add("ch3.na.match")
    with pytest.raises(InstrumentFault, match=r"ch3\.na\.match stalled.*homed") as failure:
        tuner.move({"ch3.na.match": 300, "ch3.na.tune": 333})
    assert "ch3.na.tune" not in failure.value.message
    assert tuner.positions()["ch3.na.tune"] == 333
    bench.controller.faults.stuck.clear()
    with pytest.raises(InstrumentFault, match=r"error 22.*ch3\.na\.match"):
        tuner.move({"ch3.na.match": 300})
    tuner.home()
    assert tuner.move({"ch3.na.match": 300}) == {"ch3.na.match": 300}


def test_an_end_switch_is_named(bench):
    """An axis halted by its end switch did not arrive."""
    tuner = bench.tuner()
    tuner.move({"ch4.h.tune": 100})
    bench.controller.faults.end_switch["ch4.h.tune"] = 2000
    with pytest.raises(InstrumentFault, match=r"ch4\.h\.tune limit at 2000"):
        tuner.move({"ch4.h.tune": 3000})


def test_a_move_returns_when_the_slowest_axis_is_done(slow_bench):
    """With motors that take their time the positions are still the targets."""
    tuner = slow_bench.tuner()
    targets = {"ch1.na.tune": 100, "ch2.na.tune": 3900}
    assert tuner.move(targets) == targets
    assert slow_bench.world.axis_position("ch2.na.tune") == 3900


def test_abort_stops_the_motors_on_the_way(slow_bench):
    """The axis halts between start and target."""
    tuner = slow_bench.tuner()
    tuner.move({"ch1.na.tune": 0})
    with pytest.raises(RunAborted, match="tuner"):
        tuner.move({"ch1.na.tune": 4000}, abort=lambda: True)
    assert 0 <= tuner.positions()["ch1.na.tune"] < 4000


def test_stop_from_another_thread_ends_a_move_with_an_error(slow_bench):
    """Who waits for a move learns that somebody stopped it."""
    tuner = slow_bench.tuner()
    tuner.move({"ch1.na.tune": 0})
    timer = threading.Timer(0.05, tuner.stop)
    timer.start()
    with pytest.raises(InstrumentFault, match=r"ch1\.na\.tune stopped at"):
        tuner.move({"ch1.na.tune": 4000})
    timer.join()


# -- watchdog ---------------------------------------------------------------------------------------


def test_bias_stays_on_while_this_program_lives(bench):
    """The watchdog is fed without the user doing anything."""
    tuner = bench.tuner(watchdog=0.2)
    tuner.set_bias(1, 0.02)
    time.sleep(0.6)  # three times the silence that trips it
    assert bench.world.bias(1) == pytest.approx(0.02)
    tuner.set_bias(1, 0.0)


def test_bias_goes_off_when_the_driver_falls_silent(bench):
    """Without feeding the controller acts by itself, and the next call says so."""
    tuner = bench.tuner(watchdog=0.2)
    tuner.set_bias(1, 0.02)
    tuner._feeder.switch(False)
    wait_until(lambda: bench.world.bias(1) == 0.0)
    with pytest.raises(InstrumentFault, match="error 40"):
        tuner.set_bias(1, 0.02)


def test_a_trip_noticed_while_feeding_is_raised_by_the_next_call(bench):
    """Replies so late that the watchdog trips are not passed over in silence."""
    tuner = bench.tuner(watchdog=0.2, timeout=0.5)
    tuner.set_bias(1, 0.02)
    bench.controller.faults.silent = True
    wait_until(lambda: bench.world.bias(1) == 0.0)
    bench.controller.faults.silent = False
    wait_until(lambda: not tuner._feeder.is_on)
    with pytest.raises(InstrumentFault, match="watchdog tripped") as noticed:
        tuner.move({"ch1.na.tune": 5})
    assert any("feeding" in note for note in noticed.value.__notes__)


def test_opening_makes_safe_and_clears_an_old_trip(bench, caplog):
    """Whoever drove it before may have died: bias is off and motion allowed after opening."""
    address = bench.tcp_address()
    first = bench.tuner(address, watchdog=0.1)
    first.set_bias(2, 0.02)
    first._feeder.switch(False)
    wait_until(lambda: bench.world.bias(2) == 0.0)
    second = bench.tuner(address)
    assert "had tripped" in caplog.text
    assert second.move({"ch1.na.tune": 7}) == {"ch1.na.tune": 7}


def test_closing_switches_bias_off(bench):
    """A block that ends leaves the bench safe."""
    tuner = bench.tuner()
    tuner.set_bias(6, 0.03)
    tuner.close()
    assert bench.world.bias(6) == 0.0


# -- strangers --------------------------------------------------------------------------------------


class Script:
    """Answers each line with what the function says; literal bytes on a real socket."""

    def __init__(self, answer):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    connection.sendall(self._answer(line))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        self._thread.join(5.0)


def crc(body: bytes) -> bytes:
    """Return the check sum bit by bit, written apart from the driver's."""
    register = 0xFFFF
    for byte in body:
        register ^= byte << 8
        for _ in range(8):
            register = (register << 1 ^ (0x1021 if register & 0x8000 else 0)) & 0xFFFF
    return b"%04X" % register


def ok(line: bytes, text: bytes = b"") -> bytes:
    body = line[1:].split(b" ")[0] + b" OK" + (b" " + text if text else b"")
    return b"<" + body + b"*" + crc(body) + b"\n"


def test_another_major_version_is_refused():
    """A controller of version 2 is not driven by guesswork."""

    def answer(line):
        if b"HELLO" in line:
            return ok(line)
        return ok(line, b"2.0") if b"VERSION" in line else b""

    with Script(answer) as controller, pytest.raises(ConnectionFailed, match=r"version 2\.0"):
        open_tuner(controller.address, name="tuner", timeout=0.2)


def test_an_instrument_of_another_kind_is_named_so():
    """Something that echoes like a NanoVNA is no tuner."""
    with (
        Script(lambda line: line + b"what?\r\nch> ") as stranger,
        pytest.raises(ConnectionFailed, match="no tune/match controller answers here"),
    ):
        open_tuner(stranger.address, name="tuner", timeout=0.1)


def test_nobody_there_is_said_with_the_address():
    """A refused connection names instrument and address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=rf"tuner \(tcp://127\.0\.0\.1:{port}\)"):
        open_tuner(f"tcp://127.0.0.1:{port}", name="tuner", timeout=0.2)


def test_a_controller_that_never_understands_is_a_protocol_error():
    """Four times ERR 1 is not a lost reply."""
    garbled = b"- ERR 1 frame"

    def answer(line):
        if b"HELLO" in line:
            return ok(line)
        return b"<" + garbled + b"*" + crc(garbled) + b"\n" if line.strip() else b""

    with Script(answer) as controller, pytest.raises(ProtocolError, match=r"understood never: error 1"):
        open_tuner(controller.address, name="tuner", timeout=0.2)
