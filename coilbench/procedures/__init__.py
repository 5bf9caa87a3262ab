"""What a bench does, one module each: tune, match, characterise, decouple, detune, Q, scan, quantify.

Each takes open instruments (or what was scanned), tells its events, and returns a frozen result.
"""

from coilbench.procedures.assemble import (
    AssemblyPlan,
    assemble_by_hand,
    assemble_one_way,
    assemble_with_switch,
)
from coilbench.procedures.calibrate import (
    CalibrationPlan,
    calibrate,
    check_drift,
    sweep_corrected,
    verify_calibration,
)
from coilbench.procedures.characterise import CharacterisePlan, characterise
from coilbench.procedures.decouple import DecouplePlan, measure_decoupling
from coilbench.procedures.detune import DetunePlan, measure_detuning
from coilbench.procedures.detuning import check_detuning
from coilbench.procedures.manual import HandPlan, tune_by_hand
from coilbench.procedures.match import MatchPlan, match
from coilbench.procedures.probing import ProbeReading
from coilbench.procedures.qfactor import QPlan, measure_q
from coilbench.procedures.quantify import check_noise, quantify_scan
from coilbench.procedures.scan import scan_phantom, scan_plan
from coilbench.procedures.switching import SwitchingPlan
from coilbench.procedures.tune import NucleusPorts, TunePlan, nucleus_ports, tune

__all__ = [
    "AssemblyPlan",
    "CalibrationPlan",
    "CharacterisePlan",
    "DecouplePlan",
    "DetunePlan",
    "HandPlan",
    "MatchPlan",
    "NucleusPorts",
    "ProbeReading",
    "QPlan",
    "SwitchingPlan",
    "TunePlan",
    "assemble_by_hand",
    "assemble_one_way",
    "assemble_with_switch",
    "calibrate",
    "characterise",
    "check_detuning",
    "check_drift",
    "check_noise",
    "match",
    "measure_decoupling",
    "measure_detuning",
    "measure_q",
    "nucleus_ports",
    "quantify_scan",
    "scan_phantom",
    "scan_plan",
    "sweep_corrected",
    "tune",
    "tune_by_hand",
    "verify_calibration",
]
