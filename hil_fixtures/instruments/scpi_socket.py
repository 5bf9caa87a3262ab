"""Message-based instruments behind a raw TCP socket (port 5025 on most analyzers).

True here: messages end with a line feed; each is carried out when the one before is done; answers end
with a line feed; there is no device clear and no status byte outside the messages.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from hil_fixtures.instruments.scpi_syntax import MessageSplitter

if TYPE_CHECKING:
    from hil_fixtures.instruments.wire import Wire


class MessageInstrument(Protocol):
    """An instrument that takes text messages, whatever carries them."""

    async def answer(self, message: str, /) -> bytes:
        """Carry out a message and return its answer, empty when there is none."""
        ...

    def trigger(self) -> None:
        """Do what a bus trigger does."""
        ...

    def status_byte(self, message_available: bool, /) -> int:
        """Return the status byte."""
        ...

    def interrupted(self) -> None:
        """Note that an answer was thrown away because the client sent before reading it."""
        ...


class RawSocket:
    """One client's raw socket.

    Parameters
    ----------
    wire
        Where answers go.
    instrument
        Shared by all clients.
    """

    def __init__(self, wire: Wire, instrument: MessageInstrument) -> None:
        self._wire = wire
        self._instrument = instrument
        self._splitter = MessageSplitter()
        self._messages: asyncio.Queue[str] = asyncio.Queue()
        self._task = wire.loop.start_task(self._serve())

    def receive(self, data: bytes, /) -> bytes:
        """Queue the messages that these bytes complete."""
        for message in self._splitter.feed(data):
            self._messages.put_nowait(message)
        return b""

    def closed(self) -> None:
        """Drop what this client still had to be answered."""
        self._task.cancel()

    async def _serve(self) -> None:
        while True:
            self._wire.send(await self._instrument.answer(await self._messages.get()))
