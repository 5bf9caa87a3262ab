"""Measure what keeps an array's channels apart: S-matrix, isolation of the nuclei, preamplifier decoupling.

The S-matrix is one sweep of all ports. Preamplifier decoupling is what two probes over a channel read with
50 ohm at its port over what they read with its preamplifier there, all other channels detuned. The same two
readings and the port's own reflection, tuned and detuned, give the reflection that the preamplifier shows the
port through its cable, and from it how much longer or shorter that cable should be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coilbench.base import operator
from coilbench.base.errors import MeasurementError, RunAborted
from coilbench.base.events import Event, EventSink, ignore
from coilbench.procedures.probing import (
    ProbeReading,
    bias_off_afterwards,
    decibels_data,
    only,
    read_air,
    read_probes,
    undone_by_hand,
)
from coils.decoupling.measures import (
    Decibels,
    Reading,
    isolation,
    preamplifier_decoupling,
)
from coils.decoupling.preamplifier import PhaseAdvice, advise_phase
from drivers.protocols import Abort, never

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coilbench.base.operator import Ask
    from coilbench.procedures.tune import NucleusPorts
    from drivers.protocols import NetworkAnalyzer, Tuner


@dataclass(frozen=True, slots=True)
class DecouplePlan:
    """What to measure.

    Parameters
    ----------
    nuclei
        The array's ports.
    probes
        How the probes are read; None: no preamplifier decoupling.
    preamplified
        Nuclei whose ports have preamplifiers; None: all.
    channels
        Whose preamplifier decoupling is measured, counted from 1; None: all.
    bias_current
        That detunes the other channels, A.
    s_uncertainty
        Standard uncertainty of each |S| of the analyzer's calibration, linear.
    if_bandwidth, power_dbm
        Of the array's sweep, Hz and dBm.
    repeats
        Readings of each S-parameter of the array.
    """

    nuclei: tuple[NucleusPorts, ...]
    probes: ProbeReading | None = None
    preamplified: tuple[str, ...] | None = None
    channels: tuple[int, ...] | None = None
    bias_current: float = 0.08
    s_uncertainty: float = 0.0025
    if_bandwidth: float = 1e3
    power_dbm: float = -10.0
    repeats: int = 8

    @property
    def every_channel(self) -> tuple[int, ...]:
        """All channels of the array, counted from 1."""
        return tuple(range(1, len(self.nuclei[0].ports) + 1))

    @property
    def with_preamplifier(self) -> tuple[NucleusPorts, ...]:
        """The nuclei whose preamplifiers are measured."""
        chosen = self.preamplified
        return tuple(group for group in self.nuclei if chosen is None or group.nucleus in chosen)


@dataclass(frozen=True, slots=True)
class NucleusDecoupling:
    """The S-matrix at one nucleus' frequency.

    Parameters
    ----------
    nucleus, frequency, ports
        Hz; the order of the matrix.
    s
        Of this nucleus' ports, shape (port, port).
    worst_coupling, worst_pair
        Largest transmission between two of them as positive dB, and which; None where there is one port.
    isolation, isolation_pair
        The same between this nucleus' ports and the others'; None where there are no others.
    """

    nucleus: str
    frequency: float
    ports: tuple[int, ...]
    s: NDArray[np.complex128]
    worst_coupling: Decibels | None
    worst_pair: tuple[int, int] | None
    isolation: Decibels | None
    isolation_pair: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class ChannelDecoupling:
    """One channel's preamplifier decoupling at one nucleus.

    Parameters
    ----------
    channel, nucleus, port, frequency
        From 1; Hz.
    with_50_ohm, with_preamplifier
        Transmission between the probes.
    decoupling
        Their ratio, background taken off; negative: worse than without a preamplifier.
    reflection
        What the port sees of the preamplifier through its cable, derived; the detuned port's reflection
        stands for that of a loop without current, which shifts its phase by some degrees and leaves the
        advice as it is.
    advice
        How to change the cable; None where the readings allow no statement.
    """

    channel: int
    nucleus: str
    port: int
    frequency: float
    with_50_ohm: Reading
    with_preamplifier: Reading
    decoupling: Decibels
    reflection: complex
    advice: PhaseAdvice | None


@dataclass(frozen=True, slots=True)
class DecouplingResult:
    """What was measured.

    Parameters
    ----------
    nuclei
        In the order of the plan.
    preamplifiers
        Every chosen channel at every nucleus with preamplifiers; empty without probes.
    """

    nuclei: tuple[NucleusDecoupling, ...]
    preamplifiers: tuple[ChannelDecoupling, ...]

    def decoupling(self, nucleus: str) -> dict[int, Decibels]:
        """Return the preamplifier decoupling of every measured channel at a nucleus."""
        return {row.channel: row.decoupling for row in self.preamplifiers if row.nucleus == nucleus}

    def data(self) -> dict[str, Any]:
        """Return everything as JSON values, SI units and dB."""
        return {
            "nuclei": [
                {
                    "nucleus": row.nucleus,
                    "frequency": row.frequency,
                    "ports": list(row.ports),
                    "s": [[[value.real, value.imag] for value in line] for line in row.s.tolist()],
                    "worst_coupling": _optional(row.worst_coupling),
                    "worst_pair": list(row.worst_pair or ()),
                    "isolation": _optional(row.isolation),
                    "isolation_pair": list(row.isolation_pair or ()),
                }
                for row in self.nuclei
            ],
            "preamplifiers": [
                {
                    "channel": row.channel,
                    "nucleus": row.nucleus,
                    "port": row.port,
                    "frequency": row.frequency,
                    "decoupling": decibels_data(row.decoupling),
                    "reflection": [row.reflection.real, row.reflection.imag],
                    "advice": None if row.advice is None else str(row.advice),
                    "best_db": None if row.advice is None else row.advice.best_db,
                    "change": None if row.advice is None else row.advice.change,
                }
                for row in self.preamplifiers
            ],
        }


def measure_decoupling(
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    plan: DecouplePlan,
    *,
    ask: Ask,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> DecouplingResult:
    """Measure the S-matrix and, with probes, every channel's preamplifier decoupling; bias is off afterwards.

    Parameters
    ----------
    ask
        Told what to do with probes and cables; returns when it is done. Not called without probes.

    Raises
    ------
    MeasurementError
        The probes see each other, or do not see a channel.
    RunAborted
        ``abort`` said so; bias and RF are off.
    InstrumentError
        An instrument failed.
    """
    rows: list[ChannelDecoupling] = []
    with bias_off_afterwards(tuner, plan.every_channel):
        nuclei = _matrices(analyzer, plan, abort)
        for found in nuclei:
            emit(_told_matrix(found))
        if plan.probes is not None:
            ask(operator.take_probes_away())
            air = read_air(analyzer, plan.probes, plan.nuclei, abort=abort)
            for channel in plan.every_channel if plan.channels is None else plan.channels:
                ask(operator.hold_probes_over(channel))
                for group in plan.with_preamplifier:
                    rows.append(_channel(analyzer, tuner, plan, plan.probes, group, channel, air, ask, abort))
                    emit(_told(rows[-1]))
    return DecouplingResult(nuclei, tuple(rows))


def _matrices(analyzer: NetworkAnalyzer, plan: DecouplePlan, abort: Abort) -> tuple[NucleusDecoupling, ...]:
    """Read the whole array's S-matrix at every nucleus."""
    if abort():
        raise RunAborted("stopped before the array's sweep")
    order = sorted(port for group in plan.nuclei for port in group.ports)
    how = ProbeReading((order[0], order[0]), plan.repeats, plan.if_bandwidth, plan.power_dbm)
    analyzer.configure(how.sweep_plan(plan.nuclei))
    network = analyzer.sweep(order, abort=abort)
    found = []
    for group in plan.nuclei:
        near = np.abs(network.f / group.frequency - 1.0) < 1e-3
        full = np.asarray(network.s[near].mean(axis=0), dtype=np.complex128)
        places = [order.index(port) + 1 for port in group.ports]
        foreign = [place for place in range(1, len(order) + 1) if place not in places]
        coupling = (
            isolation(full, places, places, uncertainty=plan.s_uncertainty) if len(places) > 1 else None
        )
        across = isolation(full, places, foreign, uncertainty=plan.s_uncertainty) if foreign else None
        index = np.array(places) - 1
        found.append(
            NucleusDecoupling(
                group.nucleus,
                group.frequency,
                group.ports,
                full[np.ix_(index, index)],
                coupling and coupling[0],
                coupling and (order[coupling[1][0] - 1], order[coupling[1][1] - 1]),
                across and across[0],
                across and (order[across[1][0] - 1], order[across[1][1] - 1]),
            )
        )
    return tuple(found)


def _channel(
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    plan: DecouplePlan,
    probes: ProbeReading,
    group: NucleusPorts,
    channel: int,
    air: dict[str, Reading],
    ask: Ask,
    abort: Abort,
) -> ChannelDecoupling:
    """Read one channel with 50 ohm, with its preamplifier, and its port with the loop off."""
    port = group.ports[channel - 1]
    only(tuner, channel, plan.every_channel, plan.bias_current)
    with_50_ohm, tuned = read_probes(analyzer, probes, (group,), (port,), abort=abort)[group.nucleus]
    tuner.set_bias(channel, plan.bias_current)
    _, detuned = read_probes(analyzer, probes, (group,), (port,), abort=abort)[group.nucleus]
    tuner.set_bias(channel, 0.0)
    ask(operator.connect_to_preamplifier((port,)))
    with undone_by_hand(tuner, plan.every_channel, ask, operator.connect_to_analyzer((port,))):
        (with_preamplifier,) = read_probes(analyzer, probes, (group,), abort=abort)[group.nucleus]
    background = air[group.nucleus]
    # Two probes that read S21 take the part |S21| of the loop's power (2 k1 = 2 k2 = |S21|).
    taken = abs(with_50_ohm.value) ** 2
    with_50_ohm = Reading(with_50_ohm.value, math.hypot(with_50_ohm.uncertainty, taken))
    try:
        level = preamplifier_decoupling(with_50_ohm, with_preamplifier, background=background)
    except MeasurementError as error:
        error.add_note(f"channel {channel}, {group.nucleus}")
        raise
    ratio = (with_preamplifier - background).value / (with_50_ohm - background).value
    reflection = seen_reflection(tuned.value, detuned.value, ratio)
    return ChannelDecoupling(
        channel,
        group.nucleus,
        port,
        group.frequency,
        with_50_ohm,
        with_preamplifier,
        level,
        reflection,
        _advice(tuned.value, detuned.value, reflection, group.frequency),
    )


def seen_reflection(tuned: complex, detuned: complex, ratio: complex) -> complex:
    """Return the reflection that makes a loop's current ``ratio`` times what it is with 50 ohm.

    Parameters
    ----------
    tuned, detuned
        The port's own reflection with and without current in the loop.

    Notes
    -----
    ratio = (1 - detuned G) / (1 - tuned G), see `coils.decoupling.preamplifier`.
    """
    return (1.0 - ratio) / (detuned - ratio * tuned)


def _advice(tuned: complex, detuned: complex, reflection: complex, frequency: float) -> PhaseAdvice | None:
    try:
        return advise_phase(tuned, detuned, reflection, frequency=frequency)
    except ValueError:
        return None


def _optional(level: Decibels | None) -> dict[str, Any] | None:
    return None if level is None else decibels_data(level)


def _told_matrix(row: NucleusDecoupling) -> Event:
    parts = []
    if row.worst_coupling and row.worst_pair:
        parts.append(f"worst coupling -{row.worst_coupling.value_db:.1f} dB (ports {row.worst_pair})")
    if row.isolation and row.isolation_pair:
        parts.append(f"isolation {row.isolation.value_db:.1f} dB (ports {row.isolation_pair})")
    return Event(
        "decouple.matrix",
        f"{row.nucleus}: " + ", ".join(parts),
        {
            "nucleus": row.nucleus,
            "coupling": _optional(row.worst_coupling),
            "isolation": _optional(row.isolation),
        },
    )


def _told(row: ChannelDecoupling) -> Event:
    advice = f"; {row.advice}" if row.advice is not None else ""
    return Event(
        "decouple.preamplifier",
        f"channel {row.channel}, {row.nucleus}: preamplifier decoupling {row.decoupling}{advice}",
        {"channel": row.channel, "nucleus": row.nucleus, **decibels_data(row.decoupling)},
    )
