"""What an unknown frequency and an unknown gradient delay do to the readings: parts of the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from recon.blur import spill_matrix
from recon.density import window
from recon.tsc.reading import respond
from recon.tsc.undersampling import compartment_contents

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.blur import Spill
    from recon.grid import Grid
    from recon.live import ChannelImages
    from recon.phantom import Phantom
    from recon.psf import RadialReadout
    from recon.tsc.protocol import Protocol
    from recon.tsc.reading import Reading


def off_resonance_covariance(
    phantom: Phantom,
    readout: RadialReadout,
    grid: Grid,
    cores: NDArray[np.float64],
    spill: Spill,
    contrasts: NDArray[np.float64],
    protocol: Protocol,
) -> NDArray[np.float64]:
    """Return what unknown frequencies do to the readings, shape (vial, vial).

    Phase that grows along the spoke lowers the real part of high spatial frequencies; the bath's phase at
    the echo time is the sensitivities'. All of it is even in the offset: the effect at sqrt(3) times the
    standard uncertainty, weighted by 1/3, has the mean square of a quadratic effect of a normal offset.

    Parameters
    ----------
    phantom, readout, grid
        Geometry where it lies, spoke, voxels.
    cores
        Weights of the cores, shape (vial, z, y, x).
    spill
        Of the phantom on resonance.
    contrasts
        Signal of each vial relative to the bath, shape (vial,).
    protocol
        States how well frequencies are known.
    """
    effects = []
    echo = readout.echo_time
    if common := np.sqrt(3.0) * protocol.frequency_uncertainty:
        off = spill_matrix(phantom, readout, grid, cores, frequency=common, since=echo)
        effects.append(off.offset - spill.offset + (off.vials - spill.vials) @ contrasts)
    if own := np.sqrt(3.0) * protocol.frequency_spread:
        bath = spill_matrix(phantom, readout, grid, cores, frequency=own, since=echo)
        turned = np.cos(2 * np.pi * own * echo) - 1
        effects.append(bath.offset - spill.offset + turned * (spill.vials @ contrasts))
        off = spill_matrix(phantom, readout, grid, cores, frequency=own)
        effects.extend(((off.vials - spill.vials) * contrasts).T)
    total = np.zeros((contrasts.size, contrasts.size))
    for effect in effects:
        total += np.outer(effect, effect) / 3
    return total


def delay_covariance(
    images: ChannelImages,
    phantom: Phantom,
    readout: RadialReadout,
    reading: Reading,
    cores: NDArray[np.float64],
    contrasts: NDArray[np.float64],
    protocol: Protocol,
) -> NDArray[np.float64]:
    """Return what an unknown delay of all gradients does to the readings, shape (vial, vial).

    A sample is |dk/dt| d closer to the centre than it is taken for, so the image changes by the transform of
    -d |dk/dt| / |k| (k . grad S), with grad S the transform of -2 pi i x times the object.

    Parameters
    ----------
    images
        Whitened channel images.
    phantom, readout
        Geometry where it lies, and spoke.
    reading
        Sensitivities of the bath.
    cores
        Weights of the cores, shape (vial, z, y, x).
    contrasts
        Signal of each vial relative to the bath, shape (vial,).
    protocol
        States how well the delay is known.
    """
    grid = images.grid
    axes = grid.axes()
    frequencies = [np.fft.fftfreq(n, step) for n, step in zip(grid.shape, grid.spacing, strict=True)]
    kz, ky, kx = np.meshgrid(*frequencies, indexing="ij")
    radius = np.sqrt(kx**2 + ky**2 + kz**2)
    times = readout.time_at(radius)
    speed = np.interp(times, readout.times, np.gradient(readout.radii, readout.times))
    speed *= window(radius, readout.nyquist, readout.filter_window) * (radius <= readout.extent)
    spectrum = np.zeros(grid.shape, dtype=np.complex128)
    for relaxation, content in compartment_contents(grid, phantom, contrasts).items():
        decay = relaxation.decay(times) / relaxation.decay(readout.echo_time)
        for number, k in enumerate((kz, ky, kx)):
            place = axes[number].reshape([-1 if axis == number else 1 for axis in range(3)])
            moment = np.asarray(scipy.fft.fftn(scipy.fft.ifftshift(content * place)))
            spectrum += decay * k * moment
    spectrum *= 2j * np.pi * speed / np.where(radius > 0, radius, 1.0)
    change = scipy.fft.fftshift(np.asarray(scipy.fft.ifftn(spectrum))).real
    effect = protocol.delay_uncertainty * respond(images, reading, cores, change)
    return np.outer(effect, effect)
