"""Where a round phantom lies in an image, how large it looks along every axis, and how far it is from round.

One fit of the whole shell around the phantom's surface: a smooth shading times the edge that the scan makes
of a sharp wall. Every voxel takes part with its noise, so it works where single edges drown, and each number
comes with its uncertainty. Lengths depend on the gradients' calibration, and so does this.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.optimize

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.resolution import Edge

#: Names what computes the numbers below; counted up whenever they change.
ALGORITHM: Final = "ball geometry"
VERSION: Final = "1"
#: Half thickness of the shell that is fitted, in full widths of the point spread: beyond, an edge is flat.
_REACH: Final = 2.5
#: Order of the shading: across a shell, sensitivities of a loop array leave 1 % to order 3.
_SHADING_ORDER: Final = 3
#: Voxels on which a free edge of seven numbers can rest.
_FEWEST_VOXELS: Final = 200
#: More voxels than these are thinned out: they would make the fit slower, not the answer better.
_MOST_VOXELS: Final = 20_000


@dataclass(frozen=True, slots=True)
class BallFit:
    """A ball as an image shows it.

    Parameters
    ----------
    centre
        (x, y, z) in m.
    centre_uncertainty
        Standard uncertainty of each, m.
    diameters
        Along x, y and z in m.
    diameter_uncertainty
        Standard uncertainty of each, m.
    distortion
        Largest distance of the surface from the sphere of the mean diameter, over 26 directions, m.
    distortion_uncertainty
        Standard uncertainty of the surface's place in that direction, m.
    width
        Full width at half maximum of the point spread that the edge shows, m.
    width_uncertainty
        Standard uncertainty, m.
    misfit
        Root mean square of what is left over the noise: 1 when the model says everything.
    """

    centre: tuple[float, float, float]
    centre_uncertainty: tuple[float, float, float]
    diameters: tuple[float, float, float]
    diameter_uncertainty: tuple[float, float, float]
    distortion: float
    distortion_uncertainty: float
    width: float
    width_uncertainty: float
    misfit: float


def fit_ball(
    image: NDArray[np.float32],
    grid: Grid,
    centre: tuple[float, float, float],
    radius: float,
    edge: Edge,
    *,
    deviation: float | NDArray[np.float32],
    channels: int | None = None,
    exclude: NDArray[np.bool_] | None = None,
    independent_fraction: float = 1.0,
) -> BallFit:
    """Fit centre, three diameters and the sharpness of a ball's edge.

    Parameters
    ----------
    image
        Real or a magnitude, shape (z, y, x).
    grid
        Where the voxels are.
    centre, radius
        Where the ball is expected, (x, y, z) and m; right to about the width of the edge.
    edge
        What the scan makes of a sharp wall (``recon.resolution``).
    deviation
        Standard deviation of the noise's real part, one number or shape (z, y, x).
    channels
        Whitened channels whose root of the sum of squares the image is, 1 for the magnitude of a complex
        image; None for an image whose noise has no mean.
    exclude
        Voxels that something else disturbs (vials near the wall), shape (z, y, x).
    independent_fraction
        Independent voxels over voxels.

    Raises
    ------
    MeasurementError
        The shell has too few voxels, or the fit leaves it: no ball of about that size is there.
    """
    distance = grid.distances(centre)
    half = _REACH * edge.full_width
    shell = np.abs(distance - radius) < half
    if exclude is not None:
        shell &= ~exclude
    if int(shell.sum()) < _FEWEST_VOXELS:
        raise MeasurementError(
            f"the wall of a ball of {radius * 1e3:.0f} mm covers {int(shell.sum())} voxels of the image, "
            f"{_FEWEST_VOXELS} are needed: is it inside the field of view?"
        )
    voxels = np.flatnonzero(shell)
    shell = np.zeros_like(shell)
    shell.flat[voxels[:: 1 + voxels.size // _MOST_VOXELS]] = True
    model = _Shell(image, grid, shell, edge, radius, deviation, channels)
    start = np.array([*centre, radius, radius, radius, 1.0])
    model.weigh(start)
    found = scipy.optimize.least_squares(
        model.residuals, start, x_scale=np.array([*[grid.spacing[2]] * 6, 0.1]), xtol=1e-6, ftol=1e-9
    )
    place, axes, scale = found.x[:3], found.x[3:6], float(found.x[6])
    if np.any(np.abs(found.x[:6] - start[:6]) > half) or not 0.2 < scale < 5:
        raise MeasurementError(
            f"no ball of {radius * 2e3:.0f} mm lies about {centre} m in this image: the fit ran to a centre "
            f"{place} m and half axes {axes} m"
        )
    freedom = max(1, int(shell.sum()) - 7 - model.terms)
    misfit = float(np.sqrt(2 * found.cost / freedom))
    covariance = np.linalg.pinv(found.jac.T @ found.jac) * max(misfit, 1.0) ** 2 / independent_fraction
    u = np.sqrt(np.diagonal(covariance))
    apart, apart_uncertainty = model.departure(found.x)
    worst = int(np.argmax(np.abs(apart)))
    return BallFit(
        centre=_three(place),
        centre_uncertainty=_three(u[:3]),
        diameters=_three(2 * axes),
        diameter_uncertainty=_three(2 * u[3:6]),
        distortion=float(abs(apart[worst])),
        distortion_uncertainty=float(
            apart_uncertainty[worst] * max(misfit, 1) / np.sqrt(independent_fraction)
        ),
        width=scale * edge.full_width,
        width_uncertainty=float(u[6]) * edge.full_width,
        misfit=misfit,
    )


class _Shell:
    """The voxels around a ball's wall and what a ball would make of them.

    Squares of magnitudes, less the noise's share, are fitted with the square of the edge.
    """

    def __init__(
        self,
        image: NDArray[np.float32],
        grid: Grid,
        shell: NDArray[np.bool_],
        edge: Edge,
        radius: float,
        deviation: float | NDArray[np.float32],
        channels: int | None,
    ) -> None:
        sigma = np.broadcast_to(np.asarray(deviation, dtype=np.float64), image.shape)[shell]
        values = np.asarray(image[shell], dtype=np.float64)
        self._values = values if channels is None else values**2 - 2 * channels * sigma**2
        self._sigma, self._channels = sigma, channels
        self._positions = grid.positions()[shell]
        self._edge, self._radius = edge, radius
        scaled = self._positions / radius
        powers = [one for one in product(range(_SHADING_ORDER + 1), repeat=3) if sum(one) <= _SHADING_ORDER]
        self._shading = np.stack([np.prod(scaled ** np.array(one), axis=1) for one in powers], axis=1)
        self._weights = np.ones(values.size)

    @property
    def terms(self) -> int:
        """Number of terms of the shading."""
        return int(self._shading.shape[1])

    def weigh(self, parameters: NDArray[np.float64]) -> None:
        """Set the weights by what the noise of each voxel is when the ball is where it is expected."""
        if self._channels is None:
            self._weights = 1 / self._sigma
            return
        power = np.maximum(self._fit(parameters)[0], 0)
        self._weights = 0.5 / (self._sigma * np.sqrt(power + self._channels * self._sigma**2))

    def residuals(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what a ball with the best shading leaves, in units of the noise, shape (voxel,)."""
        return np.asarray((self._values - self._fit(parameters)[0]) * self._weights, dtype=np.float64)

    def departure(self, parameters: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how far outside the sphere of the mean radius the wall lies, and its uncertainty, in m.

        What is left of the fit, read as a shift of the wall within each of 26 directions.
        """
        model, shading = self._fit(parameters)
        step = 0.05 * self._edge.full_width
        slope = shading * (self._profile(parameters, step) - self._profile(parameters, -step)) / (2 * step)
        directions = np.array([one for one in product((-1, 0, 1), repeat=3) if any(one)], dtype=np.float64)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        offset = self._positions - parameters[:3]
        nearest = np.argmax(offset @ directions.T, axis=1)
        left, slope = (self._values - model) * self._weights, slope * self._weights
        steep = np.bincount(nearest, slope**2, minlength=26)
        seen = steep > 0
        shift = np.where(
            seen, -np.bincount(nearest, slope * left, minlength=26) / np.where(seen, steep, 1), 0
        )
        axes = parameters[3:6]
        ellipsoid = 1 / np.linalg.norm(directions / axes, axis=1)
        apart = np.where(seen, shift + ellipsoid - float(np.mean(axes)), 0)
        return apart, np.where(seen, 1 / np.sqrt(np.where(seen, steep, 1)), np.inf)

    def _fit(self, parameters: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ball with the best shading, and the shading alone."""
        basis = self._shading * self._profile(parameters, 0.0)[:, None]
        scaled = basis * self._weights[:, None]
        normal = scaled.T @ scaled
        right = scaled.T @ (self._values * self._weights)
        coefficients = np.asarray(np.linalg.lstsq(normal, right, rcond=1e-12)[0], dtype=np.float64)
        return basis @ coefficients, self._shading @ coefficients

    def _profile(self, parameters: NDArray[np.float64], outwards: float) -> NDArray[np.float64]:
        """Return the edge (squared for squares) at every voxel, each moved outwards by some m."""
        offset = self._positions - parameters[:3]
        distance = np.linalg.norm(offset, axis=1)
        ratio = np.maximum(np.linalg.norm(offset / parameters[3:6], axis=1), 1e-9)
        signed = distance * (1 - 1 / ratio) + outwards
        values = self._edge(signed / parameters[6])
        return np.asarray(values if self._channels is None else values**2, dtype=np.float64)


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
