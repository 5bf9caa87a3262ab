"""Flip angles from images: double angle, phase-sensitive, and a series of transmit voltages.

Each method has more than one answer. The double-angle ratio of 270 degrees is that of 90, a magnitude that
grows and falls fits 90 degrees at a third of the voltage: what cannot be told is refused or reported, not
guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.optimize

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Flip angles in rad between which the phase turns by less than once: it has one answer.
_PHASE_RANGE: Final = (np.deg2rad(10.0), np.deg2rad(118.0))
#: Steps of the look-up table in flip angle and offset.
_ANGLES: Final = 251
_OFFSETS: Final = 81
#: Voltages of the reference that are tried first, over the range of the series.
_TRIED: Final = 400
#: A second minimum with less than this more chi-squared cannot be told apart (three standard deviations).
_TOLD_APART: Final = 9.0


@dataclass(frozen=True, slots=True, eq=False)
class FlipMap:
    """Flip angles with their uncertainty, arrays of the signals' shape; NaN where there is no answer.

    Parameters
    ----------
    angle, uncertainty
        In rad; standard uncertainty from noise.
    other_roots
        What the signals would equally fit, in one sentence; empty where the answer is the only one.
    """

    angle: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    other_roots: str


def double_angle(
    single: NDArray[np.float64],
    double: NDArray[np.float64],
    noise: float,
    *,
    repetition_time: float,
    t1: float,
) -> FlipMap:
    """Return flip angles from two images with a and 2 a, corrected for incomplete recovery.

    Parameters
    ----------
    single, double
        Real parts in the phase of ``single`` (``double`` turns negative beyond 90 degrees), any equal shape.
    noise
        Standard deviation of each.
    repetition_time, t1
        In s. With TR = T1 and 45 degrees the plain formula is 13.5 degrees too large.

    Notes
    -----
    a = arccos r, r = S2 / 2 S1 (Insko, Bolinger, J Magn Reson A 103:82 (1993)). With E = exp(-TR / T1),
    S2 / 2 S1 = cos a (1 - E cos a) / (1 - E cos 2a), which is inverted here; the uncertainty is that of r,
    (noise / S1) sqrt(1 + 4 r²) / 2, over the slope. The result lies between 0 and 180 degrees; 360
    degrees - a gives the same ratio.
    """
    e1 = float(np.exp(-repetition_time / t1))
    angles = np.linspace(1e-3, np.pi - 1e-3, 4001)
    ratios = np.cos(angles) * (1 - e1 * np.cos(angles)) / (1 - e1 * np.cos(2 * angles))
    falling = np.diff(ratios) < 0
    # With little recovery the ratio rises again: only the part that falls from 0 on has one answer.
    end = angles.size if falling.all() else int(np.argmin(falling)) + 1
    if np.argmin(falling) == 0 and not falling.all():
        start = int(np.argmax(falling))
        end = start + int(np.argmin(falling[start:])) if not falling[start:].all() else angles.size
    else:
        start = 0
    angles, ratios = angles[start:end], ratios[start:end]
    first = np.asarray(single, dtype=np.float64)
    seen = first > 3 * noise
    ratio = np.where(seen, np.asarray(double, dtype=np.float64) / np.where(seen, 2 * first, 1.0), np.nan)
    seen = seen & (ratio <= ratios[0]) & (ratio >= ratios[-1])
    angle = np.where(seen, np.interp(ratio, ratios[::-1], angles[::-1]), np.nan)
    slope = np.interp(angle, angles, np.gradient(ratios, angles))
    spread = noise / np.where(seen, first, 1.0) * np.sqrt(1 + 4 * ratio**2) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        uncertainty = np.where(seen, spread / np.abs(slope), np.nan)
    return FlipMap(
        np.asarray(angle), np.asarray(uncertainty), "360 degrees minus the angle has the same ratio"
    )


def turn_by_pulse(
    magnetisation: NDArray[np.float64],
    angle: NDArray[np.float64],
    phase: float,
    offset: NDArray[np.float64],
    duration: float,
) -> NDArray[np.float64]:
    """Return magnetisation (..., 3) after a rectangular pulse, by the Bloch equations without relaxation.

    Parameters
    ----------
    magnetisation
        (x, y, z), shape (..., 3).
    angle
        Flip angle on resonance in rad, shape (...).
    phase
        Of the pulse in rad: 0 turns about x.
    offset
        Of the spins from the pulse's frequency in Hz, shape (...).
    duration
        In s.

    Notes
    -----
    Rotation about (w1 cos phase, w1 sin phase, dw) by Rodrigues' formula.
    """
    w1 = np.asarray(angle, dtype=np.float64) / duration
    dw = 2 * np.pi * np.asarray(offset, dtype=np.float64)
    w1, dw = np.broadcast_arrays(w1, dw)
    field = np.stack([w1 * np.cos(phase), w1 * np.sin(phase), dw], axis=-1)
    strength = np.linalg.norm(field, axis=-1, keepdims=True)
    axis = field / np.where(strength > 0, strength, 1.0)
    turn = strength * duration
    cosine, sine = np.cos(turn), np.sin(turn)
    along = np.sum(axis * magnetisation, axis=-1, keepdims=True)
    turned = magnetisation * cosine + np.cross(axis, magnetisation) * sine + axis * along * (1 - cosine)
    return np.asarray(turned, dtype=np.float64)


def phase_difference(
    angle: NDArray[np.float64], offset: NDArray[np.float64], duration: float
) -> NDArray[np.float64]:
    """Return the phase between the signals of (2a)x ay and (-2a)x ay in rad, from 0 to 2 pi.

    Parameters
    ----------
    angle, offset
        Flip angle a in rad and offset in Hz, equal shapes.
    duration
        Of the pulse with a in s; that with 2 a has the same amplitude and lasts twice as long.

    Notes
    -----
    Morrell, Magn Reson Med 60:889 (2008); for sodium Allen et al., Magn Reson Med 65:1125 (2011). On
    resonance 2 atan2(sin 2a, cos 2a sin a): 180 degrees at 45, four degrees per degree near 75.
    """
    rest = np.zeros((*np.broadcast_shapes(np.shape(angle), np.shape(offset)), 3))
    rest[..., 2] = 1.0
    signals = []
    for phase in (0.0, np.pi):
        first = turn_by_pulse(rest, 2 * np.asarray(angle), phase, offset, 2 * duration)
        second = turn_by_pulse(first, angle, np.pi / 2, offset, duration)
        signals.append(second[..., 0] + 1j * second[..., 1])
    return np.asarray(np.mod(np.angle(signals[1] / signals[0]), 2 * np.pi), dtype=np.float64)


class PhaseTable:
    """Flip angle by phase difference and offset, computed once for a pulse.

    Parameters
    ----------
    duration
        Of the pulse with the flip angle a, in s.
    largest_offset
        Of the field map, in Hz.

    Raises
    ------
    ValueError
        The offset is so large that the phase has no single answer anywhere.
    """

    def __init__(self, duration: float, largest_offset: float) -> None:
        self._angles = np.linspace(*_PHASE_RANGE, _ANGLES)
        self._offsets = np.linspace(-largest_offset, largest_offset, _OFFSETS)
        grid = np.meshgrid(self._offsets, self._angles, indexing="ij")
        table = phase_difference(grid[1], grid[0], duration)
        self._phases = np.unwrap(table, axis=1)
        self._phases = np.unwrap(self._phases, axis=0)
        self._rising = 1.0 if self._phases[_OFFSETS // 2, -1] > self._phases[_OFFSETS // 2, 0] else -1.0

    def flip_angles(
        self, phase: NDArray[np.float64], offset: NDArray[np.float64], phase_uncertainty: NDArray[np.float64]
    ) -> FlipMap:
        """Return flip angles in rad from measured phases.

        Parameters
        ----------
        phase
            Between the two signals in rad (any multiple of 2 pi), shape (...).
        offset
            From the field map in Hz, shape (...).
        phase_uncertainty
            Standard uncertainty in rad, shape (...): noise over signal, times the root of two.

        Returns
        -------
        NaN where the offset is beyond the table, or the phase is nobody's or several angles'.
        """
        flat = np.ravel(np.asarray(phase, dtype=np.float64))
        offsets = np.broadcast_to(offset, np.shape(phase)).ravel()
        errors = np.broadcast_to(phase_uncertainty, np.shape(phase)).ravel()
        angles, spreads = np.full(flat.size, np.nan), np.full(flat.size, np.nan)
        place = np.interp(offsets, self._offsets, np.arange(_OFFSETS))
        inside = np.abs(offsets) <= self._offsets[-1]
        for index in np.flatnonzero(inside):
            low = min(int(place[index]), _OFFSETS - 2)
            part = place[index] - low
            curve = (1 - part) * self._phases[low] + part * self._phases[low + 1]
            angles[index], spreads[index] = self._invert(curve, flat[index], errors[index])
        shape = np.shape(phase)
        return FlipMap(angles.reshape(shape), spreads.reshape(shape), "")

    def _invert(self, curve: NDArray[np.float64], phase: float, error: float) -> tuple[float, float]:
        """Return the one angle at which the curve passes the phase, and its uncertainty; else NaN."""
        turns = np.mod(phase - curve + np.pi, 2 * np.pi) - np.pi
        crossing = np.flatnonzero((turns[:-1] * turns[1:] <= 0) & (np.abs(turns[:-1] - turns[1:]) < np.pi))
        if crossing.size != 1:
            return float("nan"), float("nan")
        at = int(crossing[0])
        share = turns[at] / (turns[at] - turns[at + 1])
        step = self._angles[1] - self._angles[0]
        slope = (curve[at + 1] - curve[at]) / step
        return float(self._angles[at] + share * step), float(error / abs(slope))


@dataclass(frozen=True, slots=True)
class ReferenceVoltage:
    """The voltage of a 90-degree pulse.

    Parameters
    ----------
    voltage, uncertainty
        In V.
    other_roots
        Other voltages in V that fit about as well; empty where the series tells.
    """

    voltage: float
    uncertainty: float
    other_roots: tuple[float, ...]


def fit_reference_voltage(
    voltages: NDArray[np.float64],
    signals: NDArray[np.float64],
    noise: float,
    *,
    repetition_time: float,
    t1: float,
) -> ReferenceVoltage:
    """Return the voltage of 90 degrees from magnitudes at a series of voltages.

    All candidates from a fifth of the smallest to five times the largest voltage are tried before the
    fit, so that it does not settle at 270 degrees; other minima that the data cannot exclude are reported.

    Parameters
    ----------
    voltages
        In V, shape (scan,), at least four.
    signals
        Magnitudes, shape (scan,).
    noise
        Standard deviation of each.
    repetition_time, t1
        In s.

    Raises
    ------
    MeasurementError
        No signal stands out of the noise.
    """
    volts, values = np.asarray(voltages, dtype=np.float64), np.asarray(signals, dtype=np.float64)
    if volts.shape != values.shape or volts.size < 4:
        raise ValueError(f"four or more voltages with a signal each expected: {volts.shape}, {values.shape}")
    if values.max() < 5 * noise:
        raise MeasurementError(
            f"the largest signal is {values.max() / noise:.1f} times the noise; 5 are needed for a voltage"
        )
    e1 = float(np.exp(-repetition_time / t1))

    def shape(reference: float) -> NDArray[np.float64]:
        angle = 0.5 * np.pi * volts / reference
        return np.asarray(np.abs(np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))), dtype=np.float64)

    def misfit(reference: float) -> float:
        model = shape(reference)
        amplitude = float(model @ values / (model @ model))
        return float(np.sum((values - amplitude * model) ** 2) / noise**2)

    tried = np.geomspace(0.2 * volts[volts > 0].min(), 5 * volts.max(), _TRIED)
    scores = np.array([misfit(float(reference)) for reference in tried])
    lowest = np.flatnonzero((scores[1:-1] <= scores[:-2]) & (scores[1:-1] <= scores[2:])) + 1
    found = []
    for index in lowest:
        best: Any = scipy.optimize.minimize_scalar(  # its result has no types
            misfit, bounds=(tried[index - 1], tried[index + 1]), method="bounded", options={"xatol": 1e-6}
        )
        found.append((float(best.fun), float(best.x)))
    if not found:
        raise MeasurementError("the signals only rise with the voltage: no reference voltage shows")
    found.sort()
    chi_squared, voltage = found[0]
    step = 1e-3 * voltage
    curvature = (misfit(voltage + step) + misfit(voltage - step) - 2 * chi_squared) / step**2
    others = tuple(other for score, other in found[1:] if score - chi_squared < _TOLD_APART)
    return ReferenceVoltage(voltage, float(np.sqrt(2 / max(curvature, 1e-300))), others)
