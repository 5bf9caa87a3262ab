"""NIfTI images brought to a reconstruction's voxels: an anatomical image, a field map.

The file's affine says where its voxels lie, in the same frame in which ``recon.nifti`` writes images:
+x, +y, +z of the magnet are right, anterior, superior.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import map_coordinates

from coilbench.base.errors import BenchFileError, MeasurementError
from recon.nifti import affine

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from recon.grid import Grid

#: Share of the grid's voxels that an image must cover to be of the same place.
_LEAST_COVER: Final = 0.1
#: Of steps between voxels: affines are stored in single precision.
_ROUNDING: Final = 1e-4


def anatomy_on_grid(path: Path, grid: Grid, /) -> NDArray[np.float64]:
    """Return the mean of an image over each voxel of a grid, shape (z, y, x); 0 where the image ends.

    Raises
    ------
    BenchFileError
        The file cannot be read as a three-dimensional NIfTI image.
    MeasurementError
        The image lies elsewhere.
    """
    values, to_voxel = _read(path, grid)
    # so many points along each axis of a voxel as voxels of the image lie along it
    steps = np.abs(to_voxel[:3, :3]).max(axis=0)
    counts = [max(1, int(np.ceil(step - _ROUNDING))) for step in steps]
    total = np.zeros(grid.shape)
    for x, y, z in np.ndindex(*counts):
        offset = (np.array([x, y, z]) + 0.5) / counts - 0.5
        total += _sample(values, to_voxel, grid, offset, mode="grid-constant")
    return total / float(np.prod(counts))


def field_on_grid(path: Path, grid: Grid, /) -> NDArray[np.float64]:
    """Return a field map in Hz at the voxels of a grid, shape (z, y, x); beyond its edge that of its edge.

    Raises
    ------
    BenchFileError
        The file cannot be read as a three-dimensional NIfTI image.
    MeasurementError
        The map lies elsewhere.
    """
    values, to_voxel = _read(path, grid)
    return _sample(values, to_voxel, grid, np.zeros(3), mode="nearest")


def _read(path: Path, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values (x, y, z) and the matrix from the grid's voxel numbers (x, y, z) to the image's."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        volume: Any = nibabel.load(str(path))
        values = np.asarray(volume.get_fdata(), dtype=np.float64)
        to_voxel = np.linalg.inv(np.asarray(volume.affine, dtype=np.float64)) @ affine(grid)
    except (OSError, ValueError, EOFError, ImageFileError, np.linalg.LinAlgError) as error:
        raise BenchFileError(f"{path} cannot be read as NIfTI: {error}") from error
    if values.ndim != 3 or not np.all(np.isfinite(values)):
        raise BenchFileError(
            f"{path}: a finite three-dimensional image is expected, got shape {values.shape}"
        )
    places = _places(to_voxel, grid, np.zeros(3))
    edges = np.array(values.shape).reshape(3, 1, 1, 1) - 0.5
    cover = float(np.mean(np.all((places > -0.5) & (places < edges), axis=0)))
    if cover < _LEAST_COVER:
        raise MeasurementError(
            f"{path} covers {100 * cover:.0f} % of the scan's field of view: it shows another place, "
            "or its affine is wrong"
        )
    return values, to_voxel


def _places(to_voxel: NDArray[np.float64], grid: Grid, offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the grid's voxels, shifted by part of a voxel, lie in the image, shape (3, z, y, x)."""
    z, y, x = np.meshgrid(*(np.arange(count, dtype=np.float64) for count in grid.shape), indexing="ij")
    numbers = np.stack([x, y, z]) + offset.reshape(3, 1, 1, 1)
    return np.asarray(
        np.einsum("ij,jzyx->izyx", to_voxel[:3, :3], numbers) + to_voxel[:3, 3].reshape(3, 1, 1, 1)
    )


def _sample(
    values: NDArray[np.float64],
    to_voxel: NDArray[np.float64],
    grid: Grid,
    offset: NDArray[np.float64],
    *,
    mode: str,
) -> NDArray[np.float64]:
    places = _places(to_voxel, grid, offset)
    return np.asarray(map_coordinates(values, places, order=1, mode=mode), dtype=np.float64)
