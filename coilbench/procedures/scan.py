"""Noise pre-scan and sodium scans: played, stored, and reconstructed as they arrive.

Every acquisition is on disk before it is reconstructed; the reconstruction never reads a file.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acquisition.plan import plan_scan
from acquisition.radial_scan import prepare_scan
from acquisition.record import write_hdf5
from acquisition.sort import LineFlag
from acquisition.stream import StreamWriter
from coilbench.base.errors import BenchFileError
from coilbench.base.events import Event, EventSink, ignore
from coilbench.session import write_atomically
from drivers.protocols import Abort, never
from recon.density import solid_angles
from recon.grid import Grid
from recon.live import LiveReconstruction
from recon.psf import RadialReadout

if TYPE_CHECKING:
    from pathlib import Path

    from acquisition.plan import RadialScanPlan
    from acquisition.radial_scan import RadialScan
    from coilbench.bench import Bench
    from coilbench.bench_file import BenchFile
    from recon.live import ChannelImages
    from recon.noise import NoiseModel


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan gave.

    Parameters
    ----------
    plan
        What was played.
    dwell_time, noise_bandwidth
        Of the whole receive chain as really set, s and Hz.
    noise
        What the noise pre-scan said.
    images
        Whitened channel images, one for each repetition of the scan.
    readout
        Times and radii of a spoke, for blur and decay.
    acquisitions
        How many acquisitions are in the files.
    flagged
        Spokes with something against them: clipped, with a gap, or begun too late.
    """

    plan: RadialScanPlan
    dwell_time: float
    noise_bandwidth: float
    noise: NoiseModel
    images: tuple[ChannelImages, ...]
    readout: RadialReadout
    acquisitions: int
    flagged: int


def scan_plan(file: BenchFile, /) -> RadialScanPlan:
    """Return the plan of a bench file's scan.

    Raises
    ------
    BenchFileError
        The scan cannot be played; the text says which value would do.
    """
    scan = file.scan
    try:
        return plan_scan(
            nucleus=scan.nucleus,
            b0=file.b0,
            fov=scan.field_of_view,
            matrix=scan.matrix,
            spokes=scan.spokes,
            readout_duration=scan.readout_duration,
            dwell_time=scan.dwell_time,
            repetition_time=scan.repetition_time,
            noise_windows=scan.noise_windows,
            max_gradient=scan.maximum_gradient,
            max_slew=scan.maximum_slew_rate,
        )
    except ValueError as error:
        raise BenchFileError(f"[scan] cannot be played: {error}") from error


def scan_grid(plan: RadialScanPlan, /) -> Grid:
    """Return the voxels of a plan's image."""
    return Grid.cube(plan.matrix, plan.fov)


def scan_phantom(
    bench: Bench, folder: Path, /, *, on_event: EventSink = ignore, abort: Abort = never
) -> Scanned:
    """Play the noise pre-scan and every repetition of the scan, store and reconstruct them.

    Parameters
    ----------
    bench
        Open instruments; RF is off afterwards.
    folder
        Where ``scan.seq``, ``raw.mrd``, ``raw.idx`` and ``raw.h5`` go.

    Raises
    ------
    BenchFileError
        The bench file has no receiver.
    DataLost, InstrumentError, RunAborted, StorageError
        What was handed on before is in ``raw.mrd``.
    """
    file = bench.file
    plan = scan_plan(file)
    boards = file.instruments.receiver
    if boards is None:
        raise BenchFileError("a scan needs [instruments.receiver]; the bench file has none")
    scan = prepare_scan(bench.scanner, bench.receiver, plan)
    write_atomically(folder / "scan.seq", scan.sequence)
    labels = [f"{file.array.serial_number} ch{number + 1}" for number in range(file.array.channels)]
    grid = scan_grid(plan)
    # Golden-means directions are uneven by a quarter; equal weights would bias concentrations by 1 %.
    angles = solid_angles(plan.directions)
    images: list[ChannelImages] = []
    noise: NoiseModel | None = None
    flagged = 0
    with StreamWriter(folder / "raw.mrd", scan.header(labels)) as writer:
        live = LiveReconstruction(grid, angles=angles)
        on_event(Event("step", "Noise pre-scan (RF off)"))
        with closing(scan.acquire(noise=True, abort=abort, on_event=on_event)) as windows:
            for acquisition in writer.record(windows):
                live.feed(acquisition)
        for repetition in range(file.scan.repetitions):
            on_event(Event("step", f"Sodium scan {repetition + 1} of {file.scan.repetitions}"))
            scanning = scan.acquire(
                repetition=repetition,
                abort=abort,
                on_event=on_event,
                full_scale=boards.full_scale,
            )
            with closing(scanning) as spokes:
                for acquisition in writer.record(spokes):
                    flagged += int(acquisition.getHead().user_int[0]) != LineFlag.NONE
                    live.feed(acquisition)
            images.append(live.snapshot())
            noise = images[0].noise
            live = LiveReconstruction(grid, angles=angles, noise=noise)
    on_event(Event("step", "Store as MRD HDF5"))
    count = write_hdf5(folder / "raw.mrd", folder / "raw.h5")
    if noise is None:
        raise BenchFileError("[scan] needs noise_windows and repetitions of at least 1")
    return Scanned(
        plan=plan,
        dwell_time=scan.receive_filter.output_interval,
        noise_bandwidth=scan.receive_filter.noise_bandwidth,
        noise=noise,
        images=tuple(images),
        readout=_spoke(scan),
        acquisitions=count,
        flagged=flagged,
    )


def _spoke(scan: RadialScan) -> RadialReadout:
    """Return when a spoke is where, counted from the centre of the RF pulse."""
    times = scan.readout.times
    return RadialReadout(
        times=times + scan.plan.pulse_duration / 2.0,
        radii=scan.plan.design.radius(times - scan.plan.dead_time),
        filter_window="hamming",
        nyquist=scan.plan.kmax,
    )
