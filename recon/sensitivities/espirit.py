"""Sensitivities of an unknown object from the centre of k-space: ESPIRiT.

Every small block of k-space, all channels side by side, lies in a space of few dimensions, because the
sensitivities are smooth. A voxel's sensitivities are the vector that projecting on that space leaves as it
is: an eigenvector to the eigenvalue 1. Where there is no object no such vector exists and the map is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.linalg

from recon.sensitivities.low_resolution import normalised
from recon.sensitivities.spectrum import central_spectrum, spectrum_images
from recon.sensitivities.walsh import dominant_vectors, refined, with_common_phase

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Side of the calibration region and of the blocks in it, in cycles per field of view.
_CALIBRATION: Final = 16
_BLOCK: Final = 5
#: Singular values below this fraction of the largest belong to noise. BART's default, 0.001 of the squares.
_THRESHOLD: Final = 0.03
#: Eigenvalues below this belong to no object (BART's default crop).
_CROP: Final = 0.8
#: Voxels along each axis of the grid on which the maps are computed.
_COARSE: Final = 32


def espirit_sensitivities(
    images: NDArray[np.complex64],
    *,
    calibration: int = _CALIBRATION,
    block: int = _BLOCK,
    threshold: float = _THRESHOLD,
    crop: float = _CROP,
    coarse: int = _COARSE,
) -> NDArray[np.complex64]:
    """Return sensitivities by ESPIRiT, normalised over the channels, 0 where there is no object.

    Parameters
    ----------
    images
        Whitened, shape (channel, z, y, x).
    calibration
        Side of the region of k-space that is used, in cycles per field of view.
    block
        Side of its blocks; smoother sensitivities need smaller ones.
    threshold
        Singular values of the blocks below this fraction of the largest count as noise.
    crop
        Eigenvalues below this count as no object; 0 keeps all.
    coarse
        Voxels along each axis of the grid on which it is done; at least ``2 * block - 1``.

    Returns
    -------
    Same shape, with the common phase of ``walsh_sensitivities``.

    Notes
    -----
    Uecker et al., Magn Reson Med 71:990 (2014). The projector is summed along its diagonals before the
    transform (their appendix), so the cost does not depend on the number of kernels.
    """
    shape = images.shape[1:]
    counts = [min(calibration, voxels) for voxels in shape]
    cells = [min(coarse, voxels) for voxels in shape]
    spectrum = central_spectrum(images, counts)
    sides = [min(block, count) for count in counts]
    if any(2 * side - 1 > cell for side, cell in zip(sides, cells, strict=True)):
        raise ValueError(f"blocks of {sides} need a coarse grid of at least 2 * side - 1, got {cells}")
    kernels = _row_space(_blocks(spectrum, sides), threshold)
    projector = _projector_images(kernels, len(images), sides, cells)
    small = spectrum_images(central_spectrum(images, cells), cells)
    vectors, eigenvalues = dominant_vectors(projector, small)
    maps = with_common_phase(vectors, small)
    maps = normalised(refined(maps, shape))
    level = refined(eigenvalues[None].astype(np.complex64), shape)[0].real
    maps *= level >= crop
    return maps


def _blocks(spectrum: NDArray[np.complex64], sides: list[int]) -> NDArray[np.complex64]:
    """Return all blocks of the calibration region, shape (block, channel * dz * dy * dx)."""
    windows = np.lib.stride_tricks.sliding_window_view(spectrum, sides, axis=(1, 2, 3))
    rows = np.moveaxis(windows, 0, 3)
    return np.ascontiguousarray(rows).reshape(-1, len(spectrum) * int(np.prod(sides)))


def _row_space(rows: NDArray[np.complex64], threshold: float) -> NDArray[np.complex64]:
    """Return an orthonormal basis of the blocks' space above the threshold, shape (entry, kernel).

    A randomised range finder with one power iteration, of growing rank until it holds all of the space
    (Halko, Martinsson, Tropp, SIAM Rev 53:217 (2011), algorithm 4.4).
    """
    smallest = min(rows.shape)
    rank = min(smallest, max(64, smallest // 8))
    rng = np.random.default_rng(0)
    while True:
        start = rng.standard_normal((2, rows.shape[0], rank), dtype=np.float32)
        basis = rows.conj().T @ (start[0] + 1j * start[1])
        basis = np.linalg.qr(rows.conj().T @ (rows @ np.linalg.qr(basis)[0]))[0]
        _, values, right = scipy.linalg.svd(rows @ basis, full_matrices=False)
        if rank == smallest or values[-1] < threshold * values[0]:
            found: NDArray[np.complex64] = basis @ right[values >= threshold * values[0]].conj().T
            # Blocks are rows of the matrix, its right vectors therefore their conjugates.
            return found.conj()
        rank = min(smallest, 2 * rank)


def _projector_images(
    kernels: NDArray[np.complex64], channels: int, sides: list[int], cells: list[int]
) -> NDArray[np.complex64]:
    """Return what projecting on the kernels does in every voxel, shape (z, y, x, channel, channel)."""
    dz, dy, dx = sides
    full = kernels @ kernels.conj().T
    blocks = full.reshape(channels, dz, dy, dx, channels, dz, dy, dx)
    lags = np.zeros((channels, channels, 2 * dz - 1, 2 * dy - 1, 2 * dx - 1), dtype=np.complex64)
    for z, y, x in np.ndindex(dz, dy, dx):
        # The lag of entry (z, y, x) with those of the other side, reversed, is a plain slice.
        part = blocks[:, z, y, x][:, :, ::-1, ::-1, ::-1]
        lags[:, :, z : z + dz, y : y + dy, x : x + dx] += part
    lags /= np.prod(sides)
    maps = spectrum_images(lags.reshape(channels**2, *lags.shape[2:]), cells)
    return np.ascontiguousarray(np.moveaxis(maps.reshape(channels, channels, *cells), (0, 1), (-2, -1)))
