"""Facts about fields of loops and the one sign convention of B1- and B1+."""

from __future__ import annotations

import numpy as np
import pytest

from coils.magnetics.field import magnetic_field, receive_field, transmit_field
from coils.magnetics.inductance import mutual_inductance
from coils.magnetics.loops import Loop, circle, polygon, rectangle

MU0 = 4e-7 * np.pi


def test_a_circle_on_its_axis() -> None:
    """mu0 a² / 2 (a² + z²)^1.5 along the axis; 2000 corners differ by their step² / 6 = 2e-6."""
    a, z = 0.05, np.array([-0.1, 0.0, 0.03, 0.2])
    points = np.stack((0 * z, 0 * z, z), axis=1)
    field = magnetic_field([circle(a, 1e-3, vertices=2000)], points)[0]
    assert field[:, 2] == pytest.approx(MU0 * a**2 / 2 / (a**2 + z**2) ** 1.5, rel=5e-6)
    assert np.abs(field[:, :2]).max() < 1e-15


def test_a_square_in_its_middle() -> None:
    """2 √2 mu0 / (pi side)."""
    field = magnetic_field([rectangle(0.1, 0.1, 1e-3)], np.zeros((1, 3)))[0, 0]
    assert field == pytest.approx((0.0, 0.0, 2 * np.sqrt(2) * MU0 / (np.pi * 0.1)), rel=1e-9, abs=1e-20)


def test_any_polygon_against_the_cross_product_under_the_integral() -> None:
    """Biot-Savart by 100-point quadrature on each side, points at least half a side away."""
    rng = np.random.default_rng(6)
    loops = [Loop(rng.normal(size=(n, 3)), 1e-3).moved((50, 0, -20)) for n in (3, 5)]
    points = rng.normal(size=(4, 2, 3)) * 3 + np.array((50, 4, -20))
    x, weight = np.polynomial.legendre.leggauss(100)
    field = magnetic_field(loops, points)
    assert field.shape == (2, 4, 2, 3)
    for loop, got in zip(loops, field, strict=True):
        nodes = (loop.path[:, None] + 0.5 * (1 + x)[:, None] * loop.segments[:, None]).reshape(-1, 3)
        along = (0.5 * weight[:, None] * loop.segments[:, None]).reshape(-1, 3)
        r = points[..., None, :] - nodes
        kernel = np.cross(along, r) / np.linalg.norm(r, axis=-1, keepdims=True) ** 3
        assert np.allclose(got, MU0 / (4 * np.pi) * kernel.sum(axis=-2), rtol=1e-6, atol=1e-12)


def test_the_flux_through_another_loop_is_the_mutual_inductance() -> None:
    """Field and inductance come from different integrals; the flux from 40 x 40 points inside."""
    source = polygon(((0, 0), (0.1, 0.02), (0.04, 0.09)), 1e-3).turned(0.6, (1, 2, 0)).moved((0, 0, 0.03))
    x, weight = np.polynomial.legendre.leggauss(40)
    grid = np.stack((*np.meshgrid(0.03 * x, 0.02 * x, indexing="ij"), np.zeros((40, 40))), axis=-1)
    field = magnetic_field([source], grid)[0, ..., 2]
    flux = 0.03 * 0.02 * weight @ field @ weight
    assert mutual_inductance(source, rectangle(0.06, 0.04, 1e-3)) == pytest.approx(flux, rel=1e-9)


def test_inside_the_conductor_no_field_is_stated() -> None:
    """Nearer than the wire radius: not a number; just outside: the straight wire's mu0/(2 pi distance)."""
    loop = rectangle(10.0, 10.0, 1e-3)
    field = magnetic_field([loop], np.array(((0.0, -5.0009, 0), (0, -5.0011, 0), (5.0, 5.0, 0))))[0]
    assert np.all(np.isnan(field[[0, 2]]))
    assert field[1, 2] == pytest.approx(-MU0 / (2 * np.pi * 1.1e-3), rel=1e-3)


def test_points_without_three_coordinates_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(\.\.\., 3\)"):
        magnetic_field([circle(0.1, 1e-3)], np.zeros((5, 2)))


def test_turning_a_loop_about_z_turns_the_phases_of_both_fields() -> None:
    """B1- turns by -angle, B1+ by +angle: the phase of a channel at the centre is its place in the ring."""
    upright = rectangle(0.1, 0.08, 1e-3).turned(np.pi / 2, (0, 1, 0)).moved((0.12, 0, 0))
    for angle in (0.0, 0.4, np.pi / 2, 3.0):
        field = magnetic_field([upright, upright.turned(angle)], np.zeros(3))
        size = field[0, 0]
        assert size > 0.0
        assert receive_field(field[1]) == pytest.approx(0.5 * size * np.exp(-1j * angle), rel=1e-12)
        assert transmit_field(field[1]) == pytest.approx(0.5 * size * np.exp(1j * angle), rel=1e-12)


def test_a_quadrature_pair_transmits_or_receives() -> None:
    """Loops along x and y, the second 90° late: all B1+; 90° early: all B1-."""
    along_x = circle(0.05, 1e-3).turned(np.pi / 2, (0, 1, 0)).moved((0.1, 0, 0))
    field = magnetic_field([along_x, along_x.turned(np.pi / 2)], np.zeros(3))
    late, early = field[0] - 1j * field[1], field[0] + 1j * field[1]
    assert abs(transmit_field(late)) == pytest.approx(field[0, 0], rel=1e-12)
    assert abs(receive_field(late)) < 1e-12 * field[0, 0]
    assert abs(receive_field(early)) == pytest.approx(field[0, 0], rel=1e-12)
    assert abs(transmit_field(early)) < 1e-12 * field[0, 0]


def test_b1_minus_is_what_a_precessing_spin_induces() -> None:
    """Time domain: a moment turning counter-clockwise about z induces -2jω m B1- as phasor of e^{jωt}."""
    field = np.array((0.7 - 0.2j, -0.4 + 1.1j, 5.0))
    omega, m, t = 3.0, 0.25, np.linspace(0, 2 * np.pi / 3.0, 64, endpoint=False)
    # flux linkage with a sensitivity phasor B is Re of the transfer on the moment's own phasor m (1, -j)
    moment = m * np.stack((np.cos(omega * t), np.sin(omega * t)))
    assert np.allclose(moment, (m * np.array(((1.0,), (-1j,))) * np.exp(1j * omega * t)).real)
    flux_phasor = field[:2] @ (m * np.array((1.0, -1j)))
    assert -1j * omega * flux_phasor == pytest.approx(-2j * omega * m * receive_field(field))
    real_field = np.array((0.3, 0.8, 0.1))
    flux = real_field[:2] @ moment
    turns = np.fft.fftfreq(64, t[1]) * 2 * np.pi
    emf = -np.fft.ifft(1j * turns * np.fft.fft(flux)).real
    phasor = 2 * np.mean(emf * np.exp(-1j * omega * t))
    assert phasor == pytest.approx(-2j * omega * m * receive_field(real_field), rel=1e-10)


def test_b1_plus_is_the_part_that_follows_the_spins() -> None:
    """Time average of the real field in the frame that turns counter-clockwise with the spins."""
    field = np.array((0.7 - 0.2j, -0.4 + 1.1j, 5.0))
    t = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    real = (field[:2, None] * np.exp(1j * t)).real
    average = np.mean((real[0] + 1j * real[1]) * np.exp(-1j * t))
    assert transmit_field(field) == pytest.approx(average, rel=1e-12)
