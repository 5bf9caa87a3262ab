"""Noise of combined voxels: predicted, from repeated scans, from pseudo-replicas; all must agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.combine import combine_roemer
from recon.nufft import NonUniformTransform
from recon.probes import probe_noise
from recon.snr import Convention, Snr

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
    degrees_of_freedom
        Of the noise found, over all voxels.
    method
        How it was found.
    convention
        Of both: always ``"real-sd"``.
    """

    ratio: float
    uncertainty: float
    degrees_of_freedom: float
    method: str
    convention: Convention = "real-sd"

    def snr(self, predicted: Snr) -> Snr:
        """Return the SNR by the noise that was found, from the one by the noise that was predicted."""
        value = predicted.value / self.ratio
        spread = np.hypot(predicted.uncertainty / self.ratio, value * self.uncertainty / self.ratio)
        return Snr(value, float(spread), self.degrees_of_freedom, self.method, predicted.bias)


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
    return _ratio(difference, first, sensitivities, region, "difference of two scans, all voxels")


def noise_of_pseudo_replica(
    images: ChannelImages, sensitivities: NDArray[np.complex64], region: NDArray[np.bool_], *, seed: int = 0
) -> NoiseRatio:
    """Return the noise of pseudo-replicas of one synthetic noise scan over the predicted one.

    Averaged over voxels, which are many: one scan's channels, recombined, tell the ratio.

    Raises
    ------
    MeasurementError
        Fewer than ten independent voxels.
    """
    found = probe_noise(
        NonUniformTransform(images.grid, images.positions),
        images.weights,
        images.channels,
        lambda noise: combine_roemer(noise, sensitivities),
        noise_scans=1,
        seed=seed,
    )
    return _ratio(
        found.deviation,
        images,
        sensitivities,
        region,
        "pseudo-replicas, all voxels",
        degrees_of_freedom=found.degrees_of_freedom,
    )


def _ratio(
    noise: NDArray[np.float32],
    images: ChannelImages,
    sensitivities: NDArray[np.complex64],
    region: NDArray[np.bool_],
    method: str,
    *,
    degrees_of_freedom: float = 1.0,
) -> NoiseRatio:
    """Return deviations, or one draw of real noise, over the prediction: root of the mean of squares."""
    independent = float(np.count_nonzero(region)) * independent_fraction(images)
    if independent < 10:
        raise MeasurementError(
            f"a region of {independent:.1f} independent voxels is too small to judge noise"
        )
    unit = noise[region] / predicted_deviation(images, sensitivities)[region]
    freedom = degrees_of_freedom * independent
    ratio = float(np.sqrt(np.mean(np.square(unit, dtype=np.float64))))
    return NoiseRatio(ratio, float(1 / np.sqrt(2 * freedom)), freedom, method)
