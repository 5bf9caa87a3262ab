"""A finished (or unfinished) run read back from its folder: what was scanned, and what was written of it.

Everything is computed again from the raw stream, so that an old run can be judged by today's algorithms.
Nothing in the folder is changed here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from acquisition.playback import StreamReader
from acquisition.sort import LineFlag
from coilbench.base.errors import BenchFileError, MeasurementError, TruncatedStream
from coilbench.base.events import Event, EventSink, ignore
from coilbench.bench_file import read_bench_file
from coilbench.procedures.scan import Scanned, scan_grid, scan_plan
from recon.dataset import Readout
from recon.density import solid_angles
from recon.live import LiveReconstruction
from recon.psf import RadialReadout

if TYPE_CHECKING:
    from pathlib import Path

    import skrf

    from acquisition.plan import RadialScanPlan
    from coilbench.bench_file import BenchFile
    from recon.grid import Grid
    from recon.live import ChannelImages

#: Bytes of a record that are believed; real ones have some 100 kB.
_LONGEST_RECORD: Final = 1 << 26
#: Spokes between two signs of life.
_EVERY: Final = 100
#: Spokes gridded at once: nothing waits for an image in between, and each transform costs the same.
_BATCH: Final = 1600


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run folder.

    Parameters
    ----------
    folder
        Where it is.
    file
        The bench file as it was.
    record
        ``record.json``; empty where the run did not finish.
    """

    folder: Path
    file: BenchFile
    record: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.name

    @property
    def started(self) -> datetime:
        """When it began, UTC: as recorded, else by its folder's name, else by the bench file in it."""
        for text, form in ((self.record.get("started_utc"), None), (self.name[:20], "%Y-%m-%dT%H-%M-%SZ")):
            try:
                moment = datetime.fromisoformat(str(text)) if form is None else _moment(str(text), form)
            except ValueError:
                continue
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return datetime.fromtimestamp((self.folder / "bench.toml").stat().st_mtime, tz=UTC)

    def touchstone(self, name: str, /) -> skrf.Network | None:
        """Return the sweep ``name`` ("before", "after", "coil"); None where there is none.

        Raises
        ------
        MeasurementError
            It is there and cannot be read.
        """
        from skrf import Network

        for path in sorted(self.folder.glob(f"{name}.s*p")):
            try:
                return Network(str(path))
            except (ValueError, OSError, IndexError, KeyError) as error:
                raise MeasurementError(f"{path}: cannot be read as Touchstone: {error}") from error
        return None


def is_run(path: Path, /) -> bool:
    """Return whether ``path`` is a run folder: it holds the bench file of its run."""
    return path.is_dir() and (path / "bench.toml").is_file()


def open_run(folder: Path, /) -> StoredRun:
    """Return a run folder with its bench file and its record.

    Raises
    ------
    BenchFileError
        It is no run folder, or its bench file is wrong.
    MeasurementError
        Its record is damaged.
    """
    if not is_run(folder):
        raise BenchFileError(
            f"{folder} is no run folder: a folder with the bench.toml of its run is expected"
        )
    return StoredRun(folder, read_bench_file(folder / "bench.toml"), read_record(folder))


def read_record(folder: Path, /) -> dict[str, Any]:
    """Return ``record.json`` of a run folder; empty where the run did not finish.

    Raises
    ------
    MeasurementError
        It is no JSON object, or too large to be one of ours.
    """
    path = folder / "record.json"
    if not path.is_file():
        return {}
    if path.stat().st_size > _LONGEST_RECORD:
        raise MeasurementError(f"{path}: {path.stat().st_size} bytes are too many for a record")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MeasurementError(f"{path}: the record is damaged: {error}") from error
    if not isinstance(record, dict):
        raise MeasurementError(f"{path}: a JSON object was expected, it holds a {type(record).__name__}")
    return record


def read_scan(run: StoredRun, on_event: EventSink = ignore, /) -> tuple[Scanned, tuple[str, ...]]:
    """Reconstruct every repetition of a run's scan from its raw stream.

    Returns
    -------
    The scan, and what must be said about it: where the stream ends too early, and that a repetition which
    was not finished is left out.

    Raises
    ------
    BenchFileError
        The folder holds no raw stream.
    MeasurementError
        The stream holds no whole repetition.
    """
    path = run.folder / "raw.mrd"
    if not path.is_file():
        raise BenchFileError(f"{run.folder} holds no raw.mrd: this run did not scan")
    plan = scan_plan(run.file)
    with StreamReader(path) as reader:
        stored = _Stored(plan, scan_grid(plan), on_event)
        try:
            for acquisition in reader:
                stored.feed(acquisition)
        except TruncatedStream as error:
            stored.remarks.append(str(error))
        doubles = reader.header.userParameters
    parameters = {
        item.name: float(item.value) for item in (doubles.userParameterDouble if doubles is not None else ())
    }
    return stored.scanned(parameters), tuple(stored.remarks)


class _Stored:
    """Collects the acquisitions of a stored scan, repetition by repetition."""

    def __init__(self, plan: RadialScanPlan, grid: Grid, on_event: EventSink) -> None:
        self.remarks: list[str] = []
        self._plan, self._grid, self._on_event = plan, grid, on_event
        self._angles = solid_angles(plan.directions)
        self._live = LiveReconstruction(grid, angles=self._angles, batch=_BATCH)
        self._images: list[ChannelImages] = []
        self._repetition = 0
        self._radii = np.zeros(0)
        self._count = self._flagged = 0
        on_event(Event("step", "Reconstruct the stored scan"))

    def feed(self, acquisition: Any) -> None:  # noqa: ANN401 - ismrmrd is untyped
        head = acquisition.getHead()
        readout = Readout.from_acquisition(acquisition, self._grid)
        if not readout.is_noise and int(head.idx.repetition) != self._repetition:
            self._finish_repetition()
            self._repetition = int(head.idx.repetition)
        self._count += 1
        if not readout.is_noise:
            self._flagged += int(head.user_int[0]) != LineFlag.NONE
            if not self._radii.size and readout.positions is not None:
                self._radii = np.linalg.norm(readout.positions, axis=1)
        self._live.feed_readout(readout)
        if self._count % _EVERY == 0:
            progress = {"done": self._count, "total": None}
            self._on_event(Event("read.progress", f"acquisition {self._count}", progress))

    def _finish_repetition(self) -> None:
        if self._live.spokes < self._plan.spokes:
            self.remarks.append(
                f"repetition {self._repetition + 1} holds {self._live.spokes} of {self._plan.spokes} spokes: "
                "left out"
            )
        else:
            self._images.append(self._live.snapshot())
        self._live = LiveReconstruction(self._grid, angles=self._angles, noise=self._live.noise, batch=_BATCH)

    def scanned(self, parameters: dict[str, float]) -> Scanned:
        self._finish_repetition()
        if not self._images:
            raise MeasurementError(
                "the raw stream holds no whole repetition of the scan; `coilbench recon` makes an image of "
                "what is there"
            )
        noise = self._images[0].noise
        missing = {"sampleTime_us", "firstSample_s", "receiverNoiseBandwidth_Hz"} - parameters.keys()
        if noise is None or missing:
            raise MeasurementError(
                f"the raw stream's header lacks {sorted(missing)}: it is no stream of ours"
            )
        dwell_time = parameters["sampleTime_us"] * 1e-6
        times = parameters["firstSample_s"] + np.arange(self._radii.size, dtype=np.float64) * dwell_time
        return Scanned(
            plan=self._plan,
            dwell_time=dwell_time,
            noise_bandwidth=parameters["receiverNoiseBandwidth_Hz"],
            noise=noise,
            images=tuple(self._images),
            readout=RadialReadout(
                times=np.asarray(times + self._plan.pulse_duration / 2.0, dtype=np.float64),
                radii=np.maximum.accumulate(self._radii),
                filter_window="hamming",
                nyquist=self._plan.kmax,
            ),
            acquisitions=self._count,
            flagged=self._flagged,
        )


def _moment(text: str, form: str) -> datetime:
    return datetime.strptime(text, form).replace(tzinfo=UTC)
