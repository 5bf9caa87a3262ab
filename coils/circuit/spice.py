"""Hand a netlist to SPICE: a deck for one frequency, with losses and couplings as they are there.

SPICE knows no losses that follow a power of frequency, so a deck is valid at its frequency alone.
Resistances that two loops share (a common sample) become current-controlled voltage sources. The deck is
for ngspice in batch mode (``ngspice -b``); it excites the ports one after the other and writes the ports'
voltages to raw files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coils.circuit.netlist import Coupled, Line, NPort, Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coils.circuit.elements import Complex
    from coils.circuit.netlist import Netlist, Port


def spice_deck(netlist: Netlist, frequency: float, raw: Path) -> str:
    """Return a deck that computes all S-parameters at one frequency.

    Parameters
    ----------
    netlist
        Parts with two terminals, coupled branches and lossless lines; real references.
    frequency
        Hz. Values given for several frequencies must be given for this one alone.
    raw
        Folder for ``0.raw``, ``1.raw``, ...: one for each port excited, read by `read_scattering`.

    Raises
    ------
    ValueError
        A part has no equivalent in SPICE: a device known by S, a lossy line, a complex reference.
    """
    axis = np.array([[frequency + 0j]])
    references = netlist.references()
    names = {node: "0" if node in references else f"n{k}" for k, node in enumerate(netlist.nodes())}
    lines = ["* one frequency only: losses are frozen there"]
    for number, part in enumerate(netlist.parts):
        if isinstance(part, Part):
            plus, minus = (names[node] for node in part.terminals)
            impedance = complex(part.element.impedance(axis)[0, 0])
            lines += _impedance(str(number), plus, minus, impedance, frequency)
        elif isinstance(part, Coupled):
            ends = [(names[plus], names[minus]) for plus, minus in part.branches]
            lines += _coupled(str(number), ends, part.impedance(axis[0])[0], frequency)
        elif isinstance(part, Line) and part.attenuation == 0.0:
            pins = " ".join(names[node] for end in part.terminals for node in end)
            lines.append(f"T{number} {pins} Z0={part.impedance!r} TD={part.delay!r}")
        else:
            reason = "a device known by S" if isinstance(part, NPort) else "a lossy line"
            raise ValueError(f"{part.name!r} is {reason}: SPICE has no such element")
    for number, port in enumerate(netlist.ports):
        plus, minus = (names[node] for node in port.terminals)
        lines.append(f"RP{number} {plus} src{number} {_resistance(port)!r}")
        lines.append(f"VP{number} src{number} {minus} DC 0 AC 0")
        lines.append(f"EP{number} out{number} 0 {plus} {minus} 1")
        lines.append(f"RO{number} out{number} 0 1")
    return "\n".join([*lines, *_control(len(netlist.ports), frequency, raw), ""])


def read_scattering(netlist: Netlist, raw: Path) -> Complex:
    """Return what ngspice computed from a deck of `spice_deck`, shape (port, port).

    Raises
    ------
    ValueError
        A raw file is missing or is not what the deck asks for.
    """
    ports = len(netlist.ports)
    reference = np.array([_resistance(port) for port in netlist.ports])
    voltage = np.stack([_read_raw(raw / f"{port}.raw", ports) for port in range(ports)], axis=1)
    scale = np.sqrt(reference[None, :] / reference[:, None])
    return np.asarray(2.0 * voltage * scale - np.eye(ports))


def _resistance(port: Port) -> float:
    reference = complex(np.asarray(port.impedance, dtype=np.complex128).ravel()[0])
    if reference.imag != 0.0:
        raise ValueError(f"SPICE terminates ports in resistors; the reference is {reference} ohm")
    return reference.real


def _impedance(name: str, plus: str, minus: str, impedance: complex, frequency: float) -> Iterator[str]:
    """Yield an inductor or a capacitor with its resistance in parallel, or a resistor alone.

    Small resistances in series would give SPICE huge conductances, and cost half of its digits.
    """
    if impedance.imag == 0.0:
        yield f"V{name} {plus} r{name} 0"
        yield f"H{name} r{name} {minus} V{name} {impedance.real!r}"
        return
    admittance = 1.0 / impedance
    omega = 2.0 * np.pi * frequency
    if admittance.real != 0.0:
        yield f"R{name} {plus} {minus} {1.0 / admittance.real!r}"
    if admittance.imag < 0.0:
        yield f"L{name} {plus} {minus} {-1.0 / (omega * admittance.imag)!r}"
    else:
        yield f"C{name} {plus} {minus} {admittance.imag / omega!r}"


def _coupled(name: str, ends: list[tuple[str, str]], impedance: Complex, frequency: float) -> Iterator[str]:
    """Yield inductors with their couplings, and sources for what else one branch does in another."""
    count = len(ends)
    inductance = impedance.imag / (2.0 * np.pi * frequency)
    for row, (plus, minus) in enumerate(ends):
        yield f"V{name}_{row} {plus} i{name}_{row} 0"
        at = f"i{name}_{row}"
        for column in range(count):
            resistance = float(impedance[row, column].real)
            if resistance == 0.0:
                continue
            after = f"r{name}_{row}_{column}"
            yield f"H{name}_{row}_{column} {at} {after} V{name}_{column} {resistance!r}"
            at = after
        yield f"L{name}_{row} {at} {minus} {float(inductance[row, row])!r}"
    for row in range(count):
        for column in range(row):
            own = float(np.sqrt(inductance[row, row] * inductance[column, column]))
            k = float(inductance[row, column]) / own
            if k != 0.0:
                yield f"K{name}_{row}_{column} L{name}_{row} L{name}_{column} {k!r}"


def _control(ports: int, frequency: float, raw: Path) -> Iterator[str]:
    yield ".options noopac"
    yield ".control"
    yield "set filetype=ascii"
    yield "set numdgt=16"
    outputs = " ".join(f"v(out{port})" for port in range(ports))
    for port in range(ports):
        yield f"alter @vp{port}[acmag]=1"
        yield f"ac lin 1 {frequency!r} {frequency!r}"
        yield f"write {raw / f'{port}.raw'} {outputs}"
        yield f"alter @vp{port}[acmag]=0"
    yield "quit"
    yield ".endc"
    yield ".end"


def _read_raw(path: Path, ports: int) -> Complex:
    """Return the ports' voltages of one raw file of one point, written in ascii."""
    if not path.is_file():
        raise ValueError(f"no {path}: did ngspice run the deck to its end?")
    _, _, body = path.read_text(encoding="utf-8").partition("Values:\n")
    # the index of the point stands before its first value, which is the frequency
    values = [line.split()[-1].split(",") for line in body.splitlines() if line.strip()]
    if len(values) != ports + 1:
        raise ValueError(f"{path} holds {len(values)} values; expected the frequency and {ports} voltages")
    return np.array([complex(float(real), float(imaginary)) for real, imaginary in values[1:]])
