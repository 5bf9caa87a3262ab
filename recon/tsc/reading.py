"""What the cores of the vials read in units of the bath, and how much that scatters.

The bath's harmonic fit gives each channel's sensitivity times the bath's signal, so the combined image is 1
in the bath and the receive field B1- is divided out, also within the vials, where the fit continues.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recon.blur import BallImages, expected_image, spill_matrix
from recon.combine import combine_roemer
from recon.functionals import ImageNoise
from recon.regions import background_mask, ball_weights, body_mask
from recon.sensitivities import fit_harmonics
from recon.sensitivities.harmonic import DEGREE
from recon.tsc.receive_field import SensitivityPrior, sensitivity_prior
from recon.tsc.undersampling import undersampling_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.live import ChannelImages
    from recon.phantom import Phantom
    from recon.psf import RadialReadout
    from recon.sensitivities import HarmonicFit

#: Fewest places in the bath from which its unevenness is judged.
_FEWEST_PROBES: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The combined image in units of the bath, and what it was made with.

    Parameters
    ----------
    fit
        Sensitivities as smooth functions.
    sensitivities
        On the grid, complex64, shape (channel, z, y, x); 0 outside the bath.
    power
        Sum of their squares, shape (z, y, x).
    combined
        complex64, shape (z, y, x).
    shape
        Expected image of the phantom under a uniform coil, shape (z, y, x).
    streaks
        What was taken off ``combined`` for directions left out, through the sensitivities too, in units of
        the bath, shape (z, y, x); None where nothing was.
    prior
        What was expected of the sensitivities' high degrees.
    """

    fit: HarmonicFit
    sensitivities: NDArray[np.complex64]
    power: NDArray[np.float64]
    combined: NDArray[np.complex64]
    shape: NDArray[np.float64]
    streaks: NDArray[np.float32] | None = None
    prior: SensitivityPrior | None = None

    def undersampling(self, cores: NDArray[np.float64]) -> float:
        """Return the root mean square over the cores of what was taken off for directions left out."""
        if self.streaks is None:
            return 0.0
        return float(np.sqrt(np.mean(np.einsum("izyx,zyx->i", cores, self.streaks) ** 2)))

    def cores(self, cores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of each core, shape (vial,), from weights of shape (vial, z, y, x)."""
        return np.asarray(np.einsum("izyx,zyx->i", cores, self.combined.real), dtype=np.float64)


def read_phantom(
    images: ChannelImages, phantom: Phantom, readout: RadialReadout, cores: NDArray[np.float64]
) -> Reading:
    """Fit the sensitivities and combine, three times: knowing ever better how the vials disturb the bath.

    The second time the ringing of the vials in the bath is known, the third time the streaks that they
    throw because directions were left out (``recon.tsc.undersampling``).

    Parameters
    ----------
    images
        Whitened channel images.
    phantom, readout
        Geometry where it lies, and spoke.
    cores
        Weights that sum to 1, shape (vial, z, y, x).

    Raises
    ------
    MeasurementError
        Too little background for the fit.
    """
    grid = images.grid
    mask = background_mask(grid, phantom)
    spill = spill_matrix(phantom, readout, grid, cores)
    first = combine_fitted(images, phantom, mask, np.ones(grid.shape))
    prior = sensitivity_prior(images, first.fit)
    contrasts = spill.contrasts(first.cores(cores))
    shape = expected_image(phantom, readout, grid, contrasts, mask)
    second = combine_fitted(images, phantom, mask, shape, prior)
    streaks = undersampling_error(images, phantom, readout, second, spill.contrasts(second.cores(cores)))
    even = replace(images, images=images.images - streaks)
    third = combine_fitted(even, phantom, mask, shape, prior)
    return replace(third, streaks=(second.combined - third.combined).real)


def combine_fitted(
    images: ChannelImages,
    phantom: Phantom,
    mask: NDArray[np.bool_],
    shape: NDArray[np.float64],
    prior: SensitivityPrior | None = None,
) -> Reading:
    """Return the image in units of the bath, given the expected shape of the bath's image.

    Parameters
    ----------
    images
        Whitened channel images.
    phantom
        Geometry where it lies.
    mask
        Voxels that are fitted, shape (z, y, x).
    shape
        Image under a uniform coil, 1 in the bath, shape (z, y, x).
    prior
        What is expected of high degrees; None: plain least squares of a low degree.
    """
    positions = images.grid.positions()
    fit = fit_harmonics(
        images.images,
        positions,
        mask,
        centre=phantom.centre,
        radius=phantom.radius,
        shape=shape,
        degree=prior.degree if prior else DEGREE,
        penalties=prior.penalties if prior else None,
    )
    sensitivities = fit.evaluate(positions, body_mask(images.grid, phantom))
    power = np.einsum("c...,c...->...", sensitivities, sensitivities.conj()).real
    return Reading(
        fit=fit,
        sensitivities=sensitivities,
        power=power.astype(np.float64),
        combined=combine_roemer(images.images, sensitivities),
        shape=shape,
        prior=prior,
    )


def core_noise(images: ChannelImages, reading: Reading, cores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the noise covariance of the core readings, the fit's noise included, shape (vial, vial)."""
    noise = ImageNoise(images, reading.fit.mask | np.any(cores > 0, axis=0))
    return noise.covariance(core_functionals(images, reading, cores, noise.box))


def core_functionals(
    images: ChannelImages,
    reading: Reading,
    cores: NDArray[np.float64],
    box: tuple[slice, slice, slice],
) -> NDArray[np.complex64]:
    """Return how the readings follow the channel images, shape (vial, channel, z, y, x) of the box.

    To first order d v = s^H (d a - v d s) / s^H s, and d s is the fit's projection of d a in the bath.
    """
    used: NDArray[np.bool_] = np.any(cores > 0, axis=0)
    inside, bath = used[box], reading.fit.mask[box]
    functionals = np.zeros((cores.shape[0], images.channels, *inside.shape), dtype=np.complex64)
    direct, through_fit = _responses(images, reading, cores)
    functionals[:, :, inside] = direct
    functionals[:, :, bath] -= (through_fit @ reading.fit.projector).astype(np.complex64)
    return functionals


def receive_field_covariance(
    images: ChannelImages, reading: Reading, cores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what the sensitivities' damped high degrees leave in the readings, shape (vial, vial).

    Noise of the sensitivities is in ``core_noise``; this is the part of the true field that the fit's prior
    holds back where the bath does not show it.
    """
    count = cores.shape[0]
    if reading.prior is None:
        return np.zeros((count, count))
    mask = reading.fit.mask
    design = reading.fit.basis(images.grid.positions()[mask]) * reading.shape[mask][:, None]
    held_back = reading.prior.held_back(design)
    _, through_fit = _responses(images, reading, cores)
    left = np.einsum("ict,tu,jcu->ij", through_fit, held_back, through_fit.conj()).real
    # Half: of a complex coefficient's variance, one part is real.
    return np.asarray(0.5 * left, dtype=np.float64)


def respond(
    images: ChannelImages,
    reading: Reading,
    cores: NDArray[np.float64],
    change: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the change of the readings when what a uniform coil sees changes, shape (vial,).

    Parameters
    ----------
    images, reading
        What was read; the fit follows the change in the bath.
    cores
        Weights of the cores, shape (vial, z, y, x).
    change
        In units of the bath, shape (z, y, x).
    """
    used: NDArray[np.bool_] = np.any(cores > 0, axis=0)
    direct, through_fit = _responses(images, reading, cores)
    seen = reading.sensitivities * change
    followed = np.einsum("tv,cv->ct", reading.fit.projector, seen[:, reading.fit.mask])
    whole = np.einsum("icv,cv->i", direct, seen[:, used]) - np.einsum("ict,ct->i", through_fit, followed)
    return np.asarray(whole.real, dtype=np.float64)


def _responses(
    images: ChannelImages, reading: Reading, cores: NDArray[np.float64]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return d reading / d image, (vial, channel, voxel of any core), and / d coefficient, (.., term)."""
    used: NDArray[np.bool_] = np.any(cores > 0, axis=0)
    inverse = np.conj(reading.sensitivities[:, used]) / reading.power[used]
    direct = (cores[:, None, used] * inverse).astype(np.complex128)
    basis = reading.fit.basis(images.grid.positions()[used])
    return direct, np.asarray((direct * reading.combined[used]) @ basis, dtype=np.complex128)


def bath_unevenness(
    reading: Reading,
    images: ChannelImages,
    cores: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> float:
    """Return how much core-sized means in the bath scatter beyond their noise (0 if not significantly).

    The bath is uniform, so what scatters there is undersampling, ringing or a wrong sensitivity, and
    the same must be expected in a vial.
    """
    import scipy.stats

    grid = images.grid
    # A ball of as many voxels as the cores have on average; of even weights, their number is 1 / sum w².
    voxels = np.mean([1 / np.sum(core**2) for core in cores])
    radius = float(np.cbrt(voxels * grid.voxel_volume * 3 / (4 * np.pi)))
    centres = _probe_centres(grid, reading.fit.mask, radius)
    if len(centres) < _FEWEST_PROBES:
        return 0.0
    flat = reading.combined.real / reading.shape
    variance_times_power = np.mean(
        [
            variance * np.sum(core * reading.power)
            for variance, core in zip(np.diag(noise), cores, strict=True)
        ]
    )
    means, variances = [], []
    for x, y, z in centres:
        weights = ball_weights(grid, (float(x), float(y), float(z)), radius)
        weights /= weights.sum()
        means.append(float(np.sum(weights * flat)))
        variances.append(variance_times_power / float(np.sum(weights * reading.power)))
    scatter, expected = float(np.var(means, ddof=1)), float(np.mean(variances))
    limit = scipy.stats.chi2.ppf(0.95, len(means) - 1) / (len(means) - 1)
    return float(np.sqrt(scatter - expected)) if scatter > limit * expected else 0.0


def _probe_centres(grid: Grid, mask: NDArray[np.bool_], radius: float) -> list[NDArray[np.float64]]:
    """Return centres (x, y, z) of balls of ``radius`` within the mask that do not overlap."""
    import scipy.ndimage

    distance: Any = scipy.ndimage.distance_transform_edt(mask, sampling=grid.spacing)
    depth = np.asarray(distance, dtype=np.float64)
    candidates = depth > radius
    places = grid.positions()[candidates]
    centres: list[NDArray[np.float64]] = []
    for place in places[np.argsort(-depth[candidates], kind="stable")]:
        if all(np.linalg.norm(place - other) >= 2 * radius for other in centres):
            centres.append(place)
    return centres


def position_covariance(
    phantom: Phantom,
    readout: RadialReadout,
    grid: Grid,
    cores: NDArray[np.float64],
    contrasts: NDArray[np.float64],
    registration: float = 0.0,
) -> NDArray[np.float64]:
    """Return what the vials' displacements do to their readings, shape (vial, vial).

    A core's reading is flat about its centre, so displacement acts in second order: the readings are
    computed at the six points ± sqrt(3) sigma along the axes, whose mean square is right for linear terms
    and 9/15 of it for quadratic ones (Julier, Uhlmann, Proc IEEE 92:401 (2004), without centre point).

    Parameters
    ----------
    phantom, readout, grid
        Geometry where it lies, spoke, voxels.
    cores
        Weights of the cores, shape (vial, z, y, x).
    contrasts
        Signal of each vial relative to the bath, shape (vial,).
    registration
        Standard uncertainty in m, per axis, of where the whole phantom lies.
    """
    used = cores.any(axis=0)
    places, weights = grid.positions()[used], cores[:, used]
    balls = BallImages(readout)
    variances = []
    for vial, weight, contrast in zip(phantom.vials, weights, contrasts, strict=True):
        inside = weight > 0
        step = np.sqrt(3.0) * float(np.hypot(vial.position_tolerance, registration))
        moves = np.concatenate([np.zeros((1, 3)), step * np.eye(3), -step * np.eye(3)])
        readings = []
        for move in moves:
            distance = np.linalg.norm(places[inside] - np.array(vial.centre) - move, axis=1)
            own = balls.image(vial.radius, vial.material.relaxation)(distance)
            hole = balls.image(vial.radius, phantom.background.relaxation)(distance)
            readings.append(float(weight[inside] @ (contrast * own - hole)))
        variances.append(float(np.sum((np.array(readings[1:]) - readings[0]) ** 2)) / 6)
    return np.diag(variances)
