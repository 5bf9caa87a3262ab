"""What every network analyzer driver must keep, on the simulator and on hardware alike.

Subclass ``AnalyzerContract`` in a test module and give it a fixture ``analyzer`` that yields an open,
unconfigured analyzer with a passive, reciprocal device (a coil array, or cables and loads) on it. Sweeps
must take the time that they take on the instrument: the test of the abort needs one that lasts.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coilbench.base.errors import ConnectionLost, InstrumentError, LimitExceeded, RunAborted
from drivers.protocols import Segment, SweepPlan, TimePlan, TransientAnalyzer

if TYPE_CHECKING:
    from drivers.protocols import NetworkAnalyzer

#: Hz that an axis may differ from an evenly spaced one: analyzers step in 1 Hz or less and round each end.
_RESOLUTION = 1.5
#: Largest |S| of a passive device under a bench calibration, and largest |Sij - Sji| of a reciprocal one.
_PASSIVE = 1.05
_RECIPROCAL = 0.02
#: Seconds from an abort to its exception.
_ABORT_TIME = 0.5


def _grid(plan: SweepPlan) -> list[float]:
    return [
        float(frequency)
        for segment in plan.segments
        for frequency in np.linspace(segment.start, segment.stop, segment.points)
    ]


class AnalyzerContract:
    """Tests that any open ``NetworkAnalyzer`` passes; subclasses may override the plans."""

    @pytest.fixture
    def plan(self) -> SweepPlan:
        """Return two short segments around 23Na and 1H at 3 T, of unequal length."""
        return SweepPlan((Segment(33.3e6, 34.3e6, 31), Segment(126.7e6, 128.7e6, 21)), 10e3, -10.0)

    @pytest.fixture
    def slow_plan(self, plan: SweepPlan) -> SweepPlan:
        """Return the same at 10 Hz bandwidth and often averaged: several seconds for each port."""
        return replace(plan, if_bandwidth=10.0, averages=10)

    def test_it_says_who_it_is(self, analyzer: NetworkAnalyzer) -> None:
        """Name and identity are there for errors and records, and the ports make sense."""
        assert analyzer.name
        assert analyzer.identity
        assert analyzer.reflection_ports
        assert set(analyzer.reflection_ports) <= set(range(1, analyzer.port_count + 1))

    def test_configure_returns_what_was_set(self, analyzer: NetworkAnalyzer, plan: SweepPlan) -> None:
        """The plan comes back as read from the instrument: same points, real bandwidth, allowed power."""
        found = analyzer.configure(plan)
        assert [segment.points for segment in found.segments] == [segment.points for segment in plan.segments]
        np.testing.assert_allclose(_grid(found), _grid(plan), rtol=0.0, atol=_RESOLUTION)
        assert 0.3 * plan.if_bandwidth <= found.if_bandwidth <= 1.5 * plan.if_bandwidth
        assert found.averages == plan.averages

    def test_axis_is_the_plan_within_the_resolution(self, analyzer: NetworkAnalyzer, plan: SweepPlan) -> None:
        """Frequencies of a sweep are those of the plan to the hertz, segment after segment."""
        analyzer.configure(plan)
        network = analyzer.sweep(analyzer.reflection_ports[:1])
        np.testing.assert_allclose(network.f, _grid(plan), rtol=0.0, atol=_RESOLUTION)

    def test_sparameters_are_finite_passive_and_reciprocal(
        self, analyzer: NetworkAnalyzer, plan: SweepPlan
    ) -> None:
        """The numbers are those of a passive reciprocal device."""
        ports = analyzer.reflection_ports[:3]
        analyzer.configure(plan)
        network = analyzer.sweep(ports)
        assert network.s.shape == (plan.points, len(ports), len(ports))
        assert np.all(np.isfinite(network.s))
        assert np.all(np.abs(network.s) > 0.0)
        assert np.linalg.norm(network.s, ord=2, axis=(1, 2)).max() < _PASSIVE
        assert np.abs(network.s - network.s.transpose(0, 2, 1)).max() < _RECIPROCAL

    def test_ports_come_in_the_order_asked_for(self, analyzer: NetworkAnalyzer, plan: SweepPlan) -> None:
        """The first port of the request is the first row and column of the answer."""
        ports = analyzer.reflection_ports[:3]
        analyzer.configure(plan)
        forward = analyzer.sweep(ports)
        backward = analyzer.sweep(ports[::-1])
        np.testing.assert_allclose(backward.s, forward.s[:, ::-1, ::-1], atol=_RECIPROCAL)

    def test_every_sweep_is_a_new_measurement(self, analyzer: NetworkAnalyzer, plan: SweepPlan) -> None:
        """Two sweeps never give the very same noise: old data are not handed out again."""
        ports = analyzer.reflection_ports[:2]
        analyzer.configure(plan)
        assert not np.array_equal(analyzer.sweep(ports).s, analyzer.sweep(ports).s)

    def test_a_new_plan_takes_effect_at_once(self, analyzer: NetworkAnalyzer, plan: SweepPlan) -> None:
        """After another plan the next sweep has its axis, also from two segments to one and back."""
        ports = analyzer.reflection_ports[:1]
        for wanted in (plan, replace(plan, segments=plan.segments[1:]), plan):
            analyzer.configure(wanted)
            np.testing.assert_allclose(analyzer.sweep(ports).f, _grid(wanted), rtol=0.0, atol=_RESOLUTION)

    def test_sweeping_needs_a_plan(self, analyzer: NetworkAnalyzer) -> None:
        """What somebody left set on the front panel is never swept."""
        with pytest.raises(ValueError, match="configure"):
            analyzer.sweep(analyzer.reflection_ports[:1])

    def test_ports_that_do_not_exist_are_refused(self, analyzer: NetworkAnalyzer, plan: SweepPlan) -> None:
        """A wrong port is the caller's mistake; the analyzer measures on."""
        analyzer.configure(plan)
        with pytest.raises(ValueError, match="port"):
            analyzer.sweep((analyzer.port_count + 1,))
        assert analyzer.sweep(analyzer.reflection_ports[:1]).f.size == plan.points

    def test_too_much_power_is_refused_and_it_stays_usable(
        self, analyzer: NetworkAnalyzer, plan: SweepPlan
    ) -> None:
        """The driver's own limit stops +30 dBm, names the instrument, and nothing else breaks."""
        with pytest.raises(LimitExceeded) as caught:
            analyzer.configure(replace(plan, power_dbm=30.0))
        assert caught.value.instrument == analyzer.name
        analyzer.configure(plan)
        assert analyzer.sweep(analyzer.reflection_ports[:1]).f.size == plan.points

    def test_a_refusal_names_instrument_and_command_and_leaves_it_usable(
        self, analyzer: NetworkAnalyzer, plan: SweepPlan
    ) -> None:
        """A sweep up to 3 THz fails with the instrument's name and the command; the next plan works."""

        def measure_impossible() -> None:
            analyzer.configure(replace(plan, segments=(Segment(2e12, 3e12, 11),)))
            analyzer.sweep(analyzer.reflection_ports[:1])

        with pytest.raises(InstrumentError) as caught:
            measure_impossible()
        assert caught.value.instrument == analyzer.name
        assert caught.value.command
        analyzer.configure(plan)
        assert analyzer.sweep(analyzer.reflection_ports[:1]).f.size == plan.points

    def test_an_abort_ends_a_sweep_within_half_a_second(
        self, analyzer: NetworkAnalyzer, plan: SweepPlan, slow_plan: SweepPlan
    ) -> None:
        """A person who stops a slow sweep is obeyed, and the analyzer can be used again."""
        analyzer.configure(slow_plan)
        start = time.monotonic()
        # well inside the sweep, which by then has been triggered
        pressed = start + 0.15
        with pytest.raises(RunAborted):
            analyzer.sweep(analyzer.reflection_ports[:1], abort=lambda: time.monotonic() > pressed)
        assert time.monotonic() - pressed < _ABORT_TIME
        analyzer.configure(plan)
        assert analyzer.sweep(analyzer.reflection_ports[:1]).f.size == plan.points

    def test_making_safe_may_be_repeated_and_sweeping_goes_on_after_it(
        self, analyzer: NetworkAnalyzer, plan: SweepPlan
    ) -> None:
        """The safe state is no dead end."""
        analyzer.configure(plan)
        analyzer.make_safe()
        analyzer.make_safe()
        assert analyzer.sweep(analyzer.reflection_ports[:1]).f.size == plan.points

    def test_closing_may_be_repeated_and_is_final(self, analyzer: NetworkAnalyzer, plan: SweepPlan) -> None:
        """A closed analyzer says so instead of opening a new connection behind the caller's back."""
        analyzer.configure(plan)
        analyzer.close()
        analyzer.close()
        with pytest.raises(ConnectionLost):
            analyzer.sweep(analyzer.reflection_ports[:1])
        analyzer.make_safe()

    def test_a_time_sweep_sees_what_a_frequency_sweep_sees(
        self, analyzer: NetworkAnalyzer, plan: SweepPlan
    ) -> None:
        """A device at rest: times rise from zero, every value is the S-parameter at that frequency."""
        if not isinstance(analyzer, TransientAnalyzer):
            pytest.skip("this analyzer makes no time sweeps")
        ports = analyzer.reflection_ports[:2]
        frequency = plan.segments[0].start
        analyzer.configure(plan)
        expected = analyzer.sweep(ports).s[0, 1, 0]
        over_time = TimePlan(ports[1], ports[0], frequency, 1e-3, 50, plan.if_bandwidth, plan.power_dbm)
        times, values = analyzer.record(over_time)
        assert times.shape == values.shape == (50,)
        assert times[0] >= 0.0
        np.testing.assert_allclose(np.diff(times), times[1] - times[0], rtol=1e-3)
        assert times[-1] >= 1e-3 * (1.0 - 1e-6), "never faster than the bandwidth allows, nor than asked for"
        np.testing.assert_allclose(values, expected, rtol=0.0, atol=_RECIPROCAL)
        analyzer.configure(plan)
        assert analyzer.sweep(ports).s.shape == (plan.points, 2, 2)
