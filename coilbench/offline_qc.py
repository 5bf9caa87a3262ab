"""Quality control of a stored run against the baseline of its coil, and what a report shows of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from coilbench.base.errors import CoilbenchError, MeasurementError
from coilbench.base.events import Event, EventSink, ignore
from coilbench.cross_nucleus_check import check_cross_nucleus
from coilbench.procedures.qc import control_quality, keep_quality, read_quality
from coilbench.procedures.quantify import quantify_scan
from coilbench.quantities import quantities_of_judged
from coilbench.stored_run import is_run, open_run, read_scan

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from coilbench.base.verdict import Judged, Verdict
    from coilbench.procedures.qc import QualityBaseline, QualityControl
    from coilbench.stored_run import StoredRun


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Quality control of a run.

    Parameters
    ----------
    run
        Where it is stored.
    quality
        What was found.
    baseline
        Name of the run it was held against; None where there was none.
    kept
        The file it was kept in.
    remarks
        What the stored data lack, and how the baseline was chosen.
    """

    run: StoredRun
    quality: QualityControl
    baseline: str | None
    kept: Path
    remarks: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Of quality control."""
        return self.quality.verdict

    @property
    def judged(self) -> tuple[Judged, ...]:
        """What had a limit."""
        return self.quality.judged

    def figure(self) -> Figure:
        """Return the picture of each channel's noise and signal."""
        from coilbench.report.quality_section import channel_levels_figure

        return channel_levels_figure(self.quality.fingerprint)

    def lines(self) -> tuple[str, ...]:
        """Return what stands under the table: faulty channels first."""
        return (*self.quality.statements, *self.remarks, f"Kept in {self.kept}")

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "run": self.run.name,
            "baseline": self.baseline,
            "judged": list(self.quality.judged),
            **self.quality.plain(),
            "kept": str(self.kept),
            "notes": "; ".join(self.remarks),
        }


def quality_report(
    path: Path,
    baseline: Path | None = None,
    on_event: EventSink = ignore,
    /,
    *,
    other_ports: Path | None = None,
) -> QualityReport:
    """Control the quality of a run and keep the result in its folder.

    Parameters
    ----------
    path
        Run folder.
    baseline
        Run folder to compare with; None: the oldest run of the same coil and phantom beside it.
    other_ports
        Run folder with the other nucleus's ports in another state (``check_cross_nucleus``).

    Raises
    ------
    BenchFileError
        One of them is no run folder.
    MeasurementError
        No repetition of the scan is whole, or the baseline is of another coil.
    StorageError
        The disk refused.
    """
    run = open_run(path)
    before, remark = (
        oldest_baseline(run) if baseline is None else (read_quality(open_run(baseline).folder), "")
    )
    scanned, remarks = read_scan(run, on_event)
    on_event(Event("step", "Quality control"))
    sensitivities = quantify_scan(run.file, scanned).tsc.sensitivities
    quality = control_quality(run.file, scanned, sensitivities, baseline=before)
    cross = check_cross_nucleus(run, quality.fingerprint, other_ports)
    quality = replace(
        quality,
        quantities=(
            *quality.quantities,
            *cross.quantities,
            *quantities_of_judged(
                cross.judged, algorithm="quality control", version=f"1, {run.file.qc.name}"
            ),
        ),
        judged=(*quality.judged, *cross.judged),
        statements=(*quality.statements, *cross.statements),
    )
    kept = keep_quality(run.folder, quality)
    return QualityReport(
        run, quality, None if before is None else before.run, kept, (*remarks, *((remark,) if remark else ()))
    )


def oldest_baseline(run: StoredRun, /) -> tuple[QualityBaseline | None, str]:
    """Return the quality control of the oldest run of the same coil and phantom beside a run, and say so."""
    for folder in sorted(run.folder.resolve().parent.iterdir()):
        if folder.name == run.folder.resolve().name or not is_run(folder):
            continue
        try:
            other = open_run(folder)
            if (
                other.file.array.serial_number == run.file.array.serial_number
                and other.file.phantom.name == run.file.phantom.name
                and other.file.scan.matrix == run.file.scan.matrix
                and other.started < run.started
            ):
                return read_quality(folder), f"Baseline: {folder.name}, the oldest run of this coil"
        except (CoilbenchError, MeasurementError):
            continue  # a run that cannot be read is no baseline; an explicit one says why
    return None, ""
