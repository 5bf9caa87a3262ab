"""The report's pictures of tuning, scattering, noise, image and concentration, as inline SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    figure, ((left, right),) = new_figure(9.6, 3.2, 1, 2, sharey=True)
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
    figure, ((left, right),) = new_figure(7.6, 3.8, 1, 2)
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
    figure, ((axes,),) = new_figure(5.2, 4.4, 1, 1)
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
            ).set_in_layout(False)  # measuring every number takes longer than drawing it
    axes.set(title=title, xticks=range(count), yticks=range(count))
    axes.set_xticklabels(ports, fontsize=6)
    axes.set_yticklabels(ports, fontsize=6)
    figure.colorbar(picture, ax=axes, label="|Sij| / dB", shrink=0.8)
    return svg_text(figure)


def correlation_figure(measured: NDArray[np.complex128], predicted: NDArray[np.complex128]) -> str:
    """Draw |rho| measured by the receivers beside the one predicted from S, shape (channel, channel) each."""
    figure, (row,) = new_figure(9.6, 3.2, 1, 3)
    pictures = ((np.abs(measured), "measured"), (np.abs(predicted), "predicted from S"))
    top = max(0.1, *(float(np.max(values - np.eye(len(values)))) for values, _ in pictures))
    channels = np.arange(len(measured))
    for axes, (values, title) in zip(row[:2], pictures, strict=True):
        picture = axes.imshow(
            np.where(np.eye(len(values)) > 0, np.nan, values), vmin=0, vmax=top, cmap="magma"
        )
        axes.set_title(f"noise correlation |ρ|, {title}", fontsize=9)
        axes.set(xlabel="channel", ylabel="channel", xticks=channels, yticks=channels)
        axes.set_xticklabels(channels + 1, fontsize=7)
        axes.set_yticklabels(channels + 1, fontsize=7)
        figure.colorbar(picture, ax=axes, shrink=0.8)
    upper = np.triu_indices(len(measured), 1)
    axes = row[2]
    axes.plot(predicted[upper].real, measured[upper].real, "o", ms=3, color=COLOURS[0], label="real")
    axes.plot(predicted[upper].imag, measured[upper].imag, "s", ms=3, color=COLOURS[1], label="imaginary")
    axes.axline((0, 0), slope=1, color="0.6", lw=0.8)
    axes.set(xlabel="predicted ρ", ylabel="measured ρ")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.25)
    return svg_text(figure)


def slices_figure(
    volume: NDArray[np.floating[Any]], voxel: float, radius: float, title: str, unit: str, maximum: float
) -> str:
    """Draw transverse slices through the middle of a volume.

    Parameters
    ----------
    volume
        Shape (z, y, x).
    voxel, radius
        Voxel size, and radius of the phantom to show, in m.
    title, unit
        What the values are.
    maximum
        Upper end of the colour scale.
    """
    figure, grid = new_figure(9.6, 3.4, 2, 5)
    depth = volume.shape[0]
    reach = min(0.85 * radius / voxel, 0.5 * depth - 1)
    chosen = np.unique(np.linspace(depth / 2 - reach, depth / 2 + reach, 10).round().astype(int))
    edge = 1.15e3 * radius
    half = volume.shape[2] * voxel * 500.0
    picture = None
    for axes, index in zip(grid.ravel(), chosen, strict=False):
        picture = axes.imshow(
            volume[index],
            vmin=0.0,
            vmax=maximum,
            cmap="inferno",
            origin="lower",
            extent=(-half, half, -half, half),
        )
        axes.set_title(f"z = {(index - depth // 2) * voxel * 1e3:.0f} mm", fontsize=7)
        axes.set(xlim=(-edge, edge), ylim=(-edge, edge), xticks=[], yticks=[])
    if picture is not None:
        figure.colorbar(picture, ax=grid, label=f"{title} / {unit}" if unit else title, shrink=0.9)
    return svg_text(figure)


def regression_figure(
    concentration: NDArray[np.float64],
    signal: NDArray[np.float64],
    signal_sd: NDArray[np.float64],
    is_reference: NDArray[np.bool_],
    line: tuple[float, float],
    names: Sequence[str],
) -> str:
    """Draw corrected vial signals over true concentrations with the regression line and its residuals.

    Parameters
    ----------
    concentration
        True concentrations in mmol/L, shape (vial,).
    signal, signal_sd
        Corrected signals and their standard uncertainties, shape (vial,).
    is_reference
        Which vials the line was fitted to, shape (vial,).
    line
        Intercept and slope (signal per mmol/L).
    names
        Names of the vials.
    """
    figure, (row,) = new_figure(9.6, 3.4, 1, 2)
    left, right = row
    intercept, slope = line
    span = np.array([0.0, float(concentration.max()) * 1.05])
    left.plot(span, intercept + slope * span, color="0.5", lw=1)
    for kind, mask, marker, colour in (
        ("reference", is_reference, "o", COLOURS[0]),
        ("check", ~is_reference, "s", COLOURS[1]),
    ):
        fitted = intercept + slope * concentration[mask]
        left.errorbar(
            concentration[mask], signal[mask], 2 * signal_sd[mask], fmt=marker, ms=5, color=colour, label=kind
        )
        right.errorbar(
            concentration[mask],
            (signal[mask] - fitted) / slope,
            2 * signal_sd[mask] / slope,
            fmt=marker,
            ms=5,
            color=colour,
        )
    for x, y, name in zip(concentration, signal, names, strict=True):
        left.annotate(name, (x, y), textcoords="offset points", xytext=(4, -9), fontsize=7)
    left.set(xlabel="true concentration / (mmol/L)", ylabel="corrected signal / background")
    right.axhline(0.0, color="0.5", lw=1)
    right.set(xlabel="true concentration / (mmol/L)", ylabel="residual / (mmol/L), bars 95 %")
    left.legend(fontsize=8)
    for axes in row:
        axes.grid(alpha=0.25)
    return svg_text(figure)
