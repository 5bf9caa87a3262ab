"""Images that a scanner or another program stored as DICOM: values, geometry, and how they were acquired.

Values are the stored ones times the slope plus the intercept. Programs that skip this step go wrong where the
zero is not stored as 0: a real image in unsigned integers then has its offset counted as signal.
Voxel numbers (x, y, z) are (column, row, slice); slices run along the cross product of row and column
directions. The affine is that of NIfTI (right, anterior, superior, mm), as in ``recon.nifti``.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import BenchFileError, MeasurementError
from recon.dicom_frames import Component, Frame, Protocol, frames_of
from recon.grid import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Slice distances may differ by this fraction (rounding of positions in decimal strings).
_UNEVEN: Final = 0.02
#: DICOM's patient frame is (left, posterior, superior), PS3.3 C.7.6.2.1.1; NIfTI's is (right, anterior, ...).
_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class DicomVolume:
    """One volume (or slice) of a DICOM series.

    Parameters
    ----------
    name
        Series description and number of the volume in its series, for people.
    image
        Rescaled values, float32, shape (z, y, x) = (slice, row, column).
    stored
        The values as they stand in the file, same shape.
    affine
        From voxel numbers (x, y, z) to right, anterior, superior in mm, shape (4, 4).
    spacing
        Voxel size along (z, y, x) in m; a single slice is as thick as it says.
    component
        Whether the values are magnitudes, or real, imaginary or phase parts.
    protocol
        How it was acquired.
    series
        Series instance UID.
    time
        Acquisition date and time, ``YYYYMMDDHHMMSS.F``; sorts repeated scans. May be empty.
    files
        Where the slices came from, in order.
    notes
        What had to be assumed.
    """

    name: str
    image: NDArray[np.float32]
    stored: NDArray[np.floating[Any] | np.integer[Any]]
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float]
    component: Component
    protocol: Protocol
    series: str
    time: str
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def grid(self) -> Grid:
        """Shape and extent, centred: the place in the magnet stands in ``affine``."""
        depth, height, width = self.image.shape
        dz, dy, dx = self.spacing
        return Grid((depth, height, width), (depth * dz, height * dy, width * dx))


def read_volumes(path: str | Path) -> tuple[DicomVolume, ...]:
    """Return every volume in a DICOM file or in the files of a folder, in the order of their acquisition.

    A series is cut into one volume per echo, component, orientation and repetition. Multi-frame files count
    as a series of their own.

    Parameters
    ----------
    path
        A file, or a folder that is searched with its subfolders; what is not DICOM in it is skipped.

    Raises
    ------
    BenchFileError
        There is no such path, or nothing in it is a DICOM image that can be decoded.
    MeasurementError
        Slices of a volume are missing or doubled.
    """
    path = Path(path)
    if path.is_file():
        frames = frames_of(path)
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and _is_dicom(file))
        frames = [frame for file in files for frame in frames_of(file, skip_others=True)]
    else:
        raise BenchFileError(f"there is no file or folder {path}")
    if not frames:
        raise BenchFileError(f"{path} holds no DICOM image")
    groups: dict[tuple[object, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[frame.group].append(frame)
    volumes = [volume for group in groups.values() for volume in _volumes(group)]
    return tuple(sorted(volumes, key=lambda volume: (volume.time, volume.name)))


def _is_dicom(file: Path) -> bool:
    """Return whether the file has the mark of PS3.10: ``DICM`` after a preamble of 128 bytes."""
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _volumes(frames: list[Frame]) -> list[DicomVolume]:
    """Cut frames of one orientation into repetitions and stack each along its normal."""
    places: dict[float, list[Frame]] = defaultdict(list)
    for frame in sorted(frames, key=lambda frame: frame.order):
        places[round(frame.depth, 3)].append(frame)
    counts = {len(found) for found in places.values()}
    if len(counts) > 1:
        raise MeasurementError(
            f"{frames[0].name}: {min(counts)} to {max(counts)} images per slice position; a repetition is "
            "incomplete: copy the whole series"
        )
    slices = [places[depth] for depth in sorted(places)]
    repetitions = counts.pop()
    return [_stack([place[index] for place in slices], index, repetitions) for index in range(repetitions)]


def _stack(frames: list[Frame], repetition: int, repetitions: int) -> DicomVolume:
    first = frames[0]
    notes = list(first.notes)
    thickness = first.thickness
    if len(frames) > 1:
        steps = np.diff([frame.depth for frame in frames])
        thickness = float(np.mean(steps))
        if np.max(np.abs(steps - thickness)) > _UNEVEN * thickness:
            raise MeasurementError(
                f"{first.name}: slices {np.min(steps):.3g} to {np.max(steps):.3g} mm apart; some are missing"
            )
    elif not thickness > 0:
        thickness = 1.0
        notes.append("the file states no slice thickness: 1 mm is assumed")
    axes = np.stack([first.row_direction, first.column_direction, first.normal], axis=1)
    height, width = first.pixel_spacing
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ axes * np.array([width, height, thickness])
    affine[:3, 3] = _LPS_TO_RAS @ first.position
    return DicomVolume(
        name=f"{first.name} [{repetition + 1}]" if repetitions > 1 else first.name,
        image=np.stack([frame.values for frame in frames]),
        stored=np.stack([frame.stored for frame in frames]),
        affine=affine,
        spacing=(thickness * 1e-3, height * 1e-3, width * 1e-3),
        component=first.component,
        protocol=first.protocol,
        series=first.series,
        time=min(frame.time for frame in frames),
        files=tuple(frame.file for frame in frames),
        notes=tuple(dict.fromkeys(notes)),
    )
