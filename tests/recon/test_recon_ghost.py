"""Ghosts and streaks: noise alone shows neither, and what is put in is read back."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.ghost import percent_signal_ghosting, streaks
from recon.grid import Grid

FLAT = Grid((1, 120, 128), (0.005, 0.24, 0.256))
CENTRE, RADIUS = (0.004, -0.006, 0.0), 0.085


def disk(centre=CENTRE):
    return (FLAT.distances(centre) < RADIUS).astype(np.float32) * 100


@pytest.mark.parametrize("axis", [1, 2])
def test_a_ghost_of_half_a_field_of_view_is_read_as_its_height(axis):
    """5 % of the image wrapped by half along one axis: the pair of regions there reads 5 % each."""
    image = disk()
    ghost = image + 0.05 * np.roll(image, image.shape[axis] // 2, axis=axis)
    assert percent_signal_ghosting(image, FLAT, CENTRE, RADIUS) == 0
    assert percent_signal_ghosting(ghost, FLAT, CENTRE, RADIUS) == pytest.approx(5.0, rel=0.05)


def test_noise_alone_is_no_ghost():
    """Magnitudes of noise lift all regions by the same 1.25 sigma; means of 250 voxels scatter by 0.04."""
    rng = np.random.default_rng(1)
    image = np.abs(disk() + rng.standard_normal(FLAT.shape) + 1j * rng.standard_normal(FLAT.shape))
    assert percent_signal_ghosting(image.astype(np.float32), FLAT, CENTRE, RADIUS) < 5 * 0.04


def test_ghosts_need_room_and_signal():
    with pytest.raises(MeasurementError, match="larger field of view"):
        percent_signal_ghosting(disk(), FLAT, CENTRE, 0.117)
    with pytest.raises(MeasurementError, match="needs signal"):
        percent_signal_ghosting(0 * disk(), FLAT, CENTRE, RADIUS)
    with pytest.raises(ValueError, match="one slice"):
        percent_signal_ghosting(np.ones((2, 120, 128), np.float32), FLAT, CENTRE, RADIUS)


GRID = Grid((20, 24, 28), (0.2, 0.24, 0.28))


def noise(seed, channels=3, sigma=0.7):
    rng = np.random.default_rng(seed)
    shape = (channels, *GRID.shape)
    return (sigma * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))).astype(np.complex64)


def test_noise_alone_has_no_streaks_within_the_uncertainty():
    found = [streaks(noise(seed), GRID, (0, 0, 0), 0.06, 0.1, deviation=0.7) for seed in range(40)]
    pulls = np.array([one.ratio / one.uncertainty for one in found])
    # 40 values know their deviation to 11 %
    assert abs(pulls.mean()) < 3.5 / np.sqrt(40)
    assert 0.65 < pulls.std() < 1.35
    power = np.mean([one.angular_power for one in found], axis=0)
    # exponentially distributed: the mean of 40 scatters by 16 %
    np.testing.assert_allclose(power, 1, atol=0.65)


def test_streaks_are_measured_and_their_number_told():
    """Five lobes of 1 sigma rms: the power doubles on average."""
    _, y, x = GRID.axes()
    angle = np.arctan2(y[:, None], x[None, :])
    lobes = 0.7 * np.sqrt(2) * np.sqrt(1 + np.cos(5 * angle))
    found = streaks(noise(3) + lobes.astype(np.complex64), GRID, (0, 0, 0), 0.06, 0.1, deviation=0.7)
    assert found.ratio == pytest.approx(np.sqrt(2) - 1, abs=0.05)
    assert int(np.argmax(found.angular_power)) == 4
    with pytest.raises(MeasurementError, match="larger field of view"):
        streaks(noise(3), GRID, (0, 0, 0), 0.2, 0.201, deviation=0.7)
