"""Sodium concentrations of data that no run of ours made, with a phantom that a file describes.

Raw data of centre-out spokes with a noise scan take the way of a run. Of a finished image (NIfTI, DICOM) only
the vials' means are known: a line through the references, with the relaxation taken off.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from acquisition.playback import StreamReader
from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.base.events import Event, EventSink, ignore
from coilbench.bench_file import read_phantom_file
from coilbench.foreign_sodium import ForeignSodium, Timing
from coilbench.image_snr import is_image, read_images
from coilbench.procedures.quantify import phantom_model
from coilbench.scan_file import read_scan_file
from recon.dataset import Encoding, Readout, mrd_header
from recon.density import solid_angles
from recon.live import LiveReconstruction
from recon.nifti import affine as grid_affine
from recon.outline import object_mask
from recon.phantom import Pose
from recon.psf import RadialReadout
from recon.tsc import Protocol, quantify
from recon.tsc.image_calibration import quantify_image
from recon.tsc.image_reading import PhantomImage
from recon.tsc.registration import register

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from coilbench.bench_file import PhantomFile
    from coilbench.image_snr import StoredImage
    from recon.dataset import Dataset
    from recon.live import ChannelImages

#: Spokes gridded at once.
_BATCH: Final = 1600


def foreign_sodium(
    path: Path, phantom: Path | None, timing: Timing, on_event: EventSink = ignore, /
) -> ForeignSodium:
    """Quantify the sodium of foreign data.

    Parameters
    ----------
    path
        Raw data of centre-out spokes with a noise scan (MRD), or a finished image (NIfTI, DICOM).
    phantom
        A bench file, or a file with its ``[phantom]`` (and ``[limits]``) alone.
    timing
        What the data do not say.

    Raises
    ------
    BenchFileError
        There are no such data, no phantom is described, or timing is missing.
    MeasurementError
        The data do not allow it; the text says what was expected and what came.
    """
    if not path.exists():
        raise BenchFileError(f"there is no file or folder {path}")
    if phantom is None:
        raise BenchFileError(
            f"{path}: a run folder says which phantom was scanned, these data do not; describe it with "
            "--phantom FILE: a bench file, or a file that holds its [phantom] alone"
        )
    file = read_phantom_file(phantom)
    on_event(Event("step", "Sodium concentration"))
    if is_image(path):
        images = read_images((path,))
        notes = () if len(images) == 1 else (f"{len(images)} images were read: the first is quantified",)
        found = _of_image(images[0], file, timing)
        return replace(found, notes=(*notes, *found.notes))
    return _of_raw(path, file, timing)


def _of_raw(path: Path, file: PhantomFile, timing: Timing) -> ForeignSodium:
    remarks: list[str] = []
    dataset = read_scan_file(path, remarks)
    if dataset.trajectory is None or dataset.noise is None:
        came = "holds Cartesian k-space" if dataset.trajectory is None else "holds no noise scan"
        raise MeasurementError(
            f"{path}: centre-out spokes with a noise scan were expected, this {came}; reconstruct it "
            "(`coilbench recon`) and give the image"
        )
    header = _header(path)
    repetition_time = timing.repetition_time or header.repetition_time
    flip_angle = timing.flip_angle or header.flip_angle
    echo_time = timing.echo_time or header.echo_time
    _refuse_missing(path, repetition_time, echo_time, flip_angle)
    readout = _readout(dataset, echo_time)
    images = _gridded(dataset)
    phantom = phantom_model(file)
    found = register(images, phantom, readout)
    tsc = quantify(
        images,
        phantom,
        readout,
        Protocol(repetition_time, flip_angle),
        pose=found.pose,
        position_uncertainty=found.position_uncertainty,
    )
    line = tsc.regression
    return ForeignSodium(
        name=dataset.name,
        file=file,
        vials=tsc.vials,
        rows=tuple(tsc.as_rows()),
        line=(0.0, line.slope, line.slope_uncertainty),
        signals=np.array([(vial.ratio, vial.ratio_uncertainty) for vial in tsc.vials]),
        maps=(
            ("tsc", tsc.concentration, "sodium concentration, mmol/L"),
            ("tsc_u_noise", tsc.noise, "standard uncertainty by noise, mmol/L"),
            ("tsc_u_systematic", tsc.systematic, "systematic standard uncertainty, mmol/L"),
        ),
        affine=grid_affine(dataset.grid),
        notes=(*remarks, *dataset.notes, _pose_note(found.pose)),
    )


def _header(path: Path) -> Encoding:
    """Return what an MRD file's header says of the sequence."""
    if path.suffix == ".mrd":
        with StreamReader(path) as reader:
            return Encoding.from_header(reader.header_xml)
    return Encoding.from_header(mrd_header(path))


def _readout(dataset: Dataset, echo_time: float) -> RadialReadout:
    """Return when a spoke is where: as the file says, else sampled from the echo time on without a break."""
    spoke, trajectory = dataset.spoke, np.asarray(dataset.trajectory)
    times = (
        spoke.times + spoke.echo_time
        if spoke is not None
        else echo_time + np.arange(trajectory.shape[1]) * dataset.dwell_time
    )
    radii = np.linalg.norm(trajectory[0], axis=1)
    try:
        return RadialReadout(
            times=np.asarray(times, dtype=np.float64),
            radii=np.maximum.accumulate(radii) if spoke is not None else radii,
            filter_window="hamming",
            nyquist=dataset.grid.nyquist,
        )
    except ValueError as error:
        raise MeasurementError(f"{dataset.name}: centre-out spokes were expected: {error}") from error


def _gridded(dataset: Dataset) -> ChannelImages:
    """Return whitened channel images of a dataset of spokes."""
    trajectory = np.asarray(dataset.trajectory)
    ends = trajectory[:, -1]
    directions = ends / np.linalg.norm(ends, axis=1, keepdims=True)
    live = LiveReconstruction(dataset.grid, angles=solid_angles(directions), batch=_BATCH)
    windows = () if dataset.noise is None else np.moveaxis(dataset.noise, 1, 0)
    for window in windows:
        live.feed_readout(Readout(window, None, dataset.noise_dwell_time, is_noise=True))
    for number, positions in enumerate(trajectory):
        samples = dataset.samples[:, number]
        live.feed_readout(Readout(samples, positions, dataset.dwell_time, is_noise=False, number=number))
    return live.snapshot()


def _of_image(image: StoredImage, file: PhantomFile, timing: Timing) -> ForeignSodium:
    if min(image.image.shape) < 4:
        raise MeasurementError(
            f"{image.name}: a volume was expected, for the vials are balls; it holds {image.image.shape} "
            "voxels (z, y, x)"
        )
    said = image.protocol
    repetition_time = timing.repetition_time or said.repetition_time
    echo_time = timing.echo_time or said.echo_time
    flip_angle = timing.flip_angle or said.flip_angle
    _refuse_missing(image.name, repetition_time, echo_time, flip_angle)
    positions = _positions(image)
    middle = _middle(image, positions)
    pose = Pose(translation=(float(middle[0]), float(middle[1]), float(middle[2])))
    lying = phantom_model(file).moved(pose)
    seen = PhantomImage(image.image, positions, lying, max(image.spacing))
    readings = tuple(seen.read(vial) for vial in lying.vials)
    found = quantify_image(
        lying, readings, seen.unevenness(), Protocol(repetition_time, flip_angle), echo_time
    )
    rows = tuple(
        {
            "vial": vial.name,
            "role": "unknown" if vial.reference is None else "reference",
            "stated_mmol_l": vial.reference,
            "concentration_mmol_l": vial.concentration,
            "uncertainty_mmol_l": vial.uncertainty,
            **{f"u_{cause.replace(' ', '_')}": part for cause, part in vial.contributions},
        }
        for vial in found.vials
    )
    slope = found.line.slope
    signals = np.array(
        [(found.line.intercept + slope * one.concentration, slope * one.uncertainty) for one in found.vials]
    )
    return ForeignSodium(
        name=image.name,
        file=file,
        vials=found.vials,
        rows=rows,
        line=(found.line.intercept, slope, found.line.slope_uncertainty),
        signals=signals,
        maps=(("tsc", found.concentration_map(seen.even), "sodium concentration, mmol/L"),),
        affine=image.affine,
        notes=(
            *image.notes,
            _pose_note(pose),
            (
                "one finished image: channels, noise and point spread are not known; walls are avoided, a "
                f"surface through the bath is taken off, {100 * found.unevenness:.2g} % of unevenness is left"
            ),
        ),
    )


def _positions(image: StoredImage) -> NDArray[np.float64]:
    """Return (x, y, z) in m of each voxel: right, anterior, superior; shape (z, y, x, 3)."""
    z, y, x = np.indices(image.image.shape)
    voxels = np.stack([x, y, z], axis=-1)
    return np.asarray(1e-3 * (voxels @ image.affine[:3, :3].T + image.affine[:3, 3]), dtype=np.float64)


def _middle(image: StoredImage, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middle of what stands out of the background, (x, y, z) in m."""
    return np.asarray(positions[object_mask(image.image)].mean(axis=0), dtype=np.float64)


def _refuse_missing(name: object, repetition_time: float, echo_time: float, flip_angle: float) -> None:
    """Refuse data whose timing is not known, naming the options that say it.

    Raises
    ------
    BenchFileError
        One of the values is 0.
    """
    missing = [
        option
        for option, value in (
            ("--repetition-time '100 ms'", repetition_time),
            ("--echo-time '0.3 ms'", echo_time),
            ("--flip-angle 90", flip_angle),
        )
        if not value > 0
    ]
    if missing:
        raise BenchFileError(
            f"{name}: relaxation is taken off by repetition time, echo time and flip angle, and the file "
            f"does not say all of them; add {', '.join(missing)}"
        )


def _pose_note(pose: Pose) -> str:
    x, y, z = (1e3 * one for one in pose.translation)
    turn = np.degrees(float(np.linalg.norm(pose.rotation)))
    return f"the phantom lies at ({x:.1f}, {y:.1f}, {z:.1f}) mm, turned by {turn:.1f}°"
