"""Facts about switching times from sampled transients."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.decoupling.switching import switching_time


def exponential(t: np.ndarray, wait: float, tau: float, low: complex, high: complex) -> np.ndarray:
    return np.where(t < wait, low, high + (low - high) * np.exp(-(np.maximum(t, wait) - wait) / tau))


def test_an_exponential_settles_in_its_closed_form() -> None:
    """Delay w + τ ln 2, rise τ ln 9, settling to 1 % w + τ ln 100; interpolation errs by (dt/τ)²/8 of τ."""
    t = np.linspace(-2e-6, 30e-6, 3201)
    wait, tau = 0.7e-6, 1.5e-6
    found = switching_time(t, exponential(t, wait, tau, 0.5j, 0.02), tolerance=0.01)
    assert found.settling == pytest.approx(wait + tau * math.log(100), rel=1e-4)
    assert found.delay == pytest.approx(wait + tau * math.log(2), rel=1e-4)
    assert found.rise == pytest.approx(tau * math.log(9), rel=1e-4)


def test_ringing_counts_until_it_stays_inside() -> None:
    """The last crossing, not the first."""
    t = np.linspace(-1e-6, 30e-6, 6201)
    ring = 1.0 - np.exp(-np.maximum(t, 0) / 3e-6) * np.cos(2 * np.pi * 1e6 * np.maximum(t, 0))
    level = np.where(t < 0, 0.0, ring)
    found = switching_time(t, level, tolerance=0.05)
    outside = t[np.abs(level - 1.0) > 0.05][-1]
    assert outside <= found.settling <= outside + 2 * (t[1] - t[0])
    assert found.settling > 8e-6


def test_settling_scatters_as_stated_and_is_not_late() -> None:
    """300 noisy transients: the scatter is known to 4 %, the mean to a seventeenth of it.

    A last crossing alone would be late by several standard deviations; a fitted one is not.
    """
    rng = np.random.default_rng(14)
    t = np.arange(-2e-6, 20e-6, 20e-9)
    truth = 1e-6 + 1e-6 * math.log(10)
    clean = exponential(t, 1e-6, 1e-6, 0.4, 0.1j)
    found = []
    for _ in range(300):
        noise = 2e-3 * (rng.normal(size=t.size) + 1j * rng.normal(size=t.size))
        found.append(switching_time(t, clean + noise, tolerance=0.1))
    stated = float(np.mean([f.uncertainty for f in found]))
    settled = np.array([f.settling for f in found])
    # the window's ends follow the noise: a quarter more scatter than the fit of fixed samples states
    assert 0.85 * stated < np.std(settled) < 1.35 * stated
    assert abs(settled.mean() - truth) < stated
    assert found[0].noise == pytest.approx(2e-3 / abs(0.4 - 0.1j), rel=0.15)


def test_a_transient_that_says_nothing_is_refused() -> None:
    """No step, too much noise, a record too short, or none before the command."""
    rng = np.random.default_rng(15)
    t = np.linspace(-1e-6, 10e-6, 1101)
    noise = 1e-2 * rng.normal(size=t.size)
    with pytest.raises(MeasurementError, match="did the bias switch"):
        switching_time(t, 0.3 + noise)
    with pytest.raises(MeasurementError, match="average more"):
        switching_time(t, exponential(t, 0.0, 1e-6, 0.0, 0.2) + noise, tolerance=0.01)
    with pytest.raises(MeasurementError, match="record for longer"):
        switching_time(t, np.maximum(t, 0) / 10e-6, tolerance=0.001)
    with pytest.raises(ValueError, match="begin before"):
        switching_time(t[200:], noise[200:])
    with pytest.raises(ValueError, match="20 samples"):
        switching_time(t[:5], noise[:5])
