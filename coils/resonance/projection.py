"""Many Q-circles fitted at once: amplitudes projected out, Levenberg-Marquardt in centre, Q and delay.

The complex amplitudes enter linearly and are solved for exactly at every step; damped Gauss-Newton moves the
two or three parameters that are left (variable projection, Golub and Pereyra, SIAM J. Numer. Anal. 10:413
(1973), with the Jacobian of L. Kaufman, BIT 15:49 (1975)). All traces of a sweep share every array operation;
a trace that has converged drops out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most steps of one fit (convergence takes 4 to 12).
_ITERATIONS: Final = 40
#: Relative gain in cost, and step in units of bandwidths, ln Q and turns, that end a fit.
_SMALLEST_GAIN: Final = 1e-7
_SMALLEST_STEP: Final = 1e-7
#: Relative rise of a Gram matrix' diagonal: above its rounding, below any effect on a fit.
_RIDGE: Final = 1e-13
#: Square of an amplitude that is nothing: keeps a column that vanishes from being singular.
_NOTHING: Final = 1e-30
#: Relative gain of a step that creeps.
_CREEPING: Final = 0.05
#: Steps after which a target should have been reached (from a fit with one term less it takes 2 to 4).
_PATIENCE: Final = 4
#: Damping beyond which no step lowers the cost any more.
_LARGEST_DAMPING: Final = 1e6


@dataclass(frozen=True, slots=True)
class Terms:
    """What is fitted besides detuned point and diameter."""

    leakage: bool = False
    curvature: bool = False
    directivity: bool = False
    delay: bool = True

    @property
    def amplitudes(self) -> int:
        """Number of complex amplitudes."""
        return 2 + self.leakage + self.curvature + self.directivity

    @property
    def places(self) -> dict[str, int]:
        """Where the amplitude of each further term stands."""
        names = [name for name in ("leakage", "curvature", "directivity") if getattr(self, name)]
        return {name: 2 + place for place, name in enumerate(names)}

    @property
    def parameters(self) -> int:
        """Number of real parameters."""
        return 2 + self.delay + 2 * self.amplitudes


@dataclass(slots=True)
class Points:
    """The nonlinear parameters of many traces, each of shape (trace,).

    Parameters
    ----------
    centre
        f_L in Hz.
    q
        Q_L.
    turns
        Delay in turns of phase over the sweep.
    """

    centre: NDArray[np.float64]
    q: NDArray[np.float64]
    turns: NDArray[np.float64]

    def at(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Points:
        """Return a choice of traces."""
        return Points(self.centre[index], self.q[index], self.turns[index])

    def put(self, index: NDArray[np.intp], other: Points) -> None:
        """Replace the traces ``index`` by ``other``."""
        self.centre[index], self.q[index], self.turns[index] = other.centre, other.q, other.turns


@dataclass(slots=True)
class Solution:
    """Fits of many traces.

    Parameters
    ----------
    points
        Nonlinear parameters.
    amplitudes
        Shape (trace, amplitude): a, b, then c, e and d where they are fitted.
    misfit
        Shape (trace, point).
    cost
        Sum of the squared misfit, shape (trace,).
    jacobian
        By centre (in half bandwidths), ln Q and turns, shape (trace, 2 or 3, point).
    basis
        By the amplitudes, shape (trace, amplitude, point).
    gram
        Inner products of the basis, shape (trace, amplitude, amplitude).
    """

    points: Points
    amplitudes: NDArray[np.complex128]
    misfit: NDArray[np.complex128]
    cost: NDArray[np.float64]
    jacobian: NDArray[np.complex128]
    basis: NDArray[np.complex128]
    gram: NDArray[np.complex128]

    def at(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Solution:
        """Return a choice of traces."""
        return Solution(
            self.points.at(index),
            self.amplitudes[index],
            self.misfit[index],
            self.cost[index],
            self.jacobian[index],
            self.basis[index],
            self.gram[index],
        )

    def put(self, index: NDArray[np.intp], other: Solution) -> None:
        """Replace the traces ``index`` by ``other``."""
        self.points.put(index, other.points)
        for name in ("amplitudes", "misfit", "cost", "jacobian", "basis", "gram"):
            getattr(self, name)[index] = getattr(other, name)


def solve(
    f: NDArray[np.float64],
    s: NDArray[np.complex128],
    start: Points,
    terms: Terms,
    /,
    *,
    worth: float = np.inf,
    target: NDArray[np.float64] | None = None,
) -> Solution:
    """Minimise the misfit of every trace from its start.

    Parameters
    ----------
    f
        Hz, shape (point,).
    s
        Shape (trace, point).
    start
        Where to begin, one for each trace.
    terms
        What is fitted.
    worth
        Traces whose rms misfit at the start is more than this part of the circle's diameter stay there.
    target
        Costs to get below, shape (trace,): a trace that creeps above its own, or stays above it for a few
        steps, is given up.
    """
    best = _evaluate(f, s, start, terms)
    live = np.flatnonzero(best.cost <= worth**2 * f.size * np.abs(best.amplitudes[:, 1]) ** 2)
    damping = np.full(s.shape[0], 1e-3)
    for number in range(_ITERATIONS if live.size else 0):
        now = best if live.size == s.shape[0] else best.at(live)
        step = _step(now, damping[live])
        trial = _evaluate(f, s[live], _moved(now.points, step), terms)
        gain = now.cost - trial.cost
        better = gain > 0.0
        if better.all() and live.size == s.shape[0]:
            best = trial
        elif better.all():
            best.put(live, trial)
        elif better.any():
            best.put(live[better], trial.at(better))
        damping[live] *= np.where(better, 0.1, 10.0)
        small = (gain <= _SMALLEST_GAIN * trial.cost) | (np.abs(step).max(axis=1) < _SMALLEST_STEP)
        if target is not None:
            slow = (gain <= _CREEPING * trial.cost) | (number >= _PATIENCE)
            small |= slow & (trial.cost > target[live])
        done = np.where(better, small, damping[live] > _LARGEST_DAMPING)
        live = live[~done]
        if live.size == 0:
            break
    return best


def _evaluate(f: NDArray[np.float64], s: NDArray[np.complex128], points: Points, terms: Terms) -> Solution:
    """Return amplitudes, misfit, Jacobian and basis at ``points``."""
    ratio = f / points.centre[:, None]
    inverse = 1.0 / ratio
    tuning = ratio - inverse
    q = points.q[:, None]
    turns_axis = (f - 0.5 * (f[0] + f[-1])) / (f[-1] - f[0])
    line = np.exp((-2j * np.pi) * points.turns[:, None] * turns_axis)
    lorentz = 1.0 / (1.0 + 1j * (q * tuning))
    behind = line * lorentz
    basis = np.empty((s.shape[0], terms.amplitudes, f.size), dtype=np.complex128)
    basis[:, 0], basis[:, 1] = line, behind
    if terms.leakage:
        basis[:, 2] = line * (q * tuning)
    if terms.curvature:
        basis[:, terms.places["curvature"]] = line * turns_axis**2
    if terms.directivity:
        basis[:, -1] = 1.0
    adjoint = basis.conj()
    gram = _firm(adjoint @ basis.swapaxes(1, 2))
    right = adjoint @ s[:, :, None]
    amplitudes = np.asarray(np.linalg.solve(gram, right)[..., 0], dtype=np.complex128)
    model = (amplitudes[:, None, :] @ basis)[:, 0]
    misfit = np.asarray(s - model, dtype=np.complex128)
    # steps in units of half a bandwidth, of ln Q and of turns, so that all columns are of one size
    slope = (ratio + inverse) / (2.0 * q)
    fall = (-1j * q * amplitudes[:, 1, None]) * behind * lorentz
    if terms.leakage:
        fall += line * (q * amplitudes[:, 2, None])
    jacobian = np.empty((s.shape[0], 2 + terms.delay, f.size), dtype=np.complex128)
    jacobian[:, 0] = fall * -slope
    jacobian[:, 1] = fall * tuning
    if terms.delay:
        moved = model - amplitudes[:, -1, None] if terms.directivity else model
        jacobian[:, 2] = (-2j * np.pi) * turns_axis * moved
    cost = np.asarray(np.sum(misfit.real**2 + misfit.imag**2, axis=1), dtype=np.float64)
    return Solution(points, amplitudes, misfit, cost, jacobian, basis, gram)


def _step(solution: Solution, damping: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the damped Gauss-Newton step, shape (trace, 2 or 3)."""
    jacobian, basis = solution.jacobian, solution.basis
    conjugate = jacobian.conj()
    cross = basis.conj() @ jacobian.swapaxes(1, 2)
    seen = conjugate @ jacobian.swapaxes(1, 2)
    normal = (seen - cross.conj().swapaxes(1, 2) @ np.linalg.solve(solution.gram, cross)).real
    gradient = (conjugate @ solution.misfit[:, :, None]).real
    size = normal.shape[1]
    diagonal = np.arange(size)
    normal[:, diagonal, diagonal] *= 1.0 + damping[:, None]
    normal[:, diagonal, diagonal] += _NOTHING
    step = np.asarray(np.linalg.solve(normal, gradient)[..., 0], dtype=np.float64)
    np.clip(step[:, :2], (-2.0, -1.0), (2.0, 1.0), out=step[:, :2])
    return step


def _firm(gram: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Raise the diagonal by rounding's size: a constant and a line without delay are one column."""
    diagonal = np.arange(gram.shape[1])
    gram[:, diagonal, diagonal] *= 1.0 + _RIDGE
    gram[:, diagonal, diagonal] += _NOTHING
    return gram


def _moved(points: Points, step: NDArray[np.float64]) -> Points:
    turns = points.turns + step[:, 2] if step.shape[1] > 2 else points.turns
    return Points(points.centre * (1.0 + step[:, 0] / (2.0 * points.q)), points.q * np.exp(step[:, 1]), turns)
