"""Smith charts as text: reflections in a terminal, for a person who turns trimmers.

Braille cells hold 2 × 4 dots and are twice as high as wide, so dots are square and circles stay round. A pure
function from reflections to styled text; who shows it decides when.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: Bit of each dot of a Braille cell, by row and column (Unicode 15, block "Braille Patterns").
_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE: Final = 0x2800
#: Terminal colours; the letter of a trace says the same without colour.
STYLES: Final = (
    "bright_blue",
    "bright_yellow",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
    "bright_red",
)
_GRID_STYLE: Final = "bright_black"
#: Normalised resistances and reactances whose circles are drawn.
_RESISTANCES: Final = (0.0, 1.0)
_REACTANCES: Final = (1.0, -1.0)
_GRID_POINTS: Final = 720


@dataclass(frozen=True, slots=True)
class Trace:
    """One port's reflection.

    Parameters
    ----------
    letter
        One character that stands at the marker.
    reflections
        Complex, in rising order of frequency; drawn as a line. May be empty.
    marker
        Reflection at the frequency that counts; None: no marker.
    """

    letter: str
    reflections: Sequence[complex]
    marker: complex | None

    def __post_init__(self) -> None:
        """Check the letter.

        Raises
        ------
        ValueError
            It is not one printable character.
        """
        if len(self.letter) != 1 or not self.letter.isprintable():
            raise ValueError(f"a trace is marked by one printable character; got {self.letter!r}")


def draw_smith(traces: Sequence[Trace], /, *, columns: int = 45, braille: bool = True) -> Text:
    """Draw reflections in a Smith chart: unit circle, real axis, r = 1 and x = ±1, traces, markers.

    Parameters
    ----------
    traces
        Later ones are drawn over earlier ones, markers over all traces. What reflects more than everything
        (noise, a wrong calibration) stays on the rim. Values that are not finite are left out.
    columns
        Width in cells, odd so that there is a middle; the height is about half of it.
    braille
        False draws ``.`` and ``*`` for terminals without Braille.

    Returns
    -------
    Lines of equal width, the last one without a line break. |Γ| = 1 touches the outermost cells; the right
    end of the middle line is the open circuit, the upper half is inductive.

    Raises
    ------
    ValueError
        The chart is smaller than 11 columns, or its width is even.
    """
    if columns < 11 or columns % 2 == 0:
        raise ValueError(f"a Smith chart needs an odd number of at least 11 columns; got {columns}")
    field = _Field(columns, braille=braille)
    field.plot(_grid(), _GRID_STYLE, is_grid=True)
    for place, trace in enumerate(traces):
        field.plot(_line(trace.reflections), STYLES[place % len(STYLES)])
    for place, trace in enumerate(traces):
        if trace.marker is not None and cmath.isfinite(trace.marker):
            field.write(_inside(trace.marker), trace.letter, f"bold reverse {STYLES[place % len(STYLES)]}")
    return field.text()


def describe_reflection(gamma: complex, /, reference_impedance: float = 50.0) -> str:
    """Return impedance, return loss and standing wave ratio of a reflection in words.

    Parameters
    ----------
    reference_impedance
        Ohm.
    """
    size = abs(gamma)
    loss = "∞" if size == 0.0 else f"{20.0 * math.log10(1.0 / size):.1f}"
    ratio = "∞" if size >= 1.0 else f"{(1.0 + size) / (1.0 - size):.2f}"
    if abs(1.0 - gamma) < 1e-9:
        impedance = "open"
    else:
        z = reference_impedance * (1.0 + gamma) / (1.0 - gamma)
        impedance = f"{z.real:.1f} {'-' if z.imag < 0.0 else '+'} j{abs(z.imag):.1f} Ω"
    return f"Z = {impedance}, return loss {loss} dB, VSWR {ratio}"


def beside(chart: Text, words: Sequence[str], /) -> Table:
    """Return a chart with lines of text on its right, to be shown live.

    Parameters
    ----------
    words
        Plain text; nothing in it is taken as markup.
    """
    page = Table.grid(padding=(0, 2))
    page.add_column(no_wrap=True)
    page.add_column(ratio=1)
    page.add_row(chart, Text("\n".join(words)))
    return page


def shows_braille(encoding: str, /) -> bool:
    """Return whether a terminal's encoding has Braille patterns; an old Windows console's has not."""
    try:
        chr(_BRAILLE).encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True


class _Field:
    """Cells of dots, letters and styles, in the coordinates of the reflection plane."""

    def __init__(self, columns: int, *, braille: bool) -> None:
        self.columns = columns
        self.across, self.down = (2, 4) if braille else (1, 1)
        self.rows = columns // 2 | 1  # a cell is twice as high as wide; odd, so that there is a middle
        self.braille = braille
        self.bits = [[0] * columns for _ in range(self.rows)]
        self.styles = [[""] * columns for _ in range(self.rows)]
        self.letters: dict[tuple[int, int], str] = {}

    def plot(self, points: Iterable[complex], style: str, *, is_grid: bool = False) -> None:
        """Set the dots nearest to some points."""
        for point in points:
            x, y = self._dot(point)
            row, column = y // self.down, x // self.across
            if self.braille:
                self.bits[row][column] |= _DOTS[y % self.down][x % self.across]
            else:
                self.bits[row][column] = max(self.bits[row][column], 1 if is_grid else 2)
            self.styles[row][column] = style

    def write(self, point: complex, letter: str, style: str) -> None:
        """Put a letter at a point, whatever is there."""
        x, y = self._dot(point)
        at = (y // self.down, x // self.across)
        self.letters[at] = letter
        self.styles[at[0]][at[1]] = style

    def text(self) -> Text:
        """Return everything as lines."""
        lines = []
        for row in range(self.rows):
            line = Text()
            for column in range(self.columns):
                line.append(self._cell(row, column), self.styles[row][column] or None)
            lines.append(line)
        return Text("\n").join(lines)

    def _cell(self, row: int, column: int) -> str:
        letter = self.letters.get((row, column))
        if letter is not None:
            return letter
        bits = self.bits[row][column]
        if self.braille:
            return chr(_BRAILLE + bits) if bits else " "
        return " .*"[bits]

    def _dot(self, point: complex) -> tuple[int, int]:
        """Return column and row of the dot nearest to a point of the unit disk; row 0 is on top."""
        width, height = self.columns * self.across - 1, self.rows * self.down - 1
        return round(0.5 * (point.real + 1.0) * width), round(0.5 * (1.0 - point.imag) * height)


def _grid() -> Iterator[complex]:
    """Yield points of the chart's circles and of its real axis."""
    turn = [cmath.exp(2j * math.pi * step / _GRID_POINTS) for step in range(_GRID_POINTS)]
    for resistance in _RESISTANCES:
        radius = 1.0 / (1.0 + resistance)
        yield from (1.0 - radius + radius * each for each in turn)
    for reactance in _REACTANCES:
        centre = complex(1.0, 1.0 / reactance)
        arc = (centre + each / abs(reactance) for each in turn)
        yield from (point for point in arc if abs(point) <= 1.0)
    yield from (complex(2.0 * step / _GRID_POINTS - 1.0, 0.0) for step in range(_GRID_POINTS + 1))


def _line(reflections: Sequence[complex]) -> Iterator[complex]:
    """Yield points close enough to each other to look like a line, all inside the unit circle."""
    before: complex | None = None
    for each in reflections:
        if not cmath.isfinite(each):
            before = None
            continue
        point = _inside(complex(each))
        if before is None:
            yield point
        else:
            steps = max(1, math.ceil(abs(point - before) / 0.01))
            start = before
            yield from (start + (point - start) * step / steps for step in range(1, steps + 1))
        before = point


def _inside(point: complex) -> complex:
    """Return a reflection, at most 1."""
    return point / max(1.0, abs(point))
