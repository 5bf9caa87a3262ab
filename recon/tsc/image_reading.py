"""What one finished image shows in a phantom's vials, where nothing is known of how it was made.

Walls are avoided, not corrected: cores keep a voxel away from them. Fields are not known either: a
surface of fourth order through the bath is taken off; what is uneven beyond it is a part of the uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.spatial

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.phantom import Phantom, Vial

#: Voxels of a core; fewer say nothing about noise.
_FEWEST: Final = 7
#: Standard deviation in m, per axis, of where a vial lies after the phantom's middle was found: 1° at 60 mm.
POSITION: Final = 1e-3
#: Radius of a smaller core over that of the core: what changes between them is what walls still do.
_SMALLER: Final = 0.75
#: Order of the surface through the bath: loops round a ball leave some percent to order 4.
_ORDER: Final = 4
#: Part of its mean below which the surface through the bath is no field of a coil.
_LEAST_FIELD: Final = 0.1
#: Places in the bath whose core-sized means are compared.
_PLACES: Final = 200


@dataclass(frozen=True, slots=True)
class CoreReading:
    """What an image shows in a vial's core.

    Parameters
    ----------
    mean
        In the image's unit.
    noise, position, walls
        Standard uncertainties of it in the image's unit: scatter of the voxels, in the core and in the
        surface through the bath; where the vial lies; what the walls still do.
    voxels
        Of the core.
    """

    mean: float
    noise: float
    position: float
    walls: float
    voxels: int


class PhantomImage:
    """A finished image of a phantom that lies at a known place.

    Parameters
    ----------
    image
        Shape (z, y, x).
    positions
        (x, y, z) in m of each voxel in the phantom's frame, shape (z, y, x, 3).
    phantom
        In that frame.
    voxel
        Largest edge of a voxel in m: so far cores stay away from their walls.

    Raises
    ------
    MeasurementError
        The bath has too little room between its walls, or shows no signal.
    """

    def __init__(
        self,
        image: NDArray[np.floating[Any]],
        positions: NDArray[np.float64],
        phantom: Phantom,
        voxel: float,
    ) -> None:
        self._phantom, self._voxel = phantom, voxel
        distance = np.linalg.norm(positions - np.asarray(phantom.centre), axis=-1)
        inside = distance <= phantom.radius
        bath = distance <= phantom.radius - 2 * voxel
        for vial in phantom.vials:
            bath &= np.linalg.norm(positions - np.asarray(vial.centre), axis=-1) >= vial.radius + 2 * voxel
        terms = _surface((positions[inside] - phantom.centre) / phantom.radius)
        seen = np.asarray(image[inside], dtype=np.float64)
        free = bath[inside]
        if np.count_nonzero(free) < 10 * terms.shape[1]:
            raise MeasurementError(
                f"{np.count_nonzero(free)} voxels of the bath are two voxels away from every wall, "
                f"{10 * terms.shape[1]} are needed to see how uneven the image is"
            )
        coefficients = np.linalg.lstsq(terms[free], seen[free], rcond=None)[0]
        field = terms @ coefficients
        level = float(field.mean())
        variance = float(np.var(seen[free] - field[free], ddof=terms.shape[1]))
        self._coefficients = coefficients
        self._covariance = np.linalg.inv(terms[free].T @ terms[free]) * variance
        if level <= 0 or field.min() < _LEAST_FIELD * level:
            raise MeasurementError(
                "the bath shows no signal, or one that is lost in places: is the phantom where it should be?"
            )
        self._values = seen * (level / field)
        #: The image with its unevenness taken off; 0 outside the phantom. Shape (z, y, x).
        self.even = np.zeros(image.shape)
        self.even[inside] = self._values
        self._tree = scipy.spatial.KDTree(positions[inside])

    def read(self, vial: Vial) -> CoreReading:
        """Return what the image shows in a vial's core.

        Raises
        ------
        MeasurementError
            The vial is too small for the voxels, or outside the image.
        """
        centre, radius = np.asarray(vial.centre), vial.radius - self._voxel
        values = self._within(centre, radius)
        if values.size < _FEWEST:
            raise MeasurementError(
                f"vial {vial.name} at {vial.centre} m holds {values.size} voxels that are "
                f"{1e3 * self._voxel:.1f} mm away from its wall, {_FEWEST} are needed: is it in the image, "
                "and wider than four voxels?"
            )
        moved = []
        for axis in np.eye(3):
            sides = [self._within(centre + sign * POSITION * axis, radius) for sign in (-1, 1)]
            if all(side.size for side in sides):
                moved.append(0.5 * (float(sides[1].mean()) - float(sides[0].mean())))
        mean, deviation = float(values.mean()), float(values.std(ddof=1))
        smaller = self._within(centre, _SMALLER * radius)
        walls = 0.0
        if smaller.size:
            # the means of a set and of a part of it differ by chance with the difference of their variances
            by_chance = deviation**2 * (1 / smaller.size - 1 / values.size)
            walls = float(np.sqrt(max((float(smaller.mean()) - mean) ** 2 - by_chance, 0.0)))
        position = float(np.sqrt(np.sum(np.square(moved))))
        noise = float(np.hypot(deviation / np.sqrt(values.size), mean * self._field_noise(centre)))
        return CoreReading(mean, noise, position, walls, int(values.size))

    def unevenness(self, *, seed: int = 0) -> float:
        """Return the relative standard deviation of core-sized means in the bath beyond their noise.

        Raises
        ------
        MeasurementError
            No core has room in the bath two voxels away from every wall.
        """
        random, phantom = np.random.default_rng(seed), self._phantom
        radius = float(np.median([vial.radius for vial in phantom.vials])) - self._voxel
        guard = radius + 2 * self._voxel
        means: list[float] = []
        variances: list[float] = []
        for _ in range(20 * _PLACES):
            place = np.asarray(phantom.centre) + random.uniform(-phantom.radius, phantom.radius, 3)
            if np.linalg.norm(place - phantom.centre) > phantom.radius - guard or any(
                np.linalg.norm(place - vial.centre) < vial.radius + guard for vial in phantom.vials
            ):
                continue
            values = self._within(place, radius)
            if values.size >= _FEWEST:
                means.append(float(values.mean()))
                variances.append(float(values.var(ddof=1)) / values.size)
            if len(means) == _PLACES:
                break
        if len(means) < 5:
            raise MeasurementError(
                "the bath has no room for a core two voxels away from every wall: how uneven the image is "
                "cannot be told, and without that no uncertainty"
            )
        beyond = float(np.var(means, ddof=1)) - float(np.mean(variances))
        return float(np.sqrt(max(beyond, 0.0))) / float(np.mean(means))

    def _field_noise(self, place: NDArray[np.float64]) -> float:
        """Return the relative standard uncertainty of the surface at a place, from noise."""
        phantom = self._phantom
        terms = _surface(((place - np.asarray(phantom.centre)) / phantom.radius)[None])[0]
        return float(np.sqrt(terms @ self._covariance @ terms) / (terms @ self._coefficients))

    def _within(self, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
        """Return the values of the voxels whose centres lie in a ball, shape (voxel,)."""
        near = self._tree.query_ball_point(centre, max(radius, 0.0))
        return np.asarray(self._values[near], dtype=np.float64)


def _surface(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the products of coordinates up to the surface's order, shape (voxel, term)."""
    powers = [one for one in product(range(_ORDER + 1), repeat=3) if sum(one) <= _ORDER]
    return np.stack([np.prod(places ** np.array(one), axis=1) for one in powers], axis=1)
