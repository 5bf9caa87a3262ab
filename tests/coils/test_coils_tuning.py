"""Facts about the tuning state machine, on a circuit of coupled L-matched loops with play in the gears."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from coils.tuning.local import advance, begin
from coils.tuning.local_state import ArraySweep, Move, Phase, Stop, TunablePort, TuningGoal, TuningState

FREQUENCY = 33.8e6
AXIS = np.linspace(0.98, 1.02, 21) * FREQUENCY
TRAVEL = (0, 4000)
PLAY = 20


class Bench:
    """Three coupled loops; the screw lags by the play when an axis goes down."""

    def __init__(self, seed: int, *, limits: dict[str, tuple[int, int]] | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.inductance = 250e-9 * (1 + 0.02 * rng.uniform(-1, 1, 3))
        k = np.triu(0.004 * rng.normal(size=(3, 3)), 1)
        self.k = k + k.T
        self.travel = {name: TRAVEL for port in PORTS for name in (port.tune, port.match)} | (limits or {})
        self.positions = {name: int(rng.integers(400, 3600)) for name in self.travel}
        self.screw = {name: position + rng.uniform(0, PLAY) for name, position in self.positions.items()}
        self.broken: set[str] = set()
        self.visited: list[dict[str, int]] = []

    def move(self, move: Move) -> None:
        for targets in (move.approach, move.targets):
            for name, target in targets.items():
                low, high = self.travel[name]
                assert low <= target <= high
                if name not in self.broken:
                    self.screw[name] = float(np.clip(self.screw[name], target, target + PLAY))
            self.positions.update(targets)
        self.visited.append(dict(self.positions))

    def sweep(self) -> ArraySweep:
        omega = 2 * np.pi * AXIS[:, None, None]
        mutual = np.sqrt(np.outer(self.inductance, self.inductance))
        loops = 1j * omega * mutual * (np.eye(3) + self.k) + 0.5 * np.eye(3)
        turn = {name: 0.6 * (screw - 2000) / 4000 for name, screw in self.screw.items()}
        tune = np.array([75e-12 * (1 + turn[port.tune] + 0.1 * turn[port.tune] ** 2) for port in PORTS])
        match = np.array([9e-12 * (1 + turn[port.match]) for port in PORTS])
        z = np.linalg.inv(np.linalg.inv(loops) + 1j * omega * np.diag(tune)) + np.diag(1 / match) / (
            1j * omega
        )
        s = (z - 50 * np.eye(3)) @ np.linalg.inv(z + 50 * np.eye(3))
        noise = 1.8e-4 * (self.rng.normal(size=s.shape) + 1j * self.rng.normal(size=s.shape)) / np.sqrt(2)
        return ArraySweep(AXIS, s + noise)


PORTS = tuple(TunablePort(n, FREQUENCY, f"ch{n}.na.tune", f"ch{n}.na.match") for n in (1, 2, 3))


def run(bench: Bench, goal: TuningGoal | None = None) -> tuple[TuningState, Stop]:
    state, move = begin(PORTS, bench.travel, bench.positions, goal)
    bench.move(move)
    while True:
        state, action = advance(state, bench.sweep(), bench.positions)
        if isinstance(action, Stop):
            if action.restore is not None:
                bench.move(action.restore)
            return state, action
        bench.move(action)


@pytest.mark.parametrize("seed", range(8))
def test_every_port_comes_below_the_aim_in_few_sweeps(seed: int) -> None:
    """Three coupled loops with play and bent scales: at most a dozen sweeps of the whole array."""
    bench = Bench(seed)
    state, stop = run(bench)
    assert stop.unreached == ()
    assert max(state.best_reflections_db) < -26.0
    assert state.sweeps <= 12
    own = bench.sweep().at(np.array([FREQUENCY]))[0]
    assert np.abs(np.diag(own)).max() < 10 ** (-25 / 20)


def test_every_axis_arrives_from_below() -> None:
    """An axis that goes down first passes at least the play below its target, within its travel."""
    bench = Bench(3)
    state, move = begin(PORTS, bench.travel, bench.positions)
    before = dict(bench.positions)
    for _ in range(6):
        for name, target in move.targets.items():
            if target <= before[name]:
                assert 0 <= move.approach[name] <= target - PLAY
            else:
                assert name not in move.approach or move.approach[name] < target
        bench.move(move)
        before = dict(bench.positions)
        state, action = advance(state, bench.sweep(), bench.positions)
        if isinstance(action, Stop):
            break
        move = action


def test_advance_is_a_pure_function() -> None:
    """The same state and sweep give the same answer, and the state is not changed."""
    bench = Bench(1)
    state, move = begin(PORTS, bench.travel, bench.positions)
    bench.move(move)
    for _ in range(3):
        sweep, positions = bench.sweep(), dict(bench.positions)
        copy = dataclasses.replace(state)
        first, action = advance(state, sweep, positions)
        second, again = advance(state, sweep, positions)
        assert isinstance(action, Move)
        assert isinstance(again, Move)
        assert dict(action.targets) == dict(again.targets)
        assert first.reflections_db == second.reflections_db
        assert all(
            getattr(copy, field.name) is getattr(state, field.name) for field in dataclasses.fields(state)
        )
        state = first
        bench.move(action)


def test_a_tuned_array_is_left_alone() -> None:
    """The first sweep ends it when everything is below the aim already."""
    bench = Bench(2)
    run(bench)
    state, stop = run(bench)
    assert (state.sweeps, stop.unreached, stop.restore) == (1, (), None)


def test_a_changed_load_is_followed() -> None:
    """Loops that lose and store 2 % more are tuned again."""
    bench = Bench(4)
    run(bench)
    bench.inductance = bench.inductance * 1.02
    state, stop = run(bench)
    assert stop.unreached == ()
    assert state.sweeps > 1


def test_a_port_that_cannot_be_reached_names_its_axis_and_what_is_missing() -> None:
    """A tune trimmer that ends below its target is named; the other ports are tuned all the same."""
    free = Bench(5)
    run(free)
    wanted = free.positions["ch2.na.tune"]
    bench = Bench(5, limits={"ch2.na.tune": (0, wanted - 300)})
    bench.positions["ch2.na.tune"] = min(bench.positions["ch2.na.tune"], wanted - 800)
    bench.screw["ch2.na.tune"] = float(bench.positions["ch2.na.tune"])
    _, stop = run(bench)
    assert [entry.port for entry in stop.unreached] == [2]
    words = stop.unreached[0].reason.split()
    assert "ch2.na.tune" in words
    assert "upper" in words
    missing = float(words[words.index("steps") - 1])
    assert missing == pytest.approx(300, abs=60)
    own = np.abs(np.diag(bench.sweep().at(np.array([FREQUENCY]))[0]))
    assert max(own[0], own[2]) < 0.1


@pytest.mark.parametrize("broken", [("ch3.na.tune", "ch3.na.match"), ("ch3.na.match",), ("ch3.na.tune",)])
def test_trimmers_that_do_nothing_are_named(broken: tuple[str, ...]) -> None:
    """Motors of channel 3 are unplugged: port 3 names them, ports 1 and 2 are tuned."""
    bench = Bench(6)
    bench.broken = set(broken)
    _, stop = run(bench)
    assert [entry.port for entry in stop.unreached] == [3]
    assert f"does not answer to {' and '.join(broken)}" in stop.unreached[0].reason


def test_it_ends_where_it_was_best() -> None:
    """When the sweeps run out in a worse place the best positions are restored."""
    bench = Bench(7)
    state, stop = run(bench, TuningGoal(sweeps=4))
    assert state.phase is Phase.STOPPED
    assert state.best is not None
    levels = 20 * np.log10(np.abs(np.diag(bench.sweep().at(np.array([FREQUENCY]))[0])))
    assert levels == pytest.approx(np.array(state.best_reflections_db), abs=1.0)
    assert {entry.port for entry in stop.unreached} == {
        port for port, level in enumerate(state.best_reflections_db, start=1) if level >= -20.0
    }
    with pytest.raises(ValueError, match="over"):
        advance(state, bench.sweep(), bench.positions)


def test_wrong_plans_are_refused() -> None:
    """Limits out of order, missing or repeated axes, short travel, a frequency that is not swept."""
    bench = Bench(0)
    with pytest.raises(ValueError, match="aim < limit"):
        TuningGoal(limit_db=-26.0, aim_db=-20.0)
    with pytest.raises(ValueError, match="positive"):
        TuningGoal(play=0)
    with pytest.raises(ValueError, match=r"ch4\.na\.tune"):
        begin((TunablePort(4, FREQUENCY, "ch4.na.tune", "ch1.na.match"),), bench.travel, bench.positions)
    with pytest.raises(ValueError, match=r"ch1\.na\.tune"):
        begin((TunablePort(1, FREQUENCY, "ch1.na.tune", "ch1.na.tune"),), bench.travel, bench.positions)
    with pytest.raises(ValueError, match="shorter"):
        begin(PORTS, dict.fromkeys(bench.travel, (0, 200)), bench.positions)
    elsewhere = tuple(dataclasses.replace(port, frequency=50e6) for port in PORTS)
    state, move = begin(elsewhere, bench.travel, bench.positions)
    bench.move(move)
    with pytest.raises(ValueError, match="does not contain"):
        advance(state, bench.sweep(), bench.positions)
