"""Facts about loops around a conducting sphere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import ellipe, ellipk, spherical_jn

from coils.magnetics.arrays import cylinder_array
from coils.magnetics.field import magnetic_field
from coils.magnetics.harmonics import bare_bessel
from coils.magnetics.loops import Loop, circle, rectangle
from coils.magnetics.samples import Sphere, wavenumber
from coils.magnetics.sphere import full_wave_factor, multipoles

MU0 = 4e-7 * np.pi
HEAD = Sphere(0.085, 0.6)
SODIUM, PROTON = 33.8e6, 127.7e6


def ball(radius: float, radial: int, polar: int, azimuthal: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points and weights for integrals over a ball around the origin."""
    x, wx = np.polynomial.legendre.leggauss(radial)
    c, wc = np.polynomial.legendre.leggauss(polar)
    phi = np.arange(azimuthal) * 2 * np.pi / azimuthal
    r = 0.5 * radius * (1 + x)
    s = np.sqrt(1 - c**2)
    unit = np.stack(
        (s[:, None] * np.cos(phi), s[:, None] * np.sin(phi), np.repeat(c[:, None], azimuthal, 1)), axis=-1
    )
    weights = (0.5 * radius * wx * r**2)[:, None, None] * wc[None, :, None] * (2 * np.pi / azimuthal)
    points = r[:, None, None, None] * unit
    return points.reshape(-1, 3), np.broadcast_to(weights, points.shape[:-1]).ravel()


def quadrature_field(loop: Loop, points: np.ndarray, order: int = 20) -> np.ndarray:
    """Return B per ampere by Gauss-Legendre on each side, written apart from the code under test."""
    x, weight = np.polynomial.legendre.leggauss(order)
    out = np.zeros_like(points)
    for start, vector in zip(loop.path, loop.segments, strict=True):
        for place, w in zip(0.5 * (1 + x), 0.5 * weight, strict=True):
            r = points - start - place * vector
            out += w * np.cross(vector, r) / np.sum(r * r, axis=-1, keepdims=True) ** 1.5
    return MU0 / (4 * np.pi) * out


def electric_field_per_omega(loop: Loop, points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return E / (jω), the exact one: curl-correct, divergence-free and tangential on spheres.

    The Poincaré gauge, r x the integral of B(λr) λ over 0 < λ < 1, has no radial part; its divergence is that
    of r . curl B = 0.
    """
    x, weight = np.polynomial.legendre.leggauss(8)
    total = np.zeros_like(points)
    for place, w in zip(0.5 * (1 + x), 0.5 * weight, strict=True):
        total += w * place * quadrature_field(loop, centre + place * points, 12)
    return np.cross(points, total)


def test_resistance_matrix_is_the_integral_of_the_currents_in_the_sphere() -> None:
    """Two unlike, tilted loops around a sphere off the origin: sigma |E|² over the volume, to 1e-5."""
    centre = np.array((0.01, -0.02, 0.015))
    sphere = Sphere(0.05, 0.7, centre=(0.01, -0.02, 0.015))
    loops = [
        rectangle(0.08, 0.06, 1e-3).turned(0.4, (1, 1, 0)).moved((0.03, 0.02, 0.1)),
        circle(0.04, 1e-3, vertices=9).turned(1.2, (0, 1, 0.2)).moved((0.11, -0.03, 0.0)),
    ]
    points, weights = ball(0.05, 9, 14, 28)
    fields = [electric_field_per_omega(loop, points, centre) for loop in loops]
    omega = 2 * np.pi * SODIUM
    direct = omega**2 * 0.7 * np.array([[weights @ np.sum(a * b, axis=1) for b in fields] for a in fields])
    ours = multipoles(loops, sphere).resistance(SODIUM, full_wave=False)[0]
    assert np.allclose(ours, direct, rtol=0, atol=1e-5 * direct.max())
    assert abs(direct[0, 1]) > 0.05 * direct.max()


def test_a_coaxial_circle_by_elliptic_integrals() -> None:
    """E = -jω A with Maxwell's A of a circle; corners cost step^4, no more than 1e-7."""
    a, z0, radius = 0.1, 0.06, 0.085
    points, weights = ball(radius, 40, 40, 1)
    rho, z = np.hypot(points[:, 0], points[:, 1]), points[:, 2] - z0
    m = 4 * a * rho / ((a + rho) ** 2 + z**2)
    k = np.sqrt(m)
    potential = MU0 / (np.pi * k) * np.sqrt(a / rho) * ((1 - m / 2) * ellipk(m) - ellipe(m))
    direct = (2 * np.pi * PROTON) ** 2 * 0.6 * weights @ potential**2
    loop = circle(a, 1e-3, vertices=360).moved((0, 0, z0))
    assert multipoles([loop], HEAD).resistance(PROTON, full_wave=False)[0, 0, 0] == pytest.approx(
        direct, rel=1e-6
    )


def test_waves_change_each_degree_as_the_radial_equation_says() -> None:
    """Solve f'' + 2f'/r + (k² - l(l+1)/r²) f = 0, matched outside to r^l + b r^-(l+1)."""
    k = wavenumber(PROTON, 0.6, 80.0)
    for degree in (1, 2, 5):

        def slope(r: float, y: np.ndarray, degree: int = degree) -> list[complex]:
            return [y[1], -2 * y[1] / r - (k**2 - degree * (degree + 1) / r**2) * y[0], abs(y[0]) ** 2 * r**2]

        start, radius = 1e-4, HEAD.radius
        initial = np.array([start**degree, degree * start ** (degree - 1), 0], dtype=complex)
        initial /= start**degree
        f, df, power = solve_ivp(slope, (start, radius), initial, rtol=1e-10, atol=1e-30).y[:, -1]
        # l f + (r f)' = (2l + 1) R^l fixes the scale
        scale = (2 * degree + 1) * radius**degree / (degree * f + f + radius * df)
        factor = power.real * abs(scale) ** 2 * (2 * degree + 3) / radius ** (2 * degree + 3)
        assert full_wave_factor(HEAD, PROTON, 6)[0, degree - 1] == pytest.approx(factor, rel=1e-6)


def test_waves_matter_little_for_sodium_and_much_for_protons() -> None:
    """By Lommel's integral against quadrature of spherical Bessel functions, at 3 T and towards 0 Hz."""
    degrees = np.arange(1, 9)
    x, weight = np.polynomial.legendre.leggauss(60)
    r = 0.5 * HEAD.radius * (1 + x)
    for f in (1e4, SODIUM, PROTON, 298e6):
        k = wavenumber(f, 0.6, 80.0)
        expected = []
        for degree in degrees:
            edge = k * HEAD.radius * spherical_jn(degree - 1, k * HEAD.radius)
            inside = (2 * degree + 1) * HEAD.radius**degree / edge * spherical_jn(degree, k * r)
            integral = 0.5 * HEAD.radius * weight @ (np.abs(inside) ** 2 * r**2)
            expected.append(integral * (2 * degree + 3) / HEAD.radius ** (2 * degree + 3))
        assert full_wave_factor(HEAD, f, 8)[0] == pytest.approx(expected, rel=1e-8)
    low, sodium, proton = full_wave_factor(HEAD, (1.0, SODIUM, PROTON), 8)
    assert low == pytest.approx(np.ones(8), abs=1e-6)
    assert sodium[[0, 7]] == pytest.approx((1.044, 1.003), abs=1e-3)
    assert proton[[0, 1, 2]] == pytest.approx((1.82, 1.42, 1.24), abs=5e-3)
    assert proton[[4, 7]] == pytest.approx((1.11, 1.05), abs=6e-3)


def test_in_a_sphere_that_hardly_conducts_the_factor_stays_finite() -> None:
    """Towards sigma = 0 it tends to the lossless limit and nothing is divided by zero."""
    almost = full_wave_factor(Sphere(0.085, 1e-5), PROTON, 4)
    assert full_wave_factor(Sphere(0.085, 0.0), PROTON, 4) == pytest.approx(almost, rel=1e-3)
    loops = [circle(0.1, 1e-3).moved((0, 0, 0.05))]
    assert multipoles(loops, Sphere(0.085, 0.0)).resistance(PROTON)[0, 0, 0] == 0.0


def test_bare_bessel_functions() -> None:
    """Against scipy's, for real, complex, small and large arguments."""
    z = np.array([1e-2, 0.5 - 0.2j, 3 - 0.4j, 8 - 9j, 25 - 1j])
    degrees = np.arange(13)
    factorials = np.array([np.prod(np.arange(2 * n + 1, 0, -2.0)) for n in degrees])
    expected = spherical_jn(degrees[:, None], z) * factorials[:, None] / z ** degrees[:, None]
    assert np.allclose(bare_bessel(12, z**2), expected, rtol=1e-12, atol=0)


def test_field_without_waves_is_biot_savarts() -> None:
    """Also at the centre and on the axis; the series converges as (r / distance of the conductor)^l."""
    sphere = Sphere(0.05, 0.7, centre=(0.01, -0.02, 0.015))
    loops = [
        rectangle(0.08, 0.06, 1e-3).turned(0.4, (1, 1, 0)).moved((0.03, 0.02, 0.1)),
        circle(0.04, 1e-3, vertices=9).turned(1.2, (0, 1, 0.2)).moved((0.11, -0.03, 0.0)),
    ]
    rng = np.random.default_rng(8)
    offset = rng.normal(size=(7, 5, 3))
    offset *= 0.03 * rng.random((7, 5, 1)) / np.linalg.norm(offset, axis=-1, keepdims=True)
    offset[0, 0], offset[0, 1], offset[0, 2] = (0, 0, 0), (0, 0, 0.02), (0, 0, -0.03)
    points = offset + sphere.centre
    field = multipoles(loops, sphere).field(points, SODIUM, full_wave=False)
    exact = magnetic_field(loops, points)
    assert field.shape == (2, 7, 5, 3)
    assert np.allclose(field, exact, rtol=0, atol=3e-7 * np.abs(exact).max())
    at_rest = multipoles(loops, sphere).field(points, 1.0)
    assert np.allclose(at_rest, field, rtol=0, atol=1e-6 * np.abs(exact).max())


def test_field_with_waves_loses_the_power_that_the_resistance_states() -> None:
    """Ampere: E = curl B / mu0 (sigma + jωε), by central differences over the whole volume."""
    omega, h = 2 * np.pi * PROTON, 1e-6
    expansion = multipoles([rectangle(0.1, 0.08, 1e-3).moved((0.02, 0.01, 0.12))], HEAD)
    points, weights = ball(HEAD.radius - 2 * h, 8, 12, 20)
    curl = np.zeros((len(points), 3), dtype=complex)
    for axis in range(3):
        step = np.eye(3)[axis] * h
        change = (expansion.field(points + step, PROTON) - expansion.field(points - step, PROTON))[0] / (
            2 * h
        )
        curl += np.cross(np.eye(3)[axis], change)
    electric = curl / (MU0 * (0.6 + 1j * omega * 8.8541878128e-12 * 80.0))
    # the shell of 2h at the surface is left out, where the loss grows as r^(2l+2) with l near 2
    lost = 0.6 * weights @ np.sum(np.abs(electric) ** 2, axis=1) / (1 - 2 * h / HEAD.radius) ** 7
    assert expansion.resistance(PROTON)[0, 0, 0] == pytest.approx(lost, rel=1e-4)


def test_field_with_waves_travels_and_decays_as_e_to_the_jwt_says() -> None:
    """Laplacian B = -ω mu0 (ω eps - jσ) B with this sign of σ, and no divergence; central differences."""
    omega, h = 2 * np.pi * PROTON, 2e-4
    expansion = multipoles([rectangle(0.1, 0.08, 1e-3).moved((0.02, 0.01, 0.13))], HEAD)
    points = np.array(((0.0, 0.01, 0.02), (0.03, -0.02, -0.01), (-0.02, 0.03, 0.03)))
    here = expansion.field(points, PROTON)[0]
    ahead, behind = (
        [expansion.field(points + sign * h * np.eye(3)[axis], PROTON)[0] for axis in range(3)]
        for sign in (1, -1)
    )
    laplacian = sum(a + b - 2 * here for a, b in zip(ahead, behind, strict=True)) / h**2
    squared = omega * MU0 * (omega * 8.8541878128e-12 * 80.0 - 0.6j)
    # h² / 12 of the fourth derivative: (30/m h)² / 12 = 3e-6
    assert np.allclose(laplacian, -squared * here, rtol=0, atol=2e-5 * np.abs(squared * here).max())
    divergence = sum(ahead[axis][:, axis] - behind[axis][:, axis] for axis in range(3)) / (2 * h)
    assert np.abs(divergence).max() < 1e-5 * np.abs(here).max() * 30


def test_a_ring_of_loops_has_a_circulant_positive_matrix() -> None:
    """Symmetry of the array; noise power of no combination of currents is negative."""
    matrix = multipoles(cylinder_array(6, 0.12, 0.1, 1e-3), HEAD).resistance((SODIUM, PROTON))
    assert matrix.shape == (2, 6, 6)
    for one in matrix:
        assert np.allclose(one, one.T, rtol=0, atol=1e-15)
        assert all(np.allclose(np.roll(one[0], i), one[i], rtol=0, atol=1e-7 * one.max()) for i in range(6))
        assert np.linalg.eigvalsh(one).min() > 0.0


def test_conductors_in_or_at_the_sphere_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 0\.089"):
        multipoles([circle(0.086, 1e-3)], HEAD)
    with pytest.raises(ValueError, match="at least one loop"):
        multipoles([], HEAD)
    with pytest.raises(ValueError, match="outside of"):
        multipoles([circle(0.2, 1e-3)], HEAD).field(np.array((0.09, 0, 0)), PROTON)
    with pytest.raises(ValueError, match="radius"):
        Sphere(-0.1, 0.6)
    with pytest.raises(ValueError, match="conductivity"):
        Sphere(0.1, -0.6)
    with pytest.raises(ValueError, match="permittivity"):
        Sphere(0.1, 0.6, 0.5)
