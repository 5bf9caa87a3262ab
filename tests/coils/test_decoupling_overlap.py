"""Facts about overlap and gap advice, judged by an integration of its own."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.decoupling.overlap import Travel, advise_move, coupling_along
from coils.magnetics.loops import bend, circle, rectangle

WIRE = 1.5e-3


def neumann(one: np.ndarray, other: np.ndarray, soft: float) -> float:
    """Midpoint sums of Neumann's integral over finely divided closed curves, shape (point, 3)."""
    d1, d2 = np.roll(one, -1, 0) - one, np.roll(other, -1, 0) - other
    m1, m2 = one + d1 / 2, other + d2 / 2
    total = 0.0
    for middle, element in zip(m1, d1, strict=True):
        r = np.sqrt(np.sum((m2 - middle) ** 2, axis=1) + soft**2)
        total += float(np.sum((d2 @ element) / r))
    return 1e-7 * total


def curved_rectangle(radius: float, width: float, height: float, centre: float, points: int) -> np.ndarray:
    """Points on a rectangle wrapped round a cylinder; ``centre`` is its arc in m."""
    s = np.linspace(-0.5, 0.5, points, endpoint=False)
    corner = np.concatenate(
        [
            np.stack([s * width, np.full_like(s, -height / 2)], 1),
            np.stack([np.full_like(s, width / 2), s * height], 1),
            np.stack([-s * width, np.full_like(s, height / 2)], 1),
            np.stack([np.full_like(s, -width / 2), -s * height], 1),
        ]
    )
    angle = (corner[:, 0] + centre) / radius
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), corner[:, 1]], 1)


def coupling(one: np.ndarray, other: np.ndarray) -> float:
    """Return k by the test's own integrals, for loops of equal shape."""
    return neumann(one, other, WIRE) / neumann(one, one, WIRE)


@pytest.fixture(scope="module")
def cylinder_travel() -> Travel:
    """Two 105 x 110 mm loops on a cylinder of 120 mm radius, designed 92 mm apart."""
    one = bend(rectangle(0.105, 0.110, WIRE), 0.120)
    other = one.turned(0.092 / 0.120)
    return coupling_along(
        lambda x: (one, other.turned(x / 0.120)), np.linspace(-0.012, 0.012, 13), clearance=WIRE
    )


@pytest.mark.parametrize("misplaced", [-4.3e-3, 2.9e-3, 6.1e-3])
def test_following_the_advice_decouples_loops_of_a_slightly_other_shape(
    cylinder_travel: Travel, misplaced: float
) -> None:
    """The bench has loops 1 % wider, and misplaced: after one move what is left is within the uncertainty.

    Three standard uncertainties of the advice, times the slope; and ten times less than before.
    """

    def bench(apart: float) -> float:
        shape = 0.120, 0.106, 0.110
        return coupling(curved_rectangle(*shape, 0.0, 300), curved_rectangle(*shape, 0.092 + apart, 280))

    before = bench(misplaced)
    (move,) = advise_move(cylinder_travel, before, uncertainty=2e-4, sign_known=True)
    after = bench(misplaced + move.apart)
    assert abs(before) > 0.01
    assert abs(after) < 3.0 * move.uncertainty * abs(move.slope)
    assert abs(after) < abs(before) / 10.0
    assert np.sign(move.apart) == np.sign(before)  # too much overlap: move apart
    again = advise_move(cylinder_travel, after, uncertainty=2e-4, sign_known=True)[0]
    assert abs(again.apart) < 0.2e-3 + 3 * again.uncertainty


def test_without_a_sign_one_of_two_moves_is_right(cylinder_travel: Travel) -> None:
    """Both candidates are given; following the right one decouples, the wrong one does not."""
    shape = 0.120, 0.105, 0.110
    first = curved_rectangle(*shape, 0.0, 240)

    def bench(apart: float) -> float:
        return coupling(first, curved_rectangle(*shape, 0.092 + apart, 260))

    before = bench(4e-3)
    moves = advise_move(cylinder_travel, abs(before), uncertainty=2e-4, sign_known=False)
    assert len(moves) == 2
    left = sorted(abs(bench(4e-3 + move.apart)) for move in moves)
    assert left[0] < abs(before) / 20.0
    assert left[1] > abs(before)


def test_two_coplanar_circles_decouple_at_the_overlap_of_the_literature() -> None:
    """Roemer et al. (1990): centres of circular loops 0.75 diameters apart; thin wire: 0.76."""
    one = circle(0.05, 1e-3, vertices=72)
    travel = coupling_along(
        lambda x: (one, one.moved((0.075 + x, 0.0, 0.0))), np.linspace(-6e-3, 8e-3, 9), clearance=1e-3
    )
    zero = 0.075 + travel.positions_of(0.0)[0]
    assert zero / 0.1 == pytest.approx(0.76, abs=0.012)


def test_stacked_circles_reach_the_gap_that_maxwells_formula_gives() -> None:
    """Coaxial circles never reach k = 0; the gap for k = 0.05 is that of the elliptic integrals."""
    from scipy.optimize import brentq
    from scipy.special import ellipe, ellipk

    a, wire = 0.05, 1e-3

    def maxwell(z: float) -> float:
        m = 4 * a * a / (4 * a * a + z * z)
        root = np.sqrt(m)
        mutual = 4e-7 * np.pi * a * ((2 / root - root) * ellipk(m) - 2 / root * ellipe(m))
        return mutual / (4e-7 * np.pi * a * (np.log(8 * a / wire) - 2))

    one = circle(a, wire, vertices=90)
    travel = coupling_along(lambda x: (one, one.moved((0.0, 0.0, 0.04 + x))), np.linspace(-0.02, 0.05, 15))
    (move,) = advise_move(travel, maxwell(0.035), uncertainty=1e-4, sign_known=True, target=0.05)
    truth = brentq(lambda z: maxwell(z) - 0.05, 0.02, 0.1) - 0.035
    # 15 splined positions and a polygon of 90 corners: 0.5 % of the move
    assert move.apart == pytest.approx(truth, rel=5e-3)
    assert move.offset == pytest.approx(-0.005, abs=5e-5)
    with pytest.raises(MeasurementError, match=r"spans k = \+0"):
        advise_move(travel, maxwell(0.035), uncertainty=1e-4, sign_known=True)


def test_uncertainty_grows_with_that_of_k_and_with_the_way(cylinder_travel: Travel) -> None:
    """In quadrature: u(k)/slope, and a part of the move; a window is k over slope."""
    (near,) = advise_move(cylinder_travel, 0.002, uncertainty=1e-3, sign_known=True)
    (far,) = advise_move(cylinder_travel, 0.04, uncertainty=0.0, sign_known=True)
    assert near.uncertainty == pytest.approx(1e-3 / abs(near.slope), rel=0.1)
    assert far.uncertainty > 0.06 * abs(far.apart) * 0.999
    assert far.window(0.002) == pytest.approx(0.002 / abs(far.slope))
    assert "mm apart (less overlap)" in str(far)


def test_a_travel_must_rise_and_be_long_enough() -> None:
    """Five positions at least."""
    with pytest.raises(ValueError, match="at least 5"):
        Travel(np.arange(4.0), np.zeros(4))
    with pytest.raises(ValueError, match="rise"):
        Travel(np.array([0.0, 1.0, 1.0, 2.0, 3.0]), np.zeros(5))
