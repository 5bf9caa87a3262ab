"""All simulated instruments together, in this process and in one of their own."""

from __future__ import annotations

import binascii
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pypulseq
import pytest
import serial

from coilbench.base.nuclei import nucleus
from hil_fixtures.instruments.lab import DEFAULT_PORTS, GRACE, Lab, LabPorts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

VERSION = 0x010005
CLOCK = 122.88e6


def connect(address: str) -> socket.socket:
    """Open ``tcp://host:port``."""
    host, port = address.removeprefix("tcp://").rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=5.0)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def line_of(connection: socket.socket) -> bytes:
    """Read up to a line feed."""
    received = b""
    while not received.endswith(b"\n"):
        data = connection.recv(4096)
        assert data, received
        received += data
    return received


def inspect(addresses: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the inspect port says."""
    with connect(addresses["inspect"]) as connection:
        state: dict[str, Any] = json.loads(line_of(connection))
        assert connection.recv(1) == b""
        return state


def tuner_frame(content: str) -> bytes:
    return b">%s*%04X\n" % (content.encode(), binascii.crc_hqx(content.encode(), 0xFFFF))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(seed=4, tuned=True) as lab:
        yield lab


def test_every_instrument_answers_at_its_address(lab: Lab) -> None:
    """One question each, in its own language, over its own wire."""
    at = lab.addresses
    with connect(at["analyzer_tcp"]) as analyzer:
        analyzer.sendall(b"*IDN?\n")
        assert line_of(analyzer).startswith(b"Rohde")
    assert at["analyzer_hislip"].startswith("TCPIP::127.0.0.1::hislip0,")
    with connect(at["scanner"]) as scanner:
        scanner.sendall(b"*IDN?\n")
        assert line_of(scanner) == b"coilbench,sequence-player,SIM0001,1.0.0\n"
    with connect(at["tuner_tcp"]) as tuner:
        tuner.sendall(tuner_frame("0 VERSION"))
        assert line_of(tuner).startswith(b"<0 OK 1.0*")
    with serial.serial_for_url(at["tuner"], timeout=5.0) as tuner:
        tuner.write(tuner_frame("0 VERSION"))
        assert tuner.readline().startswith(b"<0 OK 1.0*")
    with serial.serial_for_url(at["nanovna"], timeout=5.0) as nanovna:
        nanovna.write(b"version\r")
        assert nanovna.read_until(b"ch> ").startswith(b"version\r\n")
    assert len(at["receivers"]) == 4
    for address in at["receivers"]:
        with connect(address) as board:
            board.sendall(msgpack.packb([0, 0, 0, VERSION, {"are_you_real": 0}]))
            assert msgpack.unpackb(board.recv(4096))[4] == {"are_you_real": "simulation"}


def test_inspect_port_tells_outputs_and_bias(lab: Lab) -> None:
    """What is set over one wire is seen in the world, and over the inspect port."""
    with connect(lab.addresses["tuner_tcp"]) as tuner, connect(lab.addresses["scanner"]) as scanner:
        tuner.sendall(tuner_frame("1 BIAS 3 80.0"))
        line_of(tuner)
        scanner.sendall(b"OUTP ON\n*OPC?\n")
        line_of(scanner)
        state = inspect(lab.addresses)
        assert state["rf"]["scanner"]
        assert state["bias"] == [0.0, 0.0, 0.08, 0.0, 0.0, 0.0, 0.0, 0.0]
        assert len(state["steps"]) == 32
        tuner.sendall(tuner_frame("2 SAFE"))
        line_of(tuner)
        scanner.sendall(b"OUTP OFF\n*OPC?\n")
        line_of(scanner)
    state = inspect(lab.addresses)
    assert not state["rf"]["scanner"]
    assert state["bias"] == [0.0] * 8


def test_moves_are_seen_by_the_analyzers_world(lab: Lab) -> None:
    """Tuned ports are matched; 200 steps away the reflection is gone up by 10 dB at least."""
    frequency = np.array([nucleus("23Na").larmor_frequency(lab.world.settings.b0)])
    before = abs(lab.world.scattering(frequency)[0, 0, 0])
    position = lab.state["steps"]["ch1.na.tune"]
    with connect(lab.addresses["tuner_tcp"]) as tuner:
        tuner.sendall(tuner_frame(f"1 MOVE ch1.na.tune={position + 200}"))
        assert line_of(tuner).startswith(b"<1 OK 0*")
    after = abs(lab.world.scattering(frequency)[0, 0, 0])
    assert before < 0.1
    assert after > before * 10**0.5


def radial(folder: Path, carrier: float) -> bytes:
    """Return a file of 4 repetitions of 0.1 s without gradients: 90 degrees, then a trigger."""
    system = pypulseq.Opts(
        max_grad=40, grad_unit="mT/m", max_slew=170, slew_unit="T/m/s", rf_dead_time=0, rf_ringdown_time=0
    )
    sequence = pypulseq.Sequence(system)
    pulse = pypulseq.make_block_pulse(np.pi / 2, duration=200e-6, system=system)
    trigger = pypulseq.make_digital_output_pulse("ext1", delay=200e-6, duration=20e-6, system=system)
    for _ in range(4):
        sequence.add_block(pulse, trigger, pypulseq.make_delay(0.1))
    sequence.set_definition("Nucleus", "23Na")
    sequence.set_definition("TransmitFrequency_Hz", f"{carrier:.1f}")
    sequence.write(str(folder / "a.seq"))
    return (folder / "a.seq").read_bytes()


def program(oscillator: int, rate: int, samples: int, windows: int) -> bytes:
    """Return words for windows 2000 clocks after each trigger, oscillator restarted at each."""

    def write(buffer: int, value: int) -> int:
        return (0x80 | buffer) << 24 | value

    def wait(clocks: int) -> int:
        return 2 << 24 | (clocks - 3)

    low, high = oscillator & 0xFFFF, oscillator >> 16
    one = [
        write(16, 0), write(9, low), write(10, 0x8000 | high), wait(50), write(16, 0xC0), write(3, rate),
        write(4, rate), wait(50), write(16, 0xF0), wait(10), write(16, 0xC0), 4 << 24, write(10, high),
        wait(1989), write(16, 0x3C0), wait(samples * rate - 1), write(16, 0xC0),
    ]  # fmt: skip
    return np.array([*one * windows, 1 << 24], dtype="<u4").tobytes()


def test_scan_over_the_wires_is_the_worlds_signal(lab: Lab, tmp_path: Path) -> None:
    """Scanner and four boards by raw sockets: one scale and one phase explain all 8 channels and 4 shots.

    The carrier is a whole multiple of 1/TR and the oscillator restarts at each trigger, so the first shot's
    signal comes back in the later ones; what is left is noise, as strong as with RF off.
    """
    carrier = round(nucleus("23Na").larmor_frequency(3.0) / 10.0) * 10.0
    oscillator, rate, samples = round(carrier / CLOCK * 2**31), 1229, 60
    with ExitStack() as stack:
        boards = [stack.enter_context(connect(address)) for address in lab.addresses["receivers"]]
        scanner = stack.enter_context(connect(lab.addresses["scanner"]))
        block = radial(tmp_path, carrier)
        scanner.sendall(b"SEQ:LOAD #%d%d" % (len(str(len(block))), len(block)) + block + b"\nSEQ:COUN?\n")
        assert line_of(scanner) == b"4\n"
        scans = {}
        for output in (b"ON", b"OFF"):
            for board in boards:
                ask = [0, 0, 0, VERSION, {"run_seq": program(oscillator, rate, samples, 4)}]
                board.sendall(msgpack.packb(ask))
            scanner.sendall(b"OUTP " + output + b"\nSEQ:PLAY 0,4\nSYST:ERR?\n")
            assert line_of(scanner) == b'0,"No error"\n'
            scans[output] = np.concatenate([received(board) for board in boards])
    signal, noise = scans[b"ON"].reshape(8, 4, samples), scans[b"OFF"].reshape(8, 4, samples)
    sigma = np.std(noise[:, :, 6:], axis=(1, 2))
    assert np.all(np.abs(signal[:, :, 8].mean(axis=1)) > 8.0 * sigma)
    repeated = np.std(signal[:, 1:, 8:] - signal[:, :-1, 8:], axis=(1, 2)) / np.sqrt(2.0)
    # 156 differences a channel: the ratio's standard error is about 6 %; four of them for 8 channels.
    np.testing.assert_allclose(repeated / sigma, 1.0, atol=0.3)


def received(board: socket.socket) -> np.ndarray[Any, np.dtype[np.complex128]]:
    """Read one reply and return both channels, conjugated, in integers."""
    unpacker = msgpack.Unpacker()
    reply = None
    while reply is None:
        unpacker.feed(board.recv(65536))
        reply = next(iter(unpacker), None)
    assert reply[5] == {}, reply[5]
    data = reply[4]["run_seq"]
    parts = {name: np.array(values, dtype=np.uint32).view(np.int32) for name, values in data.items()}
    return np.stack([parts[f"rx{n}_i"] - 1j * parts[f"rx{n}_q"] for n in (0, 1)])


def test_unplugged_board_refuses_and_a_hung_up_one_resets() -> None:
    """What tests of missing instruments need."""
    with Lab(seed=1, serial=False) as lab:
        assert lab.addresses["tuner"].startswith("socket://")
        with connect(lab.addresses["receivers"][1]) as board:
            board.sendall(msgpack.packb([0, 0, 0, VERSION, {"ctrl": 0}]))
            assert board.recv(4096)
            lab.hang_up("receiver2")
            with pytest.raises(ConnectionResetError):
                board.recv(1)
        address = lab.addresses["scanner"]
        lab.unplug("scanner")
        with pytest.raises(ConnectionRefusedError):
            connect(address)


def test_ports_from_a_base() -> None:
    """Ten in a row, and the ones that a bench file expects."""
    assert LabPorts.from_base(9000) == LabPorts(9000, 9001, 9002, 9003, 9004, 9008, 9009)
    assert (DEFAULT_PORTS.analyzer_hislip, DEFAULT_PORTS.receivers) == (4880, 11111)


def test_taken_port_is_one_clear_line() -> None:
    """Exit code 1 and one sentence, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "hil_fixtures.instruments.lab", "--port-base", str(port - 3)]
        done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60.0, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("simulated bench: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "hil_fixtures.instruments.lab", "--seed", "3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_own_process_prints_addresses_and_ends_on_sigterm(process: subprocess.Popen[str]) -> None:
    """One line of JSON, then instruments; SIGTERM ends it with code 0."""
    assert process.stdout is not None
    addresses = json.loads(process.stdout.readline())
    assert inspect(addresses)["bias"] == [0.0] * 8
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10.0) == 0
    assert process.stdout.read() == ""


def test_own_process_outlives_its_owner_for_a_grace(process: subprocess.Popen[str]) -> None:
    """When standard input closes a guardian can still make safe; then everything ends by itself."""
    assert process.stdout is not None
    assert process.stdin is not None
    addresses = json.loads(process.stdout.readline())
    with connect(addresses["tuner_tcp"]) as tuner:
        tuner.sendall(tuner_frame("1 BIAS 1 50"))
        line_of(tuner)
    began = time.monotonic()
    process.stdin.close()
    with connect(addresses["tuner_tcp"]) as guardian:
        guardian.sendall(tuner_frame("1 SAFE"))
        assert line_of(guardian).startswith(b"<1 OK*")
        assert inspect(addresses)["bias"] == [0.0] * 8
    assert process.wait(timeout=GRACE + 10.0) == 0
    assert time.monotonic() - began > 0.8 * GRACE
