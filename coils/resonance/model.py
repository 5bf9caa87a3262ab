"""The Q-circle: what a trace with one resonance looks like, and what is known when it has been fitted.

A trace is taken as ``S = d + exp(-2πi τ (f - f_m)) [a + b / (1 + i Q_L t) + c Q_L t + e x²]`` with
``t = f/f_L - f_L/f``, ``f_m`` the middle of the sweep and ``x = (f - f_m) / (f_n - f_1)``: a circle (a, b)
with a leakage that changes with frequency (c, e), behind a line of delay ``τ``, and what the analyzer adds in
front of that line (d). True for one resonance whose neighbours are many bandwidths away.

A. P. Gregory, "Q-factor measurement by using a vector network analyser", NPL Report MAT 58 (2021), sections
2.2 and 2.5, has a, b and c; d is the directivity of an analyzer that is not calibrated at the resonator's end
of a long cable (for a transmission: what reaches the receiver beside both cables).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind: TypeAlias = Literal["reflection", "transmission"]


@dataclass(frozen=True, slots=True)
class ResonanceUncertainty:
    """Standard uncertainties, in the units of `Resonance`.

    They hold the scatter and, where the misfit exceeds the trace's noise, what a misfit of that size and
    smoothness may hide (`coils.resonance.uncertainty`). Those of complex leakage, curvature and directivity
    are the root mean square distance from the truth; 0 where they were not fitted.
    """

    frequency: float
    q_loaded: float
    q_unloaded: float
    coupling: float
    delay: float
    leakage: float = 0.0
    curvature: float = 0.0
    directivity: float = 0.0


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
        Q_L, and Q_0 = Q_L (1 + coupling): loaded by the port, and without it.
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
        a: what S is far from the resonance, at the sweep's middle, without directivity.
    diameter
        b: complex diameter of the Q-circle, from the detuned point to the point of resonance.
    leakage
        c: slope of the leakage per unit of Q_L t; 0 when it was not fitted.
    curvature
        e: curvature of the leakage over the sweep; 0 when it was not fitted.
    directivity
        d: what the analyzer adds in front of the line; 0 when it was not fitted.
    middle, span
        f_m, where the line's phase is zero, and the width of the sweep, in Hz.
    noise
        Root mean square of the complex noise from point to point, in the units of S.
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
    curvature: complex = 0j
    directivity: complex = 0j
    middle: float = 0.0
    span: float = 1.0
    noise: float = 0.0

    @property
    def bandwidth(self) -> float:
        """Loaded bandwidth f_L / Q_L in Hz."""
        return self.frequency / self.q_loaded

    @property
    def misfit_ratio(self) -> float:
        """Residual over noise: 1 where the model says all there is, more where something else is in it."""
        return self.residual / self.noise if self.noise > 0.0 else float("inf")

    def evaluate(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return the fitted S at ``frequencies`` (Hz, any shape)."""
        detuning = self.q_loaded * (frequencies / self.frequency - self.frequency / frequencies)
        line = np.exp(-2j * np.pi * self.delay * (frequencies - self.middle))
        bent = self.curvature * ((frequencies - self.middle) / self.span) ** 2
        circle = self.detuned + self.diameter / (1.0 + 1j * detuning) + self.leakage * detuning + bent
        return np.asarray(self.directivity + line * circle, dtype=np.complex128)
