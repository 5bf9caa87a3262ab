"""When trimmers cannot reach: which fixed capacitor to change, and by how much.

The model is solved once more without the ends of the travel. A trimmer whose capacitance would have to lie
beyond them gets a fixed capacitor more or less in parallel, such that the wanted value falls well inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.tuning.targets import solve_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.circuit.elements import Complex, Real
    from coils.tuning.belief import Belief

#: Where on its travel (-1 to 1) a reworked trimmer shall stand: enough room for error on either side.
_INSIDE: Final = 0.6
#: How far beyond its range a wanted capacitance is looked for, as factors.
_BEYOND: Final = (0.3, 3.0)


@dataclass(frozen=True, slots=True)
class Rework:
    """A change of a fixed capacitor that makes ports reachable.

    Parameters
    ----------
    part
        The trimmer's axis: the capacitor lies in parallel with that trimmer.
    change
        Capacitance to add in F; negative: to take away.
    wanted
        Capacitance in F that trimmer and fixed capacitor together must be able to reach.
    lowest, highest
        What they reach now, F.
    """

    part: str
    change: float
    wanted: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        """Return the advice as a sentence."""
        verb = "add" if self.change > 0.0 else "take away"
        return (
            f"{verb} {abs(self.change) * 1e12:.1f} pF in parallel with {self.part}: it must reach "
            f"{self.wanted * 1e12:.1f} pF and goes from {self.lowest * 1e12:.1f} to "
            f"{self.highest * 1e12:.1f} pF"
        )


def find_reworks(
    belief: Belief,
    start: Real,
    offset: Complex,
    lowest: Real,
    highest: Real,
    wanted: NDArray[np.bool_],
    stuck: NDArray[np.bool_],
) -> tuple[Rework, ...]:
    """Return what to change so that every port can be matched.

    Parameters
    ----------
    belief
        The model.
    start
        The best capacitances within the limits, F, shape (channel, trimmer).
    offset
        Measured minus modelled reflections, shape (port,).
    lowest, highest
        What the trimmers reach, F, shapes as ``start``.
    wanted
        Ports that matter, shape (port,).
    stuck
        Trimmers that cannot be moved, shape (channel, trimmer): nothing is advised about them.
    """
    below, above = (
        np.where(stuck, lowest, _BEYOND[0] * lowest),
        np.where(stuck, highest, _BEYOND[1] * highest),
    )
    needed = solve_target(belief, start, offset, below, above, wanted).capacitances
    middle, half = 0.5 * (lowest + highest), 0.5 * (highest - lowest)
    place = (needed - middle) / half
    found = []
    for channel, column in np.argwhere((np.abs(place) > 1.0) & ~stuck):
        towards = float(np.sign(place[channel, column]))
        change = needed[channel, column] - (
            middle[channel, column] + towards * _INSIDE * half[channel, column]
        )
        found.append(
            Rework(
                belief.design.axes[channel][column],
                float(change),
                float(needed[channel, column]),
                float(lowest[channel, column]),
                float(highest[channel, column]),
            )
        )
    return tuple(found)
