"""Messages of the scanner's text protocol: bytes in, commands out.

True here: docs/reference/scanner-protocol.md, section 1: lines, one block with its length before it,
short and long headers. Not here: what the commands do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

#: Longest message without a block, in bytes.
_LONGEST: Final = 1024

#: Longest block in bytes: section 6.
_LARGEST_BLOCK: Final = 64 * 1024 * 1024

_LONG_WORDS: Final = {
    "SEQUENCE": "SEQ",
    "SYSTEM": "SYST",
    "OUTPUT": "OUTP",
    "STATE": "STAT",
    "ABORT": "ABOR",
    "COUNT": "COUN",
    "ERROR": "ERR",
    "LIMITS": "LIM",
    "WATCHDOG": "WDOG",
}
_SWITCH: Final = {"ON": True, "1": True, "OFF": False, "0": False}
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,9}")
_BLOCK_HEAD: Final = re.compile(rb"[^\n]*? #([1-9])")


class CommandError(Exception):
    """A command that is not executed; its code and text go to the error queue."""

    def __init__(self, code: int, text: str) -> None:
        self.code: Final = code
        #: As ``SYST:ERR?`` gives it: ASCII, without quotation marks.
        self.text: Final = text.replace('"', "'").encode("ascii", "replace").decode("ascii")
        super().__init__(code, text)


@dataclass(frozen=True, slots=True)
class Command:
    """One message.

    Parameters
    ----------
    header
        In capitals and short form.
    parameters
        Text between the commas.
    block
        What followed ``#``, or None.
    """

    header: str
    parameters: tuple[str, ...] = ()
    block: bytes | None = None

    def expect(self, count: int) -> None:
        """Check the number of parameters.

        Raises
        ------
        CommandError
            -108 or -109.
        """
        if len(self.parameters) > count or (self.block is not None):
            raise CommandError(-108, f"Parameter not allowed;{self.header}")
        if len(self.parameters) < count:
            raise CommandError(-109, f"Missing parameter;{self.header}")

    def integers(self, count: int) -> tuple[int, ...]:
        """Return ``count`` whole numbers; raises `CommandError` as `expect`, and -104."""
        self.expect(count)
        for parameter in self.parameters:
            if not _INTEGER.fullmatch(parameter):
                raise CommandError(-104, f"Data type error;{parameter}")
        return tuple(int(parameter) for parameter in self.parameters)

    def switch(self) -> bool:
        """Return on or off; raises `CommandError` as `expect`, and -104."""
        self.expect(1)
        word = self.parameters[0].upper()
        if word not in _SWITCH:
            raise CommandError(-104, f"Data type error;{self.parameters[0]}")
        return _SWITCH[word]

    def block_text(self) -> str:
        """Return the block as text; raises `CommandError` -109 without one, -161 when it is no text."""
        if self.block is None:
            raise CommandError(-109, f"Missing parameter;{self.header} needs a block")
        try:
            return self.block.decode("utf-8")
        except UnicodeDecodeError:
            raise CommandError(-161, "Invalid block data;it is no text") from None


class Messages:
    """Cuts a byte stream into commands, in any fragmentation."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._head = ""
        self._missing: int | None = None
        self._is_skipping = False

    def feed(self, data: bytes, /) -> list[Command | CommandError]:
        """Return the commands that ``data`` completes, and the errors of those that are none."""
        self._held += data
        found: list[Command | CommandError] = []
        while True:
            size = len(self._held)
            try:
                command = self._next()
            except CommandError as error:
                found.append(error)
                continue
            if command is not None:
                found.append(command)
            elif len(self._held) == size:
                return found

    def _next(self) -> Command | None:
        if self._missing is not None:
            return self._next_block()
        line, end, rest = self._held.partition(b"\n")
        if self._is_skipping or (b" #" not in line and len(line) > _LONGEST):
            is_first, self._is_skipping = not self._is_skipping, not end
            self._held = rest
            if is_first:
                raise CommandError(-113, "Undefined header;message too long")
            return None
        head = _BLOCK_HEAD.match(self._held)
        if head is not None:
            self._begin_block(head)
            return None
        if not end:
            return None
        self._held = rest
        return _parse(line.decode("ascii", "replace").strip())

    def _begin_block(self, head: re.Match[bytes]) -> None:
        digits = int(head[1])
        length = bytes(self._held[head.end() : head.end() + digits])
        if len(length) < digits and length.isdigit() | (not length):
            return
        if not length.isdigit() or int(length) > _LARGEST_BLOCK:
            line, _, rest = self._held.partition(b"\n")
            self._held, self._is_skipping = rest, len(line) == len(self._held)
            raise CommandError(-161, "Invalid block data;its length is malformed or too large")
        self._head = self._held[: head.end() - 2].decode("ascii", "replace").strip()
        self._missing = int(length)
        del self._held[: head.end() + digits]

    def _next_block(self) -> Command | None:
        length = self._missing
        # The line feed after the block ends the message.
        if length is None or len(self._held) <= length:
            return None
        block, tail = bytes(self._held[:length]), bytes(self._held[length : length + 2])
        if tail == b"\r":
            return None
        del self._held[: length + (2 if tail == b"\r\n" else 1)]
        self._missing = None
        if tail[:1] != b"\n" and tail != b"\r\n":
            self._is_skipping = True
            raise CommandError(-161, "Invalid block data;no line feed after it")
        command = _parse(self._head)
        if command is None or command.parameters:
            raise CommandError(-161, "Invalid block data;it stands in the wrong place")
        return Command(command.header, (), block)


def _parse(line: str) -> Command | None:
    if not line:
        return None
    header, _, parameters = line.partition(" ")
    is_query = header.endswith("?")
    words = [_LONG_WORDS.get(word, word) for word in header.upper().rstrip("?").split(":")]
    fields = tuple(field.strip() for field in parameters.split(",")) if parameters.strip() else ()
    return Command(":".join(words) + "?" * is_query, fields)
