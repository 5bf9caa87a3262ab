"""Fields of loops in air by Biot-Savart, and the one place where B1- and B1+ are defined.

Phasors turn as e^{+jωt}. The z axis points so that spins precess counter-clockwise about it (for a positive
gyromagnetic ratio: against B0). A spin's transverse magnetisation is then the phasor M (1, -j), and a loop
of sensitivity (Bx, By) per unit current hears -jω M (Bx - jBy): reciprocity. A transmitted field (Bx, By)
tips spins with its counter-clockwise part, (Bx + jBy) / 2. So the phasor field (1, -j) is all B1+, and (1, j)
all B1-. Hoult, Concepts Magn. Reson. 12:173 (2000).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.constants import mu_0

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from coils.magnetics.loops import Loop

#: Points times corners handled at once, so that the work stays in a processor's cache.
_BLOCK: Final = 1 << 15


def receive_field(field: NDArray[np.float64] | NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return B1- = (Bx - jBy) / 2 of a field per unit current, shape (..., 3) to (...).

    The emf of a spin with the magnetic moment phasor m (1, -j) is -2jω m B1-.
    """
    return np.asarray(0.5 * (field[..., 0] - 1j * field[..., 1]), dtype=np.complex128)


def transmit_field(field: NDArray[np.float64] | NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return B1+ = (Bx + jBy) / 2 of a field per unit current, shape (..., 3) to (...)."""
    return np.asarray(0.5 * (field[..., 0] + 1j * field[..., 1]), dtype=np.complex128)


def magnetic_field(loops: Sequence[Loop], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the flux density of each loop per unit current.

    Parameters
    ----------
    loops
        The conductors.
    points
        Shape (..., 3), m.

    Returns
    -------
    Shape (loop, ..., 3), T/A. Not a number where a point lies inside a conductor (nearer to the axis than the
    wire radius): the field there depends on the section.

    Raises
    ------
    ValueError
        The points do not have three coordinates.

    Notes
    -----
    Exact for straight pieces: a piece L seen from its ends at the distances a and b adds
    mu0/4pi (L x a) 2 (a + b) / (a b ((a + b)² - L²)), from Biot-Savart's integral along L.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.shape[-1:] != (3,):
        raise ValueError(f"points need the shape (..., 3), got {points.shape}")
    flat = points.reshape(-1, 3)
    field = np.empty((len(loops), len(flat), 3))
    for loop, out in zip(loops, field, strict=True):
        centre = loop.path.mean(axis=0)
        corners, segments = loop.path - centre, loop.segments
        right = np.concatenate((segments, np.cross(corners, segments)), axis=1)
        rows = max(1, _BLOCK // len(corners))
        for begin in range(0, len(flat), rows):
            block = flat[begin : begin + rows] - centre
            sums = _weights(block, corners, segments, loop.wire_radius) @ right
            out[begin : begin + rows] = np.cross(sums[:, :3], block) + sums[:, 3:]
    field *= float(mu_0) / (4.0 * np.pi)
    return field.reshape(len(loops), *points.shape)


def _weights(
    points: NDArray[np.float64],
    corners: NDArray[np.float64],
    segments: NDArray[np.float64],
    wire_radius: float,
) -> NDArray[np.float64]:
    """Return 2 (a + b) / (a b ((a + b)² - L²)), shape (point, segment); nan inside the conductor."""
    squared = points @ (-2.0 * corners.T)
    squared += np.einsum("ij,ij->i", points, points)[:, None]
    squared += np.einsum("ij,ij->i", corners, corners)
    a = np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)
    total = np.empty_like(a)
    np.add(a[:, :-1], a[:, 1:], out=total[:, :-1])
    np.add(a[:, -1], a[:, 0], out=total[:, -1])
    excess = total * total
    excess -= np.einsum("ij,ij->i", segments, segments)
    # (a + b)² = L² + 4 w² is the ellipsoid about the piece with the wire radius w as its small half axis
    if excess.min(initial=np.inf) < 4.0 * wire_radius**2:
        excess[excess < 4.0 * wire_radius**2] = np.nan
    excess[:, :-1] *= a[:, 1:]
    excess[:, -1] *= a[:, 0]
    excess *= a
    np.divide(total, excess, out=excess)
    excess *= 2.0
    return np.asarray(excess)
