"""Between samples anywhere in k-space and a fine grid: the part of a non-uniform transform that is no FFT.

Up to eight channels lie side by side in a cell of the grid, so that one point's place and kernel serve all
of them and a row of the kernel is one run of memory. Points are sorted once into cubes of eight cells; layers
of cubes with one between them never touch the same cells, so threads need no locks. The grid has a margin
on every side that belongs to the other side, which the transforms fold in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from recon.compiled.codegen import WIDTH
from recon.compiled.compiling import compiled, inlined
from recon.compiled.lanes import aligned, filled, load, store
from recon.compiled.runs import add_run, dot_run, load_run, raise_run, scale_run, sum_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.compiled.lanes import Floats, LaneValue

    Run: TypeAlias = tuple[LaneValue, ...]

#: Cells along the side of a cube, at least as many as the widest kernel: what a row's last lane writes beyond
#: its end, nothing but zeros, then stays clear of the next layer but one, too.
CUBE: Final = 8
#: Points whose samples are gathered together, 16 kB.
GROUP: Final = 256


class Places(NamedTuple):
    """Where points lie in a grid, and the kernel.

    Parameters
    ----------
    phases
        2 pi k spacing along z, y and x, shape (3, point).
    scales, offsets
        Phases times scales plus offsets, rounded up, is the first cell of the kernel along z, y and x.
    coefficients
        ``SpreadingKernel.lanes`` of it.
    width
        Cells that it covers.
    """

    phases: Floats
    scales: Floats
    offsets: Floats
    coefficients: Floats
    width: int


class Rows(NamedTuple):
    """How channels lie in the rows of a grid.

    Parameters
    ----------
    layer, row
        Floats from one z, and from one y, to the next.
    channels
        Complex numbers that hold something in a cell.
    slots
        Complex numbers in a cell, a power of two up to eight.
    coefficients
        ``SpreadingKernel.rows`` for these slots.
    like
        A tuple as long as the lanes that a kernel's row may touch: compiled code knows its length.
    """

    layer: int
    row: int
    channels: int
    slots: int
    coefficients: Floats
    like: tuple[int, ...]


def workspace() -> tuple[Floats, Floats]:
    """Return a thread's memory: the samples of a group, and the kernel along z and y."""
    return aligned(GROUP * WIDTH), aligned(2 * WIDTH)


@compiled
def sort_points(places: Places, cubes: tuple[int, ...], order: NDArray[np.int32]) -> NDArray[np.int64]:
    """Write the points' numbers cube by cube and return where each layer of cubes along z begins."""
    phases, scales, offsets = places.phases, places.scales, places.offsets
    points = phases.shape[1]
    nz, ny, nx = cubes
    keys = np.empty(points, dtype=np.int32)
    starts = np.zeros(nz * ny * nx + 1, dtype=np.int64)
    for p in range(points):
        z = int(np.ceil(phases[0, p] * scales[0] + offsets[0])) // CUBE
        y = int(np.ceil(phases[1, p] * scales[1] + offsets[1])) // CUBE
        x = int(np.ceil(phases[2, p] * scales[2] + offsets[2])) // CUBE
        key = (z * ny + y) * nx + x
        keys[p] = key
        starts[key + 1] += 1
    starts = np.cumsum(starts)
    layers = starts[:: ny * nx].copy()
    for p in range(points):
        key = keys[p]
        order[starts[key]] = p
        starts[key] += 1
    return layers


@compiled
def spread_points(
    places: Places,
    chosen: NDArray[np.int32],
    samples: NDArray[np.float64],
    weights: Floats,
    rows: Rows,
    grid: Floats,
    work: tuple[Floats, Floats],
) -> None:
    """Add chosen points to the grid.

    ``samples`` are flat, channel by channel, each complex number in the guise of a double; ``weights`` are
    empty for ones.
    """
    group, taps = work
    pairs = group.view(np.float64)
    total = places.phases.shape[1]
    for begin in range(0, len(chosen), GROUP):
        end = min(begin + GROUP, len(chosen))
        for j in range(begin, end):
            for c in range(rows.channels):
                pair = samples[np.uint64(c * total + chosen[j])]
                slot = c
                while slot < WIDTH // 2:
                    pairs[np.uint64((j - begin) * (WIDTH // 2) + slot)] = pair
                    slot += rows.slots
        for j in range(begin, end):
            p = chosen[j]
            place, run = _kernel(places, p, rows, taps)
            weight = weights[p] if len(weights) > 0 else np.float32(1)
            run = scale_run(run, load(group, (j - begin) * WIDTH) * weight)
            for iz in range(places.width):
                for iy in range(places.width):
                    factor = taps[iz] * taps[WIDTH + iy]
                    add_run(grid, place + iz * rows.layer + iy * rows.row, run, factor)


@compiled
def interpolate_points(
    places: Places,
    chosen: NDArray[np.int32],
    grid: Floats,
    rows: Rows,
    samples: NDArray[np.float64],
    work: tuple[Floats, Floats],
) -> None:
    """Write what the grid holds at chosen points into ``samples``; arguments as of ``spread_points``."""
    group, taps = work
    pairs = group.view(np.float64)
    total = places.phases.shape[1]
    for begin in range(0, len(chosen), GROUP):
        end = min(begin + GROUP, len(chosen))
        for j in range(begin, end):
            place, along_x = _kernel(places, chosen[j], rows, taps)
            run = scale_run(along_x, filled(np.float32(0)))
            for iz in range(places.width):
                for iy in range(places.width):
                    factor = taps[iz] * taps[WIDTH + iy]
                    run = sum_run(run, grid, place + iz * rows.layer + iy * rows.row, factor)
            store(group, (j - begin) * WIDTH, dot_run(run, along_x))
        for j in range(begin, end):
            start = (j - begin) * WIDTH
            for at in range(2 * rows.slots, WIDTH):
                # the cells of a lane hold parts of the same sums
                group[start + (at & (2 * rows.slots - 1))] += group[start + at]
            for c in range(rows.channels):
                samples[np.uint64(c * total + chosen[j])] = pairs[np.uint64(start // 2 + c)]


@inlined
def _kernel(places: Places, p: int, rows: Rows, taps: Floats) -> tuple[int, Run]:
    """Write the kernel along z and y; return where its first lane lies in the grid, and it along x."""
    phases, scales, offsets = places.phases, places.scales, places.offsets
    place = _kernel_along(phases[0, p] * scales[0] + offsets[0], places.coefficients, taps, 0) * rows.layer
    place += _kernel_along(phases[1, p] * scales[1] + offsets[1], places.coefficients, taps, WIDTH) * rows.row
    position = phases[2, p] * scales[2] + offsets[2]
    cell = np.ceil(position)
    t = np.float32(2) * (cell - position) - np.float32(1)
    cells = WIDTH // (2 * rows.slots)
    block = len(rows.coefficients) // cells
    first = int(cell) & (cells - 1)
    run = load_run(rows.coefficients, first * block, rows.like)
    for power in range(first * block + len(rows.like) * WIDTH, (first + 1) * block, len(rows.like) * WIDTH):
        run = raise_run(run, t, rows.coefficients, power)
    return place + (int(cell) - first) * 2 * rows.slots, run


@inlined
def _kernel_along(position: np.float32, coefficients: Floats, taps: Floats, at: int) -> int:
    """Write the kernel's values along one axis and return the first cell."""
    cell = np.ceil(position)
    t = np.float32(2) * (cell - position) - np.float32(1)
    value = load(coefficients, 0)
    for power in range(WIDTH, len(coefficients), WIDTH):
        value = value * t + load(coefficients, power)
    store(taps, at, value)
    return int(cell)
