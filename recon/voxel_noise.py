"""Noise of combined voxels: predicted, from repeated scans, from pseudo-replicas; all must agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.combine import combine_roemer
from recon.nufft import NonUniformTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.live import ChannelImages


@dataclass(frozen=True, slots=True)
class NoiseRatio:
    """Noise found over noise predicted, averaged over a region.

    Parameters
    ----------
    ratio
        1 when both agree.
    uncertainty
        Standard uncertainty of ``ratio`` from the finite number of independent voxels.
    """

    ratio: float
    uncertainty: float


def independent_fraction(images: ChannelImages) -> float:
    """Return independent voxels over voxels: 1 / sum of the squared noise autocorrelation.

    The autocorrelation of gridded white noise is the transform of the squared density weights.
    """
    squares = np.square(images.weights)[None].astype(np.complex64)
    kernel = np.abs(NonUniformTransform(images.grid, images.positions).adjoint(squares)[0])
    return float(1.0 / np.sum((kernel / kernel.max()) ** 2, dtype=np.float64))


def predicted_deviation(images: ChannelImages, sensitivities: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Return the noise deviation (real part) of each combined voxel, shape (z, y, x); inf where blind.

    Roemer et al., Magn Reson Med 16:192 (1990): gain / sqrt(sum |S|²) for whitened channels.
    """
    power = np.sqrt(np.einsum("c...,c...->...", sensitivities, sensitivities.conj()).real)
    blind = power <= 0
    deviation = images.noise_gain / np.where(blind, 1, power)
    return np.where(blind, np.inf, deviation).astype(np.float32)


def noise_of_repeated_scans(
    first: ChannelImages,
    second: ChannelImages,
    sensitivities: NDArray[np.complex64],
    region: NDArray[np.bool_],
) -> NoiseRatio:
    """Return the noise of the difference of two scans over the predicted one.

    Parameters
    ----------
    first, second
        The same scan twice.
    sensitivities
        Used to combine both, shape (channel, z, y, x).
    region
        Voxels to look at, shape (z, y, x); signal does not matter, it cancels.

    Raises
    ------
    MeasurementError
        Fewer than ten independent voxels.
    """
    difference = combine_roemer(first.images - second.images, sensitivities).real / np.sqrt(2.0)
    return _ratio(difference, first, sensitivities, region)


def noise_of_pseudo_replica(
    images: ChannelImages, sensitivities: NDArray[np.complex64], region: NDArray[np.bool_], *, seed: int = 0
) -> NoiseRatio:
    """Return the noise of one synthetic noise scan, reconstructed like the data, over the predicted one.

    Robson et al., Magn Reson Med 60:895 (2008), averaged over voxels instead of replicas.

    Raises
    ------
    MeasurementError
        Fewer than ten independent voxels.
    """
    generator = np.random.default_rng(seed)
    transform = NonUniformTransform(images.grid, images.positions)
    noise = np.empty_like(images.images)
    for channel in noise:
        parts = generator.standard_normal((images.weights.size, 2), dtype=np.float32)
        samples = parts.view(np.complex64)[:, 0] * images.weights
        channel[:] = transform.adjoint(samples[None])[0]
    return _ratio(combine_roemer(noise, sensitivities).real, images, sensitivities, region)


def _ratio(
    noise: NDArray[np.float32],
    images: ChannelImages,
    sensitivities: NDArray[np.complex64],
    region: NDArray[np.bool_],
) -> NoiseRatio:
    independent = float(np.count_nonzero(region)) * independent_fraction(images)
    if independent < 10:
        raise MeasurementError(
            f"a region of {independent:.1f} independent voxels is too small to judge noise"
        )
    unit = noise[region] / predicted_deviation(images, sensitivities)[region]
    return NoiseRatio(
        float(np.sqrt(np.mean(np.square(unit, dtype=np.float64)))), float(1 / np.sqrt(2 * independent))
    )
