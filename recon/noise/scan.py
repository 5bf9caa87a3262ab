"""Noise windows as they arrive, summed up on all processors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.noise.model import NoiseModel
from recon.noise.spectrum import NoiseSpectrum
from recon.noise.sums import SEGMENT, TINY, BlockSums
from recon.nufft_backends import available_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Samples per channel whose spectrum and kurtosis are all looked at, and the part of later ones: a bandwidth
#: ratio is then good to 0.2 %, a kurtosis to 0.01, and covariances, which need them, still get every sample.
EXAMINED: Final = 1 << 17
_LATER_PART: Final = 1 / 8
#: Samples that one thread adds up at a time, 20 ms of work for 32 channels. Windows are cut the same way
#: whatever the number of threads, and sums added in order of time: so every machine finds the same.
_STRETCH: Final = 16 * SEGMENT


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
        self._sums: BlockSums | None = None

    @property
    def samples(self) -> int:
        """Complex samples per channel so far."""
        return 0 if self._sums is None else self._sums.count

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
            self._sums = BlockSums.scaled_to(data[:, :SEGMENT])
        elif data.shape[0] != self._sums.scale.size:
            raise ValueError(f"noise window of {data.shape[0]} channels after {self._sums.scale.size}")
        sums, before = self._sums, self._sums.count
        examine = _examined_blocks(sums, data.shape[1])
        if data.shape[1] <= _STRETCH:
            sums.add(data, before, examine)
            return

        def stretch(start: int) -> BlockSums:
            part = BlockSums(sums.scale)
            blocks = slice(start // SEGMENT, (start + _STRETCH) // SEGMENT)
            part.add(data[:, start : start + _STRETCH], before + start, examine[blocks])
            return part

        with ThreadPoolExecutor(available_threads()) as pool:
            for part in pool.map(stretch, range(0, data.shape[1], _STRETCH)):
                sums.merge(part)

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
        spectrum = self._spectrum(sums)
        real, imaginary, mixed = sums.quadratures()
        products = sums.products / sums.count
        power = np.real(np.diagonal(products))
        alive = power > 0
        mean = np.abs(sums.total / sums.count)
        noise = np.sqrt(np.maximum(power - mean**2, TINY) / 2)
        fourth = sums.fourth / (2 * sums.examined)
        return NoiseModel(
            covariance=products * np.outer(sums.scale, sums.scale),
            samples=sums.count,
            effective_samples=sums.count / spectrum.squared_autocorrelation(),
            bandwidth_ratio=spectrum.bandwidth_ratio(self.passband),
            offset=mean / noise,
            kurtosis=np.where(alive, fourth / np.maximum(power / 2, TINY) ** 2, 0.0),
            quadrature_ratio=np.where(alive, real / imaginary, 1.0),
            quadrature_correlation=np.where(alive, mixed / np.sqrt(real * imaginary), 0.0),
            drift=sums.drift(),
            extremes=sums.at_peak,
            passband=self.passband,
            spectrum=spectrum,
            dwell_time=self.dwell_time,
        )

    def _spectrum(self, sums: BlockSums) -> NoiseSpectrum:
        """Return the mean of the periodograms of the length that most samples came in."""
        spectra = sums.spectra
        length = max(spectra, key=lambda each: (each * spectra[each][1], each))
        total, segments = spectra[length]
        scale = self.dwell_time / (segments * length) * np.square(sums.scale)
        return NoiseSpectrum(np.fft.fftshift(total, axes=1) * scale[:, None], self.dwell_time, segments)


def _examined_blocks(sums: BlockSums, count: int) -> list[bool]:
    """Return which of the next ``count`` samples' blocks are examined."""
    examined, blocks = sums.examined, list[bool]()
    for end in (*range(SEGMENT, count, SEGMENT), count):
        wanted = examined <= max(EXAMINED, _LATER_PART * (sums.count + end))
        examined += wanted * (end - SEGMENT * len(blocks))
        blocks.append(wanted)
    return blocks


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
