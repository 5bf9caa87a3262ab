"""The crash-safe record of a scan: an MRD stream that only grows, and an index of checksums beside it.

``raw.mrd`` is the MRD version 1 stream (header, acquisitions, close) that any MRD reader understands.
``raw.idx`` has one line of text per message: offset, length, CRC-32 (hexadecimal), monotonic and UTC
seconds. An acquisition is acknowledged only after both have been handed to the operating system, so the
end of this process loses nothing acknowledged; a power cut loses at most what was not yet synchronised.
A stream without its closing message was not finished: readers deliver every whole acquisition of it and
then say so.

Source: ismrmrd 1.15, ``ismrmrd.serialization``; message numbers from the MRD documentation, "Streaming".
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import time
import zlib
from typing import TYPE_CHECKING, Final, Self

from ismrmrd.serialization import ProtocolSerializer

from coilbench.base.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    import ismrmrd
    from ismrmrd.xsd import ismrmrdHeader

#: Number of the closing message of an MRD stream.
CLOSE: Final = 4


def index_path(stream: Path, /) -> Path:
    """Return where the checksums of ``stream`` are kept: ``raw.idx`` beside ``raw.mrd``."""
    return stream.with_suffix(".idx")


class StreamWriter:
    """Writes a new stream and its index; never overwrites one.

    Parameters
    ----------
    path
        The stream to create.
    header
        Its MRD header.
    sync_interval
        Longest time in s that written data stay unsynchronised with the medium.
    sync_bytes
        Most bytes that stay unsynchronised.

    Raises
    ------
    StorageError
        The files cannot be created.
    """

    def __init__(
        self, path: Path, header: ismrmrdHeader, *, sync_interval: float = 1.0, sync_bytes: int = 64 << 20
    ) -> None:
        self._path = path
        self._sync_interval = sync_interval
        self._sync_bytes = sync_bytes
        self._count = 0
        self._offset = 0
        self._index_offset = 0
        self._unsynced = 0
        self._unsynced_lock = threading.Lock()
        self._failure: OSError | None = None
        self._stop = threading.Event()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            self._data = os.open(path, flags, 0o644)
            try:
                self._index = os.open(index_path(path), flags, 0o644)
            except OSError:
                os.close(self._data)
                raise
        except OSError as error:
            raise StorageError(f"cannot create {error.filename}: {error.strerror}") from error
        self._is_open = True
        self._is_finished = False
        self._syncer = threading.Thread(target=self._sync_regularly, name=f"sync {path.name}", daemon=True)
        try:
            self._write(_message(header))
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(StorageError):
                self.close()
            raise
        self._syncer.start()

    @property
    def count(self) -> int:
        """Acquisitions acknowledged so far."""
        return self._count

    def append(self, acquisition: ismrmrd.Acquisition, /) -> None:
        """Write one acquisition; when this returns the end of the process cannot lose it.

        Raises
        ------
        StorageError
            The disk refused; everything acknowledged before is safe and the stream ends after it.
        ValueError
            The writer is closed.
        """
        self._write(_message(acquisition))
        self._count += 1

    def record(self, acquisitions: Iterable[ismrmrd.Acquisition], /) -> Iterator[ismrmrd.Acquisition]:
        """Pass acquisitions on, each only after it has been written.

        Raises
        ------
        StorageError
            As ``append``.
        """
        for acquisition in acquisitions:
            self.append(acquisition)
            yield acquisition

    def finish(self) -> None:
        """Write the closing message, synchronise and close: the stream is complete; may be called twice.

        Raises
        ------
        StorageError
            The disk refused; the acquisitions are safe but the stream counts as unfinished.
        ValueError
            The stream was closed unfinished.
        """
        if self._is_finished:
            return
        self._write(struct.pack("<H", CLOSE))
        self._is_finished = True
        self.close()

    def close(self) -> None:
        """Synchronise and close without the closing message; may be called twice.

        Raises
        ------
        StorageError
            The medium refused what the operating system had accepted.
        """
        if not self._is_open:
            return
        self._is_open = False
        self._stop.set()
        if self._syncer.ident is not None:
            self._syncer.join()
        try:
            self._synchronise()
        except OSError as error:
            self._failure = self._failure or error
        finally:
            os.close(self._data)
            os.close(self._index)
        self._check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the stream unless it is closed already, or close it unfinished when the block failed."""
        if kind is None and self._is_open:
            self.finish()
            return
        # The failure on its way tells more than a second one from the same disk.
        with contextlib.suppress(StorageError):
            self.close()

    def _write(self, message: bytes) -> None:
        if not self._is_open:
            raise ValueError(f"{self._path} is closed")
        self._check()
        times = f"{time.monotonic():.6f} {time.time():.6f}"
        entry = f"{self._offset} {len(message)} {zlib.crc32(message):08x} {times}\n".encode()
        try:
            _write_all(self._data, message)
            _write_all(self._index, entry)
            with self._unsynced_lock:
                self._unsynced += len(message) + len(entry)
            if self._unsynced >= self._sync_bytes:
                self._synchronise()
        except OSError as error:
            self._failure = self._failure or error
            self._cut_back()
            self._check()
        self._offset += len(message)
        self._index_offset += len(entry)

    def _cut_back(self) -> None:
        """Drop the half-written message, so that the stream ends where the acknowledged data end."""
        # Readers cope with the remainder when even this is refused.
        with contextlib.suppress(OSError):
            os.ftruncate(self._data, self._offset)
        with contextlib.suppress(OSError):
            os.ftruncate(self._index, self._index_offset)

    def _check(self) -> None:
        """Raise what the disk said last."""
        if self._failure is not None:
            raise StorageError(
                f"cannot write {self._path}: {self._failure.strerror}; the {self._count} acquisitions "
                "before are safe in it. Free space on the disk; the file reads like that of a finished scan"
            ) from self._failure

    def _synchronise(self) -> None:
        """Push written data to the medium: data first, so the index never promises more."""
        pending = self._unsynced
        if pending:
            _fdatasync(self._data)
            _fdatasync(self._index)
            with self._unsynced_lock:
                self._unsynced -= pending

    def _sync_regularly(self) -> None:
        while not self._stop.wait(self._sync_interval):
            try:
                self._synchronise()
            except OSError as error:
                self._failure = self._failure or error
                return


def _message(item: ismrmrd.Acquisition | ismrmrdHeader) -> bytes:
    """Return a message as bytes."""
    buffer = io.BytesIO()
    ProtocolSerializer(buffer).serialize(item)
    return buffer.getvalue()


def _write_all(descriptor: int, data: bytes) -> None:
    """Write everything; the operating system may take it in pieces."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _fdatasync(descriptor: int) -> None:
    """Push a file's data to the medium, with what the platform has for it."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def sync_folder(folder: Path, /) -> None:
    """Make new names in ``folder`` survive a power cut, where folders can be opened.

    Raises
    ------
    StorageError
        The medium refused.
    """
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"cannot synchronise the folder {folder}: {error.strerror}") from error
