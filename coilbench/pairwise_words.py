"""What a run that measured pair by pair says: of its loads before, of the matrix and its errors after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from coilbench.pairwise import ORDINARY_LOAD
from coilbench.report.assembly_section import listed_pairs
from coils.quality import decibels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coilbench.pairwise import Corrections, KnownLoads
    from coilbench.procedures.assemble import AssembledDevice, AssemblyPlan
    from coilbench.procedures.characterise import CharacterisePlan


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before the first cable is moved.

    Parameters
    ----------
    character
        What the array is judged by.
    assembly
        What is measured.
    loads, corrections
        What it rests on.
    one_way
        The analyzer drives its first port only.
    """

    character: CharacterisePlan
    assembly: AssemblyPlan
    loads: KnownLoads
    corrections: Corrections
    one_way: bool


@dataclass(frozen=True, slots=True)
class Known:
    """How well an assembled matrix is known: expanded (95 %), the worst entry at a Larmor frequency.

    Parameters
    ----------
    total
        Of everything: calibration, connections, loads, missing pairs.
    loads
        The loads' share.
    """

    total: float
    loads: float


def load_notes(prepared: Prepared, /) -> tuple[str, ...]:
    """Return what the ports that are not connected must end in, and what ideal loads would leave."""
    idle = len(prepared.assembly.ports) - len(prepared.assembly.analyzer_ports)
    if prepared.loads.source != "ideal":
        return (f"The {idle} other ports end in the loads of {prepared.loads.source}, each in its own.",)
    # the rows of a passive S have norms of at most 1, so Σ_k |S_ik Γ_k S_kj| is at most the largest |Γ|
    return (
        f"The {idle} other ports end in 50 ohm.",
        (
            "WARNING: without --loads they are taken for ideal. Ordinary loads (VSWR 1.1, |Γ| = "
            f"{ORDINARY_LOAD}) make S-parameters wrong by up to {ORDINARY_LOAD} "
            f"({decibels(ORDINARY_LOAD):.0f} dB) where coupling is strong; the result says by how much here."
        ),
    )


def uncertainty(prepared: Prepared, device: AssembledDevice, /) -> Known:
    """Combine what calibration, connections, loads and missing pairs leave uncertain."""
    assembly, loads = device.assembly, prepared.loads.uncertainty
    larmor = [group.frequency for group in prepared.character.nuclei]
    at = [int(np.argmin(np.abs(assembly.frequencies - frequency))) for frequency in larmor]
    of_loads = float(2.0 * np.nanmax(assembly.uncertainty(0.0, loads)[at]))
    of_noise = float(2.0 * np.nanmax(assembly.uncertainty(prepared.assembly.noise)[at]))
    parts = [prepared.corrections.leaves(), of_loads, of_noise]
    if assembly.missing:
        # what is not known of a load sends waves of the missing pairs back as well
        reflecting = (np.abs(assembly.loads) + loads).astype(np.complex128)
        parts.append(float(np.nanmax(replace(assembly, loads=reflecting).missing_error()[at])))
    return Known(float(np.sqrt(np.sum(np.square(parts)))), of_loads)


def _told_apart(device: AssembledDevice) -> float:
    """Return the difference from which on two reflections are told apart: 3 standard deviations."""
    return float(3.0 * np.sqrt(2.0) * device.noise)


def assembly_lines(
    prepared: Prepared, device: AssembledDevice, notices: Sequence[str], known: Known, /
) -> tuple[str, ...]:
    """Return how the measuring went, in sentences.

    Parameters
    ----------
    notices
        Suspicions that came up on the way; what the device still holds of them was left out.
    """
    cables = len(prepared.assembly.analyzer_ports)
    left_out = [str(suspicion) for suspicion in device.assembly.suspicions]
    settled = [notice for notice in dict.fromkeys(notices) if notice not in left_out]
    lines = [
        (
            f"{len(device.ports)} ports from {len(device.parts)} connections of {cables} cables: "
            f"{device.verdict}; every S-parameter within {known.total:.2g} (95 %, the worst at a Larmor "
            "frequency)."
        ),
        *(f"Suspicious: {text}; it was measured again." for text in settled),
        *(f"Suspicious: {text}; it was left out." for text in left_out),
        *(f"Ports {'-'.join(map(str, ports))} failed: {text}." for ports, text in device.failures),
    ]
    if prepared.loads.source == "ideal":
        lines.append(
            f"Loads were taken for ideal 50 ohm: |Γ| = {ORDINARY_LOAD} of each (VSWR 1.1) leaves up to "
            f"{known.loads:.2g} ({decibels(known.loads):.0f} dB) in an S-parameter, counted above; --loads "
            "takes it away."
        )
    if device.missing:
        lines.append(f"Not measured: ports {listed_pairs(device.missing)}.")
    if device.blind:
        lines.append(
            f"Cables exchanged between ports whose reflections differ by less than {_told_apart(device):.2g} "
            f"would not have been noticed: {listed_pairs(device.blind)}. Connections that repeat better "
            f"than {prepared.assembly.noise:g} (--repeatability) tell more of them apart."
        )
    return tuple(lines)


def assembly_values(
    prepared: Prepared, device: AssembledDevice, notices: Sequence[str], known: Known, /
) -> dict[str, Any]:
    """Return how the measuring went as plain values; parameters as `assembly_lines`."""
    return {
        "ports": list(device.ports),
        "connections": len(device.parts),
        "cables": len(prepared.assembly.analyzer_ports),
        "one_way": prepared.one_way,
        "verdict": str(device.verdict),
        "missing": [list(pair) for pair in device.missing],
        "suspicions_on_the_way": list(notices),
        "suspicions_left_out": [str(suspicion) for suspicion in device.assembly.suspicions],
        "failures": [{"ports": list(ports), "reason": text} for ports, text in device.failures],
        "indistinguishable": [list(pair) for pair in device.blind],
        "loads": prepared.loads.source,
        "loads_leave_linear": known.loads,
        "uncertainty_linear": known.total,
        "noise_between_connections_linear": device.noise,
    }
