"""Find what an array is made of from its sweeps: the most probable values given drawing and measurement.

Every channel's own reflections, and what passes between its own ports, are compared with the model's; the
values that explain them best, weighed against their tolerances, are found by damped Gauss-Newton with the
derivatives of `coils.circuit.sensitivities` (maximum a posteriori). The couplings between channels follow
from what passes between them, pair by pair. The model is always solved whole; only the derivatives are taken
channel by channel, so that the cost grows with the number of channels and not with its cube.

The first sweep is compared at complex frequencies, from far below the real axis up to it
(`coils.tuning.smoothing`): so a start many bandwidths away still finds its dips.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from coils.circuit.sensitivities import own_sensitivities
from coils.tuning.curves import TERMS, shapes
from coils.tuning.design import LOOP
from coils.tuning.smoothing import smooth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coils.circuit.array import Solution
    from coils.circuit.elements import Complex, Real
    from coils.tuning.belief import Belief, Prior

#: Smoothing widths of the stages of a first fit over the frequency, and the misfit believed at each.
STAGES: Final = ((0.06, 0.06), (0.02, 0.04), (0.007, 0.03), (0.0, 0.02))
#: Relative gain of the cost below which a smoothed stage is over.
_STAGE_ENOUGH: Final = 0.03
#: Misfit of S that is believed when the model is right: noise, directivity, what is not in the model.
NOISE: Final = 0.006
_ITERATIONS: Final = 8
_DAMPING: Final = 1e-2
#: Relative gain of the cost below which an iteration was the last of its stage.
_ENOUGH: Final = 5e-4


@dataclass(frozen=True, slots=True)
class Observation:
    """A sweep and where the trimmers were sent for it.

    Parameters
    ----------
    frequencies
        Hz, shape (frequency,); complex after smoothing.
    s
        Shape (frequency, port, port).
    places
        Of the trimmers, -1 to 1, shape (channel, trimmer).
    slack
        Standard deviation of what the true places may have moved more or less than these since the
        observation before, shape (channel, trimmer).
    """

    frequencies: Real | Complex
    s: Complex
    places: Real
    slack: Real


@dataclass(frozen=True, slots=True)
class Estimate:
    """The most probable values.

    Parameters
    ----------
    prior
        What was believed before.
    belief
        Values and model.
    shifts
        How far the trimmers truly were from where they were sent, for each observation, in units of half
        the travel, shape (observation, channel, trimmer).
    misfit
        Root mean square of measured minus modelled S of each channel's own ports in each observation,
        shape (observation, channel).
    cost
        Squared misfits and squared distances from what was believed before, each over its variance, summed
        for each channel, shape (channel,).
    """

    prior: Prior
    belief: Belief
    shifts: Real
    misfit: Real
    cost: Real

    @classmethod
    def before(cls, prior: Prior, places: Real) -> Self:
        """Return what is believed before any sweep, trimmers at ``places`` (channel, trimmer)."""
        unknown = np.full(len(places), np.inf)
        return cls(prior, prior.belief, np.zeros((1, *places.shape)), unknown[None], unknown)

    def capacitances(self, places: Real, observation: int = -1) -> Real:
        """Return the trimmers' capacitances at places, with the shifts of an observation, F."""
        return self.belief.capacitances(places + self.shifts[observation])


def first_estimate(prior: Prior, observation: Observation) -> Estimate:
    """Return the estimate from one wide sweep, by stages of less and less smoothing.

    Parameters
    ----------
    prior
        What the drawing says.
    observation
        Bands around every arm's frequency that contain the dips, however far off.
    """
    estimate = Estimate.before(prior, observation.places)
    for width, noise in STAGES:
        seen = observation if width == 0.0 else _smoothed(prior.belief, observation, width)
        estimate = refine(estimate, (seen,), noise, enough=_STAGE_ENOUGH)
    return refine(estimate, (observation,), NOISE)


def refine(
    estimate: Estimate,
    observations: Sequence[Observation],
    noise: float = NOISE,
    iterations: int = _ITERATIONS,
    enough: float = _ENOUGH,
) -> Estimate:
    """Return the estimate from all observations, starting from an earlier one.

    Parameters
    ----------
    estimate
        Its shifts are kept for the observations that it knows; new ones start with the last.
    observations
        All that count, the oldest first.
    noise
        Standard deviation of the complex misfit of S.
    iterations
        Most Gauss-Newton steps.
    enough
        Relative gain of the cost below which a step was the last.
    """
    fit = _Fit(estimate.prior, observations, noise)
    point = fit.point(estimate)
    state = fit.evaluate(point)
    damping, couples = _DAMPING, True
    for _ in range(iterations):
        trial = fit.evaluate(fit.stepped(state, damping, couples=couples))
        if trial.cost < state.cost:
            gain = (state.cost - trial.cost) / state.cost
            state, damping, couples = trial, 0.2 * damping, True
            if gain < enough:
                break
        elif couples:
            # a channel that stands elsewhere makes its couplings look wrong: leave them for now
            couples = False
        else:
            damping *= 10.0
            if damping > 1e4:
                break
    return Estimate(estimate.prior, state.point.belief, state.point.shifts, state.misfit, state.by_channel)


def place_deviations(estimate: Estimate, observations: Sequence[Observation], noise: float) -> Real:
    """Return the standard deviations of the trimmers' last places, in half travels, (channel, trimmer).

    Parameters
    ----------
    estimate
        From these observations.
    observations, noise
        As for `refine`.
    """
    fit = _Fit(estimate.prior, observations, noise)
    state = fit.evaluate(fit.point(estimate))
    scaled = state.normal * fit.widths[:, :, None] * fit.widths[:, None, :] + np.eye(fit.size)
    spread = np.linalg.inv(scaled)
    last = np.arange(fit.size - len(fit.design.trimmers), fit.size)
    return np.asarray(np.sqrt(spread[:, last, last]) * fit.widths[:, last], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Point:
    belief: Belief
    shifts: Real


@dataclass(frozen=True, slots=True)
class _State:
    """A point, its cost, and per channel the normal matrix and gradient of the data alone."""

    point: _Point
    by_channel: Real
    normal: Real
    gradient: Real
    misfit: Real
    solutions: tuple[Solution, ...]

    @property
    def cost(self) -> float:
        """Of all channels."""
        return float(np.sum(self.by_channel))


class _Fit:
    """The cost of a belief given observations, and steps that lower it."""

    def __init__(self, prior: Prior, observations: Sequence[Observation], noise: float) -> None:
        design = prior.belief.design
        self.prior = prior
        self.design = design
        self.observations = observations
        self.noise = noise
        self.elements = tuple(design.spreads)
        names = [*self.elements, *(trimmer.element for trimmer in design.trimmers)]
        self.moving = {name: row for row, name in enumerate(names)}
        trimmers, arms = len(design.trimmers), len(design.arms)
        self.first_term = len(self.elements)
        self.first_delay = self.first_term + trimmers * TERMS
        self.first_shift = self.first_delay + arms
        self.size = self.first_shift + len(observations) * trimmers
        self.widths = self._widths()

    def _widths(self) -> Real:
        """Return prior standard deviations, shape (channel, parameter)."""
        design = self.design
        count = design.channels
        fixed = [self.prior.elements[name] for name in self.elements]
        common = np.concatenate(
            [fixed, self.prior.terms.ravel(), np.full(len(design.arms), self.prior.delay)]
        )
        slack = [seen.slack for seen in self.observations]
        return np.concatenate([np.tile(common, (count, 1)), *slack], axis=1)

    def point(self, estimate: Estimate) -> _Point:
        """Return where to start."""
        known = estimate.shifts[: len(self.observations)]
        missing = len(self.observations) - len(known)
        last = estimate.shifts[-1:]
        return _Point(estimate.belief, np.concatenate([known, *([last] * missing)]))

    def deviations(self, point: _Point) -> Real:
        """Return the parameters' distance from what was believed before, shape (channel, parameter)."""
        belief, before, design = point.belief, self.prior.belief, self.design
        columns = []
        for name in self.elements:
            value, nominal = belief.values[name], before.values[name]
            relative = design.spreads[name].kind == "relative"
            columns.append(np.log(value / nominal) if relative else value - nominal)
        moved = belief.delays - before.delays
        delays = [moved[arm.ports] for arm in design.arms]
        walked = np.diff(point.shifts, axis=0, prepend=np.zeros((1, *point.shifts.shape[1:])))
        shifts = walked.swapaxes(0, 1).reshape(design.channels, -1)
        terms = (belief.terms - before.terms).reshape(design.channels, -1)
        return np.concatenate([np.stack(columns, axis=1), terms, np.stack(delays, axis=1), shifts], axis=1)

    def moved(self, point: _Point, step: Real) -> _Point:
        """Return the point after a step of shape (channel, parameter)."""
        belief, design = point.belief, self.design
        values = dict(belief.values)
        for column, name in enumerate(self.elements):
            change = step[:, column]
            if design.spreads[name].kind == "relative":
                values[name] = values[name] * np.exp(np.clip(change, -0.5, 0.5))
            else:
                values[name] = values[name] + change
        terms = belief.terms + step[:, self.first_term : self.first_delay].reshape(belief.terms.shape)
        delays = belief.delays.copy()
        for column, arm in enumerate(design.arms):
            delays[arm.ports] += step[:, self.first_delay + column]
        by_observation = step[:, self.first_shift :].reshape(design.channels, len(point.shifts), -1)
        shifts = point.shifts + np.cumsum(by_observation.swapaxes(0, 1), axis=0)
        return _Point(replace(belief, values=values, terms=terms, delays=delays), shifts)

    def evaluate(self, point: _Point) -> _State:
        """Solve the model for every observation and compare."""
        design = self.design
        count = design.channels
        normal = np.zeros((count, self.size, self.size))
        gradient = np.zeros((count, self.size))
        misfit = np.zeros((len(self.observations), count))
        solutions = []
        cost = np.zeros(count)
        weight = 1.0 / self.noise**2
        for number, seen in enumerate(self.observations):
            places = seen.places + point.shifts[number]
            solution = point.belief.solve(seen.frequencies, point.belief.capacitances(places))
            error, columns = self._compare(seen, solution)
            chain = self._chain(number, point.belief, places)
            by_element = weight * np.matmul(columns, columns.swapaxes(1, 2))
            normal += np.matmul(np.matmul(chain, by_element), chain.swapaxes(1, 2))
            pull = weight * np.matmul(columns, error[:, :, None])
            gradient += np.matmul(chain, pull)[:, :, 0]
            misfit[number] = np.sqrt(2.0 * np.mean(error**2, axis=1))
            cost += weight * np.sum(error**2, axis=1)
            solutions.append(solution)
        cost += np.sum((self.deviations(point) / self.widths) ** 2, axis=1)
        return _State(point, cost, normal, gradient, misfit, tuple(solutions))

    def _compare(self, seen: Observation, solution: Solution) -> tuple[Real, Real]:
        """Return misfits (channel, value) and derivatives by ln of elements and delays (channel, ., value).

        Compared are all S-parameters among a channel's own ports.
        """
        arms = self.design.arms
        first, second = np.triu_indices(len(arms))
        ports = np.stack([arm.ports for arm in arms])
        here, there = ports[first].T, ports[second].T
        modelled = solution.s[:, here, there].swapaxes(0, 1)
        error = seen.s[:, here, there].swapaxes(0, 1) - modelled
        count, values = error.shape[1:]
        columns = np.zeros(
            (self.design.channels, len(self.moving) + len(arms), count, values), dtype=np.complex128
        )
        for sensitivity in own_sensitivities(solution, 0):
            row = self.moving.get(sensitivity.name)
            if row is not None:
                scaled = (sensitivity.current * sensitivity.factor[:, :, None]).swapaxes(0, 1)
                current = sensitivity.current.swapaxes(0, 1)
                np.multiply(scaled[:, :, first], current[:, :, second], out=columns[:, row])
        turned = -2j * np.pi * np.asarray(solution.frequencies)[:, None]
        for arm in range(len(arms)):
            ends = (first == arm).astype(float) + (second == arm)
            columns[:, len(self.moving) + arm] = turned * ends * modelled
        flat = columns.reshape(self.design.channels, -1, count * values)
        return _split(error.reshape(self.design.channels, -1)), _split(flat)

    def _chain(self, number: int, belief: Belief, places: Real) -> Real:
        """Return how parameters move ln of elements and delays, shape (channel, parameter, moving)."""
        design = self.design
        chain = np.zeros((design.channels, self.size, len(self.moving) + len(design.arms)))
        for column, name in enumerate(self.elements):
            relative = design.spreads[name].kind == "relative"
            chain[:, column, self.moving[name]] = 1.0 if relative else 1.0 / belief.values[name]
        for column, trimmer in enumerate(design.trimmers):
            place, terms = places[:, column], belief.terms[:, column]
            capacitance = trimmer.capacitance(place, terms)
            start, row = self.first_term + column * TERMS, self.moving[trimmer.element]
            chain[:, start : start + TERMS, row] = trimmer.half_range * shapes(place) / capacitance[:, None]
            by_place = trimmer.slope(place, terms) / capacitance
            for earlier in range(number + 1):
                chain[:, self.first_shift + earlier * len(design.trimmers) + column, row] = by_place
        for arm in range(len(design.arms)):
            chain[:, self.first_delay + arm, len(self.moving) + arm] = 1.0
        return chain

    def stepped(self, state: _State, damping: float, *, couples: bool) -> _Point:
        """Return the point after a damped Gauss-Newton step of all channels and, if asked, of couplings."""
        scaled = state.normal * self.widths[:, :, None] * self.widths[:, None, :]
        pull = state.gradient * self.widths - self.deviations(state.point) / self.widths
        own = np.arange(self.size)
        scaled[:, own, own] += 1.0 + damping * (1.0 + scaled[:, own, own])
        step = np.linalg.solve(scaled, pull[:, :, None])[:, :, 0] * self.widths
        point = self.moved(state.point, step)
        if not couples:
            return point
        return replace(point, belief=_with_couplings(self.prior, point.belief, self.observations, state))


def _split(values: Complex) -> Real:
    """Return real and imaginary parts side by side on the last axis."""
    return np.concatenate([values.real, values.imag], axis=-1)


def _smoothed(belief: Belief, observation: Observation, width: float) -> Observation:
    """Return the observation at complex frequencies, ``width`` over each band's frequency below the axis."""
    frequencies, values = [], []
    real = np.asarray(observation.frequencies, dtype=np.float64)
    band, _ = belief.bands(real)
    for number, centre in enumerate(belief.design.frequencies):
        here = band == number
        axis = real[here]
        depth = width * centre
        margin = min(depth, 0.15 * (axis[-1] - axis[0]))
        count = max(int((axis[-1] - axis[0] - 2.0 * margin) / (0.6 * depth)) + 1, 5)
        wanted = np.linspace(axis[0] + margin, axis[-1] - margin, count)
        frequencies.append(wanted - 1j * depth)
        values.append(smooth(axis, observation.s[here], wanted, depth))
    return replace(observation, frequencies=np.concatenate(frequencies), s=np.concatenate(values))


def _with_couplings(
    prior: Prior, belief: Belief, observations: Sequence[Observation], state: _State
) -> Belief:
    """Return the belief with the couplings that best explain what passes between channels, pair by pair."""
    design = belief.design
    count, arms = design.channels, design.arms
    if count == 1:
        return belief
    one, other = np.triu_indices(count, 1)
    unknowns = 1 + len(arms)
    normal = np.zeros((one.size, unknowns, unknowns))
    right = np.zeros((one.size, unknowns))
    resistance = belief.loop_resistance()
    own = belief.values[LOOP]
    for seen, solution in zip(observations, state.solutions, strict=True):
        band, ratio = belief.bands(seen.frequencies)
        reactance = 2j * np.pi * np.asarray(seen.frequencies)[:, None] * np.sqrt(own[one] * own[other])
        columns = [reactance]
        for number in range(len(arms)):
            scale = np.sqrt(resistance[number, one] * resistance[number, other])
            columns.append(np.where(band == number, ratio**2, 0.0)[:, None] * scale)
        basis = np.stack(columns, axis=2)
        currents = solution.currents()
        for arm in arms:
            here, there = arm.ports[one], arm.ports[other]
            passed = currents[:, one, here] * currents[:, other, there]
            passed += currents[:, other, here] * currents[:, one, there]
            by_mutual = 0.5 * passed[:, :, None] * basis
            difference = (seen.s - solution.s)[:, here, there]
            flat = by_mutual.transpose(1, 2, 0)
            error = difference.T[:, :, None]
            normal += np.matmul(flat.conj(), flat.swapaxes(1, 2)).real
            right += np.matmul(flat.conj(), error)[:, :, 0].real
    widths = np.array([prior.coupling, *([prior.resistance] * len(arms))])
    now = np.concatenate([belief.coupling[None, one, other], belief.resistance[:, one, other]]).T
    before = np.concatenate(
        [prior.belief.coupling[None, one, other], prior.belief.resistance[:, one, other]]
    ).T
    scaled = normal * np.outer(widths, widths) / NOISE**2 + np.eye(unknowns)
    pull = right * widths / NOISE**2 - (now - before) / widths
    step = np.linalg.solve(scaled, pull[:, :, None])[:, :, 0] * widths
    found = now + np.clip(step, -2.0 * widths, 2.0 * widths)
    coupling, mutual = np.zeros_like(belief.coupling), np.zeros_like(belief.resistance)
    coupling[one, other] = coupling[other, one] = found[:, 0]
    for number in range(len(arms)):
        mutual[number, one, other] = mutual[number, other, one] = found[:, 1 + number]
    return replace(belief, coupling=coupling, resistance=mutual)
