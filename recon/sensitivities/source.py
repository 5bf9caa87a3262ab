"""Where an iterative reconstruction or a combination takes its sensitivities from: images, drawing, phantom.

A ``SensitivitySource`` is called when the grid and the channels are known. Channels are
whitened and compressed by then: ``mixing`` says how, for sensitivities that were measured another day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, get_args

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.sensitivities.espirit import espirit_sensitivities
from recon.sensitivities.low_resolution import low_resolution_sensitivities
from recon.sensitivities.predicted import fit_predicted
from recon.sensitivities.walsh import walsh_sensitivities

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.sensitivities.harmonic import HarmonicFit

ImageMethod = Literal["low-resolution", "walsh", "espirit"]
#: Ways that need nothing but the images, the fastest first.
IMAGE_METHODS: Final[tuple[ImageMethod, ...]] = get_args(ImageMethod)


@dataclass(frozen=True, slots=True, eq=False)
class GriddedChannels:
    """Channels whose sensitivities are wanted, as far as they are reconstructed.

    Parameters
    ----------
    images
        Gridded, as whitened and compressed, shape (channel, z, y, x).
    grid
        Where the voxels are.
    mixing
        What whitening and compression did, shape (channel, received channel).
    noise_gain
        Standard deviation of the real part of the images' noise; NaN without a noise scan.
    """

    images: NDArray[np.complex64]
    grid: Grid
    mixing: NDArray[np.complex128]
    noise_gain: float


class SensitivitySource(Protocol):
    """Says what each channel receives from each voxel."""

    def __call__(self, channels: GriddedChannels, /) -> tuple[NDArray[np.complex64], str]:
        """Return the sensitivities of the images' channels, same shape, 0 where unknown, and a note."""
        ...


@dataclass(frozen=True, slots=True)
class FromImages:
    """Sensitivities of an unknown object: the sum of their squares is 1, shading stays in the image.

    Parameters
    ----------
    method
        One of ``IMAGE_METHODS``.
    """

    method: ImageMethod = "low-resolution"

    def __call__(self, channels: GriddedChannels, /) -> tuple[NDArray[np.complex64], str]:
        """Return them; of a single channel, ones."""
        if len(channels.images) == 1:
            return np.ones_like(channels.images), "one channel: its sensitivity is taken as even"
        match self.method:
            case "low-resolution":
                maps = low_resolution_sensitivities(channels.images)
            case "walsh":
                maps = walsh_sensitivities(channels.images)
            case "espirit":
                maps = espirit_sensitivities(channels.images)
        return maps, f"sensitivities {self.method}"


@dataclass(frozen=True, slots=True, eq=False)
class FromDrawing:
    """Sensitivities from the coils as drawn, scaled, turned and mixed until they fit the phantom's bath.

    Whitening and compression are linear in the channels, so they are part of the mixture that is fitted.

    Parameters
    ----------
    fields
        Receive field of each loop at positions (x, y, z) in m, (..., 3) to (loop, ...), with the sense of
        rotation of the data; 0 where it is not to be used. Only its shape counts, not its unit.
    bath
        Voxels of a grid where the phantom is even and no boundary disturbs, shape (z, y, x).
    """

    fields: Callable[[NDArray[np.float64]], NDArray[np.complex128]]
    bath: Callable[[Grid], NDArray[np.bool_]]

    def __call__(self, channels: GriddedChannels, /) -> tuple[NDArray[np.complex64], str]:
        """Return them, in units of the bath, and what the fit left beside the noise.

        Raises
        ------
        MeasurementError
            The bath has too few voxels, or a channel no signal.
        """
        fields = self.fields(channels.grid.positions())
        bath = self.bath(channels.grid)
        fit = fit_predicted(channels.images, fields, bath)
        remark = f"sensitivities predicted from the drawing of {len(fields)} loops"
        size = np.sqrt(np.mean(np.abs(channels.images[:, bath]).astype(np.float64) ** 2, axis=1))
        # A complex image has the noise of both parts.
        left = fit.residuals * size / (np.sqrt(2) * channels.noise_gain)
        worst = int(np.argmax(left))
        if np.isfinite(left[worst]):
            remark += (
                f"; in the bath the fit leaves {float(np.median(left)):.2f} times the noise, at most "
                f"{float(left[worst]):.2f} (channel {worst + 1})"
            )
        return fit.evaluate(fields), remark


@dataclass(frozen=True, slots=True, eq=False)
class FromPhantom:
    """Sensitivities measured before, in the bath of a phantom.

    Parameters
    ----------
    fit
        Of the channels as received: without whitening or compression.
    name
        Of the scan, for the notes.
    """

    fit: HarmonicFit
    name: str

    def __call__(self, channels: GriddedChannels, /) -> tuple[NDArray[np.complex64], str]:
        """Return them in units of that bath; 0 outside its ball, where nothing was measured.

        Raises
        ------
        MeasurementError
            The phantom's scan had another number of channels.
        """
        received = self.fit.coefficients.shape[1]
        if channels.mixing.shape[1] != received:
            raise MeasurementError(
                f"sensitivities of {received} channels were measured in {self.name}, but these data have "
                f"{channels.mixing.shape[1]}: take a scan with the same array"
            )
        inside = channels.grid.distances(self.fit.centre) <= self.fit.radius
        maps = self.fit.evaluate(channels.grid.positions(), inside)
        mixed = np.einsum("ac,czyx->azyx", channels.mixing, maps, optimize=True)
        return mixed.astype(np.complex64), f"sensitivities measured in the bath of {self.name}"
