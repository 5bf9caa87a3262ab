"""The normal operator of a transform as a convolution: forward and back in two padded FFTs, no gridding.

F* W F x (r) = sum over voxels r' of k(r - r') x(r') dV with k(r) = sum over points of w exp(2 pi i k·r): it
depends on r - r' only (Toeplitz), so it is a multiplication on a grid of twice the size. Wajer and
Pruessmann, Proc ISMRM 9:767 (2001); Fessler et al., IEEE Trans Signal Process 53:3393 (2005).

Half of the padded volume is zero on the way in and thrown away on the way out along every axis. Going slab by
slab, only lines that hold something are transformed (7 of 12), and a slab stays in the processor's cache from
its first transform to its last.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.fft

from recon.nufft_backends import import_ducc0

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from recon.nufft import NonUniformTransform

#: Complex numbers in a slab: 1 MB, so that it and its part of the kernel's transform stay in a core's
#: second-level cache (measured: 0.5 to 1 MB are alike, 2 MB takes a tenth longer).
_SLAB: Final = 2**17


class ToeplitzNormal:
    """The weighted normal operator of a transform for channels with sensitivities, prepared once.

    Costs 8 B for each point of the doubled grid. The transform's threads take a channel each
    until none is left, so the order of the sum, and with it its rounding, differs from call to call.

    Parameters
    ----------
    transform
        Its back end computes the kernel; ducc0 also lends its FFT, which is a third faster than scipy's.
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
        self._fourier = _ducc0_fourier if transform.backend == "ducc0" else _scipy_fourier
        self._spectrum = transfer_function(transform, weights)

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
        waiting = iter(sensitivities)
        with ThreadPoolExecutor(workers) as pool:
            threads = [self._threads // workers] * workers
            parts = list(pool.map(lambda count: self._share(image, waiting, count), threads))
        result = parts[0]
        for part in parts[1:]:
            result += part
        return result

    def _share(
        self, image: NDArray[np.complex64], sensitivities: Iterator[NDArray[np.complex64]], threads: int
    ) -> NDArray[np.complex64]:
        """Return what channels add to the sum, each taken from those that still wait."""
        count, ny, nx = image.shape
        mz, my = self._spectrum.shape[:2]
        mx = self._spectrum.shape[2] // 2
        columns = np.empty((mz, ny, nx), dtype=np.complex64)
        slab = np.empty((max(1, min(mz, _SLAB // (my * mx))), my, mx), dtype=np.complex64)
        total = np.zeros(image.shape, dtype=np.complex64)
        for sensitivity in sensitivities:
            np.multiply(image, sensitivity, out=columns[:count])
            columns[count:] = 0
            self._fourier(columns, 0, True, threads)
            for start in range(0, mz, len(slab)):
                planes = columns[start : start + len(slab)]
                part = slab[: len(planes)]
                self._filter(planes, self._spectrum[start : start + len(planes)], part, threads)
            self._fourier(columns, 0, False, threads)
            filtered = columns[:count]
            filtered *= sensitivity.conj()
            total += filtered
        return total

    def _filter(
        self,
        planes: NDArray[np.complex64],
        spectrum: NDArray[np.float32],
        slab: NDArray[np.complex64],
        threads: int,
    ) -> None:
        """Pad planes along y and x, transform, multiply, transform back and crop, in place."""
        ny, nx = planes.shape[1:]
        rows = slab[:, :ny]
        rows[:, :, :nx] = planes
        rows[:, :, nx:] = 0
        slab[:, ny:] = 0
        self._fourier(rows, 2, True, threads)
        self._fourier(slab, 1, True, threads)
        parts = slab.view(np.float32)
        parts *= spectrum
        self._fourier(slab, 1, False, threads)
        self._fourier(rows, 2, False, threads)
        planes[:] = rows[:, :, :nx]


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
    Shape (z, y, 2 x): each value twice, for the real and the imaginary part of what it multiplies, which is
    three times faster than complex times real.

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
    spectrum.real *= np.float32(transform.grid.voxel_volume / spectrum.size)
    spectrum.imag = spectrum.real
    return spectrum.view(np.float32)


def _padded(count: int) -> int:
    """Return a fast length that holds all differences of ``count`` voxels."""
    length: int | None = scipy.fft.next_fast_len(2 * count - 1)
    if length is None:
        raise ValueError(f"an axis needs a whole number of voxels, at least one; got {count}")
    return length


def _scipy_fourier(array: NDArray[np.complex64], axis: int, forward: bool, threads: int) -> None:
    """Transform in place along one axis, unscaled both ways."""
    transform = scipy.fft.fft if forward else scipy.fft.ifft
    norm = "backward" if forward else "forward"
    result = np.asarray(transform(array, axis=axis, norm=norm, overwrite_x=True, workers=threads))
    if not np.may_share_memory(result, array):
        array[...] = result


def _ducc0_fourier(array: NDArray[np.complex64], axis: int, forward: bool, threads: int) -> None:
    """Transform in place along one axis, unscaled both ways."""
    fft: Any = import_ducc0().fft
    fft.c2c(array, axes=(axis,), forward=forward, out=array, nthreads=threads)
