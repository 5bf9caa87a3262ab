"""The ZNB driver's time sweeps against the simulated instrument, over the wire."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from coilbench.base.errors import InstrumentFault, LimitExceeded, ReplyTimeout
from drivers.analyzers import rohde_schwarz_time
from drivers.analyzers.rohde_schwarz_time import parameter_name
from drivers.analyzers.rohde_schwarz_znb import ZnbAnalyzer, open_analyzer
from drivers.protocols import Segment, SweepPlan, TimePlan
from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.rs_znbt import RsZnbt

FREQUENCY = 33.8e6
DECAY = 5e-6
PLAN = TimePlan(out=3, source=1, frequency=FREQUENCY, duration=40e-6, points=41, if_bandwidth=1e6)


class Switch(AsymmetricNetwork):
    """S of the asymmetric network, falling with a time constant after it was switched."""

    def transient(self, frequency: float, times: np.ndarray) -> np.ndarray:
        steady = self.scattering(np.array([frequency]))
        return steady * np.exp(-times / DECAY)[:, None, None]


def opened(simulated: RsZnbt) -> ZnbAnalyzer:
    return open_analyzer(simulated.hislip_resource, name="analyzer")


def test_a_pulse_at_the_trigger_input_is_time_zero() -> None:
    """Points 1 us apart from the pulse on, values of the switched network within six times the noise."""
    device = Switch(4)
    with RsZnbt(device, port_count=4, seed=1) as simulated, closing(opened(simulated)) as analyzer:
        before, rest = analyzer.record(PLAN)
        times, values = analyzer.record(PLAN, simulated.external_trigger)
        rf = dict(device.rf_outputs)
    np.testing.assert_allclose(times, np.arange(41) * 1e-6, atol=1e-12)
    np.testing.assert_array_equal(before, times)
    expected = device.scattering(np.array([FREQUENCY]))[0, 2, 0]
    # -110 dBm in 10 Hz: -60 dB at 0 dBm and 1 MHz; trace noise 2.3e-3 of the value there.
    deviation = np.hypot(10.0 ** (-60 / 20), 2.3e-3 * abs(expected))
    assert np.max(np.abs(rest - expected)) < 6 * deviation
    assert np.max(np.abs(values - expected * np.exp(-times / DECAY))) < 6 * deviation
    assert np.std(rest - expected) > 0.5 * deviation
    assert not any(rf.values())


def test_a_frequency_sweep_afterwards_needs_its_plan_and_is_free_running() -> None:
    with RsZnbt(Switch(4), port_count=4, seed=2) as simulated, closing(opened(simulated)) as analyzer:
        plan = SweepPlan((Segment(30e6, 40e6, 11),), 1e3, -10.0)
        analyzer.configure(plan)
        analyzer.record(PLAN, simulated.external_trigger)
        with pytest.raises(ValueError, match="configure"):
            analyzer.sweep([1, 3])
        analyzer.configure(plan)
        assert analyzer.sweep([1, 3]).s.shape == (11, 2, 2)


def test_time_is_lengthened_to_what_the_bandwidth_needs() -> None:
    """41 points at 100 kHz take 400 us, whatever is asked for; the axis says so."""
    slow = TimePlan(out=3, source=1, frequency=FREQUENCY, duration=40e-6, points=41, if_bandwidth=1e5)
    with RsZnbt(Switch(4), port_count=4, seed=3) as simulated, closing(opened(simulated)) as analyzer:
        times, _ = analyzer.record(slow)
    assert times[-1] == pytest.approx(400e-6, rel=1e-9)


def test_a_trace_of_the_users_own_that_drives_another_port_costs_time_and_the_axis_says_so() -> None:
    """After a preset the screen shows S11: recording S32 then takes two partial measurements a point."""
    other = TimePlan(out=3, source=2, frequency=FREQUENCY, duration=40e-6, points=41, if_bandwidth=1e6)
    with RsZnbt(Switch(4), port_count=4, seed=6) as simulated, closing(opened(simulated)) as analyzer:
        times, _ = analyzer.record(other)
    assert times[-1] == pytest.approx(80e-6, rel=1e-9)


def test_without_a_pulse_it_says_what_to_connect_and_sweeps_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline passes, RF is off, and the next sweep does not wait for a pulse."""
    monkeypatch.setattr(rohde_schwarz_time, "_EXTRA", 0.3)
    device = Switch(4)
    with RsZnbt(device, port_count=4, seed=4) as simulated, closing(opened(simulated)) as analyzer:
        with pytest.raises(ReplyTimeout) as caught:
            analyzer.record(PLAN, lambda: None)
        assert "trigger output" in " ".join(caught.value.__notes__)
        assert not any(device.rf_outputs.values())
        analyzer.configure(SweepPlan((Segment(30e6, 40e6, 11),), 1e3, -10.0))
        assert analyzer.sweep([1]).s.shape == (11, 1, 1)


def test_power_ports_and_refusals_are_checked() -> None:
    with RsZnbt(Switch(4), port_count=4, seed=5) as simulated, closing(opened(simulated)) as analyzer:
        with pytest.raises(LimitExceeded):
            analyzer.record(TimePlan(2, 1, FREQUENCY, 1e-3, power_dbm=3.0))
        with pytest.raises(ValueError, match="port"):
            analyzer.record(TimePlan(9, 1, FREQUENCY, 1e-3))
        with pytest.raises(InstrumentFault, match="-222"):
            analyzer.record(TimePlan(2, 1, 1.0, 1e-3))


def test_ports_are_named_with_equal_digits() -> None:
    assert parameter_name(2, 1) == "S21"
    assert parameter_name(18, 7) == "S1807"
