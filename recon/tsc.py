"""Tissue sodium concentration by regression through reference vials, with an uncertainty budget.

The bath's harmonic fit gives each channel's sensitivity times the bath's signal, so the combined image is 1
in the bath. A vial's core then reads

    v_i = b_i + sum over j of (V_ij x_j - B_ij),   x_j = rho_j w_j / (rho_bath w_bath),

where V and B are the images of the vials' balls with their own and with the bath's decay, averaged over
core i, b the bath's own image and w the relaxation weights. Solved for x, relaxation-corrected and divided
by the slope through the references, this is the concentration. Concentrations are in mmol/L (= mol/m³).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.blur import expected_image, spill_matrix
from recon.calibration import CalibrationModel, Regression, VialEstimate
from recon.combine import combine_roemer
from recon.functionals import ImageNoise
from recon.regions import background_mask, ball_weights, body_mask, core_radius, core_weights
from recon.sensitivities import fit_harmonics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.live import ChannelImages
    from recon.phantom import Phantom
    from recon.psf import RadialReadout
    from recon.sensitivities import HarmonicFit

#: Fewest places in the bath from which its unevenness is judged.
_FEWEST_PROBES: Final = 6


@dataclass(frozen=True, slots=True)
class Protocol:
    """What the sequence did.

    Parameters
    ----------
    repetition_time
        In s.
    flip_angle
        In rad.
    flip_angle_uncertainty
        Relative standard uncertainty, the same for all vials.
    """

    repetition_time: float
    flip_angle: float
    flip_angle_uncertainty: float = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class TscResult:
    """Concentrations, their calibration and the map.

    Parameters
    ----------
    vials
        One estimate per vial, in the phantom's order.
    regression
        The line through the references.
    concentration
        Map in mmol/L, float32, shape (z, y, x); 0 outside the bath. Not corrected for partial volume.
    noise
        Noise standard deviation of the map in mmol/L, same shape.
    sensitivities
        Receive sensitivity times the bath's signal, whitened, complex64, shape (channel, z, y, x).
    background
        Concentration of the bath in mmol/L.
    unevenness
        Standard deviation of core-sized means in the bath beyond their noise, relative; 0 when none shows.
    fit_residual
        Root mean square that the sensitivity fit left (noise included), relative.
    core_noise
        Noise covariance of the core readings, shape (vial, vial).
    """

    vials: tuple[VialEstimate, ...]
    regression: Regression
    concentration: NDArray[np.float32]
    noise: NDArray[np.float32]
    sensitivities: NDArray[np.complex64]
    background: float
    unevenness: float
    fit_residual: float
    core_noise: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """The combined image in units of the bath, and what it was made with."""

    fit: HarmonicFit
    sensitivities: NDArray[np.complex64]
    power: NDArray[np.float64]
    combined: NDArray[np.complex64]
    shape: NDArray[np.float64]


def quantify(
    images: ChannelImages,
    phantom: Phantom,
    readout: RadialReadout,
    protocol: Protocol,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> TscResult:
    """Measure the sodium concentration of every vial.

    Parameters
    ----------
    images
        Whitened channel images.
    phantom
        Geometry, materials and reference concentrations; at least two references.
    readout
        The spoke, with the window used in the reconstruction.
    protocol
        Repetition time and flip angle.
    draws
        Monte Carlo draws for the coverage intervals.
    seed
        Of the draws.

    Raises
    ------
    MeasurementError
        Fewer than two reference vials, vials too small for the voxels, or too little background.
    """
    references = sum(vial.is_reference for vial in phantom.vials)
    if references < 2:
        raise MeasurementError(
            f"a calibration needs at least two reference vials, the phantom has {references}"
        )
    grid = images.grid
    cores = np.stack([core_weights(grid, vial) for vial in phantom.vials])
    reading = _read(images, phantom, readout, cores)
    noise = _core_noise(images, reading, cores)
    unevenness = _unevenness(phantom, reading, images, cores, noise)
    model = CalibrationModel(
        phantom,
        lambda scale: spill_matrix(phantom, readout, grid, cores, t2_star_scale=scale),
        repetition_time=protocol.repetition_time,
        echo_time=readout.echo_time,
        flip_angle=protocol.flip_angle,
        flip_angle_uncertainty=protocol.flip_angle_uncertainty,
    )
    values = np.einsum("izyx,zyx->i", cores, reading.combined.real)
    calibration = model.calibrate(values, noise, unevenness, draws=draws, seed=seed)
    factor = calibration.background * _relaxation_map(phantom, images, model)
    deviation = np.where(reading.power > 0, images.noise_gain / np.sqrt(np.maximum(reading.power, 1e-30)), 0)
    return TscResult(
        vials=calibration.vials,
        regression=calibration.regression,
        concentration=(reading.combined.real * factor).astype(np.float32),
        noise=(deviation * factor).astype(np.float32),
        sensitivities=reading.sensitivities,
        background=calibration.background,
        unevenness=unevenness,
        fit_residual=reading.fit.residual,
        core_noise=noise,
    )


def _read(
    images: ChannelImages, phantom: Phantom, readout: RadialReadout, cores: NDArray[np.float64]
) -> _Reading:
    """Fit the sensitivities and combine, twice: the second time knowing how the vials ring in the bath."""
    grid = images.grid
    mask = background_mask(grid, phantom)
    spill = spill_matrix(phantom, readout, grid, cores)
    first = _combine_fitted(images, phantom, mask, np.ones(grid.shape))
    contrasts = spill.contrasts(np.einsum("izyx,zyx->i", cores, first.combined.real))
    return _combine_fitted(images, phantom, mask, expected_image(phantom, readout, grid, contrasts, mask))


def _combine_fitted(
    images: ChannelImages, phantom: Phantom, mask: NDArray[np.bool_], shape: NDArray[np.float64]
) -> _Reading:
    """Return the image in units of the bath, given the expected shape of the bath's image."""
    positions = images.grid.positions()
    fit = fit_harmonics(
        images.images, positions, mask, centre=phantom.centre, radius=phantom.radius, shape=shape
    )
    sensitivities = fit.evaluate(positions, body_mask(images.grid, phantom))
    power = np.einsum("c...,c...->...", sensitivities, sensitivities.conj()).real
    return _Reading(
        fit=fit,
        sensitivities=sensitivities,
        power=power.astype(np.float64),
        combined=combine_roemer(images.images, sensitivities),
        shape=shape,
    )


def _core_noise(images: ChannelImages, reading: _Reading, cores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the noise covariance of the core readings, the fit's noise included, shape (vial, vial)."""
    noise = ImageNoise(images, reading.fit.mask | np.any(cores > 0, axis=0))
    return noise.covariance(_core_functionals(images, reading, cores, noise.box))


def _core_functionals(
    images: ChannelImages,
    reading: _Reading,
    cores: NDArray[np.float64],
    box: tuple[slice, slice, slice],
) -> NDArray[np.complex64]:
    """Return how the readings follow the channel images, shape (vial, channel, z, y, x) of the box.

    To first order d v = s^H (d a - v d s) / s^H s, and d s is the fit's projection of d a in the bath.
    """
    used: NDArray[np.bool_] = np.any(cores > 0, axis=0)
    inside, bath = used[box], reading.fit.mask[box]
    inverse = np.conj(reading.sensitivities[:, used]) / reading.power[used]
    basis = reading.fit.basis(images.grid.positions()[used])
    functionals = np.zeros((cores.shape[0], images.channels, *inside.shape), dtype=np.complex64)
    for functional, core in zip(functionals, cores, strict=True):
        direct = core[used] * inverse
        functional[:, inside] = direct
        through_fit = (direct * reading.combined[used]) @ basis
        functional[:, bath] -= through_fit @ reading.fit.projector
    return functionals


def _unevenness(
    phantom: Phantom,
    reading: _Reading,
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
    radius = float(np.mean([core_radius(grid, vial) for vial in phantom.vials]))
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


def _relaxation_map(phantom: Phantom, images: ChannelImages, model: CalibrationModel) -> NDArray[np.float64]:
    """Return the bath's relaxation weight over that of the material in each voxel, shape (z, y, x)."""
    materials = phantom.materials
    ones = np.ones((1, len(materials)))
    weights = model.relaxation_weights(ones, ones, np.ones(1))[0]
    names = [material.name for material in materials]
    factor = np.ones(images.grid.shape)
    for vial in phantom.vials:
        inside = images.grid.distances(vial.centre) <= vial.radius
        factor[inside] = weights[0] / weights[names.index(vial.material.name)]
    return factor
