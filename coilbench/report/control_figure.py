"""Control charts of many quantities as one drawing: values, limits, alarms, resets. Drawn directly.

An alarm is a diamond with its rule's name, not a colour alone; limits that rest on too few runs are dashed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import escape

from coilbench.report.canvas import COLOURS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from recon.trend import ControlChart

#: Columns, and width and height of one chart, in px.
_COLUMNS: Final = 2
_WIDTH: Final = 480
_HEIGHT: Final = 150
#: Where in it the curve is: left, right, top, bottom.
_FRAME: Final = (58, 470, 24, 126)
_RED: Final = "#B3261E"
_GREY: Final = "#9aa2ae"
_BAND: Final = "#e8f1f8"
#: More points than this are drawn without their dots.
_MOST_DOTS: Final = 200


@dataclass(frozen=True, slots=True)
class ControlLine:
    """A quantity over the runs.

    Parameters
    ----------
    title
        Name, place and unit.
    times
        UTC, rising.
    uncertainties
        Expanded (95 %); None where a value has none.
    chart
        Its values, judged.
    resets
        Indices of the first runs after a change made on purpose.
    """

    title: str
    times: tuple[datetime, ...]
    uncertainties: tuple[float | None, ...]
    chart: ControlChart
    resets: tuple[int, ...] = ()


def control_figure(lines: Sequence[ControlLine], /) -> str:
    """Draw control charts, a small picture each; bars 95 %.

    Raises
    ------
    ValueError
        There is nothing to draw.
    """
    if not lines:
        raise ValueError("there is no chart to draw")
    columns = min(_COLUMNS, len(lines))
    width, height = columns * _WIDTH, -(-len(lines) // columns) * _HEIGHT
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="9" '
            'fill="#1c1f24">'
        )
    ]
    for place, line in enumerate(lines):
        row, column = divmod(place, columns)
        parts.append(f'<g transform="translate({column * _WIDTH} {row * _HEIGHT})">')
        parts += _Picture(line).elements()
        parts.append("</g>")
    return "".join((*parts, "</svg>"))


class _Picture:
    """One chart: where a time and a value lie in it, and its elements."""

    def __init__(self, line: ControlLine) -> None:
        self._line = line
        self._span = (line.times[-1] - line.times[0]).total_seconds()
        ends = [
            value + sign * (spread or 0.0)
            for value, spread in zip(self._values(), line.uncertainties, strict=True)
            for sign in (-1, 1)
        ]
        low, high = min(ends), max(ends)
        if line.chart.baseline is not None:  # limits of few runs may lie far outside; they must not flatten
            lower, upper = line.chart.baseline.limits
            low, high = max(min(low, lower), 2 * low - high), min(max(high, upper), 2 * high - low)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        self._low, self._high = low - room, high + room

    def elements(self) -> Iterator[str]:
        left, right, top, bottom = _FRAME
        line = self._line
        yield f'<text x="{left}" y="14" font-weight="600">{escape(line.title)}</text>'
        yield from self._band()
        yield f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="{_GREY}"/>'
        for value, at in ((self._high, top), (self._low, bottom)):
            yield f'<text x="{left - 4}" y="{at + 3}" text-anchor="end">{value:.4g}</text>'
        for index in line.resets:
            x = self._x(index) - 3
            yield f'<path d="M{x:.1f} {top}V{bottom}" stroke="{COLOURS[4]}" stroke-dasharray="2 2"/>'
            yield f'<text x="{x + 2:.1f}" y="{top + 8}" fill="{COLOURS[4]}">reset</text>'
        yield from self._curve()
        first, last = line.times[0], line.times[-1]
        yield f'<text x="{left}" y="{bottom + 14}">{first:%Y-%m-%d}</text>'
        if self._span:
            end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d}"
            yield f'<text x="{right}" y="{bottom + 14}" text-anchor="end">{end}</text>'

    def _band(self) -> Iterator[str]:
        """Yield limits and mean of the present regime."""
        line = self._line
        baseline = line.chart.baseline
        if baseline is None:
            return
        left, (_, right, top, bottom) = self._x(line.chart.begins) - 6, _FRAME
        low, high = (min(max(self._y(limit), top), bottom) for limit in baseline.limits)
        dashes = ' stroke-dasharray="5 3"' if line.chart.is_provisional else ""
        yield (
            f'<rect x="{left:.1f}" y="{high:.1f}" width="{right - left:.1f}" height="{low - high:.1f}" '
            f'fill="{_BAND}"/>'
        )
        for y in (y for y in (low, high) if top < y < bottom):
            yield f'<path d="M{left:.1f} {y:.1f}H{right}" stroke="{_RED}"{dashes}/>'
        yield f'<path d="M{left:.1f} {self._y(baseline.mean):.1f}H{right}" stroke="{_GREY}"{dashes}/>'

    def _curve(self) -> Iterator[str]:
        line, blue = self._line, COLOURS[0]
        places = [(self._x(index), self._y(value)) for index, value in enumerate(self._values())]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{points}" fill="none" stroke="{blue}"/>'
        for (x, y), value, spread, point in zip(
            places, self._values(), line.uncertainties, line.chart.points, strict=True
        ):
            if spread:
                ends = self._y(value - spread), self._y(value + spread)
                yield f'<path d="M{x:.1f} {ends[0]:.1f}V{ends[1]:.1f}" stroke="{blue}" stroke-opacity=".5"/>'
            if point.is_alarm:
                said = ", ".join(point.rules)
                yield (
                    f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z" fill="{_RED}">'
                    f"<title>{escape(said)}</title></path>"
                )
            elif len(places) <= _MOST_DOTS:
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{blue}"/>'

    def _values(self) -> list[float]:
        return [point.value for point in self._line.chart.points]

    def _x(self, index: int) -> float:
        left, right = _FRAME[0] + 10, _FRAME[1] - 10
        seconds = (self._line.times[index] - self._line.times[0]).total_seconds()
        return left + (seconds / self._span if self._span else 0.5) * (right - left)

    def _y(self, value: float) -> float:
        _, _, top, bottom = _FRAME
        return bottom - (value - self._low) / (self._high - self._low) * (bottom - top)
