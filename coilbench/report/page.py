"""The report page: sections of pictures and tables in one HTML file that loads nothing.

Every text is escaped by the template engine; pictures are our own SVG.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from coilbench.base.verdict import Judged, Verdict


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: headings, and rows of texts as wide as the headings."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One chapter of the report.

    Parameters
    ----------
    title, text
        Heading and a sentence or two on how to read what follows.
    figures
        Captions with what they stand under: figures, or SVG elements of our own making.
    tables
        Tables, below the figures.
    """

    title: str
    text: str
    figures: tuple[tuple[str, Figure | str], ...] = ()
    tables: tuple[Rows, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Everything the report shows.

    Parameters
    ----------
    title
        Name of the bench and of the run.
    facts
        Label and value pairs for the head of the page.
    verdict, judged
        The run's verdict and what it rests on.
    truths
        Checks of the numbers against each other.
    sections
        In reading order.
    lines_title
        Heading of ``truths``.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    verdict: Verdict
    judged: Sequence[Judged]
    truths: Sequence[str]
    sections: Sequence[Section]
    lines_title: str = "Numbers against each other"


def render(page: Page, /) -> str:
    """Return the page as one self-contained HTML document."""
    templates = Environment(
        loader=PackageLoader("coilbench", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["svg"] = _svg
    templates.filters["drawing"] = Markup  # only figures pass here, and figures are our own SVG
    return templates.get_template("report.html.j2").render(page=page)


def _svg(figure: Figure | str) -> str:
    from coilbench.report.canvas import svg_text

    return figure if isinstance(figure, str) else svg_text(figure)
