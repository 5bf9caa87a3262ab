"""Facts about tuning by hand: gauges of single trimmers, dips of single ports, what a person is told."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.simulated_drawing import drawing
from coils.tuning.belief import Belief
from coils.tuning.by_dip import DipTurn, advise_by_dip, find_dip, next_by_dip
from coils.tuning.by_hand import Turn
from coils.tuning.gauge import Advice, Gauge, advise
from hil_fixtures.physics.world import World, WorldSettings


@pytest.fixture(scope="module")
def belief() -> Belief:
    return Belief.from_design(drawing(World(WorldSettings(channels=3), 1)))


@pytest.mark.parametrize(("column", "arm"), [(0, 0), (1, 0), (2, 0), (2, 1), (3, 1)])
def test_three_solutions_give_the_reflection_at_every_capacitance(
    belief: Belief, column: int, arm: int
) -> None:
    """A port's reflection is bilinear in 1/C of any one trimmer: equal to the whole model's to rounding."""
    design = belief.design
    frequency = design.frequencies[arm]
    axis = np.linspace(0.85 * frequency, 1.15 * frequency, 37)
    here = belief.capacitances(np.full((3, 4), 0.1))
    port = int(design.arms[arm].ports[1])
    travel = (0.7 * here[1, column], 1.3 * here[1, column])
    gauge = Gauge.of(belief, here, (1, column), port, travel, axis)
    for factor in (0.68, 0.83, 1.0, 1.0721, 1.29):
        trial = here.copy()
        trial[1, column] *= factor
        expected = belief.solve(axis, trial).s[:, port, port]
        np.testing.assert_allclose(gauge.reflections(trial[1, column]), expected, rtol=0.0, atol=1e-8)


def test_a_gauge_reads_a_capacitance_from_one_noisy_trace(belief: Belief) -> None:
    """-60 dB of noise on 61 points, tune trimmers anywhere in their travel: within 0.1 %.

    A loaded Q of 100 turns the reflection by about 100 rad for each relative unit of C, near resonance;
    1e-3 of noise on a handful of points is 1e-5 of C there. Far off, the wide sweep's step of 0.5 % of
    frequency still has points on the dip.
    """
    random = np.random.default_rng(3)
    design = belief.design
    axis = np.linspace(0.8, 1.2, 61) * design.frequencies[0]
    here = belief.capacitances(np.zeros((3, 4)))
    port = int(design.arms[0].ports[2])
    gauge = Gauge.of(belief, here, (2, 0), port, (0.7 * here[2, 0], 1.3 * here[2, 0]), axis)
    for factor in random.uniform(0.72, 1.28, 12):
        trial = here.copy()
        trial[2, 0] *= factor
        noise = 1e-3 * random.normal(size=(2, axis.size)) / np.sqrt(2)
        trace = belief.solve(axis, trial).s[:, port, port] + noise[0] + 1j * noise[1]
        found, misfit = gauge.read(trace)
        assert found == pytest.approx(trial[2, 0], rel=1e-3)
        assert misfit < 3e-2


def turn(before: float, after: float) -> Turn:
    return Turn("ch1.na.tune", 0, 0, 0, before, after, 0.1e-12, 100e-12, 220e-12, 0.1 + 0.2j)


@pytest.mark.parametrize(
    ("now", "advice"),
    [
        (200.0, Advice.TURN),
        (203.9, Advice.OTHER_WAY),
        (180.0, Advice.TURN),
        (162.0, Advice.SLOWER),
        (160.09, Advice.STOP),
        (159.92, Advice.STOP),
        (159.5, Advice.PASSED),
        (120.0, Advice.PASSED),
    ],
)
def test_a_person_is_told_when_to_go_on_and_when_to_stop(now: float, advice: Advice) -> None:
    """Down from 200 to 160 pF, to 0.1 pF; and the mirror image upwards is told the same."""
    assert advise(turn(200e-12, 160e-12), now * 1e-12) is advice
    assert advise(turn(120e-12, 160e-12), (320.0 - now) * 1e-12) is advice


def test_a_turn_is_stated_in_parts_of_the_travel_and_can_be_reversed() -> None:
    forth = turn(200e-12, 164e-12)
    assert forth.part == pytest.approx(-0.3)
    back = forth.back(166e-12, -0.9j)
    assert (back.before, back.after) == (166e-12, 200e-12)
    assert back.change > 0.0


def resonance(axis: np.ndarray, centre: float, q: float, coupling: float) -> np.ndarray:
    """Return the reflection of a resonator of unloaded Q and coupling, in closed form."""
    detuning = 2j * q * (axis / centre - 1.0)
    return np.asarray((coupling - 1.0 - detuning) / (coupling + 1.0 + detuning))


@pytest.mark.parametrize("coupling", [0.3, 0.8, 1.3, 4.0])
@pytest.mark.parametrize("turned", [0.0, 2.1])
def test_a_dip_is_found_with_its_depth_and_coupling(coupling: float, turned: float) -> None:
    """Closed form of a resonator, behind any length of cable: centre, |k-1|/(k+1), over- or undercoupled.

    The dip's place to a tenth of the step, its depth to what a parabola leaves of the step squared.
    """
    axis = np.linspace(31e6, 37e6, 601)
    trace = resonance(axis, 33.9137e6, 60.0, coupling) * np.exp(1j * turned)
    dip = find_dip(axis, trace, 34e6)
    assert dip.frequency == pytest.approx(33.9137e6, abs=1e3)
    assert dip.depth == pytest.approx(abs(coupling - 1.0) / (coupling + 1.0), abs=2e-3)
    assert dip.is_over == (coupling > 1.0)
    # absorbed power halves at the loaded bandwidth
    assert dip.width == pytest.approx(33.9137e6 / 60.0 * (1.0 + coupling), abs=2.5e4)


def test_a_dip_says_which_trimmer_and_which_way() -> None:
    axis = np.linspace(33e6, 35e6, 201)
    found = {
        (centre, coupling): next_by_dip(
            find_dip(axis, resonance(axis, centre, 60.0, coupling), 34e6), 34e6, -20.0
        )
        for centre in (33.69e6, 34e6, 34.5e6)
        for coupling in (0.5, 1.0, 2.0)
    }
    assert found[33.69e6, 0.5] == DipTurn(
        "tune", False, "dip is 310 kHz too low: less capacitance at the tune trimmer"
    )
    high = found[34.5e6, 1.0]
    assert high is not None
    assert (high.trimmer, high.is_more) == ("tune", True)
    for coupling, is_more in ((0.5, True), (2.0, False)):
        match = found[34e6, coupling]
        assert match is not None
        assert (match.trimmer, match.is_more) == ("match", is_more)
    assert found[34e6, 1.0] is None


def test_advice_by_dip_follows_the_dip_home() -> None:
    """From 310 kHz below: turn on, slower, stop; the other way when it goes down; passed above."""
    axis = np.linspace(33e6, 35e6, 401)

    def seen(centre: float) -> Advice:
        assert asked is not None
        now = find_dip(axis, resonance(axis, centre, 60.0, 1.01), 34e6)
        return advise_by_dip(asked, before, now, 34e6, -20.0)

    before = find_dip(axis, resonance(axis, 33.69e6, 60.0, 1.01), 34e6)
    asked = next_by_dip(before, 34e6, -20.0)
    assert [seen(centre) for centre in (33.69e6, 33.8e6, 33.935e6, 34.0e6, 34.2e6, 33.5e6)] == [
        Advice.TURN,
        Advice.TURN,
        Advice.SLOWER,
        Advice.STOP,
        Advice.PASSED,
        Advice.OTHER_WAY,
    ]


def test_a_trace_without_the_frequency_is_refused() -> None:
    axis = np.linspace(33e6, 33.5e6, 9)
    with pytest.raises(ValueError, match="around 34000000 Hz"):
        find_dip(axis, np.ones(9, dtype=np.complex128), 34e6)
