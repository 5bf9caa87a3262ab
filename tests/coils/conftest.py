"""A small array as its builder draws it, and arrays built like it, for the tests of tuning by the drawing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coils.tuning.belief import Belief, Prior
from coils.tuning.curves import TrimmerType
from coils.tuning.design import TrapLoop, trap_loop_array
from coils.tuning.estimate import Observation

if TYPE_CHECKING:
    from collections.abc import Callable

    from coils.tuning.design import ArrayDesign

#: 23Na and 1H at 3 T.
FREQUENCIES = (33.79e6, 127.73e6)
#: A 260 nH loop of 1 ohm and 2 ohm, tuned to both by 120 nH and 77 pF.
VALUES = TrapLoop(260e-9, (0.15, 1.7), 120e-9, 77e-12)
#: Trimmers of +-30 % about what tunes and matches it.
TRIMMERS = tuple(
    TrimmerType(name, 0.7 * middle, 1.3 * middle)
    for name, middle in (("tune23", 175e-12), ("match23", 16e-12), ("tune1", 19.9e-12), ("match1", 1.81e-12))
)
#: Noise of S at -70 dB.
NOISE = 10 ** (-70 / 20)


@dataclass(frozen=True)
class ModelArray:
    """An array that is exactly what `Belief` can say: the model's own world, for laws that need no other."""

    design: ArrayDesign
    truth: Belief

    def sweep(self, places: np.ndarray, span: float, points: int, seed: int | None = None) -> Observation:
        """Return a sweep of both bands with the trimmers truly at ``places``, noisy if a seed is given."""
        axis = np.concatenate(
            [np.linspace(f * (1 - span), f * (1 + span), points) for f in self.design.frequencies]
        )
        s = self.truth.solve(axis, self.truth.capacitances(places)).s
        if seed is not None:
            parts = np.random.default_rng(seed).normal(size=(2, *s.shape)) * NOISE / np.sqrt(2)
            s = s + parts[0] + 1j * parts[1]
        return Observation(axis, s, places, np.full(places.shape, 1e-3))


def drawn(channels: int) -> ArrayDesign:
    """Return the drawing of an array of ``channels`` loops; ports 23Na first, then 1H."""
    low, high = tuple(range(channels)), tuple(range(channels, 2 * channels))
    axes = tuple(tuple(f"ch{n}.{trimmer.element}" for trimmer in TRIMMERS) for n in range(1, channels + 1))
    one, two, three, four = TRIMMERS
    return trap_loop_array(VALUES, FREQUENCIES, (one, two, three, four), (low, high), axes)


def built(design: ArrayDesign, seed: int, part: float = 0.7, coupling: float = 0.003) -> ModelArray:
    """Return an array whose values lie ``part`` of a tolerance from the drawing, up or down or between."""
    rng = np.random.default_rng(seed)
    prior = Prior.from_design(design)
    count = design.channels
    values = {}
    for name, nominal in prior.belief.values.items():
        width = prior.elements.get(name, 0.0)
        change = part * width * rng.uniform(-1.0, 1.0, count)
        is_relative = name not in design.spreads or design.spreads[name].kind == "relative"
        values[name] = nominal * np.exp(change) if is_relative else nominal + change
    pairs = np.triu(rng.uniform(-1.0, 1.0, (1 + len(design.arms), count, count)), 1)
    pairs = pairs + pairs.swapaxes(1, 2)
    truth = replace(
        prior.belief,
        values=values,
        terms=part * prior.terms * rng.uniform(-1.0, 1.0, (count, *prior.terms.shape)),
        delays=part * prior.delay * rng.uniform(-1.0, 1.0, 2 * count),
        coupling=coupling * pairs[0],
        resistance=0.1 * pairs[1:],
    )
    return ModelArray(design, truth)


@pytest.fixture
def drawn_array() -> Callable[[int], ArrayDesign]:
    """Return `drawn`."""
    return drawn


@pytest.fixture
def built_array() -> Callable[..., ModelArray]:
    """Return `built`."""
    return built
