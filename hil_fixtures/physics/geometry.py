"""Where the conductors run: equal rectangular loops, overlapped like shingles on a cylinder around z.

All loops are one loop turned about z, so every matrix of the ideal array is circulant. Filaments stand
for flat strips; where loops cross, a bridge keeps them ``BRIDGE`` apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import root_scalar

from hil_fixtures.physics.magnetics import Filament, mutual_inductance, self_inductance

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Real

#: Distance in m between crossing conductors: one insulated strip over another.
BRIDGE: Final = 3e-3

#: Nodes per side for integrals whose kernel is as narrow as the conductor.
_NODES_NEAR: Final = 160

#: Nodes per side for fields inside the sample, at least 4 cm from any conductor.
NODES_FAR: Final = 32


@dataclass(frozen=True, slots=True)
class LoopArray:
    """Equal loops on a cylinder.

    Parameters
    ----------
    count
        Number of loops.
    radius
        Of the cylinder, m.
    height
        Along z, m.
    width
        Along the circumference, m.
    strip_width
        Of the copper, m; a thin strip acts as a round wire whose radius is a quarter of its width.
    """

    count: int
    radius: float
    height: float
    width: float
    strip_width: float

    @property
    def wire_radius(self) -> float:
        """Radius in m of the round wire with the strip's inductance."""
        return self.strip_width / 4.0

    @property
    def conductor_length(self) -> float:
        """Length of one loop's conductor in m."""
        return 2.0 * (self.width + self.height)

    def azimuth(self, loop: int) -> float:
        """Return the angle in rad of a loop's centre (counted from 0) about z."""
        return 2.0 * np.pi * loop / self.count

    def filament(self, loop: int, nodes: int = NODES_FAR) -> Filament:
        """Return a loop (counted from 0) as Gauss-Legendre nodes, ``nodes`` to a side.

        A positive current turns counter-clockwise seen from outside, so its field points outward.
        """
        abscissa, weight = np.polynomial.legendre.leggauss(nodes)
        half_angle = 0.5 * self.width / self.radius
        half_height = 0.5 * self.height
        centre = self.azimuth(loop)
        points: list[Real] = []
        elements: list[Real] = []
        for sign in (1.0, -1.0):
            angle = centre + sign * half_angle * abscissa
            points.append(_on_cylinder(self.radius, angle, np.full(nodes, -sign * half_height)))
            tangent = np.stack((-np.sin(angle), np.cos(angle), np.zeros(nodes)), axis=1)
            elements.append(tangent * (sign * 0.5 * self.width * weight)[:, None])
            side = np.full(nodes, centre + sign * half_angle)
            points.append(_on_cylinder(self.radius, side, sign * half_height * abscissa))
            upward = np.zeros((nodes, 3))
            upward[:, 2] = sign * half_height * weight
            elements.append(upward)
        return Filament(np.concatenate(points), np.concatenate(elements))


def _on_cylinder(radius: float, angle: Real, height: Real) -> Real:
    return np.stack((radius * np.cos(angle), radius * np.sin(angle), height), axis=1)


@lru_cache(maxsize=8)
def overlapped_array(
    count: int = 8, radius: float = 0.12, height: float = 0.11, strip_width: float = 10e-3
) -> LoopArray:
    """Return the array whose nearest neighbours do not couple, by choice of the loops' width.

    Roemer et al., Magn Reson Med 16:192 (1990): overlap nulls the mutual inductance of neighbours.

    Raises
    ------
    ValueError
        No width between 1.01 and 1.5 pitches decouples the neighbours.
    """
    pitch = 2.0 * np.pi * radius / count

    def coupling(width: float) -> float:
        array = LoopArray(count, radius, height, width, strip_width)
        return mutual_inductance(
            array.filament(0, _NODES_NEAR // 2), array.filament(1, _NODES_NEAR // 2), BRIDGE
        )

    width = float(root_scalar(coupling, bracket=(1.01 * pitch, 1.5 * pitch), xtol=1e-7).root)
    return LoopArray(count, radius, height, width, strip_width)


@lru_cache(maxsize=8)
def inductance_by_distance(array: LoopArray) -> tuple[float, ...]:
    """Return the self inductance and those between loops 1, 2, ... places apart, in H."""
    first = array.filament(0, _NODES_NEAR)
    return (
        self_inductance(first, array.wire_radius),
        *(
            mutual_inductance(first, array.filament(place, _NODES_NEAR), BRIDGE)
            for place in range(1, array.count // 2 + 1)
        ),
    )
