"""The resolution that an image really has: the width of its point spread, from walls and small balls.

A wall of known shape is compared with what the scan should make of it, stretched until it fits; a factor of 1
is the resolution that trajectory, window and decay promise (``recon.psf``). Motion, wrong delays and a wrong
T2* make it more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.optimize
import scipy.special

from coilbench.base.errors import MeasurementError
from recon.psf import BallImage, full_width

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.psf import RadialReadout
    from recon.relaxation import Relaxation

#: Names what computes the numbers below; counted up whenever they change.
ALGORITHM: Final = "ball resolution"
VERSION: Final = "1"
#: Full width at half maximum of a Gaussian over its standard deviation: 2 sqrt(2 ln 2).
_GAUSSIAN_WIDTH: Final = 2.3548200450309493


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """What a scan makes of a sharp wall.

    Parameters
    ----------
    profile
        Image value at signed distances outwards from the wall in m: 1 deep inside, 0 far outside.
    full_width
        Full width at half maximum in m of the point spread that made it.
    """

    profile: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    full_width: float

    def __call__(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the profile at signed distances in m, same shape."""
        return self.profile(distances)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The width of a point spread.

    Parameters
    ----------
    width
        Full width at half maximum in m.
    uncertainty
        Standard uncertainty in m.
    expected
        What the scan promises, m.
    """

    width: float
    uncertainty: float
    expected: float

    @property
    def ratio(self) -> float:
        """Found over expected: 1 when the scan does what it should."""
        return self.width / self.expected


def edge_of_readout(readout: RadialReadout, relaxation: Relaxation, radius: float) -> Edge:
    """Return the edge of a ball of ``radius`` (m) in a centre-out scan, with its ringing and its decay."""
    ball = BallImage(readout, radius, relaxation)

    def profile(distances: NDArray[np.float64]) -> NDArray[np.float64]:
        return ball(np.maximum(distances + radius, 0.0))

    return Edge(profile, full_width(readout, relaxation))


def gaussian_edge(width: float) -> Edge:
    """Return the edge of a Gaussian point spread of a full width at half maximum in m: for foreign images."""
    if not width > 0:
        raise ValueError(f"a width is positive, got {width} m")
    deviation = width / _GAUSSIAN_WIDTH

    def profile(distances: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(scipy.special.ndtr(-distances / deviation), dtype=np.float64)

    return Edge(profile, width)


def small_ball_resolution(
    image: NDArray[np.float32],
    grid: Grid,
    centre: tuple[float, float, float],
    radius: float,
    readout: RadialReadout,
    relaxation: Relaxation,
    *,
    deviation: float,
    independent_fraction: float = 1.0,
) -> Resolution:
    """Return the width of the point spread at a small ball in even surroundings.

    Parameters
    ----------
    image
        Real, in phase with the signal, shape (z, y, x); at high SNR a magnitude will do.
    grid
        Where the voxels are.
    centre, radius
        Of the ball: (x, y, z) to about a voxel, and m as made; smaller than about two voxels to tell much.
    readout, relaxation
        Of the scan and of the ball's content.
    deviation
        Of the noise's real part.
    independent_fraction
        Independent voxels over voxels.

    Raises
    ------
    MeasurementError
        The ball is too near to the image's border, or cannot be seen.
    """
    expected = full_width(readout, relaxation)
    near = grid.distances(centre) < radius + 1.5 * expected
    values = np.asarray(image[near], dtype=np.float64)
    positions = grid.positions()[near]
    if values.size < 27:
        raise MeasurementError(f"only {values.size} voxels of the image lie around the ball at {centre} m")
    balls: dict[float, BallImage] = {}

    def residuals(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        stretch = float(parameters[3])
        ball = balls.setdefault(stretch, BallImage(readout, radius / stretch, relaxation))
        shape = ball(np.linalg.norm(positions - parameters[:3], axis=1) / stretch)
        basis = np.stack([shape, np.ones_like(shape)], axis=1)
        coefficients = np.linalg.lstsq(basis, values, rcond=None)[0]
        return np.asarray((values - basis @ coefficients) / deviation, dtype=np.float64)

    flat = float(np.sum((values - values.mean()) ** 2)) / deviation**2
    found = scipy.optimize.least_squares(
        residuals,
        np.array([*centre, 1.0]),
        bounds=(np.array([*np.subtract(centre, expected), 0.2]), np.array([*np.add(centre, expected), 5.0])),
        x_scale=np.array([*[grid.spacing[2]] * 3, 0.1]),
        diff_step=1e-4,
    )
    # a ball explains far more than its five numbers would of noise: chi-squared 50 of 5 is 1 in 10⁹
    if flat - 2 * found.cost < 50 / independent_fraction:
        raise MeasurementError(f"no ball stands out of the noise at {centre} m")
    misfit = max(1.0, 2 * found.cost / max(1, values.size - 6))
    covariance = np.linalg.pinv(found.jac.T @ found.jac) * misfit / independent_fraction
    return Resolution(float(found.x[3]) * expected, float(np.sqrt(covariance[3, 3])) * expected, expected)
