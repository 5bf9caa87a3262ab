"""Single frames of DICOM files, whatever the object: classic MR, enhanced MR, parametric map, capture.

Attributes of a frame stand in its own functional groups, in those shared by all frames, or in the data set
itself, and are looked for in this order (PS3.3 C.7.6.16).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from coilbench.base.errors import BenchFileError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Component = Literal["magnitude", "real", "imaginary", "phase", "unknown"]

#: Values of Image Type and Complex Image Component, PS3.3 C.8.3.1.1.1 and C.8.13.3.1.1, and makers' variants.
_COMPONENTS: Final[dict[str, Component]] = {
    "M": "magnitude", "M_FFE": "magnitude", "M_SE": "magnitude", "M_IR": "magnitude",
    "MAGNITUDE": "magnitude", "R": "real", "R_SE": "real", "R_FFE": "real", "R_IR": "real", "REAL": "real",
    "I": "imaginary", "I_SE": "imaginary", "I_FFE": "imaginary", "IMAGINARY": "imaginary",
    "P": "phase", "PHASE": "phase", "PHASE MAP": "phase", "PHASE_MAP": "phase",
}  # fmt: skip
#: GE's private image type (0043,102F), GE DICOM conformance statement: 0 magnitude to 3 imaginary.
_GE_COMPONENTS: Final[dict[int, Component]] = {0: "magnitude", 1: "phase", 2: "real", 3: "imaginary"}


@dataclass(frozen=True, slots=True)
class Protocol:
    """How an image was acquired; 0 or empty where the file does not say.

    Parameters
    ----------
    nucleus
        Such as ``"23Na"``.
    field_strength
        In T.
    repetition_time, echo_time
        In s.
    flip_angle
        In rad.
    pixel_bandwidth
        Receive bandwidth per pixel in Hz.
    averages
        Number of averages.
    manufacturer, model, coil
        As the file words them.
    """

    nucleus: str = ""
    field_strength: float = 0.0
    repetition_time: float = 0.0
    echo_time: float = 0.0
    flip_angle: float = 0.0
    pixel_bandwidth: float = 0.0
    averages: float = 0.0
    manufacturer: str = ""
    model: str = ""
    coil: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image plane.

    Parameters
    ----------
    file, series, name
        Where it comes from.
    stored
        Values in the file, shape (row, column).
    slope, intercept
        Of the rescaling.
    position
        Of the centre of the first pixel, left, posterior, superior in mm.
    row_direction, column_direction
        Unit vectors along which columns and rows are counted.
    pixel_spacing
        Distance of rows, distance of columns, in mm.
    thickness
        Of the slice in mm; 0 when not stated.
    component
        Part of the complex image.
    protocol
        How it was acquired.
    time
        Of the acquisition.
    order
        Sorts repetitions of the same plane.
    notes
        What had to be assumed.
    """

    file: Path
    series: str
    name: str
    stored: NDArray[np.floating[Any] | np.integer[Any]]
    slope: float
    intercept: float
    position: NDArray[np.float64]
    row_direction: NDArray[np.float64]
    column_direction: NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    thickness: float
    component: Component
    protocol: Protocol
    time: str
    order: tuple[float, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def values(self) -> NDArray[np.float32]:
        """Rescaled values, shape (row, column)."""
        return np.asarray(self.stored * self.slope + self.intercept, dtype=np.float32)

    @property
    def normal(self) -> NDArray[np.float64]:
        """Direction in which slices are counted."""
        return np.asarray(np.cross(self.row_direction, self.column_direction), dtype=np.float64)

    @property
    def depth(self) -> float:
        """Place along the normal in mm."""
        return float(self.position @ self.normal)

    @property
    def group(self) -> tuple[object, ...]:
        """What frames of one stack (repeated or not) have in common."""
        directions = np.round(np.concatenate([self.row_direction, self.column_direction]), 4)
        echo = round(self.protocol.echo_time, 6)
        return self.series, self.component, echo, self.stored.shape, tuple((directions + 0.0).tolist())


def frames_of(file: Path, *, skip_others: bool = False) -> list[Frame]:
    """Return the frames of a DICOM file.

    Parameters
    ----------
    file
        To read.
    skip_others
        Return nothing for DICOM objects that are no images, instead of refusing them.

    Raises
    ------
    BenchFileError
        It is no DICOM image, is in colour, or its compression cannot be decoded.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset: Any = pydicom.dcmread(file)
    except (InvalidDicomError, OSError) as error:
        raise BenchFileError(f"{file} is no DICOM file: {error}") from error
    if "Rows" not in dataset:
        if skip_others:
            return []
        raise BenchFileError(f"{file} is a DICOM object without an image")
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        raise BenchFileError(f"{file} is a colour image: it holds a picture of values, not the values")
    try:
        pixels = np.asarray(dataset.pixel_array)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BenchFileError(
            f"{file} cannot be decoded ({error}); export it uncompressed (Explicit VR Little Endian)"
        ) from error
    stack = pixels if pixels.ndim == 3 else pixels[None]
    return [_frame(file, dataset, plane, index) for index, plane in enumerate(stack)]


def _frame(file: Path, dataset: Any, plane: NDArray[Any], index: int) -> Frame:  # noqa: ANN401 - pydicom
    levels = _levels(dataset, index)
    notes = []
    orientation = _numbers(_find(levels, "ImageOrientationPatient"))
    position = _numbers(_find(levels, "ImagePositionPatient"))
    if orientation.size != 6 or position.size != 3:
        orientation, position = np.array([1.0, 0, 0, 0, 1, 0]), np.array([0.0, 0, index])
        notes.append("the file states no orientation: transverse, slices in the order of the file")
    spacing = _numbers(_find(levels, "PixelSpacing"))
    if spacing.size != 2:
        spacing = np.ones(2)
        notes.append("the file states no pixel spacing: 1 mm is assumed")
    slope, intercept = _rescaling(levels)
    series = str(dataset.get("SeriesInstanceUID", file))
    name = str(dataset.get("SeriesDescription", "") or file.name)
    return Frame(
        file=file,
        series=series if "NumberOfFrames" not in dataset else f"{series} {file}",
        name=name,
        stored=plane,
        slope=slope,
        intercept=intercept,
        position=position,
        row_direction=orientation[:3] / np.linalg.norm(orientation[:3]),
        column_direction=orientation[3:] / np.linalg.norm(orientation[3:]),
        pixel_spacing=(float(spacing[0]), float(spacing[1])),
        thickness=_number(levels, "SliceThickness"),
        component=_component(levels),
        protocol=_protocol(levels),
        time=_time(levels),
        order=(
            _number(levels, "TemporalPositionIdentifier"),
            _number(levels, "TemporalPositionIndex"),
            _number(levels, "AcquisitionNumber"),
            _number(levels, "InstanceNumber"),
            float(index),
        ),
        notes=tuple(notes),
    )


def _levels(dataset: Any, index: int) -> list[Any]:  # noqa: ANN401 - pydicom is untyped
    """Return where to look for a frame's attributes: its own groups, shared ones, the data set."""
    levels: list[Any] = []
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = dataset.get("SharedFunctionalGroupsSequence")
    for groups in (frames[index : index + 1] if frames else [], shared or []):
        for group in groups:
            levels.extend(
                element.value[0] for element in group if element.VR == "SQ" and len(element.value) > 0
            )
    return [*levels, dataset]


def _find(levels: list[Any], keyword: str) -> Any:  # noqa: ANN401 - any DICOM value
    for level in levels:
        value = level.get(keyword)
        if value not in (None, ""):
            return value
    return None


def _number(levels: list[Any], *keywords: str) -> float:
    for keyword in keywords:
        value = _numbers(_find(levels, keyword))
        if value.size:
            return float(value[0])
    return 0.0


def _numbers(value: Any) -> NDArray[np.float64]:  # noqa: ANN401 - any DICOM value
    if value is None:
        return np.empty(0)
    return np.asarray(value, dtype=np.float64).ravel()


def _rescaling(levels: list[Any]) -> tuple[float, float]:
    """Return slope and intercept: modality rescaling, else the real-world mapping of a parametric map."""
    for slope, intercept in (
        ("RescaleSlope", "RescaleIntercept"),
        ("RealWorldValueSlope", "RealWorldValueIntercept"),
    ):
        found = _numbers(_find(levels, slope))
        if found.size:
            return float(found[0]), _number(levels, intercept)
    return 1.0, 0.0


def _component(levels: list[Any]) -> Component:
    stated = _find(levels, "ComplexImageComponent")
    kinds = [stated, *(_find(levels, "FrameType") or []), *(_find(levels, "ImageType") or [])]
    for kind in kinds:
        if kind is not None and str(kind).upper() in _COMPONENTS:
            return _COMPONENTS[str(kind).upper()]
    private = levels[-1].get((0x0043, 0x102F))
    value = private.value if private is not None else None
    return _GE_COMPONENTS.get(value, "unknown") if isinstance(value, int) else "unknown"


def _protocol(levels: list[Any]) -> Protocol:
    def text(*keywords: str) -> str:
        return next((str(found) for key in keywords if (found := _find(levels, key)) is not None), "")

    return Protocol(
        nucleus=text("ImagedNucleus", "ResonantNucleus"),
        field_strength=_number(levels, "MagneticFieldStrength"),
        repetition_time=_number(levels, "RepetitionTime") * 1e-3,
        echo_time=_number(levels, "EffectiveEchoTime", "EchoTime") * 1e-3,
        flip_angle=float(np.deg2rad(_number(levels, "FlipAngle"))),
        pixel_bandwidth=_number(levels, "PixelBandwidth"),
        averages=_number(levels, "NumberOfAverages"),
        manufacturer=text("Manufacturer"),
        model=text("ManufacturerModelName"),
        coil=text("ReceiveCoilName"),
    )


def _time(levels: list[Any]) -> str:
    moment = _find(levels, "FrameAcquisitionDateTime") or _find(levels, "AcquisitionDateTime")
    if moment is not None:
        return str(moment)
    date = _find(levels, "AcquisitionDate") or _find(levels, "SeriesDate") or ""
    clock = _find(levels, "AcquisitionTime") or _find(levels, "SeriesTime") or ""
    return f"{date}{clock}"
