"""Commands on files: reconstruct, state SNR, fit Q. Ours and foreign data alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from acquisition.playback import StreamReader
from coilbench.base.errors import BenchFileError, CoilbenchError, MeasurementError, TruncatedStream
from coilbench.base.events import Event
from coils.resonance import fit_trace, read_trace, rules_of_thumb
from recon.dataset import collect, read_file
from recon.foreign import OBJECT_THRESHOLD, reconstruct_dataset, snr_of_dataset
from recon.nifti import write_nifti

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import ismrmrd

    from coilbench.base.events import EventSink
    from recon.dataset import Dataset


def reconstruct(path: Path, out: Path | None, on_event: EventSink, /) -> dict[str, Any]:
    """Reconstruct ``path`` into a NIfTI file and return a summary of plain values.

    Parameters
    ----------
    path
        Run folder, MRD stream or HDF5, ``.npz`` or ``.mat``.
    out
        Where the image goes; by default beside the current folder, named after the data.

    Raises
    ------
    BenchFileError, MeasurementError
        The file is missing, of no supported kind, or holds nothing to reconstruct.
    """
    remarks: list[str] = []
    dataset = _dataset(path, remarks)
    on_event(Event("step", f"Reconstruct {dataset.channels} channels"))
    result = reconstruct_dataset(dataset)
    target = out or _beside(path)
    unit = "SNR units (real-part sigma)" if result.in_snr_units else "arbitrary units"
    write_nifti(target, result.image, result.grid, description=unit)
    return {
        "name": result.name,
        "image": str(target),
        "channels": result.channels,
        "matrix_z_y_x": list(result.grid.shape),
        "voxel_mm_z_y_x": [1e3 * size for size in result.grid.spacing],
        "unit": unit,
        "maximum": float(result.image.max()),
        "density_weights": result.density,
        "notes": "; ".join((*remarks, *result.notes)),
    }


def signal_to_noise(path: Path, on_event: EventSink, /) -> dict[str, Any]:
    """Return noise and SNR of ``path`` as a summary of plain values.

    Raises
    ------
    BenchFileError, MeasurementError
        The file is missing, of no supported kind, or has no noise scan.
    """
    remarks: list[str] = []
    dataset = _dataset(path, remarks)
    on_event(Event("step", f"Noise and SNR of {dataset.channels} channels"))
    report = snr_of_dataset(dataset)
    # E[sum |I|²] = signal² + 2 per channel: Constantinides, Magn Reson Med 38:852 (1997).
    unbiased = np.sqrt(np.maximum(report.snr.astype(np.float64) ** 2 - 2 * report.noise.channels, 0.0))
    inside = report.snr > OBJECT_THRESHOLD * report.maximum
    return {
        "name": report.name,
        "convention": "real-sd: |signal| over the standard deviation of the noise's real part",
        "combination": "root sum of squares of whitened channels",
        "maximum_snr": report.maximum,
        "median_snr_of_object": report.median,
        "median_snr_of_object_noise_bias_removed": float(np.median(unbiased[inside])),
        "noise_bandwidth_ratio": report.bandwidth_ratio,
        "mean_noise_correlation": report.mean_correlation,
        "largest_noise_correlation": report.largest_correlation,
        "pseudo_replica_over_analytic": report.replica_ratio,
        "pseudo_replica_uncertainty": report.replica_ratio_uncertainty,
        "unwhitened_over_whitened": report.unwhitened_ratio,
        "noise_samples": report.noise.samples,
        "notes": "; ".join((*remarks, *report.notes)),
    }


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


def _dataset(path: Path, remarks: list[str]) -> Dataset:
    """Read any kind of scan; an unfinished stream gives what is whole, and a remark that says so."""
    if path.is_dir():
        finished, stream = path / "raw.h5", path / "raw.mrd"
        path = finished if finished.is_file() else stream
    if not path.is_file():
        raise BenchFileError(f"{path}: no such file; a run folder holds raw.mrd or raw.h5")
    if path.suffix != ".mrd":
        return read_file(path)
    with StreamReader(path) as reader:
        return collect(reader.header_xml, _whole(reader, remarks), name=path.name)


def _whole(reader: StreamReader, remarks: list[str]) -> Iterator[ismrmrd.Acquisition]:
    """Yield the first repetition's whole acquisitions; remark where a truncated stream ends."""
    count = 0
    try:
        for acquisition in reader:
            count += 1
            if acquisition.getHead().idx.repetition == 0:
                yield acquisition
    except TruncatedStream as error:
        remarks.append(str(error))
    if count == 0:
        raise MeasurementError("the stream holds no whole acquisition")
