"""The report on data that no run of ours made: quality control, and sodium where the phantom is described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coilbench.base.verdict import Judged, Verdict, overall
from coilbench.session import software, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.foreign_qc import ForeignQuality
    from coilbench.foreign_sodium import ForeignSodium


@dataclass(frozen=True, slots=True, eq=False)
class ForeignReport:
    """What is reported of foreign data.

    Parameters
    ----------
    quality
        Their quality control.
    sodium
        Their sodium; None where nobody described the phantom.
    """

    quality: ForeignQuality
    sodium: ForeignSodium | None

    @property
    def judged(self) -> tuple[Judged, ...]:
        """Everything that has a limit."""
        return (*self.quality.judged, *(() if self.sodium is None else self.sodium.judged))

    @property
    def verdict(self) -> Verdict:
        """The worst of all; inconclusive where nothing had a limit."""
        return overall(self.judged)

    def lines(self) -> tuple[str, ...]:
        """Return what stands under the table."""
        return (*self.quality.lines(), *(() if self.sodium is None else self.sodium.lines()))

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            **self.quality.values(),
            "verdict": str(self.verdict),
            "judged": list(self.judged),
            "sodium": None if self.sodium is None else self.sodium.values(),
        }

    def write(self, data: Path, out: Path | None = None, /) -> Path:
        """Write the page, by default beside the data as ``NAME-report.html``; return its path.

        Raises
        ------
        StorageError
            The disk refused.
        """
        from coilbench.report.foreign_page import foreign_page

        stem = data.name if data.is_dir() else data.name.split(".")[0]
        page = foreign_page(self, f"coilbench {software()['coilbench']}")
        return write_atomically(out or data.with_name(f"{stem}-report.html"), page)
