"""Where a voxel is, it is in every file: phantoms without symmetry, read back by nibabel, pydicom, highdicom.

Three vials, only at +x, only at +y, only at +z, of different size, on a grid with a different number and
size of voxels along every axis. World coordinates are the readers', not ours.
"""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest

from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.export.dicom import (
    ARBITRARY,
    SNR,
    SODIUM,
    PhantomStudy,
    new_uid,
    phantom_name,
    write_parametric_map,
    write_secondary_capture,
)
from recon.dataset import Dataset
from recon.foreign import reconstruct_dataset
from recon.grid import Grid
from recon.nifti import write_nifti

if TYPE_CHECKING:
    from pathlib import Path

#: Voxels of 6 x 5 x 4 mm (x, y, z), odd and even counts.
GRID = Grid((32, 27, 24), (0.128, 0.135, 0.144))
#: Name: value, centre (x, y, z) in mm, radius in mm. Nothing lies at -x, -y or -z.
VIALS = {
    "x": (1.0, (40.0, 0.0, 0.0), 14.0),
    "y": (2.0, (0.0, 35.0, 0.0), 16.0),
    "z": (3.0, (0.0, 0.0, 30.0), 18.0),
}
STUDY = PhantomStudy("PHANTOM^three vials", "run 7", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), "NA-8", "1.2")


def phantom(grid: Grid = GRID) -> np.ndarray:
    """Return the three balls on a grid, written without the grid's own positions."""
    image = np.zeros(grid.shape, dtype=np.float32)
    for z in range(grid.shape[0]):
        for y in range(grid.shape[1]):
            for x in range(grid.shape[2]):
                place = [
                    1e3 * (index - count // 2) * extent / count
                    for index, count, extent in zip(
                        (x, y, z), grid.shape[::-1], grid.field_of_view[::-1], strict=True
                    )
                ]
                for value, centre, radius in VIALS.values():
                    if np.linalg.norm(np.subtract(place, centre)) <= radius:
                        image[z, y, x] = value
    return image


def centres(values: np.ndarray, places: np.ndarray) -> dict[str, np.ndarray]:
    """Return the centre of mass of each vial, told apart by value; ``places`` (..., 3) in mm."""
    return {name: places[np.abs(values - value) < 0.1].mean(axis=0) for name, (value, _, _) in VIALS.items()}


def dicom_voxels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return values and left-posterior-superior positions (PS3.3, equation C.7.6.2.1-1), by plain pydicom."""
    data = pydicom.dcmread(path)
    frames = np.frombuffer(data.FloatPixelData, dtype="<f4").reshape(
        int(data.NumberOfFrames), data.Rows, data.Columns
    )
    shared = data.SharedFunctionalGroupsSequence[0]
    row, column = np.split(
        np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float), 2
    )
    down, along = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    places = np.empty((*frames.shape, 3))
    for frame, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        first = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        places[frame] = (
            first
            + np.arange(data.Columns)[None, :, None] * along * row
            + np.arange(data.Rows)[:, None, None] * down * column
        )
    return frames, places


def nifti_voxels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return values and right-anterior-superior positions, by nibabel."""
    image = nib.load(path)
    numbers = np.stack(np.indices(image.shape), axis=-1)
    return np.asarray(image.get_fdata()), nib.affines.apply_affine(image.affine, numbers)


def test_vials_lie_in_the_nifti_where_they_lie_in_the_magnet(tmp_path: Path) -> None:
    """Centre of mass within half a voxel: discretising a ball moves it by less."""
    write_nifti(tmp_path / "map.nii.gz", phantom(), GRID)
    values, places = nifti_voxels(tmp_path / "map.nii.gz")
    assert values.shape == GRID.shape[::-1]
    for name, found in centres(values, places).items():
        assert found == pytest.approx(VIALS[name][1], abs=2.0), name


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LAS", "ASR", "SLP"])
def test_dicom_and_nifti_put_every_voxel_at_the_same_place(tmp_path: Path, orientation: str) -> None:
    """Every value is unique here, so each voxel is matched by its value alone."""
    image = np.random.default_rng(5).permutation(np.prod(GRID.shape)).reshape(GRID.shape).astype(np.float32)
    write_nifti(tmp_path / "map.nii", image, GRID, orientation=orientation)
    write_parametric_map(tmp_path / "map.dcm", image, GRID, SODIUM, STUDY, orientation=orientation)
    ours, ras = nifti_voxels(tmp_path / "map.nii")
    theirs, lps = dicom_voxels(tmp_path / "map.dcm")
    ours_sorted = ras.reshape(-1, 3)[np.argsort(ours.ravel())]
    theirs_sorted = lps.reshape(-1, 3)[np.argsort(theirs.ravel())] * (-1.0, -1.0, 1.0)
    assert np.array_equal(np.sort(ours.ravel()), np.sort(theirs.ravel()))
    assert np.allclose(ours_sorted, theirs_sorted, atol=1e-3)


def test_slices_are_stored_as_a_radiologist_looks_at_them(tmp_path: Path) -> None:
    """Columns run to the patient's left, rows to the back: the viewer need not turn anything."""
    write_parametric_map(tmp_path / "map.dcm", phantom(), GRID, SODIUM, STUDY)
    shared = pydicom.dcmread(tmp_path / "map.dcm").SharedFunctionalGroupsSequence[0]
    assert [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient] == [
        1, 0, 0, 0, 1, 0,
    ]  # fmt: skip


def test_highdicom_reads_the_map_back_as_a_volume_in_its_unit(tmp_path: Path) -> None:
    write_parametric_map(tmp_path / "map.dcm", phantom(), GRID, SODIUM, STUDY)
    volume = highdicom.imread(tmp_path / "map.dcm").get_volume(apply_real_world_transform=True)
    numbers = np.stack(np.indices(volume.spatial_shape), axis=-1)
    lps = nib.affines.apply_affine(volume.affine, numbers)
    for name, found in centres(volume.array, lps * (-1.0, -1.0, 1.0)).items():
        assert found == pytest.approx(VIALS[name][1], abs=2.0), name
    mapping = (
        pydicom.dcmread(tmp_path / "map.dcm").SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    )
    unit = mapping[0].MeasurementUnitsCodeSequence[0]
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("mmol/L", "UCUM")
    assert (mapping[0].RealWorldValueSlope, mapping[0].RealWorldValueIntercept) == (1.0, 0.0)


def test_files_of_one_run_are_one_study_of_a_phantom_and_nobody_else(tmp_path: Path) -> None:
    write_parametric_map(tmp_path / "snr.dcm", phantom(), GRID, SNR, STUDY, series_number=1)
    write_parametric_map(tmp_path / "tsc.dcm", phantom(), GRID, SODIUM, STUDY, series_number=2)
    picture = np.zeros((40, 50, 3), dtype=np.uint8)
    series = new_uid()
    for number in (1, 2):
        write_secondary_capture(
            tmp_path / f"figure{number}.dcm", picture, "figure", STUDY, series_uid=series, number=number
        )
    files = [pydicom.dcmread(path) for path in sorted(tmp_path.glob("*.dcm"))]
    assert len({file.StudyInstanceUID for file in files}) == 1
    assert len({file.SOPInstanceUID for file in files}) == 4
    assert len({file.SeriesInstanceUID for file in files}) == 3
    assert len({f.FrameOfReferenceUID for f in files if "FrameOfReferenceUID" in f}) == 1
    for file in files:
        assert str(file.PatientName) == "PHANTOM^three vials"
        assert not file.PatientBirthDate
        assert not file.PatientSex
        assert not file.ReferringPhysicianName
        assert not {"OperatorsName", "PerformingPhysicianName", "InstitutionName"} & set(file.dir())
        for element in file.iterall():
            if element.VR == "UI" and element.value:
                assert all(pydicom.uid.UID(uid).is_valid for uid in np.atleast_1d(element.value)), element


@pytest.mark.parametrize(
    "name",
    [
        "Doe^John",
        "",
        "phantom^a",
        "PHANTOM^",
        "PHANTOM^a^b",
        "PHANTOM^a=b",
        "PHANTOM^" + "x" * 60,
        "PHANTOMAS",
    ],
)
def test_other_names_than_a_phantoms_are_refused(name: str) -> None:
    with pytest.raises(BenchFileError, match="no name of a phantom"):
        PhantomStudy(name, "run", datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("text", ["ball", "Müller^Ann\\x", "<script>", "", "x" * 200, "..", "\n"])
def test_any_name_of_a_phantom_in_a_bench_file_becomes_one_that_dicom_takes(text: str) -> None:
    PhantomStudy(phantom_name(text), "run", datetime(2026, 1, 1, tzinfo=UTC))


def test_values_that_no_viewer_can_show_are_refused(tmp_path: Path) -> None:
    image = phantom()
    image[3, 4, 5] = np.nan
    with pytest.raises(MeasurementError, match="1 voxels are not finite"):
        write_parametric_map(tmp_path / "map.dcm", image, GRID, SNR, STUDY)
    with pytest.raises(ValueError, match="shape"):
        write_parametric_map(tmp_path / "map.dcm", image[:-1], GRID, SNR, STUDY)
    with pytest.raises(ValueError, match="RGB"):
        write_secondary_capture(tmp_path / "a.dcm", np.zeros((4, 4), np.uint8), "t", STUDY)
    assert not list(tmp_path.iterdir())


def test_the_standards_own_checker_finds_no_error(tmp_path: Path) -> None:
    """By dciodvfy and dcentvfy (dicom3tools): attributes of each object, and of all as one study."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: apt install dicom3tools)")
    constant = np.zeros(GRID.shape, dtype=np.float32)
    write_parametric_map(tmp_path / "snr.dcm", phantom(), GRID, SNR, STUDY)
    write_parametric_map(tmp_path / "tsc.dcm", phantom() * 1e-3, GRID, SODIUM, STUDY, series_number=2)
    write_parametric_map(tmp_path / "zero.dcm", constant, GRID, ARBITRARY, STUDY, series_number=3)
    write_secondary_capture(
        tmp_path / "figure.dcm", np.full((40, 50, 3), 9, np.uint8), "SNR über <alles>", STUDY
    )
    paths = sorted(str(path) for path in tmp_path.glob("*.dcm"))
    for words in (*(["dciodvfy", path] for path in paths), ["dcentvfy", *paths]):
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert not errors, words


def ball_signal(k: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Return the signal of a ball at k (..., 3) in 1/m: its closed-form transform, shifted to ``centre``."""
    x = 2 * np.pi * np.maximum(np.linalg.norm(k, axis=-1), 1e-9) * radius
    shape = 4 * np.pi * radius**3 * (np.sin(x) - x * np.cos(x)) / x**3
    return shape * np.exp(-2j * np.pi * (k @ centre))


def test_simulated_spokes_of_three_vials_end_where_the_vials_are(tmp_path: Path) -> None:
    """From k-space by closed form, s(k) = ∫ rho exp(-2 pi i k r), through recon, to NIfTI and DICOM.

    Each vial's centre of mass, above half of its own value and within 25 mm of it, lies at its place to half
    a voxel of 5 mm.
    """
    grid = Grid.cube(32, 0.16)
    rng = np.random.default_rng(3)
    directions = rng.standard_normal((2400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = np.linspace(0.0, 0.98 * grid.nyquist, 48)
    trajectory = directions[:, None, :] * radii[None, :, None]
    samples = np.zeros(trajectory.shape[:2], dtype=np.complex128)
    for value, centre, radius in VIALS.values():
        samples += value * ball_signal(trajectory, 1e-3 * np.array(centre), 1e-3 * radius)
    dataset = Dataset("vials", samples[None].astype(np.complex64), trajectory, grid, 1e-5)
    image = reconstruct_dataset(dataset).image
    write_nifti(tmp_path / "map.nii", image, grid)
    write_parametric_map(tmp_path / "map.dcm", image, grid, ARBITRARY, STUDY)
    for values, places in (
        nifti_voxels(tmp_path / "map.nii"),
        (dicom_voxels(tmp_path / "map.dcm")[0], dicom_voxels(tmp_path / "map.dcm")[1] * (-1.0, -1.0, 1.0)),
    ):
        for name, (value, centre, _) in VIALS.items():
            inside = (values > 0.5 * value) & (np.linalg.norm(places - centre, axis=-1) < 25.0)
            weights = values[inside]
            found = (weights[:, None] * places[inside]).sum(axis=0) / weights.sum()
            assert found == pytest.approx(centre, abs=2.5), name
            mirrored = values[np.linalg.norm(places + centre, axis=-1) < 5.0]
            assert mirrored.max() < 0.3 * value, name
