"""What imperfect standards, noise and connectors mean for every corrected S-parameter.

Each source of error is put into the calibration once, the calibration solved again and the change of the
result taken (GUM supplement 2 in first order, by finite differences): the same code serves every kind of
calibration, correlations are right (one short, used at every port, is wrong at every port), and residual
directivity, tracking and source match need not be told apart. For a one-port calibration they are given as
well, as EURAMET cg-12 names them: u(Γ) = δ + τ Γ + μ Γ².
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.calibration.steps import calibration_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from coils.calibration.kit import DefinitionUncertainty
    from coils.calibration.record import CalibrationRecord

#: Step of the finite differences, in units of each uncertainty: well above rounding.
_STEP: Final = 1e-2

#: Coverage factor of 95 % for a complex quantity: 2 D, √(-ln 0.05) standard deviations of the modulus
#: when u² = E|e|² (GUM supplement 2, section 6.5: k = 2.45 per component, 2.45/√2 here).
COVERAGE: Final = 1.7308


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """Standard uncertainties of corrected S-parameters, by source.

    Parameters
    ----------
    frequencies
        Hz, shape (frequency,).
    contributions
        u of each complex S-parameter, u² = E|error|², shape (frequency, port, port), by source: the standards
        of the kit, ``connections`` and ``noise``.
    """

    frequencies: NDArray[np.float64]
    contributions: Mapping[str, NDArray[np.float64]]

    @property
    def standard(self) -> NDArray[np.float64]:
        """Combined standard uncertainty, shape (frequency, port, port)."""
        squares = [part**2 for part in self.contributions.values()]
        return np.asarray(np.sqrt(np.sum(squares, axis=0)), dtype=np.float64)

    @property
    def expanded(self) -> NDArray[np.float64]:
        """Radius of the circle that holds 95 %, shape (frequency, port, port)."""
        return COVERAGE * self.standard

    def with_part(self, source: str, uncertainty: NDArray[np.float64]) -> ErrorBudget:
        """Return the budget with one more independent source."""
        return replace(self, contributions={**self.contributions, source: uncertainty})


def error_budget(
    record: CalibrationRecord,
    correct: Callable[
        [CalibrationRecord, Mapping[str, NDArray[np.complex128]] | None], NDArray[np.complex128]
    ],
    *,
    noise: float = 0.0,
    connection: float = 0.0,
) -> ErrorBudget:
    """Return the uncertainty of what ``correct`` computes with a calibration.

    Parameters
    ----------
    record
        The calibration; its kit says how well each standard is known.
    correct
        Called with the record and, for some steps by name, definitions in place of the kit's (as
        `solve_correction` takes them); returns S, shape (frequency, port, port).
    noise
        Standard deviation of a complex raw S-parameter; enters through the raw sweeps of the standards. That
        of the measured device is not in here: it can be seen in repeated sweeps.
    connection
        Standard uncertainty of the complex reflection of one connection of a standard, each independent.

    Raises
    ------
    ValueError, MeasurementError
        As `solve_correction`.
    """
    base = correct(record, None)
    parts: dict[str, list[NDArray[np.float64]]] = {}
    for name, uncertainty in record.kit.uncertainties.items():
        for definitions in _wrong_definitions(record, name, uncertainty):
            parts.setdefault(name, []).append(np.abs(correct(record, definitions) - base) / _STEP)
    if connection > 0.0:
        for definitions in _wrong_connections(record, connection):
            parts.setdefault("connections", []).append(np.abs(correct(record, definitions) - base) / _STEP)
    if noise > 0.0:
        for noisy in _noisy_records(record, noise):
            parts.setdefault("noise", []).append(np.abs(correct(noisy, None) - base) / _STEP)
    combined = {
        name: np.asarray(np.sqrt(np.sum(np.square(rows), axis=0)), dtype=np.float64)
        for name, rows in parts.items()
    }
    return ErrorBudget(record.frequencies, combined or {"none": np.zeros(base.shape)})


def record_budget(
    record: CalibrationRecord, raw: NDArray[np.complex128], *, noise: float = 0.0, connection: float = 0.0
) -> ErrorBudget:
    """Return the budget of one raw sweep of all calibrated ports, its own noise (``reading``) included.

    Parameters
    ----------
    record
        The calibration, of any kind but ``one-path``.
    raw
        Shape (frequency, port, port).
    noise, connection
        As in `error_budget`.
    """

    def correct(
        calibration: CalibrationRecord, definitions: Mapping[str, NDArray[np.complex128]] | None
    ) -> NDArray[np.complex128]:
        return calibration.solve(definitions).correct(raw)

    budget = error_budget(record, correct, noise=noise, connection=connection)
    if noise <= 0.0:
        return budget
    correction = record.solve()
    base, squares = correction.correct(raw), np.zeros(raw.shape)
    for row in range(raw.shape[-2]):
        for column in range(raw.shape[-1]):
            moved = raw.copy()
            moved[:, row, column] += _STEP * noise
            squares += np.abs(correction.correct(moved) - base) ** 2 / _STEP**2
    return budget.with_part("reading", np.sqrt(squares))


@dataclass(frozen=True, slots=True)
class Residuals:
    """Residual errors of a one-port calibration as standard uncertainties, shape (frequency,) each.

    Parameters
    ----------
    directivity, tracking, source_match
        δ, τ and μ of ΔΓ = δ + τ Γ + μ Γ².
    """

    directivity: NDArray[np.float64]
    tracking: NDArray[np.float64]
    source_match: NDArray[np.float64]


def reflection_residuals(record: CalibrationRecord, port: int) -> Residuals:
    """Return the residuals that the standards' uncertainties leave at a port.

    The error of a reflection calibrated with three standards is the quadratic in Γ that takes their errors at
    their reflections; its coefficients are the residuals.

    Raises
    ------
    ValueError
        The port has not been calibrated with three reflection standards.
    """
    names = [f"{name}-{port}" for name in ("short", "open", "load")]
    if any(name not in record.raw for name in names):
        raise ValueError(f"port {port} was not calibrated with short, open and load")
    f = record.frequencies
    reflections = np.stack(
        [record.kit.standard(name).scattering(f)[:, 0, 0] for name in ("short", "open", "load")], axis=-1
    )
    spread = np.stack([_reflection_uncertainty(record, name) for name in ("short", "open", "load")], axis=-1)
    weights = np.linalg.inv(np.stack([np.ones_like(reflections), reflections, reflections**2], axis=-1))
    u = np.sqrt(np.sum(np.abs(weights) ** 2 * spread[:, None, :] ** 2, axis=-1))
    return Residuals(u[:, 0], u[:, 1], u[:, 2])


def _reflection_uncertainty(record: CalibrationRecord, name: str) -> NDArray[np.float64]:
    given = record.kit.uncertainties.get(name)
    f = record.frequencies
    if given is None:
        return np.zeros(f.size)
    size = np.abs(record.kit.standard(name).scattering(f)[:, 0, 0])
    return np.hypot(given.of_reflection(f), size * 4.0 * np.pi * f * given.delay)


def _wrong_definitions(
    record: CalibrationRecord, name: str, uncertainty: DefinitionUncertainty
) -> list[dict[str, NDArray[np.complex128]]]:
    """Return, for each way in which a standard can be wrong, its definitions at all ports.

    Reflections move by their complex uncertainty times the step: the correction is analytic in them, so one
    direction in the complex plane stands for all.
    """
    f = record.frequencies
    steps = [step for step in calibration_steps(record.kind, record.ports) if step.standard == name]
    if not steps:
        return []
    s = record.kit.standard(name).scattering(f)
    wrong = []
    reflecting = uncertainty.of_reflection(f)
    if reflecting.any():
        for port in range(s.shape[-1]):
            moved = s.copy()
            moved[:, port, port] += _STEP * reflecting / np.sqrt(s.shape[-1])
            wrong.append(moved)
    if uncertainty.delay > 0.0:
        turn = np.exp(-2j * np.pi * f * _STEP * uncertainty.delay)[:, None, None]
        # a reflection runs through its line twice; a thru's transmission once
        wrong.append(s * turn**2 if s.shape[-1] == 1 else s * turn)
    return [{step.name: moved for step in steps} for moved in wrong]


def _wrong_connections(
    record: CalibrationRecord, connection: float
) -> list[dict[str, NDArray[np.complex128]]]:
    wrong = []
    for step in calibration_steps(record.kind, record.ports):
        s = record.kit.standard(step.standard).scattering(record.frequencies)
        for port in range(s.shape[-1]):
            moved = s.copy()
            moved[:, port, port] += _STEP * connection
            wrong.append({step.name: moved})
    return wrong


def _noisy_records(record: CalibrationRecord, noise: float) -> list[CalibrationRecord]:
    noisy = []
    for name, sweep in record.raw.items():
        for row in range(sweep.shape[-2]):
            for column in range(sweep.shape[-1]):
                if record.kind == "one-path" and column > 0:
                    continue
                moved = sweep.copy()
                moved[:, row, column] += _STEP * noise
                noisy.append(replace(record, raw={**record.raw, name: moved}))
    return noisy
