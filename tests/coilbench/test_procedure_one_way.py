"""Five ports with a NanoVNA-H, which drives port 1 only: calibrated in a dialog, every pair both ways."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime

import numpy as np
import pytest

from coilbench.base.verdict import Verdict
from coilbench.procedures.assemble import AssemblyPlan, assemble_one_way
from coilbench.procedures.calibrate import CalibrationPlan, calibrate
from coilbench.procedures.operator import Answer
from coils.calibration import correct_one_path, ideal_kit, load_record, save_record
from drivers.analyzers.nanovna_h import open_analyzer
from drivers.protocols import ForwardAnalyzer, Segment, SweepPlan
from hil_fixtures.instruments.nanovna_h import NanoVnaH

PORTS = 5
#: Amplitude noise of the simulated instrument at 1 kHz and below 300 MHz: 70 dB of dynamic range.
NOISE = 3.2e-4
SWEEP = SweepPlan((Segment(30e6, 36e6, 21),), if_bandwidth=1e3, power_dbm=-9.0)


class Table:
    """A five-port device, standards, loads and two cables; each cable is on a port, or on a standard."""

    port_count = 2

    def __init__(self):
        rng = np.random.default_rng(6)
        s = rng.standard_normal((2, PORTS, PORTS)) @ np.eye(PORTS)
        s = s[0] + 1j * s[1]
        s = s + s.T
        self.s = 0.9 * s / np.linalg.norm(s, ord=2)
        self.load = 0.1 * np.exp(2j * np.pi * rng.random(PORTS))
        self.here = np.zeros((2, 2), complex)

    def rf_output(self, source, on, /):
        pass

    def put(self, standard, ports):
        if standard == "thru":
            self.here = np.array([[0, 1], [1, 0]], complex)
        else:
            self.here = np.diag([{"short": -1.0, "open": 1.0, "load": 0.0}[standard], 0.0]).astype(complex)
        assert ports

    def connect(self, first, second):
        """Put the cables on two ports of the device; the others have their loads."""
        kept = [first - 1, second - 1]
        loads = self.load.copy()
        loads[kept] = 0.0
        waves = np.linalg.solve(np.eye(PORTS) - self.s * loads, self.s[:, kept])
        self.here = waves[kept]

    def scattering(self, f, /):
        """Return S as seen through two cables with connectors that reflect 0.1 and 0.15."""
        s = np.broadcast_to(self.here, (f.size, 2, 2))
        turn = np.exp(-2j * np.pi * f[:, None] * np.array([4e-9, 6e-9]))
        mismatch = np.array([0.1, 0.15j])
        inner = np.linalg.solve(np.eye(2) - s * (mismatch * turn)[:, None, :], s)
        seen = 0.9 * turn[:, :, None] * inner * turn[:, None, :]
        seen[:, [0, 1], [0, 1]] += 0.08 * turn
        return seen


class Hands:
    """An operator who connects standards and cables; at some requests the other way round."""

    def __init__(self, table, wrong=()):
        self.table, self.wrong = table, wrong
        self.cables = [0, 0]
        self.asked = []

    def ask(self, request):
        place = len(self.asked)
        self.asked.append(request)
        told = request.instruction.split(";")[0].removeprefix("check: ").removeprefix("connect ")
        if not told.startswith("cable"):
            self.table.put(told.split()[0].lower(), [int(w) for w in told.split() if w.isdigit()])
            return Answer.DONE
        for part in told.split(", "):
            _, cable, _, _, port = part.split()
            self.cables[int(cable) - 1] = int(port)
        self.table.connect(*(self.cables[::-1] if place in self.wrong else self.cables))
        return Answer.DONE


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def analyzer(table):
    with ExitStack() as stack:
        vna = stack.enter_context(NanoVnaH(table, seed=4, kind="socket"))
        opened = open_analyzer(vna.address, name="nanovna")
        stack.callback(opened.close)
        yield opened


@pytest.mark.parametrize("wrong", [(), (7,)])
def test_a_handheld_analyzer_measures_five_ports(table, analyzer, tmp_path, wrong):
    """Right within the noise; a pair connected the wrong way round once is asked for again, both ways."""
    assert isinstance(analyzer, ForwardAnalyzer)
    day = datetime(2024, 5, 6, tzinfo=UTC)
    plan = CalibrationPlan("one-path", (1, 2), ideal_kit(), SWEEP)
    record = calibrate(analyzer, plan, Hands(table), now=lambda: day)
    assert np.isnan(record.raw["thru-1-2"][:, :, 1]).all()
    save_record(record, tmp_path / "cal")
    correction = load_record(tmp_path / "cal").solve()
    hands = Hands(table, wrong)
    result = assemble_one_way(
        analyzer,
        hands,
        AssemblyPlan(
            ports=tuple(range(1, PORTS + 1)),
            sweep=SWEEP,
            loads=lambda f: np.broadcast_to(table.load, (f.size, PORTS)),
            noise=5.0 * NOISE,
        ),
        lambda forward, reverse: correct_one_path(correction, forward, reverse),
    )
    assert result.verdict is Verdict.PASS
    assert not result.missing
    # every ordered pair once, one cable moved in each step
    assert len(hands.asked) == PORTS * (PORTS - 1) + (2 if wrong else 0)
    assert all(request.reason == "" for request in hands.asked)
    error = result.assembly.s - table.s
    # noise of the device's sweeps and of the standards', through ways of 0.9 and mismatches of 0.15
    assert np.sqrt(np.mean(np.abs(error) ** 2)) < 3.0 * NOISE
