"""Maps of the concentration and of its uncertainty, what noise does apart from what is common.

Noise differs from voxel to voxel and shrinks in a mean. Everything else (the line's slope, relaxation times,
flip angle, sensitivities) is common to a compartment: it must not be averaged down, so it has its own map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.live import ChannelImages
    from recon.phantom import Phantom
    from recon.tsc.calibration import Calibration
    from recon.tsc.reading import Reading


@dataclass(frozen=True, slots=True, eq=False)
class ConcentrationMaps:
    """Concentration and its standard uncertainties in mmol/L, float32, shape (z, y, x); 0 outside the bath.

    Parameters
    ----------
    concentration
        Not corrected for partial volume: walls are blurred.
    noise
        Of each voxel, from the receivers' noise.
    systematic
        Common to all voxels of a compartment: does not fall in a mean over voxels.
    """

    concentration: NDArray[np.float32]
    noise: NDArray[np.float32]
    systematic: NDArray[np.float32]


def concentration_maps(
    images: ChannelImages,
    phantom: Phantom,
    reading: Reading,
    calibration: Calibration,
    weights: NDArray[np.float64],
) -> ConcentrationMaps:
    """Return the maps of one calibrated scan.

    Parameters
    ----------
    images
        Whitened channel images.
    phantom
        Geometry where it lies.
    reading
        The combined image in units of the bath.
    calibration
        The bath's concentration and the uncertainties of bath and vials.
    weights
        Signal per spin of the bath and of every vial, shape (1 + vial,).
    """
    body = reading.power > 0
    compartments = _compartments(images, phantom)[body]
    factor = (calibration.background * weights[0] / weights)[compartments]
    value = reading.combined.real[body] * factor
    deviation = images.noise_gain / np.sqrt(reading.power[body])
    relative = _systematic(calibration)[compartments]
    maps = np.zeros((3, *body.shape), dtype=np.float32)
    maps[0, body] = value
    maps[1, body] = deviation * factor
    maps[2, body] = np.abs(value) * relative
    return ConcentrationMaps(maps[0], maps[1], maps[2])


def _compartments(images: ChannelImages, phantom: Phantom) -> NDArray[np.int8]:
    """Return 0 in the bath and 1 + index in a vial, shape (z, y, x)."""
    compartments = np.zeros(images.grid.shape, dtype=np.int8)
    for index, vial in enumerate(phantom.vials):
        compartments[images.grid.distances(vial.centre) <= vial.radius] = 1 + index
    return compartments


def _systematic(calibration: Calibration) -> NDArray[np.float64]:
    """Return the relative uncertainty that is common to the voxels of bath and vials, (1 + vial,).

    The slope's own noise is common to all voxels of the map, so for a map it is systematic too.
    """
    bath = calibration.background_uncertainty
    slope_noise = dict(bath.contributions).get("noise", 0.0) / bath.value
    vials = [
        np.hypot(vial.systematic_uncertainty / max(vial.concentration, 1e-9), slope_noise)
        for vial in calibration.vials
    ]
    return np.array([bath.linear / bath.value, *vials])
