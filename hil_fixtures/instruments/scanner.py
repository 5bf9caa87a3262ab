"""A simulated scanner: plays Pulseq files, triggers the receivers, switches its RF amplifier.

True here: docs/reference/scanner-protocol.md. Playing takes time on an injectable scale; waiting for
receivers and the amplifier's watchdog run on wall time.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from hil_fixtures.instruments.faults import LinkFaults
from hil_fixtures.instruments.pulseq_reader import SequenceError, read_pulseq
from hil_fixtures.instruments.repetitions import GradientLimit, GradientLimits, read_repetitions
from hil_fixtures.instruments.scanner_text import Command, CommandError, Messages
from hil_fixtures.physics.shot import Shot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hil_fixtures.instruments.repetitions import Repetition
    from hil_fixtures.instruments.trigger_line import TriggerLine
    from hil_fixtures.instruments.wire import Wire
    from hil_fixtures.physics.world import World

_IDENTITY: Final = "coilbench,sequence-player,SIM0001,1.0.0"

#: Wall seconds that the player waits for receivers: section 3.
_ARMING_TIME: Final = 2.0

#: Entries of one client's error queue: section 1.
_QUEUE: Final = 10

_NO_ERROR: Final = (0, "No error")


@dataclass(slots=True)
class ScannerFaults:
    """What is broken in the scanner; may be changed at any time.

    Parameters
    ----------
    silent
        Neither executes nor answers anything.
    missing_triggers
        How many triggers are not given, from the second of each play.
    """

    silent: bool = False
    missing_triggers: int = 0


class Scanner:
    """The scanner behind all its links; use as a context manager, or ``start`` and ``close``.

    Parameters
    ----------
    world
        Gives the field; is told whether RF is on.
    line
        The trigger cable.
    time_scale
        Wall seconds per second of playing; 0 plays at once.
    limits
        Of each gradient axis.
    faults
        What is broken.
    """

    def __init__(
        self,
        world: World,
        line: TriggerLine,
        time_scale: float = 0.0,
        limits: GradientLimits | None = None,
        faults: ScannerFaults | None = None,
    ) -> None:
        self.faults: Final = faults if faults is not None else ScannerFaults()
        self.link_faults: Final = LinkFaults()
        self._world = world
        self._line = line
        self._time_scale = time_scale
        self._limits = limits if limits is not None else GradientLimits()
        self._lock = threading.Condition(threading.RLock())
        self._links: list[ScannerLink] = []
        self._repetitions: tuple[Repetition, ...] = ()
        self._ended = 0.0
        self._state = "IDLE"
        self._job: tuple[int, int] | None = None
        self._aborted = False
        self._is_on = False
        self._owner: ScannerLink | None = None
        self._heard = 0.0
        self._silence = 0.0
        self._failures: list[Exception] = []
        self._running = False
        self._threads = (
            threading.Thread(target=self._play_jobs, name="scanner-player", daemon=True),
            threading.Thread(target=self._watch, name="scanner-watchdog", daemon=True),
        )
        world.rf_output("scanner", False)

    def open_link(self, wire: Wire, /) -> ScannerLink:
        """Return the scanner's end of a new connection."""
        link = ScannerLink(self, wire)
        with self._lock:
            self._links.append(link)
        return link

    def drop_link(self, link: ScannerLink, /) -> None:
        """Forget a connection that is gone; the amplifier stays as it is."""
        with self._lock:
            self._links.remove(link)

    def start(self) -> Self:
        """Begin to play what is asked for."""
        self._running = True
        for thread in self._threads:
            thread.start()
        return self

    def close(self) -> None:
        """Abort and stop; may be called twice.

        Raises
        ------
        ExceptionGroup
            Playing failed: a simulated instrument is broken.
        """
        with self._lock:
            was_running, self._running = self._running, False
            self.abort()
        if was_running:
            for thread in self._threads:
                thread.join()
        failures, self._failures = self._failures, []
        if failures:
            raise ExceptionGroup("the simulated scanner failed while playing", failures)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def b0(self) -> float:
        """Field in T."""
        return self._world.settings.b0

    @property
    def limits(self) -> GradientLimits:
        """Of each gradient axis."""
        return self._limits

    @property
    def state(self) -> str:
        """``IDLE``, ``WAITING`` or ``PLAYING``."""
        return self._state

    @property
    def repetitions(self) -> tuple[Repetition, ...]:
        """Of the loaded sequence; empty when none is loaded."""
        return self._repetitions

    def load(self, text: str) -> None:
        """Load a sequence.

        Raises
        ------
        CommandError
            It cannot be played (100, 101), or something is playing (-221).
        """
        self._check_idle()
        try:
            repetitions = read_repetitions(read_pulseq(text), self.b0, self._limits)
        except GradientLimit as error:
            raise CommandError(101, f"Gradient limit;{error}") from error
        except SequenceError as error:
            raise CommandError(100, f"Sequence refused;{error}") from error
        with self._lock:
            self._check_idle()
            self._repetitions, self._ended = repetitions, 0.0

    def play(self, first: int, count: int) -> None:
        """Start playing.

        Raises
        ------
        CommandError
            Nothing is loaded or something is playing (-221), or the range is not in the file (-222).
        """
        with self._lock:
            self._check_idle()
            total = len(self._repetitions)
            if not total:
                raise CommandError(-221, "Settings conflict;no sequence is loaded")
            if first < 0 or count < 1 or first + count > total:
                raise CommandError(
                    -222, f"Data out of range;repetitions {first} to {first + count - 1} of {total}"
                )
            self._state, self._job, self._aborted = "WAITING", (first, count), False
            self._lock.notify_all()

    def abort(self) -> None:
        """Give no more triggers."""
        with self._lock:
            self._aborted = True
            self._lock.notify_all()
        self._line.wake()

    def reset(self) -> None:
        """Go back to the state at power-on, once playing has ended."""
        self.abort()
        self.switch_rf(False, None)
        with self._lock:
            self._lock.wait_for(lambda: self._state == "IDLE")
            self._silence, self._repetitions = 0.0, ()

    @property
    def is_on(self) -> bool:
        """Whether the RF amplifier is on."""
        return self._is_on

    def switch_rf(self, on: bool, link: ScannerLink | None) -> None:
        """Switch the RF amplifier."""
        with self._lock:
            self._is_on = on
            if on:
                self._owner, self._heard = link, time.monotonic()
            self._world.rf_output("scanner", on)
            self._lock.notify_all()

    @property
    def silence(self) -> float:
        """Wall seconds of the amplifier's watchdog; 0 for none."""
        return self._silence

    def set_silence(self, seconds: float) -> None:
        """Set the amplifier's watchdog."""
        with self._lock:
            self._silence, self._heard = seconds, time.monotonic()
            self._lock.notify_all()

    def alive(self, link: ScannerLink) -> None:
        """Note that ``link`` has sent something."""
        with self._lock:
            if link is self._owner:
                self._heard = time.monotonic()

    def _check_idle(self) -> None:
        if self._state != "IDLE":
            raise CommandError(-221, f"Settings conflict;the player is {self._state}")

    def _watch(self) -> None:
        with self._lock:
            while self._running:
                rest: float | None = None
                if self._is_on and self._silence:
                    rest = self._heard + self._silence - time.monotonic()
                    if rest <= 0.0:
                        self.switch_rf(False, None)
                        self.abort()
                        for link in self._links:
                            link.complain(110, "RF watchdog")
                        continue
                self._lock.wait(rest)

    def _play_jobs(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._job is not None or not self._running)
                job, self._job = self._job, None
                if job is None:
                    return
            try:
                self._play(*job)
            except Exception as error:  # noqa: BLE001 - kept for close, where it is raised
                self._failures.append(error)
            with self._lock:
                self._state = "IDLE"
                self._lock.notify_all()

    def _play(self, first: int, count: int) -> None:
        self._line.wait_armed(_ARMING_TIME, lambda: self._aborted)
        repetitions = self._repetitions[first : first + count]
        period = self._repetitions[0].repetition_time
        # On the grid of repetitions since loading: the carrier goes on between two plays.
        begin = math.ceil(self._ended / period - 1e-9) * period
        origin = repetitions[0].trigger_time - begin
        with self._lock:
            if self._aborted:
                return
            self._state = "PLAYING"
        self._ended = repetitions[-1].trigger_time - origin + repetitions[-1].repetition_time
        given = [*repetitions[:1], *repetitions[1 + self.faults.missing_triggers :]]
        if self._time_scale == 0.0:
            self._line.fire([self._shot(repetition, origin) for repetition in given])
            return
        for repetition in given:
            with self._lock:
                wait = repetition.repetition_time * self._time_scale
                if self._lock.wait_for(lambda: self._aborted, wait):
                    return
            self._line.fire([self._shot(repetition, origin)])

    def _shot(self, repetition: Repetition, origin: float) -> Shot:
        return Shot(
            index=self._line.next_index(),
            time=repetition.trigger_time - origin,
            transmit_frequency=repetition.rf_frequency,
            flip_angle=repetition.flip_angle if self._is_on else 0.0,
            rf_centre=repetition.rf_centre,
            rf_duration=repetition.rf_duration,
            repetition_time=repetition.repetition_time,
            direction=repetition.direction,
            k_times=repetition.k_times,
            k_radius=repetition.k_radius,
        )


class ScannerLink:
    """The scanner's end of one connection."""

    def __init__(self, scanner: Scanner, wire: Wire) -> None:
        self._scanner = scanner
        self._wire = wire
        self._messages = Messages()
        self._waiting: deque[Command | CommandError] = deque()
        self._errors: deque[tuple[int, str]] = deque()
        self._is_busy = False
        self._queries: Mapping[str, Callable[[], str]] = {
            "*IDN?": lambda: _IDENTITY,
            "*OPC?": lambda: "1",
            "SYST:ERR?": self._next_error,
            "SYST:B0?": lambda: repr(scanner.b0),
            "SYST:LIM?": lambda: f"{scanner.limits.amplitude!r},{scanner.limits.slew_rate!r}",
            "SEQ:COUN?": lambda: str(len(scanner.repetitions)),
            "SEQ:TR?": self._repetition_time,
            "SEQ:STAT?": lambda: scanner.state,
            "OUTP?": lambda: str(int(scanner.is_on)),
            "OUTP:WDOG?": lambda: str(round(scanner.silence * 1e3)),
        }
        self._orders: Mapping[str, Callable[[Command], None]] = {
            "*RST": lambda command: _alone(command, scanner.reset),
            "*CLS": lambda command: _alone(command, self._errors.clear),
            "SEQ:LOAD": lambda command: scanner.load(command.block_text()),
            "SEQ:PLAY": self._play,
            "SEQ:ABOR": lambda command: _alone(command, scanner.abort),
            "OUTP": lambda command: scanner.switch_rf(command.switch(), self),
            "OUTP:WDOG": self._set_watchdog,
        }

    def complain(self, code: int, text: str) -> None:
        """Put an error into this client's queue."""
        if len(self._errors) == _QUEUE:
            self._errors[-1] = (-350, "Queue overflow")
        else:
            self._errors.append((code, text))

    def receive(self, data: bytes, /) -> bytes:
        """Take what arrived; the answers go over the wire when they are ready."""
        if self._scanner.faults.silent:
            return b""
        self._scanner.alive(self)
        self._waiting.extend(self._messages.feed(data))
        if self._waiting and not self._is_busy:
            self._is_busy = True
            self._wire.loop.start_task(self._work())
        return b""

    def closed(self) -> None:
        """Leave; the amplifier stays as it is."""
        self._scanner.drop_link(self)

    async def _work(self) -> None:
        while self._waiting:
            command = self._waiting.popleft()
            # A sequence takes long to check, and resetting waits for the player.
            answer = await self._wire.loop.in_worker(self._execute, command)
            if answer is not None:
                self._wire.send(answer.encode("ascii") + b"\n")
        self._is_busy = False

    def _execute(self, command: Command | CommandError) -> str | None:
        try:
            if isinstance(command, CommandError):
                raise command
            if command.header in self._queries:
                command.expect(0)
                return self._queries[command.header]()
            if command.header not in self._orders:
                raise CommandError(-113, f"Undefined header;{command.header}")  # noqa: TRY301
            self._orders[command.header](command)
        except CommandError as error:
            self.complain(error.code, error.text)
        return None

    def _next_error(self) -> str:
        code, text = self._errors.popleft() if self._errors else _NO_ERROR
        return f'{code},"{text}"'

    def _repetition_time(self) -> str:
        if not self._scanner.repetitions:
            raise CommandError(-221, "Settings conflict;no sequence is loaded")
        return repr(self._scanner.repetitions[0].repetition_time)

    def _set_watchdog(self, command: Command) -> None:
        (milliseconds,) = command.integers(1)
        if milliseconds and not 100 <= milliseconds <= 60000:
            raise CommandError(-222, f"Data out of range;{milliseconds} ms, allowed 0 or 100 to 60000")
        self._scanner.set_silence(milliseconds / 1e3)

    def _play(self, command: Command) -> None:
        first, count = command.integers(2)
        self._scanner.play(first, count)


def _alone(command: Command, do: Callable[[], None]) -> None:
    command.expect(0)
    do()
