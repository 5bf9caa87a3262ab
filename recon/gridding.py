"""Gridding of samples that come in parts: spread with finufft's kernel, transform what the image needs.

The sum of all parts' images is the adjoint of the whole (``recon.nufft``), to rounding. Kept is the sum of
images, not the finer k-space grids: a third of the memory, and adding an image costs no more than adding a
grid. Only the lines that lead to voxels of the image are transformed, 70 % of the finer grid's, and nothing
is planned for all channels at once: for few samples half of finufft's own time. Threads take a channel each,
from its samples to its image, until none is left: threads of two kinds would wait for each other.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import finufft
import numpy as np
import scipy.fft

from recon.nufft import TOLERANCE, sample_phases
from recon.nufft_backends import available_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid

#: The k-space grid is finer than the image needs by this factor; also finufft's ``upsampfac``. Of few samples
#: the grid takes most of the time, and 1.5 is as exact as 2 in single precision (measured).
_UPSAMPLING: Final = 1.5
#: Fewest cells of an axis: twice finufft's widest kernel.
_FEWEST: Final = 32
#: Complex numbers in a slab of the k-space grid: 1 MB, what stays in a core's second-level cache.
_SLAB: Final = 2**17
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
        self._cells = tuple(_finer(count) for count in grid.shape)
        z, y, x = (1 / _kernel_transform(count, tolerance) for count in grid.shape)
        self._deconvolution = (z[:, None, None] * y[:, None] * x).astype(np.float32)
        self._lanes: list[_Lane] = []

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
        count = min(self.threads, len(flat))
        while len(self._lanes) < count:
            self._lanes.append(_Lane(self._cells, self.grid.shape))
        waiting = iter(range(len(flat)))

        def add_channels(lane: _Lane) -> None:
            threads = self.threads // count
            plan = _spreader(self._cells, self._tolerance, threads)
            plan.setpts(*phases)
            for channel in waiting:
                plan.execute(flat[channel], out=lane.cells)
                found = lane.transform(threads)
                found *= self._deconvolution
                images[channel] += found

        with ThreadPoolExecutor(count) as pool:
            list(pool.map(add_channels, self._lanes[:count]))


class _Lane:
    """A k-space grid and its transform, in memory that is kept: fresh pages would take as long as the work.

    Parameters
    ----------
    cells
        Along (z, y, x) of the k-space grid.
    shape
        Voxels along (z, y, x) of the image.
    """

    def __init__(self, cells: tuple[int, ...], shape: tuple[int, int, int]) -> None:
        _, ny, nx = shape
        planes = max(1, _SLAB // (cells[1] * cells[2]))
        self.cells = np.zeros(cells, dtype=np.complex64)
        self._rows = np.zeros((planes, cells[1], nx), dtype=np.complex64)
        self._columns = np.zeros((cells[0], ny, nx), dtype=np.complex64)
        self._image = np.zeros(shape, dtype=np.complex64)

    def transform(self, threads: int) -> NDArray[np.complex64]:
        """Return the image of the k-space grid, a view; axis by axis, each cut before the next one.

        The first two axes go slab by slab, so that the grid is read once and the rest stays in the cache.
        """
        planes = len(self._rows)
        for start in range(0, len(self.cells), planes):
            slab = self.cells[start : start + planes]
            rows = self._rows[: len(slab)]
            _cut(slab, 2, rows, threads)
            _cut(rows, 1, self._columns[start : start + planes], threads)
        _cut(self._columns, 0, self._image, threads)
        return self._image


def _cut(part: NDArray[np.complex64], axis: int, out: NDArray[np.complex64], threads: int) -> None:
    """Transform along an axis, overwriting, and copy the voxels around voxel 0, in rising order."""
    line = np.asarray(scipy.fft.ifft(part, axis=axis, norm="forward", overwrite_x=True, workers=threads))
    count = out.shape[axis]
    lines, voxels = np.moveaxis(line, axis, 0), np.moveaxis(out, axis, 0)
    voxels[: count // 2] = lines[len(lines) - count // 2 :]
    voxels[count // 2 :] = lines[: count - count // 2]


def _finer(count: int) -> int:
    """Return a fast even length of the k-space grid for an axis of ``count`` voxels."""
    half: Any = scipy.fft.next_fast_len(math.ceil(max(_FEWEST, _UPSAMPLING * count) / 2))
    return 2 * int(half)


def _kernel_transform(count: int, tolerance: float) -> NDArray[np.float64]:
    """Return the Fourier transform of finufft's kernel at the voxels of an axis.

    Measured: a unit at several places between two cells, each transformed and turned back; the mean leaves
    the kernel's own transform without its periodic copies. The kernel depends on the number of axes and on
    the precision, so the two other axes are there; along them the unit stays on a cell. Position 0 is the
    middle cell: the transform changes its sign from voxel to voxel, and so does that of the samples.
    """
    cells = _finer(count)
    voxels = np.arange(count) - count // 2
    offsets = (2 * np.pi / cells * np.arange(_OFFSETS) / _OFFSETS).astype(np.float32)
    plan = _spreader((cells, _FEWEST, _FEWEST), tolerance)
    lines = np.empty((_OFFSETS, cells), dtype=np.complex128)
    for line, offset in zip(lines, offsets, strict=True):
        plan.setpts(*np.array([[offset], [0], [0]], dtype=np.float32))
        line[:] = plan.execute(np.ones(1, dtype=np.complex64))[:, _FEWEST // 2, _FEWEST // 2]
    peak = np.cbrt(lines[0, cells // 2].real)
    turns = np.exp(-1j * np.outer(offsets, voxels))
    transforms = np.asarray(scipy.fft.ifft(lines, norm="forward"))[:, voxels] * turns
    return np.asarray(transforms.mean(axis=0).real / peak**2, dtype=np.float64)


def _spreader(cells: tuple[int, ...], tolerance: float, threads: int = 1) -> Any:  # noqa: ANN401 - finufft has no types
    """Return a plan that only convolves with the kernel onto the grid.

    One channel at a time: finufft's own scratch is then small enough for the C library to keep.
    """
    return finufft.Plan(
        1,
        cells,
        eps=tolerance,
        isign=1,
        dtype="complex64",
        upsampfac=_UPSAMPLING,
        spreadinterponly=1,
        nthreads=threads,
    )
