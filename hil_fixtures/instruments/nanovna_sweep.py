"""What a NanoVNA-H measures: its frequency raster, its two receivers, its harmonic mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Points of a sweep: least that ``sweep`` sets, most that fit in memory (NanoVNA-D nanovna.h:160-163).
POINTS_LIMITS: Final = (21, 101)

#: Frequencies in Hz that ``sweep`` sets (nanovna.h:174-176).
FREQUENCY_LIMITS: Final = (600, 2_700_000_000)

#: Above this frequency in Hz the generator's harmonics are used (nanovna.h:178).
HARMONIC_THRESHOLD: Final = 300_000_100

#: Measurements per second of the 192 kHz converter in groups of 48 samples (nanovna.h).
MEASUREMENT_RATE: Final = 4000

#: RMS of the complex noise of S at 1 kHz bandwidth, below and above the threshold: 70 dB and 50 dB of
#: dynamic range (NanoVNA-H documentation, "Specifications": fundamental > 70 dB, third harmonic about 50 dB).
_NOISE: Final = (3.2e-4, 3.2e-3)

#: What is left of the band change after correction: 0.2 dB and 1.5 degrees (order of magnitude; not from
#: a data sheet).
_STEP: Final = 10.0 ** (0.2 / 20.0) * np.exp(1j * np.radians(1.5))


def raster(start: int, stop: int, points: int) -> NDArray[np.int64]:
    """Return the frequencies in Hz that the firmware sweeps: whole hertz, rounded as it rounds them."""
    if points == 1:
        return np.array([start], dtype=np.int64)
    steps = points - 1
    delta, error = divmod(stop - start, steps)
    index = np.arange(points, dtype=np.int64)
    return start + delta * index + (steps // 2 + error * index) // steps


def observe(
    scattering: NDArray[np.complex128],
    frequencies: NDArray[np.int64],
    bandwidth: float,
    random: np.random.Generator,
) -> NDArray[np.complex64]:
    """Return reflection and transmission as the two receivers see them.

    Parameters
    ----------
    scattering
        True S11 and S21, shape (2, frequency).
    frequencies
        Hz, shape (frequency,).
    bandwidth
        Hz.
    random
        Source of the noise.
    """
    is_harmonic = frequencies > HARMONIC_THRESHOLD
    deviation = np.where(is_harmonic, _NOISE[1], _NOISE[0]) * np.sqrt(bandwidth / 1e3)
    parts = random.normal(size=(2, *scattering.shape), scale=np.sqrt(0.5))
    seen = scattering * np.where(is_harmonic, _STEP, 1.0) + deviation * (parts[0] + 1j * parts[1])
    return np.asarray(seen, dtype=np.complex64)
