"""The normal operator of a transform as a convolution: forward and back in two padded FFTs, no gridding.

F* W F x (r) = sum over voxels r' of k(r - r') x(r') dV with k(r) = sum over points of w exp(2 pi i k·r): it
depends on r - r' only (Toeplitz), so it is a multiplication on a grid of twice the size. Wajer and
Pruessmann, Proc ISMRM 9:767 (2001); Fessler et al., IEEE Trans Signal Process 53:3393 (2005).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np
import scipy.fft

from recon.compiled import is_numba_usable
from recon.slab_convolution import SlabConvolution

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from recon.nufft import NonUniformTransform


class _Convolution(Protocol):
    def add(
        self,
        image: NDArray[np.complex64],
        sensitivities: Iterable[NDArray[np.complex64]],
        total: NDArray[np.complex64],
        threads: int,
        /,
    ) -> None:
        """Add S* (kernel convolved with S x) of every channel to ``total``, contiguous; shapes (z, y, x)."""


class ToeplitzNormal:
    """The weighted normal operator of a transform for channels with sensitivities, prepared once.

    The transform's threads take a channel each until none is left, so the order of the sum, and with it its
    rounding, differs from call to call.

    Parameters
    ----------
    transform
        Its back end computes the kernel. The convolutions are our own compiled ones where numba is installed
        (extra ``fast``), one thread a channel, else scipy's.
    weights
        Volume elements in 1/m³, one per position, any shape.

    Raises
    ------
    ValueError
        Not as many weights as positions.
    """

    def __init__(self, transform: NonUniformTransform, weights: NDArray[np.float32]) -> None:
        self.grid = transform.grid
        self._threads = transform.threads
        self._convolution = _plan_convolution(transform, weights)

    def normal(
        self, image: NDArray[np.complex64], sensitivities: NDArray[np.complex64]
    ) -> NDArray[np.complex64]:
        """Return the sum over channels of S* F* W F (S x), shape (z, y, x).

        Parameters
        ----------
        image
            x, shape (z, y, x).
        sensitivities
            S, shape (channel, z, y, x).

        Raises
        ------
        ValueError
            The image or the sensitivities are not on the grid.
        """
        if image.shape != self.grid.shape or sensitivities.shape[1:] != self.grid.shape:
            raise ValueError(
                f"an image {self.grid.shape} and sensitivities (channel, {self.grid.shape}) expected, "
                f"got {image.shape} and {sensitivities.shape}"
            )
        workers = max(1, min(self._threads, len(sensitivities)))
        waiting = iter(np.asarray(sensitivities))

        def share(threads: int) -> NDArray[np.complex64]:
            total = np.zeros(image.shape, dtype=np.complex64)
            self._convolution.add(image, waiting, total, threads)
            return total

        with ThreadPoolExecutor(workers) as pool:
            threads = [self._threads // workers] * workers
            parts = list(pool.map(share, threads))
        result = parts[0]
        for part in parts[1:]:
            result += part
        return result


def _plan_convolution(transform: NonUniformTransform, weights: NDArray[np.float32]) -> _Convolution:
    spectrum = transfer_function(transform, weights)
    if is_numba_usable():
        from recon.compiled.convolution import CompiledConvolution

        return CompiledConvolution(spectrum)
    return SlabConvolution(spectrum)


def transfer_function(transform: NonUniformTransform, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Fourier transform of the kernel on the padded grid, origin first, scaled for use.

    The padded grid reaches over every difference of two voxels, and the kernel is gridded onto it at once.
    Its transform is real because the weights are.

    Parameters
    ----------
    transform
        Any back end.
    weights
        Volume elements in 1/m³, one per position, any shape.

    Returns
    -------
    Real, shape (z, y, x); lengths with prime factors 2, 3 and 5.

    Raises
    ------
    ValueError
        Not as many weights as positions.
    """
    if weights.size != transform.points:
        raise ValueError(f"{transform.points} weights expected, got {weights.size}")
    nz, ny, nx = (_padded(count) for count in transform.grid.shape)
    padded = transform.resized((nz, ny, nx))
    kernel = padded.adjoint(np.asarray(weights, dtype=np.complex64).reshape(1, -1))[0]
    spectrum = np.asarray(
        scipy.fft.fftn(scipy.fft.ifftshift(kernel), overwrite_x=True, workers=transform.threads),
        dtype=np.complex64,
    )
    return spectrum.real * np.float32(transform.grid.voxel_volume / spectrum.size)


def _padded(count: int) -> int:
    """Return a fast length that holds all differences of ``count`` voxels."""
    length: int | None = scipy.fft.next_fast_len(2 * count - 1, real=True)
    if length is None:
        raise ValueError(f"an axis needs a whole number of voxels, at least one; got {count}")
    return length
