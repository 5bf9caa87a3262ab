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
    matched, power = _matched(images, sensitivities)
    combined: NDArray[np.complex64] = np.where(power > 0, matched / np.where(power > 0, power, 1), 0)
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
    matched, power = _matched(images, sensitivities)
    snr = np.where(power > 0, np.abs(matched) / np.sqrt(np.where(power > 0, power, 1)), 0) / noise_gain
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
    squares = _power(images) / noise_gain**2
    if correct_bias:
        squares = np.maximum(squares - 2 * images.shape[0], 0)
    return np.asarray(np.sqrt(squares), dtype=np.float32)


def _matched(
    images: NDArray[np.complex64], sensitivities: NDArray[np.complex64]
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return s^H a and s^H s."""
    if images.shape != sensitivities.shape:
        raise ValueError(f"images {images.shape} and sensitivities {sensitivities.shape} differ in shape")
    matched = np.zeros(images.shape[1:], dtype=np.complex64)
    for image, sensitivity in zip(images, sensitivities, strict=True):
        matched += (sensitivity.conj() * image).astype(np.complex64, copy=False)
    return matched, _power(sensitivities)


def _power(images: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Return the sum of squared magnitudes over the channels, real and imaginary parts in one pass."""
    squares = np.zeros((*images.shape[1:-1], 2 * images.shape[-1]), dtype=np.float32)
    for image in images:
        squares += np.square(np.ascontiguousarray(image, dtype=np.complex64).view(np.float32))
    return np.asarray(squares[..., ::2] + squares[..., 1::2], dtype=np.float32)
