"""Where to send the trimmers: the capacitances at which no port reflects at its own frequency.

What the model does not explain of the last sweep is taken as an offset that moves along (space mapping:
Bandler et al., IEEE Trans. Microw. Theory Tech. 42:2536 (1994)): solved is S_model + (S_measured -
S_model)(now) = 0, so an imperfect calibration or model shifts no target once the sweep is near.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import linprog, lsq_linear

from coils.circuit.sensitivities import element_sensitivities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.circuit.elements import Complex, Real
    from coils.tuning.belief import Belief

_ITERATIONS: Final = 25
#: Longest step of a logarithm of capacitance: farther the resonances move by many bandwidths.
_LONGEST: Final = 0.1
#: Weight of a port that is not asked for, because a trimmer of its own is stuck.
_UNWANTED: Final = 0.05
#: Reflections below this are matched.
_MATCHED: Final = 1e-4
#: Linear programs for the least worst reflection: most of them, their trust radius in logarithms of
#: capacitance at first and at last, and the sides of the polygon that stands for a circle.
_PROGRAMS: Final = 20
_FIRST_RADIUS: Final = 0.02
_LEAST_RADIUS: Final = 1e-4
_SIDES: Final = 16


@dataclass(frozen=True, slots=True)
class Target:
    """Where no port should reflect, as the model has it.

    Parameters
    ----------
    capacitances
        F, shape (channel, trimmer).
    reflections
        Each port's at its own frequency, there, shape (port,).
    slopes
        d S_ii / d ln C there, shape (port, channel, trimmer).
    """

    capacitances: Real
    reflections: Complex
    slopes: Complex

    def worst(self, wanted: NDArray[np.bool_]) -> float:
        """Return the largest |S_ii| of the ports asked for."""
        return float(np.max(np.abs(self.reflections[wanted]), initial=0.0))


def own_reflections(belief: Belief, capacitances: Real) -> Complex:
    """Return each port's reflection at its own frequency, shape (port,)."""
    return reflections_with_slopes(belief, capacitances)[0]


def reflections_with_slopes(belief: Belief, capacitances: Real) -> tuple[Complex, Complex]:
    """Return each port's reflection at its own frequency, and its derivatives by ln C of every trimmer.

    Returns
    -------
    Shapes (port,) and (port, channel, trimmer).
    """
    design = belief.design
    solution = belief.solve(np.array(design.frequencies), capacitances)
    ports = np.arange(design.circuit.port_count)
    band = np.zeros(ports.size, dtype=np.intp)
    for number, arm in enumerate(design.arms):
        band[arm.ports] = number
    slopes = np.zeros((ports.size, *capacitances.shape), dtype=np.complex128)
    columns = {trimmer.element: column for column, trimmer in enumerate(design.trimmers)}
    for sensitivity in element_sensitivities(solution):
        column = columns.get(sensitivity.name)
        if column is not None:
            current = sensitivity.current[band, :, ports]
            slopes[:, :, column] = sensitivity.factor[band] * current**2
    return solution.s[band, ports, ports], slopes


def solve_target(
    belief: Belief,
    start: Real,
    offset: Complex,
    lowest: Real,
    highest: Real,
    wanted: NDArray[np.bool_],
) -> Target:
    """Return the capacitances within limits that bring all reflections nearest to zero.

    Parameters
    ----------
    belief
        The model.
    start
        Where to begin, F, shape (channel, trimmer).
    offset
        Measured minus modelled reflections, shape (port,).
    lowest, highest
        Limits, F, shapes as ``start``.
    wanted
        Ports that matter, shape (port,); the others count a little, lest they run away.
    """
    bounds = np.log(lowest).ravel(), np.log(highest).ravel()
    weights = np.where(wanted, 1.0, _UNWANTED)
    point = np.clip(np.log(start).ravel(), *bounds)
    shape = start.shape
    reflections, slopes = reflections_with_slopes(belief, np.exp(point).reshape(shape))
    error = reflections + offset
    reach = _LONGEST
    for _ in range(_ITERATIONS):
        if np.max(np.abs(weights * error)) < _MATCHED:
            break
        rows = weights[:, None] * slopes.reshape(len(error), -1)
        step = _bounded_step(rows, weights * error, point, bounds, reach)
        if float(np.max(np.abs(step))) < 1e-7:
            break
        trial, trial_slopes = reflections_with_slopes(belief, np.exp(point + step).reshape(shape))
        if np.sum(np.abs(weights * (trial + offset)) ** 2) < np.sum(np.abs(weights * error) ** 2):
            point, error, slopes = point + step, trial + offset, trial_slopes
            reach = min(2.0 * reach, _LONGEST)
        else:
            reach = 0.3 * min(reach, float(np.max(np.abs(step))))
            if reach < 1e-6:
                break
    return Target(np.exp(point).reshape(shape), error, slopes)


def least_worst(
    belief: Belief,
    target: Target,
    offset: Complex,
    lowest: Real,
    highest: Real,
    wanted: NDArray[np.bool_],
    enough: float,
) -> Target:
    """Return a target within limits whose worst reflection is least, at the price of the others.

    Parameters
    ----------
    belief, offset, lowest, highest, wanted
        As for `solve_target`, which gave ``target``.
    enough
        Stop once no wanted |S_ii| is above.

    Notes
    -----
    A sequence of linear programs with a trust radius, circles drawn as polygons (Madsen, IEE J. Microw. Opt.
    Acoust. 1:17 (1976)).
    """
    bounds = np.log(lowest).ravel(), np.log(highest).ravel()
    shape = target.capacitances.shape
    radius = _FIRST_RADIUS
    best = target
    for _ in range(_PROGRAMS):
        if best.worst(wanted) < enough or radius < _LEAST_RADIUS:
            break
        point = np.log(best.capacitances).ravel()
        low = np.maximum(bounds[0] - point, -radius)
        high = np.minimum(bounds[1] - point, radius)
        slopes = best.slopes.reshape(len(best.reflections), -1)
        step = _program(best.reflections[wanted], slopes[wanted], low, high)
        capacitances = np.exp(point + step).reshape(shape)
        reflections, slopes = reflections_with_slopes(belief, capacitances)
        trial = Target(capacitances, reflections + offset, slopes)
        if trial.worst(wanted) < best.worst(wanted):
            best, radius = trial, 1.5 * radius
        else:
            radius *= 0.3
    return best


def _program(error: Complex, slopes: Complex, low: Real, high: Real) -> Real:
    """Return the step within bounds that makes the linearised worst reflection least."""
    turned = np.exp(-2j * np.pi * np.arange(_SIDES) / _SIDES)
    rows = (turned[:, None, None] * slopes).real.reshape(-1, slopes.shape[1])
    level = (turned[:, None] * error).real.ravel()
    result = linprog(
        np.append(np.zeros(slopes.shape[1]), 1.0),
        A_ub=np.column_stack((rows, -np.ones(len(rows)))),
        b_ub=-level,
        bounds=[*zip(np.minimum(low, high), high, strict=True), (0.0, None)],
    )
    return np.zeros(slopes.shape[1]) if result.x is None else np.asarray(result.x[:-1], dtype=np.float64)


def _bounded_step(
    slopes: Complex, error: Complex, point: Real, bounds: tuple[Real, Real], reach: float
) -> Real:
    """Return the step that brings the linearised error nearest to zero within limits and reach."""
    matrix = np.concatenate([slopes.real, slopes.imag])
    right = -np.concatenate([error.real, error.imag])
    low = np.maximum(bounds[0] - point, -reach)
    high = np.minimum(bounds[1] - point, reach)
    free = np.linalg.lstsq(matrix, right, rcond=1e-9)[0]
    if np.all((free > low) & (free < high)):
        return np.asarray(free, dtype=np.float64)
    # a limit that a trimmer stands on still needs a little width for the bounded solver
    bounds_here = np.minimum(low, high - 1e-12), np.maximum(high, low + 1e-12)
    result = lsq_linear(matrix, right, bounds_here, method="bvls")
    return np.asarray(np.clip(result.x, low, high), dtype=np.float64)
