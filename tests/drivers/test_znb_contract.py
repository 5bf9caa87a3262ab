"""The ZNB driver keeps the analyzer contract against the simulated ZNBT, over HiSLIP and a raw socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from drivers.analyzers.rohde_schwarz_znb import ZnbAnalyzer, open_analyzer
from hil_fixtures.contracts.analyzer import AnalyzerContract
from hil_fixtures.instruments.rs_znbt import RsZnbt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class CoupledLoads:
    """Four reciprocal, lossy, dispersive ports that all differ."""

    port_count = 4

    def scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        number = np.arange(1, 5)
        coupling = 0.02 * (number[:, None] + number[None, :]) + np.diag(0.1 * number)
        return coupling * np.exp(-2j * np.pi * frequencies[:, None, None] * 3e-9)

    def rf_output(self, source: str, on: bool, /) -> None:
        pass


@pytest.fixture(params=["hislip", "socket"])
def analyzer(request: pytest.FixtureRequest) -> Iterator[ZnbAnalyzer]:
    with RsZnbt(CoupledLoads(), port_count=4, time_scale=1.0, seed=1) as simulated:
        host, port = simulated.socket_address
        address = simulated.hislip_resource if request.param == "hislip" else f"tcp://{host}:{port}"
        with open_analyzer(address, name="vna", timeout=3.0) as opened:
            yield opened


class TestZnbContract(AnalyzerContract):
    """All tests of the contract, on both wires."""
