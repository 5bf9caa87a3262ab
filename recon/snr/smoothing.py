"""SNR from one image: noise is what an image scatters about its own moving average.

Texture and edges count as noise, and noise that filters or zero filling have made smooth does not. So this is
for single images that have no repetition, and never in one trend with the difference method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.ndimage

from coilbench.base.errors import MeasurementError
from recon.snr.record import Snr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: What is said with every number of this method.
_BIAS: Final = (
    "too low where the object has texture or edges, too high where noise is alike in neighbouring pixels "
    "(filtered, zero-filled)"
)


def snr_of_smoothing(
    image: NDArray[np.floating[Any]], regions: Sequence[NDArray[np.bool_]], *, width: int = 9
) -> Snr:
    """Return the SNR of one image: mean over the deviation from its own moving average.

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
    MeasurementError
        A region has no noise.

    Notes
    -----
    McCann et al., Phys Med Biol 58:3775 (2013); a pixel is part of its own average, which takes
    sqrt(1 - 1 / width²) of the noise away and is put back here.
    """
    data = np.asarray(image, np.float64)
    rest = data - scipy.ndimage.uniform_filter(data, _odd(width))
    return _mean_over_regions(data, rest / np.sqrt(1 - 1 / width**2), regions, "", _BIAS)


def snr_of_smoothing_as_hazen(
    image: NDArray[np.integer[Any]], regions: Sequence[NDArray[np.bool_]], *, width: int = 9
) -> Snr:
    """Return the SNR of one image as hazen 2.0 prints it.

    Kept to compare with that program's numbers. Its moving average is cut to whole numbers along each axis,
    and a pixel's part in its own average is not put back: 0.6 % too high with 9 pixels.

    Parameters
    ----------
    image
        Stored whole numbers (2-D).
    regions
        Masks; hazen takes five squares of 20 x 20 pixels.
    width
        Odd edge of the moving average in pixels; hazen has 9 for head coils, 25 for body coils.

    Raises
    ------
    ValueError
        ``width`` is even or below 3.
    MeasurementError
        A region has no noise.
    """
    data = np.asarray(image).astype(np.int64)
    rest = data - scipy.ndimage.uniform_filter(data, _odd(width), mode="constant")
    own = 100 * (1 / np.sqrt(1 - 1 / width**2) - 1)
    bias = f"too high by {own:.1f} %, as a pixel is part of its own average; {_BIAS}"
    return _mean_over_regions(data.astype(np.float64), rest.astype(np.float64), regions, ", hazen 2.0", bias)


def _odd(width: int) -> int:
    if width < 3 or width % 2 == 0:
        raise ValueError(f"the moving average needs an odd width of at least 3 pixels, got {width}")
    return width


def _mean_over_regions(
    data: NDArray[np.float64],
    rest: NDArray[np.float64],
    regions: Sequence[NDArray[np.bool_]],
    variant: str,
    bias: str,
) -> Snr:
    values = []
    for region in regions:
        deviation = float(rest[region].std(ddof=1))
        if deviation == 0:
            raise MeasurementError(
                "the image is its own moving average: it holds no noise (synthetic, or cut to few values)"
            )
        values.append(float(data[region].mean()) / deviation)
    voxels = sum(int(np.count_nonzero(region)) for region in regions)
    freedom = voxels - len(regions)
    value = float(np.mean(values))
    uncertainty = float(np.sqrt(value**2 / (2 * freedom) + 1 / voxels))
    return Snr(value, uncertainty, freedom, f"deviation from the moving average{variant}", bias)
