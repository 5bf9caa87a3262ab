"""TV and wavelet reconstruction against closed forms of denoising, and on a noisy phantom."""

from __future__ import annotations

import numpy as np
import pytest
import pywt

from coilbench.base.errors import MeasurementError
from recon.cg_sense import cg_sense
from recon.combine import combine_roemer
from recon.density import spoke_weights, window
from recon.grid import Grid
from recon.nufft import NonUniformTransform
from recon.sparse import Variation, Wavelets, minimise, sparse_sense


def complex_noise(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_total_variation_moves_a_step_by_limit_over_length(axis):
    """Denoising a step with TV: each side moves towards the other by limit / its length, exactly.

    With a voxel spacing along the axis of twice the least, by half of that. The last 3 % come slowly.
    """
    shape, limit = (6, 10, 14), 0.3
    left = 4
    step = np.zeros(shape, np.complex64)
    np.moveaxis(step, axis, 0)[left:] = 2j
    spacing = [1e-3, 1e-3, 1e-3]
    spacing[axis] = 2e-3
    image, _, residual = minimise(
        lambda x: x, step, Variation(tuple(spacing)), limit, iterations=3000, change=1e-9
    )
    right = shape[axis] - left
    values = np.moveaxis(image, axis, 0)
    np.testing.assert_allclose(values[:left], 0.5j * limit / left, atol=0.03 * 0.5 * limit / right)
    np.testing.assert_allclose(values[left:], 2j - 0.5j * limit / right, atol=0.03 * 0.5 * limit / right)
    assert residual < 1e-4


def test_wavelet_denoising_is_soft_thresholding():
    """Of all coefficients but the approximation, for sizes that are whole blocks: the closed form."""
    noisy, limit = complex_noise((16, 24, 32), 2), 0.8
    parts = pywt.wavedecn(noisy, "db2", mode="periodization", level=2)
    for level in parts[1:]:
        for key, values in level.items():
            level[key] = values * np.maximum(1 - limit / np.abs(values), 0)
    truth = pywt.waverecn(parts, "db2", mode="periodization")
    image, _, _ = minimise(lambda x: x, noisy, Wavelets((16, 24, 32)), limit, iterations=500, change=1e-8)
    assert np.linalg.norm(image - truth) < 1e-4 * np.linalg.norm(truth)


@pytest.mark.parametrize(
    "analysis",
    [Variation((1e-3, 2e-3, 1.5e-3)), Wavelets((12, 18, 23)), Wavelets((1, 18, 23))],
    ids=["variation", "wavelets", "wavelets in a plane"],
)
def test_adjoint_is_the_adjoint_and_wavelets_keep_the_norm(analysis):
    """<K x, u> = <x, K* u>; K* K = 1 for the orthonormal wavelets, padding included."""
    shape = (1, 18, 23) if isinstance(analysis, Wavelets) and len(analysis._axes) == 2 else (12, 18, 23)
    image = complex_noise(shape, 1)
    values = complex_noise(analysis.apply(image).shape, 2)
    left, right = np.vdot(analysis.apply(image), values), np.vdot(image, analysis.adjoint(values))
    assert left == pytest.approx(right, rel=1e-4)
    if isinstance(analysis, Wavelets):
        np.testing.assert_allclose(analysis.adjoint(analysis.apply(image)), image, atol=1e-5)


def test_minimum_beats_every_neighbour():
    """The objective rises along random directions, for an ill-conditioned operator."""
    rng = np.random.default_rng(5)
    gains = rng.uniform(0.05, 1.0, (8, 9, 10)).astype(np.float32)
    data = complex_noise(gains.shape, 3) + 1
    analysis, limit = Variation((1e-3, 1e-3, 1e-3)), 0.4

    def objective(x):
        value = 0.5 * np.sum(gains * np.abs(x) ** 2) - np.vdot(gains * data, x).real
        return value + limit * np.sum(np.sqrt(np.sum(np.abs(analysis.apply(x)) ** 2, axis=0)))

    image, _, _ = minimise(lambda x: gains * x, gains * data, analysis, limit, iterations=2000, change=1e-8)
    least = objective(image)
    for seed in range(10):
        change = complex_noise(image.shape, seed) * np.float32(0.01)
        assert objective(image + change) > least


GRID = Grid((24, 26, 28), (0.18, 0.195, 0.21))
BALLS = (
    ((0.0, 0.0, 0.0), 0.07, 1.0),
    ((0.03, 0.02, -0.01), 0.018, 1.5),
    ((-0.02, -0.03, 0.02), 0.018, -0.7),
)
CHANNELS = (0, 3, 5)


@pytest.fixture(scope="module")
def scan(exact_spectrum):
    """Return transform, weights, clean k-space of unit bath, and the middles of bath and vials."""
    limit, count = 66.0, 900
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = np.linspace(0, limit, 40)
    positions = directions[:, None] * radii[None, :, None]
    weights = np.broadcast_to(spoke_weights(radii) * window(radii, limit, "hamming") / count, (count, 40))
    clean = exact_spectrum(positions, BALLS, CHANNELS)
    truth = sum(
        content * np.clip((radius - GRID.distances(centre)) / 0.0075 + 0.5, 0, 1)
        for centre, radius, content in BALLS
    )
    return NonUniformTransform(GRID, positions), weights.astype(np.float32), clean, truth


@pytest.fixture(scope="module")
def maps(sensitivities_on):
    return sensitivities_on(GRID, CHANNELS, 0.085)


def noisy_scan(scan, maps, snr):
    """Return samples with unit noise; the gridded bath has about that SNR."""
    _, weights, clean, truth = scan
    noise_gain = np.sqrt(np.sum(weights.astype(float) ** 2))
    received = np.sqrt(np.sum(np.abs(maps) ** 2, axis=0))[GRID.distances((0, 0, 0)) < 0.06].mean()
    scale = snr * noise_gain / received
    return (clean * scale + complex_noise(clean.shape, 7)).astype(np.complex64), truth * scale, scale


@pytest.mark.parametrize(("penalty", "gain"), [("tv", 1.8), ("wavelet", 1.3)])
def test_error_falls_at_low_snr(scan, maps, penalty, gain):
    """Bath at an SNR of 4: closer to the truth than gridding by these factors, and than CG-SENSE."""
    transform, weights, *_ = scan
    samples, truth, _ = noisy_scan(scan, maps, 4.0)
    inside = GRID.distances((0, 0, 0)) < 0.066

    def error(image):
        return np.sqrt(np.mean(np.abs(image[inside] - truth[inside]) ** 2))

    gridded = combine_roemer(transform.adjoint(samples, weights), maps)
    solved = cg_sense(samples, transform, weights, maps, iterations=4).image
    sparse = sparse_sense(samples, transform, weights, maps, penalty=penalty)
    assert error(sparse.image) < error(gridded) / gain
    assert error(sparse.image) < error(solved) / gain
    assert not sparse.is_linear


def test_sparse_images_are_not_linear_and_shrink_small_contrasts(scan, maps):
    """Why they carry no SNR: twice the data are not twice the image; vials come nearer to their bath."""
    transform, weights, *_ = scan
    samples, _, scale = noisy_scan(scan, maps, 4.0)
    once = sparse_sense(samples, transform, weights, maps, iterations=60)
    twice = sparse_sense(2 * samples, transform, weights, maps, iterations=60)
    assert np.linalg.norm(twice.image - 2 * once.image) > 0.02 * np.linalg.norm(twice.image)
    strong = sparse_sense(samples, transform, weights, maps, strength=4.0, iterations=60)
    vial = GRID.distances(BALLS[1][0]) < 0.01
    bath = (GRID.distances((0, 0, 0)) < 0.06) & ~np.any(
        [GRID.distances(centre) < 0.03 for centre, *_ in BALLS[1:]], axis=0
    )
    contrasts = [
        (result.image[vial].real.mean() - result.image[bath].real.mean()) / scale for result in (once, strong)
    ]
    assert contrasts[1] < contrasts[0] - 0.1


def test_without_penalty_it_is_cg_sense(scan, maps):
    """Strength 0, many iterations, against conjugate gradients on noise-free data."""
    transform, weights, clean, _ = scan
    samples = clean.astype(np.complex64)
    free = sparse_sense(samples, transform, weights, maps, strength=0.0, iterations=60)
    solved = cg_sense(samples, transform, weights, maps, iterations=10).image
    inside = GRID.distances((0, 0, 0)) < 0.05
    assert np.linalg.norm((free.image - solved)[inside]) < 0.02 * np.linalg.norm(solved[inside])


def test_nonsense_is_refused(scan, maps):
    transform, weights, clean, _ = scan
    samples = clean.astype(np.complex64)
    with pytest.raises(ValueError, match="negative"):
        sparse_sense(samples, transform, weights, maps, strength=-1.0)
    with pytest.raises(MeasurementError, match="no channel can see"):
        sparse_sense(samples, transform, weights, np.zeros_like(maps))
    with pytest.raises(MeasurementError, match="not finite"):
        sparse_sense(samples * np.nan, transform, weights, maps)
    with pytest.raises(ValueError, match="six voxels"):
        Wavelets((3, 4, 5))
