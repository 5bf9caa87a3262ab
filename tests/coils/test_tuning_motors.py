"""Facts about a look at the motors: who did not follow a probing move, who came back elsewhere from home."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coils.tuning.belief import Prior
from coils.tuning.estimate import first_estimate, refine
from coils.tuning.motors import Displacements, displacements, followed, stand_elsewhere, stood_still

if TYPE_CHECKING:
    from collections.abc import Callable

    from coils.tuning.design import ArrayDesign
    from coils.tuning.estimate import Estimate, Observation

CHANNELS = 3
#: Half of 4000 steps.
HALF = 2000.0
#: What a fit of 121 points a band at -70 dB may miss of a place, steps: its own deviation is below 1.
NOISE_STEPS = 3.0


def tuned(
    drawn: Callable[[int], ArrayDesign], built: Callable[..., Any], seed: int
) -> tuple[Any, np.ndarray, Estimate, Observation]:
    """Return an array, where its trimmers stand, what is known after two sweeps, and the second."""
    array = built(drawn(CHANNELS), seed)
    places = np.random.default_rng([seed, 1]).uniform(-0.3, 0.3, (CHANNELS, 4))
    first = array.sweep(places, 0.2, 201, seed=seed)
    second = array.sweep(places, 0.06, 121, seed=seed + 1)
    estimate = first_estimate(Prior.from_design(array.design), first)
    return array, places, refine(estimate, (first, second), 2e-3), second


def displaced(places: np.ndarray, steps: dict[tuple[int, int], float]) -> np.ndarray:
    """Return true places when some trimmers stand so many steps elsewhere."""
    truly = places.copy()
    for place, by in steps.items():
        truly[place] += by / HALF
    return truly


@pytest.mark.parametrize(
    "steps", [{(0, 0): -12.0}, {(1, 1): 12.0}, {(2, 2): -200.0}, {(0, 3): 12.0, (2, 1): -90.0}, {}]
)
def test_places_show_to_some_steps_between_two_sweeps(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any], steps: dict[Any, float]
) -> None:
    """Noise leaves a step or two; a slope is known to some percent, hence a tenth of the way itself."""
    array, places, estimate, reference = tuned(drawn_array, built_array, 5)
    truly = displaced(places, steps)
    seen = replace(array.sweep(truly, 0.06, 121, seed=9), places=places, slack=np.full(places.shape, 0.1))
    found = displacements(estimate, reference, seen)
    error = np.abs((found.moved - (truly - places)) * HALF)
    largest = max((abs(by) for by in steps.values()), default=0.0)
    assert np.all(error < NOISE_STEPS + 0.1 * largest)
    assert np.all(found.deviation * HALF < NOISE_STEPS)
    assert np.all(found.explained)
    elsewhere = {tuple(place) for place in np.argwhere(stand_elsewhere(found, np.full((3, 4), 5.0 / HALF)))}
    assert elsewhere == set(steps)


def test_what_the_model_does_not_know_moves_no_place(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """A directivity of -38 dB, of any phase at each port and the same in both sweeps, cancels."""
    array, places, estimate, reference = tuned(drawn_array, built_array, 6)
    ports = np.arange(reference.s.shape[1])
    error = 10 ** (-38 / 20) * np.exp(2j * np.pi * np.random.default_rng(3).uniform(size=ports.size))
    seen = replace(array.sweep(places, 0.06, 121, seed=9), slack=np.full(places.shape, 0.1))
    shown = []
    for sweep in (reference, seen):
        s = sweep.s.copy()
        s[:, ports, ports] += error
        shown.append(replace(sweep, s=s))
    found = displacements(estimate, *shown)
    assert np.max(np.abs(found.moved)) * HALF < NOISE_STEPS


@pytest.mark.parametrize("still", [(0, 0), (1, 1), (2, 2), (1, 3)])
def test_a_probing_move_shows_who_stood_still(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any], still: tuple[int, int]
) -> None:
    """All trimmers are sent 150 steps, one stays: it is told from the others, which surely followed."""
    array, places, estimate, reference = tuned(drawn_array, built_array, 7)
    sent = np.where(places < 0.0, 1.0, -1.0) * 150.0 / HALF
    truly = places + sent
    truly[still] = places[still]
    seen = replace(
        array.sweep(truly, 0.06, 121, seed=9), places=places + sent, slack=np.abs(sent) + 2.0 / HALF
    )
    found = displacements(estimate, reference, seen)
    assert [tuple(place) for place in np.argwhere(stood_still(found, sent))] == [still]
    others = np.ones(places.shape, dtype=bool)
    others[still] = False
    assert np.array_equal(followed(found, sent), others)


def test_sweeps_of_other_frequencies_are_not_compared(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """The offset is known where the first sweep was taken, and nowhere else."""
    array, places, estimate, reference = tuned(drawn_array, built_array, 8)
    with pytest.raises(ValueError, match="same frequencies"):
        displacements(estimate, reference, array.sweep(places, 0.03, 61, seed=1))


def one_channel(moved: list[float], deviation: float) -> Displacements:
    """Return what was found in a channel, in steps."""
    spread = np.full((1, len(moved)), deviation / HALF)
    return Displacements(np.array([moved]) / HALF, spread, np.array([True]))


def test_nobody_is_named_who_may_as_well_be_in_place() -> None:
    """Allowed are the home switch's 5 steps and four deviations; after that it is somewhere else."""
    repeats = np.full((1, 4), 5.0 / HALF)
    assert list(stand_elsewhere(one_channel([8.9, -9.1, 0.0, 0.0], 1.0), repeats)[0]) == [
        False,
        False,
        False,
        False,
    ]
    assert list(stand_elsewhere(one_channel([0.0, -9.1, 0.0, 0.0], 1.0), repeats)[0]) == [
        False,
        True,
        False,
        False,
    ]
    assert not np.any(stand_elsewhere(one_channel([0.0, -9.1, 0.0, 0.0], 2.0), repeats))


def test_a_far_displaced_trimmer_drags_no_fellow_along() -> None:
    """300 steps of one make its channel's others seem displaced by up to 13 % of that: a fifth is allowed."""
    repeats = np.full((1, 4), 5.0 / HALF)
    assert list(stand_elsewhere(one_channel([4.0, 3.0, -300.0, -39.0], 2.0), repeats)[0]) == [
        False,
        False,
        True,
        False,
    ]


def test_an_unclear_probing_move_accuses_nobody_and_clears_nobody() -> None:
    """A port far from its match shows its match trimmer to a hundred steps only."""
    sent = np.full((1, 4), 150.0 / HALF)
    found = one_channel([-150.0, 0.0, -150.0, 0.0], 100.0)
    assert not np.any(stood_still(found, sent))
    assert not np.any(followed(found, sent))
    clear = replace(found, deviation=found.deviation / 10.0)
    assert list(stood_still(clear, sent)[0]) == [True, False, True, False]
    assert list(followed(clear, sent)[0]) == [False, True, False, True]
    assert not np.any(stood_still(clear, 0.0 * sent))


def test_what_no_trimmer_explains_accuses_nobody(
    drawn_array: Callable[[int], ArrayDesign], built_array: Callable[..., Any]
) -> None:
    """A loop's losses rise five times between the sweeps, as a joint does it that opens, in one channel."""
    array, places, estimate, reference = tuned(drawn_array, built_array, 5)
    broken = array.truth.values["copper"] * np.array([1.0, 5.0, 1.0])
    truth = replace(array.truth, values={**array.truth.values, "copper": broken})
    sent = np.where(places < 0.0, 1.0, -1.0) * 150.0 / HALF
    seen = replace(replace(array, truth=truth).sweep(places, 0.06, 121, seed=9), slack=np.abs(sent))
    found = displacements(estimate, reference, seen)
    assert list(found.explained) == [True, False, True]
    lost = replace(found, moved=-sent, deviation=np.zeros_like(sent))
    assert not np.any(stood_still(lost, sent)[1])
    assert not np.any(stand_elsewhere(lost, np.full((3, 4), 5.0 / HALF))[1])
    assert np.all(stood_still(lost, sent)[[0, 2]])
    assert not np.any(followed(replace(lost, moved=0.0 * sent), sent)[1])
