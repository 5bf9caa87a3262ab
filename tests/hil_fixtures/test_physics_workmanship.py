"""How arrays are built, broken, reworked, and how well they can be tuned at all."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest

from hil_fixtures.physics.cables import Cables
from hil_fixtures.physics.geometry import inductance_by_distance
from hil_fixtures.physics.rework import part_names
from hil_fixtures.physics.trimmers import Axis, Scale
from hil_fixtures.physics.workmanship import CAREFUL, HARD, NOMINAL, UNMODELLED, Workmanship
from hil_fixtures.physics.world import World, WorldSettings

LINEAR = Scale(1e-12, 5e-12, 0.0, 0.0)


def built(workmanship: Workmanship, seed: int, channels: int = 8) -> World:
    return World(WorldSettings(channels=channels, workmanship=workmanship), seed)


def own_reflections(world: World) -> np.ndarray:
    """Return |S_ii| of all ports, each at its own frequency."""
    low, high = world.scattering(np.array(world.frequencies))
    count = world.channel_count
    return np.abs(np.concatenate((np.diag(low)[:count], np.diag(high)[count:])))


@pytest.mark.parametrize("workmanship", [NOMINAL, UNMODELLED])
def test_ordinary_arrays_start_far_off_and_can_be_tuned(workmanship: Workmanship) -> None:
    """Of 16 ports at most 1 starts below -20 dB; all 6 arrays can be brought below it."""
    for seed in range(6):
        world = built(workmanship, seed)
        assert np.count_nonzero(own_reflections(world) < 0.1) <= 1
        assert world.best_reflections().is_below(-20.0)


def test_spreads_stay_within_their_bounds_and_use_them() -> None:
    """Over 10 nominal arrays: loops 3 %, trap parts 2 %, couplings 0.004, load 20 %, trimmers 5 %."""
    worlds = [built(NOMINAL, seed) for seed in range(10)]
    ideal = built(replace(CAREFUL, loop=0.0, part=0.0), 0)
    own = np.array([np.diag(world.circuit.inductance) for world in worlds])
    loops = own / np.diag(ideal.circuit.inductance) - 1.0
    traps = np.array([world.circuit.fixed.trap_capacitance for world in worlds])
    traps = traps / ideal.circuit.fixed.trap_capacitance - 1.0
    upper = np.triu_indices(8, 1)
    couplings = np.array(
        [
            (world.circuit.inductance / np.sqrt(np.outer(one, one)))[upper]
            for world, one in zip(worlds, own, strict=True)
        ]
    )
    loads = np.array([world.load.conductivity for world in worlds if world.load is not None]) / 0.6 - 1.0
    plays = np.array([axis.play for world in worlds for axis in world._axes.values()])
    for values, most in ((loops, 0.03), (traps, 0.02), (couplings, 0.004), (loads, 0.2)):
        assert np.max(np.abs(values)) <= most * (1.0 + 1e-9)
        assert np.max(np.abs(values)) > 0.8 * most
    assert plays.min() >= 12.0
    assert plays.max() <= 28.0
    assert np.std(plays) > 2.0


def test_compensation_never_leaves_more_coupling_than_there_was() -> None:
    """Far pairs of 32 loops couple by 0.001: what is left of them is less, and neighbours keep theirs."""
    world = built(NOMINAL, 1, channels=32)
    own = np.diag(world.circuit.inductance)
    left = np.abs(world.circuit.inductance / np.sqrt(np.outer(own, own)))
    by_place = np.array(inductance_by_distance(world.circuit.array))
    places = np.abs(np.arange(32)[:, None] - np.arange(32))
    places = np.minimum(places, 32 - places)
    far = places > 1
    assert np.all(left[far] < np.abs(by_place / by_place[0])[places][far])
    assert np.max(left[places == 1]) > 0.003


@pytest.mark.parametrize("workmanship", [CAREFUL, NOMINAL, UNMODELLED, HARD])
def test_no_scale_turns_back(workmanship: Workmanship) -> None:
    """The most bent trimmer still gives more capacitance with every step."""
    worst = Scale(1.0, 2.0, 2.0 * workmanship.trimmer_bend, 2.0 * workmanship.trimmer_wave)
    for scale in (worst, replace(worst, bend=-worst.bend), replace(worst, wave=-worst.wave)):
        values = [scale.capacitance(step) for step in range(0, 4001, 20)]
        assert all(one < other for one, other in pairwise(values))


def test_hard_arrays_are_at_least_as_bad_as_nominal_in_everything() -> None:
    hard, nominal = asdict(HARD), asdict(NOMINAL)
    assert all(hard[name] >= nominal[name] for name in nominal if nominal[name] is not None)
    assert replace(UNMODELLED, lead=0.0, port_capacitance=0.0, delay=0.0, directivity_db=None) == NOMINAL


def test_an_analyzer_shows_delay_and_directivity_and_the_truth_stays() -> None:
    """A port's own delay turns its reflection twice, a transmission once each; directivity adds."""
    cables = Cables(np.array([1e-10, 3e-10]), np.array([0.01, -0.02j]), np.zeros(2))
    true = np.array([[[0.5, 0.2], [0.2, 0.3j]]])
    shown = cables.show(true, np.array([1e8]))[0]
    turn = np.exp(-2j * np.pi * 1e8 * np.array([1e-10, 3e-10]))
    assert shown[0, 0] == pytest.approx(0.5 * turn[0] ** 2 + 0.01)
    assert shown[1, 1] == pytest.approx(0.3j * turn[1] ** 2 - 0.02j)
    assert shown[0, 1] == pytest.approx(0.2 * turn[0] * turn[1])
    assert true[0, 0, 0] == 0.5


def test_unmodelled_analyzers_err_by_their_directivity_and_delay() -> None:
    """-38 dB at every port when matched; careful and nominal worlds show the truth."""
    world = built(UNMODELLED, 3)
    axis = np.array(world.frequencies)
    cables = world._cables
    np.testing.assert_allclose(np.abs(cables.directivity), 10 ** (-38 / 20))
    assert 10e-12 < np.std(cables.delay) < 60e-12
    assert np.max(np.abs(world.shown_scattering(axis) - world.scattering(axis))) > 10 ** (-38 / 20)
    careful = built(CAREFUL, 3)
    np.testing.assert_array_equal(careful.shown_scattering(axis), careful.scattering(axis))


def test_a_stuck_motor_counts_and_its_screw_stays() -> None:
    axis = Axis(LINEAR, 1000)
    axis.set_grip(0.0)
    axis.move(3000)
    assert (axis.counted, axis.screw) == (3000, 1000.0)
    axis.home()
    assert (axis.counted, axis.screw, axis.reach) == (0, 1000.0, (1000.0, 1000.0))
    axis.set_grip(1.0)
    axis.move(100)
    assert axis.screw == 1100.0


def test_a_slipping_motor_loses_a_part_of_every_move() -> None:
    """Up 1000 steps the screw turns 900; back 1000, it is where it was, less the play."""
    axis = Axis(LINEAR, 1000, play=20)
    axis.set_grip(0.9)
    axis.move(2000)
    assert (axis.counted, axis.screw) == (2000, 1900.0)
    axis.move(1000)
    assert axis.screw == 1020.0
    axis.move(0)
    assert axis.screw == 120.0
    axis.home()
    assert (axis.counted, axis.screw) == (0, 20.0)
    with pytest.raises(ValueError, match="0 to 1"):
        axis.set_grip(1.1)


def test_where_an_axis_reaches_is_where_moves_from_below_get_it() -> None:
    axis = Axis(LINEAR, 1500, play=24)
    axis.set_grip(0.9)
    lowest, highest = axis.reach
    for wanted in (lowest, 1234.0, highest):
        count = axis.count_for(wanted)
        axis.move(max(0, count - 60))
        axis.move(count)
        assert axis.screw == pytest.approx(wanted, abs=0.5)
        assert axis.screw_for(count) == axis.screw


def test_the_best_reflections_are_attained_where_they_say() -> None:
    """Moving there from below gives them, to rounding; they are the least worst nearby."""
    world = built(HARD, 1)
    best = world.best_reflections()
    assert not best.is_below(-20.0)
    world.move_axes(best.positions)
    np.testing.assert_allclose(own_reflections(world), best.reflections, atol=1e-9)
    assert set(world.axis_names) == best.positions.keys()
    reached = np.max(own_reflections(world))
    random = np.random.default_rng(1)
    for size in (10, 50, 200):
        for _ in range(20):
            moved = {
                name: int(np.clip(steps + random.integers(-size, size + 1), 60, 4000))
                for name, steps in best.positions.items()
            }
            world.move_axes(moved)
            # integer steps change a reflection by up to about 0.002
            assert np.max(own_reflections(world)) > reached - 0.004


def test_an_array_that_can_be_matched_is_matched() -> None:
    """Within the travel the best is what Newton's method finds: no reflection but that of whole steps."""
    world = built(CAREFUL, 2)
    best = world.best_reflections()
    assert best.worst_db < -40.0
    reference = world.reference_positions()
    assert all(abs(best.positions[name] - steps) <= 1 for name, steps in reference.items())


def test_a_stuck_trimmer_spoils_its_port_and_hardly_others() -> None:
    """Ports of both sound trimmers can still be tuned; the stuck axis is left out of the question."""
    world = built(NOMINAL, 1)
    world.set_grip("ch3.h.match", 0.0)
    best = world.best_reflections()
    assert [place for place, wanted in enumerate(best.wanted) if not wanted] == [10]
    assert best.is_below(-20.0)
    assert best.positions["ch3.h.match"] == world.axis_position("ch3.h.match")


def test_a_fixed_capacitor_brings_an_unreachable_trimmer_back() -> None:
    """A match 9 pF short at full travel is unreachable; 9 pF in parallel make it reachable again."""
    world = built(CAREFUL, 4)
    assert world.best_reflections().is_below(-40.0)
    before = world.capacitances()[4, 1]
    world.rework("ch5.na.match", -9e-12)
    assert world.capacitances()[4, 1] == pytest.approx(before - 9e-12)
    assert not world.best_reflections().is_below(-20.0)
    world.rework("ch5.na.match", 9e-12)
    assert world.best_reflections().is_below(-40.0)


def test_trap_parts_can_be_changed_and_nothing_else() -> None:
    world = built(CAREFUL, 0)
    fixed = world.circuit.fixed
    world.rework("ch2.trap.C1", 1e-12)
    world.rework("ch8.trap.Lt", -2e-9)
    changed = world.circuit.fixed
    np.testing.assert_allclose(changed.trap_capacitance - fixed.trap_capacitance, 1e-12 * (np.arange(8) == 1))
    np.testing.assert_allclose(
        changed.trap_inductance - fixed.trap_inductance, -2e-9 * (np.arange(8) == 7), atol=1e-20
    )
    assert len(set(part_names(8))) == 8 * 6
    with pytest.raises(ValueError, match=r"ch9\.trap\.C1"):
        world.rework("ch9.trap.C1", 1e-12)
    with pytest.raises(ValueError, match="cannot be changed"):
        world.rework("ch1.trap.C1", -1e-9)
    with pytest.raises(ValueError, match="cannot be changed"):
        world.rework("ch1.h.match", -1e-9)


def test_drift_and_reshaped_loops_detune_and_go_back() -> None:
    world = World.tuned(1)
    assert np.max(own_reflections(world)) < 0.01
    world.drift(2e-3)
    assert np.max(own_reflections(world)) > 0.05
    world.drift(1.0 / 1.002 - 1.0)
    world.reshape_loops(1.004, 0.9)
    assert np.max(own_reflections(world)) > 0.05
    world.reshape_loops(1.0 / 1.004, 1.0 / 0.9)
    assert np.max(own_reflections(world)) < 0.01
    with pytest.raises(ValueError, match="above 0"):
        world.reshape_loops(0.0)


def test_the_phantom_comes_back_with_its_own_conductivity() -> None:
    """The load that the seed drew is what `set_load` without a number puts in."""
    world = built(NOMINAL, 5)
    first = world.load
    world.remove_load()
    world.set_load()
    assert world.load == first
    assert first is not None
    assert first.conductivity != 0.6
