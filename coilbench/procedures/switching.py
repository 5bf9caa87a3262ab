"""Record how fast one channel is detuned and tuned again, from the edge of its bias current.

The edge triggers a time sweep of the analyzer; repeated edges are averaged. The controller's trigger output
must be connected to the analyzer's trigger input. What is seen is the current in the loop, so a channel that
takes long to come back although its bias is off shows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import RunAborted
from coilbench.base.events import Event
from coils.decoupling.switching import Switching, switching_time
from drivers.protocols import Abort, TimePlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from drivers.protocols import TransientAnalyzer, Tuner

#: Points of a record that stand for the state before an edge.
_BEFORE: Final = 12


@dataclass(frozen=True, slots=True)
class SwitchingPlan:
    """How switching is recorded.

    Parameters
    ----------
    duration, points
        Of one record from the edge on, s.
    repeats
        Records averaged: one alone is too noisy at microseconds.
    if_bandwidth, power_dbm
        Hz and dBm; a point lasts one over the bandwidth.
    tolerance
        Part of the step within which the current must stay to be switched.
    """

    duration: float = 100e-6
    points: int = 51
    repeats: int = 24
    if_bandwidth: float = 5e5
    power_dbm: float = 0.0
    tolerance: float = 0.1

    def time_plan(self, probes: tuple[int, int], frequency: float) -> TimePlan:
        """Return the record of the probes' transmission at a frequency in Hz."""
        first, second = probes
        return TimePlan(
            out=second,
            source=first,
            frequency=frequency,
            duration=self.duration,
            points=self.points,
            if_bandwidth=self.if_bandwidth,
            power_dbm=self.power_dbm,
        )


@dataclass(frozen=True, slots=True)
class SwitchedChannel:
    """One channel's switching at one nucleus, from the edge of the bias current.

    Parameters
    ----------
    channel, nucleus
        From 1.
    off
        Bias on: the channel is detuned.
    on
        Bias off: the channel is tuned again.
    """

    channel: int
    nucleus: str
    off: Switching
    on: Switching

    def data(self) -> dict[str, Any]:
        """Return everything as JSON values, in s."""
        return {
            "channel": self.channel,
            "nucleus": self.nucleus,
            "off": asdict(self.off),
            "on": asdict(self.on),
        }

    def event(self) -> Event:
        """Return what a run tells of it."""
        off, on = self.off.settling, self.on.settling
        times = f"off in {off * 1e6:.1f} us, on again in {on * 1e6:.1f} us"
        return Event(
            "detune.switching",
            f"channel {self.channel}, {self.nucleus}: {times}",
            {"channel": self.channel, "nucleus": self.nucleus, "off": off, "on": on},
        )


def record_switching(
    analyzer: TransientAnalyzer,
    tuner: Tuner,
    plan: SwitchingPlan,
    over_time: TimePlan,
    channel: int,
    current: float,
    *,
    abort: Abort,
) -> tuple[Switching, Switching]:
    """Return how a channel follows its bias, on (detuned) and off (tuned again); its bias is off afterwards.

    Parameters
    ----------
    over_time
        What is recorded.
    channel
        From 1; the others are as they shall be.
    current
        That detunes it, A.

    Raises
    ------
    MeasurementError
        The record is too noisy or too short to see it settle.
    RunAborted
        ``abort`` said so.
    InstrumentError
        An instrument failed, or no trigger came.
    """
    edges: dict[float, list[NDArray[np.complex128]]] = {current: [], 0.0: []}
    before = {}
    for after in edges:
        tuner.set_bias(channel, current - after)
        before[after] = _rest(analyzer, plan, over_time, abort)
    tuner.set_bias(channel, 0.0)
    times = np.empty(0)
    for _ in range(plan.repeats):
        for after, records in edges.items():
            if abort():
                raise RunAborted("stopped between two records of switching")
            times, values = analyzer.record(over_time, _setting(tuner, channel, after), abort=abort)
            records.append(values)
    earlier = np.asarray(float(times[1] - times[0]) * np.arange(-_BEFORE, 0), dtype=np.float64)
    detuned, tuned = (
        switching_time(
            np.asarray(np.concatenate((earlier, times)), dtype=np.float64),
            np.concatenate((before[after], np.mean(records, axis=0))),
            tolerance=plan.tolerance,
        )
        for after, records in edges.items()
    )
    return detuned, tuned


def _rest(
    analyzer: TransientAnalyzer, plan: SwitchingPlan, over_time: TimePlan, abort: Abort
) -> NDArray[np.complex128]:
    """Return the state as it is from a free-running record, as noisy as the mean of an edge's records."""
    count = _BEFORE * plan.repeats
    longer = replace(over_time, points=count, duration=over_time.duration / over_time.points * count)
    _, values = analyzer.record(longer, abort=abort)
    return np.asarray(values.reshape(_BEFORE, plan.repeats).mean(axis=1), dtype=np.complex128)


def _setting(tuner: Tuner, channel: int, current: float) -> Callable[[], None]:
    def act() -> None:
        tuner.set_bias(channel, current)

    return act
