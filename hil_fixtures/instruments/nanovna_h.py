"""A NanoVNA-H on its USB serial line: DiSlord's firmware 1.2.52 for the board with 101 points.

Written from what that firmware answers (NanoVNA-D 794c04b, main.c, read for behaviour). True here: the
commands of sweeps, scans and data with their error texts, stale data when a scan measures nothing, one
direction only, the harmonic mode. Not here: calibration (it measures as if perfectly calibrated), display,
markers, SD card, generator commands.
"""

from __future__ import annotations

import asyncio
import re
import struct
from typing import TYPE_CHECKING, Final, Literal, Self

import numpy as np

from hil_fixtures.instruments.device_under_test import displayed
from hil_fixtures.instruments.faults import AnalyzerFaults, LinkFaults
from hil_fixtures.instruments.nanovna_shell import Shell
from hil_fixtures.instruments.nanovna_sweep import (
    FREQUENCY_LIMITS,
    HARMONIC_THRESHOLD,
    MEASUREMENT_RATE,
    POINTS_LIMITS,
    observe,
    raster,
)
from hil_fixtures.instruments.serial_line import SerialLine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from hil_fixtures.instruments.device_under_test import Network
    from hil_fixtures.instruments.wire import Wire

#: Bits of a scan's mask.
_FREQUENCY, _REFLECTION, _TRANSMISSION, _BINARY = 1, 2, 4, 128

_INFO: Final = (
    "Board: NanoVNA",
    "2019-2024 Copyright @DiSlord (based on @edy555 source)",
    "Licensed under GPL.",
    "  https://github.com/DiSlord/NanoVNA-D",
    "Version: 1.2.52 [p:101, IF:12k, ADC:192k, Lcd:320x240]",
    "Architecture: ARMv6-M Core Variant: Cortex-M0",
    "Platform: STM32F072xB Entry Level Medium Density devices",
)


def whole_number(text: str) -> int:
    """Return the decimal digits at the start of ``text``, as the firmware reads numbers; else 0."""
    match = re.match(r"\+?(\d+)", text)
    return int(match[1]) if match else 0


def lines(*texts: str) -> bytes:
    """Return texts as the shell prints them."""
    return "".join(f"{text}\r\n" for text in texts).encode("latin-1")


class NanoVnaH:
    """The instrument and its serial line.

    Parameters
    ----------
    network
        What is connected.
    ports
        Ports of the network, from 1, at CH0 (drives, S11) and CH1 (receives, S21); all others are
        terminated in 50 ohm. May be changed at any time by assigning to the attribute.
    time_scale
        Wall seconds per second of sweep.
    seed
        Of the noise.
    kind
        Of the line: ``"pty"``, ``"socket"``, or None for the best this system has.
    """

    def __init__(
        self,
        network: Network,
        ports: tuple[int, int] = (1, 2),
        *,
        time_scale: float = 0.0,
        seed: int = 0,
        kind: Literal["pty", "socket"] | None = None,
    ) -> None:
        self.ports = ports
        self.faults: Final = AnalyzerFaults()
        self.link_faults: Final = LinkFaults(seed)
        self._network = network
        self._time_scale = time_scale
        self._random = np.random.default_rng(seed)
        self._line = SerialLine(self._connect, kind, self.link_faults)
        self._commands: dict[str, Callable[[list[str]], Awaitable[bytes]]] = {
            "scan": self._scan,
            "scan_bin": self._scan_binary,
            "data": self._data,
            "frequencies": self._frequencies,
            "sweep": self._sweep,
            "power": self._power,
            "bandwidth": self._bandwidth,
            "pause": self._pause,
            "resume": self._resume,
            "vbat": self._battery,
            "threshold": self._threshold,
            "help": self._help,
            "info": self._info,
            "version": self._version,
        }
        self._start, self._stop = 50_000, 900_000_000
        self._points = POINTS_LIMITS[1]
        self._axis = raster(self._start, self._stop, self._points)
        self._measured = np.zeros((2, self._points), dtype=np.complex64)
        self._bandwidth_setting = 3
        self._power_setting = 255
        self._is_sweeping = True

    @property
    def address(self) -> str:
        """What pySerial opens."""
        return self._line.address

    def start(self) -> Self:
        """Plug it in."""
        self._line.start()
        return self

    def close(self) -> None:
        """Unplug it; may be called twice."""
        self._line.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self, wire: Wire) -> Shell:
        self._loop = wire.loop
        return Shell(wire, self._run)

    async def _run(self, command: str, arguments: list[str]) -> bytes | None:
        action = self._commands.get(command)
        return None if action is None else await action(arguments)

    async def _measure(self, channels: int) -> None:
        """Sweep the raster; bit 0 of ``channels`` is S11, bit 1 S21; the others keep what they had."""
        bandwidth = MEASUREMENT_RATE / (self._bandwidth_setting + 1)
        await asyncio.sleep(self._axis.size * channels.bit_count() / bandwidth * self._time_scale)
        if self.faults.stop_mid_sweep:
            await asyncio.get_running_loop().create_future()
        drive, receive = (port - 1 for port in self.ports)
        true = await self._loop.in_worker(displayed, self._network, self._axis.astype(np.float64))
        wanted = np.stack((true[:, drive, drive], true[:, receive, drive]))
        seen = observe(wanted, self._axis, bandwidth, self._random)
        if self.faults.not_a_number:
            seen[:] = np.nan
        for channel in (0, 1):
            if channels >> channel & 1:
                self._measured[channel, : self._axis.size] = seen[channel]

    async def _scan(self, arguments: list[str], binary: int = 0) -> bytes:
        if not 2 <= len(arguments) <= 4:
            return lines("usage: scan {start(Hz)} {stop(Hz)} [points] [outmask]")
        start, stop = map(whole_number, arguments[:2])
        if start == 0 or stop == 0 or start > stop:
            return lines("frequency range is invalid")
        points = whole_number(arguments[2]) & 0xFFFF if len(arguments) > 2 else self._points
        if not 1 <= points <= POINTS_LIMITS[1]:
            return lines(f"sweep points exceeds range {POINTS_LIMITS[1]}")
        mask = (whole_number(arguments[3]) & 0xFFFF) | binary if len(arguments) > 3 else 0
        channels = mask >> 1 & 3 if len(arguments) > 3 else 3
        self._points = points
        self._axis = raster(start, stop, points)
        if channels:
            await self._measure(channels)
        self._is_sweeping = False
        return self._printed(mask)

    async def _scan_binary(self, arguments: list[str]) -> bytes:
        return await self._scan(arguments, _BINARY)

    def _printed(self, mask: int) -> bytes:
        """Return a scan's data as its mask asks."""
        if mask == 0:
            return b""
        rows = zip(self._axis.tolist(), *self._measured[:, : self._axis.size], strict=True)
        if mask & _BINARY:
            return struct.pack("<HH", mask, self._axis.size) + b"".join(
                _packed(mask, frequency, reflection, transmission)
                for frequency, reflection, transmission in rows
            )
        return lines(*(_text(mask, *row) for row in rows))

    async def _data(self, arguments: list[str]) -> bytes:
        chosen = whole_number(arguments[0]) if len(arguments) == 1 else 0
        if len(arguments) == 1 and (chosen >= 7 or arguments[0].startswith("-")):
            return lines("usage: data [array]")
        if chosen >= 2:  # error terms, all zero without a calibration
            return lines(*["0.000000000 0.000000000"] * self._points)
        if self._is_sweeping:
            await self._measure(3)
        values = self._measured[chosen, : self._points]
        return lines(*(f"{value.real:.9f} {value.imag:.9f}" for value in values))

    async def _frequencies(self, _arguments: list[str]) -> bytes:
        return lines(*map(str, self._axis.tolist()))

    async def _sweep(self, arguments: list[str]) -> bytes:
        if not arguments:
            return lines(f"{self._start} {self._stop} {self._points}")
        numbers = [whole_number(argument) for argument in arguments]
        named = len(arguments) == 2 and numbers[0] == 0
        if len(arguments) > 3 or (named and arguments[0] not in ("start", "stop", "center", "span", "cw")):
            return lines(
                "usage: sweep {start(Hz)} [stop(Hz)] [points]",
                "\tsweep {start|stop|center|span|cw|step|var} {freq(Hz)}",
            )
        if named:
            self._set_named(arguments[0], numbers[1])
        else:
            self._set_range(*numbers)
        self._axis = raster(self._start, self._stop, self._points)
        return b""

    def _set_range(self, start: int, stop: int = 0, points: int = 0) -> None:
        lowest, highest = FREQUENCY_LIMITS
        if start:
            self._start = min(max(start, lowest), highest)
            self._stop = max(self._stop, self._start)
        if stop:
            self._stop = min(max(stop, lowest), highest)
            self._start = min(self._start, self._stop)
        if points:
            self._points = min(max(points, POINTS_LIMITS[0]), POINTS_LIMITS[1])

    def _set_named(self, name: str, value: int) -> None:
        centre, span = (self._start + self._stop) // 2, self._stop - self._start
        if name in ("start", "stop"):
            self._set_range(*((value, 0) if name == "start" else (0, value)))
            return
        centre = centre if name == "span" else value
        half = {"center": (span + 1) // 2, "span": value // 2, "cw": 0}[name]
        lowest, highest = FREQUENCY_LIMITS
        half = min(half, centre - lowest, highest - centre)
        self._start, self._stop = centre - half, centre + half

    async def _power(self, arguments: list[str]) -> bytes:
        if len(arguments) != 1:
            return lines("usage: power {0-3}|{255 - auto}", f"power: {self._power_setting}")
        value = whole_number(arguments[0]) & 0xFF
        self._power_setting = value if value <= 3 else 255
        return b""

    async def _bandwidth(self, arguments: list[str]) -> bytes:
        if len(arguments) == 1:
            self._bandwidth_setting = whole_number(arguments[0]) & 0x1FF
        elif len(arguments) == 2:
            wanted = whole_number(arguments[0])
            fits = MEASUREMENT_RATE // 512 + 1 <= wanted <= MEASUREMENT_RATE
            self._bandwidth_setting = MEASUREMENT_RATE // wanted - 1 if fits else 511 * (wanted < 8)
        bandwidth = MEASUREMENT_RATE // (self._bandwidth_setting + 1)
        return lines(f"bandwidth {self._bandwidth_setting} ({bandwidth}Hz)")

    async def _pause(self, _arguments: list[str]) -> bytes:
        self._is_sweeping = False
        return b""

    async def _resume(self, _arguments: list[str]) -> bytes:
        self._axis = raster(self._start, self._stop, self._points)
        self._is_sweeping = True
        return b""

    async def _battery(self, _arguments: list[str]) -> bytes:
        return lines("4117 mV")

    async def _threshold(self, _arguments: list[str]) -> bytes:
        return lines("usage: threshold {frequency in harmonic mode}", f"current: {HARMONIC_THRESHOLD}")

    async def _help(self, _arguments: list[str]) -> bytes:
        return lines("Commands: " + " ".join(self._commands))

    async def _info(self, _arguments: list[str]) -> bytes:
        return lines(*_INFO)

    async def _version(self, _arguments: list[str]) -> bytes:
        return lines("1.2.52")


def _packed(mask: int, frequency: int, reflection: np.complex64, transmission: np.complex64) -> bytes:
    """Return one point of a binary scan."""
    point = struct.pack("<I", frequency) if mask & _FREQUENCY else b""
    if mask & _REFLECTION:
        point += struct.pack("<ff", reflection.real, reflection.imag)
    if mask & _TRANSMISSION:
        point += struct.pack("<ff", transmission.real, transmission.imag)
    return point


def _text(mask: int, frequency: int, reflection: np.complex64, transmission: np.complex64) -> str:
    """Return one point of a text scan; each number is followed by a blank."""
    text = f"{frequency} " if mask & _FREQUENCY else ""
    if mask & _REFLECTION:
        text += f"{reflection.real:.9f} {reflection.imag:.9f} "
    if mask & _TRANSMISSION:
        text += f"{transmission.real:.9f} {transmission.imag:.9f} "
    return text
