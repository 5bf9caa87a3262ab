"""Replicas recombined from few noise scans: the noise of the closed form and of replicas drawn one by one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from recon.cg_sense import solve_sense
from recon.combine import combine_roemer, combine_squares
from recon.density import spoke_weights
from recon.encoding import SenseEncoding
from recon.grid import Grid
from recon.live import ChannelImages
from recon.nufft import NonUniformTransform
from recon.off_resonance import OffResonanceTransform
from recon.probes import grid_noise, noise_scans_needed, probe_noise, white_samples
from recon.snr import pseudo_replica_noise
from recon.voxel_noise import independent_fraction, noise_of_pseudo_replica

SPOKES, SAMPLES = 150, 20


def scan(channels, seed=0):
    """Return a radial transform of unequal sizes, its weights, and smooth receive fields that differ."""
    grid = Grid((10, 12, 14), (0.20, 0.21, 0.22))
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((SPOKES, 1, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    radii = 0.98 * grid.nyquist * np.linspace(0, 1, SAMPLES)
    transform = NonUniformTransform(grid, directions * radii[:, None], threads=1)
    weights = np.broadcast_to(spoke_weights(radii) / SPOKES, (SPOKES, SAMPLES)).astype(np.float32)
    places = 0.15 * rng.standard_normal((channels, 3))
    fields = [
        np.exp(1j * k - 4 * grid.distances(tuple(place)) + 20j * grid.positions() @ place)
        for k, place in enumerate(places)
    ]
    return transform, weights, np.stack(fields).astype(np.complex64)


def positions_of(transform):
    """Return k in 1/m as (kx, ky, kz), shape (point, 3)."""
    steps = 2 * np.pi * np.array(transform.grid.spacing)
    return np.ascontiguousarray((transform.phases / steps[:, None].astype(np.float32))[::-1].T)


def closed_form(weights, sensitivities):
    """Roemer et al., Magn Reson Med 16:192 (1990): noise of s^H a / s^H s for equal white channels."""
    return np.linalg.norm(weights) / np.sqrt(np.sum(np.abs(sensitivities) ** 2, axis=0))


@pytest.mark.parametrize("channels", [1, 4])
def test_variance_is_unbiased_and_scatters_as_its_degrees_of_freedom_say(channels):
    """150 maps against the closed form: mean of the variance to 4 standard errors, its variance to 28 %.

    Both at three voxels far apart: a variance from 150 maps scatters by about 12 % and the mean over three
    voxels by 7 %, of which 28 % are four.
    """
    transform, weights, sensitivities = scan(channels)
    exact = closed_form(weights, sensitivities)
    voxels = ([2, 5, 8], [3, 6, 9], [11, 7, 2])
    found = [
        probe_noise(
            transform, weights, channels, lambda images: combine_roemer(images, sensitivities),
            replicas=12, noise_scans=4, seed=seed,
        )
        for seed in range(150)
    ]  # fmt: skip
    ratios = np.array([(probed.deviation[voxels] / exact[voxels]) ** 2 for probed in found])
    stated = 2 / found[0].degrees_of_freedom
    assert stated == pytest.approx(1 / (4 * channels) + (1 - 1 / channels) / 12)
    assert ratios.mean() == pytest.approx(1, abs=4 * np.sqrt(stated / ratios.size))
    assert np.mean(np.var(ratios, axis=0)) == pytest.approx(stated, rel=0.28)


def test_default_is_worth_fifty_drawn_replicas():
    """The map of 50 probes of 8 channels scatters around the closed form with at least 49 degrees of freedom.

    1680 voxels, about half of them independent, tell a variance's variance to 5 %.
    """
    transform, weights, sensitivities = scan(8)
    found = probe_noise(transform, weights, 8, lambda images: combine_roemer(images, sensitivities))
    ratio = (found.deviation / closed_form(weights, sensitivities)) ** 2
    assert found.replicas == 50
    assert found.noise_scans == 6
    assert found.degrees_of_freedom >= 49
    assert np.var(ratio) == pytest.approx(2 / found.degrees_of_freedom, rel=0.2)
    assert [noise_scans_needed(count) for count in (1, 8, 32)] == [25, 6, 2]


def test_agrees_with_replicas_drawn_one_by_one_for_gridding():
    """Brute force of 300 replicas beside probes: the mean ratio of variances is 1 within 4 standard errors.

    Voxels are correlated: a quarter of the 1680 are taken as independent.
    """
    transform, weights, sensitivities = scan(4)

    def combined(images):
        return combine_roemer(images, sensitivities)

    found = probe_noise(transform, weights, 4, combined, replicas=300, noise_scans=75, seed=1)
    quiet = np.zeros((4, SPOKES, SAMPLES), np.complex64)
    drawn = pseudo_replica_noise(
        lambda samples: combined(transform.adjoint(samples, weights)), quiet, replicas=300, seed=2
    )
    ratio = (found.deviation / drawn) ** 2
    error = np.sqrt((2 / 299 + 2 / found.degrees_of_freedom) / (ratio.size / 4))
    # The mean of 1 / variance of 299 degrees of freedom is 299 / 297.
    assert ratio.mean() == pytest.approx(299 / 297, abs=4 * error)


def test_agrees_with_replicas_drawn_one_by_one_for_cg_sense():
    """The same for an iterative reconstruction that stops early, from the gridded images of a real signal.

    Its noise rises from voxel to voxel unlike gridding's (which would be 1 / field): the two differ by more
    than the tolerance, so an answer for gridding fails here.
    """
    transform, weights, sensitivities = scan(4)
    encoding = SenseEncoding(transform, weights, sensitivities)
    ball = (transform.grid.distances((0.01, -0.02, 0.0)) < 0.07).astype(np.complex64)
    signal = 300 / np.linalg.norm(weights) * encoding.forward(ball) * np.linalg.norm(weights) ** 2
    images = transform.adjoint(signal, weights)

    def solved(gridded):
        return solve_sense(encoding, encoding.receive(gridded), iterations=6).image

    found = probe_noise(transform, weights, 4, solved, images=images, replicas=150, noise_scans=40, seed=3)
    drawn = pseudo_replica_noise(
        lambda samples: solve_sense(encoding, encoding.adjoint(samples), iterations=6).image,
        signal, replicas=150, seed=4,
    )  # fmt: skip
    inside = ball.real > 0
    ratio = (found.deviation[inside] / drawn[inside]) ** 2
    error = np.sqrt((2 / 149 + 2 / found.degrees_of_freedom) / (ratio.size / 4))
    assert found.degrees_of_freedom < 149
    assert ratio.mean() == pytest.approx(149 / 147, abs=4 * error)
    gridding = (closed_form(weights, sensitivities)[inside] / drawn[inside]) ** 2
    assert abs(gridding.mean() - 1) > 8 * error


def test_agrees_with_replicas_drawn_one_by_one_for_a_magnitude():
    """The root of the sum of squares of a strong signal has the noise of one channel, in phase only."""
    transform, weights, sensitivities = scan(6)
    images = (1e3 * np.linalg.norm(weights) * sensitivities).astype(np.complex64)

    def squares(gridded):
        return combine_squares(gridded, correct_bias=False)

    found = probe_noise(transform, weights, 6, squares, images=images, replicas=60, noise_scans=20, seed=5)
    ratio = (found.deviation / np.linalg.norm(weights)) ** 2
    assert 2 / found.degrees_of_freedom == pytest.approx(1 / 120 + (2 - 1 / 6) / 59)
    error = np.sqrt(2 / found.degrees_of_freedom / (ratio.size / 4))
    assert ratio.mean() == pytest.approx(1, abs=4 * error)
    assert np.var(ratio) == pytest.approx(2 / found.degrees_of_freedom, rel=0.2)


def test_replicas_are_uncorrelated_and_each_has_the_noise_of_a_fresh_one():
    """Twelve replicas of two scans, 250 times: correlations 0 within 5 standard errors, powers equal."""
    transform, weights, sensitivities = scan(3)
    scale = closed_form(weights, sensitivities)[4, 6, 7] * np.sqrt(2)
    replicas = []

    def keep(images):
        image = combine_roemer(images, sensitivities)
        replicas.append(image[4, 6, 7] / scale)
        return image

    for seed in range(250):
        probe_noise(transform, weights, 3, keep, replicas=12, noise_scans=2, seed=seed)
    values = np.array(replicas).reshape(250, 12)
    covariance = values.T @ values.conj() / 250
    pseudo = values.T @ values / 250
    # Standard error of a complex covariance of unit variances: 1 / sqrt(250); 66 pairs, so 5 of them.
    assert np.max(np.abs(covariance - np.eye(12))) < 5 / np.sqrt(250)
    assert np.max(np.abs(pseudo)) < 5 * np.sqrt(2 / 250)


def test_noise_of_off_resonance_is_that_of_its_own_transform():
    """A field turns samples by phases of modulus 1 and leaves the noise of every voxel as it is.

    The time segments keep 1e-4 of an exponential, so equality is asked for to the sampling error alone.
    """
    transform, weights, sensitivities = scan(4)
    field = 60.0 * np.linspace(-1, 1, 14) * np.ones(transform.grid.shape)
    turned = OffResonanceTransform(transform, field, np.linspace(1e-3, 8e-3, SAMPLES))
    found = probe_noise(turned, weights, 4, lambda images: combine_roemer(images, sensitivities), seed=6)
    ratio = (found.deviation / closed_form(weights, sensitivities)) ** 2
    error = np.sqrt(2 / found.degrees_of_freedom / (ratio.size / 4))
    assert ratio.mean() == pytest.approx(1, abs=4 * error)


def test_white_samples_are_circular_and_of_unit_real_variance():
    """Every modulus is the root of two; means and the two parts' product vanish as 1 / sqrt(samples)."""
    samples = white_samples(np.random.default_rng(7), (3, 33_335))
    assert samples.dtype == np.complex64
    np.testing.assert_allclose(np.abs(samples), np.sqrt(2), rtol=1e-6)
    limit = 5 / np.sqrt(samples.size)
    assert abs(samples.real.mean()) < limit
    assert abs(samples.imag.mean()) < limit
    assert abs(np.mean(samples.real * samples.imag)) < limit
    assert abs(np.mean(samples[0] * samples[1].conj())) < 5 * 2 / np.sqrt(33_335)
    assert abs(np.mean(samples[:, 1:] * samples[:, :-1].conj())) < 2 * limit


def test_gridded_noise_has_the_same_deviation_in_every_voxel():
    """sqrt(sum of squared weights), the mean over 40 channels and all voxels to 4 standard errors."""
    transform, weights, _ = scan(1)
    noise = grid_noise(transform, weights.ravel(), 40, np.random.default_rng(8))
    power = np.mean(np.abs(noise) ** 2) / (2 * np.sum(weights.astype(np.float64) ** 2))
    assert power == pytest.approx(1, abs=4 / np.sqrt(noise.size / 4))


def test_noise_ratio_of_one_noise_scan_is_one_and_scatters_as_it_says():
    """A region's noise over its prediction, 12 seeds: mean 1 to 4 standard errors, chi-square to 0.1 %.

    Four channels recombined 50 times count seven times as much as one draw of the noise.
    """
    transform, weights, sensitivities = scan(4)
    images = ChannelImages(
        images=np.zeros_like(sensitivities),
        grid=transform.grid,
        noise_gain=float(np.linalg.norm(weights)),
        spokes=SPOKES,
        positions=positions_of(transform),
        weights=weights.ravel(),
        noise=None,
    )
    region = transform.grid.distances((0.0, 0.0, 0.0)) < 0.09
    found = [noise_of_pseudo_replica(images, sensitivities, region, seed=seed) for seed in range(12)]
    pulls = [(ratio.ratio - 1) / ratio.uncertainty for ratio in found]
    drawn_once = 1 / np.sqrt(2 * np.count_nonzero(region) * independent_fraction(images))
    assert found[0].uncertainty < drawn_once / np.sqrt(7)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(12)
    assert 1.8 < np.var(pulls, ddof=1) * 11 < 31.3


def test_snr_map_has_the_mean_of_the_true_ratio_and_says_how_sure_it_is():
    """An image of 20 noise deviations everywhere: the mean of image over found deviation is 20.

    1 / deviation is too large by 3 % for 24 degrees of freedom; the tolerance is 4 standard errors, 1 %.
    """
    transform, weights, sensitivities = scan(4)
    found = probe_noise(
        transform, weights, 4, lambda images: combine_roemer(images, sensitivities), replicas=25, seed=9
    )
    snr = found.snr(20j * closed_form(weights, sensitivities))
    assert snr.degrees_of_freedom >= 24
    assert snr.relative_uncertainty == pytest.approx((2 * snr.degrees_of_freedom) ** -0.5)
    error = snr.relative_uncertainty / np.sqrt(snr.values.size / 4)
    assert snr.values.mean() == pytest.approx(20, rel=4 * error)
    with pytest.raises(ValueError, match="does not fit"):
        found.snr(np.ones((3, 4)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.ones((3, SPOKES, SAMPLES), np.float32)}, "channels with weights of their own"),
        ({"replicas": 2}, "at least 3 replicas"),
        ({"replicas": 10, "noise_scans": 11}, "from 1 to 10 noise scans"),
        ({"channels": 0}, "at least one channel"),
        ({"images": np.zeros((2, 10, 12, 14), np.complex64)}, re.escape("(3, 10, 12, 14) expected")),
        ({"combine": combine_squares}, "it is not linear"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    transform, weights, sensitivities = scan(3)
    arguments = {
        "weights": weights,
        "channels": 3,
        "combine": lambda images: combine_roemer(images, sensitivities),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        probe_noise(transform, **arguments)
