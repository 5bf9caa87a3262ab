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
def test_the_right_channel_and_cause_are_named_on_simulated_scans(fault: str) -> None:
    """Three scans of each; the campaign is right in 99 % and more of hundreds."""
    from faulty_scans import Question, run

    for seed in (0, 1, 4):
        answer = run(Question(fault, seed))
        assert answer.is_right, answer


def test_a_missed_requirement_is_an_exit_code() -> None:
    from channel_faults import is_missed
    from faulty_scans import Answer, Question

    right = Answer(Question("dead", 0), 8, (3,), 6.0, ((3, "dead"),), ())
    wrong = Answer(Question("dead", 1), 8, (3,), 6.0, ((2, "dead"),), ())
    assert not is_missed("dead", [right] * 99 + [wrong])
    assert is_missed("dead", [right] * 98 + [wrong] * 2)
