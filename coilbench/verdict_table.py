"""The last screen of a run: verdict table, the report's path, what to try next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape
from rich.table import Table

from coilbench.base.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from coilbench.base.verdict import Judged
    from coilbench.outcome import Outcome

#: Text, sign and colour: never colour alone.
SIGNS: Final = {
    Verdict.PASS: "[green]✓ pass[/]",
    Verdict.MARGINAL: "[yellow]! marginal[/]",
    Verdict.FAIL: "[bold red]✗ FAIL[/]",
    Verdict.INCONCLUSIVE: "[yellow]? inconclusive[/]",
}


def print_verdict(console: Console, outcome: Outcome, next_steps: tuple[str, ...]) -> None:
    """Print every judged quantity, the checks, the verdict, the report's path and the next commands."""
    print_judged(console, outcome.verdict, outcome.judged, outcome.truths)
    console.print("\nReport:", str(outcome.report), highlight=False, soft_wrap=True)
    console.print("Next:  ", "   ".join(next_steps), highlight=False, soft_wrap=True, markup=False)


def print_judged(
    console: Console, verdict: Verdict, judged: Sequence[Judged], lines: Sequence[str], /
) -> None:
    """Print a verdict, every judged quantity as a table, and lines below it."""
    table = Table(title=f"Verdict: {SIGNS[verdict]}", title_justify="left")
    for heading in ("quantity", "value", "± (95 %)", "limit", "verdict"):
        table.add_column(heading, justify="right" if heading in ("value", "± (95 %)") else "left")
    for quantity in judged:
        spread = "" if quantity.uncertainty is None else f"{quantity.uncertainty:.3g}"
        table.add_row(
            escape(quantity.name),
            "" if math.isnan(quantity.value) else escape(f"{quantity.value:.4g} {quantity.unit}".strip()),
            spread,
            escape(quantity.limit),
            SIGNS[quantity.verdict],
        )
    console.print(table)
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False)


def print_summary(console: Console, summary: dict[str, Any]) -> None:
    """Print the single values of a summary, a line each; the rest is for ``--json``."""
    for key, value in summary.items():
        if isinstance(value, (str, int, float)):
            shown = f"{value:.5g}" if isinstance(value, float) else str(value)
            line = f"{key.replace('_', ' ')}: {shown}"
            console.print(line, highlight=False, soft_wrap=True, markup=False)


def print_q_factors(console: Console, summary: dict[str, Any]) -> None:
    """Print fitted resonances as a table (± 95 %), and what was refused and why."""
    if summary["rows"]:
        table = Table("file", "f0 / MHz", "QL", "Q0", "residual")
        for row in summary["rows"]:
            table.add_row(
                row["file"],
                f"{row['frequency_hz'] / 1e6:.6g}",
                f"{row['q_loaded']:.2f} ± {2 * row['u_q_loaded']:.2f}",
                f"{row['q_unloaded']:.2f} ± {2 * row['u_q_unloaded']:.2f}",
                f"{row['residual']:.1e}",
            )
        console.print(table)
    for line in summary["refused"]:
        console.print(f"refused: {line}", highlight=False, soft_wrap=True, markup=False)
