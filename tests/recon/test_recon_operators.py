"""Laws that every operator of the imaging model keeps, with every back end, against the exact sum."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.density import spoke_weights
from recon.encoding import SenseEncoding
from recon.grid import Grid
from recon.nufft import NonUniformTransform
from recon.nufft_backends import DirectSum
from recon.toeplitz import ToeplitzNormal

GRID = Grid((9, 12, 16), (0.13, 0.19, 0.21))
BACKENDS = ("finufft", "numba", "ducc0", "direct")
#: The default accuracy of both directions against the exact sum.
ACCURACY = 2e-4


def skip_without(backend):
    if backend in ("numba", "ducc0"):
        pytest.importorskip(backend)


def complex_noise(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def golden_spokes(spokes, radii):
    m = np.arange(spokes)
    z = 2 * ((m * 0.4655712318767680) % 1) - 1
    angle = 2 * np.pi * ((m * 0.6823278038280193) % 1)
    rho = np.sqrt(1 - z**2)
    directions = np.stack([rho * np.cos(angle), rho * np.sin(angle), z], axis=-1)
    return directions[:, None] * np.asarray(radii)[:, None]


def difference(measured, exact):
    return np.linalg.norm(measured - exact) / np.linalg.norm(exact)


@pytest.fixture(scope="module")
def positions():
    reach = [0.5 * n / f for n, f in zip(GRID.shape[::-1], GRID.field_of_view[::-1], strict=True)]
    return np.random.default_rng(1).uniform(-0.98, 0.98, (400, 3)) * reach


@pytest.fixture(scope="module", params=BACKENDS)
def transform(request, positions):
    skip_without(request.param)
    return NonUniformTransform(GRID, positions, backend=request.param, threads=1)


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(2).uniform(0.5, 2, 400).astype(np.float32)


def test_forward_and_adjoint_are_linear(transform):
    first, second = complex_noise((2, *GRID.shape), 3), complex_noise((2, *GRID.shape), 4)
    sums = 2j * transform.forward(first) + transform.forward(second)
    assert difference(transform.forward(2j * first + second), sums) < 1e-6
    data, more = complex_noise((2, 400), 5), complex_noise((2, 400), 6)
    assert (
        difference(
            transform.adjoint(2j * data + more), 2j * transform.adjoint(data) + transform.adjoint(more)
        )
        < 2e-6
    )


def test_adjoint_belongs_to_forward(transform, weights):
    """<F x, s>_W = <x, F* s>_V; the tolerance is the requested one, and rounding for the exact sum."""
    image, samples = complex_noise((3, *GRID.shape)), complex_noise((3, 400), 1)
    left = np.vdot(transform.forward(image) * weights, samples)
    right = np.vdot(image, transform.adjoint(samples, weights)) * GRID.voxel_volume
    scale = np.linalg.norm(transform.forward(image)) * np.linalg.norm(samples)
    assert abs(left - right) < (1e-6 if transform.backend == "direct" else 1e-4) * scale


def test_normal_is_adjoint_of_forward_and_hermitian(transform, weights):
    image, other = complex_noise((3, *GRID.shape)), complex_noise((3, *GRID.shape), 1)
    normal = transform.normal(image, weights)
    assert difference(normal, transform.adjoint(transform.forward(image), weights)) < 1e-6
    left, right = np.vdot(other, normal), np.vdot(transform.normal(other, weights), image)
    assert abs(left - right) < 2e-4 * np.linalg.norm(other) * np.linalg.norm(normal)
    assert np.vdot(image, normal).real > 0


def test_cartesian_positions_make_it_unitary(transform):
    """With 1 / field of view steps and that cell as weight, F* F = 1: the scale law of the conventions."""
    steps = [(np.arange(n) - n // 2) / f for n, f in zip(GRID.shape, GRID.field_of_view, strict=True)]
    z, y, x = np.meshgrid(*steps, indexing="ij")
    lattice = np.stack([x, y, z], axis=-1)
    cartesian = NonUniformTransform(GRID, lattice, backend=transform.backend, threads=1)
    cell = np.full(cartesian.points, 1 / np.prod(GRID.field_of_view), dtype=np.float32)
    image = complex_noise((2, *GRID.shape))
    energy = np.sum(np.abs(image) ** 2) * GRID.voxel_volume
    samples = cartesian.forward(image)
    assert np.sum(np.abs(samples) ** 2) * cell[0] == pytest.approx(energy, rel=ACCURACY)
    assert difference(cartesian.normal(image, cell), image) < ACCURACY


def test_plan_pickles_and_is_used_again(transform, weights):
    """Any number of channels in any order, each as if alone; a copy gives the same numbers."""
    samples = complex_noise((5, 400))
    together = transform.adjoint(samples, weights)
    copy = pickle.loads(pickle.dumps(transform))  # noqa: S301 - our own bytes
    assert difference(copy.adjoint(samples, weights), together) < 1e-6
    for channel in (4, 0):
        assert (
            difference(transform.adjoint(samples[channel : channel + 1], weights)[0], together[channel])
            < 1e-5
        )
    assert difference(copy.forward(together), transform.forward(together)) < 1e-6
    assert difference(transform.adjoint(samples * weights), together) < 1e-5


def test_backends_keep_the_default_accuracy(transform, positions):
    """Against sums written out here, at 400 random points and in all voxels."""
    image, samples = complex_noise((1, *GRID.shape)), complex_noise((1, 400), 1)
    phases = np.exp(-2j * np.pi * GRID.positions().reshape(-1, 3) @ positions.T)
    forward = image.reshape(1, -1) @ phases * GRID.voxel_volume
    assert difference(transform.forward(image), forward) < ACCURACY
    adjoint = (samples @ phases.conj().T).reshape(image.shape)
    assert difference(transform.adjoint(samples), adjoint) < ACCURACY


def density_adapted_radii(samples, limit, share=0.25):
    """|k| of evenly timed samples: linear to a share of the limit, then Nagel, MRM 62:1565 (2009), eq 6."""
    speed = share + (1 - share**3) / (3 * share**2)
    time = np.linspace(0, 1, samples)
    beyond = np.cbrt(3 * share**2 * speed * np.maximum(time - share / speed, 0) + share**3)
    return limit * np.where(time < share / speed, speed * time, beyond)


@pytest.mark.parametrize("backend", ["finufft", "numba", "ducc0"])
def test_centre_heavy_spokes_keep_the_accuracy_where_automatic_upsampling_does_not(backend):
    """Density-adapted spokes through a ball, unweighted: single precision, 1.25 and 1e-4 give 5e-4."""
    skip_without(backend)
    import finufft

    grid = Grid.cube(64, 0.32)
    spokes = golden_spokes(2000, density_adapted_radii(128, 99.9))
    x = 2 * np.pi * 0.1 * np.maximum(np.linalg.norm(spokes, axis=-1), 1e-2)
    shift = np.exp(-2j * np.pi * spokes @ np.array([0.02, 0.03, -0.01]))
    samples = ((np.sin(x) - x * np.cos(x)) / x**3 * shift).astype(np.complex64).reshape(1, -1)
    transform = NonUniformTransform(grid, spokes, backend=backend)
    rng = np.random.default_rng(3)
    crossing = tuple(rng.choice(64, size, replace=False) for size in (10, 8, 5))
    chosen = np.ix_(np.arange(1), *crossing)
    truth = DirectSum(grid.shape, transform.phases).voxels(samples, crossing)
    assert difference(transform.adjoint(samples)[chosen], truth) < ACCURACY
    if backend == "finufft":
        plain = finufft.nufft3d1(*transform.phases, samples[0], grid.shape, eps=1e-4, isign=1, upsampfac=1.25)
        assert difference(plain[None][chosen], truth) > ACCURACY
    points = rng.choice(samples.size, 400, replace=False)
    image = complex_noise((1, *grid.shape), 6)
    few = NonUniformTransform(grid, spokes.reshape(-1, 3)[points], backend="direct")
    assert difference(transform.forward(image)[:, points], few.forward(image)) < ACCURACY


@pytest.mark.parametrize(("backend", "extra"), [("numba", "fast"), ("ducc0", "ducc0")])
def test_missing_package_names_the_extra(monkeypatch, backend, extra):
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(MeasurementError, match=rf"coilbench\[{extra}\]"):
        NonUniformTransform(GRID, np.zeros((1, 3)), backend=backend)


def test_wrong_sizes_are_refused(transform, weights):
    with pytest.raises(ValueError, match="400 samples per channel expected, got 399"):
        transform.adjoint(np.zeros((2, 399), np.complex64))
    with pytest.raises(ValueError, match="400 weights expected, got 3"):
        transform.adjoint(np.zeros((2, 400), np.complex64), weights[:3])
    with pytest.raises(ValueError, match="400 weights expected, got 1"):
        ToeplitzNormal(transform, weights[:1])
    with pytest.raises(ValueError, match="images of shape"):
        transform.forward(np.zeros((2, 9, 12, 15), np.complex64))
    with pytest.raises(ValueError, match="back ends are"):
        NonUniformTransform(GRID, np.zeros((1, 3)), backend="sigpy")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(9, 12, 16), (1, 7, 10), (16, 16, 16)])
def test_toeplitz_is_the_normal_operator(transform, shape):
    """Odd, even and single-plane grids: the same as going to k-space and back."""
    grid = Grid(shape, (0.13, 0.19, 0.21))
    reach = [0.5 * n / f for n, f in zip(shape[::-1], grid.field_of_view[::-1], strict=True)]
    rng = np.random.default_rng(4)
    places = rng.uniform(-0.98, 0.98, (500, 3)) * reach
    weights = rng.uniform(0.1, 3, 500).astype(np.float32)
    exact = NonUniformTransform(grid, places, backend="direct")
    ours = NonUniformTransform(grid, places, backend=transform.backend, threads=1)
    image, sensitivities = complex_noise(shape), complex_noise((3, *shape), 5)
    operator = ToeplitzNormal(ours, weights)
    truth = np.sum(sensitivities.conj() * exact.normal(sensitivities * image, weights), axis=0)
    tolerance = 2e-6 if transform.backend == "direct" else ACCURACY
    assert difference(operator.normal(image, sensitivities), truth) < tolerance
    copy = pickle.loads(pickle.dumps(operator))  # noqa: S301 - our own bytes
    assert difference(copy.normal(image, sensitivities), truth) < tolerance


@pytest.mark.parametrize("points", [0, 1])
def test_hardly_any_points(transform, points):
    """No sample gives no image, and one a plane wave."""
    if transform.backend == "ducc0" and points == 0:
        pytest.skip("ducc0 refuses to plan for no points")
    few = NonUniformTransform(GRID, np.full((points, 3), 3.0), backend=transform.backend, threads=2)
    exact = NonUniformTransform(GRID, np.full((points, 3), 3.0), backend="direct")
    samples, image = complex_noise((2, points)), complex_noise((2, *GRID.shape))
    gridded, sampled = few.adjoint(samples), few.forward(image)
    assert gridded.shape == image.shape
    assert sampled.shape == samples.shape
    assert np.linalg.norm(gridded - exact.adjoint(samples)) <= ACCURACY * np.linalg.norm(gridded)
    assert np.linalg.norm(sampled - exact.forward(image)) <= 10 * ACCURACY * np.linalg.norm(sampled)


def test_samples_of_any_layout_are_taken(transform, weights):
    """Strided, read-only, foreign byte order, double precision, turned axes: the same image."""
    samples, images = complex_noise((3, 400)), complex_noise((3, *GRID.shape))
    gridded, sampled = transform.adjoint(samples, weights), transform.forward(images)
    strided = np.repeat(samples, 2, axis=1)[:, ::2]
    read_only = samples.copy()
    read_only.flags.writeable = False
    for other in (strided, read_only, samples.astype(">c8"), samples.astype(complex), samples.T.copy().T):
        assert difference(transform.adjoint(other, np.repeat(weights, 2)[::2]), gridded) < 1e-6
    assert difference(transform.forward(np.asfortranarray(images)), sampled) < 1e-6
    assert difference(transform.forward(images.astype(complex)), sampled) < 1e-6


def test_normal_without_numba_is_the_same(monkeypatch, weights):
    """Slabs by scipy and our compiled kernels convolve alike, to rounding."""
    pytest.importorskip("numba")
    places = np.random.default_rng(2).uniform(-0.9, 0.9, (400, 3)) * GRID.nyquist
    transform = NonUniformTransform(GRID, places)
    image, sensitivities = complex_noise(GRID.shape), complex_noise((5, *GRID.shape), 5)
    compiled = ToeplitzNormal(transform, weights)
    monkeypatch.setitem(sys.modules, "numba", None)
    slabs = ToeplitzNormal(transform, weights)
    normal = compiled.normal(image, sensitivities)
    assert difference(normal, slabs.normal(image, sensitivities)) < 1e-6
    double = image.astype(np.complex128), sensitivities.astype(np.complex128)
    assert difference(compiled.normal(*double), normal) < 1e-6


def test_threads_share_channels_without_changing_the_sum(weights):
    """One thread or three for five channels: only the order of a float32 sum differs."""
    places = np.random.default_rng(2).uniform(-0.9, 0.9, (400, 3)) * GRID.nyquist
    image, sensitivities = complex_noise(GRID.shape), complex_noise((5, *GRID.shape), 5)
    one, three = (
        ToeplitzNormal(NonUniformTransform(GRID, places, threads=threads), weights) for threads in (1, 3)
    )
    assert difference(three.normal(image, sensitivities), one.normal(image, sensitivities)) < 1e-6
    with pytest.raises(ValueError, match=r"an image .* and sensitivities"):
        one.normal(image[:-1], sensitivities)


def test_encoding_keeps_the_laws_of_an_imaging_model(transform, weights):
    """<E x, s>_W = <x, E* s>_V, and both normal operators are E* E."""
    sensitivities = complex_noise((3, *GRID.shape), 7)
    direct = SenseEncoding(transform, weights, sensitivities, toeplitz=False)
    convolved = SenseEncoding(transform, weights, sensitivities)
    image, samples = complex_noise(GRID.shape), complex_noise((3, 400), 1)
    left = np.vdot(direct.forward(image) * weights, samples)
    right = np.vdot(image, direct.adjoint(samples)) * GRID.voxel_volume
    assert abs(left - right) < 1e-4 * np.linalg.norm(direct.forward(image)) * np.linalg.norm(samples)
    normal = direct.adjoint(direct.forward(image))
    before = image.copy()
    assert difference(direct.normal(image), normal) < 1e-5
    assert difference(convolved.normal(image), normal) < ACCURACY
    np.testing.assert_array_equal(image, before)


def test_normal_of_a_well_sampled_scan_is_the_squared_sensitivity():
    """The scale law of E* E: spokes that cover k-space, a smooth object, S of 2: 4 within 2 %."""
    grid = Grid.cube(24, 0.24)
    radii = np.linspace(0, 50, 60)
    spokes = golden_spokes(2500, radii)
    weights = np.broadcast_to(spoke_weights(radii) / 2500, spokes.shape[:2])
    sensitivities = np.full((1, *grid.shape), 2j, dtype=np.complex64)
    encoding = SenseEncoding(NonUniformTransform(grid, spokes), weights, sensitivities)
    blob = np.exp(-((grid.distances((0, 0, 0)) / 0.04) ** 2)).astype(np.complex64)
    inside = grid.distances((0, 0, 0)) < 0.04
    assert np.abs(encoding.normal(blob)[inside] / blob[inside] - 4).max() < 0.08
