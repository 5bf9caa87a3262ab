"""What a quantity is when all is well: mean and deviation of its first runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.stats

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Runs below which a chart is provisional. One baseline in ten of 10 runs rings every 15th run by chance, of
#: 20 runs every 35th, of 30 every 50th (``run_length_of_estimate``); a known one every 370th.
MINIMUM_RUNS: Final = 20
#: Mean range of two values over their deviation: 2 / sqrt(pi).
MOVING_RANGE: Final = 1.1283791670955126
#: Degrees of freedom of the mean moving range per run: Cryer, Ryan, J Qual Technol 22:187 (1990).
_EFFICIENCY: Final = 0.62
#: Runs without which not even a provisional limit means anything.
_FEWEST: Final = 3
#: Chance of a value beyond three deviations: a provisional limit keeps it.
_FALSE_ALARM: Final = 0.0027
#: Correlation of successive runs above which the stated run lengths do not hold.
_CORRELATED: Final = 0.3


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a quantity is when all is well.

    Parameters
    ----------
    mean, deviation
        In the quantity's unit; the deviation from run to run, by the mean moving range.
    runs
        How many it was taken from.
    correlation
        Of successive runs.
    """

    mean: float
    deviation: float
    runs: int
    correlation: float

    @property
    def is_provisional(self) -> bool:
        """Whether there are too few runs: limits are widened."""
        return self.runs < MINIMUM_RUNS

    @property
    def is_correlated(self) -> bool:
        """Whether successive runs resemble each other more than chance: alarms come in bunches then."""
        return bool(self.correlation > max(_CORRELATED, 2 / np.sqrt(self.runs)))

    @property
    def widening(self) -> float:
        """Factor on the deviation that keeps three deviations' rate of false alarms for the next run.

        Student's t instead of 3, and sqrt(1 + 1/runs) because the mean is uncertain, too; 1 from 20 runs on.
        """
        if not self.is_provisional:
            return 1.0
        quantile = float(scipy.stats.t.isf(_FALSE_ALARM / 2, _EFFICIENCY * (self.runs - 1)))
        return quantile * float(np.sqrt(1 + 1 / self.runs)) / 3.0

    @property
    def limits(self) -> tuple[float, float]:
        """Between what a single run of a sound scanner lies, in the quantity's unit."""
        half = 3.0 * self.widening * self.deviation
        return self.mean - half, self.mean + half

    def standardised(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (value - mean) / (widened deviation), same shape."""
        return np.asarray((values - self.mean) / (self.deviation * self.widening), dtype=np.float64)


def estimate_baseline(values: NDArray[np.float64], *, resolution: float = 0.0) -> Baseline:
    """Return the baseline that runs show.

    Parameters
    ----------
    values
        In order of time, shape (run,).
    resolution
        The deviation is not taken for smaller: standard uncertainty of one value, or the last digit.

    Raises
    ------
    MeasurementError
        Fewer than three runs.
    """
    if values.size < _FEWEST:
        raise MeasurementError(f"a baseline needs at least {_FEWEST} runs, there are {values.size}")
    mean = float(np.mean(values))
    deviation = float(np.mean(np.abs(np.diff(values)))) / MOVING_RANGE
    least = max(resolution, 1e-9 * abs(mean), float(np.finfo(np.float64).tiny))
    return Baseline(mean, max(deviation, least), int(values.size), lag_one_correlation(values))


def lag_one_correlation(values: NDArray[np.float64]) -> float:
    """Return the correlation of successive values, 0 where they do not vary."""
    apart = values - np.mean(values)
    power = float(np.sum(apart**2))
    return float(np.sum(apart[1:] * apart[:-1]) / power) if power > 0 else 0.0
