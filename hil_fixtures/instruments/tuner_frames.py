"""Lines, check sums and sequence numbers of the tune/match controller: bytes in, bytes out.

True here: docs/reference/tuner-protocol.md, sections 2 and 3. Not here: what the commands do.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: Longest line with its line feed: section 2.
LONGEST_LINE: Final = 2048

_REQUEST: Final = re.compile(rb">((0|[1-9][0-9]{0,4}) ([^ <>*]+(?: [^ <>*]+)*))\*([0-9A-F]{4})")
_LARGEST_SEQUENCE: Final = 65535
_PRINTABLE: Final = frozenset(range(0x20, 0x7F))


class Refusal(Exception):  # noqa: N818 - the protocol's word; it is answered, never seen by the caller
    """A request that is answered ``ERR``; nothing has been executed.

    Parameters
    ----------
    code
        Section 8.
    text
        For people.
    """

    def __init__(self, code: int, text: str) -> None:
        self.code: Final = code
        self.text: Final = text
        super().__init__(code, text)


@dataclass(frozen=True, slots=True)
class Request:
    """One whole request with a right check sum.

    Parameters
    ----------
    line
        Its bytes, by which repetitions are known.
    sequence
        0 to 65535.
    command, arguments
        The fields after it.
    """

    line: bytes
    sequence: int
    command: str
    arguments: tuple[str, ...]


def checksum(content: bytes, /) -> bytes:
    """Return CRC-16/CCITT-FALSE of what stands between the start character and ``*``, as on the wire."""
    return b"%04X" % binascii.crc_hqx(content, 0xFFFF)


def frame_reply(sequence: int | None, text: str, /) -> bytes:
    """Return a reply line; no sequence number stands as ``-``."""
    content = f"{'-' if sequence is None else sequence} {text}".encode("ascii")
    return b"<" + content + b"*" + checksum(content) + b"\n"


def parse_request(line: bytes, /) -> Request:
    """Return the request in ``line`` (without its line feed).

    Raises
    ------
    Refusal
        Codes 1 and 2.
    """
    found = _REQUEST.fullmatch(line) if _PRINTABLE.issuperset(line) else None
    if found is None or int(found[2]) > _LARGEST_SEQUENCE:
        raise Refusal(1, "frame")
    if checksum(found[1]) != found[4]:
        raise Refusal(2, "checksum")
    command, *arguments = found[3].decode("ascii").split(" ")
    return Request(line, int(found[2]), command, tuple(arguments))


class Lines:
    """Cuts a byte stream into lines; never holds more than one longest line."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._held = bytearray()
        self._overlong = False

    def feed(self, data: bytes, /) -> list[bytes | None]:
        """Return the lines that ``data`` completes, without their ends; None for one that was too long."""
        lines: list[bytes | None] = []
        *complete, rest = data.split(b"\n")
        for part in complete:
            self._hold(part)
            lines.append(None if self._overlong else bytes(self._held).removesuffix(b"\r"))
            self._held.clear()
            self._overlong = False
        self._hold(rest)
        return lines

    def _hold(self, part: bytes) -> None:
        # One byte of the longest line is its line feed.
        if self._overlong or len(self._held) + len(part) > self._longest - 1:
            self._overlong = True
            self._held.clear()
        else:
            self._held += part


class Conversation:
    """One link's sequence numbers: a repeated request gets its old reply and is not executed again.

    Parameters
    ----------
    execute
        Does what a new request asks and returns what stands after ``OK``; raises `Refusal`.
    alive
        Told of every valid request, repetitions included.
    """

    def __init__(self, execute: Callable[[Request], str], alive: Callable[[], None]) -> None:
        self._execute = execute
        self._alive = alive
        self._lines = Lines()
        self._request: Request | None = None
        self._reply = b""

    def receive(self, data: bytes, /) -> bytes:
        """Return the replies to the requests that ``data`` completes."""
        return b"".join(self._answer(line) for line in self._lines.feed(data) if line != b"")

    def _answer(self, line: bytes | None) -> bytes:
        try:
            if line is None:
                raise Refusal(1, "line too long")  # noqa: TRY301 - answered like the others
            request = parse_request(line)
        except Refusal as refusal:
            return frame_reply(None, f"ERR {refusal.code} {refusal.text}")
        self._alive()
        remembered = self._request
        if request.command != "HELLO" and remembered is not None and remembered.sequence == request.sequence:
            if remembered.line == request.line:
                return self._reply
            text = f"sequence number {request.sequence} was used for another request"
            return frame_reply(request.sequence, f"ERR 3 {text}")
        self._request = request
        try:
            result = self._execute(request)
        except Refusal as refusal:
            self._reply = frame_reply(request.sequence, f"ERR {refusal.code} {refusal.text}")
        else:
            self._reply = frame_reply(request.sequence, f"OK {result}".rstrip())
        return self._reply
