"""Flat strips, such as copper tape or a track: how the current crowds at their edges, and what that costs.

The current's integral equation in the cross-section, rho J + jω A = const, is solved on cells that shrink
towards edges and faces with the skin depth; one quarter of the section stands for all. Within 0.5 % of the
limit of fine cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.polynomial.chebyshev import Chebyshev
from scipy.constants import mu_0

from coils.magnetics.conductors import COPPER, check_positive, skin_depth
from coils.magnetics.loops import strip_wire_radius

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: The outermost cell in skin depths, and by how much each cell inwards is larger.
_FIRST_CELL: Final = 0.3
_GROWTH: Final = 1.45
#: Frequencies that are solved exactly; more are interpolated between so many and some per decade, to 0.2 %.
_EXACT: Final = 12
_EXACT_PER_DECADE: Final = 6


@dataclass(frozen=True, slots=True)
class Strip:
    """A conductor of rectangular section.

    Parameters
    ----------
    width, thickness
        m.
    resistivity
        Ohm m.

    Raises
    ------
    ValueError
        A number is not positive or the strip is thicker than wide.
    """

    width: float
    thickness: float = 35e-6
    resistivity: float = COPPER

    def __post_init__(self) -> None:
        check_positive(width=self.width, thickness=self.thickness, resistivity=self.resistivity)
        if self.width < self.thickness:
            raise ValueError(f"a strip is wider than thick, got {self.width} m x {self.thickness} m")

    @property
    def wire_radius(self) -> float:
        """Radius in m of the round wire with the same external inductance."""
        return strip_wire_radius(self.width, self.thickness)

    def resistance(self, frequency: ArrayLike, /) -> NDArray[np.float64]:
        """Return the resistance in ohm/m, of the shape of ``frequency`` in Hz.

        Raises
        ------
        ValueError
            A frequency is not positive.
        """
        f = np.asarray(frequency, dtype=np.float64)
        skin_depth(f, self.resistivity)
        distinct = np.unique(f)
        if distinct.size <= _EXACT:
            values = np.array([self._solve(float(one)) for one in distinct])
            return np.asarray(values[np.searchsorted(distinct, f)])
        low, high = np.log(distinct[[0, -1]])
        smooth = Chebyshev.interpolate(
            lambda logs: np.log([self._solve(float(one)) for one in np.exp(logs)]),
            _EXACT + int(_EXACT_PER_DECADE * (high - low) / np.log(10.0)),
            domain=(float(low), float(high)),
        )
        return np.asarray(np.exp(smooth(np.log(f))))

    def crowding(self, frequency: ArrayLike, /) -> NDArray[np.float64]:
        """Return the resistance over that of a current spread evenly in a skin depth under both faces.

        About 2 for 5 mm of 35 µm copper at 34 MHz, more the thinner the strip.
        """
        sheet = self.resistivity / skin_depth(frequency, self.resistivity)
        return np.asarray(self.resistance(frequency) * 2.0 * self.width / sheet)

    def _solve(self, frequency: float) -> float:
        """Return the resistance in ohm/m at one frequency."""
        cell = _FIRST_CELL * float(skin_depth(frequency, self.resistivity))
        x, y = _graded(0.5 * self.width, cell), _graded(0.5 * self.thickness, cell)
        x0, y0 = (grid.ravel() for grid in np.meshgrid(x[:-1], y[:-1], indexing="ij"))
        x1, y1 = (grid.ravel() for grid in np.meshgrid(x[1:], y[1:], indexing="ij"))
        logs = _quarter_potential(x0, x1, y0, y1)
        # E = rho J + jω A with A = -mu0/2pi times the integral of J ln r, E = 1 V/m
        matrix = self.resistivity * np.eye(len(x0)) - 1j * frequency * float(mu_0) * logs
        density = np.linalg.solve(matrix, np.ones(len(x0)))
        quarter = complex(np.sum(density * (x1 - x0) * (y1 - y0)))
        return (1.0 / (4.0 * quarter)).real


def closed_form_resistance(frequency: ArrayLike, strip: Strip) -> NDArray[np.float64]:
    """Return the resistance in ohm/m of a wide thin strip, of the shape of ``frequency`` in Hz.

    Within 10 % where the strip is at least 1.5 skin depths thick and 25 times as wide.

    Notes
    -----
    Surface resistance / (pi² width) (pi + ln(4 pi width / thickness)): the edge-crowded current cut off at
    the thickness / 290.8 from the edge, Vainshtein and Zhurov, Sov. Tech. Phys. Lett. 2:298 (1976), Holloway
    and Kuester, Radio Sci. 29:539 (1994). Times (sinh t + sin t) / (cosh t - cos t) for a foil t skin depths
    thick, Dowell, Proc. IEE 113:1387 (1966).
    """
    depth = skin_depth(frequency, strip.resistivity)
    t = np.minimum(strip.thickness / depth, 30.0)
    foil = (np.sinh(t) + np.sin(t)) / (np.cosh(t) - np.cos(t))
    spread = (np.pi + np.log(4.0 * np.pi * strip.width / strip.thickness)) / (np.pi**2 * strip.width)
    return np.asarray(strip.resistivity / depth * spread * foil)


def _graded(half: float, first: float) -> NDArray[np.float64]:
    """Return cell edges from 0 to ``half``, the outermost cell about ``first`` wide, the others wider."""
    count = max(3, int(np.ceil(np.log1p(half * (_GROWTH - 1.0) / first) / np.log(_GROWTH))))
    sizes = _GROWTH ** np.arange(count)[::-1]
    return np.asarray(half * np.concatenate(((0.0,), np.cumsum(sizes))) / sizes.sum())


def _quarter_potential(
    x0: NDArray[np.float64], x1: NDArray[np.float64], y0: NDArray[np.float64], y1: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the integral of ln r over each cell and its three mirror images, from each cell's middle."""
    x, y = 0.5 * (x0 + x1)[:, None], 0.5 * (y0 + y1)[:, None]
    total = np.zeros((len(x0), len(x0)))
    for left, right in ((x0, x1), (-x1, -x0)):
        for low, high in ((y0, y1), (-y1, -y0)):
            total += _corner(right - x, high - y) - _corner(left - x, high - y)
            total -= _corner(right - x, low - y) - _corner(left - x, low - y)
    return total


def _corner(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the double integral of ln r over [0, x] x [0, y]."""
    across, along = np.abs(x), np.abs(y)
    angles = x**2 * np.arctan2(along, across) + y**2 * np.arctan2(across, along)
    return np.asarray(0.5 * (x * y * (np.log(x**2 + y**2) - 3.0) + np.sign(x * y) * angles))
