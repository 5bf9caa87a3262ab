"""The world behind the driver protocols without wires: an analyzer and a tuner for many quick trials.

True here: what the protocols promise, receiver noise, the residual errors of the world's calibration, limits,
and what was asked for, counted. Faults: sweeps that fail as a driver reports it, drift between sweeps; stuck
and slipping motors are the world's (`World.set_grip`). Not here: wires, time, trace noise, source power.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import ConnectionLost, InstrumentFault, LimitExceeded, ReplyTimeout, RunAborted
from drivers.protocols import Axis, never

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import skrf

    from drivers.protocols import Abort, SweepPlan
    from hil_fixtures.physics.world import World

#: Frequency limits in Hz and greatest source power in dBm, those of a ZNB's class.
_FREQUENCIES: Final = (9e3, 8.5e9)
_MOST_POWER_DBM: Final = 10.0

#: Largest detuning current in A, as the simulated controller's default limit.
_MOST_BIAS: Final = 0.1

#: Frequencies are set in steps of so many Hz.
_RESOLUTION: Final = 0.1


@dataclass(slots=True)
class SweepFaults:
    """What goes wrong with sweeps; may be changed at any time.

    Parameters
    ----------
    every
        One sweep in so many fails, at random; 0: none.
    silent
        Part of the failing sweeps that end without an answer (ReplyTimeout) and not with a complaint
        (InstrumentFault).
    drift
        Part by which all trimmers' capacitances grow from one sweep to the next.
    """

    every: int = 0
    silent: float = 0.5
    drift: float = 0.0


@dataclass(slots=True)
class Ledger:
    """What an analyzer and a tuner in memory have been asked for.

    Parameters
    ----------
    sweeps
        Sweeps that succeeded.
    port_sweeps
        Ports swept, summed over these sweeps.
    failed
        Sweeps that failed.
    moves
        Axes moved between two sweeps, summed: an approach and its target are one move.
    refused
        Requests beyond a limit.
    """

    sweeps: int = 0
    port_sweeps: int = 0
    failed: int = 0
    moves: int = 0
    refused: int = 0
    _moved: set[str] = field(default_factory=set)

    def note_sweep(self, ports: int) -> None:
        """Count a sweep."""
        self.sweeps += 1
        self.port_sweeps += ports
        self._moved.clear()

    def note_moves(self, axes: set[str]) -> None:
        """Count the axes that have not moved since the last sweep."""
        self.moves += len(axes - self._moved)
        self._moved |= axes


class MemoryAnalyzer:
    """A ``NetworkAnalyzer`` on all ports of a world.

    Parameters
    ----------
    world
        What it measures.
    seed
        Of noise and failures.
    noise_db
        RMS of the complex noise of every S-parameter at 1 kHz bandwidth, one average.
    ledger
        Where requests are counted.
    """

    def __init__(
        self, world: World, seed: int = 0, noise_db: float = -70.0, ledger: Ledger | None = None
    ) -> None:
        self.faults: Final = SweepFaults()
        self.ledger: Final = Ledger() if ledger is None else ledger
        self._world = world
        self._noise = 10.0 ** (noise_db / 20.0)
        self._random = np.random.default_rng([seed, 1])
        self._failures = np.random.default_rng([seed, 2])
        self._plan: SweepPlan | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """Name, as error messages give it."""
        return "analyzer in memory"

    @property
    def identity(self) -> str:
        """What it is."""
        return "coilbench,analyzer in memory,0,1.0"

    @property
    def port_count(self) -> int:
        """Number of test ports."""
        return self._world.port_count

    @property
    def reflection_ports(self) -> tuple[int, ...]:
        """All ports: each has its receivers."""
        return tuple(range(1, self.port_count + 1))

    def configure(self, plan: SweepPlan, /) -> SweepPlan:
        """Set the sweep and return it.

        Raises
        ------
        LimitExceeded
            More power than the source has.
        InstrumentFault
            Frequencies beyond the receivers.
        ConnectionLost
            It has been closed.
        """
        self._check_open()
        if plan.power_dbm > _MOST_POWER_DBM:
            self.ledger.refused += 1
            raise LimitExceeded(
                self.name, f"at most {_MOST_POWER_DBM:g} dBm; asked for {plan.power_dbm:g} dBm, nothing set"
            )
        lowest, highest = _FREQUENCIES
        for segment in plan.segments:
            if segment.start < lowest or segment.stop > highest:
                raise InstrumentFault(
                    self.name,
                    f"sweeps lie within {lowest:.4g} Hz to {highest:.4g} Hz; asked for "
                    f"{segment.start:.4g} Hz to {segment.stop:.4g} Hz",
                    "configure",
                )
        self._plan = plan
        return plan

    def sweep(self, ports: Sequence[int] | None = None, /, *, abort: Abort = never) -> skrf.Network:
        """Sweep once and return the S-parameters of ``ports``, all others terminated.

        Raises
        ------
        InstrumentFault, ReplyTimeout
            `SweepFaults` made it fail.
        RunAborted
            ``abort`` answered True.
        ConnectionLost
            It has been closed.
        ValueError
            Not configured, or no such port.
        """
        import skrf

        self._check_open()
        plan = self._plan
        if plan is None:
            raise ValueError(f"{self.name}: configure a sweep before sweeping")
        chosen = list(self.reflection_ports if ports is None else ports)
        if not chosen or not set(chosen) <= set(self.reflection_ports):
            raise ValueError(f"{self.name} has the ports 1 to {self.port_count}; asked for {chosen}")
        if abort():
            raise RunAborted(f"{self.name}: sweep stopped on request")
        self._fail_now_and_then()
        axis = np.concatenate([np.linspace(one.start, one.stop, one.points) for one in plan.segments])
        axis = np.round(axis / _RESOLUTION) * _RESOLUTION
        places = np.array(chosen) - 1
        shown = self._world.shown_scattering(axis)[:, places[:, None], places]
        self.ledger.note_sweep(len(chosen))
        if self.faults.drift:
            self._world.drift(self.faults.drift)
        deviation = self._noise * np.sqrt(plan.if_bandwidth / 1e3 / plan.averages)
        noise = self._random.normal(scale=deviation * np.sqrt(0.5), size=(2, *shown.shape))
        return skrf.Network(f=axis, f_unit="Hz", s=shown + noise[0] + 1j * noise[1], z0=50.0)

    def make_safe(self) -> None:
        """Do nothing: no RF leaves the memory."""

    def close(self) -> None:
        """Refuse everything from now on; may be called twice."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLost(self.name, "has been closed; make a new one")

    def _fail_now_and_then(self) -> None:
        if not self.faults.every or self._failures.random() >= 1.0 / self.faults.every:
            return
        self.ledger.failed += 1
        if self._failures.random() < self.faults.silent:
            raise ReplyTimeout(self.name, "no answer within 5 s; the sweep may be taken again", "*OPC?")
        raise InstrumentFault(self.name, '-310,"System error;receiver overload"', "INIT1:IMM")


class MemoryTuner:
    """A ``Tuner`` on all trimmers and detuning diodes of a world.

    Parameters
    ----------
    world
        What it moves.
    ledger
        Where requests are counted.
    """

    def __init__(self, world: World, ledger: Ledger | None = None) -> None:
        self.ledger: Final = Ledger() if ledger is None else ledger
        self._world = world
        self._axes: Final[Mapping[str, Axis]] = MappingProxyType(
            {name: Axis(name, *world.axis_limits(name)) for name in world.axis_names}
        )

    @property
    def name(self) -> str:
        """Name, as error messages give it."""
        return "tuner in memory"

    @property
    def identity(self) -> str:
        """What it is."""
        return "coilbench,tuner in memory,0,1.0"

    @property
    def axes(self) -> Mapping[str, Axis]:
        """All axes by name."""
        return self._axes

    @property
    def bias_channels(self) -> int:
        """Number of detuning bias outputs."""
        return self._world.channel_count

    def positions(self) -> dict[str, int]:
        """Return the step count of every axis."""
        return {name: self._world.axis_position(name) for name in self._axes}

    def move(self, targets: Mapping[str, int], /, *, abort: Abort = never) -> dict[str, int]:
        """Move several axes at once and return their positions.

        Raises
        ------
        LimitExceeded
            A target lies outside its axis' travel; nothing has moved.
        RunAborted
            ``abort`` answered True; nothing has moved.
        ValueError
            There is no axis of that name.
        """
        steps = {name: operator.index(target) for name, target in targets.items()}
        unknown = [name for name in steps if name not in self._axes]
        if unknown:
            raise ValueError(f"{self.name} has no axis {', '.join(unknown)}; it has {', '.join(self._axes)}")
        for name, target in steps.items():
            axis = self._axes[name]
            if not axis.minimum <= target <= axis.maximum:
                self.ledger.refused += 1
                raise LimitExceeded(
                    self.name,
                    f"{name} to {target}: allowed are {axis.minimum} to {axis.maximum}; nothing has moved",
                )
        if abort():
            raise RunAborted(f"{self.name}: not moved on request")
        self.ledger.note_moves({name for name in steps if steps[name] != self._world.axis_position(name)})
        for name, target in steps.items():
            self._world.move_axis(name, target)
        return {name: self._world.axis_position(name) for name in steps}

    def home(self) -> None:
        """Move every axis to its lower end and count from there."""
        self.ledger.note_moves(set(self._axes))
        for name in self._axes:
            self._world.home_axis(name)

    def stop(self) -> None:
        """Do nothing: moves are over when they return."""

    def set_bias(self, channel: int, current: float, /) -> float:
        """Set a detuning bias current in A and return it as read back.

        Raises
        ------
        LimitExceeded
            Negative or too much; nothing was changed.
        ValueError
            There is no such channel.
        """
        if not 1 <= channel <= self.bias_channels:
            raise ValueError(f"bias channels are 1 to {self.bias_channels}; got {channel}")
        if not 0.0 <= current <= _MOST_BIAS:
            self.ledger.refused += 1
            raise LimitExceeded(
                self.name, f"bias of channel {channel} may be 0 to {_MOST_BIAS} A; asked for {current} A"
            )
        self._world.set_bias(channel, current)
        return self._world.bias(channel)

    def make_safe(self) -> None:
        """Switch all bias off."""
        for channel in range(1, self.bias_channels + 1):
            self._world.set_bias(channel, 0.0)

    def close(self) -> None:
        """Make safe; may be called twice."""
        self.make_safe()


def in_memory(world: World, seed: int = 0, noise_db: float = -70.0) -> tuple[MemoryAnalyzer, MemoryTuner]:
    """Return an analyzer and a tuner on one world that count into one ledger."""
    ledger = Ledger()
    return MemoryAnalyzer(world, seed, noise_db, ledger), MemoryTuner(world, ledger)
