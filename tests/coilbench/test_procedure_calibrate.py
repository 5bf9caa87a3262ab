"""Calibrating through a dialog: error boxes on a simulated analyzer, a scripted operator, validity."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError, RunAborted
from coilbench.base.verdict import Verdict
from coilbench.procedures.calibrate import (
    CalibrationPlan,
    calibrate,
    check_drift,
    sweep_corrected,
    utc_now,
    verify_calibration,
)
from coilbench.procedures.operator import Answer
from coils.calibration import DefinitionUncertainty, Kit, ideal_kit, load_record, save_record
from drivers.analyzers.rohde_schwarz_znb import open_analyzer
from drivers.protocols import Segment, SweepPlan
from hil_fixtures.instruments.rs_znbt import RsZnbt

SWEEP = SweepPlan((Segment(30e6, 130e6, 11),), if_bandwidth=10.0)
#: See the simulated analyzer: 2.3e-4 at 10 kHz, less by √1000 at 10 Hz.
TRACE_NOISE = 2.3e-4 / np.sqrt(1000.0)
MORNING = datetime(2024, 5, 6, 8, 0, tzinfo=UTC)
#: An uncertain kit: 0.5 % load, 1 ps thru.
KIT = Kit(
    "bench kit",
    ideal_kit().standards,
    {"load": DefinitionUncertainty(0.005), "thru": DefinitionUncertainty(0.002, delay=1e-12)},
)


class CablesAndStandards:
    """Two ports of an analyzer whose cables reflect, delay and lose; what hangs on them is changed."""

    port_count = 2

    def __init__(self):
        self.load = {1: 0.0, 2: 0.0}
        self.device = None
        self.drift = 0.0

    def rf_output(self, source, on, /):
        pass

    def connect(self, standard, ports):
        """Put a standard (or a device's S-matrix) on."""
        self.device = None
        if isinstance(standard, np.ndarray):
            self.device = standard
        elif standard == "thru":
            self.device = np.array([[0, 1], [1, 0]], complex)
        else:
            value = {"short": -1.0, "open": 1.0, "load": 0.0}[standard]
            self.load[ports[0]] = value

    def scattering(self, f, /):
        s = np.zeros((f.size, 2, 2), complex)
        s[:, 0, 0], s[:, 1, 1] = self.load[1], self.load[2]
        if self.device is not None:
            s[:] = self.device
        s[:, 0, 0] += self.drift
        w = 2 * np.pi * f
        near = np.stack([0.06 * np.exp(-1j * w * 1e-9), 0.08 * np.exp(-1j * w * 2e-9 + 1j)], -1)
        far = np.stack([0.09 * np.exp(-1j * w * 3e-9), 0.05 * np.exp(-1j * w * 1e-9 - 1j)], -1)
        way = 0.9 * np.exp(-1j * w[:, None] * np.array([5e-9, 5.4e-9]))
        inner = np.linalg.solve(np.eye(2) - s * far[:, None, :], s)
        seen = way[:, :, None] * inner * way[:, None, :]
        seen[:, [0, 1], [0, 1]] += near
        return seen


class Script:
    """An operator who does as told, apart from what the script says at a request, counted from 0."""

    def __init__(self, bench, mistakes=None, answers=None):
        self.bench, self.mistakes, self.answers = bench, mistakes or {}, answers or {}
        self.asked = []

    def ask(self, request):
        place = len(self.asked)
        self.asked.append(request)
        if place in self.answers:
            return self.answers[place]
        words = request.instruction.split()
        ports = [int(word) for word in words if word.isdigit()]
        standard = self.mistakes.get(place, words[1].lower())
        if standard is not None:
            self.bench.connect(standard, ports)
        return Answer.DONE


@pytest.fixture
def bench():
    return CablesAndStandards()


@pytest.fixture
def analyzer(bench):
    with ExitStack() as stack:
        vna = stack.enter_context(RsZnbt(bench, port_count=2, seed=3))
        opened = open_analyzer("tcp://{}:{}".format(*vna.socket_address), name="vna")
        stack.callback(opened.close)
        yield opened


def plan_of(kind="solt", ports=(1, 2), **changes):
    return CalibrationPlan(kind, ports, KIT, SWEEP, **({"temperature": 295.0, "operator": "MK"} | changes))


def at(hours):
    return lambda: MORNING + timedelta(hours=hours)


def test_a_dialog_calibrates_and_the_device_comes_out_right(bench, analyzer, tmp_path):
    """Seven requests; saved, loaded, and used within its day: a device is right to the noise."""
    events = []
    script = Script(bench)
    record = calibrate(analyzer, plan_of(), script, emit=events.append, now=at(0))
    assert [request.instruction for request in script.asked] == [
        "connect SHORT to port 1", "connect OPEN to port 1", "connect LOAD to port 1",
        "connect SHORT to port 2", "connect OPEN to port 2", "connect LOAD to port 2",
        "connect THRU between ports 1 and 2",
    ]  # fmt: skip
    assert [(request.number, request.total) for request in script.asked] == [(n, 7) for n in range(1, 8)]
    assert events[-1].kind == "calibrate.finished"
    save_record(record, tmp_path / "morning")
    record = load_record(tmp_path / "morning")
    device = np.array([[0.2 + 0.1j, 0.5], [0.5, -0.3j]])
    bench.connect(device, (1, 2))
    swept = sweep_corrected(analyzer, record, SWEEP, temperature=295.5, noise=TRACE_NOISE, now=at(2))
    # each of the eight sweeps has this noise; ways of 0.81 and the standards make less than 4 times of it
    assert np.abs(swept.s - device).max() < 4.0 * 5.0 * TRACE_NOISE
    # one wrong load for both ports is a wrong reference impedance: dS = u (S S - 1); 2 %: noise
    stated = swept.budget.contributions["load"]
    expected = np.broadcast_to(0.005 * np.abs(device @ device - np.eye(2)), stated.shape)
    np.testing.assert_allclose(stated, expected, rtol=0.02, atol=1e-5)


def test_a_standard_left_on_is_asked_for_again_with_the_reason(bench, analyzer):
    """SHORT still on at the request for OPEN, nothing between the ports at the request for THRU."""
    script = Script(bench, mistakes={1: None, 7: None})
    record = calibrate(analyzer, plan_of(), script, now=at(0))
    assert script.asked[2].instruction == "connect OPEN to port 1"
    assert script.asked[2].reason == "port 1 still looks as with SHORT"
    assert "nothing is transmitted" in script.asked[8].reason
    assert len(script.asked) == 9
    record.solve()


def test_three_times_the_wrong_standard_ends_the_calibration(bench, analyzer):
    """It is not asked for ever."""
    with pytest.raises(RunAborted, match=r"connect OPEN to port 1: not done after 3 attempts"):
        calibrate(analyzer, plan_of(), Script(bench, mistakes={1: None, 2: None, 3: None}))


def test_the_operator_may_repeat_a_step_and_end(bench, analyzer):
    """REPEAT asks for the standard before once more, and its new sweep counts; ABORT ends."""
    script = Script(bench, mistakes={1: "load", 3: "open", 4: "load"}, answers={2: Answer.REPEAT})
    record = calibrate(analyzer, plan_of("sol", (1,)), script, now=at(0))
    assert [request.instruction.split()[1] for request in script.asked] == [
        "SHORT",
        "OPEN",
        "LOAD",
        "OPEN",
        "LOAD",
    ]
    corrected = record.solve()
    bench.connect("open", (1,))
    np.testing.assert_allclose(corrected.correct(record.raw["open-1"])[:, 0, 0], 1.0, atol=1e-3)
    with pytest.raises(RunAborted, match="ended by the operator at: connect OPEN"):
        calibrate(analyzer, plan_of(), Script(bench, answers={1: Answer.ABORT}))
    with pytest.raises(RunAborted):
        calibrate(analyzer, plan_of(), Script(bench), abort=lambda: True)


def test_an_incomplete_kit_is_refused_before_anybody_is_asked(bench, analyzer):
    """A kit without a line makes no TRL."""
    script = Script(bench)
    with pytest.raises(ValueError, match="no line"):
        calibrate(analyzer, plan_of("trl"), script)
    assert not script.asked


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"now": at(11)}, "11.0 h old"),
        ({"temperature": 297.0}, "allowed ±1 K"),
        ({"temperature": None}, "not known"),
        ({"drift": 0.03}, "drifted by 0.03"),
    ],
)
def test_a_calibration_that_is_not_valid_corrects_nothing(bench, analyzer, changes, text):
    """Expired, too warm, or drifted: an error with the reason, no number."""
    record = calibrate(analyzer, plan_of(), Script(bench), now=at(0))
    options = {"now": at(2), "temperature": 295.2} | changes
    with pytest.raises(MeasurementError, match=text):
        sweep_corrected(analyzer, record, SWEEP, **options)
    other = SweepPlan((Segment(30e6, 131e6, 11),), if_bandwidth=10.0)
    with pytest.raises(MeasurementError, match="other frequencies"):
        sweep_corrected(analyzer, record, other, now=at(1), temperature=295.0)
    softer = SweepPlan(SWEEP.segments, if_bandwidth=10.0, power_dbm=-20.0)
    with pytest.raises(MeasurementError, match="power_dbm"):
        sweep_corrected(analyzer, record, softer, now=at(1), temperature=295.0)


def test_drift_is_measured_by_asking_for_the_load_again(bench, analyzer):
    """A cable that moved by 0.02 is seen; an unmoved one shows noise."""
    record = calibrate(analyzer, plan_of(), Script(bench), now=at(0))
    assert check_drift(analyzer, record, SWEEP, "load-1", Script(bench)) < 4.0 * 5.0 * TRACE_NOISE
    bench.drift = 0.02
    script, events = Script(bench), []
    drift = check_drift(analyzer, record, SWEEP, "load-1", script, emit=events.append)
    assert drift == pytest.approx(0.02, abs=4.0 * 5.0 * TRACE_NOISE)
    assert script.asked[0].instruction == "connect LOAD to port 1"
    assert events[-1].data["drift"] == drift
    with pytest.raises(ValueError, match="no reflection standard"):
        check_drift(analyzer, record, SWEEP, "thru-1-2", Script(bench))
    other = SweepPlan((Segment(30e6, 131e6, 11),), if_bandwidth=10.0)
    with pytest.raises(ValueError, match="other frequencies"):
        check_drift(analyzer, record, other, "load-1", Script(bench))


def test_a_check_standard_verifies_the_calibration(bench, analyzer):
    """A 6 dB attenuator known to 0.01 passes; a calibration made with a 55 ohm load does not."""
    attenuator = np.array([[0.0, 10 ** (-6 / 20)], [10 ** (-6 / 20), 0.0]], complex)

    def verified(record):
        bench.connect(attenuator, (1, 2))
        swept = sweep_corrected(analyzer, record, SWEEP, temperature=295.0, now=at(1))
        defined = np.broadcast_to(attenuator, swept.s.shape)
        return verify_calibration("6 dB", swept, defined, 0.01).judged.verdict

    assert verified(calibrate(analyzer, plan_of(), Script(bench), now=at(0))) is Verdict.PASS
    real = CablesAndStandards.connect

    def with_a_bad_load(standard, ports):
        real(bench, standard, ports)
        if isinstance(standard, str) and standard == "load":
            bench.load[ports[0]] = 5.0 / 105.0

    bench.connect = with_a_bad_load
    assert verified(calibrate(analyzer, plan_of(), Script(bench), now=at(0))) is Verdict.FAIL


def test_the_machines_time_has_a_zone():
    """Calibrations are dated in UTC."""
    assert utc_now().tzinfo is UTC
