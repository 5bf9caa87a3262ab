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
from scipy.interpolate import CubicSpline
from scipy.special import spherical_jn

from coilbench.base.errors import MeasurementError
from recon.psf import BallImage, full_width, transfer_function

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.psf import RadialReadout
    from recon.relaxation import Relaxation

#: Names what computes the numbers below; counted up whenever they change.
ALGORITHM: Final = "ball resolution"
VERSION: Final = "1"
#: Highest degree of the solid harmonics whose edges are known, and of those times r²: those of a loop's field
#: in a ball of two thirds of its distance, to 1 %, and what conduction and smooth shading add.
SHADING_DEGREE: Final = 6
RADIAL_DEGREE: Final = 1
#: Steps of the integral over k: 25 per cycle of the fastest oscillation at 0.15 m and 80 1/m.
_STEPS: Final = 600
#: Distances from the wall at which edges are computed: 40 a resolution.
_TABLE: Final = 241
#: How far the table of edges reaches, in full widths of the point spread.
_REACH: Final = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """What a scan makes of the sharp wall of a ball that is shaded by solid harmonics.

    The image of (r / radius)^p Y_lm in a ball is Y_lm times one function of r for each (l, p): the point
    spread mixes what lies before and behind the wall, so a shaded edge is not the shading times an edge.

    Parameters
    ----------
    shadings
        Degree l and power p of each shading: p = l up to ``SHADING_DEGREE``, then l + 2 up to
        ``RADIAL_DEGREE``.
    distances
        From the wall outwards in m, even steps, shape (distance,).
    profiles
        Image of each shading there, shape (shading, distance); before blurring 1 at the wall's inside.
    full_width
        Full width at half maximum in m of the point spread that made it.
    """

    shadings: tuple[tuple[int, int], ...]
    distances: NDArray[np.float64]
    profiles: NDArray[np.float64]
    full_width: float

    def __call__(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the profiles at signed distances in m, shape (shading, distance); cubic interpolation.

        Beyond the table it is the table's end.
        """
        inside = np.clip(distances, self.distances[0], self.distances[-1])
        return np.asarray(CubicSpline(self.distances, self.profiles, axis=1)(inside), dtype=np.float64)


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
    """Return the edge of a ball of ``radius`` (m) in a centre-out scan, with its ringing and its decay.

    Notes
    -----
    With x = 2 pi k R, the transform of (r / R)^l Y_lm in the ball is 4 pi (-i)^l Y_lm R³ j_{l+1}(x) / x, that
    of (r / R)^{l+2} Y_lm the same with j_{l+1}(x) / x - 2 j_{l+2}(x) / x²; the image at r is the integral of
    4 pi k² times transform, decay and window, and j_l(2 pi k r).
    """
    width = full_width(readout, relaxation)
    k, transfer = transfer_function(readout, relaxation)
    even = np.linspace(0.0, k[-1], _STEPS + 1)[1:]
    measure = 16 * np.pi**2 * even**2 * np.interp(even, k, transfer) * (even[1] - even[0]) * radius**3
    measure[-1] *= 0.5
    x = 2 * np.pi * even * radius
    distances = width * _REACH * np.linspace(-1.0, 1.0, _TABLE)
    inner = distances[distances > 1e-3 * width - radius]
    shadings = (
        *((degree, degree) for degree in range(SHADING_DEGREE + 1)),
        *((degree, degree + 2) for degree in range(RADIAL_DEGREE + 1)),
    )
    waves = {
        degree: spherical_jn(degree, 2 * np.pi * np.outer(radius + inner, even))
        for degree in range(SHADING_DEGREE + 1)
    }
    profiles = []
    for degree, power in shadings:
        transform = spherical_jn(degree + 1, x) / x
        if power > degree:
            transform = transform - 2 * spherical_jn(degree + 2, x) / x**2
        profiles.append(waves[degree] @ (measure * transform))
    return Edge(shadings, inner, np.array(profiles), width)


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
