"""The fixed parts of a channel and what real ones lose: copper, solder, capacitors, inductors, PIN diodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from hil_fixtures.physics.magnetics import MU_0

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Complex, Real
    from hil_fixtures.physics.geometry import LoopArray

#: Resistivity of copper at 20 degC in ohm m, CRC Handbook of Chemistry and Physics.
COPPER_RESISTIVITY: Final = 1.68e-8

#: Loss of a strip over that of a smooth round wire of equal inductance (current crowds at the edges);
#: typical of etched coils, 1.2 to 1.5.
STRIP_FACTOR: Final = 1.3

#: Solder joints of one loop and the resistance of one in ohm: a few milliohm each on coil boards.
SOLDER_JOINTS: Final = 8
SOLDER_RESISTANCE: Final = 3e-3

#: Quality factors at ``Q_FREQUENCY`` of good trimmers and chip capacitors, and of a 5 mm air-core
#: solenoid; both rise with the root of frequency in series with a skin-effect resistance.
CAPACITOR_Q: Final = 1200.0
INDUCTOR_Q: Final = 250.0
Q_FREQUENCY: Final = 33.8e6

#: Forward RF resistance of a PIN diode: bulk part in ohm and charge-controlled part in ohm ampere
#: (about 0.5 ohm at 100 mA, the data sheet value of common switching types).
DIODE_BULK: Final = 0.3
DIODE_CHARGE: Final = 0.02


def copper_resistance(array: LoopArray, frequencies: Real) -> Real:
    """Return one loop's resistance in ohm, copper and solder, at each frequency.

    A round wire of radius w and skin depth d carries its current in pi (2 w d - d^2).
    """
    depth = np.sqrt(COPPER_RESISTIVITY / (np.pi * frequencies * MU_0))
    section = np.pi * (2.0 * array.wire_radius * depth - depth**2)
    copper = STRIP_FACTOR * COPPER_RESISTIVITY * array.conductor_length / section
    return np.asarray(copper + SOLDER_JOINTS * SOLDER_RESISTANCE)


def capacitor_impedance(capacitance: Real, frequencies: Real, quality: float = CAPACITOR_Q) -> Complex:
    """Return the impedance in ohm of lossy capacitors, shape (frequency, capacitor)."""
    reactance = 1.0 / (2.0 * np.pi * frequencies[:, None] * capacitance)
    return np.asarray(reactance * (np.sqrt(frequencies / Q_FREQUENCY)[:, None] / quality - 1j))


def inductor_impedance(inductance: Real, frequencies: Real, quality: float = INDUCTOR_Q) -> Complex:
    """Return the impedance in ohm of lossy inductors, shape (frequency, inductor)."""
    reactance = 2.0 * np.pi * frequencies[:, None] * inductance
    return np.asarray(reactance * (np.sqrt(Q_FREQUENCY / frequencies)[:, None] / quality + 1j))


def switched_inductor_admittance(inductance: Real, bias: Real, frequencies: Real) -> Complex:
    """Return the admittance in siemens of inductors in series with a PIN diode each.

    Parameters
    ----------
    inductance, bias
        Shape (channel,), H and A. The diode's resistance is bulk + charge/bias; without bias it is open.

    Returns
    -------
    Shape (frequency, channel).
    """
    impedance = inductor_impedance(inductance, frequencies) + DIODE_BULK
    return np.asarray(bias / (bias * impedance + DIODE_CHARGE))


@dataclass(frozen=True, slots=True)
class FixedParts:
    """The fixed parts of every channel, each of shape (channel,).

    Parameters
    ----------
    trap_inductance, trap_capacitance
        The series branch Lt + C1 of the trap, H and F; its parallel capacitor is the 1H tune trimmer.
    detune_na, detune_h
        Inductors in H that a biased PIN diode puts across the 23Na tune capacitor and across the trap.
    lead_inductance
        In series with the trimmers, H, shape (channel, 4) or (1, 4): 23Na tune and match, 1H tune and match.
    port_capacitance
        Across the ports, F, shape (channel, 2) or (1, 2): 23Na, 1H.
    """

    trap_inductance: Real
    trap_capacitance: Real
    detune_na: Real
    detune_h: Real
    lead_inductance: Real = field(default_factory=lambda: np.zeros((1, 4)))
    port_capacitance: Real = field(default_factory=lambda: np.zeros((1, 2)))
