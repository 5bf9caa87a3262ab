"""What a noise scan says: levels, correlations, spectrum and health, each with its sampling error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from recon.noise.whitening import dead_channels, whitening_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.noise.spectrum import NoiseSpectrum, Spur

#: Samples per channel for a combination loss below 0.5 %: (M - 1) / 2N; Reed, Mallett, Brennan,
#: IEEE Trans Aerosp Electron Syst 10:853 (1974).
SAMPLES_PER_CHANNEL: Final = 100


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
    quadrature_correlation
        Correlation of real and imaginary part, shape (channel,).
    drift
        Change of the noise power from the first to the last sample, as a straight line, over its mean; shape
        (channel,).
    extremes
        Values that sit at the largest magnitude a channel shows, in real or imaginary part, shape (channel,):
        one or two, unless an amplifier or converter clips.
    passband
        Central fraction of the sampled band in which the filter was taken as flat.
    spectrum
        Power densities.
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
    quadrature_correlation: NDArray[np.float64]
    drift: NDArray[np.float64]
    extremes: NDArray[np.int64]
    passband: float
    spectrum: NoiseSpectrum
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
        """Noise-equivalent bandwidth over the sampling rate, averaged over the channels that have noise."""
        alive = np.real(np.diagonal(self.covariance)) > 0
        return float(np.mean(self.bandwidth_ratio[alive])) if alive.any() else 1.0

    @property
    def bandwidth_uncertainty(self) -> float:
        """Standard uncertainty of one channel's bandwidth ratio, from the two densities' sampling errors."""
        share = self.spectrum.passband_share(self.passband)
        if share >= 1:
            return 0.0
        outside = max(self.mean_bandwidth_ratio - share, 0.0)
        return float(outside / np.sqrt(self.samples * share * (1 - share)))

    @property
    def equivalent_bandwidth(self) -> float:
        """Noise-equivalent bandwidth in Hz, averaged over the channels."""
        return self.mean_bandwidth_ratio / self.dwell_time

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
    def correlation_uncertainty(self) -> NDArray[np.float64]:
        """Standard uncertainty of |found - true| correlation, shape (channel, channel)."""
        return correlation_uncertainty(self.correlation, self.effective_samples)

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
    def condition(self) -> float:
        """Condition number of the correlation matrix: 1 for uncorrelated channels, inf when singular.

        Channel gains do not enter, as whitening undoes them exactly. Errors of whitened data grow with its
        root.
        """
        return float(np.linalg.cond(self.correlation))

    @property
    def covariance_condition(self) -> float:
        """Condition number of the covariance itself, gains included; inf with a dead channel."""
        return float(np.linalg.cond(self.covariance))

    @property
    def dead_channels(self) -> tuple[int, ...]:
        """Channels without any noise, counted from 1: nothing is connected, or nothing is powered."""
        return dead_channels(self.covariance)

    @property
    def spurs(self) -> tuple[Spur, ...]:
        """Lines in the spectra that chance does not explain, strongest first."""
        return self.spectrum.spurs()

    @property
    def has_enough_samples(self) -> bool:
        """Whether there are at least 100 independent samples per channel: under 0.5 % loss of SNR."""
        return self.effective_samples >= SAMPLES_PER_CHANNEL * self.channels

    @property
    def combination_loss(self) -> float:
        """Fraction of SNR that a combination loses on average by the covariance's own sampling error.

        Notes
        -----
        Reed, Mallett and Brennan (1974): the power SNR keeps (N - M + 2) / (N + 1); 1 with too few samples.
        """
        kept = (self.effective_samples - self.channels + 2) / (self.effective_samples + 1)
        return float(1 - np.sqrt(max(kept, 0.0)))

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


def correlation_uncertainty(rho: NDArray[np.complex128], samples: float) -> NDArray[np.float64]:
    """Return the standard uncertainty of |found - true| of an estimated complex correlation.

    Parameters
    ----------
    rho
        Correlation, any shape.
    samples
        Independent complex samples.

    Notes
    -----
    Carter, Proc IEEE 75:236 (1987): variance (1 - |rho|²)² / 2N along rho, (1 - |rho|²) / 2N across it.
    """
    rest = np.maximum(1 - np.abs(rho) ** 2, 0)
    return np.asarray(np.sqrt((rest**2 + rest) / (2 * samples)), dtype=np.float64)
