"""Facts about verdicts on S-parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coilbench.base.verdict import Verdict
from coils.quality import Limits, decibels, judge_array, judge_parameter


@pytest.mark.parametrize(
    ("magnitude", "uncertainty", "verdict"),
    [
        (0.08, 0.01, Verdict.PASS),
        (0.0899, 0.01, Verdict.PASS),
        (0.095, 0.01, Verdict.INCONCLUSIVE),
        (0.105, 0.01, Verdict.INCONCLUSIVE),
        (0.1101, 0.01, Verdict.FAIL),
        (0.12, 0.2, Verdict.INCONCLUSIVE),
        (0.0, 0.01, Verdict.PASS),
        (math.nan, 0.01, Verdict.INCONCLUSIVE),
    ],
)
def test_only_a_whole_interval_on_one_side_of_the_limit_decides(
    magnitude: float, uncertainty: float, verdict: Verdict
) -> None:
    """The limit of -20 dB is a magnitude of 0.1."""
    judged = judge_parameter("reflection", (1,), magnitude * np.exp(1.1j), -20.0, uncertainty)
    assert judged.verdict is verdict


def test_the_interval_is_the_linear_one_in_decibels() -> None:
    """0.1 ± 0.05 reaches from -26.02 to -16.48 dB; below zero magnitude it is open."""
    row = judge_parameter("coupling", (1, 2), 0.1j, -10.0, 0.05)
    assert row.judged.uncertainty is not None
    assert row.low_db == pytest.approx(-26.0206)
    assert row.judged.value + row.judged.uncertainty == pytest.approx(-16.47817)
    assert judge_parameter("coupling", (1, 2), 0.01j, -10.0, 0.05).low_db == -math.inf
    assert decibels(0.0) == -math.inf


def dual_array() -> tuple[np.ndarray, np.ndarray]:
    """Return S at two frequencies of an array of three channels: ports 1-3 and 4-6."""
    rng = np.random.default_rng(2)
    low, high = 0.02 * np.exp(2j * np.pi * rng.random((2, 6, 6)))
    low[0, 0] = 0.3
    low[1, 2], low[2, 1] = 0.1, 0.5
    high[3, 1] = 0.2
    return low, high


def test_every_port_pair_and_isolation_is_judged_once() -> None:
    """Three channels at two nuclei: 6 reflections, 6 couplings, 6 isolations; the worst one is named."""
    low, high = dual_array()
    limits = Limits(isolation_db=-20.0)
    rows = judge_array([((1, 2, 3), low), ((4, 5, 6), high)], limits, uncertainty=1e-4)
    count = {q: sum(row.quantity == q for row in rows) for q in ("reflection", "coupling", "isolation")}
    assert count == {"reflection": 6, "coupling": 6, "isolation": 6}
    failed = {(row.quantity, row.ports) for row in rows if row.verdict is Verdict.FAIL}
    assert failed == {("reflection", (1,)), ("coupling", (2, 3)), ("isolation", (4, 2))}


def test_quantities_without_limit_are_not_judged() -> None:
    """None means: not asked."""
    low, high = dual_array()
    limits = Limits(reflection_db=-10.0, coupling_db=None, isolation_db=None)
    rows = judge_array([((1, 2, 3), low), ((4, 5, 6), high)], limits, uncertainty=1e-4)
    assert [row.ports for row in rows] == [(1,), (2,), (3,), (4,), (5,), (6,)]
    assert {row.verdict for row in rows} == {Verdict.PASS}


def test_what_was_not_measured_is_never_hidden_by_what_was() -> None:
    """A missing S-parameter makes its pair inconclusive although the reverse one is good."""
    low, high = dual_array()
    high[3, 1] = 0.02
    low[2, 3] = math.nan
    limits = Limits(reflection_db=None, coupling_db=None, isolation_db=-20.0)
    rows = judge_array([((1, 2, 3), low), ((4, 5, 6), high)], limits, uncertainty=1e-4)
    missing = [row.ports for row in rows if row.verdict is Verdict.INCONCLUSIVE]
    assert missing == [(3, 4)]
