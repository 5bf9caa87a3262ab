"""The effect of the other nucleus's ports is read back with its uncertainty."""

from __future__ import annotations

import numpy as np
import pytest

from recon.cross_nucleus import port_effect
from recon.fingerprint import ArrayFingerprint

CHANNELS, REGIONS, SPREAD = 5, 9, 0.2


def fingerprint(seed, gain=1.0, noise_db=0.0):
    rng = np.random.default_rng(seed)
    truth = 4 + np.arange(CHANNELS)[:, None] + 0.3 * np.arange(REGIONS)[None, :]
    error = SPREAD * (rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape))
    return ArrayFingerprint(
        ("",) * CHANNELS,
        noise_db + 0.03 * rng.standard_normal(CHANNELS),
        0.03,
        np.eye(CHANNELS, dtype=complex),
        1e4,
        gain * truth + error,
        np.full(truth.shape, SPREAD),
        np.full(REGIONS, 30),
    )


def test_lost_signal_and_added_noise_are_read_back_within_their_uncertainty():
    """400 pulls have the mean 0 and the deviation 1 within 3.5 of their own deviations."""
    pulls = []
    for seed in range(80):
        effect = port_effect(fingerprint(seed), fingerprint(seed + 1000, gain=0.8, noise_db=0.5))
        pulls.append((effect.snr_db - (20 * np.log10(0.8) - 0.5)) / effect.uncertainty_db)
    pulls = np.concatenate(pulls)
    assert abs(pulls.mean()) < 3.5 / np.sqrt(pulls.size)
    assert abs(pulls.std() - 1) < 3.5 / np.sqrt(2 * pulls.size)


def test_a_channel_without_signal_has_no_effect_to_state():
    dead = fingerprint(1)
    dead.signal[2] = 0
    dead.noise_level_db[2] = -np.inf
    effect = port_effect(dead, fingerprint(2))
    assert np.isnan(effect.snr_db[2])
    assert np.isfinite(np.delete(effect.snr_db, 2)).all()
    short = fingerprint(3)
    with pytest.raises(ValueError, match="differ"):
        port_effect(
            short,
            ArrayFingerprint(
                short.names,
                short.noise_level_db,
                0.03,
                short.correlation,
                1e4,
                short.signal[:, :4],
                short.signal_uncertainty[:, :4],
                short.voxels[:4],
            ),
        )
