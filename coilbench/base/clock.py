"""Time that tests can turn: everything that waits takes a Clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait for ``seconds`` of this clock's time."""
        ...


class SystemClock:
    """Wall time."""

    def now(self) -> float:
        """Return monotonic seconds of the machine."""
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        """Wait for ``seconds`` of wall time."""
        time.sleep(seconds)


class VirtualClock:
    """Time that passes only when somebody sleeps: a 20 min scan takes no wall time."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Return the virtual seconds slept so far."""
        return self._now

    def sleep(self, seconds: float, /) -> None:
        """Let ``seconds`` pass at once."""
        self._now += max(0.0, seconds)
