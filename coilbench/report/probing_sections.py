"""What reports say of Q with and without the load, active detuning, coupling and preamplifier decoupling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from coilbench.report import coil_figures
from coilbench.report.page import Rows, Section
from coils.quality import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coilbench.decoupling_advice import CouplingAdvice
    from coilbench.procedures.decouple import DecouplingResult
    from coilbench.procedures.detune import DetuningResult
    from coilbench.procedures.qfactor import ChannelQ, QResult
    from coils.decoupling.measures import Decibels


def loading_section(found: QResult, /) -> Section:
    """Return Q without and with the load of every channel, and the share of SNR that leaves."""
    headings = ("channel", "nucleus", "QU", "QL", "QU/QL", "√(1-QL/QU)", "coil noise figure / dB", "remark")
    rows = tuple(_loading_row(row) for row in found.channels)
    text = (
        f"By {'two probes' if found.method == 'probes' else 'reflection'}, all other channels detuned; "
        "± 95 %. √(1-QL/QU) is the SNR over that of the same coil without losses of its own."
    )
    return Section("Q and the sample's share of the noise", text, (), (Rows(headings, rows),))


def _loading_row(row: ChannelQ) -> tuple[str, ...]:
    loading = row.loading
    if loading is None:
        return (str(row.channel), row.nucleus, "", "", "", "", "", row.refusal)
    readings = (
        loading.q_unloaded,
        loading.q_loaded,
        loading.ratio,
        loading.snr_share,
        loading.noise_figure_db,
    )
    return (str(row.channel), row.nucleus, *(plus_minus(reading) for reading in readings), "")


def detuning_sections(found: DetuningResult, limit_db: float, /) -> tuple[Section, ...]:
    """Return depth and speed of active detuning."""
    nuclei = dict.fromkeys(row.nucleus for row in found.channels)
    drawings = tuple(
        (f"{nucleus}: depth of active detuning", _depth_figure(found.depths(nucleus), "depth / dB", limit_db))
        for nucleus in nuclei
    )
    rows = tuple((str(row.channel), row.nucleus, str(row.depth)) for row in found.channels)
    text = "Two probes over each channel, all others detuned; the line is the limit. Intervals are 95 %."
    depth = Section("Active detuning", text, drawings, (Rows(("channel", "nucleus", "depth"), rows),))
    if not found.switching:
        return (depth,)
    times = tuple(
        (
            str(row.channel),
            row.nucleus,
            f"{row.off.settling * 1e6:.1f}",
            f"{row.on.settling * 1e6:.1f}",
        )
        for row in found.switching
    )
    headings = ("channel", "nucleus", "detuned after / µs", "tuned again after / µs")
    text = "From the edge of the bias current until the probes' transmission stays where it ends."
    return (depth, Section("Switching", text, (), (Rows(headings, times),)))


def coupling_section(advice: CouplingAdvice, /) -> Section:
    """Return what every pair's coupling costs, and what to do about it."""
    rows = tuple(
        (
            f"{cost.channels[0]}-{cost.channels[1]}",
            cost.nucleus,
            f"{cost.s_db:.1f}",
            f"{cost.kq:{'+' if cost.sign_known else ''}.3f} ± {2.0 * cost.kq_uncertainty:.3f}",
            f"{100.0 * max(cost.snr_loss, 0.0):.2f}",
        )
        for cost in advice.costs
        if math.isfinite(cost.s_db)
    )
    headings = ("channels", "nucleus", "|Sij| / dB", "kQ", "SNR lost by it / %")
    text = "What every pair costs the worse of its channels; the costliest first. What to do stands above."
    return Section("Coupling", text, (), (Rows(headings, rows),))


def preamplifier_sections(found: DecouplingResult, limit_db: float, /) -> tuple[Section, ...]:
    """Return preamplifier decoupling and how to change the cables; nothing where it was not measured."""
    if not found.preamplifiers:
        return ()
    nuclei = dict.fromkeys(row.nucleus for row in found.preamplifiers)
    drawings = tuple(
        (
            f"{nucleus}: preamplifier decoupling",
            _depth_figure(found.decoupling(nucleus), "decoupling / dB", limit_db),
        )
        for nucleus in nuclei
    )
    rows = tuple(
        (
            str(row.channel),
            row.nucleus,
            str(row.decoupling),
            "" if row.advice is None else str(row.advice),
        )
        for row in found.preamplifiers
    )
    table = Rows(("channel", "nucleus", "decoupling", "phase"), rows)
    text = "The probes' reading with 50 Ω over that with the preamplifier; the phase of its cable is tuned."
    return (Section("Preamplifier decoupling", text, drawings, (table,)),)


def plus_minus(reading: Reading, /) -> str:
    """Return a reading with two figures of its expanded uncertainty."""
    if not reading.uncertainty:
        return f"{reading.value:.4g}"
    decimals = min(6, max(0, 1 - math.floor(math.log10(reading.uncertainty))))
    return f"{reading.value:.{decimals}f} ± {reading.uncertainty:.{decimals}f}"


def _depth_figure(depths: Mapping[int, Decibels], label: str, limit_db: float) -> str:
    readings: Sequence[Reading | None] = [
        _drawn(depths.get(channel)) for channel in range(1, max(depths, default=0) + 1)
    ]
    return coil_figures.readings_figure(readings, label, limit_db)


def _drawn(depth: Decibels | None) -> Reading | None:
    """Return what is drawn of a depth: of a bound its known end."""
    if depth is None:
        return None
    if depth.is_bound:
        end = depth.low_db if math.isfinite(depth.low_db) else depth.high_db
        return Reading(end) if math.isfinite(end) else None
    return Reading(depth.value_db, max(depth.value_db - depth.low_db, depth.high_db - depth.value_db))
