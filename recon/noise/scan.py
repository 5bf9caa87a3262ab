"""Sums over noise windows as they arrive: float32 products block by block, added up in double precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.fft

from coilbench.base.errors import MeasurementError
from recon.noise.model import NoiseModel
from recon.noise.spectrum import NoiseSpectrum

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Longest stretch in samples of one periodogram: 1/4096 of the sampling rate resolves any receive filter.
SEGMENT: Final = 4096
#: Samples per channel whose spectrum and kurtosis are all looked at, and the part of later ones: a bandwidth
#: ratio is then good to 0.2 %, a kurtosis to 0.01, and covariances, which need them, still get every sample.
EXAMINED: Final = 1 << 17
_LATER_PART: Final = 1 / 8
#: Values this close (relative) to a channel's largest magnitude sit at the same limit; float32 rounding.
_SAME: Final = 1e-6
#: Its square and fourth power are still a float64; stands in for the power of a dead channel.
_TINY: Final = 1e-60


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
        self._examined = 0
        self._fourth: NDArray[np.float64] | float = 0.0
        self._sums: _Sums | None = None
        self._spectra: dict[int, tuple[NDArray[np.float64], int]] = {}

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
        data = np.asarray(window)
        if data.ndim != 2 or data.shape[1] == 0:
            raise ValueError(f"a noise window is (channel, sample) and not empty; got shape {data.shape}")
        if self._sums is None:
            self._sums = _Sums.scaled_to(data[:, :SEGMENT])
        elif data.shape[0] != self._sums.scale.size:
            raise ValueError(f"noise window of {data.shape[0]} channels after {self._sums.scale.size}")
        for start in range(0, data.shape[1], SEGMENT):
            block = self._sums.add(data[:, start : start + SEGMENT], self._count)
            self._count += block.shape[1]
            if self._examined <= max(EXAMINED, _LATER_PART * self._count):
                self._examined += block.shape[1]
                self._fourth += np.sum(_fourth_powers(block).reshape(2, -1), axis=0)
                self._add_spectrum(block)

    def model(self) -> NoiseModel:
        """Return what the windows so far say.

        Raises
        ------
        MeasurementError
            No window has been added.
        """
        sums = self._sums
        if sums is None:
            raise MeasurementError("no noise has been received: a noise scan must come before the spokes")
        count = self._count
        spectrum = self._spectrum(sums.scale)
        real, imaginary, mixed = sums.quadratures(count)
        products = sums.products / count
        power = np.real(np.diagonal(products))
        alive = power > 0
        mean = np.abs(sums.total / count)
        noise = np.sqrt(np.maximum(power - mean**2, _TINY) / 2)
        return NoiseModel(
            covariance=products * np.outer(sums.scale, sums.scale),
            samples=count,
            effective_samples=count / spectrum.squared_autocorrelation(),
            bandwidth_ratio=spectrum.bandwidth_ratio(self.passband),
            offset=mean / noise,
            kurtosis=np.where(
                alive, self._fourth / (2 * self._examined) / np.maximum(power / 2, _TINY) ** 2, 0.0
            ),
            quadrature_ratio=np.where(alive, real / imaginary, 1.0),
            quadrature_correlation=np.where(alive, mixed / np.sqrt(real * imaginary), 0.0),
            drift=sums.drift(count),
            extremes=sums.at_peak,
            passband=self.passband,
            spectrum=spectrum,
            dwell_time=self.dwell_time,
        )

    def _add_spectrum(self, block: NDArray[np.float32]) -> None:
        channels = block.shape[0] // 2
        samples = np.empty((channels, block.shape[1]), dtype=np.complex64)
        samples.real, samples.imag = block[:channels], block[channels:]
        transform = np.asarray(scipy.fft.fft(samples, axis=1, overwrite_x=True), dtype=np.complex64)
        power = (np.square(transform.real) + np.square(transform.imag)) / np.float32(block.shape[1])
        total, segments = self._spectra.get(block.shape[1], (np.zeros(power.shape), 0))
        total += power
        self._spectra[block.shape[1]] = total, segments + 1

    def _spectrum(self, scale: NDArray[np.float64]) -> NoiseSpectrum:
        """Return the mean of the periodograms of the length that most samples came in."""
        length = max(self._spectra, key=lambda each: (each * self._spectra[each][1], each))
        total, segments = self._spectra[length]
        density = np.fft.fftshift(total, axes=1) / segments * np.square(scale)[:, None] * self.dwell_time
        return NoiseSpectrum(density, self.dwell_time, segments)


@dataclass(slots=True, eq=False)
class _Sums:
    """Running sums of samples in units of ``scale``, a power of two near each channel's amplitude.

    Dividing by it is exact and keeps float32 squares and fourth powers far from under- and overflow. Real
    and imaginary parts are kept as rows of their own: one symmetric real product gives the covariance and
    the balance of the quadratures, in half the work of a complex one.
    """

    scale: NDArray[np.float64]
    pairs: NDArray[np.float64] = field(init=False)
    total: NDArray[np.complex128] = field(init=False)
    moment: NDArray[np.float64] = field(init=False)
    peak: NDArray[np.float64] = field(init=False)
    at_peak: NDArray[np.int64] = field(init=False)
    time_squares: float = 0.0
    _rows: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        channels = self.scale.size
        self.pairs = np.zeros((2 * channels, 2 * channels))
        self.total = np.zeros(channels, dtype=np.complex128)
        self.moment, self.peak = np.zeros(channels), np.zeros(channels)
        self.at_peak = np.zeros(channels, dtype=np.int64)
        self._rows = np.empty((2 * channels, SEGMENT), dtype=np.float32)

    @classmethod
    def scaled_to(cls, window: NDArray[np.complexfloating[Any, Any]]) -> _Sums:
        """Return empty sums for channels of a window's amplitudes."""
        amplitude = np.sqrt(np.mean(np.abs(window.astype(np.complex128)) ** 2, axis=1))
        exponent = np.round(np.log2(np.where(amplitude > 0, amplitude, 1.0)))
        return cls(np.exp2(exponent))

    @property
    def products(self) -> NDArray[np.complex128]:
        """Sum of n nᴴ, shape (channel, channel)."""
        count = self.scale.size
        real, imaginary, mixed = self._blocks(count)
        return real + imaginary + 1j * (mixed.T - mixed)

    def quadratures(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean square of real and imaginary parts, and their mean product, shape (channel,)."""
        real, imaginary, mixed = (np.diagonal(block) / count for block in self._blocks(self.scale.size))
        return np.maximum(real, _TINY), np.maximum(imaginary, _TINY), mixed

    def add(self, samples: NDArray[np.complexfloating[Any, Any]], start: int) -> NDArray[np.float32]:
        """Add a block, shape (channel, sample), of which ``start`` samples came before.

        Returns
        -------
        Its scaled real and imaginary parts, shape (2 channel, sample); overwritten by the next block.
        """
        channels, count = samples.shape
        inverse = (1 / self.scale).astype(np.float32)[:, None]
        block = self._rows[:, :count]
        np.multiply(samples.real, inverse, out=block[:channels], casting="same_kind")
        np.multiply(samples.imag, inverse, out=block[channels:], casting="same_kind")
        pairs = (block @ block.T).astype(np.float64)
        self.pairs += pairs
        sums = block @ np.ones(count, dtype=np.float32)
        self.total += sums[:channels] + 1j * sums[channels:]
        middle = start + 0.5 * count
        self.moment += np.diagonal(pairs).reshape(2, channels).sum(axis=0) * middle
        self.time_squares += count * middle**2
        self._count_extremes(block)
        return block

    def _blocks(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return sums of real by real, imaginary by imaginary and real by imaginary parts."""
        pairs = self.pairs
        return pairs[:count, :count], pairs[count:, count:], pairs[:count, count:]

    def _count_extremes(self, block: NDArray[np.float32]) -> None:
        """Count how often each channel shows its largest magnitude."""
        both = np.maximum(block.max(axis=1), -block.min(axis=1)).reshape(2, -1)
        largest = both.max(axis=0).astype(np.float64)
        self.at_peak[largest > self.peak * (1 + _SAME)] = 0
        self.peak = np.maximum(self.peak, largest)
        for channel in np.flatnonzero((largest >= self.peak * (1 - _SAME)) & (self.peak > 0)):
            limit = self.peak[channel] * (1 - _SAME)
            self.at_peak[channel] += int(np.count_nonzero(np.abs(block[channel :: self.scale.size]) >= limit))

    def drift(self, count: int) -> NDArray[np.float64]:
        """Return the change of power over the scan by a straight line through the blocks, over the mean."""
        mean = np.real(np.diagonal(self.products)) / count
        variance = self.time_squares / count - (count / 2) ** 2
        if not variance > 0:
            return np.zeros(mean.size)
        slope = (self.moment / count - mean * count / 2) / variance
        return np.asarray(np.divide(slope * count, mean, out=np.zeros_like(mean), where=mean > 0))


def _fourth_powers(block: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sum of fourth powers of each row."""
    squares = np.square(block)
    return np.asarray(np.einsum("ct,ct->c", squares, squares), dtype=np.float64)


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
