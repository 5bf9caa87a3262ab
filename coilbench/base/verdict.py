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
    MARGINAL = "marginal"
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
        Inconclusive where the limit lies within the uncertainty (ISO 14253-1); marginal where the limit is
        kept but not the warning before it.
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
    warn_at: float | None = None,
) -> Judged:
    """Judge a quantity against one limit; a value that is not a number fails.

    Parameters
    ----------
    uncertainty
        Expanded (95 %), in ``unit``.
    at_most, at_least
        Exactly one of them, in ``unit``.
    warn_at
        In ``unit``, on the good side of the limit: what keeps the limit but is itself beyond this is
        marginal.

    Raises
    ------
    ValueError
        Both limits or none are given, the warning comes after the limit, or the uncertainty is negative.
    """
    if uncertainty is not None and uncertainty < 0:
        raise ValueError(f"{name}: an expanded uncertainty cannot be negative, got {uncertainty}")
    if (at_most is None) == (at_least is None):
        raise ValueError("a judged quantity has one limit: at_most or at_least")
    if at_most is not None:
        room, limit = at_most - value, f"≤ {at_most:g} {unit}".strip()
    else:
        room, limit = value - (at_least or 0.0), f"≥ {at_least:g} {unit}".strip()
    warning = None if warn_at is None else (warn_at - value if at_least is None else value - warn_at)
    if warning is not None and warning > room:
        raise ValueError(f"{name}: a warning at {warn_at} comes after the limit {limit}")
    guard = uncertainty or 0.0
    if room >= guard:
        verdict = Verdict.PASS if warning is None or warning >= 0 else Verdict.MARGINAL
    elif room > -guard:
        verdict = Verdict.INCONCLUSIVE
    else:
        verdict = Verdict.FAIL
    return Judged(name, value, unit, uncertainty, limit, verdict)


def overall(judged: Iterable[Judged], /) -> Verdict:
    """Return the worst verdict: fail, inconclusive (or nothing judged), marginal, pass."""
    verdicts = {quantity.verdict for quantity in judged} or {Verdict.INCONCLUSIVE}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.MARGINAL):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS
