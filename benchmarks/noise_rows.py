"""Rows of the benchmark table about noise and SNR."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from table import Row, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def noise_model_row() -> Row:
    """Covariance, spectra, bandwidth and health of 32 channels: ours beside numpy's covariance alone."""
    from recon.noise import find_faults, noise_model

    rng = np.random.default_rng(4)
    noise = np.empty((32, 1_000_000), dtype=np.complex64)
    for channel in noise:
        channel.real = rng.standard_normal(channel.size, dtype=np.float32)
        channel.imag = rng.standard_normal(channel.size, dtype=np.float32)

    def ours() -> object:
        return find_faults(noise_model(noise, 1e-5))

    def peer() -> object:
        return np.cov(noise)

    error = np.abs(noise_model(noise, 1e-5).covariance - np.cov(noise)).max()
    size = f"32 channels x 1e6 samples complex64; covariances differ by {error:.0e} of 2"
    return compare("noise-model", size, ours, peer, "numpy.cov (covariance only)", repeats=3)


ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType({"noise-model": noise_model_row})
