"""g-factors: solved by hand, against brute-force noise, and any operator against the exact Cartesian one."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.cg_sense import cg_sense
from recon.encoding import SenseEncoding
from recon.g_factor import GFactorMap, cartesian_g_factor, g_factor_of_noise, measured_g_factor
from recon.grid import Grid
from recon.nufft import NonUniformTransform
from recon.snr import SnrMap

SHAPE = (3, 12, 10)


def smooth_maps(channels, shape=SHAPE, seed=0):
    """Return random sensitivities that vary over the whole image, none alike."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, count) for count in shape), indexing="ij")
    maps = np.empty((channels, *shape), complex)
    for channel in range(channels):
        slopes, phases = generator.uniform(-1.5, 1.5, 3), generator.uniform(-1, 1, 4)
        size = sum(s * a for s, a in zip(slopes, axes, strict=True))
        turn = phases[3] + sum(p * a for p, a in zip(phases, axes, strict=False))
        maps[channel] = np.exp(size + 1j * turn)
    return maps


def fold_matrix(maps, lines):
    """Return E of one column along y, shape (channel x line, y): unitary transform, some lines kept."""
    count = maps.shape[1]
    fourier = np.fft.fft(np.eye(count), norm="ortho")[lines]
    return np.concatenate([fourier * one for one in maps])


@pytest.mark.parametrize(
    ("a", "b"), [((1.0, 0.0), (0.0, 1.0)), ((1.0, 0.6), (0.6, 1.0)), ((2.0, 1.0j), (0.5, 1.0))]
)
def test_two_coils_and_two_voxels_are_solved_by_hand(a, b):
    """R = 2: g = 1 / sqrt(1 - |c|²), c the normalised product of the two voxels' sensitivities.

    The inverse of ((1, c), (c*, 1)) has 1 / (1 - |c|²) on its diagonal. Coils that see one voxel each: g = 1.
    """
    maps = np.array([[a[0], b[0]], [a[1], b[1]]], complex).reshape(2, 1, 2, 1)
    c = np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
    g = cartesian_g_factor(maps, (1, 2, 1))
    np.testing.assert_allclose(g.values.ravel(), 1 / np.sqrt(1 - abs(c) ** 2), rtol=1e-12)
    assert (g.acceleration, g.relative_uncertainty, g.convention) == (2.0, 0.0, "real-sd")


def test_without_acceleration_there_is_no_loss():
    np.testing.assert_allclose(cartesian_g_factor(smooth_maps(3), (1, 1, 1)).values, 1, rtol=1e-12)


@pytest.mark.parametrize("acceleration", [2, 3, 4])
def test_it_is_the_noise_of_the_pseudo_inverse(acceleration):
    """Dense algebra of one column, correlated channels: exact standard deviations, full and accelerated."""
    maps = smooth_maps(5, seed=1)
    generator = np.random.default_rng(2)
    root = np.eye(5) + 0.3 * (generator.standard_normal((5, 5)) + 1j * generator.standard_normal((5, 5)))
    psi = root @ root.conj().T
    g = cartesian_g_factor(maps, (1, acceleration, 1), covariance=psi)

    def deviations(lines):
        encoding = fold_matrix(maps[:, 1, :, 4], lines)
        inverse = np.linalg.inv(np.kron(psi, np.eye(len(lines))))
        return np.sqrt(np.diag(np.linalg.inv(encoding.conj().T @ inverse @ encoding)).real)

    full, part = deviations(np.arange(12)), deviations(np.arange(0, 12, acceleration))
    np.testing.assert_allclose(g.values[1, :, 4], part / full / np.sqrt(acceleration), rtol=1e-9)
    assert g.values.min() >= 1 - 1e-12


def test_two_axes_at_once_fold_six_voxels():
    """Every second plane and third column of (4, 3, 6) voxels, 8 channels: dense algebra of all voxels."""
    shape, acceleration = (4, 3, 6), (2, 1, 3)
    maps = smooth_maps(8, shape, seed=3)
    g = cartesian_g_factor(maps, acceleration)

    def deviations(kept):
        parts = [np.fft.fft(np.eye(n), norm="ortho")[::r] for n, r in zip(shape, kept, strict=True)]
        fourier = np.kron(np.kron(parts[0], parts[1]), parts[2])
        encoding = np.concatenate([fourier * one.ravel() for one in maps])
        return np.sqrt(np.diag(np.linalg.inv(encoding.conj().T @ encoding)).real).reshape(shape)

    expected = deviations(acceleration) / deviations((1, 1, 1)) / np.sqrt(6)
    np.testing.assert_allclose(g.values, expected, rtol=1e-8)
    assert g.values.max() > 2


def test_voxels_without_signal_fold_onto_nothing():
    """Half of the field of view is empty: R = 2 costs nothing where the other half is air."""
    maps = smooth_maps(2, seed=4)
    maps[:, :, 6:] = 0
    g = cartesian_g_factor(maps, (1, 2, 1))
    np.testing.assert_allclose(g.values[:, :6], 1, rtol=1e-12)
    np.testing.assert_array_equal(g.values[:, 6:], 0)


def test_more_folded_voxels_than_channels_are_refused():
    with pytest.raises(MeasurementError, match="3 voxels fold onto each other and 2 channels"):
        cartesian_g_factor(smooth_maps(2), (1, 3, 1))


@pytest.mark.parametrize("acceleration", [(1, 5, 1), (0, 1, 1)])
def test_an_axis_must_be_divisible(acceleration):
    with pytest.raises(ValueError, match="divides expected"):
        cartesian_g_factor(smooth_maps(4), acceleration)


def unfolding(maps, acceleration):
    """Return SENSE unfolding of every R-th line, (channel, z, line, x) to (z, y, x) + input shape."""
    channels, nz, ny, nx = maps.shape
    lines = ny // acceleration

    def reconstruct(samples):
        folded = np.fft.ifft(samples, axis=2, norm="ortho") * np.sqrt(acceleration)
        image = np.empty((nz, ny, nx), complex)
        for row in range(lines):
            local = maps[:, :, row::lines]  # (channel, z, fold, x)
            inverse = np.linalg.pinv(local.transpose(1, 3, 0, 2))
            image[:, row::lines] = np.einsum("zxfc,czx->zfx", inverse, folded[:, :, row])
        return image

    return reconstruct, (channels, nz, lines, nx)


@pytest.mark.parametrize("acceleration", [2, 3])
def test_the_route_for_any_operator_gives_the_exact_cartesian_one(acceleration):
    """400 replicas: 3.5 % a voxel. All 360 voxels: chi-square within 5 of its deviations, mean within 4."""
    maps = smooth_maps(6, seed=5)
    exact = cartesian_g_factor(maps, (1, acceleration, 1))
    part, part_shape = unfolding(maps, acceleration)
    full, full_shape = unfolding(maps, 1)
    found = measured_g_factor(part, part_shape, full, full_shape, replicas=400, seed=6)
    assert found.acceleration == acceleration
    assert found.relative_uncertainty == pytest.approx(1 / np.sqrt(800))
    pulls = (found.values / exact.values - 1) / found.relative_uncertainty
    # Folded voxels share their noise: count a group as one.
    independent = pulls.size / acceleration
    assert abs(pulls.mean()) < 4 / np.sqrt(independent)
    assert abs(np.mean(pulls**2) - 1) < 5 * np.sqrt(2 / independent)
    assert exact.values.max() > 1.15, "a case without noise amplification proves nothing"


def test_a_radial_g_factor_is_that_of_dense_algebra():
    """Weighted least squares of 300 and of 150 random points, 3 channels, (4, 6, 5) voxels: exact covariance.

    The conjugate gradients run until they have converged; 60 replicas: 9 % a voxel.
    """
    grid = Grid((4, 6, 5), (0.08, 0.10, 0.09))
    maps = smooth_maps(3, grid.shape, seed=7).astype(np.complex64)
    generator = np.random.default_rng(8)
    nyquist = np.array([0.5 * n / f for n, f in zip(grid.shape[::-1], grid.field_of_view[::-1], strict=True)])
    points = (generator.uniform(-1, 1, (300, 3)) * nyquist).astype(np.float32)
    weights = np.ones(300, np.float32)

    def case(count):
        transform = NonUniformTransform(grid, points[:count])
        encoding = SenseEncoding(transform, weights[:count], maps)
        columns = np.eye(120, dtype=np.complex64).reshape(120, *grid.shape)
        dense = np.stack([encoding.forward(one).ravel() for one in columns], axis=1).astype(np.complex128)
        exact = np.sqrt(np.diag(np.linalg.inv(dense.conj().T @ dense)).real).reshape(grid.shape)

        def solve(samples):
            return cg_sense(samples, transform, weights[:count], maps, iterations=80, residual=1e-5).image

        return solve, exact

    (full, full_noise), (part, part_noise) = case(300), case(150)
    expected = g_factor_of_noise(part_noise, full_noise, 2.0, degrees_of_freedom=np.inf)
    found = measured_g_factor(part, (3, 150), full, (3, 300), replicas=60, seed=9)
    pulls = (found.values / expected.values - 1) / found.relative_uncertainty
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size / 4)
    assert abs(np.mean(pulls**2) - 1) < 5 * np.sqrt(2 / (pulls.size / 4))
    assert expected.values.max() > 1.2, "a case without noise amplification proves nothing"


def test_snr_falls_by_g_and_the_root_of_the_acceleration():
    full = SnrMap(np.full((1, 2, 1), 30.0, np.float32), 0.03, 555.0, "SNR units", is_shared=True)
    g = GFactorMap(np.array([[[1.5], [0.0]]]), 4.0, 0.04, 312.0, "noise")
    snr = g.snr(full)
    np.testing.assert_allclose(snr.values.ravel(), [10.0, 0.0])
    assert snr.relative_uncertainty == pytest.approx(0.05)
    assert snr.degrees_of_freedom == pytest.approx(200)
    assert not snr.is_shared
    with pytest.raises(ValueError, match="does not fit"):
        g.snr(SnrMap(np.ones((2, 2), np.float32), 0.0, np.inf, "", is_shared=True))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="no part of a full one"):
        measured_g_factor(np.abs, (2, 9), np.abs, (2, 8))
    with pytest.raises(ValueError, match="at least 2 replicas"):
        measured_g_factor(np.abs, (2, 4), np.abs, (2, 8), replicas=1)
    with pytest.raises(ValueError, match="cannot be compared"):
        g_factor_of_noise(np.ones((2, 3)), np.ones((3, 2)), 2.0, degrees_of_freedom=9)
    with pytest.raises(ValueError, match="do not fit"):
        cartesian_g_factor(smooth_maps(3), (1, 2, 1), covariance=np.eye(4, dtype=complex))
