"""Sensitivities of an unknown object: the images' own low frequencies over their root sum of squares."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from recon.nufft_backends import available_threads

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
    waves = [_low_pass(voxels, width) for voxels in images.shape[1:]]
    maps = np.empty(images.shape, dtype=np.complex64)
    with ThreadPoolExecutor(available_threads()) as pool:
        list(pool.map(partial(_filter, waves), images, maps))
    return normalised(maps)


def normalised(maps: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Scale maps, in place, to a sum of squares over the channels of 1 and return them; 0 stays 0."""
    parts = maps.view(np.float32)
    squares = np.zeros(parts.shape[1:], dtype=np.float32)
    for channel in parts:
        squares += np.square(channel)
    power = squares[..., ::2] + squares[..., 1::2]
    factors = np.where(power > 0, 1 / np.sqrt(np.maximum(power, np.finfo(np.float32).tiny)), 0)
    parts *= np.repeat(factors.astype(np.float32), 2, axis=-1)
    return maps


def _filter(
    waves: list[NDArray[np.float32]], image: NDArray[np.complex64], low: NDArray[np.complex64]
) -> None:
    """Filter an image along all axes, in matrix products too small for BLAS to start threads of its own.

    Along z and y a real matrix works on real and imaginary parts side by side.
    """
    z, y, x = waves
    parts = np.ascontiguousarray(image, dtype=np.complex64).view(np.float32)
    along_y = y.T @ parts
    along_z = z.T @ along_y.transpose(1, 0, 2)
    along_x = along_z.view(np.complex64) @ x.astype(np.complex64)
    lines = (along_x @ x.T.astype(np.complex64)).view(np.float32)
    np.matmul(y, (z @ lines).transpose(1, 0, 2), out=low.view(np.float32))


def _low_pass(voxels: int, width: float) -> NDArray[np.float32]:
    """Return A, shape (voxel, wave): A A^T is the Hann filter along an axis.

    Its waves are the real ones, cosines and sines, each times the root of what the filter leaves of it.
    """
    cycles = np.arange(min(math.ceil(width) - 1, voxels // 2) + 1)
    power = (0.5 + 0.5 * np.cos(np.pi * cycles / width)) / voxels
    # all but the mean and the shortest wave of an even number of voxels come as a cosine and a sine
    paired = (cycles > 0) & (2 * cycles < voxels)
    power[paired] *= 2
    turns = 2 * np.pi * np.outer(np.arange(voxels), cycles) / voxels
    waves = np.hstack([np.cos(turns) * np.sqrt(power), (np.sin(turns) * np.sqrt(power))[:, paired]])
    return waves.astype(np.float32)
