"""DICOM images: values with their offset, geometry against another reader, repetitions, bad files."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from highdicom.spatial import PixelToReferenceTransformer
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from coilbench.base.errors import BenchFileError, MeasurementError
from recon.dicom import read_volumes

#: An oblique plane: 30° about x, then 20° about z, right-handed.
_A, _B = np.deg2rad(30), np.deg2rad(20)
ROW = np.array([np.cos(_B), np.sin(_B), 0.0])
COLUMN = np.array([-np.sin(_B) * np.cos(_A), np.cos(_B) * np.cos(_A), np.sin(_A)])
NORMAL = np.cross(ROW, COLUMN)
ORIGIN = np.array([-40.0, -55.0, 20.0])
SPACING, STEP = (2.0, 1.5), 6.0


def dataset(sop_class, pixels):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientName, data.PatientID = "MR", "PHANTOM", "PHANTOM"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = pixels.astype("<u2").tobytes()
    return data


def stored(repetition, slice_number):
    """Different numbers everywhere: 6 rows, 8 columns."""
    return 1000 * repetition + 100 * slice_number + np.arange(48).reshape(6, 8)


def write_slices(folder, *, slices=(0, 1, 2), repetitions=(0, 1)):
    series = generate_uid()
    numbers = [(r, s) for r in repetitions for s in slices]
    order = np.random.default_rng(3).permutation(len(numbers))
    for name, number in enumerate(order):
        repetition, place = numbers[number]
        data = dataset(MRImageStorage, stored(repetition, place))
        data.SeriesInstanceUID, data.SeriesDescription = series, "vials"
        data.ImageOrientationPatient = [*ROW.round(8), *COLUMN.round(8)]
        data.ImagePositionPatient = list((ORIGIN + STEP * place * NORMAL).round(6))
        data.PixelSpacing, data.SliceThickness = list(SPACING), 5.0
        data.RescaleSlope, data.RescaleIntercept = 0.5, -200.0
        data.ImageType = ["ORIGINAL", "PRIMARY", "R_FFE"]
        data.AcquisitionDate, data.AcquisitionTime = "20260102", f"12000{repetition}.5"
        data.TemporalPositionIdentifier = repetition + 1
        data.EchoTime, data.RepetitionTime, data.FlipAngle, data.ImagedNucleus = 0.3, 100, 90, "23Na"
        data.save_as(folder / f"{name}.dcm")
    (folder / "notes.txt").write_text("no image")


def test_a_repeated_oblique_stack_is_sorted_and_rescaled(tmp_path):
    """Two repetitions of three slices, files in random order; zero is stored as 400."""
    write_slices(tmp_path)
    first, second = read_volumes(tmp_path)
    for repetition, volume in enumerate((first, second)):
        expected = np.stack([stored(repetition, place) for place in range(3)])
        np.testing.assert_array_equal(volume.stored, expected)
        np.testing.assert_allclose(volume.image, 0.5 * expected - 200)
    assert first.image.dtype == np.float32
    assert first.spacing == pytest.approx((6e-3, 2e-3, 1.5e-3))
    assert first.component == "real"
    assert (first.name, second.name) == ("vials [1]", "vials [2]")
    assert first.grid.shape == (3, 6, 8)
    protocol = first.protocol
    assert (protocol.nucleus, protocol.echo_time, protocol.repetition_time) == ("23Na", 0.3e-3, 0.1)
    assert protocol.flip_angle == pytest.approx(np.pi / 2)


def test_voxels_lie_where_another_reader_puts_them(tmp_path):
    """The transformer of highdicom, pixel to (left, posterior, superior), for each slice of the stack."""
    write_slices(tmp_path, repetitions=(0,))
    (volume,) = read_volumes(tmp_path)
    for place, file in enumerate(volume.files):
        data = pydicom.dcmread(file)
        transformer = PixelToReferenceTransformer(
            list(data.ImagePositionPatient), list(data.ImageOrientationPatient), list(data.PixelSpacing)
        )
        theirs = np.diag([-1, -1, 1]) @ transformer(np.array([[7, 4]]))[0]
        np.testing.assert_allclose((volume.affine @ [7, 4, place, 1])[:3], theirs, atol=1e-4)


def test_an_enhanced_file_gives_the_same_volumes(tmp_path):
    """Frames of one multi-frame file, geometry per frame, rescaling shared."""
    write_slices(tmp_path)
    classic = read_volumes(tmp_path)
    numbers = [(r, s) for s in (2, 0, 1) for r in (0, 1)]
    data = dataset(EnhancedMRImageStorage, np.stack([stored(r, s) for r, s in numbers]))
    data.NumberOfFrames, data.SeriesInstanceUID = len(numbers), generate_uid()
    shared = Dataset()
    measures, transformation, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(SPACING), 5.0
    transformation.RescaleSlope, transformation.RescaleIntercept = 0.5, -200.0
    orientation.ImageOrientationPatient = [*ROW.round(8), *COLUMN.round(8)]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PixelValueTransformationSequence = Sequence([transformation])
    shared.PlaneOrientationSequence = Sequence([orientation])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for repetition, place in numbers:
        frame, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = list((ORIGIN + STEP * place * NORMAL).round(6))
        content.TemporalPositionIndex = repetition + 1
        frame.PlanePositionSequence = Sequence([position])
        frame.FrameContentSequence = Sequence([content])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    path = tmp_path / "enhanced"
    data.save_as(path)
    for ours, other in zip(read_volumes(path), classic, strict=True):
        np.testing.assert_array_equal(ours.image, other.image)
        np.testing.assert_allclose(ours.affine, other.affine, atol=1e-9)


def test_real_pairs_are_two_volumes_each(shared_data):
    """GE: magnitude images of two series; Philips: real images of one, with zero stored as 2047.5."""
    ge = read_volumes(shared_data / "phantom_dicom" / "ge")
    philips = read_volumes(shared_data / "phantom_dicom" / "philips")
    assert [len(ge), len(philips)] == [2, 2]
    assert ge[0].time < ge[1].time
    assert philips[0].component == "real"
    background = philips[0].image[0, :30, :30]
    assert abs(np.median(background)) < 2 * background.std()
    assert np.median(philips[0].stored[0, :30, :30]) == pytest.approx(2047.5, abs=2)
    assert philips[0].spacing == pytest.approx((5e-3, 0.9765625e-3, 0.9765625e-3))


def test_missing_slices_are_noticed(tmp_path):
    uneven, torn = tmp_path / "uneven", tmp_path / "torn"
    uneven.mkdir()
    torn.mkdir()
    write_slices(uneven, slices=(0, 1, 3), repetitions=(0,))
    with pytest.raises(MeasurementError, match="some are missing"):
        read_volumes(uneven)
    write_slices(torn)
    (torn / "0.dcm").unlink()
    with pytest.raises(MeasurementError, match="copy the whole series"):
        read_volumes(torn)


def test_what_is_no_image_gets_one_clear_message(tmp_path):
    text = tmp_path / "text.dcm"
    text.write_text("no DICOM")
    with pytest.raises(BenchFileError, match="is no DICOM file"):
        read_volumes(text)
    with pytest.raises(BenchFileError, match="holds no DICOM image"):
        read_volumes(tmp_path)
    with pytest.raises(BenchFileError, match="there is no file or folder"):
        read_volumes(tmp_path / "nowhere")
    colour = dataset(MRImageStorage, np.zeros((4, 4)))
    colour.SamplesPerPixel = 3
    colour.save_as(tmp_path / "colour")
    with pytest.raises(BenchFileError, match="colour image"):
        read_volumes(tmp_path / "colour")
    del colour.Rows
    colour.save_as(tmp_path / "report")
    with pytest.raises(BenchFileError, match="without an image"):
        read_volumes(tmp_path / "report")


def test_what_the_file_does_not_say_is_noted(tmp_path):
    """A secondary capture without geometry."""
    dataset(MRImageStorage, stored(0, 0)).save_as(tmp_path / "capture")
    (volume,) = read_volumes(tmp_path / "capture")
    assert len(volume.notes) == 3
    assert volume.component == "unknown"
    np.testing.assert_array_equal(volume.image[0], stored(0, 0))
