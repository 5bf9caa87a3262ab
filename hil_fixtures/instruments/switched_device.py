"""What an analyzer with two ports sees of a device with sixteen through a matrix of relays.

True here: each device port has a relay to side A (state 0) or B (state 1); on each side two relays with eight
terminated throws collect ports 1 to 8 and 9 to 16, and one relay leads either of them to the analyzer. A
throw that is not selected ends in its own termination, different on both sides and at every throw, and
dispersive; what is not connected to anything is open. Paths to the analyzer have delay, loss and
mismatch. No leakage between paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hil_fixtures.instruments.device_under_test import DeviceUnderTest

#: Ports of the device, and of one relay with many throws.
DEVICE_PORTS: Final = 16
THROWS: Final = 8

#: Reflection of the terminations: assumed, a return loss of 20 dB (VSWR 1.2); at MRI frequencies terminated
#: relays may do 10 dB better.
_TERMINATION: Final = 0.1
#: Transmission of a path at 100 MHz and its mismatch: two relays and half a metre of cable.
_PATH_LOSS_DB: Final = 0.4
_PATH_MISMATCH: Final = 0.03


class SwitchedDevice:
    """Two ports that lead through relays to a device with sixteen.

    Parameters
    ----------
    device
        With sixteen ports.
    seed
        Of terminations and paths.

    Raises
    ------
    ValueError
        The device has another number of ports.
    """

    port_count: Final = 2

    def __init__(self, device: DeviceUnderTest, seed: int = 0) -> None:
        if device.port_count != DEVICE_PORTS:
            raise ValueError(f"this matrix has {DEVICE_PORTS} device ports, the device {device.port_count}")
        self._device = device
        random = np.random.default_rng([seed, 16])
        self._angles = random.uniform(0.0, 2.0 * np.pi, (2, DEVICE_PORTS))
        self._delays = random.uniform(0.2e-9, 1.0e-9, (2, DEVICE_PORTS))
        self._path_delays = random.uniform(2.0e-9, 3.0e-9, (2, DEVICE_PORTS))
        self.port_relays: Final = [0] * DEVICE_PORTS
        self.selectors: Final = [[0, 0], [0, 0]]
        self.sides: Final = [0, 0]

    def rf_output(self, source: str, on: bool, /) -> None:
        """Tell the device."""
        self._device.rf_output(source, on)

    def terminations(self, frequencies: NDArray[np.float64], side: int = 0, /) -> NDArray[np.complex128]:
        """Return the reflection of each port's termination on a side (0: A), shape (frequency, port)."""
        turns = self._angles[side] - 4.0 * np.pi * np.multiply.outer(frequencies, self._delays[side])
        return np.asarray(_TERMINATION * np.exp(1j * turns), dtype=np.complex128)

    def path(self, frequencies: NDArray[np.float64], side: int, port: int, /) -> NDArray[np.complex128]:
        """Return S of the way from a side's analyzer port (1) to a device port (2, counted from 1)."""
        delay = self._path_delays[side, port - 1]
        gain = 10.0 ** (-_PATH_LOSS_DB * np.sqrt(frequencies / 100e6) / 20.0)
        s = np.empty((frequencies.size, 2, 2), dtype=np.complex128)
        s[:, 0, 1] = s[:, 1, 0] = gain * np.exp(-2j * np.pi * frequencies * delay)
        s[:, 0, 0] = _PATH_MISMATCH * np.exp(-2j * np.pi * frequencies * 0.3 * delay)
        s[:, 1, 1] = _PATH_MISMATCH * np.exp(1j - 2j * np.pi * frequencies * 0.5 * delay)
        return s

    def connected(self, side: int) -> int | None:
        """Return the device port (from 1) that a side leads to; None: to an open contact."""
        half = self.sides[side]
        throw = self.selectors[side][half]
        if throw == 0:
            return None
        port = THROWS * half + throw
        return port if self.port_relays[port - 1] == side else None

    def scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return what the analyzer's two ports see now, shape (frequency, 2, 2); frequencies in Hz."""
        live = [side for side in (0, 1) if self.connected(side) is not None]
        ports = [port - 1 for side in live if (port := self.connected(side)) is not None]
        seen = np.zeros((frequencies.size, 2, 2), dtype=np.complex128)
        seen[:, range(2), range(2)] = 1.0
        if not live:
            return seen
        rest = [port for port in range(DEVICE_PORTS) if port not in ports]
        device = self._device.scattering(frequencies)
        block = _with_loads(device, ports, rest, self._loads(frequencies)[:, rest])
        paths = [self.path(frequencies, side, port + 1) for side, port in zip(live, ports, strict=True)]
        seen[np.ix_(range(frequencies.size), live, live)] = _through(block, paths)
        return seen

    def _loads(self, frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return what a port ends in that is not led to the analyzer: its termination, or an open contact."""
        loads = np.empty((frequencies.size, DEVICE_PORTS), dtype=np.complex128)
        for port in range(DEVICE_PORTS):
            side = self.port_relays[port]
            half, throw = divmod(port, THROWS)
            selected = self.selectors[side][half] == throw + 1
            # a selected throw whose common contact leads nowhere
            loads[:, port] = 1.0 if selected else self.terminations(frequencies, side)[:, port]
        return loads


def _with_loads(
    s: NDArray[np.complex128], kept: list[int], rest: list[int], loads: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Return S of ``kept`` ports while the others end in loads."""
    inner = np.linalg.inv(np.eye(len(rest)) - loads[:, :, None] * s[:, rest][:, :, rest])
    into = s[:, rest][:, :, kept]
    return np.asarray(
        s[:, kept][:, :, kept] + s[:, kept][:, :, rest] @ inner @ (loads[:, :, None] * into),
        dtype=np.complex128,
    )


def _through(s: NDArray[np.complex128], paths: list[NDArray[np.complex128]]) -> NDArray[np.complex128]:
    """Return S as seen through one two-port for each port."""
    near = np.stack([path[:, 0, 0] for path in paths], axis=-1)
    passing = np.stack([path[:, 1, 0] for path in paths], axis=-1)
    far = np.stack([path[:, 1, 1] for path in paths], axis=-1)
    inner = np.linalg.inv(np.eye(len(paths)) - s * far[:, None, :])
    seen = passing[:, :, None] * (inner @ s) * passing[:, None, :]
    seen[:, range(len(paths)), range(len(paths))] += near
    return np.asarray(seen, dtype=np.complex128)
