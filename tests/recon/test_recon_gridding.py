"""Gridding in parts is the adjoint of the whole: against the exact sum, with unequal and odd sides."""

from __future__ import annotations

import numpy as np
import pytest

from recon.grid import Grid
from recon.gridding import Gridder
from recon.nufft import TOLERANCE, NonUniformTransform

EVEN, ODD = Grid((6, 10, 14), (0.12, 0.15, 0.28)), Grid((7, 16, 9), (0.1, 0.15, 0.28))
LARGE = Grid((33, 26, 40), (0.12, 0.15, 0.28))


def positions_and_samples(grid, points=500, channels=3, seed=0):
    """Return points up to the very edge of k-space, where the spreading wraps around."""
    rng = np.random.default_rng(seed)
    reach = [0.5 * n / f for n, f in zip(grid.shape[::-1], grid.field_of_view[::-1], strict=True)]
    parts = rng.standard_normal((2, channels, points))
    return rng.uniform(-1, 1, (points, 3)) * reach, (parts[0] + 1j * parts[1]).astype(np.complex64)


def difference(first, second):
    return np.linalg.norm(first - second) / np.linalg.norm(second)


@pytest.mark.parametrize("grid", [EVEN, ODD, LARGE])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-5])
def test_it_is_as_exact_as_asked_for(grid, tolerance):
    """Against the sum written out in double precision; 2 is what finufft itself allows its tolerance."""
    positions, samples = positions_and_samples(grid)
    images = np.zeros((3, *grid.shape), np.complex64)
    Gridder(grid, tolerance=tolerance).add(images, positions, samples)
    exact = NonUniformTransform(grid, positions, backend="direct").adjoint(samples)
    assert difference(images, exact) < 2 * tolerance


@pytest.mark.parametrize("weighted", [True, False])
def test_spokes_that_crowd_the_centre_are_as_exact(weighted):
    """Radial spokes, density-weighted or with all samples alike: within twice the default accuracy."""
    rng = np.random.default_rng(3)
    directions = rng.standard_normal((120, 1, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    radii = np.linspace(0, 0.999, 40)[:, None]
    reach = [0.5 * n / f for n, f in zip(LARGE.shape[::-1], LARGE.field_of_view[::-1], strict=True)]
    positions = directions * radii * min(reach)
    signal = np.exp(-((6 * radii[:, 0]) ** 2)) * (radii[:, 0] ** 2 if weighted else 1)
    samples = np.tile(signal, 120).astype(np.complex64)[None]
    images = np.zeros((1, *LARGE.shape), np.complex64)
    Gridder(LARGE).add(images, positions, samples)
    exact = NonUniformTransform(LARGE, positions, backend="direct").adjoint(samples)
    assert difference(images, exact) < 2 * TOLERANCE


def test_parts_add_up_to_the_whole():
    """Three unequal parts, one of a single sample, onto what was there: equal to single precision."""
    positions, samples = positions_and_samples(EVEN)
    gridder = Gridder(EVEN)
    whole = np.ones((3, *EVEN.shape), np.complex64)
    gridder.add(whole, positions, samples)
    parts = np.ones((3, *EVEN.shape), np.complex64)
    for part in (slice(0, 1), slice(1, 320), slice(320, None)):
        gridder.add(parts, positions[part], samples[:, part])
    assert difference(parts, whole) < 1e-6


def test_threads_change_nothing():
    positions, samples = positions_and_samples(EVEN)
    results = []
    for threads in (1, 2):
        images = np.zeros((3, *EVEN.shape), np.complex64)
        Gridder(EVEN, threads=threads).add(images, positions, samples)
        results.append(images)
    assert difference(*results) < 1e-6


def test_samples_that_do_not_fit_are_refused():
    positions, samples = positions_and_samples(EVEN)
    with pytest.raises(ValueError, match="500 samples of each channel"):
        Gridder(EVEN).add(np.zeros((3, *EVEN.shape), np.complex64), positions, samples[:, 1:])
    with pytest.raises(ValueError, match="images of shape"):
        Gridder(EVEN).add(np.zeros((2, *EVEN.shape), np.complex64), positions, samples)
