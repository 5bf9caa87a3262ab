"""What couples the loops behind the ports: reactance, resistance, match and tuning, from a measured S-matrix.

Behind lossless matching networks, whatever their topology,

``S = Φ [1 - 2 √β (ρ + jξ + β)⁻¹ √β] Φ``

where the loops' impedance matrix, made dimensionless with each loop's resistance R_i, is ``ρ + jξ``: ξ_ij =
X_ij / √(R_i R_j) is the product kQ of a pair and ξ_ii = X_ii / R_i a loop's detuning, ρ_ij their common
resistance (through the sample) and ρ_ii = 1; β_i is the coupling of port i (1: critical, matched) and Φ_i²
the port's reflection while no current can flow in its loop. So with those open-loop reflections at hand S
gives ξ, ρ and β of all channels at once; without them a pair gives |kQ| only, and that ambiguously.

The case N = 2, β = 1, ρ = 1 is that of `coils.resonance.matched`, with its ambiguity resolved by the phases.
Source: Haus, Waves and Fields in Optoelectronics, chapter 7 (a port's reflection as a direct part plus a
decaying mode); the N-loop form is the same reasoning with an impedance matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: |S| of an open-loop reflection below which the matching network is too lossy to be taken as lossless: at
#: 0.9 a fifth of the power is lost in passing it forth and back.
LOSSLESS: Final = 0.9
#: rad; open-loop reflections further apart than this leave the sign of k open (the square root of a
#: reflection has two signs, and channels built alike differ by less).
_ALIKE: Final = 0.8 * math.pi


@dataclass(frozen=True, slots=True)
class LoopCouplings:
    """The loops behind the ports, dimensionless.

    Parameters
    ----------
    reactive
        ξ: off the diagonal kQ, signed for channels whose currents count in the same sense; on it the detuning
        X_i / R_i = 2 Q (f - f0) / f0. Shape (port, port), real, symmetric.
    resistive
        ρ: off the diagonal the common resistance over the geometric mean, on it 1. Shape (port, port).
    match
        β of each port: 1 is matched, more is overcoupled. Shape (port,).
    phase
        Φ, shape (port,), complex, of modulus 1.
    uncertainty
        Standard uncertainty of ξ, shape (port, port).
    signs_known
        False where the ports differ too much to say in which sense each loop's current counts.
    """

    reactive: NDArray[np.float64]
    resistive: NDArray[np.float64]
    match: NDArray[np.float64]
    phase: NDArray[np.complex128]
    uncertainty: NDArray[np.float64]
    signs_known: bool

    def scattering(self) -> NDArray[np.complex128]:
        """Return the S-matrix of these loops, shape (port, port)."""
        root = np.sqrt(self.match)
        inverse = np.linalg.inv(self.resistive + 1j * self.reactive + np.diag(self.match))
        inside = np.eye(root.size) - 2.0 * root[:, None] * inverse * root[None, :]
        return np.asarray(self.phase[:, None] * inside * self.phase[None, :], dtype=np.complex128)

    def without(self, first: int, second: int, *, resistance: bool = False) -> LoopCouplings:
        """Return the same loops with one pair's mutual reactance gone (ports from 1).

        Parameters
        ----------
        first, second
            Ports from 1.
        resistance
            Also without their common resistance, which no lossless remedy takes away.
        """
        a, b = first - 1, second - 1
        reactive, resistive = self.reactive.copy(), self.resistive.copy()
        reactive[a, b] = reactive[b, a] = 0.0
        if resistance:
            resistive[a, b] = resistive[b, a] = 0.0
        return replace(self, reactive=reactive, resistive=resistive)

    def k(self, q: ArrayLike) -> NDArray[np.float64]:
        """Return the signed coupling coefficients k_ij = ξ_ij / √(Q_i Q_j), zeros on the diagonal.

        Parameters
        ----------
        q
            Q of each loop with its sample, its port's load not counted; scalar or shape (port,).
        """
        quality = np.broadcast_to(np.asarray(q, dtype=np.float64), self.match.shape)
        k = self.reactive / np.sqrt(quality[:, None] * quality[None, :])
        np.fill_diagonal(k, 0.0)
        return k


def find_couplings(
    s: NDArray[np.complex128],
    open_loop: NDArray[np.complex128],
    *,
    uncertainty: float = 0.0,
    phase_uncertainty: float = 0.0,
) -> LoopCouplings:
    """Find what couples the loops of one nucleus from S at its frequency.

    Parameters
    ----------
    s
        S-matrix of the nucleus' ports, all ports terminated, shape (port, port).
    open_loop
        Reflection of each port at the same frequency while its loop carries no current, shape (port,): the
        detuned point of the port's Q-circle (`coils.resonance.Resonance.detuned`), or S_ii with the loop
        actively detuned; a few degrees off where the detuning circuit is part of the match.
    uncertainty
        Standard uncertainty of the real and imaginary part of each S, linear.
    phase_uncertainty
        Standard uncertainty of the open-loop reflections' phases in rad: of their measurement, and of taking
        the match as lossless, which for a dual-tuned loop with its trap behind the port is worth 0.1 rad.

    Raises
    ------
    MeasurementError
        A matching network is too lossy for this, an S was not measured, or a port does not see its loop at
        all.
    ValueError
        Shapes do not fit.
    """
    matrix, opened = np.asarray(s, dtype=np.complex128), np.asarray(open_loop, dtype=np.complex128)
    count = opened.size
    if matrix.shape != (count, count) or opened.shape != (count,):
        raise ValueError(f"S of shape {matrix.shape} and {opened.shape} open-loop reflections do not fit")
    if not (np.all(np.isfinite(matrix)) and np.all(np.isfinite(opened))):
        raise MeasurementError("S is not measured completely; measure the missing pairs of ports")
    lossy = np.flatnonzero(np.abs(opened) < LOSSLESS)
    if lossy.size:
        port = int(lossy[0])
        raise MeasurementError(
            f"port {port + 1} reflects only {abs(opened[port]):.2f} with its loop open, at least {LOSSLESS} "
            "is needed: its match is lossy, or the loop still carries current"
        )
    phase, signs_known = _port_phases(opened)
    symmetric = 0.5 * (matrix + matrix.T)
    passed = np.eye(count) - symmetric / (phase[:, None] * phase[None, :])
    try:
        inverse = np.asarray(np.linalg.inv(passed), dtype=np.complex128)
    except np.linalg.LinAlgError:
        raise MeasurementError("a port reflects as if it had no loop: is its cable connected?") from None
    excess = 2.0 * np.diag(inverse).real - 1.0
    if np.any(excess <= 0.0):
        port = int(np.argmin(excess))
        raise MeasurementError(
            f"port {port + 1} looks active with its open-loop reflection {opened[port]:.2f}: was that "
            "measured at the same frequency and reference plane?"
        )
    match = np.asarray(1.0 / excess, dtype=np.float64)
    scale = 2.0 * np.sqrt(match[:, None] * match[None, :])
    impedance = scale * inverse - np.diag(match)
    # A phase δ turns reactance into resistance and back: dξ = -δ ρ in first order.
    turned = phase_uncertainty * np.abs(impedance.real - np.eye(count))
    spread = np.hypot(uncertainty * _sensitivity(inverse, match), turned)
    return LoopCouplings(impedance.imag, impedance.real, match, phase, spread, signs_known)


def _sensitivity(inverse: NDArray[np.complex128], match: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root sum of squares of dξ over all parts of S, those off the diagonal measured twice.

    With T = 1 - Φ⁻¹SΦ⁻¹ and Z = 2 √β T⁻¹ √β - β: d(T⁻¹) = T⁻¹ dS T⁻¹ and dβ_i = -2 β_i² Re d(T⁻¹)_ii.
    """
    count = match.size
    rows, columns = np.triu_indices(count)
    step = inverse[:, rows].T[:, :, None] * inverse[columns, :][:, None, :]
    off = rows != columns
    step[off] += inverse[:, columns].T[off][:, :, None] * inverse[rows, :][off][:, None, :]
    step[off] /= np.sqrt(2.0)
    scale = 2.0 * np.sqrt(match[:, None] * match[None, :])
    total = np.zeros((count, count))
    for part in (step, 1j * step):
        relative = -2.0 * match * np.diagonal(part, axis1=1, axis2=2).real
        change = part + 0.5 * inverse * (relative[:, :, None] + relative[:, None, :])
        total += np.sum((scale * change).imag ** 2, axis=0)
    return np.asarray(np.sqrt(total), dtype=np.float64)


def _port_phases(opened: NDArray[np.complex128]) -> tuple[NDArray[np.complex128], bool]:
    """Return the square roots of the reflections, all on one branch, and whether that branch is certain."""
    unit = opened / np.abs(opened)
    mean = complex(unit.sum())
    mean = mean / abs(mean) if abs(mean) > 1e-6 else complex(unit[0])
    away = np.angle(unit / mean)
    phase = np.sqrt(mean) * np.exp(0.5j * away)
    return np.asarray(phase, dtype=np.complex128), bool(np.ptp(away) < _ALIKE)
