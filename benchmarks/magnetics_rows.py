"""Rows about geometry: inductances, noise resistances and fields of an array."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from table import Row, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coils.magnetics.loops import Loop

#: H/m.
_MU0: Final = 4e-7 * np.pi
#: Degrees of the plain expansion.
_DEGREES: Final = 16


def geometry() -> Row:
    """8 overlapped loops and a sphere to L and R at two frequencies: ours beside plain quadrature.

    The peer is the usual way to the same matrices: Neumann's double integral by Gauss-Legendre for all pairs,
    nodes closer than the wire radius, and Biot-Savart's field projected on spherical harmonics.
    """
    from coils.magnetics.arrays import cylinder_array
    from coils.magnetics.matrices import array_matrices
    from coils.magnetics.samples import Sphere
    from coils.magnetics.strip import Strip

    strip = Strip(5e-3)
    sphere = Sphere(0.085, 0.6)

    def loops() -> tuple[Loop, ...]:
        return cylinder_array(8, 0.12, 0.107, strip.wire_radius)

    def ours() -> object:
        return array_matrices(loops(), sphere, (33.8e6, 127.7e6), conductor=strip)

    def peer() -> object:
        nodes = [_quadrature(loop, 0.8 * strip.wire_radius) for loop in loops()]
        return _neumann(nodes, strip.wire_radius), _projected(loops(), sphere.radius)

    return compare(
        "geometry",
        "8 loops round a cylinder, sphere, 2 frequencies",
        ours,
        peer,
        "Gauss-Legendre Neumann + projection, numpy",
        repeats=3,
    )


def field() -> Row:
    """B of 8 loops of 96 pieces at 7664 points: ours beside np.cross under the integral (midpoints)."""
    from coils.magnetics.field import magnetic_field
    from coils.magnetics.loops import circle

    loops = [circle(0.05, 1e-3, vertices=96).moved((0.12, 0, 0)).turned(0.7 * place) for place in range(8)]
    points = np.random.default_rng(3).uniform(-0.08, 0.08, size=(7664, 3))

    def peer() -> object:
        fields = []
        for loop in loops:
            middles = loop.path + 0.5 * loop.segments
            total = np.zeros_like(points)
            for block in np.array_split(np.arange(len(points)), 32):
                r = points[block, None, :] - middles
                kernel = np.cross(loop.segments, r) / np.linalg.norm(r, axis=-1, keepdims=True) ** 3
                total[block] = kernel.sum(axis=1)
            fields.append(1e-7 * total)
        return fields

    return compare(
        "field",
        "8 x 96 pieces x 7664 points",
        lambda: magnetic_field(loops, points),
        peer,
        "np.cross Biot-Savart, midpoints",
        repeats=3,
    )


def _quadrature(loop: Loop, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    x, weight = np.polynomial.legendre.leggauss(4)
    points, elements = [], []
    for start, vector in zip(loop.path, loop.segments, strict=True):
        panels = max(1, int(np.ceil(np.linalg.norm(vector) / (4 * spacing))))
        places = (np.arange(panels)[:, None] + 0.5 * (1 + x)).ravel() / panels
        points.append(start + places[:, None] * vector)
        elements.append(np.tile(0.5 * weight, panels)[:, None] * vector / panels)
    return np.concatenate(points), np.concatenate(elements)


def _neumann(nodes: Sequence[tuple[np.ndarray, np.ndarray]], softening: float) -> np.ndarray:
    matrix = np.zeros((len(nodes), len(nodes)))
    for i, (p, dp) in enumerate(nodes):
        for j, (q, dq) in enumerate(nodes[: i + 1]):
            squared = np.full((len(p), len(q)), softening**2)
            for axis in range(3):
                squared += np.subtract.outer(p[:, axis], q[:, axis]) ** 2
            matrix[i, j] = matrix[j, i] = np.sum(dp @ dq.T / np.sqrt(squared))
    return _MU0 / (4 * np.pi) * matrix


def _projected(loops: Sequence[Loop], radius: float) -> np.ndarray:
    """Return the quasi-static R / ω² sigma from B_r on a sphere, 16 degrees."""
    from scipy.special import lpmv

    count = 2 * _DEGREES + 2
    cosine, weight = np.polynomial.legendre.leggauss(count)
    phi = np.arange(2 * count) * np.pi / count
    sine = np.sqrt(1 - cosine**2)
    unit = np.stack(
        np.broadcast_arrays(sine[:, None] * np.cos(phi), sine[:, None] * np.sin(phi), cosine[:, None]),
        axis=-1,
    )
    points = radius * unit.reshape(-1, 3)
    radial = np.empty((len(loops), count, 2 * count))
    for place, loop in enumerate(loops):
        nodes, elements = _quadrature(loop, 4e-3)
        total = np.zeros_like(points)
        for block in np.array_split(np.arange(len(points)), 32):
            r = points[block, None, :] - nodes
            kernel = np.cross(elements, r) / np.linalg.norm(r, axis=-1, keepdims=True) ** 3
            total[block] = 1e-7 * kernel.sum(axis=1)
        radial[place] = np.sum(total.reshape(unit.shape) * unit, axis=-1)
    spectrum = np.fft.rfft(radial, axis=2) * np.pi / count
    result = np.zeros((len(loops), len(loops)))
    for degree in range(1, _DEGREES + 1):
        for order in range(degree + 1):
            steps = np.arange(degree - order + 1, degree + order + 1, dtype=np.float64)
            norm = np.sqrt((2 * degree + 1) / (4 * np.pi) / np.prod(steps))
            moment = norm * spectrum[:, :, order] @ (weight * lpmv(order, degree, cosine)) / degree
            twice = 1 if order == 0 else 2
            scale = degree * radius**5 / ((degree + 1) * (2 * degree + 3))
            result += twice * scale * np.real(np.outer(moment, moment.conj()))
    return result


MAGNETICS_ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType(
    {"geometry": geometry, "field": field}
)
