"""Baluns and cables: lattice balun, transmission line, cable trap, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.circuit.netlist import Line, Part, capacitor, inductor

if TYPE_CHECKING:
    from coils.circuit.elements import Complex, Real
    from coils.circuit.netlist import Terminals

#: Speed of light in vacuum in m/s, exact in the SI since 1983.
_LIGHT: Final = 299792458.0


@dataclass(frozen=True, slots=True)
class LatticeBalun:
    """Two inductors and two capacitors between an unbalanced port and a balanced load; H and F.

    Each end of the load meets an L and a C in parallel resonance, so the common mode of a load that floats is
    not determined at the balun's own frequency: ground its middle, or expect a cable trap's work there.
    """

    inductance: float
    capacitance: float

    def parts(self, hot: str, ground: str, plus: str, minus: str, *, q: float = np.inf) -> tuple[Part, ...]:
        """Return the four parts between the port's nodes and the balanced ones.

        Parameters
        ----------
        hot, ground
            Nodes of the unbalanced port.
        plus, minus
            Nodes of the balanced load; plus lags the port by 90 degrees, minus leads it.
        q
            Of the inductors.
        """
        return (
            inductor("balun L1", hot, plus, self.inductance, q),
            capacitor("balun C1", plus, ground, self.capacitance),
            capacitor("balun C2", hot, minus, self.capacitance),
            inductor("balun L2", minus, ground, self.inductance, q),
        )


def lattice_balun(balanced: float, frequency: float, z0: float = 50.0) -> LatticeBalun:
    """Return the balun that matches a balanced resistance to an unbalanced port.

    Parameters
    ----------
    balanced
        Ohm.
    frequency
        Hz.
    z0
        Of the port, ohm.

    Notes
    -----
    Each arm is a quarter-wave section of ``sqrt(balanced z0)`` ohm: L = Z/w, C = 1/(w Z).
    """
    omega, arm = 2.0 * math.pi * frequency, math.sqrt(balanced * z0)
    return LatticeBalun(arm / omega, 1.0 / (omega * arm))


@dataclass(frozen=True, slots=True)
class Cable:
    """A coaxial cable.

    Parameters
    ----------
    impedance
        Characteristic, ohm.
    length
        m.
    velocity_factor
        Speed relative to light; 0.695 is solid PTFE.
    loss_db_per_metre
        At ``loss_frequency``; grows with the square root of frequency.
    loss_frequency
        Hz.
    """

    impedance: float = 50.0
    length: float = 1.0
    velocity_factor: float = 0.695
    loss_db_per_metre: float = 0.0
    loss_frequency: float = 100e6

    @property
    def delay(self) -> float:
        """One way, s."""
        return self.length / (_LIGHT * self.velocity_factor)

    def line(self, name: str, near: Terminals, far: Terminals) -> Line:
        """Return the cable as a part of a netlist."""
        decibels = self.loss_db_per_metre * self.length * math.sqrt(1e6 / self.loss_frequency)
        # 20 log10(e) dB are one neper
        return Line(name, near, far, self.impedance, self.delay, decibels / (20.0 * math.log10(math.e)))

    def abcd(self, frequencies: Real) -> Complex:
        """Return the chain matrix, shape (frequency, 2, 2), at frequencies in Hz of shape (frequency,)."""
        near, far = ("a", "b"), ("c", "b")
        through = self.line("cable", near, far).scattering(np.asarray(frequencies, dtype=np.complex128))[
            :, 0, 1
        ]
        cosh, sinh = 0.5 * (1.0 / through + through), 0.5 * (1.0 / through - through)
        rows = [[cosh, self.impedance * sinh], [sinh / self.impedance, cosh]]
        return np.moveaxis(np.array(rows), -1, 0)

    def input_impedance(self, load: Complex, frequencies: Real) -> Complex:
        """Return what is seen in ohm through the cable with ``load`` ohm at its end, shape (frequency,)."""
        chain = self.abcd(frequencies)
        return (chain[:, 0, 0] * load + chain[:, 0, 1]) / (chain[:, 1, 0] * load + chain[:, 1, 1])


def cable_trap_capacitance(shield_inductance: float, frequency: float) -> float:
    """Return the capacitor in F across a coiled length of shield (H) that blocks common-mode current."""
    return 1.0 / ((2.0 * math.pi * frequency) ** 2 * shield_inductance)


def cable_trap_impedance(
    shield_inductance: float, capacitance: float, q: float, frequencies: Real
) -> Complex:
    """Return the common-mode impedance of a cable trap in ohm, shape (frequency,).

    Parameters
    ----------
    shield_inductance, capacitance
        H and F.
    q
        Of the coiled shield; at resonance the trap shows about ``q w L``.
    frequencies
        Hz, shape (frequency,).
    """
    omega = 2.0 * np.pi * frequencies
    shield = omega * shield_inductance * (1j + 1.0 / q)
    return np.asarray(shield / (1.0 + 1j * omega * capacitance * shield))
