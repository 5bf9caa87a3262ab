"""Uniformity must measure the coil, not the noise."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.grid import Grid
from recon.uniformity import central_region, integral_uniformity, uniformity

CENTRE = (0.0, 0.0, 0.0)
#: Raw PIU of a uniform disk of 160 mm at (voxel, SNR): the range of white means of 1 cm².
NOISE_BIAS = {
    (1e-3, 10): 96.3,
    (1e-3, 50): 99.2,
    (3e-3, 10): 88.8,
    (3e-3, 20): 94.5,
    (4e-3, 10): 85.6,
    (4e-3, 20): 92.8,
    (4e-3, 30): 95.1,
    (4e-3, 100): 98.5,
}


def disk(voxel: float) -> tuple[Grid, np.ndarray]:
    matrix = round(0.2 / voxel)
    grid = Grid((1, matrix, matrix + 2), (0.005, matrix * voxel, (matrix + 2) * voxel))
    return grid, central_region(grid, CENTRE, 0.08, fraction=1.0)


@pytest.mark.parametrize(("voxel", "snr"), NOISE_BIAS)
def test_noise_lowers_the_plain_uniformity_of_a_uniform_disk_and_not_the_corrected(voxel, snr):
    """Means of 5 images scatter by the range's deviation (a tenth of it) over sqrt(5)."""
    grid, region = disk(voxel)
    found = []
    for seed in range(5):
        noise = np.random.default_rng(seed).standard_normal(grid.shape)
        found.append(uniformity((snr + noise).astype(np.float32), grid, region, deviation=1.0))
    expected = NOISE_BIAS[voxel, snr]
    assert np.mean([one.raw for one in found]) == pytest.approx(expected, abs=0.1 * (100 - expected) + 0.1)
    assert np.mean([one.expected_of_noise for one in found]) == pytest.approx(
        np.mean([one.raw for one in found]), abs=0.1 * (100 - expected) + 0.05
    )
    assert np.mean([one.corrected for one in found]) > 100 - 0.1 * (100 - expected) - 0.05


@pytest.mark.parametrize("snr", [5, 20])
def test_corrected_uniformity_of_a_shaded_ball_is_its_true_one_at_any_snr(snr):
    """Eight channels' root of the sum of squares at a voxel SNR of 5: noise makes a third of the signal."""
    grid = Grid((30, 32, 34), (0.12, 0.128, 0.136))
    region = central_region(grid, CENTRE, 0.05)
    z, y, x = np.meshgrid(*grid.axes(), indexing="ij")
    shade = 1 + 2.0 * x + 30 * (y**2 - z**2)
    truth = uniformity((1e4 * shade).astype(np.float32), grid, region, deviation=1.0)
    assert truth.raw == pytest.approx(truth.corrected, abs=0.3)
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        phases = np.exp(2j * np.pi * rng.random(8))[:, None, None, None] / np.sqrt(8)
        noise = rng.standard_normal((8, *grid.shape)) + 1j * rng.standard_normal((8, *grid.shape))
        image = np.sqrt(np.sum(np.abs(snr * shade * phases + noise) ** 2, axis=0)).astype(np.float32)
        found.append(uniformity(image, grid, region, deviation=1.0, channels=8))
    errors = np.array([one.corrected for one in found]) - truth.raw
    typical = np.mean([one.uncertainty for one in found])
    assert abs(errors.mean()) < 3 * typical / np.sqrt(6) + 0.3
    assert errors.std(ddof=1) < 2.5 * typical
    assert np.mean([one.raw for one in found]) < truth.raw - 2 * (5 / snr)


def test_uniformity_asks_for_room_and_signal():
    grid = Grid((9, 9, 9), (0.045, 0.045, 0.045))
    with pytest.raises(MeasurementError, match="no two regions"):
        uniformity(np.ones(grid.shape, np.float32), grid, grid.distances(CENTRE) < 0.004, deviation=0.1)
    with pytest.raises(MeasurementError, match="needs signal"):
        integral_uniformity(np.zeros(3))
