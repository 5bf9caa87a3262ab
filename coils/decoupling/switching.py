"""How fast an active detuning switches, from a sampled transient.

The levels before the command and at the end of the record are taken as those at rest; the record is refused
where they are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Part of a transient's record at each end that must be at rest.
_REST: Final = 0.1
#: Standard deviations that complex noise exceeds in 4 of a million samples (Rayleigh): none in a record.
_NOISE_MARGIN: Final = 5.0
#: A crossing is fitted between this factor above and below the level.
_WINDOW: Final = 1.5
#: Part of the level by which a noiseless transient may differ from an exponential within that window.
_SHAPE: Final = 0.02
#: Fewest samples around a crossing to which an exponential is fitted.
_FEWEST_POINTS: Final = 4


@dataclass(frozen=True, slots=True)
class Switching:
    """How fast a transient goes from one level to the other.

    Parameters
    ----------
    delay
        From the command to half of the step, in s.
    rise
        From 10 % to 90 % of the step, in s, last crossings: ringing counts.
    settling
        From the command until the level stays within ``tolerance`` of the step, in s.
    tolerance
        Part of the step.
    uncertainty
        Standard uncertainty of ``settling`` in s: noise over slope, and the sampling interval.
    noise
        Standard deviation of the levels at rest, as a part of the step.
    """

    delay: float
    rise: float
    settling: float
    tolerance: float
    uncertainty: float
    noise: float


def switching_time(
    times: NDArray[np.float64],
    samples: ArrayLike,
    *,
    command: float = 0.0,
    tolerance: float = 0.1,
) -> Switching:
    """Return how fast a sampled transient follows a command.

    Parameters
    ----------
    times
        s, shape (sample,), rising; the record begins before the command and ends at rest.
    samples
        Real or complex (an RF envelope), shape (sample,).
    command
        When the bias was told to switch, in s.
    tolerance
        Part of the step within which the level must stay: 0.1 is where an S21 has covered 90 % of its step;
        to see a detuning of 40 dB settle the tolerance must be below 0.01.

    Raises
    ------
    MeasurementError
        The levels do not differ clearly, the noise exceeds the tolerance, or the record ends before the
        level has settled.
    ValueError
        Shapes differ, fewer than twenty samples, or no sample before the command.
    """
    t = np.asarray(times, dtype=np.float64)
    level = np.asarray(samples, dtype=np.complex128)
    if t.ndim != 1 or t.shape != level.shape or t.size < 20 or not np.all(np.diff(t) > 0.0):
        raise ValueError(f"expected at least 20 samples at rising times; got {t.shape} and {level.shape}")
    before = level[t <= command]
    if before.size < 2:
        raise ValueError(
            f"the record must begin before the command at {command:.3g} s; it begins at {t[0]:.3g} s"
        )
    rest = max(int(_REST * t.size), 2)
    tail = level[-rest:]
    start, end = complex(before.mean()), complex(tail.mean())
    step = end - start
    variance, drift = _rest(t[-rest:], tail)
    spread = math.sqrt((_rest(t[: before.size], before)[0] + variance) / 2.0)
    if abs(step) <= _NOISE_MARGIN * spread or step == 0.0:
        raise MeasurementError("the transient does not rise from its noise: did the bias switch at all?")
    if abs(drift) > tolerance * abs(step) + _NOISE_MARGIN * spread:
        raise MeasurementError(f"the level has not come to rest at {t[-1]:.3g} s: record for longer")
    noise = spread / abs(step)
    if _NOISE_MARGIN * noise > tolerance:
        raise MeasurementError(
            f"the noise is {noise:.2g} of the step: too much to see it settle to {tolerance:g}; "
            "average more transients, or allow a larger tolerance"
        )
    away = np.abs(level - end) / abs(step)
    settling, uncertainty = _last_crossing(t, away, tolerance, noise)
    half, ninety, ten = (_last_crossing(t, away, part, noise)[0] for part in (0.5, 0.1, 0.9))
    return Switching(
        delay=half - command,
        rise=max(ninety - ten, 0.0),
        settling=settling - command,
        tolerance=tolerance,
        uncertainty=uncertainty,
        noise=noise,
    )


def _last_crossing(
    t: NDArray[np.float64], away: NDArray[np.float64], level: float, noise: float
) -> tuple[float, float]:
    """Return when ``away`` falls below ``level`` for good, and the standard uncertainty of that time.

    Around the crossing an exponential is fitted, which noise does not make late; where there is none
    (ringing, too few samples) the last sample outside decides.
    """
    outside = np.flatnonzero(away > level)
    if outside.size == 0:
        return float(t[0]), 0.0
    last = int(outside[-1])
    if last >= t.size - max(int(_REST * t.size), 2):
        raise MeasurementError(
            f"the level is still {away[last]:.2g} of the step away at {t[last]:.3g} s: record for longer"
        )
    above = np.flatnonzero(away[: last + 1] > _WINDOW * level)
    below = np.flatnonzero(away[last:] < level / _WINDOW)
    first = int(above[-1]) + 1 if above.size else 0
    stop = last + int(below[0]) if below.size else t.size
    if stop - first >= _FEWEST_POINTS:
        fitted = _fit_crossing(t[first:stop], away[first:stop], level, noise)
        if fitted is not None:
            return fitted
    interval = float(t[last + 1] - t[last])
    slope = float(away[last] - away[last + 1]) / interval
    # Between two samples: at most half an interval off, uniform.
    spread = math.hypot(noise / slope, interval / (2.0 * math.sqrt(3.0)))
    return float(t[last]) + float(away[last] - level) / slope, spread


def _fit_crossing(
    t: NDArray[np.float64], away: NDArray[np.float64], level: float, noise: float
) -> tuple[float, float] | None:
    """Return the time and uncertainty at which a fitted exponential crosses; None where it does not fit."""
    middle = float(t.mean())
    columns = np.stack([np.ones_like(t), t - middle], axis=1)
    weight = away[:, None]  # the logarithm's noise is noise / away
    normal = np.linalg.inv((columns * weight**2).T @ columns)
    offset, slope = normal @ ((columns * weight**2).T @ np.log(away))
    misfit = away - np.exp(columns @ np.array([offset, slope]))
    if slope >= 0.0 or float(np.sqrt(np.mean(misfit**2))) > 2.0 * noise + _SHAPE * level:
        return None
    later = (math.log(level) - offset) / slope
    gradient = np.array([1.0, later]) / slope
    return middle + later, noise * math.sqrt(float(gradient @ normal @ gradient))


def _rest(t: NDArray[np.float64], samples: NDArray[np.complex128]) -> tuple[float, complex]:
    """Return the variance of the real part about a straight line, and how far that line goes."""
    x = (t - t.mean()) / (t[-1] - t[0])
    slope = complex(np.sum(x * samples) / np.sum(x * x))
    left = samples - samples.mean() - slope * x
    return float(np.sum(np.abs(left) ** 2)) / (2.0 * max(samples.size - 2, 1)), slope
