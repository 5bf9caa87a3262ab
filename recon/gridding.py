"""Gridding of samples that come in parts: spread with finufft's kernel, transform what the image needs.

The sum of all parts' images is the adjoint of the whole (``recon.nufft``), to rounding. Kept is the sum of
images, not the twice finer k-space grids: eight times less memory, and adding an image costs no more than
adding a grid. Only the lines that lead to voxels of the image are transformed, 58 % of the finer grid's,
and nothing is planned for all channels at once: for few samples half of finufft's own time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import finufft
import numpy as np
import scipy.fft

from recon.nufft import TOLERANCE, sample_phases
from recon.nufft_backends import available_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid

#: The k-space grid is finer than the image needs by this factor; also finufft's ``upsampfac``.
_UPSAMPLING: Final = 2
#: Samples up to which one thread spreads as fast as two (measured), and does not wait for a busy processor.
_ONE_THREAD: Final = 2**17
#: Places within a cell at which the kernel's transform is measured; its copies fall outside between them.
_OFFSETS: Final = 8


class Gridder:
    """Adds the images of samples to those that are there.

    Parameters
    ----------
    grid
        The image grid.
    tolerance
        Requested relative accuracy.
    threads
        Threads to use; 0 for all.
    """

    def __init__(self, grid: Grid, *, tolerance: float = TOLERANCE, threads: int = 0) -> None:
        self.grid = grid
        self.threads = threads or available_threads()
        self._tolerance = tolerance
        self._cells = tuple(_UPSAMPLING * count for count in grid.shape)
        z, y, x = (1 / _kernel_transform(count, tolerance) for count in grid.shape)
        self._deconvolution = (z[:, None, None] * y[:, None] * x).astype(np.float32)
        self._spread = np.empty(self._cells, dtype=np.complex64)

    def add(
        self,
        images: NDArray[np.complex64],
        positions: NDArray[np.floating[Any]],
        samples: NDArray[np.complex64],
    ) -> None:
        """Add the sum over k of ``samples`` exp(+2 pi i k·r) to ``images``, in place.

        Parameters
        ----------
        images
            Shape (channel, z, y, x).
        positions
            k in 1/m as (kx, ky, kz), shape (..., 3), within the grid's Nyquist frequency.
        samples
            Shape (channel, ...), density weights already multiplied in.

        Raises
        ------
        ValueError
            Shapes do not match, or a position lies beyond the Nyquist frequency.
        """
        phases = sample_phases(self.grid, positions)
        flat = np.ascontiguousarray(samples, dtype=np.complex64).reshape(samples.shape[0], -1)
        if images.shape != (flat.shape[0], *self.grid.shape) or flat.shape[1] != phases[0].size:
            raise ValueError(
                f"{phases[0].size} samples of each channel on {self.grid.shape} expected, got samples of "
                f"shape {samples.shape} and images of shape {images.shape}"
            )
        threads = 1 if flat.shape[1] <= _ONE_THREAD else self.threads
        plan = _spreader(self._cells, self._tolerance, threads=threads)
        plan.setpts(*phases)
        for image, channel in zip(images, flat, strict=True):
            plan.execute(channel, self._spread)
            image[...] += self._transform()

    def _transform(self) -> NDArray[np.complex64]:
        """Return the image of the k-space grid: axis by axis, each cut before the next one."""
        part = self._spread
        for axis in (2, 1, 0):
            line = scipy.fft.ifft(part, axis=axis, norm="forward", overwrite_x=True, workers=self.threads)
            part = _central(np.asarray(line), axis, self.grid.shape[axis])
        part *= self._deconvolution
        return part


def _central(values: NDArray[np.complex64], axis: int, count: int) -> NDArray[np.complex64]:
    """Return the ``count`` voxels around voxel 0 of a periodic axis, in rising order."""
    below, above = [slice(None)] * 3, [slice(None)] * 3
    below[axis] = slice(values.shape[axis] - count // 2, None)
    above[axis] = slice(0, count - count // 2)
    return np.concatenate([values[tuple(below)], values[tuple(above)]], axis=axis)


def _kernel_transform(count: int, tolerance: float) -> NDArray[np.float64]:
    """Return the Fourier transform of finufft's kernel at the voxels of an axis.

    Measured: a unit at several places between two cells, each transformed and turned back; the mean leaves
    the kernel's own transform without its periodic copies.
    """
    cells = _UPSAMPLING * count
    voxels = np.arange(count) - count // 2
    total = np.zeros(count, dtype=np.complex128)
    for offset in 2 * np.pi / cells * np.arange(_OFFSETS) / _OFFSETS:
        plan = _spreader((cells,), tolerance, dtype="complex128")
        plan.setpts(np.array([offset]))
        spread = np.asarray(plan.execute(np.ones(1, dtype=np.complex128)))
        total += scipy.fft.ifft(spread, norm="forward")[voxels] * np.exp(-1j * voxels * offset)
    return np.asarray(total.real / _OFFSETS, dtype=np.float64)


def _spreader(cells: tuple[int, ...], tolerance: float, *, dtype: str = "complex64", threads: int = 1) -> Any:  # noqa: ANN401 - finufft has no types
    """Return a plan that only convolves with the kernel onto the grid."""
    return finufft.Plan(
        1,
        cells,
        eps=tolerance,
        isign=1,
        dtype=dtype,
        upsampfac=float(_UPSAMPLING),
        spreadinterponly=1,
        nthreads=threads,
    )
