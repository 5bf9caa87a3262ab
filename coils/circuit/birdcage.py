"""Birdcages: the spectrum of modes in closed form, and the netlist with two ports in quadrature.

N legs between two end rings make N meshes that are all alike, so currents that advance by ``2 pi m / N``
from mesh to mesh are exact solutions, couplings included. Modes ``m`` and ``-m`` coincide; ``m = ±1`` is
the homogeneous one, and two ports a quarter of the circumference apart drive its two polarisations
independently.

Hayes et al., J Magn Reson 63:622 (1985); Tropp, J Magn Reson 82:51 (1989); Leifer, J Magn Reson 124:51
(1997).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from coils.circuit.matching import l_match
from coils.circuit.netlist import Coupled, Netlist, Part, Port, capacitor
from coils.circuit.newton import solve_match
from coils.circuit.nodal import solve_netlist

if TYPE_CHECKING:
    from coils.circuit.elements import Complex, Real
    from coils.circuit.netlist import AnyPart

#: Vacuum permeability in H/m (4 pi 1e-7, exact to 1e-9, CODATA 2018).
_MU_0: Final = 4e-7 * np.pi

#: F: a capacitor that is a short at any frequency of a coil.
_BRIDGE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Birdcage:
    """A birdcage of N legs.

    Parameters
    ----------
    kind
        ``"low-pass"`` has its capacitors in the legs: its homogeneous mode is the lowest. ``"high-pass"``
        has them in the end rings: the homogeneous mode is the highest but for m = 0, and stray capacitance
        matters less.
    legs
        Inductance of a leg and those between legs 1, 2, ... N/2 places apart, H.
    rings
        The same for the segments of one end ring; the rings do not couple with each other or the legs.
    capacitance
        Of each capacitor, F.
    leg_resistance, ring_resistance
        Of a leg and a segment with their capacitor, sample included, ohm, taken as constant.
    """

    kind: Literal["low-pass", "high-pass"]
    legs: tuple[float, ...]
    rings: tuple[float, ...]
    capacitance: float
    leg_resistance: float = 0.0
    ring_resistance: float = 0.0

    def __post_init__(self) -> None:
        """Check that a quarter of the circumference is a whole number of legs.

        Raises
        ------
        ValueError
            The number of legs is no multiple of 4, or legs and rings disagree on it.
        """
        if len(self.legs) != len(self.rings) or len(self.legs) % 2 == 0:
            raise ValueError(
                f"{len(self.legs)} leg and {len(self.rings)} ring inductances; a birdcage of N legs, N a "
                "multiple of 4, has N/2 + 1 of each"
            )

    @property
    def count(self) -> int:
        """Number of legs N."""
        return 2 * (len(self.legs) - 1)

    def mode_frequencies(self) -> Real:
        """Return the resonances of modes m = 0, 1, ... N/2 in Hz, losses neglected, shape (N/2 + 1,).

        Mode 0 is that of the end rings alone; a low-pass birdcage has none, it is given as 0.
        """
        mode = np.arange(self.count // 2 + 1)
        turn = 4.0 * np.sin(np.pi * mode / self.count) ** 2
        inductance = 2.0 * _spectrum(self.rings) + turn * _spectrum(self.legs)
        elastance = (turn if self.kind == "low-pass" else 2.0) / self.capacitance
        return np.asarray(np.sqrt(elastance / inductance) / (2.0 * np.pi))

    def tuned(self, frequency: float) -> Birdcage:
        """Return the birdcage with the capacitors that bring its homogeneous mode to a frequency in Hz."""
        factor = (float(self.mode_frequencies()[1]) / frequency) ** 2
        return Birdcage(
            self.kind,
            self.legs,
            self.rings,
            self.capacitance * factor,
            self.leg_resistance,
            self.ring_resistance,
        )


@dataclass(frozen=True, slots=True)
class Drive:
    """Two ports in quadrature, each with a trimmer across the capacitor it sits on and one in series.

    Parameters
    ----------
    tune
        Added to the capacitors under the ports in F; negative where they must be smaller.
    match
        In series with each port, F.
    places
        Legs (or ring segments) of the ports, counted from 0; None: 0 and N/4.
    """

    tune: float = 0.0
    match: float = 1e-9
    places: tuple[int, ...] | None = field(default=None)


def birdcage_netlist(cage: Birdcage, drive: Drive, z0: float = 50.0) -> Netlist:
    """Return the netlist of a driven birdcage.

    Parameters
    ----------
    cage
        What to build.
    drive
        Its ports and their trimmers.
    z0
        Reference of the ports, ohm.

    Returns
    -------
    Parts ``legs``, ``top`` and ``bottom`` carry the inductances; their currents are those of the coil.
    """
    count = cage.count
    places = (0, count // 4) if drive.places is None else drive.places
    low = cage.kind == "low-pass"
    tip, gap = ("x", "b") if low else ("t", "b")
    legs = tuple((f"t{j}", f"x{j}" if low else f"b{j}") for j in range(count))
    parts: list[AnyPart] = [Coupled("legs", legs, *_circulant(cage.legs, cage.leg_resistance))]
    sites: list[tuple[str, str]] = []
    for name, end in (("top", "t"), ("bottom", "b")):
        half = f"{end}{{}}" if low else f"{end}half{{}}"
        branches = tuple((f"{end}{j}", half.format((j + 1) % count if low else j)) for j in range(count))
        parts.append(Coupled(name, branches, *_circulant(cage.rings, cage.ring_resistance)))
    for j in range(count):
        if low:
            sites.append((f"{tip}{j}", f"{gap}{j}"))
            parts.append(_capacitor(cage, drive, f"C{j}", sites[-1], j in places))
        else:
            for end in ("t", "b"):
                site = (f"{end}half{j}", f"{end}{(j + 1) % count}")
                driven = end == "t" and j in places
                parts.append(_capacitor(cage, drive, f"C{end}{j}", site, driven))
                if end == "t":
                    sites.append(site)
    ports = []
    for number, place in enumerate(places):
        plus, minus = sites[place]
        parts.append(capacitor(f"match{number}", plus, f"port{number}", drive.match))
        ports.append(Port((f"port{number}", minus), z0))
    return Netlist(tuple(parts), tuple(ports))


def rotating_share(leg_currents: Complex) -> Real:
    """Return the share of the homogeneous mode's power that rotates the wanted way.

    Parameters
    ----------
    leg_currents
        A, shape (..., leg), for drives with 90 degrees between the ports.

    Returns
    -------
    Between 0 and 1, shape (...): 1 is pure circular polarisation; 0.5 is linear.
    """
    angle = 2.0 * np.pi * np.arange(leg_currents.shape[-1]) / leg_currents.shape[-1]
    one, other = (np.abs(leg_currents @ np.exp(sign * 1j * angle)) ** 2 for sign in (1.0, -1.0))
    return np.asarray(np.maximum(one, other) / (one + other))


def parallel_wires(count: int, radius: float, length: float, wire_radius: float) -> tuple[float, ...]:
    """Return the inductances of straight legs on a cylinder: of one, and of two 1, 2, ... N/2 places apart.

    Parameters
    ----------
    count
        Legs on the whole circumference.
    radius, length, wire_radius
        m; a flat strip of width s counts as a wire of radius s/4.

    Returns
    -------
    H, count/2 + 1 values; the first at high frequency, without the field inside the wire.

    Notes
    -----
    Grover, Inductance Calculations (1946), chapter 5.
    """
    distance = 2.0 * radius * np.sin(np.pi * np.arange(count // 2 + 1) / count)
    distance[0] = wire_radius
    ratio = distance / length
    shape = np.arcsinh(1.0 / ratio) - np.sqrt(1.0 + ratio**2) + ratio
    return tuple(float(value) for value in _MU_0 * length / (2.0 * np.pi) * shape)


def _capacitor(cage: Birdcage, drive: Drive, name: str, site: tuple[str, str], driven: bool) -> Part:
    return capacitor(name, *site, cage.capacitance + (drive.tune if driven else 0.0))


def _by_place(values: tuple[float, ...]) -> Real:
    """Return the first row of the circulant matrix, shape (N,)."""
    half = np.asarray(values)
    return np.concatenate((half, half[-2:0:-1]))


def _spectrum(values: tuple[float, ...]) -> Real:
    """Return the circulant matrix' eigenvalues for modes 0 to N/2."""
    return np.asarray(np.fft.rfft(_by_place(values)).real)


def _circulant(values: tuple[float, ...], resistance: float) -> tuple[Real, Real]:
    row = _by_place(values)
    place = np.arange(row.size)
    return row[(place[:, None] - place[None, :]) % row.size], resistance * np.eye(row.size)


def driven_birdcage(cage: Birdcage, frequency: float, z0: float = 50.0) -> tuple[Birdcage, Drive]:
    """Return a birdcage tuned to a frequency and the drive that matches both of its ports.

    One resonance fills a volume homogeneously, and two ports in quadrature gain the square root of two over
    one; a sample that is not round couples them. It is one coil, without the SNR near the surface of an
    array.

    Parameters
    ----------
    cage
        With losses; its capacitors are replaced.
    frequency
        Hz.
    z0
        Reference of the ports, ohm.

    Raises
    ------
    ValueError
        The losses are too high or too low for capacitive matching.
    """
    tuned = cage.tuned(frequency)
    axis = np.array([frequency])
    bare = solve_netlist(birdcage_netlist(tuned, Drive(0.0, _BRIDGE, (0,)), z0), axis).s[0, 0, 0]
    capacitor_admittance = 2j * np.pi * frequency * tuned.capacitance
    rest = (1.0 - bare) / (1.0 + bare) / z0 - capacitor_admittance
    start = l_match(complex(1.0 / rest), frequency, z0)

    def drive(values: Real) -> Drive:
        return Drive(float(values[0]) - tuned.capacitance, float(values[1]))

    def reflections(values: Real) -> Complex:
        # both ports see the same by symmetry
        return solve_netlist(birdcage_netlist(tuned, drive(values), z0), axis).s[0, :1, 0]

    return tuned, drive(solve_match(reflections, np.array([start.tune, start.match])))
