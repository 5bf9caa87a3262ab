"""Fourier transforms of the fine grid that points are spread onto, one axis at a time, in place.

On the way to an image an axis is cropped as soon as it is transformed, on the way from an image it is padded
as late as can be. The grid has a margin all around that stands for the opposite side: spreading writes there
and ``crop_along_y`` folds it in, ``fill_along_y`` and ``repeat_layers`` fill it and interpolation reads it.
Every function does a range of its outermost axis, so threads can share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from recon.compiled.codegen import WIDTH
from recon.compiled.compiling import compiled, inlined
from recon.compiled.fourier import put_rows, take_rows, transform_lines

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


@compiled
def crop_along_y(
    grid: Floats, layout: GridLayout, roots: Axes, begin: int, end: int, buffers: Buffers
) -> None:
    """Fold the margins into layers of z, transform them along y and keep the image's rows, at the front."""
    layer, row = layout.layer, layout.row
    ny, count = layout.lengths[1], layout.counts[1]
    for z in range(begin, end):
        start = (layout.margin + z) * layer
        _fold(grid, layout, z)
        for x in range(0, layout.lengths[2] * layout.slots, WIDTH):
            at = start + layout.margin * (row + 2 * layout.slots) + 2 * x
            width = min(WIDTH, layout.lengths[2] * layout.slots - x)
            take_rows(grid, at, row, ny, width, buffers[0], ny, 0, True)
            result = transform_lines(buffers[0], buffers[1], roots[1])
            put_rows(result, ny, ny - count // 2, True, grid, at, row, count, width)


@compiled
def crop_along_z(
    grid: Floats, layout: GridLayout, roots: Axes, begin: int, end: int, buffers: Buffers
) -> None:
    """Transform rows of y along z and keep the image's layers, at the front."""
    layer, row = layout.layer, layout.row
    nz, count = layout.lengths[0], layout.counts[0]
    for y in range(begin, end):
        for x in range(0, layout.lengths[2] * layout.slots, WIDTH):
            at = layout.margin * (layer + row + 2 * layout.slots) + y * row + 2 * x
            width = min(WIDTH, layout.lengths[2] * layout.slots - x)
            take_rows(grid, at, layer, nz, width, buffers[0], nz, 0, True)
            result = transform_lines(buffers[0], buffers[1], roots[0])
            put_rows(result, nz, nz - count // 2, True, grid, at, layer, count, width)


@compiled
def crop_along_x(
    grid: Floats,
    layout: GridLayout,
    roots: Axes,
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
            result = transform_lines(buffers[0], buffers[1], roots[2])
            for k in range(width):
                y, c = (lane + k) // channels, (lane + k) % channels
                factor = factors[0][z] * factors[1][y]
                at = 2 * ((c * nz + z) * ny + y) * count
                for x in range(count):
                    source = (x - count // 2 + (nx if x < count // 2 else 0)) * WIDTH + k
                    images[at + 2 * x] = result[nx * WIDTH + source] * factor * factors[2][x]
                    images[at + 2 * x + 1] = result[source] * factor * factors[2][x]


@compiled
def fill_along_x(
    grid: Floats,
    layout: GridLayout,
    roots: Axes,
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
            buffers[0][: 2 * nx * WIDTH] = 0
            for k in range(width):
                y, c = (lane + k) // channels, (lane + k) % channels
                factor = factors[0][z] * factors[1][y]
                at = 2 * ((c * nz + z) * ny + y) * count
                for x in range(count):
                    target = (x - count // 2 + (nx if x < count // 2 else 0)) * WIDTH + k
                    buffers[0][target] = images[at + 2 * x] * factor * factors[2][x]
                    buffers[0][nx * WIDTH + target] = images[at + 2 * x + 1] * factor * factors[2][x]
            result = transform_lines(buffers[0], buffers[1], roots[2])
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
def fill_along_z(
    grid: Floats, layout: GridLayout, roots: Axes, begin: int, end: int, buffers: Buffers
) -> None:
    """Transform rows of y from the image's layers to all layers."""
    layer, row = layout.layer, layout.row
    nz, count = layout.lengths[0], layout.counts[0]
    for y in range(begin, end):
        for x in range(0, layout.lengths[2] * layout.slots, WIDTH):
            at = layout.margin * (layer + row + 2 * layout.slots) + y * row + 2 * x
            width = min(WIDTH, layout.lengths[2] * layout.slots - x)
            take_rows(grid, at, layer, count, width, buffers[0], nz, nz - count // 2, False)
            result = transform_lines(buffers[0], buffers[1], roots[0])
            put_rows(result, nz, 0, False, grid, at, layer, nz, width)


@compiled
def fill_along_y(
    grid: Floats, layout: GridLayout, roots: Axes, begin: int, end: int, buffers: Buffers
) -> None:
    """Transform layers of z from the image's rows to all rows, and fill the layers' margins."""
    layer, row = layout.layer, layout.row
    ny, nx, margin = layout.lengths[1], layout.lengths[2], layout.margin
    cell = 2 * layout.slots
    count = layout.counts[1]
    for z in range(begin, end):
        start = (margin + z) * layer
        for x in range(0, nx * layout.slots, WIDTH):
            at = start + margin * (row + cell) + 2 * x
            width = min(WIDTH, nx * layout.slots - x)
            take_rows(grid, at, row, count, width, buffers[0], ny, ny - count // 2, False)
            result = transform_lines(buffers[0], buffers[1], roots[1])
            put_rows(result, ny, 0, False, grid, at, row, ny, width)
        for y in range(margin, margin + ny):
            at = start + y * row
            grid[at : at + margin * cell] = grid[at + nx * cell : at + (nx + margin) * cell]
            last = at + (margin + nx) * cell
            grid[last : last + margin * cell] = grid[at + margin * cell : at + 2 * margin * cell]
        for y in range(margin):
            at, other = start + y * row, start + (y + ny) * row
            grid[at : at + row] = grid[other : other + row]
            at, other = start + (margin + ny + y) * row, start + (margin + y) * row
            grid[at : at + row] = grid[other : other + row]


@compiled
def repeat_layers(grid: Floats, layout: GridLayout) -> None:
    """Fill the layers of the margin with those of the other side."""
    layer = layout.layer
    nz = layout.lengths[0]
    for z in range(layout.margin):
        grid[z * layer : (z + 1) * layer] = grid[(z + nz) * layer : (z + nz + 1) * layer]
        at, other = (layout.margin + nz + z) * layer, (layout.margin + z) * layer
        grid[at : at + layer] = grid[other : other + layer]


@compiled
def _fold(grid: Floats, layout: GridLayout, z: int) -> None:
    """Add to a layer what was written beyond the other sides of z, y and x."""
    layer, row = layout.layer, layout.row
    nz, ny, nx = layout.lengths
    margin, cell = layout.margin, 2 * layout.slots
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


@inlined
def _add(grid: Floats, target: int, source: int, count: int) -> None:
    grid[target : target + count] += grid[source : source + count]
