"""Verdicts on an array's S-parameters: each number with its uncertainty against its limit.

The rule that turns a number, its uncertainty and a limit into a verdict is `coilbench.base.verdict.judge`;
here is what of an S-matrix is judged, and what an uncertainty of S means in decibels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from coilbench.base.verdict import Judged, Verdict, judge
from coils.quality.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PortJudgement:
    """One judged S-parameter.

    Parameters
    ----------
    quantity
        ``"reflection"``, ``"coupling"`` or ``"isolation"``.
    ports
        One port, or the two between which it was measured, counted from 1.
    low_db
        Lower end of the coverage interval; minus infinity where the uncertainty exceeds the value.
    judged
        The number in dB, the upper half of its coverage interval, its limit and its verdict.
    """

    quantity: str
    ports: tuple[int, ...]
    low_db: float
    judged: Judged

    @property
    def verdict(self) -> Verdict:
        """Pass, fail, or inconclusive where the limit lies within the uncertainty."""
        return self.judged.verdict


def decibels(magnitude: float) -> float:
    """Return 20 log10 of a magnitude; minus infinity for zero."""
    return 20.0 * math.log10(magnitude) if magnitude > 0.0 else -math.inf


def judge_parameter(
    quantity: str, ports: tuple[int, ...], s: complex, limit_db: float, uncertainty: float
) -> PortJudgement:
    """Judge one S-parameter.

    Parameters
    ----------
    quantity, ports
        As in `PortJudgement`.
    s
        Complex S-parameter; nan, not measured, is inconclusive.
    limit_db
        Largest magnitude allowed.
    uncertainty
        Expanded uncertainty U (95 %) of |s|, linear, such as 0.01 for -40 dB residual directivity. The
        interval |s| ± U is not symmetric in dB: the end that lies towards the limit decides.
    """
    size = abs(s)
    name = f"{quantity} {'-'.join(str(port) for port in ports)}"
    if not math.isfinite(size):
        missing = Judged(name, math.nan, "dB", None, f"≤ {limit_db:g} dB", Verdict.INCONCLUSIVE)
        return PortJudgement(quantity, ports, math.nan, missing)
    value = decibels(size)
    low, high = decibels(max(size - uncertainty, 0.0)), decibels(size + uncertainty)
    towards = high - value if value <= limit_db else value - low
    if not math.isfinite(towards):  # nothing measured at all, or less than its own uncertainty
        towards = 0.0 if math.isinf(value) else math.inf
    judged = judge(name, value, "dB", uncertainty=towards, at_most=limit_db)
    return PortJudgement(quantity, ports, low, judged)


def judge_array(
    at_frequency: Sequence[tuple[Sequence[int], NDArray[np.complex128]]],
    limits: Limits | None = None,
    *,
    uncertainty: float = 0.0,
) -> tuple[PortJudgement, ...]:
    """Judge a multi-nuclear array.

    Parameters
    ----------
    at_frequency
        For each nucleus: its ports (counted from 1) and the S-matrix of all ports at its frequency, shape
        (port, port).
    limits
        None: the defaults of `Limits`.
    uncertainty
        Expanded uncertainty of each |S|, linear.

    Returns
    -------
    Nucleus by nucleus: all reflections, then all couplings (i < j, the larger of S_ij and S_ji), then each
    port's worst isolation from the other nuclei's ports.
    """
    allowed = limits or Limits()
    rows: list[PortJudgement] = []
    every_port = {port for ports, _ in at_frequency for port in ports}
    for ports, matrix in at_frequency:
        foreign = sorted(every_port - set(ports))
        wanted: list[tuple[str, tuple[int, ...], float | None]] = []
        wanted += [("reflection", (port,), allowed.reflection_db) for port in ports]
        wanted += [
            ("coupling", (port, other), allowed.coupling_db)
            for place, port in enumerate(ports)
            for other in ports[place + 1 :]
        ]
        wanted += [
            ("isolation", (port, _loudest(matrix, port, foreign)), allowed.isolation_db)
            for port in ports
            if foreign
        ]
        rows += [
            judge_parameter(quantity, pair, _larger(matrix, pair[0], pair[-1]), limit, uncertainty)
            for quantity, pair, limit in wanted
            if limit is not None
        ]
    return tuple(rows)


def worst_of_each(rows: Iterable[PortJudgement], /) -> tuple[Judged, ...]:
    """Return one judged quantity for each kind of S-parameter: what failed, then what is uncertain, first.

    Among rows of equal verdict the largest one; its ports are in the name.
    """
    severity = {Verdict.FAIL: 3, Verdict.INCONCLUSIVE: 2, Verdict.MARGINAL: 1, Verdict.PASS: 0}
    worst: dict[str, PortJudgement] = {}
    for row in rows:
        best = worst.get(row.quantity)
        if best is None or _rank(row, severity) > _rank(best, severity):
            worst[row.quantity] = row
    return tuple(
        replace(row.judged, name=f"worst {quantity} (port {'-'.join(map(str, row.ports))})")
        for quantity, row in worst.items()
    )


def _rank(row: PortJudgement, severity: Mapping[Verdict, int]) -> tuple[int, float]:
    return severity[row.verdict], _order(row.judged.value)


def _loudest(matrix: NDArray[np.complex128], port: int, others: Sequence[int]) -> int:
    return max(others, key=lambda other: _order(abs(_larger(matrix, port, other))))


def _larger(matrix: NDArray[np.complex128], port: int, other: int) -> complex:
    forward, backward = complex(matrix[port - 1, other - 1]), complex(matrix[other - 1, port - 1])
    return forward if _order(abs(forward)) >= _order(abs(backward)) else backward


def _order(size: float) -> float:
    """Put what was not measured above everything: it must not hide behind a measured neighbour."""
    return math.inf if math.isnan(size) else size
