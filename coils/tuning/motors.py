"""Which motors do not turn, or lose steps: a check that sends every axis away and back, and looks.

Tuning moves a trimmer as far as it is needed: one that stands right from the start shows nothing, whatever
its motor does. The check takes three sweeps: at the array's place, every axis having come from below; with
every axis sent a little away; after running all axes home and back. Only the trimmers move between them. What
the model does not explain of the first sweep is taken as an offset of the others (as in
`coils.tuning.targets`), and places are all that is fitted, so they show to a few steps.

Not seen: a motor that loses a part of its steps does so up and down alike. Homing shows what was lost of the
way from the lower end to where the axis stood when it began to slip; one that began at the lower end is, for
any sweep, a trimmer of a smaller range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.tuning.belief import Prior
from coils.tuning.estimate import NOISE, Estimate, Observation, place_deviations, refine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.circuit.elements import Real

#: Misfit of S that two sweeps minutes apart leave at least: their noise, and slopes of the model.
_DIFFERENCE: Final = 1e-3
#: Part of what changed of a channel's S that places may leave unexplained, at most, to be believed: a right
#: model leaves 0.01 to 0.05 of it after a probing move, a wrong one nearly all.
_UNEXPLAINED: Final = 0.2
#: Iterations of a fit of places alone: a match trimmer's displacement shows little.
_PATIENT: Final = 20
#: Whoever is named is displaced by so many standard deviations.
_CERTAIN: Final = 4.0
#: Part of a trimmer's displacement by which its channel's others may seem displaced: a detuned channel shows
#: them in what the model explains of it least. A tuned array's matching seemed to move by up to 0.13 of it.
_SHARED: Final = 0.2
#: Part of a probing move that a sound trimmer shows at least.
_STILL: Final = 0.5
#: How far an axis may stand elsewhere after homing and back, in parts of half the travel (deviation).
ELSEWHERE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Displacements:
    """How far trimmers stand from where their counts say, compared with an earlier sweep.

    Parameters
    ----------
    moved
        In units of half the travel, shape (channel, trimmer).
    deviation
        Standard deviation of each, same unit and shape.
    explained
        Whether the trimmers' places explain what changed at all, shape (channel,): if not, none is to be
        believed.
    """

    moved: Real
    deviation: Real
    explained: NDArray[np.bool_]


def displacements(estimate: Estimate, reference: Observation, seen: Observation) -> Displacements:
    """Return how far the trimmers stand from where they should, by two sweeps of the same frequencies.

    Parameters
    ----------
    estimate
        From all sweeps up to ``reference``.
    reference
        Its ``places`` are where the trimmers were sent for it.
    seen
        Its ``slack`` is what each place may differ.

    Raises
    ------
    ValueError
        The sweeps' frequencies differ.
    """
    if not np.array_equal(reference.frequencies, seen.frequencies):
        raise ValueError("both sweeps must have the same frequencies")
    belief = estimate.belief
    stood = reference.places + estimate.shifts[-1]
    modelled = belief.solve(reference.frequencies, belief.capacitances(stood)).s
    change = replace(seen, s=modelled + (seen.s - reference.s), places=seen.places + estimate.shifts[-1])
    known = Estimate.before(Prior.known(belief), change.places)
    found = refine(known, (change,), 5.0 * NOISE, _PATIENT)
    found = refine(found, (change,), _DIFFERENCE, _PATIENT, enough=0.0)
    noise = np.maximum(found.misfit[-1], _DIFFERENCE)
    deviation = place_deviations(found, (change,), _DIFFERENCE) * (noise / _DIFFERENCE)[:, None]
    ports = np.stack([arm.ports for arm in belief.design.arms])
    changed = (seen.s - reference.s)[:, ports[:, None], ports[None]]
    size = np.sqrt(np.mean(np.abs(changed) ** 2, axis=(0, 1, 2)))
    explained = found.misfit[-1] < np.maximum(_UNEXPLAINED * size, 2.0 * _DIFFERENCE)
    return Displacements(found.shifts[-1], deviation, explained)


def stood_still(found: Displacements, sent: Real) -> NDArray[np.bool_]:
    """Return the trimmers that surely did not follow a probing move, shape (channel, trimmer).

    Parameters
    ----------
    found
        After the move.
    sent
        How far each was sent, in units of half the travel; 0: not at all.
    """
    behind = np.abs(found.moved + sent) < _STILL * np.abs(sent)
    return np.asarray((sent != 0.0) & behind & _is_clear(found, sent), dtype=np.bool_)


def followed(found: Displacements, sent: Real) -> NDArray[np.bool_]:
    """Return the trimmers that surely did follow a probing move; arguments as `stood_still`."""
    near = np.abs(found.moved) < _STILL * np.abs(sent)
    return np.asarray((sent != 0.0) & near & _is_clear(found, sent), dtype=np.bool_)


def _is_clear(found: Displacements, sent: Real) -> NDArray[np.bool_]:
    certain = _CERTAIN * found.deviation < _STILL * np.abs(sent)
    return np.asarray(certain & found.explained[:, None], dtype=np.bool_)


def stand_elsewhere(found: Displacements, repeats: Real) -> NDArray[np.bool_]:
    """Return the trimmers that surely came back from home to another place, shape (channel, trimmer).

    Parameters
    ----------
    found
        After homing and back.
    repeats
        Within what homing finds the lower end again, in units of half the travel, shape (channel, trimmer).
    """
    size = np.abs(found.moved)
    others = np.where(np.eye(size.shape[1], dtype=np.bool_), 0.0, size[:, None, :]).max(axis=2)
    allowed = repeats + _CERTAIN * found.deviation + _SHARED * others
    return np.asarray((size > allowed) & found.explained[:, None], dtype=np.bool_)
