"""Error bars that hold: coverage over simulated traces whose truth is known.

Counts are compared with the binomial distribution: n draws that each lie within the bar with probability p
give n p, and by chance at most 3.3 standard deviations more or less (once in a thousand tests).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coils.resonance import Resonance, fit_resonances

if TYPE_CHECKING:
    from numpy.typing import NDArray

CENTRE = 33.8e6
#: Within 1 and 1.96 standard deviations of a normal distribution.
ONE, TWO = 0.6827, 0.95


@dataclass(frozen=True)
class Truth:
    """A resonator behind a line: Q0, coupling, and the sweep that is taken."""

    q: float
    coupling: float
    span: float = 4.0
    points: int = 181

    @property
    def q_loaded(self) -> float:
        return self.q / (1.0 + self.coupling)

    @property
    def frequencies(self) -> NDArray[np.float64]:
        half = 0.5 * self.span * CENTRE / self.q_loaded
        return np.linspace(CENTRE - 0.9 * half, CENTRE + 1.1 * half, self.points)

    def detuning(self, f: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.q_loaded * (f / CENTRE - CENTRE / f)

    def reflection(self, f: NDArray[np.float64]) -> NDArray[np.complex128]:
        circle = 2.0 * self.coupling / (1.0 + self.coupling)
        return np.asarray(1.0 - circle / (1.0 + 1j * self.detuning(f)))


def white(rng: np.random.Generator, shape: tuple[int, ...], rms: float) -> NDArray[np.complex128]:
    return np.asarray(rms / math.sqrt(2.0) * (rng.normal(size=shape) + 1j * rng.normal(size=shape)))


def normalised(fits: tuple[object, ...], truth: Truth) -> NDArray[np.float64]:
    """Return errors of Q_L, Q_0, coupling and frequency over their bars, shape (fit, 4)."""
    rows = []
    for fit in fits:
        assert isinstance(fit, Resonance), str(fit)
        u = fit.uncertainty
        rows.append(
            (
                (fit.q_loaded - truth.q_loaded) / u.q_loaded,
                (fit.q_unloaded - truth.q) / u.q_unloaded,
                (fit.coupling - truth.coupling) / u.coupling,
                (fit.frequency - CENTRE) / u.frequency,
            )
        )
    return np.abs(np.array(rows))


def assert_covers(errors: NDArray[np.float64], *, probability: float, width: float) -> None:
    count = errors.shape[0]
    chance = 3.3 * math.sqrt(count * probability * (1.0 - probability))
    inside = np.sum(errors < width, axis=0)
    assert np.all(np.abs(inside - count * probability) <= chance), inside / count


@pytest.mark.parametrize(
    ("truth", "noise"),
    [
        (Truth(190.0, 1.0), 1e-3),
        (Truth(80.0, 0.4, span=1.7, points=120), 3e-3),
        (Truth(300.0, 2.5, span=7.0), 1e-2),
    ],
)
def test_bars_of_noise_cover_68_and_95_percent(truth: Truth, noise: float) -> None:
    """White noise: Q_L, Q_0, coupling and frequency of 600 traces lie within one and two bars."""
    rng = np.random.default_rng(21)
    f = truth.frequencies
    line = 0.9 * np.exp(-2j * np.pi * 4e-9 * (f - f.mean()))
    fits = fit_resonances(f, line * truth.reflection(f) + white(rng, (600, f.size), noise))
    errors = normalised(fits, truth)
    assert_covers(errors, probability=ONE, width=1.0)
    assert_covers(errors, probability=TWO, width=1.96)


def test_bars_of_a_transmission_cover_68_and_95_percent() -> None:
    """The same through two probes, with -46 dB at the peak and -90 dB of noise."""
    rng = np.random.default_rng(22)
    peak = 0.005
    truth = Truth(200.0 * (1.0 + peak / (1.0 - peak)), peak / (1.0 - peak), span=3.0)
    f = truth.frequencies
    clean = peak / (1.0 + 1j * truth.detuning(f)) + 3e-4
    fits = fit_resonances(f, clean + white(rng, (600, f.size), 3e-5), kind="transmission")
    errors = normalised(fits, truth)
    assert_covers(errors, probability=ONE, width=1.0)
    assert_covers(errors, probability=TWO, width=1.96)


def test_bars_of_leakage_directivity_and_delay_hold() -> None:
    """Mean squared errors of 400 fits over their squared bars are one within chance: 3.3 times 5 to 7 %."""
    rng = np.random.default_rng(26)
    truth = Truth(120.0, 0.6, span=5.0)
    f = truth.frequencies
    delay, directivity, slope = 150e-9, 0.03 * np.exp(1.1j), 0.01 - 0.004j
    line = np.exp(-2j * np.pi * delay * (f - 0.5 * (f[0] + f[-1])))
    clean = directivity + line * (truth.reflection(f) + slope * truth.detuning(f))
    seen = clean + white(rng, (400, f.size), 1e-3)
    rows = []
    for fit in fit_resonances(f, seen, leakage=True, directivity=True):
        assert isinstance(fit, Resonance)
        u = fit.uncertainty
        errors = ((fit.delay - delay) / u.delay, (fit.leakage - slope) / u.leakage)
        rows.append((*errors, (fit.directivity - directivity) / u.directivity))
    # a real number's chi-squared has a relative spread of √(2/400), a complex one's of √(1/400) or more
    assert np.mean(np.abs(rows) ** 2, axis=0) == pytest.approx(
        [1.0, 1.0, 1.0], abs=3.3 * math.sqrt(2.0 / 400.0)
    )


@pytest.mark.parametrize("error", [0.01, 0.03])
def test_a_stated_calibration_error_covers_what_directivity_and_source_match_do(error: float) -> None:
    """S' = D + S/(1 - M S): no trace shows it, the ``analyzer`` argument holds it, 68 and 95 % of 400."""
    rng = np.random.default_rng(23)
    truth = Truth(180.0, 0.8)
    f = truth.frequencies
    directivity, source = white(rng, (400, 1), error), white(rng, (400, 1), error)
    s = truth.reflection(f)
    seen = directivity + s / (1.0 - source * s) + white(rng, (400, f.size), 3e-4)
    errors = normalised(fit_resonances(f, seen, analyzer=error), truth)
    assert_covers(errors, probability=ONE, width=1.0)
    assert_covers(errors, probability=TWO, width=1.96)
    blind = normalised(fit_resonances(f, seen), truth)
    assert np.mean(blind[:, 0] < 1.96) < 0.1


def test_a_background_that_bends_widens_the_bars_until_they_hold() -> None:
    """Slope, curvature and a cubic of -26 to -60 dB: 95 % bars hold for 90 %, scatter not for half."""
    rng = np.random.default_rng(24)
    truth = Truth(150.0, 0.7, span=5.0)
    f = truth.frequencies
    x = (f - CENTRE) / (f[-1] - f[0])
    size = 10.0 ** rng.uniform(-3.0, -1.3, size=(300, 1))
    bends = sum(white(rng, (300, 1), 1.0) * x**power for power in (1, 2, 3))
    seen = truth.reflection(f) + size * bends + white(rng, (300, f.size), 3e-4)
    fits = fit_resonances(f, seen)
    errors = normalised(fits, truth)
    assert np.mean(errors[:, 0] < 1.96) > 0.9
    assert np.mean(errors[:, 3] < 1.96) > 0.9
    # the same without widening: scatter from the noise, for the plain model
    clean = fit_resonances(f, truth.reflection(f) + white(rng, (50, f.size), 3e-4))
    scatter = np.median([fit.uncertainty.q_loaded for fit in clean if isinstance(fit, Resonance)])
    plain = fit_resonances(f, seen, leakage=False, directivity=False)
    missed = [
        abs(fit.q_loaded - truth.q_loaded) > 1.96 * scatter for fit in plain if isinstance(fit, Resonance)
    ]
    assert np.mean(missed) > 0.5


@pytest.mark.parametrize("strength", [0.01, 0.03, 0.06])
@pytest.mark.parametrize("quotient", [0.8, 1.0, 2.0])
def test_a_neighbour_that_does_not_split_is_inside_the_bar(strength: float, quotient: float) -> None:
    """k² Q1 Q2 = 0.01 to 0.06 looks like a wider single resonance, 1 to 6 % in Q: the bar says so."""
    rng = np.random.default_rng(25)
    truth = Truth(190.0, 1.0, span=5.0)
    f = truth.frequencies
    t = truth.detuning(f)
    hidden = 1.0 + 1j * t + strength / (1.0 + 1j * quotient * t)
    (fit,) = fit_resonances(f, (1.0 - 1.0 / hidden)[None] + white(rng, (1, f.size), 1e-4))
    assert isinstance(fit, Resonance)
    error = abs(fit.q_loaded - truth.q_loaded)
    assert error > 0.5 * strength * truth.q_loaded
    assert error < 1.96 * fit.uncertainty.q_loaded
    assert fit.misfit_ratio > 2.0
