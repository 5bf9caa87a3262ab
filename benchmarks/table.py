"""Benchmarks: ours beside the peer, in one run, on this machine. Ratios travel; seconds do not.

python bench.py bench              every row but those that take minutes beside slow peers
python bench.py bench NAME         rows whose name contains NAME
python bench.py bench --json       one JSON object a row
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).parent))  # the rows live beside this file, not in a package


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; ``ratio`` is how many times less than the peer, or than a limit, we need."""

    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    size: str
    peer_name: str
    command: str


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Return the median wall time of ``function`` in s, after one warm-up call."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return median(times)


def compare(
    name: str,
    size: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    peer_name: str,
    repeats: int = 5,
) -> Row:
    """Time a pair in one run."""
    mine, theirs = seconds(ours, repeats), seconds(peer, repeats)
    return Row(name, mine, theirs, "s", theirs / mine, size, peer_name, f"python bench.py bench {name}")


def _value(value: float, unit: str) -> str:
    return f"{value * 1e3:.3g} ms" if unit == "s" else f"{value:.3g} {unit}"


def main() -> int:
    """Run the rows asked for and print them."""
    from rows import ROWS, WHEN_NAMED

    words = [word for word in sys.argv[1:] if word != "--json"]
    if words:
        chosen = [name for name in ROWS if any(word in name for word in words)]
    else:
        chosen = [name for name in ROWS if name not in WHEN_NAMED]
    if not chosen:
        print(f"no benchmark is called {' or '.join(words)}; there are: {', '.join(ROWS)}", file=sys.stderr)
        return 3
    table = Table("name", "ours", "peer", "ratio", "size", "peer")
    for name in chosen:
        row = ROWS[name]()
        if "--json" in sys.argv:
            print(json.dumps(asdict(row)), flush=True)
        table.add_row(
            row.name,
            _value(row.ours, row.unit),
            _value(row.peer, row.unit),
            f"{row.ratio:.2g}",
            row.size,
            row.peer_name,
        )
    if "--json" not in sys.argv:
        Console().print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
