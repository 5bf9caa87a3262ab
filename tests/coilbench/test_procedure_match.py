"""Facts about matching with the match trimmers alone, on the simulated array in memory."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import RunAborted
from coilbench.procedures.match import FAR, MatchPlan, MatchResult, match
from coilbench.procedures.tune import NucleusPorts
from hil_fixtures.in_memory import MemoryAnalyzer, MemoryTuner
from hil_fixtures.physics.world import World


def plan(world: World, **changes: object) -> MatchPlan:
    low, high = world.frequencies
    nuclei = (
        NucleusPorts("23Na", low, tuple(range(1, 9)), "na"),
        NucleusPorts("1H", high, tuple(range(9, 17)), "h"),
    )
    return MatchPlan(nuclei, **changes)  # type: ignore[arg-type]


def turn_away(world: World, seed: int, least: int = 150, most: int = 450) -> None:
    """Turn every match trimmer by so many steps, either way."""
    rng = np.random.default_rng(seed)
    for name in world.axis_names:
        if name.endswith(".match"):
            lowest, highest = world.axis_limits(name)
            by = int(rng.choice((-1, 1)) * rng.integers(least, most))
            world.move_axis(name, int(np.clip(world.axis_position(name) + by, lowest + 60, highest)))


def run(world: World, **changes: object) -> MatchResult:
    return match(MemoryAnalyzer(world), MemoryTuner(world), plan(world, **changes))


def own_reflections(world: World) -> np.ndarray:
    own = np.diagonal(world.scattering(np.array(world.frequencies)), axis1=1, axis2=2)
    return np.abs(np.concatenate((own[0, :8], own[1, 8:])))


@pytest.mark.parametrize("seed", range(6))
def test_match_trimmers_turned_away_are_brought_back_and_tune_trimmers_stay(seed: int) -> None:
    """The world's own reflections are below -20 dB afterwards, in a handful of sweeps."""
    world = World.tuned(seed)
    tune_axes = {name: world.axis_position(name) for name in world.axis_names if name.endswith(".tune")}
    turn_away(world, seed)
    assert own_reflections(world).max() > 0.15
    result = run(world)
    assert result.reached
    assert own_reflections(world).max() < 0.1
    assert result.sweeps <= 8
    assert {name: world.axis_position(name) for name in tune_axes} == tune_axes
    for port in result.ports:
        axis = f"ch{port.channel}.{'na' if port.nucleus == '23Na' else 'h'}.match"
        assert result.positions[axis] == world.axis_position(axis)


def test_a_port_off_resonance_is_left_alone_and_sent_to_tuning() -> None:
    world = World.tuned(2)
    turn_away(world, 2)
    home = world.axis_position("ch4.na.match")
    lowest, highest = world.axis_limits("ch4.na.tune")
    far = lowest + 60 if world.axis_position("ch4.na.tune") > 0.5 * (lowest + highest) else highest
    world.move_axis("ch4.na.tune", far)
    result = run(world)
    port = next(each for each in result.ports if each.port == 4)
    assert abs(port.before) >= FAR
    assert "off resonance" in port.reason
    assert "tune first" in port.reason
    assert port.steps == 0
    assert world.axis_position("ch4.na.match") == home
    assert all(not each.reason for each in result.ports if each.port not in (3, 4, 5))


def test_a_stuck_trimmer_is_named_and_the_others_are_matched() -> None:
    world = World.tuned(3)
    turn_away(world, 3, 300, 450)
    world.set_grip("ch6.h.match", 0.0)
    result = run(world)
    silent = [port for port in result.ports if port.reason]
    assert [port.port for port in silent] == [14]
    assert "does not answer to ch6.h.match" in silent[0].reason
    assert np.isnan(silent[0].reachable)


def test_what_matching_alone_cannot_do_is_said_as_such() -> None:
    """A tune trimmer off by a little leaves its port's resistance wrong: no match trimmer mends that."""
    world = World.tuned(4)
    world.move_axis("ch2.na.tune", world.axis_position("ch2.na.tune") + 60)
    result = run(world)
    port = next(each for each in result.ports if each.port == 2)
    assert "the rest is tuning's" in port.reason
    assert abs(port.after) == pytest.approx(port.reachable, rel=0.2)
    assert abs(port.after) <= abs(port.before)
    assert port.reachable > 0.1


def test_no_trimmer_leaves_its_travel_and_the_end_is_the_best_seen() -> None:
    world = World.tuned(5)
    turn_away(world, 5, 100, 2500)
    before = own_reflections(world)
    limits = {name: world.axis_limits(name) for name in world.axis_names}
    result = run(world)
    for name, (lowest, highest) in limits.items():
        assert lowest <= world.axis_position(name) <= highest
    assert np.sum(own_reflections(world) ** 2) <= np.sum(before**2)
    assert result.sweeps <= 13


def test_an_abort_leaves_the_trimmers_where_they_are() -> None:
    world = World.tuned(1)
    turn_away(world, 1)
    said: list[str] = []
    with pytest.raises(RunAborted, match="matching stopped after 1 sweeps"):
        match(
            MemoryAnalyzer(world),
            MemoryTuner(world),
            plan(world),
            emit=lambda event: said.append(event.kind),
            abort=lambda: "match.progress" in said,
        )
