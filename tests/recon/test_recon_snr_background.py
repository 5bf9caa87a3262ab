"""SNR from the air of one image: right for channels that do not correlate, predictably wrong for others."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.noise import noise_model
from recon.snr import accepted_correlation, background_factors, correlation_bias, snr_of_background

#: Air above, object below, in images of unequal edges.
SHAPE = (90, 70)
AIR = np.zeros(SHAPE, np.bool_)
AIR[:40] = True
BODY = np.zeros(SHAPE, np.bool_)
BODY[50:] = True


def noise_of(covariance, seed):
    """Return complex noise of a covariance E[n n^H], shape (channel, *SHAPE)."""
    generator = np.random.default_rng(seed)
    parts = generator.standard_normal((2, len(covariance), *SHAPE)) / np.sqrt(2)
    return np.einsum("cd,d...->c...", np.linalg.cholesky(covariance), parts[0] + 1j * parts[1])


def magnitude(signal, covariance, seed):
    """Return the root of the sum of squares of channels with a signal in the body."""
    channels = noise_of(covariance, seed) + signal[:, None, None] * BODY
    return np.sqrt(np.sum(np.abs(channels) ** 2, axis=0))


def alike(channels, rho):
    """Psi of unit real deviation with one correlation between all."""
    return 2 * ((1 - rho) * np.eye(channels) + rho).astype(complex)


@pytest.mark.parametrize(
    ("channels", "mean", "spread"),
    [
        (1, 1.2533, 0.6551),
        (2, 1.8800, 0.6824),
        (4, 2.7416, 0.6953),
        (8, 3.9380, 0.7014),
        (16, 5.6128, 0.7043),
        (32, 7.9688, 0.7057),
    ],
)
def test_factors_are_the_published_ones(channels, mean, spread):
    """As in Constantinides et al., Magn Reson Med 38:852 (1997)."""
    assert background_factors(channels) == pytest.approx((mean, spread), abs=5e-5)


@pytest.mark.parametrize("estimator", ["root mean square", "mean", "standard deviation"])
@pytest.mark.parametrize("channels", [1, 5])
def test_every_estimator_finds_the_snr_of_uncorrelated_channels_and_states_its_scatter(channels, estimator):
    """SNR 12 in 120 images: mean within 4 standard errors, scatter as stated within 4 of its own."""
    signal = np.full(channels, 12 / np.sqrt(channels), complex)
    found = [
        snr_of_background(
            magnitude(signal, alike(channels, 0.0), seed), BODY, AIR, channels=channels, estimator=estimator
        )
        for seed in range(120)
    ]
    values = np.array([snr.value for snr in found])
    assert (
        abs(values.mean() - 12)
        < 4 * values.std() / np.sqrt(len(found)) + 12 * found[0].uncertainty ** 2 / 144
    )
    assert values.std() == pytest.approx(found[0].uncertainty, rel=4 / np.sqrt(240))
    assert all(snr.is_biased and snr.convention == "real-sd" for snr in found)


@pytest.mark.parametrize(("rho", "percent"), [(0.1, 29), (0.3, 76)])
def test_correlated_channels_bias_it_as_predicted(rho, percent):
    """Eight channels in phase: another Monte Carlo gave +29 % at 0.1 and +76 % at 0.3; the formula +30, +76.

    The object's noise is measured from 40 images' own scatter: 1120 voxels x 40: 0.5 %.
    """
    covariance = alike(8, rho)
    signal = np.full(8, 15.0, complex)
    images = np.stack([magnitude(signal, covariance, seed) for seed in range(40)])
    truth = np.mean(images[:, BODY]) / np.std(images[:, BODY], axis=0, ddof=1).mean()
    found = [
        snr_of_background(image, BODY, AIR, channels=8, covariance=covariance, largest_bias=np.inf).value
        for image in images
    ]
    ratio = np.mean(found) / truth
    assert 100 * (ratio - 1) == pytest.approx(percent, abs=2.5)
    assert correlation_bias(covariance, signal)[0] == pytest.approx(np.sqrt(1 + 7 * rho), rel=1e-12)
    assert correlation_bias(covariance)[1] == pytest.approx(np.sqrt(1 + 7 * rho), rel=1e-12)
    assert ratio == pytest.approx(np.sqrt(1 + 7 * rho), rel=0.015)


def test_signals_out_of_phase_read_too_low_by_the_smallest_eigenvalue():
    """Two channels of opposite signal: the common noise cancels, sqrt(1 - rho)."""
    low, high = correlation_bias(alike(2, 0.4), np.array([1.0, -1.0 + 0j]))
    assert low == high == pytest.approx(np.sqrt(0.6))
    assert correlation_bias(alike(2, 0.4)) == pytest.approx((np.sqrt(0.6), np.sqrt(1.4)))


def test_the_accepted_correlation_falls_with_the_number_of_channels():
    """At the limit itself n signals in phase are biased by exactly the accepted 5 %."""
    for channels in (2, 8, 32):
        limit = accepted_correlation(channels, 0.05)
        assert correlation_bias(alike(channels, limit))[1] == pytest.approx(1.05, rel=1e-12)
    assert accepted_correlation(8, 0.05) == pytest.approx(0.0146, abs=1e-4)
    assert accepted_correlation(32, 0.05) == pytest.approx(0.0033, abs=1e-4)
    assert accepted_correlation(1, 0.05) == 1.0


def test_known_correlations_are_refused_or_stated():
    """0.02 between two channels is 1 %, between 32 it is 27 %; an unknown one is said to be unknown."""
    image = magnitude(np.full(2, 9.0, complex), alike(2, 0.02), 1)
    snr = snr_of_background(image, BODY, AIR, channels=2, covariance=alike(2, 0.02))
    assert "-1 % to +1 %" in snr.bias
    assert "not known" in snr_of_background(image, BODY, AIR, channels=2).bias
    many = magnitude(np.full(32, 9.0, complex), alike(32, 0.02), 1)
    with pytest.raises(MeasurementError, match=r"\+27 %.*up to 0.0068 with 32 channels"):
        snr_of_background(many, BODY, AIR, channels=32, covariance=alike(32, 0.02))


def test_fewer_independent_channels_mean_fewer_degrees_of_freedom():
    """Eight channels that carry the noise of one: 2 degrees a voxel instead of 16."""
    image = magnitude(np.full(8, 9.0, complex), alike(8, 0.0), 1)
    free = snr_of_background(image, BODY, AIR, channels=8, covariance=alike(8, 0.0))
    tied = snr_of_background(image, BODY, AIR, channels=8, covariance=alike(8, 0.999999), largest_bias=np.inf)
    assert free.degrees_of_freedom == pytest.approx(16 * np.count_nonzero(AIR))
    assert tied.degrees_of_freedom == pytest.approx(2 * np.count_nonzero(AIR), rel=1e-4)


def test_an_air_set_to_zero_has_no_noise():
    image = magnitude(np.full(3, 9.0, complex), alike(3, 0.0), 1)
    image[:30] = 0
    with pytest.raises(MeasurementError, match="masked"):
        snr_of_background(image, BODY, AIR, channels=3)


def test_nonsense_is_refused():
    image = magnitude(np.full(3, 9.0, complex), alike(3, 0.0), 1)
    with pytest.raises(ValueError, match="do not fit"):
        snr_of_background(image, BODY, AIR, channels=4, covariance=alike(3, 0.0))
    with pytest.raises(MeasurementError, match="too few"):
        snr_of_background(image, BODY, np.zeros(SHAPE, np.bool_), channels=3)
    with pytest.raises(ValueError, match="at least one channel"):
        background_factors(0)


def test_air_that_is_no_magnitude_or_of_another_number_of_channels_is_noticed():
    """Mean over deviation: 2.75 of two channels, 1.91 of one; shifted values have both signs."""
    two = magnitude(np.full(2, 9.0, complex), alike(2, 0.0), 1)
    assert "another number" in snr_of_background(two, BODY, AIR, channels=1).bias
    assert "another number" not in snr_of_background(two, BODY, AIR, channels=2).bias
    with pytest.raises(MeasurementError, match="no magnitude"):
        snr_of_background(two - 2, BODY, AIR, channels=2)


def test_sixteen_real_channels_are_biased_as_their_covariance_predicts(shared_data):
    """Mean correlation 0.14, largest 0.44: the air reads the object's SNR 23 % too high, and it is refused.

    The truth is a^H a / sqrt(a^H Psi a / 2) of each voxel by the noise scan, which was sampled twice as fast
    as the scan that lost its oversampling: Psi / 2. 400 voxels of air: 1 %, and the scan's own filter: 3 %.
    """
    data = np.load(shared_data / "kspace_16ch" / "kspace16ch.npz")
    samples = np.moveaxis(data["signal"], -1, 0)
    model = noise_model(np.transpose(data["noise"], (2, 1, 0)), 1e-5)  # 96 windows of 192 samples
    psi = model.image_covariance(1e-5) / 2
    images = np.fft.fftshift(
        np.fft.ifft2(np.fft.ifftshift(samples, axes=(1, 2)), norm="ortho"), axes=(1, 2)
    ).astype(complex)
    image = np.sqrt(np.sum(np.abs(images) ** 2, axis=0))
    air = np.zeros(image.shape, np.bool_)
    for rows in (slice(3, 13), slice(-13, -3)):
        for columns in (slice(3, 13), slice(-13, -3)):
            air[rows, columns] = True
    bright = np.argwhere(image > 0.25 * image.max())[::7]
    ratios, predictions = [], []
    for row, column in bright:
        signal = images[:, row, column]
        power = np.vdot(signal, signal).real
        truth = power / np.sqrt(np.vdot(signal, psi @ signal).real / 2)
        voxel = np.zeros(image.shape, np.bool_)
        voxel[row, column] = True
        found = snr_of_background(
            image, voxel, air, channels=16, covariance=psi, signal=signal, largest_bias=np.inf
        )
        ratios.append(found.value / truth)
        predictions.append(correlation_bias(psi, signal)[0])
    assert np.median(predictions) == pytest.approx(1.23, abs=0.01)
    assert np.median(ratios) == pytest.approx(np.median(predictions), rel=0.03)
    # and voxel by voxel, from the least to the most biased one
    assert np.std(np.array(ratios) / np.array(predictions)) < 0.01
    assert np.std(predictions) > 0.03
    with pytest.raises(MeasurementError, match="correlated channels"):
        snr_of_background(image, image > 0.25 * image.max(), air, channels=16, covariance=psi)
