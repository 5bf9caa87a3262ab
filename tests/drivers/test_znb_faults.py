"""The ZNB driver against a failing instrument: the truth or a typed error, no hang, RF off, usable again."""

from __future__ import annotations

import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coilbench.base.errors import (
    ConnectionLost,
    InstrumentFault,
    LimitExceeded,
    ProtocolError,
    ReplyTimeout,
    RunAborted,
)
from drivers.address import open_link
from drivers.analyzers.rohde_schwarz_znb import ZnbAnalyzer, open_analyzer
from drivers.protocols import Segment, SweepPlan
from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.rs_znbt import RsZnbt

if TYPE_CHECKING:
    from collections.abc import Iterator

#: 23Na and 1H at 3 T, unequal lengths.
PLAN = SweepPlan((Segment(33.3e6, 34.3e6, 11), Segment(126.7e6, 128.7e6, 7)), 10e3, -10.0)
#: Noise of the simulated receivers at 10 kHz is far below; entries of the network differ by 0.9/4.
TOLERANCE = 0.01
TYPED = (ReplyTimeout, ProtocolError, ConnectionLost, InstrumentFault)


@dataclass
class Bench:
    simulated: RsZnbt
    device: AsymmetricNetwork
    address: str
    analyzer: ZnbAnalyzer

    def check(self, ports: tuple[int, ...] = (2, 4, 1)) -> None:
        """Sweep and compare with the network itself."""
        network = self.analyzer.sweep(ports)
        index = np.array(ports) - 1
        truth = self.device.scattering(network.f)[:, index][:, :, index]
        np.testing.assert_allclose(network.s, truth, atol=TOLERANCE)

    @property
    def is_rf_on(self) -> bool:
        return any(self.device.rf_outputs.values())


@pytest.fixture(params=["hislip", "socket"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    device = AsymmetricNetwork(4)
    with RsZnbt(device, port_count=4, time_scale=1.0, seed=3) as simulated:
        host, port = simulated.socket_address
        address = simulated.hislip_resource if request.param == "hislip" else f"tcp://{host}:{port}"
        with open_analyzer(address, name="vna", timeout=0.4) as analyzer:
            analyzer.configure(PLAN)
            yield Bench(simulated, device, address, analyzer)
            simulated.link_faults.heal()


def test_znb_every_entry_is_where_it_belongs(bench: Bench) -> None:
    """On a network that is neither reciprocal nor symmetric no row, column or port is exchanged."""
    bench.check((1, 2, 3, 4))
    bench.check((4, 2))
    bench.check((3,))


def test_znb_sixteen_ports_are_256_parameters_of_one_trigger() -> None:
    """The whole array in one sweep, each entry in its place."""
    device = AsymmetricNetwork(16)
    with (
        RsZnbt(device, port_count=16, seed=4) as simulated,
        open_analyzer(simulated.hislip_resource, name="vna") as analyzer,
    ):
        analyzer.configure(PLAN)
        network = analyzer.sweep()
        part = analyzer.sweep((12, 10))
    np.testing.assert_allclose(part.s, network.s[:, [11, 9]][:, :, [11, 9]], atol=TOLERANCE)
    assert network.s.shape == (PLAN.points, 16, 16)
    np.testing.assert_allclose(network.s, device.scattering(network.f), atol=TOLERANCE)


def test_znb_rf_is_on_only_while_it_sweeps(bench: Bench) -> None:
    """RF is off after opening, configuring and sweeping; on in between, else there is no signal."""
    assert not bench.is_rf_on
    bench.check()
    assert not bench.is_rf_on


@pytest.mark.parametrize(
    ("fault", "after"),
    [
        *product(["close_mid_reply", "hang_up", "garbage"], [0, 2, 5, 7]),
        # the trigger's answer and the data
        *product(["late"], [3, 7]),
        *product(["drop_reply"], [4, 7]),
        # once: a dead HiSLIP instrument takes PyVISA-py's own 5 s
        ("half_then_stall", 7),
        ("split", 0),
    ],
)
def test_znb_link_fault_ends_in_the_truth_or_a_typed_error(bench: Bench, fault: str, after: int) -> None:
    """A fault at any reply of a sweep: the truth or a typed error in time, RF off, usable again."""
    bench.simulated.link_faults.pass_unharmed(after)
    if fault == "late":
        bench.simulated.link_faults.delay(0.8)
    elif fault == "split":
        bench.simulated.link_faults.heal()
        bench.simulated.link_faults.split(13)
    else:
        getattr(bench.simulated.link_faults, fault)()
    start = time.monotonic()
    try:
        bench.check()
        named = bench.analyzer.name
    except TYPED as error:
        named = error.instrument
        bench.simulated.link_faults.heal()
    assert named == bench.analyzer.name
    # the deadline of a 10 ms sweep is 5 s; the rest are ordinary time-outs
    assert time.monotonic() - start < 8.0
    bench.check((3, 1))
    assert not bench.is_rf_on


def test_znb_sweep_that_never_ends_stops_at_its_deadline(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead trigger is reported at the computed deadline with the command; RF is off; it goes on."""
    monkeypatch.setattr("drivers.analyzers.rohde_schwarz_znb._PATIENCE", (1.5, 0.3))
    bench.simulated.faults.stop_mid_sweep = True
    start = time.monotonic()
    with pytest.raises(ReplyTimeout, match="not done after") as caught:
        bench.analyzer.sweep((1, 2))
    assert time.monotonic() - start < 2.0
    assert caught.value.command == "INIT1:IMM;*OPC?"
    assert not bench.is_rf_on
    bench.simulated.faults.stop_mid_sweep = False
    bench.check()


@pytest.mark.parametrize("entry", [(-113, "Undefined header;FOO"), (-350, "Queue overflow")])
def test_znb_stale_error_does_not_keep_it_from_being_opened(
    bench: Bench, caplog: pytest.LogCaptureFixture, entry: tuple[int, str]
) -> None:
    """What somebody left in the error queue is logged and gone, RF is off; a refusal is still a fault."""
    bench.analyzer.close()
    bench.simulated.status.report(*entry)
    bench.simulated.status.report(-222, "Data out of range;BAR")
    caplog.set_level(logging.INFO, logger="coilbench")
    with open_analyzer(bench.address, name="vna", timeout=1.0) as analyzer:
        assert not bench.is_rf_on
        for left in (f'{entry[0]},"{entry[1]}"', '-222,"Data out of range;BAR"'):
            assert any(left in message for message in caplog.messages)
        with pytest.raises(InstrumentFault, match="-222"):
            analyzer.configure(SweepPlan((Segment(1.0, 2.0, 5),)))


def test_znb_sweep_during_which_rf_was_switched_off_is_no_measurement() -> None:
    """Another client's OUTP OFF in the middle of a sweep makes it a fault; the next sweep is good."""
    device = AsymmetricNetwork(2)
    with (
        RsZnbt(device, port_count=2, time_scale=1.0, seed=7) as simulated,
        open_analyzer(simulated.hislip_resource, name="vna") as analyzer,
    ):
        analyzer.configure(SweepPlan((Segment(33.3e6, 34.3e6, 40),), 100.0))  # 0.8 s

        def switch_off() -> None:
            deadline = time.monotonic() + 5.0
            while not simulated._running:
                assert time.monotonic() < deadline, "no sweep began"
                time.sleep(0.005)
            with socket.create_connection(simulated.socket_address, 5.0) as other:
                other.sendall(b"OUTP OFF\nOUTP?\n")
                assert other.recv(10) == b"0\n"

        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(switch_off)
            with pytest.raises(InstrumentFault, match="RF was switched off during the sweep"):
                analyzer.sweep()
            other.result()
        assert not any(device.rf_outputs.values())
        network = analyzer.sweep()
    np.testing.assert_allclose(network.s, device.scattering(network.f), atol=TOLERANCE)


def test_znb_abort_switches_rf_off_within_half_a_second(bench: Bench) -> None:
    """Stopping a sweep that hangs leaves RF off at once."""
    bench.simulated.faults.stop_mid_sweep = True
    start = time.monotonic()
    with pytest.raises(RunAborted):
        bench.analyzer.sweep((1, 2), abort=lambda: True)
    assert time.monotonic() - start < 0.5
    assert not bench.is_rf_on


def test_znb_not_a_number_is_an_error(bench: Bench) -> None:
    """9.91E37 never becomes an S-parameter; the error names those without values."""
    bench.simulated.faults.not_a_number = True
    with pytest.raises(InstrumentFault, match=r"S\(1,1\)"):
        bench.analyzer.sweep((1, 2))
    bench.simulated.faults.not_a_number = False
    bench.check()


def test_znb_error_during_the_sweep_is_not_swept_under_the_carpet(bench: Bench) -> None:
    """What the instrument puts into its error queue while sweeping makes the sweep fail in its own words."""
    bench.simulated.faults.sweep_error = (-200, "Execution error;unlock")
    with pytest.raises(InstrumentFault, match="Execution error;unlock"):
        bench.analyzer.sweep((1, 2))
    bench.simulated.faults.sweep_error = None
    bench.check()


@pytest.mark.parametrize("is_noticed", [True, False])
def test_znb_restart_in_between_never_gives_data_of_other_settings(bench: Bench, is_noticed: bool) -> None:
    """After a preset, with or without a broken connection: one error, then everything is set anew."""
    bench.check()
    with open_link(bench.address, name="somebody") as link:
        link.write_line("*RST")
        link.write_line("*IDN?")
        link.read_line()
    if is_noticed:
        bench.simulated.hang_up()
    with pytest.raises((ConnectionLost, ProtocolError)):
        bench.analyzer.sweep((1, 2))
    bench.check((1, 2))
    assert not bench.is_rf_on


def test_znb_unplugged_instrument_is_logged_by_make_safe(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The safe state never raises; that RF may still be on is in the log."""
    bench.simulated.close()
    caplog.set_level(logging.WARNING)
    bench.analyzer.make_safe()
    assert any("could not switch RF off" in message for message in caplog.messages)
    bench.analyzer.close()


def test_znb_make_safe_reopens_a_lost_link_and_switches_rf_off(bench: Bench) -> None:
    """A broken link is no excuse: RF is switched off over a new one."""
    link = open_link(bench.address, name="guardian")
    with link:
        link.write_line("OUTP ON")
        link.write_line("OUTP?")
        assert link.read_line() == "1"
    assert bench.is_rf_on
    bench.simulated.hang_up()
    bench.analyzer.make_safe()
    assert not bench.is_rf_on


def test_znb_power_above_the_limit_never_reaches_the_wire(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused means that not one byte was sent."""
    caplog.set_level(logging.DEBUG, logger="coilbench.wire")
    for power in (0.1, float("nan")):
        with pytest.raises(LimitExceeded):
            bench.analyzer.configure(SweepPlan(PLAN.segments, power_dbm=power))
    assert not caplog.messages


@pytest.mark.parametrize("segments", [(), PLAN.segments[::-1], (Segment(1e6, 3e6, 5), Segment(2e6, 4e6, 5))])
def test_znb_falling_or_overlapping_segments_are_refused(bench: Bench, segments: tuple[Segment, ...]) -> None:
    """A sweep's axis rises: anything else is the caller's mistake."""
    with pytest.raises(ValueError, match="segment"):
        bench.analyzer.configure(SweepPlan(segments))


def test_znb_wrong_byte_order_is_noticed_when_opening() -> None:
    """An analyzer that stays big-endian, whatever it is told, is refused: its numbers would be nonsense."""
    with RsZnbt(AsymmetricNetwork(2), port_count=2) as simulated:
        host, port = simulated.socket_address
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("drivers.analyzers.rohde_schwarz_znb.ZnbAnalyzer._byte_order", "FORM:BORD NORM")
            with pytest.raises(ProtocolError, match="byte order"):
                open_analyzer(f"tcp://{host}:{port}", name="vna", timeout=1.0)


def test_znb_another_maker_is_refused() -> None:
    """A Keysight at the address is not driven with R&S commands."""
    from hil_fixtures.instruments.wire import TcpServer

    class OtherMaker:
        def receive(self, _data: bytes, /) -> bytes:
            return b"Keysight Technologies,E5080B,1,A.1\n"

        def closed(self) -> None:
            pass

    with TcpServer(lambda _wire: OtherMaker()) as server:
        host, port = server.address
        with pytest.raises(ProtocolError, match="Rohde"):
            open_analyzer(f"tcp://{host}:{port}", name="vna", timeout=1.0)
