"""Facts about tuning over real wires: the simulated ZNBT on HiSLIP and the tune controller on its line."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from coilbench.base.errors import RunAborted
from coilbench.procedures.characterise import CharacterisePlan, characterise
from coilbench.procedures.tune import NucleusPorts, TunePlan, tune
from drivers.actuators.tune_controller import open_tuner
from drivers.analyzers.rohde_schwarz_znb import open_analyzer
from hil_fixtures.instruments.lab import Lab


def nuclei(lab: Lab) -> tuple[NucleusPorts, NucleusPorts]:
    low, high = lab.world.frequencies
    return (
        NucleusPorts("23Na", low, tuple(range(1, 9)), "na"),
        NucleusPorts("1H", high, tuple(range(9, 17)), "h"),
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_an_array_is_tuned_and_characterised_over_the_wire(seed: int) -> None:
    """All 16 true reflections are below -20 dB, RF is off, and Q and noise follow from one sweep."""
    with (
        Lab(seed=seed) as lab,
        closing(open_analyzer(lab.addresses["analyzer_hislip"], name="analyzer")) as analyzer,
        closing(open_tuner(lab.addresses["tuner"], name="tuner")) as tuner,
    ):
        plan = TunePlan(nuclei(lab), points=101)
        result = tune(analyzer, tuner, plan)
        character = characterise(analyzer, CharacterisePlan(plan.nuclei, points=101))
        own = np.diagonal(lab.world.scattering(np.array(lab.world.frequencies)), axis1=1, axis2=2)
        rf = dict(lab.world.rf_outputs)
    assert result.reached
    assert np.abs(np.concatenate((own[0, :8], own[1, 8:]))).max() < 0.1
    assert result.sweeps <= 12
    assert not any(rf.values())
    for group in character.nuclei:
        assert group.reflections_db.max() < -20.0
        assert sum(fit is not None for fit in group.resonances) >= 4


def test_an_abort_over_the_wire_leaves_rf_off() -> None:
    """Stopped after the first moves, nothing radiates and nothing moves."""
    with (
        Lab(seed=2) as lab,
        closing(open_analyzer(lab.addresses["analyzer_tcp"], name="analyzer")) as analyzer,
        closing(open_tuner(lab.addresses["tuner_tcp"], name="tuner")) as tuner,
    ):
        kinds: list[str] = []
        with pytest.raises(RunAborted):
            tune(
                analyzer,
                tuner,
                TunePlan(nuclei(lab), points=51),
                emit=lambda event: kinds.append(event.kind),
                abort=lambda: kinds.count("tune.swept") >= 1,
            )
        before = tuner.positions()
        rf = dict(lab.world.rf_outputs)
        assert tuner.positions() == before
    assert not any(rf.values())
