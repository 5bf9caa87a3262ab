"""Numbers over the visits of a coil as small pictures: drawn directly, since dozens of axes take seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import escape

from coilbench.report.canvas import COLOURS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from coils.quality import Reading

#: Columns, and width and height of one picture, in px.
_COLUMNS: Final = 4
_WIDTH: Final = 240
_HEIGHT: Final = 120
#: Where in it the curve is: left, right, top, bottom.
_FRAME: Final = (52, 230, 24, 96)


@dataclass(frozen=True, slots=True)
class TrendLine:
    """One number over the visits of a coil.

    Parameters
    ----------
    title
        Name and unit.
    times
        UTC, rising.
    readings
        One for each time, finite.
    """

    title: str
    times: tuple[datetime, ...]
    readings: tuple[Reading, ...]


def trend_figure(lines: Sequence[TrendLine], /) -> str:
    """Draw numbers over the visits of a coil, a small picture each, bars 95 %."""
    columns = min(_COLUMNS, len(lines))
    rows = -(-len(lines) // columns)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * _WIDTH}" height="{rows * _HEIGHT}" '
            f'viewBox="0 0 {columns * _WIDTH} {rows * _HEIGHT}" font-family="system-ui, sans-serif" '
            'font-size="9" fill="#1c1f24">'
        )
    ]
    for place, line in enumerate(lines):
        row, column = divmod(place, columns)
        parts.append(f'<g transform="translate({column * _WIDTH} {row * _HEIGHT})">')
        parts += _picture(line)
        parts.append("</g>")
    return "".join((*parts, "</svg>"))


def _picture(line: TrendLine) -> Iterator[str]:
    """Yield one picture's elements."""
    left, right, top, bottom = _FRAME
    low, high = _range(line.readings)
    span = (line.times[-1] - line.times[0]).total_seconds()
    points = []
    yield f'<text x="{left}" y="14" font-weight="600">{escape(line.title)}</text>'
    yield f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#9aa2ae"/>'
    for value, at in ((high, top), (low, bottom)):
        yield f'<text x="{left - 4}" y="{at + 3}" text-anchor="end">{value:.4g}</text>'
    for time, reading in zip(line.times, line.readings, strict=True):
        part = (time - line.times[0]).total_seconds() / span if span else 0.5
        x = left + 8 + part * (right - left - 16)
        y, *ends = (
            bottom - (value - low) / (high - low) * (bottom - top)
            for value in (
                reading.value,
                reading.value - (reading.uncertainty or 0.0),
                reading.value + (reading.uncertainty or 0.0),
            )
        )
        points.append(f"{x:.1f},{y:.1f}")
        yield f'<path d="M{x:.1f} {ends[0]:.1f}V{ends[1]:.1f}" stroke="{COLOURS[0]}"/>'
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{COLOURS[0]}"/>'
    yield f'<polyline points="{" ".join(points)}" fill="none" stroke="{COLOURS[0]}"/>'
    first, last = line.times[0], line.times[-1]
    yield f'<text x="{left}" y="{bottom + 14}">{first:%Y-%m-%d}</text>'
    if span:
        end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d}"
        yield f'<text x="{right}" y="{bottom + 14}" text-anchor="end">{end}</text>'


def _range(readings: Sequence[Reading]) -> tuple[float, float]:
    """Return the ends of the scale: all intervals, and some room."""
    low = min(reading.value - (reading.uncertainty or 0.0) for reading in readings)
    high = max(reading.value + (reading.uncertainty or 0.0) for reading in readings)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room
