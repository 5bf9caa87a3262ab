"""The host's half of the receive filter: flatten the receiver's CIC droop, decimate, correct the phase.

A receiver with a hardware CIC of N stages delivers samples through |sinc|^N, 11 dB down at 0.35 of its
output rate. A short symmetric FIR at that rate flattens the pass band; its group delay is whole samples
and is removed exactly. Together they are one linear filter whose response and noise bandwidth follow
from the design and need no measurement. Outside the pass band the response falls but is not specified.

Not here: mixing from the converter's rate, which the receiver has done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Fraction of the output rate on either side of the centre within which the chain is flat.
PASS_BAND: Final = 0.35
#: Half width of the FIR in output samples: 0.2 % ripple within PASS_BAND behind six CIC stages.
HALF_WIDTH: Final = 6
#: Half width in output samples when the FIR also decimates and must keep aliases out.
DECIMATING_HALF_WIDTH: Final = 8
#: Least-squares amplitude weights of the alias bands and of the free bands between, pass band 1.
_STOP_WEIGHT: Final = 0.3
_FREE_WEIGHT: Final = 1e-3
#: Frequencies on which the least squares are solved; many times the number of taps.
_GRID: Final = 4001
#: Samples filtered at a time, so that the temporaries stay in the processor's cache.
_CACHE_SAMPLES: Final = 32768


def cic_response(stages: int, decimation: int, frequencies: ArrayLike, /) -> NDArray[np.float64]:
    """Return the zero-phase gain of a CIC, 1 at the centre.

    Parameters
    ----------
    stages
        Number of integrator-comb pairs.
    decimation
        Input clocks per output sample.
    frequencies
        In units of the output rate, any shape.

    Notes
    -----
    Hogenauer, IEEE Trans ASSP 29:155 (1981), eq. 3.
    """
    frequency = np.asarray(frequencies, dtype=np.float64)
    ratio = np.sinc(frequency) / np.sinc(frequency / decimation)
    return np.asarray(ratio**stages, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class ReceiveFilter:
    """A receiver's CIC and the host's FIR behind it, as one filter.

    Parameters
    ----------
    stages, decimation
        The CIC: number of stages, input clocks per sample.
    interval
        Sample interval at the CIC's output in s.
    factor
        The host keeps one in ``factor`` samples.
    taps
        Shape (2 · half width + 1,), symmetric, sum 1.
    """

    stages: int
    decimation: int
    interval: float
    factor: int
    taps: NDArray[np.float64]

    @property
    def half_width(self) -> int:
        """Receiver samples on either side of its centre that one output sample depends on."""
        return self.taps.size // 2

    @property
    def output_interval(self) -> float:
        """Sample interval of the output in s."""
        return self.interval * self.factor

    @property
    def noise_bandwidth(self) -> float:
        """Two-sided equivalent noise bandwidth of the whole chain in Hz: ∫|H|² df / |H(0)|².

        White noise of density kT in W/Hz leaves the chain with the power kT times this.
        """
        covariance = _cic_noise_covariance(self.stages, self.decimation)
        lags = np.arange(self.stages)
        power = np.correlate(self.taps, self.taps, "full")[self.taps.size - 1 :]
        power = np.pad(power, (0, max(0, self.stages - power.size)))[lags]
        total = covariance[0] * power[0] + 2.0 * np.dot(covariance[1:], power[1:])
        return float(total * self.decimation / self.interval / self.taps.sum() ** 2)

    @property
    def relative_noise_bandwidth(self) -> float:
        """Noise bandwidth divided by the output rate, as an MRD header states it."""
        return self.noise_bandwidth * self.output_interval

    def response(self, frequencies: ArrayLike, /) -> NDArray[np.float64]:
        """Return the zero-phase gain of the whole chain at ``frequencies`` in Hz, any shape."""
        turns = np.asarray(frequencies, dtype=np.float64) * self.interval
        offsets = np.arange(-self.half_width, self.half_width + 1)
        fir = np.cos(2.0 * np.pi * turns[..., None] * offsets) @ self.taps
        return np.asarray(cic_response(self.stages, self.decimation, turns) * fir, dtype=np.float64)

    def centres(self, samples: int, settling: int = 0, /) -> NDArray[np.int64]:
        """Return the receiver sample at the centre of each output sample that saw settled samples only.

        Parameters
        ----------
        samples
            Receiver samples in a window.
        settling
            Samples at its start that the CIC had not yet filled.
        """
        return np.arange(settling + self.half_width, samples - self.half_width, self.factor, dtype=np.int64)

    def apply(self, data: NDArray[np.complex64], settling: int = 0, /) -> NDArray[np.complex64]:
        """Filter and decimate along the last axis; nothing contaminated comes out.

        Parameters
        ----------
        data
            Shape (..., sample), such as (window, channel, sample).
        settling
            Samples at the start that the CIC had not yet filled.

        Returns
        -------
        Shape (..., output sample): sample j belongs to receiver sample ``centres(...)[j]``, no delay.

        Raises
        ------
        ValueError
            The windows are too short to hold one output sample.
        """
        centres = self.centres(data.shape[-1], settling)
        if centres.size == 0:
            raise ValueError(
                f"a window of {data.shape[-1]} samples is too short for {settling} settling samples and a "
                f"filter of {self.taps.size} taps"
            )
        rows = np.ascontiguousarray(data, dtype=np.complex64).reshape(-1, data.shape[-1])
        result = np.empty((rows.shape[0], centres.size), dtype=np.complex64)
        step = max(1, _CACHE_SAMPLES // data.shape[-1])
        for start in range(0, rows.shape[0], step):
            self._convolve(rows[start : start + step], int(centres[0]), result[start : start + step])
        return result.reshape(*data.shape[:-1], centres.size)

    def _convolve(self, rows: NDArray[np.complex64], first: int, result: NDArray[np.complex64]) -> None:
        """Write the filtered ``rows`` into ``result``; output 0 is centred on sample ``first``."""
        # Real and imaginary parts pass the same real taps: float32 pairs are twice as fast as complex64.
        width = 2 if self.factor == 1 else 1
        source = rows.view(np.float32) if self.factor == 1 else rows
        target = result.view(np.float32) if self.factor == 1 else result
        span = (result.shape[1] - 1) * self.factor + 1

        def shifted(offset: int) -> NDArray[np.float32] | NDArray[np.complex64]:
            begin = first + offset
            return source[:, begin * width : (begin + span) * width : self.factor]

        np.multiply(shifted(0), np.float32(self.taps[self.half_width]), out=target)
        pair = np.empty_like(target)
        for offset in range(1, self.half_width + 1):
            np.add(shifted(-offset), shifted(offset), out=pair)
            pair *= np.float32(self.taps[self.half_width + offset])
            target += pair


def design_filter(
    *,
    stages: int,
    decimation: int,
    interval: float,
    factor: int = 1,
    pass_band: float = PASS_BAND,
) -> ReceiveFilter:
    """Return the FIR that flattens a CIC within the pass band, by weighted least squares.

    Parameters
    ----------
    stages, decimation
        The receiver's CIC.
    interval
        Its output sample interval in s.
    factor
        Integer by which the host decimates further.
    pass_band
        Fraction of the final sample rate on either side of the centre, below 0.5.

    Raises
    ------
    ValueError
        A count is below one, or the pass band is not between 0 and 0.5.
    """
    if min(stages, decimation, factor) < 1 or not 0.0 < pass_band < 0.5 or not interval > 0.0:
        raise ValueError(
            f"cannot design for {stages} stages, decimation {decimation}, factor {factor}, "
            f"interval {interval} s, pass band {pass_band}"
        )
    half_width = HALF_WIDTH if factor == 1 else DECIMATING_HALF_WIDTH * factor
    frequency = np.linspace(0.0, 0.5, _GRID)
    passes = frequency <= pass_band / factor
    alias = np.abs(frequency * factor - np.round(frequency * factor)) <= pass_band
    weight = np.where(passes, 1.0, np.where(alias, _STOP_WEIGHT, _FREE_WEIGHT))
    offsets = np.arange(half_width + 1)
    cosines = np.where(offsets == 0, 1.0, 2.0) * np.cos(2.0 * np.pi * np.outer(frequency, offsets))
    gains = cosines * cic_response(stages, decimation, frequency)[:, None]
    half, *_ = np.linalg.lstsq(gains * weight[:, None], passes * weight, rcond=None)
    taps = np.concatenate((half[:0:-1], half))
    return ReceiveFilter(stages, decimation, interval, factor, taps / taps.sum())


def residual_phase(offset: float, times: ArrayLike, /) -> NDArray[np.complex64]:
    """Return the factors that turn samples back by a frequency offset.

    Parameters
    ----------
    offset
        The spins' frequency minus the receiver's true local oscillator, in Hz.
    times
        Seconds from the moment at which both had the same phase (the trigger), any shape.
    """
    turns = offset * np.asarray(times, dtype=np.float64)
    return np.asarray(np.exp(-2j * np.pi * turns), dtype=np.complex64)


def _cic_noise_covariance(stages: int, decimation: int) -> NDArray[np.float64]:
    """Return the covariance of a CIC's output at lags 0..stages-1 for white input of unit variance."""
    response = np.ones(1)
    for _ in range(stages):
        padded = np.cumsum(np.pad(response, (0, decimation - 1)))
        response = padded - np.pad(padded, (decimation, 0))[: padded.size]
        response /= decimation
    shifts = np.arange(stages) * decimation
    return np.array([np.dot(response[: response.size - shift], response[shift:]) for shift in shifts])
