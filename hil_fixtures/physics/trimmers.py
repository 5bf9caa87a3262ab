"""Motorised trimmer capacitors: steps in, capacitance out, with play in the gear and a bent scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import root_scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil_fixtures.physics.design import Design

#: Travel of every axis in steps.
MINIMUM: Final = 0
MAXIMUM: Final = 4000

#: Play of the gear in steps: what a small geared stepper on a trimmer shows.
PLAY: Final = 20

#: Travel about the design value, as a fraction of it.
SPAN: Final = 0.30

#: Standard deviations between trimmers of one type: span, value at mid travel, bend of the scale.
_SPAN_SPREAD: Final = 0.03
_OFFSET_SPREAD: Final = 0.02
_BEND_SPREAD: Final = 0.02

#: Most mistuning of a freshly soldered channel, as a fraction of the design value.
START_SPREAD: Final = 0.22

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

    Going up the motor pushes the screw; going down it first takes up `PLAY` steps.
    """

    def __init__(self, scale: Scale, position: int) -> None:
        self.scale = scale
        self._counted = position
        self._screw = float(position)

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
        return self.scale.capacitance(self._screw)

    def move(self, target: int) -> None:
        """Turn the motor until the count is ``target``.

        Raises
        ------
        ValueError
            The target is outside the travel; nothing has moved.
        """
        if not MINIMUM <= target <= MAXIMUM:
            raise ValueError(f"step {target} is outside the travel {MINIMUM}..{MAXIMUM}")
        self._counted = int(target)
        self._screw = float(np.clip(self._screw, self._counted, self._counted + PLAY))


def axis_names(channels: int) -> tuple[str, ...]:
    """Return the names of all axes: four per channel, counted from 1."""
    return tuple(f"ch{channel}.{function}" for channel in range(1, channels + 1) for function in FUNCTIONS)


def soldered_axes(design: Design, channels: int, random: np.random.Generator) -> dict[str, Axis]:
    """Return the axes of a freshly soldered array: no two scales alike, all mistuned."""
    axes: dict[str, Axis] = {}
    for name, nominal in zip(axis_names(channels), _repeat(design.trimmers, channels), strict=True):
        centre = nominal * (1.0 + _OFFSET_SPREAD * _bounded_normal(random))
        half = nominal * SPAN * (1.0 + _SPAN_SPREAD * _bounded_normal(random))
        bend, wave = _BEND_SPREAD * _bounded_normal(random), 0.5 * _BEND_SPREAD * _bounded_normal(random)
        scale = Scale(centre - half, centre + half, bend, wave)
        wanted = nominal * (1.0 + START_SPREAD * random.uniform(-1.0, 1.0))
        axes[name] = Axis(scale, round(scale.position(wanted)))
    return axes


def _bounded_normal(random: np.random.Generator) -> float:
    """Return a normal number cut at two standard deviations: parts beyond are sorted out by the maker."""
    return float(np.clip(random.standard_normal(), -2.0, 2.0))


def _repeat(values: Sequence[float], times: int) -> list[float]:
    return [value for _ in range(times) for value in values]
