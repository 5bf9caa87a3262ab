"""From channel images to one image. Channel images are whitened: equal, uncorrelated noise.

``combine_roemer`` keeps the unit of the sensitivities; ``snr_units``, ``combine_adaptive`` and
``combine_squares`` give the image in units of its own noise (standard deviation of the real part).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recon.sensitivities import walsh_sensitivities

if TYPE_CHECKING:
    from numpy.typing import NDArray


def combine_roemer(
    images: NDArray[np.complex64], sensitivities: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """Return the image with the best SNR and no receive shading: s^H a / s^H s.

    Parameters
    ----------
    images
        Whitened, shape (channel, z, y, x).
    sensitivities
        Same shape and whitening; 0 where unknown.

    Returns
    -------
    Shape (z, y, x), in units of what the sensitivities were measured with; 0 where they are 0.

    Notes
    -----
    Roemer et al., Magn Reson Med 16:192 (1990).
    """
    power = _power(images, sensitivities)
    sum_ = np.einsum("c...,c...->...", sensitivities.conj(), images)
    combined: NDArray[np.complex64] = np.where(power > 0, sum_ / np.where(power > 0, power, 1), 0)
    return combined.astype(np.complex64)


def snr_units(
    images: NDArray[np.complex64], sensitivities: NDArray[np.complex64], noise_gain: float
) -> NDArray[np.float32]:
    """Return the combined image in units of its own noise: |s^H a| / sqrt(s^H s) / noise gain.

    Parameters
    ----------
    images
        Whitened, shape (channel, z, y, x).
    sensitivities
        Same shape and whitening.
    noise_gain
        Standard deviation of the real part of the noise in every channel image.

    Returns
    -------
    Shape (z, y, x); a value of 20 is an SNR of 20 (standard deviation of the real part).

    Notes
    -----
    Kellman, McVeigh, Magn Reson Med 54:1439 (2005); with whitened data of unit real standard deviation
    no root of two remains.
    """
    power = _power(images, sensitivities)
    sum_ = np.abs(np.einsum("c...,c...->...", sensitivities.conj(), images))
    snr = np.where(power > 0, sum_ / np.sqrt(np.where(power > 0, power, 1)), 0) / noise_gain
    return snr.astype(np.float32)


def combine_adaptive(images: NDArray[np.complex64], noise_gain: float = 1.0) -> NDArray[np.float32]:
    """Return the image of an unknown object in units of its noise, weighted by what the channels see locally.

    Parameters
    ----------
    images
        Whitened, shape (channel, z, y, x).
    noise_gain
        Standard deviation of the real part of the noise in every channel image.

    Returns
    -------
    Shape (z, y, x); a value of 20 is an SNR of 20. Where nothing is seen the noise has the floor of one
    channel, not of all: its mean is between 1.25 and that of the root of the sum of squares.

    Notes
    -----
    Walsh, Gmitro, Marcellin, Magn Reson Med 43:682 (2000).
    """
    return snr_units(images, walsh_sensitivities(images), noise_gain)


def combine_squares(
    images: NDArray[np.complex64], noise_gain: float = 1.0, *, correct_bias: bool = True
) -> NDArray[np.float32]:
    """Return the root of the sum of squares in units of the noise, without its noise floor.

    Parameters
    ----------
    images
        Whitened, shape (channel, z, y, x).
    noise_gain
        Standard deviation of the real part of the noise in every channel image.
    correct_bias
        Take the 2 n that n channels of pure noise would give off the sum of squares. What falls below 0 is
        set to 0, so single voxels of an SNR below about 3 are still too large on average.

    Returns
    -------
    Shape (z, y, x), never negative.
    """
    squares = np.einsum("c...,c...->...", images, images.conj()).real / noise_gain**2
    if correct_bias:
        squares = np.maximum(squares - 2 * images.shape[0], 0)
    return np.asarray(np.sqrt(squares), dtype=np.float32)


def _power(images: NDArray[np.complex64], sensitivities: NDArray[np.complex64]) -> NDArray[np.float32]:
    if images.shape != sensitivities.shape:
        raise ValueError(f"images {images.shape} and sensitivities {sensitivities.shape} differ in shape")
    power = np.einsum("c...,c...->...", sensitivities, sensitivities.conj()).real
    return np.asarray(power, dtype=np.float32)
