"""How well scans of one object repeat: within-subject deviation, repeatability coefficient, limits, ICC.

Bland, Altman, Lancet 327:307 (1986); Raunig et al. (QIBA), Stat Methods Med Res 24:27 (2015); intraclass
correlation ICC(1,1): Shrout, Fleiss, Psychol Bull 86:420 (1979).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Repeatability:
    """Agreement of repeated scans; every figure with its 95 % confidence interval.

    Parameters
    ----------
    within
        Within-subject standard deviation s_w, unit of the values.
    coefficient
        Repeatability coefficient 1.96 sqrt(2) s_w: two scans differ by less in 95 % of cases.
    within_relative
        Within-subject coefficient of variation (root mean square of the subjects' own).
    bias
        Mean difference of second less first scan.
    limits
        Bland-Altman limits of agreement: bias ± 1.96 times the deviation of the differences.
    correlation
        ICC(1,1): share of the variance that is between subjects.
    subjects
        Counted.
    """

    within: Interval
    coefficient: Interval
    within_relative: Interval
    bias: Interval
    limits: tuple[Interval, Interval]
    correlation: Interval
    subjects: int


def repeatability(first: NDArray[np.float64], second: NDArray[np.float64]) -> Repeatability:
    """Return how well two scans of each subject (or vial) agree.

    Parameters
    ----------
    first, second
        One value per subject, shape (subject,), in the same unit.

    Raises
    ------
    MeasurementError
        Fewer than three subjects, or values that are not positive (no relative figure exists).

    Notes
    -----
    s_w² = sum d² / 2 n is chi-squared distributed with n degrees of freedom.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"two equally long lists expected, got {one.shape} and {two.shape}")
    count = one.size
    if count < 3:
        raise MeasurementError(f"repeatability takes at least three subjects scanned twice, got {count}")
    if np.any(one <= 0) or np.any(two <= 0):
        raise MeasurementError("relative repeatability takes positive values")
    difference, mean = two - one, 0.5 * (one + two)
    within = _deviation(float(np.sqrt(np.sum(difference**2) / (2 * count))), count)
    relative = _deviation(float(np.sqrt(np.mean(0.5 * (difference / mean) ** 2))), count)
    factor = 1.96 * np.sqrt(2.0)
    return Repeatability(
        within=within,
        coefficient=Interval(factor * within.value, factor * within.low, factor * within.high),
        within_relative=relative,
        bias=_mean(difference),
        limits=_limits(difference),
        correlation=_correlation(one, two),
        subjects=count,
    )


def _deviation(value: float, freedom: int) -> Interval:
    low, high = scipy.stats.chi2.ppf((0.975, 0.025), freedom)
    return Interval(value, value * float(np.sqrt(freedom / low)), value * float(np.sqrt(freedom / high)))


def _mean(difference: NDArray[np.float64]) -> Interval:
    count = difference.size
    half = float(scipy.stats.t.ppf(0.975, count - 1) * difference.std(ddof=1) / np.sqrt(count))
    value = float(difference.mean())
    return Interval(value, value - half, value + half)


def _limits(difference: NDArray[np.float64]) -> tuple[Interval, Interval]:
    """Return the limits of agreement; their variance s² (1/n + 1.96² / 2 (n - 1)), Bland and Altman 1999."""
    count, bias = difference.size, float(difference.mean())
    deviation = float(difference.std(ddof=1))
    own = deviation * np.sqrt(1 / count + 1.96**2 / (2 * (count - 1)))
    half = float(scipy.stats.t.ppf(0.975, count - 1) * own)
    ends = (bias - 1.96 * deviation, bias + 1.96 * deviation)
    low, high = (Interval(end, end - half, end + half) for end in ends)
    return low, high


def _correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> Interval:
    """Return ICC(1,1) with the exact interval of the F distribution (Shrout and Fleiss, p. 424)."""
    count = one.size
    mean = 0.5 * (one + two)
    between = 2 * float(mean.var(ddof=1))
    within = float(np.sum((one - two) ** 2) / (2 * count))
    if within == 0:
        return Interval(1.0, 1.0, 1.0)
    ratio = between / within
    low = ratio / float(scipy.stats.f.ppf(0.975, count - 1, count))
    high = ratio * float(scipy.stats.f.ppf(0.975, count, count - 1))
    value, start, end = ((f - 1) / (f + 1) for f in (ratio, low, high))
    return Interval(value, start, end)
