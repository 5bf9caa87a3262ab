"""Signal-to-noise ratio, measured five ways on one scale.

SNR = |signal| / sigma, sigma the standard deviation of the real part of the noise (which is that of a
magnitude image at high SNR). Every result carries its standard uncertainty, degrees of freedom and that
convention, so that no root of two gets lost between methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.special

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Convention = Literal["real-sd"]


@dataclass(frozen=True, slots=True)
class Snr:
    """A signal-to-noise ratio.

    Parameters
    ----------
    value
        |signal| over the standard deviation of the noise's real part.
    uncertainty
        Standard uncertainty of ``value``.
    degrees_of_freedom
        Of the noise estimate.
    method
        How it was measured.
    convention
        Always ``"real-sd"``.
    """

    value: float
    uncertainty: float
    degrees_of_freedom: float
    method: str
    convention: Convention = "real-sd"


def inverse_deviation_correction(degrees_of_freedom: int) -> float:
    """Return c with E[c / s] = 1 / sigma for a standard deviation s of Gaussian noise.

    Parameters
    ----------
    degrees_of_freedom
        At least 2.

    Notes
    -----
    With f degrees of freedom 1 / s is too large on average by Γ((f-1)/2) / Γ(f/2) · sqrt(f / 2).
    """
    if degrees_of_freedom < 2:
        raise ValueError(f"the mean of 1/s exists from 2 degrees of freedom on, got {degrees_of_freedom}")
    half = degrees_of_freedom / 2
    log_ratio = scipy.special.gammaln(half) - scipy.special.gammaln(half - 0.5)
    return float(np.exp(log_ratio) / np.sqrt(half))


def snr_of_difference(
    first: NDArray[np.floating[Any]],
    second: NDArray[np.floating[Any]],
    region: NDArray[np.bool_],
    *,
    correct_drift: bool = True,
    independent_fraction: float = 1.0,
) -> Snr:
    """Return the SNR in a region from two repeated images: mean over the deviation of their difference.

    Parameters
    ----------
    first, second
        Real or magnitude images of the same object, any equal shape.
    region
        Where to measure; the signal there may vary, as the difference removes it.
    correct_drift
        Scale the second image to the first before subtracting (gain drift between the scans).
    independent_fraction
        Independent voxels over all voxels; below 1 for filtered or zero-filled images.

    Raises
    ------
    MeasurementError
        The region holds fewer than 4 independent voxels, or the images are identical there.

    Notes
    -----
    NEMA MS 1 method 1 with drift factor g = sum(I1 I2) / sum(I2²): noise SD(I1 - g I2) / sqrt(1 + g²).
    """
    a, b = np.asarray(first, np.float64)[region], np.asarray(second, np.float64)[region]
    gain = float(np.sum(a * b) / np.sum(b * b)) if correct_drift else 1.0
    freedom = int(a.size * independent_fraction) - 1
    if freedom < 3:
        raise MeasurementError(f"a region of {a.size} voxels is too small for a noise estimate")
    deviation = float(np.std(a - gain * b, ddof=1)) / np.sqrt(1 + gain**2)
    if deviation == 0:
        raise MeasurementError("the two images are identical: the second scan is a copy of the first")
    value = 0.5 * float(a.mean() + b.mean()) / deviation * inverse_deviation_correction(freedom)
    return Snr(value, value / np.sqrt(2 * freedom), freedom, "difference of two scans")


def snr_of_difference_per_region(
    first: NDArray[np.floating[Any]],
    second: NDArray[np.floating[Any]],
    regions: Sequence[NDArray[np.bool_]],
) -> Snr:
    """Return the SNR as hazen 2.0 prints it: the mean over regions of (mean of the first / deviation).

    Kept to compare with that program's numbers; no drift factor, no bias correction.

    Parameters
    ----------
    first, second
        Magnitude images of the same object.
    regions
        Masks; hazen takes five squares of 20 x 20 pixels.
    """
    values, freedom = [], 0
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    for region in regions:
        noise = float(np.std(difference[region], ddof=1)) / np.sqrt(2)
        values.append(float(np.mean(np.asarray(first, np.float64)[region])) / noise)
        freedom += int(np.count_nonzero(region)) - 1
    value = float(np.mean(values))
    return Snr(value, value / np.sqrt(2 * freedom), freedom, "difference of two scans, hazen")


def snr_of_smoothing(
    image: NDArray[np.floating[Any]], regions: Sequence[NDArray[np.bool_]], *, width: int = 9
) -> Snr:
    """Return the SNR of one image: mean over the deviation from its own moving average.

    Removes texture and filtering too: never mix with the difference method in one trend.

    Parameters
    ----------
    image
        Magnitude image (2-D).
    regions
        Masks of even signal; the result is the mean over them.
    width
        Odd edge of the moving average in pixels.

    Raises
    ------
    ValueError
        ``width`` is even or below 3.

    Notes
    -----
    McCann et al., Phys Med Biol 58:3775 (2013); a pixel is part of its own average, which takes
    sqrt(1 - 1 / width²) of the noise away and is put back here.
    """
    import scipy.ndimage

    if width < 3 or width % 2 == 0:
        raise ValueError(f"the moving average needs an odd width of at least 3 pixels, got {width}")
    data = np.asarray(image, np.float64)
    rest = data - scipy.ndimage.uniform_filter(data, width)
    kept = np.sqrt(1 - 1 / width**2)
    values = [float(data[region].mean() / (rest[region].std(ddof=1) / kept)) for region in regions]
    freedom = sum(int(np.count_nonzero(region)) - 1 for region in regions)
    value = float(np.mean(values))
    return Snr(value, value / np.sqrt(2 * freedom), freedom, "deviation from the moving average")


def snr_of_replicas(replicas: NDArray[np.complexfloating[Any, Any]]) -> NDArray[np.float64]:
    """Return the SNR map of repeated complex images, shape of one image.

    Parameters
    ----------
    replicas
        Shape (replica, ...), at least 3.

    Notes
    -----
    The deviation is that of the part in phase with the mean; the bias of 1/s is corrected. Each voxel
    scatters by 1 / sqrt(2 (replicas - 1)).
    """
    count = replicas.shape[0]
    if count < 3:
        raise ValueError(f"at least 3 replicas are needed, got {count}")
    mean = replicas.mean(axis=0)
    magnitude = np.abs(mean)
    phase = np.where(magnitude > 0, np.conj(mean) / np.where(magnitude > 0, magnitude, 1), 1)
    deviation = np.std((replicas * phase).real, axis=0, ddof=1)
    ratio = np.where(deviation > 0, magnitude / np.where(deviation > 0, deviation, 1), 0)
    result: NDArray[np.float64] = ratio * inverse_deviation_correction(count - 1)
    return result


def pseudo_replica_noise(
    reconstruct: Callable[[NDArray[np.complex64]], NDArray[Any]],
    samples: NDArray[np.complex64],
    *,
    replicas: int = 50,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the noise deviation of any reconstruction, by adding synthetic noise to whitened data.

    Parameters
    ----------
    reconstruct
        From whitened samples to an image, real or complex; must not change its argument. A complex
        image's deviation is that of its real part in phase with the noise-free image.
    samples
        Whitened k-space, any shape.
    replicas
        At least 3; the result scatters by 1 / sqrt(2 (replicas - 1)).
    seed
        Of the noise.

    Returns
    -------
    Standard deviation, shape of the image. Divide with ``inverse_deviation_correction`` in mind.

    Notes
    -----
    Robson et al., Magn Reson Med 60:895 (2008).
    """
    if replicas < 3:
        raise ValueError(f"at least 3 replicas are needed, got {replicas}")
    generator = np.random.default_rng(seed)
    clean = reconstruct(samples)
    magnitude = np.abs(clean)
    phase = np.where(magnitude > 0, np.conj(clean) / np.where(magnitude > 0, magnitude, 1), 1)
    total, squares = np.zeros(clean.shape), np.zeros(clean.shape)
    for _ in range(replicas):
        noise = generator.standard_normal((2, *samples.shape), dtype=np.float32)
        image = reconstruct(samples + (noise[0] + 1j * noise[1]).astype(np.complex64))
        change = np.real((image - clean) * phase)
        total += change
        squares += change**2
    variance = np.maximum(squares - total**2 / replicas, 0) / (replicas - 1)
    deviation: NDArray[np.float64] = np.sqrt(variance)
    return deviation
