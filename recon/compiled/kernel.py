"""The spreading kernel of our own gridding: exp(b (sqrt(1 - x²) - 1)), as pieces of polynomials.

Barnett, Magland and af Klinteberg, SIAM J Sci Comput 41:C479 (2019), equation 1.8; on a grid of twice the
size each further cell of width gains a decimal. Polynomials follow it to a tenth of its own error, and what
divides the image afterwards is the transform of the polynomials themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from recon.compiled.codegen import WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.compiled.lanes import Floats

#: b over the width for each width in cells: the least folded part beside what is kept, on a doubled grid, by
#: ``transform`` below (the paper has 2.30 for all). Beyond 7 single precision rounds more than the kernel
#: errs.
_SHAPES: Final = MappingProxyType({3: 2.05, 4: 2.20, 5: 2.25, 6: 2.27, 7: 2.30})
#: Points of the quadrature in each cell.
_QUADRATURE: Final = 24


@dataclass(frozen=True, slots=True)
class SpreadingKernel:
    """A kernel of some width.

    Parameters
    ----------
    width
        Cells that it covers.
    coefficients
        Of its polynomials in t from -1 to 1 within a cell, highest power first, shape (power, cell).
    """

    width: int
    coefficients: NDArray[np.float64]

    @classmethod
    def of_tolerance(cls, tolerance: float) -> SpreadingKernel:
        """Return the narrowest kernel that keeps a relative accuracy."""
        width = int(np.clip(np.ceil(-np.log10(tolerance)) + 1, min(_SHAPES), max(_SHAPES)))
        degree = width + 4
        nodes = np.cos(np.pi * (np.arange(2 * degree) + 0.5) / (2 * degree))
        pieces = [
            np.polynomial.chebyshev.cheb2poly(
                np.polynomial.chebyshev.chebfit(nodes, _shape(width, cell + (nodes + 1) / 2), degree)
            )[::-1]
            for cell in range(width)
        ]
        return cls(width, np.stack(pieces, axis=1).astype(np.float64))

    def lanes(self) -> Floats:
        """Return the coefficients as rows of sixteen, one cell in each lane, flat."""
        rows = np.zeros((len(self.coefficients), WIDTH), dtype=np.float32)
        rows[:, : self.width] = self.coefficients
        return rows.reshape(-1)

    def rows(self, slots: int) -> Floats:
        """Return the coefficients as they lie along a row of the grid, flat.

        Parameters
        ----------
        slots
            Complex numbers in a cell of the grid, a power of two up to eight.

        Returns
        -------
        From shape (cell of the lanes where the kernel begins, power, as many floats as it may touch).
        """
        cells = WIDTH // (2 * slots)
        floats = row_lanes(self.width, slots) * WIDTH
        rows = np.zeros((cells, len(self.coefficients), floats), dtype=np.float32)
        for cell, row in enumerate(rows):
            start = cell * 2 * slots
            row[:, start : start + self.width * 2 * slots] = np.repeat(self.coefficients, 2 * slots, axis=1)
        return rows.reshape(-1)

    def transform(self, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the kernel's Fourier transform; frequencies in cycles per cell, any shape."""
        nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
        values = np.stack([np.polyval(self.coefficients[:, cell], nodes) for cell in range(self.width)])
        places = np.arange(self.width)[:, None] + (nodes + 1) / 2 - self.width / 2
        waves = np.cos(2 * np.pi * np.asarray(frequencies)[..., None, None] * places)
        return np.asarray((waves * values * weights / 2).sum(axis=(-2, -1)))


def row_lanes(width: int, slots: int) -> int:
    """Return how many lanes a kernel may touch along a row of the grid, wherever in the first it begins."""
    return -(-(WIDTH + 2 * slots * (width - 1)) // WIDTH)


def _shape(width: int, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the kernel at places from 0 to its width."""
    x = 2 * places / width - 1
    return np.asarray(np.exp(_SHAPES[width] * width * (np.sqrt(np.maximum(0, 1 - x**2)) - 1)))
