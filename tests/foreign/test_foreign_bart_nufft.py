"""BART reconstructs the same real scan: another program's transform, axes and signs beside ours."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from recon.dataset import read_file
from recon.density import iterate_weights
from recon.foreign import reconstruct_file


def write_cfl(path, array):
    """Write BART's file pair: dimensions as text, complex64 with the first dimension fastest."""
    dimensions = [*array.shape, *[1] * (16 - array.ndim)]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, dimensions)) + "\n")
    path.with_suffix(".cfl").write_bytes(array.astype(np.complex64).tobytes(order="F"))


def read_cfl(path):
    dimensions = [int(number) for number in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
    return np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(dimensions, order="F").squeeze()


@pytest.fixture(scope="module")
def bart():
    program = shutil.which("bart")
    if program is None:
        pytest.skip("BART is not installed")
    return program


def test_bart_sees_the_same_lungs(bart, shared_data, tmp_path):
    """Adjoint of the density-weighted 129Xe data, scaled by one complex number, within 3e-3.

    That is how good BART 0.8's own gridding is against an exact sum (1e-4 measured here). Its
    trajectory is in cycles per field of view.
    """
    path = shared_data / "radial_129xe" / "demo_radial_mri_data.mat"
    dataset = read_file(path)
    weights = iterate_weights(dataset.grid, dataset.trajectory).ravel()
    write_cfl(tmp_path / "traj", dataset.trajectory[0].T[:, None, :])
    write_cfl(tmp_path / "data", (dataset.samples[0, 0] * weights)[None, None, :])
    subprocess.run(
        [bart, "nufft", "-a", "-d", "64:64:64", "traj", "data", "image"],
        check=True, capture_output=True, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    theirs = read_cfl(tmp_path / "image").transpose(2, 1, 0)
    ours = reconstruct_file(path).channel_images[0]
    scale = np.vdot(theirs, ours) / np.vdot(theirs, theirs)
    error = np.linalg.norm(scale * theirs - ours) / np.linalg.norm(ours)
    assert error < 3e-3
    assert abs(np.angle(scale)) < 0.01
