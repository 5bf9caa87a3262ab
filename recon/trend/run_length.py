"""How many runs a rule takes to signal: between false alarms, and after a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.special

from recon.trend.baseline import MOVING_RANGE
from recon.trend.rules import signals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.trend.rules import Rule


@dataclass(frozen=True, slots=True)
class RunLength:
    """An average run length.

    Parameters
    ----------
    mean
        Runs up to and with the one that signals.
    uncertainty
        Standard uncertainty of ``mean``.
    """

    mean: float
    uncertainty: float


def run_length(
    rule: Rule,
    *,
    shift: float = 0.0,
    scale: float = 1.0,
    series: int = 4000,
    longest: int = 2000,
    seed: int = 0,
) -> RunLength:
    """Measure a rule's average run length on independent normal values.

    Parameters
    ----------
    rule
        What signals.
    shift
        Of the mean, in deviations of the baseline, from the first run on.
    scale
        Factor on the deviation.
    series
        Simulated series; the relative uncertainty is one over the root of their number.
    longest
        Runs after which a series is given up; its runs count all the same.
    seed
        Of the values.

    Notes
    -----
    Runs over signals: for run lengths of a geometric tail this is the mean however many series are given
    up; the deviation of a geometric distribution is its mean, which bounds the uncertainty.
    """
    random = np.random.default_rng(seed)
    runs, found = 0, 0
    for start in range(0, series, 250):
        alive = min(250, series - start)
        length = min(longest, 64)
        values = np.empty((alive, 0))
        begun = 0
        while alive and begun < longest:
            more = shift + scale * random.standard_normal((alive, length - begun))
            values = np.concatenate([values, more], axis=1)
            hit = signals(rule, values)
            first = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 0)
            done = first > 0
            runs, found = runs + int(first.sum()), found + int(done.sum())
            values, begun = values[~done], length
            alive, length = values.shape[0], min(longest, 3 * length)
        runs += alive * longest
    if not found:
        raise ValueError(f"no series of {longest} runs signalled: let them be longer")
    mean = runs / found
    return RunLength(mean, mean / float(np.sqrt(found)))


def run_lengths(rule: Rule, *, series: int = 1000, seed: int = 0) -> tuple[RunLength, RunLength]:
    """Measure how many runs lie between a rule's false alarms, and after how many it sees a change.

    Parameters
    ----------
    rule
        What signals.
    series, seed
        As for ``run_length``.

    Returns
    -------
    Of a sound scanner, and of one that has changed by one deviation of its baseline.
    """
    return run_length(rule, series=series, seed=seed), run_length(rule, shift=1.0, series=series, seed=seed)


def shewhart_run_length(
    mean: NDArray[np.float64], deviation: NDArray[np.float64], limit: float = 3.0
) -> NDArray[np.float64]:
    """Return the exact run length of mean +- limit deviations for standard normal values, same shape."""
    beyond = scipy.special.ndtr(mean - limit * deviation) + scipy.special.ndtr(-mean - limit * deviation)
    return np.asarray(1 / beyond, dtype=np.float64)


def run_length_of_estimate(runs: int, *, draws: int = 20_000, seed: int = 0) -> NDArray[np.float64]:
    """Return run lengths between false alarms of 3-deviation limits estimated from few runs, shape (draw,).

    Mean and mean moving range of ``runs`` values give the limits; each draw is another baseline. Their
    median is far below the 370 of a known baseline: why a chart of few runs is provisional.
    """
    values = np.random.default_rng(seed).standard_normal((draws, runs))
    deviation = np.abs(np.diff(values, axis=1)).mean(axis=1) / MOVING_RANGE
    return shewhart_run_length(values.mean(axis=1), deviation)
