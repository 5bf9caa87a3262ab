"""The chapter of a report on quality control: channels, uniformity, streaks, geometry, sharpness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coilbench.report.canvas import COLOURS, new_figure
from coilbench.report.page import Rows, Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from coilbench.procedures.qc import QualityControl
    from coilbench.quantities import Quantity
    from recon.fingerprint import ArrayFingerprint


def quality_section(quality: QualityControl, baseline: str | None, /) -> Section:
    """Return what quality control says: statements first, faulty channels with their cause before all.

    Parameters
    ----------
    quality
        Of the scan.
    baseline
        Name of the run it was held against; None: there was none.
    """
    against = (
        f"Channels are held against run {baseline}."
        if baseline is not None
        else "There is no baseline yet; `coilbench qc` on a later run compares with this one."
    )
    findings = Rows(("what was found",), tuple((line,) for line in quality.statements))
    table = quantity_rows(quality.quantities)
    drawing = (
        "Each channel's own noise and signal, relative to the median channel",
        channel_levels_figure(quality.fingerprint),
    )
    tables = (findings, table) if quality.statements else (table,)
    return Section("Quality control", against, (drawing,), tables)


def quantity_rows(quantities: Sequence[Quantity], /) -> Rows:
    """Return quantities as a table: place, value with its standard uncertainty, limit and verdict."""
    rows = tuple(_row(one) for one in quantities)
    return Rows(("quantity", "where", "value", "u", "limit", "verdict"), rows)


def channel_levels_figure(fingerprint: ArrayFingerprint, /) -> Figure:
    """Draw noise and signal level of every channel, each relative to the median of all."""
    figure, ((left, right),) = new_figure(9.6, 2.3, 1, 2, room=(0.85, 0.48, 0.2, 0.12), gap=(0.85, 0.0))
    numbers = np.arange(1, fingerprint.channels + 1)
    channels = [fingerprint.channel(int(number)) for number in numbers]
    for axes, levels, colour, label in (
        (left, [one.noise_level_db for one in channels], COLOURS[0], "noise"),
        (right, [one.signal_level_db for one in channels], COLOURS[2], "signal"),
    ):
        values = np.asarray(levels, dtype=np.float64)
        alive = np.isfinite(values)
        middle = float(np.median(values[alive])) if alive.any() else 0.0
        axes.bar(numbers[alive], values[alive] - middle, width=0.6, color=colour)
        for number in numbers[~alive]:
            axes.annotate("dead", (number, 0.0), ha="center", fontsize=8)
        axes.axhline(0.0, color="0.5", lw=0.8)
        axes.set(xlabel="channel", ylabel=f"{label} / dB", xticks=numbers[:: 1 + len(numbers) // 17])
        axes.grid(alpha=0.25, axis="y")
    return figure


def _row(one: Quantity) -> tuple[str, ...]:
    value = "not measured" if one.value is None else f"{one.value:.4g} {one.unit}".strip()
    spread = "" if one.uncertainty is None else f"{one.uncertainty:.2g}"
    return one.name, one.place, value, spread, one.limit, "" if one.verdict is None else str(one.verdict)
