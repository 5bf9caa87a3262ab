"""Facts about where the model sends the trimmers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import minimize

from coils.tuning.targets import least_worst, own_reflections, reflections_with_slopes, solve_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from coils.tuning.belief import Belief
    from coils.tuning.design import ArrayDesign
    from coils.tuning.targets import Target

#: What `solve_target` calls matched.
MATCHED = 1e-4


def beliefs(drawn: Callable[[int], ArrayDesign], built: Callable[..., Any], channels: int) -> list[Belief]:
    """Return what is believed of three arrays, no two channels alike."""
    return [built(drawn(channels), seed).truth for seed in (1, 2, 3)]


def middles(belief: Belief) -> np.ndarray:
    """Return the capacitances of the data sheets at mid travel, shape (channel, trimmer)."""
    design = belief.design
    return np.tile([trimmer.middle for trimmer in design.trimmers], (design.channels, 1))


def everything(belief: Belief) -> np.ndarray:
    return np.ones(belief.design.circuit.port_count, dtype=bool)


def worst(target: Target) -> float:
    return float(np.max(np.abs(target.reflections)))


@pytest.mark.parametrize("channels", [1, 3])
def test_with_room_enough_no_port_reflects(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any], channels: int
) -> None:
    """All below -80 dB at once although they couple, solved again at the places found."""
    for belief in beliefs(drawn_array, built_array, channels):
        start = middles(belief)
        nothing = np.zeros(2 * channels, dtype=complex)
        target = solve_target(belief, start, nothing, 0.5 * start, 1.6 * start, everything(belief))
        assert np.max(np.abs(own_reflections(belief, start))) > 0.3
        assert worst(target) < MATCHED
        again = own_reflections(belief, target.capacitances)
        assert again == pytest.approx(target.reflections, abs=1e-12)


def test_what_the_model_does_not_explain_is_aimed_at_instead_of_zero(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """With an offset of -30 dB the model's reflections are its opposite, and the sum is nothing."""
    rng = np.random.default_rng(4)
    offset = 10 ** (-30 / 20) * np.exp(2j * np.pi * rng.uniform(size=6))
    belief = beliefs(drawn_array, built_array, 3)[0]
    start = middles(belief)
    target = solve_target(belief, start, offset, 0.5 * start, 1.6 * start, everything(belief))
    assert worst(target) < MATCHED
    assert own_reflections(belief, target.capacitances) == pytest.approx(-offset, abs=2 * MATCHED)
    # from there nothing has to move
    again = solve_target(belief, target.capacitances, offset, 0.5 * start, 1.6 * start, everything(belief))
    assert again.capacitances == pytest.approx(target.capacitances, rel=1e-12, abs=0.0)


def test_slopes_are_those_of_the_reflections(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Central differences by every trimmer of every channel, its neighbours' ports included."""
    belief = beliefs(drawn_array, built_array, 3)[1]
    point = middles(belief) * np.random.default_rng(5).uniform(0.98, 1.02, (3, 4))
    _, slopes = reflections_with_slopes(belief, point)
    step = 1e-6
    for channel, column in np.ndindex(3, 4):
        factor = np.ones((3, 4))
        factor[channel, column] = np.exp(step)
        above, below = own_reflections(belief, point * factor), own_reflections(belief, point / factor)
        found = (above - below) / (2.0 * step)
        # slopes reach about Q = 200: rounding leaves 1e-16/1e-6, the third derivative 200³ 1e-12
        assert found == pytest.approx(slopes[:, channel, column], abs=1e-5)
    neighbours = slopes[[0, 1, 2]][:, [1, 2, 0], 0][[0, 1, 2], [0, 1, 2]]
    assert np.min(np.abs(neighbours)) > 1e-4


def tight(belief: Belief, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return limits that keep two trimmers a few percent from where they should be."""
    start = middles(belief)
    nothing = np.zeros(2 * len(start), dtype=complex)
    free = solve_target(belief, start, nothing, 0.5 * start, 1.6 * start, everything(belief)).capacitances
    low, high = 0.85 * free, 1.15 * free
    rng = np.random.default_rng(seed)
    low[0, 0] = free[0, 0] * (1.0 + rng.uniform(0.01, 0.03))
    high[1, 3] = free[1, 3] * (1.0 - rng.uniform(0.03, 0.10))
    return low, high


def test_limits_are_kept_and_used(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """Least squares and least worst both stay within, and stand on the limits that are in the way."""
    for seed, belief in enumerate(beliefs(drawn_array, built_array, 3)):
        low, high = tight(belief, seed)
        nothing, wanted = np.zeros(6, dtype=complex), everything(belief)
        squares = solve_target(belief, middles(belief), nothing, low, high, wanted)
        fair = least_worst(belief, squares, nothing, low, high, wanted, 1e-3)
        for target in (squares, fair):
            assert np.all(target.capacitances >= low * (1.0 - 1e-9))
            assert np.all(target.capacitances <= high * (1.0 + 1e-9))
        assert squares.capacitances[0, 0] == pytest.approx(low[0, 0], rel=1e-6, abs=0.0)
        assert squares.capacitances[1, 3] == pytest.approx(high[1, 3], rel=1e-6, abs=0.0)
        assert worst(squares) > 0.02


def test_least_squares_within_limits_are_least(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """No neighbouring point within the limits has a smaller sum of squares."""
    belief = beliefs(drawn_array, built_array, 3)[0]
    low, high = tight(belief, 7)
    nothing = np.zeros(6, dtype=complex)
    found = solve_target(belief, middles(belief), nothing, low, high, everything(belief))
    least = np.sum(np.abs(found.reflections) ** 2)
    rng = np.random.default_rng(8)
    for size in (1e-2, 1e-3, 1e-4):
        for _ in range(60):
            near = np.clip(found.capacitances * np.exp(size * rng.normal(size=(3, 4))), low, high)
            assert np.sum(np.abs(own_reflections(belief, near)) ** 2) > least * (1.0 - 1e-6)


def minimax(belief: Belief, start: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Return the least worst reflection that SLSQP finds, its bound a variable."""
    shape = start.shape

    def room(x: np.ndarray) -> np.ndarray:
        reflections = own_reflections(belief, np.exp(x[:-1]).reshape(shape))
        return np.asarray(x[-1] ** 2 - np.abs(reflections) ** 2) * 1e2

    def by_variables(x: np.ndarray) -> np.ndarray:
        reflections, slopes = reflections_with_slopes(belief, np.exp(x[:-1]).reshape(shape))
        rows = 2.0 * (reflections.conj()[:, None] * slopes.reshape(len(reflections), -1)).real
        return np.column_stack((-rows, np.full(len(rows), 2.0 * x[-1]))) * 1e2

    first = np.append(np.log(start).ravel(), np.max(np.abs(own_reflections(belief, start))))
    bounds = [*zip(np.log(low).ravel(), np.log(high).ravel(), strict=True), (0.0, 2.0)]
    result = minimize(
        lambda x: x[-1],
        first,
        jac=lambda x: np.append(np.zeros(x.size - 1), 1.0),
        bounds=bounds,
        constraints={"type": "ineq", "fun": room, "jac": by_variables},
        method="SLSQP",
        options={"maxiter": 300, "ftol": 1e-9},
    )
    x = np.clip(result.x[:-1], np.log(low).ravel(), np.log(high).ravel())
    return float(np.max(np.abs(own_reflections(belief, np.exp(x).reshape(shape)))))


def test_the_least_worst_is_never_worse_than_least_squares_and_as_good_as_any(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """As good as what sequential quadratic programming finds from the same start, to 3 %.

    Circles drawn with 16 sides are up to 1/cos(pi/16) = 1.02 too large, and it ends at steps of 1e-4.
    """
    for seed, belief in enumerate(beliefs(drawn_array, built_array, 3)):
        low, high = tight(belief, 10 + seed)
        nothing, wanted = np.zeros(6, dtype=complex), everything(belief)
        squares = solve_target(belief, middles(belief), nothing, low, high, wanted)
        fair = least_worst(belief, squares, nothing, low, high, wanted, 1e-3)
        assert worst(fair) <= worst(squares)
        best = minimax(belief, squares.capacitances, low, high)
        assert worst(fair) < 1.03 * best
        assert worst(fair) == pytest.approx(
            float(np.max(np.abs(own_reflections(belief, fair.capacitances)))), abs=1e-12
        )


def test_it_stops_where_it_is_good_enough(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """A target that is below stays what it is."""
    belief = beliefs(drawn_array, built_array, 3)[0]
    low, high = tight(belief, 1)
    nothing, wanted = np.zeros(6, dtype=complex), everything(belief)
    squares = solve_target(belief, middles(belief), nothing, low, high, wanted)
    kept = least_worst(belief, squares, nothing, low, high, wanted, 1.01 * worst(squares))
    assert kept is squares


def test_a_port_that_cannot_be_helped_holds_no_other_back(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """A tune trimmer stuck 12 % off: its own port is lost, all others are matched, and none runs away."""
    belief = beliefs(drawn_array, built_array, 3)[2]
    start = middles(belief)
    low, high = 0.6 * start, 1.5 * start
    low[1, 0] = high[1, 0] = 1.12 * start[1, 0]
    high[1, 0] *= 1.0 + 1e-9
    wanted = everything(belief)
    wanted[1] = False
    nothing = np.zeros(6, dtype=complex)
    target = solve_target(belief, start, nothing, low, high, wanted)
    assert np.abs(target.reflections[1]) > 0.5
    assert target.worst(wanted) < 0.02
    assert target.worst(~wanted) == pytest.approx(float(np.abs(target.reflections[1])))
    with_all = solve_target(belief, start, nothing, low, high, everything(belief))
    assert with_all.worst(wanted) > target.worst(wanted)
