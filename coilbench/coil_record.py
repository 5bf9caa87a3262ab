"""From what a run measured to the record of a coil: what is kept, judged and compared years later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coils.quality import CoilRecord, NucleusRecord, PortResonance, Reading, worst_of_each
from coils.quality.record import as_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from coilbench.base.verdict import Judged
    from coilbench.bench_file import BenchFile
    from coilbench.procedures.characterise import ArrayCharacter, NucleusCharacter
    from coils.quality import Calibration, Loading
    from coils.resonance import Resonance


def judge_character(character: ArrayCharacter, /) -> tuple[Judged, ...]:
    """Return the worst reflection, coupling and isolation of a characterised array with their verdicts."""
    return worst_of_each(character.judgements)


def coil_record(
    file: BenchFile,
    nuclei: tuple[NucleusRecord, ...],
    judged: tuple[Judged, ...],
    *,
    run: str,
    kind: str,
    measured: datetime,
    s_uncertainty: float,
    calibration: Calibration | None = None,
) -> CoilRecord:
    """Return the record of one run on the array of a bench file.

    Parameters
    ----------
    nuclei, judged
        What was measured, and its verdicts.
    run, kind
        Name of the run folder, and what was done, such as ``"tune"``.
    measured
        UTC.
    s_uncertainty
        Expanded uncertainty (95 %) of each |S|, linear.
    calibration
        None where the analyzer's own is not known here.
    """
    return CoilRecord(
        serial_number=file.array.serial_number,
        run=run,
        kind=kind,
        measured=measured,
        field=file.b0,
        load=file.phantom.name,
        temperature=file.array.temperature,
        s_uncertainty=s_uncertainty,
        calibration=calibration,
        nuclei=nuclei,
        judged=judged,
    )


def nucleus_record(group: NucleusCharacter, /) -> NucleusRecord:
    """Return what a characterised array's record holds of one nucleus."""
    return NucleusRecord(
        nucleus=group.nucleus,
        frequency=group.frequency,
        ports=group.ports,
        scattering=as_matrix(group.s),
        isolation=tuple(float(size) for size in group.isolation),
        resonances=tuple(None if fit is None else _port_resonance(fit) for fit in group.resonances),
        refusals=group.refusals,
        noise_correlation=as_matrix(group.noise_correlation),
        snr_factor=tuple(float(factor) for factor in group.snr_factor),
    )


def expected_share(
    file: BenchFile, record: NucleusRecord, loadings: Sequence[Loading | None], /
) -> Reading | None:
    """Return the SNR to expect at the phantom's middle over the ultimate one; None where too little is known.

    Parameters
    ----------
    record
        With each port's SNR factor from S.
    loadings
        Q without and with the phantom, channel by channel; all of them are needed.
    """
    phantom = file.phantom
    known = [loading.ratio for loading in loadings if loading is not None]
    if phantom.conductivity is None or len(known) < len(loadings) or len(known) < 2:
        return None
    from coilbench.array_geometry import loops_of
    from coils.magnetics.samples import Sphere
    from coils.quality.expected import share_of_ultimate

    loops = loops_of(file)
    if loops is None or len(loops) != len(known):
        return None
    sphere = Sphere(phantom.radius, phantom.conductivity, phantom.permittivity)
    return share_of_ultimate(loops, sphere, record.frequency, known, record.snr_factor)


def _port_resonance(fit: Resonance) -> PortResonance:
    """Return a fitted resonance with expanded uncertainties (k = 2)."""
    spread = fit.uncertainty
    return PortResonance(
        frequency=Reading(fit.frequency, 2.0 * spread.frequency),
        q_loaded=Reading(fit.q_loaded, 2.0 * spread.q_loaded),
        q_unloaded=Reading(fit.q_unloaded, 2.0 * spread.q_unloaded),
        coupling=Reading(fit.coupling, 2.0 * spread.coupling),
    )
