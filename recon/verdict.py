"""Pass, fail or inconclusive: a value is judged together with its uncertainty.

ISO 14253-1: it passes only if the whole interval value ± U lies within the limits, fails only if the whole
interval lies outside, and is inconclusive if a limit lies within the interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Verdict(StrEnum):
    """What can be said about a value and its limits."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Limit:
    """An interval that a quantity must lie in.

    Parameters
    ----------
    low, high
        None: unlimited on that side.
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError("a limit needs a low or a high end")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the low end {self.low} lies above the high end {self.high}")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A value, its limit and the verdict.

    Parameters
    ----------
    name
        Of the quantity.
    value, expanded_uncertainty
        In ``unit``; the expanded uncertainty U covers 95 %.
    limit
        In ``unit``.
    unit
        For people.
    verdict
        What follows.
    """

    name: str
    value: float
    expanded_uncertainty: float
    limit: Limit
    unit: str
    verdict: Verdict


def judge(name: str, value: float, expanded_uncertainty: float, limit: Limit, *, unit: str = "") -> Judgement:
    """Judge a value with its expanded uncertainty U against a limit.

    Raises
    ------
    ValueError
        The uncertainty is negative. A value or uncertainty that is not a number is inconclusive.
    """
    if expanded_uncertainty < 0:
        raise ValueError(f"{name}: an expanded uncertainty cannot be negative, got {expanded_uncertainty}")
    low = -math.inf if limit.low is None else limit.low
    high = math.inf if limit.high is None else limit.high
    bottom, top = value - expanded_uncertainty, value + expanded_uncertainty
    if low <= bottom and top <= high:
        verdict = Verdict.PASS
    elif top < low or bottom > high:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.INCONCLUSIVE
    return Judgement(name, value, expanded_uncertainty, limit, unit, verdict)


def overall(judgements: Iterable[Judgement]) -> Verdict:
    """Return the verdict on all together: one failure fails, nothing judged is inconclusive."""
    verdicts = [judgement.verdict for judgement in judgements]
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    if not verdicts or Verdict.INCONCLUSIVE in verdicts:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS
