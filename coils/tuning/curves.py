"""What is believed of a trimmer: capacitance against step count, from its data sheet and from what it did.

A curve is the straight line of the data sheet with four corrections, all relative to half the range: offset,
span, bend (quadratic) and skew (cubic). Their prior widths are the trimmer's tolerances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: No guess of a capacitance is below this part of the lowest.
_LEAST: Final = 0.1
#: Corrections of one curve.
TERMS: Final = 4


@dataclass(frozen=True, slots=True)
class TrimmerType:
    """A kind of trimmer, as its data sheet says.

    Parameters
    ----------
    element
        Its name in the circuit.
    lowest, highest
        Capacitance in F at the lower and the upper end of its travel; a fixed capacitor in parallel included.
    offset, span, bend, skew
        Standard deviations of the corrections, relative to the capacitance at mid travel (offset) and to
        half the range (the others): a 5 % trimmer whose scale leaves the line by some percent.
    """

    element: str
    lowest: float
    highest: float
    offset: float = 0.03
    span: float = 0.03
    bend: float = 0.05
    skew: float = 0.03

    def __post_init__(self) -> None:
        """Check the range.

        Raises
        ------
        ValueError
            The capacitances are not positive and rising, or a tolerance is not positive.
        """
        if not 0.0 < self.lowest < self.highest:
            raise ValueError(
                f"{self.element}: need 0 < lowest < highest; got {self.lowest} F and {self.highest} F"
            )
        if min(self.offset, self.span, self.bend, self.skew) <= 0.0:
            raise ValueError(f"{self.element}: tolerances must be positive")

    @property
    def middle(self) -> float:
        """Capacitance at mid travel in F."""
        return 0.5 * (self.lowest + self.highest)

    @property
    def half_range(self) -> float:
        """Half of the range in F."""
        return 0.5 * (self.highest - self.lowest)

    def widths(self) -> NDArray[np.float64]:
        """Return the corrections' standard deviations over half the range, shape (4,)."""
        return np.array([self.offset * self.middle / self.half_range, self.span, self.bend, self.skew])

    def capacitance(self, place: NDArray[np.float64], terms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return capacitances in F.

        Parameters
        ----------
        place
            Position, -1 at the lower and +1 at the upper end of the travel, shape (...,).
        terms
            Corrections, shape (..., 4).
        """
        value = self.middle + self.half_range * (place + np.sum(shapes(place) * terms, axis=-1))
        return np.asarray(np.maximum(value, _LEAST * self.lowest), dtype=np.float64)

    def slope(self, place: NDArray[np.float64], terms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivative of the capacitance by the place in F; arguments as `capacitance`."""
        return np.asarray(self.half_range * (1.0 + np.sum(_slopes(place) * terms, axis=-1)), dtype=np.float64)

    def place(self, capacitance: NDArray[np.float64], terms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the place of a capacitance, by Newton's method; beyond the ends the curve is a line."""
        wanted = np.asarray(capacitance, dtype=np.float64)
        found = (wanted - self.middle) / self.half_range
        for _ in range(8):
            inside = np.clip(found, -1.0, 1.0)
            slope = np.maximum(self.slope(inside, terms), 0.2 * self.half_range)
            error = wanted - self.capacitance(inside, terms) - slope * (found - inside)
            found = found + error / slope
        return np.asarray(found, dtype=np.float64)


def shapes(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how each correction acts at places, in units of half the range, shape (..., 4).

    Bend and skew vanish at both ends of the travel.
    """
    x = np.asarray(place, dtype=np.float64)
    return np.stack((np.ones_like(x), x, 1.0 - x * x, x * (1.0 - x * x)), axis=-1)


def _slopes(place: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.asarray(place, dtype=np.float64)
    return np.stack((np.zeros_like(x), np.ones_like(x), -2.0 * x, 1.0 - 3.0 * x * x), axis=-1)
