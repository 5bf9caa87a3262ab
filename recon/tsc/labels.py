"""Concentrations of regions drawn in a label image: means, and means corrected for partial volume.

Rousset et al., J Nucl Med 39:904 (1998): the mean of region i is sum_j G_ij T_j, with G_ij the mean over
region i of region j seen through its point spread. The regions must fill the object: what is left of the
labels (0) counts as one more region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.fft

from coilbench.base.errors import MeasurementError
from recon.psf import BallImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.psf import RadialReadout
    from recon.relaxation import Relaxation
    from recon.tsc.quantification import TscResult

#: Radius in m of the ball whose image is the point spread: a thousandth of any voxel.
_POINT: Final = 1e-6
#: Condition number beyond which the correction multiplies errors too much to be stated.
_LARGEST_CONDITION: Final = 10.0


@dataclass(frozen=True, slots=True)
class RegionEstimate:
    """One label's concentration in mmol/L.

    Parameters
    ----------
    label
        Its number in the image.
    voxels
        Counted.
    mean
        Plain mean over the region.
    corrected
        Corrected for partial volume.
    systematic
        Standard uncertainty common to all voxels: it does not fall with the size of the region.
    """

    label: int
    voxels: int
    mean: float
    corrected: float
    systematic: float


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRegions:
    """All labels, and the matrix that corrected them.

    Parameters
    ----------
    regions
        In the order of the labels; without the background 0.
    transfer
        G, shape (region, region), labels ascending, 0 included where it occurs within the object.
    condition
        Of G: by how much relative errors may grow.
    """

    regions: tuple[RegionEstimate, ...]
    transfer: NDArray[np.float64]
    condition: float


def measure_labels(
    result: TscResult,
    labels: NDArray[np.integer],
    grid: Grid,
    readout: RadialReadout,
    relaxations: Mapping[int, Relaxation],
) -> LabelledRegions:
    """Return the concentration of every labelled region.

    Parameters
    ----------
    result
        Quantified scan; its map is read where it is defined (in the bath).
    labels
        Whole numbers, shape (z, y, x) of the map; 0 is everything else within the object.
    grid
        Of the map.
    readout
        The spoke.
    relaxations
        Of each label, 0 included: its decay widens its point spread.

    Raises
    ------
    MeasurementError
        Labels of another shape, outside the object, or too small for the resolution.
    """
    if labels.shape != result.concentration.shape:
        raise MeasurementError(
            f"the labels are {labels.shape} voxels, the map is {result.concentration.shape}: "
            "resample the labels onto the map's grid"
        )
    inside = result.noise > 0
    numbers = [int(number) for number in np.unique(labels[inside])]
    missing = sorted(set(np.unique(labels).tolist()) - set(numbers) - {0})
    if missing or numbers == [0]:
        raise MeasurementError(f"labels {missing or 'other than 0'} do not occur where the map is defined")
    lacking = [number for number in numbers if number not in relaxations]
    if lacking:
        raise ValueError(f"no relaxation given for labels {lacking}")
    masks = [inside & (labels == number) for number in numbers]
    columns = [
        _seen(mask, grid, readout, relaxations[number]) for mask, number in zip(masks, numbers, strict=True)
    ]
    transfer = np.array([[float(column[mask].mean()) for column in columns] for mask in masks])
    condition = float(np.linalg.cond(transfer))
    if condition > _LARGEST_CONDITION:
        raise MeasurementError(
            f"regions are too small or too close for the resolution: the correction would multiply errors by "
            f"{condition:.0f} (at most {_LARGEST_CONDITION:.0f}); merge labels or use a finer matrix"
        )
    means = np.array([float(result.concentration[mask].mean()) for mask in masks])
    corrected = np.linalg.solve(transfer, means)
    regions = tuple(
        RegionEstimate(
            number,
            int(mask.sum()),
            float(means[index]),
            float(corrected[index]),
            float(np.mean(result.systematic[mask] / np.abs(result.concentration[mask])) * corrected[index]),
        )
        for index, (number, mask) in enumerate(zip(numbers, masks, strict=True))
        if number
    )
    return LabelledRegions(regions, transfer, condition)


def _seen(
    mask: NDArray[np.bool_], grid: Grid, readout: RadialReadout, relaxation: Relaxation
) -> NDArray[np.float64]:
    """Return a region seen through its point spread, shape (z, y, x)."""
    nz, ny, nx = grid.shape
    fz, fy, fx = grid.field_of_view
    doubled = type(grid)((2 * nz, 2 * ny, 2 * nx), (2 * fz, 2 * fy, 2 * fx))
    point = BallImage(readout, _POINT, relaxation)(doubled.distances((0.0, 0.0, 0.0)))
    kernel = scipy.fft.ifftshift(point / (4 / 3 * np.pi * _POINT**3) * grid.voxel_volume)
    spectrum = np.asarray(scipy.fft.rfftn(mask.astype(np.float64), s=doubled.shape))
    spectrum *= np.asarray(scipy.fft.rfftn(kernel))
    seen = np.asarray(scipy.fft.irfftn(spectrum, s=doubled.shape), dtype=np.float64)
    return seen[:nz, :ny, :nx]
