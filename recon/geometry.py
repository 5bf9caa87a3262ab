"""Where a round phantom lies in an image, how large it looks along every axis, and how far it is from round.

One fit of the whole shell around the phantom's surface in all channels: every channel shades the ball by
solid harmonics, and the scan blurs the shaded ball (``recon.resolution.Edge``). Every voxel takes part with
its noise, so it works where single edges drown, and each number comes with its uncertainty. Lengths depend on
the gradients' calibration, and so does this.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.optimize

from coilbench.base.errors import MeasurementError
from recon.sensitivities.harmonic import solid_harmonics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.resolution import Edge

#: Names what computes the numbers below; counted up whenever they change.
ALGORITHM: Final = "ball geometry"
VERSION: Final = "2"
#: Half thickness of the shell that is fitted, in full widths of the point spread: beyond, an edge is flat.
_REACH: Final = 2.5
#: Principal components of the channels that are fitted: more hold noise.
_MOST_COMPONENTS: Final = 8
#: Scatter over what the count of independent voxels promises: noise is correlated over a wall's width. 1.25
#: with a deviation of 0.1 over 20 simulated scans of SNR 5 and 20 (Hamming window, evenly sampled spokes).
_CORRELATED: Final = 1.25
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
    images: NDArray[np.complex64],
    grid: Grid,
    centre: tuple[float, float, float],
    radius: float,
    edge: Edge,
    *,
    deviation: float,
    exclude: NDArray[np.bool_] | None = None,
    independent_fraction: float = 1.0,
) -> BallFit:
    """Fit centre, three diameters and the sharpness of a ball's edge.

    Parameters
    ----------
    images
        Of all channels, whitened, shape (channel, z, y, x).
    grid
        Where the voxels are.
    centre, radius
        Where the ball is expected, (x, y, z) and m; right to about the width of the edge.
    edge
        What the scan makes of the ball's sharp wall (``recon.resolution``).
    deviation
        Standard deviation of the real part of the noise in every channel.
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
    model = _Shell(images[:, shell] / deviation, grid.positions()[shell], edge, radius)
    start = np.array([*centre, radius, radius, radius, 1.0])
    found = scipy.optimize.least_squares(
        model.residuals, start, x_scale=np.array([*[grid.spacing[2]] * 6, 0.1]), xtol=1e-5, ftol=1e-7
    )
    place, axes, scale = found.x[:3], found.x[3:6], float(found.x[6])
    if np.any(np.abs(found.x[:6] - start[:6]) > half) or not 0.2 < scale < 5:
        raise MeasurementError(
            f"no ball of {radius * 2e3:.0f} mm lies about {centre} m in this image: the fit ran to a centre "
            f"{place} m and half axes {axes} m"
        )
    freedom = max(1, model.values - 7)
    misfit = float(np.sqrt(2 * found.cost / freedom))
    covariance = np.linalg.pinv(found.jac.T @ found.jac)
    covariance *= (_CORRELATED * max(misfit, 1.0)) ** 2 / independent_fraction
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
            apart_uncertainty[worst] * _CORRELATED * max(misfit, 1) / np.sqrt(independent_fraction)
        ),
        width=scale * edge.full_width,
        width_uncertainty=float(u[6]) * edge.full_width,
        misfit=misfit,
    )


class _Shell:
    """The voxels around a ball's wall in units of their noise, and what a shaded ball would make of them."""

    def __init__(
        self,
        images: NDArray[np.complex64],
        positions: NDArray[np.float64],
        edge: Edge,
        radius: float,
    ) -> None:
        products = images @ images.conj().T
        kept = np.linalg.eigh(products)[1][:, -_MOST_COMPONENTS:]
        self._images = np.asarray((kept.conj().T @ images).T, dtype=np.complex128)
        self._positions = positions
        self._edge, self._radius = edge, radius

    @property
    def values(self) -> int:
        """Numbers that the noise is free to change: two a voxel and component, less the shading's."""
        terms = sum(2 * degree + 1 for degree, _ in self._edge.shadings)
        return 2 * int(self._images.size - terms * self._images.shape[1])

    def residuals(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what a ball with the best shading leaves, in units of the noise, real and imaginary."""
        basis = self._basis(parameters, 0.0)
        left = self._images - basis @ self._coefficients(basis)
        return np.concatenate([left.real.ravel(), left.imag.ravel()])

    def departure(self, parameters: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how far outside the sphere of the mean radius the wall lies, and its uncertainty, in m.

        What is left of the fit, read as a shift of the wall within each of 26 directions.
        """
        basis = self._basis(parameters, 0.0)
        coefficients = self._coefficients(basis)
        left = self._images - basis @ coefficients
        step = 0.05 * self._edge.full_width
        rise = self._basis(parameters, step) - self._basis(parameters, -step)
        slope = rise @ coefficients / (2 * step)
        directions = np.array([one for one in product((-1, 0, 1), repeat=3) if any(one)], dtype=np.float64)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        offset = self._positions - parameters[:3]
        nearest = np.argmax(offset @ directions.T, axis=1)
        steep = np.bincount(nearest, np.sum(np.abs(slope) ** 2, axis=1), minlength=26)
        moved = np.bincount(nearest, np.sum(np.real(slope.conj() * left), axis=1), minlength=26)
        seen = steep > 0
        shift = np.where(seen, -moved / np.where(seen, steep, 1), 0)
        axes = parameters[3:6]
        ellipsoid = 1 / np.linalg.norm(directions / axes, axis=1)
        apart = np.where(seen, shift + ellipsoid - float(np.mean(axes)), 0)
        return apart, np.where(seen, 1 / np.sqrt(np.where(seen, steep, 1)), np.inf)

    def _coefficients(self, basis: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the best shading, shape (term, component)."""
        normal = basis.T @ basis
        right = basis.T @ self._images
        return np.asarray(np.linalg.lstsq(normal, right, rcond=1e-12)[0], dtype=np.complex128)

    def _basis(self, parameters: NDArray[np.float64], outwards: float) -> NDArray[np.float64]:
        """Return the image of every shading at every voxel, each moved outwards by some m."""
        offset = self._positions - parameters[:3]
        distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
        ratio = np.maximum(np.linalg.norm(offset / parameters[3:6], axis=1), 1e-9)
        signed = distance * (1 - 1 / ratio) + outwards
        profiles = self._edge(signed / parameters[6])
        highest = max(degree for degree, _ in self._edge.shadings)
        angular = solid_harmonics(offset / distance[:, None], highest)
        parts = [
            angular[:, degree**2 : (degree + 1) ** 2] * profile[:, None]
            for (degree, _), profile in zip(self._edge.shadings, profiles, strict=True)
        ]
        return np.concatenate(parts, axis=1)


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
