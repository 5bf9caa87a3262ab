"""Sensitivities of an unknown object: at each place the strongest mode of what the channels see around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from recon.sensitivities.low_resolution import normalised
from recon.sensitivities.spectrum import central_spectrum, spectrum_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Voxels of the coarse grid along each axis on which the covariances are formed.
_COARSE: Final = 24
#: Side of the neighbourhood in coarse voxels.
_NEIGHBOURHOOD: Final = 3
#: Power iterations; from the root sum of squares on, six leave less than the noise.
_ITERATIONS: Final = 6


def walsh_sensitivities(
    images: NDArray[np.complex64],
    *,
    coarse: int = _COARSE,
    neighbourhood: int = _NEIGHBOURHOOD,
    iterations: int = _ITERATIONS,
) -> NDArray[np.complex64]:
    """Return the dominant eigenvector of the channels' local covariance, normalised over the channels.

    Parameters
    ----------
    images
        Whitened, shape (channel, z, y, x).
    coarse
        Voxels along each axis of the grid on which it is done; sensitivities are smooth.
    neighbourhood
        Side in coarse voxels of the box in which the covariance is formed.
    iterations
        Power iterations.

    Returns
    -------
    Same shape; the sum of squares over the channels is 1. The phase is that of the channels added up with
    the weights that suit the whole object best, so it is smooth wherever that sum does not vanish.

    Notes
    -----
    Walsh, Gmitro, Marcellin, Magn Reson Med 43:682 (2000); power iterations and a common phase as Inati et
    al., Proc. ISMRM 2014, p. 4407.
    """
    counts = [min(coarse, voxels) for voxels in images.shape[1:]]
    small = spectrum_images(central_spectrum(images, counts), counts)
    maps = dominant_vectors(_covariance(small, neighbourhood), small, iterations)[0]
    return normalised(refined(with_common_phase(maps, small), images.shape[1:]))


def with_common_phase(maps: NDArray[np.complex64], images: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return maps turned so that their best common sum is real and positive everywhere.

    Parameters
    ----------
    maps
        Shape (channel, z, y, x), with a phase of its own in every voxel.
    images
        On the same grid; their dominant mode over all voxels gives the weights of the sum.
    """
    flat = images.reshape(len(images), -1)
    weights = np.linalg.eigh(flat @ flat.conj().T)[1][:, -1]
    common = np.einsum("c,czyx->zyx", weights.conj(), maps)
    size = np.abs(common)
    turned: NDArray[np.complex64] = maps * np.where(size > 0, common.conj() / np.where(size > 0, size, 1), 1)
    return turned.astype(np.complex64)


def refined(maps: NDArray[np.complex64], shape: Sequence[int]) -> NDArray[np.complex64]:
    """Return smooth maps on a finer grid over the same field of view, by linear interpolation."""
    result: NDArray[np.complex64] = maps
    for axis, voxels in enumerate(shape):
        count = result.shape[axis + 1]
        if count == voxels:
            continue
        place = (np.arange(voxels) - voxels // 2) * count / voxels + count // 2
        below = np.clip(np.floor(place).astype(np.intp), 0, max(count - 2, 0))
        share = np.clip(place - below, 0, 1).astype(np.float32)
        share = share.reshape([-1 if axis + 1 == other else 1 for other in range(4)])
        low, high = (np.take(result, np.minimum(below + step, count - 1), axis=axis + 1) for step in (0, 1))
        result = low + share * (high - low)
    return result


def dominant_vectors(
    matrices: NDArray[np.complex64], start: NDArray[np.complex64], iterations: int = _ITERATIONS
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return each voxel's strongest eigenvector, of unit length, and its eigenvalue.

    Parameters
    ----------
    matrices
        Hermitian, not negative, shape (z, y, x, channel, channel).
    start
        Where the power iterations begin, shape (channel, z, y, x).
    iterations
        Power iterations.

    Returns
    -------
    Shapes (channel, z, y, x) and (z, y, x).
    """
    vectors = np.ascontiguousarray(np.moveaxis(start, 0, -1))[..., None]
    length = np.linalg.norm(vectors, axis=-2, keepdims=True)
    for _ in range(iterations):
        vectors = vectors / np.maximum(length, np.finfo(np.float32).tiny)
        vectors = matrices @ vectors
        length = np.linalg.norm(vectors, axis=-2, keepdims=True)
    vectors = vectors / np.maximum(length, np.finfo(np.float32).tiny)
    return np.ascontiguousarray(np.moveaxis(vectors[..., 0], -1, 0)), length[..., 0, 0]


def _covariance(images: NDArray[np.complex64], neighbourhood: int) -> NDArray[np.complex64]:
    """Return the channels' covariance in a box around each voxel, shape (z, y, x, channel, channel)."""
    channels = len(images)
    result = np.empty((*images.shape[1:], channels, channels), dtype=np.complex64)
    for row in range(channels):
        products = images[row] * images[: row + 1].conj()
        for axis in (1, 2, 3):
            products = _box(products, neighbourhood, axis)
        result[..., row, : row + 1] = np.moveaxis(products, 0, -1)
        result[..., : row + 1, row] = np.moveaxis(products.conj(), 0, -1)
    return result


def _box(values: NDArray[np.complex64], side: int, axis: int) -> NDArray[np.complex64]:
    """Return sums over ``side`` neighbours along ``axis``, fewer at the ends."""
    moved = np.moveaxis(values, axis, 0)
    result = moved.copy()
    for shift in range(-(side // 2), side - side // 2):
        first, last = max(0, -shift), len(moved) - max(0, shift)
        if shift and first < last:
            result[first:last] += moved[first + shift : last + shift]
    return np.moveaxis(result, 0, axis)
