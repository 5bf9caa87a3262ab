"""The report's pictures of tuning and scattering, as inline SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from markupsafe import escape
from matplotlib import colormaps
from matplotlib.colors import to_hex

from coilbench.report.canvas import COLOURS, new_figure, svg_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import skrf
    from numpy.typing import NDArray

#: Levels in dB at the ends of the colours of a matrix; below ``_LIGHT`` they are dark.
_LEVELS: Final = (-50, 0)
_LIGHT: Final = -20.0
#: Edge in px of a Smith chart, its grid's colour, and what its lines stand for: R and X over the reference.
_SMITH: Final = 350.0
_GRID: Final = "#c9ced6"
_NORMALISED: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
#: Edge in px of a matrix of many ports.
_MATRIX: Final = 380.0


def reflection_figure(
    before: skrf.Network, after: skrf.Network, places: Sequence[int], frequency: float, limit_db: float
) -> str:
    """Draw |S11| of one nucleus' ports before and after tuning.

    Parameters
    ----------
    before, after
        Sweeps of the whole array.
    places
        Where in the networks the channels' ports are, from 0.
    frequency
        Larmor frequency in Hz, marked.
    limit_db
        Drawn as the limit at ``frequency``.
    """
    figure, ((left, right),) = new_figure(9.6, 3.2, 1, 2, gap=(0.25, 0.0), sharey=True)
    for axes, sweep, title in ((left, before, "before"), (right, after, "after tune and match")):
        near = np.abs(sweep.f / frequency - 1.0) < 0.15
        for channel, place in enumerate(places):
            level = 20.0 * np.log10(np.maximum(np.abs(sweep.s[near, place, place]), 1e-4))
            axes.plot(
                sweep.f[near] / 1e6,
                level,
                color=COLOURS[channel % len(COLOURS)],
                lw=1,
                label=f"ch {channel + 1}",
            )
        axes.axvline(frequency / 1e6, color="0.6", lw=0.8)
        axes.plot([frequency / 1e6], [limit_db], marker="v", color="crimson", ms=7, ls="none")
        axes.set(title=title, xlabel="frequency / MHz", ylim=(-45, 1))
        axes.grid(alpha=0.25)
    left.set_ylabel("|Sii| / dB")
    right.legend(fontsize=6, ncols=2, loc="lower right")
    return svg_text(figure)


def smith_figure(before: skrf.Network, after: skrf.Network, places: Sequence[int], frequency: float) -> str:
    """Draw the reflections of one nucleus' ports on Smith charts, with a dot at the Larmor frequency.

    Drawn directly: an axes of matplotlib takes longer than all of it.
    """
    width, height = 2 * _SMITH + 20, _SMITH + 26
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="system-ui, sans-serif" font-size="12" '
            'text-anchor="middle">'
        )
    ]
    for left, sweep, title in ((0.0, before, "before"), (_SMITH + 20, after, "after")):
        # reflection to px: the unit circle fills the chart but for a margin, +j upwards
        scale = _SMITH / 2.1
        parts.append(
            f'<text x="{left + _SMITH / 2:.0f}" y="16">{title}</text>'
            f'<g transform="translate({left + _SMITH / 2:.1f} {_SMITH / 2 + 24:.1f}) '
            f'scale({scale:.2f} {-scale:.2f})" fill="none" stroke-width="{1 / scale:.5f}">'
        )
        parts += _smith_grid()
        near = np.abs(sweep.f / frequency - 1.0) < 0.05
        at = int(np.argmin(np.abs(sweep.f - frequency)))
        for channel, place in enumerate(places):
            colour = COLOURS[channel % len(COLOURS)]
            points = " ".join(f"{one.real:.4f},{one.imag:.4f}" for one in sweep.s[near, place, place])
            dot = complex(sweep.s[at, place, place])
            parts.append(
                f'<polyline points="{points}" stroke="{colour}"/>'
                f'<circle cx="{dot.real:.4f}" cy="{dot.imag:.4f}" r="{2.5 / scale:.4f}" fill="{colour}"/>'
            )
        parts.append("</g>")
    return "".join((*parts, "</svg>"))


def _smith_grid() -> Iterator[str]:
    """Yield circles of constant resistance and arcs of constant reactance of the reflection plane."""
    yield f'<g stroke="{_GRID}"><path d="M-1 0H1"/>'
    for r in (0.0, *_NORMALISED):
        yield f'<circle cx="{r / (1 + r):.4f}" cy="0" r="{1 / (1 + r):.4f}"/>'
    for x in _NORMALISED:
        rim = (1j * x - 1) / (1j * x + 1)  # where the arc leaves the unit circle; all of them end at 1
        for sign, sweep in ((1, 1), (-1, 0)):
            yield (
                f'<path d="M{rim.real:.4f} {sign * rim.imag:.4f}A{1 / x:.4f} {1 / x:.4f} 0 0 {sweep} 1 0"/>'
            )
    yield "</g>"


def scattering_figure(matrix_db: NDArray[np.float64], ports: Sequence[int], title: str) -> str:
    """Draw a matrix of |Sij| in dB, shape (port, port), with its values; ``ports`` are the ports' numbers.

    Drawn directly: hundreds of texts take matplotlib a second.
    """
    count = len(matrix_db)
    cell = min(30.0, _MATRIX / count)
    side = cell * count
    left, top = 34.0, 26.0
    size = min(9.0, 0.36 * cell)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{side + 130:.0f}" height="{side + 50:.0f}" '
            f'viewBox="0 0 {side + 130:.0f} {side + 50:.0f}" font-family="system-ui, sans-serif" '
            f'font-size="{size:.1f}" text-anchor="middle">'
        ),
        f'<text x="{left + side / 2:.1f}" y="16" font-size="12">{escape(title)}</text>',
    ]
    for row, column in np.ndindex(count, count):
        value = float(matrix_db[row, column])
        x, y = left + column * cell, top + row * cell
        ink = "#fff" if value < _LIGHT else "#000"
        parts += (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}" fill="{_shade(value)}"/>',
            f'<text x="{x + cell / 2:.1f}" y="{y + cell / 2 + size / 3:.1f}" fill="{ink}">{value:.0f}</text>',
        )
    for index, port in enumerate(ports):
        at = (index + 0.5) * cell
        parts += (
            f'<text x="{left + at:.1f}" y="{top + side + 12:.1f}">{port}</text>',
            f'<text x="{left - 10:.1f}" y="{top + at + size / 3:.1f}">{port}</text>',
        )
    parts += _colour_bar(left + side + 16, top, side)
    return "".join((*parts, "</svg>"))


def _shade(value_db: float) -> str:
    """Return the colour of a level."""
    part = (value_db - _LEVELS[0]) / (_LEVELS[1] - _LEVELS[0])
    return to_hex(colormaps["viridis"](min(max(part, 0.0), 1.0)))


def _colour_bar(x: float, top: float, side: float) -> Iterator[str]:
    """Yield a scale of colours in steps of one dB, with its labels."""
    low, high = _LEVELS
    step = side / (high - low)
    for level in range(low, high):
        y = top + (high - level - 1) * step
        fill = _shade(level + 0.5)
        yield f'<rect x="{x:.1f}" y="{y:.2f}" width="12" height="{step + 0.3:.2f}" fill="{fill}"/>'
    for level in range(low, high + 1, 10):
        y = top + (high - level) * step + 3
        yield f'<text x="{x + 28:.1f}" y="{y:.1f}" font-size="9">{level}</text>'
    middle = top + side / 2
    yield (
        f'<text x="{x + 54:.1f}" y="{middle:.1f}" font-size="10" '
        f'transform="rotate(-90 {x + 54:.1f} {middle:.1f})">|Sij| / dB</text>'
    )
