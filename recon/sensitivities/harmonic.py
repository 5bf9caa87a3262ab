"""Sensitivities measured by a phantom whose bath is uniform: a sum of solid harmonics.

The receive field B1- = Bx - i By of coils outside the sample obeys Laplace's equation as long as the
sample is small against the wavelength and skin depth, so inside the bath each channel is a sum of regular
solid harmonics. A few terms r² times low harmonics follow: the first order of conduction and of other
smooth shading (filter droop) that is not harmonic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.linalg

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Highest degree of the harmonics; loops at 1.5 times the bath's radius leave 0.6^7 of their field out.
DEGREE: Final = 6
#: Highest degree of the harmonics that also come with r².
RADIAL_DEGREE: Final = 1


def solid_harmonics(points: NDArray[np.floating[Any]], degree: int) -> NDArray[np.float64]:
    """Return the real regular solid harmonics up to ``degree``, shape (point, (degree + 1)²).

    Parameters
    ----------
    points
        (x, y, z), best scaled to |r| <= 1, shape (point, 3).
    degree
        Highest degree l; for each l the orders m = 0, then cos and sin of 1..l. Not normalised.

    Notes
    -----
    Recurrence of the associated Legendre functions in Cartesian form:
    (l - m) P(l, m) = (2l - 1) z P(l - 1, m) - (l + m - 1) r² P(l - 2, m).
    """
    x, y, z = np.asarray(points, dtype=np.float64).T
    squared = x**2 + y**2 + z**2
    columns: dict[tuple[int, int], NDArray[np.float64]] = {}
    planar = np.ones_like(x, dtype=np.complex128)
    sectoral = np.ones_like(x)
    for m in range(degree + 1):
        before, now = np.zeros_like(x), sectoral
        for degree_l in range(m, degree + 1):
            if degree_l > m:
                following = (2 * degree_l - 1) * z * now - (degree_l + m - 1) * squared * before
                before, now = now, following / (degree_l - m)
            columns[degree_l, m] = planar.real * now
            if m:
                columns[degree_l, -m] = planar.imag * now
        planar = planar * (x + 1j * y)
        sectoral = sectoral * (2 * m + 1)
    return np.stack([columns[key] for key in sorted(columns)], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class HarmonicFit:
    """Sensitivities of all channels as smooth functions of position.

    Parameters
    ----------
    coefficients
        complex128, shape (term, channel).
    projector
        Linear map from the fitted voxels of a channel to its coefficients, float64, shape (term, voxel).
    mask
        The voxels that were fitted, shape (z, y, x).
    centre, radius
        Of the bath in m: the harmonics' origin and unit of length.
    residual
        Root mean square of what the fit left, relative to the root mean square fitted.
    degree, radial_degree
        Highest degrees of the harmonics and of those times r² (-1: none).
    norms
        Root mean square of each raw term over the mask, shape (term,); the basis is divided by it.
    """

    coefficients: NDArray[np.complex128]
    projector: NDArray[np.float64]
    mask: NDArray[np.bool_]
    centre: tuple[float, float, float]
    radius: float
    residual: float
    degree: int
    radial_degree: int
    norms: NDArray[np.float64]

    def basis(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the terms at positions (x, y, z) in m, shape (point, term)."""
        return _basis(positions, self.centre, self.radius, self.degree, self.radial_degree) / self.norms

    def evaluate(self, positions: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.complex64]:
        """Return the sensitivities on a grid, complex64, shape (channel, z, y, x).

        Parameters
        ----------
        positions
            (x, y, z) in m, shape (z, y, x, 3).
        inside
            Where to evaluate; 0 elsewhere: a sum of harmonics explodes outside the bath.
        """
        channels = self.coefficients.shape[1]
        result = np.zeros((channels, *inside.shape), dtype=np.complex64)
        result[:, inside] = (self.basis(positions[inside]) @ self.coefficients).T
        return result


def fit_harmonics(
    images: NDArray[np.complex64],
    positions: NDArray[np.float64],
    mask: NDArray[np.bool_],
    *,
    centre: tuple[float, float, float],
    radius: float,
    shape: NDArray[np.float64] | None = None,
    degree: int = DEGREE,
    radial_degree: int = RADIAL_DEGREE,
    penalties: NDArray[np.float64] | None = None,
) -> HarmonicFit:
    """Fit each channel image in the bath; the result is relative to the bath's own signal.

    All voxels of whitened images have the same noise, so plain least squares weighs by SNR.

    Parameters
    ----------
    images
        Whitened, shape (channel, z, y, x).
    positions
        (x, y, z) in m, shape (z, y, x, 3).
    mask
        Voxels of the bath that no boundary disturbs.
    centre, radius
        Of the bath in m.
    shape
        Expected image of the phantom seen by a uniform coil, 1 in the bath, shape (z, y, x); None: ones.
    degree, radial_degree
        Highest degree of the harmonics, and of those that come times r² (-1: none).
    penalties
        Added to the diagonal of the normal equations: noise variance over expected variance of each
        coefficient, shape (term,), terms in the order of ``HarmonicFit.basis``. None: none.

    Raises
    ------
    MeasurementError
        There are fewer than three voxels per term: the bath is too narrow for the resolution.
    """
    raw = _basis(positions[mask], centre, radius, degree, radial_degree)
    if raw.shape[0] < 3 * raw.shape[1]:
        raise MeasurementError(
            f"only {raw.shape[0]} voxels of undisturbed background for {raw.shape[1]} terms of the "
            "sensitivity fit: use a finer matrix, fewer vials or a lower degree"
        )
    norms = np.sqrt(np.mean(raw**2, axis=0))
    design = raw / norms
    if shape is not None:
        design = design * shape[mask][:, None]
    normal = design.T @ design
    if penalties is not None:
        normal[np.diag_indices_from(normal)] += penalties
    # The columns are scaled to the bath, so the normal equations keep more than nine digits.
    projector = np.asarray(scipy.linalg.solve(normal, design.T, assume_a="pos"), dtype=np.float64)
    values = images[:, mask].T.astype(np.complex128)
    coefficients = projector @ values
    rest = values - design @ coefficients
    return HarmonicFit(
        coefficients=coefficients,
        projector=projector,
        mask=mask,
        centre=centre,
        radius=radius,
        residual=float(np.linalg.norm(rest) / np.linalg.norm(values)),
        degree=degree,
        radial_degree=radial_degree,
        norms=norms,
    )


def _basis(
    positions: NDArray[np.float64],
    centre: tuple[float, float, float],
    radius: float,
    degree: int,
    radial_degree: int,
) -> NDArray[np.float64]:
    points = (positions - np.asarray(centre)) / radius
    harmonics = solid_harmonics(points, degree)
    if radial_degree < 0:
        return harmonics
    squared = np.sum(points**2, axis=1, keepdims=True)
    return np.concatenate([harmonics, squared * solid_harmonics(points, radial_degree)], axis=1)
