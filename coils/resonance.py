"""One resonance in a reflection or transmission trace: centre, loaded and unloaded Q, coupling.

The trace is taken as ``S = exp(-2πi τ (f - f_c)) [a + b / (1 + i Q_L t)]`` with ``t = f/f_L - f_L/f``: a
Q-circle behind a line of delay ``τ``. True for a single resonance whose neighbours are many bandwidths away;
two overlapping dips leave a residual and are refused. ``a``, ``b`` (and an optional leakage slope) enter
linearly and are projected out; ``f_L``, ``Q_L`` and ``τ`` are found by damped Gauss-Newton on what is left.

Equations: A. P. Gregory, "Q-factor measurement by using a vector network analyser", NPL Report MAT 58 (2021),
sections 2.2 and 2.5; variable projection: Golub and Pereyra, SIAM J. Numer. Anal. 10:413 (1973).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Kind: TypeAlias = Literal["reflection", "transmission"]

#: Below this many loaded bandwidths the circle's arc does not fix Q_L: two fits of equal residual differ by
#: a factor of two on real captures.
MINIMUM_SPAN: Final = 1.5
#: Largest rms residual, as a part of the Q-circle's diameter, that still counts as one resonance.
MAXIMUM_RESIDUAL: Final = 0.05
#: Largest relative standard uncertainty of the loaded Q that is worth stating.
MAXIMUM_Q_UNCERTAINTY: Final = 0.2
_FEWEST_POINTS: Final = 8
_ITERATIONS: Final = 40
#: Trial line delays in turns of phase over the sweep.
_TRIAL_TURNS: Final = (0.0, -0.75, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class ResonanceUncertainty:
    """Standard uncertainties from the covariance of the fit, in the units of `Resonance`.

    They describe scatter about the model; a wrong model (a second resonance) shows in the residual.
    """

    frequency: float
    q_loaded: float
    q_unloaded: float
    coupling: float
    delay: float


@dataclass(frozen=True, slots=True)
class Resonance:
    """A resonance as fitted.

    Parameters
    ----------
    kind
        ``"reflection"`` or ``"transmission"``.
    frequency
        Loaded centre frequency f_L in Hz.
    q_loaded, q_unloaded
        Q_L, and Q_0 = Q_L (1 + coupling).
    coupling
        Coupling coefficient; 1 is critical for a reflection, more is overcoupled. For a transmission the sum
        of both ports' coefficients.
    delay
        Line delay in s (there and back for a reflection).
    residual
        Root mean square of the complex misfit, in the units of S.
    uncertainty
        Standard uncertainties of the numbers above.
    span_in_bandwidths
        Width of the sweep in loaded bandwidths f_L / Q_L.
    detuned
        a: what S is far from the resonance, at the sweep's middle.
    diameter
        b: complex diameter of the Q-circle, from the detuned point to the point of resonance.
    leakage
        Slope of the leakage term per unit of Q_L t; 0 when it was not fitted.
    """

    kind: Kind
    frequency: float
    q_loaded: float
    q_unloaded: float
    coupling: float
    delay: float
    residual: float
    uncertainty: ResonanceUncertainty
    span_in_bandwidths: float
    detuned: complex
    diameter: complex
    leakage: complex = 0j

    @property
    def bandwidth(self) -> float:
        """Loaded bandwidth f_L / Q_L in Hz."""
        return self.frequency / self.q_loaded


def fit_resonance(
    frequencies: NDArray[np.float64],
    s: NDArray[np.complex128],
    *,
    kind: Kind = "reflection",
    leakage: bool = False,
    delay: bool = True,
    through: float = 1.0,
    minimum_span: float = MINIMUM_SPAN,
) -> Resonance:
    """Fit one resonance to a trace.

    Parameters
    ----------
    frequencies
        Hz, shape (point,), rising.
    s
        Complex S-parameter, shape (point,).
    kind
        How coupling follows from the circle: a reflection is scaled so that the detuned point lies on the
        unit circle (MAT 58, method 1); a transmission has two equally coupled ports.
    leakage
        Also fit a leakage that changes linearly with frequency (MAT 58, figure 23).
    delay
        Also fit the delay of an uncalibrated line; False takes it as zero.
    through
        Transmission only: magnitude of S21 with the cables joined, 1 for a calibrated analyzer.
    minimum_span
        Sweeps of fewer loaded bandwidths are refused.

    Raises
    ------
    MeasurementError
        The sweep spans too few bandwidths, the trace is not one resonance, or the noise leaves Q
        undetermined.
    ValueError
        Shapes differ, or fewer than eight points.
    """
    f = np.asarray(frequencies, dtype=np.float64)
    trace = np.asarray(s, dtype=np.complex128)
    if f.ndim != 1 or f.shape != trace.shape or f.size < _FEWEST_POINTS:
        raise ValueError(
            f"a resonance needs two vectors of equal length, at least {_FEWEST_POINTS} points; "
            f"got {f.shape} and {trace.shape}"
        )
    if not (np.all(np.isfinite(trace.view(np.float64))) and np.all(np.diff(f) > 0.0)):
        raise ValueError("a trace must be finite and its frequencies rising")
    problem = _Projection(f, trace, leakage=leakage, delay=delay)
    best: _Solution | None = None
    for start in _starting_points(f, trace, delay=delay):
        solution = problem.solve(start)
        if best is None or solution.cost < best.cost:
            best = solution
        if best.residual < MAXIMUM_RESIDUAL / 5.0 * abs(best.linear[1]) and best.inside:
            break
    if best is None:
        raise MeasurementError(
            "no resonance in the trace: its poles all lie at negative bandwidths; sweep where the dip is"
        )
    return _state(best, f, kind, through, minimum_span)


def fit_touchstone(path: Path) -> Resonance:
    """Fit the resonance in a one-port Touchstone file or an NPL text file.

    Parameters
    ----------
    path
        ``.s1p`` (reflection), or ``.txt`` with columns frequency, real and imaginary part as in the data of
        NPL Report MAT 58; the head then says ``S11`` or ``S21`` and gives the unit (GHz when it has no head)
        and, where the analyzer was not calibrated, ``thru mag.``.

    Raises
    ------
    MeasurementError
        See `fit_resonance`.
    ValueError
        The file is neither.
    """
    if path.suffix.lower() == ".s1p":
        from skrf.network import Network

        network = Network(str(path))
        return fit_resonance(network.f, network.s[:, 0, 0])
    if path.suffix.lower() == ".txt":
        return _fit_npl_text(path)
    raise ValueError(f"{path.name}: expected a one-port Touchstone file (.s1p) or an NPL text file (.txt)")


@dataclass(frozen=True, slots=True)
class _Point:
    """The nonlinear parameters: centre in Hz, loaded Q, delay in turns over the sweep."""

    centre: float
    q: float
    turns: float


@dataclass(frozen=True, slots=True)
class _Solution:
    point: _Point
    linear: NDArray[np.complex128]
    cost: float
    residual: float
    inside: bool
    jacobian: NDArray[np.complex128]
    basis: NDArray[np.complex128]


class _Projection:
    """The misfit of a trace with the linear parameters projected out."""

    def __init__(
        self, f: NDArray[np.float64], s: NDArray[np.complex128], *, leakage: bool, delay: bool
    ) -> None:
        self.f = f
        self.s = s
        self.leakage = leakage
        self.delay = delay
        self.turns_axis = (f - 0.5 * (f[0] + f[-1])) / (f[-1] - f[0])

    def _basis(
        self, point: _Point
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128], NDArray[np.complex128]]:
        """Return the line, the Lorentz term and the basis (point, term), all without amplitudes."""
        tuning = self.f / point.centre - point.centre / self.f
        line = np.asarray(np.exp(-2j * np.pi * point.turns * self.turns_axis), dtype=np.complex128)
        lorentz = np.asarray(1.0 / (1.0 + 1j * point.q * tuning), dtype=np.complex128)
        columns = [line, line * lorentz]
        if self.leakage:
            columns.append(line * (point.q * tuning))
        return line, lorentz, np.stack(columns, axis=1)

    def _evaluate(
        self, point: _Point
    ) -> tuple[
        NDArray[np.complex128], NDArray[np.complex128], NDArray[np.complex128], NDArray[np.complex128]
    ]:
        """Return amplitudes, misfit, the full Jacobian (nonlinear, linear) and an orthonormal basis."""
        line, lorentz, basis = self._basis(point)
        orthonormal, triangle = np.linalg.qr(basis)
        linear = np.asarray(np.linalg.solve(triangle, orthonormal.conj().T @ self.s), dtype=np.complex128)
        misfit = self.s - basis @ linear
        tuning = self.f / point.centre - point.centre / self.f
        # steps in units of half a bandwidth, of ln Q and of turns, so that all columns are of one size
        slope = (self.f / point.centre + point.centre / self.f) / (2.0 * point.q)
        fall = -1j * point.q * lorentz**2 * linear[1]
        by_centre = line * fall * -slope
        by_q = line * fall * tuning
        if self.leakage:
            by_centre = by_centre - line * linear[2] * point.q * slope
            by_q = by_q + line * linear[2] * point.q * tuning
        columns = [by_centre, by_q]
        if self.delay:
            columns.append(-2j * np.pi * self.turns_axis * (basis @ linear))
        return linear, misfit, np.stack(columns, axis=1), np.asarray(orthonormal, dtype=np.complex128)

    def _moved(self, point: _Point, step: NDArray[np.float64]) -> _Point:
        centre = point.centre * (1.0 + step[0] / (2.0 * point.q))
        turns = point.turns + (float(step[2]) if self.delay else 0.0)
        return _Point(float(centre), float(point.q * np.exp(np.clip(step[1], -1.0, 1.0))), turns)

    def solve(self, point: _Point) -> _Solution:
        """Minimise the misfit from ``point`` (Levenberg-Marquardt in three parameters)."""
        linear, misfit, jacobian, orthonormal = self._evaluate(point)
        cost = float(np.vdot(misfit, misfit).real)
        damping = 1e-3
        for _ in range(_ITERATIONS):
            projected = jacobian - orthonormal @ (orthonormal.conj().T @ jacobian)
            normal = (projected.conj().T @ projected).real
            gradient = (projected.conj().T @ misfit).real
            scale = np.diag(normal) + 1e-30
            step = np.asarray(np.linalg.solve(normal + np.diag(damping * scale), gradient), dtype=np.float64)
            step[0] = np.clip(step[0], -2.0, 2.0)
            trial = self._moved(point, step)
            attempt = self._evaluate(trial)
            trial_cost = float(np.vdot(attempt[1], attempt[1]).real)
            if trial_cost < cost:
                gain = cost - trial_cost
                point, cost, damping = trial, trial_cost, damping / 10.0
                linear, misfit, jacobian, orthonormal = attempt
                if gain <= 1e-9 * cost or float(np.max(np.abs(step))) < 1e-7:
                    break
            else:
                damping *= 10.0
                if damping > 1e6:
                    break
        return _Solution(
            point,
            linear,
            cost,
            float(np.sqrt(cost / self.f.size)),
            bool(self.f[0] <= point.centre <= self.f[-1]),
            jacobian,
            self._basis(point)[2],
        )


def _starting_points(f: NDArray[np.float64], s: NDArray[np.complex128], *, delay: bool) -> list[_Point]:
    """Return starts, the best first: a one-pole rational function fitted for each of several trial delays.

    ``S (1 + d x) = c0 + c1 x`` is linear in c0, c1 and d; two reweighted passes undo the factor (Sanathanan
    and Koerner, IEEE Trans. Autom. Control 8:56 (1963)). A physical pole has a positive bandwidth.
    """
    span = float(f[-1] - f[0])
    middle = 0.5 * float(f[0] + f[-1])
    x = 2.0 * (f - middle) / span
    turns = np.array(_TRIAL_TURNS if delay else (0.0,))
    unwound = s * np.exp(1j * np.pi * turns[:, None] * x)
    pole_term = np.zeros(turns.size, dtype=np.complex128)
    misfit = np.zeros(turns.size)
    for _ in range(3):
        weight = 1.0 / (1.0 + pole_term[:, None] * x)
        columns = np.stack(np.broadcast_arrays(weight, weight * x, -weight * x * unwound), axis=-1)
        adjoint = columns.conj().swapaxes(1, 2)
        right = (weight * unwound)[..., None]
        solution = np.linalg.solve(adjoint @ columns + 1e-12 * np.eye(3), adjoint @ right)
        pole_term = np.asarray(solution[:, 2, 0], dtype=np.complex128)
        misfit = np.sum(np.abs(right - columns @ solution)[..., 0] ** 2, axis=1)
    # 1 + d x = 0 at x = -1/d; 1 + 2iQ(f - f_L)/f_L = 0 puts the pole at f_L (1 + i/2Q)
    poles = middle - 0.5 * span / np.where(np.abs(pole_term) > 1e-9, pole_term, 1e-9)
    order = np.argsort(misfit)
    points = [
        _Point(float(pole.real), float(pole.real / (2.0 * pole.imag)), float(turn))
        for pole, turn in zip(poles[order], turns[order], strict=True)
        if pole.imag > 0.0 and f[0] - span < pole.real < f[-1] + span
    ]
    return points[:4]


def _state(
    solution: _Solution, f: NDArray[np.float64], kind: Kind, through: float, minimum_span: float
) -> Resonance:
    """Turn a solution into numbers with uncertainties, or say why none can be stated."""
    point = solution.point
    span = float(f[-1] - f[0])
    a, b = complex(solution.linear[0]), complex(solution.linear[1])
    bandwidths = span * point.q / point.centre
    size = abs(b)
    uncertainty, q_unloaded, coupling = _propagate(solution, f, kind, through)
    if not solution.inside:
        raise MeasurementError(
            f"the resonance lies outside the sweep, near {point.centre / 1e6:.4f} MHz; sweep around it"
        )
    if solution.residual > MAXIMUM_RESIDUAL * size:
        raise MeasurementError(
            f"not one resonance: the misfit is {solution.residual:.3g} rms on a circle of diameter "
            f"{size:.3g}; look for a second dip, or for a cable that moved"
        )
    if bandwidths < minimum_span:
        raise MeasurementError(
            f"the sweep spans {bandwidths:.2f} loaded bandwidths, {minimum_span} are needed: Q near "
            f"{point.q:.0f} cannot be told from others; sweep at least "
            f"{2.0 * minimum_span * point.centre / point.q / 1e3:.0f} kHz"
        )
    if uncertainty.q_loaded > MAXIMUM_Q_UNCERTAINTY * point.q:
        raise MeasurementError(
            f"Q = {point.q:.0f} ± {uncertainty.q_loaded:.0f}: too noisy or too narrow a sweep to state it"
        )
    return Resonance(
        kind=kind,
        frequency=point.centre,
        q_loaded=point.q,
        q_unloaded=q_unloaded,
        coupling=coupling,
        delay=point.turns / span,
        residual=solution.residual,
        uncertainty=uncertainty,
        span_in_bandwidths=bandwidths,
        detuned=a,
        diameter=b,
        leakage=complex(solution.linear[2]) if solution.linear.size > 2 else 0j,
    )


def _coupling(a: complex, b: complex, kind: Kind, through: float) -> float:
    """Return the coupling coefficient of a Q-circle (MAT 58, section 2.5)."""
    if kind == "transmission":
        part = abs(b) / through
        return part / (1.0 - part) if part < 1.0 else float("inf")
    touching = 2.0 * abs(a)
    return abs(b) / (touching - abs(b)) if abs(b) < touching else float("inf")


def _propagate(
    solution: _Solution, f: NDArray[np.float64], kind: Kind, through: float
) -> tuple[ResonanceUncertainty, float, float]:
    """Return the uncertainties, the unloaded Q and the coupling."""
    terms = solution.linear.size
    nonlinear = solution.jacobian.shape[1]
    columns = np.concatenate([solution.jacobian, solution.basis, 1j * solution.basis], axis=1)
    normal = (columns.conj().T @ columns).real
    freedom = max(2 * f.size - columns.shape[1], 1)
    covariance = np.linalg.pinv(normal, hermitian=True) * (solution.cost / freedom)
    a, b = complex(solution.linear[0]), complex(solution.linear[1])
    q = solution.point.q
    coupling = _coupling(a, b, kind, through)
    gradient = np.zeros(columns.shape[1])
    if np.isfinite(coupling):
        step = 1e-6 * (abs(a) + abs(b))
        for index, (da, db) in enumerate(((step, 0.0), (0.0, step))):
            for part, unit in enumerate((1.0, 1j)):
                changed = _coupling(a + unit * da, b + unit * db, kind, through)
                gradient[nonlinear + part * terms + index] = (changed - coupling) / step
    by_q0 = q * gradient
    by_q0[1] += q * (1.0 + coupling) if np.isfinite(coupling) else 0.0

    def spread(direction: NDArray[np.float64]) -> float:
        return float(np.sqrt(max(direction @ covariance @ direction, 0.0)))

    deviations = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    unknown = not np.isfinite(coupling)
    return (
        ResonanceUncertainty(
            frequency=float(deviations[0] * solution.point.centre / (2.0 * q)),
            q_loaded=float(deviations[1] * q),
            q_unloaded=float("inf") if unknown else spread(by_q0),
            coupling=float("inf") if unknown else spread(gradient),
            delay=float(deviations[2] / (f[-1] - f[0])) if nonlinear > 2 else 0.0,
        ),
        q * (1.0 + coupling),
        coupling,
    )


def _fit_npl_text(path: Path) -> Resonance:
    """Fit a file of NPL's layout: ``%`` lines of text, then columns of numbers."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    head = "\n".join(line for line in lines if line.startswith("%"))
    try:
        rows = np.array(
            [
                [float(word) for word in line.split()[:3]]
                for line in lines
                if line.strip() and not line.startswith("%")
            ]
        )
    except ValueError:
        raise ValueError(f"{path.name}: expected columns of frequency, real and imaginary part") from None
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"{path.name}: expected columns of frequency, real and imaginary part")
    unit = next((scale for word, scale in (("MHz", 1e6), ("kHz", 1e3)) if f"% {word}" in head), 1e9)
    through = 1.0
    if "thru mag." in head:
        through = float(head.split("thru mag.")[1].split(")")[0])
    kind: Kind = "transmission" if "S21" in head else "reflection"
    return fit_resonance(rows[:, 0] * unit, rows[:, 1] + 1j * rows[:, 2], kind=kind, through=through)
