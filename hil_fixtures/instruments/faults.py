"""Faults that tests switch on: of a link, and of an analyzer behind it.

True here: a fault acts on replies, in the order they leave; a fault with a count heals by itself, all
others last until ``heal``. Everything random follows from the seed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hil_fixtures.instruments.wire import Piece

#: What happens to one reply.
Mishap = Callable[[bytes], Sequence[Piece]]


class LinkFaults:
    """A link that can be told to fail; pass it to a server or line as its ``shape``.

    Parameters
    ----------
    seed
        Of the garbage.
    """

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._random = np.random.default_rng(seed)
        self._coming: deque[Mishap] = deque()
        self._lasting: Mishap | None = None

    def __call__(self, reply: bytes, /) -> Sequence[Piece]:
        """Return what really leaves the instrument."""
        with self._lock:
            if self._coming:
                return self._coming.popleft()(reply)
            return self._lasting(reply) if self._lasting is not None else (Piece(reply),)

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._coming.clear()
            self._lasting = None

    def pass_unharmed(self, count: int) -> None:
        """Let ``count`` replies pass before the next fault with a count acts."""
        self._queue(lambda reply: (Piece(reply),), count)

    def drop_reply(self, count: int = 1) -> None:
        """Send nothing in place of the next replies."""
        self._queue(lambda _reply: (), count)

    def delay(self, seconds: float, count: int = 1) -> None:
        """Hold the next replies back for ``seconds`` of wall time."""
        self._queue(lambda reply: (Piece(reply, delay=seconds),), count)

    def half_then_stall(self) -> None:
        """Send the first half of the next reply, then nothing any more until healed."""
        self._queue(lambda reply: self._stall(reply[: len(reply) // 2]))

    def stall(self) -> None:
        """Send nothing any more until healed."""
        with self._lock:
            self._lasting = lambda _reply: ()

    def close_mid_reply(self) -> None:
        """Send the first half of the next reply, then hang up."""
        self._queue(lambda reply: (Piece(reply[: len(reply) // 2], hang_up=True),))

    def hang_up(self) -> None:
        """Hang up in place of the next reply."""
        self._queue(lambda _reply: (Piece(b"", hang_up=True),))

    def split(self, every: int, pause: float = 0.0) -> None:
        """Send every reply from now on in pieces of ``every`` bytes, ``pause`` seconds apart.

        Raises
        ------
        ValueError
            Pieces of less than one byte.
        """
        if every < 1:
            raise ValueError(f"a reply is split into pieces of at least 1 byte; got {every}")

        def cut(reply: bytes) -> Sequence[Piece]:
            pieces = [reply[begin : begin + every] for begin in range(0, len(reply), every)]
            return [Piece(piece, delay=pause * (index > 0)) for index, piece in enumerate(pieces)]

        with self._lock:
            self._lasting = cut

    def garbage(self, count: int = 1) -> None:
        """Send random bytes of the same length in place of the next replies."""
        self._queue(lambda reply: (Piece(self._random.bytes(len(reply))),), count)

    def prepend(self, noise: bytes) -> None:
        """Send ``noise`` before the next reply, as a serial line does after plugging in."""
        self._queue(lambda reply: (Piece(noise + reply),))

    def _stall(self, last: bytes) -> Sequence[Piece]:
        self._lasting = lambda _reply: ()
        return (Piece(last),)

    def _queue(self, mishap: Mishap, count: int = 1) -> None:
        with self._lock:
            self._coming.extend([mishap] * count)


@dataclass(slots=True)
class AnalyzerFaults:
    """What a test makes a network analyzer do wrong; each lasts until set back.

    Parameters
    ----------
    stop_mid_sweep
        Sweeps never finish, as when the trigger or the synthesizer has died.
    not_a_number
        Every value of a sweep is 9.91E37, R&S' not-a-number.
    sweep_error
        SCPI error number and text that every sweep leaves in the error queue.
    """

    stop_mid_sweep: bool = False
    not_a_number: bool = False
    sweep_error: tuple[int, str] | None = None


#: What R&S analyzers send where there is no value (ZNB manual, "NAN"; SCPI-99 volume 1, 7.2.1.5).
NOT_A_NUMBER: Final = 9.91e37
