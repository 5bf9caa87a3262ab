"""Facts about tuning by hand: a simulated person with a screwdriver tunes simulated arrays."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from coilbench.array_manual import Screwdriver as AtTheTrimmers
from coilbench.array_manual import tune_array_by_hand
from coilbench.base.errors import BenchFileError, RunAborted
from coilbench.base.events import ignore
from coilbench.base.verdict import Verdict
from coilbench.bench import open_bench
from coilbench.procedures.manual import HandPlan, LiveView, Reply, tune_by_hand
from coilbench.procedures.tune_plan import NucleusPorts
from coilbench.simulated_bench import DEFAULT_ADDRESSES, bench_file_text
from coilbench.simulated_drawing import drawing
from coilbench.terminal_tuning import draw_live, live_words
from coils.tuning.gauge import Advice
from drivers.analyzers.nanovna_h import open_analyzer
from hil_fixtures.in_memory import in_memory
from hil_fixtures.instruments.nanovna_h import NanoVnaH
from hil_fixtures.physics.world import World, WorldSettings

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.base.events import Event

#: What a hand's intention and its turn differ by, relative (standard deviation).
CLUMSINESS = 0.12

#: All instruments of a person with a screwdriver.
NANOVNA = """[instruments.analyzer]
driver = "nanovna-h"
address = "{}"

"""

#: The rim and the circles r = 1 and x = ±1 of a Smith chart, a trace at its left, dot and target.
CHART = [
    "      .........",
    "   ....  **   ....",
    " ...   ***..   . ...",
    "..  ****   ..........",
    ". ***     .. ....  ..",
    ".o*.......x..........",
    ". ***     .. ....  ..",
    "..  ****   ..........",
    " ...   ***..   . ...",
    "   ....  **   ....",
    "      .........",
]


class Screwdriver:
    """A person who turns by 12 % too much or too little, the first time and one time in eight the wrong way.

    Knows nothing but sentences and views; turns the screws of the world, play included.
    """

    def __init__(self, world: World, seed: int, *, looks: int = 8) -> None:
        self.world = world
        self.random = np.random.default_rng([seed, 11])
        self.looks = looks
        self.heard: list[str] = []
        self.views: list[LiveView] = []
        self.looked = 0
        self.wrong = False
        self.step = 0.0
        self.replies: dict[int, Reply] = {}

    def ask(self, sentence: str) -> Reply:
        self.heard.append(sentence)
        self.looked = 0
        self.step = 0.0
        self.wrong = len(self.heard) == 1 or self.random.random() < 0.125
        return self.replies.get(len(self.heard), Reply.READY)

    def show(self, view: LiveView) -> bool:
        self.views.append(view)
        self.looked += 1
        if view.advice is Advice.STOP or self.looked > self.looks:
            return True
        if view.before is None or view.now is None or view.after is None:
            self.turn(view.axis, self.by_eye(view))
        else:
            wish = view.after - view.now
            if self.looked == 1 and self.wrong:
                wish *= -0.3
            self.turn(view.axis, wish / view.now)
        return False

    def by_eye(self, view: LiveView) -> float:
        """Turn in steps that halve whenever the chart says that it went too far."""
        if self.step == 0.0:
            self.step = (1.0 if view.is_more else -1.0) * 0.04
        elif view.advice in (Advice.PASSED, Advice.OTHER_WAY):
            towards = 1.0 if view.is_more else -1.0
            away = -towards if view.advice is Advice.PASSED else towards
            self.step = away * 0.4 * abs(self.step)
        elif view.advice is Advice.SLOWER:
            self.step = (1.0 if view.is_more else -1.0) * 0.5 * abs(self.step)
        else:
            self.step = (1.0 if view.is_more else -1.0) * abs(self.step)
        return self.step

    def turn(self, axis: str, part: float) -> None:
        """Change a trimmer by about a part of its capacitance, held by the ends of its travel."""
        place = self.world.axis_names.index(axis)
        low, high = self.world.axis_limits(axis)
        # 60 % of the middle value over the whole travel: what the person has in the wrist
        middle = self.world.design.trimmers[place % 4]
        now = self.world.capacitances()[place // 4, place % 4]
        steps = part * now / (0.6 * middle) * (high - low) * (1.0 + CLUMSINESS * self.random.normal())
        target = round(self.world.axis_position(axis) + steps)
        self.world.move_axis(axis, int(np.clip(target, low, high)))


def plan(world: World, *, drawn: bool = True, **more: object) -> HandPlan:
    low, high = world.frequencies
    count = world.channel_count
    nuclei = (
        NucleusPorts("23Na", low, tuple(range(1, count + 1)), "na"),
        NucleusPorts("1H", high, tuple(range(count + 1, 2 * count + 1)), "h"),
    )
    return HandPlan(nuclei, design=drawing(world) if drawn else None, **more)  # type: ignore[arg-type]


def true_levels(world: World) -> np.ndarray:
    own = np.diagonal(world.scattering(np.array(world.frequencies)), axis1=1, axis2=2)
    count = world.channel_count
    return np.asarray(20.0 * np.log10(np.abs(np.concatenate((own[0, :count], own[1, count:])))))


@pytest.mark.parametrize(("channels", "seed", "most"), [(8, 1, 96), (2, 3, 24)])
def test_a_person_tunes_every_port_in_a_bounded_number_of_turns(channels: int, seed: int, most: int) -> None:
    """At most three turns a trimmer, clumsy and now and then the wrong way; true |S11| below -20 dB."""
    world = World(WorldSettings(channels=channels), seed)
    assert true_levels(world).max() > -1.0
    analyzer, _ = in_memory(world, seed)
    person = Screwdriver(world, seed)
    events: list[Event] = []
    result = tune_by_hand(analyzer, plan(world), ask=person.ask, show=person.show, emit=events.append)
    assert result.reached
    assert true_levels(world).max() < -20.0
    assert result.turns == len(person.heard) <= most
    assert result.silent == ()
    advices = {view.advice for view in person.views}
    assert {Advice.TURN, Advice.STOP, Advice.OTHER_WAY} <= advices
    asked = [event for event in events if event.kind == "hand.asked"]
    turned = [event for event in events if event.kind == "hand.turned"]
    assert [event.data["axis"] for event in asked] == [event.data["axis"] for event in turned]
    assert events[0].kind == "hand.started"
    assert events[-1].kind == "hand.finished"


def test_a_trimmer_that_does_not_answer_is_named_and_the_rest_tunes() -> None:
    """Asked for twice, then given up: 3 of 4 ports are below -20 dB."""
    world = World(WorldSettings(channels=2), 3)
    world.set_grip("ch2.na.tune", 0.0)
    analyzer, _ = in_memory(world, 3)
    person = Screwdriver(world, 3)
    events: list[Event] = []
    result = tune_by_hand(analyzer, plan(world), ask=person.ask, show=person.show, emit=events.append)
    assert result.silent == ("ch2.na.tune",)
    assert [event.data["axis"] for event in events if event.kind == "hand.silent"] == ["ch2.na.tune"]
    assert [port.port for port in result.ports if not port.reached] == [2]
    assert result.ports[1].reason == "ch2.na.tune does not answer"
    assert sum("ch2.na.tune" in sentence for sentence in person.heard) == 2
    assert np.delete(true_levels(world), 1).max() < -20.0


def test_a_turn_can_be_taken_back() -> None:
    """`UNDO` brings the last trimmer back to its capacitance, within the gauge's 2 %, and is logged."""
    world = World(WorldSettings(channels=2), 5)
    analyzer, _ = in_memory(world, 5)
    person = Screwdriver(world, 5)
    person.replies = {2: Reply.UNDO, 4: Reply.END}
    before = world.capacitances()
    events: list[Event] = []
    result = tune_by_hand(analyzer, plan(world), ask=person.ask, show=person.show, emit=events.append)
    axis = person.heard[0].split(":")[0].removeprefix("Turn ")
    assert person.heard[2].startswith(f"Take back: turn {axis}: ")
    turned = next(event for event in events if event.kind == "hand.turned")
    undone = next(event for event in events if event.kind == "hand.undone")
    assert undone.data["asked"] == turned.data["before"]
    assert undone.data["before"] == turned.data["after"]
    np.testing.assert_allclose(world.capacitances(), before, rtol=0.02)
    assert result.turns == 2
    assert not result.reached


def test_an_instruction_says_which_way_how_far_and_where_the_dot_goes() -> None:
    """In pF, in parts of the travel and, where the travel is known, in turns; clockwise as the plan says."""
    world = World(WorldSettings(channels=2), 3)
    for clockwise in ("more", "less"):
        analyzer, _ = in_memory(world, 3)
        person = Screwdriver(world, 3)
        person.replies = {1: Reply.END}
        turns = dict.fromkeys(("na.tune", "na.match", "h.tune", "h.match"), 15.0)
        tune_by_hand(
            analyzer, plan(world, turns=turns, clockwise=clockwise), ask=person.ask, show=person.show
        )
        found = re.fullmatch(
            r"Turn ch\d\.\w+\.\w+: ([\d.]+) pF (more|less) \(([\d.]+) to ([\d.]+) pF, (\d+) % of its travel, "
            r"([\d.]+) turns (clockwise|counter-clockwise)\); port \d goes to -[\d.]+ dB, .*\.",
            person.heard[0],
        )
        assert found is not None
        change = float(found[4]) - float(found[3])
        assert abs(change) == pytest.approx(float(found[1]), abs=0.011)
        assert (change > 0.0) == (found[2] == "more")
        assert float(found[6]) == pytest.approx(15.0 * float(found[5]) / 100.0, abs=0.15)
        assert (found[7] == "clockwise") == (found[2] == clockwise)


def test_an_abort_ends_it() -> None:
    world = World(WorldSettings(channels=2), 3)
    analyzer, _ = in_memory(world, 3)
    person = Screwdriver(world, 3)
    with pytest.raises(RunAborted, match="stay as they are"):
        tune_by_hand(
            analyzer, plan(world), ask=person.ask, show=person.show, abort=lambda: len(person.views) > 3
        )
    assert len(person.views) == 4


def test_without_a_drawing_each_port_is_tuned_by_its_dip() -> None:
    """One channel, two nuclei, in memory: the sentences say where the dip is and which way it must move."""
    world = World(WorldSettings(channels=2), 4)
    analyzer, _ = in_memory(world, 4)
    person = Screwdriver(world, 4, looks=25)
    result = tune_by_hand(analyzer, plan(world, drawn=False), ask=person.ask, show=person.show)
    assert result.reached
    assert true_levels(world).max() < -19.5
    assert re.fullmatch(
        r"Turn ch1\.na\.tune (counter-)?clockwise: dip is \d+ kHz too (low: less|high: more) capacitance "
        r"at the tune trimmer\.",
        person.heard[0],
    )


def test_a_nanovna_tunes_one_port_after_the_other_over_its_line() -> None:
    """Port by port, cables moved by hand, over the serial shell of the simulated instrument."""
    world = World(WorldSettings(channels=2), 4)
    with NanoVnaH(world, (1, 2), seed=1, kind="socket") as line:
        person = Screwdriver(world, 4, looks=25)

        def ask(sentence: str) -> Reply:
            found = re.match(r"Connect port (\d+) to the analyzer's port 1", sentence)
            if found is None:
                return person.ask(sentence)
            line.ports = (int(found[1]), 1 + int(found[1]) % 4)
            return Reply.READY

        with closing(open_analyzer(line.address, name="nanovna", timeout=5.0)) as analyzer:
            wanted = plan(world, points=101, live_points=41, if_bandwidth=4e3)
            result = tune_by_hand(analyzer, wanted, ask=ask, show=person.show)
    assert result.reached
    assert true_levels(world).max() < -19.0


def test_a_bench_of_one_nanovna_is_guided_and_judged_by_its_reflections(tmp_path: Path) -> None:
    """No tuner, receiver or scanner in its file; the array has more ports than the analyzer."""
    world = World.tuned(4, WorldSettings(channels=2))
    with NanoVnaH(world, (1, 2), seed=1, kind="socket") as line:
        asked: list[str] = []

        def ask(sentence: str) -> Reply:
            found = re.match(r"Connect port (\d+) to the analyzer's port 1", sentence)
            assert found is not None
            asked.append(found[1])
            line.ports = (int(found[1]), 1 + int(found[1]) % 4)
            return Reply.READY

        text = bench_file_text(DEFAULT_ADDRESSES)
        for old, new in (
            (r"(?s)\[instruments\.analyzer\].*(?=# --- the coil array)", NANOVNA.format(line.address)),
            ("channels = 8", "channels = 2"),
            (r'"23Na" = \[1, 2, .*\]', '"23Na" = [1, 2]'),
            (r'"1H" = \[9, 10, .*\]', '"1H" = [3, 4]'),
        ):
            text = re.sub(old, new, text, count=1)
        bench = tmp_path / "bench.toml"
        bench.write_text(text, encoding="utf-8")
        hand = AtTheTrimmers(ask, lambda _: True, "more", {})
        outcome = tune_array_by_hand(bench, tmp_path / "runs", ignore, hand)
        with pytest.raises(BenchFileError, match=r"no \[instruments.tuner\], \[instruments.receiver\], "):
            open_bench(bench)
    assert asked == ["1", "2", "3", "4"]
    assert outcome.verdict is Verdict.PASS
    assert outcome.judged[0].name == "worst reflection (port 3)"


def test_the_live_view_is_drawn_with_dot_target_and_words() -> None:
    """Golden: a dot at the left rim, its target in the middle, half way there."""
    frequencies = np.linspace(33e6, 35e6, 3)
    view = LiveView(
        axis="ch1.na.tune",
        port=1,
        nucleus="23Na",
        frequency=33.8e6,
        frequencies=frequencies,
        reflections=np.array([0.8j, -0.9, -0.8j]),
        marker=-0.9 + 0j,
        target=0j,
        dip=33.49e6,
        is_more=False,
        before=200e-12,
        now=180e-12,
        after=160e-12,
        advice=Advice.TURN,
    )
    assert live_words(view) == [
        "ch1.na.tune, port 1, 23Na at 33.8 MHz",
        "o  Z = 2.6 + j0.0 Ω, return loss 0.9 dB, VSWR 19.00",
        "dip -310 kHz from there",
        "",
        "200.00 pF ----------|---------- 160.00 pF",
        "now 180.00 pF",
        "",
        "▸ turn on",
        "",
        "Enter when you let go",
    ]
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(draw_live(view, columns=21, braille=False))
    lines = captured.get().splitlines()
    assert [line[:21].rstrip() for line in lines] == CHART
    assert [line[23:].rstrip() for line in lines][: len(live_words(view))] == live_words(view)


def test_a_trimmer_at_its_end_is_not_called_stuck() -> None:
    """Its travel ends, as the hand finds, before what the model asks: told, and tuned with what is left."""
    world = World(WorldSettings(channels=2), 3)
    analyzer, _ = in_memory(world, 3)
    stop = world.axis_position("ch1.na.tune")

    class Blocked(Screwdriver):
        """Moves this screw a third of the way, then no more."""

        def turn(self, axis: str, part: float) -> None:
            if axis == "ch1.na.tune":
                if world.axis_position(axis) == stop:
                    super().turn(axis, 0.3 * part)
                return
            super().turn(axis, part)

    person = Blocked(world, 1)
    events: list[Event] = []
    result = tune_by_hand(analyzer, plan(world), ask=person.ask, show=person.show, emit=events.append)
    assert result.silent == ()
    assert {event.data["axis"] for event in events if event.kind == "hand.end"} == {"ch1.na.tune"}
    assert [port.port for port in result.ports if not port.reached] == [1]
    assert [advice.part for advice in result.advice] == ["ch1.na.tune"]
    assert "unreachable" in result.ports[0].reason
    assert np.delete(true_levels(world), 0).max() < -20.0
