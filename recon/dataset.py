"""What a reconstruction starts from: k-space with its trajectory, noise and grid, whatever file it was in.

MRD trajectories are dimensionless, within [-0.5, 0.5] of the matrix along (x, y, z); here k is in 1/m.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coilbench.base.errors import BenchFileError, MeasurementError
from recon.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

#: MRD acquisition flag of a noise measurement: ISMRMRD_ACQ_IS_NOISE_MEASUREMENT, ismrmrd.h.
NOISE_FLAG = 19
#: Acquisitions read at once: a few MB.
_ROWS = 256


@dataclass(frozen=True, slots=True)
class Encoding:
    """What an MRD header says about the scan.

    Parameters
    ----------
    grid
        Encoded matrix and field of view.
    trajectory
        ``"radial"``, ``"cartesian"`` and so on, as the header words it.
    proton_frequency
        1H resonance frequency in Hz (the header knows no other nucleus); 0 when it states none.
    channel_names
        Coil labels in channel order; may be empty.
    spokes
        Planned number of readouts; 0 when the header states none.
    repetition_time, echo_time
        In s; 0 when the header states none.
    flip_angle
        In rad; 0 when the header states none.
    """

    grid: Grid
    trajectory: str = "radial"
    proton_frequency: float = 0.0
    channel_names: tuple[str, ...] = ()
    spokes: int = 0
    repetition_time: float = 0.0
    echo_time: float = 0.0
    flip_angle: float = 0.0

    @classmethod
    def from_header(cls, header: str | bytes) -> Encoding:
        """Read the XML header of an MRD file or stream (first encoding).

        Raises
        ------
        BenchFileError
            The text is no MRD header, or holds no encoding.
        """
        import ismrmrd.xsd

        try:
            document: Any = ismrmrd.xsd.CreateFromDocument(header)
            encoding: Any = document.encoding[0]
        except Exception as error:
            raise BenchFileError(f"the MRD header cannot be read: {error}") from error
        space = encoding.encodedSpace
        matrix, extent = space.matrixSize, space.fieldOfView_mm
        conditions, system = document.experimentalConditions, document.acquisitionSystemInformation
        sequence = document.sequenceParameters
        limits = encoding.encodingLimits.kspace_encoding_step_1 if encoding.encodingLimits else None
        labels = sorted(getattr(system, "coilLabel", None) or [], key=lambda label: label.coilNumber)
        return cls(
            grid=Grid(
                (int(matrix.z), int(matrix.y), int(matrix.x)),
                (float(extent.z) * 1e-3, float(extent.y) * 1e-3, float(extent.x) * 1e-3),
            ),
            trajectory=str(encoding.trajectory.value),
            proton_frequency=float(getattr(conditions, "H1resonanceFrequency_Hz", 0) or 0),
            channel_names=tuple(str(label.coilName) for label in labels),
            spokes=int(limits.maximum) + 1 if limits is not None else 0,
            repetition_time=_first(sequence, "TR") * 1e-3,
            echo_time=_first(sequence, "TE") * 1e-3,
            flip_angle=float(np.deg2rad(_first(sequence, "flipAngle_deg"))),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """One acquisition, free of the file format.

    Parameters
    ----------
    samples
        complex64, shape (channel, sample).
    positions
        k in 1/m, shape (sample, 3); None for noise and Cartesian lines.
    dwell_time
        Sample interval in s.
    is_noise
        Whether this is part of the noise scan.
    number
        Number of the spoke (or line) in the plan: ``kspace_encode_step_1``.
    partition
        ``kspace_encode_step_2``.
    """

    samples: NDArray[np.complex64]
    positions: NDArray[np.float64] | None
    dwell_time: float
    is_noise: bool
    number: int = 0
    partition: int = 0

    @classmethod
    def from_acquisition(cls, acquisition: Any, grid: Grid) -> Readout:  # noqa: ANN401 - ismrmrd is untyped
        """Take an ``ismrmrd.Acquisition``; discarded samples at both ends are left out.

        Parameters
        ----------
        acquisition
            As read from a file or received from a stream.
        grid
            Encoded matrix and field of view: the unit of the trajectory.

        Raises
        ------
        ValueError
            The trajectory has other than 0 or 3 dimensions.
        """
        return cls._taken(
            acquisition.getHead(), np.asarray(acquisition.data), np.asarray(acquisition.traj), grid
        )

    @classmethod
    def from_row(cls, row: Any, grid: Grid) -> Readout:  # noqa: ANN401 - a compound type of numpy
        """Take a row of an MRD HDF5 file's ``data``: header, flat trajectory, flat data.

        Raises
        ------
        ValueError
            The trajectory has other than 0 or 3 dimensions, or the data do not fit the header.
        """
        import ismrmrd

        head = ismrmrd.AcquisitionHeader.from_buffer_copy(row["head"].tobytes())
        channels, total = int(head.active_channels), int(head.number_of_samples)
        data = np.asarray(row["data"], dtype=np.float32).view(np.complex64).reshape(channels, total)
        dimensions = int(head.trajectory_dimensions)
        return cls._taken(head, data, np.asarray(row["traj"]).reshape(total, dimensions), grid)

    @classmethod
    def _taken(cls, head: Any, data: NDArray[Any], trajectory: NDArray[Any], grid: Grid) -> Readout:  # noqa: ANN401
        total = int(head.number_of_samples)
        kept = slice(int(head.discard_pre), total - int(head.discard_post))
        dimensions = int(head.trajectory_dimensions)
        positions = None
        if dimensions == 3:
            matrix = np.array(grid.shape[::-1], dtype=np.float64)
            extent = np.array(grid.field_of_view[::-1])
            positions = np.asarray(trajectory[kept], dtype=np.float64) * (matrix / extent)
        elif dimensions:
            raise ValueError(f"a three-dimensional trajectory is needed, got {dimensions} dimensions")
        return cls(
            samples=np.array(data[:, kept], dtype=np.complex64),
            positions=positions,
            dwell_time=float(head.sample_time_us) * 1e-6,
            is_noise=bool(int(head.flags) >> (NOISE_FLAG - 1) & 1),
            number=int(head.idx.kspace_encode_step_1),
            partition=int(head.idx.kspace_encode_step_2),
        )


@dataclass(frozen=True, slots=True, eq=False)
class SpokeDesign:
    """When the samples of a spoke were taken, and how its gradient was meant to lead.

    Parameters
    ----------
    times
        Of the samples in s from the gradient's start, shape (sample,).
    radius
        Nominal distance from the centre of k-space in 1/m at any time in s from the gradient's start.
    echo_time
        s from the centre of the RF pulse to the gradient's start.
    """

    times: NDArray[np.float64]
    radius: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    echo_time: float


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A whole scan in memory.

    Parameters
    ----------
    name
        For people: a file name.
    samples
        complex64; (channel, spoke, sample) with a trajectory, (channel, kz, ky, kx) without.
    trajectory
        k in 1/m, shape (spoke, sample, 3), or None for Cartesian k-space with its centre at n // 2.
    grid
        The image grid.
    dwell_time
        Sample interval in s.
    noise
        complex64, shape (channel, window, sample), or None when there was no noise scan.
    noise_dwell_time
        Sample interval of the noise in s.
    channel_names
        May be empty.
    notes
        What had to be assumed, one sentence each.
    spoke
        Of radial scans whose file says it; None: unknown.
    """

    name: str
    samples: NDArray[np.complex64]
    trajectory: NDArray[np.float64] | None
    grid: Grid
    dwell_time: float
    noise: NDArray[np.complex64] | None = None
    noise_dwell_time: float = 0.0
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    spoke: SpokeDesign | None = None

    def __post_init__(self) -> None:
        expected = self.grid.shape if self.trajectory is None else self.trajectory.shape[:-1]
        if self.samples.shape[1:] != expected:
            raise ValueError(f"{self.name}: k-space of shape {self.samples.shape[1:]}, expected {expected}")
        if self.noise is not None and self.noise.shape[0] != self.samples.shape[0]:
            raise ValueError(
                f"{self.name}: {self.noise.shape[0]} channels of noise, {self.samples.shape[0]} of signal"
            )

    @property
    def channels(self) -> int:
        """Number of receive channels."""
        return int(self.samples.shape[0])


def collect(header: str | bytes, acquisitions: Iterable[Any], *, name: str = "scan") -> Dataset:
    """Return the whole scan of an MRD header and its acquisitions.

    Parameters
    ----------
    header
        The MRD header's XML.
    acquisitions
        ``ismrmrd.Acquisition`` objects in any order.
    name
        For messages.

    Raises
    ------
    MeasurementError
        There is no readout, or readouts differ in shape.
    """
    encoding = Encoding.from_header(header)
    readouts = [Readout.from_acquisition(acquisition, encoding.grid) for acquisition in acquisitions]
    return _assembled(encoding, readouts, name)


def _assembled(encoding: Encoding, readouts: list[Readout], name: str) -> Dataset:
    noise = [readout for readout in readouts if readout.is_noise]
    signal = [readout for readout in readouts if not readout.is_noise]
    if not signal:
        raise MeasurementError(f"{name} holds no readout, only {len(noise)} noise windows")
    shapes = {readout.samples.shape for readout in signal}
    if len(shapes) > 1:
        raise MeasurementError(f"{name}: readouts of different shapes {sorted(shapes)}")
    radial = all(readout.positions is not None for readout in signal)
    samples, grid = (
        (np.stack([readout.samples for readout in signal], axis=1), encoding.grid)
        if radial
        else _cartesian(name, encoding.grid, signal)
    )
    return Dataset(
        name=name,
        samples=samples,
        trajectory=np.stack([r.positions for r in signal if r.positions is not None]) if radial else None,
        grid=grid,
        dwell_time=signal[0].dwell_time,
        noise=_stack_noise(noise),
        noise_dwell_time=noise[0].dwell_time if noise else 0.0,
        channel_names=encoding.channel_names,
    )


def read_mrd(path: str | Path) -> Dataset:
    """Read the first repetition in an MRD HDF5 file (first dataset group), with its noise.

    Raises
    ------
    BenchFileError
        The file is no MRD HDF5 file.
    MeasurementError
        It holds no readout.
    """
    import h5py

    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            group = _first_scan(file, path)
            encoding = Encoding.from_header(group["xml"][0])
            rows = group["data"]
            readouts = [
                Readout.from_row(row, encoding.grid)
                for start in range(0, len(rows), _ROWS)
                for row in rows[start : start + _ROWS]
                if row["head"]["idx"]["repetition"] == 0
            ]
    except (OSError, TypeError) as error:
        raise BenchFileError(f"{path} is no readable HDF5 file: {error}") from error
    return _assembled(encoding, readouts, path.name)


def mrd_header(path: str | Path) -> bytes:
    """Return the XML header of an MRD HDF5 file (first dataset group).

    Raises
    ------
    BenchFileError
        The file is no MRD HDF5 file.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return bytes(_first_scan(file, Path(path))["xml"][0])
    except (OSError, TypeError) as error:
        raise BenchFileError(f"{path} is no readable HDF5 file: {error}") from error


def _first_scan(file: Any, path: Path) -> Any:  # noqa: ANN401 - h5py is untyped
    groups = [str(key) for key in file if f"{key}/xml" in file and f"{key}/data" in file]
    if not groups:
        raise BenchFileError(f"{path} holds no MRD dataset (a group with 'xml' and 'data')")
    return file[groups[0]]


def read_channel_arrays(path: str | Path, *, noise_dwell_ratio: float = 1.0) -> Dataset:
    """Read two-dimensional Cartesian k-space with its noise scan from an ``.npz`` file.

    Parameters
    ----------
    path
        Arrays ``signal`` (y, x, channel) and ``noise`` (sample, window, channel).
    noise_dwell_ratio
        Sample interval of the noise over that of the signal; the file does not state it.

    Raises
    ------
    BenchFileError
        The file or one of the arrays is missing or has another shape.
    """
    path = Path(path)
    try:
        with np.load(path) as arrays:
            signal, noise = arrays["signal"], arrays["noise"]
    except (OSError, ValueError, KeyError) as error:
        raise BenchFileError(f"{path} is no .npz file with arrays 'signal' and 'noise': {error}") from error
    if signal.ndim != 3 or noise.ndim != 3 or signal.shape[2] != noise.shape[2]:
        raise BenchFileError(
            f"{path}: expected signal (y, x, channel) and noise (sample, window, channel), "
            f"got {signal.shape} and {noise.shape}"
        )
    height, width, _ = signal.shape
    return Dataset(
        name=path.name,
        samples=np.ascontiguousarray(signal.transpose(2, 0, 1)[:, None], dtype=np.complex64),
        trajectory=None,
        grid=Grid((1, height, width), (1.0, 1.0, 1.0)),
        dwell_time=1.0,
        noise=np.ascontiguousarray(noise.transpose(2, 1, 0), dtype=np.complex64),
        noise_dwell_time=noise_dwell_ratio,
        notes=(
            "the file states no field of view: 1 m is assumed",
            f"the file states no sample interval: noise/signal = {noise_dwell_ratio:g} is assumed",
        ),
    )


def read_trajectory_pair(path: str | Path, *, matrix: int = 64) -> Dataset:
    """Read single-channel k-space ``*_data.mat`` and its trajectory ``*_traj.mat``.

    Parameters
    ----------
    path
        The data file (MATLAB 5, variable ``data``) or the trajectory (MATLAB 7.3, ``traj``, (3, point),
        in cycles per pixel); either finds the other beside it.
    matrix
        Voxels along each axis of the grid to reconstruct on.

    Raises
    ------
    BenchFileError
        One of the two files is missing or holds another thing.
    """
    import h5py
    import scipy.io

    path = Path(path)
    stem = path.name.removesuffix("_data.mat").removesuffix("_traj.mat")
    data_path, trajectory_path = path.with_name(f"{stem}_data.mat"), path.with_name(f"{stem}_traj.mat")
    missing = [str(part) for part in (data_path, trajectory_path) if not part.is_file()]
    if missing:
        raise BenchFileError(f"a k-space file and its trajectory belong together; missing: {missing}")
    try:
        data = np.asarray(scipy.io.loadmat(str(data_path))["data"]).ravel()
        with h5py.File(trajectory_path, "r") as file:
            trajectory = np.asarray(file["traj"], dtype=np.float64)
    except (OSError, KeyError, ValueError, NotImplementedError) as error:
        raise BenchFileError(f"{data_path} or {trajectory_path.name} cannot be read: {error}") from error
    if trajectory.shape != (3, data.size):
        raise BenchFileError(f"{trajectory_path}: shape {trajectory.shape}, expected {(3, data.size)}")
    return Dataset(
        name=data_path.name,
        samples=np.ascontiguousarray(data, dtype=np.complex64)[None, None],
        trajectory=np.ascontiguousarray(trajectory.T)[None] * matrix,
        grid=Grid.cube(matrix, 1.0),
        dwell_time=1.0,
        notes=("the file states no field of view: 1 m is assumed",),
    )


def read_file(path: str | Path) -> Dataset:
    """Read a scan from any of the supported files, told apart by name.

    Raises
    ------
    BenchFileError
        The file does not exist, or is of no supported kind; the text lists the kinds.
    """
    path = Path(path)
    if not path.is_file():
        raise BenchFileError(f"there is no file {path}")
    match path.suffix.lower():
        case ".npz":
            return read_channel_arrays(path)
        case ".mat":
            return read_trajectory_pair(path)
        case ".h5" | ".hdf5" | ".mrd":
            return read_mrd(path)
        case other:
            raise BenchFileError(
                f"{path}: cannot reconstruct from {other or 'a file without suffix'}; supported: MRD HDF5 "
                "(.h5, .mrd), .npz with signal and noise, .mat pairs *_data.mat and *_traj.mat"
            )


def _cartesian(name: str, grid: Grid, lines: list[Readout]) -> tuple[NDArray[np.complex64], Grid]:
    """Place Cartesian lines at (partition, number) and cut the grid's readout to the samples present."""
    channels, width = lines[0].samples.shape
    depth, height, _ = grid.shape
    samples = np.zeros((channels, depth, height, width), dtype=np.complex64)
    counts = np.zeros((depth, height))
    for line in lines:
        if line.number >= height or line.partition >= depth:
            raise MeasurementError(
                f"{name}: line {line.number} of partition {line.partition} lies outside the matrix"
            )
        samples[:, line.partition, line.number] += line.samples
        counts[line.partition, line.number] += 1
    samples /= np.maximum(counts, 1)[None, :, :, None].astype(np.float32)
    return samples, Grid((depth, height, width), grid.field_of_view)


def _stack_noise(noise: list[Readout]) -> NDArray[np.complex64] | None:
    """Return (channel, window, sample); windows of another length are joined end to end."""
    if not noise:
        return None
    lengths = {readout.samples.shape[1] for readout in noise}
    if len(lengths) == 1:
        return np.stack([readout.samples for readout in noise], axis=1)
    return np.concatenate([readout.samples for readout in noise], axis=1)[:, None, :]


def _first(sequence: Any, key: str) -> float:  # noqa: ANN401 - generated by xsdata
    """Return the first number of a list-valued sequence parameter, 0 when it is not there."""
    values = getattr(sequence, key, None) or [0.0]
    return float(values[0])
