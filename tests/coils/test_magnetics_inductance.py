"""Facts about inductances of loops and arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad

from coils.magnetics import closed_forms
from coils.magnetics.arrays import cylinder_array, ring, row
from coils.magnetics.inductance import (
    coupling_matrix,
    distance_between,
    inductance_matrix,
    mutual_inductance,
    self_inductance,
)
from coils.magnetics.loops import Loop, bend, circle, polygon, rectangle

MU0 = 4e-7 * np.pi


def neumann(one: Loop, other: Loop, softening: float, order: int = 64) -> float:
    """Return Neumann's double integral by plain Gauss-Legendre quadrature on every side."""
    x, weight = np.polynomial.legendre.leggauss(order)

    def nodes(loop: Loop) -> tuple[np.ndarray, np.ndarray]:
        places = loop.path[:, None] + 0.5 * (1 + x)[:, None] * loop.segments[:, None]
        return places.reshape(-1, 3), (0.5 * weight[:, None] * loop.segments[:, None]).reshape(-1, 3)

    (p, dp), (q, dq) = nodes(one), nodes(other)
    r = np.sqrt(np.sum((p[:, None] - q[None]) ** 2, axis=-1) + softening**2)
    return float(MU0 / (4 * np.pi) * np.sum(dp @ dq.T / r))


@pytest.mark.parametrize(
    ("a", "b", "z"), [(0.05, 0.05, 0.05), (0.05, 0.03, 0.0), (0.05, 0.06, 0.02), (0.1, 0.02, 0.3)]
)
def test_coaxial_circles_couple_as_maxwell_says(a: float, b: float, z: float) -> None:
    """Treatise, article 701; a polygon of 180 corners and the circle's area differs by 2e-4² of the size."""
    m = mutual_inductance(circle(a, 1e-3), circle(b, 1e-3).moved((0, 0, z)))
    assert m == pytest.approx(closed_forms.coaxial_circles(a, b, z), rel=1e-6)


def test_maxwells_formula_is_the_integral_over_the_angle() -> None:
    """M = mu0 a b / 2 times the integral of cos / distance."""
    phi = (np.arange(400) + 0.5) * 2 * np.pi / 400
    a, b, z = 0.05, 0.07, 0.04
    integral = np.mean(np.cos(phi) / np.sqrt(a * a + b * b + z * z - 2 * a * b * np.cos(phi))) * 2 * np.pi
    assert closed_forms.coaxial_circles(a, b, z) == pytest.approx(MU0 * a * b / 2 * integral, rel=1e-12)


@pytest.mark.parametrize(("w", "tolerance"), [(1e-4, 1e-5), (1e-3, 2e-4), (2e-3, 8e-4)])
def test_a_circle_has_the_handbooks_inductance(w: float, tolerance: float) -> None:
    """mu0 a (ln(8a/w) - 2): (w/a)² ln(8a/w) / 4 of the bracket left out, twice, and 5e-6 of polygon."""
    loop = circle(0.05, w)
    assert self_inductance(loop) == pytest.approx(closed_forms.circle(0.05, w), rel=tolerance)


def test_a_rectangle_has_the_handbooks_inductance() -> None:
    """Grover's terms of first order in w/side are left out: the four corners, 2 w of 1 m in the bracket."""
    for width, height, w in ((0.11, 0.1, 1e-5), (0.2, 0.05, 1e-5)):
        exact = closed_forms.rectangle(width, height, w)
        assert self_inductance(rectangle(width, height, w)) == pytest.approx(exact, rel=2 * w / width)


def test_a_square_is_four_straight_pieces_less_their_opposites() -> None:
    """Perpendicular sides do not couple; opposite ones by Grover's two parallel filaments, in full."""
    a, w = 0.1, 2e-3
    d = np.hypot(a, w)
    opposite = MU0 / (2 * np.pi) * (a * np.arcsinh(a / d) - np.hypot(a, d) + d)
    expected = 4 * closed_forms.straight_wire(a, w) - 4 * opposite
    assert self_inductance(rectangle(a, a, w)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("sides", [3, 4, 5, 6, 8])
def test_regular_polygons_have_grovers_constants(sides: int) -> None:
    """Printed to 5 decimals of a logarithm near 9; corners cost w/side."""
    side, w = 0.08, 1e-5
    angle = 2 * np.pi * np.arange(sides) / sides
    corners = side / (2 * np.sin(np.pi / sides)) * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    closed = closed_forms.regular_polygon(sides, side, w)
    assert self_inductance(polygon(corners, w)) == pytest.approx(closed, rel=1e-5 + 2 * w / side)
    with pytest.raises(ValueError, match="not 7"):
        closed_forms.regular_polygon(7, side, w)


def test_a_strips_low_frequency_inductance_is_the_mean_over_its_width() -> None:
    """Filaments spread evenly over the width: the mean of parallel filaments' mutual inductances."""
    length, width = 0.1, 0.005
    x = (np.arange(2000) + 0.5) / 2000 * width
    d = x[1:] - x[0]
    f = length * np.arcsinh(length / d) - np.hypot(length, d) + d
    # separations d occur (n - k) times; the self term of a slice of width h has ln h - 3/2 for its mean ln d
    h = width / 2000
    own = length * (np.log(2 * length / h) + 0.5)
    mean = (2 * np.sum((2000 - np.arange(1, 2000)) * f) + 2000 * own) / 2000**2
    assert closed_forms.straight_strip(length, width) == pytest.approx(MU0 / (2 * np.pi) * mean, rel=2e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 0.5))
def test_pairs_of_straight_pieces_are_integrated_exactly(seed: int, softening: float) -> None:
    """Random triangles in space against adaptive quadrature, side by side."""
    rng = np.random.default_rng(seed)
    one, other = Loop(rng.normal(size=(3, 3)), 0.1), Loop(rng.normal(size=(3, 3)), 0.1).moved((4, 0, 0))
    total = 0.0
    for p, u in zip(one.path, one.segments, strict=True):
        for q, v in zip(other.path, other.segments, strict=True):
            w, uu, vv = p - q, u @ u, v @ v
            pu, pv, uv = w @ u, w @ v, u @ v
            base = w @ w + softening**2
            total += (u @ v) * dblquad(
                lambda t, s, base=base, uu=uu, vv=vv, pu=pu, pv=pv, uv=uv: (
                    base + s * s * uu + t * t * vv + 2 * s * pu - 2 * t * pv - 2 * s * t * uv
                )
                ** -0.5,
                0, 1, 0, 1, epsabs=1e-6, epsrel=1e-6,
            )[0]  # fmt: skip
    got = (
        mutual_inductance(one, other, clearance=softening)
        if softening
        else mutual_inductance(one, other, 1e-9)
    )
    size = np.linalg.norm(one.segments) * np.linalg.norm(other.segments)
    assert got == pytest.approx(1e-7 * total, abs=1e-7 * 3e-6 * size)


def test_almost_parallel_pieces_join_the_parallel_ones_smoothly() -> None:
    """Around the angle where the formulas change, 1e-7 rad, the inductance stays within 1e-8."""
    fixed = rectangle(0.1, 0.07, 1e-3)
    values = [
        mutual_inductance(fixed, rectangle(0.06, 0.09, 1e-3).turned(angle).moved((0.02, 0.01, 0.015)))
        for angle in (0.0, 0.99e-7, 1.01e-7, 2e-7, 1e-6)
    ]
    assert values == pytest.approx([values[0]] * len(values), rel=1e-8)


def test_mutual_inductance_is_reciprocal_and_keeps_its_sign() -> None:
    """Swapping changes nothing, reversing one path changes the sign, rotating both changes nothing."""
    rng = np.random.default_rng(2)
    one, other = Loop(rng.normal(size=(5, 3)), 0.01), Loop(rng.normal(size=(7, 3)) + 3, 0.02)
    m = mutual_inductance(one, other)
    assert mutual_inductance(other, one) == pytest.approx(m, rel=1e-11)
    assert mutual_inductance(one, Loop(other.path[::-1], 0.02)) == pytest.approx(-m, rel=1e-11)
    turned = [loop.turned(1.1, (1, -2, 0.5)).moved((3, 1, 2)) for loop in (one, other)]
    assert mutual_inductance(*turned) == pytest.approx(m, rel=1e-10)
    assert m == pytest.approx(neumann(one, other, 0.0), rel=1e-8)


def test_distant_loops_couple_as_dipoles() -> None:
    """M = mu0/4pi (3 (m.r)(m'.r)/r^5 - m.m'/r^3): the next term is (size/distance)² smaller."""
    one, other = rectangle(0.02, 0.01, 1e-4), circle(0.01, 1e-4).turned(0.7, (1, 0, 0)).moved((0.6, 0.5, 0.9))
    r = np.array((0.6, 0.5, 0.9))
    d = np.linalg.norm(r)
    a, b = one.area, other.area
    dipole = 1e-7 * (3 * (a @ r) * (b @ r) / d**5 - a @ b / d**3)
    assert mutual_inductance(one, other) == pytest.approx(dipole, rel=3 * (0.02 / d) ** 2)


def test_crossing_loops_need_a_clearance_and_coincident_ones_couple_fully() -> None:
    """Without a gap two strips on each other would couple without limit; by default they couple as one."""
    one = rectangle(0.1, 0.08, 1.25e-3)
    over = one.moved((0.08, 0.0, 0.0))
    assert distance_between(one, over) == pytest.approx(0.0, abs=1e-15)
    with pytest.raises(ValueError, match="clearance"):
        mutual_inductance(one, over, 0.0)
    with pytest.raises(ValueError, match="negative"):
        mutual_inductance(one, over, -1.0)
    assert mutual_inductance(one, one) == self_inductance(one)
    assert mutual_inductance(one, over) == mutual_inductance(one, over, 1.25e-3)
    assert mutual_inductance(one, over, 3e-3) == pytest.approx(neumann(one, over, 3e-3), rel=1e-5)


def test_distance_between_loops_is_that_of_their_nearest_points() -> None:
    """Against a dense sampling, which can only be larger, by at most half a step."""
    rng = np.random.default_rng(4)
    for _ in range(5):
        one, other = Loop(rng.normal(size=(4, 3)), 0.1), Loop(rng.normal(size=(3, 3)) + 1, 0.1)
        t = np.linspace(0, 1, 401)[:, None, None]
        a = (one.path + t * one.segments).reshape(-1, 3)
        b = (other.path + t * other.segments).reshape(-1, 3)
        sampled = min(np.linalg.norm(b - p, axis=1).min() for p in a)
        step = np.abs(np.concatenate((one.segments, other.segments))).max() * 2 / 400
        assert 0.0 <= sampled - distance_between(one, other) < step


def test_overlapped_loops_round_a_cylinder() -> None:
    """The ring's matrix is circulant; neighbours decouple at a width near 1.13 pitches, the next do not."""
    loops = cylinder_array(8, 0.12, 0.11, 1.25e-3, width_to_pitch=1.127)
    matrix = inductance_matrix(loops)
    assert np.array_equal(matrix, matrix.T)
    assert all(np.array_equal(np.roll(matrix[0], i), matrix[i]) for i in range(8))
    k = coupling_matrix(matrix)[0]
    assert abs(k[1]) < 1e-3
    assert k[2] == pytest.approx(-0.0138, abs=2e-4)
    assert matrix[0, 3] == pytest.approx(neumann(loops[2], loops[5], 0.0, 24), rel=1e-6)


def test_congruent_pairs_are_found_and_others_are_not_taken_for_them() -> None:
    """A row of unequal loops computed together equals each pair computed alone."""
    loops = [*row(rectangle(0.05, 0.04, 1e-3), 3, 0.07), circle(0.03, 2e-3).moved((0.0, 0.1, 0.01))]
    loops.append(loops[0].moved((0, -0.08, 0)))
    loops.append(Loop(loops[1].path[::-1], 1e-3).moved((0, 0, 0.05)))
    # the same shapes, overlapped, of thin and of thick wire
    thin, thick = (Loop(loops[0].path, w).moved((0, 0, 50 * w)) for w in (1e-3, 3e-3))
    loops += [thin, thin.moved((0.03, 0, 0)), thick, thick.moved((0.03, 0, 0))]
    matrix = inductance_matrix(loops)
    for i, one in enumerate(loops):
        for j, other in enumerate(loops):
            alone = self_inductance(one) if i == j else mutual_inductance(one, other)
            assert matrix[i, j] == pytest.approx(alone, rel=1e-10)
    assert matrix[1, 5] < 0.0
    assert matrix[8, 9] != matrix[6, 7]
    assert np.all(np.linalg.eigvalsh(matrix) > 0.0)


def test_a_bent_loop_faces_outwards_and_keeps_its_size() -> None:
    """Width along the circumference, height along z; chords are shorter by step²/24."""
    loop = bend(rectangle(0.11, 0.1, 1e-3), 0.12, angle=0.7, z=0.02)
    assert loop.length == pytest.approx(0.42, rel=0.03**2 / 24)
    assert np.hypot(*loop.path[:, :2].T) == pytest.approx(np.full(len(loop.path), 0.12))
    area = loop.area
    assert np.arctan2(area[1], area[0]) == pytest.approx(0.7)
    assert np.linalg.norm(area) == pytest.approx(0.1 * 2 * 0.12 * np.sin(0.11 / 0.24), rel=1e-12)
    assert area[2] == pytest.approx(0.0, abs=1e-17)
    assert loop.path[:, 2].mean() == pytest.approx(0.02)
    turned = bend(rectangle(0.11, 0.1, 1e-3), 0.12, z=0.02).turned(0.7)
    assert np.allclose(turned.path, loop.path, rtol=0, atol=1e-15)


def test_quadrature_nodes_integrate_along_the_path() -> None:
    """The length, the area and a 1/r kernel at the asked distance."""
    loop = rectangle(0.3, 0.05, 1e-3)
    points, elements = loop.nodes(0.04)
    assert np.linalg.norm(elements, axis=1).sum() == pytest.approx(0.7, rel=1e-13)
    assert 0.5 * np.cross(points, elements).sum(axis=0) == pytest.approx(loop.area, rel=1e-12)
    fine, fine_elements = loop.nodes(0.004)
    at = np.array((0.02, 0.065, 0.0))
    coarse = (elements / np.linalg.norm(points - at, axis=1)[:, None]).sum(axis=0)
    exact = (fine_elements / np.linalg.norm(fine - at, axis=1)[:, None]).sum(axis=0)
    assert coarse == pytest.approx(exact, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Loop(np.zeros((2, 3)), 1e-3), "at least 3"),
        (lambda: Loop(np.full((3, 3), np.nan), 1e-3), "finite"),
        (lambda: Loop(np.array(((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 0.0))), 1e-3), "repeated"),
        (lambda: rectangle(0.1, 0.1, 0.0), "wire radius"),
        (lambda: rectangle(0.1, -0.1, 1e-3), "sides"),
        (lambda: circle(0.1, 1e-3, vertices=2), "3 vertices"),
        (lambda: polygon(np.zeros((4, 3)), 1e-3), r"\(vertex, 2\)"),
        (lambda: bend(rectangle(1.0, 0.1, 1e-3), 0.1), "wider"),
        (lambda: bend(rectangle(0.1, 0.1, 1e-3).turned(0.1, (1, 0, 0)), 0.1), "xy-plane"),
        (lambda: bend(rectangle(0.1, 0.1, 1e-3), 0.0), "positive"),
        (lambda: ring(circle(0.1, 1e-3), 0), "at least one"),
        (lambda: row(circle(0.1, 1e-3), 3, 0.0), "pitch"),
        (lambda: cylinder_array(1, 0.1, 0.1, 1e-3), "at least 2"),
        (lambda: inductance_matrix([]), "at least one"),
        (lambda: closed_forms.circle(0.0, 1e-3), "radius must be positive"),
        (lambda: closed_forms.coaxial_circles(0.1, 0.1, 0.0), "coincident"),
    ],
)
def test_impossible_geometry_is_refused(make: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()  # type: ignore[operator]
