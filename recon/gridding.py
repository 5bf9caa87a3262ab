"""Gridding of samples that come in parts: spread with finufft's kernel, transform what the image needs.

The sum of all parts' images is the adjoint of the whole (``recon.nufft``), to rounding. Kept is the sum of
images, not the twice finer k-space grids: eight times less memory, and adding an image costs no more than
adding a grid. Only the lines that lead to voxels of the image are transformed, 58 % of the finer grid's,
and nothing is planned for all channels at once: for few samples half of finufft's own time. Threads take a
channel each, from its samples to its image.
"""

from __future__ import annotations

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

#: The k-space grid is finer than the image needs by this factor; also finufft's ``upsampfac``.
_UPSAMPLING: Final = 2
#: Complex numbers in a slab of the k-space grid: 1 MB, what stays in a core's second-level cache.
_SLAB: Final = 2**17
#: Channels that a thread spreads in one call: each call takes fresh memory, which costs as much as spreading.
_TOGETHER: Final = 2
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
        shares = np.array_split(np.arange(len(flat)), count)

        def add_share(lane: _Lane, share: NDArray[np.intp]) -> None:
            part = slice(int(share[0]), int(share[-1]) + 1)
            self._add_share(lane, images[part], phases, flat[part], self.threads // count)

        with ThreadPoolExecutor(count) as pool:
            list(pool.map(add_share, self._lanes, shares))

    def _add_share(
        self,
        lane: _Lane,
        images: NDArray[np.complex64],
        phases: NDArray[np.float32],
        samples: NDArray[np.complex64],
        threads: int,
    ) -> None:
        """Add some channels' images in a lane, a few channels spread at a time."""
        plans: dict[int, Any] = {}
        for start in range(0, len(samples), _TOGETHER):
            few = samples[start : start + _TOGETHER]
            if len(few) not in plans:
                plans[len(few)] = _spreader(self._cells, self._tolerance, len(few), threads=threads)
                plans[len(few)].setpts(*phases)
            cells = lane.cells[: len(few)]
            # finufft wants no axis for a single channel
            plans[len(few)].execute(*((few, cells) if len(few) > 1 else (few[0], cells[0])))
            for image, spread in zip(images[start : start + _TOGETHER], cells, strict=True):
                found = lane.transform(spread, threads)
                found *= self._deconvolution
                np.add(image, found, out=image)


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
        self.cells = np.zeros((_TOGETHER, *cells), dtype=np.complex64)
        self._rows = np.zeros((planes, cells[1], nx), dtype=np.complex64)
        self._columns = np.zeros((cells[0], ny, nx), dtype=np.complex64)
        self._image = np.zeros(shape, dtype=np.complex64)

    def transform(self, cells: NDArray[np.complex64], threads: int) -> NDArray[np.complex64]:
        """Return the image of a k-space grid, a view; axis by axis, each cut before the next one.

        The first two axes go slab by slab, so that the grid is read once and the rest stays in the cache.
        """
        planes = len(self._rows)
        for start in range(0, len(cells), planes):
            slab = cells[start : start + planes]
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


def _spreader(
    cells: tuple[int, ...], tolerance: float, channels: int = 1, *, dtype: str = "complex64", threads: int = 1
) -> Any:  # noqa: ANN401 - finufft has no types
    """Return a plan that only convolves with the kernel onto the grid."""
    return finufft.Plan(
        1,
        cells,
        n_trans=channels,
        eps=tolerance,
        isign=1,
        dtype=dtype,
        upsampfac=float(_UPSAMPLING),
        spreadinterponly=1,
        nthreads=threads,
    )
