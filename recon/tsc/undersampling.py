"""What too few spokes do to the image of this phantom: computed from the spokes themselves, and taken off.

Between spokes k-space is guessed, so bright vials throw streaks through the image: with a third of the spokes
that the phantom asks for they move vials by up to 1 %. The phantom is known well enough to say where they go:
its compartments, shaded by the fitted sensitivities, are convolved with the difference between the point
spread of the real sampling and that of infinitely many spokes (``recon.psf``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.fft

from recon.blur import BallImages
from recon.grid import Grid
from recon.nufft import NonUniformTransform
from recon.psf import BallImage, RadialReadout
from recon.relaxation import Relaxation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.live import ChannelImages
    from recon.phantom import Phantom
    from recon.tsc.reading import Reading

#: Part of the correction that may be wrong (standard uncertainty). Measured without noise, with nearly free
#: high degrees of the sensitivities, over arrays drawn anew, as what was left over what was taken off: 0.19,
#: 0.13, 0.12 (15 mm vials; 0.34, 0.49, 0.97 of 4 pi (kmax D)² spokes) and 0.21, 0.24 (22 mm; 0.48, 0.96).
RESIDUE: Final = 0.2
#: Radius in m of the ball whose image is the point spread: a thousandth of any voxel.
_POINT: Final = 1e-6
#: No decay: a time constant a million times the (nominal, one second) readout.
_STABLE: Final = Relaxation(1.0, ((1.0, 1e6),))
#: Voxels beyond the bath in which its sensitivities are still needed: there its sharp edge rings out.
_RIM: Final = 2.0


def undersampling_error(
    images: ChannelImages,
    phantom: Phantom,
    readout: RadialReadout,
    reading: Reading,
    contrasts: NDArray[np.float64],
) -> NDArray[np.complex64]:
    """Return what the images have too much because directions between the spokes were not measured.

    Parameters
    ----------
    images
        Whitened channel images with their trajectory and weights.
    phantom, readout
        Geometry where it lies, and spoke.
    reading
        Sensitivities of the bath.
    contrasts
        Signal of each vial relative to the bath, shape (vial,).

    Returns
    -------
    Shape (channel, z, y, x): subtract it.
    """
    grid = images.grid
    nz, ny, nx = grid.shape
    fz, fy, fx = grid.field_of_view
    doubled = Grid((2 * nz, 2 * ny, 2 * nx), (2 * fz, 2 * fy, 2 * fx))
    transform = NonUniformTransform(doubled, images.positions)
    radii = np.linalg.norm(images.positions, axis=1)
    distances = doubled.distances((0.0, 0.0, 0.0))
    reach = phantom.radius + _RIM * max(grid.spacing)
    sensitivities = reading.fit.evaluate(grid.positions(), grid.distances(phantom.centre) <= reach)
    spectrum = np.zeros((images.channels, *doubled.shape), dtype=np.complex64)
    for relaxation, content in compartment_contents(grid, phantom, contrasts).items():
        decay = relaxation.decay(readout.time_at(radii)) / relaxation.decay(readout.echo_time)
        real = transform.adjoint((images.density * decay).astype(np.complex64)[None])[0].real
        point = BallImage(readout, _POINT, relaxation)(distances) / (4 / 3 * np.pi * _POINT**3)
        kernel = ((real - point) * grid.voxel_volume).astype(np.float32)
        response = np.asarray(scipy.fft.fftn(scipy.fft.ifftshift(kernel)))
        shaded = sensitivities * content.astype(np.float32)
        # Axis by axis: rows of the empty half are neither transformed nor, on the way back, wanted.
        for axis in (3, 2, 1):
            shaded = np.asarray(scipy.fft.fft(shaded, n=doubled.shape[axis - 1], axis=axis, overwrite_x=True))
        shaded *= response
        spectrum += shaded
    for axis, kept in ((1, nz), (2, ny), (3, nx)):
        whole = np.asarray(scipy.fft.ifft(spectrum, axis=axis, overwrite_x=True))
        spectrum = whole[(slice(None),) * axis + (slice(kept),)]
    return np.ascontiguousarray(spectrum, dtype=np.complex64)


def compartment_contents(
    grid: Grid, phantom: Phantom, contrasts: NDArray[np.float64]
) -> dict[Relaxation, NDArray[np.float64]]:
    """Return the signal of the compartments of each relaxation in units of the bath, (z, y, x).

    Every frequency up to the grid's is whole: balls averaged over voxels would have lost a third at the end.
    """
    sharp = BallImages(_even_readout(grid.nyquist))

    def ball(radius: float, centre: tuple[float, float, float]) -> NDArray[np.float64]:
        return sharp.image(radius, _STABLE)(grid.distances(centre))

    bath = ball(phantom.radius, phantom.centre)
    contents = {phantom.background.relaxation: bath}
    for vial, contrast in zip(phantom.vials, contrasts, strict=True):
        inside = ball(vial.radius, vial.centre)
        bath -= inside
        own = contents.setdefault(vial.material.relaxation, np.zeros(grid.shape))
        own += contrast * inside
    return contents


def _even_readout(limit: float) -> RadialReadout:
    """Return a readout that weighs all of k-space alike up to ``limit`` (1/m)."""
    fractions = np.linspace(0.0, 1.0, 201)
    # The last sample's shell reaches half a step beyond it.
    radii = limit * fractions / (1 + 0.5 * fractions[1])
    return RadialReadout(fractions, radii, "none", 2 * limit)
