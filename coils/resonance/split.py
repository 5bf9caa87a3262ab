"""k of two coupled loops whose resonance is split, from the modes and from the whole trace.

Two series loops with loop impedances Z_i = R_i (1 + i Q_i t_i), t_i = f/f_i - f_i/f, and mutual inductance M:
the driven loop sees Z_1 + (ωM)²/Z_2, so its reflection is linear in 1 / (1 + i Q_1 t_1 + P/(1 + i Q_2 t_2)),
P = k² Q_1 Q_2 f²/(f_1 f_2), and the transmission from one loop to the other goes with
(f/f_1) / ((1 + i Q_1 t_1)(1 + i Q_2 t_2) + P). Exact for lumped loops; k's sign does not show.

The reflection tells both loops and k. The transmission tells two complex modes only: detuning δ between the
loops splits them like coupling, to √(k² + δ²). Of a transmission the loops are therefore taken as equal.

For equal loops the modes lie at f_0 / √(1 ± k), hence k = (f_2² - f_1²)/(f_2² + f_1²) without losses. Losses
draw the peaks of the transmission together: at Q t = ± √((kQ)² - 1), hence k = √(k_peaks² + 1/Q²).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.resonance.extremes import describe_extremes, extremes
from coils.resonance.uncertainty import widened_variance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from coils.resonance.model import Kind

#: Largest rms misfit, as a part of the trace's own rms about its mean, that still counts as two loops.
_MAXIMUM_RESIDUAL: Final = 0.05
#: Least k √(Q1 Q2): below 1 the modes are not split and k hides in the width.
_LEAST_SPLIT: Final = 1.0
#: Largest relative standard uncertainty of k worth stating.
_MAXIMUM_UNCERTAINTY: Final = 0.2
#: Smallest eigenvalue of a normal matrix of unit diagonal at which every parameter is determined.
_OPEN: Final = 1e-12
#: ln Q of no resonator.
_LARGEST_LOGARITHM: Final = 30.0
_FEWEST_POINTS: Final = 16


@dataclass(frozen=True, slots=True)
class SplitCoupling:
    """Two coupled loops as fitted; uncertainties are standard ones.

    Parameters
    ----------
    k, uncertainty
        Magnitude of the coupling coefficient.
    k_of_modes
        (f_2² - f_1²)/(f_2² + f_1²) from the dips or peaks: a cross-check without losses and detuning; nan
        where fewer than two stand out.
    frequencies
        f_1 and f_2 of the loops without each other, in Hz, the driven one first; of a transmission the same.
    q_loaded
        Q of the loops, loaded as they were; of a transmission the same.
    delay
        Of the line, in s.
    residual
        Root mean square of the complex misfit, in the units of S.
    """

    k: float
    uncertainty: float
    k_of_modes: float
    frequencies: tuple[float, float]
    q_loaded: tuple[float, float]
    delay: float
    residual: float


def coupling_of_modes(
    lower: float, upper: float, *, q: float = math.inf, u_frequency: float = 0.0, u_q: float = 0.0
) -> tuple[float, float]:
    """Return k of two identical loops and its standard uncertainty from their two modes.

    Parameters
    ----------
    lower, upper
        Frequencies of the modes: the peaks of the transmission from one loop to the other, in Hz.
    q, u_q
        Q of one loop, loaded as in the measurement, and its standard uncertainty; infinite: no correction
        for losses.
    u_frequency
        Standard uncertainty of each frequency, in Hz.

    Raises
    ------
    ValueError
        The frequencies are not positive and rising, or Q is not positive.
    """
    if not (0.0 < lower < upper and q > 0.0):
        raise ValueError(f"modes must rise and Q be positive, got {lower:g} and {upper:g} Hz, Q {q:g}")
    sum_of_squares = upper**2 + lower**2
    apart = (upper**2 - lower**2) / sum_of_squares
    k = math.hypot(apart, 1.0 / q)
    by_lower, by_upper = (
        4.0 * lower * upper**2 / sum_of_squares**2,
        4.0 * upper * lower**2 / sum_of_squares**2,
    )
    u_apart = math.hypot(by_lower, by_upper) * u_frequency
    by_q = 0.0 if math.isinf(q) else u_q / q**3
    return k, math.hypot(apart / k * u_apart, by_q / k)


def coupling_from_split(
    frequencies: NDArray[np.float64],
    s: NDArray[np.complex128],
    *,
    kind: Kind = "reflection",
    detuning: float = 0.0,
) -> SplitCoupling:
    """Fit two coupled loops to a trace with a split resonance.

    Parameters
    ----------
    frequencies
        Hz, shape (point,), rising; over both modes.
    s
        Reflection of one loop, or transmission from one to the other (through ports or probes), shape
        (point,).
    kind
        Which of both.
    detuning
        Of a transmission: standard uncertainty of (f_1 - f_2)/f of the loops alone, which the trace does
        not show.

    Raises
    ------
    MeasurementError
        The resonance is not split, the trace is not that of two loops, or k remains undetermined.
    ValueError
        Shapes differ, or fewer than sixteen points.
    """
    f, trace = np.asarray(frequencies, dtype=np.float64), np.asarray(s, dtype=np.complex128)
    if f.ndim != 1 or f.shape != trace.shape or f.size < _FEWEST_POINTS:
        raise ValueError(
            f"two vectors of {_FEWEST_POINTS} points or more are needed, got {f.shape} and {trace.shape}"
        )
    places = extremes(f, trace, kind)
    pair = _two_modes(f, places)
    misfit = _misfit_of(f, trace, kind, 0.5 * (pair[0] + pair[1]))
    best, jacobian = _best_fit(f, pair, misfit, kind)
    left = misfit(best)
    residual = math.sqrt(float(np.mean(np.abs(left) ** 2)))
    if residual > _MAXIMUM_RESIDUAL * float(np.std(trace)):
        raise MeasurementError(
            f"not two coupled loops: the misfit is {residual:.3g} rms; {describe_extremes(f, trace, kind)}; "
            "detune every other channel"
        )
    f1, f2, q1, q2, k, turns = _named(best, 0.5 * (pair[0] + pair[1]))
    if k * math.sqrt(q1 * q2) < _LEAST_SPLIT:
        raise MeasurementError(
            f"the resonance is not split: k near {k:.2g} at Q {q1:.0f} and {q2:.0f}; take k from |S21| and "
            "|S11| of both loops matched, or measure with weaker coupled probes"
        )
    u_k = math.hypot(_deviation_of_k(jacobian, left), 0.5 * detuning**2 / k)
    if not u_k <= _MAXIMUM_UNCERTAINTY * k:
        raise MeasurementError(
            f"k = {k:.2g} ± {u_k:.2g}: too noisy or too narrow a sweep, or loops too unlike; "
            "sweep over both modes"
        )
    lower, upper = pair
    return SplitCoupling(
        k=k,
        uncertainty=u_k,
        k_of_modes=(upper**2 - lower**2) / (upper**2 + lower**2) if len(places) > 1 else math.nan,
        frequencies=(f1, f2),
        q_loaded=(q1, q2),
        delay=turns / float(f[-1] - f[0]),
        residual=residual,
    )


def _deviation_of_k(jacobian: NDArray[np.complex128], left: NDArray[np.complex128]) -> float:
    """Return the standard uncertainty of k, the third parameter; infinite where the data leave it open."""
    columns = np.concatenate([jacobian.real, jacobian.imag])
    # two complex amplitudes are fitted beside
    variance = widened_variance(left[None], parameters=4 + columns.shape[1])[0]
    scale = np.sqrt(np.sum(columns**2, axis=0)) + 1e-300
    normal = (columns / scale).T @ (columns / scale)
    if np.linalg.eigvalsh(normal)[0] < _OPEN:
        return math.inf
    return math.sqrt(float(np.linalg.inv(normal)[2, 2]) * float(variance)) / float(scale[2])


def _named(p: NDArray[np.float64], reference: float) -> tuple[float, float, float, float, float, float]:
    """Return f1, f2, Q1, Q2, |k| and turns; four parameters are those of equal loops."""
    f1, q1, k, turns = reference * (1.0 + float(p[0])), _q(p[1]), abs(float(p[2])), float(p[3])
    if p.size == 4:
        return f1, f1, q1, q1, k, turns
    return f1, reference * (1.0 + float(p[4])), q1, _q(p[5]), k, turns


def _q(logarithm: float) -> float:
    """Return a Q from its logarithm, held where a step into the blue cannot overflow."""
    return math.exp(min(max(float(logarithm), -_LARGEST_LOGARITHM), _LARGEST_LOGARITHM))


def _two_modes(f: NDArray[np.float64], places: tuple[float, ...]) -> tuple[float, float]:
    """Return where the modes are: both dips, or a guess around the only one."""
    if len(places) > 1:
        return places[0], places[-1]
    centre = places[0] if places else 0.5 * float(f[0] + f[-1])
    apart = 0.1 * float(f[-1] - f[0])
    return centre - apart, centre + apart


def _misfit_of(
    f: NDArray[np.float64], s: NDArray[np.complex128], kind: Kind, reference: float
) -> Callable[[NDArray[np.float64]], NDArray[np.complex128]]:
    """Return the misfit as a function of the nonlinear parameters, amplitudes projected out."""
    axis = (f - 0.5 * (f[0] + f[-1])) / (f[-1] - f[0])

    def misfit(p: NDArray[np.float64]) -> NDArray[np.complex128]:
        f1, f2, q1, q2, k, turns = _named(p, reference)
        one = 1.0 + 1j * q1 * (f / f1 - f1 / f)
        two = 1.0 + 1j * q2 * (f / f2 - f2 / f)
        linked = k**2 * q1 * q2 * f**2 / (f1 * f2)
        line = np.exp(-2j * np.pi * turns * axis)
        shape = two if kind == "reflection" else f / reference
        basis = np.stack([line, line * shape / (one * two + linked)], axis=1)
        orthonormal, _ = np.linalg.qr(basis)
        return np.asarray(s - orthonormal @ (orthonormal.conj().T @ s), dtype=np.complex128)

    return misfit


def _best_fit(
    f: NDArray[np.float64],
    pair: tuple[float, float],
    misfit: Callable[[NDArray[np.float64]], NDArray[np.complex128]],
    kind: Kind,
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Return the best of fits from several Q and delays, and the Jacobian of the misfit there."""
    from scipy.optimize import least_squares

    k = (pair[1] - pair[0]) / (0.5 * (pair[0] + pair[1]))
    scale = np.array([0.1 * k, 0.3, 0.1 * k, 0.1, 0.1 * k, 0.3])
    size = 6 if kind == "reflection" else 4

    def stacked(p: NDArray[np.float64]) -> NDArray[np.float64]:
        left = misfit(p)
        return np.concatenate([left.real, left.imag])

    starts = [
        np.array([0.0, math.log(times / k), k, turns, 0.0, math.log(times / k)])[:size]
        for times in (1.5, 4.0, 12.0)
        for turns in (0.0, 0.3, -0.3, 0.7, 1.0)
    ]
    starts.sort(key=lambda p: float(np.sum(stacked(p) ** 2)))
    fits = [least_squares(stacked, start, x_scale=scale[:size], max_nfev=60) for start in starts[:4]]
    best = min(fits, key=lambda fit: float(fit.cost))
    best = least_squares(
        stacked, best.x, x_scale=scale[:size], max_nfev=200, xtol=1e-12, ftol=1e-12, gtol=1e-12
    )
    jacobian = np.asarray(best.jac[: f.size] + 1j * best.jac[f.size :], dtype=np.complex128)
    return np.asarray(best.x, dtype=np.float64), jacobian
