"""What changed in a coil since it was last here: differences, their uncertainty, and which of them are real.

True when the two runs' errors are independent. Errors that both share, such as those of one calibration,
cancel in a difference; then fewer changes are called significant than could be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

from coils.quality.numbers import every_number

if TYPE_CHECKING:
    from coils.quality.record import CoilRecord

#: Probability that an unchanged coil shows any significant change at all.
FALSE_ALARM: Final = 0.05
#: Expanded uncertainty over standard uncertainty, JCGM 100:2008, 6.3.3.
COVERAGE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """One number in two runs.

    Parameters
    ----------
    name, unit
        Of the number.
    before, after
        Values.
    difference, uncertainty
        ``after - before`` and its expanded uncertainty (95 %).
    significant
        Larger than chance explains, all numbers compared being taken into account.
    """

    name: str
    unit: str
    before: float
    after: float
    difference: float
    uncertainty: float
    significant: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs of one coil.

    Parameters
    ----------
    before, after
        Names of the runs.
    changes
        Of every number that both have with its uncertainty, the most significant first.
    threshold
        Standard deviations beyond which a change is significant.
    missing
        Names of the numbers that only one of the runs has.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    threshold: float
    missing: tuple[str, ...]

    @property
    def significant(self) -> tuple[Change, ...]:
        """The changes that chance does not explain."""
        return tuple(change for change in self.changes if change.significant)


def compare_records(before: CoilRecord, after: CoilRecord, /) -> Comparison:
    """Compare every number that two records share.

    With m numbers compared, a change counts as significant beyond the two-sided normal quantile of
    `FALSE_ALARM` / m (Bonferroni): of a hundred numbers five would exceed two standard deviations by chance.

    Raises
    ------
    ValueError
        The records are of two coils.
    """
    if before.serial_number != after.serial_number:
        raise ValueError(
            f"two coils cannot be compared: {before.serial_number!r} and {after.serial_number!r}"
        )
    first = {quantity.name: quantity for quantity in every_number(before)}
    second = {quantity.name: quantity for quantity in every_number(after)}
    pairs = [
        (first[name], second[name])
        for name in second
        if name in first
        and first[name].reading.uncertainty is not None
        and second[name].reading.uncertainty is not None
    ]
    threshold = NormalDist().inv_cdf(1.0 - 0.5 * FALSE_ALARM / max(1, len(pairs)))
    changes: list[tuple[float, Change]] = []
    for old, new in pairs:
        difference = new.reading.value - old.reading.value
        expanded = math.hypot(old.reading.uncertainty or 0.0, new.reading.uncertainty or 0.0)
        score = _score(difference, expanded / COVERAGE)
        changes.append(
            (
                score,
                Change(
                    new.name,
                    new.unit,
                    old.reading.value,
                    new.reading.value,
                    difference,
                    expanded,
                    score > threshold,
                ),
            )
        )
    changes.sort(key=lambda entry: -entry[0])
    return Comparison(
        before=before.run,
        after=after.run,
        changes=tuple(change for _, change in changes),
        threshold=threshold,
        missing=tuple(sorted(set(first) ^ set(second))),
    )


def _score(difference: float, deviation: float) -> float:
    """Return a difference in standard deviations; any difference of exact numbers is infinite."""
    if deviation > 0.0:
        return abs(difference) / deviation
    return 0.0 if difference == 0.0 else math.inf
