"""k of two matched loops from S21 and S11 at their common frequency, with the branch that S21 leaves open.

Two equal loops, each tuned and matched to its port while alone, then coupled by k: with x = k Q_0 / 2,
|S21| = x / (1 + x²) and |S11| = x² / (1 + x²). With x = tan φ both lie on a half circle,
(|S11|, |S21|) = (sin² φ, sin φ cos φ). |S21| alone is the same for x and 1/x: k = 0.003 and k = 0.03 can
read the same decibels. |S11| tells them apart. Series loops of resistance R behind ports of R:
Z11 = R, Z12 = jωM, and x = ωM / 2R; for unlike loops Q_0 is the geometric mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Distance of φ from π/4 below which it lies at the end of its branch.
_END: Final = 1e-6
#: Difference of χ² at which the worse branch is given up: 99 % for one degree of freedom.
_DISCARDED: Final = 6.63
#: χ² of the better branch above which S11 and S21 contradict each other: 99.9 % for one degree of freedom.
_CONTRADICTION: Final = 10.83


@dataclass(frozen=True, slots=True)
class CouplingCandidate:
    """One value of k that explains what was measured.

    Parameters
    ----------
    k, uncertainty
        Magnitude of the coupling coefficient and its standard uncertainty.
    branch
        ``"weak"`` for k Q_0 / 2 < 1, else ``"strong"``: the loops' resonance is split.
    chi_squared
        Squared misfit of |S21| and |S11| over their variances.
    """

    k: float
    uncertainty: float
    branch: str
    chi_squared: float


@dataclass(frozen=True, slots=True)
class MatchedCoupling:
    """Candidates for k, the likelier first: one where S11 decides, two where it cannot."""

    candidates: tuple[CouplingCandidate, ...]

    @property
    def is_resolved(self) -> bool:
        """Whether one branch is left."""
        return len(self.candidates) == 1

    @property
    def k(self) -> float:
        """The coupling coefficient.

        Raises
        ------
        MeasurementError
            Both branches explain what was measured.
        """
        return self._only().k

    @property
    def uncertainty(self) -> float:
        """Standard uncertainty of k.

        Raises
        ------
        MeasurementError
            Both branches explain what was measured.
        """
        return self._only().uncertainty

    def _only(self) -> CouplingCandidate:
        if not self.is_resolved:
            first, second = self.candidates
            raise MeasurementError(
                f"k is {first.k:.2g} or {second.k:.2g}: |S21| alone cannot tell; measure |S11| of one "
                "loop with the other matched, or look whether the resonance is split"
            )
        return self.candidates[0]


def coupling_from_matched(
    s21: float,
    q: float,
    *,
    u_s21: float,
    u_q: float = 0.0,
    s11: float | None = None,
    u_s11: float = 0.03,
) -> MatchedCoupling:
    """Return k of two matched loops from magnitudes at their common frequency.

    Parameters
    ----------
    s21
        |S21|, both loops matched while alone and not retuned since.
    q, u_q
        Q_0 of the loops alone (geometric mean) and its standard uncertainty.
    u_s21
        Standard uncertainty of |S21|.
    s11, u_s11
        |S11| and its standard uncertainty, which holds what the match alone left: 0.03 for -30 dB. None:
        not measured, both branches are reported.

    Raises
    ------
    MeasurementError
        |S21| is more than two loops can transmit off each other, or |S11| contradicts it.
    ValueError
        Q or an uncertainty is not positive.
    """
    if not (q > 0.0 and u_s21 > 0.0 and u_q >= 0.0 and u_s11 > 0.0 and s21 >= 0.0):
        raise ValueError("|S21|, Q and the uncertainties must be positive")
    points = [_nearest(start, s21, u_s21, s11, u_s11) for start in _starts(s21, s11)]
    points.sort(key=lambda point: point[1])
    best = points[0][1]
    if best > _CONTRADICTION:
        told = "" if s11 is None else f" and |S11| = {s11:.3g} ± {u_s11:.2g}"
        raise MeasurementError(
            f"|S21| = {s21:.3g} ± {u_s21:.2g}{told} cannot come from two matched loops (at most 0.5, on the "
            "half circle |S21|² = |S11| (1 - |S11|)); match each loop with the other one detuned, then "
            "do not touch them, and read both at that frequency"
        )
    left = [
        point
        for place, point in enumerate(points)
        # a branch that ends at x = 1 has no solution of its own
        if point[1] - best < _DISCARDED and (place == 0 or abs(point[0] - 0.25 * math.pi) > _END)
    ]
    candidates = [_candidate(phi, chi, u_phi, q, u_q) for phi, chi, u_phi in left]
    # k of passive loops is below 1: a trickle of |S21| has one branch only
    candidates = [candidate for candidate in candidates if candidate.k < 1.0] or candidates[:1]
    if len(candidates) == 2:
        one, two = candidates
        # around x = 1 both branches are one: nothing to choose between
        if abs(one.k - two.k) <= min(one.uncertainty, two.uncertainty):
            candidates = [one]
    return MatchedCoupling(tuple(candidates))


def _starts(s21: float, s11: float | None) -> list[float]:
    """Return one φ for each branch."""
    low = 0.5 * math.asin(min(2.0 * s21, 1.0))
    starts = [low, 0.5 * math.pi - low]
    if s11 is not None:
        # the nearest point of the half circle, on the branch on which it lies
        near = 0.5 * math.atan2(2.0 * s21, 1.0 - 2.0 * s11)
        starts[near > 0.25 * math.pi] = near
    return starts


def _nearest(
    start: float, s21: float, u_s21: float, s11: float | None, u_s11: float
) -> tuple[float, float, float]:
    """Return φ nearest to the measured point on the branch of ``start``, its χ² and its uncertainty."""
    weak = start <= 0.25 * math.pi
    low, high = (0.0, 0.25 * math.pi) if weak else (0.25 * math.pi, 0.5 * math.pi)
    grid = np.linspace(low, high, 4001)

    def misfit(phi: NDArray[np.float64]) -> NDArray[np.float64]:
        chi = ((np.sin(phi) * np.cos(phi) - s21) / u_s21) ** 2
        return chi if s11 is None else chi + ((np.sin(phi) ** 2 - s11) / u_s11) ** 2

    phi = start
    for _ in range(3):
        step = grid[1] - grid[0]
        phi = float(grid[int(np.argmin(misfit(grid)))])
        grid = np.linspace(max(phi - step, low), min(phi + step, high), 4001)
    weight = (math.cos(2.0 * phi) / u_s21) ** 2
    if s11 is not None:
        weight += (math.sin(2.0 * phi) / u_s11) ** 2
    # where |S21| is flat, its curvature bounds φ: sin 2φ / 2 falls by (δφ)² around its maximum
    flat = math.sqrt(u_s21)
    return phi, float(misfit(np.array([phi]))[0]), min(1.0 / math.sqrt(weight + 1e-300), flat)


def _candidate(phi: float, chi: float, u_phi: float, q: float, u_q: float) -> CouplingCandidate:
    x = math.tan(phi)
    k = 2.0 * x / q
    u_k = math.hypot(2.0 * (1.0 + x * x) * u_phi / q, k * u_q / q)
    return CouplingCandidate(k, u_k, "weak" if x < 1.0 else "strong", chi)
