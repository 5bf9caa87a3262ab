"""Active detuning: a PIN diode switches an inductor across a capacitor of the loop.

At resonance the section becomes ``X_C^2 / (r_L + r_D)``. What a pair of probes sees of the ideal depth is
less: their own cross-talk and the leads limit a measurement to 30 to 50 dB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PinDiode:
    """A PIN diode at radio frequencies.

    Parameters
    ----------
    bulk
        Resistance in ohm that no current lowers.
    charge
        Ohm ampere: ``charge / current`` is the resistance of the intrinsic layer. 0.02 is 0.2 ohm at 100
        mA, as the data sheets of common switching types have it.
    off_capacitance
        Reverse-biased, F.
    off_resistance
        Parallel to it, ohm.
    """

    bulk: float = 0.3
    charge: float = 0.02
    off_capacitance: float = 1.2e-12
    off_resistance: float = 50e3

    def impedance(self, frequency: float, current: float) -> complex:
        """Return ohm at a frequency in Hz for a forward current in A; none or negative is off."""
        if current > 0.0:
            return complex(self.bulk + self.charge / current)
        admittance = 1.0 / self.off_resistance + 2j * math.pi * frequency * self.off_capacitance
        return self.bulk + 1.0 / admittance


def detuning_inductance(capacitance: float, frequency: float) -> float:
    """Return the inductor in H that resonates a capacitor of the loop (F) at a frequency in Hz."""
    return 1.0 / ((2.0 * math.pi * frequency) ** 2 * capacitance)


def block_resistance(
    capacitance: float, frequency: float, coil_resistance: float, diode_resistance: float
) -> float:
    """Return the resistance in ohm of a resonant detuning section, to first order in its losses.

    Parameters
    ----------
    capacitance
        F, across which the inductor is switched.
    frequency
        Hz.
    coil_resistance, diode_resistance
        Of the inductor and of the forward-biased diode, ohm.
    """
    reactance = 1.0 / (2.0 * math.pi * frequency * capacitance)
    return reactance**2 / (coil_resistance + diode_resistance)


def detuning_depth_db(loop_resistance: float, block: complex) -> float:
    """Return how much less current flows in the detuned loop than in the tuned and matched one, in dB.

    Parameters
    ----------
    loop_resistance
        Of the tuned loop, ohm; a matched port doubles it.
    block
        What the section puts in the loop's way in ohm: a resistance, or complex when it is off resonance
        by the detuned remainder of the loop's reactance.
    """
    return 20.0 * math.log10(abs(loop_resistance + block) / (2.0 * loop_resistance))
