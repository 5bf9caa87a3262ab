"""Control charts: run lengths as theory and the literature have them, and what a chart says of runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import scipy.stats

from coilbench.base.errors import MeasurementError
from recon.trend import (
    control_chart,
    days_overdue,
    estimate_baseline,
    lag_one_correlation,
    run_length,
    run_length_of_estimate,
    signals,
)

#: (shift, scale) of the columns.
COLUMNS = ((0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (0.0, 1.5))
#: Average run lengths. Shewhart: exact. CUSUM k 0.5 h 5 and EWMA 0.2, 2.962 without change: 465 and 500
#: (Lucas, Saccucci, Technometrics 32:1 (1990)). The rest: measured elsewhere on some 1000 series each.
TABLE = {
    "Shewhart": (370.4, 155.2, 43.9, 6.30, 2.00, 22.0),
    "Westgard": (161.0, 46.0, 12.8, 3.40, 1.70, 15.5),
    "EWMA": (500.0, 41.0, 9.7, 2.90, 1.60, 39.0),
    "CUSUM": (465.0, 38.0, 10.4, 4.00, 2.60, 37.0),
}


@pytest.mark.parametrize("rule", TABLE)
def test_run_lengths_are_those_of_the_literature_within_5_percent(rule):
    """6000 series know a run length to 1.3 %; 5 % is nearly four of those deviations."""
    for (shift, scale), expected in zip(COLUMNS, TABLE[rule], strict=True):
        found = run_length(rule, shift=shift, scale=scale, series=6000, seed=3)
        assert found.uncertainty < 0.02 * found.mean
        # the table has two digits for short runs
        assert found.mean == pytest.approx(expected, rel=0.05, abs=0.05)


def test_shewhart_run_length_is_the_exact_one():
    for shift, scale in COLUMNS:
        law = scipy.stats.norm(shift, scale)
        exact = 1 / (law.sf(3) + law.cdf(-3))
        found = run_length("Shewhart", shift=shift, scale=scale, series=3000, seed=7)
        assert abs(found.mean - exact) < 3.5 * found.uncertainty


def test_a_series_given_up_counts_with_its_runs():
    """Without it the mean of 100 runs at most would be below 100."""
    found = run_length("Shewhart", series=3000, longest=100)
    assert abs(found.mean - 370.4) < 3.5 * found.uncertainty


def test_few_baseline_runs_ring_too_often():
    """Medians of the run length over baselines, as measured elsewhere: 72, 137, 204 of 5, 10, 30 runs.

    Those are of about 400 baselines: 10 % either way.
    """
    for runs, expected in ((5, 72), (10, 137), (30, 204)):
        lengths = np.random.default_rng(1).geometric(1 / run_length_of_estimate(runs))
        assert np.median(lengths) == pytest.approx(expected, rel=0.15)
    assert np.median(run_length_of_estimate(2000, draws=500)) == pytest.approx(370.4, rel=0.05)


@pytest.mark.parametrize("rule", TABLE)
def test_rules_do_not_know_which_way_is_up_and_see_no_future(rule):
    values = np.random.default_rng(4).standard_normal((5, 300))
    found = signals(rule, values)
    np.testing.assert_array_equal(found, signals(rule, -values))
    np.testing.assert_array_equal(found[:, :120], signals(rule, values[:, :120]))


@pytest.mark.parametrize(
    "values",
    [
        [0, 3.1],
        [0, 2.1, 2.1],
        [0, 2.1, -2.1],
        [0, 1.1, 1.1, 1.1, 1.1],
        [-0.1] + [0.1] * 10,
    ],
)
def test_westgard_rules_fire_at_their_last_run_and_not_before(values):
    found = signals("Westgard", np.array(values, dtype=float))
    assert found[-1]
    assert not found[:-1].any()


@pytest.mark.parametrize("runs", [5, 10, 19])
def test_provisional_limits_keep_the_rate_of_false_alarms(runs):
    """The next run after a short baseline is outside in 0.27 %, not in the 3 % to 1 % of plain limits."""
    random = np.random.default_rng(runs)
    count = 6000
    values = random.standard_normal((count, runs + 1))
    outside = 0
    for row in values:
        lower, upper = estimate_baseline(row[:-1]).limits
        outside += not lower <= row[-1] <= upper
    # Student's t is that of a standard deviation; the moving range has about its law: within a factor of two
    deviation = np.sqrt(0.0027 / count)
    assert 0.0027 / 2 - 3 * deviation < outside / count < 2 * 0.0027 + 3 * deviation


def test_a_jump_and_a_drift_raise_an_alarm_and_a_reset_begins_anew():
    random = np.random.default_rng(5)
    steady = 100 + random.standard_normal(40)
    chart = control_chart(steady)
    assert not chart.alarms
    assert not chart.is_provisional
    assert chart.baseline is not None
    assert chart.baseline.mean == pytest.approx(100, abs=1)

    jumped = np.concatenate([steady, 106 + random.standard_normal(10)])
    chart = control_chart(jumped)
    assert chart.alarms[0] == 40
    assert "Shewhart" in chart.points[40].rules

    drifting = np.concatenate([steady, steady[-1] + 0.25 * np.arange(20)])
    assert control_chart(drifting).alarms
    fresh = control_chart(jumped, resets=[40])
    assert not fresh.alarms
    assert fresh.begins == 40
    assert fresh.is_provisional


def test_the_first_runs_are_not_judged_and_the_next_ones_provisionally():
    values = 10 + 0.1 * np.random.default_rng(6).standard_normal(12)
    values[9] = 20.0
    chart = control_chart(values)
    assert all(point.lower is None for point in chart.points[:5])
    assert chart.alarms == (9,)
    widths = [point.upper - point.lower for point in chart.points[5:9]]
    assert widths[0] > 6 * 0.1


def test_a_quantity_that_never_changes_has_limits_of_its_resolution():
    chart = control_chart(np.concatenate([np.full(25, 7.0), [7.0, 7.4]]), resolution=0.1)
    assert chart.alarms == (26,)


def test_resembling_successive_runs_are_told():
    walk = np.cumsum(np.random.default_rng(8).standard_normal(60))
    assert estimate_baseline(walk).is_correlated
    assert not estimate_baseline(np.random.default_rng(9).standard_normal(60)).is_correlated
    assert lag_one_correlation(np.ones(5)) == 0.0


def test_what_a_chart_cannot_take_is_refused():
    with pytest.raises(MeasurementError, match="at least 3 runs"):
        estimate_baseline(np.ones(2))
    with pytest.raises(ValueError, match="finite"):
        control_chart(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="not among"):
        control_chart(np.ones(3), resets=[7])
    assert control_chart(np.array([])).points == ()


def test_a_late_run_is_told_by_days():
    last = datetime(2026, 1, 1, tzinfo=UTC)
    assert days_overdue(last, last + timedelta(days=6), 7) == 0
    assert days_overdue(last, last + timedelta(days=9.5), 7) == pytest.approx(2.5)
