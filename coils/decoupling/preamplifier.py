"""Preamplifier decoupling with the phase between match and preamplifier as what is tuned.

For any linear network between a loop and its port, lossy or not, the current that a given induced voltage
drives through the loop depends on the reflection Γ that the port sees as

``I(Γ) / I(0) = (1 - S_open Γ) / (1 - S11 Γ)``

with S11 the port's reflection and S_open what it is while the loop carries no current: that current vanishes
where Γ resonates with the open loop, and is infinite where it resonates with the closed one; a ratio of first
degree with these two and the value 1 at Γ = 0 is unique. Matched and lossless at the best phase this is
-20 log10(1 - |Γ|), Roemer et al., Magn Reson Med 16:192 (1990); at the worst phase it is -20 log10(1 + |Γ|),
down to -6 dB: worse than no decoupling at all. S_open is the detuned point of the port's Q-circle
(`coils.resonance.Resonance.detuned`) or S11 of the actively detuned loop, at the same frequency and plane;
where the detuning circuit is part of the match the latter is some degrees off.

Decibels are those of the loop's current at 50 ohm over that with the preamplifier: positive is decoupled.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.decoupling.measures import COVERAGE
from coils.decoupling.phase_shifter import PiSection, phase_shifter

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: m/s, exact in the SI.
_SPEED_OF_LIGHT: Final = 299_792_458.0
#: Part of c in a cable of solid polyethylene: 1/√2.26 (relative permittivity of polyethylene at RF). PTFE has
#: 0.70.
VELOCITY_FACTOR: Final = 0.66
#: dB below the optimum where the window of phases ends when no other level is asked for.
_WINDOW_DB: Final = 3.0
#: rad; less than that nobody can build.
_NOTHING: Final = 1e-3


@dataclass(frozen=True, slots=True)
class PhaseAdvice:
    """What the phase between port and preamplifier does now, and what to change.

    Parameters
    ----------
    now_db, best_db, worst_db
        Signed decoupling with the phase as it is, at the best and at the worst phase.
    now_low_db, now_high_db
        95 % interval of ``now_db`` from the uncertainty of the phases.
    change
        Electrical phase to add, one way, in rad, between -π/2 and π/2; negative: to take away.
    uncertainty
        Standard, of ``change``, in rad.
    window
        Lowest and highest ``change`` that still reach ``level_db``, in rad; equal where nothing does.
    level_db
        What the window is about.
    length
        Cable to add in m; negative: to cut.
    half_wave
        After this much more cable, in m, everything repeats.
    shifter
        A network with the same effect, where the cable would be impractical; None where nothing is to change.
    """

    now_db: float
    best_db: float
    worst_db: float
    now_low_db: float
    now_high_db: float
    change: float
    uncertainty: float
    window: tuple[float, float]
    level_db: float
    length: float
    half_wave: float
    shifter: PiSection | None

    @property
    def is_worse_than_none(self) -> bool:
        """Whether the loop would couple less without the preamplifier's mismatch."""
        return self.now_db < 0.0

    @property
    def is_in_window(self) -> bool:
        """Whether the phase may stay as it is."""
        return self.window[0] <= 0.0 <= self.window[1] and self.now_db >= self.level_db - 1e-9

    def __str__(self) -> str:
        """Return the advice in words."""
        state = f"{self.now_db:+.1f} dB now, {self.best_db:+.1f} dB at the best phase"
        if self.best_db < self.level_db - 1e-9:
            return f"{state}: {self.level_db:.1f} dB is out of reach with this preamplifier and match"
        if self.is_in_window:
            return f"{state}: leave it"
        warning = ", worse than no preamplifier" if self.is_worse_than_none else ""
        way = "lengthen" if self.length > 0.0 else "shorten"
        below, above = (math.degrees(edge - self.change) for edge in self.window)
        insert = f" or insert {self.shifter}" if self.shifter is not None else ""
        return (
            f"{state}{warning}: {way} the cable by {abs(self.length) * 1e3:.0f} mm "
            f"({math.degrees(abs(self.change)):.0f}°; {below:+.0f}° to {above:+.0f}° about that keep "
            f"{self.level_db:.1f} dB){insert}"
        )


def decoupling_db(
    s11: complex, open_loop: complex, preamplifier: complex, phase: ArrayLike = 0.0, *, loss_db: float = 0.0
) -> NDArray[np.float64]:
    """Return the preamplifier decoupling over the phase inserted between port and preamplifier.

    Parameters
    ----------
    s11, open_loop
        Reflection of coil and match at the port, tuned and with no current in the loop.
    preamplifier
        Reflection that the port sees now: that of the preamplifier's input through the cable as it is.
    phase
        Inserted, one way, in rad, any shape; negative: taken away.
    loss_db
        Of what is inserted, one way.

    Returns
    -------
    Signed dB, shape of ``phase``.
    """
    seen = preamplifier * np.exp(-2j * np.asarray(phase, dtype=np.float64)) * 10.0 ** (-loss_db / 10.0)
    ratio = np.abs(1.0 - s11 * seen) / np.maximum(np.abs(1.0 - open_loop * seen), np.finfo(float).tiny)
    return np.asarray(20.0 * np.log10(np.maximum(ratio, np.finfo(float).tiny)), dtype=np.float64)


def extreme_phases(s11: complex, open_loop: complex, preamplifier: complex) -> tuple[float, float]:
    """Return the phases to insert, in rad from -π/2 to π/2, for the best and for the worst decoupling.

    Raises
    ------
    ValueError
        A reflection is not below 1, the port does not see its loop, or the preamplifier is matched: then the
        phase does not matter.

    Notes
    -----
    On |Γ| constant the current ratio runs round a circle in the complex plane; its points nearest to and
    furthest from the origin lie on the line through the centre.
    """
    size = abs(preamplifier)
    if not (0.0 < size * abs(open_loop) < 1.0 and abs(s11) * size < 1.0):
        raise ValueError(
            f"expected reflections between 0 and 1; got {size:.3f} of the preamplifier, {abs(open_loop):.3f} "
            f"of the open loop, {abs(s11):.3f} tuned: a matched preamplifier has no phase to tune, an active "
            "one oscillates"
        )
    if abs(s11 - open_loop) < 1e-9:
        raise ValueError("the port reflects the same with and without current in the loop: is it connected?")
    turn = s11 / open_loop
    rest = 1.0 - (size * abs(open_loop)) ** 2
    centre = turn + (1.0 - turn) / rest
    radius = abs(1.0 - turn) * size * abs(open_loop) / rest
    phases = []
    for side in (1.0, -1.0):
        ratio = centre + side * radius * (centre / abs(centre) if centre else 1.0)
        reflection = (1.0 - (1.0 - turn) / (ratio - turn)) / open_loop
        phases.append(_fold(0.5 * (cmath.phase(preamplifier) - cmath.phase(reflection))))
    return phases[0], phases[1]


def phase_window(
    s11: complex, open_loop: complex, preamplifier: complex, level_db: float
) -> tuple[float, float] | None:
    """Return the phases to insert between which the decoupling is at least ``level_db``, in rad.

    Returns
    -------
    Around the best phase, of total width at most π; None where no phase reaches the level.

    Raises
    ------
    ValueError
        See `extreme_phases`.
    """
    best = extreme_phases(s11, open_loop, preamplifier)[0]
    size, gain = abs(preamplifier), 10.0 ** (level_db / 10.0)
    vector = gain * open_loop - s11
    needed = gain * (1.0 + abs(size * open_loop) ** 2) - (1.0 + abs(size * s11) ** 2)
    if abs(vector) == 0.0 or needed > 2.0 * size * abs(vector):
        return None
    cosine = needed / (2.0 * size * abs(vector))
    if cosine <= -1.0:
        return best - 0.5 * math.pi, best + 0.5 * math.pi
    # |1 - S11 Γ|² >= gain |1 - S_open Γ|² where cos(arg Γ + arg(vector)) >= cosine
    middle = _near(0.5 * (cmath.phase(preamplifier) + cmath.phase(vector)), best)
    half = 0.5 * math.acos(min(cosine, 1.0))
    return middle - half, middle + half


def advise_phase(
    s11: complex,
    open_loop: complex,
    preamplifier: complex,
    *,
    frequency: float,
    velocity_factor: float = VELOCITY_FACTOR,
    z0: float = 50.0,
    phase_uncertainty: float = 0.05,
    level_db: float | None = None,
) -> PhaseAdvice:
    """Say how to change the phase between port and preamplifier for the best decoupling.

    Parameters
    ----------
    s11, open_loop, preamplifier
        See `decoupling_db`; all at ``frequency`` and at the plane where the cable meets the match.
    frequency
        Hz.
    velocity_factor
        Of the cable that would be added, part of c.
    z0
        Reference impedance and that of the phase shifter, ohm.
    phase_uncertainty
        Standard uncertainty of the sum of both reflections' phases, rad.
    level_db
        Decoupling that is enough; None: 3 dB less than the best.

    Raises
    ------
    ValueError
        See `extreme_phases`.
    """
    best, worst = extreme_phases(s11, open_loop, preamplifier)
    values = decoupling_db(s11, open_loop, preamplifier, np.array([0.0, best, worst]))
    level = float(values[1]) - _WINDOW_DB if level_db is None else level_db
    window = phase_window(s11, open_loop, preamplifier, level)
    doubt = 0.5 * phase_uncertainty
    near = np.linspace(-COVERAGE * doubt, COVERAGE * doubt, 41)
    around = decoupling_db(s11, open_loop, preamplifier, near)
    wavelength = velocity_factor * _SPEED_OF_LIGHT / frequency
    if window is not None:
        window = _holding_zero(window)
    return PhaseAdvice(
        now_db=float(values[0]),
        best_db=float(values[1]),
        worst_db=float(values[2]),
        now_low_db=float(around.min()),
        now_high_db=float(around.max()),
        change=best,
        uncertainty=doubt,
        window=window or (best, best),
        level_db=level,
        length=best / (2.0 * math.pi) * wavelength,
        half_wave=0.5 * wavelength,
        shifter=phase_shifter(best, frequency, z0=z0) if abs(best) > _NOTHING else None,
    )


def _fold(phase: float) -> float:
    """Return the phase between -π/2 and π/2 that acts the same: reflections repeat every half wave."""
    return phase - math.pi * round(phase / math.pi)


def _near(phase: float, other: float) -> float:
    return phase - math.pi * round((phase - other) / math.pi)


def _holding_zero(window: tuple[float, float]) -> tuple[float, float]:
    """Return the same window half a wave further where that holds zero: no change is then the shortest."""
    for turn in (0.0, math.pi, -math.pi):
        if window[0] + turn <= 0.0 <= window[1] + turn:
            return window[0] + turn, window[1] + turn
    return window
