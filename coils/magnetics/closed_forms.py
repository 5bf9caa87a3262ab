"""Inductances that handbooks print: straight pieces, circles, rectangles, regular polygons, coaxial circles.

High-frequency (external) values: the current runs on the surface. At direct current a round wire adds
mu0/(8 pi) per metre. The terms left out are of the order (wire radius / size)².
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.constants import mu_0
from scipy.special import ellipe, ellipkm1

if TYPE_CHECKING:
    from collections.abc import Mapping

_MU0: Final = float(mu_0)
#: Grover, Inductance Calculations (1946), equations 60 to 64: constant added to ln(side / wire radius), less
#: the 1/4 of the current inside the wire.
_REGULAR: Final[Mapping[int, float]] = MappingProxyType(
    {3: -1.40546, 4: -0.77401, 5: -0.40914, 6: -0.15152, 8: 0.21198}
)


def straight_wire(length: float, wire_radius: float) -> float:
    """Return the partial inductance in H of a straight round wire (m).

    Rosa, Bull. Bur. Standards 4:301 (1908), equation 9, without the current inside.
    """
    _positive(length=length, wire_radius=wire_radius)
    x, w = length, wire_radius
    return _MU0 / (2.0 * np.pi) * float(x * np.arcsinh(x / w) - np.hypot(x, w) + w)


def straight_strip(length: float, width: float, thickness: float = 0.0) -> float:
    """Return the partial inductance in H of a flat strip (m) at low frequency, its current spread evenly.

    The geometric mean distance of the section is 0.2235 (width + thickness): Grover, chapter 3; at high
    frequency the current moves to the edges and ``strip_wire_radius`` (a quarter of the sum) takes its place.
    """
    _positive(length=length, width=width)
    perimeter = width + thickness
    return (
        _MU0 / (2.0 * np.pi) * length * float(np.log(2.0 * length / perimeter) + 0.5 + perimeter / length / 3)
    )


def circle(radius: float, wire_radius: float) -> float:
    """Return the inductance in H of a circle (m): mu0 a (ln(8a/w) - 2)."""
    _positive(radius=radius, wire_radius=wire_radius)
    return _MU0 * radius * float(np.log(8.0 * radius / wire_radius) - 2.0)


def rectangle(width: float, height: float, wire_radius: float) -> float:
    """Return the inductance in H of a rectangle (m).

    Grover (1946), equation 58, without the current inside.
    """
    _positive(width=width, height=height, wire_radius=wire_radius)
    a, b, w = width, height, wire_radius
    terms = a * np.log(2.0 * a / w) + b * np.log(2.0 * b / w)
    terms += -a * np.arcsinh(a / b) - b * np.arcsinh(b / a) - 2.0 * (a + b) + 2.0 * np.hypot(a, b)
    return _MU0 / np.pi * float(terms)


def regular_polygon(sides: int, side: float, wire_radius: float) -> float:
    """Return the inductance in H of a regular polygon of 3, 4, 5, 6 or 8 sides of ``side`` m.

    Raises
    ------
    ValueError
        Another number of sides; ``inductance.self_inductance`` takes any polygon.
    """
    _positive(side=side, wire_radius=wire_radius)
    if sides not in _REGULAR:
        raise ValueError(
            f"closed forms are known for 3, 4, 5, 6 and 8 sides, not {sides}; use self_inductance"
        )
    return _MU0 / (2.0 * np.pi) * sides * side * float(np.log(side / wire_radius) + _REGULAR[sides])


def coaxial_circles(one: float, other: float, distance: float) -> float:
    """Return the mutual inductance in H of two circles of given radii (m) on one axis.

    Maxwell, Treatise (1873), article 701: complete elliptic integrals of parameter 4ab/((a + b)² + z²).

    Raises
    ------
    ValueError
        A radius is not positive or the circles coincide.
    """
    _positive(one=one, other=other)
    outer, inner = (one + other) ** 2 + distance**2, (one - other) ** 2 + distance**2
    if inner == 0.0:
        raise ValueError("coincident circles have no finite mutual inductance; use the self inductance")
    m = 4.0 * one * other / outer
    k = np.sqrt(m)
    # ellipkm1 takes 1 - m, which is known exactly for close circles
    return _MU0 * float(
        np.sqrt(one * other) * ((2.0 / k - k) * ellipkm1(inner / outer) - 2.0 / k * ellipe(m))
    )


def _positive(**lengths: float) -> None:
    for name, value in lengths.items():
        if not value > 0.0:
            raise ValueError(f"{name.replace('_', ' ')} must be positive (m), got {value}")
