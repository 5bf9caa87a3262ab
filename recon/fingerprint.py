"""What each receive channel looks like in noise and signal, in a form that can be kept as a baseline.

Everything is in the receivers' own samples, before whitening, so that a fault stays in its channel: whitening
mixes channels. A region's signal pattern is the principal component of the channels' products there, free
of the object's own phase and of cancellation within the region, with the noise's share removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.noise import correlation_uncertainty

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from recon.noise import NoiseModel

#: Regions with fewer independent voxels say nothing about a pattern.
_SMALLEST_REGION: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class ChannelFingerprint:
    """One channel's share of an array's fingerprint.

    Parameters
    ----------
    channel
        Counted from 1.
    name
        Of its coil; may be empty.
    noise_level_db
        20 log10 of the noise's real standard deviation in units of the samples; -inf when there is none.
    noise_level_uncertainty_db
        Standard uncertainty of ``noise_level_db``.
    correlation
        Complex noise correlation with every channel, shape (channel,); 1 with itself.
    signal
        Complex signal in each region, shape (region,), in the images' units before whitening.
    signal_uncertainty
        Standard deviation of the real part of each, shape (region,).
    """

    channel: int
    name: str
    noise_level_db: float
    noise_level_uncertainty_db: float
    correlation: NDArray[np.complex128]
    signal: NDArray[np.complex128]
    signal_uncertainty: NDArray[np.float64]

    @property
    def signal_level_db(self) -> float:
        """20 log10 of the root-mean-square signal over the regions; -inf when there is none."""
        return _decibel(float(np.sqrt(np.mean(np.abs(self.signal) ** 2))))

    @property
    def largest_correlation(self) -> float:
        """Largest absolute noise correlation with another channel (0 for a single channel)."""
        others = np.delete(np.abs(self.correlation), self.channel - 1)
        return float(np.max(others, initial=0.0))


@dataclass(frozen=True, slots=True, eq=False)
class ArrayFingerprint:
    """Noise and signal of every channel of an array.

    Parameters
    ----------
    names
        Of the coils in channel order; may be empty texts.
    noise_level_db
        20 log10 of the noise's real standard deviation in units of the samples, shape (channel,).
    noise_level_uncertainty_db
        Standard uncertainty of each.
    correlation
        Complex noise correlation, shape (channel, channel).
    samples
        Independent noise samples; an uncorrelated pair shows |rho| about sqrt(pi / 4 samples).
    signal
        Complex, shape (channel, region): root-mean-square amplitude with the phases between channels. Each
        region's common phase is arbitrary; see ``aligned``.
    signal_uncertainty
        Standard deviation of its real part, shape (channel, region).
    voxels
        Of each region, shape (region,).
    """

    names: tuple[str, ...]
    noise_level_db: NDArray[np.float64]
    noise_level_uncertainty_db: float
    correlation: NDArray[np.complex128]
    samples: float
    signal: NDArray[np.complex128]
    signal_uncertainty: NDArray[np.float64]
    voxels: NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.names)
        shapes = (self.noise_level_db.shape, self.correlation.shape, self.signal.shape[:1])
        if shapes != ((count,), (count, count), (count,)) or self.signal.shape != (count, len(self.voxels)):
            raise ValueError(f"{count} channels do not fit {shapes} and {len(self.voxels)} regions")
        if self.signal_uncertainty.shape != self.signal.shape:
            raise ValueError("every signal needs its uncertainty")

    @property
    def channels(self) -> int:
        """Number of receive channels."""
        return len(self.names)

    @property
    def correlation_uncertainty(self) -> NDArray[np.float64]:
        """Standard uncertainty of |found - true| correlation, shape (channel, channel)."""
        return correlation_uncertainty(self.correlation, self.samples)

    @property
    def pattern(self) -> NDArray[np.complex128]:
        """Signal over the root of its sum of squares over channels and regions, shape (channel, region)."""
        norm = float(np.linalg.norm(self.signal))
        return self.signal / norm if norm > 0 else self.signal

    def channel(self, number: int) -> ChannelFingerprint:
        """Return one channel, counted from 1."""
        if not 1 <= number <= self.channels:
            raise ValueError(f"channel 1 to {self.channels}, got {number}")
        index = number - 1
        return ChannelFingerprint(
            number,
            self.names[index],
            float(self.noise_level_db[index]),
            self.noise_level_uncertainty_db,
            self.correlation[index],
            self.signal[index],
            self.signal_uncertainty[index],
        )

    def aligned(self, baseline: ArrayFingerprint) -> NDArray[np.complex128]:
        """Return this fingerprint's signal in the baseline's scale and phases, shape (channel, region).

        One factor for the whole array (another concentration or flip angle) and one phase per region (the
        object's own) are taken out so that a minority of faulty channels does not drag the sound ones along:
        the factor is a weighted median, the phase that of the channel which most others agree with.

        Raises
        ------
        ValueError
            Channels or regions differ in number.
        """
        if self.signal.shape != baseline.signal.shape:
            raise ValueError(
                f"fingerprints of {self.signal.shape} and {baseline.signal.shape} (channel, region) cannot "
                "be compared"
            )
        reference = baseline.signal
        weight = np.abs(reference)
        seen = weight > 0
        if not seen.any() or not np.any(self.signal):
            return self.signal
        ratio = np.abs(self.signal[seen]) / weight[seen]
        scaled = self.signal / max(_weighted_median(ratio, weight[seen] ** 2), np.finfo(float).tiny)
        turns = np.exp(1j * np.angle(scaled * reference.conj()))
        # distance of every channel's turn from every other's, weighted by how well the other is seen
        distance = np.einsum("dr,cdr->cr", weight, np.abs(turns[:, None] - turns[None]))
        chosen = np.argmin(np.where(seen, distance, np.inf), axis=0)
        turn = np.take_along_axis(turns, chosen[None], axis=0)
        return np.asarray(scaled * turn.conj(), dtype=np.complex128)

    def plain(self) -> dict[str, Any]:
        """Return numbers, texts and lists only, for JSON; complex numbers are [re, im], -inf is None."""
        return {
            "names": list(self.names),
            "noise_level_db": [float(level) if np.isfinite(level) else None for level in self.noise_level_db],
            "noise_level_uncertainty_db": self.noise_level_uncertainty_db,
            "correlation": _pairs(self.correlation),
            "samples": self.samples,
            "signal": _pairs(self.signal),
            "signal_uncertainty": self.signal_uncertainty.tolist(),
            "voxels": self.voxels.tolist(),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ArrayFingerprint:
        """Return the fingerprint that ``plain`` was made of.

        Raises
        ------
        MeasurementError
            The mapping is no fingerprint.
        """
        try:
            levels = [-np.inf if level is None else float(level) for level in plain["noise_level_db"]]
            return cls(
                names=tuple(str(name) for name in plain["names"]),
                noise_level_db=np.array(levels),
                noise_level_uncertainty_db=float(plain["noise_level_uncertainty_db"]),
                correlation=_complex(plain["correlation"]),
                samples=float(plain["samples"]),
                signal=_complex(plain["signal"]),
                signal_uncertainty=np.asarray(plain["signal_uncertainty"], dtype=np.float64),
                voxels=np.asarray(plain["voxels"], dtype=np.int64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MeasurementError(f"this is no fingerprint of an array: {error}") from error


def unwhitened(images: NDArray[np.complex64], noise: NoiseModel) -> NDArray[np.complex64]:
    """Return whitened images as the channels themselves saw them, shape (channel, z, y, x).

    Their noise covariance is that of the passband (``noise.image_covariance`` at the noise scan's dwell time)
    times the squared noise gain of the images.
    """
    whitening = noise.whitening(noise.dwell_time)
    flat = images.reshape(images.shape[0], -1)
    raw: NDArray[np.complex64] = np.linalg.inv(whitening).astype(np.complex64) @ flat
    return raw.reshape(images.shape)


def coarse_regions(mask: NDArray[np.bool_], *, parts: int = 3) -> NDArray[np.int64]:
    """Return a few large regions: the blocks of a mask's bounding box, numbered from 0; -1 outside.

    Parameters
    ----------
    mask
        Where there is signal, shape (z, y, x).
    parts
        Blocks along each axis, fewer along an axis of fewer voxels.

    Raises
    ------
    MeasurementError
        The mask is empty.
    """
    if not mask.any():
        raise MeasurementError("no voxel holds signal: is the phantom in the coil?")
    labels = np.zeros(mask.shape, dtype=np.int64)
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        extent = int(used[-1] - used[0]) + 1
        count = min(parts, extent)
        block = np.clip((np.arange(mask.shape[axis]) - used[0]) * count // extent, 0, count - 1)
        shape = [-1 if other == axis else 1 for other in range(3)]
        labels = labels * count + block.reshape(shape)
    labels[~mask] = -1
    _, inverse = np.unique(labels[mask], return_inverse=True)
    labels[mask] = inverse
    return labels


def array_fingerprint(
    images: NDArray[np.complex64],
    noise: NoiseModel,
    regions: NDArray[np.int64],
    *,
    noise_gain: float,
    independent_fraction: float = 1.0,
    names: tuple[str, ...] = (),
) -> ArrayFingerprint:
    """Return the fingerprint of an array from its noise scan and its channel images.

    Parameters
    ----------
    images
        Before whitening (``unwhitened``), shape (channel, z, y, x); dead channels are allowed.
    noise
        Of the same channels, in the same units.
    regions
        Number of each voxel's region from 0, -1 for none (``coarse_regions``), shape (z, y, x). A baseline
        and what is compared with it need the same regions.
    noise_gain
        Noise deviation in an image over that in a sample.
    independent_fraction
        Independent voxels over voxels (``voxel_noise.independent_fraction``).
    names
        Of the coils.

    Raises
    ------
    ValueError
        Channels or shapes do not fit.
    """
    channels = noise.channels
    if images.shape[0] != channels or images.shape[1:] != regions.shape:
        raise ValueError(
            f"{channels} channels of noise and regions {regions.shape} do not fit images {images.shape}"
        )
    # An image holds the passband's density, the noise scan the mean over the whole band.
    sigma = noise.sigma * noise_gain / np.sqrt(noise.mean_bandwidth_ratio)
    count = int(regions.max()) + 1
    signal = np.zeros((channels, count), dtype=np.complex128)
    voxels = np.bincount(regions[regions >= 0], minlength=count).astype(np.int64)
    independent = voxels * independent_fraction
    for region in np.flatnonzero(independent >= _SMALLEST_REGION):
        signal[:, region] = _pattern(images[:, regions == region], noise.correlation, sigma)
    used = independent >= _SMALLEST_REGION
    uncertainty = sigma[:, None] / np.sqrt(np.maximum(independent[used], 1))[None, :]
    return ArrayFingerprint(
        names=names or ("",) * channels,
        noise_level_db=np.array([_decibel(float(level)) for level in noise.sigma]),
        noise_level_uncertainty_db=float(10 / np.log(10) * noise.variance_uncertainty),
        correlation=noise.correlation,
        samples=noise.effective_samples,
        signal=signal[:, used],
        signal_uncertainty=uncertainty,
        voxels=voxels[used],
    )


def _pattern(
    values: NDArray[np.complex64], correlation: NDArray[np.complex128], sigma: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Return the amplitude and phase of each channel over voxels, shape (channel,).

    The principal component of the mean product of channels, noise taken off, with every channel in units
    of its own noise so that a noisy one does not decide.
    """
    scale = np.where(sigma > 0, 1 / np.where(sigma > 0, sigma, 1), 0)
    flat = values.astype(np.complex128) * scale[:, None]
    alive = sigma > 0
    products = flat @ flat.conj().T / values.shape[1] - 2 * correlation * np.outer(alive, alive)
    powers, components = np.linalg.eigh(products)
    strongest = components[:, -1] * np.sqrt(max(float(powers[-1]), 0.0)) * sigma
    largest = strongest[int(np.argmax(np.abs(strongest)))]
    return np.asarray(strongest * np.exp(-1j * np.angle(largest)), dtype=np.complex128)


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(cumulated, 0.5 * cumulated[-1]))])


def _decibel(amplitude: float) -> float:
    return float(20 * np.log10(amplitude)) if amplitude > 0 else -np.inf


def _pairs(values: NDArray[np.complex128]) -> list[Any]:
    pairs: list[Any] = np.stack([values.real, values.imag], axis=-1).tolist()
    return pairs


def _complex(pairs: Any) -> NDArray[np.complex128]:  # noqa: ANN401 - nested lists from JSON
    parts = np.asarray(pairs, dtype=np.float64)
    return np.asarray(parts[..., 0] + 1j * parts[..., 1], dtype=np.complex128)
