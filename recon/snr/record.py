"""What every SNR is told in: a value or a map with its uncertainty, method, bias and convention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import scipy.special

if TYPE_CHECKING:
    from numpy.typing import NDArray

Convention = Literal["real-sd"]
#: The one convention, in words.
CONVENTION: Final = "real-sd: |signal| over the standard deviation of the noise's real part"
#: Standard deviation of the median of many Gaussian values over that of their mean: sqrt(pi / 2).
_MEDIAN: Final = 1.2533


@dataclass(frozen=True, slots=True)
class Snr:
    """A signal-to-noise ratio.

    Parameters
    ----------
    value
        |signal| over the standard deviation of the noise's real part.
    uncertainty
        Standard uncertainty of ``value`` from sampling; a bias is not in it.
    degrees_of_freedom
        Of the noise estimate; inf where the noise is known.
    method
        How it was measured.
    bias
        In which direction the method is wrong and why; empty where it is not.
    convention
        Always ``"real-sd"``.
    """

    value: float
    uncertainty: float
    degrees_of_freedom: float
    method: str
    bias: str = ""
    convention: Convention = "real-sd"

    @property
    def is_biased(self) -> bool:
        """Whether the method is known to be wrong in one direction."""
        return bool(self.bias)

    def plain(self) -> dict[str, float | str | bool | None]:
        """Return all of it as plain values for tables and JSON."""
        freedom = self.degrees_of_freedom
        return {
            "snr": self.value,
            "u_snr": self.uncertainty,
            "degrees_of_freedom": freedom if np.isfinite(freedom) else None,
            "method": self.method,
            "biased": self.is_biased,
            "bias": self.bias or "none known",
            "convention": CONVENTION,
        }


@dataclass(frozen=True, slots=True, eq=False)
class SnrMap:
    """Signal-to-noise ratios of every voxel.

    Parameters
    ----------
    values
        |signal| over the standard deviation of the noise's real part, float32, any shape.
    relative_uncertainty
        Of the noise estimate: 1 / sqrt(2 ``degrees_of_freedom``).
    degrees_of_freedom
        Of the noise estimate of one voxel; inf where the noise is known.
    method
        How it was measured.
    is_shared
        Whether one noise estimate serves all voxels (a noise scan), so that its error does not average out
        over a region; else every voxel has its own (replicas).
    scatter
        What the signal's own noise adds to each value: 1 for one image, 1 / sqrt(n) for the mean of n.
    floor
        What noise adds to the square of a value where the SNR is above about 3: 2 n - 1 for the root of the
        sum of squares of n complex images, n = 1 for the magnitude of a combination. ``median`` takes it off.
    bias
        In which direction the method is wrong besides, and why; empty where it is not.
    convention
        Always ``"real-sd"``.
    """

    values: NDArray[np.float32]
    relative_uncertainty: float
    degrees_of_freedom: float
    method: str
    is_shared: bool
    scatter: float = 1.0
    floor: float = 0.0
    bias: str = ""
    convention: Convention = "real-sd"

    @property
    def uncertainty(self) -> NDArray[np.float32]:
        """Standard uncertainty of each voxel's value from sampling, shape of the map."""
        spread = np.hypot(np.float32(self.relative_uncertainty) * self.values, np.float32(self.scatter))
        return np.asarray(spread, dtype=np.float32)

    def median(self, region: NDArray[np.bool_], *, independent_fraction: float = 1.0) -> Snr:
        """Return the median over a region, the noise floor of magnitudes removed.

        Parameters
        ----------
        region
            Voxels, shape of the map.
        independent_fraction
            Independent voxels over all voxels; below 1 for filtered, zero-filled or gridded images.

        Raises
        ------
        ValueError
            The region is empty.
        """
        count = int(np.count_nonzero(region))
        if count == 0:
            raise ValueError("the region is empty: there is no voxel to take the SNR of")
        middle = float(np.median(self.values[region]))
        if not self.is_shared:
            middle *= median_deviation_correction(self.degrees_of_freedom)
        value = float(np.sqrt(max(middle**2 - self.floor, 0.0)))
        independent = max(1.0, count * independent_fraction)
        mean = np.sqrt(independent) / (_MEDIAN if independent > 1 else 1.0)
        estimate = self.relative_uncertainty * value / (1.0 if self.is_shared else mean)
        freedom = self.degrees_of_freedom * (1.0 if self.is_shared else independent)
        spread = float(np.hypot(self.scatter / mean, estimate))
        return Snr(value, spread, freedom, f"{self.method}, median of a region", self.bias)


def inverse_deviation_correction(degrees_of_freedom: int) -> float:
    """Return c with E[c / s] = 1 / sigma for a standard deviation s of Gaussian noise.

    Parameters
    ----------
    degrees_of_freedom
        At least 2.

    Raises
    ------
    ValueError
        Fewer: the mean of 1 / s does not exist.

    Notes
    -----
    With f degrees of freedom 1 / s is too large on average by Γ((f-1)/2) / Γ(f/2) · sqrt(f / 2).
    """
    if degrees_of_freedom < 2:
        raise ValueError(f"the mean of 1/s exists from 2 degrees of freedom on, got {degrees_of_freedom}")
    half = degrees_of_freedom / 2
    log_ratio = scipy.special.gammaln(half) - scipy.special.gammaln(half - 0.5)
    return float(np.exp(log_ratio) / np.sqrt(half))


def median_deviation_correction(degrees_of_freedom: float) -> float:
    """Return by what to multiply a median of c / s, c = ``inverse_deviation_correction``, to get 1 / sigma.

    Parameters
    ----------
    degrees_of_freedom
        f of each standard deviation s, at least 2.

    Notes
    -----
    1 / s is skew: corrected to the right mean, its median is too small, by 1.5 % at f = 29 and 7 % at 7. The
    median of s² is that of chi-square over f.
    """
    median = 2 * float(scipy.special.gammaincinv(degrees_of_freedom / 2, 0.5))
    return float(np.sqrt(median / degrees_of_freedom)) / inverse_deviation_correction(int(degrees_of_freedom))
