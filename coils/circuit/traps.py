"""Traps: sections that block one nucleus in a loop of the other, in closed form.

The LCC trap (inductor and capacitor in series, a capacitor across both) blocks at the upper frequency and
acts at the lower one as an ordinary capacitor, so it replaces one of the loop's own. The plain LC trap
blocks as well but adds inductance below its resonance. Whatever blocks also costs: the trap's coil carries
part of the loop's current.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LccTrap:
    """An inductor in series with a capacitor, both in parallel with a second capacitor.

    Parameters
    ----------
    inductance
        H.
    series, parallel
        C1 in series with the inductor, C2 across both, F.
    """

    inductance: float
    series: float
    parallel: float

    def blocked_frequency(self) -> float:
        """Return the frequency of parallel resonance in Hz."""
        elastance = 1.0 / self.series + 1.0 / self.parallel
        return math.sqrt(elastance / self.inductance) / (2.0 * math.pi)

    def equivalent_capacitance(self, frequency: float) -> float:
        """Return the capacitance in F that the loop sees at a frequency in Hz; negative where inductive."""
        return self.parallel + self._branch_capacitance(frequency)

    def series_resistance(self, frequency: float, coil_resistance: float) -> float:
        """Return what the trap's coil adds to the loop's resistance in ohm, to first order in the loss.

        Parameters
        ----------
        frequency
            Hz, not near the blocked one.
        coil_resistance
            Of the inductor at that frequency, ohm.
        """
        branch = self._branch_capacitance(frequency)
        return coil_resistance * (branch / (branch + self.parallel)) ** 2

    def block_resistance(self, coil_resistance: float) -> float:
        """Return the resistance in ohm in the loop's way at the blocked frequency.

        Parameters
        ----------
        coil_resistance
            Of the inductor at the blocked frequency, ohm; to first order in it.
        """
        omega = 2.0 * math.pi * self.blocked_frequency()
        return 1.0 / ((omega * self.parallel) ** 2 * coil_resistance)

    def _branch_capacitance(self, frequency: float) -> float:
        omega = 2.0 * math.pi * frequency
        return self.series / (1.0 - omega**2 * self.inductance * self.series)


def lcc_traps(
    blocked: float, passed: float, capacitance: float, inductance: float
) -> tuple[LccTrap, LccTrap]:
    """Return the two traps that block one frequency and are a given capacitor at a lower one.

    Parameters
    ----------
    blocked, passed
        Hz.
    capacitance
        What the loop needs at ``passed``, F.
    inductance
        Of the trap's coil, H: more of it leaves more choice between blocking well and losing little.

    Returns
    -------
    First the one that loses least at ``passed`` (small C1), then the one that blocks best (small C2).

    Raises
    ------
    ValueError
        ``passed`` is not below ``blocked``, or the coil is too small; the text gives the smallest.

    Notes
    -----
    With ``a = w_p^2 L``, ``b = w_b^2 L`` and ``s = 1/C1`` the conditions are ``1/C2 = b - s`` and
    ``1/(b - s) + 1/(s - a) = C``: a quadratic in s whose roots satisfy ``(b - s)(s - a) C = b - a``. They
    need ``C >= 4/(b - a)``.
    """
    if not 0.0 < passed < blocked:
        raise ValueError(
            f"the trap must pass a lower frequency than it blocks; got {passed} and {blocked} Hz"
        )
    a, b = ((2.0 * math.pi * f) ** 2 * inductance for f in (passed, blocked))
    discriminant = (b - a) ** 2 / 4.0 - (b - a) / capacitance
    if discriminant < 0.0:
        smallest = 4.0 * inductance / ((b - a) * capacitance)
        raise ValueError(
            f"a trap coil of {inductance * 1e9:.4g} nH cannot block {blocked / 1e6:.6g} MHz and be "
            f"{capacitance * 1e12:.4g} pF at {passed / 1e6:.6g} MHz; it needs at least "
            f"{smallest * 1e9:.4g} nH"
        )
    middle, reach = (a + b) / 2.0, math.sqrt(discriminant)
    loses_least, blocks_best = (
        LccTrap(inductance, 1.0 / s, 1.0 / (b - s)) for s in (middle + reach, middle - reach)
    )
    return loses_least, blocks_best


@dataclass(frozen=True, slots=True)
class LcTrap:
    """An inductor and a capacitor in parallel; H and F."""

    inductance: float
    capacitance: float

    def added_inductance(self, frequency: float) -> float:
        """Return the inductance in H that the trap adds to a loop at a frequency in Hz."""
        return self.inductance / self._detuning(frequency)

    def series_resistance(self, frequency: float, coil_resistance: float) -> float:
        """Return what the coil's resistance in ohm adds to the loop at a frequency in Hz, to first order."""
        return coil_resistance / self._detuning(frequency) ** 2

    def block_resistance(self, coil_resistance: float) -> float:
        """Return the resistance in ohm at resonance for the coil's resistance in ohm, to first order."""
        return self.inductance / (self.capacitance * coil_resistance)

    def _detuning(self, frequency: float) -> float:
        return 1.0 - (2.0 * math.pi * frequency) ** 2 * self.inductance * self.capacitance


def lc_trap(blocked: float, inductance: float) -> LcTrap:
    """Return the trap with a coil of ``inductance`` H that blocks a frequency in Hz."""
    return LcTrap(inductance, 1.0 / ((2.0 * math.pi * blocked) ** 2 * inductance))
