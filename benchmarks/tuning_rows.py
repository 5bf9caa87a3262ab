"""Rows about tuning: port-sweeps from a soldered array to a tuned one, beside what tunes without a model.

`benchmarks/tuning/campaign.py` has the whole comparison: success, moves, CPU, faults, larger arrays, wires.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from table import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Arrays of one row: their seeds.
_ARRAYS: Final = range(4)


def _port_sweeps(peer: str, peer_name: str) -> Row:
    sys.path.insert(0, str(Path(__file__).parent / "tuning"))
    from trial import Question, run

    def tuned(tuner: str) -> tuple[float, int]:
        answers = [run(Question("nominal", tuner, seed)) for seed in _ARRAYS]
        return median(answer.port_sweeps for answer in answers), sum(answer.is_tuned for answer in answers)

    (ours, well), (theirs, also) = tuned("model"), tuned(peer)
    name = f"tuning-{peer}"
    size = f"{len(_ARRAYS)} arrays of 16 ports; tuned {well}, peer {also}"
    command = f"python bench.py bench {name}"
    return Row(name, ours, theirs, "port-sweeps", theirs / ours, size, peer_name, command)


def coordinate() -> Row:
    """Tune four arrays by their drawing, and one resonance after the other."""
    return _port_sweeps("coordinate", "dip tracking, hill climbing")


def broyden() -> Row:
    """Tune four arrays by their drawing, and all ports at once without a model."""
    return _port_sweeps("broyden", "secants, Broyden")


TUNING_ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType(
    {"tuning-coordinate": coordinate, "tuning-broyden": broyden}
)
