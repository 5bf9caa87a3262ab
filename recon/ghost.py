"""What an image shows where there is nothing: ghosts of Cartesian scans, streaks of radial ones.

A radial scan has no phase-encoding direction, so nothing repeats along it: too few spokes, motion or a bad
gradient show as streaks, that is as more power outside the phantom than its noise alone would leave there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid

#: Names what computes the numbers below; counted up whenever they change.
ALGORITHM: Final = "ghosts and streaks"
VERSION: Final = "1"
#: Area in m² of each region outside, and its length over its width: ACR Large Phantom Test Guidance,
#: section 6.3 (about 10 cm², 4 to 1).
_OUTSIDE_AREA: Final = 1e-3
_OUTSIDE_RATIO: Final = 4.0
#: Area in m² of the region inside, same source (about 200 cm²), at most this fraction of the radius.
_INSIDE_AREA: Final = 2e-2
_INSIDE_FRACTION: Final = 0.9
#: Voxels of noise without which no level can be stated.
_FEWEST_VOXELS: Final = 50


@dataclass(frozen=True, slots=True, eq=False)
class Streaks:
    """Power outside the phantom over that of noise.

    Parameters
    ----------
    ratio
        Root-mean-square background over that of the noise, less 1: 0 for noise alone.
    uncertainty
        Standard uncertainty of ``ratio`` from the finite number of independent voxels.
    angular_power
        Relative power of the background's variation around the z axis with 1, 2, 3... lobes, shape (lobe,):
        1 where noise alone would be, large where streaks point.
    """

    ratio: float
    uncertainty: float
    angular_power: NDArray[np.float64]


def percent_signal_ghosting(
    image: NDArray[np.float32], grid: Grid, centre: tuple[float, float, float], radius: float
) -> float:
    """Return 100 |(top + bottom) - (left + right)| / (2 inside) of a slice, in percent.

    Parameters
    ----------
    image
        Magnitude, shape (1, y, x).
    grid
        Where its voxels are.
    centre, radius
        Of the phantom: (x, y, z) and m.

    Raises
    ------
    MeasurementError
        There is no room for the regions between the phantom and the image's border, or no signal.

    Notes
    -----
    ACR Large Phantom Test Guidance, section 6.3. Ghosts along one axis lift one pair; noise lifts both.
    """
    if image.shape[0] != 1:
        raise ValueError(f"ghosting is measured in one slice, got an image of shape {image.shape}")
    _, y, x = grid.axes()
    across, up = np.meshgrid(x - centre[0], y - centre[1])
    thin = float(np.sqrt(_OUTSIDE_AREA / (np.pi * _OUTSIDE_RATIO)))  # half the short axis of an ellipse
    means = []
    for along, side, border in ((up, 1, y), (up, -1, y), (across, 1, x), (across, -1, x)):
        start = centre[1] if along is up else centre[0]
        edge = float(np.max(border) if side > 0 else -np.min(border)) - side * start
        room = edge - radius
        if room < 2 * max(grid.spacing[1:]):
            raise MeasurementError(
                f"{room * 1e3:.0f} mm between the phantom and the image's border leave no room to look for "
                "ghosts: use a larger field of view"
            )
        half = min(thin, 0.4 * room)
        longer = _OUTSIDE_AREA / (np.pi * half)
        other = across if along is up else up
        middle = radius + 0.5 * room
        inside = ((side * along - middle) / half) ** 2 + (other / longer) ** 2 <= 1
        means.append(float(np.mean(image[0][inside])))
    reach = min(np.sqrt(_INSIDE_AREA / np.pi), _INSIDE_FRACTION * radius)
    signal = float(np.mean(image[0][across**2 + up**2 <= reach**2]))
    if signal <= 0:
        raise MeasurementError("ghosting needs signal: there is none in the phantom")
    return 100 * abs((means[0] + means[1]) - (means[2] + means[3])) / (2 * signal)


def streaks(
    images: NDArray[np.complex64],
    grid: Grid,
    centre: tuple[float, float, float],
    inner: float,
    outer: float,
    *,
    deviation: float,
    independent_fraction: float = 1.0,
    lobes: int = 16,
) -> Streaks:
    """Return how far the background of a radial scan lies above its noise.

    Parameters
    ----------
    images
        Whitened channel images, shape (channel, z, y, x); all channels count alike.
    grid
        Where the voxels are.
    centre
        Of the phantom, (x, y, z) in m.
    inner, outer
        Radii in m of the shell that is looked at: well outside the phantom's wall (1.5 resolutions), and
        within what the scan encodes.
    deviation
        Of the real part of the noise in every channel image.
    independent_fraction
        Independent voxels over voxels.
    lobes
        How many numbers of lobes are told apart.

    Raises
    ------
    MeasurementError
        The shell has too few voxels.
    """
    distance = grid.distances(centre)
    shell = (distance > inner) & (distance <= outer)
    count = float(np.count_nonzero(shell)) * independent_fraction * images.shape[0]
    if np.count_nonzero(shell) < _FEWEST_VOXELS:
        raise MeasurementError(
            f"only {np.count_nonzero(shell)} voxels lie between {inner * 1e3:.0f} and {outer * 1e3:.0f} mm "
            "from the phantom's centre: use a larger field of view to see streaks"
        )
    # a complex value has the mean square 2 sigma²
    power = np.mean(np.abs(images[:, shell]).astype(np.float64) ** 2, axis=0) / (2 * deviation**2)
    mean = float(np.mean(power))
    ratio = float(np.sqrt(mean))
    _, y, x = grid.axes()
    angle = np.broadcast_to(
        np.arctan2(y[None, :, None] - centre[1], x[None, None, :] - centre[0]), grid.shape
    )[shell]
    waves = np.exp(-1j * np.outer(np.arange(1, lobes + 1), angle))
    # of independent values of mean m and variance v, the sum over voxels with any phase has the variance v
    spread = power.var() * angle.size / independent_fraction
    angular = np.abs(waves @ (power - mean)) ** 2 / spread
    return Streaks(ratio - 1.0, ratio / (2 * np.sqrt(count)), np.asarray(angular, dtype=np.float64))
