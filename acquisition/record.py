"""A finished scan as an MRD HDF5 file, made in bulk from the verified stream.

The file appears under its name only when it is complete and has been compared with the stream; until
then it is called ``*.part``. The stream stays the original.

Source: ISMRMRD version 1, HDF5 layout: ``/dataset/xml`` and ``/dataset/data``.
"""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
from ismrmrd.hdf5 import acquisition_dtype, acquisition_header_dtype

from acquisition.playback import StreamReader
from acquisition.stream import sync_folder
from coilbench.base.errors import StorageError, TruncatedStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from acquisition.playback import RawAcquisition

#: Acquisitions converted at a time: enough to be fast, few enough to stay small in memory.
_BATCH: Final = 256
#: The group that ISMRMRD tools open when they are told no other.
GROUP: Final = "dataset"


def write_hdf5(stream: Path, path: Path, /, *, allow_unfinished: bool = False) -> int:
    """Convert a stream into an MRD HDF5 file and return its number of acquisitions.

    Parameters
    ----------
    stream
        ``raw.mrd``; its index is checked when it lies beside it.
    path
        The file to make; replaced when it exists.
    allow_unfinished
        Convert also what a stream without closing message holds.

    Raises
    ------
    TruncatedStream
        The stream is unfinished and that is not allowed; no file was made.
    AcquisitionError
        The stream is damaged; no file was made.
    StorageError
        The disk refused, or gave back something else than was written; the stream is untouched.
    """
    part = path.with_name(path.name + ".part")
    try:
        checksums = _write(stream, part, allow_unfinished=allow_unfinished)
        _verify(part, checksums)
        _flush(part)
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write {part}: {error.strerror or error}; the scan is safe in {stream}. Free space on "
            "the disk and convert it again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return len(checksums)


class _Disk(io.FileIO):
    """A file that takes what a full disk refuses, and remembers that it did.

    HDF5 (1.14) cannot close a file whose writes fail, and crashes the process when it ends.
    """

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        view = memoryview(data).cast("B")
        size = view.nbytes
        try:
            while view and self.failure is None:
                view = view[super().write(view) :]
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
        return size or 0


def _write(stream: Path, part: Path, *, allow_unfinished: bool) -> list[int]:
    """Write the file and return the checksum of every acquisition in it."""
    with _Disk(part, "w+") as disk:
        checksums = _fill(stream, disk, allow_unfinished=allow_unfinished)
        if disk.failure is not None:
            raise disk.failure
    return checksums


def _fill(stream: Path, disk: _Disk, *, allow_unfinished: bool) -> list[int]:
    """Convert until the end, or until the disk has refused something."""
    checksums: list[int] = []
    with StreamReader(stream) as reader, h5py.File(disk, "w") as file:
        group = file.create_group(GROUP)
        xml = group.create_dataset("xml", shape=(1,), dtype=h5py.special_dtype(vlen=bytes))
        xml[0] = reader.header_xml
        data = group.create_dataset(
            "data", shape=(0,), maxshape=(None,), chunks=(_BATCH,), dtype=acquisition_dtype
        )
        acquisitions = _tolerant(reader.raw()) if allow_unfinished else reader.raw()
        while disk.failure is None and (batch := list(islice(acquisitions, _BATCH))):
            start = data.shape[0]
            data.resize(start + len(batch), axis=0)
            data[start:] = _rows(batch)
            checksums.extend(_checksum(raw.head, raw.trajectory, raw.data) for raw in batch)
    return checksums


def _tolerant(acquisitions: Iterator[RawAcquisition]) -> Iterator[RawAcquisition]:
    """End where an unfinished stream ends."""
    with contextlib.suppress(TruncatedStream):
        yield from acquisitions


def _rows(batch: list[RawAcquisition]) -> Any:  # noqa: ANN401 - a compound type that numpy's stubs cannot say
    rows = np.empty(len(batch), dtype=acquisition_dtype)
    rows["head"] = np.frombuffer(b"".join(raw.head for raw in batch), dtype=acquisition_header_dtype)
    for row, raw in enumerate(batch):
        rows["traj"][row] = np.frombuffer(raw.trajectory, dtype="<f4")
        rows["data"][row] = np.frombuffer(raw.data, dtype="<f4")
    return rows


def _verify(part: Path, checksums: list[int]) -> None:
    """Read everything back and compare it with what was meant to be written."""
    with h5py.File(part, "r") as file:
        data: Any = file[f"{GROUP}/data"]
        if data.shape[0] != len(checksums):
            raise StorageError(f"{part} holds {data.shape[0]} acquisitions instead of {len(checksums)}")
        for start in range(0, len(checksums), _BATCH):
            rows = data[start : start + _BATCH]
            found = [_checksum(*parts) for parts in _parts(rows)]
            if found != checksums[start : start + _BATCH]:
                raise StorageError(
                    f"{part} gives back something else than was written, from acquisition {start} on; "
                    "check the disk"
                )


def _parts(rows: Any) -> Iterable[tuple[bytes, bytes, bytes]]:  # noqa: ANN401
    for row in rows:
        yield row["head"].tobytes(), row["traj"].tobytes(), row["data"].tobytes()


def _checksum(*parts: bytes) -> int:
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


def _flush(path: Path) -> None:
    """Push a closed file to the medium."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
