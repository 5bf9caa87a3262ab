"""A plan that exists can be played; one that cannot says what would."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.plan import plan_scan


def test_default_plan():
    """5 mm in 320 mm, 3200 spokes, 5.5 minutes with noise, sodium at 3 T."""
    plan = plan_scan()
    assert plan.kmax == pytest.approx(100.0)
    assert plan.duration == pytest.approx(332.8)
    assert plan.transmit_frequency == pytest.approx(33.7879e6, abs=250.0)
    assert plan.design.readout_duration == pytest.approx(5e-3)
    # The window: 100 us, 5 ms, the filters' ends.
    assert 510 < plan.window_samples < 540


@settings(max_examples=40, deadline=None)
@given(b0=st.floats(0.5, 11.7), rasters=st.integers(700, 50000))
def test_carrier_is_a_whole_multiple_of_the_repetition_rate(b0, rasters):
    """Whatever field and TR: f·TR is whole and f is the Larmor frequency within half a 1/TR."""
    plan = plan_scan(b0=b0, repetition_time=rasters * 10e-6)
    turns = plan.transmit_frequency * plan.repetition_time
    assert abs(turns - round(turns)) < 1e-6
    larmor = plan.nucleus.larmor_frequency(b0)
    assert abs(plan.transmit_frequency - larmor) <= 0.5 / plan.repetition_time * (1 + 1e-6)


def test_long_dwell_times_are_made_by_the_host():
    """Beyond 4095 clocks the receiver samples faster by a whole factor."""
    plan = plan_scan(dwell_time=80e-6, max_gradient=2e-3, readout_duration=20e-3, dead_time=1e-3)
    assert plan.decimation == 3
    assert plan.receiver_interval == pytest.approx(80e-6 / 3)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dwell_time": 30e-6}, "Use at most 19.4"),
        ({"spokes": 70000}, "1 to 65535 spokes"),
        ({"spokes": 10}, "no more noise windows than spokes"),
        ({"repetition_time": 5e-3}, "does not hold"),
        ({"readout_duration": 0.5e-3}, "shortest takes"),
        ({"nucleus": "24Na"}, "known: 1H"),
        ({"matrix": 1}, "matrix of at least 2"),
    ],
)
def test_impossible_plans_say_what_would_be_possible(changes, text):
    """Each refusal names the value and what is allowed."""
    with pytest.raises(ValueError, match=text):
        plan_scan(**changes)


def test_flip_angle_and_times_are_kept():
    """Times are rounded to the gradient raster, nothing else is changed."""
    plan = plan_scan(readout_duration=5.003e-3, flip_angle=math.pi / 3)
    assert plan.readout_duration == pytest.approx(5e-3)
    assert plan.flip_angle == math.pi / 3
