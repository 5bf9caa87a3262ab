"""Spherical harmonics in columns of equal order, and spherical Bessel functions without their powers.

Orthonormal with the Condon-Shortley phase: Jackson, Classical Electrodynamics, 3rd ed., section 3.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Terms of the power series: 1/k! is below rounding.
_SERIES_TERMS: Final = 20


def legendre_column(
    order: int, degrees: int, cosine: NDArray[np.float64], sine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return Y_lm without its phase e^{jm phi}, for one order m >= 0 and l = m ... degrees.

    Parameters
    ----------
    order
        m.
    degrees
        Largest l.
    cosine, sine
        Of the polar angle, shape (direction,).

    Returns
    -------
    Shape (max(degrees - order + 1, 0), direction).
    """
    column = np.empty((max(degrees - order + 1, 0), len(cosine)))
    if len(column) == 0:
        return column
    steps = np.arange(1, order + 1)
    column[0] = (-1) ** order * np.sqrt(np.prod(1.0 + 0.5 / steps) / (4.0 * np.pi)) * sine**order
    for degree in range(order + 1, degrees + 1):
        place = degree - order
        factor = np.sqrt((4.0 * degree**2 - 1.0) / (degree**2 - order**2))
        np.multiply(column[place - 1], factor * cosine, out=column[place])
        if place > 1:
            below = np.sqrt(((degree - 1.0) ** 2 - order**2) / (4.0 * (degree - 1.0) ** 2 - 1.0))
            column[place] -= factor * below * column[place - 2]
    return column


def bare_bessel(degrees: int, squared: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return (2l + 1)!! j_l(z) / z^l for l = 0 ... degrees, from z² (any shape); 1 at z = 0.

    Abramowitz and Stegun, 10.1.2 far up, then downwards by 10.1.19, which is stable; shape (degree + 1, ...).
    """
    top = max(degrees, int(np.ceil(0.25 * float(np.max(np.abs(squared), initial=0.0)))))
    above, here = (_series(degree, squared) for degree in (top + 1, top))
    result = np.empty((degrees + 1, *squared.shape), dtype=np.complex128)
    for degree in range(top, -1, -1):
        if degree <= degrees:
            result[degree] = here
        # j_(l-1) = (2l + 1)/z j_l - j_(l+1)
        above, here = here, here - squared / ((2.0 * degree + 1.0) * (2.0 * degree + 3.0)) * above
    return result


def _series(degree: int, squared: NDArray[np.complex128]) -> NDArray[np.complex128]:
    total = np.ones(squared.shape, dtype=np.complex128)
    for k in range(_SERIES_TERMS, 0, -1):
        total = 1.0 - 0.5 * squared / (k * (2.0 * degree + 2.0 * k + 1.0)) * total
    return total
