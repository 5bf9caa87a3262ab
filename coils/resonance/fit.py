"""Fit one resonance in each of many traces, or say why none can be stated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.resonance.projection import Terms
from coils.resonance.selection import Fits, fit_from_starts, refined
from coils.resonance.statement import state
from coils.resonance.uncertainty import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.resonance.model import Kind, Resonance

#: Below this many loaded bandwidths the circle's arc does not fix Q_L: two fits of equal residual differ by
#: a factor of two on real captures.
MINIMUM_SPAN: Final = 1.5
_FEWEST_POINTS: Final = 8
#: |S| below which a trace is dead: -120 dB, below any analyzer's noise floor.
_DEAD: Final = 1e-6


def fit_resonance(
    frequencies: NDArray[np.float64],
    s: NDArray[np.complex128],
    *,
    kind: Kind = "reflection",
    leakage: bool | None = None,
    directivity: bool | None = None,
    delay: bool = True,
    through: float = 1.0,
    analyzer: float = 0.0,
    minimum_span: float = MINIMUM_SPAN,
) -> Resonance:
    """Fit one resonance to a trace.

    Parameters
    ----------
    frequencies
        Hz, shape (point,), rising.
    s
        Complex S-parameter, shape (point,).
    kind
        How coupling follows from the circle: a reflection is scaled so that the detuned point lies on the
        unit circle (MAT 58, method 1); a transmission has two equally coupled ports.
    leakage
        Whether to fit a leakage that changes linearly with frequency (MAT 58, figure 23); None: where it
        at least halves a misfit that is more than noise.
    directivity
        Whether to fit a constant in front of the line; None: as for ``leakage``, and only behind a line of
        a tenth of a turn over the sweep.
    delay
        Also fit the delay of an uncalibrated line; False takes it as zero.
    through
        Transmission only: magnitude of S21 with the cables joined, 1 for a calibrated analyzer.
    analyzer
        Standard uncertainty that the calibration leaves, the same at all points: of a reflection the rms
        residual directivity and source match (linear; 0.01 for -40 dB), of a transmission the relative error
        of ``through``. A trace alone cannot show it; 0 leaves it out.
    minimum_span
        Sweeps of fewer loaded bandwidths are refused.

    Raises
    ------
    MeasurementError
        The trace is dead, the sweep spans too few bandwidths, the trace is not one resonance, or the noise
        leaves Q undetermined.
    ValueError
        Shapes differ, or fewer than eight points.
    """
    trace = np.asarray(s, dtype=np.complex128)
    if trace.ndim != 1:
        raise ValueError(f"a trace is a vector, got the shape {trace.shape}; fit_resonances takes many")
    (outcome,) = fit_resonances(
        frequencies,
        trace[None],
        kind=kind,
        leakage=leakage,
        directivity=directivity,
        delay=delay,
        through=through,
        analyzer=analyzer,
        minimum_span=minimum_span,
    )
    if isinstance(outcome, MeasurementError):
        raise outcome
    return outcome


def fit_resonances(
    frequencies: NDArray[np.float64],
    s: NDArray[np.complex128],
    *,
    kind: Kind = "reflection",
    leakage: bool | None = None,
    directivity: bool | None = None,
    delay: bool = True,
    through: float = 1.0,
    analyzer: float = 0.0,
    minimum_span: float = MINIMUM_SPAN,
) -> tuple[Resonance | MeasurementError, ...]:
    """Fit one resonance to each of many traces of one sweep, all at once.

    Parameters
    ----------
    frequencies
        Hz, shape (point,), rising.
    s
        Shape (trace, point).
    kind, leakage, directivity, delay, through, analyzer, minimum_span
        As for `fit_resonance`.

    Returns
    -------
    For each trace the resonance, or the error that says why none can be stated and what to do.

    Raises
    ------
    ValueError
        Shapes differ, or fewer than eight points.
    """
    f = np.asarray(frequencies, dtype=np.float64)
    traces = np.ascontiguousarray(s, dtype=np.complex128)
    if f.ndim != 1 or traces.ndim != 2 or traces.shape[1] != f.size or f.size < _FEWEST_POINTS:
        raise ValueError(
            f"resonances need frequencies and traces of equal length, at least {_FEWEST_POINTS} points; "
            f"got {f.shape} and {traces.shape}"
        )
    if not (np.all(np.isfinite(traces.view(np.float64))) and np.all(np.diff(f) > 0.0)):
        raise ValueError("a trace must be finite and its frequencies rising")
    outcomes: list[Resonance | MeasurementError] = [
        MeasurementError(
            "no resonance in the trace: its poles all lie at negative bandwidths; sweep where the dip is"
        )
    ] * len(traces)
    plain = Terms(leakage=leakage is True, directivity=directivity is True, delay=delay)
    alive = np.max(np.abs(traces), axis=1, initial=0.0) > _DEAD
    for index in np.flatnonzero(~alive):
        outcomes[index] = MeasurementError(
            "the trace is dead: |S| stays below -120 dB; check the cable, and that the source is on"
        )
    solution, rows = fit_from_starts(f, traces, alive, plain)
    if solution is None:
        return tuple(outcomes)
    free = ("leakage", "curvature") if leakage is None else ()
    if directivity is None and delay:
        free = (*free, "directivity")
    for fits in refined(f, traces, Fits(plain, rows, solution, spread(solution, plain)), free):
        for index, outcome in zip(
            fits.rows, state(f, traces, fits, kind, through, analyzer, minimum_span), strict=True
        ):
            outcomes[index] = outcome
    return tuple(outcomes)
