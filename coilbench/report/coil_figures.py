"""Pictures of one coil array: a sweep of its ports, readings against their limit, predicted correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skrf.plotting import smith

from coilbench.report.canvas import COLOURS, new_figure, svg_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import skrf
    from numpy.typing import NDArray

    from coils.quality import Reading


def sweep_figure(
    network: skrf.Network, places: Sequence[int], frequency: float, limit_db: float | None
) -> str:
    """Draw the reflections of one nucleus' ports over frequency and in a Smith chart.

    Parameters
    ----------
    network
        Sweep of the whole array.
    places
        Where in the network the channels' ports are, from 0.
    frequency
        Larmor frequency in Hz, marked.
    limit_db
        Drawn as the limit at ``frequency``; None: no limit.
    """
    figure, ((left, right),) = new_figure(9.6, 4.0, 1, 2, gap=(0.3, 0.0), width_ratios=(1.25, 1.0))
    near = np.abs(network.f / frequency - 1.0) < 0.3
    centre = int(np.argmin(np.abs(network.f - frequency)))
    smith(ax=right, chart_type="z", draw_labels=False)
    for channel, place in enumerate(places):
        trace = network.s[near, place, place]
        colour = COLOURS[channel % len(COLOURS)]
        level = 20.0 * np.log10(np.maximum(np.abs(trace), 1e-4))
        left.plot(network.f[near] / 1e6, level, color=colour, lw=1, label=f"ch {channel + 1}")
        right.plot(np.real(trace), np.imag(trace), color=colour, lw=0.8)
        at = complex(network.s[centre, place, place])
        right.plot([at.real], [at.imag], marker="o", ms=4, color=colour)
    left.axvline(frequency / 1e6, color="0.6", lw=0.8)
    if limit_db is not None:
        left.plot([frequency / 1e6], [limit_db], marker="v", color="crimson", ms=7, ls="none")
    left.set(xlabel="frequency / MHz", ylabel="|Sii| / dB", ylim=(-45, 1))
    left.grid(alpha=0.25)
    left.legend(fontsize=6, ncols=2, loc="lower right")
    right.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
    right.set_axis_off()
    return svg_text(figure)


def readings_figure(readings: Sequence[Reading | None], label: str, at_least: float | None) -> str:
    """Draw one reading for each channel with its 95 % interval, and the smallest value allowed.

    Parameters
    ----------
    readings
        Of channel 1, 2, ...; None leaves the place empty.
    label
        Quantity and unit.
    at_least
        Drawn as a line; None: no limit.
    """
    figure, ((axes,),) = new_figure(6.4, 2.8, 1, 1)
    channels = [channel for channel, reading in enumerate(readings, start=1) if reading is not None]
    present = [reading for reading in readings if reading is not None]
    axes.bar(channels, [reading.value for reading in present], width=0.6, color=COLOURS[5])
    axes.errorbar(
        channels,
        [reading.value for reading in present],
        [reading.uncertainty or 0.0 for reading in present],
        fmt="none",
        ecolor="k",
        capsize=3,
    )
    if at_least is not None:
        axes.axhline(at_least, color="crimson", lw=1)
    axes.set(xlabel="channel", ylabel=label, xticks=range(1, len(readings) + 1))
    axes.set_xlim(0.4, len(readings) + 0.6)
    axes.grid(alpha=0.25, axis="y")
    return svg_text(figure)


def predicted_correlation_figure(rho: NDArray[np.complex128]) -> str:
    """Draw |rho| of the noise predicted from S, shape (channel, channel), with its values."""
    size = np.abs(rho)
    count = len(size)
    figure, ((axes,),) = new_figure(4.8, 3.8, 1, 1, room=(0.55, 0.48, 0.75, 0.15))
    off = np.where(np.eye(count) > 0, np.nan, size)
    top = max(0.1, float(np.nanmax(off))) if count > 1 else 1.0
    picture = axes.imshow(off, vmin=0.0, vmax=top, cmap="magma")
    for row, column in np.argwhere(np.isfinite(off)):
        value = off[row, column]
        axes.text(
            column,
            row,
            f"{value:.2f}",
            ha="center",
            va="center",
            fontsize=6,
            color="w" if value < 0.6 * top else "k",
        )
    axes.set(xlabel="channel", ylabel="channel", xticks=range(count), yticks=range(count))
    axes.set_xticklabels(range(1, count + 1), fontsize=7)
    axes.set_yticklabels(range(1, count + 1), fontsize=7)
    figure.colorbar(picture, ax=axes, label="|ρ|", shrink=0.8)
    return svg_text(figure)
