"""Relaxation times of the vials from their own scans, with uncertainties, ready for the calibration.

T1 by saturation recovery over repetition times, T2* by echo times with one or two components. Published times
of agar differ by 30 % (kind, batch, temperature), so a bench measures its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.optimize
import scipy.stats

from coilbench.base.errors import MeasurementError
from recon.phantom import Material, Tolerance
from recon.relaxation import Relaxation

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

#: Fractions of fast and slow decay after a hard pulse, spin 3/2 in slow motion: Jaccard et al., J Chem Phys
#: 85:6282 (1986).
SPIN_3_2: Final = (0.6, 0.4)
#: Probability by chance below which a second component is believed.
_SIGNIFICANCE: Final = 0.01
#: Largest relative uncertainty of the short time with which two components are stated.
_DETERMINED: Final = 0.5
#: Factor between the two times of the first guess, each way from the single one.
_APART: Final = 2.5


@dataclass(frozen=True, slots=True)
class T1Fit:
    """T1 of one vial.

    Parameters
    ----------
    t1, uncertainty
        In s; the standard uncertainty holds noise and flip angle.
    noise_uncertainty
        Its part from noise, in s.
    lack_of_fit_probability
        Probability of a worse fit if the model is true; 1 without degrees of freedom.
    """

    t1: float
    uncertainty: float
    noise_uncertainty: float
    lack_of_fit_probability: float


@dataclass(frozen=True, slots=True)
class T2StarFit:
    """Transverse decay of one vial.

    Parameters
    ----------
    components
        (fraction, time in s), the shorter first.
    uncertainties
        Standard uncertainty of each time in s.
    model
        ``"mono"`` or ``"biexponential"``.
    reason
        Why this model, in one sentence.
    lack_of_fit_probability
        Probability of a worse fit if the model is true; 1 without degrees of freedom.
    """

    components: tuple[tuple[float, float], ...]
    uncertainties: tuple[float, ...]
    model: str
    reason: str
    lack_of_fit_probability: float


def fit_saturation_recovery(
    repetition_times: NDArray[np.float64],
    signals: NDArray[np.float64],
    noise: float,
    *,
    flip_angle: float,
    flip_angle_uncertainty: float = 0.0,
) -> T1Fit:
    """Fit T1 to signals of several repetition times.

    Parameters
    ----------
    repetition_times
        In s, shape (scan,), at least two different ones.
    signals
        Real parts in phase with the signal (no noise floor), shape (scan,).
    noise
        Standard deviation of each signal.
    flip_angle
        In rad, at the vial.
    flip_angle_uncertainty
        Relative standard uncertainty: the fit is repeated with it.

    Raises
    ------
    MeasurementError
        The signals do not show the recovery: all times are long, short, or too noisy.

    Notes
    -----
    S = S0 sin a (1 - E1) / (1 - cos a E1), E1 = exp(-TR / T1): Ernst, Anderson, Rev Sci Instrum 37:93 (1966).
    """
    times, values = _checked(repetition_times, signals, noise, least=2)

    def fit_at(angle: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        def model(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
            e1 = np.exp(-times / np.exp(parameters[1]))
            return np.asarray(
                parameters[0] * np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1), dtype=np.float64
            )

        start = np.array([values.max() / np.sin(angle), np.log(np.median(times))])
        return _least_squares(model, values, noise, start)

    parameters, covariance, chi_squared = fit_at(flip_angle)
    t1 = float(np.exp(parameters[1]))
    from_noise = t1 * float(np.sqrt(covariance[1, 1]))
    if not from_noise < _DETERMINED * t1:
        raise MeasurementError(
            f"T1 is {t1 * 1e3:.3g} ms within {from_noise * 1e3:.3g} ms: the repetition times "
            f"({times.min() * 1e3:.3g} to {times.max() * 1e3:.3g} ms) do not show the recovery; "
            "choose them from half to four times T1, or average more"
        )
    from_flip = 0.0
    if flip_angle_uncertainty > 0:
        step = flip_angle * flip_angle_uncertainty
        ends = [np.exp(fit_at(flip_angle + sign * step)[0][1]) for sign in (1, -1)]
        from_flip = float(np.max(np.abs(np.array(ends) - t1)))
    return T1Fit(t1, float(np.hypot(from_noise, from_flip)), from_noise, _chance(chi_squared, times.size - 2))


def fit_t2_star(
    echo_times: NDArray[np.float64],
    signals: NDArray[np.float64],
    noise: float,
    *,
    fractions: tuple[float, float] | None = SPIN_3_2,
) -> T2StarFit:
    """Fit the transverse decay, with two components where the signals show them.

    Two components are stated only when they fit better than chance would (1 %) and the short time is known
    to half of itself; else one, and the reason says so.

    Parameters
    ----------
    echo_times
        In s, shape (echo,), at least three; the first well below the short time.
    signals
        Real parts in phase with the signal (no noise floor), shape (echo,).
    noise
        Standard deviation of each signal.
    fractions
        Of the fast and the slow component; None: fitted too (at least five echoes).

    Raises
    ------
    MeasurementError
        Not even one time is determined.
    """
    times, values = _checked(echo_times, signals, noise, least=3)
    start = np.array([values.max(), np.log(0.5 * (times.min() + times.max()))])
    single, covariance, chi_squared = _least_squares(lambda p: _decay(times, p, None), values, noise, start)
    time, uncertainty = float(np.exp(single[1])), float(np.exp(single[1]) * np.sqrt(covariance[1, 1]))
    if not uncertainty < _DETERMINED * time:
        raise MeasurementError(
            f"T2* is {time * 1e3:.3g} ms within {uncertainty * 1e3:.3g} ms: the echo times "
            f"({times.min() * 1e3:.3g} to {times.max() * 1e3:.3g} ms) do not show the decay"
        )
    chance = _chance(chi_squared, times.size - 2)

    def mono(reason: str) -> T2StarFit:
        return T2StarFit(((1.0, time),), (uncertainty,), "mono", reason, chance)

    extra = 1 if fractions else 2
    if times.size < 3 + extra:
        return mono(f"{times.size} echoes are too few to tell two components from one")
    guess = [single[0], single[1] - np.log(_APART), single[1] + np.log(_APART)]
    if fractions is None:
        guess.append(0.0)
    both, spread, rest = _least_squares(
        lambda p: _decay(times, p, fractions), values, noise, np.array(guess), fractions is None
    )
    improvement = scipy.stats.chi2.sf(chi_squared - rest, extra)
    short, long = float(np.exp(both[1])), float(np.exp(both[2]))
    errors = (short * float(np.sqrt(spread[1, 1])), long * float(np.sqrt(spread[2, 2])))
    if improvement > _SIGNIFICANCE:
        return mono(f"a second component fits no better (probability by chance {improvement:.2g})")
    if not errors[0] < _DETERMINED * short or not errors[1] < _DETERMINED * long:
        return mono(
            f"two components are not separated: {short * 1e3:.2g} ± {errors[0] * 1e3:.1g} ms and "
            f"{long * 1e3:.2g} ± {errors[1] * 1e3:.1g} ms"
        )
    share = fractions or _shares(both[3])
    order = [0, 1] if short <= long else [1, 0]
    pairs = [(share[0], short), (share[1], long)]
    return T2StarFit(
        tuple(pairs[index] for index in order),
        tuple(errors[index] for index in order),
        "biexponential",
        f"two components fit better than one (probability by chance {improvement:.1g})",
        _chance(rest, times.size - 2 - extra),
    )


def measured_material(name: str, t1: T1Fit, t2_star: T2StarFit) -> Material:
    """Return the material as measured: its times, and their relative uncertainties as tolerances.

    Parameters
    ----------
    name
        Of the material.
    t1, t2_star
        From the fits above. All transverse times share one tolerance: the largest, weighed by the fractions.
    """
    relative = sum(
        fraction * error / time
        for (fraction, time), error in zip(t2_star.components, t2_star.uncertainties, strict=True)
    )
    return Material(
        name=name,
        relaxation=Relaxation(t1.t1, t2_star.components),
        t1_tolerance=Tolerance(min(t1.uncertainty / t1.t1, 0.49)),
        t2_star_tolerance=Tolerance(min(relative, 0.49)),
    )


def _shares(logit: float) -> tuple[float, float]:
    fast = float(1 / (1 + np.exp(-logit)))
    return fast, 1 - fast


def _decay(
    times: NDArray[np.float64], parameters: NDArray[np.float64], fractions: tuple[float, float] | None
) -> NDArray[np.float64]:
    if parameters.size == 2:
        return np.asarray(parameters[0] * np.exp(-times / np.exp(parameters[1])), dtype=np.float64)
    fast, slow = fractions or _shares(parameters[3])
    short = np.exp(-times / np.exp(parameters[1]))
    return np.asarray(
        parameters[0] * (fast * short + slow * np.exp(-times / np.exp(parameters[2]))), dtype=np.float64
    )


def _least_squares(
    model: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    values: NDArray[np.float64],
    noise: float,
    start: NDArray[np.float64],
    free_fractions: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return parameters, their covariance and chi-squared; the amplitude is scaled for conditioning."""
    scale = np.ones_like(start)
    scale[0] = max(abs(float(start[0])), noise)
    bounds: tuple[Any, Any] = (-np.inf, np.inf)
    if free_fractions:
        bounds = (
            np.array([-np.inf] * (start.size - 1) + [-6.0]),
            np.array([np.inf] * (start.size - 1) + [6.0]),
        )
    found = scipy.optimize.least_squares(
        lambda p: (model(p * scale) - values) / noise, start / scale, bounds=bounds, x_scale="jac"
    )
    covariance = np.linalg.pinv(found.jac.T @ found.jac) * np.outer(scale, scale)
    return np.asarray(found.x * scale), np.asarray(covariance), float(2 * found.cost)


def _chance(chi_squared: float, freedom: int) -> float:
    return float(scipy.stats.chi2.sf(chi_squared, freedom)) if freedom > 0 else 1.0


def _checked(
    times: NDArray[np.float64], signals: NDArray[np.float64], noise: float, *, least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    moments, values = np.asarray(times, dtype=np.float64), np.asarray(signals, dtype=np.float64)
    if moments.shape != values.shape or moments.ndim != 1 or np.unique(moments).size < least:
        raise ValueError(
            f"{least} or more different times with a signal each expected: {moments.shape}, {values.shape}"
        )
    if noise <= 0 or np.any(moments <= 0):
        raise ValueError("times and noise are positive")
    return moments, values
