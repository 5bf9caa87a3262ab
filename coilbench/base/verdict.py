"""Judge a quantity against its limit with its uncertainty (ISO 14253-1); one way for coils and images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Verdict(StrEnum):
    """What a quantity, or a whole run, is judged to be."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Judged:
    """One quantity, its expanded uncertainty, its limit and its verdict.

    Parameters
    ----------
    name, unit
        As the verdict table shows them.
    value
        In ``unit``.
    uncertainty
        Expanded (95 %), in ``unit``; None where the quantity is a count or a plain reading.
    limit
        The limit in words, such as ``"<= -20 dB"``.
    verdict
        Inconclusive where the limit lies within the uncertainty (ISO 14253-1).
    """

    name: str
    value: float
    unit: str
    uncertainty: float | None
    limit: str
    verdict: Verdict


def judge(
    name: str,
    value: float,
    unit: str,
    /,
    *,
    uncertainty: float | None = None,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Judged:
    """Judge a quantity against one limit; a value that is not a number fails.

    Parameters
    ----------
    uncertainty
        Expanded (95 %), in ``unit``.
    at_most, at_least
        Exactly one of them, in ``unit``.

    Raises
    ------
    ValueError
        Both limits or none are given, or the uncertainty is negative.
    """
    if uncertainty is not None and uncertainty < 0:
        raise ValueError(f"{name}: an expanded uncertainty cannot be negative, got {uncertainty}")
    if (at_most is None) == (at_least is None):
        raise ValueError("a judged quantity has one limit: at_most or at_least")
    if at_most is not None:
        room, limit = at_most - value, f"≤ {at_most:g} {unit}".strip()
    else:
        room, limit = value - (at_least or 0.0), f"≥ {at_least:g} {unit}".strip()
    guard = uncertainty or 0.0
    if room >= guard:
        verdict = Verdict.PASS
    elif room > -guard:
        verdict = Verdict.INCONCLUSIVE
    else:
        verdict = Verdict.FAIL
    return Judged(name, value, unit, uncertainty, limit, verdict)


def overall(judged: Iterable[Judged], /) -> Verdict:
    """Return fail if anything failed, else inconclusive if anything was or nothing was judged, else pass."""
    verdicts = {quantity.verdict for quantity in judged} or {Verdict.INCONCLUSIVE}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS
