"""Gradient delays from simulated scans: exact transforms of balls where late gradients reach."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import spherical_jn
from scipy.stats import chi2

from acquisition.trajectory import design_radial, golden_directions
from coilbench.base.errors import MeasurementError
from recon.delay import RadialPath, ball_functions, estimate_delays
from recon.density import spoke_weights, window
from recon.grid import Grid
from recon.nufft import NonUniformTransform

DWELL, RADIUS, CHANNELS = 10e-6, 0.08, (0, 3, 5)
DELAYS = (2.0e-6, -1.0e-6, 4.5e-6)
DESIGN = design_radial(
    gamma_bar=11.2625e6, kmax=80.0, readout_duration=10e-3, max_gradient=6e-3, max_slew=170.0
)
TISSUE = ((0.6, 3e-3), (0.4, 20e-3))
BALLS = (((0.0, 0.0, 0.0), 0.07, 1.0), ((0.03, 0.02, -0.01), 0.02, 1.5), ((-0.02, -0.03, 0.03), 0.015, -0.7))
TIMES = np.arange(60) * DWELL - 2.3 * DWELL


def conventional(times):
    """Return |k| of 1.07 mT/m that starts at once: 12 1/m per ms."""
    return 12e3 * np.maximum(times, 0.0)


def full_spoke(times):
    """Return k of the same gradient, through the centre 0.3 ms after time 0."""
    return 12e3 * (times - 0.3e-3)


SHAPES = {"density-adapted": DESIGN.radius, "conventional": conventional, "full spokes": full_spoke}


def late_scan(spectrum, radius, spokes, *, noise=None):
    """Return nominal path and samples; the truth evaluates each axis at its own, later time."""
    directions, times = golden_directions(spokes), TIMES
    reached = np.stack(
        [
            directions[:, axis, None] * radius(times - delay)[None]
            for axis, delay in zip(range(3), DELAYS, strict=True)
        ],
        axis=-1,
    )
    decay = sum(share * np.exp(-(times - times[0]) / t) for share, t in TISSUE)
    samples = spectrum(reached, BALLS, CHANNELS) * decay * np.exp(2j * np.pi * 7.0 * times)
    if noise is not None:
        rng, deviation = noise
        samples = samples + deviation * (
            rng.standard_normal(samples.shape) + 1j * rng.standard_normal(samples.shape)
        )
    return RadialPath(directions, radius, times), samples


@pytest.mark.parametrize("shape", SHAPES)
def test_unequal_delays_are_found_without_noise(exact_spectrum, shape):
    """Within 0.02 us, the sign of each axis included, although the object decays and is off resonance.

    What is left comes from fitting one exponential to two: up to 0.01 us here.
    """
    path, samples = late_scan(exact_spectrum, SHAPES[shape], 120)
    estimate = estimate_delays(samples, path, object_radius=RADIUS)
    np.testing.assert_allclose(estimate.delays, DELAYS, atol=2e-8)
    assert estimate.off_resonance == pytest.approx(7.0, abs=0.01)
    # A sixth of the fast and of the slow rate mixed: 0.6 / 3 ms + 0.4 / 20 ms = 220 1/s at first.
    assert 190 < estimate.decay_rate < 221
    assert estimate.residual < 1e-5


def test_no_delay_is_no_delay(exact_spectrum):
    path, _ = late_scan(exact_spectrum, DESIGN.radius, 120)
    samples = exact_spectrum(path.positions(), BALLS, CHANNELS)
    estimate = estimate_delays(samples, path, object_radius=RADIUS)
    np.testing.assert_allclose(estimate.delays, 0, atol=1e-9)
    assert estimate.decay_rate == pytest.approx(0, abs=0.1)


def test_uncertainties_hold(exact_spectrum):
    """20 noisy scans, k = 0 at an SNR of about 300: the 60 squared pulls sum to a chi-squared of 60."""
    rng = np.random.default_rng(8)
    path, clean = late_scan(exact_spectrum, DESIGN.radius, 90)
    deviation = float(np.abs(clean).max()) / 300
    squares, stated = 0.0, []
    for _ in range(20):
        noise = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
        estimate = estimate_delays(clean + deviation * noise, path, object_radius=RADIUS)
        error = np.subtract(estimate.delays, DELAYS)
        squares += error @ np.linalg.solve(estimate.covariance, error)
        stated.append(estimate.noise / deviation)
    assert chi2.ppf(0.001, 60) < squares < chi2.ppf(0.999, 60)
    assert np.mean(stated) == pytest.approx(1, abs=0.01)


def test_uncertainty_falls_with_the_root_of_the_spokes(exact_spectrum):
    rng = np.random.default_rng(3)
    small, large = (
        estimate_delays(samples, path, object_radius=RADIUS).uncertainty
        for path, samples in (
            late_scan(exact_spectrum, DESIGN.radius, spokes, noise=(rng, 1e-6)) for spokes in (100, 400)
        )
    )
    # Fewer spokes also lose more to the 165 unknowns per channel: a tenth of their 900 samples.
    np.testing.assert_allclose(np.divide(small, large), 2, rtol=0.2)


def test_corrected_trajectory_repairs_the_image(exact_spectrum):
    """A ball of 60 mm: without correction its middle is 3 % to 8 % too bright, with it within 1 %.

    Delays of 3 us on average, at 2 % to 3 % each microsecond for this design.
    """
    times = np.arange(335) * 30e-6 - 20e-6
    ball, spokes, grid = (((0.0, 0.0, 0.0), 0.06, 1.0),), 1200, Grid((24, 26, 28), (0.15, 0.1625, 0.175))
    path = RadialPath(golden_directions(spokes), DESIGN.radius, times)
    samples = exact_spectrum(path.positions(DELAYS), ball, (None,))
    estimate = estimate_delays(samples, path, object_radius=0.065)
    middle = grid.distances((0, 0, 0)) < 0.04
    means = []
    for positions in (path.positions(), path.positions(estimate.delays)):
        radii = np.linalg.norm(positions, axis=-1)
        weights = spoke_weights(radii) * window(radii, 80.0, "hamming") / spokes
        image = NonUniformTransform(grid, positions).adjoint((samples * weights).astype(np.complex64))[0]
        means.append(float(image[middle].real.mean()))
    assert 1.03 < means[0] < 1.08
    assert means[1] == pytest.approx(1, abs=0.01)


def test_path_from_samples_is_the_path(exact_spectrum):
    """Full spokes move evenly, so a spline through the samples is exact; a ramp costs up to 0.7 us."""
    for radius, tolerance in ((full_spoke, 1e-9), (DESIGN.radius, 0.7e-6)):
        path, samples = late_scan(exact_spectrum, radius, 120)
        guessed = RadialPath.from_trajectory(path.positions(), DWELL)
        exact = estimate_delays(samples, path, object_radius=RADIUS)
        estimate = estimate_delays(samples, guessed, object_radius=RADIUS)
        np.testing.assert_allclose(estimate.delays, exact.delays, atol=tolerance)


@pytest.mark.parametrize(("dwell", "spokes", "first"), [(1e-5, 120, 0.0), (1e-5, 120, 2.3), (2e-5, 200, 0.0)])
def test_a_path_from_samples_states_what_it_does_not_know(
    exact_spectrum, monkeypatch, dwell, spokes, first
) -> None:
    """Without noise the error is all of the spline's: up to 0.07 of a sample, within k = 2 of what is stated.

    Of the design itself the stated uncertainty is the noise alone: thousands of times smaller here.
    """
    monkeypatch.setitem(globals(), "TIMES", (np.arange(int(600e-6 / dwell)) - first) * dwell)
    path, samples = late_scan(exact_spectrum, DESIGN.radius, spokes)
    guessed = RadialPath.from_trajectory(path.positions(), dwell)
    estimate = estimate_delays(samples, guessed, object_radius=RADIUS)
    errors = np.abs(np.subtract(estimate.delays, DELAYS))
    assert np.all(errors < 2 * np.array(estimate.uncertainty))
    assert max(estimate.uncertainty) < 0.05 * dwell
    exact = estimate_delays(samples, path, object_radius=RADIUS)
    assert max(exact.uncertainty) < 0.01 * min(estimate.uncertainty)


def test_path_from_samples_goes_on_straight_and_waits_at_the_centre():
    times = np.arange(50) * DWELL
    for radius, before in ((full_spoke, 12.0 * -0.305), (lambda t: 12e3 * t, 0.0)):
        nominal = RadialPath(golden_directions(7), radius, times)
        guessed = RadialPath.from_trajectory(nominal.positions(), DWELL)
        # A delay of 5 us asks for k before the first sample, -5 us for k beyond the last.
        assert guessed.radii((5e-6,) * 3)[0, 0] == pytest.approx(before, abs=1e-4)
        assert guessed.radii((-5e-6,) * 3)[-1, 1] == pytest.approx(float(radius(times[-1] + 5e-6)), abs=1e-4)


def test_expansion_holds_what_lies_in_the_ball(exact_spectrum):
    """Balls off centre and harmonic sensitivities are fitted to 1e-4 up to 2 pi R k = 4."""
    rng = np.random.default_rng(6)
    k = rng.standard_normal((900, 3))
    k *= (4.0 / (2 * np.pi * RADIUS) * rng.uniform(0, 1, 900) ** (1 / 3) / np.linalg.norm(k, axis=1))[:, None]
    basis = ball_functions(k, RADIUS, 8)
    assert basis.shape == (900, 9 * 10 * 11 // 6)
    data = exact_spectrum(k, BALLS, CHANNELS).T
    rest = data - basis @ np.linalg.lstsq(basis, data, rcond=None)[0]
    assert np.linalg.norm(rest) < 1e-4 * np.linalg.norm(data)


def test_first_function_is_a_ball():
    """It is 3 j1(x) / x, 1 at the centre."""
    k = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [2.0, -4.0, 1.0]])
    x = 2 * np.pi * RADIUS * np.linalg.norm(k, axis=1)[1:]
    np.testing.assert_allclose(ball_functions(k, RADIUS, 3)[1:, 0], 3 * spherical_jn(1, x) / x)
    assert ball_functions(k, RADIUS, 3)[0, 0] == pytest.approx(1)


def test_too_few_samples_and_crooked_spokes_are_refused(exact_spectrum):
    path, samples = late_scan(exact_spectrum, DESIGN.radius, 20)
    with pytest.raises(MeasurementError, match="use more spokes or a shorter dwell time"):
        estimate_delays(samples, path, object_radius=RADIUS)
    with pytest.raises(ValueError, match=r"\(channel, 20, 60\) expected"):
        estimate_delays(samples[:, :, 1:], path, object_radius=RADIUS)
    crooked = path.positions()
    crooked[3, 30] += 1.0
    with pytest.raises(ValueError, match="off straight spokes"):
        RadialPath.from_trajectory(crooked, DWELL)


def test_an_object_larger_than_stated_shows_in_the_residual(exact_spectrum):
    """Stated 40 mm for 70 mm: the noise that the fit reports is more than three times the samples'."""
    path, samples = late_scan(exact_spectrum, DESIGN.radius, 300, noise=(np.random.default_rng(2), 1e-7))
    estimate = estimate_delays(samples, path, object_radius=0.04)
    assert estimate.noise > 3e-7
