"""Noise of any reconstruction of channel images, from a few synthetic noise scans of all channels.

Whitened channels have equal, independent, circular noise and go through one transform, so the noise images of
a synthetic scan are independent draws of one distribution, whichever channel they were made for. Each scan
therefore gives many replicas: its channels change places at random and each is turned by a random phase. A
replica alone has exactly the distribution of a freshly drawn one, and two replicas are uncorrelated. Only
gridding takes long; what follows it is done once a replica.

Worth of the replicas. Let y be a linear, pointwise combination of unit variance, N = channels x scans, R the
replicas. Given the noise images, |y|² has the mean sum |n|² / N, whose variance is 1 / N; a fresh replica's
variance is 1, so within a scan of C channels 1 - 1 / C remain. The variance of the estimated variance is

    1 / N + (1 - 1 / C) / R

whatever the weights of the channels, and less when voxels are mixed too (filters): the first term is then
an average over several. Where only the image's part in phase may be used (magnitudes) it is
1 / N + (2 - 1 / C) / R. Degrees of freedom are 2 over it: what as many independent real replicas would give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recon.snr import SnrMap, inverse_deviation_correction

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recon.nufft import NonUniformTransform
    from recon.off_resonance import OffResonanceTransform

#: Replicas that Robson et al., Magn Reson Med 60:895 (2008), and most after them take: at least some dozens.
REPLICAS: Final = 50


@dataclass(frozen=True, slots=True, eq=False)
class ProbedNoise:
    """Noise of an image as its replicas show it.

    Parameters
    ----------
    deviation
        Standard deviation of the real part in phase with the image, for whitened samples; shape of the image.
    degrees_of_freedom
        Of each voxel's deviation, which scatters by 1 / sqrt(2 degrees of freedom).
    replicas
        Noise images that were reconstructed.
    noise_scans
        Synthetic noise scans of all channels that were gridded for them.
    """

    deviation: NDArray[np.float32]
    degrees_of_freedom: float
    replicas: int
    noise_scans: int

    def snr(self, image: NDArray[np.inexact[Any]]) -> SnrMap:
        """Return the SNR of the image that the noise belongs to; the bias of 1 / deviation is corrected.

        Raises
        ------
        ValueError
            The image has another shape.
        """
        if image.shape != self.deviation.shape:
            raise ValueError(f"an image {image.shape} does not fit noise of {self.deviation.shape}")
        noisy = self.deviation > 0
        ratio = np.where(noisy, np.abs(image) / np.where(noisy, self.deviation, 1), 0)
        return SnrMap(
            np.asarray(
                ratio * inverse_deviation_correction(round(self.degrees_of_freedom)), dtype=np.float32
            ),
            relative_uncertainty=float(1 / np.sqrt(2 * self.degrees_of_freedom)),
            degrees_of_freedom=self.degrees_of_freedom,
            method=f"{self.replicas} pseudo-replicas from {self.noise_scans} noise scans",
            is_shared=False,
        )


def probe_noise(
    transform: NonUniformTransform | OffResonanceTransform,
    weights: NDArray[np.floating[Any]],
    channels: int,
    combine: Callable[[NDArray[np.complex64]], NDArray[np.inexact[Any]]],
    *,
    images: NDArray[np.complex64] | None = None,
    replicas: int = REPLICAS,
    noise_scans: int | None = None,
    seed: int = 0,
) -> ProbedNoise:
    """Return the noise deviation of an image that is made of gridded channel images.

    Parameters
    ----------
    transform
        Of all channels.
    weights
        Density weights as noise sees them, one per position and the same for all channels, any shape.
    channels
        Number of whitened channels.
    combine
        From channel images (channel, z, y, x) to an image; called once a replica, must neither change nor
        keep its argument. For iterative reconstructions it goes on from the gridded images:
        ``recon.cg_sense.solve_sense``.
    images
        The scan's own channel images. Needed when ``combine`` is not linear (magnitudes, conjugate gradients
        that stop early): its noise is then that of small changes of these images. None: it is linear.
    replicas
        At least 3.
    noise_scans
        Synthetic scans to grid; None: as many as make linear replicas worth as many independent ones.
    seed
        Of the noise.

    Raises
    ------
    ValueError
        Too few replicas, fewer replicas than noise scans, weights or images that do not fit, or a real
        combination without ``images``.

    Notes
    -----
    Pseudo-replicas: Robson et al., Magn Reson Med 60:895 (2008). ``recon.snr.pseudo_replica_noise`` draws and
    reconstructs each replica from k-space, for reconstructions that do not start with gridding. Memory: twice
    the channel images, and the weighted noise samples of as many channels as the back end takes at once.
    """
    _check(transform, weights, channels, replicas, images)
    scans = noise_scans_needed(channels, replicas) if noise_scans is None else noise_scans
    if not 1 <= scans <= replicas:
        raise ValueError(f"from 1 to {replicas} noise scans make {replicas} replicas, got {scans}")
    moments = _Moments(combine, images)
    generator = np.random.default_rng(seed)
    factors = np.ascontiguousarray(weights, dtype=np.float32).ravel()
    uses = [len(part) for part in np.array_split(np.arange(replicas), scans)]
    for count in uses:
        noise = grid_noise(transform, factors, channels, generator)
        replica = np.empty_like(noise)
        for _ in range(count):
            _recombine(noise, replica, generator)
            moments.add(replica)
    quadratures = 1 if images is not None else 2
    return ProbedNoise(moments.deviation(), _degrees_of_freedom(channels, uses, quadratures), replicas, scans)


def noise_scans_needed(channels: int, replicas: int = REPLICAS) -> int:
    """Return the fewest noise scans whose linear replicas are worth as many independent ones.

    Parameters
    ----------
    channels
        Number of whitened channels.
    replicas
        At least 3.

    Returns
    -------
    For 50 replicas 25 of one channel, 6 of 8 and 2 of 32.
    """
    scans = 1
    while _degrees_of_freedom(channels, [replicas / scans] * scans, quadratures=2) < replicas - 1:
        scans += 1
    return scans


def grid_noise(
    transform: NonUniformTransform | OffResonanceTransform,
    weights: NDArray[np.float32],
    channels: int,
    generator: np.random.Generator,
) -> NDArray[np.complex64]:
    """Return the channel images of one synthetic noise scan, shape (channel, z, y, x).

    Parameters
    ----------
    transform
        Of all channels.
    weights
        Density weights, shape (point,).
    channels
        Number of channels.
    generator
        Of the noise.
    """
    images = np.empty((channels, *transform.grid.shape), dtype=np.complex64)
    for part in transform.batches(channels):
        samples = white_samples(generator, (part.stop - part.start, transform.points))
        samples *= weights
        images[part] = transform.adjoint(samples)
    return images


def white_samples(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Return white, circular noise of +1 and -1 in both parts: unit variance each.

    Second moments are those of Gaussian noise, and sums over many samples, as voxels are, are Gaussian; four
    samples take one random byte.

    Parameters
    ----------
    generator
        Of the noise.
    shape
        Any.
    """
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    four = (1 - 2 * bits.astype(np.float32)).view(np.complex64)
    count = int(np.prod(shape))
    codes = np.frombuffer(generator.bytes(-(-count // four.shape[1])), dtype=np.uint8)
    return np.take(four, codes, axis=0).ravel()[:count].reshape(shape)


class _Moments:
    """Sums over the replicas of an image's noise."""

    def __init__(
        self,
        combine: Callable[[NDArray[np.complex64]], NDArray[np.inexact[Any]]],
        images: NDArray[np.complex64] | None,
    ) -> None:
        self._combine, self._images = combine, images
        self._count = 0
        self._squares: NDArray[np.floating[Any]] = np.zeros(1, dtype=np.float32)
        self._sum: NDArray[np.floating[Any]] = np.zeros(1, dtype=np.float32)
        if images is not None:
            self._clean = combine(images)
            size = np.abs(self._clean)
            self._phase = np.where(size > 0, np.conj(self._clean) / np.where(size > 0, size, 1), 1)

    def add(self, noise: NDArray[np.complex64]) -> None:
        """Reconstruct a replica; overwrites it."""
        self._count += 1
        if self._images is None:
            image = self._combine(noise)
            if not np.iscomplexobj(image):
                raise ValueError(
                    "the combination makes real images: it is not linear, so its noise depends on the "
                    "signal; give the scan's channel images"
                )
            self._squares = self._squares + (np.square(image.real) + np.square(image.imag)) / np.float32(2)
            return
        noise += self._images
        change = np.real((self._combine(noise) - self._clean) * self._phase)
        self._sum = self._sum + change
        self._squares = self._squares + np.square(change)

    def deviation(self) -> NDArray[np.float32]:
        """Return the deviation about the mean: known to be 0 for a linear combination."""
        if self._images is None:
            return np.asarray(np.sqrt(self._squares / self._count), dtype=np.float32)
        rest = np.maximum(self._squares - np.square(self._sum) / self._count, 0)
        return np.asarray(np.sqrt(rest / (self._count - 1)), dtype=np.float32)


def _recombine(
    noise: NDArray[np.complex64], replica: NDArray[np.complex64], generator: np.random.Generator
) -> None:
    """Write the channels in another order, each turned by a phase of its own."""
    phases = np.exp(2j * np.pi * generator.random(len(noise))).astype(np.complex64)
    for target, source, phase in zip(replica, generator.permutation(len(noise)), phases, strict=True):
        np.multiply(noise[source], phase, out=target)


def _degrees_of_freedom(channels: int, uses: list[int] | list[float], quadratures: int) -> float:
    """Return 2 over the relative variance of the variance (module docstring), for uneven use of the scans."""
    replicas = sum(uses)
    scans = sum((use / replicas) ** 2 for use in uses) / channels
    each = 1 - 1 / channels if quadratures == 2 else (2 - 1 / channels) * replicas / (replicas - 1)
    return 2 / (scans + each / replicas)


def _check(
    transform: NonUniformTransform | OffResonanceTransform,
    weights: NDArray[np.floating[Any]],
    channels: int,
    replicas: int,
    images: NDArray[np.complex64] | None,
) -> None:
    if replicas < 3:
        raise ValueError(f"at least 3 replicas are needed, got {replicas}")
    if channels < 1:
        raise ValueError(f"at least one channel is needed, got {channels}")
    if weights.size != transform.points:
        raise ValueError(
            f"{transform.points} weights that hold for all channels expected, got shape {weights.shape}: "
            "channels with weights of their own cannot change places; use recon.snr.pseudo_replica_noise"
        )
    if images is not None and images.shape != (channels, *transform.grid.shape):
        raise ValueError(
            f"channel images of shape {(channels, *transform.grid.shape)} expected, got {images.shape}"
        )
