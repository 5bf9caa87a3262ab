"""Facts about characterising an array: what is stated of each port's resonance, and how well."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.procedures.characterise import CharacterisePlan, characterise
from coilbench.procedures.tune import NucleusPorts
from hil_fixtures.in_memory import MemoryAnalyzer
from hil_fixtures.physics.world import World


def test_what_the_calibration_leaves_uncertain_is_in_every_q() -> None:
    """Directivity and source match of u, on top of noise and neighbours, move ln Q_0 by about κu together.

    κ/√2 times each, scaled by the detuned point's size and its inverse: NPL Report MAT 58, section 2.5.
    """
    world = World.tuned(2)
    low, high = world.frequencies
    nuclei = (
        NucleusPorts("23Na", low, tuple(range(1, 9)), "na"),
        NucleusPorts("1H", high, tuple(range(9, 17)), "h"),
    )
    bare, uncertain = (
        [
            fit
            for group in characterise(
                MemoryAnalyzer(world), CharacterisePlan(nuclei, uncertainty=expanded)
            ).nuclei
            for fit in group.resonances
            if fit is not None
        ]
        for expanded in (0.0, 0.02)
    )
    assert len(bare) == len(uncertain) > 8
    for without, fit in zip(bare, uncertain, strict=True):
        assert fit.q_unloaded == without.q_unloaded
        added = fit.uncertainty.q_unloaded**2 - without.uncertainty.q_unloaded**2
        size = abs(fit.detuned)
        expected = 0.01 * fit.coupling * np.hypot(size, 1.0 / size) / np.sqrt(2.0)
        assert np.sqrt(added) / fit.q_unloaded == pytest.approx(expected, rel=1e-6)
