"""What a fit states: numbers with uncertainties, or why there are none and what to do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.resonance.extremes import describe_extremes
from coils.resonance.model import Kind, Resonance, ResonanceUncertainty
from coils.resonance.uncertainty import calibration_error, coupling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.resonance.selection import Fits

#: Largest rms residual, as a part of the Q-circle's diameter, that still counts as one resonance.
MAXIMUM_RESIDUAL: Final = 0.05
#: Largest relative standard uncertainty of the loaded Q that is worth stating.
MAXIMUM_Q_UNCERTAINTY: Final = 0.2
#: Smallest circle, in rms noise of a point: below, chance makes circles of noise.
_SMALLEST_CIRCLE: Final = 3.0
#: Fewest points within a loaded bandwidth: a spike of one point is no resonance.
_FEWEST_IN_BANDWIDTH: Final = 2.0


def state(
    f: NDArray[np.float64],
    traces: NDArray[np.complex128],
    fits: Fits,
    kind: Kind,
    through: float,
    analyzer: float,
    minimum_span: float,
) -> list[Resonance | MeasurementError]:
    """Turn fits into numbers with uncertainties, or into refusals.

    Parameters
    ----------
    f
        Hz, shape (point,).
    traces
        All traces of the sweep, shape (trace, point).
    fits
        Of some of them.
    kind, through, analyzer, minimum_span
        As for `coils.resonance.fit.fit_resonance`.
    """
    terms, solution, widths = fits.terms, fits.solution, fits.spread
    span, middle = float(f[-1] - f[0]), 0.5 * float(f[0] + f[-1])
    a, b = solution.amplitudes[:, 0], solution.amplitudes[:, 1]
    circle = coupling(a, b, kind, np.full(a.size, through))
    # gradient of the coupling: d|a| = Re(conj(a) da) / |a|
    gradient = np.zeros(widths.covariance.shape[:2])
    first, second = 2 + terms.delay, 2 + terms.delay + terms.amplitudes
    for offset, amplitude, slope in ((0, a, circle.by_detuned), (1, b, circle.by_diameter)):
        direction = amplitude / np.maximum(np.abs(amplitude), 1e-300) * slope
        gradient[:, first + offset], gradient[:, second + offset] = direction.real, direction.imag
    q = solution.points.q
    known = np.isfinite(circle.value)
    by_q0 = q[:, None] * gradient
    part = 1.0 + np.where(known, circle.value, 0.0)
    by_q0[:, 1] += q * part

    def deviation(direction: NDArray[np.float64]) -> NDArray[np.float64]:
        variance = np.einsum("ti,tij,tj->t", direction, widths.covariance, direction)
        return np.where(known, np.sqrt(np.maximum(variance, 0.0)), np.inf)

    own = np.sqrt(np.maximum(np.einsum("tii->ti", widths.covariance), 0.0))
    shared = calibration_error(np.abs(a), np.abs(b), circle.value, kind, analyzer)
    u_frequency = np.hypot(own[:, 0], shared.q_loaded) * solution.points.centre / (2.0 * q)
    u_q_loaded = q * np.hypot(own[:, 1], shared.q_loaded)
    u_q_unloaded = np.hypot(deviation(by_q0), q * part * shared.q_unloaded)
    u_coupling = np.hypot(deviation(gradient), part * shared.coupling)
    residual = np.sqrt(solution.cost / f.size)
    outcomes: list[Resonance | MeasurementError] = []
    for i in range(a.size):
        centre = float(solution.points.centre[i])
        fitted = Resonance(
            kind=kind,
            frequency=centre,
            q_loaded=float(q[i]),
            q_unloaded=float(q[i] * (1.0 + circle.value[i])),
            coupling=float(circle.value[i]),
            delay=float(solution.points.turns[i]) / span,
            residual=float(residual[i]),
            uncertainty=ResonanceUncertainty(
                frequency=float(u_frequency[i]),
                q_loaded=float(u_q_loaded[i]),
                q_unloaded=float(u_q_unloaded[i]),
                coupling=float(u_coupling[i]),
                delay=float(own[i, 2]) / span if terms.delay else 0.0,
                **{
                    name: float(np.hypot(own[i, first + place], own[i, second + place]))
                    for name, place in terms.places.items()
                },
            ),
            span_in_bandwidths=span * float(q[i]) / centre,
            detuned=complex(a[i]),
            diameter=complex(b[i]),
            middle=middle,
            span=span,
            noise=float(widths.noise[i]),
            **{name: complex(solution.amplitudes[i, place]) for name, place in terms.places.items()},
        )
        refusal = _why_not(fitted, f, traces[fits.rows[i]], minimum_span)
        outcomes.append(fitted if refusal is None else MeasurementError(refusal))
    return outcomes


def _why_not(
    fitted: Resonance, f: NDArray[np.float64], s: NDArray[np.complex128], minimum_span: float
) -> str | None:
    """Return why a fit states nothing and what to do, or None."""
    size = abs(fitted.diameter)
    place = f"{fitted.frequency / 1e6:.4f} MHz"
    if size < _SMALLEST_CIRCLE * fitted.noise:
        return (
            f"no resonance stands out: the largest circle has a diameter of {size:.2g} in noise of "
            f"{fitted.noise:.2g}; average more, raise the power, or look whether the coil is connected"
        )
    if not f[0] <= fitted.frequency <= f[-1]:
        near = 2.0 * f[0] - f[-1] < fitted.frequency < 2.0 * f[-1] - f[0]
        where = f"the resonance lies outside the sweep, near {place}" if near else "no resonance in the sweep"
        return f"{where}; sweep around it"
    if fitted.residual > MAXIMUM_RESIDUAL * size:
        return (
            f"not one resonance: the misfit is {fitted.residual:.3g} rms on a circle of diameter "
            f"{size:.3g}; {describe_extremes(f, s, fitted.kind)}"
        )
    if fitted.span_in_bandwidths < minimum_span:
        return (
            f"the sweep spans {fitted.span_in_bandwidths:.2f} loaded bandwidths, {minimum_span} are needed: "
            f"Q near {fitted.q_loaded:.0f} cannot be told from others; sweep at least "
            f"{2.0 * minimum_span * fitted.bandwidth / 1e3:.0f} kHz"
        )
    if not math.isfinite(fitted.coupling):
        limit = "twice the detuned point" if fitted.kind == "reflection" else "the through line"
        return (
            f"a circle of diameter {size:.3g} is larger than {limit} allows a passive resonator: Q_0 has no "
            "value; calibrate, lower the power if the receiver is overdriven, or couple less"
        )
    return _why_unsure(fitted, float(f[-1] - f[0]) / (f.size - 1), place)


def _why_unsure(fitted: Resonance, step: float, place: str) -> str | None:
    """Return why Q is too uncertain to be stated, or None."""
    if fitted.bandwidth < _FEWEST_IN_BANDWIDTH * step:
        return (
            f"the bandwidth of {fitted.bandwidth / 1e3:.3g} kHz holds fewer than {_FEWEST_IN_BANDWIDTH:.0f} "
            f"points {step / 1e3:.3g} kHz apart: a spike is no resonance; sweep more points around {place}"
        )
    if not fitted.uncertainty.q_loaded <= MAXIMUM_Q_UNCERTAINTY * fitted.q_loaded:
        return (
            f"Q = {fitted.q_loaded:.0f} ± {fitted.uncertainty.q_loaded:.0f} (standard uncertainty): too "
            f"noisy a trace, too narrow a sweep, or a misfit of {fitted.misfit_ratio:.1f} times the noise "
            "that a neighbour could explain; average more, sweep 3 to 6 bandwidths, detune the neighbours"
        )
    return None
