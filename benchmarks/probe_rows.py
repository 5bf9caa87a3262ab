"""Rows of the benchmark table about noise by replicas: 50 of them beside 12 transforms, 2 threads.

The scan is that of the reconstructions: 64³, 10 000 spokes x 256 samples. Both run in turn in one process on
one planned transform, so load hits both; the best times count. Processor time hardly knows about load.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from table import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recon.nufft_backends import BackendName

#: Adjoint transforms of all channels that the noise of 50 replicas may take.
LIMIT: Final = 12
_TURNS: Final = 4


def timed(function: Callable[[], object]) -> np.ndarray:
    """Return wall and processor time of a call in s."""
    start = np.array([time.perf_counter(), time.process_time()])
    function()
    return np.array([time.perf_counter(), time.process_time()]) - start


def probes(channels: int, backend: BackendName) -> Row:
    """Noise map of the Roemer combination from 50 replicas beside 12 adjoints of all channels."""
    sys.path.insert(0, str(Path(__file__).parent / "reconstruction"))
    from scan import (
        FIELD_OF_VIEW,
        MATRIX,
        SAMPLES,
        SPOKES,
        density_adapted_radii,
        golden_directions,
        loop_fields,
    )

    from recon.combine import combine_roemer
    from recon.density import spoke_weights
    from recon.grid import Grid
    from recon.nufft import NonUniformTransform
    from recon.probes import probe_noise, white_samples

    grid = Grid.cube(MATRIX, FIELD_OF_VIEW)
    radii = density_adapted_radii(SAMPLES, 0.999 * grid.nyquist)
    weights = np.broadcast_to(spoke_weights(radii) / SPOKES, (SPOKES, SAMPLES)).astype(np.float32)
    sensitivities = loop_fields(grid, channels)
    positions = golden_directions(SPOKES)[:, None] * radii[:, None]
    transform = NonUniformTransform(grid, positions, backend=backend, threads=2)
    samples = white_samples(np.random.default_rng(1), (channels, transform.points))
    found = []

    def ours() -> None:
        found.append(
            probe_noise(transform, weights, channels, lambda noise: combine_roemer(noise, sensitivities))
        )

    transform.adjoint(samples, weights)  # plans
    pairs = [(timed(lambda: transform.adjoint(samples, weights)), timed(ours)) for _ in range(_TURNS)]
    adjoint, mine = np.min(pairs, axis=0)
    exact = np.linalg.norm(weights) / np.sqrt(np.sum(np.abs(sensitivities) ** 2, axis=0))
    error = float(np.sqrt(np.mean((found[-1].deviation / exact) ** 2)) - 1)
    size = (
        f"{channels} channels, {found[-1].replicas} replicas of {found[-1].noise_scans} noise scans: "
        f"{mine[0] / adjoint[0]:.1f} adjoints, {mine[1] / adjoint[1]:.1f} by processor time "
        f"({mine[1]:.1f} and {adjoint[1]:.2f} s); {found[-1].degrees_of_freedom:.0f} degrees of freedom, "
        f"mean off by {error:+.1e}; load {os.getloadavg()[0]:.1f}"
    )
    name = row_name(channels, backend)
    limit = LIMIT * float(adjoint[0])
    ratio = limit / float(mine[0])
    peer = f"{LIMIT} adjoints of all channels, {backend}"
    return Row(name, float(mine[0]), limit, "s", ratio, size, peer, f"python bench.py bench {name}")


def row_name(channels: int, backend: BackendName) -> str:
    """Return e.g. ``pseudo-replica-8-finufft``."""
    return f"pseudo-replica-{channels}-{backend}"


_BACKENDS: Final[tuple[BackendName, ...]] = ("finufft", "numba", "ducc0")
#: Each takes up to two minutes.
ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType(
    {
        row_name(channels, backend): partial(probes, channels, backend)
        for channels in (8, 32)
        for backend in _BACKENDS
    }
)
