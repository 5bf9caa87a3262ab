"""Rows of the benchmark table about noise and SNR."""

from __future__ import annotations

import os
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from table import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Pairs of runs, of which the best count.
_PAIRS: Final = 7


def noise_model_row() -> Row:
    """Covariance, spectra, bandwidth and health of 32 channels: ours beside numpy's covariance alone.

    Both run in turn, so load hits both, and the best times count, those of the processor too.
    """
    from recon.noise import find_faults, noise_model

    rng = np.random.default_rng(4)
    noise = np.empty((32, 1_000_000), dtype=np.complex64)
    for channel in noise:
        channel.real = rng.standard_normal(channel.size, dtype=np.float32)
        channel.imag = rng.standard_normal(channel.size, dtype=np.float32)

    model, covariance = noise_model(noise, 1e-5), np.cov(noise)
    error = np.abs(model.covariance - covariance).max()
    times = (
        np.array(
            [
                (*_timed(lambda: find_faults(noise_model(noise, 1e-5))), *_timed(lambda: np.cov(noise)))
                for _ in range(_PAIRS)
            ]
        )
        .min(axis=0)
        .tolist()
    )
    size = (
        f"32 channels x 1e6 samples complex64; covariances differ by {error:.0e} of 2; "
        f"processor {times[1]:.2f}, {times[3]:.2f} s; load {os.getloadavg()[0]:.1f}"
    )
    ratio = times[2] / times[0]
    command = "python bench.py bench noise-model"
    return Row("noise-model", times[0], times[2], "s", ratio, size, "numpy.cov (covariance only)", command)


def _timed(function: Callable[[], object]) -> tuple[float, float]:
    """Return wall and processor time in s."""
    start, used = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - used


ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType({"noise-model": noise_model_row})
