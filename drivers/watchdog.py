"""Feeds the watchdog of an instrument whose outputs are on, from a thread of its own.

The instrument switches its outputs off when this process dies or stops. What the thread notices is raised
by the next call that the instrument's user makes.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from coilbench.base.errors import InstrumentError

if TYPE_CHECKING:
    from collections.abc import Callable


class WatchdogFeeder:
    """Calls ``feed`` regularly while it is on.

    Parameters
    ----------
    name
        The instrument's name and address.
    silence
        Seconds after which the watchdog trips; it is fed four times as often, so that one lost answer and its
        repetition still come in time.
    feed
        Sends anything at all; raises ``InstrumentError`` when the outputs are off or the instrument is gone.
    """

    def __init__(self, name: str, silence: float, feed: Callable[[], None]) -> None:
        self._name: Final = name
        self._period: Final = silence / 4
        self._feed: Final = feed
        self._end: threading.Event | None = None
        self._failure: InstrumentError | None = None

    @property
    def is_on(self) -> bool:
        """Whether the watchdog is being fed."""
        return self._end is not None and not self._end.is_set()

    def switch(self, on: bool, /) -> None:
        """Begin or end feeding; what was noticed before is kept."""
        if on and not self.is_on:
            self._end = threading.Event()
            threading.Thread(
                target=self._run, args=(self._end,), name=f"watchdog feeder of {self._name}", daemon=True
            ).start()
        elif not on and self._end is not None:
            self._end.set()
            self._end = None

    def raise_failure(self) -> None:
        """Raise what feeding ran into since the last call.

        Raises
        ------
        InstrumentError
            The outputs went off, or the instrument cannot be reached any more.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            failure.add_note("noticed while feeding the watchdog: the outputs are off or will be in a moment")
            raise failure

    def _run(self, end: threading.Event) -> None:
        while not end.wait(self._period):
            try:
                self._feed()
            except InstrumentError as error:
                if not end.is_set():
                    self._failure = error
                    end.set()
                return
