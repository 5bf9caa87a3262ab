"""Facts about tuning and characterising, on the simulated world with instruments held in memory."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skrf

from coilbench.base.errors import LimitExceeded, RunAborted
from coilbench.base.verdict import Verdict
from coilbench.procedures.characterise import CharacterisePlan, characterise
from coilbench.procedures.tune import NucleusPorts, TunePlan, reflection_levels, tune
from coils.quality import Limits
from drivers.protocols import Axis, NetworkAnalyzer, SweepPlan, Tuner
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coilbench.base.events import Event
    from drivers.protocols import Abort

#: -75 dB: rms of the noise of each S-parameter.
NOISE = 10 ** (-75 / 20)


class WorldAnalyzer:
    """Sweeps the world with noise; its axis is what it was told, to 0.1 Hz."""

    name = "analyzer in memory"
    identity = "test"
    port_count = 16
    reflection_ports = tuple(range(1, 17))

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = np.random.default_rng(seed)
        self.axis = np.zeros(0)
        self.sweeps = 0

    def make_safe(self) -> None:
        pass

    def close(self) -> None:
        pass

    def configure(self, plan: SweepPlan, /) -> SweepPlan:
        self.axis = np.concatenate([np.linspace(s.start, s.stop, s.points).round(1) for s in plan.segments])
        return plan

    def sweep(self, ports: Sequence[int] | None = None, /, *, abort: Abort = lambda: False) -> skrf.Network:
        assert not abort()
        self.sweeps += 1
        places = np.array(ports or range(1, 17)) - 1
        s = self.world.scattering(self.axis)[:, places[:, None], places]
        noise = NOISE * (self.rng.normal(size=s.shape) + 1j * self.rng.normal(size=s.shape)) / np.sqrt(2)
        return skrf.Network(f=self.axis, f_unit="Hz", s=s + noise, z0=50.0)


class WorldTuner:
    """Moves the world's trimmers and refuses what is outside their travel."""

    name = "tuner in memory"
    identity = "test"
    bias_channels = 8

    def __init__(self, world: World) -> None:
        self.world = world
        self.refused: list[str] = []

    @property
    def axes(self) -> Mapping[str, Axis]:
        return MappingProxyType(
            {name: Axis(name, *self.world.axis_limits(name)) for name in self.world.axis_names}
        )

    def positions(self) -> dict[str, int]:
        return {name: self.world.axis_position(name) for name in self.world.axis_names}

    def move(self, targets: Mapping[str, int], /, *, abort: Abort = lambda: False) -> dict[str, int]:
        assert not abort()
        for name, target in targets.items():
            low, high = self.world.axis_limits(name)
            if not low <= target <= high:
                self.refused.append(name)
                raise LimitExceeded(self.name, f"{name} to {target} is outside {low}..{high}")
            self.world.move_axis(name, target)
        return self.positions()

    def home(self) -> None:
        for name in self.world.axis_names:
            self.world.home_axis(name)

    def stop(self) -> None:
        pass

    def make_safe(self) -> None:
        pass

    def close(self) -> None:
        pass

    def set_bias(self, channel: int, current: float, /) -> float:
        self.world.set_bias(channel, current)
        return current


def nuclei(world: World) -> tuple[NucleusPorts, NucleusPorts]:
    low, high = world.frequencies
    return (
        NucleusPorts("23Na", low, tuple(range(1, 9)), "na"),
        NucleusPorts("1H", high, tuple(range(9, 17)), "h"),
    )


def bench(seed: int, *, tuned: bool = False) -> tuple[World, WorldAnalyzer, WorldTuner, TunePlan]:
    world = World.tuned(seed) if tuned else World(seed=seed)
    analyzer, tuner = WorldAnalyzer(world, seed), WorldTuner(world)
    as_analyzer: NetworkAnalyzer = analyzer
    as_tuner: Tuner = tuner
    assert as_analyzer.port_count == 16
    assert as_tuner.bias_channels == 8
    return world, analyzer, tuner, TunePlan(nuclei(world), points=101)


def true_levels(world: World) -> np.ndarray:
    own = np.diagonal(world.scattering(np.array(world.frequencies)), axis1=1, axis2=2)
    return np.asarray(20 * np.log10(np.abs(np.concatenate((own[0, :8], own[1, 8:])))))


@pytest.mark.parametrize("seed", range(20))
def test_all_sixteen_ports_of_every_array_are_tuned(seed: int) -> None:
    """Freshly soldered arrays, up to 22 % off: true |S11| below -20 dB everywhere, at most 12 sweeps."""
    world, analyzer, tuner, plan = bench(seed)
    assert np.sum(true_levels(world) < -20.0) <= 2
    world.set_bias(3, 0.05)
    result = tune(analyzer, tuner, plan)
    assert result.reached
    assert true_levels(world).max() < -24.0
    assert result.sweeps == analyzer.sweeps <= 12
    assert tuner.refused == []
    assert result.positions == tuner.positions()
    assert world.bias(3) == 0.0
    measured = 10 ** (np.array([port.after_db for port in result.ports]) / 20)
    assert measured == pytest.approx(10 ** (true_levels(world) / 20), abs=5 * NOISE)


def test_every_sweep_and_every_move_is_an_event_with_its_data() -> None:
    """The log alone tells where every trimmer was at every sweep."""
    _, analyzer, tuner, plan = bench(2)
    events: list[Event] = []
    result = tune(analyzer, tuner, plan, emit=events.append)
    kinds = [event.kind for event in events]
    assert kinds[0] == "tune.started"
    assert kinds[-1] == "tune.finished"
    # the two wide sweeps are in the result, not among the events of tuning
    assert kinds.count("tune.swept") == result.sweeps - 2
    moved = [event for event in events if event.kind == "tune.moved"]
    assert sum(len(event.data["targets"]) for event in moved) == result.moves
    assert dict(moved[-1].data["positions"]) == result.positions
    for event in moved:
        assert all(event.data["positions"][axis] == target for axis, target in event.data["targets"].items())
    swept = [event for event in events if event.kind == "tune.swept"]
    assert set(swept[-1].data["reflections_db"]) == {str(port) for port in range(1, 17)}


def test_the_sweep_before_shows_the_array_as_it_was_found() -> None:
    """Before and after are wide sweeps of both bands; the frequencies asked for are on the axis."""
    world, analyzer, tuner, plan = bench(4)
    result = tune(analyzer, tuner, plan)
    low, high = world.frequencies
    for network in (result.before, result.after):
        assert network.s.shape == (202, 16, 16)
        assert network.f[0] == pytest.approx(0.8 * low)
        assert network.f[-1] == pytest.approx(1.2 * high)
        assert np.min(np.abs(network.f - low)) <= 0.1
    assert max(port.before_db for port in result.ports) > -1.0
    order = list(range(1, 17))
    assert max(reflection_levels(result.after, order, range(1, 9), low)) < -20.0


def test_a_tuned_array_needs_no_move_but_the_first() -> None:
    """Three sweeps and the approach from below; the positions stay."""
    world, analyzer, tuner, plan = bench(5, tuned=True)
    before = tuner.positions()
    result = tune(analyzer, tuner, plan)
    assert (result.sweeps, result.moves) == (3, 32)
    assert tuner.positions() == before
    assert true_levels(world).max() < -26.0


@pytest.mark.parametrize("conductivity", [0.1, 2.0])
def test_another_load_is_tuned_again(conductivity: float) -> None:
    """A sixth and three times the conductivity, from positions that matched the first load."""
    world, analyzer, tuner, plan = bench(6, tuned=True)
    world.set_load(conductivity)
    assert true_levels(world).max() > -20.0
    result = tune(analyzer, tuner, plan)
    assert result.reached
    assert true_levels(world).max() < -24.0


class ImperfectAnalyzer(WorldAnalyzer):
    """Adds a residual directivity of -50 dB to every reflection, as a real calibration leaves it."""

    def sweep(self, ports: Sequence[int] | None = None, /, *, abort: Abort = lambda: False) -> skrf.Network:
        network = super().sweep(ports, abort=abort)
        parts = np.random.default_rng(self.port_count).normal(size=(2, 16)) * 10 ** (-50 / 20) / np.sqrt(2)
        network.s = network.s + np.diag(parts[0] + 1j * parts[1])
        return network


@pytest.mark.parametrize("seed", range(6))
def test_residual_directivity_hides_far_resonances_but_not_their_dips(seed: int) -> None:
    """What predictions from afar cannot do, walking the dips does: all ports are tuned in the end."""
    world, _, tuner, plan = bench(seed)
    events: list[Event] = []
    result = tune(ImperfectAnalyzer(world, seed), tuner, plan, emit=events.append)
    assert result.reached
    assert true_levels(world).max() < -20.0
    walked = [event for event in events if event.data.get("purpose") == "walking"]
    assert (result.sweeps > 20) == bool(walked)


def test_an_abort_ends_it_before_the_next_move_and_leaves_the_trimmers() -> None:
    """Asked after three sweeps, it stops there."""
    _, analyzer, tuner, plan = bench(7)
    with pytest.raises(RunAborted, match="after 3 sweeps"):
        tune(analyzer, tuner, plan, abort=lambda: analyzer.sweeps >= 3)
    assert analyzer.sweeps == 3


def test_a_trimmer_that_cannot_reach_is_named_with_its_port() -> None:
    """With the travel of one 23Na tune trimmer cut short the port is reported, the others are tuned."""
    world, analyzer, _, plan = bench(8)
    wanted = world.reference_positions()["ch4.na.tune"]
    low, high = world.axis_limits("ch4.na.tune")
    short = (wanted + 400, high) if wanted < 2000 else (low, wanted - 400)
    world.move_axis("ch4.na.tune", short[0] + 100 if wanted < 2000 else short[1] - 100)

    class ShortTuner(WorldTuner):
        @property
        def axes(self) -> Mapping[str, Axis]:
            return MappingProxyType({**super().axes, "ch4.na.tune": Axis("ch4.na.tune", *short)})

    events: list[Event] = []
    result = tune(analyzer, ShortTuner(world), plan, emit=events.append)
    failed = [port for port in result.ports if not port.reached]
    assert [(port.port, port.channel, port.nucleus) for port in failed] == [(4, 4, "23Na")]
    assert "ch4.na.tune would have to go" in failed[0].reason
    assert short[0] <= result.positions["ch4.na.tune"] <= short[1]
    assert [event.data["port"] for event in events if event.kind == "tune.unreached"] == [4]


def test_a_tuned_array_is_characterised() -> None:
    """Matrices follow the nuclei's ports; the predicted noise is the true network's; the verdict follows."""
    world, analyzer, _, plan = bench(9, tuned=True)
    character = characterise(analyzer, CharacterisePlan(plan.nuclei, noise_figure_db=0.7, temperature=293.15))
    sodium, proton = character.nuclei
    truth = world.scattering(np.array(world.frequencies))
    assert np.abs(sodium.s - truth[0, :8, :8]).max() < 2e-3
    assert np.abs(proton.s - truth[1, 8:, 8:]).max() < 2e-3
    boltzmann = 1.380649e-23
    # the 1H ports end in loads as warm as the array: only the sodium ports' own S counts
    own = truth[0, :8, :8]
    noise = boltzmann * 293.15 * (np.eye(8) - own @ own.conj().T)
    noise += boltzmann * 290.0 * (10**0.07 - 1) * np.eye(8)
    # three times the analyzer's noise in each of two factors, relative to kT
    assert np.abs(sodium.noise_covariance - noise).max() < 6 * NOISE * boltzmann * 293.15
    assert np.all(sodium.isolation == pytest.approx(np.abs(truth[0, :8, 8:]).max(axis=1), abs=2e-3))
    assert np.all((sodium.snr_factor > 0.95) & (sodium.snr_factor <= 1.0))
    assert max(sodium.reflections_db) < -26.0
    loaded = [fit.q_loaded for fit in sodium.resonances if fit is not None]
    assert len(loaded) >= 4
    assert all(50.0 < q < 200.0 for q in loaded)
    assert all(
        (fit is None) == bool(refusal)
        for fit, refusal in zip(sodium.resonances, sodium.refusals, strict=True)
    )
    assert len(character.judgements) == 16 + 2 * 28 + 16


def test_a_mistuned_array_fails_with_the_ports_named() -> None:
    """The verdict is fail, and the event names the reflections."""
    _, analyzer, _, plan = bench(10)
    events: list[Event] = []
    limits = Limits(coupling_db=None, isolation_db=None)
    character = characterise(analyzer, CharacterisePlan(plan.nuclei, limits=limits), emit=events.append)
    assert character.verdict is Verdict.FAIL
    assert "reflection 1" in events[-1].data["failed"]
    assert [event.kind for event in events] == ["characterise.nucleus"] * 2 + ["characterise.finished"]
    with pytest.raises(RunAborted):
        characterise(analyzer, CharacterisePlan(plan.nuclei), abort=lambda: True)
