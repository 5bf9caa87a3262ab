"""Two probes over one channel of an array: how readings are taken, and which channels are switched off.

Repeated readings at one frequency are the points of a sweep that is a thousand times narrower than the
resonance: mean and scatter come from one trigger.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import CoilbenchError, ConnectionLost, InstrumentError, ReplyTimeout, RunAborted
from coils.decoupling.measures import Decibels, Reading, average_readings
from coils.resonance import check_isolation
from drivers.protocols import Abort, Segment, SweepPlan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coilbench.base.operator import Ask
    from coilbench.procedures.tune import NucleusPorts
    from drivers.protocols import NetworkAnalyzer, Tuner

#: Half width of a sweep that stands for one frequency, over that frequency: 1/1000 of a Q of 100.
SPREAD: Final = 5e-6


@dataclass(frozen=True, slots=True)
class ProbeReading:
    """How the probes are read.

    Parameters
    ----------
    ports
        The analyzer's ports of the two probes, counted from 1.
    repeats
        Readings at each frequency.
    if_bandwidth, power_dbm
        Hz and dBm; probes see little, and detuned channels give 50 dB less.
    """

    ports: tuple[int, int]
    repeats: int = 24
    if_bandwidth: float = 10.0
    power_dbm: float = 0.0

    def sweep_plan(self, nuclei: Sequence[NucleusPorts]) -> SweepPlan:
        """Return one narrow segment for each nucleus."""
        segments = tuple(
            Segment(group.frequency * (1.0 - SPREAD), group.frequency * (1.0 + SPREAD), self.repeats)
            for group in nuclei
        )
        return SweepPlan(segments, self.if_bandwidth, self.power_dbm)


def read_probes(
    analyzer: NetworkAnalyzer,
    how: ProbeReading,
    nuclei: Sequence[NucleusPorts],
    more: Sequence[int] = (),
    *,
    abort: Abort,
) -> dict[str, tuple[Reading, ...]]:
    """Return, by nucleus, the transmission between the probes and the reflections of ``more`` ports.

    Raises
    ------
    RunAborted
        ``abort`` said so.
    InstrumentError
        The analyzer failed.
    """
    if abort():
        raise RunAborted("stopped before a reading")
    analyzer.configure(how.sweep_plan(nuclei))
    network = analyzer.sweep((*how.ports, *more), abort=abort)
    found: dict[str, tuple[Reading, ...]] = {}
    for group in nuclei:
        near = np.abs(network.f / group.frequency - 1.0) < 2.0 * SPREAD
        entries = [(1, 0), *((place, place) for place in range(2, 2 + len(more)))]
        found[group.nucleus] = tuple(
            average_readings(network.s[near, out, source]) for out, source in entries
        )
    return found


def read_air(
    analyzer: NetworkAnalyzer, how: ProbeReading, nuclei: Sequence[NucleusPorts], *, abort: Abort
) -> dict[str, Reading]:
    """Return what the probes see of each other in free air, by nucleus.

    Raises
    ------
    MeasurementError
        They are not decoupled: nothing that they read afterwards could be trusted.
    """
    air = {group: found[0] for group, found in read_probes(analyzer, how, nuclei, abort=abort).items()}
    for group in nuclei:
        check_isolation(np.array([group.frequency]), np.array([air[group.nucleus].value]))
    return air


@contextmanager
def bias_off_afterwards(tuner: Tuner, channels: Sequence[int]) -> Iterator[None]:
    """Switch the channels' detuning bias off before and, whatever happens, afterwards."""
    switch_off(tuner, channels)
    try:
        yield
    except BaseException as error:
        _switch_off_after(error, tuner, channels)
        raise
    switch_off(tuner, channels)


@contextmanager
def undone_by_hand(tuner: Tuner, channels: Sequence[int], ask: Ask, sentence: str) -> Iterator[None]:
    """Ask for something to be undone afterwards, whatever happens.

    After an error the channels' bias is off before anybody is asked, because hands take their time; the
    error stays the one that is raised.
    """
    try:
        yield
    except BaseException as error:
        _switch_off_after(error, tuner, channels)
        try:
            ask(sentence)
        except CoilbenchError as second:
            error.add_note(f"and this was not done: {sentence} ({second})")
        raise
    ask(sentence)


def switch_off(tuner: Tuner, channels: Sequence[int]) -> None:
    """Switch the bias of channels off; one that refuses keeps none of the others on.

    Raises
    ------
    InstrumentError
        The first that could not be switched off.
    """
    refused: InstrumentError | None = None
    for channel in channels:
        try:
            tuner.set_bias(channel, 0.0)
        except (ReplyTimeout, ConnectionLost):  # nothing reaches the others; the watchdog does
            raise
        except InstrumentError as error:
            refused = refused or error
    if refused is not None:
        raise refused


def set_bias(tuner: Tuner, currents: dict[int, float]) -> None:
    """Set the bias current in A of several channels."""
    for channel, current in currents.items():
        tuner.set_bias(channel, current)


def _switch_off_after(error: BaseException, tuner: Tuner, channels: Sequence[int]) -> None:
    """Switch bias off; where that fails, note it on the error that led here."""
    try:
        switch_off(tuner, channels)
    except InstrumentError as second:
        note = f"and the detuning bias could not be switched off: {second}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def only(tuner: Tuner, channel: int, channels: Sequence[int], current: float) -> None:
    """Detune all channels but one."""
    set_bias(tuner, {other: 0.0 if other == channel else current for other in channels})


def decibels_data(level: Decibels) -> dict[str, Any]:
    """Return a ratio as JSON values; None for an end that is not known."""
    ends = {"value_db": level.value_db, "low_db": level.low_db, "high_db": level.high_db}
    return {name: float(value) if np.isfinite(value) else None for name, value in ends.items()}
