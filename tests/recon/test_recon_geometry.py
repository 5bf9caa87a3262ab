"""Ellipsoids in closed form, seen by shaded loops, scanned by spokes with noise: place, size, sharpness."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.density import solid_angles, spoke_weights, window
from recon.geometry import fit_ball
from recon.grid import Grid
from recon.nufft import NonUniformTransform
from recon.psf import RadialReadout, full_width
from recon.relaxation import Relaxation
from recon.resolution import edge_of_readout, gaussian_edge, small_ball_resolution

SLOW = Relaxation(0.05, ((1.0, 10.0),))
GRID = Grid((28, 30, 32), (0.168, 0.18, 0.192))
SPOKES, SAMPLES = 2600, 64
RADII = np.linspace(0.0, GRID.nyquist, SAMPLES)
READOUT = RadialReadout(np.arange(1, SAMPLES + 1) * 1e-4, RADII, "hamming", GRID.nyquist)
CENTRE, AXES = (0.004, -0.003, 0.002), (0.062, 0.058, 0.060)


def directions() -> np.ndarray:
    m = np.arange(SPOKES)
    z = 2 * ((m * 0.4655712318767680) % 1) - 1
    azimuth = 2 * np.pi * ((m * 0.6823278038280193) % 1)
    rho = np.sqrt(1 - z**2)
    return np.stack([rho * np.cos(azimuth), rho * np.sin(azimuth), z], axis=-1)


POSITIONS = directions()[:, None, :] * RADII[None, :, None]
WEIGHTS = np.outer(
    solid_angles(directions()), spoke_weights(RADII) * window(RADII, GRID.nyquist, "hamming") / SPOKES
)
GAIN = float(np.linalg.norm(WEIGHTS))


def ellipsoid(q: np.ndarray, centre, axes, stretch: float = 1.0) -> np.ndarray:
    """k-space of an ellipsoid of ones times exp(q·r), q complex: the ball's transform at complex frequency.

    ``stretch`` > 1 scans too small a k-space: what should be at k is taken at k / stretch.
    """
    k = POSITIONS.astype(complex) + 1j * q / (2 * np.pi)
    x = 2 * np.pi * k * np.array(axes)
    squared = np.einsum("...i,...i->...", x, x)
    r = np.sqrt(squared)
    small = np.abs(r) < 1e-2
    safe = np.where(small, 1.0, r)
    shape = np.where(small, 1 / 3 - squared / 30, (np.sin(safe) - safe * np.cos(safe)) / safe**3)
    shift = np.exp(-2j * np.pi * (POSITIONS @ np.array(centre)) + np.array(centre) @ q)
    fall = np.exp(-(((stretch - 1) * RADII / GRID.nyquist) ** 2)) if stretch > 1 else 1.0
    return 4 * np.pi * np.prod(axes) * shape * shift * fall


@pytest.fixture(scope="module")
def transform() -> NonUniformTransform:
    return NonUniformTransform(GRID, POSITIONS)


@pytest.fixture(scope="module")
def channels(transform) -> np.ndarray:
    """Four loops, each stronger on its side, without noise; 1 on average in the middle."""
    images = []
    for turn in np.arange(4) * np.pi / 2:
        radial = np.array([np.cos(turn), np.sin(turn), 0.3])
        tangential = np.array([-np.sin(turn), np.cos(turn), 0.0])
        q = 8 * (radial + 1j * tangential)
        images.append(transform.adjoint((ellipsoid(q, CENTRE, AXES) * WEIGHTS).astype(np.complex64)[None])[0])
    return np.stack(images) / 2


def noisy(channels, transform, snr, seed):
    """Root of the sum of squares in units of the noise; ``snr`` in the middle."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((4, *WEIGHTS.shape)) + 1j * rng.standard_normal((4, *WEIGHTS.shape))
    noise = transform.adjoint((white * WEIGHTS / GAIN).astype(np.complex64))
    return np.sqrt(np.sum(np.abs(snr * channels + noise) ** 2, axis=0)).astype(np.float32)


@pytest.fixture(scope="module")
def fraction(transform) -> float:
    """Independent voxels over voxels of white samples with these weights."""
    kernel = np.abs(transform.adjoint((WEIGHTS**2).astype(np.complex64)[None])[0])
    return float(1 / np.sum((kernel / kernel.max()) ** 2))


@pytest.mark.parametrize("snr", [5, 40])
def test_centre_and_diameters_of_an_ellipsoid_are_found_within_their_uncertainty(
    channels, transform, fraction, snr
):
    """Over 3 scans: errors of no more than 4 stated uncertainties and 0.1 mm of what shading order 3 leaves.

    At an SNR of 5 the scatter is below a fifth of a voxel of 6 mm.
    """
    edge = edge_of_readout(READOUT, SLOW, 0.06)
    fits = [
        fit_ball(
            noisy(channels, transform, snr, seed),
            GRID,
            (0, 0, 0),
            0.06,
            edge,
            deviation=1.0,
            channels=4,
            independent_fraction=fraction,
        )
        for seed in range(3)
    ]
    for fit in fits:
        error = np.abs(np.subtract(fit.centre, CENTRE))
        assert np.all(error < 4 * np.array(fit.centre_uncertainty) + 1e-4)
        error = np.abs(np.subtract(fit.diameters, 2 * np.array(AXES)))
        assert np.all(error < 4 * np.array(fit.diameter_uncertainty) + 2e-4)
        assert max(fit.diameter_uncertainty) < 1.2e-3 * 5 / snr + 0.2e-3
        assert abs(fit.width - edge.full_width) < 4 * fit.width_uncertainty + 0.02 * edge.full_width
        # the axes differ from their mean by 2 mm
        assert abs(fit.distortion - 2e-3) < 4 * fit.distortion_uncertainty + 0.2e-3
    spread = np.std([fit.centre for fit in fits], axis=0)
    assert np.all(spread < 2.5 * np.array(fits[0].centre_uncertainty) + 2e-5)


def test_a_blurred_scan_is_told_by_its_edge_and_by_a_small_ball(transform):
    """A Gaussian fall-off in k-space widens both by as much as it widens the point spread itself."""
    zero = np.zeros(3)
    k = np.linspace(0, GRID.nyquist, 4000)
    r = np.linspace(0, 0.02, 2001)
    fall = np.exp(-((0.8 * k / GRID.nyquist) ** 2)) * window(k, GRID.nyquist, "hamming")
    spread = np.array([np.sum(k**2 * fall * np.sinc(2 * k * at)) for at in r])
    truth = 2 * r[np.argmax(spread < spread[0] / 2)]
    assert truth > 1.05 * full_width(READOUT, SLOW)

    blurred = transform.adjoint(
        (ellipsoid(zero, CENTRE, (0.06,) * 3, 1.8) * WEIGHTS).astype(np.complex64)[None]
    )
    edge = edge_of_readout(READOUT, SLOW, 0.06)
    fit = fit_ball(np.real(blurred[0]), GRID, (0, 0, 0), 0.06, edge, deviation=0.01)
    assert fit.width == pytest.approx(truth, rel=0.04)

    small = transform.adjoint(
        (ellipsoid(zero, CENTRE, (0.008,) * 3, 1.8) * WEIGHTS).astype(np.complex64)[None]
    )
    found = small_ball_resolution(np.real(small[0]), GRID, (0, 0, 0), 0.008, READOUT, SLOW, deviation=0.01)
    assert found.width == pytest.approx(truth, rel=0.04)
    assert found.ratio > 1.05


def test_a_sharp_scan_has_the_promised_width(transform):
    zero = np.zeros(3)
    sharp = transform.adjoint((ellipsoid(zero, CENTRE, (0.008,) * 3) * WEIGHTS).astype(np.complex64)[None])
    rng = np.random.default_rng(3)
    image = np.real(sharp[0]) + 0.02 * rng.standard_normal(GRID.shape)
    found = small_ball_resolution(
        image.astype(np.float32), GRID, (0, 0, 0), 0.008, READOUT, SLOW, deviation=0.02
    )
    assert abs(found.width - found.expected) < 4 * found.uncertainty + 0.01 * found.expected


def test_without_a_ball_there_is_no_number():
    noise = np.random.default_rng(0).standard_normal(GRID.shape).astype(np.float32)
    edge = gaussian_edge(0.01)
    with pytest.raises(MeasurementError, match="voxels of the image"):
        fit_ball(noise, GRID, (0.5, 0, 0), 0.06, edge, deviation=1.0)
    with pytest.raises(MeasurementError, match="stands out"):
        small_ball_resolution(noise, GRID, (0, 0, 0), 0.008, READOUT, SLOW, deviation=1.0)
    with pytest.raises(ValueError, match="positive"):
        gaussian_edge(0.0)
