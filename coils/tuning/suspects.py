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

from coils.tuning.estimate import Estimate, refine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from coils.circuit.elements import Real
    from coils.tuning.estimate import Observation

#: A channel whose misfit is above this, and so many times its fellows', has done something unexpected.
_STRANGE: Final = 0.02
_STRANGER: Final = 4.0
#: An explanation must bring the misfit down to this part, and to so many times its fellows'.
_EXPLAINS: Final = 0.3
_ORDINARY: Final = 3.0
#: Least misfit that counts as usual: noise and calibration.
_USUAL: Final = 3e-3


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
    """Return a better estimate if trimmers that stood still explain strange channels, and which.

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
    strange = strange_channels(estimate)
    best, stuck = estimate, np.zeros(moved.shape, dtype=np.bool_)
    if not np.any(strange):
        return best, stuck
    misfit = estimate.misfit[-1].copy()
    usual = float(np.median(misfit[~strange])) if np.any(~strange) else 0.0
    tried = []
    for column in range(moved.shape[1]):
        shift = np.concatenate([before.shifts, before.shifts[-1:]])
        shift[-1, :, column] -= np.where(strange, moved[:, column], 0.0)
        slack = observations[-1].slack.copy()
        slack[strange, column] = np.abs(moved[strange, column]) + slack[strange, column]
        seen = (*observations[:-1], replace(observations[-1], slack=slack))
        start = Estimate(before.prior, before.belief, shift, estimate.misfit)
        tried.append(refine(start, seen, noise))
    for channel in np.flatnonzero(strange):
        column = int(np.argmin([trial.misfit[-1, channel] for trial in tried]))
        left = float(tried[column].misfit[-1, channel])
        if left < min(_EXPLAINS * misfit[channel], _ORDINARY * max(usual, _USUAL)):
            stuck[channel, column] = True
    if not np.any(stuck):
        return best, stuck
    shift = np.concatenate([before.shifts, before.shifts[-1:]])
    shift[-1] -= np.where(stuck, moved, 0.0)
    slack = np.where(stuck, np.abs(moved), observations[-1].slack)
    seen = (*observations[:-1], replace(observations[-1], slack=slack))
    return refine(Estimate(before.prior, before.belief, shift, estimate.misfit), seen, noise), stuck
