"""Facts about predicting S after trimmers move, against a circuit written down here."""

from __future__ import annotations

import numpy as np
import pytest

from coils.tuning.trimmers import (
    Transition,
    Trimmers,
    first_guess,
    learn,
    predict,
    prediction_error,
    reflections,
    solve_steps,
)

FREQUENCY = 33.8e6


class LMatchedLoops:
    """Coupled lossy loops, each with a tune capacitor across it and a match capacitor to its port."""

    def __init__(self, count: int = 3, coupling: float = 0.004, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.inductance = 250e-9 * (1 + 0.02 * rng.uniform(-1, 1, count))
        self.coupling = coupling * rng.normal(size=(count, count))
        self.tune = 80e-12 * (1 + 0.03 * rng.uniform(-1, 1, count))
        self.match = 9e-12 * (1 + 0.05 * rng.uniform(-1, 1, count))
        self.tune_slope = 10e-15 * (1 + 0.1 * rng.uniform(-1, 1, count))
        self.match_slope = 2e-15 * (1 + 0.1 * rng.uniform(-1, 1, count))

    def s(self, frequencies: np.ndarray, steps: np.ndarray) -> np.ndarray:
        omega = 2 * np.pi * frequencies[:, None, None]
        mutual = np.sqrt(np.outer(self.inductance, self.inductance))
        k = np.triu(self.coupling, 1)
        inductances = np.diag(self.inductance) + mutual * (k + k.T)
        loops = 1j * omega * inductances + np.diag(0.5 * np.ones(len(self.tune)))
        tuned = np.linalg.inv(
            np.linalg.inv(loops) + 1j * omega * np.diag(self.tune + self.tune_slope * steps[:, 0])
        )
        z = tuned + np.diag(1.0 / (self.match + self.match_slope * steps[:, 1])) / (1j * omega)
        one = np.eye(len(self.tune))
        return (z - 50 * one) @ np.linalg.inv(z + 50 * one)

    def truth(self, spread: float = 0.5) -> Trimmers:
        return Trimmers(
            self.match.copy(),
            self.match_slope.copy(),
            self.tune_slope.copy(),
            np.eye(3 * len(self.tune)) * spread**2,
        )


AXIS = np.linspace(0.98, 1.02, 11) * FREQUENCY


def test_prediction_of_a_large_move_is_exact_for_lossless_trimmers() -> None:
    """400 steps of tune shift the resonance by three bandwidths; the prediction errs by rounding only."""
    loops = LMatchedLoops()
    steps = np.array([[400.0, -900.0], [-300.0, 500.0], [250.0, 1200.0]])
    before, after = loops.s(AXIS, np.zeros((3, 2))), loops.s(AXIS, steps)
    assert np.abs(after - before).max() > 0.5
    assert np.abs(predict(loops.truth(), AXIS, before, steps).s - after).max() < 1e-9


def test_sensitivities_are_the_derivatives_of_the_prediction() -> None:
    """Central differences of the circuit agree."""
    loops = LMatchedLoops()
    start = loops.s(AXIS, np.zeros((3, 2)))
    here = np.array([[30.0, 40.0], [-20.0, 10.0], [0.0, 0.0]])
    found = predict(loops.truth(), AXIS, start, here)
    for column, (vectors, factor) in enumerate(
        (
            (found.by_tune, found.tune_factor(loops.tune_slope)),
            (found.by_match, found.match_factor(loops.match_slope)),
        )
    ):
        small = np.zeros((3, 2))
        small[1, column] = 0.01
        numeric = (loops.s(AXIS, here + small) - loops.s(AXIS, here - small)) / 0.02
        analytic = factor[:, 1, None, None] * vectors[:, :, 1, None] * vectors[:, None, :, 1]
        assert np.abs(numeric - analytic).max() < 1e-6 * np.abs(numeric).max()


def probes(loops: LMatchedLoops, noise: float, seed: int) -> tuple[Transition, Transition]:
    rng = np.random.default_rng(seed)

    def sweep(steps: np.ndarray) -> np.ndarray:
        clean = loops.s(AXIS, steps)
        return clean + noise * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape)) / np.sqrt(2)

    zero, match, tune = np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2))
    match[:, 1] = 150.0
    tune[:, 0] = 150.0
    s = [sweep(steps) for steps in (zero, match, match + tune)]
    return Transition(AXIS, s[0], s[1], match), Transition(AXIS, s[1], s[2], tune)


@pytest.mark.parametrize("groups", [[0, 1, 2], [0, 0, 0]])
def test_two_probes_tell_the_three_numbers_of_every_port(groups: list[int]) -> None:
    """At -75 dB noise all capacitances and slopes come out within 3 %, from no prior knowledge."""
    loops = LMatchedLoops()
    first, second = probes(loops, 1.8e-4, 5)
    guess = first_guess(first, second, np.array(groups))
    belief = learn(guess, first).moved(first.steps)
    belief = learn(belief, second)
    assert belief.match_capacitance == pytest.approx(loops.match + 150 * loops.match_slope, rel=0.03)
    assert belief.match_slope == pytest.approx(loops.match_slope, rel=0.03)
    assert belief.tune_slope == pytest.approx(loops.tune_slope, rel=0.03)


def test_learning_reduces_the_error_of_the_move_it_learns_from() -> None:
    """A belief that is 20 % wrong predicts as well as the noise allows after one large move."""
    loops = LMatchedLoops()
    steps = np.array([[300.0, 400.0], [-200.0, 300.0], [250.0, -500.0]])
    moved = Transition(AXIS, loops.s(AXIS, np.zeros((3, 2))), loops.s(AXIS, steps), steps)
    wrong = loops.truth().changed(np.full(9, np.log(1.2)))
    assert prediction_error(wrong, moved) > 0.05
    assert prediction_error(learn(wrong, moved), moved) < 2e-3


def test_solution_makes_the_true_circuit_reflectionless() -> None:
    """Where the trimmers go by the solution, the circuit written down here does not reflect."""
    loops = LMatchedLoops()
    own, bands = np.array([FREQUENCY]), np.zeros(3, dtype=np.intp)
    start = loops.s(own, np.zeros((3, 2)))
    room = np.full((3, 2), 4000.0)
    steps = solve_steps(loops.truth(), own, start, bands, -room, room)
    assert np.abs(reflections(loops.s(own, steps), bands)).max() < 1e-6
    assert np.abs(reflections(start, bands)).min() > 0.3


def test_solution_stays_within_the_travel() -> None:
    """With too little travel the result is at its end, and still better than where it was."""
    loops = LMatchedLoops()
    own, bands = np.array([FREQUENCY]), np.zeros(3, dtype=np.intp)
    start = loops.s(own, np.zeros((3, 2)))
    room = np.full((3, 2), 40.0)
    steps = solve_steps(loops.truth(), own, start, bands, -room, room)
    assert np.all(np.abs(steps) <= 40.0)
    assert np.any(np.abs(steps) > 39.9)
    after = reflections(loops.s(own, steps), bands)
    assert np.sum(np.abs(after) ** 2) < np.sum(np.abs(reflections(start, bands)) ** 2)
