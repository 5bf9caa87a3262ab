"""The peers that our tuner is compared with, and the campaign that compares them, do what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from coilbench.simulated_drawing import drawing
from hil_fixtures.in_memory import in_memory
from hil_fixtures.physics.workmanship import NOMINAL
from hil_fixtures.physics.world import World, WorldSettings

TUNING = Path(__file__).parents[2] / "benchmarks" / "tuning"

pytestmark = pytest.mark.skipif(not TUNING.is_dir(), reason="benchmarks are not part of an installed package")


@pytest.fixture(autouse=True)
def benchmark_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripts beside the campaign be imported as they import each other."""
    monkeypatch.syspath_prepend(str(TUNING))
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize("peer", ["coordinate", "broyden"])
def test_peers_tune_a_small_array_without_looking_at_the_truth(peer: str) -> None:
    """Four channels, nominal: what a peer calls reached is below -20 dB, and it took more than its share.

    A method without a model needs at least a sweep for each of the 4 trimmers of a channel.
    """
    from trial import Question, run

    answer = run(Question("channels4", peer, 2))
    assert answer.error == ""
    assert answer.claimed
    assert answer.is_tuned
    assert answer.ports == 8
    assert answer.worst_db < -20.0
    assert answer.port_sweeps > 8 * 4
    assert answer.refused == 0


def test_our_tuner_is_counted_by_what_the_instruments_were_asked_for() -> None:
    """Sweeps are whole numbers of array sweeps, and thinking is told from the world's solving."""
    from trial import Question, run

    answer = run(Question("channels4", "model", 3))
    assert answer.error == ""
    assert answer.is_reachable
    assert answer.is_tuned
    assert answer.port_sweeps == 8 * answer.sweeps
    assert answer.moves >= 16
    assert 0.0 < answer.cpu < 20.0


def test_a_failed_sweep_is_taken_again_by_the_peers() -> None:
    """One in two fails; the traces are those of sweeps that succeeded."""
    from hands import Hands
    from trial import bench_ports

    world = World(WorldSettings(channels=4), 1)
    analyzer, tuner = in_memory(world, 7)
    analyzer.faults.every = 2
    hands = Hands(analyzer, tuner, bench_ports(world))
    for _ in range(10):
        traces = hands.sweep(hands.ports, 0.02, 21)
        assert traces.keys() == set(range(1, 9))
        assert all(trace.reflection.shape == (21,) for trace in traces.values())
    assert analyzer.ledger.failed > 0


def test_a_dip_between_two_points_is_found() -> None:
    """|S|^2 = 0.04 + ((f - 33.8123 MHz)/1 MHz)^2 on a 50 kHz grid: a parabola, found exactly."""
    from hands import Trace

    axis = np.linspace(33e6, 34.5e6, 31)
    power = 0.04 + ((axis - 33.8123e6) / 1e6) ** 2
    frequency, depth = Trace(axis, np.sqrt(power).astype(np.complex128)).dip()
    assert frequency == pytest.approx(33.8123e6, abs=1.0)
    assert depth == pytest.approx(0.2, abs=1e-9)


def test_the_drawing_holds_nothing_of_what_a_seed_draws() -> None:
    """Two arrays built to one drawing differ in every value; their drawings in none."""
    one, other = (World(WorldSettings(channels=4, workmanship=NOMINAL), seed) for seed in (1, 2))
    assert np.max(np.abs(one.capacitances() / other.capacitances() - 1.0)) > 0.05
    drawn = [
        {element.name: element.value for element in drawing(world).bank.elements()} for world in (one, other)
    ]
    assert drawn[0].keys() == drawn[1].keys()
    for name, value in drawn[0].items():
        np.testing.assert_array_equal(value, drawn[1][name])
    loops = np.diag(one.circuit.inductance) / drawn[0]["loop"] - 1.0
    assert 1e-4 < np.max(np.abs(loops)) < 0.03
