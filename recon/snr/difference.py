"""SNR from two scans of one object: their difference holds the noise and nothing of the object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.snr.record import Snr, inverse_deviation_correction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


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
        raise MeasurementError(
            f"a region of {a.size} voxels, {freedom + 1} of them independent, is too small for a noise "
            "estimate: at least 4 are needed"
        )
    deviation = float(np.std(a - gain * b, ddof=1)) / np.sqrt(1 + gain**2)
    if deviation == 0:
        raise MeasurementError("the two images are identical: the second scan is a copy of the first")
    value = 0.5 * float(a.mean() + b.mean()) / deviation * inverse_deviation_correction(freedom)
    # noise estimate, and the mean of two images over the region
    uncertainty = float(np.sqrt(value**2 / (2 * freedom) + 1 / (2 * (freedom + 1))))
    return Snr(value, uncertainty, freedom, "difference of two scans")


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
    bias = "either way by the drift between the scans; too high by 1 / (1.33 x voxels of a region)"
    return Snr(value, value / np.sqrt(2 * freedom), freedom, "difference of two scans, hazen 2.0", bias)
