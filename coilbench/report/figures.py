"""The report's pictures of tuning and scattering, as inline SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skrf.plotting import smith

from coilbench.report.canvas import COLOURS, new_figure, svg_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import skrf
    from numpy.typing import NDArray


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
    """Draw the reflections of one nucleus' ports on Smith charts, with a dot at the Larmor frequency."""
    figure, ((left, right),) = new_figure(7.6, 3.8, 1, 2, room=(0.1, 0.1, 0.1, 0.3), gap=(0.2, 0.0))
    for axes, sweep, title in ((left, before, "before"), (right, after, "after")):
        smith(ax=axes, chart_type="z", draw_labels=False)
        near = np.abs(sweep.f / frequency - 1.0) < 0.05
        for channel, place in enumerate(places):
            trace = sweep.s[near, place, place]
            colour = COLOURS[channel % len(COLOURS)]
            axes.plot(np.real(trace), np.imag(trace), color=colour, lw=0.8)
            at = complex(sweep.s[int(np.argmin(np.abs(sweep.f - frequency))), place, place])
            axes.plot([at.real], [at.imag], marker="o", ms=4, color=colour)
        axes.set(title=title, xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
        axes.set_axis_off()
    return svg_text(figure)


def scattering_figure(matrix_db: NDArray[np.float64], ports: Sequence[int], title: str) -> str:
    """Draw a matrix of |Sij| in dB, shape (port, port), with its values; ``ports`` are the ports' numbers."""
    figure, ((axes,),) = new_figure(5.6, 4.4, 1, 1, room=(0.45, 0.35, 0.75, 0.32))
    picture = axes.imshow(matrix_db, vmin=-50, vmax=0, cmap="viridis")
    count = len(matrix_db)
    for row in range(count):
        for column in range(count):
            value = matrix_db[row, column]
            axes.text(
                column,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=5,
                color="w" if value < -20 else "k",
            )
    axes.set(title=title, xticks=range(count), yticks=range(count))
    axes.set_xticklabels(ports, fontsize=6)
    axes.set_yticklabels(ports, fontsize=6)
    figure.colorbar(picture, ax=axes, label="|Sij| / dB", shrink=0.8)
    return svg_text(figure)
