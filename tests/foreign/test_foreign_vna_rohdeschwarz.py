"""The library ``rohdeschwarz`` by R&S staff measures the simulated ZNBT over a raw socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.rs_znbt import RsZnbt
from hil_fixtures.instruments.znbt_receiver import NOISE_FLOOR_DBM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rohdeschwarz.instruments.vna import Vna

#: As in the scikit-rf test: six standard deviations of the noise at 1 kHz and -10 dBm.
SIX_SIGMA = 6.0 * 10.0 ** ((NOISE_FLOOR_DBM + 20.0 + 10.0) / 20.0)


@pytest.fixture
def analyzer() -> Iterator[RsZnbt]:
    with RsZnbt(AsymmetricNetwork(16)) as analyzer:
        yield analyzer


@pytest.fixture
def vna(analyzer: RsZnbt) -> Iterator[Vna]:
    from rohdeschwarz.instruments.vna import Vna

    vna = Vna()
    vna.open_tcp(*analyzer.socket_address)
    yield vna
    vna.local()
    vna.close()


def test_identity_is_understood(vna: Vna) -> None:
    from rohdeschwarz.instruments.vna.enums import Model

    assert vna.is_rohde_schwarz()
    assert vna.properties.model is Model.ZNBT
    assert vna.properties.is_simulated_instrument
    assert vna.properties.physical_ports == vna.test_ports == 16
    assert vna.properties.minimum_frequency_Hz == 9e3
    assert vna.properties.maximum_frequency_Hz == 8.5e9
    assert vna.errors == []


def test_settings_read_back(vna: Vna) -> None:
    channel = vna.channel(1)
    channel.start_frequency_Hz = (33.5, "M")
    channel.stop_frequency_Hz = 34.5e6
    channel.points = 21
    channel.if_bandwidth_Hz = (1, "k")
    channel.power_dBm = -15
    channel.averages = 3
    assert channel.start_frequency_Hz == 33.5e6
    assert channel.if_bandwidth_Hz == 1000
    assert channel.power_dBm == -15
    assert channel.averages == 3
    np.testing.assert_array_equal(channel.frequencies_Hz, np.linspace(33.5e6, 34.5e6, 21))
    assert vna.errors == []


def test_traces_equal_the_device(vna: Vna) -> None:
    """Each trace by name after one sweep: reflection, transmission both ways, and a two-digit port."""
    channel = vna.channel(1)
    channel.start_frequency_Hz, channel.stop_frequency_Hz, channel.points = 120e6, 130e6, 11
    channel.if_bandwidth_Hz = 1e3
    wanted = {"refl": "S22", "forward": "S21", "reverse": "S12", "far": "S0116"}
    for name, parameter in wanted.items():
        vna.create_trace(name, 1, parameter)
    channel.sweep()
    true = AsymmetricNetwork(16).scattering(np.linspace(120e6, 130e6, 11))
    for name, (out, source) in zip(wanted, ((2, 2), (2, 1), (1, 2), (1, 16)), strict=True):
        trace = vna.trace(name)
        assert trace.parameter == wanted[name]
        assert np.max(np.abs(trace.y_complex - true[:, out - 1, source - 1])) < SIX_SIGMA
        np.testing.assert_allclose(trace.x, np.linspace(120e6, 130e6, 11))
    assert vna.errors == []


def test_matrix_equals_the_device(vna: Vna) -> None:
    """The library shapes the trace-by-trace data as (points, ports, ports); undone here before comparing."""
    channel = vna.channel(1)
    channel.start_frequency_Hz, channel.stop_frequency_Hz, channel.points = 30e6, 36e6, 7
    channel.if_bandwidth_Hz = 1e3
    data = channel.measure([2, 5, 12])
    index = np.array([1, 4, 11])
    true = AsymmetricNetwork(16).scattering(np.linspace(30e6, 36e6, 7))[:, index[:, None], index]
    assert np.max(np.abs(data.reshape(3, 3, 7).transpose(2, 0, 1) - true)) < SIX_SIGMA
    assert vna.errors == []


def test_segments_and_their_sweep_time(vna: Vna) -> None:
    """Two nuclei as two segments: axis, and the time that only the segment query gets right."""
    channel = vna.channel(1)
    channel.if_bandwidth_Hz = 1e3
    channel.segments.count = 2
    for segment, (start, stop, points) in zip(
        channel.segments, ((33e6, 34e6, 5), (127e6, 128e6, 3)), strict=True
    ):
        segment.start_frequency_Hz, segment.stop_frequency_Hz = start, stop
        segment.points = points
    channel.sweep_type = "SEGM"
    expected = [*np.linspace(33e6, 34e6, 5), *np.linspace(127e6, 128e6, 3)]
    np.testing.assert_array_equal(channel.frequencies_Hz, expected)
    assert channel.sweep_time_ms == pytest.approx(8.0)
    assert vna.errors == []
