"""All quantities of a coil over its runs: their control charts as chapters, and alarms of the last run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.verdict import Judged, Verdict, overall
from coilbench.report.control_figure import ControlLine, control_figure
from coilbench.report.page import Rows, Section
from coilbench.trend_store import TrendStore, read_resets
from recon.trend import ALARM_RULES

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.trend_store import Reset, RunNumbers, Trend
    from recon.trend import Rule, RunLength

#: Charts that are drawn under one heading, those with alarms first; the JSON has all.
_MOST_CHARTS: Final = 40
#: Words in a quantity's name that say under which heading it is charted: signal and noise apart.
_HEADINGS: Final = (
    ("noise", "Noise"),
    ("signal", "Signal"),
    ("SNR", "Signal"),
    ("odium", "Sodium"),
    ("[Na]", "Sodium"),
)
_OTHERS: Final = "Others"


@dataclass(frozen=True, slots=True)
class CoilTrend:
    """All quantities of one coil over its runs.

    Parameters
    ----------
    coil
        Serial number.
    trends
        Each quantity with its chart.
    resets
        Changes made on purpose, in order of time.
    remarks
        Runs that could not be read, a line each.
    lengths
        Of each rule, in runs: between false alarms, and until a change by one deviation is seen; empty where
        they were not measured.
    """

    coil: str
    trends: tuple[Trend, ...]
    resets: tuple[Reset, ...]
    remarks: tuple[str, ...]
    lengths: tuple[tuple[Rule, RunLength, RunLength], ...] = ()

    @property
    def judged(self) -> tuple[Judged, ...]:
        """The last run's alarms, and how many quantities are in control."""
        alarms = tuple(
            Judged(
                _title(trend),
                float(trend.values[-1]),
                trend.unit,
                _expanded(float(trend.uncertainties[-1])),
                "alarm by " + ", ".join(trend.chart.points[-1].rules),
                Verdict.FAIL,
            )
            for trend in self.trends
            if trend.chart.points[-1].is_alarm
        )
        provisional = sum(trend.chart.is_provisional for trend in self.trends)
        rest = Judged(
            "quantities in control",
            float(len(self.trends) - len(alarms)),
            "",
            None,
            f"of {len(self.trends)}; {provisional} provisional: fewer than 20 runs",
            Verdict.INCONCLUSIVE if provisional == len(self.trends) else Verdict.PASS,
        )
        return (*alarms, rest)

    @property
    def verdict(self) -> Verdict:
        """Of the last run: fail where an alarm rang, inconclusive where no chart has 20 runs."""
        return overall(self.judged)

    def lines(self) -> tuple[str, ...]:
        """Return what stands under the table: how soon each rule rings, and what could not be read."""
        return (
            *(
                f"{rule}{'' if rule in ALARM_RULES else ' (no alarm)'}: by chance every {sound.mean:.0f} ± "
                f"{2 * sound.uncertainty:.0f} runs, a change by one deviation after {changed.mean:.1f} ± "
                f"{2 * changed.uncertainty:.1f} (simulated, 95 %)"
                for rule, sound, changed in self.lengths
            ),
            *self.remarks,
        )

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "run_lengths": [
                {
                    "rule": rule,
                    "raises_alarms": rule in ALARM_RULES,
                    "between_false_alarms": sound.mean,
                    "u_between_false_alarms": sound.uncertainty,
                    "after_change_by_one_deviation": changed.mean,
                    "u_after_change_by_one_deviation": changed.uncertainty,
                }
                for rule, sound, changed in self.lengths
            ],
            "coil": self.coil,
            "verdict": str(self.verdict),
            "judged": list(self.judged),
            "quantities": [_plain(trend) for trend in self.trends],
            "resets": [
                {
                    "when_utc": reset.when.isoformat(timespec="seconds"),
                    "reason": reset.reason,
                    "signed_by": reset.signed_by,
                }
                for reset in self.resets
            ],
            "remarks": list(self.remarks),
        }


def trend_until(runs: Path, coil: str, now: RunNumbers, /) -> CoilTrend:
    """Bring the index of a folder of runs up to date and chart a run's quantities with all runs before it.

    Parameters
    ----------
    runs
        Folder of run folders.
    coil
        Serial number.
    now
        The run; it need not be in the index yet.

    Raises
    ------
    MeasurementError
        A baseline reset cannot be read.
    StorageError
        The disk refused.
    """
    with TrendStore(runs) as store:
        store.refresh()
        return CoilTrend(coil, store.trends(coil, now=now), read_resets(runs, coil), tuple(store.remarks))


def chart_sections(trend: CoilTrend, /) -> list[Section]:
    """Return a report's chapters of control charts, signal and noise apart, and of all alarms so far."""
    headings = dict.fromkeys((*(heading for _, heading in _HEADINGS), _OTHERS))
    sections = (*(_charts(trend, heading) for heading in headings), _alarms(trend))
    return [section for section in sections if section is not None]


def _charts(trend: CoilTrend, heading: str) -> Section | None:
    """Return the charts under one heading, those that rang first."""
    mine = [one for one in trend.trends if _heading(one) == heading]
    shown = sorted(mine, key=lambda one: not one.chart.points[-1].is_alarm)[:_MOST_CHARTS]
    if not shown:
        return None
    text = (
        "Limits: three deviations of the first 20 runs; dashed and wider until there are 20. A diamond is an "
        "alarm: a run beyond them, or a drift seen by EWMA. Bars 95 %."
    )
    if len(shown) < len(mine):
        text += f" {len(shown)} of {len(mine)} quantities are drawn."
    caption = f"{heading} over the runs of the coil"
    return Section(heading, text, ((caption, control_figure([_line(one) for one in shown])),))


def _line(trend: Trend) -> ControlLine:
    spread = tuple(_expanded(float(value)) for value in trend.uncertainties)
    begins = trend.chart.begins
    return ControlLine(_title(trend), trend.times, spread, trend.chart, (begins,) if begins else ())


def _alarms(trend: CoilTrend) -> Section | None:
    """Return a table with the quantities that rang: how often, when first and last, and by which rule."""
    rows = tuple(
        (
            _title(one),
            str(len(one.chart.alarms)),
            f"{one.times[one.chart.alarms[0]]:%Y-%m-%d %H:%M}",
            f"{one.times[one.chart.alarms[-1]]:%Y-%m-%d %H:%M}",
            ", ".join(one.chart.points[one.chart.alarms[-1]].rules),
            "in bunches: successive runs resemble each other"
            if one.chart.baseline is not None and one.chart.baseline.is_correlated
            else "",
        )
        for one in trend.trends
        if one.chart.alarms
    )
    if not rows:
        return None
    text = "By chance, a quantity in control rings about every 200th run."
    headings = ("quantity", "alarms", "first", "last", "rules", "remark")
    return Section("All alarms so far", text, (), (Rows(headings, rows),))


def _plain(trend: Trend) -> dict[str, Any]:
    chart, baseline = trend.chart, trend.chart.baseline
    return {
        "name": trend.name,
        "place": trend.place,
        "unit": trend.unit,
        "algorithm": trend.algorithm,
        "version": trend.version,
        "runs": list(trend.runs),
        "times_utc": [time.isoformat(timespec="seconds") for time in trend.times],
        "values": trend.values,
        "standard_uncertainties": trend.uncertainties,
        "alarms": [
            {"run": trend.runs[index], "rules": list(chart.points[index].rules)} for index in chart.alarms
        ],
        "baseline_mean": None if baseline is None else baseline.mean,
        "baseline_deviation": None if baseline is None else baseline.deviation,
        "limits": None if baseline is None else list(baseline.limits),
        "is_provisional": chart.is_provisional,
        "is_correlated": baseline is not None and baseline.is_correlated,
        "runs_of_older_versions": trend.older,
    }


def _title(trend: Trend) -> str:
    where = f", {trend.place}" if trend.place else ""
    return f"{trend.name}{where}" + (f" / {trend.unit}" if trend.unit else "")


def _heading(trend: Trend) -> str:
    return next((heading for word, heading in _HEADINGS if word in trend.name), _OTHERS)


def _expanded(uncertainty: float) -> float | None:
    return 2.0 * uncertainty if np.isfinite(uncertainty) else None
