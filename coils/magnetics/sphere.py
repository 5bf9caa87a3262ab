"""Loops around a conducting sphere: noise resistance matrix and fields inside, wave effects included.

Inside, a loop's vector potential is the sum of mu0 / (2l + 1) I_lm f_l(r) X_lm with the vector spherical
harmonics X_lm and I_lm the integral of dl . X*_lm / r^(l+1) along the loop: these transverse terms alone
drive currents (E = -jωA has no radial part, so no charge appears). In the quasi-static limit f_l = r^l; in
full it is the spherical Bessel function that continues r^l plus a scattered r^-(l+1) outside, where the wave
is neglected.

Keltner et al., Magn. Reson. Med. 22:467 (1991), for the expansion; Jackson, Classical Electrodynamics,
3rd ed., section 9.7, for X_lm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.constants import mu_0

from coils.magnetics.harmonics import bare_bessel, legendre_column
from coils.magnetics.samples import wavenumber

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from coils.magnetics.loops import Loop
    from coils.magnetics.samples import Sphere

#: Share of a loop's resistance that the degrees left out may carry; of its field at the surface, the root.
_TAIL: Final = 1e-9
#: More degrees than this mean a conductor within 5 % of the radius from the surface.
_MOST_DEGREES: Final = 220
#: |Im (kR)²| below which the factor of a smaller loss is that of this one: rounding is 1e-9 there.
_LEAST_LOSS: Final = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Multipoles:
    """What loops send into a sphere.

    Parameters
    ----------
    sphere
        Where it is expanded.
    moments
        Shape (loop, degree, order), T m/A: of A at the surface in X_lm, for l = 1, 2, ... and m = 0, 1, ...;
        the terms of m and -m add up to twice the real part of one.
    """

    sphere: Sphere
    moments: NDArray[np.complex128]

    def resistance(self, frequency: ArrayLike, *, full_wave: bool = True) -> NDArray[np.float64]:
        """Return the noise resistance matrices in ohm, shape (frequency, loop, loop), of frequencies in Hz.

        The quasi-static matrix (``full_wave`` off) grows as frequency² without limit; for loops around a head
        of water it is 3 % low at 34 MHz and 39 % low at 128 MHz.
        """
        frequencies = np.atleast_1d(np.asarray(frequency, dtype=np.float64))
        degrees = np.arange(1, self.moments.shape[1] + 1)
        doubled = self.moments.copy()
        doubled[..., 1:] *= 2.0
        products = np.einsum("ilm,jlm->lij", doubled, self.moments.conj(), optimize=True).real
        weights = np.ones((len(frequencies), len(degrees)))
        if full_wave:
            weights = full_wave_factor(self.sphere, frequencies, len(degrees))
        weights *= self.sphere.conductivity * self.sphere.radius**3 / (2.0 * degrees + 3.0)
        omega = 2.0 * np.pi * frequencies
        return np.asarray(omega[:, None, None] ** 2 * np.tensordot(weights, products, 1))

    def field(
        self, points: NDArray[np.float64], frequency: float, *, full_wave: bool = True
    ) -> NDArray[np.complex128]:
        """Return the flux density per unit current inside the sphere, shape (loop, ..., 3), T/A.

        Parameters
        ----------
        points
            Shape (..., 3), m.
        frequency
            Hz.
        full_wave
            Off: as in air, what Biot-Savart gives.

        Raises
        ------
        ValueError
            A point lies outside the sphere.

        Notes
        -----
        Converges as (r / distance of the conductor)^l: 1e-4 near the surface, better inside.
        """
        points = np.asarray(points, dtype=np.float64)
        unit, r = self._polar(points.reshape(-1, 3))
        radial, tangential = self._radial_functions(r, frequency if full_wave else 0.0)
        degrees = self.moments.shape[1]
        outward = np.zeros((len(self.moments), len(r)), dtype=np.complex128)
        around = np.zeros((len(self.moments), 3 * len(r)), dtype=np.complex128)
        for order, harmonic, vectors in _vector_harmonics(unit, degrees):
            first = max(order, 1) - 1
            moment = self.moments[:, first:, order] * (1.0 if order == 0 else 2.0)
            # the real part of moment times harmonic, then the complex functions of r
            scale = radial[first:]
            outward -= moment.real @ (scale * harmonic.imag) + moment.imag @ (scale * harmonic.real)
            scale = tangential[first:, :, None]
            for part, sign, vector in ((moment.real, 1.0, vectors.real), (moment.imag, -1.0, vectors.imag)):
                around += sign * part @ (scale * vector).reshape(len(vector), -1)
        total = np.cross(unit, around.reshape(len(self.moments), -1, 3)) + outward[..., None] * unit
        return np.asarray(total.reshape(len(self.moments), *points.shape))

    def _polar(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return directions and distances from the centre, where the formulas' 1/r needs a step aside."""
        radius = self.sphere.radius
        offset = points - np.asarray(self.sphere.centre)
        r = np.linalg.norm(offset, axis=1)
        if np.any(r > radius * (1.0 + 1e-12)):
            raise ValueError(f"a point lies {r.max():.4g} m from the centre, outside of {radius} m")
        offset = np.where((r < 1e-9 * radius)[:, None], (0.0, 0.0, 1e-9 * radius), offset)
        r = np.linalg.norm(offset, axis=1)
        return offset / r[:, None], r

    def _radial_functions(
        self, r: NDArray[np.float64], frequency: float
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Return what multiplies Y and r x X in curl(f X), f scaled to R^l, shapes (degree, point), 1/m.

        curl(f X_lm) = i sqrt(l(l+1)) f/r Y_lm r + (rf)'/r r x X_lm with the unit vector r; Jackson, 10.60.
        """
        sphere = self.sphere
        degrees = self.moments.shape[1]
        squared = wavenumber(frequency, sphere.conductivity, sphere.permittivity) ** 2
        inside = bare_bessel(degrees, squared * r.astype(np.complex128) ** 2)
        edge = bare_bessel(degrees, np.array([squared * sphere.radius**2]))
        numbers = np.arange(1, degrees + 1)[:, None]
        power = (r / sphere.radius) ** numbers / r / edge[:-1]
        radial = np.sqrt(numbers * (numbers + 1.0)) * power * inside[1:]
        tangential = power * ((2.0 * numbers + 1.0) * inside[:-1] - numbers * inside[1:])
        return np.asarray(radial), np.asarray(tangential)


def multipoles(loops: Sequence[Loop], sphere: Sphere) -> Multipoles:
    """Expand what loops send into a sphere, to as many degrees as their distance asks for.

    Raises
    ------
    ValueError
        There is no loop, or a conductor is inside the sphere or within 5 % of its radius from its surface.
    """
    if not loops:
        raise ValueError("an expansion needs at least one loop")
    centre, radius = np.asarray(sphere.centre), sphere.radius
    nearest = min(_nearest(loop, centre) for loop in loops)
    least = radius * _TAIL ** (-0.5 / _MOST_DEGREES)
    if nearest < least:
        raise ValueError(
            f"a conductor passes {nearest:.4g} m from the centre of a sphere of {radius} m; "
            f"it must stay at least {least:.4g} m away"
        )
    degrees = max(8, int(np.ceil(0.5 * np.log(_TAIL) / np.log(radius / nearest))) + 1)
    nodes = [loop.nodes(3.0 * nearest / degrees) for loop in loops]
    offset = np.concatenate([points for points, _ in nodes]) - centre
    elements = np.concatenate([along for _, along in nodes])
    ends = np.cumsum([len(points) for points, _ in nodes])
    return Multipoles(sphere, _moments(offset, elements, ends, radius, degrees))


def full_wave_factor(sphere: Sphere, frequency: ArrayLike, degrees: int) -> NDArray[np.float64]:
    """Return by how much waves change the loss of each degree, shape (frequency, degree), l = 1, 2, ...

    Parameters
    ----------
    sphere
        Its size and material count.
    frequency
        Hz.
    degrees
        Largest l.

    Notes
    -----
    The integral of |f_l|² r² over that of r^(2l + 2), by Lommel's integral (Watson, Bessel Functions, 5.11):
    (2l+1)(2l+3) Im(g_l / g_(l-1)) / Im z² with z = kR and g_l = (2l+1)!! j_l(z) / z^l. It tends to 1 at low
    frequency and at high degrees.
    """
    frequencies = np.atleast_1d(np.asarray(frequency, dtype=np.float64))
    k = np.array([wavenumber(f, sphere.conductivity, sphere.permittivity) for f in frequencies])
    squared = np.asarray((k * sphere.radius) ** 2, dtype=np.complex128)
    squared.imag = np.minimum(squared.imag, -_LEAST_LOSS)
    bare = bare_bessel(degrees, squared)
    numbers = np.arange(1, degrees + 1)[:, None]
    ratio = (bare[1:] / bare[:-1]).imag / squared.imag
    return np.asarray(((2.0 * numbers + 1.0) * (2.0 * numbers + 3.0) * ratio).T)


def _moments(
    offset: NDArray[np.float64],
    elements: NDArray[np.float64],
    ends: NDArray[np.int64],
    radius: float,
    degrees: int,
) -> NDArray[np.complex128]:
    """Return moments, shape (loop, degree, order), from nodes (m from the centre).

    The integrand dl . conj(X) in ladder operators, as in ``_vector_harmonics``; its phase e^{-jm phi} and the
    components of dl belong to the node, all else is real, so each order is a real matrix product for a loop.
    """
    r = np.linalg.norm(offset, axis=1)
    cosine, sine, phase = _angles(offset / r[:, None])
    numbers = np.arange(degrees + 1)
    norms = np.sqrt(np.maximum(numbers * (numbers + 1.0), 1.0)) * (2.0 * numbers + 1.0)
    powers = (radius / r) ** numbers[:, None] / r
    across = (elements[:, 0] + 1j * elements[:, 1]) * phase.conj()
    turning = np.ones(len(r), dtype=np.complex128)
    moments = np.zeros((len(ends), degrees, degrees + 1), dtype=np.complex128)
    below = np.zeros((degrees + 2, len(r)))
    here = powers * legendre_column(0, degrees, cosine, sine)
    for order in range(degrees + 1):
        above = powers[order + 1 :] * legendre_column(order + 1, degrees, cosine, sine)
        plus, column, minus = (
            _sums(table, turning * weight, ends)
            for table, weight in ((above, across), (here, elements[:, 2]), (below[1:], across.conj()))
        )
        if order == 0:
            # Y_(l,-1) = -conj Y_(l,1)
            minus[:, 1:] = -plus.conj()
        degree = numbers[order:]
        column *= order
        column[:, 1:] += 0.5 * np.sqrt((degree - order) * (degree + order + 1.0))[1:] * plus
        column += 0.5 * np.sqrt((degree + order) * (degree - order + 1.0)) * minus
        first = max(order, 1)
        moments[:, first - 1 :, order] = float(mu_0) * (column / norms[order:])[:, first - order :]
        below, here, turning = here, above, turning * phase.conj()
    return moments


def _sums(
    table: NDArray[np.float64], weights: NDArray[np.complex128], ends: NDArray[np.int64]
) -> NDArray[np.complex128]:
    """Return weighted sums of a table (degree, node) over the nodes of each loop, shape (loop, degree)."""
    pair = np.stack((weights.real, weights.imag), axis=1)
    starts = (0, *ends[:-1])
    sums = np.stack([table[:, i:j] @ pair[i:j] for i, j in zip(starts, ends, strict=True)])
    return np.asarray(sums[..., 0] + 1j * sums[..., 1])


def _angles(
    directions: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.complex128]]:
    """Return cosine and sine of the polar angle and the phase e^{j phi} of unit vectors."""
    x, y, cosine = directions.T
    sine = np.hypot(x, y)
    phase = np.divide(x + 1j * y, sine, out=np.ones(len(x), dtype=np.complex128), where=sine > 0.0)
    return cosine, sine, phase


def _vector_harmonics(
    directions: NDArray[np.float64], degrees: int
) -> Iterator[tuple[int, NDArray[np.complex128], NDArray[np.complex128]]]:
    """Yield m, Y_lm (degree, direction) and X_lm (degree, direction, 3) for m = 0, 1, ... and l = m (1), ...

    X = L Y / sqrt(l(l+1)) with the ladder operators of L = -i r x grad: Jackson, equations 9.101 and 9.104.
    """
    cosine, sine, phase = _angles(directions)
    here = legendre_column(0, degrees, cosine, sine).astype(np.complex128)
    below = np.zeros_like(here)
    below[1:] = -legendre_column(1, degrees, cosine, sine) * phase.conj()
    for order in range(degrees + 1):
        above = np.zeros_like(here)
        above[1:] = legendre_column(order + 1, degrees, cosine, sine) * phase ** (order + 1)
        degree = np.arange(order, degrees + 1)[:, None]
        norm = np.sqrt(np.maximum(degree * (degree + 1.0), 1.0))
        plus = np.sqrt((degree - order) * (degree + order + 1.0)) / norm * above
        minus = np.sqrt((degree + order) * (degree - order + 1.0)) / norm * below
        vectors = np.stack((0.5 * (plus + minus), -0.5j * (plus - minus), order / norm * here), axis=-1)
        first = max(order, 1) - order
        yield order, here[first:], vectors[first:]
        below, here = here[1:], above[1:]


def _nearest(loop: Loop, centre: NDArray[np.float64]) -> float:
    """Return the smallest distance in m of a loop's axis from a point."""
    offset, segments = centre - loop.path, loop.segments
    along = np.einsum("ij,ij->i", offset, segments) / np.einsum("ij,ij->i", segments, segments)
    return float(np.linalg.norm(offset - np.clip(along, 0.0, 1.0)[:, None] * segments, axis=1).min())
