"""The NanoVNA-H driver keeps the analyzer contract against the simulated instrument on its serial line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coilbench.base.errors import (
    ConnectionLost,
    InstrumentFault,
    LimitExceeded,
    ProtocolError,
    ReplyTimeout,
)
from drivers.analyzers.nanovna_h import HARMONIC_THRESHOLD, NanoVnaAnalyzer, open_analyzer, scan_grids
from drivers.protocols import Segment, SweepPlan
from hil_fixtures.contracts.analyzer import AnalyzerContract
from hil_fixtures.instruments.nanovna_h import NanoVnaH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class Attenuator:
    """Two reciprocal, dispersive ports, poorly matched and unlike each other."""

    port_count = 2

    def scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        matrix = np.array([[0.2, 0.4], [0.4, 0.1j]])
        return matrix * np.exp(-2j * np.pi * frequencies[:, None, None] * 2e-9)

    def rf_output(self, source: str, on: bool, /) -> None:
        pass


PLAN = SweepPlan((Segment(33.3e6, 34.3e6, 151), Segment(126.7e6, 128.7e6, 21)))


@pytest.fixture
def simulated() -> Iterator[NanoVnaH]:
    with NanoVnaH(Attenuator(), seed=2) as line:
        yield line


@pytest.fixture
def opened(simulated: NanoVnaH) -> Iterator[NanoVnaAnalyzer]:
    with open_analyzer(simulated.address, name="nanovna", timeout=0.5) as analyzer:
        yield analyzer


@pytest.fixture(params=["pty", "socket"])
def analyzer(request: pytest.FixtureRequest) -> Iterator[NanoVnaAnalyzer]:
    with (
        NanoVnaH(Attenuator(), time_scale=1.0, seed=1, kind=request.param) as line,
        open_analyzer(line.address, name="nanovna", timeout=2.0) as opened,
    ):
        yield opened


class TestNanoVnaContract(AnalyzerContract):
    """All tests of the contract, on a pseudo-terminal and on a serial server."""

    @pytest.fixture
    def plan(self) -> SweepPlan:
        """Return fewer points at the instrument's widest bandwidth: it is slow."""
        return SweepPlan((Segment(33.3e6, 34.3e6, 9), Segment(126.7e6, 128.7e6, 5)), 4e3, -10.0)

    @pytest.fixture
    def slow_plan(self) -> SweepPlan:
        """Return a plan whose first scan lasts longer than an abort may take, and not much longer."""
        return SweepPlan((Segment(33.3e6, 34.3e6, 11), Segment(126.7e6, 128.7e6, 11)), 20.0, -10.0)


def test_nanovna_segments_longer_than_a_scan_are_joined(opened: NanoVnaAnalyzer) -> None:
    """151 points take two scans of a 101-point instrument and come out as one rising axis."""
    opened.configure(PLAN)
    network = opened.sweep((1,))
    expected = np.concatenate([np.linspace(s.start, s.stop, s.points) for s in PLAN.segments])
    np.testing.assert_allclose(network.f, expected, rtol=0.0, atol=1.5)
    np.testing.assert_allclose(network.s[:, 0, 0], Attenuator().scattering(network.f)[:, 0, 0], atol=0.01)


def test_nanovna_forward_sweep_gives_s11_and_s21_of_one_scan(opened: NanoVnaAnalyzer) -> None:
    """S21 comes with S11, and neither is taken for the other."""
    opened.configure(PLAN)
    s11, s21 = opened.sweep_forward()
    truth = Attenuator().scattering(s11.f)
    np.testing.assert_allclose(s11.s[:, 0, 0], truth[:, 0, 0], atol=0.01)
    np.testing.assert_allclose(s21.s[:, 0, 0], truth[:, 1, 0], atol=0.01)


@pytest.mark.parametrize("ports", [None, (2,), (1, 2)])
def test_nanovna_refuses_what_one_direction_cannot_measure(
    opened: NanoVnaAnalyzer, ports: tuple[int, ...] | None
) -> None:
    """S12 and S22 are never invented."""
    opened.configure(PLAN)
    with pytest.raises(ValueError, match="only port 1 drives"):
        opened.sweep(ports)


def test_nanovna_warns_where_a_plan_crosses_into_harmonic_mode(
    opened: NanoVnaAnalyzer, caplog: pytest.LogCaptureFixture
) -> None:
    """1H at 7 T within 300.0001 MHz gives a warning; a plan below it none."""
    caplog.set_level(logging.WARNING)
    opened.configure(PLAN)
    assert not caplog.messages
    opened.configure(SweepPlan((Segment(293e6, 303e6, 31),)))
    assert any("harmonic" in message for message in caplog.messages)
    assert opened.sweep((1,)).f.size == 31


@pytest.mark.parametrize(
    "segment",
    [
        Segment(33e6, 34e6, 2),
        Segment(33e6, 34e6, 101),
        Segment(33e6, 34e6, 102),
        Segment(293e6, 303e6, 31),
        Segment(300_000_099.0, 300_000_101.0, 3),
        Segment(299e6, 301e6, 405),
    ],
)
def test_nanovna_scans_together_are_the_segment_and_never_cross_the_threshold(segment: Segment) -> None:
    """Every scan lies on one side, holds at most 101 points, and all of them are the segment."""
    scans = list(scan_grids(segment, 101))
    np.testing.assert_array_equal(
        np.concatenate(scans), np.linspace(segment.start, segment.stop, segment.points)
    )
    for scan in scans:
        assert 1 <= scan.size <= 101
        assert scan[-1] <= HARMONIC_THRESHOLD or scan[0] > HARMONIC_THRESHOLD


def test_nanovna_lone_point_beyond_the_threshold_is_measured(opened: NanoVnaAnalyzer) -> None:
    """A side with a single point is scanned too: the axis has no hole."""
    segment = Segment(299_000_000.0, 300_200_000.0, 7)
    opened.configure(SweepPlan((segment,)))
    assert [scan.size for scan in scan_grids(segment, 101)] == [6, 1]
    np.testing.assert_allclose(
        opened.sweep((1,)).f, np.linspace(segment.start, segment.stop, 7), rtol=0.0, atol=1.5
    )


def test_nanovna_averages_lower_the_noise(opened: NanoVnaAnalyzer) -> None:
    """16 scans have about a quarter of the noise of one (sampling error of 101 points: a third)."""
    spread = {}
    for averages in (1, 16):
        opened.configure(SweepPlan((Segment(33.3e6, 34.3e6, 101),), 4e3, averages=averages))
        network = opened.sweep((1,))
        spread[averages] = np.std(network.s[:, 0, 0] - Attenuator().scattering(network.f)[:, 0, 0])
    assert 0.15 < spread[16] / spread[1] < 0.4


def test_nanovna_power_limit_below_its_source_forbids_its_use(simulated: NanoVnaH) -> None:
    """Its -9 dBm cannot be lowered, so a lower limit refuses every sweep."""
    with (
        open_analyzer(simulated.address, name="nanovna", power_limit_dbm=-15.0) as analyzer,
        pytest.raises(LimitExceeded, match="-9 dBm"),
    ):
        analyzer.configure(SweepPlan(PLAN.segments, power_dbm=-30.0))


def test_nanovna_lost_reply_never_shifts_answers(simulated: NanoVnaH, opened: NanoVnaAnalyzer) -> None:
    """After a late answer the next scan gives its own segment's data, or an error, never the other's."""
    opened.configure(PLAN)
    simulated.link_faults.delay(1.5)
    with pytest.raises(ReplyTimeout):
        opened.configure(PLAN)
    low, high = SweepPlan(PLAN.segments[:1]), SweepPlan(PLAN.segments[1:])
    for plan in (high, low):
        opened.configure(plan)
        assert opened.sweep((1,)).f[0] == plan.segments[0].start


@pytest.mark.parametrize("fault", ["half_then_stall", "garbage", "drop_reply", "split", "prepend"])
def test_nanovna_link_fault_gives_the_right_value_or_a_typed_error_and_leaves_it_usable(
    simulated: NanoVnaH, opened: NanoVnaAnalyzer, fault: str
) -> None:
    """Whatever happens on the line: right numbers or an InstrumentError, no hang, and then it works again."""
    opened.configure(PLAN)
    if fault == "split":
        simulated.link_faults.split(7)
    elif fault == "prepend":
        simulated.link_faults.prepend(b"\xff\x00ch> noise\r\n")
    else:
        getattr(simulated.link_faults, fault)()
    try:
        opened.configure(PLAN)
        network = opened.sweep((1,))
        named = opened.name
        truth = Attenuator().scattering(network.f)[:, 0, 0]
        np.testing.assert_allclose(network.s[:, 0, 0], truth, atol=0.01)
    except (ReplyTimeout, ProtocolError, ConnectionLost) as error:
        named = error.instrument
    assert named == opened.name
    simulated.link_faults.heal()
    opened.configure(PLAN)
    network = opened.sweep((1,))
    np.testing.assert_allclose(network.s[:, 0, 0], Attenuator().scattering(network.f)[:, 0, 0], atol=0.01)


def test_nanovna_unknown_command_keeps_its_own_words(opened: NanoVnaAnalyzer) -> None:
    """A firmware without a command is told from a damaged line."""
    with pytest.raises(InstrumentFault, match="does not know") as caught:
        opened._shell.ask("bandwith 3")
    assert caught.value.command == "bandwith 3"


def test_nanovna_too_long_line_is_never_sent(opened: NanoVnaAnalyzer) -> None:
    """The shell cuts lines off silently at 63 characters; the driver refuses them."""
    with pytest.raises(ValueError, match="63 characters"):
        opened._shell.ask("scan " + "1" * 60)
