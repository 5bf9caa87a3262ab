"""The normal operator of a transform as a convolution: forward and back in two padded FFTs, no gridding.

F* W F x (r) = sum over voxels r' of k(r - r') x(r') dV with k(r) = sum over points of w exp(2 pi i k·r): it
depends on r - r' only (Toeplitz), so it is a multiplication on a grid of twice the size. Wajer and
Pruessmann, Proc ISMRM 9:767 (2001); Fessler et al., IEEE Trans Signal Process 53:3393 (2005).

Half of the padded volume is zero on the way in and thrown away on the way out along every axis. Going slab by
slab, only lines that hold something are transformed (7 of 12), and a slab stays in the processor's cache from
its first transform to its last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.fft

from recon.nufft_backends import import_ducc0

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.nufft import NonUniformTransform

#: Complex numbers in a slab: 2 MB, what a core's second-level cache holds (measured: 1 to 4 MB are alike).
_SLAB: Final = 2**18
#: Corners of the half space z >= 0 in which the kernel is computed: along y and x, ahead (+1) or behind (-1).
_QUADRANTS: Final = ((1, (1, -1)), (-1, (1, -1)))


class ToeplitzNormal:
    """The weighted normal operator of a transform, prepared once.

    Costs as much memory as half a transform of the doubled grid: 4 B for each of its points. Not to be called
    from two threads at once.

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
        self._use_ducc0 = transform.backend == "ducc0"
        _, ny, nx = self.grid.shape
        mz, my, mx = (_padded(count) for count in self.grid.shape)
        self._spectrum = self._transfer(kernel_half(transform, weights))
        self._columns = np.empty((mz, ny, nx), dtype=np.complex64)
        self._slab = np.empty((max(1, min(mz, _SLAB // (my * mx))), my, mx), dtype=np.complex64)
        self._fourier = _ducc0_fourier if self._use_ducc0 else _scipy_fourier

    def normal(self, images: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return F* W F x for every channel, shape (channel, z, y, x).

        Parameters
        ----------
        images
            Shape (channel, z, y, x).

        Raises
        ------
        ValueError
            The images are not on the grid.
        """
        if images.ndim != 4 or images.shape[1:] != self.grid.shape:
            raise ValueError(f"images of shape (channel, {self.grid.shape}) expected, got {images.shape}")
        result = np.empty(images.shape, dtype=np.complex64)
        for image, filtered in zip(images, result, strict=True):
            filtered[:] = self._convolve(image)
        return result

    def _convolve(self, image: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return the convolved image: a view that the next call overwrites."""
        count = len(image)
        self._columns[:count] = image
        self._columns[count:] = 0
        self._fourier(self._columns, 0, True, self._threads)
        for start in range(0, len(self._columns), len(self._slab)):
            planes = self._columns[start : start + len(self._slab)]
            self._filter(planes, self._spectrum[start : start + len(planes)])
        self._fourier(self._columns, 0, False, self._threads)
        return self._columns[:count]

    def _filter(self, planes: NDArray[np.complex64], spectrum: NDArray[np.float32]) -> None:
        """Pad planes along y and x, transform, multiply, transform back and crop, in place."""
        ny, nx = planes.shape[1:]
        slab = self._slab[: len(planes)]
        rows = slab[:, :ny]
        rows[:, :, :nx] = planes
        rows[:, :, nx:] = 0
        slab[:, ny:] = 0
        self._fourier(rows, 2, True, self._threads)
        self._fourier(slab, 1, True, self._threads)
        slab *= spectrum
        self._fourier(slab, 1, False, self._threads)
        self._fourier(rows, 2, False, self._threads)
        planes[:] = rows[:, :, :nx]

    def _transfer(self, half: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Return the real transform of the whole Hermitian kernel from its half z >= 0, scaled for use."""
        spectrum = np.asarray(
            scipy.fft.fftn(half, overwrite_x=True, workers=self._threads), dtype=np.complex64
        )
        scale = 2 * self.grid.voxel_volume / spectrum.size
        return np.ascontiguousarray(spectrum.real * np.float32(scale))


def kernel_half(transform: NonUniformTransform, weights: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Return the convolution kernel where z >= 0, its z = 0 plane halved, on the padded grid.

    Adding its Hermitian mirror image k(-r) = conj k(r) makes the whole kernel. The kernel reaches over twice
    the grid; it is computed in four parts of the grid's size, so no transform of the doubled size is needed.

    Parameters
    ----------
    transform
        Any back end.
    weights
        Volume elements in 1/m³, one per position, any shape.

    Returns
    -------
    Shape of the padded grid (z, y, x), origin first; zero where nothing of the kernel belongs.

    Raises
    ------
    ValueError
        Not as many weights as positions.
    """
    if weights.size != transform.points:
        raise ValueError(f"{transform.points} weights expected, got {weights.size}")
    nz, ny, nx = shape = transform.grid.shape
    kernel = np.zeros([_padded(count) for count in shape], dtype=np.complex64)
    volumes = np.ascontiguousarray(weights, dtype=np.float32).ravel()
    for along_y, both_x in _QUADRANTS:
        pair = np.empty((2, transform.points), dtype=np.complex64)
        for along_x, shifted in zip(both_x, pair, strict=True):
            centre = np.array([nz // 2, _centre(along_y, ny), _centre(along_x, nx)], dtype=np.float32)
            angle = centre @ transform.phases
            np.multiply(volumes, np.cos(angle), out=shifted.real)
            np.multiply(volumes, np.sin(angle), out=shifted.imag)
        for along_x, part in zip(both_x, transform.adjoint(pair), strict=True):
            source_y, target_y = _placement(along_y, ny)
            source_x, target_x = _placement(along_x, nx)
            kernel[:nz, target_y, target_x] = part[:, source_y, source_x]
    kernel[0] *= np.float32(0.5)
    return kernel


def _centre(direction: int, count: int) -> int:
    """Return the voxel difference at the centre of a quadrant: its voxels run over 0.. or over ..-1."""
    return count // 2 if direction > 0 else count // 2 - count


def _placement(direction: int, count: int) -> tuple[slice, slice]:
    """Return what part of a quadrant is used along one axis, and where it goes; behind starts at -1."""
    if direction > 0:
        return slice(None), slice(0, count)
    return slice(1, None), slice(-(count - 1), None) if count > 1 else slice(0, 0)


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
