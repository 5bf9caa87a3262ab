"""The image grid: where every voxel lies in metres.

Voxel ``i`` of an axis with ``n`` voxels lies at ``(i - n // 2) * spacing``, the magnet's centre therefore
on voxel ``n // 2``. Arrays run (z, y, x); positions are written (x, y, z).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid of voxels around the magnet's centre.

    Parameters
    ----------
    shape
        Voxels along (z, y, x).
    field_of_view
        Extent along (z, y, x) in m.
    """

    shape: tuple[int, int, int]
    field_of_view: tuple[float, float, float]

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"a grid needs three positive voxel counts (z, y, x); got {self.shape}")
        if len(self.field_of_view) != 3 or min(self.field_of_view) <= 0:
            raise ValueError(f"a grid needs three positive extents in m (z, y, x); got {self.field_of_view}")

    @classmethod
    def cube(cls, matrix: int, field_of_view: float) -> Grid:
        """Return a cube of ``matrix`` voxels and ``field_of_view`` metres along every axis."""
        return cls((matrix, matrix, matrix), (field_of_view, field_of_view, field_of_view))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along (z, y, x) in m."""
        dz, dy, dx = (extent / count for extent, count in zip(self.field_of_view, self.shape, strict=True))
        return dz, dy, dx

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in m³."""
        return float(np.prod(self.spacing))

    @property
    def nyquist(self) -> float:
        """Largest spatial frequency that every axis can hold, in 1/m."""
        return 0.5 / max(self.spacing)

    @property
    def resolution(self) -> float:
        """Full width at half maximum in m of an unfiltered k-space ball that reaches ``nyquist``.

        Notes
        -----
        1.5904 voxels: half height of 3 (sin x - x cos x) / x³ with x = 2 pi kmax r.
        """
        return 1.5904 * max(self.spacing)

    def resized(self, shape: tuple[int, int, int]) -> Grid:
        """Return a grid of the same voxels and another number of them along (z, y, x)."""
        nz, ny, nx = shape
        dz, dy, dx = self.spacing
        return Grid((nz, ny, nx), (nz * dz, ny * dy, nx * dx))

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the voxel centres along z, y and x in m."""
        z, y, x = (
            np.asarray((np.arange(count) - count // 2) * step, dtype=np.float64)
            for count, step in zip(self.shape, self.spacing, strict=True)
        )
        return z, y, x

    def positions(self) -> NDArray[np.float64]:
        """Return the position (x, y, z) in m of every voxel, shape (z, y, x, 3)."""
        z, y, x = np.meshgrid(*self.axes(), indexing="ij")
        return np.stack([x, y, z], axis=-1)

    def distances(self, centre: ArrayLike) -> NDArray[np.float64]:
        """Return every voxel's distance in m from ``centre`` (x, y, z), shape (z, y, x)."""
        point = np.asarray(centre, dtype=np.float64)
        z, y, x = self.axes()
        squared = (
            ((z - point[2]) ** 2)[:, None, None]
            + ((y - point[1]) ** 2)[None, :, None]
            + ((x - point[0]) ** 2)[None, None, :]
        )
        distance: NDArray[np.float64] = np.sqrt(squared)
        return distance
