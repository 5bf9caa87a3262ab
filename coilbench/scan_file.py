"""Raw data of any kind read whole: a run folder, finished or not, an MRD stream, and what others write."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ismrmrd.xsd import CreateFromDocument

from acquisition.header import recorded_spoke
from acquisition.playback import StreamReader
from coilbench.base.errors import BenchFileError, MeasurementError, TruncatedStream
from recon.dataset import SpokeDesign, collect, mrd_header, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import ismrmrd

    from recon.dataset import Dataset


def read_scan_file(path: Path, remarks: list[str], /) -> Dataset:
    """Read the first repetition of a scan; an unfinished stream gives what is whole, and a remark on it.

    Parameters
    ----------
    path
        Run folder, MRD stream or HDF5, ``.npz`` or ``.mat``.
    remarks
        Where a remark is added.

    Raises
    ------
    BenchFileError
        The file is missing or of no supported kind.
    MeasurementError
        It holds nothing to reconstruct.
    """
    if path.is_dir():
        finished, stream = path / "raw.h5", path / "raw.mrd"
        path = finished if finished.is_file() else stream
    if not path.is_file():
        raise BenchFileError(f"{path}: no such file; a run folder holds raw.mrd or raw.h5")
    if path.suffix == ".mrd":
        with StreamReader(path) as reader:
            header = reader.header_xml
            dataset = collect(header, _whole(reader, remarks), name=path.name)
    else:
        dataset = read_file(path)
        if path.suffix.lower() not in {".h5", ".hdf5"}:
            return dataset
        header = mrd_header(path)
    return dataset if dataset.trajectory is None else replace(dataset, spoke=_spoke(header, dataset))


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


def _spoke(header: bytes, dataset: Dataset) -> SpokeDesign | None:
    """Return the spokes' design where the header is one of ours; None for others, which do not say it."""
    document = CreateFromDocument(header)
    sequence = document.sequenceParameters
    if sequence is None or not sequence.TE:
        return None
    try:
        design, times = recorded_spoke(document, dataset.samples.shape[-1])
    except (ValueError, KeyError):
        return None
    return SpokeDesign(times, design.radius, float(sequence.TE[0]) * 1e-3)
