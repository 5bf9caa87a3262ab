"""Sensitivities, combination, point spread, relaxation and regions against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.combine import combine_roemer, combine_squares, snr_units
from recon.grid import Grid
from recon.phantom import Material, Phantom, Tolerance, Vial
from recon.psf import BallImage, RadialReadout, ball_transform, recovery
from recon.regions import background_mask, ball_weights, core_radius, core_weights
from recon.relaxation import Relaxation
from recon.sensitivities import fit_harmonics, low_resolution_sensitivities, solid_harmonics

LONG = Relaxation(1.0, ((1.0, 1e3),))
GRID = Grid((20, 24, 28), (0.20, 0.24, 0.28))


def white(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def readout(window="none", limit=100.0, duration=5e-3, samples=2000):
    """Return a spoke of constant speed."""
    return RadialReadout(
        np.linspace(1e-4, 1e-4 + duration, samples), np.linspace(0, limit, samples), window, limit
    )


# --- sensitivities


def test_solid_harmonics_are_harmonic_and_complete():
    """Their Laplacian (second differences) vanishes and there are (l + 1)² independent ones."""
    step = 1e-3
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (40, 3))
    total = -6 * solid_harmonics(points, 5)
    for axis in np.eye(3):
        total += solid_harmonics(points + step * axis, 5) + solid_harmonics(points - step * axis, 5)
    values = solid_harmonics(points, 5)
    assert values.shape == (40, 36)
    assert np.linalg.matrix_rank(values) == 36
    scale = np.abs(values).max(axis=0)
    assert np.all(np.abs(total / step**2).max(axis=0) < 1e-3 * scale)


def test_solid_harmonics_scale_as_their_degree():
    """Degree l grows as r to the l; the columns come sorted by degree: 1, 3, 5, 7 of them."""
    points = np.random.default_rng(1).uniform(-0.5, 0.5, (10, 3))
    degrees = np.repeat([0, 1, 2, 3], [1, 3, 5, 7])
    ratio = solid_harmonics(2 * points, 3) / solid_harmonics(points, 3)
    np.testing.assert_allclose(ratio, np.broadcast_to(2.0**degrees, ratio.shape), rtol=1e-9)


def test_a_field_outside_the_fitted_region_is_recovered():
    """Fit between two spheres, evaluate in the hole: a harmonic field of degree 3 is exact there."""
    positions = GRID.positions()
    x, y, z = positions[..., 0], positions[..., 1], positions[..., 2]
    fields = np.stack([1 + 5 * x + 2j * y + 30 * (x**2 - z**2) + 200j * x * y * z, 2 + 3 * z - 4j * x])
    distance = GRID.distances((0, 0, 0))
    mask = (distance < 0.08) & (distance > 0.04)
    fit = fit_harmonics(fields.astype(np.complex64), positions, mask, centre=(0, 0, 0), radius=0.09)
    inside = distance < 0.09
    found = fit.evaluate(positions, inside)
    np.testing.assert_allclose(found[:, inside], fields[:, inside], atol=2e-5)
    assert np.all(found[:, ~inside] == 0)
    assert fit.residual < 1e-5


def test_isotropic_shading_is_fitted_although_it_is_not_harmonic():
    """A droop of 1 - 3 (r / m)² has a Laplacian; the r² term takes it, without that term it stays."""
    positions, distance = GRID.positions(), GRID.distances((0, 0, 0))
    field = (1 - 3 * distance**2)[None].astype(np.complex64)
    mask = distance < 0.08
    residuals = [
        fit_harmonics(field, positions, mask, centre=(0, 0, 0), radius=0.08, radial_degree=radial).residual
        for radial in (-1, 1)
    ]
    assert residuals[0] > 1e-3
    assert residuals[1] < 1e-5


def test_the_expected_shape_of_the_bath_is_divided_out():
    """Ringing that is known (here 10 %, three cycles) does not enter the sensitivities."""
    positions, distance = GRID.positions(), GRID.distances((0, 0, 0))
    field = (2 + 10 * positions[..., 0] - 5j * positions[..., 1])[None]
    shape = 1 + 0.1 * np.cos(2 * np.pi * distance / 0.03)
    mask = distance < 0.08
    fit = fit_harmonics(
        (field * shape).astype(np.complex64), positions, mask, centre=(0, 0, 0), radius=0.08, shape=shape
    )
    np.testing.assert_allclose(fit.evaluate(positions, mask)[:, mask], field[:, mask], rtol=1e-4)


def test_too_little_background_is_refused():
    """Fewer than three voxels per term would fit the noise."""
    mask = GRID.distances((0, 0, 0)) < 0.02
    with pytest.raises(MeasurementError, match="voxels of undisturbed background for 53 terms"):
        fit_harmonics(white((1, *GRID.shape)), GRID.positions(), mask, centre=(0, 0, 0), radius=0.08)


def test_low_resolution_sensitivities_have_unit_norm_and_the_right_ratio():
    """Smooth channels times a smooth object: the object cancels, ratios remain."""
    positions = GRID.positions()
    coils = np.stack([np.exp(4 * positions[..., 0]), 1j * np.exp(-4 * positions[..., 1])])
    profiles = [np.hanning(count + 2)[1:-1] for count in GRID.shape]
    hann = np.einsum("z,y,x->zyx", *profiles)
    found = low_resolution_sensitivities((coils * hann).astype(np.complex64))
    np.testing.assert_allclose(np.sum(np.abs(found) ** 2, axis=0), 1, atol=1e-4)
    middle = (slice(6, 14), slice(8, 16), slice(9, 19))
    ratio = (found[0] / found[1])[middle]
    np.testing.assert_allclose(ratio, (coils[0] / coils[1])[middle], rtol=0.02)


# --- combination


def test_roemer_returns_the_density():
    """Channels s rho give rho back, and 0 where the sensitivities are not known."""
    sensitivities, density = white((5, *GRID.shape), 1), white(GRID.shape, 2)
    sensitivities[:, 0] = 0
    combined = combine_roemer(sensitivities * density, sensitivities)
    np.testing.assert_allclose(combined[1:], density[1:], rtol=1e-3, atol=1e-4)
    assert np.all(combined[0] == 0)


def test_snr_units_have_unit_noise_and_the_right_signal():
    """Channels s rho + noise of deviation 3: mean |s| rho / 3 over a fluctuation of 1 (real deviation)."""
    sensitivities = np.ones((4, *GRID.shape), np.complex64) * np.array([1, 1j, -1, 2])[:, None, None, None]
    noise = 3 * white((4, *GRID.shape), 4)
    snr = snr_units((100 * sensitivities + noise).astype(np.complex64), sensitivities.astype(np.complex64), 3)
    voxels = snr.size
    assert snr.mean() == pytest.approx(100 * np.sqrt(7) / 3, abs=5 / np.sqrt(voxels))
    assert snr.std() == pytest.approx(1, rel=5 / np.sqrt(2 * voxels))


def test_sum_of_squares_loses_its_noise_floor():
    """8 channels of unit noise: sqrt(16) without correction; corrected, the mean square is the signal's."""
    noise = white((8, 30, 40, 50), 5)
    assert combine_squares(noise, correct_bias=False).mean() == pytest.approx(4, rel=0.02)
    # 9 of signal power in each of 8 channels: 72 with a deviation of 18, four times away from the clip at 0.
    signal = noise + np.complex64(3)
    mean_square = np.mean(combine_squares(signal).astype(np.float64) ** 2)
    assert mean_square == pytest.approx(72, rel=5 * 18 / 72 / np.sqrt(60_000))


def test_differing_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        combine_roemer(white((2, 3, 3, 3)), white((3, 3, 3, 3)))


# --- point spread


def test_ball_transform_at_zero_is_the_volume():
    """And its first zero lies where tan x = x: x = 4.4934."""
    assert ball_transform(0.02, np.array([0.0]))[0] == pytest.approx(4 * np.pi / 3 * 0.02**3)
    zero = np.array([4.493409458 / (2 * np.pi * 0.02)])
    assert abs(ball_transform(0.02, zero)[0]) < 1e-12


def test_image_of_a_ball_is_its_cumulative_point_spread():
    """Without window or decay, the centre of a ball of radius R: (2 / pi) (Si(x) - sin x), x = 2 pi kmax R.

    From integrating the k-ball's point spread 4 pi kmax³ (sin x - x cos x) / x³ over the ball.
    """
    from scipy.special import sici

    spoke = readout()
    for radius in (0.01, 0.015, 0.04):
        x = 2 * np.pi * spoke.extent * radius
        expected = 2 / np.pi * (sici(x)[0] - np.sin(x))
        assert BallImage(spoke, radius, LONG)(np.zeros(1))[0] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(("window", "voxels"), [("none", 1.5904), ("hamming", 1.9897)])
def test_point_spread_has_the_known_width(window, voxels):
    """A tiny ball shows the point spread: FWHM 1.590 voxels of 1/(2 kmax), 1.990 with Hamming's window."""
    spoke = readout(window)
    image = BallImage(spoke, 2e-4, LONG)
    distance = np.linspace(0, 0.02, 20001)
    profile = image(distance) / image(np.zeros(1))
    width = 2 * distance[np.argmax(profile < 0.5)]
    assert width * 2 * spoke.extent == pytest.approx(voxels, rel=0.003)


def test_a_large_ball_is_one_inside_and_nothing_outside():
    image = BallImage(readout("hamming"), 0.08, Relaxation(0.05, ((1.0, 0.02),)))
    np.testing.assert_allclose(image(np.array([0.0, 0.02, 0.05])), 1, atol=0.01)
    np.testing.assert_allclose(image(np.array([0.11, 0.2])), 0, atol=0.005)


def test_short_t2_star_loses_signal_from_the_core():
    """T2* of 2 ms in a 5 ms readout lowers the recovery of a vial; the long-lived one stays near 1."""
    spoke = readout("hamming")
    long, short = (recovery(spoke, 0.015, Relaxation(0.05, ((1.0, time),)), 0.009) for time in (1.0, 0.002))
    assert long == pytest.approx(1, abs=0.05)
    assert short < long - 0.1


def test_recovery_is_the_mean_over_the_core():
    """The shell average equals averaging a fine grid of voxels in the ball."""
    spoke, gel = readout("hamming"), Relaxation(0.04, ((0.6, 0.006), (0.4, 0.025)))
    fine = Grid.cube(48, 0.024)
    distance = fine.distances((0, 0, 0))
    voxels = BallImage(spoke, 0.012, gel)(distance[distance <= 0.008]).mean()
    assert recovery(spoke, 0.012, gel, 0.008) == pytest.approx(voxels, abs=2e-3)


def test_echo_time_is_when_the_spoke_leaves_the_centre():
    """Samples taken before the gradient starts belong to the centre; the last of them counts."""
    times = np.arange(6) * 1e-5
    spoke = RadialReadout(times, np.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0]), "none", 3.0)
    assert spoke.echo_time == pytest.approx(2e-5)
    np.testing.assert_allclose(spoke.time_at(np.array([0.0, 0.5, 2.5])), [2e-5, 2.5e-5, 4.5e-5])


def test_an_inward_spoke_is_refused():
    with pytest.raises(ValueError, match="moves outwards"):
        RadialReadout(np.arange(3.0), np.array([2.0, 1.0, 0.0]), "none", 2.0)


# --- relaxation


def test_steady_state_limits():
    """Full signal after full recovery, 1 - exp(-TR/T1) at 90 degrees, a maximum at the Ernst angle."""
    saline = Relaxation(0.055, ((1.0, 0.05),))
    assert saline.steady_state(10.0, np.pi / 2) == pytest.approx(1)
    assert saline.steady_state(0.1, np.pi / 2) == pytest.approx(1 - np.exp(-0.1 / 0.055))
    angles = np.linspace(0.1, 3.0, 30_000)
    best = angles[np.argmax(saline.steady_state(0.1, angles))]
    assert np.cos(best) == pytest.approx(np.exp(-0.1 / 0.055), abs=1e-3)


def test_decay_sums_its_components():
    gel = Relaxation(0.04, ((0.6, 0.003), (0.4, 0.02)))
    assert gel.decay(0.0) == pytest.approx(1)
    assert gel.decay(0.004) == pytest.approx(0.6 * np.exp(-4 / 3) + 0.4 * np.exp(-0.2))
    assert gel.decay(0.004, scale=2.0) == pytest.approx(gel.decay(0.002))


@pytest.mark.parametrize(
    "components", [(), ((0.6, 0.003), (0.5, 0.02)), ((1.0, 0.0),)], ids=["none", "sum 1.1", "zero"]
)
def test_impossible_relaxation_is_refused(components):
    with pytest.raises(ValueError, match="must"):
        Relaxation(0.04, components)


# --- geometry


def test_ball_weights_measure_the_volume_wherever_the_centre_lies():
    """Sub-voxel weights: the volume within 1 %, the centre of mass within a twentieth of a voxel."""
    centre, radius = (0.013, -0.021, 0.0087), 0.03
    weights = ball_weights(GRID, centre, radius)
    assert weights.sum() * GRID.voxel_volume == pytest.approx(4 * np.pi / 3 * radius**3, rel=0.01)
    mass = np.einsum("zyx,zyxi->i", weights, GRID.positions()) / weights.sum()
    np.testing.assert_allclose(mass, centre, atol=0.0005)


def test_cores_sum_to_one_and_too_small_vials_are_refused(phantom, grid):
    core = core_weights(grid, phantom.vials[0])
    assert core.sum() == pytest.approx(1)
    assert core_radius(grid, phantom.vials[0]) < phantom.vials[0].radius
    with pytest.raises(MeasurementError, match=r"vial vial 1 of radius 5\.0 mm is too small"):
        core_radius(grid, replace(phantom.vials[0], radius=0.005))


def test_background_keeps_its_distance(phantom, grid):
    """Every voxel of it is 1.5 resolutions away from the rim and from every vial."""
    mask = background_mask(grid, phantom)
    guard = 1.5 * grid.resolution
    assert mask.any()
    assert grid.distances(phantom.centre)[mask].max() <= phantom.radius - guard
    for vial in phantom.vials:
        assert grid.distances(vial.centre)[mask].min() >= vial.radius + guard


def test_grid_positions_are_x_y_z_around_voxel_half():
    """Voxel n // 2 lies at the magnet's centre; the last axis of an array is x."""
    positions = GRID.positions()
    np.testing.assert_allclose(positions[10, 12, 14], 0)
    np.testing.assert_allclose(positions[10, 12, 15], [0.01, 0, 0])
    np.testing.assert_allclose(positions[11, 12, 14], [0, 0, 0.01])


def test_impossible_phantoms_are_refused():
    saline = Material("saline", LONG)
    first = Vial("a", (0, 0, 0), 0.02, saline)
    for vials, message in (
        ((first, Vial("a", (0.05, 0, 0), 0.02, saline)), "repeat"),
        ((first, Vial("b", (0.03, 0, 0), 0.02, saline)), "overlap"),
        ((first, Vial("b", (0.07, 0, 0), 0.02, saline)), "leaves the bath"),
    ):
        with pytest.raises(ValueError, match=message):
            Phantom((0, 0, 0), 0.08, saline, vials)


def test_rectangular_tolerance_is_narrower_than_its_half_width():
    """JCGM 100, 4.3.7: half width over the root of three."""
    assert Tolerance(0.03, "rectangular").standard == pytest.approx(0.03 / np.sqrt(3))
    with pytest.raises(ValueError, match="relative tolerance"):
        Tolerance(0.7)
