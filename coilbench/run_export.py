"""Everything of a finished run as files for other programs, from what its folder holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coilbench.base.events import Event, EventSink, ignore
from coilbench.export.dicom import (
    SNR,
    SODIUM,
    SODIUM_NOISE,
    SODIUM_SYSTEMATIC,
    PhantomStudy,
    new_uid,
    phantom_name,
    write_parametric_map,
    write_secondary_capture,
)
from coilbench.export.quaac import PROGRAM, QuaacSource, quaac_json
from coilbench.export.tables import quantities_csv, quantities_json
from coilbench.image_snr import read_images
from coilbench.quantities import quantities_of_record
from coilbench.report import scan_figures
from coilbench.report.canvas import pixels
from coilbench.session import storing, write_atomically
from coilbench.stored_run import open_run
from recon.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.figure import Figure

    from coilbench.image_snr import StoredImage
    from coilbench.stored_run import StoredRun

#: Images of a run folder and what their values are.
_MAPS: Final = (
    ("image", SNR),
    ("tsc", SODIUM),
    ("tsc_u_noise", SODIUM_NOISE),
    ("tsc_u_systematic", SODIUM_SYSTEMATIC),
)


def export_run(
    folder: Path,
    out: Path | None = None,
    on_event: EventSink = ignore,
    /,
    *,
    phantom: str | None = None,
    performer: str = PROGRAM,
) -> tuple[Path, ...]:
    """Write maps and figures as DICOM, quantities as CSV, JSON and QuAAC; return the files.

    Parameters
    ----------
    folder
        A run folder with its record.
    out
        Folder for the files; by default ``export`` in the run folder.
    phantom
        Patient's name of the DICOM files, ``PHANTOM^...``; None: from the bench file.
    performer
        Who measured, ``Name <mail@domain>``; for QuAAC.

    Raises
    ------
    BenchFileError
        It is no run folder; the name is not that of a phantom; the performer has no address.
    MeasurementError
        The run did not finish, or its record lists no quantities.
    StorageError
        The disk refused.
    """
    run = open_run(folder)
    if not run.record:
        raise MeasurementError(
            f"{folder} has no record.json: the run did not finish, there is nothing to export"
        )
    study = PhantomStudy(
        phantom or phantom_name(run.file.phantom.name),
        run.name,
        run.started,
        run.file.array.serial_number,
        _version(run),
    )
    target = out or folder / "export"
    with storing(target):
        target.mkdir(parents=True, exist_ok=True)
    on_event(Event("step", "Export quantities"))
    written = [*_tables(run, target, performer)]
    on_event(Event("step", "Export maps and figures as DICOM"))
    return (*written, *_dicom(run, target, study))


def record_figures(run: StoredRun, /) -> Iterator[tuple[str, Figure]]:
    """Yield title and figure of what a run's record and images say.

    Raises
    ------
    MeasurementError
        The record lacks what is drawn.
    """
    radius = run.file.phantom.radius
    try:
        noise, sodium = run.record["noise"], run.record["sodium"]
        measured = _correlation(noise["covariance_v2"])
        predicted = _correlation(noise["predicted_covariance_v2"])
        vials = sodium["vials"]
        true = {vial.name: vial.concentration_mmol_l for vial in run.file.phantom.vials}
        yield "Noise correlation", scan_figures.correlation_figure(measured, predicted)
        for name, quantity in _MAPS[:2]:
            image = _image(run, name)
            top = float(image.image.max())
            unit = "" if quantity.unit == "1" else quantity.unit
            yield (
                quantity.explanation,
                scan_figures.slices_figure(image.image, image.spacing[2], radius, quantity.label, unit, top),
            )
        yield (
            "Regression through the reference vials",
            scan_figures.regression_figure(
                np.array([true[vial["name"]] for vial in vials]),
                np.array([vial["ratio"] for vial in vials]),
                np.array([vial["ratio_uncertainty"] for vial in vials]),
                np.array([vial["reference"] is not None for vial in vials]),
                (0.0, sodium["regression"]["slope"]),
                [vial["name"] for vial in vials],
            ),
        )
        yield (
            "Uncertainty budget",
            scan_figures.budget_figure(
                [vial["name"] for vial in vials],
                [[(cause, part) for cause, part in vial["contributions"]] for vial in vials],
                [(vial["uncertainty"], vial["monte_carlo_uncertainty"]) for vial in vials],
                "mmol/L",
            ),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MeasurementError(
            f"{run.folder / 'record.json'} lacks what its figures need ({type(error).__name__}: {error}); "
            "another version of the program wrote it, or it was changed"
        ) from error


def _tables(run: StoredRun, target: Path, performer: str) -> Iterator[Path]:
    quantities = quantities_of_record(run.record)
    about = {
        "run": run.name,
        "measured_utc": run.started.isoformat(timespec="seconds"),
        "coil": run.file.array.serial_number,
        "phantom": run.file.phantom.name,
    }
    source = QuaacSource(run.name, run.started, about["coil"], about["phantom"], performer)
    for name, text in (
        ("quantities.csv", quantities_csv(quantities, about)),
        ("quantities.json", quantities_json(quantities, about)),
        ("quantities.quaac.json", quaac_json(quantities, source)),
    ):
        yield write_atomically(target / name, text)


def _dicom(run: StoredRun, target: Path, study: PhantomStudy) -> Iterator[Path]:
    for number, (name, quantity) in enumerate(_MAPS, start=1):
        image = _image(run, name)
        depth, height, width = image.image.shape
        dz, dy, dx = image.spacing
        path = target / f"{name}.dcm"
        grid = Grid((depth, height, width), (depth * dz, height * dy, width * dx))
        write_parametric_map(path, image.image, grid, quantity, study, series_number=number)
        yield path
    series = new_uid()
    for number, (title, figure) in enumerate(record_figures(run), start=1):
        path = target / f"figure-{number}.dcm"
        write_secondary_capture(path, pixels(figure), title, study, series_uid=series, number=number)
        yield path


def _image(run: StoredRun, name: str) -> StoredImage:
    path = run.folder / f"{name}.nii.gz"
    if not path.is_file():
        raise MeasurementError(f"{path} is missing: `coilbench tsc` on the run folder makes the maps again")
    return read_images((path,))[0]


def _correlation(pairs: Any) -> np.ndarray[Any, np.dtype[np.complex128]]:  # noqa: ANN401 - nested lists
    values = np.asarray(pairs, dtype=np.float64)
    covariance = values[..., 0] + 1j * values[..., 1]
    power = np.sqrt(np.diag(covariance).real)
    return np.asarray(covariance / np.outer(power, power), dtype=np.complex128)


def _version(run: StoredRun) -> str:
    said = run.record.get("software")
    return str(said.get("coilbench", "unknown")) if isinstance(said, dict) else "unknown"
