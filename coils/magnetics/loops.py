"""Closed thin conductors: polygons in space, with the radius of the round wire that they act like.

Inductances and fields are exact for these polygons; a curve is as good as its vertices. Loops are built in
the xy-plane around the origin, facing +z (a positive current turns counter-clockwise seen from there), then
bent, turned and moved into place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.polynomial.legendre import leggauss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

#: Angle in rad that one straight piece spans on a bent loop: its middle is 1e-4 of the radius too deep.
_BEND_STEP: Final = 0.03
#: Gauss-Legendre nodes of a panel as long as the asked spacing: 1e-10 of a 1/r kernel at that distance.
_NODES_PER_SPACING: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A closed conductor that carries one current.

    Parameters
    ----------
    path
        Corners in the direction of positive current, shape (vertex, 3), m; the last one joins the first.
    wire_radius
        Of the round wire with the same external inductance, m; see ``strip_wire_radius``.

    Raises
    ------
    ValueError
        Fewer than three corners, repeated corners, not finite, or no positive radius.
    """

    path: NDArray[np.float64]
    wire_radius: float

    def __post_init__(self) -> None:
        path = np.array(self.path, dtype=np.float64)
        if path.ndim != 2 or path.shape[0] < 3 or path.shape[1] != 3:
            raise ValueError(f"a loop needs at least 3 corners, shape (vertex, 3); got shape {path.shape}")
        if not np.all(np.isfinite(path)):
            raise ValueError("a loop's corners must be finite numbers in m")
        lengths = np.linalg.norm(np.roll(path, -1, axis=0) - path, axis=1)
        if np.any(lengths == 0.0):
            place = int(np.argmin(lengths))
            raise ValueError(f"corner {place} is repeated; give each corner once, the path closes itself")
        if not (np.isfinite(self.wire_radius) and self.wire_radius > 0.0):
            raise ValueError(f"the wire radius must be positive (m), got {self.wire_radius}")
        path.setflags(write=False)
        object.__setattr__(self, "path", path)

    @property
    def segments(self) -> NDArray[np.float64]:
        """Vectors from each corner to the next, shape (vertex, 3), m; they add up to zero."""
        return np.asarray(np.roll(self.path, -1, axis=0) - self.path)

    @property
    def length(self) -> float:
        """Length of the conductor in m."""
        return float(np.linalg.norm(self.segments, axis=1).sum())

    @property
    def area(self) -> NDArray[np.float64]:
        """Area vector in m², shape (3,): magnetic moment per current."""
        return np.asarray(0.5 * np.cross(self.path, self.segments).sum(axis=0))

    def moved(self, offset: ArrayLike) -> Loop:
        """Return the loop shifted by ``offset``, shape (3,), m."""
        return Loop(self.path + np.asarray(offset, dtype=np.float64), self.wire_radius)

    def turned(self, angle: float, axis: ArrayLike = (0.0, 0.0, 1.0)) -> Loop:
        """Return the loop turned by ``angle`` rad about an axis through the origin, right-handed."""
        unit = np.asarray(axis, dtype=np.float64)
        unit = unit / np.linalg.norm(unit)
        along = (self.path @ unit)[:, None] * unit
        across = self.path - along
        turned = along + np.cos(angle) * across + np.sin(angle) * np.cross(unit, across)
        return Loop(turned, self.wire_radius)

    def nodes(self, spacing: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return Gauss-Legendre nodes for integrals along the path.

        Parameters
        ----------
        spacing
            Distance in m over which the integrand changes, such as that to the nearest point of interest.

        Returns
        -------
        Points and elements (tangent times weight), each of shape (node, 3), m.
        """
        points, elements = [], []
        for start, vector in zip(self.path, self.segments, strict=True):
            share = float(np.linalg.norm(vector)) / spacing
            panels = max(1, int(np.ceil(share)))
            abscissae, weights = _gauss(2 + int(np.ceil((_NODES_PER_SPACING - 2) * share / panels)))
            places = (np.arange(panels)[:, None] + 0.5 * (1.0 + abscissae)).ravel() / panels
            points.append(start + places[:, None] * vector)
            elements.append(np.tile(0.5 * weights, panels)[:, None] * (vector / panels))
        return np.concatenate(points), np.concatenate(elements)


@lru_cache(maxsize=_NODES_PER_SPACING)
def _gauss(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    abscissae, weights = leggauss(count)
    return np.asarray(abscissae), np.asarray(weights)


def strip_wire_radius(width: float, thickness: float = 0.0) -> float:
    """Return the radius in m of the round wire that acts like a flat strip (both in m).

    Raises
    ------
    ValueError
        The width is not positive or the thickness negative.

    Notes
    -----
    At high frequency the geometric mean distance of a thin strip from itself is the radius of its conformal
    image, width / 4; (width + thickness) / 4 continues it to finite thickness. Smythe, Static and Dynamic
    Electricity, 3rd ed. (1968), section 4.22.
    """
    if width <= 0.0 or thickness < 0.0:
        raise ValueError(
            f"a strip needs a positive width and no negative thickness, got {width}, {thickness}"
        )
    return 0.25 * (width + thickness)


def circle(radius: float, wire_radius: float, *, vertices: int = 180) -> Loop:
    """Return a circle of ``radius`` m in the xy-plane, as a polygon of the same area.

    Raises
    ------
    ValueError
        The radius is not positive or there are fewer than 3 vertices.
    """
    if radius <= 0.0 or vertices < 3:
        raise ValueError(f"a circle needs a positive radius and 3 vertices, got {radius} m, {vertices}")
    step = 2.0 * np.pi / vertices
    angle = step * np.arange(vertices)
    outer = radius * np.sqrt(step / np.sin(step))
    return Loop(
        np.stack((outer * np.cos(angle), outer * np.sin(angle), np.zeros(vertices)), axis=1), wire_radius
    )


def rectangle(width: float, height: float, wire_radius: float) -> Loop:
    """Return a rectangle, ``width`` m along x and ``height`` m along y, in the xy-plane.

    Raises
    ------
    ValueError
        A side is not positive.
    """
    if width <= 0.0 or height <= 0.0:
        raise ValueError(f"a rectangle needs positive sides, got {width} m x {height} m")
    x, y = 0.5 * width, 0.5 * height
    return polygon(((-x, -y), (x, -y), (x, y), (-x, y)), wire_radius)


def polygon(corners: Sequence[Sequence[float]] | NDArray[np.float64], wire_radius: float) -> Loop:
    """Return a polygon in the xy-plane; ``corners`` has the shape (vertex, 2), m.

    Raises
    ------
    ValueError
        The corners are not pairs, or not a loop.
    """
    flat = np.asarray(corners, dtype=np.float64)
    if flat.ndim != 2 or flat.shape[1] != 2:
        raise ValueError(f"corners in the plane have the shape (vertex, 2), got {flat.shape}")
    return Loop(np.column_stack((flat, np.zeros(len(flat)))), wire_radius)


def bend(loop: Loop, radius: float, *, angle: float = 0.0, z: float = 0.0) -> Loop:
    """Return a flat loop wrapped onto a cylinder around the z axis, facing outwards.

    Parameters
    ----------
    loop
        In the xy-plane: its x becomes the way round the circumference, its y the way along z.
    radius
        Of the cylinder, m.
    angle
        Azimuth in rad where the loop's x = 0 comes to lie.
    z
        Height in m where the loop's y = 0 comes to lie.

    Raises
    ------
    ValueError
        The loop is not flat, does not fit round the cylinder, or the radius is not positive.
    """
    if radius <= 0.0:
        raise ValueError(f"the cylinder's radius must be positive (m), got {radius}")
    if float(np.max(np.abs(loop.path[:, 2]))) > 1e-9 * loop.length:
        raise ValueError("only a loop in the xy-plane can be bent; turn and move it after bending")
    if float(np.ptp(loop.path[:, 0])) >= 2.0 * np.pi * radius:
        raise ValueError(f"the loop is wider than the circumference of a cylinder of {radius} m radius")
    flat = []
    for start, vector in zip(loop.path, loop.segments, strict=True):
        pieces = max(1, int(np.ceil(abs(vector[0]) / (radius * _BEND_STEP))))
        flat.append(start + np.arange(pieces)[:, None] / pieces * vector)
    around, along, _ = np.concatenate(flat).T
    azimuth = angle + around / radius
    return Loop(
        np.stack((radius * np.cos(azimuth), radius * np.sin(azimuth), z + along), axis=1), loop.wire_radius
    )
