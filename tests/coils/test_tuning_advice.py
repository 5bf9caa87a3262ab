"""Facts about which fixed capacitor to change when trimmers cannot reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coils.tuning.advice import Rework, find_reworks
from coils.tuning.targets import solve_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from coils.tuning.belief import Belief
    from coils.tuning.design import ArrayDesign

CHANNELS = 3
EVERY = np.ones(2 * CHANNELS, dtype=bool)
NOTHING = np.zeros(2 * CHANNELS, dtype=complex)
NONE_STUCK = np.zeros((CHANNELS, 4), dtype=bool)


def case(
    drawn: Callable[[int], ArrayDesign], built: Callable[..., Any], seed: int
) -> tuple[Belief, np.ndarray]:
    """Return a belief and the capacitances that match it."""
    belief = built(drawn(CHANNELS), seed).truth
    start = np.tile([trimmer.middle for trimmer in belief.design.trimmers], (CHANNELS, 1))
    return belief, solve_target(belief, start, NOTHING, 0.5 * start, 1.6 * start, EVERY).capacitances


def advised(
    belief: Belief, low: np.ndarray, high: np.ndarray, stuck: np.ndarray = NONE_STUCK
) -> tuple[Rework, ...]:
    """Return the advice, from the best within limits."""
    best = solve_target(belief, 0.5 * (low + high), NOTHING, low, high, EVERY)
    return find_reworks(belief, best.capacitances, NOTHING, low, high, EVERY, stuck)


@pytest.mark.parametrize("seed", [1, 2])
def test_advice_followed_makes_every_port_reachable(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any], seed: int
) -> None:
    """Two trimmers whose travel ends too early: both named, no other; with the change all ports are matched.

    The trimmer then stands at 0.6 of its half travel from the middle, as much room left on one side.
    """
    belief, matched = case(drawn_array, built_array, seed)
    low, high = 0.8 * matched, 1.2 * matched
    low[0, 0], high[0, 0] = 1.06 * matched[0, 0], 1.5 * matched[0, 0]
    low[2, 3], high[2, 3] = 0.6 * matched[2, 3], 0.9 * matched[2, 3]
    within = solve_target(belief, 0.5 * (low + high), NOTHING, low, high, EVERY)
    assert within.worst(EVERY) > 0.1
    reworks = advised(belief, low, high)
    axes = belief.design.axes
    assert {rework.part: np.sign(rework.change) for rework in reworks} == {axes[0][0]: -1.0, axes[2][3]: 1.0}
    rows = {name: (channel, column) for channel, row in enumerate(axes) for column, name in enumerate(row)}
    for rework in reworks:
        place = rows[rework.part]
        assert (rework.lowest, rework.highest) == (low[place], high[place])
        assert rework.wanted == pytest.approx(matched[place], rel=1e-3, abs=0.0)
        low[place] += rework.change
        high[place] += rework.change
        from_middle = (rework.wanted - 0.5 * (low[place] + high[place])) / (0.5 * (high[place] - low[place]))
        assert abs(from_middle) == pytest.approx(0.6, rel=1e-9)
    followed = solve_target(belief, 0.5 * (low + high), NOTHING, low, high, EVERY)
    assert followed.worst(EVERY) < 1e-3
    assert np.all((followed.capacitances > low) & (followed.capacitances < high))
    assert advised(belief, low, high) == ()


def test_an_array_within_reach_needs_no_advice(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Even where a trimmer stands a hundredth from the end of its travel."""
    belief, matched = case(drawn_array, built_array, 3)
    low, high = 0.8 * matched, 1.2 * matched
    low[1, 1], high[0, 2] = 0.99 * matched[1, 1], 1.01 * matched[0, 2]
    assert advised(belief, low, high) == ()


def test_nothing_is_advised_about_a_trimmer_that_is_stuck(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Its motor has to be mended; a capacitor would be soldered in vain."""
    belief, matched = case(drawn_array, built_array, 1)
    low, high = 0.8 * matched, 1.2 * matched
    low[1, 0], high[1, 0] = 1.06 * matched[1, 0], 1.5 * matched[1, 0]
    assert [rework.part for rework in advised(belief, low, high)] == ["ch2.tune23"]
    stuck = NONE_STUCK.copy()
    stuck[1, 0] = True
    assert "ch2.tune23" not in [rework.part for rework in advised(belief, low, high, stuck)]


def test_advice_reads_as_what_to_do() -> None:
    """Picofarad, the direction in words, the reason behind it."""
    assert str(Rework("ch2.na.tune", 12.34e-12, 231e-12, 122.3e-12, 227.1e-12)) == (
        "add 12.3 pF in parallel with ch2.na.tune: it must reach 231.0 pF and goes from 122.3 to 227.1 pF"
    )
    assert str(Rework("ch1.h.match", -0.5e-12, 1.2e-12, 1.3e-12, 2.4e-12)).startswith("take away 0.5 pF in")
