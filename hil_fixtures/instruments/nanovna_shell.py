"""The line editor and prompt of the NanoVNA's serial shell: bytes in, bytes out.

Written from what DiSlord's firmware 1.2.52 answers (NanoVNA-D 794c04b, main.c, read for behaviour).
True here: every printable character is echoed, backspace rubs out, CR ends a line, other control
characters are ignored, a line keeps 63 characters and swallows the rest without echo, nothing is read
while a command runs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hil_fixtures.instruments.wire import Wire

#: What the shell prints when it is ready for a command.
PROMPT: Final = b"ch> "

#: What it prints when a host connects.
GREETING: Final = b"\r\nNanoVNA Shell\r\n"

#: Characters kept of a line: the buffer of 64 less its terminator.
_LINE_LENGTH: Final = 63

#: Most arguments after the command.
_MAXIMUM_ARGUMENTS: Final = 4

_CR, _BACKSPACE, _DELETE, _SPACE = 0x0D, 0x08, 0x7F, 0x20


def split_line(line: str) -> list[str]:
    """Return the words of a command line; quotes keep blanks together and may be left open."""
    words: list[str] = []
    rest = line.lstrip(" \t")
    while rest:
        if rest[0] == '"':
            word, _, rest = rest[1:].partition('"')
        else:
            word = rest.replace("\t", " ").partition(" ")[0]
            rest = rest[len(word) :]
        words.append(word)
        rest = rest.lstrip(" \t")
    return words


class Shell:
    """One serial line's shell.

    Parameters
    ----------
    wire
        Where echo and answers go.
    run
        Carries out a command and its arguments and returns what it prints; None if it is unknown.
    """

    def __init__(self, wire: Wire, run: Callable[[str, list[str]], Awaitable[bytes | None]]) -> None:
        self._wire = wire
        self._run = run
        self._line = bytearray()
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._task = wire.loop.start_task(self._serve())
        wire.send(GREETING + PROMPT)

    def receive(self, data: bytes, /) -> bytes:
        """Queue what was typed; echo comes when the shell reads it."""
        self._typed.put_nowait(data)
        return b""

    def closed(self) -> None:
        """Stop with the command that is running."""
        self._task.cancel()

    async def _serve(self) -> None:
        while True:
            data = await self._typed.get()
            while data:
                echo, line, data = self._edit(data)
                self._wire.send(echo)
                if line is not None:
                    self._wire.send(await self._execute(line) + PROMPT)

    def _edit(self, data: bytes) -> tuple[bytes, str | None, bytes]:
        """Return the echo of what is read, the line completed by it if any, and what is left unread."""
        echo = bytearray()
        for position, code in enumerate(data):
            if code == _CR:
                line = self._line.decode("latin-1")
                self._line.clear()
                return bytes(echo) + b"\r\n", line, data[position + 1 :]
            if code in (_BACKSPACE, _DELETE):
                if self._line:
                    self._line.pop()
                    echo += b"\b \b"
            elif code >= _SPACE and len(self._line) < _LINE_LENGTH:
                self._line.append(code)
                echo.append(code)
        return bytes(echo), None, b""

    async def _execute(self, line: str) -> bytes:
        words = split_line(line)
        if not words or not words[0]:
            return b""
        answer = None
        printed = b""
        if len(words) > _MAXIMUM_ARGUMENTS + 1:
            printed = b"too many arguments, max %d\r\n" % _MAXIMUM_ARGUMENTS
        else:
            answer = await self._run(words[0], words[1:])
        return printed + words[0].encode("latin-1") + b"?\r\n" if answer is None else answer
