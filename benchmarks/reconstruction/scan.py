"""The scan that all reconstructions are timed on: density-adapted centre-out spokes, loops around a phantom.

The samples come from a transform of the voxels at 1e-5 with white noise: good for times and for differences
between reconstructions, not for judging an image against the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recon.density import spoke_weights
from recon.grid import Grid
from recon.nufft import NonUniformTransform, sample_phases
from recon.nufft_backends import DirectSum

if TYPE_CHECKING:
    from pathlib import Path

#: Spokes, samples and voxels of the comparison.
SPOKES, SAMPLES, MATRIX = 10_000, 256, 64
#: Extent of the image in m, and SNR of a gridded voxel where the loops receive 1.
FIELD_OF_VIEW, SNR = 0.32, 1000.0
#: Fraction of the largest |k| at which the speed through k-space begins to fall: Nagel, MRM 62:1565 (2009).
LINEAR_SHARE = 0.25
#: Distance of the loops from the centre in m, and length that keeps their field finite.
RING, LOOP = 0.19, 0.08


@dataclass(frozen=True)
class Scan:
    """A scan in memory; arrays as the reconstruction takes them."""

    grid: Grid
    positions: np.ndarray
    weights: np.ndarray
    sensitivities: np.ndarray
    samples: np.ndarray

    @property
    def phases(self) -> np.ndarray:
        """2 pi k spacing along z, y and x, float32, shape (3, point)."""
        return sample_phases(self.grid, self.positions)


def make_scan(folder: Path, channels: int) -> None:
    """Write the scan and the exact values that errors are measured against."""
    grid = Grid.cube(MATRIX, FIELD_OF_VIEW)
    radii = density_adapted_radii(SAMPLES, 0.999 * grid.nyquist)
    positions = golden_directions(SPOKES)[:, None] * radii[:, None]
    weights = np.broadcast_to(spoke_weights(radii) / SPOKES, (SPOKES, SAMPLES)).astype(np.float32)
    sensitivities = loop_fields(grid, channels)
    transform = NonUniformTransform(grid, positions, tolerance=1e-5, backend="ducc0")
    deviation = 1 / (SNR * np.linalg.norm(weights))
    rng = np.random.default_rng(7)
    samples = np.empty((channels, SPOKES, SAMPLES), dtype=np.complex64)
    for sample, sensitivity in zip(samples, sensitivities, strict=True):
        clean = transform.forward((sensitivity * phantom(grid))[None])[0]
        noise = rng.standard_normal((clean.size, 2), dtype=np.float32).view(np.complex64)[:, 0]
        sample[:] = (clean + np.float32(deviation) * noise).reshape(sample.shape)
    scan = Scan(grid, positions, weights, sensitivities, samples)
    for name in ("positions", "weights", "sensitivities", "samples"):
        np.save(folder / f"{name}.npy", getattr(scan, name))
    write_truth(folder, scan)


def read_scan(folder: Path) -> Scan:
    """Return the scan that ``make_scan`` wrote."""
    names = ("positions", "weights", "sensitivities", "samples")
    return Scan(Grid.cube(MATRIX, FIELD_OF_VIEW), *(np.load(folder / f"{name}.npy") for name in names))


def write_truth(folder: Path, scan: Scan) -> None:
    """Write exact sums: 400 voxels of the first channel's adjoint, 400 points of a forward."""
    rng = np.random.default_rng(3)
    crossing = tuple(np.sort(rng.choice(MATRIX, size, replace=False)) for size in (10, 8, 5))
    weighted = (scan.samples[0] * scan.weights).reshape(1, -1)
    voxels = DirectSum(scan.grid.shape, scan.phases).voxels(weighted, crossing)[0]
    points = np.sort(rng.choice(SPOKES * SAMPLES, 400, replace=False))
    few = NonUniformTransform(scan.grid, scan.positions.reshape(-1, 3)[points], backend="direct")
    forward = few.forward(test_images(scan)[:1])[0]
    flat = np.ravel_multi_index(np.meshgrid(*crossing, indexing="ij"), scan.grid.shape).ravel()
    np.savez(folder / "truth.npz", voxels=flat, adjoint=voxels.ravel(), points=points, forward=forward)


def test_images(scan: Scan) -> np.ndarray:
    """Return the channel images that are transformed forward, shape (channel, z, y, x)."""
    return np.asarray(scan.sensitivities * phantom(scan.grid), dtype=np.complex64)


def golden_directions(count: int) -> np.ndarray:
    """Return directions of two-dimensional golden means: Chan et al., MRM 61:354 (2009)."""
    m = np.arange(count)
    z, angle = 2 * ((m * 0.4655712318767680) % 1) - 1, 2 * np.pi * ((m * 0.6823278038280193) % 1)
    rho = np.sqrt(1 - z**2)
    return np.stack([rho * np.cos(angle), rho * np.sin(angle), z], axis=-1)


def density_adapted_radii(samples: int, limit: float) -> np.ndarray:
    """Return |k| of evenly timed samples: linear, then of even density; Nagel, MRM 62:1565 (2009), eq 6."""
    share = LINEAR_SHARE
    speed = share + (1 - share**3) / (3 * share**2)
    time = np.linspace(0, 1, samples)
    beyond = np.cbrt(3 * share**2 * speed * np.maximum(time - share / speed, 0) + share**3)
    return limit * np.where(time < share / speed, speed * time, beyond)


def phantom(grid: Grid) -> np.ndarray:
    """Return a ball with eight smaller ones of other contents, shape (z, y, x)."""
    image = np.where(grid.distances((0, 0, 0)) < 0.12, 0.35, 0.0)
    for index in range(8):
        angle = np.pi / 4 * index
        centre = (0.07 * np.cos(angle), 0.07 * np.sin(angle), 0.03 * (-1) ** index)
        image[grid.distances(centre) < 0.018] = 0.2 + 0.1 * index
    return image.astype(np.complex64)


def loop_fields(grid: Grid, channels: int) -> np.ndarray:
    """Return Bx - jBy of small loops on a sphere, facing its centre, the largest sum of squares 1."""
    places = RING * golden_directions(channels)
    points = grid.positions()
    fields = np.empty((channels, *grid.shape), dtype=np.complex64)
    for field, place in zip(fields, places, strict=True):
        offset, moment = points - place, -place / RING
        squared = np.sum(offset**2, axis=-1) + LOOP**2
        along = offset @ moment
        vector = 3 * offset * (along / squared**2.5)[..., None] - moment / squared[..., None] ** 1.5
        field[:] = vector[..., 0] - 1j * vector[..., 1]
    inside = grid.distances((0, 0, 0)) < 0.12
    fields /= np.sqrt(np.sum(np.abs(fields[:, inside]) ** 2, axis=0).max())
    return fields
