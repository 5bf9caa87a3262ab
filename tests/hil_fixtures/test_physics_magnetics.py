"""Inductances, fields, harmonics and the sample's impedance against closed forms and direct integrals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ellipe, ellipk, spherical_jn

from coilbench.base.nuclei import nucleus
from hil_fixtures.physics import harmonics, sample
from hil_fixtures.physics.geometry import inductance_by_distance, overlapped_array
from hil_fixtures.physics.kspace import BODY_DEGREE, balls, receive_field
from hil_fixtures.physics.magnetics import MU_0, Filament, magnetic_field, mutual_inductance, self_inductance
from hil_fixtures.physics.phantom import DEFAULT_PHANTOM


def circle(radius: float, height: float, nodes: int) -> Filament:
    angle = 2.0 * np.pi * np.arange(nodes) / nodes
    points = np.stack((radius * np.cos(angle), radius * np.sin(angle), np.full(nodes, height)), axis=1)
    tangent = np.stack((-np.sin(angle), np.cos(angle), np.zeros(nodes)), axis=1)
    return Filament(points, tangent * (2.0 * np.pi * radius / nodes))


def rectangle(width: float, height: float, nodes: int) -> Filament:
    abscissa, weight = np.polynomial.legendre.leggauss(nodes)
    zero, one = np.zeros(nodes), np.ones(nodes)
    points, elements = [], []
    for sign in (1.0, -1.0):
        points.append(np.stack((sign * width / 2 * abscissa, -sign * height / 2 * one, zero), axis=1))
        elements.append(np.stack((sign * width / 2 * weight, zero, zero), axis=1))
        points.append(np.stack((sign * width / 2 * one, sign * height / 2 * abscissa, zero), axis=1))
        elements.append(np.stack((zero, sign * height / 2 * weight, zero), axis=1))
    return Filament(np.concatenate(points), np.concatenate(elements))


@pytest.mark.parametrize(("a", "b", "z"), [(0.05, 0.05, 0.03), (0.06, 0.04, 0.08), (0.03, 0.09, 0.02)])
def test_neumann_agrees_with_maxwell_for_coaxial_circles(a: float, b: float, z: float) -> None:
    """Maxwell's elliptic integrals, to 1e-6."""
    m = 4.0 * a * b / ((a + b) ** 2 + z**2)
    k = np.sqrt(m)
    expected = MU_0 * np.sqrt(a * b) * ((2.0 / k - k) * ellipk(m) - 2.0 / k * ellipe(m))
    assert mutual_inductance(circle(a, 0.0, 300), circle(b, z, 300)) == pytest.approx(expected, rel=1e-6)


def test_self_inductance_of_a_circle_is_the_high_frequency_formula() -> None:
    """mu0 a (ln(8a/w) - 2), itself good to (w/a)^2."""
    a, w = 0.05, 1.5e-3
    assert self_inductance(circle(a, 0.0, 1500), w) == pytest.approx(
        MU_0 * a * (np.log(8.0 * a / w) - 2.0), rel=1e-3
    )


def test_self_inductance_of_a_rectangle_is_grovers() -> None:
    """Grover's formula does not know what happens within a wire radius of the corners: mu0 w in all."""
    W, H, w = 0.11, 0.107, 2.5e-3
    expected = (
        MU_0
        / np.pi
        * (
            W * np.log(2 * W / w)
            + H * np.log(2 * H / w)
            - W * np.arcsinh(W / H)
            - H * np.arcsinh(H / W)
            - 2 * (W + H)
            + 2 * np.hypot(W, H)
        )
    )
    assert self_inductance(rectangle(W, H, 200), w) == pytest.approx(expected, abs=MU_0 * w)


def test_field_on_the_axis_of_a_circle() -> None:
    a, z = 0.05, np.array([0.0, 0.02, 0.07])
    points = np.stack((0.0 * z, 0.0 * z, z), axis=1)
    field = magnetic_field(circle(a, 0.0, 64), points)
    np.testing.assert_allclose(field[:, 2], MU_0 * a**2 / 2 / (a**2 + z**2) ** 1.5, rtol=1e-12)
    np.testing.assert_allclose(field[:, :2], 0.0, atol=1e-18)


def test_neighbours_do_not_couple_and_the_others_do() -> None:
    """The overlap nulls k of neighbours; next neighbours keep one or two per cent, of opposite sign."""
    by_place = np.array(inductance_by_distance(overlapped_array()))
    coupling = by_place / by_place[0]
    assert abs(coupling[1]) < 1e-5
    assert -0.03 < coupling[2] < -0.01
    assert 1.1 < overlapped_array().width / (2 * np.pi * 0.12 / 8) < 1.2


def test_positive_current_makes_a_field_that_points_outward() -> None:
    array = overlapped_array()
    for loop in (0, 3):
        outward = np.array([np.cos(array.azimuth(loop)), np.sin(array.azimuth(loop)), 0.0])
        assert magnetic_field(array.filament(loop), 0.1 * outward[None, :])[0] @ outward > 0.0


def test_spherical_harmonics_are_orthonormal_and_have_the_usual_signs() -> None:
    directions, weights = harmonics.sphere_quadrature(2 * 7)
    values = harmonics.spherical_harmonics(directions, 7)
    np.testing.assert_allclose((values.conj().T * weights) @ values, np.eye(64), atol=1e-13)
    x, y, z = directions.T
    np.testing.assert_allclose(values[:, 3], -np.sqrt(3 / 8 / np.pi) * (x + 1j * y), atol=1e-14)
    np.testing.assert_allclose(values[:, 6], np.sqrt(5 / 16 / np.pi) * (3 * z**2 - 1), atol=1e-14)


def test_expanded_receive_fields_are_biot_savarts() -> None:
    """Everywhere in the body to 1e-3 of its centre's field (the last term at its rim), in vials to 1e-4."""
    array = overlapped_array()
    rng = np.random.default_rng(5)
    scale = abs(receive_field(array, 0, np.zeros((1, 3)))[0])
    for ball in balls(array, DEFAULT_PHANTOM):
        offset = rng.standard_normal((40, 3))
        offset *= (rng.random(40) ** (1 / 3) / np.linalg.norm(offset, axis=1))[:, None]
        radius = ball.compartment.radius_m
        centre = np.array(ball.compartment.position_m)
        points = centre + radius * offset
        direct = np.stack([receive_field(array, loop, points) for loop in range(8)])
        expanded = harmonics.evaluate(ball.field, centre, radius, points)
        limit = 1e-3 * scale if ball.degree == BODY_DEGREE else 1e-4 * scale
        assert np.max(np.abs(expanded - direct)) < max(limit, 1e-3 * np.max(np.abs(direct)))


def test_bessel_ratios_are_those_of_scipy() -> None:
    x = np.array([0.1 - 0.05j, 1.9 - 0.4j, 6.0 - 3.0j, 0.7 + 0.0j])
    degree = np.arange(1, 9)[:, None]
    expected = spherical_jn(degree + 1, x) / spherical_jn(degree - 1, x)
    np.testing.assert_allclose(sample.bessel_ratios(x, 8), expected, rtol=1e-9)
    assert np.all(np.abs(sample.bessel_ratios(np.zeros(1) + 0j, 3)) < 1e-100)


def test_sample_resistance_is_the_integral_of_the_dissipated_power() -> None:
    """At low frequency, against sigma |E|^2 summed over the sphere's volume for one loop and a pair.

    E inside a sphere: its curl is -j omega B and it has no radial part, so for one (l, m) it is
    j omega a_lm r^l (r x grad Y)/(l+1); here it is built from the expanded field by another road, the
    line integral E = -j omega int_0^1 s B(s r) x r ds, the vector potential without radial part.
    """
    array = overlapped_array()
    radius, conductivity, frequency = 0.08, 0.6, 1e4
    directions, weights = harmonics.sphere_quadrature(40)
    nodes, steps = np.polynomial.legendre.leggauss(14)
    depth, depth_weight = 0.5 * (nodes + 1.0), 0.5 * steps
    fields = []
    for loop in (0, 1):
        filament = array.filament(loop, 16)
        shells = np.stack([magnetic_field(filament, radius * s * directions) for s in depth])
        # A(r) = sum over s of s B(s r) x r, on radii r = depth: B is needed at products of two depths,
        # which interpolation in s (a polynomial of the expansion's degree) gives.
        coefficients = np.linalg.solve(np.vander(depth, increasing=True), shells.reshape(len(depth), -1))
        powers = np.arange(len(depth))
        potential = np.stack(
            [
                np.cross(
                    (coefficients.T @ (r**powers / (powers + 2.0))).reshape(-1, 3), radius * r * directions
                )
                for r in depth
            ]
        )
        fields.append(2.0 * np.pi * frequency * potential)
    volume = (depth_weight * depth**2 * radius**3)[:, None] * weights[None, :]
    expected = [conductivity * np.sum(volume[..., None] * fields[0] * other) for other in fields]
    found = sample.sample_impedance(array, sample.Load(radius, conductivity, 1.0), np.array([frequency]))
    np.testing.assert_allclose(found[0, 0, :2].real, expected, rtol=2e-3)


@pytest.mark.parametrize(("name", "dipole"), [("23Na", 1.044), ("1H", 1.82)])
def test_full_wave_factor_is_the_integral_of_bessel_functions(name: str, dipole: float) -> None:
    """F_l = Int |c j_l(kr)|^2 r^2 dr over its static limit; for l = 1, R 8.5 cm, eps 80: 1.044 and 1.82."""
    frequency, radius, conductivity, permittivity = nucleus(name).larmor_frequency(3.0), 0.085, 0.6, 80.0
    omega = 2.0 * np.pi * frequency
    wavenumber = np.sqrt(omega * MU_0 * (omega * permittivity * sample.EPSILON_0 - 1j * conductivity))
    nodes, steps = np.polynomial.legendre.leggauss(40)
    r, dr = 0.5 * radius * (nodes + 1.0), 0.5 * radius * steps
    for degree in (1, 2, 5):
        x = wavenumber * radius
        c = (2 * degree + 1) * radius**degree / (x * spherical_jn(degree - 1, x))
        integral = np.sum(np.abs(c * spherical_jn(degree, wavenumber * r)) ** 2 * r**2 * dr)
        factor = integral / (radius ** (2 * degree + 3) / (2 * degree + 3))
        if degree == 1:
            assert factor == pytest.approx(dipole, abs=6e-3)
        # From the sphere's answer: Re(j ratio) over its quasi-static limit.
        ratio = sample.bessel_ratios(np.array([x]), degree)[degree - 1, 0]
        low = omega * MU_0 * conductivity * radius**2 / ((2 * degree + 1) * (2 * degree + 3))
        assert (1j * ratio).real / low == pytest.approx(factor, rel=1e-8)
