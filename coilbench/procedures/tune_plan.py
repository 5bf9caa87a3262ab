"""What to tune and what came of it: the plan and the result of `coilbench.procedures.tune`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from coils.quality import decibels
from coils.tuning.local_state import ArraySweep, TunablePort, TuningGoal
from drivers.protocols import Segment, SweepPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    import skrf

    from coilbench.bench_file import BenchFile
    from coils.tuning.advice import Rework
    from coils.tuning.belief import Belief
    from coils.tuning.design import ArrayDesign
    from coils.tuning.suspects import Suspect


@dataclass(frozen=True, slots=True)
class NucleusPorts:
    """The ports of one nucleus, in the order of the channels.

    Parameters
    ----------
    nucleus
        Name, such as ``"23Na"``.
    frequency
        Where the ports shall not reflect, Hz.
    ports
        Analyzer ports of channel 1, 2, ..., counted from 1.
    axis_prefix
        As in the axes' names ``ch1.<prefix>.tune`` and ``ch1.<prefix>.match``.
    """

    nucleus: str
    frequency: float
    ports: tuple[int, ...]
    axis_prefix: str

    def tunable_ports(self) -> tuple[TunablePort, ...]:
        """Return the ports with their axes."""
        return tuple(
            TunablePort(
                port,
                self.frequency,
                f"ch{channel}.{self.axis_prefix}.tune",
                f"ch{channel}.{self.axis_prefix}.match",
            )
            for channel, port in enumerate(self.ports, start=1)
        )


def nucleus_ports(file: BenchFile, /) -> tuple[NucleusPorts, ...]:
    """Return the array's ports by nucleus, in rising order of frequency."""
    groups = [
        NucleusPorts(name, file.larmor_frequency(name), file.array.ports[name], file.array.axes[name])
        for name in file.array.nuclei
    ]
    return tuple(sorted(groups, key=lambda group: group.frequency))


@dataclass(frozen=True, slots=True)
class TunePlan:
    """What to tune and how to sweep.

    Parameters
    ----------
    nuclei
        In rising order of frequency.
    goal
        Limit, aim and how to move.
    design
        The array's drawing, ports counted as in ``nuclei``; None: tune by measured slopes alone.
    kept
        What an earlier tuning of this array ended with (`TuneResult.belief`); fewer sweeps are needed then.
    check_motors
        Probe and home all axes at the end, and name motors that stand still or lose steps.
    span
        Half width of the wide sweeps over their centre.
    points
        Of the wide sweeps, for each nucleus.
    if_bandwidth, power_dbm
        Of all sweeps, Hz and dBm.
    """

    nuclei: tuple[NucleusPorts, ...]
    goal: TuningGoal = field(default_factory=TuningGoal)
    design: ArrayDesign | None = None
    kept: Belief | None = None
    check_motors: bool = False
    span: float = 0.2
    points: int = 201
    if_bandwidth: float = 1e3
    power_dbm: float = -10.0

    def sweep_plan(self, span: float, points: int) -> SweepPlan:
        """Return one segment around each nucleus; an odd number of points puts its frequency on the axis."""
        segments = tuple(
            Segment(group.frequency * (1.0 - span), group.frequency * (1.0 + span), points | 1)
            for group in self.nuclei
        )
        return SweepPlan(segments, self.if_bandwidth, self.power_dbm)


@dataclass(frozen=True, slots=True)
class PortOutcome:
    """What became of one port.

    Parameters
    ----------
    port, channel
        Counted from 1.
    nucleus
        Name.
    frequency
        Hz.
    before_db, after_db
        |S_ii| at ``frequency`` in the first and the last sweep.
    reached
        Whether ``after_db`` is below the limit.
    reason
        Why not; empty when reached.
    """

    port: int
    channel: int
    nucleus: str
    frequency: float
    before_db: float
    after_db: float
    reached: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TuneResult:
    """A finished tuning.

    Parameters
    ----------
    before, after
        The first and the last sweep; ports in rising order.
    ports
        In the order of the plan.
    sweeps
        All sweeps of the array that succeeded.
    failed_sweeps
        Sweeps that failed and were taken again.
    moves
        Trimmer movements: axes moved, summed over all moves (running back to approach from below not
        counted).
    positions
        Of every axis at the end.
    advice
        Fixed capacitors whose change makes unreachable ports reachable.
    suspects
        Trimmers that do not follow their motors.
    belief
        What the array is made of, to be kept for the next time; None without a design.
    """

    before: skrf.Network
    after: skrf.Network
    ports: tuple[PortOutcome, ...]
    sweeps: int
    moves: int
    positions: dict[str, int]
    failed_sweeps: int = 0
    advice: tuple[Rework, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    belief: Belief | None = None

    @property
    def reached(self) -> bool:
        """Whether every port is below the limit."""
        return all(port.reached for port in self.ports)


def reflection_levels(
    network: skrf.Network, order: Sequence[int], ports: Sequence[int], frequency: float
) -> tuple[float, ...]:
    """Return |S_ii| in dB of ``ports`` at a frequency.

    Parameters
    ----------
    order
        Port number of each row of the network's S-matrix.
    frequency
        Hz, inside the sweep.
    """
    sweep = ArraySweep(np.asarray(network.f), np.asarray(network.s))
    matrix = sweep.at(np.array([frequency]))[0]
    places = [list(order).index(port) for port in ports]
    return tuple(decibels(abs(complex(matrix[place, place]))) for place in places)
