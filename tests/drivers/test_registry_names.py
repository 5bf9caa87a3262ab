"""Drivers are found by name; a wrong name or option is answered with the nearest right one."""

from __future__ import annotations

import pytest

from coilbench.base.errors import BenchFileError, ConnectionFailed
from drivers.protocols import Instrument
from drivers.registry import driver_names, open_instrument
from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.rs_znbt import RsZnbt


def test_registry_knows_the_drivers_of_this_package() -> None:
    """The entry points of the installed package are the drivers."""
    assert {"rs-znb", "nanovna-h", "coilbench-tuner", "marcos", "coilbench-scanner"} <= set(driver_names())


def test_registry_opens_by_name_and_address_with_options() -> None:
    """Name, address and options reach the driver; what comes back is an instrument."""
    with RsZnbt(AsymmetricNetwork(2), port_count=2) as simulated:
        host, port = simulated.socket_address
        instrument = open_instrument(
            "rs-znb", f"tcp://{host}:{port}", name="vna", power_limit_dbm=-20.0, timeout=2.0
        )
        assert isinstance(instrument, Instrument)
        assert instrument.name == f"vna (tcp://{host}:{port})"
        instrument.close()


@pytest.mark.parametrize(
    ("wrong", "right"), [("rs-zbn", "rs-znb"), ("nanovna", "nanovna-h"), ("scanner", "coilbench-scanner")]
)
def test_registry_unknown_driver_names_the_nearest(wrong: str, right: str) -> None:
    """A slip of the pen is answered with what was probably meant, and with everything there is."""
    with pytest.raises(BenchFileError, match=f"did you mean .*'{right}'.*Installed are .*marcos"):
        open_instrument(wrong, "tcp://127.0.0.1:1", name="vna")


def test_registry_unknown_option_names_the_nearest() -> None:
    """An option that the driver does not know is refused before anything is opened."""
    with pytest.raises(BenchFileError, match="did you mean 'power_limit_dbm'"):
        open_instrument("rs-znb", "tcp://127.0.0.1:1", name="vna", power_limit=-20.0)


def test_registry_unreachable_instrument_is_named() -> None:
    """The driver is right, nobody answers: the error is the link's."""
    with pytest.raises(ConnectionFailed, match="vna"):
        open_instrument("rs-znb", "tcp://127.0.0.1:1", name="vna")
