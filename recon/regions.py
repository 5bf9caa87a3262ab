"""Regions of interest from the known geometry, in metres; no thresholds, so they work at any SNR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.phantom import Phantom, Vial

#: Distance in resolutions (FWHM) that the background keeps from every boundary; beyond it the truncation
#: ringing of an edge is below 2 %.
GUARD: Final = 1.5
#: Distance in resolutions that a vial's core keeps from its wall.
_CORE_GUARD: Final = 0.75
#: Smallest core in voxels: fewer than about seven voxels would be one voxel's luck.
_SMALLEST_CORE: Final = 1.2


def ball_weights(
    grid: Grid, centre: tuple[float, float, float], radius: float, *, subdivisions: int = 4
) -> NDArray[np.float64]:
    """Return the fraction of each voxel that lies within a ball, shape (z, y, x), between 0 and 1.

    Parameters
    ----------
    grid
        Where the voxels are.
    centre
        (x, y, z) in m.
    radius
        In m.
    subdivisions
        Voxels at the surface are judged at this many points along every axis.
    """
    distance = grid.distances(centre)
    reach = 0.5 * float(np.linalg.norm(grid.spacing))
    weights = (distance <= radius - reach).astype(np.float64)
    shell = np.argwhere((distance > radius - reach) & (distance < radius + reach))
    if shell.size:
        offset = (np.arange(subdivisions) + 0.5) / subdivisions - 0.5
        points = np.stack(np.meshgrid(offset, offset, offset, indexing="ij"), axis=-1).reshape(-1, 3)
        origin = np.array([axis[0] for axis in grid.axes()])
        spacing = np.array(grid.spacing)
        places = origin + (shell[:, None, :] + points) * spacing - np.array(centre[::-1])
        inside = np.sum(places**2, axis=-1) <= radius**2
        weights[tuple(shell.T)] = inside.mean(axis=1)
    return weights


def core_radius(grid: Grid, vial: Vial, *, guard: float | None = None) -> float:
    """Return the radius in m of the core in which a vial is measured.

    Parameters
    ----------
    grid, vial
        The voxels and what lies in them.
    guard
        Distance in m that the core keeps from the wall. None: three quarters of the resolution, so that
        the partial-volume correction stays small, but less where the core would fall below 1.2 voxels; the
        remaining correction is then computed, not neglected.

    Raises
    ------
    MeasurementError
        The vial is smaller than that, or has no such core of 1.2 voxels.
    """
    smallest = _SMALLEST_CORE * max(grid.spacing)
    if guard is not None:
        if vial.radius - guard < smallest:
            raise MeasurementError(
                f"vial {vial.name} of radius {vial.radius * 1e3:.1f} mm has no core of "
                f"{smallest * 1e3:.1f} mm that keeps {guard * 1e3:.1f} mm from its wall: correct partial "
                f"volume, use a vial of {(guard + smallest) * 1e3:.1f} mm or a finer matrix"
            )
        return vial.radius - guard
    if vial.radius < smallest:
        raise MeasurementError(
            f"vial {vial.name} of radius {vial.radius * 1e3:.1f} mm is too small for voxels of "
            f"{max(grid.spacing) * 1e3:.1f} mm: use a larger vial or a finer matrix"
        )
    return max(vial.radius - _CORE_GUARD * grid.resolution, smallest)


def core_weights(grid: Grid, vial: Vial, *, guard: float | None = None) -> NDArray[np.float64]:
    """Return weights that sum to 1 over a vial's core (``core_radius``), shape (z, y, x).

    Raises
    ------
    MeasurementError
        The vial is too small for the grid, or lies outside it.
    """
    weights = ball_weights(grid, vial.centre, core_radius(grid, vial, guard=guard))
    total = float(weights.sum())
    if total <= 0:
        raise MeasurementError(f"vial {vial.name} at {vial.centre} m lies outside the image")
    return weights / total


def body_mask(grid: Grid, phantom: Phantom) -> NDArray[np.bool_]:
    """Return the voxels whose centre lies in the bath or a vial, shape (z, y, x)."""
    return grid.distances(phantom.centre) <= phantom.radius


def background_mask(grid: Grid, phantom: Phantom, *, guard: float | None = None) -> NDArray[np.bool_]:
    """Return the voxels of the bath that no boundary disturbs, shape (z, y, x).

    Parameters
    ----------
    grid
        Where the voxels are.
    phantom
        The geometry.
    guard
        Distance kept from the bath's rim and the vials in m; 1.5 resolutions by default.
    """
    distance = GUARD * grid.resolution if guard is None else guard
    mask = grid.distances(phantom.centre) <= phantom.radius - distance
    for vial in phantom.vials:
        mask &= grid.distances(vial.centre) >= vial.radius + distance
    return mask
