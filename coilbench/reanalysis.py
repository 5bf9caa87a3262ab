"""An old run analysed by today's algorithms: the same numbers and the same page as when it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coilbench.array_plans import character_plan
from coilbench.base.errors import MeasurementError
from coilbench.base.events import Event, EventSink, ignore
from coilbench.base.verdict import Judged, Verdict, overall
from coilbench.phantom_run import judge_run
from coilbench.procedures.characterise import characterise_network
from coilbench.procedures.detuning import DetuningCheck
from coilbench.procedures.qc import control_quality
from coilbench.procedures.quantify import check_noise, quantify_scan
from coilbench.procedures.tune_plan import PortOutcome, TuneResult
from coilbench.run_report import Acquired, Measured, report_page, run_record, truths
from coilbench.run_trend import trend_sections
from coilbench.session import software, write_atomically
from coilbench.stored_run import open_run, read_scan
from coilbench.ultimate_snr import share_or_reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import skrf

    from coilbench.procedures.characterise import ArrayCharacter
    from coilbench.procedures.scan import Scanned
    from coilbench.stored_run import StoredRun


@dataclass(frozen=True, slots=True)
class Reanalysis:
    """A run analysed again.

    Parameters
    ----------
    run
        Where it is stored.
    measured
        Its numbers, by this version of the program.
    judged, truths
        What they are judged to be, and checks of them against each other.
    remarks
        What the stored data lack, and where this version decides otherwise than the record.
    """

    run: StoredRun
    measured: Measured
    judged: tuple[Judged, ...]
    truths: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Of everything that was judged."""
        return overall(self.judged)

    def values(self) -> dict[str, Any]:
        """Return the record that this version of the program would write, with remarks, as plain values."""
        record = run_record(self.measured, self.judged, self.truths, self.run.name)
        return {**record, "remarks": list(self.remarks)}


def reanalyse(folder: Path, on_event: EventSink = ignore, /) -> Reanalysis:
    """Compute everything of a finished run again, from its raw data and sweeps.

    Raises
    ------
    BenchFileError
        It is no run folder, or the run did not scan.
    MeasurementError
        The run did not finish, or its files are damaged.
    """
    run = open_run(folder)
    if not run.record:
        raise MeasurementError(
            f"{folder} has no record.json: the run did not finish. `coilbench recon` and `coilbench tsc` "
            "work on what it acquired"
        )
    scanned, remarks = read_scan(run, on_event)
    on_event(Event("step", "SNR and sodium concentration"))
    character = stored_character(run)
    group = next(one for one in character.nuclei if one.nucleus == run.file.scan.nucleus)
    quantified = quantify_scan(run.file, scanned)
    measured = Measured(
        acquired=_acquired(run, scanned, character),
        software=software(),
        noise=check_noise(run.file, scanned.noise, scanned.noise_bandwidth, group.s),
        quantified=quantified,
        quality=control_quality(run.file, scanned, quantified.tsc.sensitivities),
        ultimate=share_or_reason(run.file, scanned, quantified)[0],
    )
    judged = judge_run(measured)
    return Reanalysis(run, measured, judged, truths(measured), (*remarks, *_differences(run.record, judged)))


def rewrite_report(again: Reanalysis, out: Path | None = None, /) -> Path:
    """Write the report of a run analysed again, by default over the one in its folder; return its path.

    The record stays as it was: it is what was said when the run was made.

    Raises
    ------
    StorageError
        The disk refused.
    """
    trend = trend_sections(again.run.folder, again.measured, again.judged)
    lines = (*again.truths, *again.remarks)
    page = report_page(again.measured, again.judged, lines, again.run.name, trend=trend)
    return write_atomically(out or again.run.folder / "report.html", page)


def stored_character(run: StoredRun, /) -> ArrayCharacter:
    """Return the array of a run as it was characterised.

    Raises
    ------
    MeasurementError
        The folder holds no sweep of it.
    """
    return characterise_network(_sweep(run, "coil"), character_plan(run.file))


def _acquired(run: StoredRun, scanned: Scanned, character: ArrayCharacter) -> Acquired:
    try:
        tuning: Mapping[str, Any] = run.record["tuning"]
        tuned = TuneResult(
            before=_sweep(run, "before"),
            after=_sweep(run, "after"),
            ports=tuple(PortOutcome(**row) for row in tuning["ports"]),
            sweeps=int(tuning["sweeps"]),
            moves=int(tuning["moves"]),
            positions=dict(tuning["positions_steps"]),
            failed_sweeps=int(tuning["failed_sweeps"]),
        )
        detuning = DetuningCheck(**run.record["detuning"])
        identities = {str(name): str(said) for name, said in run.record["instruments"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MeasurementError(
            f"{run.folder / 'record.json'} lacks what a report needs ({type(error).__name__}: {error}); "
            "another version of the program wrote it, or it was changed"
        ) from error
    return Acquired(
        file=run.file,
        started=run.started,
        identities=identities,
        tuned=tuned,
        character=character,
        scanned=scanned,
        detuning=detuning,
    )


def _sweep(run: StoredRun, name: str) -> skrf.Network:
    network = run.touchstone(name)
    if network is None:
        raise MeasurementError(f"{run.folder} holds no sweep {name}.sNp: it was deleted, or never made")
    return network


def _differences(record: Mapping[str, Any], judged: tuple[Judged, ...]) -> list[str]:
    """Return where this version of the program decides otherwise than the one that made the record."""
    listed = record.get("judged")
    before = {
        str(row.get("name")): row.get("verdict")
        for row in (listed if isinstance(listed, list) else ())
        if isinstance(row, dict)
    }
    return [
        f"The record says {before[one.name]} of the {one.name}, this version {one.verdict}."
        for one in judged
        if one.name in before and before[one.name] != one.verdict
    ]
