"""The cable from the scanner to its receivers: triggers in, samples out.

True here: the scanner fires shots, every receiver that is armed gets them, one that is not misses them.
The world is asked once for all receivers that want the same samples of the same shots.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import numpy as np

from hil_fixtures.physics.shot import Shot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from hil_fixtures.physics.world import World


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Samples that a receiver wants of one shot.

    Parameters
    ----------
    shot
        The trigger they count from.
    channel
        From 0, of the whole array.
    frequency
        Of the local oscillator in Hz, at phase zero at the trigger.
    start, interval
        s; opening of the window after the trigger, time between samples.
    count
        Samples.
    """

    shot: Shot
    channel: int
    frequency: float
    start: float
    interval: float
    count: int


class ArmedReceiver(Protocol):
    """A receiver that waits for triggers."""

    def offer(self, shots: Sequence[Shot], /) -> Sequence[SampleRequest] | None:
        """Take the shots and return what is wanted of them and those before; None to wait for more."""
        ...

    def deliver(self, samples: Sequence[NDArray[np.complex128]], /) -> None:
        """Take what was asked for, in the order asked; called once, then the receiver is not armed."""
        ...


#: What requests must share to be sampled together: frequency, start, interval, count, shots' indices.
_Batch: TypeAlias = tuple[float, float, float, int, tuple[int, ...]]


class TriggerLine:
    """All receivers of a lab and the scanner that triggers them; any thread may call it.

    Parameters
    ----------
    world
        Where samples come from.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._changed = threading.Condition()
        self._connected = 0
        self._armed: list[ArmedReceiver] = []
        self._shots = 0

    def next_index(self) -> int:
        """Return a number that no shot of this lab has had."""
        with self._changed:
            self._shots += 1
            return self._shots

    def connect(self) -> None:
        """Count a receiver that has a client; the scanner waits for it to be armed."""
        with self._changed:
            self._connected += 1

    def disconnect(self) -> None:
        """No longer count a receiver that has lost its client."""
        with self._changed:
            self._connected -= 1
            self._changed.notify_all()

    def arm(self, receiver: ArmedReceiver) -> None:
        """Let a receiver have the triggers from now on."""
        with self._changed:
            self._armed.append(receiver)
            self._changed.notify_all()

    def disarm(self, receiver: ArmedReceiver) -> bool:
        """Let it have no more; False when it was not armed any more."""
        with self._changed:
            was_armed = receiver in self._armed
            if was_armed:
                self._armed.remove(receiver)
            return was_armed

    def wait_armed(self, timeout: float, aborted: Callable[[], bool]) -> bool:
        """Wait until all receivers with a client are armed; False after ``timeout`` wall s or an abort."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while len(self._armed) < self._connected:
                rest = deadline - time.monotonic()
                if rest <= 0.0 or aborted():
                    return False
                self._changed.wait(rest)
        return True

    def wake(self) -> None:
        """Let ``wait_armed`` look again whether it is aborted."""
        with self._changed:
            self._changed.notify_all()

    def fire(self, shots: Sequence[Shot]) -> None:
        """Give the triggers; returns when every receiver that they complete has its samples."""
        with self._changed:
            complete = [
                (receiver, wanted)
                for receiver in self._armed
                if (wanted := receiver.offer(shots)) is not None
            ]
            finished = [receiver for receiver, _ in complete]
            self._armed = [receiver for receiver in self._armed if receiver not in finished]
        samples = self.sample([wanted for _, wanted in complete])
        for (receiver, _), delivered in zip(complete, samples, strict=True):
            receiver.deliver(delivered)

    def sample(self, wanted: Sequence[Sequence[SampleRequest]]) -> list[list[NDArray[np.complex128]]]:
        """Return what each receiver wants, in its order; equal wishes are computed once."""
        batches: dict[_Batch, dict[int, list[tuple[int, int, int]]]] = {}
        shots: dict[int, Shot] = {}
        for receiver, requests in enumerate(wanted):
            for batch, channel, places in _batches(requests):
                batches.setdefault(batch, {}).setdefault(channel, []).extend(
                    (receiver, place, row) for row, place in enumerate(places)
                )
            shots.update((request.shot.index, request.shot) for request in requests)
        results: list[list[NDArray[np.complex128]]] = [
            [np.empty(0, np.complex128)] * len(requests) for requests in wanted
        ]
        for (frequency, start, interval, count, indices), channels in batches.items():
            data = self._world.sample(
                [shots[index] for index in indices], sorted(channels), frequency, start, interval, count
            )
            for column, channel in enumerate(sorted(channels)):
                for receiver, place, row in channels[channel]:
                    results[receiver][place] = data[row, column]
        return results


def _batches(requests: Sequence[SampleRequest]) -> list[tuple[_Batch, int, list[int]]]:
    """Return one receiver's requests by equal timing and channel, with their places in ``requests``."""
    groups: dict[tuple[float, float, float, int, int], list[int]] = {}
    for place, request in enumerate(requests):
        timing = (request.frequency, request.start, request.interval, request.count, request.channel)
        groups.setdefault(timing, []).append(place)
    return [
        (
            (frequency, start, interval, count, tuple(requests[place].shot.index for place in places)),
            channel,
            places,
        )
        for (frequency, start, interval, count, channel), places in groups.items()
    ]


#: Direction of a shot that has none.
_NOWHERE: Final = (0.0, 0.0, 1.0)


def silent_shot(index: int, moment: float = 0.0) -> Shot:
    """Return a shot without RF pulse: what a receiver samples that nobody has triggered is noise."""
    return Shot(
        index=index,
        time=moment,
        transmit_frequency=0.0,
        flip_angle=0.0,
        rf_centre=0.0,
        rf_duration=0.0,
        repetition_time=1.0,
        direction=np.asarray(_NOWHERE),
        k_times=np.array([0.0, 1.0]),
        k_radius=np.zeros(2),
    )
