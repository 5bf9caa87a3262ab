"""What a ZNBT's receivers make of true S-parameters: noise, averaging, and nothing without RF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hil_fixtures.instruments.znbt_channel import Stimulus

#: Receiver noise in dBm in 10 Hz IF bandwidth: assumed, 120 dB below 10 dBm; analyzers of this class reach
#: 110 to 140 dB, so it may be off by 10 dB either way.
NOISE_FLOOR_DBM: Final = -110.0

#: High-level trace noise as a fraction of the value (RMS, complex) at 10 kHz bandwidth: assumed, 0.002 dB;
#: to within a factor of two.
TRACE_NOISE: Final = 2.3e-4


def noise_deviation(stimulus: Stimulus) -> NDArray[np.float64]:
    """Return the RMS of the complex additive noise of S, shape (frequency,)."""
    floor_dbm = NOISE_FLOOR_DBM + 10.0 * np.log10(stimulus.bandwidths / 10.0)
    return np.asarray(10.0 ** ((floor_dbm - stimulus.powers) / 20.0), dtype=np.float64)


def average_weights(done: int, sweeps: int, factor: int) -> tuple[float, float]:
    """Return the weight left to the average before, and the noise left in it by the new sweeps.

    Parameters
    ----------
    done
        Sweeps already in the average.
    sweeps
        New sweeps.
    factor
        Average factor c; 1 without averaging.

    Returns
    -------
    Weight of the old average, and root of the sum of squared weights of the new sweeps.

    Notes
    -----
    ZNB/ZNBT user manual, "Average": Avg(n) = (1 - 1/m) Avg(n - 1) + 1/m Curr(n), m = min(n, c).
    """
    old, squares = 1.0, 0.0
    for number in range(done + 1, done + sweeps + 1):
        share = 1.0 / min(number, factor)
        old *= 1.0 - share
        squares = squares * (1.0 - share) ** 2 + share**2
    return old, float(np.sqrt(squares))


def observe(
    scattering: NDArray[np.complex128],
    stimulus: Stimulus,
    noise_scale: float,
    random: np.random.Generator,
) -> NDArray[np.complex128]:
    """Return S with the receivers' noise.

    Parameters
    ----------
    scattering
        True S-parameters, shape (frequency, port, port).
    stimulus
        Of the sweep.
    noise_scale
        Factor on the noise: below 1 for an average.
    random
        Source of the noise.
    """
    shape = scattering.shape
    additive = complex_normal(random, shape) * noise_deviation(stimulus)[:, None, None]
    share = TRACE_NOISE * np.sqrt(stimulus.bandwidths / 1e4)[:, None, None]
    return scattering + noise_scale * (additive + scattering * share * complex_normal(random, shape))


def observe_without_rf(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.complex128]:
    """Return what the ratio of two receivers shows when only their noise is there."""
    return complex_normal(random, shape) / complex_normal(random, shape)


def complex_normal(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """Return circular complex normal numbers of unit variance."""
    parts = random.normal(size=(2, *shape), scale=np.sqrt(0.5))
    return np.asarray(parts[0] + 1j * parts[1], dtype=np.complex128)
