"""What one connection of the analyzer to the device gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PartialSweep:
    """S-parameters of some ports of a device while all its other ports ended in their loads.

    Parameters
    ----------
    ports
        Ports of the device, counted from 1, in the order of the rows of ``s``: the first is the one on the
        analyzer's first cable.
    frequencies
        Hz, shape (frequency,).
    s
        Calibrated at the device's ports, shape (frequency, port, port); nan where an analyzer could not
        measure an entry.
    """

    ports: tuple[int, ...]
    frequencies: NDArray[np.float64]
    s: NDArray[np.complex128]

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises
        ------
        ValueError
            A port is named twice or below 1, or the shapes do not fit.
        """
        count = len(self.ports)
        if len(set(self.ports)) != count or min(self.ports, default=0) < 1:
            raise ValueError(f"a connection has different ports, counted from 1; got {self.ports}")
        if self.s.shape != (self.frequencies.size, count, count):
            raise ValueError(
                f"{count} ports at {self.frequencies.size} frequencies need s of shape "
                f"{(self.frequencies.size, count, count)}; got {self.s.shape}"
            )

    @property
    def name(self) -> str:
        """The ports as ``2-5``."""
        return "-".join(str(port) for port in self.ports)


def require_one_axis(parts: tuple[PartialSweep, ...]) -> NDArray[np.float64]:
    """Return the frequency axis that all parts have in common.

    Raises
    ------
    ValueError
        There is no part, or two have different frequencies; both are named.
    """
    if not parts:
        raise ValueError("an assembly needs at least one partial sweep; got none")
    first = parts[0]
    for part in parts[1:]:
        if part.frequencies.shape != first.frequencies.shape or not np.allclose(
            part.frequencies, first.frequencies, rtol=1e-9, atol=0.0
        ):
            raise ValueError(
                f"connections {first.name} and {part.name} were swept at different frequencies; "
                "sweep all with one plan"
            )
    return first.frequencies
