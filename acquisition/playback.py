"""Reads the raw record of a scan, finished or not, and checks it against its index.

Every whole acquisition of a stream is delivered; a stream that was cut short, wherever, then ends with
``TruncatedStream``. Damage shows when the index lies beside the stream: the stream itself has no
checksums. Whatever the bytes are, no other error leaves this module, and memory stays bounded by the file.

Source: MRD documentation, "Streaming"; ismrmrd 1.15, ``ismrmrd.serialization``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import ismrmrd
from ismrmrd.xsd import CreateFromDocument, ismrmrdHeader

from acquisition.stream import CLOSE, index_path
from coilbench.base.errors import AcquisitionError, TruncatedStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

#: Message numbers of the MRD stream.
_CONFIG_FILE: Final = 1
_HEADER: Final = 3
_TEXTS: Final = (2, 3, 5)
_ACQUISITION: Final = 1008
#: Bytes of a configuration file's name.
_CONFIG_FILE_SIZE: Final = 1024
#: Bytes of an acquisition's header, 340 in version 1.
ACQUISITION_HEADER_SIZE: Final = ctypes.sizeof(ismrmrd.AcquisitionHeader)
#: Longest header or text that is believed: real ones have a few kB.
_LONGEST_TEXT: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class RawAcquisition:
    """One acquisition of a stream as its bytes: header, trajectory, data.

    Parameters
    ----------
    head
        ``ACQUISITION_HEADER_SIZE`` bytes.
    trajectory, data
        float32, little endian: (sample, dimension) and (channel, sample, real and imaginary).
    """

    head: bytes
    trajectory: bytes
    data: bytes

    def decode(self) -> ismrmrd.Acquisition:
        """Return it as an object with arrays."""
        return ismrmrd.Acquisition.from_bytes(self.head + self.trajectory + self.data)


class StreamReader:
    """Reads a stream, whole or not; checks it against its index when there is one.

    Parameters
    ----------
    path
        The stream.

    Raises
    ------
    TruncatedStream
        It ends inside its header.
    AcquisitionError
        It is no MRD stream or its header is damaged.
    OSError
        It cannot be opened.
    """

    def __init__(self, path: Path, /) -> None:
        self._path = path
        self._checksums = _checksums(index_path(path))
        self._count = 0
        self._crc = 0
        self._file: BinaryIO = path.open("rb")
        self._size = os.fstat(self._file.fileno()).st_size
        try:
            self._xml = self._find_header()
        except BaseException:
            self._file.close()
            raise

    @property
    def header_xml(self) -> bytes:
        """The MRD header as it stands in the stream."""
        return self._xml

    @property
    def header(self) -> ismrmrdHeader:
        """The MRD header.

        Raises
        ------
        AcquisitionError
            The text is no MRD header.
        """
        try:
            return CreateFromDocument(self._xml)
        except Exception as error:
            # The parser leaks five unrelated types of exception on damaged text.
            raise AcquisitionError(f"{self._path} has a header that is no MRD header: {error}") from error

    def raw(self) -> Iterator[RawAcquisition]:
        """Return the acquisitions one by one, as bytes.

        Raises
        ------
        TruncatedStream
            After the last whole acquisition, when the stream has no closing message.
        AcquisitionError
            A message is damaged: its checksum or its kind is wrong.
        """
        while True:
            kind, body = self._verified_message()
            if kind == CLOSE:
                return
            if kind == _ACQUISITION:
                self._count += 1
                yield _split(body)

    def __iter__(self) -> Iterator[ismrmrd.Acquisition]:
        """Return the acquisitions one by one; ends as ``raw`` does."""
        for acquisition in self.raw():
            yield acquisition.decode()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def _find_header(self) -> bytes:
        while True:
            kind, body = self._verified_message()
            if kind == _HEADER:
                return body
            if kind in (_ACQUISITION, CLOSE):
                raise AcquisitionError(f"{self._path} is no MRD stream: it has no header")

    def _verified_message(self) -> tuple[int, bytes]:
        """Return kind and body of the next message, compared with the index."""
        start, self._crc = self._file.tell(), 0
        length, crc = self._checksums.get(start, (None, None))
        try:
            kind, body = self._message()
        except TruncatedStream:
            if length is not None and start + length <= self._size:
                raise self._damaged("a message that claims to be longer than it is") from None
            raise
        if length is not None and (length, crc) != (self._file.tell() - start, self._crc):
            raise self._damaged("a message that differs from its checksum")
        return kind, body

    def _message(self) -> tuple[int, bytes]:
        """Return kind and body of the next message, length fields not included."""
        (kind,) = struct.unpack("<H", self._exactly(2))
        if kind in _TEXTS:
            (length,) = struct.unpack("<I", self._exactly(4))
            if length > _LONGEST_TEXT:
                raise self._damaged(f"a text of {length} bytes")
            return kind, self._exactly(length)
        if kind == _CONFIG_FILE:
            return kind, self._exactly(_CONFIG_FILE_SIZE)
        if kind == CLOSE:
            return kind, b""
        if kind != _ACQUISITION:
            raise self._damaged(f"a message of kind {kind}")
        head = self._exactly(ACQUISITION_HEADER_SIZE)
        trajectory, data = _sizes(head)
        return kind, head + self._exactly(trajectory + data)

    def _exactly(self, length: int) -> bytes:
        """Read ``length`` bytes, never asking for memory that the file cannot fill."""
        if length > self._size - self._file.tell():
            raise TruncatedStream(
                f"{self._path} ends after {self._count} whole acquisitions without its closing message: the "
                "recording was interrupted. All of them can be used"
            )
        data = self._file.read(length)
        self._crc = zlib.crc32(data, self._crc)
        return data

    def _damaged(self, what: str) -> AcquisitionError:
        return AcquisitionError(
            f"{self._path} is damaged: {what} near byte {self._file.tell()}, after {self._count} whole "
            "acquisitions; restore the file from a copy, or use these"
        )


def read_stream(path: Path, /) -> Iterator[ismrmrd.Acquisition]:
    """Return the acquisitions of a stream one by one.

    Raises
    ------
    TruncatedStream
        After the last whole acquisition of an unfinished stream.
    AcquisitionError
        The stream is damaged.
    OSError
        It cannot be opened.
    """
    with StreamReader(path) as reader:
        yield from reader


def _sizes(head: bytes) -> tuple[int, int]:
    """Return the bytes of trajectory and data that follow an acquisition's header."""
    header = ismrmrd.AcquisitionHeader.from_buffer_copy(head)
    samples = int(header.number_of_samples)
    return 4 * samples * int(header.trajectory_dimensions), 8 * samples * int(header.active_channels)


def _split(body: bytes) -> RawAcquisition:
    middle = ACQUISITION_HEADER_SIZE + _sizes(body[:ACQUISITION_HEADER_SIZE])[0]
    return RawAcquisition(body[:ACQUISITION_HEADER_SIZE], body[ACQUISITION_HEADER_SIZE:middle], body[middle:])


def _checksums(path: Path) -> dict[int, tuple[int, int]]:
    """Return length and CRC by offset; an unfinished last line counts as not written."""
    if not path.is_file():
        return {}
    entries = {}
    for line in path.read_bytes().split(b"\n")[:-1]:
        fields = line.split()
        # A line that a dying disk garbled protects nothing; the stream itself still has its structure.
        with contextlib.suppress(ValueError, IndexError):
            entries[int(fields[0])] = (int(fields[1]), int(fields[2], 16))
    return entries
