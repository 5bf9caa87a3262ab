"""A two-port analyzer and a switch serve as an analyzer with sixteen ports, from the bench file on."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from skrf.network import Network

from coilbench.base.errors import BenchFileError, ConnectionFailed, InstrumentFault, RunAborted
from coilbench.bench import open_some, openers
from coilbench.bench_file import read_bench_file
from coilbench.procedures.characterise import CharacterisePlan, characterise
from coilbench.procedures.tune import nucleus_ports
from coilbench.simulated_bench import DEFAULT_ADDRESSES, bench_file_text
from coilbench.switched_analyzer import SwitchData, SwitchedAnalyzer
from drivers.analyzers.rohde_schwarz_znb import open_analyzer
from drivers.protocols import Segment, SweepPlan
from drivers.switches.rohde_schwarz_osp import open_switch
from drivers.switches.wiring import sixteen_to_two
from hil_fixtures.contracts.analyzer import AnalyzerContract
from hil_fixtures.instruments.rs_osp import RsOsp
from hil_fixtures.instruments.rs_znbt import RsZnbt
from hil_fixtures.instruments.switched_device import SwitchedDevice
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from pathlib import Path

ROUTES, PARKED = sixteen_to_two()


@cache
def tuned_world():
    """Return one world for all tests: building it takes longer than measuring it."""
    return World.tuned(seed=3)


class Parts:
    """The world, its matrix of relays, the unit that switches them, and a two-port analyzer."""

    def __init__(self, stack, time_scale=0.0):
        self.world = tuned_world()
        self.device = SwitchedDevice(self.world, seed=1)
        self.unit = stack.enter_context(RsOsp(self.device))
        self.vna = stack.enter_context(RsZnbt(self.device, port_count=2, seed=2, time_scale=time_scale))
        self.address = "tcp://{}:{}".format(*self.vna.socket_address)

    @property
    def data(self):
        return SwitchData(lambda a, d, f: self.device.path(f, a - 1, d), self.device.terminations)

    def analyzer(self):
        switch = open_switch(self.unit.address, name="switch", routes=ROUTES, parked=PARKED)
        return SwitchedAnalyzer(open_analyzer(self.address, name="vna", timeout=3.0), switch, self.data)

    def write_files(self, folder):
        """Write what a calibrated analyzer would have measured, every MHz."""
        f = np.arange(20e6, 160.5e6, 1e6)
        for side in (0, 1):
            for port in range(1, 17):
                way = Network(f=f, f_unit="Hz", s=self.device.path(f, side, port), z0=50)
                way.write_touchstone(f"way-{side + 1}-{port}", dir=str(folder))
        for port in range(16):
            load = Network(f=f, f_unit="Hz", s=self.device.terminations(f)[:, port].reshape(-1, 1, 1), z0=50)
            load.write_touchstone(f"load-{port + 1}", dir=str(folder))


@pytest.fixture
def parts():
    with ExitStack() as stack:
        yield Parts(stack)


class TestAnalyzerContract(AnalyzerContract):
    """All that an analyzer must keep, of the two instruments together."""

    @pytest.fixture
    def analyzer(self):
        with ExitStack() as stack:
            opened = Parts(stack, time_scale=1.0).analyzer()
            stack.callback(opened.close)
            yield opened


def bench_file(tmp_path: Path, parts: Parts, files: Path, driver: str = "rs-osp"):
    text = bench_file_text({**DEFAULT_ADDRESSES, "analyzer_hislip": parts.address})
    lines = [
        f'[instruments.switch]\ndriver = "{driver}"\naddress = "{parts.unit.address}"',
        f'parked = "{PARKED}"\nfiles = "{files.as_posix()}"\n[instruments.switch.routes]',
        *(f'"{name}" = "{states}"' for name, states in ROUTES.items()),
    ]
    path = tmp_path / "bench.toml"
    path.write_text(text + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return read_bench_file(path)


def test_the_bench_file_makes_a_sixteen_port_analyzer_of_two(tmp_path, parts):
    """An array is characterised as by sixteen ports: the same reflections, couplings and verdict."""
    parts.write_files(tmp_path)
    file = bench_file(tmp_path, parts, tmp_path)
    with RsZnbt(parts.world, port_count=16, seed=9) as whole, ExitStack() as stack:
        direct = open_analyzer("tcp://{}:{}".format(*whole.socket_address), name="direct")
        stack.callback(direct.close)
        opened = stack.enter_context(open_some(file, ["analyzer"]))
        plan = CharacterisePlan(nucleus_ports(file), points=11)
        ours, theirs = characterise(opened["analyzer"], plan), characterise(direct, plan)
        # 1 kHz: trace noise of 7e-5; files of every MHz interpolated by cubics: below 1e-5
        assert np.abs(ours.network.s - theirs.network.s).max() < 1e-3
        assert ours.verdict is theirs.verdict
        assert parts.device.connected(0) is not None
    assert parts.device.connected(0) is None


def test_some_ports_leave_the_others_in_their_loads(parts):
    """A pair's sweep is that of the device with fourteen loads; ports come in the order asked for."""
    analyzer = parts.analyzer()
    analyzer.configure(SweepPlan((Segment(33e6, 34.5e6, 5),), if_bandwidth=10.0))
    network = analyzer.sweep((12, 5, 9))
    s, loads = parts.world.scattering(network.f), parts.device.terminations(network.f).copy()
    driven = [11, 4, 8]
    loads[:, driven] = 0.0
    truth = np.linalg.solve(np.eye(16) - s * loads[:, None, :], s[:, :, driven])[:, driven]
    # 10 Hz: 7e-6 of the value, through 0.8 dB
    assert np.abs(network.s - truth).max() < 1e-4
    analyzer.close()


def test_a_relay_that_does_not_switch_gives_no_data(parts):
    """A stuck contact makes the pairs contradict each other: an error that names the connection."""
    analyzer = parts.analyzer()
    analyzer.configure(SweepPlan((Segment(33e6, 34.5e6, 5),)))
    # port 6's relay never reaches side B, where one of five connections needs it
    parts.unit.faults.stuck_contacts.add((1, 6))
    with pytest.raises(InstrumentFault, match=r"connection \d+ \(ports \d+, 6\)"):
        analyzer.sweep((5, 6, 7, 8))
    with pytest.raises(RunAborted, match="stopped before ports"):
        analyzer.sweep((5, 6), abort=lambda: True)
    with pytest.raises(ValueError, match="leads to the ports"):
        analyzer.sweep((5, 5))
    analyzer.close()


def test_missing_files_are_all_named_and_the_analyzer_is_closed(tmp_path, parts):
    """Nothing is assumed to be ideal for want of a file."""
    parts.write_files(tmp_path)
    (tmp_path / "load-7.s1p").unlink()
    (tmp_path / "way-2-3.s2p").write_text("nothing", encoding="ascii")
    opening = openers(bench_file(tmp_path, parts, tmp_path))
    with pytest.raises(BenchFileError, match=r"(?s)load-7\.s1p.*way-2-3\.s2p"):
        opening["analyzer"]()


def test_a_switch_that_is_not_there_is_named(tmp_path, parts):
    """The analyzer is closed again."""
    parts.write_files(tmp_path)
    file = bench_file(tmp_path, parts, tmp_path)
    switch = file.instruments.switch.model_copy(update={"address": "tcp://127.0.0.1:9"})
    file = file.model_copy(update={"instruments": file.instruments.model_copy(update={"switch": switch})})
    with pytest.raises(ConnectionFailed, match="switch"):
        openers(file)["analyzer"]()


def test_a_driver_of_another_kind_is_refused(tmp_path, parts):
    """A tuner is no switch."""
    with pytest.raises(BenchFileError, match="not one for the switch; allowed: rs-osp"):
        bench_file(tmp_path, parts, tmp_path, driver="coilbench-tuner")
