"""Our own non-uniform transform: points spread onto a doubled grid, transformed, cropped; and back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from recon.compiled.codegen import WIDTH
from recon.compiled.fourier import good_length, line_buffer, roots_of_unity
from recon.compiled.grid_passes import (
    GridLayout,
    crop_along_x,
    fill_margins,
    fold_margins,
    pad_along_x,
    repeat_layers,
    transform_axis,
)
from recon.compiled.kernel import SpreadingKernel, row_lanes
from recon.compiled.lanes import aligned
from recon.compiled.spreading import (
    CUBE,
    Places,
    Rows,
    interpolate_points,
    sort_points,
    spread_points,
    workspace,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from recon.compiled.grid_passes import AxisPass
    from recon.compiled.lanes import Floats

#: Channels side by side: eight complex numbers are a cache line.
_CHANNELS: Final = WIDTH // 2
#: Points that a thread takes at a time to interpolate.
_POINTS_AT_A_TIME: Final = 2**16
#: Parts of a pass over the grid per thread.
_PARTS_PER_THREAD: Final = 4


class NumbaBackend:
    """Sums over points and over voxels, single precision, by kernels that numba compiles at the first call.

    Threads share layers of eight cells of a doubled grid along z: an image of a single plane is gridded by
    one thread.

    Parameters
    ----------
    shape
        Voxels along (z, y, x).
    phases
        2 pi k spacing along z, y and x, float32, shape (3, point), within pi and a thousandth of it.
    tolerance
        Requested relative accuracy; single precision's positions keep 1e-6 with 16 voxels along an axis, and
        no better than 3e-8 of the voxels.
    threads
        Threads to use.
    """

    def __init__(
        self, shape: tuple[int, int, int], phases: Floats, *, tolerance: float, threads: int
    ) -> None:
        self.batch = _CHANNELS
        self._shape = shape
        self._threads = threads
        self._kernel = kernel = SpreadingKernel.of_tolerance(tolerance)
        nz, ny, nx = (good_length(2 * max(count, kernel.width)) for count in shape)
        self._lengths = nz, ny, nx
        # half a kernel, its rounding to cells, and phases that exceed pi by a thousandth
        self._margin = kernel.width // 2 + 1 + max(self._lengths) // 1000
        self._roots = tuple(roots_of_unity(length) for length in self._lengths)
        self._factors = tuple(
            _correction(kernel, count, length) for count, length in zip(shape, self._lengths, strict=True)
        )
        lengths = np.array(self._lengths)
        scales = (lengths / (2 * np.pi)).astype(np.float32)
        offsets = (lengths / 2 + self._margin - kernel.width / 2).astype(np.float32)
        cubes = tuple((-(-(lengths + 2 * self._margin) // CUBE)).tolist())
        self._places = Places(phases, scales, offsets, kernel.lanes(), kernel.width)
        self._order = np.empty(phases.shape[1], dtype=np.int32)
        self._layers = sort_points(self._places, cubes, self._order)

    def adjoint(
        self,
        samples: NDArray[np.complex64],
        weights: Floats | None,
        out: NDArray[np.complex64],
        /,
    ) -> None:
        """Sum over points, eight channels at a time."""
        factors = np.empty(0, dtype=np.float32) if weights is None else weights
        for block in _channel_blocks(len(samples)):
            layout = self._layout(len(samples[block]))
            grid = self._empty_grid(layout)
            self._spread(samples[block], factors, layout, grid)
            images = out[block].view(np.float32).reshape(-1)
            self._run(self._lengths[0], partial(fold_margins, grid, layout))
            self._transform(self._lengths[0], grid, layout.crop(1), self._roots[1])
            self._transform(self._shape[1], grid, layout.crop(0), self._roots[0])
            self._transform_x(crop_along_x, grid, layout, self._factors, images)

    def forward(
        self, images: NDArray[np.complex64], factor: np.float32, out: NDArray[np.complex64], /
    ) -> None:
        """Sum over voxels, eight channels at a time."""
        factors = (factor * self._factors[0], *self._factors[1:])
        for block in _channel_blocks(len(images)):
            layout = self._layout(len(images[block]))
            grid = self._empty_grid(layout)
            flat = images[block].view(np.float32).reshape(-1)
            self._transform_x(pad_along_x, grid, layout, factors, flat)
            self._transform(self._shape[1], grid, layout.pad(0), self._roots[0])
            self._transform(self._lengths[0], grid, layout.pad(1), self._roots[1])
            self._run(self._lengths[0], partial(fill_margins, grid, layout))
            repeat_layers(grid, layout)
            self._interpolate(grid, layout, out[block])

    def _layout(self, channels: int) -> GridLayout:
        return GridLayout.of_channels(channels, self._lengths, self._shape, self._margin)

    def _empty_grid(self, layout: GridLayout) -> Floats:
        return aligned((self._lengths[0] + 2 * self._margin) * layout.layer + WIDTH)

    def _rows(self, layout: GridLayout) -> Rows:
        like = (0,) * row_lanes(self._kernel.width, layout.slots)
        coefficients = self._kernel.rows(layout.slots)
        return Rows(layout.layer, layout.row, layout.channels, layout.slots, coefficients, like)

    def _spread(
        self, samples: NDArray[np.complex64], weights: Floats, layout: GridLayout, grid: Floats
    ) -> None:
        """Spread all layers of cubes: first the even ones, then the odd ones, the fullest first."""
        pairs = samples.view(np.float64).reshape(-1)
        rows = self._rows(layout)

        def spread(layer: int) -> None:
            chosen = self._order[self._layers[layer] : self._layers[layer + 1]]
            spread_points(self._places, chosen, pairs, weights, rows, grid, workspace())

        points = np.diff(self._layers)
        for parity in range(2):
            layers = np.arange(parity, len(points), 2)
            self._run_parts(spread, layers[np.argsort(-points[layers])].tolist())

    def _interpolate(self, grid: Floats, layout: GridLayout, samples: NDArray[np.complex64]) -> None:
        pairs = samples.view(np.float64).reshape(-1)
        rows = self._rows(layout)

        def interpolate(start: int) -> None:
            chosen = self._order[start : start + _POINTS_AT_A_TIME]
            interpolate_points(self._places, chosen, grid, rows, pairs, workspace())

        self._run_parts(interpolate, range(0, len(self._order), _POINTS_AT_A_TIME))

    def _transform(self, sets: int, grid: Floats, axis: AxisPass, roots: Floats) -> None:
        def transform(begin: int, end: int) -> None:
            transform_axis(grid, axis, roots, begin, end, self._buffers())

        self._run(sets, transform)

    def _transform_x(
        self,
        function: Callable[..., None],
        grid: Floats,
        layout: GridLayout,
        factors: tuple[Floats, ...],
        images: Floats,
    ) -> None:
        def transform(begin: int, end: int) -> None:
            function(grid, layout, self._roots[2], factors, images, begin, end, self._buffers())

        self._run(self._shape[0], transform)

    def _buffers(self) -> tuple[Floats, Floats]:
        return line_buffer(max(self._lengths)), line_buffer(max(self._lengths))

    def _run(self, count: int, work: Callable[[int, int], None]) -> None:
        """Have threads do ranges of an axis of the grid."""
        step = -(-count // (self._threads * _PARTS_PER_THREAD))
        self._run_parts(lambda begin: work(begin, min(begin + step, count)), range(0, count, step))

    def _run_parts(self, work: Callable[[int], None], parts: Iterable[int]) -> None:
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(work, parts))


def _channel_blocks(channels: int) -> list[slice]:
    return [slice(first, min(first + _CHANNELS, channels)) for first in range(0, channels, _CHANNELS)]


def _correction(kernel: SpreadingKernel, count: int, length: int) -> Floats:
    """Return what makes up for the kernel in each voxel, and for the grid's origin at its edge."""
    index = np.arange(count) - count // 2
    return ((-1.0) ** index / kernel.transform(index / length)).astype(np.float32)
