"""Which trimmer did not do what it was told: found by trying every explanation on the sweep after a move.

A trimmer that stood still leaves its channel far from where the model expects it. Each of the channel's
trimmers in turn is taken to have stayed behind, and the fit repeated: the explanation that fits tells. A
motor that loses a part of its steps shows only by running home and back: its steps are as small on the way
down as on the way up, so sweeps alone cannot tell it from a trimmer of a smaller range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from coils.tuning.estimate import refine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from coils.circuit.elements import Real
    from coils.tuning.estimate import Estimate, Observation

#: A channel whose misfit is above this, and so many times its fellows', has done something unexpected.
_STRANGE: Final = 0.02
_STRANGER: Final = 4.0
#: How much better, in squared standard deviations, the sweep must fit a trimmer that stood still: motors
#: seldom fail.
_UNLIKELY: Final = 50.0
#: A move of so many times its uncertainty tells whether it took place; less than this part of it is doubtful.
_CLEAR: Final = 5.0
_STILL: Final = 0.5


@dataclass(frozen=True, slots=True)
class Suspect:
    """A trimmer that does not follow its motor.

    Parameters
    ----------
    axis
        Its name.
    kind
        ``"stuck"``: it stood still; ``"slipping"``: it went less far than it was told.
    text
        What was seen.
    """

    axis: str
    kind: Literal["stuck", "slipping"]
    text: str


def strange_channels(estimate: Estimate) -> NDArray[np.bool_]:
    """Return the channels that the last sweep shows elsewhere than believed, shape (channel,)."""
    last = estimate.misfit[-1]
    return np.asarray(last > max(_STRANGE, _STRANGER * float(np.median(last))), dtype=np.bool_)


def explain(
    estimate: Estimate,
    before: Estimate,
    observations: Sequence[Observation],
    moved: Real,
    noise: float,
) -> tuple[Estimate, NDArray[np.bool_]]:
    """Return a better estimate if trimmers that stood still explain the last sweep, and which.

    Parameters
    ----------
    estimate
        From all observations, as if every trimmer had moved.
    before
        From all but the last.
    moved
        How far each was sent before the last sweep, in units of half the travel, (channel, trimmer).
    noise
        As for `refine`.

    Returns
    -------
    The estimate, and the trimmers that stood still, shape (channel, trimmer).
    """
    sluggish = np.any(_sluggish(estimate, before, observations, moved), axis=1)
    doubtful = sluggish | strange_channels(estimate)
    stuck = np.zeros(moved.shape, dtype=np.bool_)
    if not np.any(doubtful):
        return estimate, stuck
    costs = []
    for column in range(moved.shape[1]):
        tried = np.zeros(moved.shape, dtype=np.bool_)
        tried[:, column] = doubtful & (np.abs(moved[:, column]) > _CLEAR * observations[-1].slack[:, column])
        trial = _if_stuck(before, observations, moved, tried, noise)
        costs.append(np.where(tried[:, column], trial.cost + _UNLIKELY, np.inf))
    best = np.argmin(costs, axis=0)
    channels = np.arange(len(best))
    accused = np.min(costs, axis=0) < estimate.cost
    stuck[channels[accused], best[accused]] = True
    if not np.any(stuck):
        return estimate, stuck
    return _if_stuck(before, observations, moved, stuck, noise), stuck


def as_stuck(seen: Observation, moved: Real, stuck: NDArray[np.bool_]) -> Observation:
    """Return an observation before which some trimmers may have moved as little as not at all."""
    return replace(seen, slack=np.where(stuck, np.maximum(np.abs(moved), seen.slack), seen.slack))


def _sluggish(
    estimate: Estimate, before: Estimate, observations: Sequence[Observation], moved: Real
) -> NDArray[np.bool_]:
    """Return the trimmers whose capacitance hardly followed a clear move, shape (channel, trimmer)."""
    now = estimate.capacitances(observations[-1].places)
    then = estimate.capacitances(observations[-2].places, len(before.shifts) - 1)
    halves = np.array([trimmer.half_range for trimmer in estimate.belief.design.trimmers])
    sent = np.abs(moved) > _CLEAR * observations[-1].slack
    part = (now - then) / np.where(sent, halves * moved, np.inf)
    return np.asarray(sent & (part < _STILL), dtype=np.bool_)


def _if_stuck(
    before: Estimate,
    observations: Sequence[Observation],
    moved: Real,
    stuck: NDArray[np.bool_],
    noise: float,
) -> Estimate:
    """Return the estimate if some trimmers stood still before the last sweep."""
    shift = np.concatenate([before.shifts, before.shifts[-1:]])
    shift[-1] -= np.where(stuck, moved, 0.0)
    seen = (*observations[:-1], as_stuck(observations[-1], moved, stuck))
    return refine(replace(before, shifts=shift), seen, noise)
