"""Commands on files: reconstruct, state SNR, fit Q. Ours and foreign data alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from coilbench.base.errors import BenchFileError, CoilbenchError, MeasurementError
from coilbench.base.events import Event
from coilbench.export.dicom import ARBITRARY, SNR, PhantomStudy, write_parametric_map
from coilbench.image_snr import is_image, read_images, snr_of_images
from coilbench.run_snr import snr_of_run
from coilbench.scan_file import read_scan_file
from coilbench.session import software, storing
from coilbench.stored_run import is_run
from coils.resonance import fit_trace, read_trace, rules_of_thumb
from recon.foreign import OBJECT_THRESHOLD, snr_of_dataset
from recon.nifti import write_nifti
from recon.recipe import Recipe, reconstruct_by

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from coilbench.base.events import EventSink
    from recon.foreign import Reconstruction


@dataclass(frozen=True, slots=True)
class Image:
    """A reconstructed scan and what was written of it.

    Parameters
    ----------
    result
        The reconstruction.
    files
        NIfTI, and DICOM if asked for.
    notes
        What had to be assumed.
    """

    result: Reconstruction
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def unit(self) -> str:
        """Of the values."""
        return "SNR units (real-part sigma)" if self.result.in_snr_units else "arbitrary units"

    def figure(self) -> Figure:
        """Return the picture of its slices."""
        from coilbench.report.scan_figures import slices_figure

        grid, image = self.result.grid, self.result.image
        title = "SNR" if self.result.in_snr_units else "magnitude"
        return slices_figure(
            image, grid.spacing[2], 0.43 * grid.field_of_view[2], title, "", float(image.max())
        )

    def values(self) -> dict[str, Any]:
        """Return a summary of plain values."""
        result = self.result
        return {
            "name": result.name,
            "image": str(self.files[0]),
            "files": [str(file) for file in self.files],
            "channels": result.channels,
            "matrix_z_y_x": list(result.grid.shape),
            "voxel_mm_z_y_x": [1e3 * size for size in result.grid.spacing],
            "unit": self.unit,
            "maximum": float(result.image.max()),
            "density_weights": result.density,
            "notes": "; ".join(self.notes),
        }


def reconstruct(
    path: Path,
    out: Path | None,
    on_event: EventSink,
    /,
    *,
    recipe: Recipe | None = None,
    phantom: str | None = None,
) -> Image:
    """Reconstruct ``path`` into a NIfTI file, and a DICOM file if a phantom is named.

    Parameters
    ----------
    path
        Run folder, MRD stream or HDF5, ``.npz`` or ``.mat``.
    out
        Where the image goes; by default beside the current folder, named after the data.
    recipe
        How; by default gridding.
    phantom
        Patient's name of the DICOM file, ``PHANTOM^...``; None: no DICOM.

    Raises
    ------
    BenchFileError, MeasurementError
        The file is missing, of no supported kind, or holds nothing to reconstruct.
    """
    if is_image(path):
        raise MeasurementError(f"{path} is an image already; `coilbench recon` takes raw data")
    remarks: list[str] = []
    dataset = read_scan_file(path, remarks)
    chosen = recipe or Recipe()
    on_event(Event("step", f"Reconstruct {dataset.channels} channels by {chosen.method}"))
    result = reconstruct_by(chosen, dataset)
    files = [out or _beside(path)]
    image = Image(result, (), ())
    with storing(files[0]):
        write_nifti(files[0], result.image, result.grid, description=image.unit)
    if phantom is not None:
        files.append(files[0].with_name(files[0].name.removesuffix(".gz").removesuffix(".nii") + ".dcm"))
        study = PhantomStudy(phantom, result.name, _when(path), software=software()["coilbench"])
        quantity = SNR if result.in_snr_units else ARBITRARY
        write_parametric_map(files[1], result.image, result.grid, quantity, study)
    return Image(result, tuple(files), (*remarks, *result.notes))


def signal_to_noise(path: Path, on_event: EventSink, /, *, plot: Path | None = None) -> dict[str, Any]:
    """Return noise and SNR of ``path`` as a summary of plain values; draw its map into ``plot``.

    Raises
    ------
    BenchFileError, MeasurementError
        The file is missing, of no supported kind, or has no noise scan.
    """
    remarks: list[str] = []
    dataset = read_scan_file(path, remarks)
    on_event(Event("step", f"Noise and SNR of {dataset.channels} channels"))
    report = snr_of_dataset(dataset)
    if plot is not None:
        from coilbench.report.canvas import write_figure
        from coilbench.report.scan_figures import slices_figure

        reach = 0.43 * dataset.grid.field_of_view[2]
        write_figure(
            plot, slices_figure(report.snr.values, dataset.grid.spacing[2], reach, "SNR", "", report.maximum)
        )
    inside = report.snr.values > OBJECT_THRESHOLD * report.maximum
    return {
        "name": report.name,
        **report.median.plain(),
        "combination": "root sum of squares of whitened channels",
        "maximum_snr": report.maximum,
        "u_maximum_snr": float(report.snr.uncertainty.max()),
        "median_snr_of_object": float(np.median(report.snr.values[inside])),
        "noise_bandwidth_ratio": report.bandwidth_ratio,
        "mean_noise_correlation": report.mean_correlation,
        "largest_noise_correlation": report.largest_correlation,
        "pseudo_replica_over_analytic": report.replica_ratio,
        "pseudo_replica_uncertainty": report.replica_ratio_uncertainty,
        "unwhitened_over_whitened": report.unwhitened_ratio,
        "noise_samples": report.noise.samples,
        "notes": "; ".join((*remarks, *report.notes)),
    }


def snr_of_paths(
    paths: Sequence[Path],
    on_event: EventSink,
    /,
    *,
    plot: Path | None = None,
    channels: int | None = None,
) -> dict[str, Any]:
    """Return the SNR of raw data with a noise scan, of two repeated images, or of a single image.

    Parameters
    ----------
    paths
        One run folder or raw file, or images: DICOM files or folders, NIfTI.
    plot
        Where the SNR map is drawn, of raw data only; None: nowhere.
    channels
        Of images only: combined by the root of their sum of squares, to state the air's SNR too.

    Returns
    -------
    Plain values; of a run folder also those of its phantom (``run_snr``).

    Raises
    ------
    BenchFileError
        A file is missing or of no supported kind, or raw data and images are mixed.
    MeasurementError
        The data allow no SNR.
    """
    images = [is_image(path) for path in paths]
    if all(images):
        if plot is not None:
            raise BenchFileError("images have no map of their SNR, only a number: leave out --plot")
        on_event(Event("step", "SNR of images"))
        return snr_of_images(read_images(paths), channels=channels)
    if any(images) or len(paths) > 1:
        raise BenchFileError(
            "`coilbench snr` takes one run folder or raw file, or one or two images (DICOM, NIfTI) of one "
            "protocol"
        )
    if channels is not None:
        raise BenchFileError("--channels is for images: raw data say themselves how many channels they have")
    found = signal_to_noise(paths[0], on_event, plot=plot)
    if not is_run(paths[0]):
        return found
    of_phantom = snr_of_run(paths[0], on_event)
    notes = [text for text in (found["notes"], of_phantom["notes"]) if text]
    return {**found, **of_phantom, "notes": "; ".join(dict.fromkeys(notes))}


def q_factors(paths: Sequence[Path], /) -> tuple[dict[str, Any], bool]:
    """Fit every file and return a summary with a row for each, and whether all could be fitted."""
    rows, refusals = [], []
    for path in paths:
        try:
            trace = read_trace(path)
            fit = fit_trace(trace)
        except (CoilbenchError, OSError, ValueError) as error:
            refusals.append(f"{path.name}: {error}")
            continue
        rows.append(
            {
                "file": path.name,
                "frequency_hz": fit.frequency,
                "q_loaded": fit.q_loaded,
                "u_q_loaded": fit.uncertainty.q_loaded,
                "q_unloaded": fit.q_unloaded,
                "u_q_unloaded": fit.uncertainty.q_unloaded,
                "coupling": fit.coupling,
                "residual": fit.residual,
                "misfit_over_noise": fit.misfit_ratio,
                "cross_checks": [
                    {"rule": rule.rule, "states": rule.states, "q": rule.q, "u_q": rule.uncertainty}
                    for rule in rules_of_thumb(trace.frequencies, trace.s, fit)
                ],
                "span_in_bandwidths": fit.span_in_bandwidths,
            }
        )
    return {"rows": rows, "refused": refusals}, not refusals


def _beside(path: Path) -> Path:
    name = path.name if path.is_dir() else path.name.split(".")[0]
    return path.with_name(name + ".nii.gz") if not path.is_dir() else path / "recon.nii.gz"


def _when(path: Path) -> datetime:
    """Return when the data were written, UTC: raw data of others do not say when they were measured."""
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
