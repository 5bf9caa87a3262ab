"""SNR from images alone, DICOM or NIfTI: two repeated ones, or one where there is no other.

An image holds no noise scan, so there are no SNR units: noise is what differs between two scans, or what
one image scatters about its own moving average. The two are never mixed in one trend.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import BenchFileError, MeasurementError
from recon.dicom import read_volumes
from recon.dicom_frames import Protocol
from recon.snr import (
    snr_of_background,
    snr_of_difference,
    snr_of_difference_per_region,
    snr_of_smoothing,
    snr_of_smoothing_as_hazen,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

#: Voxels above this fraction of the 98th percentile are object; a noise floor of SNR 10 lies at 0.13.
_OBJECT: Final = 0.2
#: Of the object's radius, the region that is measured: 80 % of the area, as NEMA MS 1 asks for at least 75 %.
_REGION: Final = 0.8**0.5
#: Edge of hazen 2.0's squares, and their distance from the centre, in pixels.
_SQUARE: Final = 20
_DISTANCE: Final = 40
#: Of each edge, a corner that holds air; its distance from the edge in pixels; and how much stronger than the
#: quietest corner one may be before it holds a ghost.
_CORNER: Final = 0.1
_INSET: Final = 4
_GHOST: Final = 1.1
#: Fewest voxels of an object: 4 independent ones in each of five regions.
_FEWEST: Final = 50


@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """One image of a file.

    Parameters
    ----------
    name
        For people.
    image
        Values in the file's unit, shape (z, y, x).
    stored
        As they stand in the file, before its slope and intercept.
    spacing
        Voxel size along (z, y, x) in m.
    affine
        From voxel numbers (x, y, z) to right, anterior, superior in mm, shape (4, 4).
    protocol
        How it was acquired, as far as the file says.
    notes
        What had to be assumed.
    """

    name: str
    image: NDArray[np.float32]
    stored: NDArray[Any]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    protocol: Protocol = field(default_factory=Protocol)
    notes: tuple[str, ...] = field(default=())


def is_image(path: Path, /) -> bool:
    """Return whether a path is taken for images: NIfTI by name, DICOM by its mark, or a folder of these."""
    if path.is_file():
        return path.name.endswith((".nii", ".nii.gz")) or _marked(path)
    return path.is_dir() and not (path / "bench.toml").is_file() and any(map(_marked, _files(path)))


def read_images(paths: Sequence[Path], /) -> tuple[StoredImage, ...]:
    """Return the images of files in their order: repetitions of a series one after the other.

    Raises
    ------
    BenchFileError
        A file cannot be read.
    MeasurementError
        A series lacks slices.
    """
    found: list[StoredImage] = []
    for path in paths:
        if path.name.endswith((".nii", ".nii.gz")):
            found.append(_read_nifti(path))
        else:
            found += [
                StoredImage(
                    volume.name,
                    volume.image,
                    volume.stored,
                    volume.spacing,
                    volume.affine,
                    volume.protocol,
                    volume.notes,
                )
                for volume in read_volumes(path)
            ]
    return tuple(found)


def snr_of_images(images: Sequence[StoredImage], /, *, channels: int | None = None) -> dict[str, Any]:
    """Return the SNR of the first two images by their difference, or of a single one by its smoothing.

    Parameters
    ----------
    images
        One, or two of one protocol.
    channels
        How many the root of the sum of squares combined: the biased SNR by the air of the first image is
        then stated too. None: it is not.

    Returns
    -------
    Plain values. ``as_hazen_prints`` is that program's number: five squares, the first image's signal, stored
    values without slope and intercept, no drift factor and no bias correction.

    Raises
    ------
    MeasurementError
        There is no object, the images differ in shape, are copies of each other, or hold no air to measure.
    """
    if not images:
        raise MeasurementError("there is no image to measure")
    first = images[0]
    place = int(np.argmax([np.sum(part, dtype=np.float64) for part in first.image]))
    centre, radius = _object(first.image[place], first.spacing)
    region = _disk(first.image[place].shape, first.spacing, centre, _REGION * radius)
    squares = _squares(first.stored[place].shape, centre)
    summary: dict[str, Any] = {
        "name": first.name,
        "slice": place + 1,
        "region_voxels": int(np.count_nonzero(region)),
        "region_centre_row_column": [centre[0], centre[1]],
        "region_radius_mm": 1e3 * _REGION * radius,
    }
    notes = [*first.notes]
    if len(images) > 1:
        second = images[1]
        if second.image.shape != first.image.shape:
            raise MeasurementError(
                f"the second image has shape {second.image.shape}, the first {first.image.shape}: the "
                "difference method takes two scans of one protocol"
            )
        a, b = first.image[place], second.image[place]
        measured = snr_of_difference(a, b, region)
        if squares:
            hazen = snr_of_difference_per_region(first.stored[place], second.stored[place], squares)
            summary["as_hazen_prints"] = hazen.value
        notes += [note for note in second.notes if note not in notes]
        if not np.array_equal(first.image, first.stored):
            notes.append(
                "the file's slope and intercept count; programs that skip them, as hazen 2.0 does, take an "
                "offset for signal"
            )
    else:
        measured = snr_of_smoothing(first.image[place], squares or [region])
        if squares and np.issubdtype(first.stored.dtype, np.integer):
            summary["as_hazen_prints"] = snr_of_smoothing_as_hazen(first.stored[place], squares).value
        notes.append(
            "one image: noise is its deviation from a moving average, which also removes texture; a second "
            "scan gives the SNR without that"
        )
    if channels is not None:
        air = _air(first.image[place], first.spacing, centre, radius)
        by_air = snr_of_background(first.image[place], region, air, channels=channels)
        summary |= {
            "snr_by_background": by_air.value,
            "u_snr_by_background": by_air.uncertainty,
            "method_by_background": by_air.method,
            "bias_by_background": by_air.bias,
        }
    return {**summary, **measured.plain(), "notes": "; ".join(notes)}


def _air(
    image: NDArray[np.floating[Any]],
    spacing: tuple[float, float, float],
    centre: tuple[int, int],
    radius: float,
) -> NDArray[np.bool_]:
    """Return the corners of a slice that hold neither object nor ghost."""
    rows, columns = image.shape
    down, along = max(1, int(_CORNER * rows)), max(1, int(_CORNER * columns))
    object_ = _disk(image.shape, spacing, centre, 1.1 * radius)
    corners = []
    for top in (_INSET, rows - _INSET - down):
        for left in (_INSET, columns - _INSET - along):
            corner = np.zeros(image.shape, np.bool_)
            corner[max(top, 0) : top + down, max(left, 0) : left + along] = True
            if not np.any(corner & object_):
                corners.append(corner)
    if not corners:
        raise MeasurementError("the object fills the slice to its corners: there is no air to measure")
    powers = [float(np.mean(np.square(image[corner], dtype=np.float64))) for corner in corners]
    quiet = [
        corner for corner, power in zip(corners, powers, strict=True) if power <= _GHOST**2 * min(powers)
    ]
    return np.asarray(np.any(quiet, axis=0))


def _object(
    image: NDArray[np.floating[Any]], spacing: tuple[float, float, float]
) -> tuple[tuple[int, int], float]:
    """Return the centre (row, column) of what stands out of a slice, and the radius in m of a disk as large.

    Centres are cut to whole pixels, as the published numbers of hazen 2.0 ask for.
    """
    inside = image > _OBJECT * np.quantile(image, 0.98)
    count = int(np.count_nonzero(inside))
    if count < _FEWEST or count == inside.size:
        raise MeasurementError(
            f"{count} of {inside.size} pixels stand out of the background: no object can be told from it"
        )
    rows, columns = np.nonzero(inside)
    area = count * spacing[1] * spacing[2]
    return (int(rows.mean()), int(columns.mean())), float(np.sqrt(area / np.pi))


def _disk(
    shape: tuple[int, ...], spacing: tuple[float, float, float], centre: tuple[int, int], radius: float
) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = ((rows - centre[0]) * spacing[1]) ** 2 + (
        (columns - centre[1]) * spacing[2]
    ) ** 2 <= radius**2
    return inside


def _squares(shape: tuple[int, ...], centre: tuple[int, int]) -> list[NDArray[np.bool_]]:
    """Return hazen's five squares, or nothing where they do not fit the image."""
    half, far = _SQUARE // 2, _DISTANCE + _SQUARE // 2
    if any(c < far or c + far > count for c, count in zip(centre, shape, strict=True)):
        return []
    squares = []
    for down, along in ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)):
        row, column = centre[0] + _DISTANCE * down, centre[1] + _DISTANCE * along
        square = np.zeros(shape, dtype=np.bool_)
        square[row - half : row + half, column - half : column + half] = True
        squares.append(square)
    return squares


def _read_nifti(path: Path) -> StoredImage:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        volume: Any = nibabel.load(str(path))
        values = np.asarray(volume.get_fdata(dtype=np.float32))
        zooms = [float(zoom) for zoom in volume.header.get_zooms()[:3]]
        affine = np.asarray(volume.affine, dtype=np.float64)
    except (OSError, ValueError, EOFError, ImageFileError) as error:
        raise BenchFileError(f"{path} cannot be read as NIfTI: {error}") from error
    if values.ndim != 3 or not np.all(np.isfinite(values)):
        raise BenchFileError(
            f"{path}: a finite three-dimensional image is expected, got shape {values.shape}"
        )
    image = np.ascontiguousarray(values.transpose(2, 1, 0))
    spacing = (zooms[2] * 1e-3, zooms[1] * 1e-3, zooms[0] * 1e-3)
    return StoredImage(path.name, image, image, spacing, affine)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _marked(file: Path) -> bool:
    """Return whether the file has the mark of DICOM PS3.10: ``DICM`` after 128 bytes."""
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
