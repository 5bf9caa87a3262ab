"""Maps and figures as DICOM: parametric maps with units and geometry, secondary captures of the figures.

Only phantoms are written: a patient's name that does not begin with PHANTOM is refused, and there is no
field for any other person. Maps keep float32 values, UCUM units and a real-world value mapping of slope 1;
their voxels lie where those of the NIfTI file lie, stored as a radiologist looks at them (columns towards
the left, rows towards the back).
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.session import storing
from recon.nifti import affine

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

    from recon.grid import Grid

#: What a phantom's name begins with.
PHANTOM: Final = "PHANTOM"
#: Of a person's name, characters: DICOM PS3.5, table 6.2-1, PN.
_LONGEST_NAME: Final = 64
#: Letters that every DICOM reader knows without a character set, and none that separates name parts.
_NAME: Final = re.compile(rf"{PHANTOM}(\^[A-Za-z0-9 ._-]+)?")
#: From the NIfTI world (right, anterior, superior) to DICOM's (left, posterior, superior): PS3.3 C.7.6.2.1.1.
_TO_DICOM: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Of identifiers made from a UUID: DICOM PS3.5, B.2.
_UUID_ROOT: Final = "2.25."
_MAKER: Final = "coilbench"
#: For people; a study is told apart by its identifier.
_STUDY_ID: Final = "1"


@dataclass(frozen=True, slots=True)
class PhantomStudy:
    """Which phantom a file shows, and from which run it comes.

    Parameters
    ----------
    phantom
        Patient's name, ``PHANTOM^<name>``: Latin letters, digits, space, dot, dash, underscore.
    run
        Name of the run or of the file: the same for all files that belong together.
    measured
        When, UTC.
    serial_number
        Of the coil.
    software
        Version of the program that made the values.

    Raises
    ------
    BenchFileError
        The name is not that of a phantom.
    """

    phantom: str
    run: str
    measured: datetime
    serial_number: str = "unnamed"
    software: str = "0"

    def __post_init__(self) -> None:
        if len(self.phantom) > _LONGEST_NAME or _NAME.fullmatch(self.phantom) is None:
            raise BenchFileError(
                f"{self.phantom!r} is no name of a phantom: expected {PHANTOM}^ and Latin letters, digits, "
                f"space, dot, dash, at most {_LONGEST_NAME} characters in all; patients are not exported"
            )

    def uid(self, what: str, /) -> str:
        """Return the identifier of ``what``, such as the study: the same for every file of a run."""
        return _UUID_ROOT + str(uuid.uuid5(uuid.NAMESPACE_URL, f"coilbench:{self.run}:{what}").int)


@dataclass(frozen=True, slots=True)
class MapQuantity:
    """What the values of a map are.

    Parameters
    ----------
    label
        At most 16 characters.
    explanation
        At most 64 characters.
    unit
        UCUM code, ``"1"`` where there is none.
    """

    label: str
    explanation: str
    unit: str


SNR: Final = MapQuantity("SNR", "Signal over real-part noise deviation", "1")
SODIUM: Final = MapQuantity("[Na]", "Total sodium concentration", "mmol/L")
SODIUM_NOISE: Final = MapQuantity("u_noise [Na]", "Standard uncertainty of [Na] by noise", "mmol/L")
SODIUM_SYSTEMATIC: Final = MapQuantity("u_sys [Na]", "Standard uncertainty of [Na], systematic", "mmol/L")
ARBITRARY: Final = MapQuantity("magnitude", "Magnitude in arbitrary units", "[arb'U]")


def phantom_name(text: str, /) -> str:
    """Return ``PHANTOM^text`` with what a patient's name cannot hold replaced by dashes.

    For names of phantoms in bench files, which may hold anything.
    """
    plain = re.sub(r"[^A-Za-z0-9 ._-]+", "-", text).strip(" -.")[: _LONGEST_NAME - len(PHANTOM) - 1].strip()
    return f"{PHANTOM}^{plain or 'unnamed'}"


def write_parametric_map(
    path: Path,
    image: NDArray[np.floating[Any]],
    grid: Grid,
    quantity: MapQuantity,
    study: PhantomStudy,
    *,
    orientation: str = "RAS",
    series_number: int = 1,
) -> None:
    """Write a map as one DICOM Parametric Map (multi-frame, float32).

    Parameters
    ----------
    path
        File to write.
    image
        Shape (z, y, x), finite.
    grid
        Where its voxels are.
    quantity, study
        What the values are, and whose they are.
    orientation
        World directions of the magnet's +x, +y, +z; see ``recon.nifti.affine``.
    series_number
        Tells the maps of a study apart.

    Raises
    ------
    ValueError
        The image does not fit the grid.
    MeasurementError
        It holds values that are not finite.
    StorageError
        The disk refused.

    Notes
    -----
    DICOM PS3.3, A.75 (Parametric Map IOD) and C.7.6.16.2.11 (Real World Value Mapping).
    """
    import highdicom
    from highdicom.sr.coding import CodedConcept

    if image.shape != grid.shape or np.iscomplexobj(image):
        raise ValueError(f"a real image of shape {grid.shape} expected, got {image.dtype} {image.shape}")
    if not np.all(np.isfinite(image)):
        bad = int(np.count_nonzero(~np.isfinite(image)))
        raise MeasurementError(f"{path.name}: {bad} voxels are not finite; a map for a viewer must be")
    frames, placing = _frames(image, grid, orientation)
    low, high = float(frames.min()), float(frames.max())
    top = high if high > low else low + 1.0
    unit = CodedConcept(quantity.unit, "UCUM", "no units" if quantity.unit == "1" else quantity.unit)
    template = _template(study, placing, frames.shape)
    made: Any = highdicom.pm.ParametricMap(
        source_images=[template],
        pixel_array=frames,
        series_instance_uid=highdicom.UID(),
        series_number=series_number,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=_MAKER,
        manufacturer_model_name=_MAKER,
        software_versions=study.software,
        device_serial_number=_latin(study.serial_number)[:64],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            highdicom.pm.RealWorldValueMapping(
                lut_label=quantity.label,
                lut_explanation=quantity.explanation,
                unit=unit,
                value_range=(low, top),
                slope=1.0,
                intercept=0.0,
            )
        ],
        voi_lut_transformations=[
            highdicom.VOILUTTransformation(
                window_center=(low + top) / 2, window_width=top - low, voi_lut_function="LINEAR_EXACT"
            )
        ],
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=placing.pixel_spacing,
            slice_thickness=placing.slice_spacing,
            spacing_between_slices=placing.slice_spacing,
        ),
        plane_orientation=highdicom.PlaneOrientationSequence("PATIENT", placing.orientation),
        plane_positions=[
            highdicom.PlanePositionSequence("PATIENT", placing.position(frame))
            for frame in range(len(frames))
        ],
        content_label="MAP",
        content_description=quantity.explanation,
    )
    made.SeriesDescription, made.Laterality = f"{quantity.label} / {quantity.unit}", ""
    _forget(made)
    with storing(path):
        made.save_as(path)


def write_secondary_capture(
    path: Path,
    picture: NDArray[np.uint8],
    title: str,
    study: PhantomStudy,
    *,
    series_uid: str | None = None,
    number: int = 1,
) -> None:
    """Write a picture, such as a figure of the report, as a DICOM Secondary Capture.

    Parameters
    ----------
    path
        File to write.
    picture
        RGB, shape (row, column, 3).
    title
        Shown by viewers as the series' description; at most 64 characters are kept.
    study
        Whose it is.
    series_uid
        The same for all pictures of one series (``new_uid``); None: a series of its own.
    number
        Within the series, from 1.

    Raises
    ------
    ValueError
        The picture has another shape or type.
    StorageError
        The disk refused.
    """
    import highdicom

    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"an RGB picture of bytes expected, got {picture.dtype} {picture.shape}")
    made: Any = highdicom.sc.SCImage(
        pixel_array=np.ascontiguousarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=study.uid("study"),
        series_instance_uid=series_uid or new_uid(),
        series_number=100,
        sop_instance_uid=highdicom.UID(),
        instance_number=number,
        manufacturer=_MAKER,
        patient_id=_patient_id(study),
        patient_name=study.phantom,
        study_id=_STUDY_ID,
        study_date=study.measured.date(),
        study_time=study.measured.time().replace(microsecond=0),
        patient_orientation=("L", "P"),
        manufacturer_model_name=_MAKER,
        software_versions=study.software,
    )
    made.SeriesDescription = _latin(title)[:64]
    made.Laterality = made.PatientOrientation = ""  # a chart has no left side
    with storing(path):
        made.save_as(path)


def new_uid() -> str:
    """Return an identifier that nothing else has."""
    return _UUID_ROOT + str(uuid.uuid4().int)


@dataclass(frozen=True, slots=True)
class _Placing:
    """Where frames lie in DICOM's patient coordinates, mm: columns and rows of the affine are (x, y, z)."""

    matrix: NDArray[np.float64]

    @property
    def pixel_spacing(self) -> tuple[float, float]:
        """Distance of neighbouring rows, and of neighbouring columns."""
        lengths = np.linalg.norm(self.matrix[:3, :2], axis=0)
        return float(lengths[1]), float(lengths[0])

    @property
    def slice_spacing(self) -> float:
        """Distance of neighbouring frames."""
        return float(np.linalg.norm(self.matrix[:3, 2]))

    @property
    def orientation(self) -> list[float]:
        """Unit vectors along a row and along a column."""
        unit = self.matrix[:3, :2] / np.linalg.norm(self.matrix[:3, :2], axis=0)
        return [float(value) for value in unit.T.ravel()]

    def position(self, frame: int) -> list[float]:
        """Return the centre of a frame's first voxel."""
        return [float(value) for value in self.matrix[:3, 3] + frame * self.matrix[:3, 2]]


def _frames(
    image: NDArray[np.floating[Any]], grid: Grid, orientation: str
) -> tuple[NDArray[np.float32], _Placing]:
    """Return (frame, row, column) turned so that rows and columns run towards left, back or feet, and where.

    Frames stay as they are: their order is what their positions say.
    """
    matrix = _TO_DICOM @ affine(grid, orientation=orientation)
    frames = np.asarray(image, dtype=np.float32)
    for axis in (0, 1):
        step = matrix[:3, axis]
        if step[int(np.argmax(np.abs(step)))] < 0:
            count = grid.shape[2 - axis]
            frames = np.flip(frames, 2 - axis)
            matrix[:3, 3] += (count - 1) * step
            matrix[:3, axis] = -step
    return np.ascontiguousarray(frames), _Placing(matrix)


def _template(study: PhantomStudy, placing: _Placing, shape: tuple[int, ...]) -> Any:  # noqa: ANN401
    """Return what highdicom copies patient, study and frame of reference from: no instance that is stored."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    source: Any = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.SOPClassUID, source.SOPInstanceUID = MRImageStorage, new_uid()
    source.PatientName, source.PatientID = study.phantom, _patient_id(study)
    source.PatientBirthDate, source.PatientSex = "", ""
    source.StudyInstanceUID, source.SeriesInstanceUID = study.uid("study"), new_uid()
    source.StudyID, source.AccessionNumber = _STUDY_ID, ""
    source.StudyDate = study.measured.strftime("%Y%m%d")
    source.StudyTime = study.measured.strftime("%H%M%S")
    source.FrameOfReferenceUID = study.uid("frame of reference")
    source.PositionReferenceIndicator = ""
    source.Modality = "MR"
    _, source.Rows, source.Columns = shape
    source.ImageOrientationPatient = placing.orientation
    source.ImagePositionPatient = placing.position(0)
    source.PixelSpacing = list(placing.pixel_spacing)
    source.SliceThickness = placing.slice_spacing
    return source


def _forget(made: Any) -> None:  # noqa: ANN401 - a dataset
    """Remove references to the template: it is no instance that anybody could fetch."""
    groups = [*made.SharedFunctionalGroupsSequence, *made.PerFrameFunctionalGroupsSequence]
    for group in groups:
        if "DerivationImageSequence" in group:
            del group.DerivationImageSequence
    for name in ("SourceImageSequence", "ReferencedSeriesSequence", "ReferencedImageSequence"):
        if name in made:
            delattr(made, name)


def _patient_id(study: PhantomStudy) -> str:
    """Return the phantom's name as an identifier; there is no other."""
    return study.phantom.replace("^", "-")


def _latin(text: str) -> str:
    """Return text that needs no character set and cannot be taken for several values."""
    return re.sub(r"[^ -\[\]-~]", "?", text)
