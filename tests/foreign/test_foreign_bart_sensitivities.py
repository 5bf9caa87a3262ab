"""BART's ESPIRiT (ecalib) and Walsh maps beside ours, from the same k-space of a loop array."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import scipy.fft

from coils.magnetics.arrays import cylinder_array
from coils.magnetics.field import magnetic_field, receive_field
from recon.grid import Grid
from recon.sensitivities import espirit_sensitivities, walsh_sensitivities

GRID, CHANNELS = Grid((30, 28, 32), (0.25, 0.24, 0.26)), 6
BATH = GRID.distances((0, 0, 0)) < 0.085


@pytest.fixture
def images():
    """Return a ball with a dark and a bright vial seen by six loops, noise of 1 % of its median (seed 4)."""
    positions = GRID.positions()
    near = np.hypot(positions[..., 0], positions[..., 1]) < 0.11
    fields = np.zeros((CHANNELS, *GRID.shape), np.complex128)
    fields[:, near] = receive_field(
        magnetic_field(cylinder_array(CHANNELS, 0.12, 0.12, 1e-3), positions[near])
    )
    content = BATH.astype(float)
    content[GRID.distances((0.03, 0.02, 0)) < 0.02] = 0.4
    content[GRID.distances((-0.03, 0, 0.02)) < 0.02] = 2.5
    clean = fields * content
    noise = np.random.default_rng(4).standard_normal((2, *clean.shape))
    level = 0.01 * np.median(np.abs(clean[:, BATH]))
    return ((clean + level * (noise[0] + 1j * noise[1])) / np.abs(clean).max()).astype(np.complex64)


@pytest.fixture
def bart(tmp_path, images):
    """Return what runs BART commands on the images' k-space, file ``kspace``, and reads maps back."""
    program = shutil.which("bart")
    if program is None:
        pytest.skip("BART is not installed")
    shifted = scipy.fft.ifftshift(images, axes=(1, 2, 3))
    kspace = scipy.fft.fftshift(scipy.fft.fftn(shifted, axes=(1, 2, 3), norm="ortho"), axes=(1, 2, 3))
    # dimensions as text, complex64 with the first dimension fastest: (x, y, z, channel)
    sizes = [*kspace.shape[::-1], *[1] * 12]
    (tmp_path / "kspace.hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n")
    (tmp_path / "kspace.cfl").write_bytes(kspace.astype(np.complex64).tobytes())

    def run(*commands):
        for command in commands:
            subprocess.run(
                [program, *command.split()], check=True, capture_output=True, cwd=tmp_path, timeout=100
            )
        return np.fromfile(tmp_path / "maps.cfl", np.complex64).reshape(CHANNELS, *GRID.shape)

    return run


def correlation(first, second, mask):
    """Return |<first, second>| over their norms in every voxel of the mask."""
    product = np.abs(np.sum(first.conj() * second, axis=0))
    norms = np.sqrt(np.sum(np.abs(first) ** 2, axis=0) * np.sum(np.abs(second) ** 2, axis=0))
    return product[mask] / norms[mask]


def test_ecalib_finds_the_same_maps_and_the_same_object(images, bart):
    """BART 0.8, 16³ and 5³, threshold 0.001 of the squares, crop 0.8, as ours: correlation 0.9999 everywhere.

    Measured 0.999998 in the mean, 0.99993 at worst. Both crop the same voxels but for 1 % at the rim, where
    the eigenvalue crosses 0.8: ours comes from a grid of 32 voxels at most, theirs from the image's own.
    """
    theirs = bart("ecalib -m1 -r 16:16:16 -k 5:5:5 -t 0.001 -c 0.8 kspace maps")
    ours = espirit_sensitivities(images)
    found = correlation(ours, theirs, BATH)
    assert found.mean() > 0.99999
    assert found.min() > 0.9998
    kept = [np.abs(maps).max(axis=0) > 0 for maps in (ours, theirs)]
    assert np.mean(kept[0] == kept[1]) > 0.985
    np.testing.assert_allclose(np.sum(np.abs(theirs) ** 2, axis=0)[BATH], 1, atol=1e-3)


def test_walsh_finds_the_same_maps(images, bart):
    """BART 0.8 with 24 cycles and 3³ boxes as ours: correlation 0.9999 in the mean, 0.999 nearly everywhere.

    Theirs averages boxes on the image's grid, ours on one of 24 voxels an axis, which are a quarter larger:
    maps that turn by 0.1 rad a voxel differ by some 1e-2, correlations by its square.
    """
    theirs = bart(
        "walsh -r 24:24:24 -b 3:3:3 kspace covariance",
        f"ecaltwo -m1 -c 0 {GRID.shape[2]} {GRID.shape[1]} {GRID.shape[0]} covariance maps",
    )
    found = correlation(walsh_sensitivities(images), theirs, BATH)
    assert found.mean() > 0.9998
    assert np.quantile(found, 0.01) > 0.999
