"""What every picture is drawn on: figures for pages and files, in colours that everybody tells apart."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from coilbench.base.errors import BenchFileError
from coilbench.session import storing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Okabe & Ito, "Color Universal Design" (2008), black last.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C00", "#000000")
#: Pixels per inch of pictures that are no drawings: twice a screen's 96, so that small text stays sharp.
_RESOLUTION: Final = 192


def new_figure(
    width: float,
    height: float,
    rows: int,
    columns: int,
    *,
    room: tuple[float, float, float, float] = (0.65, 0.48, 0.2, 0.32),
    gap: tuple[float, float] = (0.7, 0.6),
    **options: Any,  # noqa: ANN401 - matplotlib's own
) -> tuple[Figure, Any]:
    """Return a figure and its axes, shape (rows, columns).

    Parameters
    ----------
    width, height
        In inches.
    rows, columns
        Of axes.
    room
        Inches left of, below, right of and above all axes, for their labels. Given, not measured: measuring
        every text takes as long as drawing it.
    gap
        Inches between neighbouring columns and rows.
    options
        Of ``Figure.subplots``.
    """
    figure = Figure(figsize=(width, height))
    left, bottom, right, top = room
    across = (width - left - right - gap[0] * (columns - 1)) / columns
    down = (height - bottom - top - gap[1] * (rows - 1)) / rows
    figure.subplots_adjust(
        left=left / width,
        bottom=bottom / height,
        right=1 - right / width,
        top=1 - top / height,
        wspace=gap[0] / across,
        hspace=gap[1] / down,
    )
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def svg_text(figure: Figure, /) -> str:
    """Return a figure as an SVG element, without the XML prologue."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def pixels(figure: Figure, /) -> NDArray[np.uint8]:
    """Return a figure as RGB bytes on white, shape (row, column, 3)."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(_RESOLUTION)
    canvas.draw()
    rgb: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
    return rgb


def write_figure(path: Path, figure: Figure, /) -> None:
    """Write a figure as the kind of file its name says: ``.svg`` or ``.png``.

    Raises
    ------
    BenchFileError
        The name says neither.
    StorageError
        The disk refused.
    """
    kind = path.suffix.lower()
    if kind not in (".svg", ".png"):
        raise BenchFileError(f"{path}: a plot is written as .svg or .png")
    with storing(path):
        if kind == ".svg":
            FigureCanvasSVG(figure)
            figure.savefig(path, format="svg", metadata={"Date": None})
        else:
            FigureCanvasAgg(figure)
            figure.savefig(path, format="png", dpi=_RESOLUTION)
