"""What a bench does, one module each: tune, characterise, scan, detune, quantify.

Each takes open instruments (or what was scanned), tells its events, and returns a frozen result.
"""

from coilbench.procedures.characterise import CharacterisePlan, characterise
from coilbench.procedures.detuning import check_detuning
from coilbench.procedures.quantify import check_noise, quantify_scan
from coilbench.procedures.scan import scan_phantom, scan_plan
from coilbench.procedures.tune import NucleusPorts, TunePlan, nucleus_ports, tune

__all__ = [
    "CharacterisePlan",
    "NucleusPorts",
    "TunePlan",
    "characterise",
    "check_detuning",
    "check_noise",
    "nucleus_ports",
    "quantify_scan",
    "scan_phantom",
    "scan_plan",
    "tune",
]
