"""From 20 kHz to 1 MHz of receive bandwidth, over the wires: a clean k = 0 and one noise density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from acquisition.plan import plan_scan
from acquisition.radial_scan import prepare_scan
from acquisition.sort import LineFlag
from coilbench.bench import open_bench
from coilbench.simulated_bench import bench_file_text
from hil_fixtures.instruments.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coilbench.bench import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Bench]]:
    path: Path = tmp_path_factory.mktemp("bench") / "bench.toml"
    with Lab(seed=1, tuned=True) as lab:
        path.write_text(bench_file_text(lab.addresses), encoding="utf-8")
        with open_bench(path) as opened:
            yield lab, opened


@pytest.mark.parametrize(
    ("dwell_time", "max_gradient", "readout"),
    [(50e-6, 2.2e-3, 20e-3), (10e-6, 12e-3, 5e-3), (1e-6, 12e-3, 5e-3)],
)
def test_noise_density_and_clean_centre_do_not_depend_on_the_bandwidth(
    bench: tuple[Lab, Bench], dwell_time: float, max_gradient: float, readout: float
) -> None:
    lab, opened = bench
    plan = plan_scan(
        dwell_time=dwell_time,
        max_gradient=max_gradient,
        max_slew=170.0,
        readout_duration=readout,
        spokes=64,
        noise_windows=64,
    )
    scan = prepare_scan(opened.scanner, opened.receiver, plan)
    assert scan.receive_filter.output_interval == pytest.approx(dwell_time, rel=2e-3)
    noise = np.stack([np.array(acquisition.data) for acquisition in scan.acquire(noise=True)])
    spokes = list(scan.acquire())
    assert {int(spoke.getHead().user_int[0]) for spoke in spokes} == {LineFlag.NONE}

    # Closed form of the world for a 10 us CIC, whose noise bandwidth is 0.39393 of its rate (sinc^12).
    interval = 1229 / 122.88e6
    closed = np.diag(lab.world.noise_covariance(plan.transmit_frequency, interval)).real
    density = closed * interval / 0.39393
    found = np.mean(np.abs(noise) ** 2, axis=(0, 2)) / scan.receive_filter.noise_bandwidth
    # Relative scatter of a power from N complex samples is 1/sqrt(N), a little more where filtered.
    scatter = 1.2 / np.sqrt(noise.shape[0] * noise.shape[2])
    assert np.all(np.abs(found / density - 1.0) < 5.0 * scatter + 1e-3)
