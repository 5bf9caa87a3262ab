"""Sensitivities of an unknown object: the images' own low frequencies over their root sum of squares."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from recon.sensitivities.spectrum import central_spectrum, spectrum_images

if TYPE_CHECKING:
    from numpy.typing import NDArray


def low_resolution_sensitivities(
    images: NDArray[np.complex64], *, width: float = 12.0
) -> NDArray[np.complex64]:
    """Return sensitivities from the images' own low frequencies, normalised over the channels.

    Parameters
    ----------
    images
        Whitened, shape (channel, z, y, x).
    width
        Half width of the Hann window in k-space in cycles per field of view.

    Returns
    -------
    Same shape; the sum of squares over the channels is 1.

    Notes
    -----
    The phase common to all channels is that of the object: with these maps ``combine_roemer`` gives a
    magnitude image. Roemer et al., Magn Reson Med 16:192 (1990), "sum of squares" from low resolution.
    """
    reach = math.ceil(width) - 1
    counts = [min(2 * reach + 1, voxels) for voxels in images.shape[1:]]
    spectrum = central_spectrum(images, counts)
    for axis, count in enumerate(counts):
        cycles = np.abs(np.arange(count) - count // 2)
        hann = np.where(cycles < width, 0.5 + 0.5 * np.cos(np.pi * cycles / width), 0.0).astype(np.float32)
        spectrum *= hann.reshape([-1 if axis == other else 1 for other in range(3)])
    return normalised(spectrum_images(spectrum, images.shape[1:]))


def normalised(maps: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Scale maps, in place, to a sum of squares over the channels of 1 and return them; 0 stays 0."""
    power = np.zeros(maps.shape[1:], dtype=np.float32)
    for channel in maps:
        power += channel.real**2 + channel.imag**2
    maps *= np.where(power > 0, 1 / np.sqrt(np.maximum(power, np.finfo(np.float32).tiny)), 0)
    return maps
