"""Non-uniform Fourier transform between images and k-space, planned once for all channels.

Scale: an image of ones gives k-space samples that are the integral over its volume in m³, and k-space
weighted with its volume elements in 1/m³ gives back ones, whatever the matrix or the number of spokes.
Signs: s(k) = ∫ rho(r) exp(-2 pi i k·r) dr.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recon.nufft_backends import BackendName, available_threads, plan_backend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid

#: Default accuracy; both directions then keep 2e-4 of an exact sum with every back end (measured).
TOLERANCE: Final = 1e-4
#: Positions per block: 0.8 MB, read three times while a core's second-level cache holds them.
_BLOCK: Final = 2**15
#: Fraction by which |k| may exceed the grid's Nyquist frequency (rounding of float32 trajectories).
_NYQUIST_SLACK: Final = 1.001


class NonUniformTransform:
    """Transforms between channel images and one set of k-space positions.

    Planned by the back end, at the latest on first use; every call takes any number of channels. Pickles
    (the plan is made again where it arrives). Not to be called from two threads at once.

    Parameters
    ----------
    grid
        The image grid.
    positions
        k in 1/m as (kx, ky, kz), shape (..., 3); all within the grid's Nyquist frequency. Kept, not copied:
        they must not change.
    tolerance
        Requested relative accuracy.
    backend
        ``"finufft"``, ``"numba"`` (our own kernels, three times as fast, extra ``fast``), ``"ducc0"`` (GPL,
        extra of that name), or ``"direct"``: the exact double-precision sum, for tests of small sizes.
    threads
        Threads to use; 0 for all.

    Raises
    ------
    ValueError
        A position lies beyond the Nyquist frequency of the grid: it would fold.
    MeasurementError
        numba or ducc0 is asked for and not installed.
    """

    def __init__(
        self,
        grid: Grid,
        positions: NDArray[np.floating[Any]],
        *,
        tolerance: float = TOLERANCE,
        backend: BackendName = "finufft",
        threads: int = 0,
    ) -> None:
        self.grid = grid
        self.backend: BackendName = backend
        self.tolerance = tolerance
        self.threads = threads or available_threads()
        self._positions = positions
        self._plan()

    def _plan(self) -> None:
        self._engine = plan_backend(
            self.backend,
            self.grid.shape,
            partial(sample_phases, self.grid, self._positions),
            tolerance=self.tolerance,
            threads=self.threads,
        )

    def resized(self, shape: tuple[int, int, int]) -> NonUniformTransform:
        """Return the transform of the same positions on another number (z, y, x) of the same voxels."""
        return NonUniformTransform(
            self.grid.resized(shape),
            self._positions,
            tolerance=self.tolerance,
            backend=self.backend,
            threads=self.threads,
        )

    @property
    def phases(self) -> NDArray[np.float32]:
        """2 pi k spacing along z, y and x, shape (3, point); made anew, a back end keeps its own."""
        return sample_phases(self.grid, self._positions)

    @property
    def points(self) -> int:
        """Number of k-space positions."""
        return int(self._positions.size // 3)

    def adjoint(
        self, samples: NDArray[np.complex64], weights: NDArray[np.float32] | None = None
    ) -> NDArray[np.complex64]:
        """Return sum over k of w s exp(+2 pi i k·r), complex64, shape (channel, z, y, x).

        Parameters
        ----------
        samples
            Shape (channel, ...) with as many samples per channel as there are positions.
        weights
            Volume elements w in 1/m³, as many as there are positions; None: the samples are weighted
            already. Given here, they cost no copy of all samples.

        Raises
        ------
        ValueError
            Not as many samples, or weights, as there are positions.
        """
        flat = np.asarray(samples).reshape(len(samples), -1)
        if flat.shape[1] != self.points:
            raise ValueError(f"{self.points} samples per channel expected, got {flat.shape[1]}")
        factors = None if weights is None else self._factors(weights)
        images = np.empty((len(flat), *self.grid.shape), dtype=np.complex64)
        ready = flat.dtype == np.complex64 and flat.flags.c_contiguous
        for part in (slice(None),) if ready else self.batches(len(flat)):
            data = np.ascontiguousarray(flat[part], dtype=np.complex64)
            self._engine.adjoint(data, factors, images[part])
        return images

    def forward(self, images: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return the integral over ``images`` exp(-2 pi i k·r), complex64, shape (channel, point).

        Parameters
        ----------
        images
            Shape (channel, z, y, x).

        Raises
        ------
        ValueError
            The images are not on the grid.
        """
        self._check(images)
        samples = np.empty((len(images), self.points), dtype=np.complex64)
        ready = np.ascontiguousarray(images, dtype=np.complex64)
        self._engine.forward(ready, np.float32(self.grid.voxel_volume), samples)
        return samples

    def normal(
        self, images: NDArray[np.complex64], weights: NDArray[np.float32] | None = None
    ) -> NDArray[np.complex64]:
        """Return the adjoint of the weighted forward transform, shape (channel, z, y, x).

        With volume elements as weights this is a projection on the sampled k-space: of scale 1, and 1 for a
        smooth object. For repeated use see ``recon.toeplitz``, which gives the same several times faster.

        Parameters
        ----------
        images
            Shape (channel, z, y, x).
        weights
            Volume elements in 1/m³, as many as there are positions; None: ones.
        """
        self._check(images)
        factors = None if weights is None else self._factors(weights)
        result = np.empty(images.shape, dtype=np.complex64)
        for part in self.batches(len(images)):
            samples = self.forward(images[part])
            self._engine.adjoint(samples, factors, result[part])
        return result

    def _check(self, images: NDArray[np.complex64]) -> None:
        if images.ndim != 4 or images.shape[1:] != self.grid.shape:
            raise ValueError(f"images of shape (channel, {self.grid.shape}) expected, got {images.shape}")

    def _factors(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        if weights.size != self.points:
            raise ValueError(f"{self.points} weights expected, got {weights.size}")
        return np.ascontiguousarray(weights, dtype=np.float32).ravel()

    def batches(self, channels: int) -> list[slice]:
        """Return slices of channels that are copied, weighted or scaled, and transformed together."""
        batch = self._engine.batch
        return [slice(start, min(start + batch, channels)) for start in range(0, channels, batch)]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_engine"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._plan()


def sample_phases(grid: Grid, positions: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return 2 pi k spacing along z, y and x, float32, shape (3, point).

    Parameters
    ----------
    grid
        The image grid.
    positions
        k in 1/m as (kx, ky, kz), shape (..., 3).

    Raises
    ------
    ValueError
        A position lies beyond the grid's Nyquist frequency.
    """
    if positions.shape[-1] != 3:
        raise ValueError(f"k-space positions are (..., 3); got shape {positions.shape}")
    flat = positions.reshape(-1, 3)
    phases = np.empty((3, len(flat)), dtype=np.float32)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        for phase, axis, step in zip(phases[:, start : start + _BLOCK], (2, 1, 0), grid.spacing, strict=True):
            np.multiply(block[:, axis], 2 * np.pi * step, out=phase, casting="same_kind")
            largest = max(float(phase.max()), -float(phase.min()))
            if not largest <= np.pi * _NYQUIST_SLACK:
                raise ValueError(
                    f"k reaches {largest / (2 * np.pi * step):.4g} 1/m along {'xyz'[axis]}, "
                    f"the grid of {step * 1e3:.4g} mm voxels holds {0.5 / step:.4g} 1/m"
                )
    return phases
