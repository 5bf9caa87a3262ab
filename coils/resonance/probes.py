"""Q through two decoupled probes: no cable at the coil, and nothing of the port in its Q.

Two small pick-up loops, overlapped or crossed so that they do not see each other, hover over the coil; S21
then is the coil alone. What the probes still couple is measured in air, with the coil away, and subtracted as
a complex trace; the rest, and what changes with the coil's near field, is fitted as leakage. The probes load
the coil by the sum of their coupling coefficients, which follows from the peak when both are alike.

Protocol: J. Mispelter, M. Lupu, A. Briguet, "NMR Probeheads for Biophysical and Biomedical Experiments", 2nd
ed., Imperial College Press (2015), double-probe measurements; coupling of a transmission: NPL Report MAT 58
(2021), section 2.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.resonance.fit import MINIMUM_SPAN, fit_resonance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.resonance.model import Resonance

#: |S21| of the probes in air, in dB, that counts as decoupled: 20 dB below the -50 dB of a usual peak.
WORST_ISOLATION_DB: Final = -70.0
#: Least distance of the coil's peak from the probes' own coupling, in dB: closer, a change of 10 % in that
#: coupling as the coil comes near moves Q by more than 1 %.
LEAST_CONTRAST_DB: Final = 20.0
#: Highest peak of the coil in dB: above, the probes take more than a tenth of the power.
HIGHEST_PEAK_DB: Final = -20.0
#: Largest quotient of both probes' couplings that placing them by eye gives; the Q correction is uncertain
#: by ((r + 1) / (2 √r) - 1) of itself: a quarter for r = 4.
_UNLIKE_PROBES: Final = 4.0


@dataclass(frozen=True, slots=True)
class ProbeMeasurement:
    """Q through two probes.

    Parameters
    ----------
    resonance
        The fit, probes in air subtracted; its ``q_unloaded`` is free of the probes' loading.
    isolation_db
        Largest |S21| of the probes in air over the sweep; None where air was not measured.
    peak_db
        |S21| at the coil's peak.
    contrast_db
        Peak above the probes' own coupling at the coil's frequency; None where air was not measured.
    probe_loading
        Part of the loaded Q that the probes take, Q_L / Q_0 = 1 - probe_loading.
    """

    resonance: Resonance
    isolation_db: float | None
    peak_db: float
    contrast_db: float | None
    probe_loading: float


def check_isolation(
    frequencies: NDArray[np.float64],
    air: NDArray[np.complex128],
    *,
    worst_db: float = WORST_ISOLATION_DB,
) -> float:
    """Return the probes' own coupling in air in dB, or say that they are not decoupled.

    Parameters
    ----------
    frequencies
        Hz, shape (point,).
    air
        S21 with the coil away, shape (point,).
    worst_db
        Largest |S21| that counts as decoupled.

    Raises
    ------
    MeasurementError
        The probes see each other, or the trace is dead.
    """
    size = np.abs(air)
    loudest = int(np.argmax(size))
    if size[loudest] == 0.0:
        raise MeasurementError("S21 of the probes in air is zero at every point; check that the source is on")
    level = 20.0 * math.log10(float(size[loudest]))
    if level > worst_db:
        raise MeasurementError(
            f"the probes see each other: |S21| = {level:.1f} dB in air at "
            f"{frequencies[loudest] / 1e6:.4f} MHz, {worst_db:g} dB or less is needed; shift their overlap "
            "until S21 vanishes, and look for a resonance of the cables' shields"
        )
    return level


def measure_with_probes(
    frequencies: NDArray[np.float64],
    s21: NDArray[np.complex128],
    air: NDArray[np.complex128] | None = None,
    *,
    through: float = 1.0,
    worst_isolation_db: float = WORST_ISOLATION_DB,
    minimum_span: float = MINIMUM_SPAN,
) -> ProbeMeasurement:
    """Return a coil's Q from S21 of two probes over it.

    Parameters
    ----------
    frequencies
        Hz, shape (point,), rising.
    s21
        With the coil under the probes, shape (point,).
    air
        S21 of the same probes at the same frequencies with the coil away; None: what the probes couple is
        fitted only.
    through
        Magnitude of S21 with the cables joined, 1 for a calibrated analyzer.
    worst_isolation_db
        Largest |S21| in air.
    minimum_span
        Sweeps of fewer loaded bandwidths are refused.

    Raises
    ------
    MeasurementError
        The probes are not decoupled, too close to the coil, or too far from it; or the fit is refused.
    ValueError
        Shapes differ.
    """
    f, trace = np.asarray(frequencies, dtype=np.float64), np.asarray(s21, dtype=np.complex128)
    isolation: float | None = None
    if air is not None:
        if air.shape != trace.shape:
            raise ValueError(f"S21 in air must have the shape of S21, {trace.shape}; got {air.shape}")
        isolation = check_isolation(f, air, worst_db=worst_isolation_db)
        trace = trace - air
    fit = fit_resonance(f, trace, kind="transmission", through=through, minimum_span=minimum_span)
    peak = 20.0 * math.log10(abs(fit.diameter) / through)
    contrast: float | None = None
    if air is not None:
        there = float(np.interp(fit.frequency, f, np.abs(air)))
        contrast = 20.0 * math.log10(abs(fit.diameter) / there) if there > 0.0 else math.inf
        if contrast < LEAST_CONTRAST_DB:
            raise MeasurementError(
                f"the coil's peak is {contrast:.1f} dB above the probes' own coupling, {LEAST_CONTRAST_DB:g} "
                "dB are needed: bring the probes nearer to the coil, or decouple them better"
            )
    if peak > HIGHEST_PEAK_DB:
        raise MeasurementError(
            f"the coil's peak is at {peak:.1f} dB: above {HIGHEST_PEAK_DB:g} dB the probes load the coil and "
            "pull its frequency; move them away"
        )
    return ProbeMeasurement(
        _with_unlike_probes(fit), isolation, peak, contrast, fit.coupling / (1.0 + fit.coupling)
    )


def _with_unlike_probes(fit: Resonance) -> Resonance:
    """Widen Q_0 by what unequal probes may change in the correction for their loading."""
    # rectangular distribution (JCGM 100:2008, 4.3.7)
    part = ((_UNLIKE_PROBES + 1.0) / (2.0 * math.sqrt(_UNLIKE_PROBES)) - 1.0) / math.sqrt(3.0)
    own = fit.uncertainty
    wider = replace(
        own,
        coupling=math.hypot(own.coupling, part * fit.coupling),
        q_unloaded=math.hypot(own.q_unloaded, part * fit.coupling * fit.q_loaded),
    )
    return replace(fit, uncertainty=wider)
