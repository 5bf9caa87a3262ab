"""Our MRD files in other people's hands: the C++ library and tools of ISMRMRD, and BART.

BART 0.8.00 as Debian builds it has no ``ismrmrd`` command ("Unknown bart command"), so it is given
trajectory and data that the Python ISMRMRD library read from our HDF5 file.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import subprocess

import ismrmrd
import numpy as np
import pytest

from acquisition.demodulate import design_filter
from acquisition.header import recorded_spoke, scan_header
from acquisition.plan import plan_scan
from acquisition.record import write_hdf5
from acquisition.sort import find_readout
from acquisition.stream import StreamWriter
from drivers.protocols import ReceivePlan, ReceiveSetting
from recon.density import spoke_weights

#: m. Where the only point of the object is; on voxel (x, y, z) = (13, 4, 10) of 20.
POSITION = np.array([0.048, -0.096, 0.0])
FOV, MATRIX, CHANNELS = 0.32, 20, 2


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Return an HDF5 file with two noise acquisitions and 1500 spokes of a point, and its acquisitions."""
    folder = tmp_path_factory.mktemp("foreign")
    plan = plan_scan(
        fov=FOV, matrix=MATRIX, spokes=1500, noise_windows=2, readout_duration=2e-3, max_gradient=0.008
    )
    dwell = 1229 / 122.88e6
    setting = ReceiveSetting(
        ReceivePlan(plan.transmit_frequency, dwell, plan.window_samples), -2 * dwell, 6, 6, 1229
    )
    chain = design_filter(stages=6, decimation=1229, interval=dwell)
    readout = find_readout(setting, chain, plan.dead_time, plan.readout_duration)
    header = scan_header(plan, setting, chain, readout, ["left", "right"])
    radius = plan.design.radius(readout.times - plan.dead_time)
    rng = np.random.default_rng(1)
    acquisitions = []
    for number in range(2):
        data = rng.standard_normal((CHANNELS, 130, 2)).astype(np.float32).view(np.complex64)[..., 0]
        noise = ismrmrd.Acquisition.from_array(data, scan_counter=number)
        noise.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        acquisitions.append(noise)
    for spoke, direction in enumerate(plan.directions):
        k = np.outer(radius, direction)
        signal = np.exp(-2j * np.pi * (k @ POSITION))
        data = np.stack([signal, -2j * signal]).astype(np.complex64)
        trajectory = (k * FOV / MATRIX).astype(np.float32)
        acquisition = ismrmrd.Acquisition.from_array(data, trajectory, scan_counter=spoke + 2)
        acquisition.idx.kspace_encode_step_1 = spoke
        acquisitions.append(acquisition)
    with StreamWriter(folder / "raw.mrd", header) as writer:
        for acquisition in acquisitions:
            writer.append(acquisition)
    write_hdf5(folder / "raw.mrd", folder / "scan.h5")
    return folder / "scan.h5", acquisitions


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def test_ismrmrd_tool_reads_every_acquisition(scan):
    """Debian's ``ismrmrd_read_timing_test`` opens the file and reads it to the end without complaint.

    (``ismrmrd_info`` of version 1.8 prints the library's version and opens no file.)
    """
    path, _ = scan
    done = subprocess.run(
        [_tool("ismrmrd_read_timing_test"), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "READ TIMER" in done.stdout
    assert "ERROR" not in done.stderr


def test_ismrmrd_tool_understands_the_header(scan, tmp_path):
    """Debian's ``ismrmrd_test_xml`` parses our header; with a required element taken out it does not."""
    path, _ = scan
    with ismrmrd.File(str(path), "r") as file:
        xml = ismrmrd.xsd.ToXML(file["dataset"].header)
    text = tmp_path / "header.xml"

    def ends(content: str) -> int:
        text.write_text(content, encoding="utf-8")
        command = [_tool("ismrmrd_test_xml"), str(text)]
        # the tool writes what it understood into the current folder
        return subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False).returncode

    assert ends(xml) == 0
    assert ends(xml.replace("encodedSpace", "somethingElse")) != 0


class _CDataset(ctypes.Structure):
    """``ISMRMRD_Dataset`` of ismrmrd/dataset.h."""

    _fields_ = (("filename", ctypes.c_char_p), ("groupname", ctypes.c_char_p), ("fileid", ctypes.c_int64))


class _CAcquisition(ctypes.Structure):
    """``ISMRMRD_Acquisition`` of ismrmrd/ismrmrd.h, which packs to two bytes."""

    _pack_ = 2
    _fields_ = (
        ("head", ismrmrd.AcquisitionHeader),
        ("traj", ctypes.POINTER(ctypes.c_float)),
        ("data", ctypes.POINTER(ctypes.c_float)),
    )


def test_c_library_reads_the_same_numbers(scan):
    """The C library finds header, flags, trajectory and data as they were written, noise and spokes alike."""
    name = ctypes.util.find_library("ismrmrd")
    if name is None:
        pytest.skip("libismrmrd is not installed")
    library = ctypes.CDLL(name)
    library.ismrmrd_read_header.restype = ctypes.c_char_p
    path, sent = scan
    dataset = _CDataset()
    assert library.ismrmrd_init_dataset(ctypes.byref(dataset), str(path).encode(), b"dataset") == 0
    assert library.ismrmrd_open_dataset(ctypes.byref(dataset), False) == 0
    try:
        assert b"<nucleus>" not in library.ismrmrd_read_header(ctypes.byref(dataset))
        assert b"23Na" in library.ismrmrd_read_header(ctypes.byref(dataset))
        assert library.ismrmrd_get_number_of_acquisitions(ctypes.byref(dataset)) == len(sent)
        for number in (0, 1, 2, 700, len(sent) - 1):
            found = _CAcquisition()
            assert library.ismrmrd_init_acquisition(ctypes.byref(found)) == 0
            assert library.ismrmrd_read_acquisition(ctypes.byref(dataset), number, ctypes.byref(found)) == 0
            expected = sent[number]
            assert found.head == expected.getHead()
            samples = expected.number_of_samples
            data = np.ctypeslib.as_array(found.data, (CHANNELS, samples, 2))
            np.testing.assert_array_equal(data.view(np.complex64)[..., 0], expected.data)
            if expected.trajectory_dimensions:
                trajectory = np.ctypeslib.as_array(found.traj, (samples, 3))
                np.testing.assert_array_equal(trajectory, expected.traj)
            library.ismrmrd_cleanup_acquisition(ctypes.byref(found))
    finally:
        library.ismrmrd_close_dataset(ctypes.byref(dataset))


def _write_cfl(path, array: np.ndarray) -> None:
    """Write BART's own format: dimensions as text, values in Fortran order."""
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
    array.astype(np.complex64).ravel(order="F").tofile(path.with_suffix(".cfl"))


def _read_cfl(path) -> np.ndarray:
    shape = [int(size) for size in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
    return np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(shape, order="F")


def test_bart_finds_the_point_where_it_is(scan, tmp_path):
    """BART's NUFFT on our file's trajectory, data and weights puts the point into its voxel.

    BART wants k in 1/FOV, has the same sign of the exponent and the centre at voxel n/2; weights are the
    volumes of k-space along the spoke that the header describes, so the peak's height is the volume of the
    sampled ball in voxels of k-space.
    """
    bart = _tool("bart")
    path, _ = scan
    with ismrmrd.File(str(path), "r") as file:
        acquisitions = [a for a in file["dataset"].acquisitions[:] if a.trajectory_dimensions]
        header = file["dataset"].header
    spoke, times = recorded_spoke(header, acquisitions[0].number_of_samples)
    weights = spoke_weights(spoke.radius(times)) / len(acquisitions) * FOV**3
    trajectory = np.stack([a.traj.T for a in acquisitions], axis=-1) * MATRIX
    data = np.stack([a.data.T for a in acquisitions], axis=1) * weights[:, None, None]
    _write_cfl(tmp_path / "traj", trajectory)
    _write_cfl(tmp_path / "data", data[None])
    subprocess.run(
        [bart, "nufft", "-a", "-d", f"{MATRIX}:{MATRIX}:{MATRIX}", "traj", "data", "image"],
        cwd=tmp_path, check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    image = _read_cfl(tmp_path / "image").reshape((MATRIX, MATRIX, MATRIX, CHANNELS), order="F")
    expected = tuple(np.rint(POSITION / (FOV / MATRIX)).astype(int) + MATRIX // 2)
    assert expected == (13, 4, 10)
    for channel, factor in enumerate((1.0, -2.0j)):
        peak = np.unravel_index(np.argmax(np.abs(image[..., channel])), image.shape[:3])
        assert peak == expected
        # BART's transform is unitary on its grid.
        height = image[(*expected, channel)] * MATRIX**1.5 / factor
        ball = 4 / 3 * np.pi * (MATRIX / 2) ** 3
        assert height == pytest.approx(ball, rel=0.02)


def test_bart_has_no_reader_for_mrd():
    """If BART gains ``bart ismrmrd`` one day, the test above should use it."""
    done = subprocess.run([_tool("bart"), "ismrmrd"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0 or "nknown" not in done.stdout + done.stderr:
        pytest.skip("this BART has an ismrmrd command; it is not Debian's 0.8.00")
    assert 'Unknown bart command: "ismrmrd"' in done.stdout + done.stderr
