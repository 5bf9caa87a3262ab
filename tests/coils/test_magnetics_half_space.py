"""Facts about loops over a conducting half-space."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ellipe, ellipk, j1

from coils.magnetics.half_space import circle_resistance, half_space_resistance
from coils.magnetics.loops import Loop, circle, rectangle
from coils.magnetics.samples import HalfSpace, wavenumber

MU0 = 4e-7 * np.pi
SALINE = HalfSpace(0.6)
SODIUM, PROTON = 33.8e6, 127.7e6


def lower_half(scale: float, radial: int, polar: int, azimuthal: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points and weights for integrals over z < 0, r stretched to infinity about ``scale``."""
    x, wx = np.polynomial.legendre.leggauss(radial)
    c, wc = np.polynomial.legendre.leggauss(polar)
    r = scale * (1 + x) / (1 - x)
    dr = scale * 2 / (1 - x) ** 2 * wx
    c, wc = -0.5 * (1 + c), 0.5 * wc
    s = np.sqrt(1 - c**2)
    phi = np.arange(azimuthal) * 2 * np.pi / azimuthal
    unit = np.stack(
        (s[:, None] * np.cos(phi), s[:, None] * np.sin(phi), np.repeat(c[:, None], azimuthal, 1)), axis=-1
    )
    points = r[:, None, None, None] * unit
    weights = (dr * r**2)[:, None, None] * wc[None, :, None] * (2 * np.pi / azimuthal)
    return points.reshape(-1, 3), np.broadcast_to(weights, points.shape[:-1]).ravel()


def vector_potential(loop: Loop, points: np.ndarray) -> np.ndarray:
    """Return A per ampere of straight pieces: mu0/4pi u ln((a + b + L)/(a + b - L))."""
    total = np.zeros_like(points)
    for start, vector in zip(loop.path, loop.segments, strict=True):
        length = np.linalg.norm(vector)
        ends = np.linalg.norm(points - start, axis=1) + np.linalg.norm(points - start - vector, axis=1)
        total += vector / length * np.log((ends + length) / (ends - length))[:, None]
    return MU0 / (4 * np.pi) * total


@pytest.mark.parametrize(("a", "d"), [(0.05, 0.01), (0.04, 0.03)])
def test_a_circles_loss_is_the_integral_of_its_currents(a: float, d: float) -> None:
    """Integrate sigma |E|² over the half-space with E = -jω A, A by Maxwell's elliptic integrals; to 1e-6."""
    points, weights = lower_half(a, 200, 120, 1)
    rho, z = np.hypot(points[:, 0], points[:, 1]), d - points[:, 2]
    m = 4 * a * rho / ((a + rho) ** 2 + z**2)
    potential = MU0 / (np.pi * np.sqrt(m)) * np.sqrt(a / rho) * ((1 - m / 2) * ellipk(m) - ellipe(m))
    # far away m is small and the bracket is m²/32 pi with all digits lost
    far = m < 1e-5
    potential[far] = (MU0 * a**2 * rho / (4 * (rho**2 + z**2) ** 1.5))[far]
    direct = (2 * np.pi * SODIUM) ** 2 * 0.6 * weights @ potential**2
    assert circle_resistance(a, d, SALINE, SODIUM, full_wave=False)[0] == pytest.approx(direct, rel=1e-6)


def test_a_known_circle() -> None:
    """5 cm radius, 1 cm away, 0.6 S/m: 1.21 ohm at 23Na and 17.3 ohm at 1H of 3 T without waves."""
    loss = circle_resistance(0.05, 0.01, SALINE, (SODIUM, PROTON), full_wave=False)
    assert loss == pytest.approx((1.210, 17.27), rel=5e-4)
    assert loss[1] / loss[0] == pytest.approx((PROTON / SODIUM) ** 2, rel=1e-12)


@pytest.mark.parametrize("full_wave", [False, True])
def test_the_matrix_holds_the_circles_closed_form(full_wave: bool) -> None:
    """A polygon of 180 corners, both frequencies; corners cost step^4 = 1.5e-6."""
    loop = circle(0.05, 1e-3).moved((0.1, -0.2, 0.01))
    ours = half_space_resistance([loop], SALINE, (SODIUM, PROTON), full_wave=full_wave)[:, 0, 0]
    closed = circle_resistance(0.05, 0.01, SALINE, (SODIUM, PROTON), full_wave=full_wave)
    assert ours == pytest.approx(closed, rel=1.5e-6)


def test_matrix_of_loops_parallel_to_the_surface_is_the_integral_of_their_currents() -> None:
    """A horizontal loop's A has no vertical part, so E = -jω A; shifted rectangle and triangle, to 1e-5."""
    body = HalfSpace(0.8, surface=0.05)
    loops = [
        rectangle(0.08, 0.06, 1e-3).moved((0.03, 0.0, 0.025)),
        circle(0.05, 1e-3, vertices=3).turned(0.3).moved((-0.02, 0.02, 0.035)),
    ]
    points, weights = lower_half(0.06, 80, 48, 96)
    fields = [vector_potential(loop, points) for loop in loops]
    omega = 2 * np.pi * SODIUM
    direct = omega**2 * 0.8 * np.array([[weights @ np.sum(a * b, axis=1) for b in fields] for a in fields])
    raised = [loop.moved((0, 0, 0.05)) for loop in loops]
    ours = half_space_resistance(raised, body, SODIUM, full_wave=False)[0]
    assert np.allclose(ours, direct, rtol=0, atol=1e-5 * direct.max())
    assert abs(direct[0, 1]) > 0.2 * direct.max()


def test_a_tilted_loop_is_the_integral_of_its_dipoles_currents() -> None:
    """A flat loop is a sheet of dipoles; each one's horizontal, divergence-free A in closed form; to 1e-5.

    With the scalar potential V of a dipole integrated over height to P, A = (-dP/dy, dP/dx, 0): its curl is
    the field, it has no vertical part and no divergence.
    """
    tilt, centre = 0.7, np.array((0.01, 0.0, 0.05))
    loop = rectangle(0.05, 0.04, 1e-3).turned(tilt, (0, 1, 0)).moved(centre)
    points, weights = lower_half(0.05, 50, 30, 60)
    x, w = np.polynomial.legendre.leggauss(6)
    moment = np.array((np.sin(tilt), 0.0, np.cos(tilt)))
    potential = np.zeros((len(points), 2))
    for u, wu in zip(0.025 * x, 0.025 * w, strict=True):
        for v, wv in zip(0.02 * x, 0.02 * w, strict=True):
            place = centre + np.array((u * np.cos(tilt), v, -u * np.sin(tilt)))
            dx, dy, depth = points[:, 0] - place[0], points[:, 1] - place[1], place[2] - points[:, 2]
            r = np.sqrt(dx**2 + dy**2 + depth**2)
            # P = -mz/r + mx dx / (r (r + depth))
            g = 1 / (r * (r + depth))
            slope = (2 * r + depth) / (r**3 * (r + depth) ** 2)
            by_x = moment[2] * dx / r**3 + moment[0] * (g - dx**2 * slope)
            by_y = moment[2] * dy / r**3 - moment[0] * dx * dy * slope
            potential += wu * wv * np.stack((-by_y, by_x), axis=1)
    potential *= MU0 / (4 * np.pi)
    direct = (2 * np.pi * SODIUM) ** 2 * 0.6 * weights @ np.sum(potential**2, axis=1)
    ours = half_space_resistance([loop], SALINE, SODIUM, full_wave=False)[0, 0, 0]
    assert ours == pytest.approx(direct, rel=1e-5)


def test_small_loops_are_dipoles_and_upright_ones_lose_half() -> None:
    """ω² sigma mu0² area² / 32 pi d flat, half upright; at one place they do not share currents."""
    d, a = 0.1, 0.002
    flat = circle(a, 1e-4).moved((0, 0, d))
    upright = circle(a, 1e-4).turned(np.pi / 2, (0, 1, 0)).moved((0, 0, d))
    ours = half_space_resistance([flat, upright], SALINE, SODIUM, full_wave=False)[0]
    dipole = (2 * np.pi * SODIUM) ** 2 * 0.6 * MU0**2 * (np.pi * a**2) ** 2 / (32 * np.pi * d)
    assert ours[0, 0] == pytest.approx(dipole, rel=3 * (a / d) ** 2)
    assert ours[1, 1] == pytest.approx(dipole / 2, rel=3 * (a / d) ** 2)
    assert abs(ours[0, 1]) < 1e-6 * dipole


@pytest.mark.parametrize(("a", "d", "sigma", "f"), [(0.05, 0.01, 0.6, PROTON), (0.1, 0.02, 0.02, 298e6)])
def test_waves_by_transmission_of_each_wavenumber(a: float, d: float, sigma: float, f: float) -> None:
    """Adaptive quadrature, cut at the bend; power as the Poynting flux through the surface."""
    k = wavenumber(f, sigma, 80.0)
    omega = 2 * np.pi * f

    def flux(kappa: float) -> float:
        gamma = np.sqrt(kappa**2 - k**2 + 0j)
        # E at the surface of a ring current: transmitted part of -jω mu0 a/2 J1 e^{-κd}
        electric = omega * MU0 * a * j1(kappa * a) * np.exp(-kappa * d) / (kappa + gamma)
        # Re(E H*)/2 with H = gamma E / jω mu0; RMS and peak cancel in R = P / I²
        return 2 * np.pi * kappa * abs(electric) ** 2 * (gamma.conjugate() / (-1j * omega * MU0)).real

    bends = (1e-9, 0.98 * k.real, k.real, 1.02 * k.real, 3 * k.real, 30 / d)
    total = sum(quad(flux, lo, hi, limit=300, epsrel=1e-9)[0] for lo, hi in pairwise(bends))
    ours = circle_resistance(a, d, HalfSpace(sigma), f)[0]
    assert ours == pytest.approx(total, rel=1e-6)


def test_waves_vanish_towards_low_frequency() -> None:
    """At 100 Hz the body is smaller than everything it could hold; the matrix as well as the closed form."""
    loops = [rectangle(0.1, 0.05, 1e-3).moved((x, 0, 0.02)) for x in (0.0, 0.08)]
    full = half_space_resistance(loops, SALINE, 100.0)
    assert full == pytest.approx(half_space_resistance(loops, SALINE, 100.0, full_wave=False), rel=1e-3)


def test_loops_that_touch_or_tilt_where_they_must_not_are_refused() -> None:
    tilted = circle(0.03, 1e-3).turned(0.2, (1, 0, 0)).moved((0, 0, 0.1))
    with pytest.raises(ValueError, match="parallel"):
        half_space_resistance([tilted], SALINE, SODIUM)
    with pytest.raises(ValueError, match="above"):
        half_space_resistance([circle(0.03, 1e-3).moved((0, 0, -0.1))], SALINE, SODIUM)
    with pytest.raises(ValueError, match="at least one"):
        half_space_resistance([], SALINE, SODIUM)
    with pytest.raises(ValueError, match="distance"):
        circle_resistance(0.05, 0.0, SALINE, SODIUM)
    with pytest.raises(ValueError, match="permittivity"):
        HalfSpace(0.6, 0.0)
