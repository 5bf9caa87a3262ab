"""Tissue sodium concentration by regression through reference vials, with an uncertainty budget.

A vial's core reads, in units of the bath,

    v_i = b_i + sum over j of (V_ij x_j - B_ij),   x_j = rho_j w_j / (rho_bath w_bath),

where V and B are the images of the vials' balls with their own and with the bath's decay, averaged over
core i, b the bath's own image and w the relaxation weights. Solved for x, relaxation-corrected and divided
by the slope through the references, this is the concentration. Concentrations are in mmol/L (= mol/m³).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.blur import Spill, spill_matrix
from recon.phantom import Pose
from recon.psf import full_width
from recon.regions import GUARD, core_weights
from recon.tsc.budget import DRAWS
from recon.tsc.calibration import CalibrationModel
from recon.tsc.maps import concentration_maps
from recon.tsc.reading import (
    bath_unevenness,
    core_noise,
    position_covariance,
    read_phantom,
    receive_field_covariance,
)
from recon.tsc.timing import delay_covariance, off_resonance_covariance
from recon.tsc.undersampling import RESIDUE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.live import ChannelImages
    from recon.phantom import Phantom
    from recon.psf import RadialReadout
    from recon.tsc.budget import Uncertainty
    from recon.tsc.calibration import Regression, VialEstimate
    from recon.tsc.protocol import Protocol

#: What is done about walls that reach into the vials' cores.
PartialVolume = Literal["corrected", "avoided"]
#: What stands under every table and map of tissue.
NOT_MEASURED: Final = (
    "TSC is the mean over intra- and extracellular space of a voxel. The extracellular (ESC) and "
    "intracellular (ISC) concentrations are not measurable by this scan alone: that takes their volume "
    "fractions from another measurement, or a multiple-quantum or relaxation-weighted scan."
)


@dataclass(frozen=True, slots=True, eq=False)
class TscResult:
    """Concentrations, their calibration and the maps.

    Parameters
    ----------
    vials
        One estimate per vial, in the phantom's order.
    regression
        The line through the references.
    concentration
        Map in mmol/L, float32, shape (z, y, x); 0 outside the bath. Not corrected for partial volume.
    noise
        Standard uncertainty of the map from noise in mmol/L, same shape.
    systematic
        Standard uncertainty of the map that all voxels of a compartment share in mmol/L, same shape.
    sensitivities
        Receive sensitivity times the bath's signal, whitened, complex64, shape (channel, z, y, x).
    background
        Concentration of the bath in mmol/L.
    background_uncertainty
        Of the bath, with its parts.
    unevenness
        Standard deviation of core-sized means in the bath beyond their noise, relative; 0 when none shows.
    fit_residual
        Root mean square that the sensitivity fit left (noise included), relative.
    core_noise
        Noise covariance of the core readings, shape (vial, vial).
    spill_condition
        Condition number of the partial-volume correction.
    pose
        Where the phantom was taken to lie.
    """

    vials: tuple[VialEstimate, ...]
    regression: Regression
    concentration: NDArray[np.float32]
    noise: NDArray[np.float32]
    systematic: NDArray[np.float32]
    sensitivities: NDArray[np.complex64]
    background: float
    background_uncertainty: Uncertainty
    unevenness: float
    fit_residual: float
    core_noise: NDArray[np.float64]
    spill_condition: float
    pose: Pose

    def as_rows(self) -> list[dict[str, str | float | bool | None]]:
        """Return one flat row per vial for tables, CSV and JSON; concentrations in mmol/L.

        Contributions of the budget are in columns named ``u_`` and the cause.
        """
        rows: list[dict[str, str | float | bool | None]] = []
        for vial in self.vials:
            row: dict[str, str | float | bool | None] = {
                "vial": vial.name,
                "role": "unknown" if vial.reference is None else "reference",
                "stated_mmol_l": vial.reference,
                "concentration_mmol_l": vial.concentration,
                "uncertainty_mmol_l": vial.uncertainty,
                "noise_mmol_l": vial.noise_uncertainty,
                "systematic_mmol_l": vial.systematic_uncertainty,
                "low_mmol_l": vial.interval[0],
                "high_mmol_l": vial.interval[1],
                "monte_carlo_mmol_l": vial.monte_carlo_uncertainty,
                "linear_propagation_confirmed": vial.is_linear_valid,
                "rejected": vial.rejected,
            }
            row.update({f"u_{cause.replace(' ', '_')}": part for cause, part in vial.contributions})
            rows.append(row)
        return rows


def quantify(
    images: ChannelImages,
    phantom: Phantom,
    readout: RadialReadout,
    protocol: Protocol,
    *,
    pose: Pose | None = None,
    position_uncertainty: float = 0.0,
    partial_volume: PartialVolume = "corrected",
    draws: int = DRAWS,
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
        Repetition time and flip angles.
    pose
        How the phantom lies: from ``register``, or where the user has put it; None: as described.
    position_uncertainty
        Standard uncertainty of the pose at the vials in m, per axis (``Registration.position_uncertainty``).
    partial_volume
        ``"corrected"``: by the geometric transfer matrix; ``"avoided"``: vials are read as they are, in cores
        that keep 1.5 full widths of the true point spread from the wall.
    draws
        Monte Carlo draws for the coverage intervals.
    seed
        Of the draws.

    Raises
    ------
    MeasurementError
        Fewer than two reference vials, vials too small for the voxels (or to avoid partial volume), or too
        little background.
    """
    references = sum(vial.is_reference for vial in phantom.vials)
    if references < 2:
        raise MeasurementError(
            f"a calibration needs at least two reference vials, the phantom has {references}"
        )
    lying = phantom if pose is None else phantom.moved(pose)
    grid = images.grid
    guards = wall_distances(lying, readout) if partial_volume == "avoided" else [None] * len(lying.vials)
    cores = np.stack(
        [core_weights(grid, vial, guard=guard) for vial, guard in zip(lying.vials, guards, strict=True)]
    )
    reading = read_phantom(images, lying, readout, cores)
    values = reading.cores(cores)
    noise = core_noise(images, reading, cores)
    unevenness = bath_unevenness(reading, images, cores, noise)
    spill = spill_matrix(lying, readout, grid, cores)

    def spill_at(scale: float) -> Spill:
        if partial_volume == "avoided":
            return Spill(np.eye(values.size), np.zeros(values.size))
        return spill_matrix(lying, readout, grid, cores, t2_star_scale=scale)

    contrasts = spill.contrasts(values)
    model = CalibrationModel(lying, spill_at, protocol, echo_time=readout.echo_time)
    covariances = {
        "noise": noise,
        # Shading multiplies, streaks from elsewhere add: relative to the reading or the bath.
        "unevenness": np.diag((unevenness * np.maximum(np.abs(values), 1.0)) ** 2),
        "receive field": receive_field_covariance(images, reading, cores),
        "undersampling": np.eye(values.size) * (RESIDUE * reading.undersampling(cores)) ** 2,
        "position": position_covariance(lying, readout, grid, cores, contrasts, position_uncertainty),
        "off-resonance": off_resonance_covariance(lying, readout, grid, cores, spill, contrasts, protocol),
        "gradient delay": delay_covariance(images, lying, readout, reading, cores, contrasts, protocol),
    }
    if partial_volume == "avoided":
        # What walls still do there is known, small and not taken off: JCGM 100:2008, F.2.4.5.
        left = values - contrasts
        covariances["partial volume"] = np.outer(left, left)
    calibration = model.calibrate(values, covariances, draws=draws, seed=seed)
    maps = concentration_maps(images, lying, reading, calibration, model.nominal_weights())
    return TscResult(
        vials=calibration.vials,
        regression=calibration.regression,
        concentration=maps.concentration,
        noise=maps.noise,
        systematic=maps.systematic,
        sensitivities=reading.sensitivities,
        background=calibration.background,
        background_uncertainty=calibration.background_uncertainty,
        unevenness=unevenness,
        fit_residual=reading.fit.residual,
        core_noise=noise,
        spill_condition=spill.condition,
        pose=pose or Pose(),
    )


def wall_distances(phantom: Phantom, readout: RadialReadout) -> list[float]:
    """Return the distance from each vial's wall in m within which walls blur: 1.5 full widths of the spread.

    The wider one counts of the vial's own point spread and of the bath's, decay and window included.
    """
    bath = full_width(readout, phantom.background.relaxation)
    return [GUARD * max(bath, full_width(readout, vial.material.relaxation)) for vial in phantom.vials]
