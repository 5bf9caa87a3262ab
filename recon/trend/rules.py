"""Rules that tell a change from chance in a series of standardised values, each looking at the runs so far.

A value is standardised by its baseline: (value - mean) / deviation. What each rule costs in false alarms and
how soon it sees a change, ``run_length`` measures; none takes values beyond two deviations for an alarm, for
that rings every 22nd run of a sound scanner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
import scipy.signal

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rule = Literal["Shewhart", "Westgard", "EWMA", "CUSUM"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
#: What raises an alarm unless asked otherwise: a jump by the first, a drift by the second.
ALARM_RULES: Final[tuple[Rule, ...]] = ("Shewhart", "EWMA")

#: Deviations: Shewhart, Economic control of quality of manufactured product (1931).
_SHEWHART: Final = 3.0
#: Weight of the newest value, and limit in deviations: 500 runs between false alarms; Lucas, Saccucci,
#: Technometrics 32:1 (1990), table 3.
EWMA_WEIGHT: Final = 0.2
_EWMA_LIMIT: Final = 2.962
#: Slack and limit in deviations, best for a change by one: Page, Biometrika 41:100 (1954).
_CUSUM_SLACK: Final = 0.5
_CUSUM_LIMIT: Final = 5.0


def signals(rule: Rule, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return at which runs a rule signals a change.

    Parameters
    ----------
    rule
        One of ``RULES``.
    values
        Standardised, shape (..., run), in order of time.

    Returns
    -------
    Same shape; each run judged with all before it.
    """
    if rule == "Shewhart":
        return np.asarray(np.abs(values) > _SHEWHART)
    if rule == "Westgard":
        return _westgard(values)
    if rule == "EWMA":
        return np.asarray(np.abs(ewma(values)) > _EWMA_LIMIT)
    if rule == "CUSUM":
        return np.asarray(np.maximum(cusum(values), cusum(-values)) > _CUSUM_LIMIT)
    raise ValueError(f"a rule is one of {', '.join(RULES)}, got {rule!r}")


def ewma(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exponentially weighted mean in units of its own deviation, same shape.

    Notes
    -----
    Roberts, Technometrics 1:239 (1959). Its variance grows to weight / (2 - weight) as
    1 - (1 - weight)^(2 runs); with that, a change in the first runs is seen as soon as a later one.
    """
    mean = scipy.signal.lfilter([EWMA_WEIGHT], [1.0, EWMA_WEIGHT - 1.0], values, axis=-1)
    growth = 1 - (1 - EWMA_WEIGHT) ** (2 * np.arange(1, values.shape[-1] + 1))
    return np.asarray(mean / np.sqrt(EWMA_WEIGHT / (2 - EWMA_WEIGHT) * growth), dtype=np.float64)


def cusum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper cumulative sum max(0, C + value - slack), same shape.

    Notes
    -----
    Without a loop: a sum that is held at zero is the free sum over its own minimum so far.
    """
    free = np.cumsum(values - _CUSUM_SLACK, axis=-1)
    lowest = np.minimum(np.minimum.accumulate(free, axis=-1), 0.0)
    return np.asarray(free - lowest, dtype=np.float64)


def _westgard(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return 1-3s, 2-2s, R-4s, 4-1s and 10-x together.

    Westgard et al., Clin Chem 27:493 (1981): one beyond 3; two running beyond 2 on one side; two running
    beyond 2 on opposite sides; four running beyond 1 on one side; ten running on one side of the mean.
    """
    high, low = values > 2.0, values < -2.0
    found = np.abs(values) > 3.0
    found[..., 1:] |= (high[..., 1:] & low[..., :-1]) | (low[..., 1:] & high[..., :-1])
    for limit, length in ((2.0, 2), (1.0, 4), (0.0, 10)):
        found |= _running(values > limit, length) | _running(values < -limit, length)
    return np.asarray(found)


def _running(held: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Return where a condition has held for ``length`` runs."""
    result = np.zeros_like(held)
    if held.shape[-1] >= length:
        windows = np.lib.stride_tricks.sliding_window_view(held, length, axis=-1)
        result[..., length - 1 :] = windows.all(axis=-1)
    return result
