"""Where a phantom of any shape lies in a slice, and how wide it is: from the slice alone.

For images of others, whose phantom nobody has described. What stands out of the background is the object; its
extent along an axis is the distance of the two places where lines through its middle fall to half of the
signal beside the wall. Lengths depend on the gradients' calibration, and so does this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.ndimage

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid

#: Names what computes the numbers below; counted up whenever they change.
ALGORITHM: Final = "outline of a slice"
VERSION: Final = "1"
#: Voxels above this fraction of the 98th percentile are object; a noise floor of SNR 10 lies at 0.13.
_OBJECT: Final = 0.2
#: Fewest voxels of an object: 4 independent ones in each of five regions.
_FEWEST: Final = 50
#: Lines through the middle, as a fraction of the extent across them: chords of a disk differ by 0.1 % there.
_BAND: Final = 0.1
#: Where inside the wall its signal is taken, to be drawn out to the wall: parts of the way from the middle.
_BESIDE: Final = (0.6, 0.92)
#: Standard deviation, in voxels, of where a straight line between two voxels crosses half of a step that is
#: averaged over voxels: its error is 1/2(1 - v) - 1/2 - v for a voxel that is covered to v < 1/2. Both walls
#: of an object that lies evenly about a voxel err alike.
_INTERPOLATION: Final = 0.0624


@dataclass(frozen=True, slots=True)
class Extent:
    """Width of an object along one axis.

    Parameters
    ----------
    length
        In m.
    uncertainty
        Standard uncertainty in m: scatter of the lines, and interpolation between voxels at both walls.
    lines
        How many agree.
    """

    length: float
    uncertainty: float
    lines: int


def object_mask(image: NDArray[np.floating[Any]], *, floor: float = 0.0) -> NDArray[np.bool_]:
    """Return the largest connected thing that stands out of a slice or volume, holes filled, same shape.

    Parameters
    ----------
    image
        Magnitude, shape (y, x) or (z, y, x).
    floor
        Level of the noise in it, where that is known: what lies below twice of it is no object.

    Raises
    ------
    MeasurementError
        Nothing stands out, or nothing is left as background.
    """
    level = max(_OBJECT * float(np.quantile(image, 0.98)), 2.0 * floor)
    found: Any = scipy.ndimage.label(image > level)
    labels, count = np.asarray(found[0]), int(found[1])
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    if count == 0 or sizes.max() < _FEWEST or sizes.sum() == image.size:
        largest = int(sizes.max()) if count else 0
        raise MeasurementError(
            f"{largest} of {image.size} voxels stand out of the background in one piece, {_FEWEST} and some "
            "background are needed: no phantom can be told from it"
        )
    filled = scipy.ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes)))
    return np.asarray(filled, dtype=np.bool_)


def central_part(mask: NDArray[np.bool_], grid: Grid, fraction: float) -> NDArray[np.bool_]:
    """Return the part of an object that lies deepest below its outline, shape (y, x).

    Parameters
    ----------
    mask
        The object (``object_mask``), shape (y, x).
    grid
        Of the slice.
    fraction
        Of its area that is kept, in (0, 1]; NEMA MS 3 asks for at least 75 %.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"a fraction of the object lies in (0, 1], got {fraction}")
    depth = np.asarray(
        scipy.ndimage.distance_transform_edt(np.pad(mask, 1), sampling=grid.spacing[1:]), dtype=np.float64
    )[1:-1, 1:-1]
    least = float(np.quantile(depth[mask], 1 - fraction))
    return np.asarray(mask & (depth >= least), dtype=np.bool_)


def disk_of(mask: NDArray[np.bool_], grid: Grid) -> tuple[tuple[float, float, float], float]:
    """Return the middle (x, y, 0) in m of an object, and the radius in m of a disk as large.

    Parameters
    ----------
    mask
        The object, shape (y, x).
    grid
        Of the slice.
    """
    _, y, x = grid.axes()
    rows, columns = np.nonzero(mask)
    area = rows.size * grid.spacing[1] * grid.spacing[2]
    return (float(x[columns].mean()), float(y[rows].mean()), 0.0), float(np.sqrt(area / np.pi))


def extents(
    image: NDArray[np.floating[Any]], mask: NDArray[np.bool_], grid: Grid, *, floor: float = 0.0
) -> tuple[Extent, Extent]:
    """Return how wide an object is along x and along y through its middle.

    Parameters
    ----------
    image
        Magnitude, shape (y, x).
    mask
        The object (``object_mask``), shape (y, x).
    grid
        Of the slice.
    floor
        Level of the background in the image.

    Raises
    ------
    MeasurementError
        Fewer than five lines cross both walls: the object is cut by the image's border.
    """
    dy, dx = grid.spacing[1:]
    values = np.asarray(image, dtype=np.float64) - floor
    rows, columns = np.nonzero(mask)
    return (
        _extent(values, rows.mean(), columns.mean(), float(np.ptp(rows)), dx, "x"),
        _extent(values.T, columns.mean(), rows.mean(), float(np.ptp(columns)), dy, "y"),
    )


def _extent(
    lines: NDArray[np.float64], middle: float, along: float, across: float, step: float, axis: str
) -> Extent:
    """Return the extent along the second index: the parabola of chords, at the middle line."""
    half = max(3, round(_BAND * across / 2))
    numbers = np.arange(max(0, round(middle) - half), min(lines.shape[0], round(middle) + half + 1))
    chords, places = [], []
    for number in numbers:
        line = lines[number]
        right = _wall(line[round(along) :])
        left = _wall(line[round(along) :: -1])
        if right is not None and left is not None:
            chords.append((left + right) * step)
            places.append(number - middle)
    if len(chords) < 5:
        raise MeasurementError(
            f"{len(chords)} of {numbers.size} lines along {axis} cross both walls, 5 are needed: does the "
            "phantom lie wholly inside the image?"
        )
    design = np.vander(np.array(places) / half, 3)
    coefficients, *_ = np.linalg.lstsq(design, np.array(chords), rcond=None)
    left_over = np.array(chords) - design @ coefficients
    variance = float(np.sum(left_over**2)) / (len(chords) - 3)
    spread = variance * np.linalg.inv(design.T @ design)[2, 2]
    return Extent(
        float(coefficients[2]), float(np.sqrt(spread + (2 * _INTERPOLATION * step) ** 2)), len(chords)
    )


def _wall(line: NDArray[np.float64]) -> float | None:
    """Return the place, in samples from the line's first, where it falls to half of the signal at the wall.

    Found twice: with the level of the first samples, then with the signal inside drawn out to the wall.
    """
    level = float(np.median(line[:5]))
    place: float | None = None
    for _ in range(2):
        below = np.flatnonzero(line < 0.5 * level)
        if not below.size or below[0] == 0:
            return None
        last = int(below[0])
        before, after = float(line[last - 1]), float(line[last])
        place = last - 1 + (before - 0.5 * level) / (before - after)
        inside = np.arange(int(_BESIDE[0] * place), max(int(_BESIDE[1] * place), 3))
        level = float(np.polyval(np.polyfit(inside, line[inside], 1 if inside.size > 3 else 0), place))
    return place
