"""Non-uniform Fourier transform between images and k-space, planned once for all channels.

Scale: an image of ones gives k-space samples that are the integral over its volume in m³, and k-space
weighted with its volume elements in 1/m³ gives back ones, whatever the matrix or the number of spokes.
Signs: s(k) = ∫ rho(r) exp(-2 pi i k·r) dr.

finufft is always run with ``upsampfac=2.0``: its automatic choice (1.25) in single precision gives 2e-3
instead of the requested 1e-4 on centre-heavy radial data (finufft pull request 651).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import finufft
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid

#: Default accuracy; measured 3e-5 against an exact direct sum.
TOLERANCE: Final = 1e-4
_UPSAMPLING: Final = 2.0
#: Fraction by which |k| may exceed the grid's Nyquist frequency (rounding of float32 trajectories).
_NYQUIST_SLACK: Final = 1.001


class NonUniformTransform:
    """Transforms between channel images and one set of k-space positions.

    Parameters
    ----------
    grid
        The image grid.
    positions
        k in 1/m as (kx, ky, kz), shape (..., 3); all within the grid's Nyquist frequency.
    channels
        Channels transformed together in one call.
    tolerance
        Requested relative accuracy.
    backend
        ``"finufft"``, or ``"direct"``: the exact double-precision sum, for tests of small sizes.

    Raises
    ------
    ValueError
        A position lies beyond the Nyquist frequency of the grid: it would fold.
    """

    def __init__(
        self,
        grid: Grid,
        positions: NDArray[np.floating[Any]],
        *,
        channels: int = 1,
        tolerance: float = TOLERANCE,
        backend: Literal["finufft", "direct"] = "finufft",
    ) -> None:
        self.grid = grid
        self.channels = channels
        self._phases = sample_phases(grid, positions)
        self._backend = backend
        self._tolerance = tolerance
        self._plans: dict[int, Any] = {}

    @property
    def points(self) -> int:
        """Number of k-space positions."""
        return int(self._phases[0].size)

    def adjoint(self, samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return sum over k of ``samples`` exp(+2 pi i k·r), complex64, shape (channel, z, y, x).

        Parameters
        ----------
        samples
            Shape (channel, ...) with as many samples per channel as there are positions; weights
            (volume elements) already multiplied in.
        """
        flat = self._flat(samples)
        if self._backend == "direct":
            return self._direct_adjoint(flat)
        image: NDArray[np.complex64] = self._plan(1).execute(flat)
        return image.reshape(self.channels, *self.grid.shape)

    def forward(self, image: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return the integral over ``image`` exp(-2 pi i k·r), complex64, shape (channel, point).

        Parameters
        ----------
        image
            Shape (channel, z, y, x).
        """
        expected = (self.channels, *self.grid.shape)
        if image.shape != expected:
            raise ValueError(f"images of shape {expected} expected, got {image.shape}")
        if self._backend == "direct":
            return self._direct_forward(image)
        stack = np.ascontiguousarray(image, dtype=np.complex64)
        samples: NDArray[np.complex64] = self._plan(2).execute(stack if self.channels > 1 else stack[0])
        samples = samples.reshape(self.channels, self.points)
        samples *= np.float32(self.grid.voxel_volume)
        return samples

    def _flat(self, samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
        flat = np.ascontiguousarray(samples, dtype=np.complex64).reshape(self.channels, -1)
        if flat.shape[1] != self.points:
            raise ValueError(f"{self.points} samples per channel expected, got {flat.shape[1]}")
        return flat if self.channels > 1 or self._backend == "direct" else flat[0]

    def _plan(self, kind: Literal[1, 2]) -> Any:  # noqa: ANN401 - finufft has no types
        if kind not in self._plans:
            plan = finufft.Plan(
                kind,
                self.grid.shape,
                n_trans=self.channels,
                eps=self._tolerance,
                isign=1 if kind == 1 else -1,
                dtype="complex64",
                upsampfac=_UPSAMPLING,
            )
            plan.setpts(*self._phases)
            self._plans[kind] = plan
        return self._plans[kind]

    def _direct_factors(self) -> list[NDArray[np.complex128]]:
        factors = []
        for phase, count in zip(self._phases, self.grid.shape, strict=True):
            index = np.arange(count) - count // 2
            factors.append(np.exp(1j * np.outer(phase.astype(np.float64), index)))
        return factors

    def _direct_adjoint(self, flat: NDArray[np.complex64]) -> NDArray[np.complex64]:
        z, y, x = self._direct_factors()
        image = np.einsum("cp,pz,py,px->czyx", flat.astype(np.complex128), z, y, x, optimize=True)
        return np.asarray(image, dtype=np.complex64)

    def _direct_forward(self, image: NDArray[np.complex64]) -> NDArray[np.complex64]:
        z, y, x = (factor.conj() for factor in self._direct_factors())
        samples = np.einsum("czyx,pz,py,px->cp", image.astype(np.complex128), z, y, x, optimize=True)
        return np.asarray(samples * self.grid.voxel_volume, dtype=np.complex64)


def sample_phases(grid: Grid, positions: NDArray[np.floating[Any]]) -> list[NDArray[np.float32]]:
    """Return 2 pi k spacing along z, y and x, each contiguous float32 of shape (point,).

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
    phases = []
    for axis, step in zip((2, 1, 0), grid.spacing, strict=True):
        phase = np.ascontiguousarray(2 * np.pi * step * flat[:, axis], dtype=np.float32)
        largest = float(np.max(np.abs(phase), initial=0.0))
        if not largest <= np.pi * _NYQUIST_SLACK:
            raise ValueError(
                f"k reaches {largest / (2 * np.pi * step):.4g} 1/m along {'xyz'[axis]}, "
                f"the grid of {step * 1e3:.4g} mm voxels holds {0.5 / step:.4g} 1/m"
            )
        phases.append(phase)
    return phases
