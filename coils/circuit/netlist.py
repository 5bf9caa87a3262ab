"""Small circuits as lists of parts between named nodes, for `coils.circuit.nodal`.

Every part with two terminals takes an element of `coils.circuit.elements`, so losses are stated in one way
everywhere. A node is a name; ``GROUND`` is one of them and need not occur: what floats gets a reference of
its own, because the currents of a floating part add up to zero by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from coils.circuit.elements import Capacitor, Inductor, Resistor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coils.circuit.elements import Complex, Element, Real

#: The node to which the others' voltages refer, where it occurs.
GROUND: Final = "0"

#: Two nodes, plus and minus; the current counts as positive from plus through the part to minus.
Terminals: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Impedance:
    """An impedance given point by point: measured, or computed elsewhere.

    Parameters
    ----------
    name
        Unique in its netlist.
    value
        Ohm, shape (frequency,) or (1,).
    """

    name: str
    value: Complex

    def impedance(self, frequencies: Complex) -> Complex:
        """Return ohm, shape (frequency, 1), for frequencies of shape (frequency, 1).

        Raises
        ------
        ValueError
            The value has another number of frequencies.
        """
        if self.value.size not in (1, len(frequencies)):
            raise ValueError(
                f"impedance {self.name!r} has {self.value.size} points, the solution {len(frequencies)}: "
                "give it at the frequencies of the solution"
            )
        return np.asarray(np.broadcast_to(self.value, len(frequencies))[:, None], dtype=np.complex128)


@dataclass(frozen=True, slots=True)
class Part:
    """One element between two nodes; the element's value has shape (1,)."""

    element: Element | Impedance
    terminals: Terminals

    @property
    def name(self) -> str:
        """Name of the element."""
        return self.element.name


@dataclass(frozen=True, slots=True)
class Coupled:
    """Branches coupled by an impedance matrix: loops with mutual inductances and a common sample.

    Parameters
    ----------
    name
        Unique in its netlist.
    branches
        Terminals of each.
    inductance
        H, shape (branch, branch).
    resistance
        Ohm, shape (branch, branch) or (frequency, branch, branch); complex where a sample adds reactance.
    """

    name: str
    branches: tuple[Terminals, ...]
    inductance: Real
    resistance: Real | Complex

    def impedance(self, frequencies: Complex) -> Complex:
        """Return ohm, shape (frequency, branch, branch), for frequencies of shape (frequency,).

        Raises
        ------
        ValueError
            The resistance was given at another number of frequencies.
        """
        reactance = 2j * np.pi * frequencies[:, None, None] * self.inductance
        if self.resistance.ndim == 3 and len(self.resistance) != len(frequencies):
            raise ValueError(
                f"the resistance of {self.name!r} has {len(self.resistance)} points, the solution "
                f"{len(frequencies)}: give it at the frequencies of the solution"
            )
        return np.asarray(reactance + self.resistance)


@dataclass(frozen=True, slots=True)
class NPort:
    """A device known by its S-parameters: measured data, an ideal coupler, a line.

    Parameters
    ----------
    name
        Unique in its netlist.
    terminals
        Of each of its ports; they may share nodes.
    s
        Shape (frequency, port, port) or (1, port, port). Any matrix is allowed, also those without
        admittances: a through, a short, an ideal transformer.
    z0
        Real reference impedance of its ports in ohm.
    """

    name: str
    terminals: tuple[Terminals, ...]
    s: Complex
    z0: float = 50.0

    def scattering(self, frequencies: Complex) -> Complex:
        """Return its S, shape (frequency, port, port).

        Raises
        ------
        ValueError
            Ports or frequencies are not as many as the terminals or the solution has.
        """
        ports = len(self.terminals)
        if self.s.shape[1:] != (ports, ports) or self.s.shape[0] not in (1, len(frequencies)):
            raise ValueError(
                f"the S-parameters of {self.name!r} have shape {self.s.shape}; expected "
                f"({len(frequencies)} or 1, {ports}, {ports})"
            )
        return np.broadcast_to(self.s, (len(frequencies), ports, ports))


@dataclass(frozen=True, slots=True)
class Line:
    """A transmission line; each end is a pair of terminals, so shields may float.

    Parameters
    ----------
    name
        Unique in its netlist.
    near, far
        Terminals of the ends: inner conductor, shield.
    impedance
        Characteristic, ohm; real.
    delay
        One way, s.
    attenuation
        Nepers at 1 MHz (8.686 dB each); grows with the square root of frequency (skin effect).
    """

    name: str
    near: Terminals
    far: Terminals
    impedance: float
    delay: float
    attenuation: float = 0.0

    @property
    def terminals(self) -> tuple[Terminals, Terminals]:
        """Both ends."""
        return (self.near, self.far)

    @property
    def z0(self) -> float:
        """Reference impedance of its scattering matrix: its own."""
        return self.impedance

    def scattering(self, frequencies: Complex) -> Complex:
        """Return its S referred to its own impedance, shape (frequency, 2, 2)."""
        loss = self.attenuation * np.sqrt(frequencies / 1e6)
        through = np.exp(-loss - 2j * np.pi * frequencies * self.delay)
        return np.asarray(through[:, None, None] * np.array([[0.0, 1.0], [1.0, 0.0]]))


@dataclass(frozen=True, slots=True)
class Port:
    """A pair of nodes where waves enter and leave, terminated in its reference impedance.

    Parameters
    ----------
    terminals
        Plus and minus.
    impedance
        Reference in ohm, scalar or shape (frequency,); complex ones give power waves (Kurokawa, IEEE
        Trans. Microw. Theory Tech. 13:194 (1965)).
    """

    terminals: Terminals
    impedance: complex | Complex = 50.0 + 0.0j


AnyPart: TypeAlias = Part | Coupled | NPort | Line


@dataclass(frozen=True, slots=True)
class Netlist:
    """A circuit.

    Parameters
    ----------
    parts
        In any order; their names are unique.
    ports
        In the order of the S-matrix.

    Raises
    ------
    ValueError
        Two parts have the same name, or there is no port.
    """

    parts: tuple[AnyPart, ...]
    ports: tuple[Port, ...]

    def __post_init__(self) -> None:
        """Check names and ports."""
        names = [part.name for part in self.parts]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"parts need names of their own; more than once: {', '.join(doubled)}")
        if not self.ports:
            raise ValueError("a netlist needs at least one port to excite it")

    def edges(self) -> Iterator[Terminals]:
        """Yield the terminals of every branch and port."""
        for part in self.parts:
            yield from branches(part)
        for port in self.ports:
            yield port.terminals

    def nodes(self) -> tuple[str, ...]:
        """Return all nodes in the order of their first mention."""
        return tuple(dict.fromkeys(node for edge in self.edges() for node in edge))

    def references(self) -> frozenset[str]:
        """Return one node of each part of the circuit that no branch connects to the others.

        It is ``GROUND`` where that occurs, else the node mentioned first.
        """
        group = {node: node for node in self.nodes()}

        def root(node: str) -> str:
            while group[node] != node:
                node = group[node]
            return node

        for plus, minus in self.edges():
            first, second = root(plus), root(minus)
            if GROUND in (first, second):
                group[first] = group[second] = GROUND
            else:
                group[second] = first
        return frozenset(node for node in group if group[node] == node)


def branches(part: AnyPart) -> tuple[Terminals, ...]:
    """Return the terminals of each branch of a part."""
    if isinstance(part, Part):
        return (part.terminals,)
    if isinstance(part, Coupled):
        return part.branches
    return part.terminals


def resistor(name: str, plus: str, minus: str, ohm: float, exponent: float = 0.0) -> Part:
    """Return a resistor of ``ohm`` at 1 MHz that follows a power of frequency."""
    return Part(Resistor(name, np.array([ohm]), exponent), (plus, minus))


def capacitor(
    name: str, plus: str, minus: str, farad: float, q: float = np.inf, q_exponent: float = 0.0
) -> Part:
    """Return a capacitor; losses as in `coils.circuit.elements.Capacitor`."""
    return Part(Capacitor(name, np.array([farad]), q, q_exponent), (plus, minus))


def inductor(
    name: str, plus: str, minus: str, henry: float, q: float = np.inf, q_exponent: float = 0.0
) -> Part:
    """Return an inductor; losses as in `coils.circuit.elements.Inductor`."""
    return Part(Inductor(name, np.array([henry]), q, q_exponent), (plus, minus))
