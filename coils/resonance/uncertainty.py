"""How far fitted numbers may be off: scatter, and what a model that is not quite true may hide.

The scatter follows from the Jacobian and from the noise from point to point. Three things come besides:

- Two suspects: a background that bends over the sweep (a mode further away, a mismatch along the cable), and
  a neighbour that couples without splitting the resonance. Where one lowers the misfit by more than chance,
  what that would move the numbers counts as a standard deviation, as far as it explains the misfit.
- What is left then and still exceeds the noise. Its visible part has few degrees of freedom: the sum of its
  squared autocorrelation counts them (G. V. Bayley and J. M. Hammersley, J. R. Stat. Soc. Suppl. 8:184
  (1946)). Each direction of the parameters is taken to hold as much as each of those, with the Student
  variance of so few (JCGM 101:2008, 6.4.9.4).
- What no trace can show: errors of the calibration at the resonator's plane, or a neighbour's constant
  background, look like another resonator; a drift along the sweep looks like another bandwidth. The first is
  an argument of the fit; against the second, sweep both ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.resonance.model import Kind
    from coils.resonance.projection import Solution, Terms

#: How many standard deviations of its own estimate the misfit may exceed the noise before it counts as more
#: than noise.
_EXCESS: Final = 4.0
#: Variance of the ratio of the mean squared misfit to a variance from second differences of white complex
#: noise, times the number of points. Second differences have the autocorrelations -2/3 and 1/6, so their
#: variance has 1 + 2 (4/9 + 1/36) = 35/18 times the variance of the efficient estimate, the ratio 17/18.
_RATIO_VARIANCE: Final = 1.0
#: Delay, in turns over the sweep, from which a constant in front of the line can be told from one behind it.
LONG_LINE: Final = 0.1
#: Largest amplitude of a background, and of a neighbour's part of the circle, in rms misfits: beyond, they
#: could stand for anything.
_LARGEST_BACKGROUND: Final = 3.0
_LARGEST_NEIGHBOUR: Final = 30.0
#: How many standard deviations of chi-squared a background must gain beyond its expectation by chance.
_CHANCE: Final = 5.0
#: Eigenvalue of a normal matrix of unit diagonal that rounding can make of zero.
_FLAT: Final = 1e-13
#: Least degrees of freedom of a systematic misfit: its Student variance is finite above 2.
_LEAST_FREEDOM: Final = 3.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Covariances of many fits.

    Parameters
    ----------
    covariance
        Of centre (half bandwidths), ln Q, turns (where fitted), then real and imaginary parts of the
        amplitudes; shape (trace, parameter, parameter).
    noise
        Root mean square of the complex noise from point to point, shape (trace,).
    excess
        Whether the misfit is larger than the noise explains, shape (trace,).
    """

    covariance: NDArray[np.float64]
    noise: NDArray[np.float64]
    excess: NDArray[np.bool_]


def point_noise(misfit: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the rms complex noise of traces of shape (trace, point), from their second differences."""
    second = misfit[:, 2:] - 2.0 * misfit[:, 1:-1] + misfit[:, :-2]
    # the weights 1, -2, 1 multiply the variance of white noise by 6
    return np.asarray(np.sqrt(np.mean(second.real**2 + second.imag**2, axis=1) / 6.0), dtype=np.float64)


def spread(solution: Solution, terms: Terms) -> Spread:
    """Return the covariance of every fit, widened where the misfit is more than noise."""
    columns = np.concatenate([solution.jacobian, solution.basis, 1j * solution.basis], axis=1)
    inverse = _inverse((columns.conj() @ columns.swapaxes(1, 2)).real)
    variance, noise, excess = _judged(solution.misfit, terms.parameters)
    covariance = variance[:, None, None] * inverse
    bent, left, moved = _suspects(solution, columns, noise)
    if bent.any():
        hidden = _judged(left[bent], terms.parameters)[0]
        covariance[bent] = hidden[:, None, None] * inverse[bent] + moved[bent]
    return Spread(covariance, noise, excess | bent)


def _inverse(normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Invert normal matrices; what the data leave open gets a variance without bound."""
    scale = np.sqrt(np.einsum("tii->ti", normal)) + 1e-300
    values, vectors = np.linalg.eigh(normal / (scale[:, :, None] * scale[:, None, :]))
    inverse = (vectors / np.maximum(values, _FLAT)[:, None, :]) @ vectors.swapaxes(1, 2)
    return np.asarray(inverse / (scale[:, :, None] * scale[:, None, :]), dtype=np.float64)


def _suspects(
    solution: Solution, columns: NDArray[np.complex128], noise: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.complex128], NDArray[np.float64]]:
    """Return which misfits are no chance, what is left beside the suspects, and the covariance they add.

    What a suspect would move the parameters counts as far as it explains the misfit.
    """
    line = solution.basis[:, 0]
    axis = np.linspace(-1.0, 1.0, line.shape[1])
    long_line = np.abs(solution.points.turns) >= LONG_LINE
    in_front = np.where(long_line[:, None], 1.0, line * axis**3)
    background = np.stack([line * axis, line * axis**2, in_front], axis=1)
    # a neighbour that couples without splitting: 1 / (1 + iQt + ε L) = L - ε L³ + ...
    neighbour = (solution.basis[:, 1] ** 3 / line**2)[:, None, :]
    cost = np.maximum(solution.cost - 0.5 * noise**2 * (2 * line.shape[1] - columns.shape[1]), 1e-300)
    caught = np.zeros(noise.size, dtype=np.bool_)
    left = solution.misfit
    least = solution.cost
    moved = np.zeros((noise.size, columns.shape[1], columns.shape[1]))
    for suspect, largest in ((background, _LARGEST_BACKGROUND), (neighbour, _LARGEST_NEIGHBOUR)):
        beside, steps = _with(suspect, largest, solution, columns, noise)
        lower = np.asarray(np.sum(beside.real**2 + beside.imag**2, axis=1), dtype=np.float64)
        gain = solution.cost - lower
        real = 2 * suspect.shape[1]
        sure = gain > (real + _CHANCE * np.sqrt(2.0 * real)) * 0.5 * noise**2
        part = np.where(sure, np.minimum(gain / cost, 1.0), 0.0)
        moved += part[:, None, None] * steps[:, :, None] * steps[:, None, :]
        caught |= sure
        left = np.where((lower < least)[:, None], beside, left)
        least = np.minimum(lower, least)
    return caught, left, moved


def _with(
    suspect: NDArray[np.complex128],
    largest: float,
    solution: Solution,
    columns: NDArray[np.complex128],
    noise: NDArray[np.float64],
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Return the misfit beside a suspect of at most ``largest`` rms misfits, and the parameters' steps."""
    everything = np.concatenate([columns, suspect, 1j * suspect], axis=1)
    right = (everything.conj() @ solution.misfit[:, :, None]).real
    normal = (everything.conj() @ everything.swapaxes(1, 2)).real
    known = np.maximum(largest**2 * solution.cost / suspect.shape[2], noise**2) + 1e-300
    added = np.arange(columns.shape[1], everything.shape[1])
    normal[:, added, added] += (noise**2 / known)[:, None]
    steps = _inverse(normal) @ right
    left = solution.misfit - (steps.swapaxes(1, 2) @ everything)[:, 0]
    return left, np.asarray(steps[:, : columns.shape[1], 0], dtype=np.float64)


def widened_variance(misfit: NDArray[np.complex128], *, parameters: int) -> NDArray[np.float64]:
    """Return the variance per real component that stands for a misfit, shape (trace,).

    Parameters
    ----------
    misfit
        Shape (trace, point).
    parameters
        Number of real parameters that were fitted.
    """
    return _judged(misfit, parameters)[0]


def _judged(
    misfit: NDArray[np.complex128], parameters: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the variance per real component, the noise, and whether the misfit is more than noise."""
    points = misfit.shape[1]
    noise = point_noise(misfit)
    cost = np.sum(misfit.real**2 + misfit.imag**2, axis=1)
    scatter = 2.0 * cost / max(2 * points - parameters, 1)  # complex variance
    excess = scatter > (1.0 + _EXCESS * np.sqrt(_RATIO_VARIANCE / points)) * noise**2
    few = max(2 * points - parameters, 3)
    # the Student variance of few degrees of freedom (JCGM 101:2008, 6.4.9.4)
    variance = 0.5 * scatter * few / (few - 2.0)
    if excess.any():
        variance = np.where(excess, 0.5 * noise**2 + _hidden(misfit, noise), variance)
    return variance, noise, excess


def _hidden(misfit: NDArray[np.complex128], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of what each direction may hide, shape (trace,)."""
    points = misfit.shape[1]
    spectrum = np.fft.fft(misfit, 2 * points, axis=1)
    correlation = np.fft.ifft(np.abs(spectrum) ** 2, axis=1)[:, :points]
    energy = np.maximum(correlation[:, 0].real - points * noise**2, 1e-300)
    relative = np.minimum(np.abs(correlation[:, 1:]) / energy[:, None], 1.0)
    # real and imaginary part: twice the complex degrees of freedom
    freedom = np.maximum(2.0 * points / (1.0 + 2.0 * np.sum(relative**2, axis=1)), _LEAST_FREEDOM)
    # energy / freedom, times the Student variance freedom / (freedom - 2)
    return np.asarray(energy / (freedom - 2.0), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Coupling:
    """Coupling coefficients of many circles, and their slopes by |a| and |b|, each of shape (trace,)."""

    value: NDArray[np.float64]
    by_detuned: NDArray[np.float64]
    by_diameter: NDArray[np.float64]


def coupling(
    detuned: NDArray[np.complex128],
    diameter: NDArray[np.complex128],
    kind: Kind,
    through: NDArray[np.float64],
) -> Coupling:
    """Return the coupling coefficient of Q-circles (MAT 58, section 2.5); infinite where one is too large.

    Parameters
    ----------
    detuned, diameter
        a and b, shape (trace,).
    kind
        A reflection is scaled so that a lies on the unit circle; a transmission has two equal ports.
    through
        Magnitude of S21 with the cables joined, shape (trace,).
    """
    size = np.abs(diameter)
    if kind == "transmission":
        left = through - size
        by_detuned = np.zeros_like(size)
        by_diameter = through / np.where(left > 0.0, left, np.inf) ** 2
    else:
        left = 2.0 * np.abs(detuned) - size
        room = np.where(left > 0.0, left, np.inf) ** 2
        by_detuned, by_diameter = -2.0 * size / room, 2.0 * np.abs(detuned) / room
    value = np.where(left > 0.0, size / np.where(left > 0.0, left, 1.0), np.inf)
    return Coupling(value, by_detuned, by_diameter)


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """Standard uncertainties that a calibration leaves, each of shape (trace,).

    Parameters
    ----------
    q_loaded, q_unloaded
        Relative; the centre's in half bandwidths is that of the loaded Q.
    coupling
        Of the coupling coefficient κ, as a part of 1 + κ.
    """

    q_loaded: NDArray[np.float64]
    q_unloaded: NDArray[np.float64]
    coupling: NDArray[np.float64]


def calibration_error(
    detuned: NDArray[np.float64],
    diameter: NDArray[np.float64],
    coupling_coefficient: NDArray[np.float64],
    kind: Kind,
    error: float,
) -> CalibrationError:
    """Return what residual directivity and source match do to a fit.

    Parameters
    ----------
    detuned, diameter
        |a| and |b|, shape (trace,).
    coupling_coefficient
        κ, shape (trace,).
    kind
        Of the trace.
    error
        Root mean square of each of the two complex errors; of a transmission the relative error of the
        gain.

    Notes
    -----
    With directivity D and source match M the analyzer reads S' = D + S + M S². On S = a + b L that moves a by
    D + M a², b by 2 a b M, and the pole of L by Re(M b) in ln Q_L and Im(M b) in half bandwidths. With b
    along -a and random phases, ln Q_0 = ln Q_L + ln(1 + κ) is left with κ times two errors of rms
    ``error``/√2: one of each cause.
    """
    half = error / np.sqrt(2.0)
    known = np.where(np.isfinite(coupling_coefficient), coupling_coefficient, 0.0)
    if kind == "transmission":
        nothing = np.zeros_like(detuned)
        return CalibrationError(nothing, error * known, error * known)
    by_source, by_directivity = known * detuned, known / np.maximum(detuned, 1e-300)
    q_unloaded = half * np.hypot(by_source, by_directivity)
    # ln(1 + κ) = ln Q_0 - ln Q_L, where the source match's parts have one cause: M moves ln Q_L by -|b| X
    coupled = half * np.hypot(by_source - diameter, by_directivity)
    return CalibrationError(half * diameter, q_unloaded, coupled)
