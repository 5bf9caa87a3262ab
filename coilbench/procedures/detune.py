"""Measure how deeply, and how fast, each channel is detuned by its PIN diodes, at every nucleus.

With two probes over a channel and all others detuned, the transmission between the probes is proportional
to that channel's current; its ratio tuned over detuned is the depth. What else lies between the probes limits
what can be seen: what they see of each other is measured in air, and what they see by way of the phantom is
the difference that it makes while all channels are detuned; both are subtracted as complex numbers. What
stays is the detuned neighbours' share. The bias current's edge triggers a time sweep of the analyzer for the
switching times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from coilbench.base import operator
from coilbench.base.errors import MeasurementError
from coilbench.base.events import Event, EventSink, ignore
from coilbench.procedures.probing import (
    ProbeReading,
    bias_off_afterwards,
    decibels_data,
    only,
    read_air,
    read_probes,
    set_bias,
    undone_by_hand,
)
from coilbench.procedures.switching import SwitchedChannel, SwitchingPlan, record_switching
from coils.decoupling.measures import Decibels, Reading, detuning_depth
from drivers.protocols import Abort, TransientAnalyzer, never

if TYPE_CHECKING:
    from coilbench.base.operator import Ask
    from coilbench.procedures.tune import NucleusPorts
    from drivers.protocols import NetworkAnalyzer, Tuner

#: Part of what the phantom adds that may differ between channels (standard uncertainty): a phantom a few
#: millimetres off the middle.
_OFF_CENTRE: Final = 0.1
#: Part of a detuned channel's reading that may be its detuned neighbours' (standard uncertainty): a probe a
#: quarter of a loop's width away couples to each neighbour by a sixth of what it does to its own loop, which
#: counts twice (Neumann's integral for overlapped loops on a cylinder).
_NEIGHBOURS: Final = 0.05


@dataclass(frozen=True, slots=True)
class DetunePlan:
    """What to measure.

    Parameters
    ----------
    nuclei
        The array's ports.
    probes
        How the probes are read.
    channels
        To measure, counted from 1; None: all.
    bias_current
        That detunes a channel, A.
    with_phantom_out
        Also measure what the phantom adds between the probes, over the first of the channels; the operator
        takes it out and in once. Without it depths are understated, at 1H by some dB.
    switching
        None: switching is not recorded.
    """

    nuclei: tuple[NucleusPorts, ...]
    probes: ProbeReading
    channels: tuple[int, ...] | None = None
    bias_current: float = 0.08
    with_phantom_out: bool = True
    switching: SwitchingPlan | None = field(default_factory=SwitchingPlan)

    @property
    def every_channel(self) -> tuple[int, ...]:
        """All channels of the array, counted from 1."""
        return tuple(range(1, len(self.nuclei[0].ports) + 1))

    @property
    def chosen(self) -> tuple[int, ...]:
        """The channels to measure."""
        return self.every_channel if self.channels is None else self.channels


@dataclass(frozen=True, slots=True)
class DetunedChannel:
    """One channel at one nucleus.

    Parameters
    ----------
    channel, nucleus, frequency
        From 1; Hz.
    tuned, detuned
        Transmission between the probes as read.
    depth
        Tuned over detuned, background taken off; a bound where the uncertainty of the rest hides the channel.
    """

    channel: int
    nucleus: str
    frequency: float
    tuned: Reading
    detuned: Reading
    depth: Decibels


@dataclass(frozen=True, slots=True)
class DetuningResult:
    """What was measured.

    Parameters
    ----------
    channels
        Every chosen channel at every nucleus.
    switching
        The same; empty when it was not recorded.
    refusals
        Why switching could not be stated, by channel and nucleus.
    background
        What the probes see of each other, by nucleus: in air, and by way of the phantom where measured.
    """

    channels: tuple[DetunedChannel, ...]
    switching: tuple[SwitchedChannel, ...]
    refusals: dict[tuple[int, str], str]
    background: dict[str, Reading]

    def depths(self, nucleus: str) -> dict[int, Decibels]:
        """Return the depth of every measured channel at a nucleus."""
        return {row.channel: row.depth for row in self.channels if row.nucleus == nucleus}

    def data(self) -> dict[str, Any]:
        """Return everything as JSON values, SI units and dB."""
        return {
            "channels": [
                {
                    "channel": row.channel,
                    "nucleus": row.nucleus,
                    "frequency": row.frequency,
                    "tuned": [row.tuned.value.real, row.tuned.value.imag],
                    "detuned": [row.detuned.value.real, row.detuned.value.imag],
                    "depth": decibels_data(row.depth),
                }
                for row in self.channels
            ],
            "switching": [row.data() for row in self.switching],
            "refusals": [
                {"channel": channel, "nucleus": nucleus, "reason": reason}
                for (channel, nucleus), reason in self.refusals.items()
            ],
        }


def measure_detuning(
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    plan: DetunePlan,
    *,
    ask: Ask,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> DetuningResult:
    """Measure depth and switching of active detuning; the bias is off afterwards.

    Parameters
    ----------
    analyzer
        Switching needs a `drivers.protocols.TransientAnalyzer`.
    ask
        Told what to do with probes and phantom; returns when it is done.

    Raises
    ------
    MeasurementError
        The probes see each other, or do not see a tuned channel.
    RunAborted
        ``abort`` said so; bias and RF are off.
    InstrumentError
        An instrument failed.
    """
    rows: list[DetunedChannel] = []
    switched: list[SwitchedChannel] = []
    refusals: dict[tuple[int, str], str] = {}
    with bias_off_afterwards(tuner, plan.every_channel):
        background = _background(analyzer, tuner, plan, ask, abort)
        for channel in plan.chosen:
            ask(operator.hold_probes_over(channel))
            rows += _depths(analyzer, tuner, plan, channel, background, abort)
            for row in rows[-len(plan.nuclei) :]:
                emit(_told(row))
            for group in plan.nuclei if plan.switching else ():
                try:
                    switched.append(_switching(analyzer, tuner, plan, channel, group, abort))
                except MeasurementError as error:
                    refusals[channel, group.nucleus] = str(error)
                    emit(Event("detune.refused", f"channel {channel}, {group.nucleus}: switching: {error}"))
                else:
                    emit(switched[-1].event())
    return DetuningResult(tuple(rows), tuple(switched), refusals, background)


def _background(
    analyzer: NetworkAnalyzer, tuner: Tuner, plan: DetunePlan, ask: Ask, abort: Abort
) -> dict[str, Reading]:
    """Read what is between the probes but the array's currents."""
    ask(operator.take_probes_away())
    air = read_air(analyzer, plan.probes, plan.nuclei, abort=abort)
    if not plan.with_phantom_out:
        return air
    ask(operator.hold_probes_over(plan.chosen[0]))
    set_bias(tuner, dict.fromkeys(plan.every_channel, plan.bias_current))
    with_phantom = _read(analyzer, plan, abort)
    ask(operator.take_phantom_out())
    with undone_by_hand(tuner, plan.every_channel, ask, operator.put_phantom_in()):
        without = _read(analyzer, plan, abort)
    background = {}
    for nucleus, reading in air.items():
        phantom = with_phantom[nucleus][0] - without[nucleus][0]
        doubt = math.hypot(phantom.uncertainty, _OFF_CENTRE * abs(phantom.value))
        background[nucleus] = Reading(reading.value + phantom.value, math.hypot(reading.uncertainty, doubt))
    return background


def _read(analyzer: NetworkAnalyzer, plan: DetunePlan, abort: Abort) -> dict[str, tuple[Reading, ...]]:
    return read_probes(analyzer, plan.probes, plan.nuclei, abort=abort)


def _depths(
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    plan: DetunePlan,
    channel: int,
    background: dict[str, Reading],
    abort: Abort,
) -> list[DetunedChannel]:
    """Read one channel tuned and detuned, all others detuned."""
    only(tuner, channel, plan.every_channel, plan.bias_current)
    tuned = _read(analyzer, plan, abort)
    tuner.set_bias(channel, plan.bias_current)
    detuned = _read(analyzer, plan, abort)
    rows = []
    for group in plan.nuclei:
        (before,), (after,) = tuned[group.nucleus], detuned[group.nucleus]
        own = abs((after - background[group.nucleus]).value)
        after = Reading(after.value, math.hypot(after.uncertainty, _NEIGHBOURS * own))
        try:
            depth = detuning_depth(before, after, background=background[group.nucleus])
        except MeasurementError as error:
            error.add_note(f"channel {channel}, {group.nucleus}")
            raise
        rows.append(DetunedChannel(channel, group.nucleus, group.frequency, before, after, depth))
    return rows


def _switching(
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    plan: DetunePlan,
    channel: int,
    group: NucleusPorts,
    abort: Abort,
) -> SwitchedChannel:
    """Record both edges of one channel's bias, all others detuned."""
    how = plan.switching or SwitchingPlan()
    if not isinstance(analyzer, TransientAnalyzer):
        raise MeasurementError(f"{analyzer.name} records no time sweeps; measure switching with another one")
    only(tuner, channel, plan.every_channel, plan.bias_current)
    over_time = how.time_plan(plan.probes.ports, group.frequency)
    off, on = record_switching(analyzer, tuner, how, over_time, channel, plan.bias_current, abort=abort)
    return SwitchedChannel(channel, group.nucleus, off, on)


def _told(row: DetunedChannel) -> Event:
    return Event(
        "detune.depth",
        f"channel {row.channel}, {row.nucleus}: detuned by {row.depth}",
        {"channel": row.channel, "nucleus": row.nucleus, **decibels_data(row.depth)},
    )
