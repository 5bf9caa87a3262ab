"""Verdicts with uncertainty."""

from __future__ import annotations

import math

import pytest

from coilbench.base.verdict import Verdict, judge, overall


@pytest.mark.parametrize(
    ("value", "uncertainty", "expected"),
    [
        (-26.0, 1.0, Verdict.PASS),
        (-20.5, 1.0, Verdict.INCONCLUSIVE),
        (-19.5, 1.0, Verdict.INCONCLUSIVE),
        (-18.0, 1.0, Verdict.FAIL),
        (-20.0, None, Verdict.PASS),
        (-19.999, None, Verdict.FAIL),
        (math.nan, 1.0, Verdict.FAIL),
        (math.inf, 1.0, Verdict.FAIL),
    ],
)
def test_limit_within_the_uncertainty_is_inconclusive(
    value: float, uncertainty: float | None, expected: Verdict
) -> None:
    assert judge("S11", value, "dB", uncertainty=uncertainty, at_most=-20.0).verdict is expected


def test_lower_limit_mirrors_the_upper() -> None:
    assert judge("SNR", 5.0, "", uncertainty=0.5, at_least=4.0).verdict is Verdict.PASS
    assert judge("SNR", 4.2, "", uncertainty=0.5, at_least=4.0).verdict is Verdict.INCONCLUSIVE
    assert judge("SNR", 3.0, "", uncertainty=0.5, at_least=4.0).verdict is Verdict.FAIL


def test_a_quantity_has_exactly_one_limit() -> None:
    with pytest.raises(ValueError, match="one limit"):
        judge("x", 1.0, "")
    with pytest.raises(ValueError, match="one limit"):
        judge("x", 1.0, "", at_most=1.0, at_least=1.0)


def test_a_negative_uncertainty_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        judge("x", 1.0, "", uncertainty=-1.0, at_most=2.0)


def test_the_worst_verdict_decides() -> None:
    good = judge("a", 1.0, "", at_most=2.0)
    open_ = judge("b", 1.9, "", uncertainty=0.2, at_most=2.0)
    bad = judge("c", 3.0, "", at_most=2.0)
    assert overall([]) is Verdict.INCONCLUSIVE
    assert overall([good]) is Verdict.PASS
    assert overall([good, open_]) is Verdict.INCONCLUSIVE
    assert overall([good, open_, bad]) is Verdict.FAIL


@pytest.mark.parametrize(
    ("value", "uncertainty", "expected"),
    [
        (0.4, 0.1, Verdict.PASS),
        (0.6, 0.1, Verdict.MARGINAL),
        (0.95, 0.1, Verdict.INCONCLUSIVE),
        (1.2, 0.1, Verdict.FAIL),
    ],
)
def test_what_keeps_the_limit_but_not_the_warning_before_it_is_marginal(
    value: float, uncertainty: float, expected: Verdict
) -> None:
    above = judge("noise change", value, "dB", uncertainty=uncertainty, at_most=1.0, warn_at=0.5)
    below = judge("room", -value, "dB", uncertainty=uncertainty, at_least=-1.0, warn_at=-0.5)
    assert above.verdict is below.verdict is expected


def test_a_warning_comes_before_its_limit() -> None:
    with pytest.raises(ValueError, match="comes after the limit"):
        judge("x", 1.0, "", at_most=1.0, warn_at=2.0)
    with pytest.raises(ValueError, match="comes after the limit"):
        judge("x", 1.0, "", at_least=1.0, warn_at=0.5)


def test_marginal_is_worse_than_pass_and_better_than_open() -> None:
    good = judge("a", 1.0, "", at_most=2.0)
    near = judge("b", 1.9, "", at_most=2.0, warn_at=1.5)
    unsure = judge("c", 1.9, "", uncertainty=0.2, at_most=2.0)
    assert overall([good, near]) is Verdict.MARGINAL
    assert overall([good, near, unsure]) is Verdict.INCONCLUSIVE
