"""S-parameters of coupled loops: every channel's ladder in closed form, only the N loop currents coupled.

One loop is a ring: the loop itself, then sections in series. A section is a branch across two points of the
ring, with or without an arm that leads to a port. Seen from the ring a section with its arm is a Thevenin
source, so all sections of all channels are worked out side by side, and what is left to solve is one matrix
of the loops' size at each frequency. With z the impedance of a section, V its open voltage for one unit of
incident wave at its port, and S0 what the port reflects while the ring is open,

    T = -(Z_loops + diag(sum z))^-1 V,    S = diag(S0) + V^T T / 2.

T are the loop currents for unit incident waves (A per sqrt(W), both RMS). The convention is e^{+jωt}.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, cast

import numpy as np

from coils.circuit.elements import Branch, Evaluated, evaluate, leaves, replaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from coils.circuit.elements import Complex, Element, Real

#: Reference impedance of all ports in ohm.
Z0: Final = 50.0

#: Frequencies whose matrices of 16 ports fit a processor's cache together (512 KiB).
_BLOCK: Final = 128


@dataclass(frozen=True, slots=True)
class Stage:
    """A branch in the arm from a port to its section: in series with it or across it."""

    place: Literal["series", "shunt"]
    branch: Branch


@dataclass(frozen=True, slots=True)
class Arm:
    """The way from ports to the sections they feed.

    Parameters
    ----------
    ports
        Index of each channel's port in S, shape (channel,).
    stages
        Seen from the port.
    """

    ports: NDArray[np.intp]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A branch in the ring, and the arm that taps it, if any."""

    across: Branch
    arm: Arm | None = None


@dataclass(frozen=True, slots=True)
class Bank:
    """Loops of one kind: the same elements with values of their own.

    Parameters
    ----------
    loops
        Index of each channel's loop in the matrix of the loops, shape (channel,).
    sections
        In the ring, any order.
    """

    loops: NDArray[np.intp]
    sections: tuple[Section, ...]

    def elements(self) -> Iterator[Element]:
        """Yield every element, arms included."""
        for section in self.sections:
            yield from leaves(section.across)
            for stage in () if section.arm is None else section.arm.stages:
                yield from leaves(stage.branch)

    def with_values(self, values: Mapping[str, Real]) -> Bank:
        """Return the bank with the values of the named elements changed, each of shape (channel,)."""
        return Bank(self.loops, tuple(_section_with(section, values) for section in self.sections))


@dataclass(frozen=True, slots=True)
class ArrayCircuit:
    """All that hangs in the loops of an array.

    Parameters
    ----------
    banks
        One for each kind of loop; every loop is in one of them.
    delays
        One-way delay of the line between each port's plane of reference and its arm in s, shape (port,).
    """

    banks: tuple[Bank, ...]
    delays: Real

    @property
    def port_count(self) -> int:
        """Number of ports."""
        return self.delays.size

    def with_values(self, values: Sequence[Mapping[str, Real]]) -> ArrayCircuit:
        """Return the circuit with other element values; one mapping for each bank."""
        banks = tuple(bank.with_values(new) for bank, new in zip(self.banks, values, strict=True))
        return replace(self, banks=banks)


@dataclass(frozen=True, slots=True)
class SectionState:
    """A section at some frequencies; all arrays of shape (frequency, channel).

    Parameters
    ----------
    across, stages
        Branches, evaluated; the stages seen from the port.
    admittance
        Of the arm, seen from the ring, S.
    impedance
        Of the section with its arm, ohm.
    voltage
        Across the section for a unit incident wave, ring open, V per sqrt(W).
    reflection
        Of the port, ring open.
    """

    section: Section
    across: Evaluated
    stages: tuple[Evaluated, ...] = field(default=())
    admittance: Complex | None = None
    impedance: Complex | None = None
    voltage: Complex | None = None
    reflection: Complex | None = None


@dataclass(frozen=True, slots=True)
class Solution:
    """An array at some frequencies.

    Parameters
    ----------
    circuit, frequencies
        As given; Hz, shape (frequency,).
    s
        Shape (frequency, port, port).
    inverse
        Of the loops' impedance matrix with all sections in it, S, shape (frequency, loop, loop).
    voltage
        Open ring voltage for a unit incident wave at each port, V per sqrt(W), shape (frequency, port).
    loop_of_port
        Shape (port,).
    states
        Of every section of every bank.
    """

    circuit: ArrayCircuit
    frequencies: Complex
    s: Complex
    inverse: Complex
    voltage: Complex
    loop_of_port: NDArray[np.intp]
    states: tuple[tuple[SectionState, ...], ...]

    def currents(self) -> Complex:
        """Return loop currents for unit incident waves, A per sqrt(W), shape (frequency, loop, port)."""
        currents = np.take(self.inverse, self.loop_of_port, axis=2)
        currents *= -self.voltage[:, None, :]
        return currents


def solve(circuit: ArrayCircuit, frequencies: Complex | Real, loops: Complex) -> Solution:
    """Solve an array with all ports terminated in 50 ohm.

    Parameters
    ----------
    circuit
        What hangs in the loops.
    frequencies
        Hz, shape (frequency,); complex ones ``f - ih`` give the response of wider resonances.
    loops
        Impedance matrix of the loops alone in ohm, shape (frequency, loop, loop), symmetric.
    """
    # Real frequencies stay real: half of the arithmetic then costs half.
    axis = cast("Complex", np.asarray(frequencies))
    column: Complex = axis[:, None]
    states = tuple(
        tuple(_evaluate_section(section, column) for section in bank.sections) for bank in circuit.banks
    )
    ports = circuit.port_count
    rings = np.zeros((axis.size, loops.shape[-1]), dtype=np.complex128)
    voltage = np.zeros((axis.size, ports), dtype=np.complex128)
    reflection = np.ones((axis.size, ports), dtype=np.complex128)
    loop_of_port = np.zeros(ports, dtype=np.intp)
    for bank, sections in zip(circuit.banks, states, strict=True):
        for state in sections:
            rings[:, bank.loops] += state.across.impedance if state.impedance is None else state.impedance
            arm = state.section.arm
            if arm is not None and state.voltage is not None and state.reflection is not None:
                voltage[:, arm.ports] = state.voltage
                reflection[:, arm.ports] = state.reflection
                loop_of_port[arm.ports] = bank.loops
    if np.any(circuit.delays):
        turn = np.exp(-2j * np.pi * column * circuit.delays)
        voltage, reflection = voltage * turn, reflection * turn**2
    inverse, s = _couple(loops, rings, voltage, loop_of_port)
    np.einsum("fii->fi", s)[...] += reflection
    return Solution(circuit, axis, s, inverse, voltage, loop_of_port, states)


def _couple(
    loops: Complex, rings: Complex, voltage: Complex, loop_of_port: NDArray[np.intp]
) -> tuple[Complex, Complex]:
    """Return the inverse of the loops' matrix with their rings, and what loops add to S, block by block."""
    count, ports = loops.shape[-1], loop_of_port.size
    inverse = np.empty(loops.shape, dtype=np.complex128)
    s = np.empty((len(loops), ports, ports), dtype=np.complex128)
    pairs = (loop_of_port[:, None] * count + loop_of_port).ravel()
    for first in range(0, len(loops), _BLOCK):
        block = slice(first, first + _BLOCK)
        total = loops[block].astype(np.complex128)
        np.einsum("fii->fi", total)[...] += rings[block]
        inverse[block] = np.linalg.inv(total)
        between, wave = s[block], voltage[block]
        # With an output and clipping take() copies without a buffer, several times faster than indexing.
        np.take(
            inverse[block].reshape(-1, count * count),
            pairs,
            axis=1,
            out=between.reshape(-1, ports * ports),
            mode="clip",
        )
        between *= -0.5 * wave[:, :, None]
        between *= wave[:, None, :]
    return inverse, s


def _section_with(section: Section, values: Mapping[str, Real]) -> Section:
    across = replaced(section.across, values)
    if section.arm is None:
        return Section(across)
    stages = tuple(Stage(stage.place, replaced(stage.branch, values)) for stage in section.arm.stages)
    return Section(across, Arm(section.arm.ports, stages))


def _evaluate_section(section: Section, frequencies: Complex) -> SectionState:
    """Work out the section's Thevenin source, walking its arm from the port to the ring and back."""
    across = evaluate(section.across, frequencies)
    if section.arm is None:
        return SectionState(section, across)
    stages = tuple(evaluate(stage.branch, frequencies) for stage in section.arm.stages)
    emf: Complex | float = 2.0 * np.sqrt(Z0)
    source: Complex | float = Z0
    for stage, state in zip(section.arm.stages, stages, strict=True):
        if stage.place == "series":
            source = source + state.impedance
        else:
            part = state.impedance / (state.impedance + source)
            emf, source = emf * part, source * part
    admittance = np.asarray(1.0 / source + np.zeros_like(across.impedance))
    impedance = across.impedance / (1.0 + across.impedance * admittance)
    voltage = emf * admittance * impedance
    current = voltage / across.impedance
    at, through = voltage, current
    for stage, state in zip(reversed(section.arm.stages), reversed(stages), strict=True):
        if stage.place == "series":
            at = at + through * state.impedance
        else:
            through = through + at / state.impedance
    reflection = 1.0 - np.sqrt(Z0) * through
    return SectionState(section, across, stages, admittance, impedance, voltage, reflection)
