"""scikit-rf's own Rohde & Schwarz drivers measure the simulated ZNBT over HiSLIP and read the device's S."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.rs_znbt import RsZnbt
from hil_fixtures.instruments.znbt_receiver import NOISE_FLOOR_DBM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skrf.vi.vna.rohde_schwarz import ZNA

#: Additive noise of S at 1 kHz and -10 dBm is -80 dB, trace noise of values near 0.06 is below it: six
#: standard deviations of the complex noise, passed by chance once in 1e15 values.
SIX_SIGMA = 6.0 * 10.0 ** ((NOISE_FLOOR_DBM + 20.0 + 10.0) / 20.0)


@pytest.fixture
def analyzer() -> Iterator[RsZnbt]:
    with RsZnbt(AsymmetricNetwork(16)) as analyzer:
        yield analyzer


@pytest.fixture
def driver(analyzer: RsZnbt) -> Iterator[ZNA]:
    from skrf.vi.vna.rohde_schwarz import ZNA

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        driver = ZNA(analyzer.hislip_resource)
    driver.timeout = 5000
    yield driver
    driver._resource.close()


def test_scikit_rf_reads_identity_and_settings_back(driver: ZNA) -> None:
    """What scikit-rf's property factory sets, the instrument returns, with its IF bandwidth steps."""
    assert driver.nports == 16
    assert driver.model == "ZNBT8-16Port"
    channel = driver.ch1
    channel.freq_start, channel.freq_stop, channel.npoints = "33 MHz", "34 MHz", 51
    channel.if_bandwidth = "900 Hz"
    channel.averaging_on = True
    channel.averaging_count = 4
    assert (channel.freq_start, channel.freq_stop, channel.npoints) == (33_000_000, 34_000_000, 51)
    assert (channel.freq_center, channel.freq_span, channel.freq_step) == (33_500_000, 1_000_000, 20_000)
    assert channel.if_bandwidth == 1000
    assert channel.averaging_on is True
    assert channel.averaging_count == 4
    driver.check_errors()


@pytest.mark.parametrize("ports", [(1,), (1, 2), (3, 9, 16)])
def test_scikit_rf_network_equals_the_device(driver: ZNA, ports: tuple[int, ...]) -> None:
    """Every S-parameter is where it belongs: the device has no two equal."""
    channel = driver.ch1
    channel.freq_start, channel.freq_stop, channel.npoints = "120 MHz", "130 MHz", 11
    channel.if_bandwidth = "1 kHz"
    network = channel.get_snp_network(list(ports))
    index = np.array(ports) - 1
    true = AsymmetricNetwork(16).scattering(np.linspace(120e6, 130e6, 11))[:, index[:, None], index]
    np.testing.assert_allclose(network.f, np.linspace(120e6, 130e6, 11))
    assert np.max(np.abs(network.s - true)) < SIX_SIGMA
    driver.check_errors()


def test_scikit_rf_active_trace_equals_the_device(driver: ZNA) -> None:
    channel = driver.ch1
    channel.freq_start, channel.freq_stop, channel.npoints = "30 MHz", "40 MHz", 5
    channel.if_bandwidth = "1 kHz"
    channel.create_measurement("transmission", "S1602")
    network = channel.get_measurement("transmission")
    true = AsymmetricNetwork(16).scattering(np.linspace(30e6, 40e6, 5))[:, 15, 1]
    assert np.max(np.abs(network.s[:, 0, 0] - true)) < SIX_SIGMA
