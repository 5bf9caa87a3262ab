"""How the phantom's balls spill into each other's cores in a given scan (geometric transfer matrix).

Rousset et al., J Nucl Med 39:904 (1998), with the radial point spread and T2* decay of ``recon.psf``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recon.psf import BallImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.phantom import Phantom
    from recon.psf import RadialReadout
    from recon.relaxation import Relaxation


@dataclass(frozen=True, slots=True, eq=False)
class Spill:
    """Core readings as a linear function of the vials' contrasts: ``v = offset + vials x``.

    Parameters
    ----------
    vials
        Mean over core i of the image of vial j, shape (core, vial).
    offset
        What the cores would read if the vials were empty, shape (core,).
    """

    vials: NDArray[np.float64]
    offset: NDArray[np.float64]

    @property
    def condition(self) -> float:
        """Condition number of the matrix: by how much the correction can amplify relative errors."""
        return float(np.linalg.cond(self.vials))

    def contrasts(self, readings: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the contrasts x, shape (vial,), from core readings, shape (core,)."""
        return np.asarray(np.linalg.solve(self.vials, readings - self.offset), dtype=np.float64)


def spill_matrix(
    phantom: Phantom,
    readout: RadialReadout,
    grid: Grid,
    cores: NDArray[np.float64],
    *,
    t2_star_scale: float = 1.0,
    frequency: float = 0.0,
    since: float = 0.0,
) -> Spill:
    """Return how the cores read the vials and the bath.

    Parameters
    ----------
    phantom, readout, grid
        Geometry, spoke, voxels.
    cores
        Weights of the cores, shape (vial, z, y, x), each summing to 1.
    t2_star_scale
        Factor on the transverse times of every material.
    frequency, since
        Offset in Hz of every material, and the time in s at which its phase is 0: the real part is returned.
    """
    used = cores.any(axis=0)
    weights = cores[:, used]
    balls = BallImages(readout, t2_star_scale, frequency, since)
    bath = phantom.background.relaxation
    vials, holes = [], []
    for vial in phantom.vials:
        distance = grid.distances(vial.centre)[used]
        vials.append(weights @ balls.image(vial.radius, vial.material.relaxation)(distance))
        holes.append(weights @ balls.image(vial.radius, bath)(distance))
    whole = weights @ balls.image(phantom.radius, bath)(grid.distances(phantom.centre)[used])
    return Spill(np.stack(vials, axis=1), whole - np.sum(holes, axis=0))


def expected_image(
    phantom: Phantom,
    readout: RadialReadout,
    grid: Grid,
    contrasts: NDArray[np.float64],
    mask: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the image of the phantom seen by a uniform coil, 1 deep in the bath.

    Parameters
    ----------
    phantom, readout, grid
        Geometry, spoke, voxels.
    contrasts
        Signal of each vial relative to the bath, shape (vial,).
    mask
        Where it is needed; 1 elsewhere.

    Returns
    -------
    Shape (z, y, x).
    """
    bath = phantom.background.relaxation
    balls = BallImages(readout)
    values = balls.image(phantom.radius, bath)(grid.distances(phantom.centre)[mask])
    for vial, contrast in zip(phantom.vials, contrasts, strict=True):
        distance = grid.distances(vial.centre)[mask]
        values = values + contrast * balls.image(vial.radius, vial.material.relaxation)(distance)
        values = values - balls.image(vial.radius, bath)(distance)
    image = np.ones(grid.shape)
    image[mask] = values
    return image


class BallImages:
    """Images of balls in one readout, each computed once.

    Parameters
    ----------
    readout
        The spoke.
    t2_star_scale
        Factor on all transverse times.
    frequency, since
        Offset in Hz, and the time in s at which its phase is 0.
    """

    def __init__(
        self,
        readout: RadialReadout,
        t2_star_scale: float = 1.0,
        frequency: float = 0.0,
        since: float = 0.0,
    ) -> None:
        self._readout = readout
        self._scale = t2_star_scale
        self._frequency = frequency
        self._since = since
        self._images: dict[tuple[float, Relaxation], BallImage] = {}

    def image(self, radius: float, relaxation: Relaxation) -> BallImage:
        """Return the image of a ball of ``radius`` (m) and ``relaxation``."""
        key = (radius, relaxation)
        if key not in self._images:
            self._images[key] = BallImage(
                self._readout,
                radius,
                relaxation,
                t2_star_scale=self._scale,
                frequency=self._frequency,
                since=self._since,
            )
        return self._images[key]
