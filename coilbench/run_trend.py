"""The control charts of a run's report: its quantities with those of all runs of the coil before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coilbench.base.errors import CoilbenchError
from coilbench.coil_trend import chart_sections, trend_until
from coilbench.report.page import Section
from coilbench.run_quantities import quantities_of_run
from coilbench.trend_store import RunNumbers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coilbench.base.verdict import Judged
    from coilbench.run_report import Measured


def trend_sections(folder: Path, measured: Measured, judged: Sequence[Judged], /) -> tuple[Section, ...]:
    """Return the chapters on how a run's quantities went so far; one that says why where there are none.

    Parameters
    ----------
    folder
        Of the run; the others lie beside it.
    measured, judged
        What the run found.
    """
    runs, coil = folder.resolve().parent, measured.file.array.serial_number
    if all(path.parent.name == folder.name for path in runs.glob("*/record.json")):
        return (
            _none("this is the first run in its folder; `coilbench trend` charts them once there are more"),
        )
    now = RunNumbers(folder.name, measured.acquired.started, quantities_of_run(measured, judged))
    try:
        trend = trend_until(runs, coil, now)
    except CoilbenchError as error:
        return (_none(f"the index of runs cannot be used: {error}"),)
    if all(len(one.runs) == 1 for one in trend.trends):
        return (_none(f"no other run of coil {coil} has been made before it in this folder"),)
    return tuple(chart_sections(trend))


def _none(reason: str) -> Section:
    return Section("Trend", f"No chart: {reason}.")
