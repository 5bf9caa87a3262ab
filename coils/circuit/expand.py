"""Write an array out element by element: a netlist to check, to change, to hand to another program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coils.circuit.array import Z0
from coils.circuit.elements import Capacitor, Inductor, Parallel, Resistor, Series
from coils.circuit.netlist import Coupled, Line, Netlist, Part, Port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coils.circuit.array import ArrayCircuit, Section
    from coils.circuit.elements import Branch, Element, Real
    from coils.circuit.netlist import AnyPart, Terminals

#: Name of the part that carries the loops; its branches are in the order of the loops' matrix.
LOOPS = "loops"


def array_netlist(circuit: ArrayCircuit, loops: Real, frequencies: Real) -> Netlist:
    """Return the netlist of an array at some frequencies.

    Parameters
    ----------
    circuit
        What hangs in the loops.
    loops
        Impedance matrix of the loops alone in ohm, shape (frequency, loop, loop), at ``frequencies``.
    frequencies
        Hz, shape (frequency,).

    Returns
    -------
    Parts are called ``<bank>.<channel>.<element>``, the loops ``loops``. Each port's minus is the minus of
    its section, so nothing is grounded.
    """
    reactance = np.imag(loops[0]) / (2.0 * np.pi * frequencies[0])
    rest = loops - 2j * np.pi * frequencies[:, None, None] * reactance
    ends: list[Terminals] = [("", "")] * loops.shape[-1]
    parts: list[AnyPart] = []
    ports: list[Port | None] = [None] * circuit.port_count
    for number, bank in enumerate(circuit.banks):
        for channel, loop in enumerate(bank.loops):
            prefix = f"{number}.{channel}."
            nodes = [f"{prefix}ring{place}" for place in range(len(bank.sections) + 1)]
            ends[int(loop)] = (nodes[-1], nodes[0])
            for place, section in enumerate(bank.sections):
                terminals = (nodes[place], nodes[place + 1])
                parts += _placed(section.across, channel, terminals, f"{prefix}s{place}.", prefix)
                parts += _arm(circuit, section, channel, terminals, f"{prefix}s{place}.", prefix, ports)
    parts.append(Coupled(LOOPS, tuple(ends), reactance, rest))
    return Netlist(tuple(parts), tuple(port for port in ports if port is not None))


def _arm(
    circuit: ArrayCircuit,
    section: Section,
    channel: int,
    terminals: Terminals,
    nodes: str,
    prefix: str,
    ports: list[Port | None],
) -> Iterator[AnyPart]:
    """Yield the parts between a section and its port, and put the port in its place."""
    if section.arm is None:
        return
    plus, minus = terminals
    at = plus
    index = int(section.arm.ports[channel])
    # stages are listed from the port, so they are walked from the ring in reverse
    for number, stage in enumerate(reversed(section.arm.stages)):
        if stage.place == "series":
            outer = f"{nodes}arm{number}"
            yield from _placed(stage.branch, channel, (outer, at), f"{outer}.", prefix)
            at = outer
        else:
            yield from _placed(stage.branch, channel, (at, minus), f"{nodes}shunt{number}.", prefix)
    delay = float(circuit.delays[index])
    if delay != 0.0:
        outer = f"{nodes}plane"
        yield Line(f"{prefix}line{index}", (outer, minus), (at, minus), Z0, delay)
        at = outer
    ports[index] = Port((at, minus), complex(Z0))


def _placed(branch: Branch, channel: int, terminals: Terminals, nodes: str, prefix: str) -> Iterator[Part]:
    """Yield every element of a branch between two nodes, with nodes of its own inside."""
    if isinstance(branch, Series):
        inner = [f"{nodes}{place}" for place in range(1, len(branch.parts))]
        chain = [terminals[0], *inner, terminals[1]]
        for place, part in enumerate(branch.parts):
            yield from _placed(part, channel, (chain[place], chain[place + 1]), f"{nodes}{place}.", prefix)
    elif isinstance(branch, Parallel):
        for place, part in enumerate(branch.parts):
            yield from _placed(part, channel, terminals, f"{nodes}{place}.", prefix)
    else:
        yield Part(_single(branch, channel, prefix), terminals)


def _single(element: Element, channel: int, prefix: str) -> Element:
    """Return one channel's element."""
    name, value = prefix + element.name, np.asarray(element.value)[channel : channel + 1]
    if isinstance(element, Resistor):
        return Resistor(name, value, element.exponent)
    kind = Capacitor if isinstance(element, Capacitor) else Inductor
    return kind(name, value, element.q, element.q_exponent)
