"""What tuning by design knows and says: purposes, endings, and the state that `by_design` advances."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from coils.quality import decibels
from coils.tuning.local_state import Move

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from coils.circuit.elements import Complex, Real
    from coils.tuning.advice import Rework
    from coils.tuning.belief import Prior
    from coils.tuning.design import ArrayDesign
    from coils.tuning.estimate import Estimate, Observation
    from coils.tuning.local_state import TuningGoal, Unreached
    from coils.tuning.suspects import Suspect

#: Half width of the narrow sweeps over their centre: some loaded bandwidths of 0.5 % and a jump's error.
NARROW_SPAN: Final = 0.03
#: Half width of a first sweep when an earlier tuning is known, and of those that show the motors.
KEPT_SPAN: Final = 0.06


class Purpose(StrEnum):
    """What the next sweep is for."""

    FIRST = "first look"
    JUMP = "after a jump"
    REFERENCE = "before a look at the motors"
    PROBE = "after a probing move"
    MOTORS = "after homing and back"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class HomeAndReturn:
    """Home every axis and go to where it was: shows motors that lose steps."""

    targets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Finished:
    """Tuning by design is over.

    Parameters
    ----------
    unreached
        Ports above the limit.
    reworks
        What makes the unreachable ones reachable; empty when the travel is not what is missing.
    suspects
        Trimmers that do not follow their motors.
    restore
        Move to the best positions seen; None where the array is best now.
    """

    unreached: tuple[Unreached, ...]
    reworks: tuple[Rework, ...]
    suspects: tuple[Suspect, ...]
    restore: Move | None


Action: TypeAlias = Move | HomeAndReturn | Finished


@dataclass(frozen=True, slots=True)
class DesignTuning:
    """All that is known; made by `begin`, replaced by `advance`.

    Parameters
    ----------
    prior
        The drawing, or what an earlier tuning left.
    goal
        When to stop.
    lowest, highest
        Where targets may lie in steps, shape (channel, trimmer); room for the approach is kept below.
    middle, half
        Of the travel in steps, shape (channel, trimmer).
    purpose
        Of the next sweep.
    check_motors
        Whether to probe and home all axes before the end.
    checked
        Whether a look at the motors has begun.
    sweeps, stalled
        Sweeps used, and since the last progress.
    observations, estimate
        What was seen, and what it means; None before the first sweep.
    positions, approached
        At the last sweep that was not after a probing move, and whether their play has been taken up, shape
        (channel, trimmer).
    reflections
        Each port's at its own frequency in the last sweep, shape (port,).
    best_positions, best_reflections
        Of the sweep with the fewest ports above the limit and, of those, the least worst reflection.
    best_power
        Least sum of squared reflections so far.
    accused, stuck
        Trimmers that stood still when last sent, and those that did so twice and no longer are moved, shape
        (channel, trimmer).
    suspects
        Trimmers that did not follow.
    expected
        Reflections that the model promised for the last sweep, shape (port,).
    """

    prior: Prior
    goal: TuningGoal
    lowest: Real
    highest: Real
    middle: Real
    half: Real
    purpose: Purpose
    check_motors: bool
    checked: bool
    sweeps: int
    stalled: int
    observations: tuple[Observation, ...]
    estimate: Estimate | None
    positions: Real
    approached: NDArray[np.bool_]
    reflections: Complex
    best_positions: Real
    best_reflections: Complex
    best_power: float
    accused: NDArray[np.bool_]
    stuck: NDArray[np.bool_]
    suspects: tuple[Suspect, ...]
    expected: Complex | None

    @property
    def design(self) -> ArrayDesign:
        """The drawing."""
        return self.prior.belief.design

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """Ports none of whose own trimmers is stuck, shape (port,)."""
        wanted = np.ones(self.design.circuit.port_count, dtype=np.bool_)
        for arm, columns in zip(self.design.arms, self.design.arm_trimmers(), strict=True):
            wanted[arm.ports] = ~np.any(self.stuck[:, list(columns)], axis=1)
        return wanted

    @property
    def known(self) -> Estimate:
        """What the sweeps mean.

        Raises
        ------
        ValueError
            None has been taken in.
        """
        if self.estimate is None:
            raise ValueError("no sweep has been taken in yet")
        return self.estimate

    def worst(self, reflections: Complex) -> float:
        """Return the largest of the reflections, shape (port,), that can be helped."""
        return float(np.max(np.abs(reflections[self.wanted]), initial=0.0))

    def ranked(self, reflections: Complex) -> tuple[int, float]:
        """Return how many ports that can be helped are above the limit, and the worst: less is better."""
        above = np.abs(reflections[self.wanted]) >= amplitude(self.goal.limit_db)
        return int(np.count_nonzero(above)), self.worst(reflections)

    @property
    def span(self) -> float | None:
        """Half width of the next sweep over its centre; None: wide enough for every dip."""
        if self.purpose in {Purpose.REFERENCE, Purpose.PROBE, Purpose.MOTORS}:
            return KEPT_SPAN
        if self.observations or self.prior.elements["sample"] != self.design.spreads["sample"].width:
            return NARROW_SPAN if self.observations else KEPT_SPAN
        return None

    @property
    def reflections_db(self) -> tuple[float, ...]:
        """|S_ii| at the ports' own frequencies in the last sweep, in the order of the ports."""
        return tuple(decibels(float(size)) for size in np.abs(self.reflections))

    def positions_from(self, positions: Mapping[str, int]) -> Real:
        """Return positions by axis name as an array, shape (channel, trimmer)."""
        return np.array([[positions[name] for name in row] for row in self.design.axes], dtype=np.float64)

    def named(self, targets: Real, chosen: NDArray[np.bool_]) -> Mapping[str, int]:
        """Return the chosen targets by axis name."""
        return MappingProxyType(
            {
                name: round(float(targets[channel, column]))
                for channel, row in enumerate(self.design.axes)
                for column, name in enumerate(row)
                if chosen[channel, column]
            }
        )


def amplitude(level_db: float) -> float:
    """Return the amplitude of a level in dB."""
    return float(10.0 ** (level_db / 20.0))
