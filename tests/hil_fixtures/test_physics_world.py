"""Trimmers, design and the world's own rules."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from coilbench.base.nuclei import nucleus
from hil_fixtures.physics.network import Z0
from hil_fixtures.physics.phantom import DEFAULT_PHANTOM
from hil_fixtures.physics.trimmers import PLAY, Axis, Scale
from hil_fixtures.physics.world import World, WorldSettings


def own_reflections(world: World) -> np.ndarray:
    """Return |S_ii| of all sixteen ports, each at its own frequency."""
    low, high = world.scattering(np.array(world.frequencies))
    return np.abs(np.concatenate((np.diag(low)[:8], np.diag(high)[8:])))


def test_frequencies_follow_from_the_field() -> None:
    """IUPAC ratios; 33.79 and 127.73 MHz at 3 T, in proportion elsewhere."""
    assert World().frequencies == (nucleus("23Na").gamma_bar * 3.0, nucleus("1H").gamma_bar * 3.0)
    assert World().frequencies[0] == pytest.approx(33.788e6, abs=1e3)
    assert World(WorldSettings(b0=2.89)).frequencies[1] == pytest.approx(127.732e6 * 2.89 / 3.0, abs=1e3)


def test_ports_and_axes_are_those_of_the_bench() -> None:
    world = World()
    assert world.port_count == 16
    assert len(world.axis_names) == 32
    assert world.axis_names[:5] == ("ch1.na.tune", "ch1.na.match", "ch1.h.tune", "ch1.h.match", "ch2.na.tune")
    assert {world.axis_limits(name) for name in world.axis_names} == {(0, 4000)}


def test_more_steps_are_more_capacitance_everywhere() -> None:
    """Scales bend by a few per cent and never turn back; no two are alike."""
    scales = [axis.scale for axis in World(seed=9)._axes.values()]
    for scale in scales:
        values = [scale.capacitance(steps) for steps in range(0, 4001, 50)]
        assert all(one < other for one, other in pairwise(values))
        line = np.linspace(values[0], values[-1], len(values))
        assert 0.0 < np.max(np.abs(values - line)) < 0.08 * (values[-1] - values[0])
        assert scale.position(scale.capacitance(1234.5)) == pytest.approx(1234.5, abs=1e-3)
    assert len({scale.lowest for scale in scales}) == 32


def test_the_screw_lags_when_the_direction_turns() -> None:
    axis = Axis(Scale(1e-12, 2e-12, 0.0, 0.0), 1000)
    axis.move(1100)
    assert axis.screw == 1100.0
    axis.move(1090)
    assert (axis.counted, axis.screw) == (1090, 1100.0)
    axis.move(1000)
    assert axis.screw == 1000.0 + PLAY
    axis.move(1010)
    assert axis.screw == 1020.0
    axis.move(1300)
    assert axis.screw == 1300.0


@pytest.mark.parametrize("target", [-1, 4001])
def test_no_axis_leaves_its_limits(target: int) -> None:
    """The refusal names the axis and the travel, and nothing moves."""
    world = World()
    before, values = world.axis_position("ch3.h.match"), world.capacitances()
    with pytest.raises(ValueError, match=r"0\.\.4000") as caught:
        world.move_axis("ch3.h.match", target)
    assert "ch3.h.match" in str(caught.value.__notes__)
    assert world.axis_position("ch3.h.match") == before
    np.testing.assert_array_equal(world.capacitances(), values)


def test_unknown_axes_and_channels_are_refused_by_name() -> None:
    world = World()
    with pytest.raises(ValueError, match=r"ch9\.na\.tune"):
        world.axis_position("ch9.na.tune")
    with pytest.raises(ValueError, match="no channel 0"):
        world.set_bias(0, 0.1)
    with pytest.raises(ValueError, match="negative"):
        world.set_bias(1, -0.1)
    with pytest.raises(ValueError, match="negative"):
        world.set_load(-1.0)
    with pytest.raises(ValueError, match="above 0 Hz"):
        world.scattering(np.array([0.0]))


def test_homing_runs_to_the_lower_end() -> None:
    world = World()
    world.home_axis("ch1.na.tune")
    assert world.axis_position("ch1.na.tune") == 0


@pytest.mark.parametrize("seed", range(12))
def test_every_array_starts_mistuned_and_can_be_tuned_well_inside_its_travel(seed: int) -> None:
    """All ports end below -40 dB between 10 and 90 % of travel; at the start hardly any is below -20 dB."""
    world = World(seed=seed)
    assert np.count_nonzero(own_reflections(world) < 0.1) <= 2
    targets = world.reference_positions()
    assert all(400 <= steps <= 3600 for steps in targets.values())
    world.move_axes(targets)
    assert np.max(own_reflections(world)) < 1e-2


def test_a_seed_is_an_array() -> None:
    one, same, other = World(seed=5), World(seed=5), World(seed=6)
    np.testing.assert_array_equal(one.capacitances(), same.capacitances())
    np.testing.assert_array_equal(one.circuit.inductance, same.circuit.inductance)
    assert np.max(np.abs(one.circuit.inductance / other.circuit.inductance - 1.0)) > 0.01


def test_an_array_can_be_tuned_by_measuring_one_port_after_another() -> None:
    """Secant steps on the dip, then Newton on the port's own reflection: below -20 dB in three rounds.

    What a technician does with an analyzer, and all that a simple automatic method needs to know: the
    couplings left between channels are weak enough for one port at a time.
    """
    world = World(seed=8)
    for round_number in range(3):
        for channel in range(1, 9):
            for prefix, port, target in (
                ("h", 7 + channel, world.frequencies[1]),
                ("na", channel - 1, world.frequencies[0]),
            ):
                if round_number == 0:
                    axis = np.linspace(0.84, 1.16, 401) * target
                    _pull_dip(world, f"ch{channel}.{prefix}.tune", port, axis, target)
                for _ in range(2):
                    _newton_step(world, f"ch{channel}.{prefix}", port, target)
    assert np.max(own_reflections(world)) < 0.1


def _approach(world: World, name: str, steps: float) -> int:
    """Move from below, within the travel, and return where to."""
    target = int(np.clip(steps, 0, 4000))
    world.move_axis(name, max(0, target - 2 * PLAY))
    world.move_axis(name, target)
    return target


def _pull_dip(world: World, name: str, port: int, axis: np.ndarray, target: float) -> None:
    def dip() -> float:
        reflection = np.abs(world.scattering(axis)[:, port, port])
        return float(axis[int(np.argmin(reflection))])

    # More capacitance lowers the dip; 30 % of travel moves it by very roughly 4 %.
    position, slope = world.axis_position(name), -0.04 * target / 1200
    here = dip()
    for _ in range(6):
        step = int(np.clip((target - here) / slope, -600, 600))
        if abs(step) < 4:
            return
        new = _approach(world, name, position + step)
        there = dip()
        if new != position and (there - here) / (new - position) < 0.0:
            slope = (there - here) / (new - position)
        position, here = new, there


def _newton_step(world: World, prefix: str, port: int, target: float) -> None:
    def reflection() -> np.ndarray:
        own = world.scattering(np.array([target]))[0, port, port]
        return np.array([own.real, own.imag])

    here = reflection()
    if np.hypot(*here) < 0.05:
        return
    names = (f"{prefix}.tune", f"{prefix}.match")
    positions = [world.axis_position(name) for name in names]
    columns = []
    for name, position, probe in zip(names, positions, (15, 80), strict=True):
        _approach(world, name, position + probe)
        columns.append((reflection() - here) / probe)
        _approach(world, name, position)
    step = -np.linalg.solve(np.stack(columns, axis=1), here)
    step *= min(1.0, 150.0 / abs(step[0]), 500.0 / abs(step[1]))
    for name, position, change in zip(names, positions, step, strict=True):
        _approach(world, name, position + change)


def test_outputs_are_noted() -> None:
    world = World()
    assert world.rf_outputs == {}
    world.rf_output("analyzer", True)
    world.rf_output("scanner", False)
    assert world.rf_outputs == {"analyzer": True, "scanner": False}


def test_bias_reads_back() -> None:
    world = World()
    world.set_bias(2, 0.07)
    assert [world.bias(channel) for channel in (1, 2, 3)] == [0.0, 0.07, 0.0]


def test_design_stays_possible_at_other_fields_and_sizes() -> None:
    """An array for 2.89 T and one of six channels can be tuned too."""
    for settings in (WorldSettings(b0=2.89), WorldSettings(b0=3.0, channels=6)):
        world = World.tuned(0, settings)
        low, high = world.scattering(np.array(world.frequencies))
        count = settings.channels
        assert np.max(np.abs(np.diag(low)[:count])) < 0.02
        assert np.max(np.abs(np.diag(high)[count:])) < 0.02


def test_settings_carry_the_phantom_that_the_bench_file_describes() -> None:
    assert World().settings.phantom is DEFAULT_PHANTOM
    assert [vial.concentration_mmol_l for vial in DEFAULT_PHANTOM.references] == [20.0, 60.0, 100.0, 145.0]
    assert [vial.concentration_mmol_l for vial in DEFAULT_PHANTOM.checks] == [45.0, 50.0, 80.0]
    assert Z0 == 50.0


def test_building_a_world_takes_less_than_two_seconds() -> None:
    """The first of a process; later ones find geometry and fields kept."""
    import subprocess
    import sys

    program = (
        "import time; from hil_fixtures.physics.world import World; "
        "begin = time.perf_counter(); World(); print(time.perf_counter() - begin)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert float(result.stdout) < 2.0
