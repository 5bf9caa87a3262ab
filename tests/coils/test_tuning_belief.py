"""Facts about what is believed before and after a tuning."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coils.tuning.belief import Belief, Prior

if TYPE_CHECKING:
    from collections.abc import Callable

    from coils.tuning.design import ArrayDesign


def test_on_the_drawing_loops_do_not_couple_and_losses_are_as_stated(
    drawn_array: Callable[[int], ArrayDesign],
) -> None:
    """Nothing passes between channels; 0.15 ohm at 34 MHz and 1.7 ohm at 128 MHz are what loops have."""
    belief = Belief.from_design(drawn_array(3))
    capacitances = belief.capacitances(np.zeros((3, 4)))
    s = belief.solve(np.array([30e6, 33.8e6, 128e6]), capacitances).s
    # ports 0 to 2 are 23Na, 3 to 5 1H: only ports of one channel see each other
    same = np.equal.outer(np.tile(np.arange(3), 2), np.tile(np.arange(3), 2))
    assert np.max(np.abs(s[:, ~same])) == 0.0
    assert np.min(np.abs(s[:, same])) > 0.0
    assert belief.loop_resistance() == pytest.approx(np.array([[0.15] * 3, [1.7] * 3]), rel=1e-9)


def test_a_kept_belief_remembers_the_parts_and_forgets_the_load(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Half the sample's loss is as near as before; a trap a tolerance off is 20 tolerances off."""
    learned = built_array(drawn_array(3), 1).truth
    drawn, kept = Prior.from_design(learned.design), Prior.kept(learned)
    assert kept.belief is learned
    assert kept.elements["sample"] == drawn.elements["sample"]
    assert kept.resistance == drawn.resistance
    for name in ("trap.L", "trap.C1", "tune23.lead", "match1.socket"):
        assert kept.elements[name] == pytest.approx(0.05 * drawn.elements[name])
    assert kept.terms == pytest.approx(0.05 * drawn.terms)
    # loops are bent when the array is laid around another phantom: between the two
    for name in ("loop", "copper"):
        assert (
            kept.elements["trap.L"] / drawn.elements["trap.L"]
            < kept.elements[name] / drawn.elements[name]
            < 1
        )
    assert 0.0 < kept.coupling < drawn.coupling
    assert 0.0 < kept.delay < drawn.delay


def test_mutual_resistance_is_a_part_of_both_loops_own(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """At an arm's frequency R_12 is its relative value times sqrt(R_1 R_2), M_12 k times sqrt(L_1 L_2)."""
    belief = built_array(drawn_array(3), 2).truth
    coupling = np.zeros((3, 3))
    resistance = np.zeros((2, 3, 3))
    coupling[0, 1] = coupling[1, 0] = 0.01
    resistance[1, 0, 1] = resistance[1, 1, 0] = -0.2
    low, high = belief.design.frequencies
    found = replace(belief, coupling=coupling, resistance=resistance).loops(np.array([low, high]))
    own, loops = belief.loop_resistance(), belief.values["loop"]
    mutual = 0.01 * np.sqrt(loops[0] * loops[1])
    assert found[:, 0, 1].imag == pytest.approx(2 * np.pi * np.array([low, high]) * mutual, rel=1e-12)
    assert found[:, 0, 1].real == pytest.approx([0.0, -0.2 * np.sqrt(own[1, 0] * own[1, 1])], rel=1e-12)
    assert np.max(np.abs(found[:, [0, 1, 2], [0, 1, 2]])) == 0.0
