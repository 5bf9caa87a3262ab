"""The whole loop on one bench: tune, characterise, scan, quantify, judge, report."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from coilbench.array_plans import character_plan, tune_plan
from coilbench.base.events import Event
from coilbench.base.verdict import Judged, judge
from coilbench.bench import open_bench, safe_actions
from coilbench.bench_file import read_bench_file
from coilbench.coil_record import coil_record, nucleus_record
from coilbench.coil_store import keep_record
from coilbench.guardian import Guardian
from coilbench.outcome import Outcome
from coilbench.procedures.characterise import characterise
from coilbench.procedures.detuning import check_detuning
from coilbench.procedures.qc import control_quality, keep_quality
from coilbench.procedures.quantify import check_noise, judge_noise, judge_vials, quantify_scan
from coilbench.procedures.scan import scan_phantom, scan_plan
from coilbench.procedures.tune import nucleus_ports, tune
from coilbench.run_report import Acquired, Measured, report_page, run_record, truths
from coilbench.run_trend import trend_sections
from coilbench.session import run_folder, software, stop_signals, storing, write_atomically
from coilbench.ultimate_snr import share_or_reason
from coils.quality import worst_of_each
from drivers.protocols import Abort, never
from recon.nifti import write_nifti

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.base.events import EventSink
    from coilbench.bench import Bench
    from coilbench.session import RunFolder
    from coils.quality import CoilRecord

#: Seconds of silence after which the guardian takes the run for hung; gridding alone may take one.
_SILENCE: Final = 3.0


def run_bench_file(path: Path, runs: Path, watcher: EventSink, /) -> Outcome:
    """Run the whole loop on the instruments of a bench file.

    Parameters
    ----------
    path
        Bench file.
    runs
        Where the run folder is made.
    watcher
        Receives every event.

    Raises
    ------
    CoilbenchError
        The run could not be finished. Outputs are off, and what was acquired is in the run folder.
    """
    file = read_bench_file(path)
    scan_plan(file)  # a scan that cannot be played is known before anything moves
    with stop_signals(), run_folder(runs, file.name, watcher) as folder:
        with storing(folder.path / "bench.toml"):
            shutil.copyfile(path, folder.path / "bench.toml")
        watch = Guardian(safe_actions(file), folder.path / "guardian.jsonl", timeout=_SILENCE)
        with watch as guardian:
            folder.emit(Event("step", "Open instruments"))
            with open_bench(file) as bench:
                for instrument in bench.instruments:
                    folder.emit(Event("instrument", f"{instrument.name}: {instrument.identity}"))
                acquired = acquire(bench, folder, abort=lambda: guardian.is_lost)
        return conclude(quantify(acquired, folder), folder)


def acquire(bench: Bench, folder: RunFolder, /, *, abort: Abort = never) -> Acquired:
    """Tune, characterise and scan with open instruments.

    Parameters
    ----------
    bench
        Open instruments.
    folder
        Receives events, Touchstone and raw data.
    abort
        Asked again and again; the run ends when it answers True, such as when its guardian is gone.
    """
    file, emit = bench.file, folder.emit
    started = datetime.now(UTC)
    groups = nucleus_ports(file)
    scanned_group = next(group for group in groups if group.nucleus == file.scan.nucleus)

    emit(Event("step", "Tune and match"))
    tuned = tune(bench.analyzer, bench.tuner, tune_plan(file), emit=emit, abort=abort)
    for name, network in (("before", tuned.before), ("after", tuned.after)):
        with storing(folder.path / name):
            network.write_touchstone(name, dir=str(folder.path))

    emit(Event("step", "Characterise the array"))
    character = characterise(
        bench.analyzer,
        character_plan(file),
        emit=emit,
        abort=abort,
    )
    scanned = scan_phantom(bench, folder.path, on_event=emit, abort=abort)
    emit(Event("step", "Detune channel 1 by 1 %"))
    detuning = check_detuning(bench, scanned_group, 1, emit=emit, abort=abort)
    return Acquired(
        file=file,
        started=started,
        identities={instrument.name: instrument.identity for instrument in bench.instruments},
        tuned=tuned,
        character=character,
        scanned=scanned,
        detuning=detuning,
    )


def quantify(acquired: Acquired, folder: RunFolder, /) -> Measured:
    """Derive noise agreement, SNR and concentrations; needs no instrument any more."""
    folder.emit(Event("step", "SNR and sodium concentration"))
    file, scanned = acquired.file, acquired.scanned
    receiving = next(group for group in acquired.character.nuclei if group.nucleus == file.scan.nucleus)
    quantified = quantify_scan(file, scanned)
    return Measured(
        acquired=acquired,
        software=software(),
        noise=check_noise(file, scanned.noise, scanned.noise_bandwidth, receiving.s),
        quantified=quantified,
        quality=control_quality(file, scanned, quantified.tsc.sensitivities),
        ultimate=share_or_reason(file, scanned, quantified)[0],
    )


def conclude(measured: Measured, folder: RunFolder, /) -> Outcome:
    """Judge, write images, report and record, and return the outcome."""
    folder.emit(Event("step", "Write images, report and record"))
    judged = judge_run(measured)
    checks = truths(measured)
    outcome = Outcome(folder.path, judged, checks)
    grid = measured.scanned.images[0].grid
    quantified = measured.quantified
    for name, image, unit in (
        ("image.nii.gz", quantified.snr.values, "SNR (real-part sigma)"),
        ("tsc.nii.gz", quantified.tsc.concentration, "Na mmol/L"),
        ("tsc_u_noise.nii.gz", quantified.tsc.noise, "standard uncertainty of Na by noise, mmol/L"),
        ("tsc_u_systematic.nii.gz", quantified.tsc.systematic, "systematic uncertainty of Na, mmol/L"),
    ):
        with storing(folder.path / name):
            write_nifti(folder.path / name, image, grid, description=unit)
    trend = trend_sections(folder.path, measured, judged)
    page = report_page(measured, judged, checks, folder.path.name, trend=trend)
    write_atomically(outcome.report, page)
    keep_quality(folder.path, measured.quality)
    keep_record(folder.path, _coil_record(measured, folder.path.name), measured.character.network)
    folder.finish(run_record(measured, judged, checks, folder.path.name))
    return outcome


def _coil_record(measured: Measured, run: str) -> CoilRecord:
    """Return what this run says of the coil itself: phantom and image stay out of its passport."""
    character = measured.character
    return coil_record(
        measured.file,
        tuple(nucleus_record(group) for group in character.nuclei),
        worst_of_each(character.judgements),
        run=run,
        kind="run",
        measured=measured.acquired.started,
        s_uncertainty=character_plan(measured.file).uncertainty,
    )


def judge_run(measured: Measured, /) -> tuple[Judged, ...]:
    """Judge what a physicist signs: matching, coupling, noise, SNR, and every check vial."""
    file, quantified = measured.file, measured.quantified
    limits = file.limits
    noise = measured.scanned.noise
    return (
        *worst_of_each(measured.character.judgements),
        *judge_noise(
            noise, measured.noise, correlation=limits.noise_correlation, level_db=limits.noise_level_db
        ),
        judge("spokes clipped or incomplete", measured.scanned.flagged, "", at_most=0),
        judge(
            "SNR of the background, median",
            quantified.background_snr.value,
            "",
            uncertainty=2.0 * quantified.background_snr.uncertainty,
            at_least=limits.snr_minimum,
        ),
        *judge_vials(file, quantified.tsc.vials),
        *measured.quality.judged,
    )
