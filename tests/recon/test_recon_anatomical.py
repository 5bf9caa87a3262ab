"""Smoothing within the anatomy: closed forms, linearity, and what a wrong anatomical image does."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

from coilbench.base.errors import MeasurementError
from recon.anatomical import AnatomicalPenalty, anatomical_sense
from recon.cg_sense import cg_sense, conjugate_gradient
from recon.combine import combine_roemer
from recon.density import spoke_weights, window
from recon.grid import Grid
from recon.nufft import NonUniformTransform

GRID = Grid((24, 26, 28), (0.18, 0.195, 0.21))
BALLS = (
    ((0.0, 0.0, 0.0), 0.07, 1.0),
    ((0.03, 0.02, -0.01), 0.018, 1.5),
    ((-0.02, -0.03, 0.02), 0.018, -0.7),
)
LESION = (0.0, -0.03, -0.03)
CHANNELS = (0, 3, 5)


def complex_noise(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def balls_on_grid(balls):
    """Return the shares of the voxels that balls fill, roughly, times their contents."""
    return sum(
        content * np.clip((radius - GRID.distances(centre)) / 0.0075 + 0.5, 0, 1)
        for centre, radius, content in balls
    )


@pytest.fixture(scope="module")
def scan(exact_spectrum, sensitivities_on):
    """Return transform, weights, maps and a function from balls and SNR to samples."""
    limit, count = 66.0, 900
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = np.linspace(0, limit, 40)
    positions = directions[:, None] * radii[None, :, None]
    weights = np.broadcast_to(spoke_weights(radii) * window(radii, limit, "hamming") / count, (count, 40))
    weights = weights.astype(np.float32)
    maps = sensitivities_on(GRID, CHANNELS, 0.085)
    received = np.sqrt(np.sum(np.abs(maps) ** 2, axis=0))[GRID.distances((0, 0, 0)) < 0.06].mean()
    noise_gain = float(np.sqrt(np.sum(weights.astype(float) ** 2)))

    def samples(balls, snr):
        scale = snr * noise_gain / received
        return (exact_spectrum(positions, balls, CHANNELS) * scale).astype(np.complex64), scale

    return NonUniformTransform(GRID, positions), weights, maps, samples


def test_even_anatomy_smooths_like_the_screened_poisson_equation():
    """(1 - l² Laplacian) x = b with mirrored ends: the cosine transform solves it in closed form."""
    grid = Grid((6, 10, 14), (0.012, 0.03, 0.021))
    length = 3e-3
    penalty = AnatomicalPenalty(np.ones(grid.shape), grid, smoothing_length=length)
    right_side = complex_noise(grid.shape, 4)
    ones = np.ones(grid.shape, np.float32)
    found = conjugate_gradient(
        lambda x: x + penalty.gradient(x, ones), right_side, iterations=200, residual=1e-7
    ).image
    eigenvalues = np.ones(grid.shape)
    for axis, (count, step) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        laplacian = (length / step) ** 2 * (2 - 2 * np.cos(np.pi * np.arange(count) / count))
        eigenvalues = eigenvalues + laplacian.reshape([-1 if a == axis else 1 for a in range(3)])
    exact = scipy.fft.idctn(scipy.fft.dctn(right_side.astype(complex)) / eigenvalues)
    assert np.linalg.norm(found - exact) < 1e-5 * np.linalg.norm(exact)


def test_an_edge_that_only_sodium_has_is_blurred_by_the_stated_length():
    """A plane step becomes 1 - exp(-x / l) / 2: within 2 % for a length of three voxels."""
    grid, length = Grid((4, 5, 48), (0.004, 0.005, 0.048)), 3e-3
    penalty = AnatomicalPenalty(np.ones(grid.shape), grid, smoothing_length=length)
    step = np.zeros(grid.shape, np.complex64)
    step[..., 24:] = 1
    ones = np.ones(grid.shape, np.float32)
    profile = (
        conjugate_gradient(lambda x: x + penalty.gradient(x, ones), step, iterations=200, residual=1e-6)
        .image[2, 2]
        .real
    )
    x = (np.arange(48) - 23.5) * 1e-3
    np.testing.assert_allclose(
        profile, np.where(x > 0, 1 - np.exp(-x / length) / 2, np.exp(x / length) / 2), atol=0.02
    )


def test_a_shared_edge_stays():
    """With the step in the anatomy too, what leaks over it is the coupling exp(-1 / (2 contrast²))."""
    grid = Grid((4, 5, 24), (0.004, 0.005, 0.024))
    step = np.zeros(grid.shape)
    step[..., 12:] = 1
    penalty = AnatomicalPenalty(0.5 + step, grid, smoothing_length=3e-3, contrast=0.2)
    ones = np.ones(grid.shape, np.float32)
    found = conjugate_gradient(
        lambda x: x + penalty.gradient(x, ones), step.astype(np.complex64), iterations=200, residual=1e-6
    ).image
    np.testing.assert_allclose(found, step, atol=1e-4)


def test_penalty_is_hermitian_not_negative_and_costs_nothing_for_a_constant():
    rng = np.random.default_rng(2)
    penalty = AnatomicalPenalty(rng.uniform(0.5, 1, GRID.shape), GRID, smoothing_length=4e-3)
    intensity = rng.uniform(0.2, 1, GRID.shape).astype(np.float32)
    one, other = complex_noise(GRID.shape, 1), complex_noise(GRID.shape, 2)
    left = np.vdot(penalty.gradient(one, intensity), other)
    assert left == pytest.approx(np.vdot(one, penalty.gradient(other, intensity)), rel=1e-4)
    assert np.vdot(one, penalty.gradient(one, intensity)).real > 0
    constant = np.full(GRID.shape, 3 - 2j, np.complex64)
    np.testing.assert_array_equal(penalty.gradient(constant, intensity), 0)


def test_result_is_linear_in_the_samples(scan):
    """Image of signal plus noise = image of signal + image of noise, to the 1e-4 of the solver."""
    transform, weights, maps, samples = scan
    clean, _ = samples(BALLS, 5.0)
    noise = complex_noise(clean.shape, 3)
    anatomy = balls_on_grid(BALLS) + 0.5

    def image(data):
        return anatomical_sense(data, transform, weights, maps, anatomy, smoothing_length=5e-3).image

    together, apart = image(clean + 2 * noise), image(clean) + 2 * image(noise)
    assert np.linalg.norm(together - apart) < 1e-3 * np.linalg.norm(together)


def test_error_falls_at_low_snr(scan):
    """Bath at an SNR of 4: half the error of gridding, a third of CG-SENSE's, 0.8 of an even anatomy's."""
    transform, weights, maps, samples = scan
    clean, scale = samples(BALLS, 4.0)
    data = clean + complex_noise(clean.shape, 7)
    truth = balls_on_grid(BALLS) * scale
    inside = GRID.distances((0, 0, 0)) < 0.066
    noise = 0.02 * np.random.default_rng(5).standard_normal(GRID.shape)

    def error(image):
        return np.sqrt(np.mean(np.abs(image[inside] - truth[inside]) ** 2))

    def smoothed(anatomy):
        return anatomical_sense(data, transform, weights, maps, anatomy, smoothing_length=8e-3).image

    gridded = combine_roemer(transform.adjoint(data, weights), maps)
    informed = error(smoothed(balls_on_grid(BALLS) / 1.5 + noise))
    assert informed < 0.5 * error(gridded)
    assert informed < 0.34 * error(cg_sense(data, transform, weights, maps, iterations=4).image)
    assert informed < 0.8 * error(smoothed(np.ones(GRID.shape)))


def test_a_lesion_of_the_proton_image_alone_makes_no_edge(scan):
    """Even sodium under a bright ball of 1H: the ball's mean differs from an even anatomy's by under 1 %."""
    transform, weights, maps, samples = scan
    clean, scale = samples(BALLS[:1], 20.0)
    body = balls_on_grid(BALLS[:1])
    lesion = GRID.distances(LESION) < 0.013
    rim = (GRID.distances(LESION) > 0.019) & (GRID.distances(LESION) < 0.026)
    images = [
        anatomical_sense(clean, transform, weights, maps, anatomy, smoothing_length=8e-3).image / scale
        for anatomy in (body, body + 0.8 * (GRID.distances(LESION) < 0.016))
    ]
    steps = [float((image[lesion].mean() - image[rim].mean()).real) for image in images]
    assert abs(steps[1] - steps[0]) < 0.01
    assert abs(steps[1]) < 0.02


def test_contrast_is_found_from_the_noise_of_the_anatomy():
    """Three standard deviations of differences, root two of a voxel's noise; 2 % of the maximum at least."""
    noise = 0.05 * np.random.default_rng(1).standard_normal(GRID.shape)
    penalty = AnatomicalPenalty(1 + noise, GRID, smoothing_length=4e-3)
    assert penalty.contrast == pytest.approx(3 * 0.05 * np.sqrt(2), rel=0.03)
    assert AnatomicalPenalty(np.ones(GRID.shape), GRID, smoothing_length=4e-3).contrast == 0.02


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="anatomical image of shape"):
        AnatomicalPenalty(np.ones((2, 3, 4)), GRID, smoothing_length=4e-3)
    with pytest.raises(ValueError, match="positive"):
        AnatomicalPenalty(np.ones(GRID.shape), GRID, smoothing_length=0.0)
    with pytest.raises(MeasurementError, match="empty"):
        AnatomicalPenalty(np.zeros(GRID.shape), GRID, smoothing_length=4e-3)
