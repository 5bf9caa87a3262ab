"""Other people's scans: real files, MRD files, and what is said about bad ones."""

from __future__ import annotations

import shutil
import subprocess

import h5py
import ismrmrd
import numpy as np
import pytest

from coilbench.base.errors import BenchFileError, MeasurementError
from recon.dataset import Dataset, Encoding, collect, read_file
from recon.foreign import reconstruct_dataset, reconstruct_file, snr_of_dataset, snr_report
from recon.grid import Grid
from recon.noise import noise_model

HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<acquisitionSystemInformation><receiverChannels>2</receiverChannels>
<coilLabel><coilNumber>1</coilNumber><coilName>Na2</coilName></coilLabel>
<coilLabel><coilNumber>0</coilNumber><coilName>Na1</coilName></coilLabel></acquisitionSystemInformation>
<experimentalConditions><H1resonanceFrequency_Hz>127732435</H1resonanceFrequency_Hz></experimentalConditions>
<encoding><encodedSpace><matrixSize><x>24</x><y>20</y><z>16</z></matrixSize>
<fieldOfView_mm><x>240</x><y>200</y><z>160</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>24</x><y>20</y><z>16</z></matrixSize>
<fieldOfView_mm><x>240</x><y>200</y><z>160</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>149</maximum><center>0</center>
</kspace_encoding_step_1></encodingLimits><trajectory>radial</trajectory></encoding>
<sequenceParameters><TR>100</TR><TE>0.2</TE><flipAngle_deg>90</flipAngle_deg></sequenceParameters>
</ismrmrdHeader>"""


def white(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, *shape), dtype=np.float32)
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


@pytest.fixture(scope="module")
def sixteen(shared_data):
    return shared_data / "kspace_16ch" / "kspace16ch.npz"


@pytest.fixture(scope="module")
def xenon(shared_data):
    return shared_data / "radial_129xe" / "demo_radial_mri_data.mat"


# --- the 16-channel scan


def test_sixteen_channel_noise_has_the_published_numbers(sixteen):
    """Bandwidth 0.792, mean and largest correlation 0.136 and 0.440; sound receivers."""
    dataset = read_file(sixteen)
    model = noise_model(dataset.noise, dataset.noise_dwell_time)
    assert model.mean_bandwidth_ratio == pytest.approx(0.792, abs=0.001)
    assert model.mean_correlation == pytest.approx(0.136, abs=0.0005)
    assert model.largest_correlation == pytest.approx(0.440, abs=0.0005)
    assert model.kurtosis.min() > 2.94
    assert model.kurtosis.max() < 3.08
    np.testing.assert_allclose(model.quadrature_ratio, 1, atol=0.035)
    assert model.has_enough_samples


def test_sixteen_channel_snr_has_the_published_numbers(sixteen):
    """Largest SNR 181.4, median 100.7, replicas over formula 1.005 ± 0.015, without whitening 0.886."""
    report = snr_report(sixteen, replicas=60, seed=1)
    assert report.maximum == pytest.approx(181.4, rel=0.002)
    inside = report.snr.values > 0.25 * report.maximum
    assert np.median(report.snr.values[inside]) == pytest.approx(100.7, rel=0.002)
    # 16 channels' noise floor of 2 n - 1 in the square removed
    assert report.median.value == pytest.approx(np.sqrt(100.7**2 - 31), rel=0.002)
    assert report.replica_ratio == pytest.approx(1.005, abs=0.015)
    assert report.replica_ratio == pytest.approx(1, abs=6 * report.replica_ratio_uncertainty)
    assert report.unwhitened_ratio == pytest.approx(0.886, abs=0.001)


def test_the_assumed_sample_interval_is_questioned_by_the_background(sixteen):
    """The published SNR assumes equal sample intervals of noise and signal; the file states none.

    The image's own corners show 0.71 of the predicted noise: as if the noise had been sampled twice as fast
    (its windows are twice as long), which would make the SNR larger by the root of two.
    """
    report = snr_report(sixteen, replicas=3)
    assert report.background_ratio == pytest.approx(np.sqrt(0.5), rel=0.03)
    assert any("sample interval" in note for note in report.notes)
    dataset = read_file(sixteen)
    halved = Dataset(
        dataset.name, dataset.samples, None, dataset.grid, 1.0, dataset.noise, noise_dwell_time=0.5
    )
    assert snr_of_dataset(halved, replicas=3).background_ratio == pytest.approx(1, rel=0.03)


def test_sixteen_channels_combine_in_snr_units(sixteen):
    """Low-resolution sensitivities lose under 1 % of the SNR of the root of the sum of squares."""
    image = reconstruct_file(sixteen)
    assert image.in_snr_units
    assert image.channels == 16
    assert image.image.max() == pytest.approx(181.4, rel=0.01)


# --- the 129Xe scan


def test_either_file_of_the_pair_finds_the_other(xenon, tmp_path):
    trajectory = xenon.with_name("demo_radial_mri_traj.mat")
    assert read_file(trajectory).samples.shape == read_file(xenon).samples.shape == (1, 1, 207045)
    alone = tmp_path / xenon.name
    shutil.copy(xenon, alone)
    with pytest.raises(BenchFileError, match=r"missing: .*demo_radial_mri_traj\.mat"):
        read_file(alone)


def test_a_scan_without_noise_has_no_snr(xenon):
    with pytest.raises(MeasurementError, match="holds no noise scan"):
        snr_report(xenon)


# --- MRD


@pytest.fixture(scope="module")
def radial_mrd(tmp_path_factory):
    """Write 150 spokes of a ball off the centre, two channels, correlated noise, as an MRD file."""
    path = tmp_path_factory.mktemp("mrd") / "scan.h5"
    m = np.arange(150)
    z = 2 * ((m * 0.4655712318767680) % 1) - 1
    angle = 2 * np.pi * ((m * 0.6823278038280193) % 1)
    rho = np.sqrt(1 - z**2)
    k = np.stack([rho * np.cos(angle), rho * np.sin(angle), z], -1)[:, None] * np.linspace(0, 50, 60)[:, None]
    radius = np.linalg.norm(k, axis=-1)
    x = 2 * np.pi * 0.03 * np.maximum(radius, 1e-6)
    ball = (
        4
        * np.pi
        * 0.03**3
        * np.where(x < 1e-3, 1 / 3, (np.sin(x) - x * np.cos(x)) / np.maximum(x, 1e-3) ** 3)
    )
    ball = ball * np.exp(-2j * np.pi * k @ np.array([0.04, -0.02, 0.01]))
    mixing = np.array([[1, 0.5j], [0, 1]])
    signal = np.einsum("c,ps->cps", [1.0, 0.5j], ball) * 1e6 + np.einsum(
        "ij,jps->ips", mixing, white((2, 150, 60))
    )
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(HEADER.encode())
    for window in range(10):
        noise = (mixing @ white((2, 200), 50 + window)).astype(np.complex64)
        acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(noise))
        acquisition.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        acquisition.sample_time_us = 10
        dataset.append_acquisition(acquisition)
    for spoke in range(150):
        acquisition = ismrmrd.Acquisition.from_array(
            np.ascontiguousarray(signal[:, spoke], np.complex64),
            np.ascontiguousarray(k[spoke] * 0.01, np.float32),
        )
        acquisition.sample_time_us = 10
        acquisition.idx.kspace_encode_step_1 = spoke
        dataset.append_acquisition(acquisition)
    dataset.close()
    return path


def test_mrd_file_is_read_with_grid_names_and_units(radial_mrd):
    """Trajectory from dimensionless to 1/m, matrix and field of view to (z, y, x), names in channel order."""
    dataset = read_file(radial_mrd)
    assert dataset.grid == Grid((16, 20, 24), (0.16, 0.2, 0.24))
    assert dataset.samples.shape == (2, 150, 60)
    assert dataset.noise.shape == (2, 10, 200)
    assert dataset.channel_names == ("Na1", "Na2")
    assert dataset.dwell_time == pytest.approx(1e-5)
    assert np.linalg.norm(dataset.trajectory, axis=-1).max() == pytest.approx(50, rel=1e-5)


def test_header_parameters_arrive_in_si_units():
    encoding = Encoding.from_header(HEADER)
    assert encoding.repetition_time == pytest.approx(0.1)
    assert encoding.echo_time == pytest.approx(0.2e-3)
    assert encoding.flip_angle == pytest.approx(np.pi / 2)
    assert encoding.spokes == 150
    assert encoding.proton_frequency == pytest.approx(127732435)


def test_mrd_ball_lies_where_it_was_put(radial_mrd):
    """Centre of mass of the bright voxels at (40, -20, 10) mm, on a grid of three unequal sides."""
    image = reconstruct_file(radial_mrd)
    assert image.density == "analytic"
    assert image.in_snr_units
    bright = image.image > 0.5 * image.image.max()
    place = np.average(image.grid.positions()[bright], axis=0, weights=image.image[bright])
    np.testing.assert_allclose(place, [0.04, -0.02, 0.01], atol=0.003)


def test_mrd_snr_by_formula_and_by_replicas_agree(radial_mrd):
    """Off-centre ball, correlated channels, radial weights; 40 replicas."""
    report = snr_report(radial_mrd, replicas=40)
    assert report.replica_ratio == pytest.approx(1, abs=5 * report.replica_ratio_uncertainty)


def test_debian_shepp_logan_is_reconstructed(tmp_path):
    """A Cartesian MRD file from the ISMRMRD project's own generator: the head is where it is defined."""
    generator = shutil.which("ismrmrd_generate_cartesian_shepp_logan")
    if generator is None:
        pytest.skip("the Debian package ismrmrd-tools is not installed")
    path = tmp_path / "shepp.h5"
    subprocess.run(
        [generator, "-m", "64", "-c", "8", "-O", "1", "-C", "-o", str(path)], check=True, capture_output=True
    )
    image = reconstruct_file(path)
    assert image.channels == 8
    assert image.in_snr_units
    assert image.grid.shape == (1, 64, 64)
    # The head's outer ellipse has half axes 0.92 and 0.69 of half the image (Shepp, Logan 1974).
    inside = image.image[0] > 0.1 * image.image.max()
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    np.testing.assert_allclose([rows[0], rows[-1]], [32 - 29.4, 32 + 29.4], atol=1)
    np.testing.assert_allclose([columns[0], columns[-1]], [32 - 22.1, 32 + 22.1], atol=1)


# --- bad files


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.h5", None, "there is no file"),
        ("text.h5", b"not hdf5", "no readable HDF5"),
        ("text.npz", b"not zip", "no .npz file with arrays"),
        ("image.png", b"png", r"supported: MRD HDF5.*\.npz.*\.mat"),
    ],
)
def test_bad_files_get_one_clear_message(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BenchFileError, match=message):
        reconstruct_file(path)


def test_other_hdf5_files_are_told_apart(tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(3)
    with pytest.raises(BenchFileError, match="holds no MRD dataset"):
        read_file(path)


def test_an_unreadable_header_is_named():
    with pytest.raises(BenchFileError, match="MRD header cannot be read"):
        Encoding.from_header("<nonsense/>")


def test_only_noise_is_no_scan():
    acquisition = ismrmrd.Acquisition.from_array(white((2, 10)))
    acquisition.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    with pytest.raises(MeasurementError, match="no readout, only 1 noise windows"):
        collect(HEADER, [acquisition])


def test_readouts_of_different_length_are_refused():
    acquisitions = [
        ismrmrd.Acquisition.from_array(white((2, n)), np.zeros((n, 3), np.float32)) for n in (10, 12)
    ]
    with pytest.raises(MeasurementError, match="different shapes"):
        collect(HEADER, acquisitions)


def test_mismatched_arrays_are_refused():
    with pytest.raises(ValueError, match="channels of noise"):
        Dataset("x", white((2, 1, 4, 4)), None, Grid((1, 4, 4), (1, 1, 1)), 1.0, white((3, 1, 9)), 1.0)
    with pytest.raises(ValueError, match="expected"):
        reconstruct_dataset(Dataset("x", white((2, 1, 4, 5)), None, Grid((1, 4, 4), (1, 1, 1)), 1.0))
