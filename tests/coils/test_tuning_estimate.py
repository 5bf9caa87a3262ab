"""Facts about what an array is found to be made of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coilbench.simulated_drawing import drawing
from coils.tuning.belief import Belief, Prior
from coils.tuning.design import LOOP
from coils.tuning.estimate import NOISE, Estimate, Observation, first_estimate, refine
from hil_fixtures.physics.network import loop_impedance
from hil_fixtures.physics.settings import WorldSettings
from hil_fixtures.physics.workmanship import NOMINAL
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coils.tuning.design import ArrayDesign

CHANNELS = 3


def places(seed: int, channels: int = CHANNELS) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.8, 0.8, (channels, 4))


def costs(
    prior: Prior, belief: Belief, shifts: np.ndarray, seen: Sequence[Observation], noise: float
) -> np.ndarray:
    """Return the cost of a belief as it is, no step taken, shape (channel,)."""
    unknown = np.full(belief.design.channels, np.inf)
    at = Estimate(prior, belief, shifts, unknown[None], unknown)
    return refine(at, seen, noise, iterations=0).cost


def squared_distance(prior: Prior, belief: Belief) -> float:
    """Return how many squared tolerances an array is from its drawing, but for couplings."""
    total = 0.0
    for name, spread in belief.design.spreads.items():
        value, nominal = belief.values[name], prior.belief.values[name]
        change = np.log(value / nominal) if spread.kind == "relative" else value - nominal
        total += float(np.sum((change / spread.width) ** 2))
    total += float(np.sum((belief.terms / prior.terms) ** 2))
    for arm in belief.design.arms:
        total += float(np.sum((belief.delays[arm.ports] / prior.delay) ** 2))
    return total


# The cost and its derivatives


def test_the_truth_costs_its_distance_from_the_drawing(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Without noise the sweep adds nothing: all that is left are squared tolerances."""
    array = built_array(drawn_array(CHANNELS), 1)
    prior = Prior.from_design(array.design)
    seen = array.sweep(places(2), 0.2, 51)
    found = np.sum(costs(prior, array.truth, np.zeros((1, CHANNELS, 4)), (seen,), 0.01))
    assert found == pytest.approx(squared_distance(prior, array.truth), rel=1e-9)


def test_misfit_and_cost_are_those_of_each_channels_own_ports(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Channel 2's S_11, S_12, S_22 shifted by 0.03j: its misfit is that, its cost 0.03² over noise² each."""
    array = built_array(drawn_array(CHANNELS), 1)
    seen = array.sweep(places(2), 0.2, 51)
    own = np.ix_(range(len(seen.s)), [1, 4], [1, 4])
    off = seen.s.copy()
    off[own] += 0.03j
    prior = Prior.from_design(array.design)
    unknown = np.full(CHANNELS, np.inf)
    at = Estimate(prior, array.truth, np.zeros((1, CHANNELS, 4)), unknown[None], unknown)
    before = refine(at, (seen,), 0.01, iterations=0)
    after = refine(at, (replace(seen, s=off),), 0.01, iterations=0)
    assert after.misfit[0] == pytest.approx([0.0, 0.03, 0.0], abs=1e-12)
    assert after.cost - before.cost == pytest.approx([0.0, 3 * 102 * 9.0, 0.0], rel=1e-9, abs=1e-9)


def moved(belief: Belief, kind: str, index: Any, change: np.ndarray) -> Belief:
    """Return a belief with one parameter of every channel changed."""
    if kind == "element":
        relative = belief.design.spreads[index].kind == "relative"
        value = belief.values[index]
        return replace(
            belief, values={**belief.values, index: value * np.exp(change) if relative else value + change}
        )
    if kind == "term":
        terms = belief.terms.copy()
        terms[(slice(None), *index)] += change
        return replace(belief, terms=terms)
    delays = belief.delays.copy()
    delays[belief.design.arms[index].ports] += change
    return replace(belief, delays=delays)


def value_of(belief: Belief, before: Belief, kind: str, index: Any) -> np.ndarray:
    """Return how far one parameter has gone, shape (channel,)."""
    if kind == "element":
        one, other = belief.values[index], before.values[index]
        return np.asarray(
            np.log(one / other) if belief.design.spreads[index].kind == "relative" else one - other
        )
    if kind == "term":
        return np.asarray((belief.terms - before.terms)[(slice(None), *index)])
    return np.asarray((belief.delays - before.delays)[belief.design.arms[index].ports])


def test_a_step_follows_the_derivatives_of_the_cost(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Believing hardly anything of the sweep, one step is -width²/2 times the gradient, a little damped.

    So every derivative that a fit uses is compared with central differences of the cost itself: of all
    elements, scales, cables and places, for a sweep at complex and one at real frequencies. Channels that
    do not couple are moved together: their costs are their own. Central differences in steps of 1e-3
    widths err by the third derivative, parts in a million of the gradient.
    """
    array = built_array(drawn_array(CHANNELS), 3, coupling=0.0)
    lone = replace(array.truth, resistance=np.zeros_like(array.truth.resistance))
    prior = Prior.from_design(array.design)
    rng = np.random.default_rng(4)
    axis = np.concatenate([f * np.linspace(0.9, 1.1, 7) for f in array.design.frequencies])
    seen = []
    for number, (depth, slack) in enumerate(((0.05, 1e-2), (0.0, 3e-2))):
        here = places(5 + number)
        frequencies = axis * (1.0 - 1j * depth) if depth else axis
        s = lone.solve(frequencies, lone.capacitances(here)).s
        seen.append(Observation(frequencies, s, here, slack * rng.uniform(0.5, 1.0, here.shape)))
    # far from the drawing a little, lest derivatives at zero corrections hide something
    start = replace(prior.belief, terms=0.3 * prior.terms * rng.uniform(-1.0, 1.0, prior.belief.terms.shape))
    prior = replace(prior, belief=start)
    noise, shifts = 3e3, np.zeros((2, CHANNELS, 4))
    unknown = np.full(CHANNELS, np.inf)
    stepped = refine(Estimate(prior, start, shifts, unknown[None], unknown), seen, noise, iterations=1)
    kinds = [("element", name, prior.elements[name]) for name in prior.elements]
    kinds += [("term", index, prior.terms[index]) for index in np.ndindex(4, 4)]
    kinds += [("delay", arm, prior.delay) for arm in range(2)]

    def expected(change: Callable[[np.ndarray], tuple[Belief, np.ndarray]], width: Any) -> np.ndarray:
        step = np.full(CHANNELS, 1e-3 * width)
        high, low = (costs(prior, *change(sign * step), seen, noise) for sign in (1.0, -1.0))
        return np.asarray(-0.5 * (high - low) / 2e-3)

    pairs: dict[tuple[str, Any], tuple[np.ndarray, np.ndarray]] = {}
    for kind, index, width in kinds:

        def by_value(c: np.ndarray, kind: str = kind, index: Any = index) -> tuple[Belief, np.ndarray]:
            return moved(start, kind, index, c), shifts

        pairs[kind, index] = value_of(stepped.belief, start, kind, index) / width, expected(by_value, width)
    walked = np.diff(stepped.shifts, axis=0, prepend=np.zeros((1, CHANNELS, 4)))
    for number, column in np.ndindex(2, 4):

        def by_place(c: np.ndarray, number: int = number, column: int = column) -> tuple[Belief, np.ndarray]:
            there = shifts.copy()
            there[number:, :, column] += c
            return start, there

        slack = seen[number].slack[:, column]
        pairs["place", (number, column)] = walked[number, :, column] / slack, expected(by_place, slack)
    every, foreseen = (np.concatenate([pair[side] for pair in pairs.values()]) for side in (0, 1))
    damped = float(every @ foreseen / (foreseen @ foreseen))
    assert 0.98 < damped < 1.0 + 1e-4
    for (kind, index), (gone, wanted) in pairs.items():
        allowed = 1e-3 * np.max(np.abs(wanted))
        assert gone == pytest.approx(damped * wanted, rel=1e-3, abs=allowed), (kind, index)


def test_weak_couplings_are_found_in_one_step(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """S between channels is linear in a coupling of 1e-4 and a mutual resistance of 1 %: one step is all."""
    array = built_array(drawn_array(CHANNELS), 11, coupling=1e-4)
    truth = replace(array.truth, resistance=0.1 * array.truth.resistance)
    alone = replace(truth, coupling=np.zeros((3, 3)), resistance=np.zeros((2, 3, 3)))
    prior = replace(Prior.from_design(array.design), belief=alone)
    seen = replace(array, truth=truth).sweep(places(12), 0.1, 101)
    unknown = np.full(CHANNELS, np.inf)
    start = Estimate(prior, alone, np.zeros((1, CHANNELS, 4)), unknown[None], unknown)
    found = refine(start, (seen,), iterations=1).belief
    assert found.coupling == pytest.approx(truth.coupling, abs=3e-6)
    # at 1H little passes by resistance: a third of it stays with the tolerance
    assert found.resistance == pytest.approx(truth.resistance, abs=4e-3)


def test_where_it_ends_nothing_explains_the_sweep_better(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Of 120 neighbours at every distance none is more probable: a minimum, channel coupling left out."""
    array = built_array(drawn_array(2), 7, coupling=0.0)
    prior = replace(Prior.from_design(array.design), coupling=1e-9, resistance=1e-9)
    seen = (array.sweep(places(8, 2), 0.2, 81, seed=9),)
    found = refine(first_estimate(prior, seen[0]), seen, 2e-3, iterations=60, enough=0.0)
    least = float(np.sum(found.cost))
    rng = np.random.default_rng(10)
    for size in (0.1, 1e-2, 1e-3):
        for _ in range(40):
            near = found.belief
            for name, width in prior.elements.items():
                near = moved(near, "element", name, size * width * rng.normal(size=2))
            near = replace(near, terms=near.terms + size * prior.terms * rng.normal(size=near.terms.shape))
            assert np.sum(costs(prior, near, found.shifts, seen, 2e-3)) > least * (1.0 - 1e-9)


# What it finds of arrays that are exactly what the model can say


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_one_wide_sweep_finds_an_explanation_as_probable_as_the_truth(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any], seed: int
) -> None:
    """From a drawing several bandwidths off: S everywhere, couplings, losses and capacitances.

    The most probable values cost no more than the truth does; so the rms misfit is below noise believed
    times the truth's distance over the square root of twice the number of values.
    """
    array = built_array(drawn_array(CHANNELS), seed)
    prior = Prior.from_design(array.design)
    here = places(10 + seed)
    seen = array.sweep(here, 0.2, 201)
    start = prior.belief.solve(seen.frequencies, prior.belief.capacitances(here)).s
    assert np.max(np.abs(start - seen.s)) > 0.5
    found = first_estimate(prior, seen)
    distance = squared_distance(prior, array.truth)
    assert np.sum(found.cost) < distance
    values = 2 * 3 * seen.frequencies.size * CHANNELS
    assert np.sqrt(2.0 * distance / values) * NOISE < 2e-3
    belief, capacitances = found.belief, found.capacitances(here)
    assert np.max(np.abs(belief.solve(seen.frequencies, capacitances).s - seen.s)) < 2e-3
    # of couplings up to 0.003
    assert belief.coupling == pytest.approx(array.truth.coupling, abs=2e-5)
    assert belief.loop_resistance() == pytest.approx(array.truth.loop_resistance(), rel=0.05)
    # what resonates is known; how it is split between parts, to half of their tolerances
    assert belief.values[LOOP] == pytest.approx(array.truth.values[LOOP], rel=0.015, abs=0.0)
    assert capacitances == pytest.approx(array.truth.capacitances(here), rel=0.015, abs=0.0)


@pytest.mark.parametrize("seed", [1, 4])
def test_sweeps_elsewhere_teach_the_scales(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any], seed: int
) -> None:
    """What a move will do is foreseen better with every place that was seen, after three four times."""
    array = built_array(drawn_array(CHANNELS), seed, part=1.0)
    afar = array.sweep(places(90 + seed), 0.1, 41)

    def surprise(estimate: Estimate) -> float:
        s = estimate.belief.solve(afar.frequencies, estimate.capacitances(afar.places)).s
        return float(np.sqrt(np.mean(np.abs(s - afar.s) ** 2)))

    seen = [array.sweep(places(seed), 0.2, 201)]
    estimate = first_estimate(Prior.from_design(array.design), seen[0])
    surprises = [surprise(estimate)]
    for more in (40, 41):
        seen.append(array.sweep(places(seed + more), 0.1, 61))
        estimate = refine(estimate, seen, 1e-3)
        surprises.append(surprise(estimate))
    first, second, third = surprises
    assert second < first
    assert third < 0.25 * first
    assert np.max(estimate.misfit) < 2e-3


def test_a_trimmer_elsewhere_than_sent_is_found_there(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Play of 40 of 4000 steps on one trimmer, allowed for by its slack, shows as a shift of 0.02."""
    array = built_array(drawn_array(CHANNELS), 6)
    here, there = places(30), places(30) + 0.15
    lag = np.zeros((CHANNELS, 4))
    lag[1, 2] = -0.02
    seen = array.sweep(here, 0.2, 201)
    truly = replace(array.sweep(there + lag, 0.1, 61), places=there, slack=np.full((CHANNELS, 4), 0.01))
    first = first_estimate(Prior.from_design(array.design), seen)
    found = refine(first, (seen, truly), 1e-3)
    walked = found.shifts[1] - found.shifts[0]
    assert np.unravel_index(np.argmax(np.abs(walked)), walked.shape) == (1, 2)
    assert walked[1, 2] == pytest.approx(-0.02, abs=0.008)


def test_a_lone_channel_has_no_couplings_to_find(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """One loop is fitted as any other."""
    array = built_array(drawn_array(1), 2)
    seen = array.sweep(places(31, 1), 0.2, 201, seed=32)
    found = first_estimate(Prior.from_design(array.design), seen)
    assert np.max(found.misfit) < 2e-3
    assert found.belief.coupling.shape == (1, 1)


# A circuit written elsewhere


@pytest.mark.parametrize("seed", [0, 1])
def test_the_simulated_array_is_explained_to_its_noise(seed: int) -> None:
    """Another program's circuit, far pairs, losses and scales included, from one wide sweep with noise.

    The model knows loss as f^0.5 and f^2 and couplings by one k for both bands: what that leaves stays
    below the misfit that is believed, and below 0.05 in every S-parameter at every frequency.
    """
    world = World(WorldSettings(channels=5, workmanship=NOMINAL), seed)
    design = drawing(world)
    low, high = (f * np.linspace(0.8, 1.2, 201) for f in world.frequencies)
    axis = np.concatenate((low, high))
    noise = 10 ** (-70 / 20)
    rng = np.random.default_rng(seed)
    true = world.scattering(axis)
    parts = rng.normal(size=(2, *true.shape)) * noise / np.sqrt(2)
    steps = np.array([[world.axis_position(name) for name in row] for row in design.axes])
    here = (steps - 2000.0) / 2000.0
    seen = Observation(axis, true + parts[0] + 1j * parts[1], here, np.full(here.shape, 6e-3))
    prior = Prior.from_design(design)
    assert np.max(np.abs(prior.belief.solve(axis, prior.belief.capacitances(here)).s - true)) > 1.0
    found = first_estimate(prior, seen)
    assert np.max(found.misfit) < NOISE
    modelled = found.belief.solve(axis, found.capacitances(here)).s
    assert np.max(np.abs(modelled - true)) < 0.05
    alone = loop_impedance(world.circuit, world.load, np.array(world.frequencies))
    own = np.einsum("fii->fi", alone)
    scale = np.sqrt(own.imag[:, :, None] * own.imag[:, None, :])
    # the sample couples reactively too, not alike at both frequencies: one k lies between the two
    below, above = np.sort(alone.imag / scale, axis=0)
    pairs = np.triu_indices(5, 1)
    coupling = found.belief.coupling[pairs]
    assert np.max(np.abs(below[pairs])) > 2e-3
    assert np.all(coupling > below[pairs] - 3e-4)
    assert np.all(coupling < above[pairs] + 3e-4)
    # half of the loss's tolerance of 50 %, and less
    assert found.belief.loop_resistance() == pytest.approx(own.real, rel=0.1)
