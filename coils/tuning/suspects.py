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
_STRANGE: Final = 0.012
_STRANGER: Final = 4.0
#: How much better, in squared standard deviations, the sweep must fit a trimmer that stood still: motors
#: seldom fail.
_UNLIKELY: Final = 50.0
#: A move of so many times its uncertainty tells whether it took place; less than this part of it is doubtful.
_CLEAR: Final = 5.0
_STILL: Final = 0.5
#: How uncertain the place of an accused trimmer is at least, in parts of half the travel.
_ANYWHERE: Final = 0.1
#: Most channels that are looked into after one sweep.
_MOST_ROUNDS: Final = 4


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


def _doubtful(estimate: Estimate, observations: Sequence[Observation]) -> NDArray[np.bool_]:
    """Return the channels that the last sweep shows elsewhere, or whose trimmers had to be put elsewhere."""
    walked = estimate.shifts[-1] - estimate.shifts[-2]
    elsewhere = np.any(np.abs(walked) > _CLEAR * observations[-1].slack, axis=1)
    return np.asarray(elsewhere | strange_channels(estimate), dtype=np.bool_)


def kept_still(estimate: Estimate, moved: Real) -> NDArray[np.bool_]:
    """Return the trimmers that the estimate has where they were before the last move, (channel, trimmer)."""
    walked = estimate.shifts[-1] - estimate.shifts[-2]
    return np.asarray((moved != 0.0) & (np.abs(walked + moved) < _STILL * np.abs(moved)), dtype=np.bool_)


def explain_stillness(
    estimate: Estimate,
    before: Estimate,
    observations: Sequence[Observation],
    moved: Real,
    noise: float,
) -> tuple[Estimate, tuple[Observation, ...], NDArray[np.bool_]]:
    """Look for trimmers that stood still before the last sweep.

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
    The estimate and the observations with what was found, and the trimmers that stood still.
    """
    sent = np.abs(moved) > _CLEAR * observations[-1].slack
    sluggish = np.any(_sluggish(estimate, before, observations, moved, sent), axis=1)
    return _explain(estimate, before, observations, sluggish, sent, -moved, noise)


def _explain(
    estimate: Estimate,
    before: Estimate,
    observations: Sequence[Observation],
    doubtful: NDArray[np.bool_],
    possible: NDArray[np.bool_],
    start: Real,
    noise: float,
) -> tuple[Estimate, tuple[Observation, ...], NDArray[np.bool_]]:
    """Accuse one trimmer after the other, the one that explains most first, while that pays."""
    seen = tuple(observations)
    accused = np.zeros(possible.shape, dtype=np.bool_)
    cleared = np.zeros(len(possible), dtype=np.bool_)
    shifts = np.concatenate([before.shifts, before.shifts[-1:]])
    for _ in range(_MOST_ROUNDS):
        doubt = (doubtful | _doubtful(estimate, seen)) & ~cleared & ~np.any(accused, axis=1)
        if not np.any(doubt):
            break
        channel = int(np.argmax(np.where(doubt, estimate.misfit[-1], -1.0)))
        best: Estimate | None = None
        found = (0, shifts, seen)
        for column in np.flatnonzero(possible[channel]):
            trial_shifts, slack = shifts.copy(), seen[-1].slack.copy()
            trial_shifts[-1, channel, column] += start[channel, column]
            slack[channel, column] = max(abs(start[channel, column]), _ANYWHERE)
            trial_seen = (*seen[:-1], replace(seen[-1], slack=slack))
            trial = refine(replace(before, shifts=trial_shifts), trial_seen, noise)
            if best is None or np.sum(trial.cost) < np.sum(best.cost):
                best, found = trial, (int(column), trial_shifts, trial_seen)
        if best is None or np.sum(best.cost) + _UNLIKELY > np.sum(estimate.cost):
            cleared[channel] = True
            continue
        estimate, (accused_column, shifts, seen) = best, found
        accused[channel, accused_column] = True
    return estimate, seen, accused


def _sluggish(
    estimate: Estimate,
    before: Estimate,
    observations: Sequence[Observation],
    moved: Real,
    sent: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return the trimmers whose capacitance hardly followed a clear move, shape (channel, trimmer)."""
    now = estimate.capacitances(observations[-1].places)
    then = estimate.capacitances(observations[-2].places, len(before.shifts) - 1)
    halves = np.array([trimmer.half_range for trimmer in estimate.belief.design.trimmers])
    part = (now - then) / np.where(sent, halves * moved, np.inf)
    return np.asarray(sent & (part < _STILL), dtype=np.bool_)
