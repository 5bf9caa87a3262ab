"""Rows of the benchmark table about sodium concentration."""

from __future__ import annotations

import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from table import Row, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

sys.path.insert(0, str(Path(__file__).parent / "coverage"))  # the described phantom lives there


def _scan() -> tuple[Any, ...]:
    """Return images, phantom, spoke, protocol and samples of 8 channels, 64³, 10 000 x 256 samples."""
    from coverage_campaign import described
    from drawn_scan import Design, draw_scan

    from recon.dataset import Dataset
    from recon.grid import Grid
    from recon.live import reconstruct
    from recon.psf import RadialReadout
    from recon.tsc import Protocol

    design = Design(matrix=64, spokes=10_000, samples=256, channels=8)
    small = Design(matrix=64, spokes=400, samples=256, channels=8)
    scan = draw_scan(small, 1)
    repeats = design.spokes // small.spokes
    samples = np.tile(scan.samples, (1, repeats, 1))
    trajectory = np.tile(small.trajectory, (repeats, 1, 1))
    dataset = Dataset(
        "benchmark",
        samples,
        trajectory,
        Grid.cube(64, design.fov),
        design.dwell_time,
        noise=scan.noise,
        noise_dwell_time=design.dwell_time,
    )
    images = reconstruct(dataset, passband=1.0)
    readout = RadialReadout(design.times, design.radii, "hamming", 0.5 * design.matrix / design.fov)
    protocol = Protocol(design.repetition_time, design.flip_angle)
    return images, described(design), readout, protocol, (trajectory, samples)


def tsc_map() -> Row:
    """Concentration map with both uncertainty maps beside the adjoint of the same scan."""
    from recon.blur import spill_matrix
    from recon.nufft import NonUniformTransform
    from recon.regions import core_weights
    from recon.tsc.calibration import CalibrationModel
    from recon.tsc.maps import concentration_maps
    from recon.tsc.reading import read_phantom

    images, phantom, readout, protocol, (trajectory, samples) = _scan()
    grid = images.grid
    cores = np.stack([core_weights(grid, vial) for vial in phantom.vials])
    reading = read_phantom(images, phantom, readout, cores)
    model = CalibrationModel(
        phantom,
        lambda scale: spill_matrix(phantom, readout, grid, cores, t2_star_scale=scale),
        protocol,
        echo_time=readout.echo_time,
    )
    noise = np.eye(len(phantom.vials)) * 1e-4

    def ours() -> object:
        calibration = model.calibrate(reading.cores(cores), {"noise": noise}, draws=2000)
        return concentration_maps(images, phantom, reading, calibration, model.nominal_weights())

    def peer() -> object:
        return NonUniformTransform(grid, trajectory).adjoint(samples)

    return compare(
        "tsc-map", "64³, calibration and three maps", ours, peer, "our adjoint, 8 channels", repeats=3
    )


def tsc_whole() -> Row:
    """Quantification from channel images to maps beside the adjoint of the same scan."""
    from recon.nufft import NonUniformTransform
    from recon.tsc import quantify

    images, phantom, readout, protocol, (trajectory, samples) = _scan()

    def ours() -> object:
        return quantify(images, phantom, readout, protocol)

    def peer() -> object:
        return NonUniformTransform(images.grid, trajectory).adjoint(samples)

    return compare(
        "tsc-quantify",
        "64³, 8 channels, 10 000 x 256 samples: sensitivities to maps, 20 000 draws",
        ours,
        peer,
        "our adjoint, 8 channels",
        repeats=3,
    )


ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType(
    {"tsc-map": tsc_map, "tsc-quantify": tsc_whole}
)
