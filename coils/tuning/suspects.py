"""Which trimmer did not do what it was told: found by trying every explanation on the sweep after a move.

A trimmer that stood still leaves its channel far from where the model expects it. Each of the channel's
trimmers in turn is taken to have stayed behind, and the fit repeated: the explanation that fits tells. What
no move that tuning needs can show is for `coils.tuning.motors`.
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
#: A channel's misfit that an explanation must leave, as a part of what it was: where a trimmer hardly
#: followed anyway, and where nothing but the misfit speaks for it.
_NO_WORSE: Final = 1.5
_EXPLAINS: Final = 0.3
#: Misfits up to so many times the usual are ordinary, and what is usual at least: noise and calibration.
_ORDINARY: Final = 3.0
_USUAL: Final = 3e-3
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


def named_suspects(
    axes: Sequence[Sequence[str]],
    which: NDArray[np.bool_],
    kind: Literal["stuck", "slipping"],
    text: str,
    steps: Real | None = None,
) -> tuple[Suspect, ...]:
    """Return a suspect for each chosen trimmer.

    Parameters
    ----------
    axes
        Names, by channel and trimmer.
    which
        The chosen, shape (channel, trimmer).
    kind
        Of all of them.
    text
        What was seen; ``{steps}`` stands for each one's steps.
    steps
        Shape (channel, trimmer).
    """
    return tuple(
        Suspect(
            axes[channel][column],
            kind,
            text if steps is None else text.format(steps=f"{steps[channel, column]:+.0f} steps"),
        )
        for channel, column in np.argwhere(which).tolist()
    )


def strange_channels(estimate: Estimate) -> NDArray[np.bool_]:
    """Return the channels that the last sweep shows elsewhere than believed, shape (channel,)."""
    last = estimate.misfit[-1]
    return np.asarray(last > max(_STRANGE, _STRANGER * float(np.median(last))), dtype=np.bool_)


def standing_still(before: Estimate, moved: Real, which: NDArray[np.bool_]) -> Estimate:
    """Return where to start a fit if some trimmers stood still when sent ``moved`` half travels."""
    shifts = np.concatenate([before.shifts, before.shifts[-1:]])
    shifts[-1] -= np.where(which, moved, 0.0)
    return replace(before, shifts=shifts)


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
    seen = tuple(observations)
    sent = np.abs(moved) > _CLEAR * seen[-1].slack
    shifts = np.concatenate([before.shifts, before.shifts[-1:]])
    accused = np.zeros(moved.shape, dtype=np.bool_)
    cleared = np.zeros(len(moved), dtype=np.bool_)
    for _ in range(_MOST_ROUNDS):
        followed = _followed(estimate, before, seen, moved, sent)
        strange = strange_channels(estimate)
        slow = (np.min(followed, axis=1) < _STILL) & ~strange
        doubt = (slow | strange) & ~cleared & ~np.any(accused, axis=1)
        if not np.any(doubt):
            break
        channel = int(np.argmax(np.where(doubt, estimate.misfit[-1], -1.0)))
        candidates = np.argsort(followed[channel])
        if slow[channel]:
            candidates = candidates[: int(np.sum(followed[channel] < _STILL))]
        trials = []
        for column in candidates[sent[channel, candidates]]:
            trial_shifts, slack = shifts.copy(), seen[-1].slack.copy()
            trial_shifts[-1, channel, column] -= moved[channel, column]
            slack[channel, column] = max(abs(moved[channel, column]), _ANYWHERE)
            trial_seen = (*seen[:-1], replace(seen[-1], slack=slack))
            trial = refine(replace(before, shifts=trial_shifts), trial_seen, noise)
            trials.append((trial, int(column), trial_shifts, trial_seen))
            if slow[channel] and _fits(trial, estimate, channel, _NO_WORSE):
                break
        best = min(trials, key=lambda one: float(one[0].cost[channel]), default=None)
        if best is None or not _fits(best[0], estimate, channel, _NO_WORSE if slow[channel] else _EXPLAINS):
            cleared[channel] = True
            continue
        estimate, column, shifts, seen = best
        accused[channel, column] = True
    return estimate, seen, accused


def _fits(trial: Estimate, estimate: Estimate, channel: int, part: float) -> bool:
    """Answer whether an explanation leaves a channel less than a part of its misfit, or a usual one."""
    usual = _ORDINARY * max(float(np.median(trial.misfit[-1])), _USUAL)
    left = float(trial.misfit[-1, channel])
    return left < part * float(estimate.misfit[-1, channel]) or (part >= 1.0 and left < usual)


def _followed(
    estimate: Estimate,
    before: Estimate,
    observations: Sequence[Observation],
    moved: Real,
    sent: NDArray[np.bool_],
) -> Real:
    """Return how much of what it should each trimmer's capacitance changed; infinite where none was sent."""
    now = estimate.capacitances(observations[-1].places)
    then = estimate.capacitances(observations[-2].places, len(before.shifts) - 1)
    halves = np.array([trimmer.half_range for trimmer in estimate.belief.design.trimmers])
    change = np.where(sent, now - then, np.inf)
    return np.asarray(change / np.where(sent, halves * moved, 1.0), dtype=np.float64)
