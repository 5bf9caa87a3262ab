"""Calibrate the analyzer at its cable ends, see whether a calibration still holds, and sweep with it.

Who uses an expired, drifted or too warm calibration gets an error with the reasons, never a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from coilbench.base.errors import RunAborted
from coilbench.base.events import Event, EventSink, ignore
from coilbench.procedures.operator import Operator, Request, carry_out
from coils.calibration import (
    CalibrationKind,
    CalibrationRecord,
    CalibrationStep,
    Conditions,
    ErrorBudget,
    Kit,
    ValidityLimits,
    Verification,
    calibration_steps,
    measure_drift,
    require_valid,
    verify,
)
from coils.calibration.budget import record_budget
from coils.calibration.correction import looks_alike
from drivers.protocols import Abort, ForwardAnalyzer, SweepPlan, never

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drivers.protocols import NetworkAnalyzer

#: Tells the time, with a zone.
Now: TypeAlias = Callable[[], datetime]

#: A thru whose raw transmission is below this is not connected: -20 dB, far below any cable's loss.
_LEAST_TRANSMISSION: Final = 0.1


def utc_now() -> datetime:
    """Return the time of the machine."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class CalibrationPlan:
    """What to calibrate, with what.

    Parameters
    ----------
    kind, ports
        As in `calibration_steps`.
    kit
        The standards.
    sweep
        The very sweep that is to be corrected.
    temperature
        Of the room, K; None: not known, and then never checked.
    operator
        Who connects the standards.
    """

    kind: CalibrationKind
    ports: tuple[int, ...]
    kit: Kit
    sweep: SweepPlan
    temperature: float | None = None
    operator: str = ""


@dataclass(frozen=True, slots=True)
class CorrectedSweep:
    """A sweep corrected with a valid calibration.

    Parameters
    ----------
    frequencies
        Hz, shape (frequency,).
    s
        Shape (frequency, port, port); only the diagonal after a calibration of reflections.
    budget
        How well each S-parameter is known.
    """

    frequencies: NDArray[np.float64]
    s: NDArray[np.complex128]
    budget: ErrorBudget


def calibrate(
    analyzer: NetworkAnalyzer,
    plan: CalibrationPlan,
    operator: Operator,
    *,
    emit: EventSink = ignore,
    abort: Abort = never,
    now: Now = utc_now,
) -> CalibrationRecord:
    """Ask for one standard after the other, sweep each, and return a calibration that has been solved.

    A standard that looks like the one before on the same port, or a thru that transmits nothing, is asked for
    again with the reason; the operator may repeat the step before, or end.

    Raises
    ------
    RunAborted
        The operator or ``abort`` said so, or a standard was not connected after three requests.
    InstrumentError
        The analyzer failed.
    MeasurementError
        The standards do not determine the error terms.
    ValueError
        The kind does not exist for these ports, or the kit lacks a standard.
    """
    steps = calibration_steps(plan.kind, plan.ports)
    for step in steps:
        plan.kit.standard(step.standard)
    actual = analyzer.configure(plan.sweep)
    raw: dict[str, NDArray[np.complex128]] = {}
    axis: list[NDArray[np.float64]] = []

    def act(place: int) -> str | None:
        step = steps[place]
        if abort():
            raise RunAborted(f"calibration stopped before: {step.instruction}")
        frequencies, s = _raw_sweep(analyzer, plan.kind, step, abort)
        if objection := _objection(step, s, {name: raw[name] for name in raw if name != step.name}):
            emit(Event("calibrate.doubted", objection, {"step": step.name}))
            return objection
        raw[step.name] = s
        axis[:] = [frequencies]
        emit(Event("calibrate.swept", step.instruction, {"step": step.name, "of": len(steps)}))
        return None

    requests = [Request(step.instruction, number, len(steps)) for number, step in enumerate(steps, 1)]
    carry_out(requests, operator, act)
    record = CalibrationRecord(
        kind=plan.kind,
        ports=plan.ports,
        frequencies=axis[0],
        raw=raw,
        kit=plan.kit,
        created=now(),
        temperature=plan.temperature,
        instrument=analyzer.identity,
        settings={"power_dbm": actual.power_dbm},
        operator=plan.operator,
    )
    record.solve()
    emit(
        Event(
            "calibrate.finished",
            f"{plan.kind} calibration of ports {', '.join(map(str, plan.ports))} with {plan.kit.name}",
            {"kind": plan.kind, "ports": list(plan.ports), "created": record.created.isoformat()},
        )
    )
    return record


def check_drift(
    analyzer: NetworkAnalyzer,
    record: CalibrationRecord,
    sweep: SweepPlan,
    step: str,
    operator: Operator,
    *,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> float:
    """Ask for a standard of the calibration once more and return the largest change of its reflection.

    Parameters
    ----------
    step
        Name of a reflection step of the record, such as ``load-1``.

    Raises
    ------
    ValueError
        The record has no such reflection standard, or the analyzer now sweeps other frequencies.
    RunAborted, InstrumentError
        As `calibrate`.
    """
    found = [each for each in calibration_steps(record.kind, record.ports) if each.name == step]
    if not found or len(found[0].ports) != 1:
        raise ValueError(f"{step!r} is no reflection standard of this calibration")
    analyzer.configure(sweep)
    changes: list[float] = []

    def act(_place: int) -> None:
        network = analyzer.sweep(found[0].ports, abort=abort)
        if network.f.shape != record.frequencies.shape or not np.allclose(
            network.f, record.frequencies, rtol=1e-9, atol=0.0
        ):
            raise ValueError(
                f"the analyzer sweeps other frequencies, {network.f[0]:g} to {network.f[-1]:g} Hz, than "
                f"those calibrated, {record.frequencies[0]:g} to {record.frequencies[-1]:g} Hz: pass those"
            )
        change = measure_drift(record, step, np.asarray(network.s, dtype=np.complex128))
        changes.append(float(change.max()))

    carry_out([Request(found[0].instruction, 1, 1, "to see how far it has drifted")], operator, act)
    emit(
        Event(
            "calibrate.drift", f"{step} has moved by {changes[-1]:.2g}", {"step": step, "drift": changes[-1]}
        )
    )
    return changes[-1]


def sweep_corrected(
    analyzer: NetworkAnalyzer,
    record: CalibrationRecord,
    sweep: SweepPlan,
    *,
    temperature: float | None = None,
    drift: float | None = None,
    limits: ValidityLimits | None = None,
    noise: float = 0.0,
    abort: Abort = never,
    now: Now = utc_now,
) -> CorrectedSweep:
    """Sweep all calibrated ports and correct them, if the calibration is valid.

    A ``one-path`` calibration needs the device turned round: see `assemble_one_way`.

    Parameters
    ----------
    temperature
        Of the room now, K.
    drift
        Of the last `check_drift`; None: none was made.
    limits
        None: the defaults of `ValidityLimits`.
    noise
        Standard deviation of a complex raw S-parameter, for the budget.

    Raises
    ------
    MeasurementError
        The calibration is not valid; all reasons are in the text.
    InstrumentError, RunAborted
        The analyzer failed, or ``abort`` said so.
    """
    actual = analyzer.configure(sweep)
    network = analyzer.sweep(record.ports, abort=abort)
    frequencies = np.asarray(network.f, dtype=np.float64)
    conditions = Conditions(
        now=now(),
        temperature=temperature,
        instrument=analyzer.identity,
        frequencies=frequencies,
        settings={"power_dbm": actual.power_dbm},
        drift=drift,
    )
    require_valid(record, conditions, limits)
    raw = np.asarray(network.s, dtype=np.complex128)
    budget = record_budget(record, raw, noise=noise)
    return CorrectedSweep(frequencies, record.solve().correct(raw), budget)


def verify_calibration(
    name: str,
    corrected: CorrectedSweep,
    defined: NDArray[np.complex128],
    definition_uncertainty: NDArray[np.float64] | float,
    *,
    emit: EventSink = ignore,
) -> Verification:
    """Judge a check standard that was swept like a device.

    Parameters
    ----------
    name
        Of the check standard.
    corrected
        Its sweep.
    defined
        Its S, shape (frequency, port, port).
    definition_uncertainty
        Expanded (95 %).

    Raises
    ------
    ValueError
        The shapes differ, or nothing has an uncertainty.
    """
    result = verify(
        name,
        corrected.s,
        defined,
        uncertainty=corrected.budget.expanded,
        definition_uncertainty=definition_uncertainty,
    )
    row = result.judged
    emit(
        Event(
            "calibrate.verified", f"{row.name}: {row.value:.2f}, {row.verdict}", {"verdict": str(row.verdict)}
        )
    )
    return result


def _raw_sweep(
    analyzer: NetworkAnalyzer, kind: CalibrationKind, step: CalibrationStep, abort: Abort
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Return frequencies and raw S of a standard; an analyzer with one source leaves half a thru nan."""
    if kind == "one-path" and len(step.ports) == 2 and isinstance(analyzer, ForwardAnalyzer):
        reflection, transmission = analyzer.sweep_forward(abort=abort)
        s = np.full((reflection.f.size, 2, 2), complex(np.nan, np.nan))
        s[:, 0, 0], s[:, 1, 0] = reflection.s[:, 0, 0], transmission.s[:, 0, 0]
        return np.asarray(reflection.f, dtype=np.float64), s
    network = analyzer.sweep(step.ports, abort=abort)
    return np.asarray(network.f, dtype=np.float64), np.asarray(network.s, dtype=np.complex128)


def _objection(
    step: CalibrationStep, s: NDArray[np.complex128], before: dict[str, NDArray[np.complex128]]
) -> str | None:
    """Return what is wrong with a raw sweep at first sight."""
    if len(step.ports) == 2:
        if np.median(np.abs(s[:, 1, 0])) < _LEAST_TRANSMISSION:
            return f"nothing is transmitted; is {step.standard.upper()} between ports {step.ports}?"
        return None
    for name, other in before.items():
        if other.shape == s.shape and name.endswith(f"-{step.ports[0]}") and looks_alike(s, other):
            return f"port {step.ports[0]} still looks as with {name.split('-')[0].upper()}"
    return None
