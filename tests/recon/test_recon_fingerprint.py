"""Fingerprints of channels: true signal within the stated error, and what each fault does to them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.fingerprint import ArrayFingerprint, array_fingerprint, coarse_regions, unwhitened
from recon.noise import apply_channels, noise_model

CHANNELS, SHAPE, GAIN = 6, (9, 12, 15), 0.4


def noise_of(shape, mixing, seed):
    parts = np.random.default_rng(seed).standard_normal((2, CHANNELS, int(np.prod(shape))))
    return (mixing @ (parts[0] + 1j * parts[1])).reshape(CHANNELS, *shape)


@pytest.fixture(scope="module")
def mixing():
    """Unequal levels and complex correlations of neighbours."""
    near = 0.4 * np.eye(CHANNELS, k=1) * 1j + np.eye(CHANNELS)
    return np.diag([1.0, 1.5, 0.7, 1.2, 0.9, 2.0]) @ near


@pytest.fixture(scope="module")
def truth():
    """Loops around an object whose own phase turns twice across it: a plain mean would cancel."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, count) for count in SHAPE), indexing="ij")
    mask = x**2 + y**2 + z**2 < 1
    angles = 2 * np.pi * np.arange(CHANNELS) / CHANNELS
    loops = [np.exp(x * np.cos(a) + y * np.sin(a) + 1j * (a + y * np.cos(a) - x * np.sin(a))) for a in angles]
    return 8 * np.stack(loops) * np.exp(4j * np.pi * x) * mask, mask


def fingerprint(truth, mixing, *, change=None, seed=0):
    """Fingerprint of a scan after ``change`` (channel, channel) has been done to signal and noise."""
    signal, mask = truth
    change = np.eye(CHANNELS) if change is None else change
    model = noise_model(noise_of((20, 400), change @ mixing, seed).astype(np.complex64), 1e-5, passband=1.0)
    noisy = signal + GAIN * noise_of(SHAPE, mixing, seed + 1000)
    images = np.einsum("ij,jzyx->izyx", change, noisy).astype(np.complex64)
    return array_fingerprint(images, model, coarse_regions(mask), noise_gain=GAIN)


@pytest.fixture(scope="module")
def baseline(truth, mixing):
    return fingerprint(truth, mixing)


def test_regions_cover_the_object_and_nothing_else(truth):
    labels = coarse_regions(truth[1])
    np.testing.assert_array_equal(labels >= 0, truth[1])
    assert sorted(np.unique(labels)) == list(range(-1, 27))
    assert coarse_regions(truth[1][4:5]).max() == 8
    with pytest.raises(MeasurementError, match="no voxel holds signal"):
        coarse_regions(np.zeros(SHAPE, np.bool_))


def test_signal_is_found_within_its_stated_error(truth, mixing):
    """Over 40 scans the real and imaginary scatter of every channel and region is the stated one.

    The truth is the principal component of the same scan without noise.
    """
    signal, mask = truth
    scans = [fingerprint(truth, mixing, seed=seed) for seed in range(40)]
    clean = np.zeros_like(scans[0].signal)
    labels = coarse_regions(mask)
    kept = np.bincount(labels[mask]) >= 4
    for column, region in enumerate(np.flatnonzero(kept)):
        values = signal[:, labels == region]
        u, s, _ = np.linalg.svd(values / np.linalg.norm(mixing, axis=1)[:, None], full_matrices=False)
        clean[:, column] = u[:, 0] * s[0] * np.linalg.norm(mixing, axis=1) / np.sqrt(values.shape[1])
    pulls = []
    for scan in scans:
        turn = np.exp(1j * np.angle(np.sum(scan.signal.conj() * clean, axis=0)))
        pulls.append((scan.signal * turn - clean) / scan.signal_uncertainty)
    pulls = np.array(pulls)
    large = np.abs(clean) > 5 * scans[0].signal_uncertainty
    spread = np.mean(np.abs(pulls[:, large]) ** 2) / 2
    # one phase of each region is free: it takes 1 of 12 real numbers away
    assert spread == pytest.approx(11 / 12, rel=0.12)
    assert np.abs(pulls.mean(axis=0)[large]).max() < 5 / np.sqrt(40) * np.sqrt(2)


def test_levels_are_those_of_the_noise(baseline, mixing):
    sigma = np.linalg.norm(mixing, axis=1)
    error = baseline.noise_level_db - 20 * np.log10(sigma)
    assert np.abs(error).max() < 4 * baseline.noise_level_uncertainty_db
    assert baseline.noise_level_uncertainty_db == pytest.approx(4.343 / np.sqrt(8000), rel=0.02)
    assert baseline.channel(2).largest_correlation == pytest.approx(
        np.abs(baseline.correlation[1, [0, 2]]).max()
    )


def test_another_phantom_strength_and_phase_is_no_difference(truth, mixing, baseline):
    """Twice the concentration, other phase in every voxel: aligned, the same fingerprint."""
    signal, mask = truth
    phase = np.exp(1j * np.linspace(0, 5, SHAPE[0]))[:, None, None]
    again = fingerprint((2 * signal * phase, mask), mixing, seed=5)
    error = np.abs(again.aligned(baseline) - baseline.signal) / baseline.signal_uncertainty
    # the blocks differ in phase within themselves, which costs the principal component nothing
    assert np.sqrt(np.mean(error**2)) < 2


def change(kind):
    matrix = np.eye(CHANNELS)
    match kind:
        case "flipped":
            matrix[3, 3] = -1
        case "scaled":
            matrix[3, 3] = 0.5
        case "swapped":
            matrix[[3, 5]] = matrix[[5, 3]]
    return matrix


def test_each_fault_shows_where_it_is(truth, mixing, baseline):
    """Sign: phase of one row by pi. Scale: 6 dB in noise and signal. Swap: two rows exchanged."""
    flipped = fingerprint(truth, mixing, change=change("flipped"), seed=7)
    turned = np.abs(np.angle(flipped.aligned(baseline) * baseline.signal.conj())).mean(axis=1)
    assert turned[3] == pytest.approx(np.pi, abs=0.2)
    assert np.delete(turned, 3).max() < 0.2
    scaled = fingerprint(truth, mixing, change=change("scaled"), seed=8)
    np.testing.assert_allclose(scaled.noise_level_db[3] - baseline.noise_level_db[3], -6.02, atol=0.3)
    ratio = np.linalg.norm(scaled.aligned(baseline), axis=1) / np.linalg.norm(baseline.signal, axis=1)
    np.testing.assert_allclose(ratio, [1, 1, 1, 0.5, 1, 1], atol=0.05)
    swapped = fingerprint(truth, mixing, change=change("swapped"), seed=9)
    moved = swapped.aligned(baseline)
    distance = np.linalg.norm(moved[:, None] - baseline.signal[None], axis=2)
    np.testing.assert_array_equal(np.argmin(distance, axis=1), [0, 1, 2, 5, 4, 3])
    assert swapped.noise_level_db[3] == pytest.approx(baseline.noise_level_db[5], abs=0.3)


def test_a_dead_channel_has_its_fingerprint_too(truth, mixing):
    dead = fingerprint(truth, mixing, change=np.diag([1, 1, 0, 1, 1, 1.0]))
    assert dead.noise_level_db[2] == -np.inf
    assert not dead.signal[2].any()
    assert np.isfinite(dead.noise_level_db[[0, 1, 3, 4, 5]]).all()
    assert dead.channel(3).signal_level_db == -np.inf


def test_it_survives_json(baseline, truth, mixing):
    for found in (baseline, fingerprint(truth, mixing, change=np.diag([1, 1, 0, 1, 1, 1.0]))):
        again = ArrayFingerprint.from_plain(json.loads(json.dumps(found.plain(), allow_nan=False)))
        np.testing.assert_array_equal(again.signal, found.signal)
        np.testing.assert_array_equal(again.noise_level_db, found.noise_level_db)
        np.testing.assert_array_equal(again.correlation, found.correlation)
    with pytest.raises(MeasurementError, match="no fingerprint of an array"):
        ArrayFingerprint.from_plain({"names": ["a"]})


def test_whitening_is_undone(mixing):
    noise = noise_of((50, 100), mixing, 3).astype(np.complex64)
    model = noise_model(noise, 1e-5)
    white = apply_channels(model.whitening(1e-5), noise)
    # the image's samples hold the passband's density: more noise than the noise scan's by 1 / ratio
    scale = np.sqrt(model.mean_bandwidth_ratio)
    np.testing.assert_allclose(unwhitened(white, model), noise, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(white.real.std(), scale, rtol=0.02)


def test_unequal_arrays_are_not_compared(baseline):
    fewer = replace(
        baseline,
        signal=baseline.signal[:, 1:],
        signal_uncertainty=baseline.signal_uncertainty[:, 1:],
        voxels=baseline.voxels[1:],
    )
    with pytest.raises(ValueError, match="cannot be compared"):
        baseline.aligned(fewer)
    with pytest.raises(ValueError, match="channel 1 to 6"):
        baseline.channel(7)
    with pytest.raises(ValueError, match="do not fit"):
        replace(baseline, voxels=baseline.voxels[1:])
