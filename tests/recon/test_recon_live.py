"""Reconstruction while the scan runs equals that of the whole scan, from real MRD acquisitions."""

from __future__ import annotations

import ismrmrd
import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.dataset import Dataset, Readout
from recon.density import solid_angles
from recon.live import LiveReconstruction, reconstruct

SPOKES, DWELL = 240, 50e-6


def acquisition(data, *, trajectory=None, number=0, noise=False, pre=0, post=0):
    shape = np.ascontiguousarray(data, np.complex64)
    coordinates = None if trajectory is None else np.ascontiguousarray(trajectory, np.float32)
    result = (
        ismrmrd.Acquisition.from_array(shape, coordinates)
        if trajectory is not None
        else (ismrmrd.Acquisition.from_array(shape))
    )
    result.sample_time_us = DWELL * 1e6
    result.idx.kspace_encode_step_1 = number
    result.discard_pre, result.discard_post = pre, post
    if noise:
        result.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    return result


def noise_windows(channels, seed=5):
    parts = np.random.default_rng(seed).standard_normal((2, channels, 20, 200))
    mixing = np.eye(channels) + 0.3j * np.eye(channels, k=1)
    return np.einsum("ij,jws->iws", mixing, parts[0] + 1j * parts[1]).astype(np.complex64)


@pytest.fixture(scope="module")
def scan(simulation, grid):
    """Return the first spokes of the simulated phantom, with correlated noise windows."""
    signal = simulation.signal()[:, :SPOKES]
    signal = signal / np.abs(signal).max() * 100
    dimensionless = simulation.trajectory[:SPOKES] * np.array(grid.field_of_view) / np.array(grid.shape)
    return signal, dimensionless, noise_windows(signal.shape[0])


@pytest.fixture(scope="module")
def whole(scan, grid):
    signal, trajectory, noise = scan
    k = trajectory.astype(np.float32).astype(np.float64) * np.array(grid.shape) / np.array(grid.field_of_view)
    return reconstruct(Dataset("whole", signal, k, grid, DWELL, noise, DWELL))


def feed(live, scan, order):
    signal, trajectory, noise = scan
    for window in range(noise.shape[1]):
        live.feed(acquisition(noise[:, window], noise=True))
    for index in order:
        live.feed(acquisition(signal[:, index], trajectory=trajectory[index], number=index))


def difference(first, second):
    return np.linalg.norm(first - second) / np.linalg.norm(second)


def test_a_snapshot_stays_as_it_was_when_more_spokes_come(scan, grid):
    """Positions are handed out without a copy: what follows is written behind them."""
    live = LiveReconstruction(grid, batch=37)
    feed(live, scan, range(100))
    early = live.snapshot()
    kept = [values.copy() for values in (early.images, early.positions, early.weights)]
    for index in range(100, SPOKES):
        live.feed(acquisition(scan[0][:, index], trajectory=scan[1][index], number=index))
    late = live.snapshot()
    for values, before in zip((early.images, early.positions, early.weights), kept, strict=True):
        np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(late.positions[: len(early.positions)], early.positions)
    assert len(late.positions) == SPOKES * scan[0].shape[2]


def test_batches_in_any_order_equal_the_whole(scan, whole, grid):
    """Spokes shuffled, batches of 37 that do not divide 240, an image taken in the middle."""
    live = LiveReconstruction(grid, batch=37)
    order = np.random.default_rng(0).permutation(SPOKES)
    feed(live, scan, order[:100])
    assert live.snapshot().spokes == 100
    for index in order[100:]:
        live.feed(acquisition(scan[0][:, index], trajectory=scan[1][index], number=int(index)))
    images = live.snapshot()
    assert images.spokes == SPOKES
    assert difference(images.images, whole.images) < 1e-5
    assert images.noise_gain == pytest.approx(whole.noise_gain, rel=1e-6)


def test_an_early_image_has_the_final_scale(scan, whole, grid):
    """With half of the spokes the phantom's centre already reads the same within undersampling: 5 %."""
    live = LiveReconstruction(grid)
    feed(live, scan, range(0, SPOKES, 2))
    inside = grid.distances((0, 0, 0)) < 0.06
    early, final = (np.abs(i.images[:, inside]).mean() for i in (live.snapshot(), whole))
    assert early == pytest.approx(final, rel=0.05)


def test_two_snapshots_in_a_row_are_the_same(scan, grid):
    """Looking does not change what is seen."""
    live = LiveReconstruction(grid)
    feed(live, scan, range(50))
    first, second = live.snapshot(), live.snapshot()
    np.testing.assert_array_equal(first.images, second.images)


def test_noise_in_the_images_is_what_noise_gain_says(scan, grid):
    """Correlated noise only, whitened and gridded: unit noise gain in every channel, none between them.

    8 channels x 32³ voxels with about half of them independent: 1 % is five times the sampling error.
    """
    _, trajectory, noise = scan
    parts = np.random.default_rng(8).standard_normal((2, 8, SPOKES, trajectory.shape[1]))
    mixing = np.eye(8) + 0.3j * np.eye(8, k=1)
    spokes = np.einsum("ij,jws->iws", mixing, parts[0] + 1j * parts[1]).astype(np.complex64)
    live = LiveReconstruction(grid, filter_window="none", passband=1.0)
    feed(live, (spokes, trajectory, noise), range(SPOKES))
    images = live.snapshot()
    voxels = images.images.reshape(8, -1) / images.noise_gain
    np.testing.assert_allclose(voxels.real.std(axis=1), 1, rtol=0.04)
    covariance = voxels @ voxels.conj().T / voxels.shape[1] / 2
    assert np.max(np.abs(covariance - np.diag(np.diag(covariance)))) < 0.04


def test_discarded_samples_are_left_out(scan, whole, grid):
    """Settling samples marked discard_pre and discard_post may hold anything."""
    signal, trajectory, noise = scan
    live = LiveReconstruction(grid)
    for window in range(noise.shape[1]):
        live.feed(acquisition(noise[:, window], noise=True))
    for index in range(SPOKES):
        data = np.pad(signal[:, index], ((0, 0), (3, 2)), constant_values=1e6)
        k = np.pad(trajectory[index], ((3, 2), (0, 0)), constant_values=0.4)
        live.feed(acquisition(data, trajectory=k, number=index, pre=3, post=2))
    assert difference(live.snapshot().images, whole.images) < 1e-5


def test_solid_angles_follow_the_spoke_number(scan, grid, simulation):
    """Spokes out of order keep their own weight: kspace_encode_step_1 says which they are."""
    angles = solid_angles(simulation.trajectory[:SPOKES, -1])
    images = []
    for order in (range(SPOKES), reversed(range(SPOKES))):
        live = LiveReconstruction(grid, angles=angles, batch=64)
        feed(live, scan, order)
        images.append(live.snapshot().images)
    assert difference(images[0], images[1]) < 1e-5


def test_a_spoke_before_noise_says_what_is_missing(scan, grid):
    with pytest.raises(MeasurementError, match="send the noise scan first"):
        LiveReconstruction(grid).feed(acquisition(scan[0][:, 0], trajectory=scan[1][0]))


def test_noise_after_a_spoke_is_refused(scan, grid):
    """It would change the whitening of what is already gridded."""
    live = LiveReconstruction(grid)
    feed(live, scan, [0])
    with pytest.raises(MeasurementError, match="after the first spoke"):
        live.feed(acquisition(scan[2][:, 0], noise=True))


def test_an_image_of_nothing_is_refused(grid):
    with pytest.raises(MeasurementError, match="no spoke"):
        LiveReconstruction(grid).snapshot()


def test_a_two_dimensional_trajectory_is_refused(grid):
    with pytest.raises(ValueError, match="got 2 dimensions"):
        Readout.from_acquisition(acquisition(np.ones((1, 5)), trajectory=np.zeros((5, 2))), grid)
