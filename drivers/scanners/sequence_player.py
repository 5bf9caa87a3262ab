"""The sequence player: plays a Pulseq file and triggers the receivers (docs/reference/scanner-protocol.md).

While the RF amplifier is on, a thread keeps the player's RF watchdog fed; when this process dies or
stops, the player switches the amplifier off by itself.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from coilbench.base.errors import (
    ConnectionFailed,
    InstrumentError,
    InstrumentFault,
    ProtocolError,
    ReplyTimeout,
    RunAborted,
)
from drivers.address import open_link
from drivers.protocols import Abort, never
from drivers.scpi import ScpiSession
from drivers.watchdog import WatchdogFeeder

_log: Final = logging.getLogger("coilbench.scanner")

#: Beginning of the identity of players that speak this protocol (section 2).
_FAMILY: Final = "coilbench,sequence-player,"
#: Shortest and longest time of silence of the RF watchdog, in s (section 2).
WATCHDOG_RANGE: Final = (0.1, 60.0)
#: Seconds that the player may check a sequence of the largest size (64 MiB, section 6).
_LOAD_TIMEOUT: Final = 60.0
#: Seconds that playing may take besides the repetitions: waiting for the receivers (2 s, section 3) and
#: margin.
_PLAY_MARGIN: Final = 10.0
#: Seconds that the player may take to be idle after it has been told to stop.
_STOP_TIME: Final = 10.0
#: Seconds between two looks at the player: at first, and at most.
_LOOK: Final = (0.002, 0.05)


def open_scanner(address: str, *, name: str, timeout: float = 5.0, watchdog: float = 4.0) -> SequencePlayer:
    """Open a sequence player and make it safe: amplifier off, nothing playing.

    Parameters
    ----------
    address
        ``tcp://host:port``.
    name
        The instrument's name in the bench file.
    timeout
        Seconds that an ordinary answer may take.
    watchdog
        Seconds of silence after which the player switches the amplifier off. Live reconstruction may hold the
        interpreter for more than a second; whoever wants it off earlier has a guardian.

    Raises
    ------
    ConnectionFailed
        Nobody is there, or somebody else.
    InstrumentFault, ProtocolError, ReplyTimeout
        The player refused, or answered what the protocol does not allow, or nothing.
    ValueError
        ``watchdog`` is out of range.
    """
    shortest, longest = WATCHDOG_RANGE
    if not shortest <= watchdog <= longest:
        raise ValueError(f"watchdog must be {shortest} s to {longest} s; got {watchdog} s")
    link = open_link(address, name=name, timeout=timeout)
    try:
        return SequencePlayer(ScpiSession(link), watchdog)
    except BaseException:
        link.close()
        raise


class SequencePlayer:
    """An open player; a ``Scanner``. Made by ``open_scanner``.

    Parameters
    ----------
    session
        Open; closed with the player.
    watchdog
        Seconds of silence after which the amplifier goes off.
    """

    def __init__(self, session: ScpiSession, watchdog: float) -> None:
        self._session: Final = session
        if not session.identity.startswith(_FAMILY):
            raise ConnectionFailed(session.name, f"expected a sequence player, '{session.identity}' answers")
        # the first act is the safe state: whoever drove it before may have died
        session.begin("OUTP OFF", "SEQ:ABOR")
        session.configure("OUTP OFF", "SEQ:ABOR", f"OUTP:WDOG {round(watchdog * 1e3)}")
        self._b0: Final = session.query_number("SYST:B0?")
        self._repetitions = 0
        self._repetition_time = 0.0
        self._deadline = 0.0
        # told to stop (above, too), not yet seen idle: SEQ:ABOR is accepted before the player has stopped
        self._is_stopping = True
        self._feeder: Final = WatchdogFeeder(session.name, watchdog, self._feed)
        self._is_rf_wanted = False
        self._closed = False

    @property
    def name(self) -> str:
        """Name and address, as error messages give them."""
        return self._session.name

    @property
    def identity(self) -> str:
        """The answer to ``*IDN?``."""
        return self._session.identity

    @property
    def b0(self) -> float:
        """Field in T as the scanner reports it."""
        return self._b0

    @property
    def repetition_time(self) -> float:
        """Seconds from trigger to trigger in the loaded sequence; 0 when it has fewer than two."""
        return self._repetition_time

    def load(self, sequence: str, /) -> int:
        """Load a Pulseq file's text and return the number of triggers that it will give.

        Raises
        ------
        InstrumentFault
            The player refused the file; which section, line or event is in the text.
        ReplyTimeout, ConnectionLost, ProtocolError
            The player does not answer, is gone, or answers what the protocol does not allow.
        UnicodeEncodeError
            The text is not ASCII.
        """
        payload = sequence.encode("ascii")
        length = str(len(payload))
        command = f"SEQ:LOAD #{len(length)}{length}..."
        with self._session.link.lock:
            # a message of the session's own first: it comes back from an earlier failure when it must
            self._session.query("SEQ:STAT?")
            self._await_stopped()
            try:
                self._session.link.write(
                    f"SEQ:LOAD #{len(length)}{length}".encode("ascii") + payload + b"\n",
                    command=command,
                    timeout=_LOAD_TIMEOUT,
                )
            except InstrumentError:
                self._session.poison()
                raise
            self._session.wait("*OPC?", _LOAD_TIMEOUT)
            self._session.raise_errors(command)
        self._repetitions = self._session.query_integer("SEQ:COUN?")
        self._repetition_time = self._session.query_number("SEQ:TR?") if self._repetitions else 0.0
        return self._repetitions

    def enable_rf(self, enabled: bool, /) -> None:
        """Switch the RF amplifier; without it a scan is a noise scan with the same triggers.

        Raises
        ------
        InstrumentFault
            The amplifier did not do so.
        ReplyTimeout, ConnectionLost, ProtocolError
            The player does not answer, is gone, or answers what the protocol does not allow.
        """
        command = "OUTP ON" if enabled else "OUTP OFF"
        if enabled:
            self._feeder.raise_failure()
        else:
            self._is_rf_wanted = False
            self._feeder.switch(False)
        self._session.configure(command)
        if self._rf_is_on() is not enabled:
            raise InstrumentFault(
                self.name, f"the RF amplifier is still {'off' if enabled else 'on'}", command
            )
        if enabled:
            self._is_rf_wanted = True
            self._feeder.switch(True)

    def play(self, first: int, count: int, /) -> None:
        """Start playing ``count`` repetitions from number ``first`` (from 0); returns at once.

        Raises
        ------
        InstrumentFault
            The player is busy, has no sequence, or not so many repetitions; or its amplifier has gone off.
        ReplyTimeout, ConnectionLost, ProtocolError
            The player does not answer, is gone, or answers what the protocol does not allow.
        """
        self._feeder.raise_failure()
        self._await_stopped()
        self._session.configure(f"SEQ:PLAY {first},{count}")
        self._deadline = time.monotonic() + count * self._repetition_time + _PLAY_MARGIN

    def wait(self, *, abort: Abort = never) -> None:
        """Wait until the repetitions asked for have been played.

        Raises
        ------
        RunAborted
            ``abort`` answered True; the player has been stopped.
        InstrumentFault
            The player reports an error, or its amplifier, enabled before, has gone off meanwhile.
        ReplyTimeout, ConnectionLost, ProtocolError
            It is not done in time or does not answer, is gone, or answers what the protocol does not allow.
        """
        pause, longest = _LOOK
        while (state := self._session.query("SEQ:STAT?")) != "IDLE":
            if state not in {"WAITING", "PLAYING"}:
                raise ProtocolError(
                    self.name, f"expected IDLE, WAITING or PLAYING, got '{state[:80]}'", "SEQ:STAT?"
                )
            if abort():
                self._stop()
                raise RunAborted(f"{self.name}: playing was stopped on request")
            if time.monotonic() > self._deadline:
                self._stop()
                raise ReplyTimeout(
                    self.name, "has not played the repetitions in their time; stopped", "SEQ:PLAY"
                )
            time.sleep(pause)
            pause = min(longest, pause * 2)
        self._session.raise_errors("SEQ:PLAY")
        self._feeder.raise_failure()
        # the feeder looks now and then only; and make_safe, which ends it, does not make a noise scan of this
        if self._is_rf_wanted and not self._rf_is_on():
            self._feeder.switch(False)
            raise InstrumentFault(
                self.name,
                "RF was switched off while playing, by the guardian or another program; play again with RF",
                "OUTP?",
            )

    def make_safe(self) -> None:
        """Switch the RF amplifier off and stop playing; a player that is gone does so by its watchdog."""
        if self._closed:
            return
        self._feeder.switch(False)
        try:
            self._switch_off()
        except InstrumentError as first:
            _log.info("%s: trying once more to make it safe (%s)", self.name, first)
            try:
                self._switch_off()
            except InstrumentError as error:
                _log.warning("%s: cannot be told to be safe, its watchdog must: %s", self.name, error)

    def close(self) -> None:
        """Make safe and release the link; may be called twice."""
        self.make_safe()
        self._closed = True
        self._session.close()

    def _stop(self) -> None:
        self._is_stopping = True
        self._session.configure("SEQ:ABOR")

    def _await_stopped(self) -> None:
        pause, longest = _LOOK
        deadline = time.monotonic() + _STOP_TIME
        while self._is_stopping:
            state = self._session.query("SEQ:STAT?")
            if state == "IDLE":
                self._is_stopping = False
            elif time.monotonic() > deadline:
                raise ReplyTimeout(
                    self.name, f"is still {state[:80]} {_STOP_TIME:g} s after it was stopped", "SEQ:ABOR"
                )
            else:
                time.sleep(pause)
                pause = min(longest, pause * 2)

    def _switch_off(self) -> None:
        self._is_stopping = True
        self._session.configure("OUTP OFF", "SEQ:ABOR")
        if self._rf_is_on():
            raise InstrumentFault(self.name, "the RF amplifier is still on", "OUTP OFF")

    def _rf_is_on(self) -> bool:
        answer = self._session.query("OUTP?")
        if answer not in {"0", "1"}:
            raise ProtocolError(self.name, f"expected 0 or 1, got '{answer[:80]}'", "OUTP?")
        return answer == "1"

    def _feed(self) -> None:
        if not self._rf_is_on():
            raise InstrumentFault(self.name, "the RF amplifier has gone off by itself", "OUTP?")
