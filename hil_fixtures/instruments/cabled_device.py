"""A device with many ports on a bench: a few cables that hands move, and loads on all ports that are free.

True here: the loads reflect, each differently over frequency, and stay at the ports, taken off only while a
cable is on; a cable that hangs free is open; a port takes one cable, and the one before comes off. Cables
are ideal: an analyzer at their ends is calibrated there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hil_fixtures.instruments.device_under_test import DeviceUnderTest

_MOVE: Final = re.compile(r"\bcable (\d+) to port (\d+)")


class CabledDevice:
    """What an analyzer sees at the ends of its cables.

    Parameters
    ----------
    device
        The cables go there.
    cables
        How many.
    reflection
        |Γ| of every load; 0.1 is a return loss of 20 dB, 0 is 50 ohm. May be changed at any time.
    seed
        Of the loads' phases and delays.
    """

    def __init__(
        self, device: DeviceUnderTest, cables: int = 2, *, reflection: float = 0.0, seed: int = 0
    ) -> None:
        self._device = device
        self.reflection = reflection
        random = np.random.default_rng([seed, 17])
        self._angles = random.uniform(0.0, 2.0 * np.pi, device.port_count)
        self._delays = random.uniform(0.1e-9, 0.5e-9, device.port_count)
        #: Port of each cable, from 1; None: it hangs free.
        self.places: Final[list[int | None]] = [None] * cables

    @property
    def port_count(self) -> int:
        """Number of cables."""
        return len(self.places)

    def rf_output(self, source: str, on: bool, /) -> None:
        """Tell the device."""
        self._device.rf_output(source, on)

    def loads(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return the reflection of each port's load, shape (frequency, port); frequencies in Hz."""
        turns = self._angles - 4.0 * np.pi * np.multiply.outer(frequencies, self._delays)
        return np.asarray(self.reflection * np.exp(1j * turns), dtype=np.complex128)

    def connect(self, cable: int, port: int, /) -> None:
        """Move a cable (from 1) to a port (from 1)."""
        if port in self.places:
            self.places[self.places.index(port)] = None
        self.places[cable - 1] = port

    def do(self, instruction: str, /) -> None:
        """Do what a sentence asks, such as ``"connect cable 1 to port 3, cable 2 to port 5"``.

        Raises
        ------
        ValueError
            It asks for nothing.
        """
        moves = _MOVE.findall(instruction)
        if not moves:
            raise ValueError(f"no cable is named: {instruction}")
        for cable, port in moves:
            self.connect(int(cable), int(port))

    def scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return S at the cables' ends, shape (frequency, cable, cable); frequencies in Hz."""
        live = [cable for cable, port in enumerate(self.places) if port is not None]
        ports = [port - 1 for port in self.places if port is not None]
        seen = np.zeros((frequencies.size, self.port_count, self.port_count), dtype=np.complex128)
        seen[:, range(self.port_count), range(self.port_count)] = 1.0
        if live:
            s, loads = self._device.scattering(frequencies), self.loads(frequencies)
            loads[:, ports] = 0.0
            # b = S (e + Γ b): the waves that come out where a unit wave goes in at one cable
            waves = np.linalg.solve(np.eye(s.shape[-1]) - s * loads[:, None, :], s[:, :, ports])
            seen[np.ix_(range(frequencies.size), live, live)] = waves[:, ports]
        return seen
