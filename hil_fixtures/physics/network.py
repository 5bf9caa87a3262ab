"""The circuit of the array: loop currents and S-parameters at all ports.

One channel is one ring with one current I: loop, 23Na section, 1H section.

======== ============ ================================================================
element  between      what
======== ============ ================================================================
loop     c and a      L, copper, sample; coupled to the other loops
Ct       a and b      23Na tune trimmer
Cm(Na)   a and port   23Na match trimmer; the port's other lead is b
Cp       b and c      1H tune trimmer, parallel to Lt in series with C1: the trap
Cm(H)    b and port   1H match trimmer; the port's other lead is c
leads    in series    with every trimmer; zero in a careful array
Cs       at ports     capacitance of the connectors; zero in a careful array
PIN, L   a,b and b,c  detuning inductors, in the circuit when biased
======== ============ ================================================================

Both ports end in 50 ohm. Seen from the ring each section is a Thevenin source, so only the ring currents
are coupled. With t Z0 the 50 ohm in parallel with Cs, y the admittance from a section through its match
trimmer to t Z0, z the section's impedance and w = sqrt(Z0) t y z,

    (Z_loops + diag(z_Na + z_H)) I = emf - 2 w a,
    S = 2 t - 1 - 2 Z0 t^2 y (1 - y z) - 2 w^T (Z_loops + ...)^-1 w.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hil_fixtures.physics import parts
from hil_fixtures.physics.sample import Load, sample_impedance

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Complex, Real
    from hil_fixtures.physics.geometry import LoopArray
    from hil_fixtures.physics.parts import FixedParts

#: Reference impedance of all ports in ohm.
Z0: Final = 50.0

#: Columns of a table of trimmer capacitances.
NA_TUNE, NA_MATCH, H_TUNE, H_MATCH = range(4)


@dataclass(frozen=True, slots=True)
class ArrayCircuit:
    """Everything about the array that no trimmer moves.

    Parameters
    ----------
    array
        Geometry: fixes copper and sample losses.
    inductance
        Shape (channel, channel), H: the loops with their decoupling networks.
    fixed
        Trap and detuning parts, leads and connectors.
    loss
        Resistance of the loops' copper over what a new loop has: oxide and cold joints raise it.
    """

    array: LoopArray
    inductance: Real
    fixed: FixedParts
    loss: float = 1.0


@dataclass(frozen=True, slots=True)
class Response:
    """What the circuit answers at each frequency; ports 23Na of all channels first, then 1H.

    Parameters
    ----------
    scattering
        Shape (frequency, port, port), 50 ohm.
    currents
        Shape (frequency, loop, port): T, loop current in A per incident wave in sqrt(W) (both RMS). An
        emf e in the loops sends b = -T^T e / 2 out of the ports (reciprocity).
    """

    scattering: Complex
    currents: Complex


def loop_impedance(circuit: ArrayCircuit, load: Load | None, frequencies: Real) -> Complex:
    """Return the impedance matrix of the loops alone in ohm: copper, inductances, sample.

    Returns
    -------
    Shape (frequency, loop, loop).
    """
    count = circuit.array.count
    impedance = 2j * np.pi * frequencies[:, None, None] * circuit.inductance
    copper = circuit.loss * parts.copper_resistance(circuit.array, frequencies)
    impedance += copper[:, None, None] * np.eye(count)
    if load is not None:
        impedance += sample_impedance(circuit.array, load, frequencies)
    return np.asarray(impedance, dtype=np.complex128)


def solve(
    circuit: ArrayCircuit, capacitances: Real, bias: Real, load: Load | None, frequencies: Real
) -> Response:
    """Solve the array with all ports terminated in 50 ohm.

    Parameters
    ----------
    capacitances
        Shape (channel, 4), F: 23Na tune and match, 1H tune and match.
    bias
        Detuning current of each channel in A, shape (channel,).
    load
        None for an empty array.
    frequencies
        Shape (frequency,), Hz, all above 0.
    """
    return respond(circuit.fixed, loop_impedance(circuit, load, frequencies), capacitances, bias, frequencies)


@dataclass(frozen=True, slots=True)
class Sections:
    """The two tapped sections of every channel; last axis 23Na of all channels, then 1H, one per port.

    Parameters
    ----------
    arm
        Admittance from the section through the match trimmer to the terminated port, S.
    fixed
        Admittance across the section without its tune trimmer, S.
    impedance
        What the section puts in series with the loop, ohm.
    termination
        The port's 50 ohm with the connector's capacitance across them, in units of 50 ohm.
    """

    arm: Complex
    fixed: Complex
    impedance: Complex
    termination: Complex


def sections(fixed: FixedParts, capacitances: Real, bias: Real, frequencies: Real) -> Sections:
    """Return the sections at each frequency, arrays of shape (frequency, port)."""
    omega = 2j * np.pi * frequencies[:, None]
    tune_na, match_na, tune_h, match_h = (
        parts.capacitor_impedance(capacitances[:, column], frequencies)
        + omega * fixed.lead_inductance[:, column]
        for column in range(4)
    )
    branch = parts.inductor_impedance(fixed.trap_inductance, frequencies) + parts.capacitor_impedance(
        fixed.trap_capacitance, frequencies
    )
    detune_na = parts.switched_inductor_admittance(fixed.detune_na, bias, frequencies)
    detune_h = parts.switched_inductor_admittance(fixed.detune_h, bias, frequencies)
    across = np.concatenate((detune_na, 1.0 / branch + detune_h), axis=1)
    strays = np.broadcast_to(fixed.port_capacitance, (len(capacitances), 2))
    termination = np.asarray(1.0 / (1.0 + Z0 * omega * strays.T.ravel()), dtype=np.complex128)
    arm = 1.0 / (np.concatenate((match_na, match_h), axis=1) + Z0 * termination)
    tune = 1.0 / np.concatenate((tune_na, tune_h), axis=1)
    return Sections(arm, across, 1.0 / (tune + across + arm), termination)


def couple(loops: Complex, section: Complex) -> Complex:
    """Return the loops' impedance matrix with the sections (frequency, port) in series."""
    channels = loops.shape[-1]
    total = loops.copy()
    diagonal = np.arange(channels)
    total[:, diagonal, diagonal] += section[:, :channels] + section[:, channels:]
    return total


def respond(fixed: FixedParts, loops: Complex, capacitances: Real, bias: Real, frequencies: Real) -> Response:
    """Solve as `solve` does, with the loops' impedance matrix given."""
    cut = sections(fixed, capacitances, bias, frequencies)
    through = cut.termination
    tap = np.sqrt(Z0) * through * cut.arm * cut.impedance
    channels = len(capacitances)
    loop_of_port = np.tile(np.arange(channels), 2)
    ports = np.arange(2 * channels)
    unit_emf = np.zeros((len(frequencies), channels, 2 * channels), dtype=np.complex128)
    unit_emf[:, loop_of_port, ports] = -2.0 * tap
    currents: Complex = np.asarray(
        np.linalg.solve(couple(loops, cut.impedance), unit_emf), dtype=np.complex128
    )
    scattering = tap[:, :, None] * currents[:, loop_of_port, :]
    own = 2.0 * through - 1.0 - 2.0 * Z0 * through**2 * cut.arm * (1.0 - cut.arm * cut.impedance)
    scattering[:, ports, ports] += own
    return Response(scattering, currents)
