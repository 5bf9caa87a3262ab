"""Filters and the widths of point spreads, against quadrature, optimality conditions and Monte Carlo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from recon.density import spoke_weights, window
from recon.filter import (
    RadialFilter,
    density_weighting_gain,
    matched_filter,
    optimal_filter,
    point_snr,
    region_snr,
    width_factor,
)
from recon.grid import Grid
from recon.nufft import NonUniformTransform
from recon.psf import BallImage, RadialReadout, full_width, point_spread
from recon.relaxation import Relaxation

KMAX, DURATION = 80.0, 10e-3
STILL = Relaxation(1.0, ((1.0, 1e6),))
FAST = Relaxation(0.04, ((1.0, DURATION),))
TISSUE = Relaxation(0.04, ((0.6, 3e-3), (0.4, 20e-3)))


def density_adapted(samples=4000, kind="none"):
    """|k| = kmax (t/T)^(1/3): the same volume for every sample (Nagel, MRM 62:1565 (2009), k0 -> 0)."""
    times = np.arange(samples + 1) * DURATION / samples
    radii = KMAX * np.cbrt(times / DURATION)
    spoke = RadialReadout(times, radii, kind, KMAX)
    return replace(spoke, nyquist=spoke.extent)


def quadrature(relaxation, filter_value, r, limit, duration):
    """4 pi ∫ S F k² sinc(2 k r) dk with S and F written out, by adaptive quadrature."""

    def integrand(k):
        decay = sum(f * np.exp(-((k / KMAX) ** 3) * duration / t) for f, t in relaxation.t2_star)
        return 4 * np.pi * k**2 * decay * filter_value(k) * np.sinc(2 * k * r)

    return quad(integrand, 0, limit, limit=200, epsrel=1e-10)[0]


def hamming(limit):
    return lambda k: 0.54 + 0.46 * np.cos(np.pi * k / limit)


@pytest.mark.parametrize(("kind", "voxels"), [("none", 1.5904), ("hamming", 1.9897)])
def test_widths_without_decay_are_the_textbook_ones(kind, voxels):
    """Half height of 3 (sin x - x cos x) / x³, and of the same ball under Hamming's window."""
    assert width_factor(density_adapted(kind=kind), STILL) == pytest.approx(voxels, abs=2e-4)


@pytest.mark.parametrize("relaxation", [FAST, TISSUE], ids=["one exponential", "two exponentials"])
@pytest.mark.parametrize("kind", ["none", "hamming"])
def test_width_of_a_decaying_material_is_that_of_the_integral(kind, relaxation):
    """Within 1e-3 voxels: the spoke's times are linear between its 4000 samples, the quadrature's are not."""
    spoke = density_adapted(kind=kind)
    shape = hamming(spoke.extent) if kind == "hamming" else (lambda _: 1.0)

    def excess(r):
        value = quadrature(relaxation, shape, r, spoke.extent, DURATION)
        return value - 0.5 * quadrature(relaxation, shape, 0.0, spoke.extent, DURATION)

    voxel = 0.5 / spoke.extent
    truth = 2 * brentq(excess, 0.2 * voxel, 3 * voxel)
    assert full_width(spoke, relaxation) == pytest.approx(truth, abs=1e-3 * voxel)
    assert full_width(spoke, relaxation) > 1.01 * full_width(spoke, STILL)


def test_point_spread_is_the_integral_and_the_limit_of_small_balls():
    spoke = density_adapted(kind="hamming")
    distances = np.array([[0.0, 3e-3, 7e-3], [11e-3, 16e-3, 40e-3]])
    ours = point_spread(spoke, TISSUE, distances)
    truth = [quadrature(TISSUE, hamming(spoke.extent), r, spoke.extent, DURATION) for r in distances.ravel()]
    np.testing.assert_allclose(ours.ravel(), truth, atol=2e-3 * truth[0])
    radius = 0.2e-3
    ball = BallImage(spoke, radius, TISSUE)(distances) / (4 / 3 * np.pi * radius**3)
    np.testing.assert_allclose(ball, ours, atol=1e-3 * truth[0])


def test_a_point_spread_that_never_falls_has_no_width():
    """A filter that keeps only the centre of k-space: 1 / width lies inside the first step."""
    narrow = RadialFilter(np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match="no width"):
        full_width(replace(density_adapted(), filter_window=narrow), STILL)


@pytest.mark.parametrize(("ratio", "gain"), [(0.5, 1.0103), (1.0, 1.0402), (2.0, 1.1459)])
def test_matched_filter_gains_what_cauchy_and_schwarz_allow(ratio, gain):
    """√⟨S²⟩ / ⟨S⟩ for S = exp(-ratio u), u the share of the readout: the closed forms of both means."""
    closed = np.sqrt((1 - np.exp(-2 * ratio)) / (2 * ratio)) / ((1 - np.exp(-ratio)) / ratio)
    assert closed == pytest.approx(gain, abs=2e-4)
    spoke, material = density_adapted(), Relaxation(0.04, ((1.0, DURATION / ratio),))
    matched = replace(spoke, filter_window=matched_filter(spoke, material))
    assert point_snr(matched, material) / point_snr(spoke, material) == pytest.approx(closed, abs=1e-3)


@pytest.mark.parametrize("voxels", [1.75, 2.0, 2.3, 3.5])
@pytest.mark.parametrize("relaxation", [STILL, FAST], ids=["no decay", "T2* = readout"])
def test_optimal_filter_has_its_width_and_none_of_that_width_is_better(relaxation, voxels):
    """Its width is the one asked for; every admissible change of it that keeps both conditions adds noise.

    The changes are random, orthogonal to both conditions and not negative where the filter is 0.
    """
    spoke = density_adapted()
    width = voxels * 0.5 / spoke.extent
    best = optimal_filter(spoke, relaxation, width)
    assert full_width(replace(spoke, filter_window=best), relaxation) == pytest.approx(width, rel=1e-4)
    k = best.radii
    time = np.interp(k, spoke.radii, spoke.times)
    signal, volume = relaxation.decay(time), k**2
    conditions = np.stack([signal, signal * np.sinc(k * width)]) * volume
    rng = np.random.default_rng(4)
    noise = np.sum(volume * best.values**2)
    support = best.values > 0
    for _ in range(20):
        change = rng.standard_normal(k.size) * support
        usable = conditions * support
        change -= usable.T @ np.linalg.lstsq(usable.T, change, rcond=None)[0]
        change *= 0.1 * np.linalg.norm(best.values) / np.linalg.norm(change)
        np.testing.assert_allclose(conditions @ change, 0, atol=1e-9 * np.abs(conditions).sum())
        # First order: the gradient of the noise along an admissible change vanishes.
        assert abs(np.sum(volume * best.values * change)) < 1e-6 * noise
        assert np.sum(volume * (best.values + change) ** 2) > noise


@pytest.mark.parametrize("relaxation", [STILL, FAST, TISSUE], ids=["no decay", "T2* = readout", "tissue"])
def test_hamming_is_within_one_percent_of_the_best_filter_of_its_width(relaxation):
    """And reads a uniform region with more SNR than that filter does."""
    spoke = density_adapted()
    taper = replace(spoke, filter_window="hamming")
    best = optimal_filter(spoke, relaxation, full_width(taper, relaxation))
    optimum = replace(spoke, filter_window=best)
    gain = point_snr(optimum, relaxation) / point_snr(taper, relaxation)
    assert 1.0 <= gain < 1.01
    assert region_snr(optimum) < region_snr(taper)


def test_narrower_than_the_readout_is_refused():
    spoke = density_adapted()
    with pytest.raises(ValueError, match="without a filter: ask for at least"):
        optimal_filter(spoke, FAST, 1.6 * 0.5 / spoke.extent)


def test_density_weighting_gain_is_the_published_one():
    """Konstandin, Nagel, MRM 69:495 (2013): 1.28 for Hamming; and nothing is gained without a window."""
    assert density_weighting_gain() == pytest.approx(1.2823, abs=1e-4)
    assert density_weighting_gain("none") == pytest.approx(1.0, abs=1e-7)


def test_predicted_gains_are_those_of_noisy_images():
    """Gridded noise and a gridded point off centre, 700 spokes: SNRs within 1 %.

    The standard deviation of one noise image of 24³ voxels scatters by 0.75 % (20 images of other seeds), the
    mean over six by 0.3 %.
    """
    spoke = density_adapted(100)
    spokes, grid = 700, Grid.cube(24, 24 / (2 * spoke.extent))
    rng = np.random.default_rng(9)
    directions = rng.standard_normal((spokes, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    trajectory = directions[:, None] * spoke.radii[:, None]
    noise = rng.standard_normal((6, spokes, 101)) + 1j * rng.standard_normal((6, spokes, 101))
    place = grid.positions()[9, 14, 11]
    decay = FAST.decay(spoke.times) / FAST.decay(spoke.echo_time)
    point = np.exp(-2j * np.pi * trajectory @ place) * decay
    transform = NonUniformTransform(grid, trajectory)
    replicas = NonUniformTransform(grid, trajectory)
    measured, predicted = [], []
    width = full_width(replace(spoke, filter_window="hamming"), FAST)
    for taper in ("none", "hamming", matched_filter(spoke, FAST), optimal_filter(spoke, FAST, width)):
        filtered = replace(spoke, filter_window=taper)
        weights = spoke_weights(spoke.radii) * window(spoke.radii, spoke.nyquist, taper) / spokes
        signal = transform.adjoint((point * weights).astype(np.complex64)[None])[0, 9, 14, 11].real
        spread = replicas.adjoint((noise * weights).astype(np.complex64))
        measured.append(signal / np.sqrt(0.5 * np.mean(np.abs(spread) ** 2)))
        predicted.append(point_snr(filtered, FAST, spokes=spokes))
    np.testing.assert_allclose(measured, predicted, rtol=1e-2)
    np.testing.assert_allclose(measured / measured[0], np.array(predicted) / predicted[0], rtol=1e-2)
