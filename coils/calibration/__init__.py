"""Calibration of a network analyzer at the cable ends: standards, correction, error budget, record, validity.

The error models are solved by scikit-rf; here is what surrounds them: what a standard is and how well it
is known, what that means for every S-parameter measured afterwards, and when a calibration must no longer be
used.
"""

from coils.calibration.budget import ErrorBudget, error_budget
from coils.calibration.correction import Correction, correct_one_path, solve_correction
from coils.calibration.kit import DefinitionUncertainty, Kit, ideal_kit
from coils.calibration.planes import deembed, embed, extend_ports
from coils.calibration.record import CalibrationRecord, load_record, save_record
from coils.calibration.standards import MeasuredStandard, OffsetStandard, Standard, ThruStandard
from coils.calibration.steps import CalibrationKind, CalibrationStep, calibration_steps
from coils.calibration.validity import (
    Conditions,
    ValidityLimits,
    objections,
    require_valid,
    withhold_verdicts,
)
from coils.calibration.verification import Verification, measure_drift, verify

__all__ = [
    "CalibrationKind",
    "CalibrationRecord",
    "CalibrationStep",
    "Conditions",
    "Correction",
    "DefinitionUncertainty",
    "ErrorBudget",
    "Kit",
    "MeasuredStandard",
    "OffsetStandard",
    "Standard",
    "ThruStandard",
    "ValidityLimits",
    "Verification",
    "calibration_steps",
    "correct_one_path",
    "deembed",
    "embed",
    "error_budget",
    "extend_ports",
    "ideal_kit",
    "load_record",
    "measure_drift",
    "objections",
    "require_valid",
    "save_record",
    "solve_correction",
    "verify",
    "withhold_verdicts",
]
