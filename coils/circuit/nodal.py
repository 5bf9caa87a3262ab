"""Solve any small linear circuit: S-parameters, node voltages and branch currents, all frequencies at once.

Modified nodal analysis (Ho, Ruehli and Brennan, IEEE Trans. Circuits Syst. 22:504 (1975)): the unknowns are
the node voltages, and the currents of those branches that may have no admittance or a large one - coupled
loops and devices known by S. Ports are terminated inside the matrix, so it is never singular for lack of a
load. One batched linear solve answers for all ports and frequencies. It is the slow and general companion
of `coils.circuit.array`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.circuit.netlist import Coupled, Line, Netlist, NPort, Part, branches

if TYPE_CHECKING:
    from coils.circuit.elements import Complex, Real
    from coils.circuit.netlist import Terminals


#: Ohm. Currents are counted in volts across it, so that no entry of the matrix is out of scale.
SCALE: Final = 50.0

#: Ohm. A part below is written by its impedance: its admittance would drown those of its neighbours.
_SMALL: Final = 5.0


@dataclass(frozen=True, slots=True)
class NodalSystem:
    """The equations of a netlist: ``matrix @ unknowns = sources @ incident waves``.

    Parameters
    ----------
    netlist, frequencies
        As given; Hz, shape (frequency,).
    place
        Row and column of every node but the references.
    currents
        First row and column of the branch currents (times `SCALE`) of every part that has them.
    matrix
        Shape (frequency, unknown, unknown).
    sources
        Shape (frequency, unknown, port).
    """

    netlist: Netlist
    frequencies: Complex
    place: dict[str, int]
    currents: dict[str, int]
    matrix: Complex
    sources: Complex

    def incidence(self, terminals: Terminals) -> Real:
        """Return +1 at the plus node and -1 at the minus node, shape (unknown,)."""
        row = np.zeros(self.matrix.shape[-1])
        for node, sign in zip(terminals, (1.0, -1.0), strict=True):
            if node in self.place:
                row[self.place[node]] += sign
        return row


@dataclass(frozen=True, slots=True)
class NodalSolution:
    """A netlist, solved.

    Parameters
    ----------
    system
        Its equations.
    s
        Scattering matrix, shape (frequency, port, port); power waves of the ports' references.
    unknowns
        For unit incident waves, per sqrt(W), RMS: shape (frequency, unknown, port).
    """

    system: NodalSystem
    s: Complex
    unknowns: Complex

    def voltage(self, plus: str, minus: str | None = None) -> Complex:
        """Return the voltage between two nodes (or a node and its reference) for unit incident waves.

        Returns
        -------
        V per sqrt(W), shape (frequency, port).

        Raises
        ------
        KeyError
            There is no such node.
        """
        return self._node(plus) - (0.0 if minus is None else self._node(minus))

    def current(self, name: str) -> Complex:
        """Return the currents through a part for unit incident waves.

        Returns
        -------
        A per sqrt(W), shape (frequency, port); (frequency, branch, port) for parts with several branches.

        Raises
        ------
        KeyError
            There is no such part.
        """
        part = next((part for part in self.system.netlist.parts if part.name == name), None)
        if part is None:
            raise KeyError(f"no part is called {name!r}")
        if isinstance(part, Part) and name not in self.system.currents:
            voltage = self.voltage(*part.terminals)
            return voltage / part.element.impedance(self.system.frequencies[:, None])
        first = self.system.currents[name]
        currents = self.unknowns[:, first : first + len(branches(part))] / SCALE
        return currents[:, 0] if isinstance(part, Part) else currents

    def _node(self, node: str) -> Complex:
        if node in self.system.place:
            return self.unknowns[:, self.system.place[node]]
        if node in self.system.netlist.nodes():
            return np.zeros_like(self.unknowns[:, 0])
        raise KeyError(f"no node is called {node!r}")


def solve_netlist(netlist: Netlist, frequencies: Complex | Real) -> NodalSolution:
    """Solve a netlist with every port terminated in its reference impedance.

    Parameters
    ----------
    netlist
        Any linear circuit.
    frequencies
        Hz, shape (frequency,), not 0; complex ones give the response of wider resonances.

    Raises
    ------
    ValueError
        A part has no impedance at all or another number of frequencies.
    numpy.linalg.LinAlgError
        The circuit has no solution: a lossless loop resonates with nothing to damp it.
    """
    system = assemble(netlist, frequencies)
    unknowns = np.asarray(np.linalg.solve(system.matrix, system.sources), dtype=np.complex128)
    ports = len(netlist.ports)
    s = np.empty((len(system.frequencies), ports, ports), dtype=np.complex128)
    for row, port in enumerate(netlist.ports):
        impedance = _reference(port.impedance)
        to_wave = np.sqrt(impedance.real) / impedance
        voltage = np.einsum("u,fup->fp", system.incidence(port.terminals), unknowns)
        s[:, row] = to_wave * voltage
        s[:, row, row] -= (impedance.conj() / impedance)[:, 0]
    return NodalSolution(system, s, unknowns)


def assemble(netlist: Netlist, frequencies: Complex | Real) -> NodalSystem:
    """Write down the equations of a netlist.

    Raises
    ------
    ValueError
        A part has no impedance at all or another number of frequencies, or a reference no resistance.
    """
    axis = np.asarray(frequencies, dtype=np.complex128)
    references = netlist.references()
    place = {node: row for row, node in enumerate(n for n in netlist.nodes() if n not in references)}
    size = len(place)
    currents: dict[str, int] = {}
    impedances = {part.name: _impedance(part, axis) for part in netlist.parts if isinstance(part, Part)}
    for part in netlist.parts:
        if not isinstance(part, Part) or np.min(np.abs(impedances[part.name])) < _SMALL:
            currents[part.name] = size
            size += len(branches(part))
    points = len(axis)
    matrix = np.zeros((points, size, size), dtype=np.complex128)
    sources = np.zeros((points, size, len(netlist.ports)), dtype=np.complex128)
    system = NodalSystem(netlist, axis, place, currents, matrix, sources)
    for part in netlist.parts:
        if isinstance(part, Part):
            impedance = impedances[part.name]
            if part.name in currents:
                _stamp_impedance(system, part.name, (part.terminals,), impedance[:, None, None])
            else:
                _stamp_admittance(system, part.terminals, 1.0 / impedance)
        elif isinstance(part, Coupled):
            _stamp_impedance(system, part.name, part.branches, part.impedance(axis))
        else:
            _stamp_device(system, part)
    for column, port in enumerate(netlist.ports):
        reference = _reference(port.impedance)
        if np.any(reference.real <= 0.0):
            raise ValueError(f"port {column + 1} needs a reference with a positive resistance")
        admittance = np.broadcast_to(1.0 / reference[:, 0], points)
        _stamp_admittance(system, port.terminals, admittance)
        drive = 2.0 * np.sqrt(reference.real) / reference
        sources[:, :, column] = SCALE * drive * system.incidence(port.terminals)
    return system


def _impedance(part: Part, frequencies: Complex) -> Complex:
    impedance = part.element.impedance(frequencies[:, None])[:, 0]
    if np.any(impedance == 0.0):
        raise ValueError(f"{part.name!r} has no impedance: make its two nodes one")
    return impedance


def _reference(impedance: complex | Complex) -> Complex:
    """Return a reference impedance as a column, shape (frequency or 1, 1)."""
    return np.atleast_1d(np.asarray(impedance, dtype=np.complex128))[:, None]


def _stamp_admittance(system: NodalSystem, terminals: Terminals, admittance: Complex) -> None:
    rows = [system.place.get(node) for node in terminals]
    for row, row_sign in zip(rows, (1.0, -1.0), strict=True):
        for column, sign in zip(rows, (1.0, -1.0), strict=True):
            if row is not None and column is not None:
                system.matrix[:, row, column] += row_sign * sign * SCALE * admittance


def _stamp_impedance(system: NodalSystem, name: str, ends: tuple[Terminals, ...], impedance: Complex) -> None:
    """Add ``V - Z I = 0`` for the branches and their currents to the nodes' sums."""
    first = system.currents[name]
    own = slice(first, first + len(ends))
    system.matrix[:, own, own] = -impedance / SCALE
    for number, terminals in enumerate(ends):
        incidence = system.incidence(terminals)
        system.matrix[:, first + number] += incidence
        system.matrix[:, :, first + number] += incidence


def _stamp_device(system: NodalSystem, part: NPort | Line) -> None:
    """Add ``(1 - S) V - (1 + S) Z0 I = 0``, scaled by sqrt(SCALE / Z0): regular for every S."""
    first = system.currents[part.name]
    count = len(part.terminals)
    own = slice(first, first + count)
    s = part.scattering(system.frequencies)
    identity = np.eye(count)
    root = np.sqrt(part.z0 / SCALE)
    incidence = np.array([system.incidence(terminals) for terminals in part.terminals])
    system.matrix[:, own] += (identity - s) @ incidence / root
    system.matrix[:, own, own] -= (identity + s) * root
    system.matrix[:, :, own] += incidence.T
