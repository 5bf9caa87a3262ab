"""Read one trimmer's capacitance from its port's reflection while it is turned.

Every S-parameter of a linear network is a bilinear function of each single impedance in it (Bode, Network
Analysis and Feedback Amplifier Design, 1945, ch. 1). A capacitor of constant Q has an impedance in proportion
to 1/C. So three solutions of the model give the port's reflection for every capacitance at no cost, and a
sweep of that port alone tells where the trimmer stands: far off by its dip, near by all of the trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

import numpy as np

if TYPE_CHECKING:
    from coils.circuit.elements import Complex, Real
    from coils.tuning.belief import Belief
    from coils.tuning.by_hand import Turn

#: Capacitances that are tried, and how far beyond the ends of the travel, in parts of it.
_MARKS: Final = 1601
_BEYOND: Final = 0.1
#: A turn is slowed over its last part; it is one the wrong way when it has gone back by another.
_LAST_PART: Final = 0.2
_WRONG_PART: Final = 0.08


@dataclass(frozen=True, slots=True)
class Gauge:
    """A port's reflection for every capacitance of one trimmer: (a + b u) / (1 + c u), u = C0/C - 1.

    Parameters
    ----------
    here
        C0, F.
    lowest, highest
        Capacitances between which it reads, F.
    a, b, c
        Shape (frequency,).
    """

    here: float
    lowest: float
    highest: float
    a: Complex
    b: Complex
    c: Complex

    @classmethod
    def of(
        cls,
        belief: Belief,
        capacitances: Real,
        trimmer: tuple[int, int],
        port: int,
        travel: tuple[float, float],
        frequencies: Real,
    ) -> Self:
        """Return the gauge of a trimmer, all others as they are.

        Parameters
        ----------
        belief
            The model.
        capacitances
            Of all trimmers now, F, shape (channel, trimmer).
        trimmer
            Its row and column there.
        port
            Index in S.
        travel
            Lowest and highest capacitance of the trimmer, F.
        frequencies
            Hz, shape (frequency,).
        """
        here = float(capacitances[trimmer])
        room = _BEYOND * (travel[1] - travel[0])
        low, high = max(travel[0] - room, 0.5 * travel[0]), travel[1] + room
        one, other = (end if abs(end / here - 1.0) > 1e-3 else 1.01 * here for end in (low, high))
        traces = []
        for value in (here, one, other):
            trial = capacitances.copy()
            trial[trimmer] = value
            traces.append(belief.solve(frequencies, trial).s[:, port, port])
        first, second = here / one - 1.0, here / other - 1.0
        by_first, by_second = (traces[1] - traces[0]) / first, (traces[2] - traces[0]) / second
        apart = traces[1] - traces[2]
        # far from every resonance the reflection hardly changes: then it is linear
        blind = np.abs(apart) < 1e-12
        c = np.where(blind, 0.0, (by_second - by_first) / np.where(blind, 1.0, apart))
        return cls(here, low, high, traces[0], by_first + c * traces[1], c)

    def reflections(self, capacitance: float | Real) -> Complex:
        """Return the port's reflection at capacitances in F, shape (..., frequency)."""
        u = (self.here / np.asarray(capacitance, dtype=np.float64) - 1.0)[..., None]
        return np.asarray((self.a + self.b * u) / (1.0 + self.c * u), dtype=np.complex128)

    def read(self, reflections: Complex) -> tuple[float, float]:
        """Return the capacitance in F that explains a trace best, and the rms misfit that is left.

        Parameters
        ----------
        reflections
            Measured, shape (frequency,).
        """
        marks = np.geomspace(self.lowest, self.highest, _MARKS)
        error = np.mean(np.abs(self.reflections(marks) - reflections) ** 2, axis=1)
        best = int(np.clip(np.argmin(error), 1, _MARKS - 2))
        left, middle, right = error[best - 1 : best + 2]
        bend = left - 2.0 * middle + right
        shift = float(np.clip(0.5 * (left - right) / bend, -1.0, 1.0)) if bend > 0.0 else 0.0
        found = float(marks[best] * (marks[1] / marks[0]) ** shift)
        return found, float(np.sqrt(np.mean(np.abs(self.reflections(found) - reflections) ** 2)))


class Advice(StrEnum):
    """What a person at a trimmer is told while turning."""

    TURN = "turn on"
    SLOWER = "slower"
    STOP = "stop"
    PASSED = "stop, you passed it: turn back"
    OTHER_WAY = "the other way"


def advise(turn: Turn, now: float) -> Advice:
    """Return what to say when a trimmer that is being turned stands at ``now`` F."""
    left = turn.after - now
    if abs(left) <= turn.tolerance:
        return Advice.STOP
    if left * turn.change < 0.0:
        return Advice.PASSED
    gone = (now - turn.before) * np.sign(turn.change)
    if gone < -max(2.0 * turn.tolerance, _WRONG_PART * abs(turn.change)):
        return Advice.OTHER_WAY
    return (
        Advice.SLOWER if abs(left) < max(4.0 * turn.tolerance, _LAST_PART * abs(turn.change)) else Advice.TURN
    )
