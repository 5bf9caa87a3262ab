"""The simulated NanoVNA-H measures one direction of two chosen ports, on its own raster, in two bands."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
import serial

from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.nanovna_h import NanoVnaH
from hil_fixtures.instruments.nanovna_shell import split_line
from hil_fixtures.instruments.nanovna_sweep import HARMONIC_THRESHOLD, raster

if TYPE_CHECKING:
    from collections.abc import Iterator

#: RMS noise of S at 1 kHz bandwidth below 300 MHz: -70 dB.
SIGMA = 3.2e-4


@pytest.fixture
def analyzer() -> Iterator[NanoVnaH]:
    with NanoVnaH(AsymmetricNetwork(16), ports=(3, 11)) as analyzer:
        yield analyzer


@pytest.fixture
def port(analyzer: NanoVnaH) -> Iterator[serial.Serial]:
    with serial.serial_for_url(analyzer.address, timeout=2) as port:
        yield port


def ask(port: serial.Serial, command: str) -> bytes:
    """Return what a command prints, without echo and prompt."""
    port.write(command.encode() + b"\r")
    answer = port.read_until(b"ch> ")
    return answer.split(b"\r\n", 1)[1].removesuffix(b"ch> ")


def scan(port: serial.Serial, start: int, stop: int, points: int) -> np.ndarray:
    """Return rows of frequency, S11 re, im, S21 re, im."""
    text = ask(port, f"scan {start} {stop} {points} 7").decode()
    return np.array([[float(word) for word in line.split()] for line in text.splitlines()])


def test_scan_measures_the_chosen_ports(analyzer: NanoVnaH, port: serial.Serial) -> None:
    """S11 and S21 of ports 3 and 11, then of 11 and 3 after the cables have been swapped."""
    for drive, receive in ((3, 11), (11, 3)):
        analyzer.ports = (drive, receive)
        rows = scan(port, 120_000_000, 130_000_000, 11)
        true = AsymmetricNetwork(16).scattering(rows[:, 0])
        assert np.max(np.abs(rows[:, 1] + 1j * rows[:, 2] - true[:, drive - 1, drive - 1])) < 6 * SIGMA
        assert np.max(np.abs(rows[:, 3] + 1j * rows[:, 4] - true[:, receive - 1, drive - 1])) < 6 * SIGMA


@pytest.mark.parametrize("mask", [1, 2, 4, 6, 7])
def test_binary_scan_equals_the_data_command(port: serial.Serial, mask: int) -> None:
    """Header with mask and points, then per point what the mask asks for, little-endian, then the prompt."""
    port.write(f"scan_bin 30000000 40000000 5 {mask}\r".encode())
    echo = f"scan_bin 30000000 40000000 5 {mask}\r\n".encode()
    assert port.read(len(echo)) == echo
    assert struct.unpack("<HH", port.read(4)) == (mask | 128, 5)
    width = 4 * (mask & 1) + 8 * (mask >> 1 & 1) + 8 * (mask >> 2 & 1)
    points = port.read(5 * width)
    assert port.read(4) == b"ch> "
    if mask == 7:
        rows = np.frombuffer(points, np.dtype([("f", "<u4"), ("s", "<f4", 4)]))
        assert rows["f"].tolist() == [30_000_000, 32_500_000, 35_000_000, 37_500_000, 40_000_000]
        for channel in (0, 1):
            text = [line.split() for line in ask(port, f"data {channel}").decode().splitlines()]
            shown = np.array(text, dtype=float)
            np.testing.assert_allclose(rows["s"][:, 2 * channel : 2 * channel + 2], shown, atol=6e-10)


def test_scan_without_data_bits_leaves_the_old_data(port: serial.Serial) -> None:
    """A scan that asks for frequencies only does not sweep: the data are stale, on a new axis."""
    scan(port, 30_000_000, 40_000_000, 5)
    before = ask(port, "data 0")
    assert len(ask(port, "scan 120000000 130000000 5 1").splitlines()) == 5
    assert ask(port, "data 0") == before


def test_resume_sweeps_again_on_the_swept_axis(port: serial.Serial) -> None:
    """A scan pauses; resume goes back to the axis of ``sweep``, and ``data`` is measured afresh."""
    ask(port, "sweep 33000000 34000000 21")
    scan(port, 120_000_000, 130_000_000, 21)
    held = ask(port, "data 0")
    assert ask(port, "data 0") == held
    ask(port, "resume")
    assert ask(port, "frequencies").split()[0] == b"33000000"
    assert ask(port, "data 0") != held


def test_raster_is_rounded_and_sweep_clips() -> None:
    """Whole hertz, halves up; ends exact; compared with exact rational arithmetic."""
    for start, stop, points in ((33_700_001, 33_876_544, 101), (1_000_000, 1_000_010, 4), (5, 5, 1)):
        axis = raster(start, stop, points)
        steps = max(points - 1, 1)
        exact = [(2 * (stop - start) * k + steps) // (2 * steps) + start for k in range(points)]
        assert np.max(np.abs(axis - exact)) <= 1
        assert (axis[0], axis[-1]) == (start, stop)
        assert np.all(np.diff(axis) >= 0)


def test_points_are_clipped_by_sweep_and_refused_by_scan(port: serial.Serial) -> None:
    ask(port, "sweep 33000000 34000000 500")
    assert ask(port, "sweep") == b"33000000 34000000 101\r\n"
    ask(port, "sweep 33000000 34000000 5")
    assert ask(port, "sweep") == b"33000000 34000000 21\r\n"
    assert ask(port, "scan 1000 2000 500 7") == b"sweep points exceeds range 101\r\n"


def test_harmonic_mode_is_noisier_and_a_step_away(port: serial.Serial) -> None:
    """Above 300.0001 MHz: 20 dB more noise, and values 0.2 dB off; nothing of either below."""
    edge = HARMONIC_THRESHOLD
    deviations = []
    for start in (edge - 1_000_000, edge + 1):
        rows = np.concatenate([scan(port, start, start + 999_999, 101) for _ in range(4)])
        true = AsymmetricNetwork(16).scattering(rows[:, 0])[:, 2, 2]
        ratio = (rows[:, 1] + 1j * rows[:, 2]) / true
        deviations.append((np.mean(ratio), np.std(ratio) * 0.9 / 16))
    (below, quiet), (above, loud) = deviations
    assert quiet == pytest.approx(SIGMA, rel=0.1)
    assert loud == pytest.approx(10 * SIGMA, rel=0.1)
    assert abs(below - 1.0) < 0.002
    assert 20 * np.log10(abs(above)) == pytest.approx(0.2, abs=0.08)


def test_narrow_bandwidth_lowers_the_noise(port: serial.Serial) -> None:
    """10 Hz: a tenth of the noise of 1 kHz; 505 values give 3 % (one sigma)."""
    noise = []
    for setting, reply in (("3", b"bandwidth 3 (1000Hz)\r\n"), ("399", b"bandwidth 399 (10Hz)\r\n")):
        assert ask(port, f"bandwidth {setting}") == reply
        rows = np.concatenate([scan(port, 30_000_000, 40_000_000, 101) for _ in range(5)])
        error = rows[:, 1] + 1j * rows[:, 2] - AsymmetricNetwork(16).scattering(rows[:, 0])[:, 2, 2]
        noise.append(np.sqrt(np.mean(np.abs(error) ** 2)))
    assert noise[0] / noise[1] == pytest.approx(10.0, rel=0.15)


def test_commands_typed_ahead_are_run_in_order(port: serial.Serial) -> None:
    port.write(b"bandwidth 7\rversion\r")
    expected = b"bandwidth 7\r\nbandwidth 7 (500Hz)\r\nch> version\r\n1.2.52\r\nch> "
    assert port.read(len(expected)) == expected


@pytest.mark.parametrize("kind", ["pty", "socket"])
def test_both_kinds_of_line_carry_a_scan(kind: str) -> None:
    with (
        NanoVnaH(AsymmetricNetwork(2), kind=kind) as analyzer,
        serial.serial_for_url(analyzer.address, timeout=2) as port,
    ):
        port.write(b"\r")
        port.read_until(b"ch> ")
        assert scan(port, 1_000_000, 2_000_000, 101).shape == (101, 5)


def test_second_program_is_refused_by_an_exclusive_opener(analyzer: NanoVnaH) -> None:
    with (
        serial.Serial(analyzer.address, exclusive=True),
        pytest.raises(serial.SerialException, match=r"[Ll]ock"),
    ):
        serial.Serial(analyzer.address, exclusive=True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("scan  1 2", ["scan", "1", "2"]),
        ('a "b c" d', ["a", "b c", "d"]),
        ('x "open', ["x", "open"]),
        (" \t", []),
    ],
)
def test_words_of_a_line(line: str, words: list[str]) -> None:
    assert split_line(line) == words
