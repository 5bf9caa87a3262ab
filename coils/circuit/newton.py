"""Newton's method for matched ports: element values at which no port reflects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from coils.circuit.elements import Complex, Real

#: Reflection that counts as matched: a hundred times what rounding leaves of a solution.
_MATCHED: Final = 1e-12

#: Most steps, and most halvings of one.
_STEPS: Final = 60
_HALVINGS: Final = 30

#: Relative step of the central differences, the cube root of the rounding error.
_DIFFERENCE: Final = 1e-5

#: Largest change of a value's logarithm in one step: a resonance is found again after no more.
_LARGEST_STEP: Final = 0.3


def solve_match(
    reflections: Callable[[Real], Complex],
    start: Real,
    slopes: Callable[[Real], Complex] | None = None,
) -> Real:
    """Return the positive values at which all reflections vanish.

    Parameters
    ----------
    reflections
        Complex reflections of shape (port,) for values of shape (2 port,).
    start
        Values near the solution, shape (2 port,); a resonance off by more than its width is found from a
        closed form (`coils.circuit.matching`) rather than by this.
    slopes
        Their derivatives by the logarithms of the values, shape (port, 2 port); None: by differences.

    Raises
    ------
    ValueError
        No match was reached; the text gives the smallest reflection found.
    """

    def error(logarithms: Real) -> Real:
        value = reflections(np.exp(logarithms))
        return np.concatenate((value.real, value.imag))

    def jacobian(logarithms: Real) -> Real:
        if slopes is None:
            return _differences(error, logarithms)
        value = slopes(np.exp(logarithms))
        return np.concatenate((value.real, value.imag))

    at: Real = np.log(start)
    now = error(at)
    for _ in range(_STEPS):
        if np.max(np.abs(now)) < _MATCHED:
            break
        move: Real = np.asarray(-np.linalg.solve(jacobian(at), now), dtype=np.float64)
        move *= min(1.0, _LARGEST_STEP / float(np.max(np.abs(move))))
        improved = _line_search(error, at, move, now)
        if improved is None:
            break
        at, now = improved
    left = float(np.max(np.abs(now)))
    if left > 100.0 * _MATCHED:
        raise ValueError(
            f"no match: the smallest reflection found is {20.0 * np.log10(left):.3g} dB; start nearer, "
            "or give the section another share of the loop's capacitance"
        )
    return np.exp(at)


def _line_search(error: Callable[[Real], Real], at: Real, move: Real, now: Real) -> tuple[Real, Real] | None:
    """Return the first point on the way, halving, that is better; None where there is none."""
    for _ in range(_HALVINGS):
        tried = error(at + move)
        if np.sum(tried**2) < np.sum(now**2):
            return at + move, tried
        move = move / 2.0
    return None


def _differences(function: Callable[[Real], Real], point: Real) -> Real:
    columns = [
        (function(point + step) - function(point - step)) / (2.0 * _DIFFERENCE)
        for step in _DIFFERENCE * np.eye(point.size)
    ]
    return np.stack(columns, axis=1)
