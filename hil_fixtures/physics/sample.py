"""What a conducting dielectric sphere in the middle does to the loops: losses, noise coupling, detuning.

True: the sphere's full-wave magnetic (TE) response to the loops' quasi-static field, any conductivity.
Not true: the loops' electric (capacitive) coupling to the sphere, and waves outside it.

Notes
-----
Each loop's field inside is B = -grad sum a_lm r^l Y_lm. A sphere of radius R answers with
b_lm = a_lm R^(2l+1) l/(l+1) j_{l+1}(x)/j_{l-1}(x), x = kR, k^2 = omega mu0 (omega eps - j sigma)
(Jackson, Classical Electrodynamics, 3rd ed., sections 5.18 and 9.7), and by reciprocity

    dZ_ij = j omega / mu0 sum_lm a_lm^i conj(a_lm^j) (2l+1) l/(l+1) R^(2l+1) j_{l+1}(x)/j_{l-1}(x).

At low frequency its real part is omega^2 sigma sum a a* l/((l+1)(2l+3)) R^(2l+3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.constants import epsilon_0

from hil_fixtures.physics.harmonics import degrees, orders, project
from hil_fixtures.physics.magnetics import MU_0, magnetic_field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hil_fixtures.physics.arrays import Complex, Real
    from hil_fixtures.physics.geometry import LoopArray

#: Highest multipole kept: (8 cm / 12 cm)^(2*18) is below 1e-6.
MULTIPOLES: Final = 18

#: Vacuum permittivity in F/m, CODATA 2018 as scipy carries it.
EPSILON_0: Final = float(epsilon_0)


@dataclass(frozen=True, slots=True)
class Load:
    """A sphere at the origin.

    Parameters
    ----------
    radius
        m.
    conductivity
        S/m; 0 together with ``permittivity`` 1 is an empty array.
    permittivity
        Relative.
    """

    radius: float
    conductivity: float
    permittivity: float


@lru_cache(maxsize=8)
def multipole_overlaps(array: LoopArray, radius: float) -> Real:
    """Return sum_m a_lm^0 conj(a_lm^n) R^(2l+1) (T^2 m^3 / A^2) for loops n places apart.

    Returns
    -------
    Shape (MULTIPOLES, count // 2 + 1): l = 1 ... by place.
    """
    filament = array.filament(0)

    def radial_field(points: Real) -> Complex:
        field = magnetic_field(filament, points)
        return np.asarray(np.sum(field * points, axis=1, keepdims=True) / radius + 0j)

    surface = project(radial_field, np.zeros(3), radius, MULTIPOLES)[0]
    degree = degrees(MULTIPOLES)
    # B_r = -sum l a_lm r^(l-1) Y_lm, hence |a_lm|^2 R^(2l+1) = |surface|^2 R^3 / l^2.
    strength = np.abs(surface[1:]) ** 2 * radius**3 / degree[1:] ** 2
    places = np.arange(array.count // 2 + 1)
    turns = np.cos(np.outer(orders(MULTIPOLES)[1:], 2.0 * np.pi * places / array.count))
    overlaps = np.zeros((MULTIPOLES, len(places)))
    np.add.at(overlaps, degree[1:].astype(np.intp) - 1, strength[:, None] * turns)
    return overlaps


def bessel_ratios(argument: Complex, count: int) -> Complex:
    """Return j_{l+1}(x)/j_{l-1}(x) for l = 1 ... ``count``, shape (count, *x.shape).

    Downward recurrence of j_l/j_{l-1} (DLMF 10.51.1), stable for every complex x; the limit at 0 is 0.
    """
    x = np.where(argument == 0.0, 1e-150, argument)
    start = count + 24 + int(np.max(np.abs(x), initial=0.0))
    ratio = x / (2 * start + 1)
    ratios = np.empty((count + 1, *x.shape), dtype=np.complex128)
    for degree in range(start - 1, 0, -1):
        ratio = 1.0 / ((2 * degree + 1) / x - ratio)
        if degree <= count + 1:
            ratios[degree - 1] = ratio
    return np.asarray(ratios[1:] * ratios[:-1])


def sample_impedance(array: LoopArray, load: Load, frequencies: Real) -> Complex:
    """Return the impedance that the load adds to the loops, in ohm.

    Parameters
    ----------
    frequencies
        Shape (frequency,), Hz.

    Returns
    -------
    Shape (frequency, loop, loop).
    """
    by_place = np.einsum(
        "lf,lp->fp", multipole_answers(load, frequencies), multipole_overlaps(array, load.radius)
    )
    return np.asarray(by_place[:, places_apart(array.count)])


def multipole_answers(load: Load, frequencies: Real) -> Complex:
    """Return the impedance that one unit of overlap between two loops gives by each multipole.

    Parameters
    ----------
    frequencies
        Shape (frequency,), Hz.

    Returns
    -------
    Shape (MULTIPOLES, frequency), ohm / (T^2 m^3 / A^2); for overlaps as `multipole_overlaps` has them.
    """
    omega = 2.0 * np.pi * frequencies
    ratios = _magnetic_answers(omega, load.permittivity, load.conductivity, load.radius)
    # In air the same sphere would answer too (the displacement current of its own volume): take it off.
    air = _magnetic_answers(omega, 1.0, 0.0, load.radius)
    degree = np.arange(1, MULTIPOLES + 1)
    weight = (2 * degree + 1) * degree / (degree + 1) / MU_0
    return np.asarray(1j * omega * (ratios - air) * weight[:, None])


def _magnetic_answers(omega: Real, permittivity: float, conductivity: float, radius: float) -> Complex:
    relative = permittivity - 1j * conductivity / (omega * EPSILON_0)
    argument = omega * np.sqrt(MU_0 * EPSILON_0 * relative) * radius
    return bessel_ratios(np.asarray(argument, dtype=np.complex128), MULTIPOLES)


def places_apart(count: int) -> NDArray[np.intp]:
    """Return how many places apart loops i and j are, an index array of shape (count, count)."""
    difference = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    return np.asarray(np.minimum(difference, count - difference))
