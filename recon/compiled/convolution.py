"""One channel's part of the Toeplitz normal operator: S* (kernel convolved with S x), in one compiled call.

Lines that hold only zeros, on the way in, or that are thrown away, on the way out, are left out (7 of 12
remain). Along x sixteen rows go side by side and are turned, so that along z and y sixteen points of x go
side by side; the last transform, the product with the kernel and the first transform back happen in the
first-level cache. Between them lies a block of sixteen x, every z and y: 1 MB for 64³.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from recon.compiled.codegen import WIDTH
from recon.compiled.compiling import compiled, inlined
from recon.compiled.fourier import line_buffer, roots_of_unity, transform_lines
from recon.compiled.lanes import aligned, filled, load, load_complex, store, store_complex, transpose

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from recon.compiled.lanes import Floats

    Sizes: TypeAlias = tuple[int, int, int]
    Three: TypeAlias = tuple[Floats, Floats, Floats]


class CompiledConvolution:
    """Convolution of channel images with one kernel.

    Parameters
    ----------
    spectrum
        The kernel's transform, scaled for use, real, float32, shape (z, y, x); lengths with prime factors 2,
        3 and 5 that hold at least an image and its shifts.
    """

    def __init__(self, spectrum: NDArray[np.float32]) -> None:
        mz, my, mx = self._padded = spectrum.shape
        blocks = _tiles(mx)
        arranged = np.zeros((mz, my, blocks * WIDTH), dtype=np.float32)
        arranged[:, :, :mx] = spectrum
        by_block = arranged.reshape(mz, my, blocks, WIDTH).transpose(2, 0, 1, 3)
        self._spectrum = np.ascontiguousarray(by_block).reshape(-1)
        self._roots = (roots_of_unity(mz), roots_of_unity(my), roots_of_unity(mx))

    def add(
        self,
        image: NDArray[np.complex64],
        sensitivities: Iterable[NDArray[np.complex64]],
        total: NDArray[np.complex64],
        _threads: int,
    ) -> None:
        """Add S* (kernel convolved with S x) of every channel to ``total``, all shapes (z, y, x)."""
        nz, ny, _ = sizes = image.shape
        mz, _, mx = self._padded
        lines = _tiles(ny) * WIDTH
        turned = aligned(_tiles(mx) * nz * lines * 2 * WIDTH)
        columns = aligned(mz * lines * 2 * WIDTH)
        longest = max(_tiles(length) + 1 for length in self._padded) * WIDTH
        buffers = line_buffer(longest), line_buffer(longest), aligned(2 * WIDTH * WIDTH)
        flat = np.ascontiguousarray(image, dtype=np.complex64).view(np.float32).reshape(-1)
        result = total.view(np.float32).reshape(-1)
        for sensitivity in sensitivities:
            one = np.ascontiguousarray(sensitivity, dtype=np.complex64).view(np.float32).reshape(-1)
            _add_channel(flat, one, sizes, self._spectrum, self._roots, result, (turned, columns), buffers)


def _tiles(length: int) -> int:
    """Return how many times sixteen hold a length."""
    return -(-length // WIDTH)


@compiled
def _add_channel(
    image: Floats,
    sensitivity: Floats,
    sizes: Sizes,
    spectrum: Floats,
    roots: Three,
    total: Floats,
    work: tuple[Floats, Floats],
    buffers: Three,
) -> None:
    """Add one channel's part; in one function, so that the transforms are compiled into it once."""
    turned, columns = work
    _turn_in(image, sensitivity, sizes, roots[2], turned, buffers)
    _convolve(turned, sizes, spectrum, roots, columns, buffers)
    _turn_out(turned, sensitivity, sizes, roots[2], total, buffers)


@inlined
def _turn_in(
    image: Floats, sensitivity: Floats, sizes: Sizes, roots: Floats, turned: Floats, buffers: Three
) -> None:
    """Transform S x along x: shape (block of x, z, y, 32), sixteen real and sixteen imaginary parts last."""
    nz, ny, nx = sizes
    x, y, tile = buffers
    n = len(roots) // 2
    lines = -(-ny // WIDTH) * WIDTH
    nothing = filled(np.float32(0))
    for line in range(0, nz * lines, WIDTH):
        z, y0 = line // lines, line % lines
        for x0 in range(0, nx, WIDTH):
            for row in range(WIDTH):
                if y0 + row < ny:
                    at = 2 * ((z * ny + y0 + row) * nx + x0)
                    _multiply(image, sensitivity, at, min(WIDTH, nx - x0), tile, row * WIDTH)
                else:
                    store(tile, row * WIDTH, nothing)
                    store(tile, (WIDTH + row) * WIDTH, nothing)
            transpose(tile, 0, WIDTH, x, x0 * WIDTH, WIDTH)
            transpose(tile, WIDTH * WIDTH, WIDTH, x, (n + x0) * WIDTH, WIDTH)
        for row in range(nx, n):
            store(x, row * WIDTH, nothing)
            store(x, (n + row) * WIDTH, nothing)
        result = transform_lines(x, y, roots)
        for block in range(-(-n // WIDTH)):
            at = 2 * WIDTH * (block * nz * lines + line)
            transpose(result, block * WIDTH * WIDTH, WIDTH, turned, at, 2 * WIDTH)
            transpose(result, (n + block * WIDTH) * WIDTH, WIDTH, turned, at + WIDTH, 2 * WIDTH)


@inlined
def _multiply(image: Floats, sensitivity: Floats, at: int, width: int, tile: Floats, row: int) -> None:
    """Write up to sixteen products into the tile's real and imaginary rows."""
    if width == WIDTH:
        ar, ai = load_complex(image, at)
        br, bi = load_complex(sensitivity, at)
        store(tile, row, ar * br - ai * bi)
        store(tile, row + WIDTH * WIDTH, ar * bi + ai * br)
    else:
        for lane in range(width):
            j = at + 2 * lane
            re = image[j] * sensitivity[j] - image[j + 1] * sensitivity[j + 1]
            tile[row + lane] = re
            tile[row + lane + WIDTH * WIDTH] = image[j] * sensitivity[j + 1] + image[j + 1] * sensitivity[j]


@inlined
def _convolve(
    turned: Floats, sizes: Sizes, spectrum: Floats, roots: Three, columns: Floats, buffers: Three
) -> None:
    """Transform along z and y, multiply, transform back, block by block of sixteen x, in place."""
    nz, ny, _ = sizes
    x, y, _ = buffers
    roots_z, roots_y, roots_x = roots
    mz, my = len(roots_z) // 2, len(roots_y) // 2
    lines = -(-ny // WIDTH) * WIDTH
    cell, plane = 2 * WIDTH, 2 * WIDTH * lines
    for block in range(-(-len(roots_x) // 2 // WIDTH)):
        start = block * nz * plane
        for line in range(ny):
            _take(turned, start + line * cell, plane, nz, x, mz, False)
            result = transform_lines(x, y, roots_z)
            _give(result, mz, False, columns, line * cell, plane, mz)
        for z in range(mz):
            _take(columns, z * plane, cell, ny, x, my, False)
            result = transform_lines(x, y, roots_y)
            _weight(result, my, spectrum, (block * mz + z) * my * WIDTH)
            result = transform_lines(result, y if result is x else x, roots_y)
            _give(result, my, True, columns, z * plane, cell, ny)
        for line in range(ny):
            _take(columns, line * cell, plane, mz, x, mz, True)
            result = transform_lines(x, y, roots_z)
            _give(result, mz, True, turned, start + line * cell, plane, nz)


@inlined
def _weight(x: Floats, n: int, spectrum: Floats, start: int) -> None:
    """Multiply a buffer's rows by the kernel, and exchange real and imaginary parts for the way back."""
    for at in range(0, n * WIDTH, WIDTH):
        factor = load(spectrum, start + at)
        real = load(x, at) * factor
        store(x, at, load(x, n * WIDTH + at) * factor)
        store(x, n * WIDTH + at, real)


@inlined
def _take(source: Floats, start: int, step: int, count: int, x: Floats, n: int, inverse: bool) -> None:
    """Fill a buffer with ``count`` rows and zeros."""
    real = n * WIDTH if inverse else 0
    imag = n * WIDTH - real
    for row in range(count):
        store(x, real + row * WIDTH, load(source, start + row * step))
        store(x, imag + row * WIDTH, load(source, start + row * step + WIDTH))
    nothing = filled(np.float32(0))
    for at in range(count * WIDTH, n * WIDTH, WIDTH):
        store(x, at, nothing)
        store(x, n * WIDTH + at, nothing)


@inlined
def _give(x: Floats, n: int, inverse: bool, target: Floats, start: int, step: int, count: int) -> None:
    """Write the first ``count`` rows of a buffer."""
    real = n * WIDTH if inverse else 0
    imag = n * WIDTH - real
    for row in range(count):
        store(target, start + row * step, load(x, real + row * WIDTH))
        store(target, start + row * step + WIDTH, load(x, imag + row * WIDTH))


@inlined
def _turn_out(
    turned: Floats, sensitivity: Floats, sizes: Sizes, roots: Floats, total: Floats, buffers: Three
) -> None:
    """Transform back along x and add S* times what comes out."""
    nz, ny, nx = sizes
    x, y, tile = buffers
    n = len(roots) // 2
    lines = -(-ny // WIDTH) * WIDTH
    for line in range(0, nz * lines, WIDTH):
        z, y0 = line // lines, line % lines
        for part in range(2):
            # what overruns one part, where n is no multiple of sixteen, the next one overwrites
            for block in range(-(-n // WIDTH)):
                at = 2 * WIDTH * (block * nz * lines + line) + (1 - part) * WIDTH
                transpose(turned, at, 2 * WIDTH, x, (part * n + block * WIDTH) * WIDTH, WIDTH)
        result = transform_lines(x, y, roots)
        for x0 in range(0, nx, WIDTH):
            transpose(result, (n + x0) * WIDTH, WIDTH, tile, 0, WIDTH)
            transpose(result, x0 * WIDTH, WIDTH, tile, WIDTH * WIDTH, WIDTH)
            for row in range(min(WIDTH, ny - y0)):
                at = 2 * ((z * ny + y0 + row) * nx + x0)
                _accumulate(tile, row * WIDTH, sensitivity, at, min(WIDTH, nx - x0), total)


@inlined
def _accumulate(tile: Floats, row: int, sensitivity: Floats, at: int, width: int, total: Floats) -> None:
    """Add up to sixteen numbers of the tile times S* to the total."""
    if width == WIDTH:
        ar, ai = load(tile, row), load(tile, row + WIDTH * WIDTH)
        br, bi = load_complex(sensitivity, at)
        tr, ti = load_complex(total, at)
        store_complex(total, at, tr + ar * br + ai * bi, ti + ai * br - ar * bi)
    else:
        for lane in range(width):
            j = at + 2 * lane
            re, im = tile[row + lane], tile[row + lane + WIDTH * WIDTH]
            total[j] += re * sensitivity[j] + im * sensitivity[j + 1]
            total[j + 1] += im * sensitivity[j] - re * sensitivity[j + 1]
