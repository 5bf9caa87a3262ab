"""Spherical harmonics and the expansion of harmonic fields in r^l Y_lm.

Orthonormal complex Y_lm with the Condon-Shortley phase, at index l(l+1)+m of the last axis.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil_fixtures.physics.arrays import Complex, Real


def spherical_harmonics(directions: Real, degree: int) -> Complex:
    """Return Y_lm for all l up to ``degree`` at unit vectors of shape (..., 3).

    Returns
    -------
    Shape (..., (degree + 1)^2).
    """
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    # (x + iy)^m is sin(theta)^m e^{im phi}: the recursion below then needs no angle and no pole.
    turn = x + 1j * y
    result = np.empty((*z.shape, (degree + 1) ** 2), dtype=np.complex128)
    sectoral = np.full(z.shape, 0.5 / np.sqrt(np.pi), dtype=np.complex128)
    for m in range(degree + 1):
        if m:
            sectoral = sectoral * turn * -np.sqrt((2 * m + 1) / (2 * m))
        previous, current = np.zeros_like(sectoral), sectoral
        for degree_l in range(m, degree + 1):
            if degree_l > m:
                previous, current = current, _next_degree(degree_l, m, z, current, previous)
            centre = degree_l * (degree_l + 1)
            result[..., centre + m] = current
            result[..., centre - m] = (-1) ** m * np.conj(current)
    return result


def _next_degree(degree: int, order: int, z: Real, current: Complex, previous: Complex) -> Complex:
    """Return the function of ``degree`` from the two below (DLMF 14.10.3, orthonormal form)."""
    square = degree * degree - order * order
    below = (degree - 1) ** 2 - order * order
    scale = np.sqrt((4.0 * degree * degree - 1.0) / square)
    lower = np.sqrt(below / (4.0 * (degree - 1) ** 2 - 1.0)) if below else 0.0
    return np.asarray(scale * (z * current - lower * previous))


@lru_cache(maxsize=4)
def sphere_quadrature(degree: int) -> tuple[Real, Real]:
    """Return unit vectors (point, 3) and weights (point,) exact for polynomials up to ``degree``.

    Gauss-Legendre in cos(theta), equal steps in phi.
    """
    cosine, weight = np.polynomial.legendre.leggauss(degree // 2 + 1)
    turns = degree + 1
    phi = 2.0 * np.pi * np.arange(turns) / turns
    sine = np.sqrt(1.0 - cosine**2)
    directions = np.stack(
        (
            np.outer(sine, np.cos(phi)),
            np.outer(sine, np.sin(phi)),
            np.repeat(cosine[:, None], turns, axis=1),
        ),
        axis=-1,
    )
    weights = np.repeat(weight[:, None] * (2.0 * np.pi / turns), turns, axis=1)
    return directions.reshape(-1, 3), weights.reshape(-1)


def project(
    field: Callable[[Real], Complex], centre: Real, radius: float, degree: int, margin: int = 24
) -> Complex:
    """Expand fields that are harmonic inside a ball, from their values on its surface.

    Parameters
    ----------
    field
        Maps points (point, 3) in m to values (point, channel).
    centre, radius
        The ball, m.
    degree
        Highest l kept.
    margin
        How many degrees beyond ``degree`` the quadrature tells apart from those kept.

    Returns
    -------
    Shape (channel, (degree + 1)^2): f(r) = sum c_lm (r/radius)^l Y_lm(r/|r|), r from the centre.
    """
    directions, weights = sphere_quadrature(2 * degree + margin)
    values = field(centre + radius * directions)
    conjugates = np.conj(spherical_harmonics(directions, degree)) * weights[:, None]
    return np.asarray(values.T @ conjugates)


def evaluate(coefficients: Complex, centre: Real, radius: float, points: Real) -> Complex:
    """Return expansions of shape (channel, (degree + 1)^2) at points (point, 3), as (channel, point)."""
    degree = int(np.sqrt(coefficients.shape[-1])) - 1
    offset = (points - centre) / radius
    distance = np.linalg.norm(offset, axis=1)
    unit = offset / np.where(distance == 0.0, 1.0, distance)[:, None]
    powers = distance[:, None] ** degrees(degree)
    return np.asarray(coefficients @ (spherical_harmonics(unit, degree) * powers).T)


def degrees(degree: int) -> Real:
    """Return l of every index l(l+1)+m up to ``degree``, shape ((degree + 1)^2,)."""
    return np.repeat(np.arange(degree + 1), 2 * np.arange(degree + 1) + 1).astype(np.float64)


def orders(degree: int) -> Real:
    """Return m of every index l(l+1)+m up to ``degree``, shape ((degree + 1)^2,)."""
    return np.concatenate([np.arange(-order, order + 1) for order in range(degree + 1)]).astype(np.float64)
