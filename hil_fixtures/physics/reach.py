"""How well an array can be tuned at all: the least worst reflection within the trimmers' travel.

The true circuit is known here: Newton's method finds where every port is matched, however far; then the
travel closes in on it step by step, and a sequence of linear programs keeps the worst reflection least
(Madsen, IEE J Microwaves Optics Acoustics 1:17 (1976), minimax network design). Positions count as reachable
when they can be approached from below. A stuck trimmer stays, and its port is not asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import linprog

from hil_fixtures.physics.design import match_ports
from hil_fixtures.physics.network import loop_impedance, respond
from hil_fixtures.physics.trimmers import MAXIMUM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hil_fixtures.physics.arrays import Complex, Real
    from hil_fixtures.physics.network import ArrayCircuit
    from hil_fixtures.physics.sample import Load
    from hil_fixtures.physics.trimmers import Axis, Scale

#: Stages in which the travel closes in, and most linear programs in each.
_STAGES: Final = 6
_PROGRAMS: Final = 25

#: Trust radius of the first program and the one at which it ends, in parts of the travel.
_RADIUS: Final = 0.02
_LEAST_RADIUS: Final = 2e-5

#: Sides of the polygon that stands for a circle in the linear programs.
_SIDES: Final = 24

#: Step of the numeric derivative in parts of the travel.
_STEP: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Attainable:
    """The best that an array's trimmers can do.

    Parameters
    ----------
    reflections
        |S_ii| of every port at its own frequency, shape (port,): 23Na of all channels, then 1H.
    wanted
        Ports that both trimmers of can move, shape (port,).
    positions
        Step counts, approached from below.
    """

    reflections: Real
    wanted: Sequence[bool]
    positions: Mapping[str, int]

    @property
    def worst_db(self) -> float:
        """The worst reflection of the wanted ports in dB."""
        return float(20.0 * np.log10(np.max(self.reflections[np.array(self.wanted)])))

    def is_below(self, limit_db: float) -> bool:
        """Tell whether all wanted ports can be below a limit at once."""
        return self.worst_db < limit_db


class _Problem:
    """Reflections as a function of screw positions, in parts of the travel."""

    def __init__(
        self, circuit: ArrayCircuit, load: Load | None, axes: Sequence[Axis], frequencies: Real
    ) -> None:
        self.fixed = circuit.fixed
        self.axes = axes
        self.frequencies = frequencies
        self.channels = circuit.array.count
        self.loops = loop_impedance(circuit, load, frequencies)
        spans = np.array([axis.reach for axis in axes]) / MAXIMUM
        self.lowest, self.highest = spans[:, 0], spans[:, 1]
        moving = (self.highest > self.lowest).reshape(self.channels, 2, 2).all(axis=2)
        self.wanted = moving.T.ravel()

    def reflections(self, places: Real) -> Complex:
        values = np.array(
            [_capacitance(axis.scale, place) for axis, place in zip(self.axes, places, strict=True)]
        )
        return self.of_capacitances(values.reshape(self.channels, 4))

    def of_capacitances(self, values: Real) -> Complex:
        silent = np.zeros(self.channels)
        scattering = respond(self.fixed, self.loops, values, silent, self.frequencies).scattering
        own = np.diagonal(scattering, axis1=1, axis2=2)
        return np.concatenate((own[0, : self.channels], own[1, self.channels :]))

    def worst(self, reflections: Complex) -> float:
        return float(np.max(np.abs(reflections[self.wanted]), initial=0.0))

    def derivative(self, places: Real, here: Complex) -> Complex:
        columns = [(self.reflections(places + _STEP * unit) - here) / _STEP for unit in np.eye(len(places))]
        return np.stack(columns, axis=1)

    def matched(self) -> Real:
        """Return the places at which every port is matched, however far outside the travel."""
        start = np.array([_capacitance(axis.scale, 0.5) for axis in self.axes])
        values = match_ports(self.fixed, self.loops, start.reshape(self.channels, 4), self.frequencies)
        return np.array(
            [_place(axis.scale, value) for axis, value in zip(self.axes, values.ravel(), strict=True)]
        )

    def improve(self, places: Real, lowest: Real, highest: Real) -> Real:
        """Return places within bounds at which the worst reflection is least nearby."""
        places = np.clip(places, lowest, highest)
        here = self.reflections(places)
        radius = _RADIUS
        for _ in range(_PROGRAMS):
            step, promised = self._program(
                here, self.derivative(places, here), places, lowest, highest, radius
            )
            gain = 0.0
            while radius > _LEAST_RADIUS:
                new = self.reflections(places + step)
                gain = self.worst(here) - self.worst(new)
                if gain > 0.1 * (self.worst(here) - promised):
                    places, here = places + step, new
                    radius *= 2.0
                    break
                radius *= 0.25
                step = step * 0.25
            if radius <= _LEAST_RADIUS or gain < 1e-4 * self.worst(here) or self.worst(here) < 1e-6:
                break
        return places

    def _program(
        self, here: Complex, slope: Complex, places: Real, lowest: Real, highest: Real, radius: float
    ) -> tuple[Real, float]:
        """Return the step within the radius that makes the linearised worst reflection least, and that."""
        turned = np.exp(-2j * np.pi * np.arange(_SIDES) / _SIDES)[:, None, None]
        rows = (turned * slope[self.wanted]).real.reshape(-1, len(places))
        level = (turned[:, :, 0] * here[self.wanted]).real.ravel()
        found = linprog(
            np.append(np.zeros(len(places)), 1.0),
            A_ub=np.column_stack((rows, -np.ones(len(rows)))),
            b_ub=-level,
            bounds=[
                *zip(np.maximum(lowest - places, -radius), np.minimum(highest - places, radius), strict=True),
                (0.0, None),
            ],
        )
        if found.x is None:
            raise ValueError(f"the linear program of the travel has no solution: {found.message}")
        return np.asarray(found.x[:-1]), float(found.x[-1])


def _capacitance(scale: Scale, place: float) -> float:
    """Return the capacitance at a part of the travel; beyond its ends the scale goes on straight."""
    inside = float(np.clip(place, 0.0, 1.0))
    return scale.capacitance(inside * MAXIMUM) + (place - inside) * (scale.highest - scale.lowest)


def _place(scale: Scale, value: float) -> float:
    """Return the part of the travel at which `_capacitance` is ``value``."""
    inside = float(np.clip(value, scale.lowest, scale.highest))
    return scale.position(inside) / MAXIMUM + (value - inside) / (scale.highest - scale.lowest)


def best_reflections(
    circuit: ArrayCircuit, load: Load | None, axes: Mapping[str, Axis], frequencies: Real
) -> Attainable:
    """Return the best that the trimmers can do for all ports together, no channel detuned.

    Parameters
    ----------
    frequencies
        The lower and the upper, Hz.

    Raises
    ------
    ValueError
        No trimmer setting whatever matches this array.
    """
    problem = _Problem(circuit, load, tuple(axes.values()), frequencies)
    places = problem.matched()
    outside = np.maximum(problem.lowest - places, places - problem.highest)
    if np.any(outside > 0.0):
        for stage in range(1, _STAGES + 1):
            slack = np.maximum(outside, 0.0) * (1.0 - stage / _STAGES)
            places = problem.improve(places, problem.lowest - slack, problem.highest + slack)
    counts = {
        name: axis.count_for(place * MAXIMUM)
        for (name, axis), place in zip(axes.items(), places, strict=True)
    }
    screws = [axis.screw_for(counts[name]) for name, axis in axes.items()]
    reached = problem.reflections(np.array(screws) / MAXIMUM)
    return Attainable(np.abs(reached), tuple(bool(port) for port in problem.wanted), counts)
