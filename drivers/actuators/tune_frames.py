"""Frames of the tune/match controller protocol 1.0 (docs/reference/tuner-protocol.md): text only, no I/O."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import Final

#: Longest line in either direction, line feed included, in bytes (section 2).
LINE_LIMIT: Final = 2048
#: Sequence numbers run from 0 to this less one (section 2).
SEQUENCE_NUMBERS: Final = 65536
#: Errors that say "nothing was understood, send the same bytes again": frame and checksum (sections 2 and 8).
GARBLED: Final = frozenset({1, 2})
#: Errors that say "beyond a limit": travel and current (section 8).
BEYOND_LIMIT: Final = frozenset({21, 31})

_SENDABLE: Final = re.compile(r"[ -)+-;=?-~]+")
_REPLY: Final = re.compile(r"<(-|0|[1-9][0-9]{0,4}) (OK|ERR)((?: [!-)+-;=?-~]+)*)\*([0-9A-F]{4})")
_STATUS: Final = re.compile(
    r"moving=(\d+) fault=(\d+) bias=(on|off) watchdog=(idle|armed|tripped)((?: \S+)*)"
)
_STATE: Final = re.compile(r"([a-z0-9.]{1,20})=(done|moving|stopped|limit|stalled):(-?\d+)")


def checksum(text: str, /) -> str:
    """Return the CRC-16/CCITT-FALSE of an ASCII text as four upper-case hexadecimal digits (section 2)."""
    return f"{binascii.crc_hqx(text.encode('ascii'), 0xFFFF):04X}"


def frame(sequence: int, command: str, /) -> str:
    """Return a request's line without its line feed.

    Raises
    ------
    ValueError
        The line would be longer than the controller takes, or holds characters that frames are made of.
    """
    body = f"{sequence} {command}"
    if not _SENDABLE.fullmatch(body) or len(body) + len(">*FFFF\n") > LINE_LIMIT:
        raise ValueError(
            f"a command has printable ASCII without '<', '>', '*' and fits {LINE_LIMIT} bytes: {body[:80]!r}"
        )
    return f">{body}*{checksum(body)}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One undamaged reply.

    Parameters
    ----------
    sequence
        Of the request answered; None when the controller could not read it.
    error
        The error's code, None for OK.
    text
        What followed OK or the code.
    """

    sequence: int | None
    error: int | None
    text: str


def parse_reply(line: str, /) -> Reply | None:
    """Return the reply in ``line``, or None when the line is damaged (a damaged reply counts as lost)."""
    match = _REPLY.fullmatch(line)
    if match is None:
        return None
    sequence, verdict, text, stated = match.groups()
    if checksum(line[1 : line.rindex("*")]) != stated:
        return None
    number = None if sequence == "-" else int(sequence)
    if verdict == "OK":
        return Reply(number, None, text.strip())
    code, _, words = text.strip().partition(" ")
    return Reply(number, int(code), words) if code.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Status:
    """What STATUS says (section 6).

    Parameters
    ----------
    moving, faults
        Number of axes on their way, and halted by an end switch or stalled.
    bias_is_on
        Whether any bias current is not zero.
    watchdog
        ``idle``, ``armed`` or ``tripped``.
    axes
        State and position in steps of every axis listed.
    """

    moving: int
    faults: int
    bias_is_on: bool
    watchdog: str
    axes: dict[str, tuple[str, int]]


def parse_status(text: str, /) -> Status | None:
    """Return the status in a reply's text, or None when it is not one."""
    match = _STATUS.fullmatch(text)
    if match is None:
        return None
    moving, faults, bias, watchdog, listed = match.groups()
    axes: dict[str, tuple[str, int]] = {}
    for field in listed.split():
        state = _STATE.fullmatch(field)
        if state is None:
            return None
        axes[state[1]] = (state[2], int(state[3]))
    return Status(int(moving), int(faults), bias == "on", watchdog, axes)
