"""The sequence player's driver against the simulated scanner, and against literal lines."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from acquisition.sequence import GradientLimits, RadialTiming, radial_sequence
from acquisition.trajectory import design_radial, golden_directions
from coilbench.base.errors import (
    ConnectionFailed,
    InstrumentError,
    InstrumentFault,
    ProtocolError,
    ReplyTimeout,
    RunAborted,
)
from coilbench.base.nuclei import nucleus
from drivers.address import open_link
from drivers.scanners.sequence_player import SequencePlayer, open_scanner
from drivers.scpi import ScpiSession
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.instruments.trigger_line import TriggerLine

if TYPE_CHECKING:
    from drivers.protocols import Scanner

SODIUM = nucleus("23Na")


@pytest.fixture(scope="module")
def sequence():
    """Return a scan of 20 repetitions, 20 ms each."""
    design = design_radial(
        gamma_bar=SODIUM.gamma_bar, kmax=100.0, readout_duration=5e-3, max_gradient=0.02, max_slew=120.0
    )
    return radial_sequence(
        design,
        golden_directions(20),
        RadialTiming(0.2e-3, 0.1e-3, 20e-3, 100, 10e-6),
        flip_angle=np.pi / 2,
        nucleus=SODIUM,
        transmit_frequency=33_787_650.0,
        b0=3.0,
        fov=0.32,
        limits=GradientLimits(max_gradient=0.03, max_slew=150.0),
    )


@pytest.fixture
def lab():
    """Yield instruments of which the test uses the scanner; no receiver has a client, so none is awaited."""
    with Lab() as lab:
        yield lab


@pytest.fixture
def scanner(lab):
    """Yield an open scanner."""
    with contextlib.closing(open_scanner(lab.addresses["scanner"], name="scanner", timeout=1.0)) as scanner:
        yield scanner


def rf_is_on(lab):
    return lab.state["rf"]["scanner"]


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


def test_it_is_a_scanner(scanner):
    """Identity and field are what the scanner says."""
    device: Scanner = scanner
    assert device.identity.startswith("coilbench,sequence-player,")
    assert device.b0 == 3.0


def test_a_loaded_file_gives_its_number_of_triggers(scanner, sequence):
    """One per repetition; loading again replaces it."""
    assert scanner.load(sequence) == 20
    assert scanner.repetition_time == pytest.approx(20e-3)
    assert scanner.load(sequence) == 20


def test_a_refused_file_is_reported_in_the_scanners_words(scanner, sequence):
    """The scanner says what is wrong, and stays usable."""
    with pytest.raises(InstrumentFault, match="100,") as refused:
        scanner.load(sequence.replace("[RF]", "[NONSENSE]"))
    assert "SEQ:LOAD" in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert scanner.load(sequence) == 20


def test_repetitions_are_played_and_awaited(scanner, sequence):
    """Playing returns at once, waiting ends when it is over; it may be repeated."""
    scanner.load(sequence)
    for first in (0, 10, 5):
        scanner.play(first, 10)
        scanner.wait()


def test_repetitions_beyond_the_file_are_refused(scanner, sequence):
    """In the scanner's words, with its numbers."""
    with pytest.raises(InstrumentFault, match="-221"):
        scanner.play(0, 1)
    scanner.load(sequence)
    with pytest.raises(InstrumentFault, match=r"-222.*20"):
        scanner.play(15, 6)
    scanner.play(15, 5)
    scanner.wait()


def test_the_amplifier_is_switched_and_read_back(lab, scanner):
    """On, off, and off again when the driver is closed."""
    scanner.enable_rf(True)
    assert rf_is_on(lab)
    scanner.enable_rf(False)
    assert not rf_is_on(lab)
    scanner.enable_rf(True)
    scanner.close()
    scanner.close()
    assert not rf_is_on(lab)


def test_opening_switches_an_amplifier_off_that_somebody_left_on(lab, scanner):
    """The first act is the safe state."""
    scanner.enable_rf(True)
    with contextlib.closing(open_scanner(lab.addresses["scanner"], name="scanner")):
        assert not rf_is_on(lab)


def test_the_amplifier_stays_on_while_this_program_lives(lab):
    """The watchdog is fed without the user doing anything."""
    with contextlib.closing(open_scanner(lab.addresses["scanner"], name="scanner", watchdog=0.2)) as scanner:
        scanner.enable_rf(True)
        time.sleep(0.6)  # three times the silence that trips it
        assert rf_is_on(lab)


def test_a_silent_driver_loses_the_amplifier_and_learns_of_it(lab, sequence):
    """The scanner acts by itself; the next scan does not begin as if nothing had happened."""
    with contextlib.closing(open_scanner(lab.addresses["scanner"], name="scanner", watchdog=0.2)) as scanner:
        scanner.load(sequence)
        scanner.enable_rf(True)
        scanner._feeder.switch(False)
        wait_until(lambda: not rf_is_on(lab))
        with pytest.raises(InstrumentFault, match="RF watchdog"):
            scanner.play(0, 1)


def test_an_amplifier_that_goes_off_by_itself_is_noticed(lab, scanner, sequence):
    """Another client has switched it off: the feeder sees it, the next call says it."""
    scanner.load(sequence)
    scanner.enable_rf(True)
    host, port = lab.addresses["scanner"].removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as other:
        other.sendall(b"OUTP OFF\nOUTP?\n")
        assert other.recv(10) == b"0\n"
    wait_until(lambda: not scanner._feeder.is_on)
    with pytest.raises(InstrumentFault, match="gone off by itself"):
        scanner.play(0, 1)


def test_repetitions_played_without_rf_are_not_accepted(sequence):
    """Another client switches the amplifier off while it plays: waiting fails before the feeder looks."""
    with (
        Lab(time_scale=2.0) as lab,
        contextlib.closing(open_scanner(lab.addresses["scanner"], name="scanner", watchdog=60.0)) as scanner,
    ):
        scanner.load(sequence)
        scanner.enable_rf(True)
        scanner.play(0, 20)
        host, port = lab.addresses["scanner"].removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), 5.0) as other:
            other.sendall(b"SEQ:STAT?\nOUTP OFF\nOUTP?\n")
            with other.makefile("r") as lines:
                assert lines.readline() in {"WAITING\n", "PLAYING\n"}
                assert lines.readline() == "0\n"
        with pytest.raises(InstrumentFault, match="RF was switched off while playing"):
            scanner.wait()
        scanner.enable_rf(True)
        scanner.play(0, 2)
        scanner.wait()
        scanner.enable_rf(False)
        scanner.play(0, 2)
        scanner.wait()


def test_repetitions_cut_short_by_make_safe_are_not_accepted(scanner, sequence):
    """Made safe in between, by another thread of this program: that is no noise scan."""
    scanner.load(sequence)
    scanner.enable_rf(True)
    scanner.play(0, 20)
    scanner.make_safe()
    with pytest.raises(InstrumentFault, match="RF was switched off while playing"):
        scanner.wait()


def test_a_stale_error_does_not_keep_it_from_being_opened(lab, caplog):
    """What is in the error queue is logged and gone, the amplifier is off; a refusal is still a fault."""
    caplog.set_level(logging.INFO, logger="coilbench")
    link = open_link(lab.addresses["scanner"], name="scanner", timeout=1.0)
    session = ScpiSession(link)
    session.write("NONSENSE", "OUTP ON")
    with contextlib.closing(SequencePlayer(session, 4.0)) as scanner:
        assert not rf_is_on(lab)
        assert any("NONSENSE" in message and "-113" in message for message in caplog.messages)
        with pytest.raises(InstrumentFault, match="-221"):
            scanner.play(0, 1)


def test_abort_stops_playing(sequence):
    """The wait ends, the rest is not played, and the scanner can play again."""
    with (
        Lab(time_scale=1.0) as lab,
        contextlib.closing(open_scanner(lab.addresses["scanner"], name="scanner")) as scanner,
    ):
        scanner.load(sequence)
        scanner.play(0, 20)
        with pytest.raises(RunAborted, match="scanner"):
            scanner.wait(abort=lambda: True)
        scanner.play(0, 1)
        scanner.wait()


def test_a_player_that_stops_slowly_is_awaited(lab, sequence, monkeypatch):
    """It accepts the abort before it has stopped: a load or a play straight after is not refused."""

    def slowly(*_: object) -> bool:
        time.sleep(0.3)
        return False

    monkeypatch.setattr(TriggerLine, "wait_armed", slowly)
    with contextlib.closing(open_scanner(lab.addresses["scanner"], name="scanner")) as scanner:
        scanner.load(sequence)
        for again in (lambda: scanner.play(0, 1), lambda: scanner.load(sequence)):
            scanner.play(0, 20)
            with pytest.raises(RunAborted, match="scanner"):
                scanner.wait(abort=lambda: True)
            again()
            scanner.make_safe()


def test_a_scanner_that_hangs_is_a_timeout_and_can_be_used_again(lab, sequence):
    """A late answer is never taken for another one."""
    with contextlib.closing(open_scanner(lab.addresses["scanner"], name="scanner", timeout=0.2)) as scanner:
        scanner.load(sequence)
        lab.faults.scanner_link.delay(0.4)
        with pytest.raises(ReplyTimeout, match="scanner"):
            scanner.play(0, 1)
        lab.faults.scanner_link.heal()
        scanner.wait()
        scanner.play(3, 2)
        scanner.wait()


def test_a_lost_connection_names_the_scanner_and_can_be_made_safe(lab, scanner):
    """The amplifier goes off over a new connection."""
    scanner.enable_rf(True)
    lab.hang_up("scanner")
    with contextlib.suppress(InstrumentError):
        scanner.play(0, 1)
    scanner.make_safe()
    assert not rf_is_on(lab)


def test_make_safe_of_a_vanished_scanner_does_not_raise(lab, caplog):
    """It says so in the log instead."""
    scanner = open_scanner(lab.addresses["scanner"], name="scanner", timeout=0.1)
    lab.unplug("scanner")
    scanner.make_safe()
    assert "its watchdog must" in caplog.text
    scanner.close()


def test_senseless_watchdog_times_are_refused():
    """Nothing is opened."""
    with pytest.raises(ValueError, match=r"0\.1 s to 60\.0 s"):
        open_scanner("tcp://127.0.0.1:1", name="scanner", watchdog=0.0)


class Script:
    """Answers lines from a table; literal text on a real socket."""

    def __init__(self, answers):
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection, connection.makefile("r", newline="\n") as lines:
                for line in lines:
                    answer = self._answers.get(line.strip())
                    if answer is not None:
                        connection.sendall(f"{answer}\n".encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        self._thread.join(5.0)


PLAYER = {
    "*IDN?": "coilbench,sequence-player,7,1.0.0",
    "SYST:ERR?": '0,"No error"',
    "SYST:B0?": "2.894",
    "OUTP?": "0",
}


def test_the_field_is_read_not_assumed():
    """A Siemens 3 T magnet has 2.894 T."""
    with Script(PLAYER) as player:
        scanner = open_scanner(player.address, name="scanner", timeout=0.5)
        assert scanner.b0 == 2.894
        scanner.close()


def test_another_instrument_is_refused_by_name():
    """A network analyzer at this address is not told to play sequences."""
    with (
        Script({**PLAYER, "*IDN?": "Rohde-Schwarz,ZNBT8-16Port,1,2"}) as analyzer,
        pytest.raises(ConnectionFailed, match="'Rohde-Schwarz,ZNBT8"),
    ):
        open_scanner(analyzer.address, name="scanner", timeout=0.5)


def test_an_amplifier_that_stays_off_is_a_fault():
    """Accepted and done are two things."""
    with Script(PLAYER) as player:
        scanner = open_scanner(player.address, name="scanner", timeout=0.5)
        with pytest.raises(InstrumentFault, match="still off"):
            scanner.enable_rf(True)
        scanner.close()


def test_a_state_that_does_not_exist_is_a_protocol_error():
    """The manual knows three."""
    with Script({**PLAYER, "SEQ:STAT?": "DREAMING"}) as player:
        scanner = open_scanner(player.address, name="scanner", timeout=0.5)
        with pytest.raises(ProtocolError, match="DREAMING"):
            scanner.wait()
        scanner.close()
