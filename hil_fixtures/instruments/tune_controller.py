"""A simulated tune/match controller: motorised trimmers and detuning bias of the simulated array.

True here: docs/reference/tuner-protocol.md, sections 4 to 8. Motion takes time on an injectable scale,
the watchdog always runs on wall time. The trimmers themselves, with their backlash, are the world's.
"""

from __future__ import annotations

import math
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from hil_fixtures.instruments.faults import LinkFaults
from hil_fixtures.instruments.tuner_frames import Conversation, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hil_fixtures.instruments.tuner_frames import Request
    from hil_fixtures.instruments.wire import Wire
    from hil_fixtures.physics.world import World

#: Steps per second of the simulated motors: 4000 steps of travel in 5 s.
SPEED: Final = 800.0

#: A: section 6, BIASLIMIT.
BIAS_LIMIT: Final = 0.2

_IDENTITY: Final = "coilbench,tune-controller,SIM0001,1.0.0"
_INTEGER: Final = re.compile(r"-?[0-9]+")
_MILLIAMPERES: Final = re.compile(r"-?[0-9]+(\.[0-9])?")


@dataclass(slots=True)
class TunerFaults:
    """What is broken in the controller; may be changed at any time.

    Parameters
    ----------
    stuck
        Axes that do not follow their motor: they stall.
    slipping
        Fraction of each move that the axis loses without notice.
    end_switch
        Position beyond which an end switch halts the axis.
    corrupt_replies
        How many of the next replies carry a wrong check sum. The requests are executed.
    silent
        Neither executes nor answers anything.
    """

    stuck: set[str] = field(default_factory=set)
    slipping: dict[str, float] = field(default_factory=dict)
    end_switch: dict[str, int] = field(default_factory=dict)
    corrupt_replies: int = 0
    silent: bool = False

    def spoil(self, reply: bytes, /) -> bytes:
        """Return a reply, or one with a wrong check sum while there are some to corrupt."""
        if not reply or self.corrupt_replies == 0:
            return reply
        self.corrupt_replies -= 1
        return reply[:-2] + (b"0" if reply[-2:-1] != b"0" else b"1") + b"\n"


@dataclass(slots=True)
class _Axis:
    """One motor: its count, and its move while it makes one."""

    count: int
    state: str = "done"
    origin: int = 0
    halt: int = 0
    outcome: str = "done"
    homing: bool = False
    began: float = 0.0
    duration: float = 0.0

    def present(self, now: float) -> int:
        """Return the count, in between while moving."""
        if self.state != "moving":
            return self.count
        share = min(1.0, (now - self.began) / self.duration) if self.duration > 0.0 else 1.0
        return self.origin + round(share * (self.halt - self.origin))


class TuneController:
    """The controller behind all its links; use as a context manager, or ``start`` and ``close``.

    Parameters
    ----------
    world
        Whose trimmers and PIN diodes it drives.
    time_scale
        Wall seconds per second of motion; 0 makes moves instantaneous.
    faults
        What is broken.
    now
        Wall seconds, for motion and watchdog.
    """

    def __init__(
        self,
        world: World,
        time_scale: float = 0.0,
        faults: TunerFaults | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults: Final = faults if faults is not None else TunerFaults()
        self.link_faults: Final = LinkFaults()
        self._world = world
        self._time_scale = time_scale
        self._now = now
        self._lock = threading.Condition(threading.RLock())
        self._axes = {name: _Axis(world.axis_position(name)) for name in world.axis_names}
        self._channels = world.settings.channels
        self._currents = {channel: world.bias(channel) for channel in range(1, self._channels + 1)}
        self._silence = 2.0
        self._owner: object = None
        self._heard = 0.0
        self._tripped = False
        self._running = False
        self._thread = threading.Thread(target=self._run, name="tune-controller", daemon=True)
        self._commands: Mapping[str, Callable[[tuple[str, ...], object], str]] = {
            "HELLO": self._nothing,
            "IDENT": lambda arguments, _link: _without(arguments, _IDENTITY),
            "VERSION": lambda arguments, _link: _without(arguments, "1.0"),
            "AXES": lambda arguments, _link: _without(
                arguments, " ".join([str(len(self._axes)), *self._axes])
            ),
            "LIMITS": self._limits,
            "POS": self._positions,
            "MOVE": self._move,
            "HOME": self._home,
            "STOP": self._stop,
            "STATUS": self._status,
            "BIAS": self._set_bias,
            "BIAS?": self._bias,
            "BIASLIMIT": lambda arguments, _link: _without(
                arguments, f"{self._channels} {BIAS_LIMIT * 1e3:.1f}"
            ),
            "WATCHDOG": self._set_watchdog,
            "WATCHDOG?": lambda arguments, _link: _without(arguments, str(round(self._silence * 1e3))),
            "CLEAR": self._clear,
            "SAFE": self._safe,
        }

    def open_link(self, _wire: Wire | None = None, /) -> TunerLink:
        """Return the controller's end of a new link; it answers at once and needs no wire."""
        return TunerLink(self)

    def start(self) -> Self:
        """Begin to watch moves and silence."""
        self._running = True
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop watching; may be called twice."""
        with self._lock:
            was_running, self._running = self._running, False
            self._lock.notify_all()
        if was_running:
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def execute(self, request: Request, link: object, /) -> str:
        """Do what a request asks and return what stands after ``OK``.

        Raises
        ------
        Refusal
            Codes 10 to 50; nothing has been executed.
        """
        command = self._commands.get(request.command)
        if command is None:
            raise Refusal(10, f"unknown command {request.command}")
        with self._lock:
            self._settle(self._now())
            result = command(request.arguments, link)
            self._lock.notify_all()
            return result

    def alive(self, link: object, /) -> None:
        """Note that ``link`` has sent a valid request."""
        with self._lock:
            now = self._now()
            self._settle(now)
            if link is self._owner:
                self._heard = now

    def _run(self) -> None:
        with self._lock:
            while self._running:
                now = self._now()
                self._settle(now)
                ends = [axis.began + axis.duration for axis in self._axes.values() if axis.state == "moving"]
                if self._armed():
                    ends.append(self._heard + self._silence)
                self._lock.wait(max(0.0, min(ends) - now) if ends else None)

    def _settle(self, now: float) -> None:
        """Finish the moves whose time is over, and trip the watchdog when its time is."""
        trip = self._heard + self._silence if self._armed() else math.inf
        for name, axis in self._axes.items():
            if axis.state == "moving" and axis.began + axis.duration <= min(now, trip):
                self._arrive(name, axis, axis.halt, axis.outcome)
        if now >= trip and self._armed():
            self._tripped = True
            self._halt_all(trip)
            self._bias_off()

    def _armed(self) -> bool:
        moving = any(axis.state == "moving" for axis in self._axes.values())
        return not self._tripped and (moving or self._has_bias())

    def _has_bias(self) -> bool:
        return any(current != 0.0 for current in self._currents.values())

    def _bias_off(self) -> None:
        for channel in self._currents:
            self._drive(channel, 0.0)

    def _drive(self, channel: int, current: float) -> None:
        self._world.set_bias(channel, current)
        self._currents[channel] = self._world.bias(channel)

    def _halt_all(self, now: float) -> None:
        for name, axis in self._axes.items():
            if axis.state == "moving":
                self._arrive(name, axis, axis.present(now), "stopped")

    def _arrive(self, name: str, axis: _Axis, count: int, state: str) -> None:
        if axis.homing and state == "done":
            self._world.home_axis(name)
        elif count != axis.origin:
            lowest, highest = self._world.axis_limits(name)
            kept = 1.0 - self.faults.slipping.get(name, 0.0)
            where = self._world.axis_position(name) + round(kept * (count - axis.origin))
            self._world.move_axis(name, min(highest, max(lowest, where)))
        axis.count, axis.state = count, state

    def _begin(self, name: str, target: int, homing: bool) -> float:
        """Start one axis and return the seconds it will take."""
        axis = self._axes[name]
        switch = self.faults.end_switch.get(name)
        axis.origin, axis.halt, axis.outcome = axis.count, target, "done"
        if name in self.faults.stuck and (homing or target != axis.count):
            axis.halt, axis.outcome = axis.count, "stalled"
        elif switch is not None and min(axis.count, target) <= switch < max(axis.count, target):
            axis.halt, axis.outcome = switch, "limit"
        axis.began, axis.homing, axis.state = self._now(), homing, "moving"
        axis.duration = abs(target - axis.count) / SPEED * self._time_scale
        return axis.duration

    def _named(self, arguments: tuple[str, ...]) -> list[str]:
        for name in arguments:
            if name not in self._axes:
                raise Refusal(20, f"no axis is called {name}")
        return list(arguments) or list(self._axes)

    def _nothing(self, arguments: tuple[str, ...], _link: object) -> str:
        return _without(arguments, "")

    def _limits(self, arguments: tuple[str, ...], _link: object) -> str:
        limits = [(name, self._world.axis_limits(name)) for name in self._named(arguments)]
        return " ".join(f"{name}={lowest}:{highest}" for name, (lowest, highest) in limits)

    def _positions(self, arguments: tuple[str, ...], _link: object) -> str:
        now = self._now()
        return " ".join(f"{name}={self._axes[name].present(now)}" for name in self._named(arguments))

    def _move(self, arguments: tuple[str, ...], link: object) -> str:
        targets: dict[str, int] = {}
        for argument in arguments:
            name, equals, text = argument.partition("=")
            if not equals or not _INTEGER.fullmatch(text) or name in targets:
                raise Refusal(11, "MOVE needs axis=steps, each axis once")
            self._named((name,))
            targets[name] = int(text)
        if not targets:
            raise Refusal(11, "MOVE needs axis=steps, each axis once")
        self._check_watchdog()
        for name, target in targets.items():
            lowest, highest = self._world.axis_limits(name)
            if not lowest <= target <= highest:
                raise Refusal(21, f"{name}={target} is outside {lowest} to {highest}")
            self._check_rest(name)
            if self._axes[name].state == "stalled":
                raise Refusal(22, f"{name} has stalled; home it first")
        return self._start(targets, link)

    def _home(self, arguments: tuple[str, ...], link: object) -> str:
        names = self._named(arguments)
        self._check_watchdog()
        for name in names:
            self._check_rest(name)
        return self._start({name: self._world.axis_limits(name)[0] for name in names}, link, homing=True)

    def _start(self, targets: Mapping[str, int], link: object, *, homing: bool = False) -> str:
        self._owner, self._heard = link, self._now()
        longest = max(self._begin(name, target, homing) for name, target in targets.items())
        self._settle(self._now())
        return str(math.ceil(longest * 1e3))

    def _check_rest(self, name: str) -> None:
        if self._axes[name].state == "moving":
            raise Refusal(23, f"{name} is moving")

    def _check_watchdog(self) -> None:
        if self._tripped:
            raise Refusal(40, "the watchdog has tripped; CLEAR first")

    def _stop(self, arguments: tuple[str, ...], _link: object) -> str:
        del arguments  # never refused
        self._halt_all(self._now())
        return ""

    def _status(self, arguments: tuple[str, ...], _link: object) -> str:
        now = self._now()
        axes = self._axes
        listed = self._named(arguments) if arguments else [n for n in axes if axes[n].state != "done"]
        states = [axis.state for axis in axes.values()]
        watchdog = "tripped" if self._tripped else "armed" if self._armed() else "idle"
        words = [
            f"moving={states.count('moving')}",
            f"fault={states.count('stalled') + states.count('limit')}",
            f"bias={'on' if self._has_bias() else 'off'}",
            f"watchdog={watchdog}",
            *(f"{name}={axes[name].state}:{axes[name].present(now)}" for name in listed),
        ]
        return " ".join(words)

    def _channel(self, text: str) -> int:
        if not _INTEGER.fullmatch(text):
            raise Refusal(11, f"{text} is no bias channel")
        channel = int(text)
        if not 1 <= channel <= self._channels:
            raise Refusal(30, f"there is no bias channel {channel}, only 1 to {self._channels}")
        return channel

    def _set_bias(self, arguments: tuple[str, ...], link: object) -> str:
        if len(arguments) != 2 or not _MILLIAMPERES.fullmatch(arguments[1]):
            raise Refusal(11, "BIAS needs a channel and mA with at most one digit after the point")
        channel, milliamperes = self._channel(arguments[0]), float(arguments[1])
        if not 0.0 <= milliamperes <= BIAS_LIMIT * 1e3:
            raise Refusal(31, f"{milliamperes:.1f} mA is outside 0.0 to {BIAS_LIMIT * 1e3:.1f} mA")
        if milliamperes > 0.0:
            self._check_watchdog()
            self._owner, self._heard = link, self._now()
        self._drive(channel, milliamperes / 1e3)
        return self._read_bias(channel)

    def _read_bias(self, channel: int) -> str:
        return f"{channel}={self._world.bias(channel) * 1e3:.1f}"

    def _bias(self, arguments: tuple[str, ...], _link: object) -> str:
        if len(arguments) > 1:
            raise Refusal(11, "BIAS? takes one channel or none")
        channels = [self._channel(text) for text in arguments] or range(1, self._channels + 1)
        return " ".join(self._read_bias(channel) for channel in channels)

    def _set_watchdog(self, arguments: tuple[str, ...], _link: object) -> str:
        if len(arguments) != 1 or not _INTEGER.fullmatch(arguments[0]):
            raise Refusal(11, "WATCHDOG needs whole milliseconds")
        milliseconds = int(arguments[0])
        if not 100 <= milliseconds <= 60000:
            raise Refusal(41, f"{milliseconds} ms is outside 100 to 60000 ms")
        self._silence = milliseconds / 1e3
        return str(milliseconds)

    def _clear(self, arguments: tuple[str, ...], _link: object) -> str:
        _without(arguments, "")
        self._tripped = False
        for axis in self._axes.values():
            if axis.state in ("stopped", "limit"):
                axis.state = "done"
        return ""

    def _safe(self, arguments: tuple[str, ...], _link: object) -> str:
        del arguments  # never refused
        self._halt_all(self._now())
        self._bias_off()
        return ""


class TunerLink:
    """The controller's end of one link."""

    def __init__(self, controller: TuneController) -> None:
        self._controller = controller
        self._conversation = Conversation(
            lambda request: controller.execute(request, self), lambda: controller.alive(self)
        )

    def receive(self, data: bytes, /) -> bytes:
        """Return the replies to what ``data`` completes."""
        faults = self._controller.faults
        return b"" if faults.silent else faults.spoil(self._conversation.receive(data))

    def closed(self) -> None:
        """Do nothing: silence is what the watchdog waits for."""


def _without(arguments: tuple[str, ...], result: str) -> str:
    if arguments:
        raise Refusal(11, "this command takes no argument")
    return result
