"""How a run ended: judged quantities, the verdict, and the exit code that scripts see."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Verdict(StrEnum):
    """What a quantity, or a whole run, is judged to be."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


#: Exit codes of the command line; 3 (could not measure) belongs to errors.
EXIT_CODES: Final = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 2}


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
        Both limits or none are given.
    """
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
    """Return fail if anything failed, else inconclusive if anything was, else pass."""
    verdicts = {quantity.verdict for quantity in judged}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run.

    Parameters
    ----------
    folder
        The run folder; it holds record.json and report.html.
    judged
        Every judged quantity.
    truths
        Checks of the numbers against each other, as lines for a person.
    """

    folder: Path
    judged: tuple[Judged, ...]
    truths: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """The run's verdict."""
        return overall(self.judged)

    @property
    def exit_code(self) -> int:
        """What the command line returns."""
        return EXIT_CODES[self.verdict]

    @property
    def report(self) -> Path:
        """The report's path."""
        return self.folder / "report.html"
