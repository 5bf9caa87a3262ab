"""Fourier transforms of the fine grid that points are spread onto, one axis at a time, in place.

On the way to an image an axis is cropped as soon as it is transformed: y, z, x. On the way from an image it
is padded as late as can be: x, z, y. The grid has a margin all around that stands for the opposite side:
spreading writes there and ``fold_margins`` adds it where it belongs; ``fill_margins`` and ``repeat_layers``
fill it and interpolation reads it. Functions with ``begin`` and ``end`` do a range of their outermost axis,
so threads can share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from recon.compiled.codegen import WIDTH
from recon.compiled.compiling import compiled, inlined
from recon.compiled.fourier import put_rows, take_rows, transform_lines
from recon.compiled.lanes import filled, store

if TYPE_CHECKING:
    from recon.compiled.lanes import Floats

    Axes: TypeAlias = tuple[Floats, Floats, Floats]
    Buffers: TypeAlias = tuple[Floats, Floats]


class GridLayout(NamedTuple):
    """A flat grid: z, y, x with margins, then the channels' real and imaginary parts in turn.

    Parameters
    ----------
    lengths
        Cells along z, y and x without margins.
    counts
        Voxels of the image along z, y and x, in the middle of the lengths.
    margin
        Cells on each side of each axis that belong to the other side.
    channels
        Side by side in a cell.
    slots
        Places for channels in a cell, a power of two up to eight, so that cells never straddle lanes.
    row, layer
        Floats from one y, and from one z, to the next: whole lanes.
    """

    lengths: tuple[int, int, int]
    counts: tuple[int, int, int]
    margin: int
    channels: int
    slots: int
    row: int
    layer: int

    @classmethod
    def of_channels(
        cls, channels: int, lengths: tuple[int, int, int], counts: tuple[int, int, int], margin: int
    ) -> GridLayout:
        """Return the layout for so many channels, up to eight."""
        slots = 1 << (channels - 1).bit_length()
        row = -(-(lengths[2] + 2 * margin) * 2 * slots // WIDTH) * WIDTH
        return cls(lengths, counts, margin, channels, slots, row, (lengths[1] + 2 * margin) * row)

    def crop(self, axis: int) -> AxisPass:
        """Return the pass to the image along z (0) or y (1): transformed rows go to the front."""
        length, count = self.lengths[axis], self.counts[axis]
        return self._pass(axis, (0, length), (length - count // 2, count), inverse=True)

    def pad(self, axis: int) -> AxisPass:
        """Return the pass from the image along z (0) or y (1): rows come from the front."""
        length, count = self.lengths[axis], self.counts[axis]
        return self._pass(axis, (length - count // 2, count), (0, length), inverse=False)

    def _pass(self, axis: int, taken: tuple[int, int], put: tuple[int, int], *, inverse: bool) -> AxisPass:
        start = self.margin * (self.layer + self.row + 2 * self.slots)
        outer, step = (self.row, self.layer) if axis == 0 else (self.layer, self.row)
        numbers = self.lengths[2] * self.slots
        return AxisPass(start, outer, step, numbers, self.lengths[axis], *taken, *put, inverse)


class AxisPass(NamedTuple):
    """A transform along z or y of rows that hold numbers side by side.

    Parameters
    ----------
    start
        Float that the first row begins with.
    outer, step
        Floats from one set of rows to the next, and from one row to the next of the same set.
    numbers
        Complex numbers in a row.
    length
        Rows that are transformed.
    first_taken, taken
        Place of the first row that is read, and how many are; the others are zero.
    first_put, put
        Place of the first row that is written, and how many are.
    inverse
        The sign of the transform: exp(+i) where True.
    """

    start: int
    outer: int
    step: int
    numbers: int
    length: int
    first_taken: int
    taken: int
    first_put: int
    put: int
    inverse: bool


@compiled
def transform_axis(
    grid: Floats, axis: AxisPass, roots: Floats, begin: int, end: int, buffers: Buffers
) -> None:
    """Transform sets of rows from ``begin`` to ``end`` in place, sixteen numbers at a time."""
    n, x = axis.length, buffers[0]
    for i in range(begin, end):
        for j in range(0, axis.numbers, WIDTH):
            at = axis.start + i * axis.outer + 2 * j
            width = min(WIDTH, axis.numbers - j)
            take_rows(grid, at, axis.step, axis.taken, width, x, n, axis.first_taken, axis.inverse)
            result = transform_lines(x, buffers[1], roots)
            put_rows(result, n, axis.first_put, axis.inverse, grid, at, axis.step, axis.put, width)


@compiled
def crop_along_x(
    grid: Floats,
    layout: GridLayout,
    roots: Floats,
    factors: Axes,
    images: Floats,
    begin: int,
    end: int,
    buffers: Buffers,
) -> None:
    """Transform layers of z along x and write the image times the factors, channel by channel."""
    layer, row = layout.layer, layout.row
    nx, channels = layout.lengths[2], layout.channels
    nz, ny, count = layout.counts
    for z in range(begin, end):
        for lane in range(0, ny * channels, WIDTH):
            width = min(WIDTH, ny * channels - lane)
            for k in range(width):
                y, c = (lane + k) // channels, (lane + k) % channels
                at = (
                    (layout.margin + z) * layer
                    + (layout.margin + y) * row
                    + 2 * (layout.margin * layout.slots + c)
                )
                for x in range(nx):
                    # real and imaginary parts change places: the transform's sign is the other one
                    buffers[0][(nx + x) * WIDTH + k] = grid[at + 2 * x * layout.slots]
                    buffers[0][x * WIDTH + k] = grid[at + 2 * x * layout.slots + 1]
            result = transform_lines(buffers[0], buffers[1], roots)
            for k in range(width):
                y, c = (lane + k) // channels, (lane + k) % channels
                factor = factors[0][z] * factors[1][y]
                at = 2 * ((c * nz + z) * ny + y) * count
                for x in range(count):
                    source = (x - count // 2 + (nx if x < count // 2 else 0)) * WIDTH + k
                    images[at + 2 * x] = result[nx * WIDTH + source] * factor * factors[2][x]
                    images[at + 2 * x + 1] = result[source] * factor * factors[2][x]


@compiled
def pad_along_x(
    grid: Floats,
    layout: GridLayout,
    roots: Floats,
    factors: Axes,
    images: Floats,
    begin: int,
    end: int,
    buffers: Buffers,
) -> None:
    """Write the image times the factors, transformed along x, into layers at the front: the way back."""
    layer, row = layout.layer, layout.row
    nx, channels = layout.lengths[2], layout.channels
    nz, ny, count = layout.counts
    for z in range(begin, end):
        for lane in range(0, ny * channels, WIDTH):
            width = min(WIDTH, ny * channels - lane)
            for at in range(0, 2 * nx * WIDTH, WIDTH):
                store(buffers[0], at, filled(np.float32(0)))
            for k in range(width):
                y, c = (lane + k) // channels, (lane + k) % channels
                factor = factors[0][z] * factors[1][y]
                at = 2 * ((c * nz + z) * ny + y) * count
                for x in range(count):
                    target = (x - count // 2 + (nx if x < count // 2 else 0)) * WIDTH + k
                    buffers[0][target] = images[at + 2 * x] * factor * factors[2][x]
                    buffers[0][nx * WIDTH + target] = images[at + 2 * x + 1] * factor * factors[2][x]
            result = transform_lines(buffers[0], buffers[1], roots)
            for k in range(width):
                y, c = (lane + k) // channels, (lane + k) % channels
                at = (
                    (layout.margin + z) * layer
                    + (layout.margin + y) * row
                    + 2 * (layout.margin * layout.slots + c)
                )
                for x in range(nx):
                    grid[at + 2 * x * layout.slots] = result[x * WIDTH + k]
                    grid[at + 2 * x * layout.slots + 1] = result[(nx + x) * WIDTH + k]


@compiled
def fold_margins(grid: Floats, layout: GridLayout, begin: int, end: int) -> None:
    """Add to layers of z what was written beyond the other sides of z, y and x."""
    layer, row = layout.layer, layout.row
    nz, ny, nx = layout.lengths
    margin, cell = layout.margin, 2 * layout.slots
    for z in range(begin, end):
        start = (margin + z) * layer
        if z < margin:
            _add(grid, start, start + nz * layer, layer)
        if z >= nz - margin:
            _add(grid, start, start - nz * layer, layer)
        for y in range(margin):
            _add(grid, start + (margin + y) * row, start + (margin + ny + y) * row, row)
            _add(grid, start + (ny + y) * row, start + y * row, row)
        for y in range(margin, margin + ny):
            at = start + y * row
            _add(grid, at + margin * cell, at + (margin + nx) * cell, margin * cell)
            _add(grid, at + nx * cell, at, margin * cell)


@compiled
def fill_margins(grid: Floats, layout: GridLayout, begin: int, end: int) -> None:
    """Fill the margins of layers of z along y and x with the cells of the other side."""
    layer, row = layout.layer, layout.row
    _, ny, nx = layout.lengths
    margin, cell = layout.margin, 2 * layout.slots
    for z in range(begin, end):
        start = (margin + z) * layer
        for y in range(margin, margin + ny):
            at = start + y * row
            _copy(grid, at, at + nx * cell, margin * cell)
            _copy(grid, at + (margin + nx) * cell, at + margin * cell, margin * cell)
        for y in range(margin):
            _copy(grid, start + y * row, start + (y + ny) * row, row)
            _copy(grid, start + (margin + ny + y) * row, start + (margin + y) * row, row)


@compiled
def repeat_layers(grid: Floats, layout: GridLayout) -> None:
    """Fill the layers of the margin with those of the other side."""
    layer, nz, margin = layout.layer, layout.lengths[0], layout.margin
    for z in range(margin):
        _copy(grid, z * layer, (z + nz) * layer, layer)
        _copy(grid, (margin + nz + z) * layer, (margin + z) * layer, layer)


@inlined
def _add(grid: Floats, target: int, source: int, count: int) -> None:
    # loops, not slices, which take seconds to compile
    for k in range(count):
        grid[target + k] += grid[source + k]


@inlined
def _copy(grid: Floats, target: int, source: int, count: int) -> None:
    for k in range(count):
        grid[target + k] = grid[source + k]
