"""BART minimises the same total variation: its penalty, units and weights beside ours."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from acquisition.trajectory import golden_directions
from recon.cg_sense import cg_sense
from recon.density import spoke_weights, window
from recon.grid import Grid
from recon.nufft import NonUniformTransform
from recon.psf import ball_transform
from recon.sparse import sparse_sense

MATRIX, EXTENT = 24, 0.18


def write_cfl(path, array):
    """Write BART's file pair: dimensions as text, complex64 with the first dimension fastest."""
    dimensions = [*array.shape, *[1] * (16 - array.ndim)]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, dimensions)) + "\n")
    path.with_suffix(".cfl").write_bytes(array.astype(np.complex64).tobytes(order="F"))


def read_cfl(path):
    dimensions = [int(number) for number in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
    return np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(dimensions, order="F").squeeze()


def test_bart_finds_the_same_total_variation_image(tmp_path):
    """Two balls, noisy: 4 % apart inside the object, where the image without TV is 40 % away.

    BART 0.8 wraps differences around the edges, takes 30 ADMM rounds here and grids to 3e-3. Its image is
    ours times voxel volume times the root of the number of voxels, so its penalty is ours over that root.
    """
    program = shutil.which("bart")
    if program is None:
        pytest.skip("BART is not installed")
    grid, spokes = Grid.cube(MATRIX, EXTENT), 600
    radii = np.linspace(0, 0.999 * grid.nyquist, 32)
    positions = golden_directions(spokes)[:, None] * radii[:, None]
    weights = np.broadcast_to(
        spoke_weights(radii) * window(radii, grid.nyquist, "hamming") / spokes, (spokes, 32)
    ).astype(np.float32)
    noise_gain = float(np.sqrt(np.sum(weights.astype(float) ** 2)))
    clean = ball_transform(0.06, radii) - 0.6 * ball_transform(0.02, radii) * np.exp(
        -2j * np.pi * positions @ np.array([0.03, -0.01, 0.015])
    )
    parts = np.random.default_rng(3).standard_normal((2, spokes, 32))
    samples = (10 * noise_gain * clean + parts[0] + 1j * parts[1]).astype(np.complex64)[None]
    voxels = MATRIX**3
    write_cfl(tmp_path / "traj", (positions * EXTENT).reshape(-1, 3).T[:, None, :])
    write_cfl(tmp_path / "data", samples.reshape(1, 1, -1))
    write_cfl(tmp_path / "weights", np.sqrt(weights).reshape(1, 1, -1))
    write_cfl(tmp_path / "maps", np.ones((MATRIX,) * 3))
    penalty = f"T:7:0:{noise_gain / np.sqrt(voxels):.8g}"
    subprocess.run(
        [program, "pics", "-w", "1", "-R", penalty, "-u", "30", "-i", "30",
         "-t", "traj", "-p", "weights", "data", "maps", "image"],
        check=True, capture_output=True, cwd=tmp_path, timeout=100,
    )  # fmt: skip
    theirs = read_cfl(tmp_path / "image").transpose(2, 1, 0) / (grid.voxel_volume * np.sqrt(voxels))
    transform, maps = NonUniformTransform(grid, positions), np.ones((1, *grid.shape), np.complex64)
    ours = sparse_sense(samples, transform, weights, maps, strength=1.0, iterations=300).image
    plain = cg_sense(samples, transform, weights, maps, iterations=6).image
    inside = grid.distances((0, 0, 0)) < 0.055
    size = np.linalg.norm(ours[inside])
    assert np.linalg.norm((theirs - ours)[inside]) < 0.04 * size
    assert np.linalg.norm((plain - ours)[inside]) > 0.4 * size
