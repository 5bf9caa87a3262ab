"""SNR units: signal over the noise that a noise scan predicts for every voxel, without a second image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from recon.combine import combine_squares, snr_units
from recon.snr.record import Snr, SnrMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.live import ChannelImages
    from recon.noise import NoiseModel

#: How a receive channel's own SNR is measured.
_CHANNEL: Final = "SNR units, one channel, not whitened"


def snr_of_noise_scan(
    images: NDArray[np.complex64],
    noise_gain: float,
    noise: NoiseModel | None,
    *,
    sensitivities: NDArray[np.complex64] | None = None,
) -> SnrMap:
    """Return the SNR map of whitened channel images, by the noise scan that whitened them.

    Parameters
    ----------
    images
        Whitened, shape (channel, z, y, x).
    noise_gain
        Standard deviation of the real part of the noise in every channel image.
    noise
        Of the scan; its finite length is the map's uncertainty. None: the noise is known.
    sensitivities
        Shape of the images: best combination. None: root of the sum of squares, its noise floor in it.

    Notes
    -----
    Kellman, McVeigh, Magn Reson Med 54:1439 (2005); with whitened data of unit real standard deviation no
    root of two remains.
    """
    if sensitivities is None:
        values, floor = combine_squares(images, noise_gain, correct_bias=False), 2.0 * images.shape[0] - 1.0
        method = f"SNR units, root sum of squares of {images.shape[0]} whitened channels"
    else:
        values, floor = snr_units(images, sensitivities, noise_gain), 1.0
        method = "SNR units, whitened channels combined by their sensitivities"
    spread = 0.0 if noise is None else relative_noise_uncertainty(noise)
    return SnrMap(values, spread, _freedom(spread), method, is_shared=True, floor=floor)


def channel_snr(
    images: ChannelImages, noise: NoiseModel, region: NDArray[np.bool_], *, independent_fraction: float
) -> tuple[Snr, ...]:
    """Return each receive channel's own SNR in a region: root-mean-square signal over its own noise.

    Channel n is what receiver n digitised: the whitening, which mixes channels, is undone, so that a fault
    stays in its channel. The noise's own share of the mean square is removed.

    Parameters
    ----------
    images
        Whitened, with the weights they were gridded with.
    noise
        That whitened them.
    region
        Voxels, shape (z, y, x).
    independent_fraction
        Independent voxels over voxels (``voxel_noise.independent_fraction``).

    Raises
    ------
    ValueError
        The region is empty.
    """
    if not region.any():
        raise ValueError("the region is empty: there is no voxel to take the SNR of")
    values = images.images[:, region]
    raw = unwhitening(noise) @ values.astype(np.complex128)
    power = np.mean(np.abs(raw) ** 2, axis=1) / images.noise_gain**2
    independent = max(1.0, values.shape[1] * independent_fraction)
    spread = 0.5 * noise.variance_uncertainty
    found = []
    for square in power:
        value = float(np.sqrt(max(float(square) - 2.0, 0.0)))
        # u(mean square) = 2 sqrt(SNR² + 1) / sqrt(n) from noise (noncentral chi-square, 2 n degrees)
        scatter = np.sqrt((value**2 + 1.0) / independent) / max(value, 1.0)
        uncertainty = float(np.hypot(scatter, spread * value))
        found.append(Snr(value, uncertainty, _freedom(spread), _CHANNEL))
    return tuple(found)


def channel_snr_map(images: NDArray[np.complex64], noise_gain: float, noise: NoiseModel) -> SnrMap:
    """Return each receive channel's own SNR in every voxel, not whitened; shape of the images.

    Parameters
    ----------
    images
        Whitened, shape (channel, ...): all voxels or some.
    noise_gain
        Standard deviation of the real part of the noise in every channel image.
    noise
        That whitened them.
    """
    mixed = unwhitening(noise).astype(np.complex64) @ images.reshape(images.shape[0], -1)
    values = np.asarray(np.abs(mixed).reshape(images.shape) / np.float32(noise_gain), dtype=np.float32)
    spread = 0.5 * noise.variance_uncertainty
    return SnrMap(values, spread, _freedom(spread), _CHANNEL, is_shared=True, floor=1.0)


def unwhitening(noise: NoiseModel) -> NDArray[np.complex128]:
    """Return the matrix that turns whitened channels back into receive channels of unit noise each.

    Shape (channel, channel); its rows have norm 1, so noise that was white stays 1 in every channel.
    """
    inverse = np.linalg.inv(noise.whitening(noise.dwell_time))
    unit: NDArray[np.complex128] = inverse / np.linalg.norm(inverse, axis=1, keepdims=True)
    return unit


def relative_noise_uncertainty(noise: NoiseModel) -> float:
    """Return the relative standard uncertainty of a combined voxel's noise deviation from a noise scan.

    Notes
    -----
    A variance from N complex samples: 1 / sqrt(N), half of that for the deviation; and half of the noise
    bandwidth's, which is a mean over the channels.
    """
    bandwidth = noise.bandwidth_uncertainty / noise.mean_bandwidth_ratio / np.sqrt(noise.channels)
    return 0.5 * float(np.hypot(noise.variance_uncertainty, bandwidth))


def _freedom(relative_uncertainty: float) -> float:
    return 1 / (2 * relative_uncertainty**2) if relative_uncertainty > 0 else np.inf
