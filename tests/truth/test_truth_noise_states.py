"""Received noise is what measured S and the noise figure predict: tuned, detuned, badly matched; 100 arrays.

Of each of 100 arrays in three states the analyzer's own reading of S, with its noise, predicts the covariance
of the receivers' noise samples; those come from the network's currents in the world. If the prediction is
right, the whitened differences are chi-square and their probabilities uniform between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, chi2, kstest

from coils.covariance import CovarianceComparison, compare_covariance, noise_covariance
from hil_fixtures.instruments.trigger_line import silent_shot
from hil_fixtures.instruments.znbt_channel import Stimulus
from hil_fixtures.instruments.znbt_receiver import observe
from hil_fixtures.physics.world import World, WorldSettings

#: Tuning 100 arrays takes some 15 s of an idle processor.
pytestmark = pytest.mark.timeout(300)

STATES = ("tuned", "detuned", "badly matched")
SEEDS = 100
INTERVAL = 10e-6
#: The receivers' decimators average over six intervals: the first six outputs average over nothing, too.
SETTLING = 6
SAMPLES = 2500
#: What a test of 1 in 1000 leaves on each side.
RARE = 5e-4


def decimated(lag: int) -> float:
    """Autocorrelation of white noise behind six boxcars of one interval: the integral of sinc^12 cos."""
    value, _ = quad(lambda f: np.sinc(f) ** 12 * np.cos(2 * np.pi * f * lag), -6.0, 6.0, limit=400)
    return float(value)


#: Noise bandwidth times the interval, and how many of the samples count as independent.
BANDWIDTH = decimated(0)
INDEPENDENT = 1.0 / sum((decimated(lag) / BANDWIDTH) ** 2 for lag in range(-6, 7))


@dataclass(frozen=True)
class Case:
    """One array in one state: what the receivers got, and what the analyzer says they should get."""

    measured: np.ndarray
    predicted: np.ndarray
    worst_reflection: float

    def compare(self, predicted: np.ndarray) -> CovarianceComparison:
        return compare_covariance(self.measured, predicted, SAMPLES * INDEPENDENT)


def change(world: World, state: str, random: np.random.Generator) -> None:
    """Bring an array from the state before into this one."""
    if state == "detuned":
        # One channel's diodes on, another channel about 1 % off.
        off, other = random.choice(np.arange(1, 9), 2, replace=False)
        world.set_bias(int(off), 0.08)
        name = f"ch{other}.na.tune"
        world.move_axis(name, world.axis_position(name) - 400)
    if state == "badly matched":
        for channel in range(1, 9):
            world.set_bias(channel, 0.0)
            name = f"ch{channel}.na.match"
            steps = int(random.choice([-1, 1]) * random.integers(500, 1000))
            world.move_axis(name, int(np.clip(world.axis_position(name) + steps, 0, 4000)))


def measured_s(world: World, seed: int) -> np.ndarray:
    """S of the receive ports as an analyzer reads it: -10 dBm, 1 kHz, noise of receivers and traces."""
    axis = np.array([world.frequencies[0]])
    stimulus = Stimulus(axis, np.array([1e3]), np.array([-10.0]), tuple(range(1, 17)))
    seen = observe(world.scattering(axis), stimulus, 1.0, np.random.default_rng([seed, 7]))
    return seen[0, :8, :8]


def received(world: World, index: int) -> np.ndarray:
    """Sample covariance in V^2 of the receivers' settled noise."""
    lo = world.frequencies[0]
    samples = world.sample([silent_shot(index)], range(8), lo, 0.0, INTERVAL, SETTLING + SAMPLES)[0]
    settled = samples[:, SETTLING:]
    return settled @ settled.conj().T / SAMPLES


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Case]]:
    """Return every state of every array; noise figures from 0.3 to 1.9 dB."""
    found: dict[str, list[Case]] = {state: [] for state in STATES}
    for seed in range(SEEDS):
        settings = WorldSettings(noise_figure_db=0.3 + 0.016 * seed)
        world = World.tuned(seed, settings)
        for place, state in enumerate(STATES):
            change(world, state, np.random.default_rng([seed, place]))
            s = measured_s(world, seed)
            waves = noise_covariance(
                s,
                bandwidth=BANDWIDTH / INTERVAL,
                temperature=settings.temperature,
                noise_figure_db=settings.noise_figure_db,
            )
            # A wave of power P has the peak envelope sqrt(2 P 50 ohm); then the preamplifier's voltage gain.
            predicted = waves * 2.0 * 50.0 * 10.0 ** (settings.preamp_gain_db / 10.0)
            worst = float(np.abs(np.diag(s)).max())
            found[state].append(Case(received(world, place), predicted, worst))
    return found


def test_the_states_are_what_they_are_called(cases: dict[str, list[Case]]) -> None:
    """Tuned: every port below -24 dB. Detuned: one port above -1 dB. Badly matched: one above -15 dB."""
    assert max(case.worst_reflection for case in cases["tuned"]) < 0.06
    assert min(case.worst_reflection for case in cases["detuned"]) > 0.9
    assert min(case.worst_reflection for case in cases["badly matched"]) > 0.17


@pytest.mark.parametrize("state", STATES)
def test_probabilities_are_uniform_in_every_state(cases: dict[str, list[Case]], state: str) -> None:
    """100 arrays: Kolmogorov-Smirnov, the count below 5 %, and the sum of all chi-squares (6400 degrees)."""
    compared = [case.compare(case.predicted) for case in cases[state]]
    probabilities = [one.probability for one in compared]
    assert kstest(probabilities, "uniform").pvalue > 2 * RARE
    low, high = binom.ppf((RARE, 1 - RARE), SEEDS, 0.05)
    assert low <= sum(p < 0.05 for p in probabilities) <= high
    total = sum(one.chi_square for one in compared)
    freedom = sum(one.degrees_of_freedom for one in compared)
    assert freedom == SEEDS * 64
    low, high = chi2.ppf((RARE, 1 - RARE), freedom)
    assert low < total < high, f"{total:.0f} for {freedom} degrees of freedom"


@pytest.mark.parametrize("state", STATES)
def test_every_channels_power_is_right_on_average(cases: dict[str, list[Case]], state: str) -> None:
    """Mean of 100 ratios to 4 standard errors: 1 % of power would be seen."""
    ratios = np.array([case.compare(case.predicted).power_ratio for case in cases[state]])
    error = 1.0 / np.sqrt(SEEDS * SAMPLES * INDEPENDENT)
    assert np.max(np.abs(ratios.mean(axis=0) - 1.0)) < 4.0 * error
    assert 4.0 * error < 0.012


@pytest.mark.parametrize("state", STATES[1:])
def test_the_tuned_arrays_noise_is_not_that_of_another_state(
    cases: dict[str, list[Case]], state: str
) -> None:
    """The same statistic refutes the wrong S-matrix in every single array."""
    for tuned, other in zip(cases["tuned"], cases[state], strict=True):
        assert other.compare(tuned.predicted).probability < 1e-3


def test_four_per_cent_of_power_are_refuted_by_the_sum(cases: dict[str, list[Case]]) -> None:
    """0.17 dB of noise figure or 12 K, which no single array shows, is far outside the sum over 100."""
    total = sum(case.compare(1.04 * case.predicted).chi_square for case in cases["tuned"])
    assert total > chi2.ppf(1 - 1e-6, SEEDS * 64)
