"""Preferred values: which fixed capacitor from the drawer leaves how much to a trimmer.

IEC 60063: E12 and E24 divide a decade into 12 and 24 rounded steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: IEC 60063:2015, table 1, values of one decade.
E_SERIES: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        "E6": (1.0, 1.5, 2.2, 3.3, 4.7, 6.8),
        "E12": (1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2),
        "E24": (
            *(1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0),
            *(3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5, 8.2, 9.1),
        ),
    }
)

#: F: chip capacitors for high power are made from 1 pF to 1 nF (ATC 100B and like series).
_SMALLEST, _LARGEST = 1e-12, 1e-9


def available(series: str | Sequence[float]) -> tuple[float, ...]:
    """Return the capacitors there are in F, ascending.

    Parameters
    ----------
    series
        ``"E6"``, ``"E12"``, ``"E24"`` (1 pF to 1 nF), or a list of values in F.

    Raises
    ------
    ValueError
        There is no such series, or the list is empty or holds a value that is not positive.
    """
    if isinstance(series, str):
        if series not in E_SERIES:
            raise ValueError(
                f"no series {series!r}; there are {', '.join(E_SERIES)}, or give a list in farad"
            )
        decades = (10.0**power for power in range(-12, -9))
        values = sorted(decade * step for decade in decades for step in E_SERIES[series])
        return (*(round(value, 15) for value in values), _LARGEST)
    if not series or min(series) <= 0.0:
        raise ValueError("the list of capacitors needs at least one, all above 0 F")
    return tuple(sorted(series))


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A capacitance made of a fixed capacitor and a trimmer in parallel.

    Parameters
    ----------
    target
        What is wanted, F.
    fixed
        The capacitor to solder in F; 0: none, the trimmer alone.
    low, high
        Range that the trimmer must cover in F, for the tolerances given.
    """

    target: float
    fixed: float
    low: float
    high: float

    @property
    def middle(self) -> float:
        """What the trimmer adds when all values are nominal, F."""
        return self.target - self.fixed


def split(
    target: float,
    capacitors: Sequence[float],
    *,
    reach: tuple[float, float],
    smallest_trimmer: float = 1e-12,
    tolerance: float = 0.02,
) -> Trimmed:
    """Return the largest fixed capacitor that leaves a trimmer room on both sides.

    Parameters
    ----------
    target
        Capacitance wanted when all else is nominal, F.
    capacitors
        Available values, F.
    reach
        Smallest and largest capacitance that may be needed, F.
    smallest_trimmer
        Minimum capacitance of the trimmers at hand, F.
    tolerance
        Of fixed capacitors, relative.

    Raises
    ------
    ValueError
        Less is needed than a trimmer has at its minimum, or the target is not within reach.
    """
    lowest, highest = reach
    if not lowest <= target <= highest:
        raise ValueError(f"the target {target:.4g} F must be between {lowest:.4g} and {highest:.4g} F")
    if lowest < smallest_trimmer:
        raise ValueError(f"less is needed than a trimmer's minimum of {smallest_trimmer * 1e12:.3g} pF")
    fits = [c for c in capacitors if c * (1.0 + tolerance) + smallest_trimmer <= lowest]
    fixed = max(fits, default=0.0)
    return Trimmed(target, fixed, lowest - fixed * (1.0 + tolerance), highest - fixed * (1.0 - tolerance))


def nearest(target: float, capacitors: Sequence[float]) -> float:
    """Return the available capacitor nearest to a target, by ratio; F."""
    return min(capacitors, key=lambda value: abs(math.log(value / target)))
