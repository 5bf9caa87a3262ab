"""When a calibration must not be used: too old, too warm, drifted, another instrument, other settings.

What is not valid gives no verdict: `require_valid` raises, `withhold_verdicts` makes verdicts inconclusive.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from coilbench.base.errors import MeasurementError
from coilbench.base.verdict import Judged, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from coils.calibration.record import CalibrationRecord


@dataclass(frozen=True, slots=True)
class ValidityLimits:
    """How long and under which conditions a calibration holds.

    Parameters
    ----------
    age
        Longest time since the calibration. A working day by default: cables on a bench are moved.
    temperature_change
        Largest change of the room's temperature, K. By default 1 K, the condition under which analyzer makers
        specify corrected accuracy (R&S ZNB data sheet, version 07.00, p. 11: not more than 1 °C after
        calibration).
    drift
        Largest |ΔΓ| of a standard that was connected again.
    """

    age: timedelta = timedelta(hours=10)
    temperature_change: float = 1.0
    drift: float = 0.01


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which conditions a calibration is about to be used.

    Parameters
    ----------
    now
        With a time zone.
    temperature
        Of the room, K; None: not known, which is an objection if the calibration has one.
    instrument
        What the analyzer says it is.
    frequencies
        Of the sweep to be corrected, Hz, shape (frequency,).
    settings
        Of the sweep; those that the calibration names must be equal.
    drift
        Largest |ΔΓ| of the last drift check; None: none was made.
    """

    now: datetime
    temperature: float | None
    instrument: str
    frequencies: NDArray[np.float64]
    settings: Mapping[str, float] = field(default_factory=dict)
    drift: float | None = None


def objections(
    record: CalibrationRecord, conditions: Conditions, limits: ValidityLimits | None = None
) -> tuple[str, ...]:
    """Return everything that forbids the use of a calibration now; empty when it is valid.

    Parameters
    ----------
    limits
        None: the defaults of `ValidityLimits`.

    Raises
    ------
    ValueError
        The time has no zone.
    """
    if conditions.now.tzinfo is None:
        raise ValueError("the present time needs a time zone")
    allowed = limits or ValidityLimits()
    found = [
        *_time_objections(record, conditions.now, allowed.age),
        *_temperature_objections(record, conditions.temperature, allowed.temperature_change),
        *_drift_objections(conditions.drift, allowed.drift),
    ]
    if conditions.instrument != record.instrument:
        found.append(f"made with {record.instrument}, used with {conditions.instrument}")
    if conditions.frequencies.shape != record.frequencies.shape or not np.allclose(
        conditions.frequencies, record.frequencies, rtol=1e-9, atol=0.0
    ):
        found.append("made at other frequencies than the sweep; calibrate with the sweep's own plan")
    for name, value in record.settings.items():
        present = conditions.settings.get(name)
        if present != value:
            found.append(
                f"made with {name} = {value:g}, used with {'nothing' if present is None else present}"
            )
    return tuple(found)


def require_valid(
    record: CalibrationRecord, conditions: Conditions, limits: ValidityLimits | None = None
) -> None:
    """Do nothing for a valid calibration.

    Raises
    ------
    MeasurementError
        It is not; the text lists all objections.
    """
    if found := objections(record, conditions, limits):
        raise MeasurementError(
            f"the calibration of {record.created:%Y-%m-%d %H:%M} is not valid: {'; '.join(found)}. "
            "Calibrate again"
        )


def withhold_verdicts(judged: Iterable[Judged], reasons: tuple[str, ...]) -> tuple[Judged, ...]:
    """Return the quantities as measured; with any reason against, all their verdicts are inconclusive."""
    if not reasons:
        return tuple(judged)
    return tuple(replace(row, verdict=Verdict.INCONCLUSIVE) for row in judged)


def _time_objections(record: CalibrationRecord, now: datetime, allowed: timedelta) -> list[str]:
    age = now - record.created
    if age < timedelta(0):
        return [f"made at {record.created:%Y-%m-%d %H:%M}, which is in the future; is the clock right?"]
    if age > allowed:
        return [f"{age.total_seconds() / 3600:.1f} h old, allowed {allowed.total_seconds() / 3600:g} h"]
    return []


def _temperature_objections(record: CalibrationRecord, present: float | None, allowed: float) -> list[str]:
    if record.temperature is None:
        return []
    if present is None:
        return [f"made at {record.temperature - 273.15:.1f} °C, the temperature now is not known"]
    change = present - record.temperature
    if abs(change) > allowed:
        then, now = record.temperature - 273.15, present - 273.15
        return [f"made at {then:.1f} °C, now {now:.1f} °C, allowed ±{allowed:g} K"]
    return []


def _drift_objections(drift: float | None, allowed: float) -> list[str]:
    if drift is not None and not drift <= allowed:
        return [f"a standard has drifted by {drift:.3g}, allowed {allowed:.3g}"]
    return []
