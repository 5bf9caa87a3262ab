"""A coil's passport: one page on what is known of it, from its last visits and all before them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.units import engineering
from coilbench.base.verdict import Judged, Verdict, overall
from coilbench.report import coil_figures, figures
from coilbench.report.page import Page, Rows, Section, render
from coilbench.report.probing_sections import plus_minus
from coilbench.report.trend_figure import TrendLine, trend_figure
from coils.quality import Comparison, compare_records, headline_numbers
from coils.quality.record import as_array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import skrf

    from coilbench.coil_store import History
    from coils.quality import CoilRecord, NucleusRecord, Reading

#: Changes that the page lists; the rest is in the JSON.
_MOST_CHANGES: Final = 12
#: Visits that the table of visits lists, the last ones.
_MOST_VISITS: Final = 20


def standing(history: History, /) -> tuple[Judged, ...]:
    """Return each quantity's last judgement, with the day it was made in its name.

    What rests on a calibration that was not valid is inconclusive, whatever it was.
    """
    found: dict[str, Judged] = {}
    for visit in reversed(history.visits):
        record = visit.record
        trusted = record.calibration is None or record.calibration.verdict is Verdict.PASS
        for judged in record.judged:
            # "worst reflection (port 3)" is the same quantity whichever port it was
            quantity = judged.name.split(" (")[0]
            verdict = judged.verdict if trusted else Verdict.INCONCLUSIVE
            name = f"{judged.name}, {record.measured:%Y-%m-%d}"
            found.setdefault(quantity, replace(judged, name=name, verdict=verdict))
    return tuple(found.values())


def last_comparison(history: History, /) -> Comparison | None:
    """Return the last visit compared with the one of the same kind before it; None on a first visit."""
    last = history.visits[-1].record
    for visit in reversed(history.visits[:-1]):
        if visit.record.kind == last.kind:
            return compare_records(visit.record, last)
    return None


def passport_page(history: History, network: skrf.Network | None, /) -> str:
    """Return the passport as one HTML document.

    Parameters
    ----------
    history
        Every run of the coil.
    network
        The sweep of the last run that kept an S-matrix; None: no Smith charts.
    """
    last = history.visits[-1].record
    judged = standing(history)
    comparison = last_comparison(history)
    sections = [_scattering(history, network), _resonances(history), _noise(history)]
    sections += [_readings(history), _changes(comparison), _trend(history), _calibration(history)]
    facts = (
        ("coil", history.serial_number),
        ("visits", f"{len(history.visits)}, the first {history.visits[0].record.measured:%Y-%m-%d}"),
        ("last visit", f"{last.measured:%Y-%m-%d %H:%M} UTC, {last.kind}, run {last.run}"),
        ("field", f"{last.field:g} T"),
        ("load", f"{last.load}, {last.temperature:.1f} K"),
        ("channels", ", ".join(f"{len(group.ports)} at {group.nucleus}" for group in last.nuclei)),
    )
    present = tuple(section for section in sections if section is not None)
    lines = (*comparison_lines(comparison)[:1], *history.remarks)
    title = f"Coil passport: {history.serial_number}"
    return render(Page(title, facts, overall(judged), judged, lines, present, "Since the last visit"))


def comparison_lines(comparison: Comparison | None, /) -> tuple[str, ...]:
    """Return what changed since last time in words."""
    if comparison is None:
        return ("First visit of its kind: nothing to compare with.",)
    changes = comparison.significant
    compared = len(comparison.changes)
    if not changes:
        return (f"Nothing changed significantly since {comparison.before} ({compared} numbers compared).",)
    head = (
        f"{len(changes)} of {compared} numbers changed significantly since {comparison.before} (beyond "
        f"{comparison.threshold:.1f} standard deviations; chance alone would do that in 5 % of such visits):"
    )
    return (
        head,
        *(
            f"{change.name}: {_shown(change.before, change.unit)} → {_shown(change.after, change.unit)} "
            f"({_shown(change.difference, change.unit, 4)} ± {_shown(change.uncertainty, change.unit, 3)})"
            for change in changes[:_MOST_CHANGES]
        ),
    )


def last_holding(
    history: History, holds: Callable[[NucleusRecord], object], /
) -> tuple[CoilRecord, tuple[NucleusRecord, ...]] | None:
    """Return the last record in which some nucleus holds something, and the nuclei that do."""
    for visit in reversed(history.visits):
        groups = tuple(group for group in visit.record.nuclei if holds(group) is not None)
        if groups:
            return visit.record, groups
    return None


def last_of_each_channel(
    history: History, name: str, /
) -> tuple[CoilRecord, tuple[NucleusRecord, ...]] | None:
    """Return the last record that holds some readings, each channel it lacks filled in from earlier ones.

    Parameters
    ----------
    name
        Of a field of `NucleusRecord` with one entry for each port.
    """
    found = last_holding(history, lambda group: getattr(group, name))
    if found is None:
        return None
    record, groups = found
    filled = []
    for group in groups:
        values = getattr(group, name)
        for visit in reversed(history.visits):
            for other in visit.record.nuclei:
                older = getattr(other, name)
                if (other.nucleus, other.ports) == (group.nucleus, group.ports) and older is not None:
                    values = tuple(
                        old if new is None else new for new, old in zip(values, older, strict=True)
                    )
        filled.append(replace(group, **{name: values}))
    return record, tuple(filled)


def _scattering(history: History, network: skrf.Network | None) -> Section | None:
    """Show the last S-matrices, and Smith charts of the sweep they came from."""
    found = last_holding(history, lambda group: group.scattering)
    if found is None:
        return None
    record, groups = found
    drawings = []
    order = sorted(port for group in record.nuclei for port in group.ports)
    for group in groups:
        title = f"{group.nucleus}, {engineering(group.frequency, 'Hz', digits=6)}"
        level = 20.0 * np.log10(np.maximum(np.abs(as_array(group.scattering or ())), 1e-6))
        picture = figures.scattering_figure(level, group.ports, group.nucleus)
        if network is not None and network.nports == len(order):
            places = [order.index(port) for port in group.ports]
            curves = coil_figures.sweep_figure(network, places, group.frequency, None)
            drawings.append((f"{title}: reflections, a dot at the Larmor frequency", curves))
        drawings.append((f"{title}: |Sij| of its ports", picture))
    return Section("S-matrix", _when(record), tuple(drawings))


def _resonances(history: History) -> Section | None:
    """List Q of every channel, and the sample's share where Q was measured with and without it."""
    rows: list[tuple[str, ...]] = []
    said = []
    found = last_holding(history, lambda group: group.resonances)
    if found is not None:
        record, groups = found
        said.append(f"QL and Q0: {_when(record)}")
        for group in groups:
            for channel, fit in enumerate(group.resonances or (), start=1):
                refusal = "" if group.refusals is None else group.refusals[channel - 1]
                texts = (
                    ("", "", "", refusal)
                    if fit is None
                    else (
                        f"{fit.frequency.value / 1e6:.4f}",
                        plus_minus(fit.q_loaded),
                        plus_minus(fit.q_unloaded),
                        "",
                    )
                )
                rows.append((str(channel), group.nucleus, *texts))
    tables = [Rows(("channel", "nucleus", "f / MHz", "QL", "Q0", "remark"), tuple(rows))] if rows else []
    loaded = last_of_each_channel(history, "loadings")
    if loaded is not None:
        record, groups = loaded
        said.append(f"Q without and with the load, the last of each channel: {_when(record)}")
        said += [
            f"SNR to expect at the middle of {record.load} over the ultimate one at {group.nucleus}: "
            f"{plus_minus(group.share_of_ultimate)}."
            for group in groups
            if group.share_of_ultimate is not None
        ]
        tables.append(_loading_rows(groups))
    if not tables:
        return None
    return Section("Q and the sample's share of the noise", " ".join(said), (), tuple(tables))


def _loading_rows(groups: Sequence[NucleusRecord]) -> Rows:
    headings = ("channel", "nucleus", "QU", "QL", "QU/QL", "√(1-QL/QU)", "coil noise figure / dB")
    rows = tuple(
        (str(channel), group.nucleus, "no statement", "", "", "", "")
        if loading is None
        else (
            str(channel),
            group.nucleus,
            plus_minus(loading.q_unloaded),
            plus_minus(loading.q_loaded),
            plus_minus(loading.ratio),
            plus_minus(loading.snr_share),
            plus_minus(loading.noise_figure_db),
        )
        for group in groups
        for channel, loading in enumerate(group.loadings or (), start=1)
    )
    return Rows(headings, rows)


def _noise(history: History) -> Section | None:
    """Show the noise correlation that S predicts."""
    found = last_holding(history, lambda group: group.noise_correlation)
    if found is None:
        return None
    record, groups = found
    drawings = tuple(
        (
            f"{group.nucleus}: predicted noise correlation",
            coil_figures.predicted_correlation_figure(as_array(group.noise_correlation or ())),
        )
        for group in groups
    )
    rows = tuple(
        (str(channel), group.nucleus, f"{factor:.3f}")
        for group in groups
        for channel, factor in enumerate(group.snr_factor or (), start=1)
    )
    tables = (Rows(("channel", "nucleus", "SNR over the same port matched"), rows),) if rows else ()
    return Section("Predicted noise", _when(record), drawings, tables)


def _readings(history: History) -> Section | None:
    """Show active detuning and preamplifier decoupling of every channel."""
    drawings: list[tuple[str, str]] = []
    said = []
    for words, name in (
        ("active detuning", "detuning_db"),
        ("preamplifier decoupling", "preamplifier_decoupling_db"),
    ):
        found = last_of_each_channel(history, name)
        if found is None:
            continue
        record, groups = found
        said.append(f"{words[0].upper()}{words[1:]}, the last of each channel: {_when(record)}")
        drawings += [
            (
                f"{group.nucleus}: {words}",
                coil_figures.readings_figure(getattr(group, name), f"{words} / dB", None),
            )
            for group in groups
        ]
    if not drawings:
        return None
    return Section("Detuning and decoupling", " ".join(said), tuple(drawings))


def _changes(comparison: Comparison | None) -> Section | None:
    """List the largest changes since the last visit of the same kind, significant or not."""
    if comparison is None or not comparison.changes:
        return None
    rows = tuple(
        (
            change.name,
            _shown(change.before, change.unit),
            _shown(change.after, change.unit),
            f"{_shown(change.difference, change.unit, 4)} ± {_shown(change.uncertainty, change.unit, 3)}",
            "significant" if change.significant else "",
        )
        for change in comparison.changes[:_MOST_CHANGES]
    )
    text = (
        f"The largest changes from {comparison.before} to {comparison.after}, measured in their uncertainty."
    )
    headings = ("quantity", "before", "after", "change ± (95 %)", "")
    return Section("Largest changes", text, (), (Rows(headings, rows),))


def _trend(history: History) -> Section:
    """Draw the worst number of each kind over all visits, and list the visits."""
    series: dict[str, list[tuple[CoilRecord, Reading]]] = {}
    for visit in history.visits:
        for group in visit.record.nuclei:
            for quantity in headline_numbers(group, visit.record.s_uncertainty):
                title = f"{group.nucleus} {quantity.name}" + (f" / {quantity.unit}" if quantity.unit else "")
                series.setdefault(title, []).append((visit.record, quantity.reading))
    lines = [
        TrendLine(
            title,
            tuple(record.measured for record, _ in entries),
            tuple(reading for _, reading in entries),
        )
        for title, entries in series.items()
    ]
    drawings = (("Worst of each kind over all visits, bars 95 %", trend_figure(lines)),) if lines else ()
    rows = tuple(
        (
            f"{visit.record.measured:%Y-%m-%d %H:%M}",
            visit.record.kind,
            visit.record.verdict.value,
            visit.folder.name,
        )
        for visit in reversed(history.visits[-_MOST_VISITS:])
    )
    text = f"{len(history.visits)} visits; the last {len(rows)} are listed."
    table = Rows(("UTC", "what", "verdict", "run folder"), rows)
    return Section("History", text, drawings, (table,))


def _calibration(history: History) -> Section | None:
    """Say which calibration the last S-parameters rest on, and whether it was valid."""
    found = last_holding(history, lambda group: group.scattering)
    if found is None:
        return None
    record, calibration = found[0], found[0].calibration
    if calibration is None:
        text = (
            "The analyzer's own, as it was: this program did not perform it and cannot vouch for it. "
            f"Each |S| is taken as good to ± {record.s_uncertainty:g} (95 %)."
        )
        return Section("Calibration", text)
    rows = (
        ("name", calibration.name),
        ("kind", calibration.kind),
        ("performed", f"{calibration.performed:%Y-%m-%d %H:%M} UTC"),
        ("valid until", "" if calibration.expires is None else f"{calibration.expires:%Y-%m-%d %H:%M} UTC"),
        ("temperature", "" if calibration.temperature is None else f"{calibration.temperature:.1f} K"),
        ("last check", calibration.verdict.value),
        ("remark", calibration.reason),
    )
    text = f"Each |S| is good to ± {record.s_uncertainty:g} (95 %)."
    return Section("Calibration", text, (), (Rows(("", ""), rows),))


def _when(record: CoilRecord) -> str:
    """Say from which run something is."""
    return f"Measured {record.measured:%Y-%m-%d %H:%M} UTC in run {record.run}, loaded with {record.load}."


def _shown(value: float, unit: str, digits: int = 6) -> str:
    """Return a number with its unit; frequencies with a prefix."""
    return engineering(value, unit, digits=digits) if unit == "Hz" else f"{value:.{digits}g} {unit}".strip()
