"""Facts about losses of conductors, capacitors, inductors and joints."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from coils.magnetics.closed_forms import coaxial_circles
from coils.magnetics.components import CapacitorLoss, inductor_resistance, solenoid_inductance, solenoid_q
from coils.magnetics.conductors import COPPER, SOLDER, RoundWire, joint_resistance, skin_depth
from coils.magnetics.loops import strip_wire_radius
from coils.magnetics.strip import Strip, closed_form_resistance

MU0 = 4e-7 * np.pi


def strip_impedance(f: float, width: float, thickness: float, cells: tuple[int, int]) -> complex:
    """Return R + jωL per metre (L up to a constant) of a strip from its current's integral equation.

    rho J + jω A = const in every cell, A the exact two-dimensional potential of cells of constant current;
    cells shrink towards edges and faces.
    """

    def edges(size: float, count: int) -> np.ndarray:
        return -0.5 * size * np.cos(np.pi * np.linspace(0, 1, count + 1))

    def corner(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # the double integral of ln r over [0, x] x [0, y]
        r2 = x * x + y * y
        around = x * x * np.arctan2(np.abs(y), np.abs(x)) + y * y * np.arctan2(np.abs(x), np.abs(y))
        return 0.5 * (x * y * (np.log(r2) - 3) + np.sign(x * y) * around)

    ex, ey = edges(width, cells[0]), edges(thickness, cells[1])
    x0, y0 = (q.ravel() for q in np.meshgrid(ex[:-1], ey[:-1], indexing="ij"))
    x1, y1 = (q.ravel() for q in np.meshgrid(ex[1:], ey[1:], indexing="ij"))
    x, y = 0.5 * (x0 + x1)[:, None], 0.5 * (y0 + y1)[:, None]
    logs = corner(x1 - x, y1 - y) - corner(x0 - x, y1 - y) - corner(x1 - x, y0 - y) + corner(x0 - x, y0 - y)
    matrix = COPPER * np.eye(len(x0)) - 1j * f * MU0 * logs
    density = np.linalg.solve(matrix, np.ones(len(x0)))
    return complex(1.0 / np.sum(density * (x1 - x0) * (y1 - y0)))


@pytest.mark.parametrize(
    ("f", "width", "thickness"),
    [(33.8e6, 5e-3, 35e-6), (127.7e6, 5e-3, 35e-6), (10e6, 10e-3, 18e-6), (33.8e6, 2e-3, 200e-6)],
)
def test_a_strips_resistance_is_that_of_its_crowded_current(f: float, width: float, thickness: float) -> None:
    """The integral equation on other cells, without symmetry; 80 x 12 cells of the cosine's spacing: 1 %."""
    exact = strip_impedance(f, width, thickness, (80, 12)).real
    assert Strip(width, thickness).resistance(f) == pytest.approx(exact, rel=0.01)


def test_the_closed_form_of_a_thin_strip_is_within_a_tenth() -> None:
    """From 1.5 skin depths and 25 widths to a thickness on, as it says; below, it is far too high."""
    f = np.array((33.8e6, 127.7e6))
    for width, thickness in ((5e-3, 35e-6), (10e-3, 18e-6), (5e-3, 200e-6), (20e-3, 70e-6)):
        strip = Strip(width, thickness)
        assert closed_form_resistance(f, strip) == pytest.approx(strip.resistance(f), rel=0.10)
    assert closed_form_resistance(1e6, Strip(5e-3, 18e-6)) > 1.5 * Strip(5e-3, 18e-6).resistance(1e6)


def test_current_crowds_at_the_edges_of_a_thin_strip() -> None:
    """Twice the loss of an even current under both faces for 5 mm of 35 µm copper at 34 MHz."""
    assert Strip(5e-3).crowding(33.8e6) == pytest.approx(2.0, abs=0.05)


def test_many_frequencies_are_interpolated() -> None:
    """Each as if alone, to 0.3 %, whatever their order and shape."""
    f = np.geomspace(160e6, 5e6, 60).reshape(6, 10)
    loss = Strip(5e-3).resistance(f)
    alone = [float(Strip(5e-3).resistance(one)) for one in f[::2, 3]]
    assert loss[::2, 3] == pytest.approx(alone, rel=3e-3)


def test_a_strip_acts_like_a_wire_of_a_quarter_of_its_width() -> None:
    """The integral equation's L is mu0/2pi ln(1/radius) and the internal R/ω, up to a common constant."""
    f = 127.7e6
    radius = {}
    for width in (5e-3, 10e-3):
        z = strip_impedance(f, width, 35e-6, (60, 14))
        radius[width] = np.exp(-(z.imag - z.real) / (MU0 * f))
    # within 3 %, which is 0.5 % of a loop's logarithm near 6
    for width, found in radius.items():
        assert strip_wire_radius(width, 35e-6) == pytest.approx(found, rel=0.03)


def test_a_round_wire_between_direct_current_and_a_thin_skin() -> None:
    """Start at rho / area and mu0/8pi; end as rho / (2 pi w d - pi d²) when the skin d is thin, to (d/w)²."""
    wire = RoundWire(0.5e-3)
    slow = wire.impedance(1.0)
    assert slow.real == pytest.approx(COPPER / (np.pi * 0.25e-6), rel=1e-6)
    assert slow.imag / (2 * np.pi) == pytest.approx(MU0 / (8 * np.pi), rel=1e-5)
    f = np.array([[1e6, 33.8e6], [127.7e6, 300e6]])
    depth = skin_depth(f)
    assert depth[0, 1] == pytest.approx(11.37e-6, rel=1e-3)
    thin = COPPER / (np.pi * (2 * 0.5e-3 * depth - depth**2))
    assert wire.resistance(f).shape == (2, 2)
    assert np.all(np.abs(wire.resistance(f) / thin - 1) < (depth / 0.5e-3) ** 2)
    assert np.allclose(wire.impedance(f).imag / wire.resistance(f), 1, atol=depth.max() / 0.5e-3)


def test_a_round_wires_impedance_solves_the_diffusion_equation() -> None:
    """Shells of the wire's current, rho J + jω A = const, where the skin is as deep as the wire."""
    f, radius, shells = 20e3, 0.5e-3, 400
    edges = np.linspace(0, radius, shells + 1)
    inner, outer = edges[:-1], edges[1:]
    area = np.pi * (outer**2 - inner**2)
    middle = np.sqrt(0.5 * (inner**2 + outer**2))
    # A of a thin shell: -mu0/2pi ln(larger radius), 0 on the surface
    potential = -MU0 / (2 * np.pi) * np.log(np.maximum.outer(middle, middle) / radius) * area
    density = np.linalg.solve(COPPER * np.eye(shells) + 2j * np.pi * f * potential, np.ones(shells))
    assert RoundWire(radius).impedance(f) == pytest.approx(1 / np.sum(density * area), rel=1e-4)


def test_a_strip_at_low_frequency_is_its_cross_section() -> None:
    """Resistivity over area below 10 kHz; higher frequencies lose more."""
    loss = np.array([float(Strip(5e-3, 18e-6).resistance(f)) for f in np.geomspace(1e3, 1e9, 13)])
    assert loss[0] == pytest.approx(COPPER / (5e-3 * 18e-6), rel=1e-5)
    assert np.all(np.diff(loss) > 0.0)


def test_a_joint_is_a_short_piece_of_solder() -> None:
    """1.3 milliohm for 3 mm in a 5 mm strip at 34 MHz: the surface resistance of solder over both faces."""
    joint = joint_resistance(33.8e6, 3e-3, 5e-3)
    assert joint == pytest.approx(np.sqrt(np.pi * 33.8e6 * MU0 * SOLDER) * 3 / 10, rel=1e-9)
    assert joint == pytest.approx(1.32e-3, rel=0.01)


def test_a_capacitors_losses_come_from_two_q_of_its_data_sheet() -> None:
    """The fit returns both Q; the dielectric loses as 1/f, the metal as √f."""
    part = CapacitorLoss.from_q(47e-12, (30e6, 1500.0), (150e6, 400.0))
    assert part.q((30e6, 150e6)) == pytest.approx((1500.0, 400.0), rel=1e-12)
    by_hand = part.dissipation_factor / (2 * np.pi * 63e6 * 47e-12) + part.metal_resistance * np.sqrt(63.0)
    assert part.resistance(63e6) == pytest.approx(by_hand, rel=1e-12)
    assert CapacitorLoss(1e-11, 1e-3, 0.0).q((1e6, 1e9)) == pytest.approx((1000.0, 1000.0))


def test_an_inductors_q_grows_with_the_root_of_frequency() -> None:
    f = np.array([33.8e6, 127.7e6])
    q = 2 * np.pi * f * 120e-9 / inductor_resistance(f, 120e-9, 220.0, 33.8e6)
    assert q == pytest.approx(220.0 * np.sqrt(f / 33.8e6), rel=1e-12)


@pytest.mark.parametrize("shape", [0.3, 2.0])
def test_a_solenoid_is_a_sheet_of_coaxial_circles(shape: float) -> None:
    """n² times Maxwell's formula averaged over all pairs of places along the coil."""
    diameter, turns = 0.012, 7
    length = shape * diameter
    integral = quad(
        lambda u: (1 - u) * coaxial_circles(diameter / 2, diameter / 2, u * length),
        0,
        1,
        epsabs=0,
        epsrel=1e-9,
    )[0]
    assert solenoid_inductance(turns, diameter, length) == pytest.approx(2 * turns**2 * integral, rel=1e-7)


def test_a_solenoids_best_q_is_medhursts() -> None:
    """0.15 R ψ √f (cm, Hz) with ψ of 0.61 and 0.71 at length/diameter 0.8 and 1.6: within 10 %."""
    f = 33.8e6
    for shape, psi in ((0.8, 0.61), (1.6, 0.71)):
        assert solenoid_q(f, 0.01, shape * 0.01) == pytest.approx(
            0.15 * 0.5 * psi * np.sqrt(f) * 1.0, rel=0.1
        )


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: RoundWire(0.0), "radius must be positive"),
        (lambda: Strip(1e-3, 2e-3), "wider than thick"),
        (lambda: Strip(-1e-3), "width must be positive"),
        (lambda: skin_depth(0.0), "frequencies"),
        (lambda: Strip(1e-3).resistance(-1.0), "frequencies"),
        (lambda: joint_resistance(1e6, 0.0, 1e-3), "length"),
        (lambda: strip_wire_radius(0.0), "width"),
        (lambda: CapacitorLoss(0.0, 1e-3, 0.0), "capacitance"),
        (lambda: CapacitorLoss.from_q(1e-11, (1e6, 100.0), (1e6, 90.0)), "two different"),
        (lambda: CapacitorLoss.from_q(1e-11, (1e6, 1000.0), (4e6, 10.0)), "negative"),
        (lambda: inductor_resistance(1e6, 0.0, 100.0, 1e6), "positive L"),
        (lambda: solenoid_inductance(0, 0.01, 0.01), "turns"),
    ],
)
def test_impossible_parts_are_refused(make: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()  # type: ignore[operator]
