"""Each receive channel's own SNR: of the receiver's channel, not of the whitened mixture."""

from __future__ import annotations

import numpy as np
import pytest

from recon.grid import Grid
from recon.live import ChannelImages
from recon.noise import apply_channels, noise_model
from recon.snr import channel_snr, channel_snr_map

GRID = Grid((9, 14, 11), (0.09, 0.14, 0.11))
REGION = np.ones(GRID.shape, np.bool_)
#: Five receivers: gains differ by 30, the last one hardly hears the object.
SNR = np.array([8.0, 20.0, 12.0, 5.0, 1.5])
SIGMA = np.array([1.0, 0.2, 3.0, 0.1, 2.0])
DWELL = 10e-6


def correlated(shape, seed):
    """Return noise of deviation SIGMA, neighbours correlated by 0.85 exp(0.7i), shape (channel, *shape)."""
    lag = np.subtract.outer(np.arange(5), np.arange(5))
    correlation = 0.85 ** np.abs(lag) * np.exp(0.7j * lag)
    parts = np.random.default_rng(seed).standard_normal((2, 5, *shape))
    mixed = np.einsum("cd,d...->c...", np.linalg.cholesky(correlation), parts[0] + 1j * parts[1])
    return (mixed * SIGMA.reshape(-1, *[1] * len(shape))).astype(np.complex64)


@pytest.fixture(scope="module")
def model():
    return noise_model(correlated((400, 200), 1), DWELL)


def scan(model, seed, gain=0.25):
    """Return whitened images of an even object whose phase differs from channel to channel."""
    signal = SNR * SIGMA * gain * np.exp(1j * np.arange(5))
    physical = gain * correlated(GRID.shape, seed) + signal[:, None, None, None].astype(np.complex64)
    return ChannelImages(
        images=apply_channels(model.whitening(DWELL), physical),
        grid=GRID,
        noise_gain=gain,
        spokes=1,
        positions=np.zeros((1, 3), np.float32),
        weights=np.ones(1, np.float32),
        noise=model,
    )


def test_channels_of_strongly_correlated_noise_keep_their_own_snr(model):
    """Within 4 standard uncertainties each, in 20 scans; their scatter is as stated, to 4 of its own."""
    found = [
        channel_snr(scan(model, seed), model, REGION, independent_fraction=1.0) for seed in range(10, 30)
    ]
    values = np.array([[snr.value for snr in one] for one in found])
    stated = np.array([snr.uncertainty for snr in found[0]])
    assert np.all(np.abs(values - SNR) < 4 * stated)
    assert found[0][0].convention == "real-sd"
    assert found[0][1].degrees_of_freedom == pytest.approx(2 * model.effective_samples)
    # The noise scan's error is common to all; what is left scatters by noise alone.
    alone = np.sqrt((SNR**2 + 1) / REGION.size) / SNR
    pulls = (values - values.mean(axis=0)) / alone
    assert np.mean(pulls**2) * 20 / 19 == pytest.approx(1, abs=4 * np.sqrt(2 / 95))


def test_whitened_channels_are_other_channels(model):
    """What whitening mixes differs from each receiver's own SNR by up to a factor: the case is a hard one."""
    images = scan(model, 40)
    white = np.sqrt(np.mean(np.abs(images.images / images.noise_gain) ** 2, axis=(1, 2, 3)) - 2)
    own = np.array([s.value for s in channel_snr(images, model, REGION, independent_fraction=1.0)])
    assert np.max(np.abs(np.log(white / own))) > np.log(1.5)


def test_a_fault_stays_in_its_channel(model):
    """Channel 4 loses half of its signal: its SNR halves, and no other changes."""
    sound, faulty = scan(model, 50), scan(model, 50)
    loss = np.zeros(5, np.complex64)
    loss[3] = -0.5 * SNR[3] * SIGMA[3] * faulty.noise_gain * np.exp(3j)
    faulty.images[:] += apply_channels(model.whitening(DWELL), loss[:, None])[:, :, None, None]
    before, after = (
        np.array([s.value for s in channel_snr(one, model, REGION, independent_fraction=1.0)])
        for one in (sound, faulty)
    )
    assert after[3] / before[3] == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(np.delete(after, 3), np.delete(before, 3), rtol=1e-3)


def test_the_map_of_each_channel_has_unit_noise_and_its_snr(model):
    images = scan(model, 60)
    found = channel_snr_map(images.images, images.noise_gain, model)
    assert found.values.shape == images.images.shape
    for channel in range(4):
        values = found.values[channel]
        assert float(values.std()) == pytest.approx(1, abs=4 / np.sqrt(2 * values.size) + 0.02)
        median = np.sqrt(np.median(values) ** 2 - found.floor)
        assert median == pytest.approx(
            SNR[channel], abs=4 * 1.2533 / np.sqrt(values.size) + 0.01 * SNR[channel]
        )


def test_an_empty_region_has_no_snr(model):
    with pytest.raises(ValueError, match="region is empty"):
        channel_snr(scan(model, 70), model, ~REGION, independent_fraction=1.0)
