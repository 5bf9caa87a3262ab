"""SNR from the air around the object in one magnitude image. Precise, and biased: say so, or do not use it.

True for the root of the sum of squares of n channels whose noise is alike and does not correlate, in air that
no filter, mask or parallel imaging has touched. Where channels correlate, the air's power is the mean of the
channels' while the object sees their noise add up: with n signals in phase and all correlations rho the SNR
reads sqrt(1 + (n - 1) rho) times too high, 30 % with 8 channels and 0.1. So what correlation can be borne
depends on the number of channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import scipy.special

from coilbench.base.errors import MeasurementError
from recon.snr.record import Snr

if TYPE_CHECKING:
    from numpy.typing import NDArray

Estimator = Literal["root mean square", "mean", "standard deviation"]
#: Relative bias up to which an estimate with known correlations is given at all.
LARGEST_BIAS: Final = 0.1
#: Relative difference of the air's mean over deviation from its expectation that is worth a word.
_OTHER_LAW: Final = 0.05
#: Of air voxels that are exactly 0 in an image whose background was masked.
_MASKED: Final = 0.05


def background_factors(channels: int) -> tuple[float, float]:
    """Return mean and standard deviation of n channels' magnitude noise over one channel's real deviation.

    Parameters
    ----------
    channels
        n, combined by the root of the sum of squares, uncorrelated.

    Raises
    ------
    ValueError
        There is no channel.

    Notes
    -----
    Central chi with 2n degrees of freedom: beta = sqrt(2) Γ(n + 1/2) / Γ(n) and sqrt(2n - beta²); one
    channel: Rayleigh, 1.2533 and 0.6551. Constantinides et al., Magn Reson Med 38:852 (1997).
    """
    if channels < 1:
        raise ValueError(f"at least one channel is needed, got {channels}")
    log = scipy.special.gammaln(channels + 0.5) - scipy.special.gammaln(channels)
    beta = float(np.sqrt(2) * np.exp(log))
    return beta, float(np.sqrt(2 * channels - beta**2))


def correlation_bias(
    covariance: NDArray[np.complex128], signal: NDArray[np.complex128] | None = None
) -> tuple[float, float]:
    """Return by which factors the background's SNR is wrong at least and at most.

    Parameters
    ----------
    covariance
        Psi of the channels, Hermitian, shape (channel, channel).
    signal
        The object's signal in each channel, shape (channel,): both factors are then the same. None: any.

    Notes
    -----
    The object's noise variance is s^H Psi s / s^H s, the air's mean the trace over n; the smallest and
    largest eigenvalue bound the former.
    """
    mean = float(np.trace(covariance).real) / len(covariance)
    if signal is not None:
        power = float(np.vdot(signal, covariance @ signal).real) / float(np.vdot(signal, signal).real)
        factor = float(np.sqrt(power / mean))
        return factor, factor
    values = np.linalg.eigvalsh(covariance) / mean
    return float(np.sqrt(max(float(values[0]), 0.0))), float(np.sqrt(values[-1]))


def accepted_correlation(channels: int, largest_bias: float) -> float:
    """Return the largest common correlation with which the background's SNR stays within a bias.

    Parameters
    ----------
    channels
        Number of channels.
    largest_bias
        Relative, such as 0.05.

    Returns
    -------
    ((1 + bias)² - 1) / (n - 1), at most 1: 0.015 for 8 channels and 5 %, 0.0033 for 32.
    """
    if channels < 2:
        return 1.0
    return min(1.0, ((1 + largest_bias) ** 2 - 1) / (channels - 1))


def snr_of_background(
    image: NDArray[np.floating[Any]],
    region: NDArray[np.bool_],
    background: NDArray[np.bool_],
    *,
    channels: int = 1,
    covariance: NDArray[np.complex128] | None = None,
    signal: NDArray[np.complex128] | None = None,
    estimator: Estimator = "root mean square",
    independent_fraction: float = 1.0,
    largest_bias: float = LARGEST_BIAS,
) -> Snr:
    """Return the SNR of a region with the noise taken from the air of the same image; always labelled biased.

    Parameters
    ----------
    image
        Root-sum-of-squares magnitude, any shape.
    region, background
        Object and air, same shape. The signal is the root mean square over the region, noise removed.
    channels
        That were combined.
    covariance, signal
        Of the channels, if known: the bias is then predicted (``correlation_bias``).
    estimator
        What of the air is looked at; the root mean square is the most precise.
    independent_fraction
        Independent voxels over all voxels.
    largest_bias
        Predicted relative bias above which no number is given.

    Raises
    ------
    MeasurementError
        Air or region is too small, the air was set to zero or has negative values, or the predicted bias is
        too large.
    ValueError
        The covariance is of another number of channels.

    Notes
    -----
    NEMA MS 1 method 4 (one channel, standard deviation / 0.655); Constantinides et al. (1997): the signal is
    sqrt(mean(M²) - 2 n sigma²).
    """
    if covariance is not None and covariance.shape != (channels, channels):
        raise ValueError(f"{channels} channels do not fit a covariance {covariance.shape}")
    air, body = np.asarray(image, np.float64)[background], np.asarray(image, np.float64)[region]
    voxels = air.size * independent_fraction
    if voxels < 4 or body.size == 0:
        raise MeasurementError(
            f"{voxels:.1f} independent voxels of air and {body.size} of the object are too few: at least 4 "
            "and 1 are needed"
        )
    if air.min() < 0:
        raise MeasurementError(
            f"the air goes down to {air.min():.4g}: this is no magnitude, its noise has another law"
        )
    if np.count_nonzero(air == 0) > _MASKED * air.size:
        raise MeasurementError(
            f"{100 * np.mean(air == 0):.0f} % of the air is exactly 0: it was masked, its noise is gone"
        )
    bias = _bias(channels, covariance, signal, largest_bias) + _other_law(air, channels, voxels)
    sigma, freedom = _sigma(air, channels, covariance, estimator, voxels)
    square = float(np.mean(body**2)) / sigma**2 - 2 * channels
    value = float(np.sqrt(max(square, 0.0)))
    scatter = 1 / np.sqrt(max(1.0, body.size * independent_fraction))
    uncertainty = float(np.hypot(value / np.sqrt(2 * freedom), scatter))
    return Snr(value, uncertainty, freedom, f"background, {estimator} of {channels} channel(s)", bias)


def _sigma(
    air: NDArray[np.float64],
    channels: int,
    covariance: NDArray[np.complex128] | None,
    estimator: Estimator,
    voxels: float,
) -> tuple[float, float]:
    """Return a channel's real deviation, and degrees of freedom f with relative uncertainty 1 / sqrt(2 f)."""
    beta, spread = background_factors(channels)
    if estimator == "root mean square":
        freedom = 2 * channels * voxels
        if covariance is not None:  # Satterthwaite: correlated channels are fewer
            trace = float(np.trace(covariance).real)
            freedom = 2 * voxels * trace**2 / float(np.sum(np.abs(covariance) ** 2))
        return float(np.sqrt(np.mean(air**2) / (2 * channels))), freedom
    if estimator == "mean":
        return float(np.mean(air)) / beta, voxels * beta**2 / (2 * spread**2)
    # Variance of a standard deviation: (fourth central moment - SD⁴) / (4 SD² N), moments of the chi.
    n = channels
    third = beta * (2 * n + 1)
    fourth = 2 * n * (2 * n + 2) - 4 * beta * third + 6 * beta**2 * 2 * n - 3 * beta**4
    relative = (fourth - spread**4) / (4 * spread**4 * voxels)
    return float(np.std(air, ddof=1)) / spread, 1 / (2 * relative)


def _other_law(air: NDArray[np.float64], channels: int, voxels: float) -> str:
    """Return a warning where the air's mean over its deviation is not that of the channels' noise."""
    beta, spread = background_factors(channels)
    found, expected = float(air.mean() / air.std(ddof=1)), beta / spread
    # of the ratio: the deviation's part dominates, 1 / sqrt(2 N)
    if abs(found / expected - 1) < max(_OTHER_LAW, 5 / np.sqrt(2 * voxels)):
        return ""
    return (
        f"; the air's mean is {found:.2f} of its deviations, {expected:.2f} are expected of {channels} "
        "channel(s): another number of them, ghosts or a filter"
    )


def _bias(
    channels: int,
    covariance: NDArray[np.complex128] | None,
    signal: NDArray[np.complex128] | None,
    largest_bias: float,
) -> str:
    always = "wrong where filters, masks or parallel imaging changed the air"
    if channels == 1:
        return f"either way: {always}"
    limit = accepted_correlation(channels, largest_bias)
    if covariance is None:
        tenth = 100 * (np.sqrt(1 + 0.1 * (channels - 1)) - 1)
        return (
            f"too high by up to sqrt(1 + {channels - 1} |rho|) for channels correlated by rho, which is "
            f"not known here (0.1 would make +{tenth:.0f} %, {100 * largest_bias:g} % allows {limit:.2g}); "
            f"{always}"
        )
    low, high = correlation_bias(covariance, signal)
    percent = (
        f"{100 * (low - 1):+.0f} %"
        if signal is not None
        else (f"{100 * (low - 1):+.0f} % to {100 * (high - 1):+.0f} %, as the signals' phases have it")
    )
    if max(abs(high - 1), abs(low - 1)) > largest_bias:
        raise MeasurementError(
            f"correlated channels bias the background's SNR by {percent}; {100 * largest_bias:g} % are "
            f"accepted, that is correlations up to {limit:.2g} with {channels} channels: use a noise scan "
            "(SNR units) or the difference of two scans"
        )
    return f"by {percent} through correlated channels; {always}"
