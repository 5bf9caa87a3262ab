"""Decoupling matrices: lossless networks behind which the ports of an array, as measured, do not couple.

Two of them. Bridges: one element between every two ports takes away the imaginary part of what couples them,
N(N-1)/2 in all, and two elements a port match it again with all others terminated; the real part stays, which
in the right plane is what the sample's resistance shares (see `best_plane`). The complete network also takes
that away, at the price of N(2N+1) elements at most and of channels that are mixtures of loops: ``Z_in = X12
(Z + jX22)⁻¹ X12ᵀ = Z0`` for X22 = -Im Z and X12 = √(Z0 Re Z), all couplings and all matches at once
(multiport conjugate matching; for MR arrays Mahmood et al., Magn Reson Med 76:329 (2016), who diagonalise in
steps). The symmetric root mixes the channels least of all roots.

Both are right at one frequency; `coils.decoupling.reactive.put_behind` says what they do at another.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.decoupling.reactive import Branch, ReactiveNetwork, admittance_of, put_behind

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Susceptance in units of 1/Z0 below which an element changes |S| by less than 5e-10 and is left out.
_NEGLIGIBLE: Final = 1e-9
#: Smallest series reactance in units of Z0; a wire of that reactance reflects 5e-7.
_WIRE: Final = 1e-6
#: Rounds of matching one port after the other before Newton's method takes over; each reduces the mismatch by
#: the square of the remaining coupling.
_ROUNDS: Final = 8
_NEWTON_STEPS: Final = 40
#: Parts of a Newton step that are tried.
_DAMPING: Final = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
#: Planes tried before the best is refined, 2 degrees apart.
_PLANES: Final = 90
#: |S_ii| that counts as matched: -200 dB, far below what elements can be made to.
_MATCHED: Final = 1e-10
#: |S_ii| above which the search has failed: -80 dB, still below what elements can be made to.
_UNMATCHED: Final = 1e-4


def bridge_ports(s: NDArray[np.complex128], frequency: float, *, z0: float = 50.0) -> ReactiveNetwork:
    """Design one element between every two ports, and an L-match for each port behind them.

    Parameters
    ----------
    s
        Of the array at ``frequency``, shape (port, port).
    frequency
        Hz.
    z0
        Reference impedance, ohm.

    Returns
    -------
    S_ii = 0 at all ports with all others terminated; S_ij is what the sample's resistance leaves.

    Raises
    ------
    MeasurementError
        S is not that of a passive array, or no L-matches exist behind these bridges.
    """
    y = _passive_admittance(s, z0)
    count = y.shape[0]
    bridges = [
        Branch((count + i + 1, count + j + 1), float(y[i, j].imag), frequency)
        for i in range(count)
        for j in range(i + 1, count)
        if abs(y[i, j].imag) * z0 > _NEGLIGIBLE
    ]
    bare = y.real + 1j * np.diag(y.sum(axis=1).imag)
    matches = _match_ports(np.asarray(bare, dtype=np.complex128), z0)
    return ReactiveNetwork(count, (*bridges, *matches.branches(frequency)))


def best_plane(s: NDArray[np.complex128], *, z0: float = 50.0) -> float:
    """Return the electrical length of line, in rad, after which bridges leave the least coupling.

    Parameters
    ----------
    s
        Of the array, shape (port, port).
    z0
        Reference impedance and that of the lines (or phase shifters) put into every port, ohm.

    Returns
    -------
    Between 0 and π. Design the bridges for ``s * exp(-2j * phase)``.

    Raises
    ------
    MeasurementError
        S is not that of a passive array.

    Notes
    -----
    Where the ports reflect -1 with their loops open, reactively coupled loops show an admittance matrix with
    imaginary off-diagonal elements only, which bridges take away exactly; a quarter wave from there they show
    such an impedance matrix, and the admittances are a mixture.
    """
    from scipy.optimize import minimize_scalar

    _passive_admittance(s, z0)
    matrix = np.asarray(s, dtype=np.complex128)

    def left(phase: float) -> float:
        g = admittance_of(0.5 * (matrix + matrix.T) * np.exp(-2j * phase), z0).real
        own = np.sqrt(np.abs(np.diag(g)))
        shared = np.abs(g) / (own[:, None] * own[None, :])
        return float(np.linalg.norm(shared - np.diag(np.diag(shared))))

    grid = np.linspace(0.0, math.pi, _PLANES, endpoint=False)
    start = float(grid[int(np.argmin([left(float(phase)) for phase in grid]))])
    step = math.pi / _PLANES
    found = minimize_scalar(left, bounds=(start - step, start + step), method="bounded")
    return float(found.x) % math.pi


def decouple_completely(s: NDArray[np.complex128], frequency: float, *, z0: float = 50.0) -> ReactiveNetwork:
    """Design the lossless network behind which S is zero altogether.

    Parameters
    ----------
    s, frequency, z0
        See `bridge_ports`.

    Raises
    ------
    MeasurementError
        S is not that of a passive array.
    """
    y = _passive_admittance(s, z0)
    count = y.shape[0]
    inverse = np.linalg.inv(y)
    z = 0.5 * (inverse + inverse.T)
    values, vectors = np.linalg.eigh(z.real)
    root = math.sqrt(z0) * (vectors * np.sqrt(values)) @ vectors.T
    susceptance = -np.linalg.inv(np.block([[np.zeros((count, count)), root], [root, -z.imag]]))
    ground = susceptance.sum(axis=1)
    branches = [
        Branch((i + 1, j + 1), float(-susceptance[i, j]), frequency)
        for i in range(2 * count)
        for j in range(i + 1, 2 * count)
        if abs(susceptance[i, j]) * z0 > _NEGLIGIBLE
    ]
    branches += [
        Branch((0, i + 1), float(ground[i]), frequency)
        for i in range(2 * count)
        if abs(ground[i]) * z0 > _NEGLIGIBLE
    ]
    return ReactiveNetwork(count, tuple(branches))


def _passive_admittance(s: NDArray[np.complex128], z0: float) -> NDArray[np.complex128]:
    """Return the symmetric admittance matrix, or say why there is none to design for."""
    matrix = np.asarray(s, dtype=np.complex128)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.all(np.isfinite(matrix)):
        raise MeasurementError(
            f"a decoupling matrix needs S of every pair of ports; got shape {matrix.shape}, "
            f"{int(np.count_nonzero(~np.isfinite(matrix)))} values missing"
        )
    y = admittance_of(0.5 * (matrix + matrix.T), z0)
    least = float(np.linalg.eigvalsh(y.real).min())
    if least <= 0.0:
        raise MeasurementError(
            f"S is not that of a passive array (a combination of ports has a conductance of {least:.2g} S): "
            "check the calibration, or average more"
        )
    return y


class _Matches:
    """A shunt and a series element for each port; the shunt on the array's side or on the outer side."""

    def __init__(self, count: int, z0: float) -> None:
        self.z0 = z0
        self.shunt = np.zeros(count)  # B Z0
        self.series = np.full(count, _WIRE)  # X / Z0
        self.inside = np.ones(count, dtype=bool)

    def branches(self, frequency: float) -> tuple[Branch, ...]:
        """Return them as elements."""
        count = self.shunt.size
        found = []
        for i in range(count):
            outer, inner = i + 1, count + i + 1
            series = math.copysign(max(abs(self.series[i]), _WIRE), self.series[i])
            found.append(Branch((outer, inner), -1.0 / (series * self.z0), frequency))
            if abs(self.shunt[i]) > _NEGLIGIBLE:
                node = inner if self.inside[i] else outer
                found.append(Branch((0, node), float(self.shunt[i]) / self.z0, frequency))
        return tuple(found)

    def load(self, port: int) -> complex:
        """Return the admittance times Z0 that the array's node sees behind a port's match, shunt included."""
        outside = 1.0 + (0.0 if self.inside[port] else 1j * self.shunt[port])
        through = 1.0 / (1j * float(self.series[port]) + 1.0 / outside)
        return complex(through + (1j * self.shunt[port] if self.inside[port] else 0.0))


def _match_ports(y: NDArray[np.complex128], z0: float) -> _Matches:
    """Return L-matches for which every port reflects nothing while all others are terminated.

    Raises
    ------
    MeasurementError
        None were found: the ports still couple too strongly through their common resistance.
    """
    count = y.shape[0]
    array = y * z0
    matches = _Matches(count, z0)
    for _ in range(_ROUNDS):
        for port in range(count):
            loads = np.array([0.0 if other == port else matches.load(other) for other in range(count)])
            impedance = np.linalg.inv(array + np.diag(loads))[port, port]
            _match_one(matches, port, complex(1.0 / impedance))
    _polish(matches, y)
    return matches


def _match_one(matches: _Matches, port: int, y: complex) -> None:
    """Match an admittance (in units of 1/Z0) that a port's node shows, with the smaller of both shunts."""
    g, b = y.real, y.imag
    if g <= 1.0:
        wanted = math.sqrt(max(g - g * g, 0.0))
        total = min((wanted, -wanted), key=lambda value: abs(value - b))
        matches.inside[port] = True
        matches.shunt[port] = total - b
        matches.series[port] = total / (g * g + total * total)
        return
    z = 1.0 / y
    wanted = math.sqrt(max(z.real - z.real**2, 0.0))
    total = min((wanted, -wanted), key=lambda value: abs(value - z.imag))
    matches.inside[port] = False
    matches.series[port] = total - z.imag
    matches.shunt[port] = total / (z.real**2 + total * total)


def _polish(matches: _Matches, y: NDArray[np.complex128]) -> None:
    """Bring all S_ii to zero at once, by Newton's method with a difference quotient."""
    count = y.shape[0]
    identity = np.eye(count)
    s = np.asarray(np.linalg.solve(identity + matches.z0 * y, identity - matches.z0 * y), dtype=np.complex128)

    def reflections(unknown: NDArray[np.float64]) -> NDArray[np.float64]:
        matches.shunt, matches.series = unknown[:count], unknown[count:]
        network = ReactiveNetwork(count, matches.branches(1.0))
        outside = put_behind(network, s, 1.0, z0=matches.z0, capacitor_q=math.inf, inductor_q=math.inf).s
        diagonal = np.diag(outside)
        return np.concatenate([diagonal.real, diagonal.imag])

    unknown = np.concatenate([matches.shunt, matches.series])
    misfit = reflections(unknown)
    for _ in range(_NEWTON_STEPS):
        if float(np.max(np.abs(misfit))) < _MATCHED:
            break
        step = 1e-7
        columns = [(reflections(unknown + step * axis) - misfit) / step for axis in np.eye(2 * count)]
        change = np.linalg.lstsq(np.stack(columns, axis=1), -misfit, rcond=1e-12)[0]
        trials = ((unknown + size * change) for size in _DAMPING)
        better = next((t for t in trials if _norm(reflections(t)) < _norm(misfit)), None)
        if better is None:
            break
        unknown, misfit = better, reflections(better)
    reflections(unknown)
    left = float(np.max(np.abs(misfit)))
    if left > _UNMATCHED:
        raise MeasurementError(
            f"no L-matches bring all ports below {20.0 * math.log10(left):.0f} dB behind the bridges: they "
            "share too much resistance; use the complete network, or decouple the loops first"
        )


def _norm(vector: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(vector))
