"""A network of reactive elements between an array and its receivers, and S of the array behind it.

Each element joins two nodes: 0 is ground, 1 to N the outer ports, N+1 to 2N the array's. An element is stated
by its susceptance at the design frequency: positive is a capacitor, negative an inductor. At another
frequency, and with losses, its admittance follows from that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from coils.circuit.series import nearest
from coils.decoupling.shared_conductor import CAPACITOR_Q, INDUCTOR_Q

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Branch:
    """One element.

    Parameters
    ----------
    nodes
        Two different ones; see the module.
    susceptance
        Siemens at the design frequency; not zero.
    frequency
        The design frequency in Hz.
    """

    nodes: tuple[int, int]
    susceptance: float
    frequency: float

    @property
    def is_capacitor(self) -> bool:
        """Whether it is a capacitor, not an inductor."""
        return self.susceptance > 0.0

    @property
    def value(self) -> float:
        """Capacitance in F, or inductance in H."""
        omega = 2.0 * math.pi * self.frequency
        return self.susceptance / omega if self.is_capacitor else -1.0 / (omega * self.susceptance)

    def admittance(self, frequency: float, capacitor_q: float, inductor_q: float) -> complex:
        """Return its admittance at a frequency, with a series resistance that keeps Q the same."""
        scale = frequency / self.frequency
        if self.is_capacitor:
            return 1.0 / complex(1.0 / capacitor_q, -1.0) * (self.susceptance * scale)
        return 1.0 / complex(1.0 / inductor_q, 1.0) * (-self.susceptance / scale)

    def __str__(self) -> str:
        """Return it as a line of a parts list."""
        what = f"{self.value * 1e12:.2f} pF" if self.is_capacitor else f"{self.value * 1e9:.2f} nH"
        return f"{what} between nodes {self.nodes[0]} and {self.nodes[1]}"


@dataclass(frozen=True, slots=True)
class ReactiveNetwork:
    """Elements between ground, N outer ports and N array ports.

    Parameters
    ----------
    ports
        N.
    branches
        In any order; several may join the same nodes.

    Raises
    ------
    ValueError
        A node does not exist, or an element joins a node with itself or has no susceptance.
    """

    ports: int
    branches: tuple[Branch, ...]

    def __post_init__(self) -> None:
        for branch in self.branches:
            low, high = sorted(branch.nodes)
            if not 0 <= low < high <= 2 * self.ports or branch.susceptance == 0.0:
                raise ValueError(f"no such element in a network of {self.ports} ports: {branch}")

    def admittance(
        self, frequency: float, *, capacitor_q: float = math.inf, inductor_q: float = math.inf
    ) -> NDArray[np.complex128]:
        """Return its admittance matrix in siemens, shape (2 port, 2 port): outer ports first."""
        y = np.zeros((2 * self.ports + 1, 2 * self.ports + 1), dtype=np.complex128)
        for branch in self.branches:
            a, b = branch.nodes
            own = branch.admittance(frequency, capacitor_q, inductor_q)
            y[a, a] += own
            y[b, b] += own
            y[a, b] -= own
            y[b, a] -= own
        return y[1:, 1:]

    def with_capacitors(self, available: Sequence[float]) -> ReactiveNetwork:
        """Return it with every capacitor replaced by the nearest there is, in F; inductors stay."""
        return ReactiveNetwork(
            self.ports,
            tuple(
                replace(
                    branch,
                    susceptance=2.0 * math.pi * branch.frequency * nearest(branch.value, tuple(available)),
                )
                if branch.is_capacitor
                else branch
                for branch in self.branches
            ),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Behind:
    """An array behind a network, at one frequency.

    Parameters
    ----------
    s
        At the outer ports, shape (port, port).
    efficiency
        Of the power that a wave into one outer port loses in network and array together: the array's part,
        shape (port,). Its root is what the network's loss leaves of the SNR of that channel.
    """

    s: NDArray[np.complex128]
    efficiency: NDArray[np.float64]

    @property
    def worst_reflection_db(self) -> float:
        """Largest |S_ii| in dB."""
        return _decibels(float(np.max(np.abs(np.diag(self.s)))))

    @property
    def worst_coupling_db(self) -> float:
        """Largest |S_ij| in dB; minus infinity for one port."""
        return _decibels(float(np.max(np.abs(self.s - np.diag(np.diag(self.s))))))


def put_behind(
    network: ReactiveNetwork,
    s: NDArray[np.complex128],
    frequency: float,
    *,
    z0: float = 50.0,
    capacitor_q: float = CAPACITOR_Q,
    inductor_q: float = INDUCTOR_Q,
) -> Behind:
    """Return S of an array seen through a network.

    Parameters
    ----------
    network
        Of as many ports as the array.
    s
        Of the array at ``frequency``, shape (port, port): at the other nucleus as well.
    frequency
        Hz.
    z0
        Reference impedance, ohm.
    capacitor_q, inductor_q
        Of the elements at this frequency.

    Raises
    ------
    ValueError
        Port counts differ.
    """
    count = network.ports
    array = admittance_of(s, z0)
    if array.shape != (count, count):
        raise ValueError(f"S of shape {array.shape} does not fit a network of {count} ports")
    y = network.admittance(frequency, capacitor_q=capacitor_q, inductor_q=inductor_q)
    inner = y[count:, count:] + array
    transfer = np.asarray(-np.linalg.solve(inner, y[count:, :count]), dtype=np.complex128)
    seen = y[:count, :count] + y[:count, count:] @ transfer
    identity = np.eye(count)
    outside = np.linalg.solve(identity + z0 * seen, identity - z0 * seen)
    # A wave into port i alone: the ports' voltages are a column of (1 + S), the array's follow.
    ports = identity + outside
    arriving = np.einsum("ki,kl,li->i", (transfer @ ports).conj(), array, transfer @ ports).real
    taken = np.einsum("ki,kl,li->i", ports.conj(), seen, ports).real
    return Behind(np.asarray(outside, dtype=np.complex128), np.asarray(arriving / taken, dtype=np.float64))


def admittance_of(s: NDArray[np.complex128], z0: float) -> NDArray[np.complex128]:
    """Return the admittance matrix in siemens of an S-matrix of shape (port, port)."""
    matrix = np.asarray(s, dtype=np.complex128)
    identity = np.eye(matrix.shape[-1])
    return np.asarray(np.linalg.solve(identity + matrix, identity - matrix) / z0, dtype=np.complex128)


def _decibels(size: float) -> float:
    return 20.0 * math.log10(size) if size > 0.0 else -math.inf
