"""HiSLIP messages: bytes in, frames out (IVI-6.1 revision 1.1, tables 3 and 4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

#: Prologue, message type, control code, message parameter, payload length; big endian.
_HEADER: Final = struct.Struct("!2sBBIQ")

#: A payload announced longer than this is taken for a broken header.
_LONGEST_PAYLOAD: Final = 1 << 30


class MessageType(IntEnum):
    """Message types of HiSLIP 1.0."""

    INITIALIZE = 0
    INITIALIZE_RESPONSE = 1
    FATAL_ERROR = 2
    ERROR = 3
    ASYNC_LOCK = 4
    ASYNC_LOCK_RESPONSE = 5
    DATA = 6
    DATA_END = 7
    DEVICE_CLEAR_COMPLETE = 8
    DEVICE_CLEAR_ACKNOWLEDGE = 9
    ASYNC_REMOTE_LOCAL_CONTROL = 10
    ASYNC_REMOTE_LOCAL_RESPONSE = 11
    TRIGGER = 12
    INTERRUPTED = 13
    ASYNC_INTERRUPTED = 14
    ASYNC_MAX_MESSAGE_SIZE = 15
    ASYNC_MAX_MESSAGE_SIZE_RESPONSE = 16
    ASYNC_INITIALIZE = 17
    ASYNC_INITIALIZE_RESPONSE = 18
    ASYNC_DEVICE_CLEAR = 19
    ASYNC_SERVICE_REQUEST = 20
    ASYNC_STATUS_QUERY = 21
    ASYNC_STATUS_RESPONSE = 22
    ASYNC_DEVICE_CLEAR_ACKNOWLEDGE = 23
    ASYNC_LOCK_INFO = 24
    ASYNC_LOCK_INFO_RESPONSE = 25


class FatalErrorCode(IntEnum):
    """Errors after which both connections are closed; table 5."""

    POOR_HEADER = 1
    CHANNELS_NOT_ESTABLISHED = 2
    INVALID_INITIALIZATION = 3
    TOO_MANY_CLIENTS = 4


class ErrorCode(IntEnum):
    """Errors that leave the connection usable; table 6."""

    UNRECOGNIZED_MESSAGE_TYPE = 1
    UNRECOGNIZED_CONTROL_CODE = 2
    MESSAGE_TOO_LARGE = 4


class BadHeaderError(Exception):
    """What arrived does not begin with a HiSLIP header."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One HiSLIP message.

    Parameters
    ----------
    type
        A :class:`MessageType`, or the number of one that HiSLIP 1.0 does not know.
    control
        Control code, 0..255.
    parameter
        Message parameter, 32 bits.
    payload
        May be empty.
    """

    type: int
    control: int = 0
    parameter: int = 0
    payload: bytes = b""

    def encoded(self) -> bytes:
        """Return the bytes on the wire."""
        header = _HEADER.pack(b"HS", self.type, self.control, self.parameter, len(self.payload))
        return header + self.payload


class FrameReader:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes in any fragmentation and return the frames completed by them.

        Raises
        ------
        BadHeaderError
            The stream is out of step; nothing after this can be read.
        """
        self._buffer += data
        frames = []
        while len(self._buffer) >= _HEADER.size:
            prologue, kind, control, parameter, length = _HEADER.unpack_from(self._buffer)
            if prologue != b"HS" or length > _LONGEST_PAYLOAD:
                raise BadHeaderError(bytes(self._buffer[: _HEADER.size]).hex(" "))
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append(Frame(kind, control, parameter, bytes(self._buffer[_HEADER.size : end])))
            del self._buffer[:end]
        return frames
