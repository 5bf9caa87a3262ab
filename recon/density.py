"""Density compensation: the volume element of k-space, in 1/m³, that each sample stands for.

Weights enter a reconstruction once (w, neither w² nor its root), so with them the image of a unit object
is 1 without further scaling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import finufft
import numpy as np

from recon.nufft import sample_phases

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from recon.grid import Grid

#: Fractions of a window a + (1 - a) cos(pi k / kmax): none, and Hamming's 0.54.
_WINDOWS: Final[dict[str, float]] = {"none": 1.0, "hamming": 0.54}

#: Sets the width of the convolution kernel: four cells.
_SPREAD_TOLERANCE: Final = 1e-3

Window = Literal["none", "hamming"]
#: A window by its name, or any function of |k| in 1/m that is 1 at the centre (``recon.filter``).
Taper = Window | Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]


def spoke_weights(radii: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the volume element 4 pi k² dk, in 1/m³, of each sample of a centre-out spoke.

    dk reaches from half way to the sample below (the centre, for the first) to half way to the one above,
    so one spoke's weights sum to about the ball that all spokes fill; divide by their number.

    Parameters
    ----------
    radii
        |k| in 1/m, shape (..., sample), in any order; samples of equal radius share their element.

    Returns
    -------
    Shape (..., sample).

    Raises
    ------
    ValueError
        Fewer than two samples.

    Notes
    -----
    Not the volume of the shell between the half-way spheres: that is 4 pi (k² h + h³ / 12), and its second
    term weighs the centre too much (by 26 % of a 20 mmol/L vial in a 50 mmol/L bath for steps of 4.4 1/m
    at the centre, measured). The integrand is even in k, so the plain rule has no error of order h².
    """
    k = np.asarray(radii, dtype=np.float64)
    if k.shape[-1] < 2:
        raise ValueError(f"a spoke needs at least two samples, got {k.shape[-1]}")
    order = np.argsort(k, axis=-1, kind="stable")
    ascending = np.take_along_axis(k, order, axis=-1)
    below = np.concatenate([np.zeros_like(ascending[..., :1]), ascending[..., :-1]], axis=-1)
    beyond = 2 * ascending[..., -1:] - ascending[..., -2:-1]
    above = np.concatenate([ascending[..., 1:], beyond], axis=-1)
    elements = _share_ties(ascending, 4 * np.pi * ascending**2 * 0.5 * (above - below))
    weights = np.empty_like(elements)
    np.put_along_axis(weights, order, elements, axis=-1)
    return weights


def _share_ties(ascending: NDArray[np.float64], elements: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread the elements of samples of equal radius evenly over them."""
    tied = np.diff(ascending, axis=-1) <= 1e-6 * ascending[..., -1:]
    if not np.any(tied):
        return elements
    shared = elements.reshape(-1, elements.shape[-1]).copy()
    for row, ties in zip(shared, tied.reshape(-1, tied.shape[-1]), strict=True):
        group = np.concatenate([[0], np.cumsum(~ties)])
        row[:] = (np.bincount(group, weights=row) / np.bincount(group))[group]
    return shared.reshape(elements.shape)


def solid_angles(directions: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return each spoke's share of the sphere relative to an equal share, shape (spoke,), mean 1.

    Areas of the Voronoi cells of the directions. Golden-means spokes are uneven by 23 %: with these
    weights a phantom's background becomes even, for 2.6 % of the SNR.

    Parameters
    ----------
    directions
        Shape (spoke, 3), any length but zero; all different.

    Raises
    ------
    ValueError
        Directions repeat or fewer than four are given.
    """
    from scipy.spatial import SphericalVoronoi

    if directions.shape[0] < 4:
        raise ValueError(f"solid angles need at least four directions, got {directions.shape[0]}")
    unit = np.asarray(directions, dtype=np.float64)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    areas = np.asarray(SphericalVoronoi(unit).calculate_areas(), dtype=np.float64)
    relative: NDArray[np.float64] = areas / areas.mean()
    return relative


def window(radii: NDArray[np.floating[Any]], limit: float, kind: Taper) -> NDArray[np.float64]:
    """Return a radial k-space window, 1 at the centre.

    Parameters
    ----------
    radii
        |k| in 1/m, any shape.
    limit
        |k| in 1/m where the window ends.
    kind
        ``"none"`` (ones) or ``"hamming"`` (0.54 + 0.46 cos(pi k / limit): less ringing, FWHM 1.99 voxels
        instead of 1.59), or a function of |k|, which knows its own limit.
    """
    if callable(kind):
        return kind(np.asarray(radii, dtype=np.float64))
    share = _WINDOWS[kind]
    relative = np.minimum(np.asarray(radii, dtype=np.float64) / limit, 1.0)
    shape: NDArray[np.float64] = share + (1 - share) * np.cos(np.pi * relative)
    return shape


def iterate_weights(
    grid: Grid, positions: NDArray[np.floating[Any]], *, iterations: int = 12
) -> NDArray[np.float64]:
    """Return density weights in 1/m³ for any trajectory, by Pipe and Menon's fixed point.

    The weights are divided by their convolution with a positive kernel until that convolution is 1. The
    kernel is finufft's own, twice: two cells of a grid that is twice as fine as 1 / field of view. Where the
    samples are farther apart than that, no weights can help.

    Parameters
    ----------
    grid
        Grid of the image to be reconstructed.
    positions
        k in 1/m, shape (..., 3).
    iterations
        Fixed-point steps; more sharpen the edge of k-space and raise the noise.

    Returns
    -------
    The shape of ``positions`` without its last axis.

    Notes
    -----
    Pipe, Menon, Magn Reson Med 41:179 (1999).
    """
    cells = tuple(2 * count for count in grid.shape)
    cell = float(np.prod([0.5 / extent for extent in grid.field_of_view]))
    phases = sample_phases(grid, positions)
    spread, gather = _spreader(1, cells, phases), _spreader(2, cells, phases)
    origin = [np.zeros(1, dtype=np.float32) for _ in range(3)]
    mass = float(_spreader(1, cells, origin).execute(np.ones(1, dtype=np.complex64)).real.sum())
    weights = np.full(phases[0].size, cell)
    for _ in range(iterations):
        density = gather.execute(spread.execute(weights.astype(np.complex64))).real
        weights /= density / (mass**2 * cell)
    return weights.reshape(positions.shape[:-1])


def _spreader(
    kind: Literal[1, 2], cells: tuple[int, ...], phases: Iterable[NDArray[np.floating[Any]]]
) -> Any:  # noqa: ANN401 - finufft has no types
    """Return a plan that only convolves with the kernel: onto the grid (1) or from it (2)."""
    plan = finufft.Plan(
        kind, cells, eps=_SPREAD_TOLERANCE, isign=1, dtype="complex64", upsampfac=2.0, spreadinterponly=1
    )
    plan.setpts(*phases)
    return plan
