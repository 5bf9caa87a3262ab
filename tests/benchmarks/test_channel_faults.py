"""A few scans of the campaign that gives faults to simulated arrays."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(
    not BENCHMARKS.is_dir(), reason="benchmarks are not part of an installed package"
)


@pytest.fixture(autouse=True)
def benchmark_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripts be imported as they import each other."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize(
    "fault", ["healthy", "dead", "noisy", "swapped", "sign-flipped", "mis-scaled", "detuned"]
)
@pytest.mark.parametrize("kind", ["soldered", "drawn 4-8", "measured"])
def test_the_right_channel_and_cause_are_named(kind: str, fault: str) -> None:
    """Two scans of each; the campaign is right in 99 % and more of hundreds."""
    from faulty_scans import Question, kinds, run

    if kind not in kinds():
        pytest.skip("the measured scan of 16 channels is not here")
    for seed in (0, 1):
        answer = run(Question(fault, seed, kind))
        assert answer.is_right, answer


def test_drawn_arrays_are_as_unlike_as_real_ones() -> None:
    """Six drawn arrays: unequal levels up to 1.8, noise correlated by 0.05 to 0.3 on average."""
    import numpy as np
    from phantom_arrays import DrawnArray

    random = np.random.default_rng(0)
    for channels in (4, 7, 11, 16, 23, 32):
        array = DrawnArray(channels, random)
        covariance = array.covariance(np.zeros(3))
        level = np.sqrt(np.real(np.diagonal(covariance)))
        correlation = np.abs(covariance / np.outer(level, level))[~np.eye(channels, dtype=bool)]
        assert 0.05 < correlation.mean() < 0.3
        assert 0.1 < correlation.max() < 0.7
        assert 1.05 < level.max() / level.min() < 1.9


def test_a_missed_requirement_is_an_exit_code() -> None:
    from channel_faults import is_missed
    from faulty_scans import Answer, Question

    right = Answer(Question("dead", 0, "soldered"), 8, (3,), 6.0, ((3, "dead"),), ())
    wrong = Answer(Question("dead", 1, "soldered"), 8, (3,), 6.0, ((2, "dead"),), ())
    assert not is_missed("dead", [right] * 99 + [wrong])
    assert is_missed("dead", [right] * 98 + [wrong] * 2)
