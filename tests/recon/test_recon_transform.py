"""The transform and the density weights against exact sums and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from recon.density import iterate_weights, solid_angles, spoke_weights, window
from recon.grid import Grid
from recon.nufft import NonUniformTransform

UNEVEN = Grid((6, 10, 14), (0.12, 0.15, 0.28))


def complex_noise(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def radial(spokes=600, samples=40, limit=80.0):
    m = np.arange(spokes)
    z = 2 * ((m * 0.4655712318767680) % 1) - 1
    angle = 2 * np.pi * ((m * 0.6823278038280193) % 1)
    rho = np.sqrt(1 - z**2)
    directions = np.stack([rho * np.cos(angle), rho * np.sin(angle), z], axis=-1)
    radii = np.linspace(0, limit, samples)
    return directions, radii, directions[:, None] * radii[:, None]


@pytest.fixture(scope="module")
def positions():
    reach = np.array(
        [0.5 * n / f for n, f in zip(UNEVEN.shape[::-1], UNEVEN.field_of_view[::-1], strict=True)]
    )
    return np.random.default_rng(1).uniform(-0.98, 0.98, (300, 3)) * reach


def test_forward_is_the_integral_written_out(positions):
    """s(k) = sum of rho exp(-2 pi i k.r) dV, with x, y, z each on its own axis: unequal sizes everywhere."""
    image = complex_noise((2, *UNEVEN.shape))
    places = UNEVEN.positions().reshape(-1, 3)
    exact = image.reshape(2, -1) @ np.exp(-2j * np.pi * places @ positions.T) * UNEVEN.voxel_volume
    measured = NonUniformTransform(UNEVEN, positions).forward(image)
    assert np.linalg.norm(measured - exact) < 2e-4 * np.linalg.norm(exact)


def test_adjoint_is_the_sum_written_out(positions):
    """rho(r) = sum of s exp(+2 pi i k.r)."""
    samples = complex_noise((2, 300))
    places = UNEVEN.positions().reshape(-1, 3)
    exact = samples @ np.exp(2j * np.pi * positions @ places.T)
    measured = NonUniformTransform(UNEVEN, positions).adjoint(samples).reshape(2, -1)
    assert np.linalg.norm(measured - exact) < 2e-4 * np.linalg.norm(exact)


def test_direct_backend_is_the_same_transform(positions):
    """The exact sum that tests lean on agrees with finufft on both sides."""
    fast, exact = (NonUniformTransform(UNEVEN, positions, backend=b) for b in ("finufft", "direct"))
    image, samples = complex_noise((1, *UNEVEN.shape)), complex_noise((1, 300))
    for ours, theirs in (
        (fast.forward(image), exact.forward(image)),
        (fast.adjoint(samples), exact.adjoint(samples)),
    ):
        assert np.linalg.norm(ours - theirs) < 2e-4 * np.linalg.norm(theirs)


def test_adjoint_is_the_adjoint(positions):
    """<F a, s> = <a, F^H s> dV."""
    transform = NonUniformTransform(UNEVEN, positions)
    image, samples = complex_noise((1, *UNEVEN.shape)), complex_noise((1, 300))
    left = np.vdot(transform.forward(image), samples)
    right = np.vdot(image, transform.adjoint(samples)) * UNEVEN.voxel_volume
    assert left == pytest.approx(right, rel=2e-4)


def test_centre_heavy_radial_data_keep_the_requested_accuracy():
    """The case in which finufft's automatic upsampling (1.25) gives 2e-3 in single precision.

    Weights of one: the centre's many equal samples dominate, as in an unweighted adjoint.
    """
    _, _, trajectory = radial(spokes=3000, samples=60, limit=78.0)
    grid = Grid.cube(32, 0.2)
    samples = complex_noise((1, 180_000), 5) + np.complex64(3)
    image = NonUniformTransform(grid, trajectory).adjoint(samples)[0]
    picked = np.random.default_rng(2).integers(0, 32, (60, 3))
    places = grid.positions()[tuple(picked.T)]
    exact = np.exp(2j * np.pi * places @ trajectory.reshape(-1, 3).T) @ samples[0].astype(np.complex128)
    measured = image[tuple(picked.T)]
    assert np.linalg.norm(measured - exact) < 2e-4 * np.linalg.norm(exact)


def test_positions_beyond_nyquist_are_refused():
    """They would fold silently; the message says what the grid holds."""
    with pytest.raises(ValueError, match=r"k reaches 200 1/m along y.*holds 80 1/m"):
        NonUniformTransform(Grid.cube(32, 0.2), np.array([[0.0, 200.0, 0.0]]))


@pytest.mark.parametrize("matrix", [24, 32])
@pytest.mark.parametrize("spokes", [900, 1800])
def test_unit_ball_is_one_whatever_matrix_and_spokes(matrix, spokes):
    """The closed-form transform of a ball of radius 40 mm, weighted, gives 1 in the middle within 1.5 %."""
    _, radii, trajectory = radial(spokes, 60, matrix / 0.4)
    x = 2 * np.pi * 0.04 * np.maximum(radii, 1e-6)
    signal = (
        4
        * np.pi
        * 0.04**3
        * np.where(x < 1e-3, 1 / 3, (np.sin(x) - x * np.cos(x)) / np.maximum(x, 1e-3) ** 3)
    )
    limit = matrix / 0.4
    weights = spoke_weights(radii) * window(radii, limit, "hamming") / spokes
    samples = np.broadcast_to(signal * weights, (spokes, 60)).astype(np.complex64)
    grid = Grid.cube(matrix, 0.2)
    image = NonUniformTransform(grid, trajectory).adjoint(samples[None])[0]
    assert image.real[grid.distances((0, 0, 0)) < 0.02].mean() == pytest.approx(1, abs=0.015)


def test_spoke_weights_fill_the_ball():
    """They integrate 1 over the ball that reaches half a step beyond the last sample, to second order."""
    radii = np.linspace(0, 100, 400)
    step = radii[1]
    exact = 4 * np.pi / 3 * (100 + step / 2) ** 3
    assert spoke_weights(radii).sum() == pytest.approx(exact, rel=2e-5)


def test_spoke_weights_integrate_a_ball_far_better_than_shells_do():
    """A vial-sized ball with 4 1/m steps: I(0) = 1 within 1e-3, where shell volumes are off by more than 1 %.

    This is the image at the centre without window, so the ringing is taken from a fine integral.
    """

    def centre(radii, weights):
        x = 2 * np.pi * 0.08 * np.maximum(radii, 1e-9)
        ball = (
            4
            * np.pi
            * 0.08**3
            * np.where(x < 1e-3, 1 / 3, (np.sin(x) - x * np.cos(x)) / np.maximum(x, 1e-3) ** 3)
        )
        return float(np.sum(ball * weights * np.exp(-((radii / 40) ** 2))))

    coarse, fine = np.arange(0, 160, 4.0), np.arange(0, 160, 0.01)
    truth = centre(fine, spoke_weights(fine))
    edges = np.concatenate([[0], (coarse[1:] + coarse[:-1]) / 2, [158.0]])
    assert centre(coarse, spoke_weights(coarse)) == pytest.approx(truth, abs=1e-3)
    assert abs(centre(coarse, 4 * np.pi / 3 * np.diff(edges**3)) - truth) > 0.01


def test_spoke_weights_do_not_depend_on_order_and_share_equal_radii():
    """Samples taken before the gradient starts all lie at the centre; two at one radius count half each."""
    radii = np.array([0.0, 0.0, 3.0, 1.0, 2.0, 2.0])
    weights = spoke_weights(radii)
    assert weights[0] == weights[1] == 0
    assert weights[4] == weights[5]
    assert weights[4] + weights[5] == pytest.approx(4 * np.pi * 4 * 1.0)
    shuffle = np.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(spoke_weights(radii[shuffle]), weights[shuffle])


def test_solid_angles_are_areas_of_the_sphere():
    """The six axes share it equally; crowded directions share one axis's part."""
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    np.testing.assert_allclose(solid_angles(5 * axes), 1.0)
    crowded = np.concatenate([axes, [[0.1, 0.0, 1.0]]])
    areas = solid_angles(crowded)
    assert areas[2] < 0.6 * areas[5]
    assert areas.mean() == pytest.approx(1)


def test_iterated_weights_agree_with_the_analytic_ones():
    """Pipe-Menon on evenly spread spokes: the same mean within 5 %, the same image of a ball within 2 %."""
    _, radii, trajectory = radial(2500, 40, 50.0)
    grid = Grid.cube(24, 0.24)
    iterated = iterate_weights(grid, trajectory)
    inside = (radii > 5) & (radii < 45)
    analytic = spoke_weights(radii) / 2500
    assert (iterated[:, inside] / analytic[inside]).mean() == pytest.approx(1, abs=0.05)
    x = 2 * np.pi * 0.05 * np.maximum(radii, 1e-6)
    ball = (
        4
        * np.pi
        * 0.05**3
        * np.where(x < 1e-3, 1 / 3, (np.sin(x) - x * np.cos(x)) / np.maximum(x, 1e-3) ** 3)
    )
    image = (
        NonUniformTransform(grid, trajectory).adjoint((ball * iterated).astype(np.complex64)[None])[0].real
    )
    assert image[grid.distances((0, 0, 0)) < 0.03].mean() == pytest.approx(1, abs=0.02)
