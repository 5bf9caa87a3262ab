"""How a run ended: judged quantities, the verdict, and the exit code that scripts see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coilbench.base.verdict import Judged, Verdict, overall

if TYPE_CHECKING:
    from pathlib import Path

#: Exit codes of the command line; 3 (could not measure) belongs to errors. Marginal is a pass with a warning.
EXIT_CODES: Final = {Verdict.PASS: 0, Verdict.MARGINAL: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 2}


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
