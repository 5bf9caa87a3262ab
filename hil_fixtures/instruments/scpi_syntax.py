"""The grammar of SCPI messages: bytes in, units with headers and arguments out.

True here: IEEE 488.2-1992 chapter 7 (units, strings, definite-length blocks, numbers with units) and the
short and long forms, numeric suffixes and root rules of SCPI-99 volume 1 chapter 6. Not here:
expressions, indefinite-length blocks, numbers in other bases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Texts of the errors an instrument may report; SCPI-99 volume 2 chapter 21.8.
ERROR_TEXTS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0: "No error",
        -101: "Invalid character",
        -102: "Syntax error",
        -103: "Invalid separator",
        -104: "Data type error",
        -108: "Parameter not allowed",
        -109: "Missing parameter",
        -113: "Undefined header",
        -114: "Header suffix out of range",
        -131: "Invalid suffix",
        -141: "Invalid character data",
        -151: "Invalid string data",
        -161: "Invalid block data",
        -200: "Execution error",
        -213: "Init ignored",
        -221: "Settings conflict",
        -222: "Data out of range",
        -224: "Illegal parameter value",
        -230: "Data corrupt or stale",
        -256: "File name not found",
        -310: "System error",
        -350: "Queue overflow",
        -410: "Query INTERRUPTED",
    }
)

#: Powers of ten of unit prefixes; "MHZ" is mega and "MS" is milli (IEEE 488.2 table 7-2).
_PREFIXES: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "Hz": {"HZ": 1.0, "KHZ": 1e3, "MHZ": 1e6, "MAHZ": 1e6, "GHZ": 1e9},
        "s": {"S": 1.0, "MS": 1e-3, "US": 1e-6, "NS": 1e-9},
        "dBm": {"DBM": 1.0},
        "": {},
    }
)
_NUMBER: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:\s*[eE]\s*[+-]?\d+)?)\s*([A-Za-z]*)")

#: Longest message taken before its end must have been seen; larger than any the manuals show.
LONGEST_MESSAGE: Final = 16 << 20


class ScpiError(Exception):
    """An error for the instrument's error queue.

    Parameters
    ----------
    code
        SCPI error number.
    detail
        What was wrong, for whoever debugs the simulator.
    """

    def __init__(self, code: int, detail: str = "") -> None:
        self.code = code
        super().__init__(code, detail)


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter of a command, still as text.

    Parameters
    ----------
    text
        As sent, without surrounding blanks; strings keep their quotes.
    """

    text: str

    def number(
        self, unit: str = "", /, *, minimum: float, maximum: float, default: float | None = None
    ) -> float:
        """Return the number in ``unit`` (``""``, ``"Hz"``, ``"s"`` or ``"dBm"``).

        Raises
        ------
        ScpiError
            No number (-104), another unit (-131), or outside the limits (-222).
        """
        named = {"MIN": minimum, "MINIMUM": minimum, "MAX": maximum, "MAXIMUM": maximum}
        if default is not None:
            named |= {"DEF": default, "DEFAULT": default}
        word = self.text.upper()
        if word in named:
            return named[word]
        match = _NUMBER.fullmatch(self.text)
        if match is None:
            raise ScpiError(-104, self.text)
        digits, suffix = match.groups()
        if suffix and suffix.upper() not in _PREFIXES[unit]:
            raise ScpiError(-131, self.text)
        value = float(re.sub(r"\s", "", digits)) * _PREFIXES[unit].get(suffix.upper(), 1.0)
        if not minimum <= value <= maximum:
            raise ScpiError(-222, self.text)
        return value

    def integer(self, *, minimum: int, maximum: int, default: int | None = None) -> int:
        """Return a whole number; fractions are rounded as IEEE 488.2 asks.

        Raises
        ------
        ScpiError
            As for :meth:`number`.
        """
        return round(self.number(minimum=minimum, maximum=maximum, default=default))

    def boolean(self) -> bool:
        """Return ON, OFF or a number as truth.

        Raises
        ------
        ScpiError
            Anything else (-141).
        """
        word = self.text.upper()
        if word in ("ON", "OFF"):
            return word == "ON"
        try:
            return round(float(word)) != 0
        except ValueError:
            raise ScpiError(-141, self.text) from None

    def choice(self, *words: str) -> str:
        """Return that of ``words`` (written as in manuals, ``"SEGMent"``) which was sent, in short form.

        Raises
        ------
        ScpiError
            None of them was (-141).
        """
        for word in words:
            if self.text.upper() in (short_form(word), word.upper()):
                return short_form(word)
        raise ScpiError(-141, self.text)

    def string(self) -> str:
        """Return the content of a quoted string.

        Raises
        ------
        ScpiError
            It is not quoted (-104) or not closed (-151).
        """
        quote = self.text[:1]
        if quote not in ("'", '"'):
            raise ScpiError(-104, self.text)
        if len(self.text) < 2 or self.text[-1] != quote:
            raise ScpiError(-151, self.text)
        return self.text[1:-1].replace(quote * 2, quote)


@dataclass(frozen=True, slots=True)
class Header:
    """A command's header.

    Parameters
    ----------
    nodes
        Mnemonics in capitals with their numeric suffixes (None: none was sent).
    is_query
        It ends with a question mark.
    is_absolute
        It begins with a colon, or is a common command.
    """

    nodes: tuple[tuple[str, int | None], ...]
    is_query: bool
    is_absolute: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """One command or query of a message.

    Parameters
    ----------
    header
        Parsed header.
    arguments
        In the order sent.
    text
        As sent, for error messages.
    """

    header: Header
    arguments: tuple[Argument, ...]
    text: str


def short_form(word: str) -> str:
    """Return the short form of a mnemonic written as in manuals: ``"SEGMent"`` gives ``"SEGM"``."""
    return "".join(letter for letter in word if not letter.islower())


def parse_unit(text: str) -> Unit:
    """Return the command in ``text``.

    Raises
    ------
    ScpiError
        The header is no header (-101, -102).
    """
    head, *rest = text.strip(" \t\r").split(maxsplit=1)
    arguments = tuple(Argument(_trimmed(part)) for part in split_outside_quotes(rest[0], ",")) if rest else ()
    if any(not argument.text for argument in arguments):
        raise ScpiError(-102, text)
    return Unit(_parse_header(head), arguments, text)


def _trimmed(part: str) -> str:
    """Return an argument without blanks around it; those at the end of a block belong to it."""
    begun = part.lstrip()
    return begun if begun.startswith("#") else begun.rstrip()


def _parse_header(head: str) -> Header:
    is_query = head.endswith("?")
    body = head.removesuffix("?")
    if body.startswith(("*", "@")):
        return Header(((body.upper(), None),), is_query, is_absolute=True)
    nodes = []
    for mnemonic in body.removeprefix(":").split(":"):
        match = re.fullmatch(r"([A-Za-z_]+)(\d*)", mnemonic)
        if match is None:
            raise ScpiError(-101 if mnemonic else -102, head)
        nodes.append((match[1].upper(), int(match[2]) if match[2] else None))
    return Header(tuple(nodes), is_query, is_absolute=body.startswith(":"))


def split_outside_quotes(text: str, separator: str) -> Sequence[str]:
    """Return ``text`` cut at each ``separator`` that is not within quotes or a block.

    Raises
    ------
    ScpiError
        A quote is not closed (-151) or a block is cut short (-161).
    """
    parts: list[str] = []
    begin = position = 0
    while position < len(text):
        letter = text[position]
        if letter in "'\"":
            end = text.find(letter, position + 1)
            if end < 0:
                raise ScpiError(-151, text)
            position = end
        elif letter == "#" and text[position + 1 : position + 2].isdigit():
            position = _block_end(text, position)
        elif letter == separator:
            parts.append(text[begin:position])
            begin = position + 1
        position += 1
    parts.append(text[begin:])
    return parts


def _block_end(text: str, begin: int) -> int:
    """Return the position of a definite-length block's last character."""
    digits = int(text[begin + 1])
    count = text[begin + 2 : begin + 2 + digits]
    end = begin + 2 + digits + (int(count) if count.isdigit() else 0)
    if digits == 0 or len(count) < digits or not count.isdigit() or end > len(text):
        raise ScpiError(-161)
    return end - 1


class MessageSplitter:
    """Cuts a byte stream into messages at line feeds that are not within blocks."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """Take bytes in any fragmentation and return the messages completed by them.

        A message longer than 16 MiB is thrown away.
        """
        self._buffer += data
        messages = []
        while (end := self._end()) >= 0:
            messages.append(self._buffer[:end].decode("latin-1").rstrip("\r"))
            del self._buffer[: end + 1]
        if len(self._buffer) > LONGEST_MESSAGE:
            self._buffer.clear()
        return messages

    def clear(self) -> None:
        """Forget an incomplete message."""
        self._buffer.clear()

    def _end(self) -> int:
        """Return the position of the line feed that ends the first message, or -1."""
        position = 0
        while (feed := self._buffer.find(b"\n", position)) >= 0:
            block = self._buffer.find(b"#", position, feed)
            if block < 0:
                return feed
            digits = self._buffer[block + 1] - 0x30
            count = bytes(self._buffer[block + 2 : block + 2 + max(digits, 0)])
            if not 1 <= digits <= 9 or not count.isdigit():
                position = block + 1
            elif len(self._buffer) <= (position := block + 2 + digits + int(count)):
                return -1
        return -1


def block(payload: bytes) -> bytes:
    """Return ``payload`` as a definite-length block with the shortest length field."""
    count = str(len(payload)).encode()
    return b"#%d%s%s" % (len(count), count, payload)


def number_text(value: float) -> str:
    """Return a number as the analyzers print settings: whole ones without a point."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
