"""The noise model against known covariances, and whitening of complex correlations."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.noise import NoiseScan, apply_channels, find_faults, noise_model, whitening_matrix


def correlated(covariance, samples, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, covariance.shape[0], samples))
    white = (parts[0] + 1j * parts[1]) / np.sqrt(2)
    return (np.linalg.cholesky(covariance) @ white).astype(np.complex64)


@pytest.fixture(scope="module")
def covariance():
    """Four channels of unequal level and strong complex (not real) correlation."""
    parts = np.random.default_rng(7).standard_normal((2, 4, 4))
    factor = parts[0] + 1j * parts[1]
    return factor @ factor.conj().T + np.diag([1.0, 2.0, 4.0, 8.0])


def test_covariance_is_found_within_its_sampling_error(covariance):
    """Each element of N samples scatters by sqrt(P_ii P_jj / N); five of those."""
    model = noise_model(correlated(covariance, 20_000), 1e-5, passband=1.0)
    power = np.real(np.diag(covariance))
    limit = 5 * np.sqrt(np.outer(power, power) / 20_000)
    assert np.all(np.abs(model.covariance - covariance) < limit)
    np.testing.assert_allclose(model.sigma, np.sqrt(power / 2), rtol=5 / np.sqrt(20_000))


def test_complex_correlation_is_whitened_not_conjugated(covariance):
    """W Psi W^H = 2: with the conjugate by mistake the correlations of this matrix stay above 0.3."""
    whitening = whitening_matrix(covariance)
    np.testing.assert_allclose(whitening @ covariance @ whitening.conj().T, 2 * np.eye(4), atol=1e-10)
    wrong = whitening @ covariance.conj() @ whitening.conj().T
    scale = np.sqrt(np.real(np.diag(wrong)))
    assert np.max(np.abs(wrong / np.outer(scale, scale) - np.eye(4))) > 0.3


def test_whitened_noise_has_unit_real_deviation(covariance):
    """The root of two of the field: real and imaginary parts have deviation 1, the complex power is 2."""
    whitened = apply_channels(whitening_matrix(covariance), correlated(covariance, 20_000, 3))
    assert whitened.dtype == np.complex64
    np.testing.assert_allclose(whitened.real.std(axis=1), 1, rtol=5 / np.sqrt(2 * 20_000))
    np.testing.assert_allclose(whitened.imag.std(axis=1), 1, rtol=5 / np.sqrt(2 * 20_000))


def test_mean_is_kept_in_the_covariance_and_reported(covariance):
    """An offset is a fault to be shown, not to be subtracted."""
    noise = correlated(covariance, 20_000) + np.complex64(3.0)
    model = noise_model(noise, 1e-5, passband=1.0)
    np.testing.assert_allclose(model.offset, 3.0 / np.sqrt(np.real(np.diag(covariance)) / 2), rtol=0.05)
    assert np.real(model.covariance[0, 0]) > np.real(covariance[0, 0]) + 5


def test_windows_may_come_one_by_one(covariance):
    """Summing up window by window equals the model of the whole; the caller's array is left alone."""
    noise = correlated(covariance, 64 * 128).reshape(4, 64, 128)
    before = noise.copy()
    scan = NoiseScan(1e-5)
    for index in range(64):
        scan.add(noise[:, index])
    whole = noise_model(noise, 1e-5)
    np.testing.assert_allclose(scan.model().covariance, whole.covariance, rtol=1e-12)
    np.testing.assert_array_equal(noise, before)


def test_a_long_scan_is_summed_exactly_and_alike_on_any_number_of_processors(covariance, monkeypatch):
    """140 001 samples are three stretches with a rest, of unequal amplitudes, one far from 1.

    The truth is the sum of products in double precision; float32 values of 512 samples summed at a time
    keep 1e-6 of the powers. One thread and three find the very same numbers, and three clipped values,
    one in each stretch, are counted as three.
    """
    noise = correlated(covariance, 140_001, 4)
    noise[2] *= np.float32(1e-9)
    noise[1, [70, 70_000, 139_990]] = [50, -50j, 50 + 1j]
    exact = noise.astype(np.complex128) @ noise.astype(np.complex128).conj().T / noise.shape[1]
    scale = np.sqrt(np.real(np.diag(exact)))
    models = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        models.append(noise_model(noise, 1e-5))
        assert np.max(np.abs(models[-1].covariance - exact) / np.outer(scale, scale)) < 1e-6
    assert models[0].extremes[1] == 3
    for name in ("covariance", "offset", "kurtosis", "quadrature_ratio", "drift", "extremes"):
        np.testing.assert_array_equal(getattr(models[0], name), getattr(models[1], name))
    np.testing.assert_array_equal(models[0].spectrum.density, models[1].spectrum.density)


def test_bandwidth_ratio_and_effective_samples_follow_a_known_filter():
    """A two-point average has density cos²(pi f): ratio 0.5 over the density at 0.

    Lag one correlates by 1/2, so the sum of squared autocorrelation is 1 + 2/4: N / 1.5 samples count.
    """
    white = correlated(np.eye(2), 400 * 513).reshape(2, 400, 513)
    model = noise_model(((white[..., 1:] + white[..., :-1]) / 2).astype(np.complex64), 1e-5, passband=0.05)
    np.testing.assert_allclose(model.bandwidth_ratio, 0.5, rtol=0.05)
    assert model.effective_samples == pytest.approx(model.samples / 1.5, rel=0.05)


def test_image_covariance_scales_with_sampling_rate_and_passband():
    """Half the sample interval in the noise scan: the image's samples have half that noise power."""
    model = noise_model(correlated(np.eye(2), 50_000), 0.5e-5, passband=1.0)
    np.testing.assert_allclose(model.image_covariance(1e-5), model.covariance / 2)


def test_health_numbers_of_sound_and_sick_channels():
    """Gaussian noise has kurtosis 3 and equal quadratures; a weak Q branch and clipping show."""
    noise = correlated(np.eye(3), 50_000)
    noise[1] = noise[1].real * 1.0 + 0.5j * noise[1].imag
    noise[2] = np.clip(noise[2].real, -0.7, 0.7) + 1j * np.clip(noise[2].imag, -0.7, 0.7)
    model = noise_model(noise, 1e-5, passband=1.0)
    assert model.kurtosis[0] == pytest.approx(3, abs=5 * np.sqrt(24 / 100_000))
    assert model.quadrature_ratio[0] == pytest.approx(1, abs=0.05)
    assert model.quadrature_ratio[1] == pytest.approx(4, rel=0.05)
    assert model.kurtosis[2] < 2.5


def test_uncorrelated_channels_show_the_predicted_correlation():
    """E|rho| = sqrt(pi / 4N); 100 samples per channel are enough, fewer are not."""
    model = noise_model(correlated(np.eye(32), 1024), 1e-5, passband=1.0)
    assert model.mean_correlation == pytest.approx(model.correlation_floor, rel=0.05)
    assert not model.has_enough_samples
    assert noise_model(correlated(np.eye(8), 1024), 1e-5, passband=1.0).has_enough_samples


def test_a_dead_channel_is_named():
    """Counting from one, as on the bench; the others can still be looked at, but nothing be whitened."""
    noise = correlated(np.eye(3), 1000)
    noise[1] = 0
    model = noise_model(noise, 1e-5)
    assert model.dead_channels == (2,)
    assert np.isfinite(model.correlation).all()
    assert model.kurtosis[0] == pytest.approx(3, abs=5 * np.sqrt(24 / 2000))
    with pytest.raises(MeasurementError, match="channel 2 shows no noise"):
        model.whitening(1e-5)


def test_two_channels_with_one_signal_are_refused():
    """The covariance is singular and nothing can be whitened."""
    noise = correlated(np.eye(3), 1000)
    noise[2] = noise[0]
    with pytest.raises(MeasurementError, match="two channels carry the same signal"):
        noise_model(noise, 1e-5, passband=1.0).whitening(1e-5)


def test_no_noise_at_all_says_what_to_do():
    with pytest.raises(MeasurementError, match="must come before the spokes"):
        NoiseScan(1e-5).model()


def test_a_published_whitening_fails_where_ours_gives_identity(covariance):
    """``V D^-1/2`` of ``np.cov`` for samples in rows (fsl_mrs at 398fccd) has the wrong conjugate."""
    rows = correlated(covariance, 50_000, 5).T
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    theirs = np.cov(rows @ (vectors @ np.diag(values**-0.5)), rowvar=False)
    scale = np.sqrt(np.real(np.diag(theirs)))
    assert np.max(np.abs(theirs / np.outer(scale, scale) - np.eye(4))) > 0.3
    ours = apply_channels(noise_model(rows.T, 1e-5, passband=1.0).whitening(1e-5), rows.T)
    np.testing.assert_allclose(ours @ ours.conj().T / ours.shape[1], 2 * np.eye(4), atol=1e-3)


def test_scale_does_not_matter_and_blocks_do_not_show(covariance):
    """Nanovolts or millions; a long window is cut into blocks, the sums are those of double precision."""
    noise = correlated(covariance, 9000, 6)
    exact = noise.astype(np.complex128) @ noise.astype(np.complex128).conj().T / 9000
    for factor in (1e-12, 1.0, 1e9):
        model = noise_model(noise * np.complex64(factor), 1e-5, passband=1.0)
        np.testing.assert_allclose(model.covariance / factor**2, exact, atol=1e-5 * np.abs(exact).max())
        assert model.kurtosis == pytest.approx(3, abs=0.2)


def test_lines_are_found_with_frequency_and_level():
    """A line of 1/100 of one channel's noise power at 12.3 kHz, a weak one elsewhere; none in pure noise."""
    dwell, count = 1e-5, 1 << 17
    time = dwell * np.arange(count)
    noise = correlated(np.eye(3), count, 8)
    assert noise_model(noise, dwell).spurs == ()
    noise[1] += (0.1 * np.exp(2j * np.pi * 12.3e3 * time)).astype(np.complex64)
    noise[2] += (0.03 * np.exp(-2j * np.pi * 31.0e3 * time)).astype(np.complex64)
    first, second = noise_model(noise, dwell).spurs
    assert (first.channel, second.channel) == (2, 3)
    for spur, frequency, power in ((first, 12.3e3, 0.01), (second, -31.0e3, 0.0009)):
        assert spur.frequency == pytest.approx(frequency, abs=4 * spur.frequency_uncertainty)
        assert spur.level_db == pytest.approx(10 * np.log10(power), abs=1.0)


def test_a_filter_edge_is_no_line():
    """A steep digital low-pass at 0.79 of the band, and its bandwidth ratio within the stated error."""
    import scipy.signal

    taps = scipy.signal.firwin(101, 0.79)
    white = correlated(np.eye(4), 200_100, 9)
    noise = scipy.signal.oaconvolve(white, taps[None], mode="valid", axes=1).astype(np.complex64)
    model = noise_model(noise, 1e-5)
    assert model.spurs == ()
    truth = np.sum(taps**2) / np.sum(taps) ** 2
    assert np.abs(model.bandwidth_ratio - truth).max() < 4 * model.bandwidth_uncertainty + 0.002
    assert model.equivalent_bandwidth == pytest.approx(truth * 1e5, rel=0.005)


def test_every_sickness_is_named_and_health_is_not():
    """Offset, weak Q, skewed Q, clipping, drift, a line, a copy: one per channel; channel 1 is sound."""
    noise = correlated(np.eye(9), 60_000, 10)
    assert find_faults(noise_model(noise, 1e-5)) == ()
    noise[1] += np.complex64(0.3)
    noise[2] = noise[2].real + 0.8j * noise[2].imag
    noise[3] = noise[3].real + 1j * (noise[3].imag + 0.3 * noise[3].real)
    noise[4] = np.clip(noise[4].real, -1.2, 1.2) + 1j * np.clip(noise[4].imag, -1.2, 1.2)
    noise[5] *= np.linspace(0.7, 1.3, 60_000, dtype=np.float32)
    noise[6] += (0.3 * np.exp(2j * np.pi * 0.123 * np.arange(60_000))).astype(np.complex64)
    noise[8] = noise[7] + 0.1 * noise[8]
    found = {(finding.channel, finding.quantity) for finding in find_faults(noise_model(noise, 1e-5))}
    assert {
        (2, "offset"), (3, "quadrature ratio"), (4, "quadrature correlation"), (5, "clipping"),
        (6, "drift"), (7, "spur"), (8, "correlation"),
    } <= found  # fmt: skip
    assert not any(channel == 1 for channel, _ in found)
    few = find_faults(noise_model(correlated(np.eye(8), 300, 11), 1e-5, passband=1.0))
    assert [finding.quantity for finding in few] == ["samples"]


def test_sound_receivers_are_not_accused():
    """60 scans of 8 sound channels with coloured noise: no finding at all."""
    for seed in range(60):
        white = correlated(np.eye(8), 2001, 100 + seed)
        noise = ((white[:, 1:] + white[:, :-1]) / 2).astype(np.complex64)
        assert find_faults(noise_model(noise, 1e-5, passband=0.05)) == (), seed


def test_loss_of_a_combination_by_few_samples_is_the_predicted_one():
    """By the covariance of 256 samples 16 channels keep (N - M + 2) / (N + 1) of the power SNR."""
    signal = np.ones(16)
    kept = []
    for seed in range(300):
        model = noise_model(correlated(np.eye(16), 256, 500 + seed), 1e-5, passband=1.0)
        weight = np.linalg.solve(model.covariance, signal)
        kept.append(abs(weight.conj() @ signal) ** 2 / np.real(weight.conj() @ weight) / 16)
    expected = (256 - 16 + 2) / 257
    assert np.mean(kept) == pytest.approx(expected, abs=0.01)
    assert model.combination_loss == pytest.approx(1 - np.sqrt(expected), rel=0.05)
