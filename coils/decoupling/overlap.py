"""By how many millimetres to change an overlap or a gap so that two loops stop coupling.

Mutual inductance of two loops falls from that of coincident loops through zero (where one loop's return
flux cancels the other's direct flux) to a small negative value, and dies out with distance. A measured k says
where on that curve the loops really are; how far that is from zero is the advice. Only the mutual inductance
goes away: what two loops share through the sample's resistance stays.

The current's sense decides the sign: k is positive where the loops' currents, in the same sense, send flux
through each other in that sense. Loops on top of each other have k near 1; side by side they have k < 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.magnetics.inductance import mutual_inductance, self_inductance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from coils.magnetics.loops import Loop

#: Relative standard uncertainty of dk/dx of a thin-wire model of the loops: copper of finite width, bridges
#: and feeds are not in it (Kumar, Edelstein and Bottomley, Magn Reson Med 61:1201 (2009), find 10 % between
#: computed and measured coil parameters; taken as a rectangular distribution, 10 % / √3).
MODEL_UNCERTAINTY: Final = 0.06
#: Fewest positions that carry a cubic spline with a minimum in it.
_FEWEST_POSITIONS: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Travel:
    """Coupling of two loops over the way that one of them can be moved.

    Parameters
    ----------
    apart
        How much further apart than designed, in m, rising, shape (position,): less overlap, or a wider gap.
    k
        Signed coupling coefficient there, shape (position,).

    Raises
    ------
    ValueError
        Fewer than five positions, or not rising.
    """

    apart: NDArray[np.float64]
    k: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.apart.shape != self.k.shape or self.apart.ndim != 1 or self.apart.size < _FEWEST_POSITIONS:
            raise ValueError(f"a travel needs at least {_FEWEST_POSITIONS} positions with a k for each")
        if not np.all(np.diff(self.apart) > 0.0):
            raise ValueError("the positions of a travel must rise")

    def k_at(self, apart: float) -> tuple[float, float]:
        """Return k and its slope in 1/m at a position in m."""
        from scipy.interpolate import CubicSpline

        spline = CubicSpline(self.apart, self.k)
        return float(spline(apart)), float(spline(apart, 1))

    def positions_of(self, k: float) -> NDArray[np.float64]:
        """Return all positions in m with this k, rising; empty where there is none."""
        from scipy.interpolate import CubicSpline

        found = np.asarray(CubicSpline(self.apart, self.k).solve(k, extrapolate=False), dtype=np.float64)
        return np.sort(found[np.isfinite(found)])


@dataclass(frozen=True, slots=True)
class Move:
    """What to do at the bench.

    Parameters
    ----------
    apart
        How far to move the loops apart, in m; negative: closer, more overlap.
    uncertainty
        Standard, in m: of the measured k, of the model's slope, and of whether a displacement or another
        shape of the loops explains the measured k.
    k
        The coupling this starts from: the measured one with its sign, or one of both signs.
    target
        The coupling aimed at.
    slope
        dk/dx at the target in 1/m: how many millimetres the residual k is worth.
    offset
        How far the loops seem to be from where they were designed to be, in m.
    """

    apart: float
    uncertainty: float
    k: float
    target: float
    slope: float
    offset: float

    def window(self, k: float) -> float:
        """Return by how many m the final position may be off until ``|k - target|`` exceeds this k."""
        return abs(k / self.slope) if self.slope else math.inf

    def __str__(self) -> str:
        """Return the advice in words."""
        way = "apart (less overlap)" if self.apart > 0.0 else "closer (more overlap)"
        distance, doubt = abs(self.apart) * 1e3, self.uncertainty * 1e3
        return f"move {distance:.2f} mm {way}, ± {doubt:.2f} mm, if k = {self.k:+.4f}"


def coupling_along(
    pair_at: Callable[[float], tuple[Loop, Loop]], apart: ArrayLike, *, clearance: float | None = None
) -> Travel:
    """Compute the coupling of two loops along a travel.

    Parameters
    ----------
    pair_at
        Both loops for a position in m further apart than designed. For flat loops ``lambda x: (one,
        other.moved((x, 0, 0)))``; on a cylinder ``lambda x: (one, other.turned(x / radius))``; where a ring
        of loops keeps its pitch, both made narrower by x.
    apart
        Positions in m, rising, at least five.
    clearance
        Of crossing conductors in m, see `coils.magnetics.inductance.mutual_inductance`.
    """
    places = np.asarray(apart, dtype=np.float64)
    k = np.empty(places.shape)
    known: dict[bytes, float] = {}
    for index, place in enumerate(places):
        pair = pair_at(float(place))
        product = 1.0
        for loop in pair:
            shape = np.linalg.norm(loop.path[:, None] - loop.path[None, :], axis=-1).round(9).tobytes()
            if shape not in known:
                known[shape] = self_inductance(loop)
            product *= known[shape]
        k[index] = mutual_inductance(*pair, clearance=clearance) / math.sqrt(product)
    return Travel(places, k)


def advise_move(
    travel: Travel,
    k: float,
    *,
    uncertainty: float,
    sign_known: bool,
    target: float = 0.0,
    model_uncertainty: float = MODEL_UNCERTAINTY,
) -> tuple[Move, ...]:
    """Say how to move two loops to reach a coupling.

    Parameters
    ----------
    travel
        As designed: position 0 is where the loops should be.
    k
        Measured, at the nucleus' frequency.
    uncertainty
        Standard, of k.
    sign_known
        False: the sign of k is ignored and both are tried.
    target
        Coupling aimed at.
    model_uncertainty
        Relative, of the travel's slope.

    Returns
    -------
    One move, or two for the two signs; the one that supposes the smaller displacement from the design first.
    Make a quarter of the first and measure again: if the coupling grew, it is the other.

    Raises
    ------
    MeasurementError
        No position of the travel has such a k, or none reaches the target; the text says what can be reached.
    """
    moves = [
        move
        for signed in ([k] if sign_known else [abs(k), -abs(k)])
        if (move := _move(travel, signed, uncertainty, target, model_uncertainty)) is not None
    ]
    if not moves:
        low, high = float(travel.k.min()), float(travel.k.max())
        raise MeasurementError(
            f"k = {k:+.4f} to {target:+.4f} is not on this travel, which spans k = {low:+.4f} to "
            f"{high:+.4f}: let the loops travel further, change their width, or use a network"
        )
    return tuple(sorted(moves, key=lambda move: abs(move.offset)))


def _move(
    travel: Travel, k: float, uncertainty: float, target: float, model_uncertainty: float
) -> Move | None:
    """Return the move from k to the target, or None where the travel has no such k."""
    here, there = travel.positions_of(k), travel.positions_of(target)
    if not (here.size and there.size):
        return None
    offset = float(here[np.argmin(np.abs(here))])
    wanted = float(there[np.argmin(np.abs(there - offset))])
    apart = wanted - offset
    # The same k may come from loops in place whose shape differs: then the whole curve is shifted in k.
    shifted = travel.positions_of(target + travel.k_at(0.0)[0] - k)
    other = float(shifted[np.argmin(np.abs(shifted))]) if shifted.size else apart
    slope_here, slope = travel.k_at(offset)[1], travel.k_at(wanted)[1]
    parts = (
        uncertainty / abs(slope_here) if slope_here else math.inf,
        model_uncertainty * apart,
        0.5 * (apart - other),
    )
    return Move(apart, math.hypot(*parts), k, target, slope, offset)
