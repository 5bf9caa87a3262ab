"""What a receiver's six-stage CIC decimator does to signal and noise, on the grid of its output.

A CIC of N stages averages over N output intervals with a B-spline of degree N-1. Output sample n has
its effective centre at the window's opening + (n + 1 - N/2) intervals; the first N samples of a window
average over its closed time too.

Hogenauer, IEEE Trans Acoust Speech Signal Process 29:155 (1981).
"""

from __future__ import annotations

from functools import lru_cache
from math import comb, factorial
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Complex, Real

#: Stages of the decimator in the receivers' logic.
STAGES: Final = 6


@lru_cache(maxsize=8)
def _spline(degree: int) -> Real:
    """Return a centred B-spline of odd degree at the whole numbers where it is not 0 (Eulerian numbers)."""
    values = [
        sum((-1) ** j * comb(degree + 1, j) * (place - j) ** degree for j in range(place + 1))
        for place in range(1, degree + 1)
    ]
    return np.array(values, dtype=np.float64) / factorial(degree)


#: Signal weights at -2 ... 2 intervals, (1, 26, 66, 26, 1)/120. Their response is sum_m sinc^6(f + m): it
#: equals the CIC's sinc^6 to 1e-4 up to 0.18 of the output rate, far above the band of a spoke.
SIGNAL_WEIGHTS: Final = tuple(float(weight) for weight in _spline(STAGES - 1))


def noise_autocorrelation() -> Real:
    """Return E[x_n conj(x_{n+k})] of white noise of unit density per output interval, k = -5 ... 5.

    The output's spectrum is sum_k sinc^12(f + k): a B-spline of degree 11 at the whole numbers.
    """
    return _spline(2 * STAGES - 1).copy()


#: Variance of CIC output over (input density times output rate): 0.3939.
NOISE_GAIN: Final = float(_spline(2 * STAGES - 1)[STAGES - 1])


@lru_cache(maxsize=1)
def noise_weights() -> Real:
    """Return six weights that colour white noise exactly as the CIC does, the weakest first.

    White noise in is of unit density per output interval.

    The autocorrelation reaches five samples, so a moving average of six reproduces it: the spectral
    factor from the roots of its polynomial, all real and negative in reciprocal pairs.
    """
    autocorrelation = noise_autocorrelation()
    roots = np.roots(autocorrelation).real
    weights = np.array([1.0])
    for root in np.sort(roots)[: STAGES - 1]:
        weights = np.convolve(weights, (1.0, -root))
    return np.asarray(weights * np.sqrt(NOISE_GAIN / np.sum(weights**2)))


def response(offset: float, interval: float) -> float:
    """Return the CIC's gain for a tone ``offset`` Hz from the local oscillator, 1 at 0."""
    return float(np.sinc(offset * interval) ** STAGES)


def discrete_response(offset: float, interval: float) -> float:
    """Return the gain of `SIGNAL_WEIGHTS` for a tone ``offset`` Hz from the local oscillator."""
    reach = np.arange(-2, 3)
    return float(np.dot(SIGNAL_WEIGHTS, np.cos(2.0 * np.pi * reach * offset * interval)))


def causal_filter(weights: Real, samples: Complex) -> Complex:
    """Return ``samples`` filtered along their last axis, nothing before the first."""
    filtered = weights[0] * samples
    for delay in range(1, len(weights)):
        filtered[..., delay:] += weights[delay] * samples[..., :-delay]
    return np.asarray(filtered)
