"""Is the calibration right, and is it still right: check standards against their definitions, drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coilbench.base.verdict import Judged, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.calibration.record import CalibrationRecord


@dataclass(frozen=True, slots=True)
class Verification:
    """A check standard, measured against its definition.

    Parameters
    ----------
    normalised_error
        E_n = |measured - defined| / √(U² + U_def²), expanded uncertainties, shape (frequency, port, port).
    judged
        The largest E_n against 1 (ISO/IEC 17043, B.3.1.3).
    """

    normalised_error: NDArray[np.float64]
    judged: Judged


def verify(
    name: str,
    measured: NDArray[np.complex128],
    defined: NDArray[np.complex128],
    *,
    uncertainty: NDArray[np.float64] | float,
    definition_uncertainty: NDArray[np.float64] | float,
) -> Verification:
    """Compare a check standard that took no part in the calibration with its definition.

    Parameters
    ----------
    name
        Of the check standard.
    measured, defined
        S, shape (frequency, port, port).
    uncertainty, definition_uncertainty
        Expanded (95 %), of the measurement and of the definition; scalars or of the same shape.

    Raises
    ------
    ValueError
        The shapes differ, or nothing has an uncertainty.
    """
    if measured.shape != defined.shape:
        raise ValueError(f"{name}: measured {measured.shape} and defined {defined.shape} do not fit")
    allowed = np.hypot(uncertainty, definition_uncertainty) * np.ones(measured.shape)
    if not (allowed > 0.0).all():
        raise ValueError(f"{name}: without an uncertainty there is nothing to compare with")
    ratio = np.abs(measured - defined) / allowed
    judged = judge(f"check standard {name}: largest E_n", float(ratio.max()), "", at_most=1.0)
    return Verification(ratio, judged)


def measure_drift(
    record: CalibrationRecord, step: str, raw_now: NDArray[np.complex128]
) -> NDArray[np.float64]:
    """Return how far a standard, connected again, has moved since the calibration.

    Parameters
    ----------
    record
        The calibration.
    step
        Of a reflection standard that was part of it, such as ``load-1``.
    raw_now
        Its raw reflection now, shape (frequency, 1, 1).

    Returns
    -------
    |Γ now - Γ then|, corrected with the calibration, shape (frequency,).

    Raises
    ------
    ValueError
        No such reflection standard in the record, or another shape.
    """
    then = record.raw.get(step)
    if then is None or then.shape[-1] != 1:
        stored = ", ".join(name for name, s in record.raw.items() if s.shape[-1] == 1)
        raise ValueError(f"drift is measured on a stored reflection standard ({stored}); got {step!r}")
    if raw_now.shape != then.shape:
        raise ValueError(f"expected a sweep of shape {then.shape}; got {raw_now.shape}")
    port = int(step.rsplit("-", 1)[1])
    from coils.calibration.correction import solve_correction

    if all(f"{name}-{port}" in record.raw for name in ("short", "open", "load")):
        correction = solve_correction("sol", (port,), record.frequencies, record.raw, record.kit)
        moved = correction.correct(raw_now) - correction.correct(then)
        return np.abs(moved[:, 0, 0])
    # a TRL reflect: no one-port error terms, the raw change is what there is
    return np.abs(raw_now - then)[:, 0, 0]
