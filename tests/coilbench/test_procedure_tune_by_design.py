"""Facts about tuning by the drawing: the simulated array, judged by its truth."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coilbench.base.errors import InstrumentFault, LimitExceeded, ReplyTimeout, RunAborted
from coilbench.procedures.tune import NucleusPorts, TunePlan, TuneResult, tune
from coilbench.simulated_drawing import drawing
from coils.tuning.belief import Belief
from coils.tuning.local_state import TuningGoal
from drivers.actuators.tune_controller import open_tuner
from drivers.analyzers.rohde_schwarz_znb import open_analyzer
from drivers.protocols import never
from hil_fixtures.in_memory import MemoryTuner, in_memory
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.physics.settings import WorldSettings
from hil_fixtures.physics.workmanship import HARD, NOMINAL, UNMODELLED, Workmanship
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coilbench.base.events import Event
    from drivers.protocols import Abort

#: What every port shall be below, dB.
LIMIT = -20.0


class Bench:
    """A world, its instruments in memory, and all that was told while tuning."""

    def __init__(self, seed: int, channels: int = 4, workmanship: Workmanship = NOMINAL) -> None:
        self.world = World(WorldSettings(channels=channels, workmanship=workmanship), seed)
        self.analyzer, self.tuner = in_memory(self.world, seed)
        self.events: list[Event] = []

    def tune(self, **more: Any) -> TuneResult:
        plan = TunePlan(nuclei(self.world), design=drawing(self.world), **more)
        return tune(self.analyzer, self.tuner, plan, emit=self.events.append)

    def levels(self) -> np.ndarray:
        return true_levels(self.world)

    def told(self, kind: str) -> list[Mapping[str, Any]]:
        return [event.data for event in self.events if event.kind == kind]


def nuclei(world: World) -> tuple[NucleusPorts, NucleusPorts]:
    count = world.channel_count
    low, high = world.frequencies
    return (
        NucleusPorts("23Na", low, tuple(range(1, count + 1)), "na"),
        NucleusPorts("1H", high, tuple(range(count + 1, 2 * count + 1)), "h"),
    )


def true_levels(world: World) -> np.ndarray:
    """Return the true |S_ii| of all ports at their own frequencies, dB."""
    count = world.channel_count
    low, high = world.scattering(np.array(world.frequencies))
    own = np.concatenate((np.diag(low)[:count], np.diag(high)[count:]))
    return np.asarray(20.0 * np.log10(np.abs(own)))


def ports_left(result: TuneResult) -> list[int]:
    return [port.port for port in result.ports if not port.reached]


# Arrays that can be tuned


@pytest.mark.parametrize("workmanship", [NOMINAL, UNMODELLED], ids=["nominal", "unmodelled"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_eight_channels_are_tuned_in_four_sweeps(seed: int, workmanship: Workmanship) -> None:
    """All 16 true reflections below -20 dB after 64 port-sweeps, no limit touched.

    Also behind leads, connectors and a calibration of -38 dB directivity that are on no drawing.
    """
    bench = Bench(seed, 8, workmanship)
    assert np.sum(bench.levels() < LIMIT) <= 2
    result = bench.tune()
    assert result.reached
    assert bench.levels().max() < LIMIT
    assert bench.analyzer.ledger.port_sweeps <= 64
    assert bench.analyzer.ledger.sweeps == result.sweeps
    assert bench.analyzer.ledger.refused == 0
    assert (result.advice, result.suspects) == ((), ())
    # a third jump is of those trimmers only that still matter
    assert result.moves < 3 * 32
    assert result.positions == bench.tuner.positions()


def test_what_is_reported_is_what_the_last_sweep_shows() -> None:
    """Reported levels differ from the truth by noise of -70 dB; the first sweep shows the array as found."""
    bench = Bench(3)
    before = bench.levels()
    result = bench.tune()
    noise = 5.0 * 10 ** (-70 / 20)
    told = np.array([[port.before_db, port.after_db] for port in result.ports]).T
    true = np.stack((before, bench.levels()))
    assert 10 ** (told / 20) == pytest.approx(10 ** (true / 20), abs=noise)
    assert [port.channel for port in result.ports] == [1, 2, 3, 4, 1, 2, 3, 4]


def test_a_tuned_array_is_left_alone() -> None:
    """Tuned again from what is known, one sweep shows that nothing has to move."""
    bench = Bench(1)
    first = bench.tune()
    assert first.reached
    moves = bench.tuner.ledger.moves
    again = bench.tune(kept=first.belief)
    assert (again.reached, again.sweeps, again.moves) == (True, 1, 0)
    assert bench.tuner.ledger.moves == moves


def test_another_load_takes_two_sweeps() -> None:
    """Half the conductivity, other copper, loops bent by 0.4 %: a sweep, a jump, a sweep; seldom one more."""
    sweeps = []
    for seed in (0, 1, 2):
        bench = Bench(seed)
        first = bench.tune()
        assert isinstance(first.belief, Belief)
        load = bench.world.load
        assert load is not None
        bench.world.set_load(0.5 * load.conductivity)
        bench.world.reshape_loops(1.004, 0.9)
        assert bench.levels().max() > -10.0
        second = bench.tune(kept=first.belief)
        assert second.reached
        assert bench.levels().max() < LIMIT
        # nothing of it goes to the ends of the travel or is accused
        assert (second.advice, second.suspects) == ((), ())
        sweeps.append(second.sweeps)
    assert sorted(sweeps)[1] == 2
    assert max(sweeps) <= 3


def test_the_smallest_array_is_tuned() -> None:
    """Three loops, six ports."""
    bench = Bench(5, channels=3)
    assert bench.tune().reached
    assert bench.levels().max() < LIMIT


# Arrays that cannot


def test_an_unreachable_array_says_what_to_solder_and_then_is_tuned() -> None:
    """Twice the usual tolerances: the truth's best is above -20 dB; the advice followed, all ports go below.

    Every port that is not reached says why, the rest is tuned, and no limit is touched on the way: targets
    stay away from the lower end by the way on which they are approached.
    """
    bench = Bench(1, 8, HARD)
    assert not bench.world.best_reflections().is_below(LIMIT)
    result = bench.tune()
    left = ports_left(result)
    assert 0 < len(left) <= 3
    assert sum(bench.levels() > LIMIT) == len(left)
    assert all("unreachable" in port.reason for port in result.ports if not port.reached)
    assert len(bench.told("tune.unreached")) == len(left)
    assert [told["part"] for told in bench.told("tune.advice")] == [advice.part for advice in result.advice]
    for advice in result.advice:
        bench.world.rework(advice.part, advice.change)
    assert bench.world.best_reflections().is_below(-30.0)
    play = TuningGoal().play
    for told in bench.told("tune.moved"):
        assert all(play <= target <= 4000 for target in told["targets"].values())
        way = {**told["before"], **told["approach"]}
        assert all(0 <= way[axis] <= target for axis, target in told["targets"].items())
    again = bench.tune()
    assert again.reached
    assert bench.levels().max() < LIMIT
    assert bench.analyzer.ledger.refused == 0


def test_a_wrong_capacitor_is_found_by_its_place() -> None:
    """Fitted too large in one channel: that trimmer alone is named, to take away; its port alone is left."""
    bench = Bench(1)
    start = bench.tuner.positions()["ch2.na.tune"]
    reached = []
    for position in (TuningGoal().play, bench.world.reference_positions()["ch2.na.tune"], start):
        bench.world.move_axes({"ch2.na.tune": position})
        reached.append(bench.world.capacitances()[1, 0])
    lowest, matched, _ = reached
    bench.world.rework("ch2.na.tune", 1.05 * (matched - lowest))
    result = bench.tune()
    assert ports_left(result) == [2]
    assert [advice.part for advice in result.advice] == ["ch2.na.tune"]
    assert result.advice[0].change < 0.0
    bench.world.rework("ch2.na.tune", result.advice[0].change)
    assert bench.tune().reached
    assert bench.levels().max() < LIMIT


# Motors that fail


@pytest.mark.parametrize("seed", [1, 3])
def test_a_stuck_trimmer_is_named_and_all_others_are_tuned(seed: int) -> None:
    """One of 32, drawn: it alone is accused, and only its port may stay above."""
    bench = Bench(seed, 8)
    culprit = str(np.random.default_rng([seed, 7]).choice(bench.world.axis_names))
    bench.world.set_grip(culprit, 0.0)
    wanted = np.array(bench.world.best_reflections().wanted)
    assert np.sum(~wanted) == 1
    result = bench.tune()
    assert {suspect.axis for suspect in result.suspects} == {culprit}
    assert all(suspect.kind == "stuck" for suspect in result.suspects)
    assert culprit in [told["axis"] for told in bench.told("tune.suspect")]
    assert bench.levels()[wanted].max() < LIMIT
    assert set(ports_left(result)) <= {int(np.flatnonzero(~wanted)[0]) + 1}
    assert all(culprit in port.reason for port in result.ports if not port.reached)
    assert result.advice == ()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_slipping_motor_is_named_by_homing_and_everything_is_tuned(seed: int) -> None:
    """A tenth of its steps lost shows as another place after homing and back."""
    bench = Bench(seed)
    culprit = str(np.random.default_rng([seed, 7]).choice(bench.world.axis_names))
    bench.world.set_grip(culprit, 0.9)
    result = bench.tune(check_motors=True)
    assert [(suspect.axis, suspect.kind) for suspect in result.suspects] == [(culprit, "slipping")]
    assert result.reached
    assert bench.levels().max() < LIMIT
    assert len(bench.told("tune.homed")) == 1


@pytest.mark.parametrize("culprit", ["ch2.h.match", "ch3.na.tune"])
def test_a_trimmer_stuck_where_it_is_wanted_is_found_by_a_probing_move(culprit: str) -> None:
    """Moves that tuning needs may not show it; the check does, and homing has nothing to add."""
    bench = Bench(5)
    bench.world.move_axes({culprit: bench.world.reference_positions()[culprit]})
    bench.world.set_grip(culprit, 0.0)
    result = bench.tune(check_motors=True)
    assert [(suspect.axis, suspect.kind) for suspect in result.suspects] == [(culprit, "stuck")]
    assert bench.levels()[np.array(bench.world.best_reflections().wanted)].max() < LIMIT
    assert "after a probing move" in [told["purpose"] for told in bench.told("tune.moved")]


def test_nobody_is_probed_unasked_while_tuning_goes_well() -> None:
    """The check costs three sweeps."""
    bench = Bench(5)
    assert bench.tune().reached
    assert {told["purpose"] for told in bench.told("tune.moved")} == {"after a jump"}


def test_a_motor_that_slips_near_its_lower_end_is_found_by_few_steps() -> None:
    """Found 150 steps above it, a tenth slips: 15 steps elsewhere after homing, three times a switch's 5."""
    bench = Bench(6)
    bench.world.move_axes({"ch1.na.match": 150})
    bench.world.set_grip("ch1.na.match", 0.9)
    result = bench.tune(check_motors=True)
    (suspect,) = result.suspects
    assert (suspect.axis, suspect.kind) == ("ch1.na.match", "slipping")
    steps = float(suspect.text.removeprefix("stands ").split()[0])
    assert steps == pytest.approx(-15.0, abs=4.0)
    assert bench.levels().max() < LIMIT


def test_a_wrong_drawing_accuses_no_motor_and_slopes_go_on() -> None:
    """A trap 30 % off its drawing: the model is at a loss, looks at the motors, and believes nothing."""
    bench = Bench(0, channels=2)
    design = drawing(bench.world)
    values = {element.name: element.value for element in design.bank.elements()}
    values["trap.L"] = 1.3 * values["trap.L"]
    wrong = replace(design, circuit=design.circuit.with_values([values]))
    plan = TunePlan(nuclei(bench.world), design=wrong)
    result = tune(bench.analyzer, bench.tuner, plan, emit=bench.events.append)
    assert "after a probing move" in [told["purpose"] for told in bench.told("tune.moved")]
    assert result.suspects == ()
    assert len(bench.told("tune.by_slopes")) == 1
    assert result.reached
    assert bench.levels().max() < LIMIT


def test_sound_motors_pass_the_check() -> None:
    """Play of 20 steps and noise accuse nobody, and the array is as tuned after homing as before."""
    bench = Bench(4)
    result = bench.tune(check_motors=True)
    assert result.suspects == ()
    assert result.reached
    assert bench.levels().max() < LIMIT


# Instruments that fail


def test_sweeps_that_fail_now_and_then_are_taken_again() -> None:
    """One in six fails, silently or with an error: arrays are tuned all the same, and failures are told."""
    failed, kinds = 0, set()
    for seed in range(6):
        bench = Bench(seed, channels=3)
        bench.analyzer.faults.every = 6
        result = bench.tune()
        assert result.reached
        assert bench.levels().max() < LIMIT
        assert result.failed_sweeps == bench.analyzer.ledger.failed
        words = [event.message for event in bench.events if event.kind == "tune.sweep_failed"]
        assert len(words) == result.failed_sweeps
        failed += result.failed_sweeps
        kinds |= {"no answer" in word for word in words}
    assert failed > 3
    assert kinds == {True, False}


def test_one_failure_in_twenty_costs_no_array() -> None:
    """As a bad contact does it: over some arrays a sweep fails, and all are tuned."""
    failed = 0
    for seed in range(5):
        bench = Bench(seed, channels=3)
        bench.analyzer.faults.every = 20
        assert bench.tune().reached
        assert bench.levels().max() < LIMIT
        failed += bench.analyzer.ledger.failed
    assert failed > 0


@pytest.mark.parametrize(("silent", "kind", "times"), [(1.0, ReplyTimeout, 3), (0.0, InstrumentFault, 6)])
def test_an_analyzer_that_keeps_failing_ends_it_with_its_error(
    silent: float, kind: type[Exception], times: int
) -> None:
    """After six complaints in a row, or three silences, its own error comes out; nothing has moved."""
    bench = Bench(0)
    bench.analyzer.faults.every = 1
    bench.analyzer.faults.silent = silent
    start = bench.tuner.positions()
    with pytest.raises(kind) as caught:
        bench.tune()
    assert caught.value.__notes__ == [f"sweep 1 failed {times} times; tuning ends here"]
    assert bench.analyzer.ledger.failed == times
    assert bench.tuner.positions() == start


def test_no_bias_is_left_on_and_no_sweep_is_taken_with_it() -> None:
    """A detuned channel would be fitted as a broken one."""
    bench = Bench(2)
    bench.world.set_bias(3, 0.05)
    assert bench.tune().reached
    assert [bench.world.bias(channel) for channel in (1, 2, 3, 4)] == [0.0] * 4


# Stopping, and taking back


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_abort_stops_before_the_next_move(after: int) -> None:
    """Asked after so many sweeps, nothing is swept or moved any more, and it says how many there were."""
    bench = Bench(0)
    seen: dict[str, Any] = {}

    def abort() -> bool:
        if bench.analyzer.ledger.sweeps >= after:
            seen.setdefault("positions", bench.tuner.positions())
            return True
        return False

    plan = TunePlan(nuclei(bench.world), design=drawing(bench.world))
    with pytest.raises(RunAborted):
        tune(bench.analyzer, bench.tuner, plan, emit=bench.events.append, abort=abort)
    assert bench.analyzer.ledger.sweeps == after
    assert bench.tuner.positions() == seen["positions"]


class InterruptedTuner(MemoryTuner):
    """Is aborted while on its way: after the approach of the second move."""

    calls = 0

    def move(self, targets: Mapping[str, int], /, *, abort: Abort = never) -> dict[str, int]:
        self.calls += 1
        if self.calls == 2:
            raise RunAborted("stopped on the way")
        return super().move(targets, abort=abort)


def test_a_move_cut_short_is_in_the_log_with_where_it_ended() -> None:
    """Approached but not arrived: the event holds the positions before and those where the axes stopped."""
    bench = Bench(0)
    bench.tuner = InterruptedTuner(bench.world)
    start = bench.tuner.positions()
    with pytest.raises(RunAborted):
        bench.tune()
    (event,) = bench.told("tune.moved")
    assert bench.tuner.calls == 2
    assert event["positions"] == bench.tuner.positions() != start
    assert all(event["before"][axis] == start[axis] for axis in event["targets"])


@pytest.mark.parametrize("check_motors", [False, True])
def test_every_move_is_told_with_what_was_before_and_can_be_taken_back(check_motors: bool) -> None:
    """The events alone, replayed backwards, bring every axis to where it was found; forwards they join up."""
    bench = Bench(2)
    start = bench.tuner.positions()
    result = bench.tune(check_motors=check_motors)
    assert bench.told("tune.started")[0]["positions"] == start
    moves = [event for event in bench.events if event.kind in {"tune.moved", "tune.homed"}]
    now = dict(start)
    for event in moves:
        assert all(now[axis] == position for axis, position in event.data["before"].items())
        now = dict(event.data["positions"])
        for axis, target in event.data.get("targets", {}).items():
            assert now[axis] == target
    assert now == result.positions
    assert sum(len(event.data.get("targets", ())) for event in moves) == result.moves
    assert sum(abs(now[axis] - start[axis]) > 100 for axis in now) >= 8
    for event in reversed(moves):
        bench.tuner.move(event.data["before"])
    assert bench.tuner.positions() == start


def test_homing_brings_back_axes_that_are_on_no_drawing() -> None:
    """An axis of something else is homed with the rest and has to be returned with the rest."""
    bench = Bench(2)

    class WiderTuner(MemoryTuner):
        """Has one axis more."""

        other = 1234

        def positions(self) -> dict[str, int]:
            return {**super().positions(), "table": self.other}

        def move(self, targets: Mapping[str, int], /, *, abort: Abort = never) -> dict[str, int]:
            self.other = targets.get("table", self.other)
            own = {name: target for name, target in targets.items() if name != "table"}
            return {**super().move(own, abort=abort), "table": self.other}

        def home(self) -> None:
            super().home()
            self.other = 0

        @property
        def axes(self) -> Any:
            return {**super().axes, "table": next(iter(super().axes.values()))}

    bench.tuner = WiderTuner(bench.world)
    assert bench.tune(check_motors=True).reached
    assert bench.tuner.positions()["table"] == 1234


# What cannot be done at all


def test_a_drawing_of_another_array_is_refused_before_anything_moves() -> None:
    """Its axes do not exist."""
    bench = Bench(0, channels=3)
    plan = TunePlan(nuclei(bench.world), design=drawing(Bench(0, channels=4).world))
    with pytest.raises(ValueError, match=r"axes that do not exist: ch4\.na\.tune, "):
        tune(bench.analyzer, bench.tuner, plan)
    assert bench.tuner.ledger.moves == 0


def test_more_power_than_the_source_has_is_its_limit_and_ends_it() -> None:
    """The driver refuses; nothing is swept."""
    bench = Bench(0)
    with pytest.raises(LimitExceeded):
        bench.tune(power_dbm=20.0)
    assert bench.analyzer.ledger.sweeps == 0


# Over wires


def test_over_wires_it_is_as_in_memory() -> None:
    """The simulated ZNBT and the tune controller: 16 ports in at most 4 sweeps, RF off afterwards."""
    settings = WorldSettings(workmanship=NOMINAL)
    with (
        Lab(settings, 1, serial=False) as lab,
        closing(open_analyzer(lab.addresses["analyzer_hislip"], name="analyzer")) as analyzer,
        closing(open_tuner(lab.addresses["tuner"], name="tuner")) as tuner,
    ):
        plan = TunePlan(nuclei(lab.world), design=drawing(lab.world), if_bandwidth=1e4)
        result = tune(analyzer, tuner, plan)
        levels = true_levels(lab.world)
        positions = tuner.positions()
        rf = dict(lab.world.rf_outputs)
    assert result.reached
    assert levels.max() < LIMIT
    assert result.sweeps <= 4
    assert result.positions == positions
    assert rf
    assert not any(rf.values())
