"""Which start and which terms a trace is fitted with.

A trace is first fitted with circle and line alone. Where the misfit is more than noise, a leakage that
changes over the sweep and, behind a line long enough to tell them apart, the analyzer's directivity are
tried; one is taken when it at least halves the misfit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.resonance.projection import Points, Solution, Terms, solve
from coils.resonance.starts import TRIAL_TURNS, starting_points
from coils.resonance.uncertainty import LONG_LINE, Spread, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Rms misfit, as a part of the circle's diameter, below which no other start is tried.
_SURE: Final = 0.025
#: Misfit of a start without delay, as a part of the circle's diameter, above which delays are tried instead.
_ROUGH: Final = 0.1
#: A further term must lower the rms misfit to this part.
_WORTH_A_TERM: Final = 0.5


@dataclass(frozen=True, slots=True)
class Fits:
    """Solutions of the traces ``rows`` with the same terms, and their covariances."""

    terms: Terms
    rows: NDArray[np.intp]
    solution: Solution
    spread: Spread

    def at(self, index: NDArray[np.bool_]) -> Fits:
        """Return a choice of them."""
        widths = self.spread
        chosen = Spread(widths.covariance[index], widths.noise[index], widths.excess[index])
        return Fits(self.terms, self.rows[index], self.solution.at(index), chosen)


def fit_from_starts(
    f: NDArray[np.float64], traces: NDArray[np.complex128], alive: NDArray[np.bool_], terms: Terms
) -> tuple[Solution | None, NDArray[np.intp]]:
    """Return the best solution of every trace that has one, and which traces those are.

    Most lines are short or calibrated away: a start without delay comes first, and only the traces that it
    does not fit are tried with others.
    """
    best: Solution | None = None
    have = np.zeros(len(traces), dtype=bool)
    unsure = alive.copy()
    for turns, worth in (((0.0,), _ROUGH), (TRIAL_TURNS if terms.delay else (0.0,), np.inf)):
        among = np.flatnonzero(unsure)
        if among.size == 0:
            break
        starts, physical = starting_points(f, traces[among], turns)
        for rank in range(physical.shape[1]):
            chosen = np.flatnonzero(unsure[among] & physical[:, rank])
            if chosen.size == 0:
                continue
            rows = among[chosen]
            start = Points(starts.centre[chosen, rank], starts.q[chosen, rank], starts.turns[chosen, rank])
            solution = solve(f, traces[rows], start, terms, worth=worth)
            if best is None:
                places = np.zeros(len(traces), dtype=np.intp)
                places[rows] = np.arange(rows.size)
                best, better = solution.at(places), np.ones(rows.size, dtype=bool)
            else:
                better = ~have[rows] | (solution.cost < best.cost[rows])
                best.put(rows[better], solution.at(better))
            have[rows[better]] = True
            unsure &= ~(have & _sure(best, f))
    rows = np.flatnonzero(have)
    return (None if best is None else best.at(rows)), rows


def _sure(solution: Solution, f: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which fits need no other start."""
    inside = (f[0] <= solution.points.centre) & (solution.points.centre <= f[-1])
    largest = _SURE * np.abs(solution.amplitudes[:, 1])
    return np.asarray(inside & (solution.cost < f.size * largest**2), dtype=np.bool_)


def refined(
    f: NDArray[np.float64],
    traces: NDArray[np.complex128],
    found: Fits,
    free: tuple[str, ...],
) -> list[Fits]:
    """Give fits whose misfit is more than noise one more term, then one more, where each halves the misfit.

    Fits of equal terms stay together; those that end with other terms than they began with follow.
    """
    best = np.zeros(found.rows.size, dtype=np.intp)
    limit = _WORTH_A_TERM**2 * found.solution.cost
    trials: list[Fits] = []
    for name in free:
        terms = found.terms
        if getattr(terms, name) or (name == "curvature" and not terms.leakage):
            continue
        trial = found.spread.excess.copy()
        if name == "directivity":
            trial &= np.abs(found.solution.points.turns) >= LONG_LINE
        places = np.flatnonzero(trial)
        if places.size == 0:
            continue
        more = replace(terms, **{name: True})
        rows = found.rows[places]
        solution = solve(f, traces[rows], found.solution.points.at(places), more, target=limit[places])
        better = solution.cost < limit[places]
        trials.append(Fits(more, places, solution, found.spread))
        best[places[better]] = len(trials)
        limit[places[better]] = solution.cost[better]
    done = [found.at(best == 0)] if np.any(best == 0) else []
    for number, trial_fits in enumerate(trials, start=1):
        mine = best[trial_fits.rows] == number
        if mine.any():
            part = trial_fits.solution.at(mine)
            rows = found.rows[trial_fits.rows[mine]]
            done += refined(
                f, traces, Fits(trial_fits.terms, rows, part, spread(part, trial_fits.terms)), free
            )
    return done
