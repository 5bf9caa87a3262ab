"""Sums over blocks of noise samples: float32 products block by block, added up in double precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.fft

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Longest stretch in samples of one periodogram: 1/4096 of the sampling rate resolves any receive filter.
SEGMENT: Final = 4096
#: Samples of one product: 32 rows of them stay in the nearest cache, and BLAS starts no threads for so few.
_TILE: Final = 512
#: Samples between rows, one cache line: rows a power of two apart would push each other out of the cache.
_GAP: Final = 16
#: Amplitudes of which fourth powers, also of a thousand times more, are float32 numbers: 6e-8 to 4096.
_ORDINARY: Final = (2.0**-24, 2.0**12)
#: Values this close (relative) to a channel's largest magnitude sit at the same limit; float32 rounding.
_SAME: Final = 1e-6
#: Its square and fourth power are still a float64; stands in for the power of a dead channel.
TINY: Final = 1e-60


@dataclass(slots=True, eq=False)
class BlockSums:
    """Sums of samples in units of ``scale``, from which every number of a noise model follows.

    ``scale`` is 1 for channels of ordinary amplitude, else a power of two near it: dividing by it is exact
    and keeps float32 squares and fourth powers far from under- and overflow.

    Parameters
    ----------
    scale
        Shape (channel,).
    count, examined
        Samples per channel: in all, and those of fourth powers and spectra.
    real, imaginary, mixed
        Products of real with real, imaginary with imaginary and real with imaginary parts, shape
        (channel, channel).
    total
        Sum of the samples, shape (channel,).
    moment, time_squares
        Sums over blocks of power times the number of the block's middle sample, shape (channel,), and of
        that number squared per sample.
    peak, at_peak
        Largest magnitude of a real or imaginary part, and how many values sit there, shape (channel,).
    fourth
        Fourth powers of the real and imaginary parts of examined samples, shape (channel,).
    spectra
        By samples of a Fourier transform: sum of its squares, shape (channel, frequency), and how many.
    """

    scale: NDArray[np.float64]
    count: int = 0
    examined: int = 0
    real: NDArray[np.float64] = field(init=False)
    imaginary: NDArray[np.float64] = field(init=False)
    mixed: NDArray[np.float64] = field(init=False)
    total: NDArray[np.complex128] = field(init=False)
    moment: NDArray[np.float64] = field(init=False)
    time_squares: float = 0.0
    peak: NDArray[np.float64] = field(init=False)
    at_peak: NDArray[np.int64] = field(init=False)
    fourth: NDArray[np.float64] = field(init=False)
    spectra: dict[int, tuple[NDArray[np.float64], int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        channels = self.scale.size
        self.real, self.imaginary, self.mixed = np.zeros((3, channels, channels))
        self.moment, self.peak, self.fourth = np.zeros((3, channels))
        self.total = np.zeros(channels, dtype=np.complex128)
        self.at_peak = np.zeros(channels, dtype=np.int64)

    @classmethod
    def scaled_to(cls, window: NDArray[np.complexfloating[Any, Any]]) -> BlockSums:
        """Return empty sums for channels of a window's amplitudes."""
        amplitude = np.sqrt(np.mean(np.abs(window.astype(np.complex128)) ** 2, axis=1))
        ordinary = (amplitude == 0) | ((amplitude >= _ORDINARY[0]) & (amplitude <= _ORDINARY[1]))
        return cls(np.exp2(np.round(np.log2(np.where(ordinary, 1.0, amplitude)))))

    @property
    def products(self) -> NDArray[np.complex128]:
        """Sum of n nᴴ, shape (channel, channel)."""
        return self.real + self.imaginary + 1j * (self.mixed.T - self.mixed)

    def quadratures(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean square of real and imaginary parts, and their mean product, shape (channel,)."""
        sums = (self.real, self.imaginary, self.mixed)
        real, imaginary, mixed = (np.diagonal(products) / self.count for products in sums)
        return np.maximum(real, TINY), np.maximum(imaginary, TINY), mixed

    def drift(self) -> NDArray[np.float64]:
        """Return the change of power over the scan by a straight line through the blocks, over the mean."""
        mean = np.real(np.diagonal(self.products)) / self.count
        variance = self.time_squares / self.count - (self.count / 2) ** 2
        if not variance > 0:
            return np.zeros(mean.size)
        slope = (self.moment / self.count - mean * self.count / 2) / variance
        return np.asarray(np.divide(slope * self.count, mean, out=np.zeros_like(mean), where=mean > 0))

    def add(self, samples: NDArray[np.complexfloating[Any, Any]], start: int, examine: list[bool]) -> None:
        """Add samples in blocks of ``SEGMENT``.

        Parameters
        ----------
        samples
            Shape (channel, sample).
        start
            Samples of the scan that come before.
        examine
            For each block, whether its fourth powers and its spectrum are wanted.
        """
        channels, count = samples.shape
        longest = min(count, SEGMENT)
        tile = min(longest, _TILE)
        length = -(-longest // tile) * tile
        # a row of ones between real and imaginary parts: products with it are sums
        rows = np.ones((2 * channels + 1, length + _GAP), dtype=np.float32)[:, :length]
        extremes: list[NDArray[np.float32]] = []
        is_scaled = bool(np.any(self.scale != 1))
        for number, wanted in enumerate(examine):
            block = samples[:, number * SEGMENT : (number + 1) * SEGMENT]
            if is_scaled:
                block = block / self.scale.astype(np.float32)[:, None]
            rows[:channels, : block.shape[1]], rows[:channels, block.shape[1] :] = block.real, 0
            rows[channels + 1 :, : block.shape[1]], rows[channels + 1 :, block.shape[1] :] = block.imag, 0
            self._add_block(rows, start + number * SEGMENT, block.shape[1])
            extremes.append(np.maximum(rows.max(axis=1), -rows.min(axis=1)))
            if wanted:
                self._examine(block, rows)
        self._count_peaks(samples, np.array(extremes, dtype=np.float64))

    def merge(self, later: BlockSums) -> None:
        """Add the sums of other samples of the same channels, in the same units."""
        for name in ("count", "examined", "real", "imaginary", "mixed", "total", "moment", "time_squares"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.fourth += later.fourth
        self._merge_peaks(later.peak, later.at_peak)
        for length, (total, segments) in later.spectra.items():
            mine, number = self.spectra.get(length, (0.0, 0))
            self.spectra[length] = total + mine, number + segments

    def _add_block(self, rows: NDArray[np.float32], start: int, count: int) -> None:
        """Add a block of ``count`` samples: real parts, ones, imaginary parts; zeros behind them.

        The three products are of different matrices on purpose: of a matrix with itself numpy calls syrk,
        which takes longer at this size (OpenBLAS 0.3.31, 32 channels: 33 against 18 ms a million samples).
        """
        channels = self.scale.size
        tiles = rows.reshape(len(rows), -1, min(rows.shape[1], _TILE)).transpose(1, 0, 2)
        real, imaginary = tiles[:, :channels], tiles[:, channels + 1 :]
        by_real = _products(real, tiles[:, : channels + 1])
        by_imaginary = _products(imaginary, tiles[:, channels:])
        self.real += by_real[:, :-1]
        self.imaginary += by_imaginary[:, 1:]
        self.mixed += _products(real, imaginary)
        self.total += by_real[:, -1] + 1j * by_imaginary[:, 0]
        middle = start + 0.5 * count
        self.moment += (np.diagonal(by_real) + np.diagonal(by_imaginary, 1)) * middle
        self.time_squares += count * middle**2
        self.count += count

    def _count_peaks(
        self, samples: NDArray[np.complexfloating[Any, Any]], extremes: NDArray[np.float64]
    ) -> None:
        """Count how often each channel shows its largest magnitude, in the blocks that reach it.

        ``extremes`` are those of the blocks' rows, shape (block, 2 channel + 1).
        """
        channels = self.scale.size
        largest = np.maximum(extremes[:, :channels], extremes[:, channels + 1 :])
        peak = np.maximum(self.peak, largest.max(axis=0))
        limit = peak * (1 - _SAME)
        at_peak = np.zeros(channels, dtype=np.int64)
        for number, channel in np.argwhere((largest >= limit) & (peak > 0)):
            values = samples[channel, number * SEGMENT : (number + 1) * SEGMENT]
            parts = np.abs([values.real, values.imag])
            at_peak[channel] += np.count_nonzero(parts >= limit[channel] * self.scale[channel])
        self._merge_peaks(peak, at_peak)

    def _merge_peaks(self, peak: NDArray[np.float64], at_peak: NDArray[np.int64]) -> None:
        """Take the peaks of other samples into account."""
        limit = np.maximum(self.peak, peak) * (1 - _SAME)
        self.at_peak = np.where(self.peak >= limit, self.at_peak, 0) + np.where(peak >= limit, at_peak, 0)
        self.peak = np.maximum(self.peak, peak)

    def _examine(self, block: NDArray[np.complexfloating[Any, Any]], rows: NDArray[np.float32]) -> None:
        """Add fourth powers and a periodogram; leaves squares in ``rows``."""
        channels, count = block.shape
        squares = np.square(rows, out=rows)
        powers = np.einsum("rs,rs->r", squares, squares).astype(np.float64)
        self.fourth += powers[:channels] + powers[channels + 1 :]
        transform = np.asarray(scipy.fft.fft(np.asarray(block, dtype=np.complex64), axis=1)).view(np.float32)
        np.square(transform, out=transform)
        total, segments = self.spectra.get(count, (np.zeros(block.shape), 0))
        total += transform[:, ::2] + transform[:, 1::2]
        self.spectra[count] = total, segments + 1
        self.examined += count


def _products(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sum over tiles and samples of every pair of rows."""
    return np.asarray(np.matmul(first, second.transpose(0, 2, 1)).sum(axis=0, dtype=np.float64))
