"""Facts about S-parameters at complex frequencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coils.tuning.smoothing import smooth

if TYPE_CHECKING:
    from collections.abc import Callable

    from coils.tuning.design import ArrayDesign

BAND = (80e6, 120e6)
#: Poles above the real axis, as those of every passive network with e^{+jωt}; residues in Hz.
POLES = np.array([97e6 + 0.4e6j, 104e6 + 0.9e6j])
RESIDUES = np.array([0.5e6 - 0.2e6j, -0.3e6 + 0.8e6j])


def resonances(frequencies: np.ndarray) -> np.ndarray:
    """Return a sum of two resonances that is analytic below the real axis and vanishes far away."""
    return np.asarray(np.sum(RESIDUES / (frequencies[:, None] - POLES), axis=1))


def outside(wanted: np.ndarray, width: float) -> np.ndarray:
    """Return the Lorentzian's share below and above the band, shape (2, wanted)."""
    low, high = ((np.array(end) - wanted) / width for end in BAND)
    return np.stack((0.5 + np.arctan(low) / np.pi, 0.5 - np.arctan(high) / np.pi))


@pytest.mark.parametrize("width", [0.3e6, 1e6, 3e6])
def test_a_smoothed_resonance_is_the_resonance_at_a_complex_frequency(width: float) -> None:
    """Within what linear pieces leave, step² f''/8, and what lies outside: twice the ends' values there.

    Outside of the band this function falls, so it differs from its value at the end by at most twice that.
    """
    rng = np.random.default_rng(1)
    axis = np.sort(np.concatenate((BAND, rng.uniform(*BAND, 3000))))
    wanted = np.array([90e6, 96.3e6, 97e6, 103e6, 110.7e6])
    found = smooth(axis, resonances(axis), wanted, width)
    exact = resonances(wanted - 1j * width)
    curved = 2.0 * np.sum(np.abs(RESIDUES) / POLES.imag**3)
    ends = np.array([np.sum(np.abs(RESIDUES) / np.abs(np.array(end) - POLES)) for end in BAND])
    allowed = curved * np.max(np.diff(axis)) ** 2 / 8.0 + 2.0 * ends @ outside(wanted, width)
    assert np.all(np.abs(found - exact) < allowed)
    # the bounds are far below what smoothing does, and a frequency above the axis would be far off
    assert np.max(allowed) < 0.1 * np.max(np.abs(exact - resonances(wanted)))
    assert np.max(np.abs(found - resonances(wanted + 0.9j * width))) > 10.0 * np.max(allowed)


def test_what_is_constant_stays_so() -> None:
    """A perfect match and a perfect short have no resonances to widen, wherever the band ends."""
    axis = np.linspace(*BAND, 11)
    s = np.broadcast_to(np.array([[0.0, -1.0], [0.3j, 1.0]]), (11, 2, 2)).astype(complex)
    found = smooth(axis, s, np.array([80e6, 99.1e6, 120e6]), 2e6)
    assert found == pytest.approx(s[:3], abs=1e-14)


def test_smoothing_is_linear_and_takes_every_s_parameter_alike() -> None:
    """Of any combination it is the combination; axes behind the frequency pass through."""
    rng = np.random.default_rng(2)
    axis = np.sort(rng.uniform(*BAND, 37))
    one, other = rng.normal(size=(2, 37, 2, 3)) + 1j * rng.normal(size=(2, 37, 2, 3))
    wanted = np.linspace(axis[3], axis[-4], 5)
    both = smooth(axis, one - 2j * other, wanted, 1e6)
    assert both.shape == (5, 2, 3)
    apart = smooth(axis, one, wanted, 1e6) - 2j * smooth(axis, other, wanted, 1e6)
    assert both == pytest.approx(apart, rel=1e-12)
    assert both[:, 1, 2] == pytest.approx(smooth(axis, one[:, 1, 2] - 2j * other[:, 1, 2], wanted, 1e6))


def test_a_passive_sweep_stays_passive() -> None:
    """Weights are positive and sum to one: no smoothed reflection is larger than the largest measured."""
    axis = np.sort(np.random.default_rng(3).uniform(*BAND, 29))
    weights = smooth(axis, np.eye(29, dtype=complex), np.linspace(axis[0], axis[-1], 50), 0.7e6)
    assert np.all(weights.real >= 0.0)
    assert weights.imag == pytest.approx(np.zeros((50, 29)))
    assert np.sum(weights, axis=1) == pytest.approx(np.ones(50), rel=1e-12)


def test_a_width_shrinking_to_nothing_gives_back_the_sweep() -> None:
    """At the sweep's own frequencies, but for a width times the slope and a logarithm."""
    axis = np.linspace(*BAND, 401)
    wanted = axis[50:-50]
    slope = np.max(np.abs(np.diff(resonances(axis)))) / (axis[1] - axis[0])
    found = smooth(axis, resonances(axis), wanted, 10.0)
    # int |u| P(u) du over the band for a width h is h/pi ln(1 + (B/h)²), B half the band
    allowed = slope * 10.0 / np.pi * np.log1p((20e6 / 10.0) ** 2)
    assert np.max(np.abs(found - resonances(wanted))) < allowed < 1e-3


def test_a_model_answers_at_complex_frequencies_as_its_sweep_smoothed(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Losses by odd powers of frequency included; what lies outside counts at most twice, as |S| <= 1."""
    array = built_array(drawn_array(2), 5)
    places = np.random.default_rng(6).uniform(-0.7, 0.7, (2, 4))
    truth = array.truth
    capacitances = truth.capacitances(places)
    axis = np.linspace(60e6, 200e6, 4001)
    s = truth.solve(axis, capacitances).s
    width = 0.02 * 127.73e6
    wanted = np.linspace(115e6, 145e6, 31)
    found = smooth(axis, s, wanted, width)
    low, high = ((end - wanted) / width for end in (axis[0], axis[-1]))
    share = 1.0 - (np.arctan(high) - np.arctan(low)) / np.pi
    pieces = np.max(np.abs(np.diff(s, n=2, axis=0))) / 8.0
    misfit = np.max(np.abs(found - truth.solve(wanted - 1j * width, capacitances).s), axis=(1, 2))
    assert np.all(misfit < pieces + 2.0 * share)
    assert np.max(np.abs(truth.solve(wanted, capacitances).s - found)) > 5.0 * np.max(misfit)


@pytest.mark.parametrize("width", [0.0, -1e6, float("nan")])
def test_a_width_that_is_none_is_refused(width: float) -> None:
    """Zero would divide by nothing."""
    with pytest.raises(ValueError, match="above 0 Hz"):
        smooth(np.array([1e6, 2e6]), np.ones(2, dtype=complex), np.array([1.5e6]), width)
