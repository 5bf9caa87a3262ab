"""CG-SENSE against the closed-form solution, the true object and an uncompressed reconstruction."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.cg_sense import cg_sense, conjugate_gradient
from recon.compression import principal_channels
from recon.density import spoke_weights
from recon.grid import Grid
from recon.nufft import NonUniformTransform


def complex_noise(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def loops(grid, count, size=0.08):
    """Smooth receive fields that differ: a loop on each side of a ring, weaker away from it."""
    angles = 2 * np.pi * np.arange(count) / count
    fields = [
        0.5
        / (1 + (grid.distances((0.16 * np.cos(a), 0.16 * np.sin(a), 0.04 * np.sin(3 * a))) / size) ** 2)
        * np.exp(1j * a + 4j * grid.positions() @ np.array([np.sin(a), np.cos(a), 0.5]))
        for a in angles
    ]
    return np.stack(fields).astype(np.complex64)


def undersampled(seed=1):
    """Fewer random points than voxels, more samples than unknowns with all channels; unequal sizes."""
    grid = Grid((5, 6, 8), (0.2, 0.22, 0.25))
    reach = [0.5 * n / f for n, f in zip(grid.shape[::-1], grid.field_of_view[::-1], strict=True)]
    rng = np.random.default_rng(seed)
    return grid, rng.uniform(-0.98, 0.98, (220, 3)) * reach, rng.uniform(0.5, 2, 220).astype(np.float32)


@pytest.mark.parametrize("toeplitz", [True, False])
@pytest.mark.parametrize("backend", ["finufft", "numba", "ducc0", "direct"])
def test_converges_to_the_weighted_least_squares_image(backend, toeplitz):
    """The encoding matrix written out and solved by LAPACK, with noise that no image explains."""
    if backend in ("numba", "ducc0"):
        pytest.importorskip(backend)
    grid, positions, weights = undersampled()
    sensitivities = loops(grid, 6)
    kernel = np.exp(-2j * np.pi * positions @ grid.positions().reshape(-1, 3).T) * grid.voxel_volume
    encoding = np.concatenate([kernel * s.ravel() for s in sensitivities])
    image = complex_noise(grid.shape, 2)
    samples = (encoding @ image.ravel()).reshape(6, -1)
    samples = (samples + 0.05 * np.abs(samples).mean() * complex_noise(samples.shape, 3)).astype(np.complex64)
    root = np.sqrt(np.tile(weights, 6))
    exact = np.linalg.lstsq(encoding * root[:, None], samples.ravel() * root, rcond=None)[0]
    transform = NonUniformTransform(grid, positions, backend=backend, tolerance=1e-5, threads=1)
    found = cg_sense(
        samples, transform, weights, sensitivities, iterations=200, residual=1e-6, toeplitz=toeplitz
    )
    error = np.linalg.norm(found.image.ravel() - exact) / np.linalg.norm(exact)
    assert error < 5e-3
    assert found.iterations < 200


def radial_scan(channels, matrix=24, spokes=900, size=0.08):
    grid = Grid.cube(matrix, 0.24)
    radii = np.linspace(0, matrix / 0.48, 48)
    m = np.arange(spokes)
    z, angle = 2 * ((m * 0.4655712318767680) % 1) - 1, 2 * np.pi * ((m * 0.6823278038280193) % 1)
    rho = np.sqrt(1 - z**2)
    positions = np.stack([rho * np.cos(angle), rho * np.sin(angle), z], axis=-1)[:, None] * radii[:, None]
    weights = np.broadcast_to(spoke_weights(radii) / spokes, positions.shape[:2]).astype(np.float32)
    blob = np.exp(-((grid.distances((0.01, -0.02, 0.015)) / 0.045) ** 4)).astype(np.complex64)
    sensitivities = loops(grid, channels, size)
    transform = NonUniformTransform(grid, positions, threads=1)
    samples = transform.forward(sensitivities * blob)
    return transform, weights, sensitivities, samples, blob


def test_intensity_scaling_needs_a_few_iterations_where_none_needs_many():
    """Against the object: 2 % after 5 iterations with it, and several times worse without."""
    transform, weights, sensitivities, samples, blob = radial_scan(5, size=0.03)
    found = cg_sense(samples.reshape(5, 900, 48), transform, weights, sensitivities, iterations=5)
    error = np.linalg.norm(found.image - blob) / np.linalg.norm(blob)
    images = transform.adjoint(samples, weights.ravel())
    right = np.sum(sensitivities.conj() * images, axis=0)

    def normal(image):
        return np.sum(sensitivities.conj() * transform.normal(sensitivities * image, weights), axis=0)

    plain = conjugate_gradient(normal, right, iterations=5)
    assert error < 0.02
    assert np.linalg.norm(plain.image - blob) / np.linalg.norm(blob) > 3 * error
    assert found.residuals[0] == 1
    assert found.residuals[-1] < 0.05
    assert found.iterations == 5


def test_stops_at_the_residual_and_leaves_unseen_voxels_zero():
    transform, weights, sensitivities, samples, _ = radial_scan(3)
    sensitivities[:, :, :, :4] = 0
    found = cg_sense(samples, transform, weights, sensitivities, iterations=30, residual=0.1)
    assert found.residuals[-1] <= 0.1 < found.residuals[-2]
    assert not found.image[:, :, :4].any()


def test_impossible_input_is_refused():
    transform, weights, sensitivities, samples, _ = radial_scan(3, matrix=12, spokes=50)
    with pytest.raises(MeasurementError, match="no channel can see"):
        cg_sense(samples, transform, weights, 0 * sensitivities)
    samples[0, 3] = np.nan
    with pytest.raises(MeasurementError, match="not finite"):
        cg_sense(samples, transform, weights, sensitivities)
    with pytest.raises(ValueError, match="samples of 3 channels expected, got 2"):
        cg_sense(samples[:2], transform, weights, sensitivities)


def test_compression_keeps_noise_white_and_the_image():
    """24 loops to 8: orthonormal rows, the image of all channels within 1 %, and what was kept is stated."""
    transform, weights, sensitivities, samples, _ = radial_scan(24)
    compression = principal_channels(samples, weights, 8)
    np.testing.assert_allclose(compression.matrix @ compression.matrix.conj().T, np.eye(8), atol=1e-5)
    full = cg_sense(samples, transform, weights, sensitivities, iterations=5)
    small = cg_sense(
        compression.apply(samples), transform, weights, compression.apply(sensitivities), iterations=5
    )
    assert np.linalg.norm(small.image - full.image) < 0.01 * np.linalg.norm(full.image)
    rest = principal_channels(samples, weights, 24)
    energy = np.sum(weights.ravel() * np.abs(rest.apply(samples)) ** 2, axis=1)
    assert rest.kept == pytest.approx(1)
    assert np.all(np.diff(energy) <= 1e-3 * energy[0])
    assert compression.kept == pytest.approx(energy[:8].sum() / energy.sum(), abs=1e-3)


def test_compression_of_other_channels_is_refused():
    compression = principal_channels(complex_noise((4, 100)), np.ones(100), 2)
    with pytest.raises(ValueError, match="data of 4 channels expected, got 3"):
        compression.apply(complex_noise((3, 10)))
    with pytest.raises(ValueError, match="1 to 4 virtual channels"):
        principal_channels(complex_noise((4, 100)), np.ones(100), 5)
    with pytest.raises(ValueError, match="100 weights expected"):
        principal_channels(complex_noise((4, 100)), np.ones(9), 2)
