"""What reports and records say of an array: tuning, S-matrix, Q. Shared by whole runs and single commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coilbench.base.units import engineering
from coilbench.report import coil_figures, figures
from coilbench.report.page import Rows, Section

if TYPE_CHECKING:
    from coilbench.procedures.characterise import ArrayCharacter, NucleusCharacter
    from coilbench.procedures.tune import TuneResult


def tuning_values(tuned: TuneResult, /) -> dict[str, Any]:
    """Return a tuning as plain values with units in their names."""
    return {
        "reached": tuned.reached,
        "sweeps": tuned.sweeps,
        "moves": tuned.moves,
        "failed_sweeps": tuned.failed_sweeps,
        "advice": [str(advice) for advice in tuned.advice],
        "suspects": [f"{suspect.axis} {suspect.text}" for suspect in tuned.suspects],
        "ports": list(tuned.ports),
        "positions_steps": tuned.positions,
    }


def array_values(character: ArrayCharacter, /) -> list[dict[str, Any]]:
    """Return a characterised array as plain values with units in their names, one object a nucleus."""
    return [
        {
            "nucleus": group.nucleus,
            "frequency_hz": group.frequency,
            "ports": list(group.ports),
            "scattering_re_im": group.s,
            "isolation_linear": group.isolation,
            "q_loaded": [None if fit is None else fit.q_loaded for fit in group.resonances],
            "q_unloaded": [None if fit is None else fit.q_unloaded for fit in group.resonances],
            "snr_factor": group.snr_factor,
        }
        for group in character.nuclei
    ]


def nucleus_title(group: NucleusCharacter, /) -> str:
    """Return name and frequency of a nucleus, such as ``"23Na, 33.7866 MHz"``."""
    return f"{group.nucleus}, {engineering(group.frequency, 'Hz', digits=6)}"


def _order(character: ArrayCharacter) -> list[int]:
    """Return the port number of each row of the network."""
    return sorted(port for group in character.nuclei for port in group.ports)


def tuning_section(tuned: TuneResult, character: ArrayCharacter, limit_db: float, /) -> Section:
    """Return how tuning went: reflections before and after, and what became of every port."""
    drawings = []
    order = _order(character)
    for group in character.nuclei:
        title = nucleus_title(group)
        places = [order.index(port) for port in group.ports]
        curves = figures.reflection_figure(tuned.before, tuned.after, places, group.frequency, limit_db)
        fine = character.network  # the narrower sweep draws the circles round
        charts = figures.smith_figure(tuned.before, fine, places, group.frequency)
        drawings += [(f"{title}: reflection; the triangle is the limit", curves)]
        drawings += [(f"{title}: Smith charts, a dot at the Larmor frequency", charts)]
    rows = tuple(
        (
            str(port.channel),
            port.nucleus,
            str(port.port),
            f"{port.before_db:.1f}",
            f"{port.after_db:.1f}",
            "reached" if port.reached else port.reason,
        )
        for port in tuned.ports
    )
    table = Rows(("channel", "nucleus", "port", "before / dB", "after / dB", "limit"), rows)
    text = f"{tuned.sweeps} sweeps of the whole array, {tuned.moves} trimmer movements."
    return Section("Tune and match", text, tuple(drawings), (table,))


def sweep_section(character: ArrayCharacter, limit_db: float | None, /) -> Section:
    """Return the reflections of every port over frequency and in Smith charts."""
    order = _order(character)
    drawings = [
        (
            f"{nucleus_title(group)}: reflections, a dot at the Larmor frequency",
            coil_figures.sweep_figure(
                character.network, [order.index(port) for port in group.ports], group.frequency, limit_db
            ),
        )
        for group in character.nuclei
    ]
    text = "Every port's own reflection, all other ports terminated. The triangle is the limit."
    return Section("Reflections", text, tuple(drawings))


def scattering_section(character: ArrayCharacter, /) -> Section:
    """Return the S-matrices of all ports at each nucleus' frequency, and Q with isolation of each port."""
    network, drawings, rows = character.network, [], []
    order = _order(character)
    for group in character.nuclei:
        at = int(np.argmin(np.abs(network.f - group.frequency)))
        level = 20.0 * np.log10(np.maximum(np.abs(network.s[at]), 1e-6))
        picture = figures.scattering_figure(level, order, group.nucleus)
        drawings.append((f"S-matrix of all ports at {group.nucleus}", picture))
        rows += _port_rows(group)
    table = Rows(("channel", "nucleus", "QL", "Q0", "isolation / dB", "remark"), tuple(rows))
    text = "Ports as in the bench file; every other port terminated. Q by a complex fit, ± 95 %."
    return Section("S-matrix and Q", text, tuple(drawings), (table,))


def noise_section(character: ArrayCharacter, /) -> Section:
    """Return the correlation of the noise that S predicts, and what matching leaves of each port's SNR."""
    drawings = [
        (
            f"{nucleus_title(group)}: predicted noise correlation",
            coil_figures.predicted_correlation_figure(group.noise_correlation),
        )
        for group in character.nuclei
    ]
    rows = tuple(
        (str(channel), group.nucleus, f"{factor:.3f}")
        for group in character.nuclei
        for channel, factor in enumerate(group.snr_factor, start=1)
    )
    text = (
        "From kTB(I - SSᴴ) and the preamplifiers' noise figure; SNR relative to the same port matched and "
        "isolated."
    )
    return Section(
        "Predicted noise", text, tuple(drawings), (Rows(("channel", "nucleus", "SNR factor"), rows),)
    )


def _port_rows(group: NucleusCharacter) -> list[tuple[str, ...]]:
    """Return Q and isolation of each port of a nucleus."""
    rows: list[tuple[str, ...]] = []
    for channel, fit in enumerate(group.resonances, start=1):
        values = (
            ("", "", group.refusals[channel - 1])
            if fit is None
            else (
                f"{fit.q_loaded:.1f} ± {2 * fit.uncertainty.q_loaded:.1f}",
                f"{fit.q_unloaded:.1f} ± {2 * fit.uncertainty.q_unloaded:.1f}",
                "",
            )
        )
        isolation = 20.0 * np.log10(max(float(group.isolation[channel - 1]), 1e-6))
        rows.append((str(channel), group.nucleus, *values[:2], f"{isolation:.1f}", values[2]))
    return rows
