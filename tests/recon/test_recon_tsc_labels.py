"""Regions drawn as labels, and the partial-volume correction of balls against published orders."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.dataset import Dataset
from recon.grid import Grid
from recon.live import reconstruct
from recon.noise import noise_model
from recon.psf import RadialReadout, recovery
from recon.regions import ball_weights
from recon.relaxation import Relaxation
from recon.tsc import Protocol, quantify
from recon.tsc.labels import measure_labels

CONCENTRATIONS = np.array([20.0, 145.0, 100.0, 60.0, 80.0, 40.0, 120.0])


@pytest.fixture(scope="module")
def quantified(simulation, grid, phantom, readout):
    parts = np.random.default_rng(99).standard_normal((2, 8, 64, 256), dtype=np.float32)
    model = noise_model((parts[0] + 1j * parts[1]).astype(np.complex64), 50e-6, passband=1.0)
    samples = simulation.signal() / np.float32(1e-6)
    images = reconstruct(Dataset("s", samples, simulation.trajectory, grid, 50e-6), noise=model)
    return quantify(images, phantom, readout, Protocol(0.1, np.pi / 2), draws=100)


@pytest.fixture(scope="module")
def labels(grid, phantom):
    """Whole vials, wall to wall: voxels of which more than half is vial."""
    image = np.zeros(grid.shape, np.int16)
    for number, vial in enumerate(phantom.vials, start=1):
        image[ball_weights(grid, vial.centre, vial.radius) > 0.5] = number
    return image


def relaxations(phantom):
    return {0: phantom.background.relaxation} | {
        number: vial.material.relaxation for number, vial in enumerate(phantom.vials, start=1)
    }


def test_labels_are_corrected_for_partial_volume(quantified, labels, grid, phantom, readout):
    """Plain means of whole vials miss up to a third; corrected 6 % (walls of voxels, not of balls)."""
    found = measure_labels(quantified, labels, grid, readout, relaxations(phantom))
    plain = np.array([region.mean for region in found.regions]) / CONCENTRATIONS - 1
    corrected = np.array([region.corrected for region in found.regions]) / CONCENTRATIONS - 1
    assert np.abs(plain).max() > 0.2
    assert np.abs(corrected).max() < 0.08, corrected
    assert 1 < found.condition < 5


def test_wrong_labels_are_refused(quantified, labels, grid, phantom, readout):
    with pytest.raises(MeasurementError, match="resample"):
        measure_labels(quantified, labels[1:], grid, readout, relaxations(phantom))
    outside = labels.copy()
    outside[0, 0, 0] = 9
    with pytest.raises(MeasurementError, match="do not occur"):
        measure_labels(quantified, outside, grid, readout, relaxations(phantom) | {9: SALINE})
    with pytest.raises(ValueError, match="no relaxation"):
        measure_labels(quantified, labels, grid, readout, {0: SALINE})


SALINE = Relaxation(0.055, ((1.0, 1e6),))


def spoke(decay_ms: float) -> tuple[RadialReadout, Relaxation]:
    """4 mm k-sphere read evenly in 10 ms, with the decay."""
    radii = np.linspace(0.0, 125.0, 500)
    return RadialReadout(np.linspace(0.0, 10e-3, 500), radii, "none", 125.0), Relaxation(
        0.055, ((1.0, decay_ms / 1e3),)
    )


def test_gibbs_and_blur_of_vials_are_of_the_measured_size():
    """Vials of 15 mm, 4 mm voxels: the core over-reads contrast by some % without decay, and loses some with.

    A numerical phantom (50 mmol/L bath) read 149.7 for 145 and 18.5 for 20 mmol/L: 1.05 of the contrast;
    with T2* 15 ms over a 10 ms readout 129.7: 0.84. One core radius must give both.
    """
    sharp, blurred = spoke(1e9), spoke(15.0)
    radii = np.linspace(2e-3, 6e-3, 41)
    over = np.array([recovery(sharp[0], 7.5e-3, sharp[1], radius) for radius in radii])
    lost = np.array([recovery(blurred[0], 7.5e-3, blurred[1], radius) for radius in radii])
    error = np.hypot(over - 1.05, lost - 0.84)
    assert error.min() < 0.05, (over[np.argmin(error)], lost[np.argmin(error)])


def test_grids_of_unequal_sides_are_right(readout):
    """A ball in a grid of three different sides, seen through the point spread, keeps its mean profile."""
    from recon.psf import BallImage
    from recon.tsc.labels import _seen

    grid = Grid((24, 28, 32), (0.15, 0.175, 0.2))
    mask = grid.distances((0.0, 0.0, 0.0)) <= 0.03
    seen = _seen(mask, grid, readout, SALINE)
    expected = BallImage(readout, 0.03, SALINE)(grid.distances((0.0, 0.0, 0.0)))
    assert seen[12, 14, 16] == pytest.approx(expected[12, 14, 16], rel=0.03)
    assert np.abs(seen - expected).mean() < 0.01
