"""Numbers of a run as a flat list: what tables, QuAAC and trends are made of.

A quantity that could not be measured has no value: None, never NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coilbench.base.errors import MeasurementError
from coilbench.base.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coilbench.base.verdict import Judged

#: Of an expanded uncertainty (95 %) that is stated without another factor: JCGM 100:2008, 6.3.3.
COVERAGE_FACTOR: Final = 2.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number with everything that makes it comparable with itself next year.

    Parameters
    ----------
    name
        The same in every run, such as ``"largest noise correlation"``.
    value
        In ``unit``; None where it could not be measured.
    unit
        Empty for plain numbers.
    uncertainty
        Standard uncertainty in ``unit``; None where it is a count or a plain reading.
    coverage_factor
        k of the expanded uncertainty U = k u that its verdict rests on.
    verdict
        ``"pass"``, ``"marginal"``, ``"fail"``, ``"inconclusive"``; None where nothing was judged.
    limit
        In words; empty where there is none.
    place
        Which channel, vial or port; empty for the whole.
    algorithm, version
        What computed it.

    Raises
    ------
    ValueError
        A number is not finite, or an uncertainty negative.
    """

    name: str
    value: float | None
    unit: str = ""
    uncertainty: float | None = None
    coverage_factor: float = COVERAGE_FACTOR
    verdict: Verdict | None = None
    limit: str = ""
    place: str = ""
    algorithm: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        for what, number in (("value", self.value), ("uncertainty", self.uncertainty)):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{self.name}: a {what} that is not finite is None, got {number}")
        if self.uncertainty is not None and self.uncertainty < 0:
            raise ValueError(f"{self.name}: an uncertainty cannot be negative, got {self.uncertainty}")


def finite(value: float | None, /) -> float | None:
    """Return ``value``, or None where it is not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def quantities_of_judged(
    judged: Iterable[Judged], /, *, algorithm: str, version: str
) -> tuple[Quantity, ...]:
    """Return judged quantities as plain ones: ``"worst reflection (port 3)"`` is measured at port 3."""
    found = []
    for one in judged:
        name, _, place = one.name.partition(" (")
        expanded = finite(one.uncertainty)
        found.append(
            Quantity(
                name=name,
                value=finite(one.value),
                unit=one.unit,
                uncertainty=None if expanded is None else expanded / COVERAGE_FACTOR,
                verdict=one.verdict,
                limit=one.limit,
                place=place.removesuffix(")"),
                algorithm=algorithm,
                version=version,
            )
        )
    return tuple(found)


def quantities_of_record(record: Mapping[str, Any], /) -> tuple[Quantity, ...]:
    """Return the quantities that a run's record holds.

    Raises
    ------
    MeasurementError
        It holds none, or one that cannot be read.
    """
    listed = record.get("quantities")
    if not isinstance(listed, list) or not listed:
        raise MeasurementError(
            f"the record of {record.get('run', 'this run')} lists no quantities: an older version wrote it; "
            "`coilbench report` on the run folder computes them again"
        )
    try:
        return tuple(
            Quantity(**{**row, "verdict": Verdict(row["verdict"]) if row.get("verdict") else None})
            for row in listed
        )
    except (TypeError, ValueError) as error:
        raise MeasurementError(
            f"a quantity in the record of {record.get('run')} cannot be read: {error}"
        ) from error
