"""When a calibration may be used: age, temperature, instrument, frequencies, settings, drift."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coilbench.base.verdict import Verdict, judge
from coils.calibration import (
    CalibrationRecord,
    Conditions,
    ValidityLimits,
    calibration_steps,
    ideal_kit,
    objections,
    require_valid,
    withhold_verdicts,
)

F = np.linspace(20e6, 300e6, 13)
NOON = datetime(2024, 5, 6, 12, 0, tzinfo=UTC)


def ideal_record():
    """Return a calibration of one port by an analyzer without errors."""
    kit = ideal_kit()
    steps = calibration_steps("sol", (1,))
    raw = {step.name: kit.standard(step.standard).scattering(F) for step in steps}
    return CalibrationRecord("sol", (1,), F, raw, kit, NOON, 295.0, "vna,1", {"power_dbm": -10.0}, "MK")


def conditions(**changes):
    standard = {
        "now": NOON + timedelta(hours=1),
        "temperature": 295.4,
        "instrument": "vna,1",
        "frequencies": F,
        "settings": {"power_dbm": -10.0, "if_bandwidth": 1e3},
        "drift": 0.002,
    }
    return Conditions(**(standard | changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"now": NOON + timedelta(hours=10, minutes=6)}, "10.1 h old, allowed 10 h"),
        ({"now": NOON - timedelta(minutes=1)}, "in the future"),
        ({"temperature": 296.1}, r"made at 21.9 °C, now 23.0 °C, allowed ±1 K"),
        ({"temperature": 293.9}, "allowed ±1 K"),
        ({"temperature": None}, "temperature now is not known"),
        ({"drift": 0.02}, "drifted by 0.02, allowed 0.01"),
        ({"drift": float("nan")}, "drifted"),
        ({"instrument": "vna,2"}, "used with vna,2"),
        ({"frequencies": F * 1.001}, "other frequencies"),
        ({"frequencies": F[1:]}, "other frequencies"),
        ({"settings": {"power_dbm": 0.0}}, "power_dbm = -10, used with 0"),
        ({"settings": {}}, "used with nothing"),
    ],
)
def test_what_is_not_valid_gives_no_verdict(changes, text):
    """Each objection is named, raises, and turns a pass into inconclusive."""
    record = ideal_record()
    with pytest.raises(MeasurementError, match=text):
        require_valid(record, conditions(**changes))
    passed = judge("reflection 1", -25.0, "dB", uncertainty=0.5, at_most=-20.0)
    found = objections(record, conditions(**changes))
    assert len(found) == 1
    (withheld,) = withhold_verdicts([passed], found)
    assert withheld.verdict is Verdict.INCONCLUSIVE
    assert withheld.value == passed.value


def test_a_valid_calibration_has_no_objection_and_leaves_verdicts_alone():
    """Also without a drift check and without a recorded temperature; several objections are all told."""
    record = ideal_record()
    require_valid(record, conditions())
    require_valid(replace(record, temperature=None), conditions(temperature=None, drift=None))
    passed = judge("x", 1.0, "", at_most=2.0)
    assert withhold_verdicts([passed], ()) == (passed,)
    limits = ValidityLimits(age=timedelta(minutes=30), temperature_change=0.2)
    assert len(objections(record, conditions(), limits)) == 2
    with pytest.raises(ValueError, match="time zone"):
        objections(record, conditions(now=datetime(2024, 5, 6)))  # noqa: DTZ001 - what is refused
