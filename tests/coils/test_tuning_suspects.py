"""Facts about finding trimmers that did not do what they were told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coils.tuning.belief import Prior
from coils.tuning.estimate import Estimate, first_estimate, refine
from coils.tuning.suspects import explain_stillness, kept_still, strange_channels

if TYPE_CHECKING:
    from collections.abc import Callable

    from coils.tuning.design import ArrayDesign

CHANNELS = 3
#: Misfit believed after a good first fit.
BELIEVED = 2e-3
#: Uncertainty of a place after a move, in parts of half the travel: 10 of 4000 steps.
SLACK = 5e-3


def after_a_move(
    drawn: Callable[[int], ArrayDesign], built: Callable[..., Any], seed: int, still: tuple[int, int] | None
) -> tuple[Estimate, tuple[Any, ...], np.ndarray, np.ndarray]:
    """Return what is made of a second sweep, one trimmer having stood still: as `explain_stillness` says."""
    array = built(drawn(CHANNELS), seed)
    rng = np.random.default_rng([seed, 1])
    first = rng.uniform(-0.6, 0.6, (CHANNELS, 4))
    moved = rng.choice([-1.0, 1.0], (CHANNELS, 4)) * rng.uniform(0.08, 0.3, (CHANNELS, 4))
    truly = first + moved
    if still is not None:
        truly[still] = first[still]
    slack = np.full((CHANNELS, 4), SLACK)
    seen = replace(array.sweep(first, 0.2, 201, seed=seed), slack=slack)
    then = replace(array.sweep(truly, 0.03, 61, seed=seed + 1), places=first + moved, slack=slack)
    before = first_estimate(Prior.from_design(array.design), seen)
    both = (seen, then)
    estimate = refine(before, both, BELIEVED)
    found, kept, accused = explain_stillness(estimate, before, both, moved, BELIEVED)
    return found, kept, accused, moved


@pytest.mark.parametrize("still", [(0, 0), (1, 1), (2, 2), (1, 3)])
def test_the_trimmer_that_stood_still_is_named_and_no_other(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any], still: tuple[int, int]
) -> None:
    """Each kind of trimmer, one sweep after the move; the model then has it where it was."""
    found, seen, accused, moved = after_a_move(drawn_array, built_array, 10 + still[1], still)
    assert [tuple(place) for place in np.argwhere(accused)] == [still]
    walked = found.shifts[-1] - found.shifts[-2]
    assert walked[still] == pytest.approx(-moved[still], abs=0.1 * abs(moved[still]))
    assert [tuple(place) for place in np.argwhere(kept_still(found, moved))] == [still]
    assert np.max(found.misfit[-1]) < 5e-3
    # its place is uncertain from then on, that of its fellows is not
    assert seen[-1].slack[still] >= abs(moved[still])
    others = np.ones((CHANNELS, 4), dtype=bool)
    others[still] = False
    assert np.all(seen[-1].slack[others] == SLACK)


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_accused_when_all_moved(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any], seed: int
) -> None:
    """Scales that are not yet known are no reason."""
    found, seen, accused, moved = after_a_move(drawn_array, built_array, seed, None)
    assert not np.any(accused)
    assert not np.any(kept_still(found, moved))
    assert np.all(seen[-1].slack == SLACK)


def test_two_trimmers_of_different_channels_are_both_found(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """One after the other, the worse misfit first."""
    array = built_array(drawn_array(CHANNELS), 21)
    first = np.random.default_rng(22).uniform(-0.6, 0.6, (CHANNELS, 4))
    moved = np.full((CHANNELS, 4), 0.2)
    truly = first + moved
    for still in ((0, 1), (2, 0)):
        truly[still] = first[still]
    slack = np.full((CHANNELS, 4), SLACK)
    seen = (
        replace(array.sweep(first, 0.2, 201, seed=1), slack=slack),
        replace(array.sweep(truly, 0.03, 61, seed=2), places=first + moved, slack=slack),
    )
    before = first_estimate(Prior.from_design(array.design), seen[0])
    _, _, accused = explain_stillness(refine(before, seen, BELIEVED), before, seen, moved, BELIEVED)
    assert [tuple(place) for place in np.argwhere(accused)] == [(0, 1), (2, 0)]


def estimate_with(misfit: list[float], shifts: list[float]) -> Estimate:
    """Return an estimate of which only misfits and shifts are looked at, one trimmer a channel."""
    walked = np.array([[[0.0]] * len(shifts), [[shift] for shift in shifts]])
    nothing: Any = None
    return Estimate(nothing, nothing, walked, np.array([misfit]), np.zeros(len(misfit)))


def test_a_strange_channel_stands_out_from_its_fellows_and_from_noise() -> None:
    """Above 0.012 and four times the median: a poor calibration makes all channels poor, none strange."""
    assert list(strange_channels(estimate_with([0.002, 0.002, 0.013], [0.0] * 3))) == [False, False, True]
    assert not any(strange_channels(estimate_with([0.002, 0.002, 0.011], [0.0] * 3)))
    assert not any(strange_channels(estimate_with([0.02, 0.02, 0.07], [0.0] * 3)))


def test_standing_still_means_less_than_half_of_the_way() -> None:
    """Sent 0.2: found 0.15 behind it stood still, 0.05 behind it went; one that was not sent did neither."""
    found = kept_still(
        estimate_with([0.0] * 4, [-0.15, -0.05, 0.15, 0.0]), np.array([[0.2], [0.2], [-0.2], [0.0]])
    )
    assert list(found[:, 0]) == [True, False, True, False]
