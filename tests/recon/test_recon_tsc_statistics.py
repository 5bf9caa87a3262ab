"""Uncertainty budgets, lines through references, repeatability: against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.tsc.budget import Inputs, numerical_tolerance, propagate
from recon.tsc.regression import fit_line, leave_one_out, reject_outliers
from recon.tsc.repeatability import repeatability


def inputs(nominal, deviations, rectangular=None):
    nominal = np.asarray(nominal, dtype=np.float64)
    covariances = {}
    for cause, index, deviation in deviations:
        covariances[cause] = np.zeros((nominal.size, nominal.size))
        covariances[cause][index, index] = deviation**2
    flat = np.zeros(nominal.size, np.bool_) if rectangular is None else np.asarray(rectangular)
    return Inputs(nominal, covariances, flat)


def test_a_sum_is_propagated_exactly_and_confirmed():
    """A linear model of normal inputs: both ways must agree, correlation included."""
    covariance = np.array([[1.0, 0.8], [0.8, 4.0]])
    given = Inputs(np.array([10.0, 20.0]), {"both": covariance}, np.zeros(2, np.bool_))
    (found,) = propagate(lambda x: x.sum(axis=1, keepdims=True), given, draws=200_000)
    assert found.linear == pytest.approx(np.sqrt(1 + 4 + 1.6), rel=1e-6)
    assert found.monte_carlo == pytest.approx(found.linear, rel=0.01)
    assert found.is_linear_valid


def test_a_square_is_not_confirmed():
    """x² at 0 has no slope: linear propagation says 0, JCGM 101:2008, 9.3 is of this kind."""
    (found,) = propagate(lambda x: x[:, :1] ** 2, inputs([0.0], [("x", 0, 1.0)]))
    assert found.linear == pytest.approx(0.0, abs=1e-12)
    assert found.monte_carlo == pytest.approx(np.sqrt(2), rel=0.05)
    assert not found.is_linear_valid


def test_a_rectangular_input_has_its_interval():
    """± a: standard deviation a / sqrt 3 and 95 % within ± 0.95 a."""
    given = inputs([0.0], [("a", 0, 1 / np.sqrt(3))], [True])
    (found,) = propagate(lambda x: x, given, draws=100_000)
    assert found.interval == pytest.approx((-0.95, 0.95), abs=0.01)


@pytest.mark.parametrize(("u", "tolerance"), [(1.23, 0.05), (0.0456, 0.0005), (23.0, 0.5)])
def test_numerical_tolerance(u, tolerance):
    """Half a unit of the second digit: JCGM 101:2008, 7.9.2."""
    assert numerical_tolerance(u) == pytest.approx(tolerance)


def test_tissue_budget_with_a_badly_known_t2_star():
    """Grey matter of 45 mmol/L: 3 % B1-, 2 % T1, 1.9 % short T2*, 1.8 % noise: 4.6 % linear, more in truth.

    The short T2* of 3 ms is known to a third of itself, and a third less costs more signal than a third
    more gives: the Monte Carlo interval is skewed upwards (41.3 to 50.5) and its deviation 2.43 beside 2.07.
    """
    tr, te, t1 = 0.12, 0.3e-3, 0.035

    def weight(t1_s, short):
        return (1 - np.exp(-tr / t1_s)) * (0.6 * np.exp(-te / short) + 0.4 * np.exp(-te / 20e-3))

    def model(x):
        short = np.maximum(3e-3 * x[:, 3], 0.8e-3)
        gain = x[:, 0] * x[:, 1] * weight(t1, 3e-3)
        return (45 * gain / (x[:, 4] * weight(t1 * x[:, 2], short)))[:, None]

    given = inputs(
        np.ones(5),
        [
            ("noise", 0, 0.018),
            ("preparation", 1, 0.003),
            ("T1", 2, 0.175),
            ("T2*", 3, 0.345),
            ("B1-", 4, 0.0305),
        ],
    )
    (found,) = propagate(model, given, draws=200_000)
    parts = {cause: part / 45 for cause, part in found.contributions}
    assert parts["B1-"] == pytest.approx(0.030, abs=0.001)
    assert parts["T1"] == pytest.approx(0.020, abs=0.001)
    assert parts["T2*"] == pytest.approx(0.019, abs=0.001)
    assert found.value == pytest.approx(45.0)
    assert found.linear == pytest.approx(2.07, abs=0.04)
    assert found.monte_carlo == pytest.approx(2.43, rel=0.06)
    assert found.interval == pytest.approx((41.3, 50.5), abs=0.9)
    assert found.interval[1] - 45 > 1.2 * (45 - found.interval[0])
    assert not found.is_linear_valid


@pytest.mark.parametrize(
    ("deviations", "flat", "linear", "low", "high"),
    [
        ((1.0, 1.0, 1.0, 1.0), False, 2.0, -3.92, 3.92),
        ((1.0, 1.0, 1.0, 1.0), True, 2.0, -3.88, 3.88),
        ((1.0, 1.0, 1.0, 10.0), True, 10.1, -17.0, 17.0),
    ],
    ids=["9.2.2", "9.2.3", "9.2.4"],
)
def test_the_published_sums_come_out(deviations, flat, linear, low, high):
    """JCGM 101:2008, 9.2: sums of four normal or rectangular inputs, tables 2 to 4, Monte Carlo of 10^6.

    Half a digit of what is printed, and four sampling errors of a quantile from 10^6 draws (1e-3 u each).
    """
    causes = [(str(index), index, one) for index, one in enumerate(deviations)]
    given = inputs(np.zeros(4), causes, [flat] * 4)
    (found,) = propagate(lambda x: x.sum(axis=1, keepdims=True), given, draws=1_000_000)
    assert found.linear == pytest.approx(np.sqrt(np.sum(np.square(deviations))), rel=1e-9)
    assert found.linear == pytest.approx(linear, abs=0.05)
    digit = 0.05 if linear > 9 else 0.005
    assert found.interval == pytest.approx((low, high), abs=digit + 4 * 2.7e-3 * found.linear)


def test_the_published_mass_calibration_comes_out():
    """JCGM 101:2008, 9.3, table 6: 1.234 mg; u 0.0539 by GUM's first order, 0.0754 by Monte Carlo.

    A quantile of 10^6 draws is known to 2.7e-3 u or 2e-4 mg. The published interval, [1.0834, 1.3825], is
    the shortest: its length is that of the symmetrical one (5 of those errors), its place less well known.
    """
    names = ("reference", "small weight", "air", "weight density", "reference density")
    nominal = np.array([100_000.0, 1.234, 1.20, 8e3, 8e3])
    half = np.array([0.0, 0.0, 0.10, 1e3, 0.05e3]) / np.sqrt(3)
    deviations = np.where(half > 0, half, [0.050, 0.020, 0.0, 0.0, 0.0])
    given = inputs(nominal, list(zip(names, range(5), deviations, strict=True)), half > 0)

    def model(x):
        reference, small, air, weight, density = x.T
        buoyant = 1 + (air - 1.2) * (1 / weight - 1 / density)
        return ((reference + small) * buoyant - 100_000.0)[:, None]

    (found,) = propagate(model, given, draws=1_000_000)
    assert found.value == pytest.approx(1.234, abs=1e-6)
    assert found.linear == pytest.approx(np.hypot(0.050, 0.020), rel=1e-6)
    assert found.linear == pytest.approx(0.0539, abs=5e-5)
    assert found.monte_carlo == pytest.approx(0.0754, abs=4e-4)
    assert np.diff(found.interval) == pytest.approx(1.3825 - 1.0834, abs=1.0e-3)
    assert found.interval == pytest.approx((1.0834, 1.3825), abs=2.0e-3)
    assert not found.is_linear_valid


def line_data(generator, slope=2.0, intercept=0.0):
    c = np.array([20.0, 60.0, 100.0, 145.0])
    sigma = np.array([0.5, 1.0, 2.0, 3.0])
    return c, intercept + slope * c + sigma * generator.standard_normal(4), np.diag(sigma**2)


def test_concentrations_read_off_a_line_scatter_as_stated():
    """u² = [u²(y) + u²(b) + c² u²(g) + 2 c cov(b, g)] / g² over 2000 lines; not without cov."""
    generator = np.random.default_rng(8)
    found, stated, without = [], [], []
    for _ in range(2000):
        line = fit_line(*line_data(generator, intercept=5.0))
        y = 5.0 + 2.0 * 80.0 + 1.5 * generator.standard_normal()
        value, uncertainty = line.predict(y, 1.5)
        found.append(value)
        stated.append(uncertainty)
        cov = line.covariance
        without.append(np.sqrt(1.5**2 + cov[0, 0] + 80.0**2 * cov[1, 1]) / 2.0)
    # A standard deviation of 2000 is known to 1.6 %.
    assert np.std(found) == pytest.approx(np.mean(stated), rel=0.06)
    assert np.mean(without) > 1.2 * np.std(found)


def test_an_intercept_is_flagged_at_its_rate():
    """|b| > 2 u(b): 4.6 % of lines through the origin (± 4 sigma of 2000), nearly all with b = 6 u(b)."""
    generator = np.random.default_rng(9)
    false = np.mean([fit_line(*line_data(generator)).has_intercept for _ in range(2000)])
    assert false == pytest.approx(0.0455, abs=4 * np.sqrt(0.0455 / 2000))
    u = fit_line(*line_data(generator)).intercept_uncertainty
    true = np.mean([fit_line(*line_data(generator, intercept=6 * u)).has_intercept for _ in range(200)])
    assert true > 0.99


def test_left_out_distance_is_that_of_a_fit_without_the_vial():
    """The closed form equals fitting the others and predicting the one, with correlated observations."""
    generator = np.random.default_rng(10)
    c, y, v = line_data(generator)
    v = v + 0.3 * np.outer(c, c) * 1e-3
    off = leave_one_out(c, y, v)
    for index in range(4):
        others = [k for k in range(4) if k != index]
        inner = v[np.ix_(others, others)]
        line = fit_line(c[others], y[others], inner, through_origin=True)
        inverse = np.linalg.inv(inner)
        weights = inverse @ c[others] / (c[others] @ inverse @ c[others])
        cross = np.zeros(4)
        cross[index] = 1.0
        cross[others] = -c[index] * weights
        # The residual of y_i against the others' line, with the covariance between them used (kriging).
        gain = np.linalg.solve(inner, v[others, index])
        rest = (y[index] - line.slope * c[index]) - gain @ (y[others] - line.slope * c[others])
        left = v[index, index] - gain @ v[others, index]
        bent = c[index] - gain @ c[others]
        variance = left + bent**2 * line.covariance[1, 1]
        assert off[index] == pytest.approx(rest / np.sqrt(variance), rel=1e-6)


def test_a_wrong_vial_is_rejected_and_named_and_good_ones_are_kept():
    """10 standard uncertainties off: never another one first, and named in nearly all of 100 cases.

    Where the rest disagrees by chance too (1 % of cases) or two vials are as bad, nobody is accused. Good
    lines lose a vial in at most 1 % of cases: 2 % of 1000 is three standard deviations more.
    """
    generator = np.random.default_rng(11)
    names = ["a", "b", "c", "d"]
    accused = []
    for _ in range(100):
        c, y, v = line_data(generator)
        y[2] += 10 * np.sqrt(v[2, 2])
        accused.append(set(reject_outliers(names, c, y, v)))
    assert sum(named == {"c"} for named in accused) >= 95, accused
    assert not any(named and "c" not in named for named in accused)
    false = sum(bool(reject_outliers(names, *line_data(generator))) for _ in range(1000))
    assert false <= 20


def test_three_references_never_lose_one():
    """With two left nobody can say which is wrong."""
    c, v = np.array([20.0, 60.0, 100.0]), np.eye(3)
    assert reject_outliers(["a", "b", "c"], c, np.array([40.0, 120.0, 260.0]), v) == {}


def test_repeatability_of_known_scatter():
    """1000 subjects, s_w 2, spread 10 between: s_w to 2.2 %, RC 2.77 s_w, ICC 100 / 104."""
    generator = np.random.default_rng(12)
    true = 100 + 10 * generator.standard_normal(1000)
    first, second = true + 2 * generator.standard_normal((2, 1000))
    found = repeatability(first, second)
    assert found.within.value == pytest.approx(2.0, rel=0.07)
    assert found.coefficient.value == pytest.approx(2.77 * found.within.value, rel=1e-3)
    assert found.correlation.value == pytest.approx(100 / 104, abs=0.01)
    assert found.within_relative.value == pytest.approx(0.02, rel=0.1)
    assert found.limits[1].value - found.limits[0].value == pytest.approx(2 * 1.96 * 2 * np.sqrt(2), rel=0.07)


def test_confidence_intervals_hold_the_truth_at_their_rate():
    """10 subjects, 1000 studies: 95 % of intervals hold s_w, bias, and ICC, within 4 sigma (2.8 %)."""
    generator = np.random.default_rng(13)
    held = np.zeros(3)
    for _ in range(1000):
        true = 100 + 5 * generator.standard_normal(10)
        first, second = true + 2 * generator.standard_normal((2, 10))
        found = repeatability(first, second)
        checks = ((found.within, 2.0), (found.bias, 0.0), (found.correlation, 25 / 29))
        held += [interval.low <= value <= interval.high for interval, value in checks]
    np.testing.assert_allclose(held / 1000, 0.95, atol=0.028)


def test_two_subjects_are_too_few():
    with pytest.raises(MeasurementError, match="at least three"):
        repeatability(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
