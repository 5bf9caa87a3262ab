"""Facts about ratios of probe readings and isolation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.decoupling.measures import (
    Reading,
    average_readings,
    detuning_depth,
    isolation,
    preamplifier_decoupling,
    suppression,
)


def noisy(rng: np.random.Generator, value: complex, sigma: float) -> Reading:
    return Reading(value + sigma * complex(*rng.normal(size=2)), sigma)


def test_a_hundredth_of_the_current_is_forty_decibels() -> None:
    """Phase does not matter; a rise is negative."""
    assert detuning_depth(Reading(0.02j), Reading(-0.0002)).value_db == pytest.approx(40.0)
    assert preamplifier_decoupling(Reading(0.01), Reading(0.019)).value_db == pytest.approx(-5.575, abs=1e-3)


@pytest.mark.parametrize("ratio", [0.5, 0.05, 0.01])
def test_the_interval_holds_the_truth_in_95_of_100_measurements(ratio: float) -> None:
    """2000 draws with noise of 0.3 % of the reference: the binomial spread of a coverage is 0.5 %."""
    rng = np.random.default_rng(11)
    sigma, truth = 3e-3, -20.0 * math.log10(ratio)
    results = [suppression(noisy(rng, 1.0, sigma), noisy(rng, ratio * 1j, sigma)) for _ in range(2000)]
    covered = np.mean([r.low_db <= truth <= r.high_db for r in results])
    assert 0.935 < covered < 0.965


def test_a_reading_lost_in_its_noise_gives_a_lower_bound_only() -> None:
    """The bound is true in at least 97.5 of 100 draws: one-sided, and a modulus is never below zero."""
    rng = np.random.default_rng(12)
    truth = -20.0 * math.log10(1e-4)
    results = [suppression(Reading(1.0, 1e-3), noisy(rng, 1e-4, 1e-3)) for _ in range(1000)]
    bounds = [r for r in results if r.is_bound]
    assert len(bounds) > 800
    assert np.mean([r.low_db <= truth for r in results]) > 0.975
    assert str(bounds[0]).startswith("> ")
    assert all(math.isinf(r.high_db) for r in bounds)


def test_what_the_probes_see_of_each_other_is_subtracted_as_a_complex_number() -> None:
    """Cross-talk in antiphase would read 26 dB where the loop current fell by 40 dB."""
    crosstalk = -0.6e-3 + 0.2e-3j
    tuned, detuned = Reading(0.01 + crosstalk), Reading(0.0001 + crosstalk)
    blind = detuning_depth(tuned, detuned)
    seeing = detuning_depth(tuned, detuned, background=Reading(crosstalk, 2e-6))
    assert blind.value_db < 27.0
    assert seeing.value_db == pytest.approx(40.0, abs=1e-9)
    # 2e-6 of 1e-4: 2 % standard uncertainty, 0.34 dB at 95 %
    assert seeing.high_db - seeing.value_db == pytest.approx(0.347, abs=0.01)


def test_a_reference_lost_in_its_noise_is_refused() -> None:
    """Nothing can be said about a ratio to nothing."""
    with pytest.raises(MeasurementError, match="probes closer"):
        suppression(Reading(4e-3, 1e-3), Reading(1e-4, 1e-3))
    with pytest.raises(MeasurementError, match="probes closer"):
        suppression(Reading(0.0), Reading(1e-4))


def test_the_mean_of_readings_scatters_as_stated() -> None:
    """300 means of 9 readings: their spread is known to 4 %, the rms of stated ones to 1 %."""
    rng = np.random.default_rng(13)
    noise = 0.01 * (rng.normal(size=(300, 9)) + 1j * rng.normal(size=(300, 9)))
    means = [average_readings(0.3 - 0.1j + row) for row in noise]
    scatter = np.sqrt(np.mean(np.abs([m.value - (0.3 - 0.1j) for m in means]) ** 2) / 2.0)
    stated = np.sqrt(np.mean([m.uncertainty**2 for m in means]))
    assert stated == pytest.approx(scatter, rel=0.15)
    assert average_readings(noise[0], floor=0.02).uncertainty > 0.02
    with pytest.raises(ValueError, match="at least 4"):
        average_readings([1.0, 1.0, 1.0])


def test_isolation_is_that_of_the_worst_pair_in_the_worse_direction() -> None:
    """Ports count from 1; a reading within its uncertainty is a bound."""
    s = np.zeros((5, 5), dtype=complex)
    s[0, 3] = s[3, 0] = 0.01
    s[1, 4], s[4, 1] = 0.02j, 0.1j
    level, pair = isolation(s, (1, 2, 3), (4, 5), uncertainty=0.01)
    assert pair == (2, 5)
    assert level.value_db == pytest.approx(20.0)
    assert level.low_db == pytest.approx(-20 * math.log10(0.1 + 0.01959964), abs=1e-6)
    assert isolation(s, (1,), (4,), uncertainty=0.01)[0].is_bound
    s[0, 3] = complex("nan")
    with pytest.raises(MeasurementError, match="ports 1 and 4"):
        isolation(s, (1, 2), (4, 5))
    with pytest.raises(ValueError, match="not all"):
        isolation(s, (1, 6), (2,))
    with pytest.raises(ValueError, match="pair"):
        isolation(s, (1,), (1,))
