"""Images as NIfTI files that any viewer shows the right way round.

The magnet frame (x, y, z) is written as NIfTI's world frame (right, anterior, superior): for a phantom lying
as a patient head first and face up, +x is the patient's right, +y the front, +z the head. Another placement
is given as three axis letters. Distances are written in mm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from recon.grid import Grid

#: Unit vectors of the world frame (right, anterior, superior).
_DIRECTIONS: Final[dict[str, tuple[int, float]]] = {
    "R": (0, 1.0), "L": (0, -1.0), "A": (1, 1.0), "P": (1, -1.0), "S": (2, 1.0), "I": (2, -1.0),
}  # fmt: skip


def affine(grid: Grid, *, orientation: str = "RAS") -> NDArray[np.float64]:
    """Return the 4 x 4 matrix from voxel numbers (x, y, z) to world coordinates in mm.

    Parameters
    ----------
    grid
        Where the voxels are.
    orientation
        World directions of the magnet's +x, +y, +z, such as ``"RAS"`` or ``"LPS"``.

    Raises
    ------
    ValueError
        The letters do not name three different axes.
    """
    letters = orientation.upper()
    if len(letters) != 3 or sorted(_DIRECTIONS.get(letter, (9, 0))[0] for letter in letters) != [0, 1, 2]:
        raise ValueError(
            f"an orientation is one letter of each pair R/L, A/P, S/I, such as 'RAS'; got {orientation!r}"
        )
    frame = np.zeros((3, 3))
    for axis, letter in enumerate(letters):
        row, sign = _DIRECTIONS[letter]
        frame[row, axis] = sign
    spacing = np.array(grid.spacing[::-1]) * 1e3
    first = np.array([axis[0] for axis in grid.axes()][::-1]) * 1e3
    matrix = np.eye(4)
    matrix[:3, :3] = frame * spacing
    matrix[:3, 3] = frame @ first
    return matrix


def write_nifti(
    path: str | Path,
    image: NDArray[np.floating[Any]],
    grid: Grid,
    *,
    orientation: str = "RAS",
    description: str = "",
) -> None:
    """Write a real image as NIfTI-1 (``.nii`` or ``.nii.gz``), float32.

    Parameters
    ----------
    path
        File to write.
    image
        Shape (z, y, x).
    grid
        Where its voxels are.
    orientation
        See ``affine``.
    description
        At most 79 characters, such as the unit of the values.

    Raises
    ------
    ValueError
        The image does not fit the grid, is complex, or the description is too long.
    """
    import nibabel

    if image.shape != grid.shape or np.iscomplexobj(image):
        raise ValueError(f"a real image of shape {grid.shape} expected, got {image.dtype} {image.shape}")
    if len(description.encode()) > 79:
        raise ValueError(f"NIfTI keeps 79 bytes of description, got {len(description.encode())}")
    data = np.ascontiguousarray(image.transpose(2, 1, 0), dtype=np.float32)
    volume: Any = nibabel.Nifti1Image(data, affine(grid, orientation=orientation))
    volume.set_qform(affine(grid, orientation=orientation), code="scanner")
    volume.set_sform(affine(grid, orientation=orientation), code="scanner")
    volume.header.set_xyzt_units("mm", "sec")
    volume.header["descrip"] = description
    nibabel.save(volume, str(path))
