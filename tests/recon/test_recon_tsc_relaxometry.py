"""Relaxation times from signals of known times."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.tsc.relaxometry import fit_saturation_recovery, fit_t2_star, measured_material

REPETITIONS = np.array([0.02, 0.04, 0.07, 0.12, 0.2, 0.3])
ECHOES = np.geomspace(0.3e-3, 60e-3, 12)


def recovered(times, t1, angle=np.pi / 2):
    e1 = np.exp(-times / t1)
    return np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1)


def decayed(times, short=4e-3, long=20e-3, fast=0.6):
    return fast * np.exp(-times / short) + (1 - fast) * np.exp(-times / long)


def test_t1_scatters_as_stated():
    """200 vials at SNR 50: unit pulls (their deviation is known to 5 %), no bias beyond 3 sigma."""
    generator = np.random.default_rng(4)
    pulls = []
    for _ in range(200):
        signals = recovered(REPETITIONS, 0.045) + 0.02 * generator.standard_normal(6)
        fit = fit_saturation_recovery(REPETITIONS, signals, 0.02, flip_angle=np.pi / 2)
        pulls.append((fit.t1 - 0.045) / fit.uncertainty)
    assert 0.8 < np.std(pulls) < 1.2
    assert abs(np.mean(pulls)) < 3 / np.sqrt(200) + 0.1


def test_a_wrong_flip_angle_is_in_the_uncertainty():
    """At 60 degrees a flip 5 % off moves T1; the stated uncertainty covers it."""
    true = np.deg2rad(60.0)
    signals = recovered(REPETITIONS, 0.045, true * 1.05)
    fit = fit_saturation_recovery(REPETITIONS, signals, 1e-4, flip_angle=true, flip_angle_uncertainty=0.05)
    assert abs(fit.t1 - 0.045) > 20 * fit.noise_uncertainty
    assert 0.5 < abs(fit.t1 - 0.045) / fit.uncertainty < 1.5


def test_times_that_show_no_recovery_are_refused():
    with pytest.raises(MeasurementError, match="do not show the recovery"):
        fit_saturation_recovery(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.01, 0.99]), 0.02, flip_angle=1.5)


@pytest.mark.parametrize("fractions", [(0.6, 0.4), None])
def test_two_times_are_found_with_true_uncertainty(fractions):
    """SNR 200, 100 vials: pulls of both times have unit deviation within 4 sigma of its own scatter."""
    generator = np.random.default_rng(5)
    pulls = []
    for _ in range(100):
        fit = fit_t2_star(
            ECHOES, decayed(ECHOES) + 0.005 * generator.standard_normal(12), 0.005, fractions=fractions
        )
        assert fit.model == "biexponential", fit.reason
        (_, short), (_, long) = fit.components
        pulls.append(((short - 4e-3) / fit.uncertainties[0], (long - 20e-3) / fit.uncertainties[1]))
    assert np.all((np.std(pulls, axis=0) > 0.7) & (np.std(pulls, axis=0) < 1.3)), np.std(pulls, axis=0)


def test_saline_is_stated_as_one_component_with_the_reason():
    """One true time: a second component is claimed in at most 1 % of 100 fits by the test's own level."""
    generator = np.random.default_rng(6)
    fits = [
        fit_t2_star(ECHOES, np.exp(-ECHOES / 0.05) + 0.01 * generator.standard_normal(12), 0.01)
        for _ in range(100)
    ]
    mono = [fit for fit in fits if fit.model == "mono"]
    assert len(mono) >= 96
    assert all("second component" in fit.reason or "not separated" in fit.reason for fit in mono)
    assert np.mean([fit.components[0][1] for fit in mono]) == pytest.approx(0.05, rel=0.02)


def test_noise_that_hides_the_second_component_is_said():
    """SNR 6 does not tell 4 and 20 ms apart from one time."""
    generator = np.random.default_rng(7)
    fit = fit_t2_star(ECHOES, decayed(ECHOES) + 0.15 * generator.standard_normal(12), 0.15)
    assert fit.model == "mono"
    assert fit.reason


def test_a_wrong_fraction_shows_as_lack_of_fit():
    """Fractions of 0.9 and 0.1, fitted as 0.6 and 0.4 at SNR 1000."""
    fit = fit_t2_star(ECHOES, decayed(ECHOES, fast=0.9), 1e-3)
    assert fit.lack_of_fit_probability < 0.01


def test_measured_times_become_the_material():
    t1 = fit_saturation_recovery(REPETITIONS, recovered(REPETITIONS, 0.04), 1e-2, flip_angle=np.pi / 2)
    t2 = fit_t2_star(ECHOES, decayed(ECHOES), 2e-3)
    material = measured_material("gel", t1, t2)
    assert material.relaxation.t1 == pytest.approx(0.04, rel=1e-3)
    assert material.relaxation.t2_star == t2.components
    assert material.t1_tolerance.relative == pytest.approx(t1.uncertainty / t1.t1)
    assert 0 < material.t2_star_tolerance.relative < 0.1
