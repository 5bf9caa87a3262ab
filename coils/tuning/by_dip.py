"""Tune a port by hand without a drawing: what its dip says about its two trimmers.

True for ports that are tuned by a capacitor in the resonance and matched by one in series with the port: more
tune capacitance lowers the dip, more match capacitance couples more (and lowers it a little). Neighbours and
other nuclei are left out: what they pull away is found when the ports are gone round again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from coils.quality import decibels
from coils.tuning.gauge import Advice

if TYPE_CHECKING:
    from coils.circuit.elements import Complex, Real

#: A dip within this part of its half-power width is on the frequency, as far as matching goes.
_CENTRED: Final = 0.25
#: Within this part of it, tuning does not help any more where the dip is too shallow.
_RIGHT: Final = 0.05
#: Points on either side of the dip whose circle tells the coupling, in half-power widths.
_CIRCLE: Final = 1.5
#: Part of the limit's amplitude to which the dip is deepened: the rest is for tuning.
_DEEPER: Final = 0.7
#: Relative growth of what shall shrink that is the wrong way.
_GROWN: Final = 0.1
#: Last part of the way, to be gone slowly.
_LAST_PART: Final = 0.25


@dataclass(frozen=True, slots=True)
class Dip:
    """A port's lowest reflection.

    Parameters
    ----------
    frequency
        Hz.
    depth
        |S_ii| there.
    width
        Between the points of half the absorbed power, Hz.
    is_over
        Whether the port is overcoupled: its circle in the Smith chart goes round the middle.
    reflection
        S_ii at the frequency that counts.
    """

    frequency: float
    depth: float
    width: float
    is_over: bool
    reflection: complex


@dataclass(frozen=True, slots=True)
class DipTurn:
    """What to turn next.

    Parameters
    ----------
    trimmer
        Which of the port's two.
    is_more
        More capacitance, or less.
    reason
        In words.
    """

    trimmer: Literal["tune", "match"]
    is_more: bool
    reason: str


def find_dip(frequencies: Real, reflections: Complex, wanted: float) -> Dip:
    """Return the lowest reflection of a trace and what is seen around it.

    Parameters
    ----------
    frequencies, reflections
        Hz and S_ii, shape (frequency,), at least 5.
    wanted
        The frequency that counts, Hz, inside.

    Raises
    ------
    ValueError
        Too few points, or the frequency lies outside.
    """
    if frequencies.size < 5 or not frequencies[0] <= wanted <= frequencies[-1]:
        raise ValueError(f"need 5 points around {wanted:.0f} Hz; got {frequencies.size} points")
    power = np.abs(reflections) ** 2
    place = int(np.clip(np.argmin(power), 1, power.size - 2))
    left, middle, right = power[place - 1 : place + 2]
    bend = left - 2.0 * middle + right
    shift = float(np.clip(0.5 * (left - right) / bend, -1.0, 1.0)) if bend > 0.0 else 0.0
    frequency = float(frequencies[place] + shift * (frequencies[place + 1] - frequencies[place]))
    depth = float(np.sqrt(max(middle - 0.25 * (left - right) * shift, 0.0)))
    absorbed = 1.0 - power
    inside = absorbed > 0.5 * (1.0 - depth**2)
    low, high = place, place
    while low > 0 and inside[low - 1]:
        low -= 1
    while high < power.size - 1 and inside[high + 1]:
        high += 1
    width = float(max(frequencies[high] - frequencies[low], frequencies[1] - frequencies[0]))
    near = np.abs(frequencies - frequency) <= _CIRCLE * width
    now = np.interp(wanted, frequencies, reflections.real) + 1j * np.interp(
        wanted, frequencies, reflections.imag
    )
    return Dip(frequency, depth, width, _goes_round(reflections[near]), complex(now))


def next_by_dip(dip: Dip, wanted: float, limit_db: float) -> DipTurn | None:
    """Return what to turn next, or None when the port is below the limit.

    Parameters
    ----------
    wanted
        Hz.
    limit_db
        |S_ii| at ``wanted`` must be below.
    """
    limit = 10.0 ** (limit_db / 20.0)
    if abs(dip.reflection) < limit:
        return None
    off = dip.frequency - wanted
    if abs(off) > _CENTRED * dip.width or dip.depth < _DEEPER * limit:
        way = "high: more" if off > 0.0 else "low: less"
        return DipTurn(
            "tune", off > 0.0, f"dip is {abs(off) / 1e3:.0f} kHz too {way} capacitance at the tune trimmer"
        )
    kind = "over" if dip.is_over else "under"
    way = "less" if dip.is_over else "more"
    return DipTurn(
        "match",
        not dip.is_over,
        f"dip is {-decibels(dip.depth):.1f} dB deep and {kind}coupled: "
        f"{way} capacitance at the match trimmer",
    )


def advise_by_dip(turn: DipTurn, before: Dip, now: Dip, wanted: float, limit_db: float) -> Advice:
    """Return what to say to a person at a trimmer.

    Parameters
    ----------
    turn
        What was asked for.
    before, now
        Seen when it was asked for, and now.
    wanted, limit_db
        As for `next_by_dip`.
    """
    limit = 10.0 ** (limit_db / 20.0)
    if abs(now.reflection) < limit:
        return Advice.STOP
    if turn.trimmer == "tune":
        start, left = before.frequency - wanted, now.frequency - wanted
        # with a dip deep enough, the port itself says when it is right
        enough = _RIGHT * now.width if now.depth > _DEEPER * limit else 0.0
        is_passed = left * start < 0.0
    else:
        start, left = before.depth, now.depth
        enough = _DEEPER * limit
        is_passed = now.is_over != before.is_over
    if abs(left) < enough:
        return Advice.STOP
    if is_passed:
        return Advice.PASSED
    if abs(left) > (1.0 + _GROWN) * abs(start):
        return Advice.OTHER_WAY
    return Advice.SLOWER if abs(left) < max(_LAST_PART * abs(start), 3.0 * enough) else Advice.TURN


def _goes_round(reflections: Complex) -> bool:
    """Return whether the circle through some reflections has the origin inside (Kåsa's algebraic fit)."""
    if reflections.size < 3:
        return False
    x, y = reflections.real, reflections.imag
    matrix = np.column_stack((2.0 * x, 2.0 * y, np.ones_like(x)))
    found = np.linalg.lstsq(matrix, x * x + y * y, rcond=None)[0]
    # constant = radius² - |centre|²: positive when the origin is inside
    return bool(found[2] > 0.0)
