"""Sodium concentrations of a stored run: table, budget, maps; today's algorithm on the raw data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.base.events import Event, EventSink, ignore
from coilbench.base.verdict import Judged, Verdict, overall
from coilbench.export.dicom import (
    SODIUM,
    SODIUM_NOISE,
    SODIUM_SYSTEMATIC,
    PhantomStudy,
    phantom_name,
    write_parametric_map,
)
from coilbench.image_snr import is_image
from coilbench.procedures.quantify import judge_vials, quantify_scan
from coilbench.report.scan_sections import sodium_section
from coilbench.session import software, storing
from coilbench.stored_run import is_run, open_run, read_scan
from recon.nifti import write_nifti
from recon.tsc.quantification import NOT_MEASURED

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.procedures.quantify import Quantified
    from coilbench.procedures.scan import Scanned
    from coilbench.report.page import Section
    from coilbench.stored_run import StoredRun


@dataclass(frozen=True, slots=True)
class SodiumReport:
    """What a run says of its phantom's sodium.

    Parameters
    ----------
    run
        Where it is stored.
    scanned, quantified
        From its raw data.
    judged
        Check vials against the bench file's limit.
    remarks
        What the stored data lack.
    """

    run: StoredRun
    scanned: Scanned
    quantified: Quantified
    judged: tuple[Judged, ...]
    remarks: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Of the check vials."""
        return overall(self.judged)

    def section(self) -> Section:
        """Return concentrations, line, maps and budget as a report's chapter."""
        return sodium_section(self.run.file, self.scanned, self.quantified.tsc)

    def lines(self) -> tuple[str, ...]:
        """Return what stands under the table: line, rejected references, budget, what is not measured."""
        line = self.quantified.tsc.regression
        budgets = (
            f"{vial.name}: u {vial.uncertainty:.2f} by GUM, {vial.monte_carlo_uncertainty:.2f} by Monte "
            f"Carlo (noise {vial.noise_uncertainty:.2f}, systematic {vial.systematic_uncertainty:.2f}): "
            + ", ".join(f"{cause} {part:.2f}" for cause, part in vial.contributions[:4])
            for vial in self.quantified.tsc.vials
        )
        return (
            (
                f"Slope {line.slope:.5f} ± {2 * line.slope_uncertainty:.5f} L/mmol; a free intercept would "
                f"be {line.intercept:.4f} ± {2 * line.intercept_uncertainty:.4f} (95 %); lack of fit p = "
                f"{line.lack_of_fit_probability:.3f}."
            ),
            *(f"{name} is left out of the line: {reason}" for name, reason in line.rejected),
            *budgets,
            *self.remarks,
            NOT_MEASURED,
        )

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values with units in their names."""
        tsc = self.quantified.tsc
        return {
            "run": self.run.name,
            "verdict": str(self.verdict),
            "judged": list(self.judged),
            "vials": tsc.as_rows(),
            "regression": tsc.regression,
            "background_mmol_l": tsc.background,
            "unevenness": tsc.unevenness,
            "fit_residual": tsc.fit_residual,
            "not_measured": NOT_MEASURED,
            "software": software(),
            "notes": "; ".join(self.remarks),
        }

    def write_maps(self, out: Path | None = None, /, *, dicom: bool = False) -> tuple[Path, ...]:
        """Write concentration and both uncertainties as NIfTI, and as DICOM if asked; return the files.

        Parameters
        ----------
        out
            Folder; by default ``tsc`` in the run folder.
        dicom
            Also as parametric maps in mmol/L.

        Raises
        ------
        StorageError
            The disk refused.
        """
        target = out or self.run.folder / "tsc"
        with storing(target):
            target.mkdir(parents=True, exist_ok=True)
        tsc, grid, file = self.quantified.tsc, self.scanned.images[0].grid, self.run.file
        study = PhantomStudy(
            phantom_name(file.phantom.name),
            self.run.name,
            self.run.started,
            file.array.serial_number,
            software()["coilbench"],
        )
        written: list[Path] = []
        for number, (name, values, quantity) in enumerate(
            (
                ("tsc", tsc.concentration, SODIUM),
                ("tsc_u_noise", tsc.noise, SODIUM_NOISE),
                ("tsc_u_systematic", tsc.systematic, SODIUM_SYSTEMATIC),
            ),
            start=1,
        ):
            written.append(target / f"{name}.nii.gz")
            with storing(written[-1]):
                write_nifti(written[-1], values, grid, description=f"{quantity.explanation}, {quantity.unit}")
            if dicom:
                written.append(target / f"{name}.dcm")
                write_parametric_map(written[-1], values, grid, quantity, study, series_number=number)
        return tuple(written)


def sodium_report(path: Path, on_event: EventSink = ignore, /) -> SodiumReport:
    """Quantify the sodium of a run folder, finished or not.

    Raises
    ------
    BenchFileError
        It is no run folder.
    MeasurementError
        No repetition of the scan is whole, or the phantom cannot be quantified.
    """
    if not path.exists():
        raise BenchFileError(f"there is no file or folder {path}")
    if not is_run(path):
        what = (
            "an image holds neither the channels' noise nor the readout's timing, on which the "
            "concentration and its uncertainty rest"
            if is_image(path)
            else "raw data alone do not say which phantom was scanned, and how"
        )
        raise BenchFileError(
            f"{path}: {what}; give a run folder (with bench.toml and raw.mrd), as `coilbench run` makes it"
        )
    run = open_run(path)
    scanned, remarks = read_scan(run, on_event)
    on_event(Event("step", "SNR and sodium concentration"))
    try:
        quantified = quantify_scan(run.file, scanned)
    except MeasurementError as error:
        for remark in remarks:
            error.add_note(remark)
        raise
    return SodiumReport(run, scanned, quantified, judge_vials(run.file, quantified.tsc.vials), remarks)
