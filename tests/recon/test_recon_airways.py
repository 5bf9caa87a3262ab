"""A real 3D radial scan of lungs full of 129Xe: our density weights show the airways, and others agree.

The scan is from the demonstration data of Robertson's non-Cartesian reconstruction (one channel, no noise
scan). Levels are in standard deviations of the noise's real part, from the eight corners of the image.
"""

from __future__ import annotations

import finufft
import numpy as np
import pytest
import scipy.ndimage

from recon.dataset import read_file
from recon.density import iterate_weights
from recon.foreign import reconstruct_file


@pytest.fixture(scope="module")
def xenon(shared_data):
    return shared_data / "radial_129xe" / "demo_radial_mri_data.mat"


@pytest.fixture(scope="module")
def lungs(xenon):
    return reconstruct_file(xenon)


@pytest.fixture(scope="module")
def levels(lungs):
    """Return the image in noise deviations; a magnitude of pure noise has a mean square of 2."""
    edges = np.r_[0:8, 56:64]
    corners = lungs.image[np.ix_(edges, edges, edges)]
    return lungs.image / np.sqrt(np.mean(corners**2) / 2)


def test_the_weights_are_iterated_and_nothing_claims_snr_units(lungs):
    """The samples come as one list, so there are no spokes to take weights from."""
    assert lungs.density == "iterated"
    assert not lungs.in_snr_units


def test_trachea_and_two_main_bronchi_are_one_bright_tree(levels):
    """Above 12 deviations lies one tree of 379 voxels: a single branch that forks once into two.

    Slices across x, from the throat down: the trachea is one round piece of at most 16 voxels in 29 slices
    in a row, then two bronchi apart in at least 5 slices; each slice below has no more than two pieces.
    """
    pieces, _ = scipy.ndimage.label(levels > 12)
    tree = pieces == pieces[33, 32, 45]
    assert np.count_nonzero(tree) > 0.9 * np.count_nonzero(
        pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    )
    assert 300 < np.count_nonzero(tree) < 450
    branches = [scipy.ndimage.label(tree[:, :, x])[1] for x in range(64)]
    assert branches[35:63] == [1] * 28
    assert branches[29:35] == [2] * 6
    assert not any(branches[:27])
    assert tree.sum(axis=(0, 1)).max() <= 16
    bronchi, _ = scipy.ndimage.label(tree[:, :, 30])
    apart = np.diff(scipy.ndimage.center_of_mass(tree[:, :, 30], bronchi, [1, 2]), axis=0)
    assert np.linalg.norm(apart) > 6


def test_lungs_are_dimmer_than_airways_and_brighter_than_noise(levels):
    """Two lungs, left and right of the airways, in the mean 4 to 8 deviations; the trachea peaks above 25."""
    assert levels.max() > 25
    smooth = scipy.ndimage.uniform_filter(levels, 5)
    sides = smooth[:, 8:26] > 3.5, smooth[:, 40:58] > 3.5
    for side, part in zip((levels[:, 8:26], levels[:, 40:58]), sides, strict=True):
        assert np.count_nonzero(part) > 5000
        assert 4 < side[part].mean() < 8
    noise = levels[np.ix_(np.r_[0:8, 56:64], np.r_[0:8, 56:64], np.r_[0:8, 56:64])]
    # A Rayleigh distribution of unit deviation has a mean of sqrt(pi / 2); 4096 voxels give it to 1 %, the
    # smooth tails of the lungs a little more.
    assert noise.mean() == pytest.approx(np.sqrt(np.pi / 2), rel=0.05)


def test_a_bare_transform_sees_the_same(lungs, xenon):
    """The same weights through finufft called directly: geometry, axes and signs, within 1 %."""
    dataset = read_file(xenon)
    weights = iterate_weights(dataset.grid, dataset.trajectory).ravel()
    x, y, z = np.ascontiguousarray((2 * np.pi * dataset.trajectory[0] / 64).T.astype(np.float32))
    bare = finufft.nufft3d1(
        z, y, x, (dataset.samples[0, 0] * weights).astype(np.complex64), (64, 64, 64),
        isign=1, eps=1e-5, upsampfac=2.0,
    )  # fmt: skip
    error = np.linalg.norm(bare - lungs.channel_images[0]) / np.linalg.norm(bare)
    assert error < 1e-3
