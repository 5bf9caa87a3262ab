"""Facts about what a sample does to a coil, from its two Q."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coilbench.base.errors import MeasurementError
from coilbench.base.verdict import Verdict
from coils.quality import Limits, NucleusRecord, Reading, coil_loading, judge_readings


def test_a_coil_as_lossy_as_its_sample_loses_3_db() -> None:
    """R_coil = R_sample: Q falls to a half, SNR to sqrt(1/2), noise figure 3.0103 dB."""
    found = coil_loading(Reading(200.0), Reading(100.0))
    assert found.ratio.value == pytest.approx(2.0)
    assert found.snr_share.value == pytest.approx(math.sqrt(0.5))
    assert found.noise_figure_db.value == pytest.approx(10.0 * math.log10(2.0))


@given(coil=st.floats(0.05, 20.0), sample=st.floats(0.05, 20.0), reactance=st.floats(10.0, 500.0))
def test_share_and_noise_figure_are_those_of_the_resistances(
    coil: float, sample: float, reactance: float
) -> None:
    """Johnson noise of R_coil + R_sample over that of R_sample alone is the noise factor (Nyquist)."""
    found = coil_loading(Reading(reactance / coil), Reading(reactance / (coil + sample)))
    factor = (coil + sample) / sample
    assert found.noise_figure_db.value == pytest.approx(10.0 * math.log10(factor), rel=1e-9, abs=1e-12)
    assert found.snr_share.value == pytest.approx(1.0 / math.sqrt(factor), rel=1e-9)


def test_the_stated_intervals_hold_the_truth_in_at_least_95_percent() -> None:
    """4000 pairs of Q with 1 % and 2 % normal error around 264 and 191; the binomial 3-sigma slack is 1 %."""
    rng = np.random.default_rng(4)
    true = coil_loading(Reading(264.0), Reading(191.0))
    inside = np.zeros(3)
    draws = 4000
    for unloaded, loaded in zip(
        264.0 * (1.0 + 0.01 * rng.standard_normal(draws)),
        191.0 * (1.0 + 0.02 * rng.standard_normal(draws)),
        strict=True,
    ):
        found = coil_loading(Reading(unloaded, 0.02 * unloaded), Reading(loaded, 0.04 * loaded))
        for place, name in enumerate(("ratio", "snr_share", "noise_figure_db")):
            reading = getattr(found, name)
            inside[place] += abs(reading.value - getattr(true, name).value) <= reading.uncertainty
    assert np.all(inside / draws >= 0.954 - 0.01)
    assert np.all(inside / draws <= 0.99)


def test_no_share_is_stated_when_the_q_do_not_differ_beyond_their_uncertainty() -> None:
    with pytest.raises(MeasurementError, match=r"1\.010 ± 0\.014"):
        coil_loading(Reading(202.0, 2.0), Reading(200.0, 2.0))
    with pytest.raises(MeasurementError):
        coil_loading(Reading(190.0), Reading(200.0))
    with pytest.raises(ValueError, match="positive"):
        coil_loading(Reading(-1.0), Reading(200.0))


def readings(*values: float | None, uncertainty: float = 1.0) -> tuple[Reading | None, ...]:
    return tuple(None if value is None else Reading(value, uncertainty) for value in values)


@pytest.mark.parametrize(
    ("depths", "verdict", "named"),
    [
        (readings(31.0, 27.0, 40.0), Verdict.PASS, "ch 2"),
        (readings(31.0, 25.5, 40.0), Verdict.INCONCLUSIVE, "ch 2"),
        (readings(31.0, 23.0, 40.0), Verdict.FAIL, "ch 2"),
        (readings(31.0, None, 40.0), Verdict.INCONCLUSIVE, "ch 2 not measured"),
        (readings(31.0, None, 20.0), Verdict.FAIL, "ch 3"),
        (readings(None, None, None), Verdict.INCONCLUSIVE, "ch 1, 2, 3 not measured"),
    ],
)
def test_the_worst_channel_decides_and_a_missing_one_never_passes(
    depths: tuple[Reading | None, ...], verdict: Verdict, named: str
) -> None:
    """The limit is 25 dB and every reading is good to 1 dB."""
    nucleus = NucleusRecord("23Na", 33.8e6, (1, 2, 3), detuning_db=depths)
    (judged,) = judge_readings(nucleus, Limits())
    assert judged.verdict is verdict
    assert named in judged.name


def test_a_passing_small_value_does_not_hide_an_uncertain_larger_one() -> None:
    depths = (Reading(26.0, 0.1), Reading(28.0, 5.0))
    (judged,) = judge_readings(NucleusRecord("1H", 127e6, (1, 2), detuning_db=depths), Limits())
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "ch 2" in judged.name


def test_what_was_not_measured_or_has_no_limit_is_not_judged() -> None:
    assert judge_readings(NucleusRecord("1H", 127e6, (1, 2)), Limits()) == ()
    loadings = (coil_loading(Reading(300.0, 3.0), Reading(100.0, 1.0)),)
    nucleus = NucleusRecord("1H", 127e6, (1,), loadings=loadings)
    assert judge_readings(nucleus, Limits()) == ()
    (judged,) = judge_readings(nucleus, Limits(q_ratio=3.5))
    assert judged.verdict is Verdict.FAIL
