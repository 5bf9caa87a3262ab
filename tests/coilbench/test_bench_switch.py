"""A bench file with a switch between analyzer and array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coilbench.base.errors import BenchFileError
from coilbench.bench import open_some, openers
from coilbench.bench_file import read_bench_file
from coilbench.simulated_bench import DEFAULT_ADDRESSES, bench_file_text
from drivers.switches.wiring import sixteen_to_two
from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.rs_osp import RsOsp
from hil_fixtures.instruments.switched_device import SwitchedDevice

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.bench_file import BenchFile


def file_with(tmp_path: Path, address: str, driver: str = "rs-osp", last_port: int = 16) -> BenchFile:
    routes, parked = sixteen_to_two()
    lines = [f'[instruments.switch]\ndriver = "{driver}"\naddress = "{address}"\nparked = "{parked}"']
    lines.append("[instruments.switch.routes]")
    lines += [
        f'"{name}" = "{states}"' for name, states in routes.items() if int(name.split("-")[1]) <= last_port
    ]
    path = tmp_path / "bench.toml"
    path.write_text(bench_file_text(DEFAULT_ADDRESSES) + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return read_bench_file(path)


def test_a_bench_without_a_switch_opens_none(tmp_path: Path) -> None:
    """The table may be left out."""
    path = tmp_path / "bench.toml"
    path.write_text(bench_file_text(DEFAULT_ADDRESSES), encoding="utf-8")
    assert "switch" not in openers(read_bench_file(path))


def test_the_switch_is_opened_with_the_wiring_of_the_file(tmp_path: Path) -> None:
    """It connects what the file's routes say, and is parked afterwards."""
    device = SwitchedDevice(AsymmetricNetwork(16))
    with RsOsp(device) as unit:
        file = file_with(tmp_path, unit.address)
        with open_some(file, ["switch"]) as opened:
            opened["switch"].connect((11, 3))  # type: ignore[attr-defined]  # open_some knows instruments only
            assert (device.connected(0), device.connected(1)) == (11, 3)
        assert device.connected(0) is None


def test_an_array_with_more_ports_than_the_switch_is_refused(tmp_path: Path) -> None:
    """The file's array has 16 ports; a wiring for 12 does not reach them."""
    with RsOsp(SwitchedDevice(AsymmetricNetwork(16))) as unit:
        file = file_with(tmp_path, unit.address, last_port=12)
        with (
            pytest.raises(BenchFileError, match=r"names port 16, but switch .* leads to ports up to 12"),
            open_some(file, ["switch"]),
        ):
            pass


def test_a_driver_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A tuner is no switch."""
    with pytest.raises(BenchFileError, match="not one for the switch; allowed: rs-osp"):
        file_with(tmp_path, "tcp://127.0.0.1:1", driver="coilbench-tuner")
