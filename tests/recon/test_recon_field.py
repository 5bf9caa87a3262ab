"""The field map from two echoes, and transforms in a field, against spins in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.cg_sense import cg_sense
from recon.density import spoke_weights, window
from recon.field import estimate_field, smooth_field
from recon.grid import Grid
from recon.nufft import NonUniformTransform
from recon.off_resonance import OffResonanceNormal, OffResonanceTransform, segment_readout

GRID = Grid((12, 14, 18), (0.12, 0.14, 0.18))
SPACING = 2e-3


def channel_images(frequency, amplitude=200.0, channels=3, seed=1):
    """Return two noisy echoes, unit noise of the real part, unequal channel phases and gains."""
    rng = np.random.default_rng(seed)
    gains = np.exp(2j * np.pi * rng.random(channels)) * rng.uniform(0.4, 1.0, channels)
    echoes = []
    for time, decay in ((1e-3, 1.0), (1e-3 + SPACING, 0.7)):
        clean = gains[:, None, None, None] * amplitude * decay * np.exp(2j * np.pi * frequency * time)
        noise = rng.standard_normal((2, *clean.shape))
        echoes.append((clean + noise[0] + 1j * noise[1]).astype(np.complex64))
    return echoes


def shims(scale):
    """Return linear and second-order terms, |f| up to about ``scale`` Hz."""
    x, y, z = np.moveaxis(GRID.positions(), -1, 0) / 0.09
    return scale * (0.5 * x - 0.3 * y + 0.4 * (z**2 - (x**2 + y**2) / 2))


def test_spins_that_run_ahead_have_positive_frequencies_and_known_noise():
    """Frequency within the stated uncertainty: 3024 squared pulls average to 1 within 4 sigma, 0.1."""
    truth = shims(120.0)
    first, second = channel_images(truth)
    field = estimate_field(first, second, SPACING, noise_gain=1.0)
    assert field.known.all()
    assert field.period == pytest.approx(500.0)
    pulls = (field.frequency - truth) / field.uncertainty
    assert np.mean(pulls**2) == pytest.approx(1, abs=0.1)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(truth.size)
    assert (field.unwrapped, field.broken) == (0, 0)


def test_wraps_are_undone_and_counted():
    """A smooth field of +-600 Hz with a period of 500 Hz; the whole region lies around 0."""
    truth = shims(600.0)
    first, second = channel_images(truth)
    field = estimate_field(first, second, SPACING, noise_gain=1.0)
    assert field.broken == 0
    # Voxels within the noise of half a period may fall on either side.
    assert field.unwrapped == pytest.approx(np.count_nonzero(np.abs(truth) > 250.0), abs=10)
    np.testing.assert_allclose(field.frequency, truth, atol=6 * field.uncertainty.max())


def test_a_field_too_steep_for_its_voxels_is_reported_as_broken():
    """A vortex of phase cannot be unwrapped: some neighbours stay half a period apart."""
    x, y, _ = np.moveaxis(GRID.positions() + 0.004, -1, 0)
    first, second = channel_images(np.arctan2(y, x) / (2 * np.pi * SPACING))
    field = estimate_field(first, second, SPACING, noise_gain=1.0)
    # One cut from the axis to the rim in each of 12 slices.
    assert field.broken >= 12 * 5


def test_each_region_is_unwrapped_on_its_own():
    """Two objects apart, each with its own offset: neither is shifted by a period."""
    truth = np.zeros(GRID.shape)
    truth[:, :, :7], truth[:, :, 11:] = 180.0, -180.0
    amplitude = np.where(truth == 0, 0.0, 200.0)
    first, second = channel_images(truth, amplitude)
    field = estimate_field(first, second, SPACING, noise_gain=1.0)
    np.testing.assert_array_equal(field.known, truth != 0)
    np.testing.assert_allclose(field.frequency[field.known], truth[field.known], atol=6 * 0.8)
    assert np.isinf(field.uncertainty[~field.known]).all()
    filled = field.filled()
    np.testing.assert_array_equal(filled[field.known], field.frequency[field.known])
    assert set(np.rint(np.unique(np.sign(filled[:, :, 8])))) == {1.0}


def test_smoothed_map_keeps_the_field_and_loses_the_noise():
    """25 terms of 3024 voxels: uncertainty a tenth, pulls still 1; a field with sources is told."""
    truth = shims(120.0)
    field = estimate_field(*channel_images(truth, 30.0), SPACING, noise_gain=1.0)
    smooth, chi_squared = smooth_field(field, GRID)
    assert chi_squared == pytest.approx(1, abs=0.1)
    assert np.mean(smooth.uncertainty**2) == pytest.approx(
        np.mean(field.uncertainty**2) * 25 / 3024, rel=0.05
    )
    # 25 independent numbers: chi-squared of 25 has a standard deviation of 7.
    projected = np.sum(((smooth.frequency - truth) / field.uncertainty) ** 2)
    assert projected == pytest.approx(25, abs=4 * 7.1)
    inside = np.linalg.norm(GRID.positions(), axis=-1) < 0.03
    bump = estimate_field(*channel_images(truth + 60.0 * inside, 30.0), SPACING, noise_gain=1.0)
    assert smooth_field(bump, GRID)[1] > 5


def test_another_nucleus_turns_by_the_ratio_and_nonsense_is_refused():
    first, second = channel_images(shims(120.0))
    field = estimate_field(first, second, SPACING, noise_gain=1.0)
    sodium = field.for_nucleus(0.26452)
    np.testing.assert_allclose(sodium.frequency, 0.26452 * field.frequency)
    assert sodium.period == pytest.approx(0.26452 * 500)
    with pytest.raises(ValueError, match="positive"):
        field.for_nucleus(-1.0)
    with pytest.raises(ValueError, match="positive spacing"):
        estimate_field(first, second, 0.0, noise_gain=1.0)
    with pytest.raises(MeasurementError, match="average more"):
        estimate_field(first / 1e4, second / 1e4, SPACING, noise_gain=1.0)
    dim = estimate_field(*channel_images(shims(10.0), 200.0), SPACING, noise_gain=1.0)
    sparse = dim.known.copy()
    sparse[1:] = False
    with pytest.raises(MeasurementError, match="lower degree"):
        smooth_field(type(dim)(dim.frequency, dim.uncertainty, sparse, 500.0, 0, 0), GRID, degree=9)


@pytest.mark.parametrize("span", [0.0, 20.0, 200.0, 2000.0])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_segments_keep_their_bound_for_every_frequency(span, tolerance):
    """At random frequencies too, 2 % allowed; weights stay below 2, or the transforms' errors would grow."""
    times = 0.3e-3 + np.arange(160) * 60e-6
    segments = segment_readout(times, 30.0 - span / 2, 30.0 + span / 2, tolerance=tolerance)
    frequencies = np.random.default_rng(1).uniform(-span / 2, span / 2, 400)
    exact = np.exp(2j * np.pi * np.outer(frequencies, times))
    approximate = np.exp(2j * np.pi * np.outer(frequencies, segments.times)) @ segments.weights
    assert segments.error <= tolerance
    assert np.abs(approximate - exact).max() <= 1.02 * segments.error + 1e-12
    assert np.abs(segments.weights).max() < 2
    assert segments.centre == 30.0
    if segments.times.size > 1:
        # One fewer does not do: the number is the least for these nodes.
        fewer = segment_readout(times, 30.0 - span / 2, 30.0 + span / 2, tolerance=10 * tolerance)
        assert fewer.times.size <= segments.times.size


def test_segments_grow_with_the_turns_of_the_phase():
    """About one per turn of the range, plus a few: 2, 4, 8 turns."""
    times = np.arange(200) * 50e-6
    counts = [segment_readout(times, -f, f).times.size for f in (100.0, 200.0, 400.0)]
    assert counts == sorted(counts)
    assert counts[-1] <= 8 + 8
    with pytest.raises(ValueError, match="Shim, or shorten"):
        segment_readout(times, -15e3, 15e3)
    with pytest.raises(ValueError, match="no range"):
        segment_readout(times, 1.0, -1.0)


def spokes(count, samples=40):
    rng = np.random.default_rng(5)
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions[:, None] * (49.0 * np.linspace(0, 1, samples))[None, :, None]


@pytest.fixture(scope="module")
def setting():
    """Return positions, times, field and the transform in it; the sums below are written out."""
    positions = spokes(20)
    times = 0.4e-3 + np.arange(40) * 0.25e-3
    field = 40.0 + shims(150.0)
    transform = OffResonanceTransform(
        NonUniformTransform(GRID, positions, backend="direct"), field, times, tolerance=1e-4
    )
    return positions, times, field, transform


def kernel(positions, times, field):
    """Return exp(-2 pi i k.r + 2 pi i f t) for every point and voxel."""
    turn = -(positions.reshape(-1, 3) @ GRID.positions().reshape(-1, 3).T)
    turn += np.tile(times, positions.shape[0])[:, None] * field.ravel()
    return np.exp(2j * np.pi * turn)


def test_forward_and_adjoint_are_the_sums_written_out(setting):
    """Within the tolerance of the exponential times the integral of |image|, for random images."""
    positions, times, field, transform = setting
    rng = np.random.default_rng(7)
    image = (rng.standard_normal((2, *GRID.shape)) + 1j * rng.standard_normal((2, *GRID.shape))).astype("c8")
    exact = image.reshape(2, -1) @ kernel(positions, times, field).T * GRID.voxel_volume
    bound = 1.2e-4 * np.abs(image).sum(axis=(1, 2, 3), keepdims=True)[..., 0, 0] * GRID.voxel_volume
    assert np.all(np.abs(transform.forward(image) - exact) < bound)
    samples = (rng.standard_normal((2, 800)) + 1j * rng.standard_normal((2, 800))).astype("c8")
    exact = (samples @ kernel(positions, times, field).conj()).reshape(2, *GRID.shape)
    assert np.all(np.abs(transform.adjoint(samples) - exact) < 1.2e-4 * np.abs(samples).sum(axis=1).max())


def test_adjoint_is_the_adjoint(setting):
    transform = setting[-1]
    rng = np.random.default_rng(8)
    image = (rng.standard_normal((1, *GRID.shape)) + 1j * rng.standard_normal((1, *GRID.shape))).astype("c8")
    samples = (rng.standard_normal((1, 800)) + 1j * rng.standard_normal((1, 800))).astype("c8")
    left = np.vdot(transform.forward(image), samples)
    right = np.vdot(image, transform.adjoint(samples)) * GRID.voxel_volume
    assert left == pytest.approx(right, rel=1e-5)


def test_error_falls_with_the_segments(setting):
    """Tighter tolerances cost a few segments and keep what they say."""
    positions, times, field, _ = setting
    exact = np.ones((1, field.size)) @ kernel(positions, times, field).T * GRID.voxel_volume
    errors, counts = [], []
    for tolerance in (3e-1, 3e-2, 3e-3, 3e-4):
        transform = OffResonanceTransform(
            NonUniformTransform(GRID, positions, backend="direct"), field, times, tolerance=tolerance
        )
        samples = transform.forward(np.ones((1, *GRID.shape), np.complex64))
        errors.append(np.abs(samples - exact).max() / (field.size * GRID.voxel_volume))
        counts.append(transform.segments.times.size)
        assert errors[-1] < tolerance
    assert counts == sorted(set(counts))
    assert errors[-1] < 1e-2 * errors[0]


@pytest.fixture(scope="module")
def swaying(exact_spectrum):
    """Return a ball in a linear field f = f0 + g.r: its signal at (k, t) is its spectrum at k - g t."""
    grid = Grid((20, 22, 24), (0.2, 0.22, 0.24))
    count, samples, limit = 1800, 60, 49.9
    rng = np.random.default_rng(11)
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = np.linspace(0, limit, samples)
    positions = directions[:, None] * radii[None, :, None]
    times = 0.3e-3 + np.arange(samples) * 0.2e-3
    gradient, offset = np.array([280.0, -200.0, 360.0]), 25.0
    ball = (((0.02, -0.01, 0.015), 0.06, 1.0),)
    still = exact_spectrum(positions, ball, (None,)).astype(np.complex64)
    signal = exact_spectrum(positions - gradient * times[None, :, None], ball, (None,))
    signal = (signal * np.exp(2j * np.pi * offset * times)).astype(np.complex64)
    weights = (spoke_weights(radii) * window(radii, limit, "hamming") / count).astype(np.float32)
    weights = np.broadcast_to(weights, (count, samples))
    core = grid.distances(ball[0][0]) < 0.035
    return grid, positions, times, offset + grid.positions() @ gradient, signal, still, weights, core


def test_spins_that_precess_are_imaged_where_and_as_strong_as_they_are(swaying):
    """A ball's middle is 1 within 2 %, 1.1 % without any field: by convolutions and by transforms.

    Three iterations; more undo the window and ring. Uncorrected it is off by more than ten times that, with
    the field's sign turned by more yet.
    """
    grid, positions, times, field, signal, still, weights, core = swaying
    plain = NonUniformTransform(grid, positions)
    uniform = np.ones((1, *grid.shape), np.complex64)

    def error(samples, transform, *, toeplitz=True):
        solution = cg_sense(samples, transform, weights, uniform, iterations=3, toeplitz=toeplitz)
        return float(np.sqrt(np.mean(np.abs(solution.image[core] - 1) ** 2)))

    corrected = OffResonanceTransform(plain, field, times)
    reference = error(still, plain)
    assert reference < 0.015
    assert error(signal, corrected) < 0.02
    assert error(signal, corrected, toeplitz=False) < 0.02
    uncorrected = error(signal, plain)
    assert uncorrected > 0.2
    assert error(signal, OffResonanceTransform(plain, -field, times)) > uncorrected


def test_convolutions_are_the_normal_operator(swaying):
    """F* W F with the field, forward and back beside the sum of convolutions: Hermitian and 2e-3 apart.

    Both exponentials are within 1e-3, of signals that are below 1.
    """
    grid, positions, times, field, _, _, weights, _ = swaying
    transform = OffResonanceTransform(NonUniformTransform(grid, positions), field, times)
    rng = np.random.default_rng(3)
    images = rng.standard_normal((2, *grid.shape)) + 1j * rng.standard_normal((2, *grid.shape))
    images = images.astype(np.complex64)
    convolution = OffResonanceNormal(transform, weights)
    one = np.ones((1, *grid.shape), dtype=np.complex64)
    convolved = np.stack([convolution.normal(image, one) for image in images])
    exact = transform.normal(images, weights.ravel())
    assert np.linalg.norm(convolved - exact) < 2e-3 * np.linalg.norm(images)
    left, right = np.vdot(images[0], convolved[1]), np.vdot(convolved[0], images[1])
    assert left == pytest.approx(right, rel=1e-4)


def test_shapes_that_do_not_fit_are_refused():
    transform = NonUniformTransform(GRID, spokes(3))
    with pytest.raises(ValueError, match="field of shape"):
        OffResonanceTransform(transform, np.zeros((2, 3, 4)), np.arange(40) * 1e-4)
    with pytest.raises(ValueError, match="times that divide 120 points"):
        OffResonanceTransform(transform, np.zeros(GRID.shape), np.arange(37) * 1e-4)
