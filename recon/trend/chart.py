"""A control chart: each run of a quantity judged by the baseline that went before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from recon.trend.baseline import MINIMUM_RUNS, Baseline, estimate_baseline
from recon.trend.rules import ALARM_RULES, RULES, Rule, signals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

#: Runs before the first that can be judged, provisionally: below five, limits are wider than six deviations.
_FIRST: Final = 5


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """One run on the chart.

    Parameters
    ----------
    value
        In the quantity's unit.
    lower, upper
        Limits of a single run when this one came; None where there were too few before it.
    rules
        Which rules signal a change here, alarms or not.
    is_alarm
        Whether one of the alarm rules does.
    """

    value: float
    lower: float | None
    upper: float | None
    rules: tuple[Rule, ...]
    is_alarm: bool


@dataclass(frozen=True, slots=True)
class ControlChart:
    """A quantity over time.

    Parameters
    ----------
    points
        One for each run, in order of time.
    baseline
        Of the regime that the last run belongs to; None with fewer than five runs in it.
    begins
        Index of the first run of that regime.
    """

    points: tuple[ChartPoint, ...]
    baseline: Baseline | None
    begins: int

    @property
    def is_provisional(self) -> bool:
        """Whether the last run's limits rest on fewer than 20 runs."""
        return self.baseline is None or self.baseline.is_provisional

    @property
    def alarms(self) -> tuple[int, ...]:
        """Indices of the runs that raised an alarm."""
        return tuple(index for index, point in enumerate(self.points) if point.is_alarm)


def control_chart(
    values: NDArray[np.float64],
    *,
    resets: Sequence[int] = (),
    baseline_runs: int = MINIMUM_RUNS,
    alarm_rules: tuple[Rule, ...] = ALARM_RULES,
    resolution: float = 0.0,
) -> ControlChart:
    """Judge every run of a quantity.

    Parameters
    ----------
    values
        Finite, in order of time, shape (run,).
    resets
        Indices of the first runs after a change made on purpose (another preamplifier): there, a new
        baseline begins.
    baseline_runs
        From how many runs of a regime its baseline is taken; until then each run is judged by those before
        it, by single-run limits that are widened accordingly.
    alarm_rules
        Whose signals are alarms.
    resolution
        As for ``estimate_baseline``.

    Raises
    ------
    ValueError
        A value is not finite, a reset is not a run, or a baseline of fewer than five runs is asked for.
    """
    if not np.all(np.isfinite(values)):
        raise ValueError("a chart takes finite values: leave out runs that measured nothing")
    if baseline_runs < _FIRST:
        raise ValueError(f"a baseline is taken from at least {_FIRST} runs, got {baseline_runs}")
    starts = sorted({0, *resets})
    if any(not 0 <= start < max(values.size, 1) for start in starts):
        raise ValueError(f"resets {list(resets)} are not among {values.size} runs")
    points: list[ChartPoint] = []
    baseline: Baseline | None = None
    for start, end in zip(starts, [*starts[1:], values.size], strict=True):
        regime, baseline = _regime(values[start:end], baseline_runs, alarm_rules, resolution)
        points += regime
    return ControlChart(tuple(points), baseline, starts[-1])


def days_overdue(last: datetime, now: datetime, period_days: float) -> float:
    """Return by how many days the next run is late, 0 when it is not.

    Parameters
    ----------
    last
        When the last run was made.
    now
        The present; both with a time zone, or both without.
    period_days
        How often the quantity must be measured.
    """
    return max(0.0, (now - last).total_seconds() / 86400.0 - period_days)


def _regime(
    values: NDArray[np.float64], baseline_runs: int, alarm_rules: tuple[Rule, ...], resolution: float
) -> tuple[list[ChartPoint], Baseline | None]:
    """Judge the runs between two resets."""
    points = []
    baseline: Baseline | None = None
    for index in range(min(baseline_runs, values.size)):
        if index < _FIRST:
            points.append(ChartPoint(float(values[index]), None, None, (), is_alarm=False))
            continue
        before = estimate_baseline(values[:index], resolution=resolution)
        lower, upper = before.limits
        out = not lower <= values[index] <= upper
        rules: tuple[Rule, ...] = ("Shewhart",) if out else ()
        points.append(
            ChartPoint(float(values[index]), lower, upper, rules, is_alarm=out and "Shewhart" in alarm_rules)
        )
    if values.size >= _FIRST:
        baseline = estimate_baseline(values[:baseline_runs], resolution=resolution)
    if baseline is None or values.size <= baseline_runs:
        return points, baseline
    later = values[baseline_runs:]
    found = {rule: signals(rule, baseline.standardised(later)) for rule in RULES}
    lower, upper = baseline.limits
    for index, value in enumerate(later):
        rules = tuple(rule for rule in RULES if found[rule][index])
        alarm = any(rule in alarm_rules for rule in rules)
        points.append(ChartPoint(float(value), lower, upper, rules, is_alarm=alarm))
    return points, baseline
