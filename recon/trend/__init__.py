"""Numbers over many runs: baseline, limits, and rules that tell a change from chance.

Signal and noise are charted apart: a phantom put down elsewhere moves the signal, a sick receiver the noise
(Owusu, Magnotta, 2021: placement made half of the daily variance of the SNR, all of it through the signal).
"""

from recon.trend.baseline import MINIMUM_RUNS, Baseline, estimate_baseline, lag_one_correlation
from recon.trend.chart import ChartPoint, ControlChart, control_chart, days_overdue
from recon.trend.rules import ALARM_RULES, RULES, Rule, signals
from recon.trend.run_length import (
    RunLength,
    run_length,
    run_length_of_estimate,
    run_lengths,
    shewhart_run_length,
)

__all__ = [
    "ALARM_RULES",
    "MINIMUM_RUNS",
    "RULES",
    "Baseline",
    "ChartPoint",
    "ControlChart",
    "Rule",
    "RunLength",
    "control_chart",
    "days_overdue",
    "estimate_baseline",
    "lag_one_correlation",
    "run_length",
    "run_length_of_estimate",
    "run_lengths",
    "shewhart_run_length",
    "signals",
]
