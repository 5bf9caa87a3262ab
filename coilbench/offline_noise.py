"""The noise of a stored scan, ours or foreign: covariance, faults, and what the S-matrix predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acquisition.playback import StreamReader
from coilbench.base.errors import BenchFileError, MeasurementError, TruncatedStream
from coilbench.base.events import Event, EventSink, ignore
from coilbench.base.verdict import overall
from coilbench.image_snr import is_image
from coilbench.procedures.quantify import check_noise, judge_noise
from coilbench.reanalysis import stored_character
from coilbench.report.scan_sections import noise_figure
from coilbench.stored_run import is_run, open_run
from recon.dataset import Encoding, read_file
from recon.live import LiveReconstruction
from recon.noise import NoiseModel, find_faults, noise_model

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from coilbench.base.verdict import Judged, Verdict
    from coilbench.procedures.quantify import NoiseCheck
    from coilbench.stored_run import StoredRun


@dataclass(frozen=True, slots=True)
class NoiseReport:
    """What a noise scan says.

    Parameters
    ----------
    name
        Run or file.
    noise
        The receivers' noise.
    check
        Beside the one predicted from S; None where there is no S-matrix.
    faults
        What is not as it should be, a line each.
    judged
        Against the limits of the bench file; empty for foreign data, which have none.
    notes
        What had to be assumed.
    """

    name: str
    noise: NoiseModel
    check: NoiseCheck | None
    faults: tuple[str, ...]
    judged: tuple[Judged, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> Verdict | None:
        """Of what was judged; None where nothing was."""
        return overall(self.judged) if self.judged else None

    def figure(self) -> Figure:
        """Return the picture of the correlations, beside their prediction where there is one."""
        return noise_figure(self.noise, self.check)

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values with units in their names."""
        noise, check = self.noise, self.check
        found: dict[str, Any] = {
            "name": self.name,
            "convention": "Psi = E[n n^H]; sigma is the standard deviation of the real part",
            "channels": noise.channels,
            "noise_samples": noise.samples,
            "effective_samples": noise.effective_samples,
            "has_enough_samples": noise.has_enough_samples,
            "noise_bandwidth_ratio": noise.mean_bandwidth_ratio,
            "mean_noise_correlation": noise.mean_correlation,
            "largest_noise_correlation": noise.largest_correlation,
            "correlation_floor": noise.correlation_floor,
            "sigma": noise.sigma,
            "kurtosis": noise.kurtosis,
            "quadrature_ratio": noise.quadrature_ratio,
            "offset_over_sigma": noise.offset,
            "covariance_re_im": noise.covariance,
            "faults": list(self.faults),
        }
        if check is not None:
            found |= {
                "predicted_covariance_re_im": check.predicted,
                "power_over_prediction": check.comparison.power_ratio,
                "chi_square": check.comparison.chi_square,
                "degrees_of_freedom": check.comparison.degrees_of_freedom,
                "probability": check.comparison.probability,
            }
        if self.judged:
            found |= {"verdict": str(self.verdict), "judged": list(self.judged)}
        return found | {"notes": "; ".join(self.notes)}


def noise_report(path: Path, on_event: EventSink = ignore, /) -> NoiseReport:
    """Return the noise of a run folder, an MRD stream or file, or an ``.npz``.

    Raises
    ------
    BenchFileError
        The file is missing or of no supported kind.
    MeasurementError
        It holds no noise scan.
    """
    if is_image(path):
        raise MeasurementError(
            f"{path}: an image holds no noise scan, its background is what reconstruction and magnitude left "
            "of the noise; give the raw data, or two repeated images to `coilbench snr`"
        )
    on_event(Event("step", "Noise"))
    if is_run(path):
        return _report_of_run(open_run(path))
    if path.suffix == ".mrd":
        noise, _, notes = _noise_of_stream(path)
    else:
        dataset = read_file(path)
        if dataset.noise is None:
            raise MeasurementError(
                f"{dataset.name} holds no noise scan: acquisitions flagged as noise are needed"
            )
        noise, notes = noise_model(dataset.noise, dataset.noise_dwell_time), dataset.notes
    return NoiseReport(path.name, noise, None, _faults(noise), (), notes)


def _report_of_run(run: StoredRun) -> NoiseReport:
    noise, bandwidth, notes = _noise_of_stream(run.folder / "raw.mrd")
    try:
        character = stored_character(run)
    except MeasurementError as error:
        return NoiseReport(run.name, noise, None, _faults(noise), (), (*notes, str(error)))
    group = next(one for one in character.nuclei if one.nucleus == run.file.scan.nucleus)
    check = check_noise(run.file, noise, bandwidth, group.s)
    limits = run.file.limits
    judged = judge_noise(noise, check, correlation=limits.noise_correlation, level_db=limits.noise_level_db)
    return NoiseReport(run.name, noise, check, _faults(noise), judged, notes)


def _faults(noise: NoiseModel) -> tuple[str, ...]:
    return tuple(fault.text for fault in find_faults(noise))


def _noise_of_stream(path: Path) -> tuple[NoiseModel, float, tuple[str, ...]]:
    """Return the noise that a stream begins with, the receivers' bandwidth in Hz, and remarks."""
    if not path.is_file():
        raise BenchFileError(f"there is no file {path}; a run folder that scanned holds raw.mrd")
    with StreamReader(path) as reader:
        live = LiveReconstruction(Encoding.from_header(reader.header_xml).grid)
        parameters = reader.header.userParameters
        doubles = () if parameters is None else parameters.userParameterDouble
        bandwidth = {item.name: float(item.value) for item in doubles}.get("receiverNoiseBandwidth_Hz", 0.0)
        notes: tuple[str, ...] = ()
        try:
            for acquisition in reader:
                live.feed(acquisition)
                if live.noise is not None:
                    break
        except TruncatedStream as error:
            notes = (str(error),)
    if live.noise is None:
        raise MeasurementError(f"{path} holds no noise scan with a spoke after it")
    return live.noise, bandwidth, notes
