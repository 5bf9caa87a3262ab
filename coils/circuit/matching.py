"""Matching of one lossless L-network, in closed form.

With the source's admittance ``G + jB`` and a shunt part first, the sum must reach ``G ± j sqrt(G/Z0 -
G^2)``, the circle of conductances whose impedance has the real part Z0; a series part then takes away the
reactance. So it exists only where ``G < 1/Z0``. Losses of the parts are left out here;
`coils.circuit.design` adds them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class LMatch:
    """Capacitors that match a loop: one across it (tune), one in series to the port (match).

    Parameters
    ----------
    tune, match
        F.
    """

    tune: float
    match: float


@dataclass(frozen=True, slots=True)
class LNetwork:
    """A lossless L-network between a source and a port.

    Parameters
    ----------
    first
        What the source meets first: ``"shunt"`` (across the source) or ``"series"``.
    susceptance
        Of the shunt part, S; positive is a capacitor.
    reactance
        Of the series part, ohm; positive is an inductor.
    """

    first: Literal["shunt", "series"]
    susceptance: float
    reactance: float

    def input_impedance(self, source: complex) -> complex:
        """Return what the port sees in ohm with a source impedance in ohm at the other end."""
        if self.first == "shunt":
            return 1.0 / (1.0 / source + 1j * self.susceptance) + 1j * self.reactance
        return 1.0 / (1.0 / (source + 1j * self.reactance) + 1j * self.susceptance)


def l_match(impedance: complex, frequency: float, z0: float = 50.0) -> LMatch:
    """Return the two capacitors that match a loop.

    Parameters
    ----------
    impedance
        Of the loop R + jX where the tune capacitor goes across it, ohm.
    frequency
        Hz.
    z0
        Of the port, ohm.

    Raises
    ------
    ValueError
        The loop is too heavily loaded (``R^2 + X^2 <= R Z0``), or not inductive enough to be tuned by a
        capacitor; the text says which and by how much.
    """
    wanted = [network for network in l_networks(impedance, z0) if network.first == "shunt"]
    if not wanted:
        conductance = (1.0 / impedance).real
        raise ValueError(
            f"no capacitive match: the parallel resistance {1.0 / conductance:.4g} ohm of the loop at "
            f"{frequency / 1e6:.6g} MHz must exceed {z0:g} ohm; use a smaller share of the loop's "
            "capacitance for this section, or a larger loop"
        )
    network = next(network for network in wanted if network.reactance < 0.0)
    omega = 2.0 * math.pi * frequency
    if network.susceptance <= 0.0:
        raise ValueError(
            f"no capacitive match: at {frequency / 1e6:.6g} MHz the loop lacks "
            f"{-network.susceptance * 1e3:.4g} mS of inductive susceptance; give it more inductance or fewer "
            "capacitors"
        )
    return LMatch(network.susceptance / omega, -1.0 / (omega * network.reactance))


def l_networks(impedance: complex, z0: float = 50.0) -> tuple[LNetwork, ...]:
    """Return every lossless L-network, two or four, that matches an impedance to a port.

    Parameters
    ----------
    impedance
        Of the source, ohm, with a positive real part.
    z0
        Of the port, ohm.

    Returns
    -------
    Shunt first where ``Re(1/impedance) < 1/z0``, then series first where ``Re(impedance) <= z0``; every
    dissipative source has one pair at least.

    Raises
    ------
    ValueError
        The source does not dissipate.
    """
    if impedance.real <= 0.0:
        raise ValueError(f"a source of {impedance} ohm does not dissipate: there is nothing to match")
    admittance = 1.0 / impedance
    found: list[LNetwork] = []
    conductance = admittance.real
    if conductance * z0 < 1.0:
        reach = math.sqrt(conductance * (1.0 / z0 - conductance))
        for total in (-reach, reach):
            series = total / (conductance**2 + total**2)
            found.append(LNetwork("shunt", total - admittance.imag, series))
    if impedance.real <= z0:
        reach = math.sqrt(impedance.real * (z0 - impedance.real))
        for total in (reach, -reach):
            shunt = total / (impedance.real**2 + total**2)
            found.append(LNetwork("series", shunt, total - impedance.imag))
    return tuple(found)
