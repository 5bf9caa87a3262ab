"""How large the high degrees of a coil's receive field (B1-) may be, from a low one that is surely seen.

Fields of sources at distance Rc from the centre of a bath of radius R are harmonics whose variance falls like
(R / Rc)^2l, unevenly: loops have degrees that they hardly make. Degrees up to 4 are fitted freely; above, the
variance is expected not to exceed that of degree 3 times 0.25 per degree (Rc = 1.5 to 2 R, shared by 2 l + 1
terms): that damps what the bath does not show, and what may be missing is in the budget. Without degrees
beyond 6 the field at the rim would be wrong by 1 % (loops at 1.5 R).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from recon.voxel_noise import independent_fraction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.live import ChannelImages
    from recon.sensitivities import HarmonicFit

#: Highest degree that is fitted: beyond, loops at 1.5 times the bath's radius leave 0.67^10 of their field.
_HIGHEST: Final = 9
#: Highest degree that is left free.
_FREE: Final = 4
#: Degree whose size is taken, and the expected variance of each degree over that of the one below.
_SHOWN: Final = 3
_FALL: Final = 0.25
#: Expected variance over that bound. Under a loop all 2 l + 1 terms of a degree add with one sign: the square
#: of their sum is 2 l + 1 = 13 times that of random signs (degree 6). Loops at 1.56 R make a quarter of the
#: bound at degrees 6 to 8 (Biot-Savart fields of 14 by 16 cm loops, fitted without noise in a 16 cm bath).
_COHERENT: Final = 13 * 0.25
#: Part of that variance that is stated as missing: the mean of a place under a loop and one of random signs.
_STATED: Final = 0.5 * (1 + 1 / 13)
#: Voxels per term that a fit needs (``fit_harmonics``).
_VOXELS_PER_TERM: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class SensitivityPrior:
    """What is expected of the coefficients of a harmonic fit.

    Parameters
    ----------
    degree
        Highest degree to fit.
    noise
        Variance of a voxel's complex noise times voxels per independent voxel.
    penalties
        ``noise`` over the expected variance of each coefficient, shape (term,); 0 for what is left free.
    """

    degree: int
    noise: float
    penalties: NDArray[np.float64]

    def held_back(self, design: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the covariance of what the penalties keep from the coefficients, shape (term, term).

        Parameters
        ----------
        design
            Of the fit, shape (voxel, term).

        Notes
        -----
        The fit returns A Dᵀ a with A = (Dᵀ D + Λ)⁻¹, so it misses A Λ c; with c of variance noise / Λ that
        is noise A Λ A. Λ allows for places under a loop; the mean place misses ``_STATED`` of it.
        """
        inverse = np.linalg.inv(design.T @ design + np.diag(self.penalties))
        return np.asarray(_STATED * self.noise * (inverse * self.penalties) @ inverse, dtype=np.float64)


def sensitivity_prior(images: ChannelImages, fit: HarmonicFit) -> SensitivityPrior:
    """Return what the low degrees of a free fit say about the high ones.

    Parameters
    ----------
    images
        Whitened channel images that were fitted.
    fit
        Without penalties, of degree 3 at least.
    """
    noise = 2 * images.noise_gain**2 / independent_fraction(images)
    shown = _degrees(fit.degree, fit.radial_degree) == _SHOWN
    size = float(np.mean(np.abs(fit.coefficients[shown]) ** 2))
    voxels = int(fit.mask.sum())
    degree = _HIGHEST
    while degree > fit.degree and voxels < _VOXELS_PER_TERM * _degrees(degree, fit.radial_degree).size:
        degree -= 1
    wanted = _degrees(degree, fit.radial_degree)
    expected = _COHERENT * size * _FALL ** (wanted - _SHOWN)
    penalties = np.where(wanted > _FREE, noise / expected, 0.0)
    return SensitivityPrior(degree, noise, penalties)


def _degrees(degree: int, radial_degree: int) -> NDArray[np.int64]:
    """Return the degree of each term in the order of the fit; terms times r² count as free (0)."""
    plain = np.repeat(np.arange(degree + 1), 2 * np.arange(degree + 1) + 1)
    return np.concatenate([plain, np.zeros((radial_degree + 1) ** 2, dtype=np.int64)])
