"""Thermal noise of a circuit at its ports, from every lossy part at its own temperature.

Each part's noise is that of its dissipation (Nyquist, Phys. Rev. 32:110 (1928); Twiss, J. Appl. Phys.
26:599 (1955) for coupled impedances; Bosma, Philips Res. Repts. Suppl. 10 (1967) for devices known by S).
Its way to the ports is the transposed solution (Rohrer, Nagel, Meyer and Weber, IEEE J. Solid-State
Circuits 6:204 (1971)), which needs no reciprocity. With all parts at one temperature the sum is Bosma's ``k
T B (1 - S S^H)``.

The ports' terminations are noiseless: what they send into the circuit is the receivers' business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coils.circuit.netlist import Coupled, Part, branches
from coils.circuit.nodal import SCALE, assemble
from coils.covariance import BOLTZMANN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coils.circuit.elements import Complex, Real
    from coils.circuit.netlist import AnyPart, Netlist
    from coils.circuit.nodal import NodalSystem

#: Gain (largest eigenvalue of S S^H above 1) that rounding may cause.
_ROUNDING = 1e-9


def thermal_noise(
    netlist: Netlist, frequencies: Real, *, temperature: float | Mapping[str, float], bandwidth: float = 1.0
) -> Complex:
    """Return the covariance of the noise waves that leave the ports.

    Parameters
    ----------
    netlist
        Any linear circuit with real reference impedances.
    frequencies
        Hz, shape (frequency,).
    temperature
        K: of all parts, or of each by name.
    bandwidth
        Equivalent noise bandwidth in Hz.

    Returns
    -------
    W, shape (frequency, port, port), Hermitian. Its trace over parts is `noise_shares`.

    Raises
    ------
    ValueError
        A part with a temperature above 0 has gain, or the temperature of a part is missing.
    """
    return np.asarray(
        sum(noise_shares(netlist, frequencies, temperature=temperature, bandwidth=bandwidth).values())
    )


def noise_shares(
    netlist: Netlist, frequencies: Real, *, temperature: float | Mapping[str, float], bandwidth: float = 1.0
) -> dict[str, Complex]:
    """Return what each part contributes to `thermal_noise`, by name; arguments and errors as there."""
    system = assemble(netlist, frequencies)
    outputs = np.zeros_like(system.sources)
    for column, port in enumerate(netlist.ports):
        reference: Complex = np.atleast_1d(np.asarray(port.impedance, dtype=np.complex128))
        if np.any(reference.imag != 0.0):
            raise ValueError(f"port {column + 1}: noise waves need a real reference impedance")
        outputs[:, :, column] = system.incidence(port.terminals) / np.sqrt(reference.real)[:, None]
    response = np.asarray(np.linalg.solve(system.matrix.swapaxes(1, 2), outputs), dtype=np.complex128)
    shares = {}
    for part in netlist.parts:
        kelvin = _temperature(temperature, part.name)
        reach, noise = _sources(system, part, response)
        if kelvin > 0.0 and float(np.min(np.linalg.eigvalsh(noise))) < -_ROUNDING * float(
            np.max(np.abs(noise))
        ):
            raise ValueError(
                f"{part.name!r} has gain, so its noise does not follow from its temperature: give it 0 K "
                "and add its own noise"
            )
        power = BOLTZMANN * kelvin * bandwidth
        shares[part.name] = power * np.asarray(reach.swapaxes(1, 2) @ noise @ reach.conj())
    return shares


def _sources(system: NodalSystem, part: AnyPart, response: Complex) -> tuple[Complex, Complex]:
    """Return how a part's noise sources reach the ports, and their covariance in units of k T B."""
    first = system.currents.get(part.name)
    if isinstance(part, Part):
        impedance = part.element.impedance(system.frequencies[:, None])[:, :, None]
        if first is None:
            nodes = np.einsum("u,fup->fp", system.incidence(part.terminals), response)
            noise = 4.0 * np.real(1.0 / impedance)
            return SCALE * nodes[:, None, :], np.asarray(noise, dtype=np.complex128)
        return response[:, first : first + 1], np.asarray(4.0 * np.real(impedance), dtype=np.complex128)
    first = system.currents[part.name]
    reach = response[:, first : first + len(branches(part))]
    if isinstance(part, Coupled):
        impedance = part.impedance(system.frequencies)
        return reach, 2.0 * (impedance + impedance.conj().swapaxes(1, 2))
    s = part.scattering(system.frequencies)
    return np.sqrt(SCALE) * reach, 4.0 * (np.eye(s.shape[-1]) - s @ s.conj().swapaxes(1, 2))


def _temperature(temperature: float | Mapping[str, float], name: str) -> float:
    if isinstance(temperature, int | float):
        return float(temperature)
    if name not in temperature:
        raise ValueError(f"no temperature given for {name!r}")
    return temperature[name]
