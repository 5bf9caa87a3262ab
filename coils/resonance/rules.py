"""The bandwidth rules of the bench, as cross-checks beside the fit: half power and -7 dB.

They read two points of a magnitude and so are worth less than the fit of all of them; they are here because
everybody knows them, and because a disagreement shows a mistake.

- Reflection, 3 dB rule: half of the power absorbed at the dip is absorbed at ± f_L / 2 Q_L, for any coupling,
  as the absorbed power is 1 - |S|² = 4κ / (1 + κ)² / (1 + (Q_L t)²). At critical match that is |S|² = 1/2 and
  Q_0 = 2 Q_L.
- Reflection, 7 dB rule: |S|² = 1/5 at ± f_L / 2 Q_0, at critical match only. For other couplings it errs by
  (3κ - 1 - κ²)^(-1/2), which the stated uncertainty holds as the dip's depth allows for either branch.
- Transmission, 3 dB rule: half of the peak's power at ± f_L / 2 Q_L.

Both follow from S = 1 - 2κ/(1 + κ) / (1 + i Q_L t) (NPL Report MAT 58 (2021), section 2).
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.resonance.extremes import vertex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.resonance.model import Kind, Resonance

#: |S|² of the 7 dB rule: exactly 1/5, -6.99 dB.
_SEVEN_DB: Final = 0.2
#: Largest relative standard uncertainty at which a rule is worth stating.
_MAXIMUM_UNCERTAINTY: Final = 0.5


@dataclass(frozen=True, slots=True)
class RuleOfThumb:
    """A Q from two points of a magnitude: a cross-check of the fit, not a result.

    Parameters
    ----------
    rule
        ``"3 dB"`` or ``"7 dB"``.
    states
        Which Q the rule states: ``"loaded"`` or ``"unloaded"``.
    q
        The Q.
    uncertainty
        Its standard uncertainty: noise at the dip and at both crossings, interpolation, and for the 7 dB
        rule the coupling that the depth of the dip allows.
    bandwidth
        Distance of the crossings in Hz.
    frequency
        Of the dip or peak, in Hz.
    """

    rule: str
    states: str
    q: float
    uncertainty: float
    bandwidth: float
    frequency: float


def three_db_rule(
    frequencies: NDArray[np.float64],
    s: NDArray[np.complex128],
    *,
    kind: Kind = "reflection",
    reference: float = 1.0,
) -> RuleOfThumb:
    """Return Q_L from the width at half power.

    Parameters
    ----------
    frequencies
        Hz, shape (point,), rising.
    s
        Shape (point,).
    kind
        Absorbed power of a reflection, transmitted power of a transmission.
    reference
        Reflection only: |S| far from the resonance; 1 behind a lossless, calibrated line.

    Raises
    ------
    MeasurementError
        The trace does not reach half power on both sides, or noise hides the crossings.
    """
    power = np.abs(s) ** 2
    height = power if kind == "transmission" else reference**2 - power
    top, peak, centre = _top(frequencies, height)
    crossing = _width(frequencies, s, height, top, 0.5 * peak, "half power")
    # the level itself moves with half of the peak's noise
    noise = _power_noise(s, top)
    shift = 0.5 * noise * (1.0 / crossing.slopes[0] + 1.0 / crossing.slopes[1])
    width, spread = crossing.width, math.hypot(crossing.uncertainty, shift)
    return _stated("3 dB", "loaded", centre, width, centre / width * spread / width)


def seven_db_rule(
    frequencies: NDArray[np.float64], s: NDArray[np.complex128], *, reference: float = 1.0
) -> RuleOfThumb:
    """Return Q_0 from the width of a reflection at -7 dB; true at critical match only.

    Parameters
    ----------
    frequencies
        Hz, shape (point,), rising.
    s
        Shape (point,).
    reference
        |S| far from the resonance; 1 behind a lossless, calibrated line.

    Raises
    ------
    MeasurementError
        The dip is not deeper than -7 dB, is too narrow for the sweep, or so far from critical that the rule
        says nothing.
    """
    power = np.abs(s) ** 2 / reference**2
    height = 1.0 - power
    top, peak, centre = _top(frequencies, height)
    if peak <= 1.0 - _SEVEN_DB:
        raise MeasurementError(
            f"the dip of {10.0 * math.log10(max(1.0 - peak, 1e-30)):.1f} dB does not reach -7 dB; the rule "
            "needs critical match: match the coil, or trust the fit"
        )
    crossing = _width(frequencies, s, height, top, 1.0 - _SEVEN_DB, "-7 dB")
    depth = math.sqrt(max(1.0 - peak, 0.0))
    q = centre / crossing.width
    # over- or undercoupled, |S| at the dip is |κ - 1| / (κ + 1)
    over = (1.0 + depth) / (1.0 - depth)
    factors = [math.sqrt(max(3.0 * kappa - 1.0 - kappa**2, 1e-12)) for kappa in (over, 1.0 / over)]
    mismatch = q * max(abs(factor - 1.0) for factor in factors)
    return _stated(
        "7 dB",
        "unloaded",
        centre,
        crossing.width,
        math.hypot(q * crossing.uncertainty / crossing.width, mismatch),
    )


def rules_of_thumb(
    frequencies: NDArray[np.float64], s: NDArray[np.complex128], fit: Resonance
) -> tuple[RuleOfThumb, ...]:
    """Return the rules that can be read off a trace beside its fit: none, one or both.

    Parameters
    ----------
    frequencies
        Hz, shape (point,), rising.
    s
        Shape (point,).
    fit
        Of the same trace; its detuned point is the reference of a reflection, so that a lossy cable does not
        count as absorption.
    """
    found: list[RuleOfThumb] = []
    reference = abs(fit.detuned)
    with contextlib.suppress(MeasurementError):
        found.append(three_db_rule(frequencies, s, kind=fit.kind, reference=reference))
    if fit.kind == "reflection":
        with contextlib.suppress(MeasurementError):
            found.append(seven_db_rule(frequencies, s, reference=reference))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Crossings:
    width: float
    uncertainty: float
    slopes: tuple[float, float]


def _stated(rule: str, states: str, centre: float, width: float, uncertainty: float) -> RuleOfThumb:
    q = centre / width
    if not uncertainty <= _MAXIMUM_UNCERTAINTY * q:
        raise MeasurementError(
            f"the {rule} rule reads Q = {q:.0f} ± {uncertainty:.0f}, which says nothing; trust the fit, or "
            "match the coil and average more"
        )
    return RuleOfThumb(rule, states, q, uncertainty, width, centre)


def _top(f: NDArray[np.float64], height: NDArray[np.float64]) -> tuple[int, float, float]:
    """Return the highest point, the height there between the points, and its frequency."""
    top = int(np.argmax(height))
    if not 0 < top < height.size - 1:
        raise MeasurementError(
            f"the dip or peak lies at the sweep's edge, {f[top] / 1e6:.4f} MHz; sweep around it"
        )
    if not height[top] > 0.0:
        raise MeasurementError(
            "nothing is absorbed or transmitted: |S| is above its reference everywhere; calibrate, or give "
            "the |S| far from the resonance as reference"
        )
    centre = vertex(f, height, top)
    left, middle, right = (float(value) for value in height[top - 1 : top + 2])
    return top, middle + 0.125 * (right - left) ** 2 / max(2.0 * middle - left - right, 1e-300), centre


def _width(
    f: NDArray[np.float64],
    s: NDArray[np.complex128],
    height: NDArray[np.float64],
    top: int,
    level: float,
    name: str,
) -> _Crossings:
    """Return the distance of the crossings of ``level`` nearest to the top."""
    places, slopes, variance = [], [], 0.0
    for side in (-1, 1):
        index = top
        while 0 <= index + side < height.size and height[index + side] > level:
            index += side
        outer = index + side
        if not 0 <= outer < height.size:
            raise MeasurementError(
                f"the sweep ends before {name} {'below' if side < 0 else 'above'} the resonance at "
                f"{f[top] / 1e6:.4f} MHz; sweep wider"
            )
        inner_height, outer_height = float(height[index]), float(height[outer])
        part = (inner_height - level) / (inner_height - outer_height)
        straight = float(f[index] + part * (f[outer] - f[index]))
        curved = _curved(f, height, index, outer, level, straight)
        step = abs(float(f[outer] - f[index]))
        slope = (inner_height - outer_height) / step
        places.append(curved)
        slopes.append(slope)
        # a cubic's weights sum to one in square near a point, to 0.64 between; what interpolation may err is
        # taken as a quarter of its correction
        variance += (_power_noise(s, index) / slope) ** 2 + (0.25 * (curved - straight)) ** 2
    if not places[1] > places[0]:
        raise MeasurementError(
            f"both crossings of {name} lie at {places[0] / 1e6:.4f} MHz: a spike, or a wrong reference; "
            "look at the trace"
        )
    return _Crossings(places[1] - places[0], math.sqrt(variance), (slopes[0], slopes[1]))


def _curved(
    f: NDArray[np.float64], height: NDArray[np.float64], inner: int, outer: int, level: float, straight: float
) -> float:
    """Return the crossing of a cubic through the four nearest points, found from the straight crossing."""
    first = min(max(min(inner, outer) - 1, 0), height.size - 4)
    x = (f[first : first + 4] - straight) / (f[first + 1] - f[first])
    cubic = np.linalg.solve(np.vander(x, 4, increasing=True), height[first : first + 4] - level)
    place = 0.0
    for _ in range(4):
        slope = cubic[1] + place * (2.0 * cubic[2] + 3.0 * place * cubic[3])
        if slope == 0.0:
            return straight
        place -= float((cubic[0] + place * (cubic[1] + place * (cubic[2] + place * cubic[3]))) / slope)
    low, high = sorted((float(f[inner]), float(f[outer])))
    return float(np.clip(straight + place * (f[first + 1] - f[first]), low, high))


def _power_noise(s: NDArray[np.complex128], index: int) -> float:
    """Return the standard deviation of |S|² at a point, from the noise from point to point."""
    # third differences: the circle itself curves too much over wide steps for second ones
    third = np.diff(s, 3)
    per_component = math.sqrt(float(np.median(np.abs(third) ** 2)) / (20.0 * math.log(2.0)) / 2.0)
    return 2.0 * abs(complex(s[index])) * per_component + 2.0 * per_component**2
