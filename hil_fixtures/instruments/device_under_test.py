"""What simulated analyzers measure, and a network whose S-parameters all differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Network(Protocol):
    """A network with ports of 50 ohm."""

    @property
    def port_count(self) -> int:
        """Number of ports."""
        ...

    def scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return the S-parameters now, shape (frequency, port, port); frequencies in Hz."""
        ...


class DeviceUnderTest(Network, Protocol):
    """A network that keeps a register of the RF outputs connected to it."""

    def rf_output(self, source: str, on: bool, /) -> None:
        """Learn whether an instrument puts out RF."""
        ...


@runtime_checkable
class Switched(Protocol):
    """A network that somebody switches, with a pulse on a trigger output whenever it does."""

    def transient(self, frequency: float, times: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return S at one frequency in Hz after the last switching, shape (time, port, port); times in s."""
        ...


@runtime_checkable
class Displayed(Protocol):
    """A network whose analyzer's calibration is not perfect."""

    def shown_scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return S as the analyzer shows it, without noise; as `Network.scattering`."""
        ...


def displayed(device: Network, frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return what an analyzer shows of a device, without noise: the truth, or what its calibration leaves.

    Returns
    -------
    Shape (frequency, port, port); frequencies in Hz.
    """
    if isinstance(device, Displayed):
        return device.shown_scattering(frequencies)
    return device.scattering(frequencies)


#: Fractional part of the golden ratio: its multiples fall far from each other on a circle.
_GOLDEN: Final = 0.6180339887498949


class AsymmetricNetwork:
    """A passive network in closed form whose S-parameters differ in every entry: for tests of order.

    Entry k, counted row by row from 0, is 0.9/n exp(2 pi i (0.618 k - f (1 + k) 50 ps)).

    Parameters
    ----------
    port_count
        Number of ports n.
    """

    def __init__(self, port_count: int) -> None:
        self._port_count = port_count
        self.rf_outputs: Final[dict[str, bool]] = {}

    @property
    def port_count(self) -> int:
        """Number of ports."""
        return self._port_count

    def scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return the S-parameters, shape (frequency, port, port); frequencies in Hz."""
        count = self._port_count
        entry = np.arange(count * count).reshape(count, count)
        turns = _GOLDEN * entry - np.multiply.outer(frequencies, (1 + entry) * 50e-12)
        return np.asarray(0.9 / count * np.exp(2j * np.pi * turns), dtype=np.complex128)

    def rf_output(self, source: str, on: bool, /) -> None:
        """Note whether an instrument puts out RF."""
        self.rf_outputs[source] = on
