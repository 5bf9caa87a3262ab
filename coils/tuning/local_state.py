"""What tuning knows and says: ports, goal, sweeps, moves, and the state that `local` advances."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from coils.quality import decibels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from coils.tuning.trimmers import Transition, Trimmers


@dataclass(frozen=True, slots=True)
class TunablePort:
    """One port, its frequency and its two trimmers.

    Parameters
    ----------
    port
        Its number, counted from 1, as the analyzer labels it.
    frequency
        Where it shall not reflect, Hz.
    tune, match
        Names of the axes.
    """

    port: int
    frequency: float
    tune: str
    match: str


@dataclass(frozen=True, slots=True)
class TuningGoal:
    """When to stop, and how carefully to move.

    Parameters
    ----------
    limit_db
        Every |S_ii| must be below.
    aim_db
        Tuning by measured slopes goes on down to here, as a margin for drift and noise.
    margin_db
        Tuning by design stops so far below the limit: a margin for the analyzer's calibration.
    play
        Steps below its target from which every trimmer approaches; more than the gears' play.
    probe
        Steps of the two moves from which the trimmers are learned, and of the one that shows the motors.
    homing
        Steps within which homing finds the lower end again: who comes back within them lost none.
    largest_move
        Most steps of one trimmer in one move before predictions have proved right.
    sweeps
        Most sweeps.
    patience
        Sweeps without progress after which it stops.
    """

    limit_db: float = -20.0
    aim_db: float = -26.0
    margin_db: float = 1.5
    play: int = 60
    probe: int = 150
    homing: int = 5
    largest_move: int = 1500
    sweeps: int = 40
    patience: int = 6

    def __post_init__(self) -> None:
        """Check the order of limit and aim.

        Raises
        ------
        ValueError
            The aim is not below the limit, or a number of steps or sweeps is not positive.
        """
        if not self.aim_db < self.limit_db < 0.0:
            raise ValueError(f"need aim < limit < 0 dB; got {self.aim_db} and {self.limit_db} dB")
        if self.margin_db < 0.0:
            raise ValueError(f"a margin is not negative; got {self.margin_db} dB")
        if min(self.play, self.probe, self.homing, self.largest_move, self.sweeps, self.patience) < 1:
            raise ValueError("play, probe, homing, largest_move, sweeps and patience must be positive")

    @property
    def enough_db(self) -> float:
        """Where tuning by design stops."""
        return self.limit_db - self.margin_db


@dataclass(frozen=True, slots=True)
class ArraySweep:
    """One sweep of all ports.

    Parameters
    ----------
    frequencies
        Hz, shape (frequency,), rising; each port's own frequency must be inside.
    s
        Shape (frequency, port, port).
    """

    frequencies: NDArray[np.float64]
    s: NDArray[np.complex128]

    def at(self, frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return S at other frequencies, interpolated linearly; shape (frequency, port, port).

        Raises
        ------
        ValueError
            A frequency lies outside the sweep.
        """
        axis = self.frequencies
        tolerance = 1e-9 * axis[-1]
        if np.min(frequencies) < axis[0] - tolerance or np.max(frequencies) > axis[-1] + tolerance:
            raise ValueError(
                f"the sweep from {axis[0]:.0f} to {axis[-1]:.0f} Hz does not contain "
                f"{', '.join(f'{frequency:.0f}' for frequency in frequencies)} Hz"
            )
        right = np.clip(np.searchsorted(axis, frequencies), 1, axis.size - 1)
        part = np.clip((frequencies - axis[right - 1]) / (axis[right] - axis[right - 1]), 0.0, 1.0)
        weight = part[:, None, None]
        return np.asarray((1.0 - weight) * self.s[right - 1] + weight * self.s[right], dtype=np.complex128)


class Phase(StrEnum):
    """What the next sweep is for; one for ``WALKING`` must show the dips of all ports, however far."""

    BASELINE = "baseline"
    MATCH_PROBE = "match probe"
    TUNE_PROBE = "tune probe"
    MATCHING = "matching"
    WALKING = "walking"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Move:
    """Where to send trimmers.

    Parameters
    ----------
    approach
        Absolute positions to pass first, so that every axis arrives from below; may be empty.
    targets
        Absolute positions by axis.
    """

    approach: Mapping[str, int]
    targets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Unreached:
    """A port that stayed above the limit, and why."""

    port: int
    reflection_db: float
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Tuning is over.

    Parameters
    ----------
    unreached
        Ports above the limit; empty: success.
    restore
        Move to the best positions seen, when the present ones are not; take a last sweep after it.
    """

    unreached: tuple[Unreached, ...]
    restore: Move | None


Action: TypeAlias = Move | Stop


@dataclass(frozen=True, slots=True)
class Seen:
    """A sweep and where the trimmers stood.

    Parameters
    ----------
    positions
        Steps, tune and match, shape (port, 2).
    sweep
        As measured.
    gamma
        Each port's reflection at its own frequency, shape (port,).
    """

    positions: NDArray[np.float64]
    sweep: ArraySweep
    gamma: NDArray[np.complex128]

    @property
    def score(self) -> float:
        """Sum of the squared reflections."""
        return float(np.sum(np.abs(self.gamma) ** 2))


@dataclass(frozen=True, slots=True)
class TuningState:
    """All that is known; made by `begin`, replaced by `advance`.

    Parameters
    ----------
    ports, goal
        As given.
    lowest, highest
        Where targets may lie in steps, tune and match, shape (port, 2); room for the approach is kept below.
    phase
        What the next sweep is for.
    trimmers
        What is believed at the positions of the last sweep; None before the probes.
    sweeps
        Sweeps used.
    reach
        Steps that one move may take now.
    last, best
        The last sweep, and the one with the least sum of squared reflections.
    match_probe
        The first probe, until the second is in.
    stalled
        Sweeps since the last progress.
    silent
        Places of the ports that no probe changed.
    dead
        Place and column (tune 0, match 1) of trimmers that showed nothing when probed.
    error
        Error of the last prediction (rms of the own reflections); None before the first.
    """

    ports: tuple[TunablePort, ...]
    goal: TuningGoal
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    phase: Phase
    trimmers: Trimmers | None
    sweeps: int
    reach: float
    error: float | None
    last: Seen | None
    best: Seen | None
    match_probe: Transition | None
    stalled: int
    silent: tuple[int, ...]
    dead: tuple[tuple[int, int], ...]

    @property
    def reflections_db(self) -> tuple[float, ...]:
        """|S_ii| at the ports' own frequencies in the last sweep, in the order of ``ports``."""
        return _decibels(self.last)

    @property
    def best_reflections_db(self) -> tuple[float, ...]:
        """|S_ii| at the ports' own frequencies in the best sweep."""
        return _decibels(self.best)

    def own_frequencies(self) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return the ports' frequencies without repetition, and which of them is each port's."""
        every = np.array([port.frequency for port in self.ports])
        own, bands = np.unique(every, return_inverse=True)
        return own, np.asarray(bands, dtype=np.intp)

    def as_array(self, positions: Mapping[str, int]) -> NDArray[np.float64]:
        """Return positions by axis name as tune and match of each port, shape (port, 2)."""
        return np.array(
            [[positions[port.tune], positions[port.match]] for port in self.ports], dtype=np.float64
        )

    def move_to(self, targets: NDArray[np.float64]) -> Move:
        """Return the move to ``targets``, shape (port, 2), of the axes that are not there.

        Those that go down pass below their target.

        Raises
        ------
        ValueError
            No sweep has been taken yet.
        """
        if self.last is None:
            raise ValueError("where the trimmers stand is known with the first sweep")
        now = self.last.positions
        return Move(self.named(targets - self.goal.play, targets < now), self.named(targets, targets != now))

    def named(self, targets: NDArray[np.float64], chosen: NDArray[np.bool_]) -> Mapping[str, int]:
        """Return the chosen targets by axis name; both of shape (port, 2)."""
        return MappingProxyType(
            {
                name: round(float(targets[place, column]))
                for place, port in enumerate(self.ports)
                for column, name in enumerate((port.tune, port.match))
                if chosen[place, column]
            }
        )


def _decibels(seen: Seen | None) -> tuple[float, ...]:
    return () if seen is None else tuple(decibels(float(size)) for size in np.abs(seen.gamma))
