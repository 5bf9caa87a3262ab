"""Noise of the receive chain, from a scan without signal: covariance, bandwidth, health, whitening.

Convention: Psi = E[n n^H] with complex noise n, so Psi_ii = 2 sigma_i^2, where sigma is the standard
deviation of the real part. The mean is not subtracted from the covariance (noise has none; if there is
one it is a fault and is reported as such). Whitened data have unit standard deviation of the real part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Samples per channel for a combination loss below 0.5 %: (M - 1) / 2N; Reed, Mallett, Brennan,
#: IEEE Trans Aerosp Electron Syst 10:853 (1974).
SAMPLES_PER_CHANNEL = 100


@dataclass(frozen=True, slots=True, eq=False)
class NoiseModel:
    """What a noise scan says about the receive channels.

    Parameters
    ----------
    covariance
        Psi, complex128, shape (channel, channel), in the squared units of the samples.
    samples
        Complex samples per channel that were used.
    effective_samples
        Independent samples among them: N / sum of squared autocorrelation.
    bandwidth_ratio
        Noise-equivalent bandwidth over the sampling rate, shape (channel,): mean power density over the
        density in the passband, 1 for white noise.
    offset
        |mean| over the noise's own sigma (mean taken off), shape (channel,).
    kurtosis
        Of real and imaginary parts together, shape (channel,); 3 for Gaussian noise.
    quadrature_ratio
        Variance of the real over that of the imaginary part, shape (channel,).
    dwell_time
        Sample interval of the noise scan in s.
    """

    covariance: NDArray[np.complex128]
    samples: int
    effective_samples: float
    bandwidth_ratio: NDArray[np.float64]
    offset: NDArray[np.float64]
    kurtosis: NDArray[np.float64]
    quadrature_ratio: NDArray[np.float64]
    dwell_time: float

    @property
    def channels(self) -> int:
        """Number of receive channels."""
        return int(self.covariance.shape[0])

    @property
    def sigma(self) -> NDArray[np.float64]:
        """Standard deviation of the real part of each channel, shape (channel,)."""
        sigma: NDArray[np.float64] = np.sqrt(np.real(np.diagonal(self.covariance)) / 2)
        return sigma

    @property
    def mean_bandwidth_ratio(self) -> float:
        """Noise-equivalent bandwidth over the sampling rate, averaged over the channels."""
        return float(np.mean(self.bandwidth_ratio))

    @property
    def correlation(self) -> NDArray[np.complex128]:
        """Noise correlation coefficients, complex, shape (channel, channel); 0 with a dead channel."""
        scale = np.sqrt(np.real(np.diagonal(self.covariance)))
        product = np.outer(scale, scale)
        correlation: NDArray[np.complex128] = np.where(
            product > 0, self.covariance / np.where(product > 0, product, 1), np.eye(scale.size)
        )
        return correlation

    @property
    def dead_channels(self) -> tuple[int, ...]:
        """Channels without any noise, counted from 1: nothing is connected, or nothing is powered."""
        return _dead(self.covariance)

    @property
    def mean_correlation(self) -> float:
        """Mean absolute correlation of two different channels (0 for one channel)."""
        pairs = self._pairs()
        return float(np.mean(pairs)) if pairs.size else 0.0

    @property
    def largest_correlation(self) -> float:
        """Largest absolute correlation of two different channels (0 for one channel)."""
        pairs = self._pairs()
        return float(np.max(pairs)) if pairs.size else 0.0

    @property
    def has_enough_samples(self) -> bool:
        """Whether there are at least 100 independent samples per channel: under 0.5 % loss of SNR."""
        return self.effective_samples >= SAMPLES_PER_CHANNEL * self.channels

    @property
    def variance_uncertainty(self) -> float:
        """Relative standard uncertainty of a diagonal element of the covariance."""
        return float(1 / np.sqrt(self.effective_samples))

    @property
    def correlation_floor(self) -> float:
        """Mean absolute correlation that uncorrelated channels would show: sqrt(pi / 4N)."""
        return float(np.sqrt(np.pi / (4 * self.effective_samples)))

    def image_covariance(self, dwell_time: float) -> NDArray[np.complex128]:
        """Return the covariance of samples of the passband taken every ``dwell_time`` seconds.

        An image holds the passband's noise density, while a noise sample holds the density averaged over
        the whole band, filter skirts included: Psi / ratio, scaled by the change of sampling rate. All
        channels have the same filter, so the ratio's mean is taken: it has the least sampling error.

        Notes
        -----
        Kellman, McVeigh, Magn Reson Med 54:1439 (2005).
        """
        scale = self.dwell_time / dwell_time / self.mean_bandwidth_ratio
        covariance: NDArray[np.complex128] = self.covariance * scale
        return covariance

    def whitening(self, dwell_time: float) -> NDArray[np.complex128]:
        """Return W, shape (channel, channel): W x has unit, uncorrelated noise for samples x.

        Raises
        ------
        MeasurementError
            A channel has no noise, or two carry the same signal: the covariance is singular.
        """
        return whitening_matrix(self.image_covariance(dwell_time))

    def _pairs(self) -> NDArray[np.float64]:
        magnitude: NDArray[np.float64] = np.abs(self.correlation)
        pairs: NDArray[np.float64] = magnitude[np.triu_indices(self.channels, 1)]
        return pairs


def whitening_matrix(covariance: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return W with W Psi W^H = 2: unit standard deviation of the real part, no correlation.

    Parameters
    ----------
    covariance
        Psi, Hermitian, shape (channel, channel).

    Raises
    ------
    MeasurementError
        The covariance is not positive definite; the text names the channel.
    """
    dead = _dead(covariance)
    if dead:
        names = ", ".join(map(str, dead))
        raise MeasurementError(
            f"channel {names} shows no noise at all: check that it is connected and powered"
        )
    power = np.real(np.diagonal(covariance))
    scale = np.sqrt(power)
    try:
        lower = scipy.linalg.cholesky(covariance / np.outer(scale, scale), lower=True)
    except np.linalg.LinAlgError:
        raise MeasurementError(
            "the noise covariance is singular: two channels carry the same signal, or the noise scan has "
            f"fewer samples than the {power.size} channels"
        ) from None
    if np.min(np.abs(np.diagonal(lower))) < 1e-5:
        raise MeasurementError("the noise covariance is singular: two channels carry the same signal")
    inverse = scipy.linalg.solve_triangular(lower, np.diag(np.sqrt(2) / scale), lower=True)
    return np.asarray(inverse, dtype=np.complex128)


def apply_channels(matrix: NDArray[np.complex128], samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return ``matrix`` applied along the first axis of ``samples``, shape (channel, ...), complex64."""
    flat = samples.reshape(samples.shape[0], -1)
    mixed: NDArray[np.complex64] = matrix.astype(np.complex64) @ flat
    return mixed.reshape(matrix.shape[0], *samples.shape[1:])


def _dead(covariance: NDArray[np.complex128]) -> tuple[int, ...]:
    power = np.real(np.diagonal(covariance))
    return tuple(int(index) + 1 for index in np.flatnonzero(~(power > 0)))


class NoiseScan:
    """Sums up noise windows as they arrive; memory does not grow with their number.

    Parameters
    ----------
    dwell_time
        Sample interval in s.
    passband
        Central fraction of the sampled band that the image uses and in which the filter is flat.
    """

    def __init__(self, dwell_time: float, *, passband: float = 0.5) -> None:
        if not dwell_time > 0:
            raise ValueError(f"the noise scan's sample interval must be positive, got {dwell_time} s")
        if not 0 < passband <= 1:
            raise ValueError(f"the passband is a fraction of the sampled band in (0, 1], got {passband}")
        self.dwell_time = dwell_time
        self.passband = passband
        self._count = 0
        self._outer: NDArray[np.complex128] | None = None
        self._sums: list[NDArray[np.float64]] = []
        self._mean: NDArray[np.complex128] | None = None
        self._spectra: dict[int, NDArray[np.float64]] = {}

    @property
    def samples(self) -> int:
        """Complex samples per channel so far."""
        return self._count

    def add(self, window: NDArray[np.complex64]) -> None:
        """Add consecutive samples, shape (channel, sample).

        Raises
        ------
        ValueError
            The number of channels differs from the first window's, or the window is empty.
        """
        data = np.asarray(window, dtype=np.complex128)
        if data.ndim != 2 or data.shape[1] == 0:
            raise ValueError(f"a noise window is (channel, sample) and not empty; got shape {data.shape}")
        power = np.abs(np.fft.fft(data, axis=1)) ** 2 / data.shape[1]
        squares = np.stack([data.real**2, data.imag**2])
        sums = [squares[0].sum(1), squares[1].sum(1), (squares[0] ** 2 + squares[1] ** 2).sum(1)]
        if self._outer is None or self._mean is None:
            self._outer = data @ data.conj().T
            self._mean = data.sum(1)
            self._sums = sums
        elif data.shape[0] != self._mean.size:
            raise ValueError(f"noise window of {data.shape[0]} channels after {self._mean.size}")
        else:
            self._outer = self._outer + data @ data.conj().T
            self._mean = self._mean + data.sum(1)
            self._sums = [old + new for old, new in zip(self._sums, sums, strict=True)]
        length = data.shape[1]
        self._spectra[length] = self._spectra.get(length, np.zeros_like(power)) + power
        self._count += length

    def model(self) -> NoiseModel:
        """Return what the windows so far say.

        Raises
        ------
        MeasurementError
            No window has been added.
        """
        if self._outer is None or self._mean is None:
            raise MeasurementError("no noise has been received: a noise scan must come before the spokes")
        count = self._count
        covariance = self._outer / count
        power = np.real(np.diagonal(covariance))
        smallest = 1e-150  # its square is still a float64
        real, imaginary, fourth = (np.maximum(total, smallest) for total in self._sums)
        mean = np.abs(self._mean / count)
        length = max(self._spectra)
        spectrum = np.maximum(self._spectra[length], smallest)
        return NoiseModel(
            covariance=covariance,
            samples=count,
            effective_samples=count / _squared_autocorrelation(spectrum),
            bandwidth_ratio=_bandwidth_ratio(spectrum, self.passband),
            offset=mean / np.sqrt(np.maximum(power - mean**2, smallest) / 2),
            kurtosis=np.where(
                power > 0,
                (fourth / (2 * count)) / np.maximum((real + imaginary) / (2 * count), smallest**0.5) ** 2,
                0,
            ),
            quadrature_ratio=real / imaginary,
            dwell_time=self.dwell_time,
        )


def noise_model(noise: NDArray[np.complex64], dwell_time: float, *, passband: float = 0.5) -> NoiseModel:
    """Return the noise model of a whole noise scan.

    Parameters
    ----------
    noise
        Shape (channel, window, sample) or (channel, sample).
    dwell_time
        Sample interval in s.
    passband
        Central fraction of the sampled band in which the filter is flat.

    Raises
    ------
    MeasurementError
        There is no window.
    """
    windows = noise[:, None, :] if noise.ndim == 2 else noise
    scan = NoiseScan(dwell_time, passband=passband)
    for index in range(windows.shape[1]):
        scan.add(windows[:, index, :])
    return scan.model()


def _bandwidth_ratio(spectrum: NDArray[np.float64], passband: float) -> NDArray[np.float64]:
    """Return mean over passband density of periodograms (channel, frequency) in FFT order.

    Short windows have few bins; at least three are taken, or all when the passband is the whole band.
    """
    length = spectrum.shape[1]
    if length < 3 or passband >= 1:
        return np.ones(spectrum.shape[0])
    half = max(1, round(length * passband / 2))
    inside = np.abs(np.fft.fftfreq(length) * length) <= half
    ratio: NDArray[np.float64] = spectrum.mean(axis=1) / spectrum[:, inside].mean(axis=1)
    return ratio


def _squared_autocorrelation(spectrum: NDArray[np.float64]) -> float:
    """Return the sum over lags of |r|², from the channel-averaged spectrum; 1 for white noise.

    Only lags that stand out of the sampling noise count, else that noise itself would look like colour.
    """
    density = (spectrum / spectrum.mean(axis=1, keepdims=True)).mean(axis=0)
    autocorrelation = np.abs(np.fft.ifft(density))
    autocorrelation /= autocorrelation[0]
    half = autocorrelation[1 : max(2, autocorrelation.size // 2)]
    floor = 3 * float(np.median(half)) if half.size > 4 else 0.0
    significant = half[: int(np.argmax(half < floor))] if np.any(half < floor) else half
    return float(1 + 2 * np.sum(significant**2))
