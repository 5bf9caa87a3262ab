"""Motorised trimmer capacitors: steps in, capacitance out, with play in the gear and a bent scale.

Motors can lose their grip: stuck, the screw no longer follows; slipping, it follows by a part of each move.
The controller counts on, as it does where nobody watches the screw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import root_scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil_fixtures.physics.design import Design
    from hil_fixtures.physics.workmanship import Workmanship

#: Travel of every axis in steps.
MINIMUM: Final = 0
MAXIMUM: Final = 4000

#: Usual play of a gear in steps: what a small geared stepper on a trimmer shows.
PLAY: Final = 20

#: Travel about the design value, as a fraction of it.
SPAN: Final = 0.30

#: Names of the four trimmers of a channel, in the order of the capacitance table's columns.
FUNCTIONS: Final = ("na.tune", "na.match", "h.tune", "h.match")


@dataclass(frozen=True, slots=True)
class Scale:
    """Capacitance against screw position.

    Parameters
    ----------
    lowest, highest
        At the ends of the travel, F.
    bend
        Curvature: the middle of the scale lies this fraction of the span off the straight line.
    wave
        Amplitude of one sine period over the travel, as a fraction of the span.
    """

    lowest: float
    highest: float
    bend: float
    wave: float

    def capacitance(self, position: float) -> float:
        """Return the capacitance in F at a true screw position in steps; rises with it."""
        x = (position - MINIMUM) / (MAXIMUM - MINIMUM)
        bent = x + 4.0 * self.bend * x * (1.0 - x) + self.wave * float(np.sin(2.0 * np.pi * x))
        return self.lowest + (self.highest - self.lowest) * bent

    def position(self, capacitance: float) -> float:
        """Return the screw position in steps of a capacitance in F.

        Raises
        ------
        ValueError
            The capacitance is outside the trimmer's range.
        """
        if not self.lowest <= capacitance <= self.highest:
            raise ValueError(
                f"{capacitance:.4g} F is outside this trimmer's {self.lowest:.4g} F to {self.highest:.4g} F"
            )
        found = root_scalar(
            lambda steps: self.capacitance(steps) - capacitance, bracket=(MINIMUM, MAXIMUM), xtol=1e-6
        )
        return float(found.root)


class Axis:
    """One trimmer with its motor: the controller's step count, and the screw that lags behind it.

    Going up the gear pushes the screw; going down it first takes up the play.

    Parameters
    ----------
    scale
        Of the trimmer.
    position
        Step count, gear and screw at the start.
    play
        Of the gear in steps.
    """

    def __init__(self, scale: Scale, position: int, play: float = PLAY) -> None:
        self._scale = scale
        self._play = play
        self._grip = 1.0
        self._counted = position
        self._gear = float(position)
        self._screw = float(position)

    @property
    def scale(self) -> Scale:
        """Capacitance against screw position."""
        return self._scale

    @property
    def play(self) -> float:
        """Play of the gear in steps."""
        return self._play

    @property
    def counted(self) -> int:
        """The controller's step count."""
        return self._counted

    @property
    def screw(self) -> float:
        """Where the screw truly is, in steps."""
        return self._screw

    @property
    def capacitance(self) -> float:
        """What the circuit sees, in F."""
        return self._scale.capacitance(self._screw)

    @property
    def grip(self) -> float:
        """Part of the motor's moves that reaches the gear: 1 sound, 0 stuck, between them slipping."""
        return self._grip

    def set_grip(self, part: float) -> None:
        """Let only ``part`` of every move reach the gear.

        Raises
        ------
        ValueError
            The part is not from 0 to 1.
        """
        if not 0.0 <= part <= 1.0:
            raise ValueError(f"a motor passes on 0 to 1 of its moves; got {part}")
        self._grip = part

    @property
    def reach(self) -> tuple[float, float]:
        """Lowest and highest screw position that the motor can push up to; equal when it is stuck."""
        if self._grip == 0.0:
            return self._screw, self._screw
        lowest = self._gear + self._grip * (MINIMUM - self._counted)
        return lowest + self._play, lowest + self._grip * (MAXIMUM - MINIMUM)

    def count_for(self, screw: float) -> int:
        """Return the step count, approached from below, that brings the screw nearest to a position."""
        if self._grip == 0.0:
            return self._counted
        return round(float(np.clip(self._counted + (screw - self._gear) / self._grip, MINIMUM, MAXIMUM)))

    def screw_for(self, count: int) -> float:
        """Return where the screw ends when a step count is approached from below."""
        return self._screw if self._grip == 0.0 else self._gear + self._grip * (count - self._counted)

    def move(self, target: int) -> None:
        """Turn the motor until the count is ``target``.

        Raises
        ------
        ValueError
            The target is outside the travel; nothing has moved.
        """
        if not MINIMUM <= target <= MAXIMUM:
            raise ValueError(f"step {target} is outside the travel {MINIMUM}..{MAXIMUM}")
        self._turn(self._gear + self._grip * (target - self._counted))
        self._counted = int(target)

    def home(self) -> None:
        """Run against the lower end and count from there: a slipping motor gets there too."""
        if self._grip > 0.0:
            self._turn(float(MINIMUM))
        self._counted = MINIMUM

    def add_capacitance(self, farad: float) -> None:
        """Change the fixed capacitor in parallel with the trimmer.

        Raises
        ------
        ValueError
            Nothing would be left at the lower end of the travel.
        """
        lowest = self._scale.lowest + farad
        if not lowest > 0.0:
            raise ValueError(
                f"{self._scale.lowest:.4g} F at the lower end cannot be changed by {farad:.4g} F"
            )
        self._scale = replace(self._scale, lowest=lowest, highest=self._scale.highest + farad)

    def drift(self, part: float) -> None:
        """Let the capacitance grow by ``part`` of itself at every position (negative: shrink)."""
        grown = 1.0 + part
        self._scale = replace(
            self._scale, lowest=self._scale.lowest * grown, highest=self._scale.highest * grown
        )

    def _turn(self, gear: float) -> None:
        self._gear = gear
        self._screw = float(np.clip(self._screw, gear, gear + self._play))


def axis_names(channels: int) -> tuple[str, ...]:
    """Return the names of all axes: four per channel, counted from 1."""
    return tuple(f"ch{channel}.{function}" for channel in range(1, channels + 1) for function in FUNCTIONS)


def soldered_axes(
    design: Design, channels: int, random: np.random.Generator, workmanship: Workmanship
) -> dict[str, Axis]:
    """Return the axes of a freshly soldered array: no two scales alike, all mistuned."""
    scales: dict[str, Scale] = {}
    starts: list[int] = []
    for name, nominal in zip(axis_names(channels), _repeat(design.trimmers, channels), strict=True):
        centre = nominal * (1.0 + workmanship.trimmer_offset * _bounded_normal(random))
        half = nominal * SPAN * (1.0 + workmanship.trimmer_span * _bounded_normal(random))
        bend = workmanship.trimmer_bend * _bounded_normal(random)
        wave = workmanship.trimmer_wave * _bounded_normal(random)
        scales[name] = Scale(centre - half, centre + half, bend, wave)
        wanted = nominal * (1.0 + workmanship.start * random.uniform(-1.0, 1.0))
        starts.append(round(scales[name].position(float(np.clip(wanted, centre - half, centre + half)))))
    plays = [workmanship.play + workmanship.play_deviation * _bounded_normal(random) for _ in starts]
    return {
        name: Axis(scale, start, play)
        for (name, scale), start, play in zip(scales.items(), starts, plays, strict=True)
    }


def _bounded_normal(random: np.random.Generator) -> float:
    """Return a normal number cut at two standard deviations: parts beyond are sorted out by the maker."""
    return float(np.clip(random.standard_normal(), -2.0, 2.0))


def _repeat(values: Sequence[float], times: int) -> list[float]:
    return [value for _ in range(times) for value in values]
