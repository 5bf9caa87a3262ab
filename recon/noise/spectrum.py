"""Power density of each channel's noise: how wide the receive filter is, and which lines stick out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.ndimage
import scipy.special

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bins of the running median that a line has to stand out of, and the probability that chance makes one in a
#: whole scan.
_FLOOR_BINS: Final = 21
_FALSE_ALARM: Final = 1e-4
#: A filter's edge bends the floor between bins by less than this (1 dB); a line of less is not looked for.
_SMALLEST_LINE: Final = 1.26


@dataclass(frozen=True, slots=True)
class Spur:
    """A line in a channel's noise spectrum.

    Parameters
    ----------
    channel
        Counted from 1.
    frequency
        Offset from the receiver's frequency in Hz.
    frequency_uncertainty
        Standard uncertainty in Hz: of a place within one bin.
    level_db
        Power of the line over the channel's whole other noise power.
    """

    channel: int
    frequency: float
    frequency_uncertainty: float
    level_db: float


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSpectrum:
    """Averaged periodograms.

    Parameters
    ----------
    density
        Two-sided power density in squared sample units per Hz, shape (channel, frequency), by rising
        frequency; its integral is the noise power 2 sigma².
    dwell_time
        Sample interval in s.
    segments
        Independent periodograms in the average: each bin scatters by 1 / sqrt(segments).
    """

    density: NDArray[np.float64]
    dwell_time: float
    segments: int

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Bin frequencies in Hz, shape (frequency,)."""
        bins = np.fft.fftfreq(self.density.shape[1], self.dwell_time)
        return np.asarray(np.fft.fftshift(bins), dtype=np.float64)

    @property
    def bin_width(self) -> float:
        """Distance of the bins in Hz."""
        return float(1 / (self.density.shape[1] * self.dwell_time))

    def bandwidth_ratio(self, passband: float) -> NDArray[np.float64]:
        """Return the mean density over the density in the passband, shape (channel,); 1 for white noise.

        Short windows have few bins; at least three are taken, or all when the passband is the whole band.
        """
        length = self.density.shape[1]
        if length < 3 or passband >= 1:
            return np.ones(self.density.shape[0])
        inside = self._inside(passband)
        power = self.density[:, inside].mean(axis=1)
        mean = self.density.mean(axis=1)
        return np.asarray(np.divide(mean, power, out=np.ones_like(mean), where=power > 0))

    def passband_share(self, passband: float) -> float:
        """Return the fraction of bins that ``bandwidth_ratio`` takes as the passband."""
        return float(np.mean(self._inside(passband))) if passband < 1 else 1.0

    def squared_autocorrelation(self) -> float:
        """Return the sum over lags of |r|² of the channels' mean spectrum; 1 for white noise.

        Only lags that stand out of the sampling noise count, else that noise itself would look like colour.
        """
        power = self.density.mean(axis=1, keepdims=True)
        alive = power[:, 0] > 0
        if not alive.any():
            return 1.0
        shape = np.fft.ifftshift((self.density[alive] / power[alive]).mean(axis=0))
        autocorrelation = np.abs(np.fft.ifft(shape))
        autocorrelation /= autocorrelation[0]
        half = autocorrelation[1 : max(2, autocorrelation.size // 2)]
        floor = 3 * float(np.median(half)) if half.size > 4 else 0.0
        significant = half[: int(np.argmax(half < floor))] if np.any(half < floor) else half
        return float(1 + 2 * np.sum(significant**2))

    def spurs(self) -> tuple[Spur, ...]:
        """Return the lines that chance does not explain, strongest first; the bins next to 0 Hz left out.

        A bin of an average of n periodograms of Gaussian noise is gamma distributed; the floor is the running
        median of 21 bins. The false-alarm probability of a whole scan is 1e-4.
        """
        channels, length = self.density.shape
        if length < 2 * _FLOOR_BINS:
            return ()
        median = scipy.special.gammaincinv(self.segments, 0.5) / self.segments
        # row by row: of one dimension scipy keeps the window sorted, eight times faster
        rows = [scipy.ndimage.median_filter(row, size=_FLOOR_BINS, mode="wrap") for row in self.density]
        floor = np.stack(rows) / median
        chance = _FALSE_ALARM / (channels * length)
        limit = scipy.special.gammainccinv(self.segments, chance) / self.segments
        # the floor itself is the median of 21 bins: relative error 1.25 / sqrt(21 n)
        limit *= 1 + 5 * 1.25 / np.sqrt(_FLOOR_BINS * self.segments)
        peaks = self.density > max(limit, _SMALLEST_LINE) * floor
        peaks &= self.density >= scipy.ndimage.maximum_filter(self.density, size=(1, 5), mode="wrap")
        peaks[:, np.abs(self.frequencies) < 1.5 * self.bin_width] = False
        found = [self._spur(int(channel), int(place), floor) for channel, place in np.argwhere(peaks)]
        return tuple(sorted(found, key=lambda spur: -spur.level_db))

    def _inside(self, passband: float) -> NDArray[np.bool_]:
        length = self.density.shape[1]
        half = max(1, round(length * passband / 2))
        return np.asarray(np.abs(np.fft.fftshift(np.fft.fftfreq(length)) * length) <= half)

    def _spur(self, channel: int, place: int, floor: NDArray[np.float64]) -> Spur:
        """Sum the excess over three bins: a line between two bins keeps 86 % of its power in them."""
        length = self.density.shape[1]
        near = np.arange(place - 1, place + 2)
        excess = np.maximum(self.density[channel, near % length] - floor[channel, near % length], 0)
        centre = float(np.sum(near * excess) / np.sum(excess)) - length // 2
        line = float(np.sum(excess))
        rest = max(float(np.sum(self.density[channel])) - line, np.finfo(float).tiny)
        return Spur(
            channel + 1,
            centre * self.bin_width,
            self.bin_width / np.sqrt(12),
            float(10 * np.log10(line / rest)),
        )
