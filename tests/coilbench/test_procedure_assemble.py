"""N ports measured by a switch and by hand, over the simulated instruments' wires."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pytest

from coilbench.base.errors import InstrumentFault, MeasurementError, RunAborted
from coilbench.base.verdict import Verdict
from coilbench.procedures.assemble import (
    AssemblyPlan,
    assemble_by_hand,
    assemble_with_switch,
    through_paths,
    with_calibration,
)
from coilbench.procedures.operator import Answer
from coils.assembly import assemble, plan_connections
from coils.calibration import CalibrationRecord, ValidityLimits, calibration_steps, ideal_kit
from drivers.analyzers.rohde_schwarz_znb import open_analyzer
from drivers.protocols import Segment, SweepPlan
from drivers.switches.rohde_schwarz_osp import open_switch
from drivers.switches.wiring import sixteen_to_two
from hil_fixtures.instruments.rs_osp import RsOsp
from hil_fixtures.instruments.rs_znbt import RsZnbt
from hil_fixtures.instruments.switched_device import SwitchedDevice
from hil_fixtures.physics.world import World

#: Both nuclei at 3 T. 10 Hz and -10 dBm: noise of -100 dB, and 7e-6 of the value (the simulated analyzer).
SWEEP = SweepPlan((Segment(33e6, 34.5e6, 7), Segment(125e6, 130e6, 9)), if_bandwidth=10.0)
#: Standard deviation of one S-parameter near 1 of that analyzer: 2.3e-4 at 10 kHz, less by √1000 at 10 Hz.
TRACE_NOISE = 2.3e-4 / np.sqrt(1000.0)


@cache
def tuned_world():
    """Return one world for all tests: building it takes longer than measuring it."""
    return World.tuned(seed=2)


class SwitchedBench:
    """A 16-port array, a relay matrix, and a 2-port analyzer behind it; and a 16-port one at the array."""

    def __init__(self, stack):
        self.world = tuned_world()
        self.device = SwitchedDevice(self.world, seed=5)
        self.unit = stack.enter_context(RsOsp(self.device))
        self.vna = stack.enter_context(RsZnbt(self.device, port_count=2, seed=7))
        self.direct = stack.enter_context(RsZnbt(self.world, port_count=16, seed=8))
        routes, parked = sixteen_to_two()
        self.switch = open_switch(self.unit.address, name="switch", routes=routes, parked=parked)
        stack.callback(self.switch.close)
        self.analyzer = open_analyzer("tcp://{}:{}".format(*self.vna.socket_address), name="vna")
        stack.callback(self.analyzer.close)
        self.sixteen = open_analyzer("tcp://{}:{}".format(*self.direct.socket_address), name="direct")
        stack.callback(self.sixteen.close)

    def correct(self):
        """Return the correction for the ways through the relays, as measured once and kept."""
        return through_paths(lambda analyzer, port, f: self.device.path(f, analyzer - 1, port))


@pytest.fixture
def bench():
    with ExitStack() as stack:
        yield SwitchedBench(stack)


def plan_of(bench, ports=range(1, 17), **changes):
    options = {"ports": tuple(ports), "sweep": SWEEP, "loads": bench.device.terminations, "noise": 1e-4}
    return AssemblyPlan(**(options | changes))


def test_two_ports_and_a_switch_measure_what_sixteen_ports_measure(bench):
    """Through imperfect relays: equal to the 16-port analyzer's sweep within twice the sweeps' noise."""
    events = []
    result = assemble_with_switch(
        bench.analyzer, bench.switch, plan_of(bench), correct=bench.correct(), emit=events.append
    )
    assert not result.failures
    assert result.verdict is Verdict.PASS
    assert result.assembly.network().s.shape == (16, 16, 16)
    bench.sixteen.configure(SWEEP)
    whole = bench.sixteen.sweep()
    difference = np.abs(result.assembly.s - whole.s)
    # raw noise is that of reflections near 1 at most, seen through 0.8 dB of way
    noise = TRACE_NOISE * 10 ** (0.8 / 20)
    assert np.sqrt(np.mean(difference**2)) < 2.0 * noise
    assert difference.max() < 10.0 * noise
    # the loads are what a naive assembly would have missed
    naive = assemble(result.parts, np.zeros(16, complex), noise=1.0).s
    assert np.abs(naive - whole.s).max() > 100.0 * difference.max()
    assert bench.switch.connected == ()
    assert [event.kind for event in events].count("assemble.swept") == 120
    assert events[-1].data["missing"] == []


def test_a_contact_that_readback_cannot_see_is_found_in_the_data(bench):
    """A failsafe relay reports its control line only: the connection through its stuck contact disagrees."""
    # port 4's relay never reaches side B, where only the connection of ports 3 and 4 needs it
    bench.unit.faults.stuck_contacts.add((1, 4))
    result = assemble_with_switch(
        bench.analyzer, bench.switch, plan_of(bench, range(3, 9)), correct=bench.correct()
    )
    assert result.verdict is Verdict.FAIL
    assert [suspicion.ports for suspicion in result.assembly.suspicions] == [(3, 4)]
    assert result.missing == ((3, 4),)


def test_a_contact_that_is_wrong_in_every_connection_makes_the_device_active(bench):
    """Port 5 is always measured on side B: what agrees with itself is open, and more than passive."""
    bench.unit.faults.stuck_contacts.add((1, 5))
    result = assemble_with_switch(
        bench.analyzer, bench.switch, plan_of(bench, range(3, 9)), correct=bench.correct()
    )
    assert not result.assembly.suspicions
    assert [row.name for row in result.judged if row.verdict is Verdict.FAIL] == ["largest gain"]


def test_a_stuck_relay_ends_the_measurement_and_parks(bench):
    """Readback names it; nothing is measured through an unknown way."""
    bench.unit.faults.stuck.add((4, 1))
    with pytest.raises(InstrumentFault, match="F01M04 K1"):
        assemble_with_switch(bench.analyzer, bench.switch, plan_of(bench, (1, 2, 3)))


def test_failed_sweeps_are_repeated_and_what_stays_failed_is_missing(bench):
    """An analyzer that reports an error at every sweep of a time: pairs are named, not invented."""
    seen = []

    def emit(event):
        seen.append(event.kind)
        # the fault comes after the second sweep and goes before the fifth connection's
        bench.vna.faults.sweep_error = (-310, "System error") if 3 <= len(seen) < 8 else None

    result = assemble_with_switch(
        bench.analyzer, bench.switch, plan_of(bench, (1, 2, 3, 4)), correct=bench.correct(), emit=emit
    )
    assert "assemble.failed" in seen
    assert not result.failures
    assert result.verdict is Verdict.PASS


def test_an_analyzer_that_fails_for_good_leaves_pairs_missing(bench):
    """From the fourth connection on every sweep fails: three pairs are there, the others are named."""
    swept = []

    def emit(event):
        swept.append(event.kind)
        if swept.count("assemble.swept") == 3:
            bench.vna.faults.sweep_error = (-310, "System error")

    result = assemble_with_switch(
        bench.analyzer, bench.switch, plan_of(bench, (1, 2, 3, 4)), correct=bench.correct(), emit=emit
    )
    # three connections, twice each, in the first round and in the second
    assert swept.count("assemble.failed") == 12
    assert len(result.missing) == 3
    assert {tuple(sorted(ports)) for ports, _ in result.failures} == set(result.missing)
    assert all("-310" in reason for _, reason in result.failures)
    assert result.verdict is Verdict.FAIL


def test_ports_that_the_switch_does_not_lead_to_are_refused(bench):
    """Before anything is switched."""
    with pytest.raises(ValueError, match="leads to no port 17"):
        assemble_with_switch(bench.analyzer, bench.switch, plan_of(bench, (1, 17)))


def test_an_abort_ends_between_two_connections_and_parks(bench):
    """A person who stops is obeyed before the next connection."""
    count = iter(range(100))
    with pytest.raises(RunAborted):
        assemble_with_switch(
            bench.analyzer,
            bench.switch,
            plan_of(bench),
            correct=bench.correct(),
            abort=lambda: next(count) > 5,
        )
    assert bench.switch.connected == ()


# -- by hand ----------------------------------------------------------------------------------------


class Hands:
    """An operator who moves cables of a bench; told to be wrong at some requests, and to answer otherwise."""

    def __init__(self, bench, wrong=None, answers=None):
        self.bench, self.wrong, self.answers = bench, wrong or {}, answers or {}
        self.asked = []
        self.cables = (0, 0)

    def ask(self, request):
        place = len(self.asked)
        self.asked.append(request)
        if place in self.answers:
            return self.answers[place]
        cables = list(self.cables)
        told = request.instruction.split(";")[0].removeprefix("check: ").removeprefix("connect ")
        for word in told.split(", "):
            _, cable, _, _, port = word.split()
            cables[int(cable) - 1] = int(port)
        self.cables = tuple(cables)
        self.bench.switch.connect(self.wrong.get(place, self.cables))
        return Answer.DONE


def terminated(bench, f, ports):
    """Return S of some ports while all others end in their loads, by solving for all waves at once."""
    s, loads = bench.world.scattering(f), bench.device.terminations(f).copy()
    driven = np.array(ports) - 1
    loads[:, driven] = 0.0
    # b = S (Γ b + a)
    waves = np.linalg.solve(np.eye(16) - s * loads[:, None, :], s[:, :, driven])
    return waves[:, driven]


def by_hand(bench, hands, ports=(2, 7, 9, 12, 16)):
    return assemble_by_hand(bench.analyzer, hands, plan_of(bench, ports), correct=bench.correct())


def test_asking_for_cables_measures_the_same(bench):
    """Ten pairs of five ports by ten requests, each of which moves one cable after the first."""
    hands = Hands(bench)
    result = by_hand(bench, hands)
    assert result.verdict is Verdict.PASS
    assert len(hands.asked) == 10
    assert hands.asked[0].instruction.startswith(
        "connect cable 1 to port 2, cable 2 to port 7; a load on every"
    )
    assert all("stays on port" in request.instruction for request in hands.asked[1:])
    truth = terminated(bench, result.assembly.frequencies, (2, 7, 9, 12, 16))
    assert np.abs(result.assembly.s - truth).max() < 10.0 * TRACE_NOISE * 10 ** (0.8 / 20)


def test_exchanged_cables_are_asked_for_again_and_then_right(bench):
    """The doubtful connection is named in an event and measured again with both cables."""
    planned = plan_connections((2, 7, 9, 12, 16)).connections[4].ports
    hands = Hands(bench, wrong={4: planned[::-1]})
    result = by_hand(bench, hands)
    assert result.verdict is Verdict.PASS
    assert len(hands.asked) == 11
    assert hands.asked[10].instruction.startswith("check: connect cable 1 to port")


def test_an_operator_may_repeat_and_end(bench):
    """REPEAT goes back one connection; ABORT raises with what was asked."""
    hands = Hands(bench, answers={2: Answer.REPEAT, 6: Answer.ABORT})
    with pytest.raises(RunAborted, match="ended by the operator at: connect cable"):
        by_hand(bench, hands)
    assert hands.asked[3].number == hands.asked[2].number - 1
    assert hands.asked[3].reason == "as you asked"


# -- with a calibration -----------------------------------------------------------------------------


def test_a_calibration_that_expires_meanwhile_ends_the_measurement(bench):
    """Ten minutes a connection: after an hour of validity there is no further number."""
    bench.analyzer.configure(SWEEP)
    bench.switch.connect((1, 2))
    f = bench.analyzer.sweep().f
    start = datetime(2024, 5, 6, tzinfo=UTC)
    kit = ideal_kit()
    raw = {step.name: kit.standard(step.standard).scattering(f) for step in calibration_steps("solt", (1, 2))}
    record = CalibrationRecord("solt", (1, 2), f, raw, kit, start, None, bench.analyzer.identity)
    clock = iter(range(100))
    swept = []
    with pytest.raises(MeasurementError, match=r"1\.2 h old, allowed 1 h"):
        assemble_with_switch(
            bench.analyzer,
            bench.switch,
            plan_of(bench, (1, 2, 3, 4, 5)),
            correct=with_calibration(
                record,
                bench.analyzer,
                settings={},
                limits=ValidityLimits(age=timedelta(hours=1)),
                now=lambda: start + timedelta(minutes=10 * next(clock)),
            ),
            emit=lambda event: swept.append(event.kind),
        )
    # at 0, 10, ... 60 minutes
    assert swept.count("assemble.swept") == 7
    assert bench.switch.connected == ()


def test_nothing_measured_is_an_error_with_the_reasons(bench):
    """An analyzer that never sweeps gives no matrix of nan."""
    bench.vna.faults.sweep_error = (-310, "System error")
    with pytest.raises(MeasurementError, match=r"no connection could be measured: .*-310"):
        assemble_with_switch(bench.analyzer, bench.switch, plan_of(bench, (1, 2, 3)))
