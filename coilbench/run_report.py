"""What a run's record and report say, from what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coilbench.base.units import engineering
from coilbench.base.verdict import overall
from coilbench.report.array_sections import array_values, scattering_section, tuning_section, tuning_values
from coilbench.report.page import Page, render
from coilbench.report.quality_section import quality_section
from coilbench.report.scan_sections import image_section, noise_section, sodium_section
from coilbench.run_quantities import quantities_of_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from coilbench.base.verdict import Judged
    from coilbench.bench_file import BenchFile
    from coilbench.procedures.characterise import ArrayCharacter
    from coilbench.procedures.detuning import DetuningCheck
    from coilbench.procedures.qc import QualityControl
    from coilbench.procedures.quantify import NoiseCheck, Quantified
    from coilbench.procedures.scan import Scanned
    from coilbench.procedures.tune import TuneResult
    from coilbench.report.page import Section
    from coilbench.ultimate_snr import UltimateShare


@dataclass(frozen=True, slots=True)
class Acquired:
    """Everything that a run took from the instruments.

    Parameters
    ----------
    file
        The bench file.
    started
        UTC.
    identities
        What the instruments say they are.
    tuned, character, scanned, detuning
        Results of the procedures, in their order.
    """

    file: BenchFile
    started: datetime
    identities: Mapping[str, str]
    tuned: TuneResult
    character: ArrayCharacter
    scanned: Scanned
    detuning: DetuningCheck


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that a run measured.

    Parameters
    ----------
    acquired
        From the instruments.
    software
        Versions that decide the numbers.
    noise, quantified, quality
        Derived from it.
    ultimate
        The centre's SNR beside the most that physics allows; None where the bench file does not say enough.
    """

    acquired: Acquired
    software: Mapping[str, str]
    noise: NoiseCheck
    quantified: Quantified
    quality: QualityControl
    ultimate: UltimateShare | None

    @property
    def file(self) -> BenchFile:
        """The bench file."""
        return self.acquired.file

    @property
    def tuned(self) -> TuneResult:
        """How tuning went."""
        return self.acquired.tuned

    @property
    def character(self) -> ArrayCharacter:
        """The array as tuned."""
        return self.acquired.character

    @property
    def scanned(self) -> Scanned:
        """Noise and images."""
        return self.acquired.scanned

    @property
    def detuning(self) -> DetuningCheck:
        """One channel detuned."""
        return self.acquired.detuning


def truths(measured: Measured, /) -> tuple[str, ...]:
    """Return the checks of the run's numbers against each other, one line each."""
    worst = max(measured.tuned.ports, key=lambda port: port.after_db)
    comparison, detuning = measured.noise.comparison, measured.detuning
    quantified = measured.quantified
    truth = _true_concentrations(measured.file)
    inside = [
        v for v in quantified.tsc.vials if v.name in truth and v.interval[0] <= truth[v.name] <= v.interval[1]
    ]
    sodium = ", ".join(
        f"{vial.name} {vial.concentration:.1f} ± {vial.expanded_uncertainty:.1f} (true {truth[vial.name]:g})"
        for vial in quantified.tsc.vials
        if vial.name in truth
    )
    return (
        (
            f"Tuning: worst of {len(measured.tuned.ports)} ports {worst.after_db:.1f} dB (port {worst.port}) "
            f"after {measured.tuned.sweeps} sweeps and {measured.tuned.moves} moves."
        ),
        (
            "Noise covariance, receivers against kTB(I - SSᴴ) + preamplifiers: chi-square "
            f"{comparison.chi_square:.1f} for {comparison.degrees_of_freedom} degrees of freedom "
            f"(p = {comparison.probability:.3f}), power ratios {comparison.power_ratio.min():.4f} to "
            f"{comparison.power_ratio.max():.4f}."
        ),
        _snr_line(quantified),
        (
            f"Channel {detuning.channel} detuned by {100 * detuning.shift:.2f} %: its SNR falls to "
            f"{detuning.measured:.4f} ± {2 * detuning.uncertainty:.4f} (95 %) of what it was; S predicts "
            f"{detuning.predicted:.4f}."
        ),
        (f"Sodium: {len(inside)} of {len(truth)} check vials within their 95 % interval: {sodium} mmol/L."),
    )


def _snr_line(quantified: Quantified) -> str:
    """Return the background's SNR by prediction, by pseudo-replica, and from two scans if there are two."""
    stated, said = quantified.background_snr, []
    for found, how in (
        (quantified.pseudo_replica, "by pseudo-replica"),
        (quantified.repeated_scans, "from two scans"),
    ):
        if found is not None:
            snr = found.snr(stated)
            said.append(f"{snr.value:.3f} ± {2 * snr.uncertainty:.3f} {how}")
    return (
        f"SNR of the background {stated.value:.3f} ± {2 * stated.uncertainty:.3f} in SNR units; "
        f"{'; '.join(said)} (± 95 %)."
    )


def _true_concentrations(file: BenchFile) -> dict[str, float]:
    return {vial.name: vial.concentration_mmol_l for vial in file.phantom.vials if vial.role == "check"}


def run_record(
    measured: Measured, judged: tuple[Judged, ...], checks: tuple[str, ...], run: str, /
) -> dict[str, Any]:
    """Return the run as plain values with units in their names."""
    file, tuned, scanned, quantified = measured.file, measured.tuned, measured.scanned, measured.quantified
    noise, tsc = scanned.noise, quantified.tsc
    return {
        "run": run,
        "verdict": str(overall(judged)),
        "judged": list(judged),
        "truths": list(checks),
        "quantities": list(quantities_of_run(measured, judged)),
        "started_utc": measured.acquired.started.isoformat(timespec="seconds"),
        "bench": file.name,
        "array": file.array.serial_number,
        "b0_t": file.b0,
        "larmor_frequencies_hz": {name: file.larmor_frequency(name) for name in file.array.nuclei},
        "instruments": dict(measured.acquired.identities),
        "software": dict(measured.software),
        "tuning": tuning_values(tuned),
        "array_characterised": array_values(measured.character),
        "scan": {
            "nucleus": file.scan.nucleus,
            "transmit_frequency_hz": scanned.plan.transmit_frequency,
            "dwell_time_s": scanned.dwell_time,
            "noise_bandwidth_hz": scanned.noise_bandwidth,
            "echo_time_s": scanned.readout.echo_time,
            "spokes": scanned.plan.spokes,
            "acquisitions": scanned.acquisitions,
            "flagged_spokes": scanned.flagged,
        },
        "noise": {
            "covariance_v2": noise.covariance,
            "predicted_covariance_v2": measured.noise.predicted,
            "bandwidth_ratio": noise.bandwidth_ratio,
            "effective_samples": noise.effective_samples,
            "largest_correlation": noise.largest_correlation,
            "mean_correlation": noise.mean_correlation,
            "chi_square": measured.noise.comparison.chi_square,
            "degrees_of_freedom": measured.noise.comparison.degrees_of_freedom,
            "probability": measured.noise.comparison.probability,
            "power_ratio": measured.noise.comparison.power_ratio,
        },
        "snr": {
            "convention": "real-sd",
            "background": quantified.background_snr.plain(),
            "channels": [snr.plain() for snr in quantified.channel_snr],
            "ultimate": None if measured.ultimate is None else measured.ultimate.values(),
            "pseudo_replica_noise_ratio": quantified.pseudo_replica,
            "repeated_scans_noise_ratio": quantified.repeated_scans,
        },
        "detuning": measured.detuning,
        "sodium": {
            "vials": list(tsc.vials),
            "true_concentration_mmol_l": _true_concentrations(file),
            "regression": tsc.regression,
            "background_mmol_l": tsc.background,
            "unevenness": tsc.unevenness,
            "fit_residual": tsc.fit_residual,
        },
    }


def report_page(
    measured: Measured,
    judged: tuple[Judged, ...],
    checks: tuple[str, ...],
    run: str,
    /,
    *,
    trend: Sequence[Section] = (),
) -> str:
    """Return the report as one HTML document.

    Parameters
    ----------
    measured, judged, checks
        What is said.
    run
        Its name.
    trend
        Chapters on how its quantities went so far (``run_trend.trend_sections``).
    """
    file = measured.file
    frequencies = ", ".join(
        f"{name} {engineering(file.larmor_frequency(name), 'Hz', digits=6)}" for name in file.array.nuclei
    )
    instruments = enumerate(measured.acquired.identities.items(), start=1)
    facts = (
        ("run", run),
        ("started", measured.acquired.started.strftime("%Y-%m-%d %H:%M UTC")),
        ("array", f"{file.array.serial_number}, {file.array.channels} channels"),
        ("field", f"{file.b0:g} T: {frequencies}"),
        ("phantom", file.phantom.name),
        ("scan", _scan_line(measured)),
        *((f"instrument {number}", f"{identity}, {name}") for number, (name, identity) in instruments),
        ("software", ", ".join(f"{name} {version}" for name, version in measured.software.items())),
    )
    sections = (
        tuning_section(measured.tuned, measured.character, measured.file.limits.s11_db),
        scattering_section(measured.character),
        noise_section(measured.scanned.noise, measured.noise, measured.quantified.channel_snr),
        image_section(
            measured.quantified, measured.scanned.images[0], file.phantom.radius, measured.ultimate
        ),
        sodium_section(file, measured.scanned, measured.quantified.tsc),
        quality_section(measured.quality, None),
        *trend,
    )
    return render(Page(f"coilbench: {file.name}", facts, overall(judged), judged, checks, sections))


def _scan_line(measured: Measured) -> str:
    """Return the scan in one line, as really played and received."""
    scan, plan, readout = measured.file.scan, measured.scanned.plan, measured.scanned.readout
    return (
        f"{scan.nucleus} density-adapted 3D radial, {plan.spokes} spokes × {scan.repetitions}, "
        f"TE {readout.echo_time * 1e3:.3f} ms, TR {plan.repetition_time * 1e3:g} ms, "
        f"{np.degrees(plan.flip_angle):.0f}°, readout {plan.readout_duration * 1e3:g} ms at "
        f"{1e-3 / measured.scanned.dwell_time:.1f} kHz, {plan.matrix}³ voxels of "
        f"{1e3 * plan.fov / plan.matrix:g} mm, "
        f"{engineering(plan.transmit_frequency, 'Hz', digits=8)}"
    )
