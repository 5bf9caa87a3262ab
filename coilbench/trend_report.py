"""How a coil's quantities went over its runs: control charts on a page, alarms, signed resets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from coilbench.base.errors import BenchFileError
from coilbench.coil_trend import CoilTrend, chart_sections
from coilbench.report.page import Page, render
from coilbench.session import storing, write_atomically
from coilbench.trend_store import Reset, TrendStore, read_resets, reset_baseline
from recon.trend import RULES, run_lengths

if TYPE_CHECKING:
    from pathlib import Path


def coil_trend(runs: Path, coil: str | None = None, /) -> CoilTrend:
    """Bring the index of a folder of runs up to date and chart one coil.

    Parameters
    ----------
    runs
        Folder of run folders.
    coil
        Serial number; None: the only one there is.

    Raises
    ------
    BenchFileError
        There is no such folder, no run with quantities, or several coils and none is named.
    StorageError
        The disk refused.
    """
    if not runs.is_dir():
        raise BenchFileError(f"there is no folder {runs}; a folder of run folders is expected")
    with TrendStore(runs) as store:
        store.refresh()
        chosen = _chosen(store, runs, coil)
        return CoilTrend(
            chosen,
            store.trends(chosen),
            read_resets(runs, chosen),
            tuple(store.remarks),
            tuple((rule, *run_lengths(rule)) for rule in RULES),
        )


def reset_trend(runs: Path, coil: str | None, reason: str, signed_by: str, /) -> Path:
    """Let a coil's baseline begin anew with the next run, for a signed reason; return the file that says so.

    Raises
    ------
    BenchFileError
        There is no such coil, or reason or signature is empty.
    StorageError
        The disk refused.
    """
    if not reason.strip() or not signed_by.strip():
        raise BenchFileError(
            "a reset takes a reason and who signs: --reset 'preamplifier 3 replaced' --signed-by X"
        )
    if not runs.is_dir():
        raise BenchFileError(f"there is no folder {runs}; a folder of run folders is expected")
    with TrendStore(runs) as store:
        store.refresh()
        chosen = _chosen(store, runs, coil)
    return reset_baseline(runs, Reset(chosen, datetime.now(UTC), reason, signed_by))


def write_trend_page(trend: CoilTrend, path: Path, /) -> Path:
    """Write the control charts as one HTML page; return its path.

    Raises
    ------
    StorageError
        The disk refused.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return write_atomically(path, trend_page(trend))


def trend_page(trend: CoilTrend, /) -> str:
    """Return the control charts of a coil as one HTML document, signal and noise apart."""
    times = [time for one in trend.trends for time in one.times]
    runs = {run for one in trend.trends for run in one.runs}
    facts = [("coil", trend.coil), ("runs", str(len(runs)))]
    if times:
        facts.append(("from, to", f"{min(times):%Y-%m-%d}, {max(times):%Y-%m-%d}"))
    facts += [
        (f"reset {reset.when:%Y-%m-%d %H:%M} UTC", f"{reset.reason} (signed by {reset.signed_by})")
        for reset in trend.resets
    ]
    return render(
        Page(
            f"Trend of coil {trend.coil}",
            tuple(facts),
            trend.verdict,
            trend.judged,
            trend.lines(),
            chart_sections(trend),
            "How soon the rules ring, and what could not be read",
        )
    )


def _chosen(store: TrendStore, runs: Path, coil: str | None) -> str:
    coils = store.coils()
    known = ", ".join(coils[:20])
    if coil is None and len(coils) == 1:
        return coils[0]
    if coil is None and coils:
        raise BenchFileError(f"{runs} holds runs of several coils, name one with --coil: {known}")
    if coil is None or coil not in coils:
        unread = f" ({len(store.remarks)} records could not be read)" if store.remarks else ""
        raise BenchFileError(
            f"{runs} holds no run with quantities{'' if coil is None else f' of coil {coil!r}'}"
            + (f"; there are: {known}" if known else "")
            + unread
        )
    return coil
