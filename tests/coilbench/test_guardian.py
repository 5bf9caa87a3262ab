"""The guardian: a second process that makes the bench safe when the first dies, hangs, or asks for it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from coilbench.guardian import Guardian, GuardianFailed, SafeAction
from drivers.actuators.tune_controller import open_tuner
from drivers.scanners.sequence_player import open_scanner
from hil_fixtures.instruments.lab import Lab

#: Switches the outputs on and then does nothing; its watchdogs alone would take a minute.
OWNER = """
import sys, time
from pathlib import Path
from coilbench.guardian import Guardian, SafeAction
from drivers.actuators.tune_controller import open_tuner
from drivers.scanners.sequence_player import open_scanner

scanner, tuner, log = sys.argv[1:4]
actions = [SafeAction("scanner", "coilbench-scanner", scanner), SafeAction("tuner", "coilbench-tuner", tuner)]
with Guardian(actions, Path(log)) as guardian:
    rf = open_scanner(scanner, name="scanner", watchdog=60.0)
    bias = open_tuner(tuner, name="tuner", watchdog=60.0)
    rf.enable_rf(True)
    bias.set_bias(3, 0.05)
    print("on", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lab():
    """Yield simulated instruments."""
    with Lab() as lab:
        yield lab


@pytest.fixture
def log(tmp_path):
    """Return where the guardian writes."""
    return tmp_path / "guardian.jsonl"


@pytest.fixture
def actions(lab):
    """Return what is to be made safe."""
    return [
        SafeAction("scanner", "coilbench-scanner", lab.addresses["scanner"]),
        SafeAction("tuner", "coilbench-tuner", lab.addresses["tuner_tcp"]),
    ]


@pytest.fixture
def owner(lab, log):
    """Yield a process that has switched RF and bias on under a guardian's eyes."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, lab.addresses["scanner"], lab.addresses["tuner_tcp"], str(log)],
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"on\n"
            assert outputs(lab) == (True, 0.05)
            yield process
        finally:
            process.kill()


def outputs(lab):
    state = lab.state
    return state["rf"]["scanner"], pytest.approx(state["bias"][2])


def is_safe(lab):
    state = lab.state
    return not state["rf"]["scanner"] and not any(state["bias"])


def seconds_until_safe(lab, patience=10.0):
    begin = time.monotonic()
    while not is_safe(lab):
        assert time.monotonic() - begin < patience, f"still on: {lab.state}"
        time.sleep(0.002)
    return time.monotonic() - begin


def entries(log, count):
    """Return the log's entries; they are written just after the outputs have gone off."""
    deadline = time.monotonic() + 5.0
    while not log.exists() or log.read_text().count("\n") < count:
        assert time.monotonic() < deadline, "the guardian wrote nothing"
        time.sleep(0.01)
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_outputs_are_off_within_a_second_of_the_owners_death(lab, owner, log, number):
    """Also when it could not do anything any more."""
    owner.send_signal(getattr(signal, number))
    assert seconds_until_safe(lab) < 1.0
    written = entries(log, 2)
    assert {entry["instrument"] for entry in written} == {"scanner", "tuner"}
    assert all(entry["safe"] and entry["reason"] == "the owner died" for entry in written)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_outputs_are_off_within_two_seconds_of_a_hang(lab, owner, log):
    """A stopped process keeps its connections and its end of the pipe open; silence gives it away."""
    owner.send_signal(signal.SIGSTOP)
    assert seconds_until_safe(lab) < 2.0
    assert all("silent for 1 s" in entry["reason"] for entry in entries(log, 2))


def test_release_ends_the_guardian_without_action(lab, actions, log):
    """A run that went well leaves what its drivers have set."""
    with (
        contextlib.closing(open_scanner(lab.addresses["scanner"], name="scanner")) as scanner,
        Guardian(actions, log) as guardian,
    ):
        scanner.enable_rf(True)
        assert guardian.is_watching
        assert guardian.release()
        assert not guardian.is_watching
        assert lab.state["rf"]["scanner"]
    assert not log.exists()


def test_an_error_in_the_block_trips_and_is_passed_on(lab, actions, log):
    """The reason is written down."""
    with (
        contextlib.closing(open_scanner(lab.addresses["scanner"], name="scanner")) as scanner,
        contextlib.closing(open_tuner(lab.addresses["tuner_tcp"], name="tuner")) as tuner,
    ):
        scanner.enable_rf(True)
        tuner.set_bias(1, 0.02)
        with pytest.raises(ZeroDivisionError), Guardian(actions, log):
            1 / 0  # noqa: B018 - any error of a run
        assert is_safe(lab)
    assert all("ZeroDivisionError" in entry["reason"] for entry in entries(log, 2))


def test_an_explicit_trip_says_whether_all_is_safe(lab, actions, log):
    """True only when every instrument was reached."""
    with Guardian(actions, log) as guardian:
        assert guardian.trip("somebody leaned on the emergency stop")
        assert not guardian.is_watching
    lab.unplug("tuner")
    with Guardian(actions, log) as guardian:
        assert not guardian.trip("again")
    written = entries(log, 4)
    assert [entry["safe"] for entry in written if entry["instrument"] == "scanner"] == [True, True]
    lost = [entry for entry in written if not entry["safe"]]
    assert len(lost) == 1
    assert (lost[0]["instrument"], lost[0]["attempts"]) == ("tuner", 5)
    assert "ConnectionFailed" in lost[0]["error"]


def test_an_instrument_that_comes_back_is_made_safe_by_a_later_attempt(lab, actions, log):
    """One refused connection is not the end."""
    lab.faults.scanner_link.hang_up()
    with Guardian(actions[:1], log) as guardian:
        assert guardian.trip("test")
    assert entries(log, 1)[0]["safe"]


def test_a_guardian_that_tripped_unasked_spoils_a_run_that_ended_well(actions, log):
    """Outputs were off for a part of it: what was measured then is not valid."""
    guardian = Guardian(actions, log, timeout=0.3)
    guardian.__enter__()
    guardian._end.set()  # the heartbeat ends as if this process were stopped
    entries(log, 2)
    with pytest.raises(GuardianFailed, match="during the run"):
        guardian.__exit__(None, None, None)


def test_it_watches_within_a_second(actions, log):
    """Starting costs little although the drivers are many; the best of three, the machine may be busy."""
    times = []
    for _ in range(3):
        begin = time.monotonic()
        with Guardian(actions, log):
            times.append(time.monotonic() - begin)
    assert min(times) < 1.0


def test_without_instruments_there_is_no_process(log):
    """Nothing to guard, nothing to start."""
    with Guardian([], log) as guardian:
        assert not guardian.is_watching


def test_an_unknown_driver_is_reported_not_raised(log):
    """The other instruments must not suffer from one wrong name; the log says what was wrong."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with Guardian([SafeAction("x", "no-such-driver", place)], log) as guardian:
            assert not guardian.trip("test")
    assert "no-such-driver" in entries(log, 1)[0]["error"]


@pytest.mark.skipif(os.name == "nt", reason="process groups are told apart otherwise there")
def test_ctrl_c_in_the_owners_terminal_does_not_reach_it(owner):
    """Its process is in a session of its own."""
    children = subprocess.run(
        ["ps", "-o", "pid=,sid=", "--ppid", str(owner.pid)], capture_output=True, text=True, check=True
    )
    ((pid, session),) = (line.split() for line in children.stdout.splitlines())
    assert pid == session != str(os.getsid(owner.pid))
