"""The tune/match controller: motorised trimmers and detuning bias (docs/reference/tuner-protocol.md).

Every limit is checked here before a byte is sent: the travel that the controller stated when it was opened,
and the smaller of its own and the bench file's bias limit. While a bias current flows, a thread keeps the
controller's watchdog fed; when this process dies or stops, the controller switches everything off by itself.
"""

from __future__ import annotations

import logging
import operator
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from coilbench.base.clock import Clock, SystemClock
from coilbench.base.errors import (
    ConnectionFailed,
    InstrumentError,
    InstrumentFault,
    LimitExceeded,
    ProtocolError,
    RunAborted,
)
from drivers.actuators.tune_conversation import Conversation
from drivers.actuators.tune_frames import Status, parse_status
from drivers.address import open_link
from drivers.protocols import Abort, Axis, never
from drivers.watchdog import WatchdogFeeder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivers.link import Link

_log: Final = logging.getLogger("coilbench.tuner")

#: Version of the protocol that this driver speaks; another major version is refused (section 3).
PROTOCOL_MAJOR: Final = 1
#: Seconds that an answer may take (section 4).
REPLY_TIMEOUT: Final = 0.5
#: Shortest and longest time of silence that the controller takes, in s (section 6).
WATCHDOG_RANGE: Final = (0.1, 60.0)
#: The bias current's resolution in A: one digit after the point of a mA (section 6).
BIAS_STEP: Final = 1e-4
#: Seconds between two looks at a motion: at first, and at most (section 4 allows 5 ms, advises 20 to 100 ms).
_LOOK: Final = (0.005, 0.1)
#: A motion has failed when it takes this many times the controller's estimate, and this many seconds more.
_MOTION_MARGIN: Final = (1.5, 2.0)
#: Axes asked for in one LIMITS or POS, so that no answer exceeds 2048 bytes (section 2).
_AXES_PER_QUESTION: Final = 24

_LIMITS: Final = re.compile(r"([a-z0-9.]{1,20})=(-?\d+):(-?\d+)")
_POSITION: Final = re.compile(r"([a-z0-9.]{1,20})=(-?\d+)")
_CURRENT: Final = re.compile(r"(\d+)=(\d+(?:\.\d)?)")


def open_tuner(
    address: str,
    *,
    name: str,
    bias_limit: float = 0.1,
    watchdog: float = 2.0,
    baud_rate: int = 115_200,
    timeout: float = REPLY_TIMEOUT,
    clock: Clock | None = None,
) -> TuneController:
    """Open a tune/match controller, make it safe, and read its axes and limits.

    Parameters
    ----------
    address
        Serial port (``/dev/ttyACM0``, ``COM5``), ``socket://host:port`` or ``tcp://host:port``.
    name
        The instrument's name in the bench file.
    bias_limit
        Largest detuning current that may ever be asked for, in A; the controller's own limit holds as well.
    watchdog
        Seconds of silence after which the controller switches bias and motion off.
    baud_rate
        Bits per second of a serial port.
    timeout
        Seconds that one answer may take before the request is repeated.
    clock
        Waits between two looks at a motion; None: wall time.

    Raises
    ------
    ConnectionFailed
        Nobody is there, or somebody who does not speak this protocol.
    InstrumentFault, ProtocolError
        The controller refused, or answered what the protocol does not allow.
    ValueError
        ``bias_limit`` or ``watchdog`` is out of range.
    """
    if bias_limit < 0.0:
        raise ValueError(f"bias_limit must not be negative; got {bias_limit} A")
    shortest, longest = WATCHDOG_RANGE
    if not shortest <= watchdog <= longest:
        raise ValueError(f"watchdog must be {shortest} s to {longest} s; got {watchdog} s")
    link = open_link(address, name=name, timeout=timeout, baud_rate=baud_rate)
    try:
        return TuneController(link, bias_limit=bias_limit, watchdog=watchdog, clock=clock)
    except BaseException:
        link.close()
        raise


class TuneController:
    """An open controller; a ``Tuner``. Made by ``open_tuner``.

    Parameters
    ----------
    link
        Open; closed with the controller.
    bias_limit
        A.
    watchdog
        s.
    clock
        Waits between two looks at a motion; None: wall time.
    """

    def __init__(self, link: Link, *, bias_limit: float, watchdog: float, clock: Clock | None = None) -> None:
        self._link: Final = link
        self._talk: Final = Conversation(link)
        self._clock: Final[Clock] = clock or SystemClock()
        try:
            self._talk.begin()
        except InstrumentError as error:
            raise ConnectionFailed(
                link.describe(), f"no tune/match controller answers here ({error.message})", error.command
            ) from error
        self._check_version()
        # the first act is the safe state: whoever drove it before may have died
        self._talk.ask("SAFE")
        if self._status().watchdog == "tripped":
            _log.warning("%s: its watchdog had tripped before it was opened", link.describe())
        self._talk.ask("CLEAR")
        self._identity: Final = self._talk.ask("IDENT")
        self._axes: Final[Mapping[str, Axis]] = MappingProxyType(self._read_axes())
        self._bias_channels, allowed = self._read_bias_limit()
        self._bias_limit: Final = min(bias_limit, allowed)
        self._talk.ask(f"WATCHDOG {round(watchdog * 1e3)}")
        self._bias: Final[dict[int, float]] = {}
        self._feeder: Final = WatchdogFeeder(link.describe(), watchdog, self._feed)
        self._closed = False

    @property
    def name(self) -> str:
        """Name and address, as error messages give them."""
        return self._link.describe()

    @property
    def identity(self) -> str:
        """Maker, model, serial number and firmware, separated by commas."""
        return self._identity

    @property
    def axes(self) -> Mapping[str, Axis]:
        """All axes by name, in the controller's order, with the travel it states."""
        return self._axes

    @property
    def bias_channels(self) -> int:
        """Number of detuning bias outputs, counted from 1."""
        return self._bias_channels

    @property
    def bias_limit(self) -> float:
        """Largest current in A: the smaller of the bench file's and the controller's limit."""
        return self._bias_limit

    @property
    def repetitions(self) -> int:
        """Requests that had to be sent again so far, because an answer was lost or damaged."""
        return self._talk.repetitions

    def positions(self) -> dict[str, int]:
        """Return the absolute position of every axis in steps.

        Raises
        ------
        ReplyTimeout, ConnectionLost, InstrumentFault, ProtocolError
            The controller does not answer, is gone, complains, or leaves an axis out.
        """
        self._feeder.raise_failure()
        found: dict[str, int] = {}
        for axes in self._portions():
            command = f"POS {' '.join(axes)}"
            for field in self._talk.ask(command).split():
                match = _POSITION.fullmatch(field)
                if match is None:
                    raise ProtocolError(self.name, f"expected axis=steps, got '{field}'", command)
                found[match[1]] = int(match[2])
        if found.keys() != self._axes.keys():
            raise ProtocolError(self.name, f"answered for {len(found)} of {len(self._axes)} axes", "POS")
        return found

    def move(self, targets: Mapping[str, int], /, *, abort: Abort = never) -> dict[str, int]:
        """Move several axes at once and return their positions when all are done.

        Raises
        ------
        LimitExceeded
            A target lies outside its axis' travel; nothing has been sent.
        InstrumentFault
            The controller refused, or an axis did not arrive (its name is in the text).
        RunAborted
            ``abort`` answered True; all axes have been stopped.
        ReplyTimeout, ConnectionLost, ProtocolError
            The controller does not answer, is gone, or answers what the protocol does not allow.
        ValueError
            There is no axis of that name.
        """
        steps = {axis: operator.index(target) for axis, target in targets.items()}
        self._check_travel(steps)
        self._feeder.raise_failure()
        if not steps:
            return {}
        command = "MOVE " + " ".join(f"{axis}={target}" for axis, target in steps.items())
        return self._run_motion(command, tuple(steps), abort)

    def home(self) -> None:
        """Move every axis to its lower end and count from there; errors as ``move``."""
        self._feeder.raise_failure()
        self._run_motion("HOME", tuple(self._axes), never)

    def stop(self) -> None:
        """Stop all motion now.

        Raises
        ------
        ReplyTimeout, ConnectionLost
            The controller does not answer, or is gone; its watchdog will stop it.
        """
        self._talk.ask("STOP")

    def set_bias(self, channel: int, current: float, /) -> float:
        """Set a detuning bias current in A and return it as read back.

        Raises
        ------
        LimitExceeded
            Negative or above ``bias_limit``; nothing has been sent.
        InstrumentFault
            The controller refused.
        ReplyTimeout, ConnectionLost, ProtocolError
            The controller does not answer, is gone, or answers what the protocol does not allow.
        ValueError
            There is no channel of that number.
        """
        if not 1 <= channel <= self._bias_channels:
            raise ValueError(f"bias channels are 1 to {self._bias_channels}; got {channel}")
        # half a step of tolerance: the limit itself must not be refused for a rounding error
        if not 0.0 <= current <= self._bias_limit + BIAS_STEP / 2:
            raise LimitExceeded(
                self.name,
                f"bias of channel {channel} may be 0 to {self._bias_limit * 1e3:.1f} mA; asked for "
                f"{current * 1e3:.1f} mA, nothing was changed",
            )
        if current > 0.0:
            # switching off must work whatever has happened before
            self._feeder.raise_failure()
        command = f"BIAS {channel} {current * 1e3:.1f}"
        answer = self._talk.ask(command)
        match = _CURRENT.fullmatch(answer)
        if match is None or int(match[1]) != channel:
            raise ProtocolError(self.name, f"expected {channel}=milliamperes, got '{answer}'", command)
        self._bias[channel] = float(match[2]) * 1e-3
        self._feeder.switch(any(self._bias.values()))
        return self._bias[channel]

    def make_safe(self) -> None:
        """Stop all motion and switch all bias off; a controller that is gone does so by its watchdog."""
        if self._closed:
            return
        self._bias.clear()
        self._feeder.switch(False)
        try:
            self._talk.ask("SAFE")
        except InstrumentError as first:
            _log.info("%s: opening the link again to make it safe (%s)", self.name, first)
            try:
                self._talk.resume()
                self._talk.ask("SAFE")
            except InstrumentError as error:
                _log.warning("%s: cannot be told to be safe, its watchdog must: %s", self.name, error)

    def close(self) -> None:
        """Make safe and release the link; may be called twice."""
        self.make_safe()
        self._closed = True
        self._link.close()

    def _check_version(self) -> None:
        version = self._talk.ask("VERSION")
        major, _, minor = version.partition(".")
        if not (major.isdecimal() and minor.isdecimal()):
            raise ProtocolError(self.name, f"expected a version such as 1.0, got '{version}'", "VERSION")
        if int(major) != PROTOCOL_MAJOR:
            raise ConnectionFailed(
                self.name,
                f"speaks version {version} of the tuner protocol, this driver version {PROTOCOL_MAJOR}; "
                "update the older one",
                "VERSION",
            )

    def _read_axes(self) -> dict[str, Axis]:
        count, *names = self._talk.ask("AXES").split() or ["0"]
        if count != str(len(names)):
            raise ProtocolError(self.name, f"announced {count} axes and named {len(names)}", "AXES")
        axes: dict[str, Axis] = {}
        for portion in _portions(names):
            command = f"LIMITS {' '.join(portion)}"
            for field in self._talk.ask(command).split():
                match = _LIMITS.fullmatch(field)
                if match is None or int(match[2]) > int(match[3]):
                    raise ProtocolError(self.name, f"expected axis=min:max, got '{field}'", command)
                axes[match[1]] = Axis(match[1], int(match[2]), int(match[3]))
        if list(axes) != names:
            raise ProtocolError(self.name, f"stated the limits of {len(axes)} of {len(names)} axes", "LIMITS")
        return axes

    def _read_bias_limit(self) -> tuple[int, float]:
        answer = self._talk.ask("BIASLIMIT")
        match = re.fullmatch(r"(\d+) (\d+(?:\.\d+)?)", answer)
        if match is None:
            raise ProtocolError(self.name, f"expected channels and milliamperes, got '{answer}'", "BIASLIMIT")
        return int(match[1]), float(match[2]) * 1e-3

    def _portions(self) -> list[Sequence[str]]:
        return _portions(tuple(self._axes))

    def _check_travel(self, steps: Mapping[str, int]) -> None:
        unknown = [axis for axis in steps if axis not in self._axes]
        if unknown:
            raise ValueError(f"{self.name} has no axis {', '.join(unknown)}; it has {', '.join(self._axes)}")
        beyond = [
            f"{axis} to {target} (allowed {self._axes[axis].minimum} to {self._axes[axis].maximum})"
            for axis, target in steps.items()
            if not self._axes[axis].minimum <= target <= self._axes[axis].maximum
        ]
        if beyond:
            raise LimitExceeded(self.name, f"asked to move {', '.join(beyond)} steps; nothing has moved")

    def _status(self, axes: Sequence[str] = ()) -> Status:
        command = " ".join(("STATUS", *axes))
        answer = self._talk.ask(command)
        status = parse_status(answer)
        if status is None or not set(axes) <= status.axes.keys():
            raise ProtocolError(self.name, f"not a status of the axes asked for: '{answer}'", command)
        return status

    def _run_motion(self, command: str, axes: Sequence[str], abort: Abort) -> dict[str, int]:
        answer = self._talk.ask(command)
        if not answer.isdecimal():
            raise ProtocolError(self.name, f"expected milliseconds, got '{answer}'", command)
        factor, extra = _MOTION_MARGIN
        deadline = self._clock.now() + int(answer) * 1e-3 * factor + extra
        pause, longest = _LOOK
        while (status := self._status()).moving:
            if abort():
                self.stop()
                raise RunAborted(f"{self.name}: motion stopped on request")
            if self._clock.now() > deadline:
                self.stop()
                late = [axis for axis, (state, _) in status.axes.items() if state == "moving"]
                raise InstrumentFault(
                    self.name,
                    f"{', '.join(late)} still on the way after {factor:g} times the controller's estimate "
                    f"of {int(answer)} ms plus {extra:g} s; stopped. Is a trimmer blocked?",
                    command,
                )
            self._clock.sleep(pause)
            pause = min(longest, pause * 2)
        return self._arrived(command, axes, status)

    def _arrived(self, command: str, axes: Sequence[str], status: Status) -> dict[str, int]:
        failed = [
            f"{axis} {state} at {steps}"
            for axis, (state, steps) in status.axes.items()
            if axis in axes and state != "done"
        ]
        if failed:
            cause = (
                "the watchdog tripped (this program was silent too long)"
                if status.watchdog == "tripped"
                else ""
            )
            hint = "a stalled axis must be homed" if any("stalled" in text for text in failed) else cause
            raise InstrumentFault(
                self.name, f"did not arrive: {', '.join(failed)}{'; ' if hint else ''}{hint}", command
            )
        positions = self.positions()
        return {axis: positions[axis] for axis in axes}

    def _feed(self) -> None:
        if self._status().watchdog == "tripped":
            raise InstrumentFault(
                self.name, "the watchdog tripped: all bias is off and all axes have stopped", "STATUS"
            )


def _portions(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[first : first + _AXES_PER_QUESTION] for first in range(0, len(names), _AXES_PER_QUESTION)]
