"""Record every byte of a link, and play the recording back to a driver that must say the same again.

A transcript is a text file of one JSON object per line (JSONL): ``t`` seconds since the recording began,
``do`` what happened (``open``, ``send``, ``receive``, ``lost``, ``clear``, ``close``) and the bytes: ``text``
where they are printable ASCII, else ``hex``. The first line names the format and the address.

Replay is strict in what is sent, to the byte, and free in how answers are cut into pieces. Where the recorded
instrument kept silent, the replay times out at once.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from drivers.link import WireLost, WireRefused, WireTimeout, shown

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.link import Wire

_FORMAT: Final = "coilbench transcript 1"


class TranscriptError(ValueError):
    """The driver did not do what was recorded, or the file is no transcript."""


@dataclass(frozen=True, slots=True)
class _Step:
    line: int
    do: str
    data: bytes = b""


class RecordingWire:
    """Passes everything on to another wire and writes it down.

    Parameters
    ----------
    wire
        The real one.
    path
        A new file; each line is on disk before the call returns.

    Raises
    ------
    FileExistsError
        Recordings are never overwritten.
    """

    def __init__(self, wire: Wire, path: Path) -> None:
        self._wire = wire
        self._path = path
        self._start = time.monotonic()
        with path.open("x", encoding="ascii") as file:
            file.write(json.dumps({"format": _FORMAT, "address": wire.address}) + "\n")
        self._file: IO[str] | None = None

    @property
    def address(self) -> str:
        """The real wire's address."""
        return self._wire.address

    def open(self, timeout: float, /) -> None:
        """Open the real wire."""
        self._wire.open(timeout)
        self._file = self._path.open("a", encoding="ascii", buffering=1)
        self._note("open")

    def send(self, data: bytes, timeout: float, /) -> None:
        """Note what is sent, and send it."""
        self._note("send", data)
        self._wire.send(data, timeout)

    def receive_into(self, buffer: memoryview, timeout: float, /) -> int:
        """Receive, and note what came."""
        try:
            count = self._wire.receive_into(buffer, timeout)
        except WireLost:
            self._note("lost")
            raise
        self._note("receive", bytes(buffer[:count]))
        return count

    def clear(self, timeout: float, /) -> bool:
        """Clear the instrument, and note it when the wire could."""
        cleared = self._wire.clear(timeout)
        if cleared:
            self._note("clear")
        return cleared

    def close(self) -> None:
        """Close the real wire and the file; opening again appends."""
        self._wire.close()
        if self._file is not None:
            self._note("close")
            self._file.close()
            self._file = None

    def _note(self, do: str, data: bytes = b"") -> None:
        if self._file is None:
            return
        entry: dict[str, str | float] = {"t": round(time.monotonic() - self._start, 6), "do": do}
        if data:
            entry |= _as_json(data)
        self._file.write(json.dumps(entry) + "\n")


class ReplayWire:
    """Plays a transcript back.

    Parameters
    ----------
    path
        A transcript.

    Raises
    ------
    TranscriptError
        The file is no transcript (at construction), or the driver does something else than was recorded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._steps = _read(path)
        self._position = 0
        self._sent = 0
        self._received = 0

    @property
    def address(self) -> str:
        """The transcript as an address."""
        return f"replay://{self._path}"

    @property
    def remaining(self) -> int:
        """Recorded steps not yet played, except closing."""
        return sum(step.do != "close" for step in self._steps[self._position :])

    def open(self, timeout: float, /) -> None:
        """Go on from where the recording was opened; refuse when it was not."""
        del timeout
        while (step := self._next()) is not None and step.do != "open":
            if step.do in {"send", "clear"}:
                raise TranscriptError(
                    f"{self._where(step)}: the driver opened anew, recorded was '{step.do}'"
                )
            self._advance()
        if step is None:
            raise WireRefused("the transcript ends here")
        self._advance()

    def send(self, data: bytes, timeout: float, /) -> None:
        """Compare with what was sent when recording, byte by byte."""
        del timeout
        rest = data
        while rest:
            step = self._next()
            if step is None or step.do != "send":
                recorded = "the end" if step is None else f"'{step.do}' {shown(step.data)}"
                raise TranscriptError(
                    f"{self._where(step)}: the driver sent '{shown(rest)}', recorded was {recorded}"
                )
            expected = step.data[self._sent :]
            same = min(len(expected), len(rest))
            if expected[:same] != rest[:same]:
                raise TranscriptError(
                    f"{self._where(step)}: '{shown(rest)}' was sent, recorded is '{shown(expected)}'"
                )
            rest = rest[same:]
            self._sent += same
            if self._sent == len(step.data):
                self._advance()

    def receive_into(self, buffer: memoryview, timeout: float, /) -> int:
        """Give what the instrument answered; ``WireTimeout`` where it had not."""
        del timeout
        step = self._next()
        if step is not None and step.do == "receive":
            piece = step.data[self._received : self._received + len(buffer)]
            buffer[: len(piece)] = piece
            self._received += len(piece)
            if self._received == len(step.data):
                self._advance()
            return len(piece)
        if step is not None and step.do == "lost":
            self._advance()
            raise WireLost("the recorded instrument closed the connection")
        raise WireTimeout

    def clear(self, timeout: float, /) -> bool:
        """Return True where a device clear was recorded."""
        del timeout
        at = self._position
        # a clear throws away answers that nobody read
        while at < len(self._steps) and self._steps[at].do == "receive":
            at += 1
        if at < len(self._steps) and self._steps[at].do == "clear":
            self._position = at
            self._advance()
            return True
        return False

    def close(self) -> None:
        """Do nothing: opening again looks for the next recorded opening."""

    def _next(self) -> _Step | None:
        return self._steps[self._position] if self._position < len(self._steps) else None

    def _advance(self) -> None:
        self._position += 1
        self._sent = self._received = 0

    def _where(self, step: _Step | None) -> str:
        return f"{self._path.name}, {'end' if step is None else f'line {step.line}'}"


def _as_json(data: bytes) -> dict[str, str]:
    text = data.decode("latin-1")
    if text.isascii() and all(character.isprintable() or character in "\r\n\t" for character in text):
        return {"text": text}
    return {"hex": data.hex()}


def _read(path: Path) -> list[_Step]:
    lines = path.read_text(encoding="ascii").splitlines()
    try:
        entries = [json.loads(line) for line in lines]
        if entries[0]["format"] != _FORMAT:
            raise TranscriptError(f"{path}: expected '{_FORMAT}', got '{entries[0]['format']}'")
        return [
            _Step(number, entry["do"], _bytes(entry)) for number, entry in enumerate(entries[1:], start=2)
        ]
    except (json.JSONDecodeError, LookupError, TypeError) as error:
        raise TranscriptError(f"{path} is no transcript: {error!r}") from error


def _bytes(entry: dict[str, str]) -> bytes:
    return entry["text"].encode("ascii") if "text" in entry else bytes.fromhex(entry.get("hex", ""))
