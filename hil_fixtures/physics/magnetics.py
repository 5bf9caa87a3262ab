"""Inductances and fields of thin conductors by direct integration; magnetoquasistatic, in air.

True: closed filaments of any shape given as quadrature nodes. Not true: displacement currents, so
nothing here knows a wavelength (the sample's own wave effects are in ``sample``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.constants import mu_0

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Real

#: Vacuum permeability in H/m, CODATA 2018 as scipy carries it.
MU_0: Final = float(mu_0)

#: Point-node pairs handled at once: keeps the work in the processor's cache.
_BLOCK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Filament:
    """A closed thin conductor as quadrature nodes.

    Parameters
    ----------
    points
        Shape (node, 3), m.
    elements
        Shape (node, 3): tangent times quadrature weight, m. They add up to zero.
    """

    points: Real
    elements: Real


def mutual_inductance(one: Filament, other: Filament, distance: float = 0.0) -> float:
    """Return the mutual inductance in H by Neumann's integral.

    Parameters
    ----------
    one, other
        Conductors that nowhere come closer than a few node spacings, unless ``distance`` keeps them apart.
    distance
        Separation in m normal to both, for conductors that cross on a bridge.

    Notes
    -----
    Neumann (1845); M = mu0/4pi sum (dl . dl') / sqrt(r^2 + distance^2).
    """
    total = 0.0
    rows = max(1, _BLOCK // len(other.points))
    for begin in range(0, len(one.points), rows):
        block = slice(begin, begin + rows)
        squared = np.full((len(one.points[block]), len(other.points)), distance**2)
        for axis in range(3):
            squared += np.subtract.outer(one.points[block, axis], other.points[:, axis]) ** 2
        total += float(np.sum((one.elements[block] @ other.elements.T) / np.sqrt(squared)))
    return MU_0 / (4.0 * np.pi) * total


def self_inductance(filament: Filament, wire_radius: float) -> float:
    """Return the high-frequency self inductance in H of a conductor of circular section.

    The softened kernel 1/sqrt(r^2 + a^2) puts one current on the axis and the other on the surface
    (Dengler, arXiv:1204.1486); the node spacing must be below the wire radius.
    """
    return mutual_inductance(filament, filament, wire_radius)


def magnetic_field(filament: Filament, points: Real) -> Real:
    """Return the flux density in T per A, shape (point, 3), at ``points`` of shape (point, 3) in m.

    Notes
    -----
    Biot-Savart: B = mu0/4pi sum dl x r / r^3.
    """
    field = np.empty((len(points), 3))
    rows = max(1, _BLOCK // len(filament.points))
    along = filament.elements
    for begin in range(0, len(points), rows):
        block = slice(begin, begin + rows)
        x, y, z = (np.subtract.outer(points[block, axis], filament.points[:, axis]) for axis in range(3))
        weight = (x**2 + y**2 + z**2) ** -1.5
        x, y, z = x * weight, y * weight, z * weight
        field[block, 0] = z @ along[:, 1] - y @ along[:, 2]
        field[block, 1] = x @ along[:, 2] - z @ along[:, 0]
        field[block, 2] = y @ along[:, 0] - x @ along[:, 1]
    return MU_0 / (4.0 * np.pi) * field
