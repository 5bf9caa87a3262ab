"""Three elements in place of a length of cable: at 30 MHz a quarter wave is more than a metre."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PiSection:
    """A phase shifter of three elements, matched to Z0 at its frequency.

    Parameters
    ----------
    phase
        By which it delays, in rad; negative: it advances.
    series, shunt
        The series element and each of both shunt elements, in H or F.
    low_pass
        True: series inductor, shunt capacitors (delays); False: series capacitor, shunt inductors (advances).
    """

    phase: float
    series: float
    shunt: float
    low_pass: bool

    def __str__(self) -> str:
        """Return it as a parts list."""
        if self.low_pass:
            return (
                f"low-pass π: {self.series * 1e9:.1f} nH in series, 2 x {self.shunt * 1e12:.1f} pF to ground"
            )
        return f"high-pass π: {self.series * 1e12:.1f} pF in series, 2 x {self.shunt * 1e9:.1f} nH to ground"


def phase_shifter(phase: float, frequency: float, *, z0: float = 50.0) -> PiSection:
    """Return the π-section that shifts by a phase at one frequency.

    Parameters
    ----------
    phase
        Delay in rad, between -π and π and not 0.
    frequency
        Hz.
    z0
        Ohm.

    Raises
    ------
    ValueError
        The phase is zero, or half a turn and more.

    Notes
    -----
    A line of electrical length θ has B = j Z0 sin θ and A = cos θ; the π-section with series reactance
    Z0 sin θ and shunt susceptances tan(θ/2) / Z0 has the same. Negative θ makes both signs negative.
    """
    if not 0.0 < abs(phase) < math.pi:
        raise ValueError(f"a π-section shifts by more than 0 and less than π, got {phase:.3g} rad")
    omega = 2.0 * math.pi * frequency
    reactance, susceptance = z0 * math.sin(abs(phase)), math.tan(0.5 * abs(phase)) / z0
    if phase > 0.0:
        return PiSection(phase, reactance / omega, susceptance / omega, low_pass=True)
    return PiSection(phase, 1.0 / (omega * reactance), 1.0 / (omega * susceptance), low_pass=False)
