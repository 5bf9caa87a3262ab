"""How much of the SNR that physics allows a scan of a ball has at the ball's centre.

The ultimate is that of the best conceivable array without losses of its own, for the same spins, sequence,
sampling and reconstruction: the rotating field that reaches the centre with the least loss in the ball. What
is missing went into coils, matching, coupling, cables and preamplifiers, and into fields that an array of
this shape cannot make. True for a homogeneous conducting ball whose vials conduct as it does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coilbench.base.nuclei import nucleus
from coilbench.procedures.quantify import phantom_model
from coils.magnetics.samples import Sphere
from coils.magnetics.snr import snr_of_moment, ultimate_snr_at_centre
from recon.combine import combine_roemer
from recon.regions import background_mask
from recon.relaxation import equilibrium_magnetisation
from recon.snr import Snr
from recon.tsc import Protocol
from recon.voxel_noise import independent_fraction, predicted_deviation

if TYPE_CHECKING:
    from collections.abc import Callable

    from coilbench.bench_file import BenchFile
    from coilbench.procedures.quantify import Quantified
    from coilbench.procedures.scan import Scanned
    from recon.phantom import Phantom

#: Of the ball's radius, within which the bath is averaged; the SNR of the centre itself is taken from the
#: sensitivities, which vary smoothly.
_CORE: Final = 0.4
#: Fewest independent voxels of that average.
_FEWEST: Final = 4.0
#: Relative step of the derivatives.
_STEP: Final = 1e-3


@dataclass(frozen=True, slots=True)
class UltimateShare:
    """A scan's SNR at the centre of a ball beside the most that any array could have there.

    Parameters
    ----------
    measured
        Of one voxel of the bath at the centre, one scan.
    ultimate, ultimate_uncertainty
        Of the same voxel, spins, sampling and weights, and its standard uncertainty.
    weighting_efficiency
        SNR with the weights of the reconstruction over that with even weights: the price of an even k-space
        and of the window.
    contributions
        (cause, relative standard uncertainty of the share), largest first; taken as independent.
    """

    measured: Snr
    ultimate: float
    ultimate_uncertainty: float
    weighting_efficiency: float
    contributions: tuple[tuple[str, float], ...]

    @property
    def share(self) -> float:
        """Measured over ultimate."""
        return self.measured.value / self.ultimate

    @property
    def uncertainty(self) -> float:
        """Standard uncertainty of ``share``."""
        return self.share * float(np.sqrt(sum(part**2 for _, part in self.contributions)))

    def text(self) -> str:
        """Return it as a sentence; ± 95 %."""
        return (
            f"At the phantom's centre a voxel has SNR {self.measured.value:.2f} ± "
            f"{2 * self.measured.uncertainty:.2f} of the {self.ultimate:.2f} ± "
            f"{2 * self.ultimate_uncertainty:.2f} that physics allows: {100 * self.share:.1f} ± "
            f"{200 * self.uncertainty:.1f} % of the ultimate (± 95 %)."
        )

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "snr_at_centre": self.measured.value,
            "u_snr_at_centre": self.measured.uncertainty,
            "ultimate_snr_at_centre": self.ultimate,
            "u_ultimate_snr_at_centre": self.ultimate_uncertainty,
            "share_of_ultimate_snr": self.share,
            "u_share_of_ultimate_snr": self.uncertainty,
            "weighting_efficiency": self.weighting_efficiency,
            "share_contributions": dict(self.contributions),
        }


def ultimate_share(file: BenchFile, scanned: Scanned, quantified: Quantified, /) -> UltimateShare:
    """Return the share of the ultimate SNR at the centre of a run's phantom, of its first scan.

    Parameters
    ----------
    file
        States the ball, its conductivity, the field and the temperature.
    scanned, quantified
        The scan, and its sensitivities and sodium of the bath.

    Raises
    ------
    MeasurementError
        The bench file states no conductivity, or too little bath lies around the centre.

    Notes
    -----
    An image of spin density in which sample i has the weight w_i in 1/m³ holds the noise of one sample times
    the root of sum w_i²: with it the SNR of the moment of 1 m³ in one dwell time becomes that of a voxel.
    """
    if file.phantom.conductivity is None:
        raise MeasurementError(
            "the share of the ultimate SNR needs phantom.conductivity in the bench file (S/m at the Larmor "
            "frequency); without it nothing bounds the SNR"
        )
    lying = phantom_model(file).moved(quantified.tsc.pose)
    measured, noise = _snr_at_centre(scanned, quantified, lying)
    inputs = {
        "conductivity": file.phantom.conductivity_tolerance,
        "T1 of the bath": lying.background.t1_tolerance.standard,
        "T2* of the bath": lying.background.t2_star_tolerance.standard,
        "flip angle": Protocol(scanned.plan.repetition_time, scanned.plan.flip_angle).flip_angle_uncertainty,
        "sodium of the bath": quantified.tsc.background_uncertainty.linear / quantified.tsc.background,
    }
    expected = _ultimate(file, scanned, lying, quantified.tsc.background)
    nominal = expected({})
    parts = {
        cause: spread * abs(expected({cause: 1 + _STEP}) / nominal - 1) / _STEP
        for cause, spread in inputs.items()
    }
    weights = scanned.images[0].weights.astype(np.float64)
    return UltimateShare(
        measured=measured,
        ultimate=nominal,
        ultimate_uncertainty=nominal * float(np.sqrt(sum(part**2 for part in parts.values()))),
        weighting_efficiency=float(np.sum(weights) / np.sqrt(weights.size * np.sum(weights**2))),
        contributions=tuple(sorted({**parts, **noise}.items(), key=lambda part: -part[1])),
    )


def share_or_reason(
    file: BenchFile, scanned: Scanned, quantified: Quantified, /
) -> tuple[UltimateShare | None, str]:
    """Return the share of the ultimate SNR, or None and why it was not measured; arguments as above."""
    try:
        return ultimate_share(file, scanned, quantified), ""
    except MeasurementError as error:
        return None, f"share of the ultimate SNR not measured: {error}"


def _snr_at_centre(scanned: Scanned, quantified: Quantified, lying: Phantom) -> tuple[Snr, dict[str, float]]:
    """Return the bath's SNR at the centre, and the relative uncertainties of it by cause."""
    images, grid = scanned.images[0], scanned.images[0].grid
    sensitivities = quantified.tsc.sensitivities
    distance = grid.distances(lying.centre)
    region = background_mask(grid, lying) & (distance <= _CORE * lying.radius)
    independent = float(np.count_nonzero(region)) * independent_fraction(images)
    if independent < _FEWEST:
        raise MeasurementError(
            f"{independent:.1f} independent voxels of the bath lie within {1e3 * _CORE * lying.radius:.0f} "
            "mm of the phantom's centre: too few to measure its SNR there"
        )
    unit = 1 / predicted_deviation(images, sensitivities).astype(np.float64)  # SNR of a bath of exactly 1
    bath = combine_roemer(images.images, sensitivities).real.astype(np.float64)
    level = float(np.sum(bath[region] * unit[region]) / np.sum(unit[region]))
    near = distance <= max(grid.spacing)
    value = level * float(np.mean(unit[near]))
    noise = {
        "noise of the image": 1 / (float(np.mean(unit[region])) * np.sqrt(independent)),
        "noise scan": quantified.snr.relative_uncertainty,
        "unevenness of the bath": quantified.tsc.unevenness,
    }
    uncertainty = value * float(np.sqrt(sum(part**2 for part in noise.values())))
    method = f"{quantified.snr.method}, bath at the centre"
    return Snr(value, uncertainty, quantified.snr.degrees_of_freedom, method), noise


def _ultimate(
    file: BenchFile, scanned: Scanned, lying: Phantom, concentration: float
) -> Callable[[dict[str, float]], float]:
    """Return the ultimate SNR of a voxel of bath as a function of factors on what it depends on."""
    plan, images = scanned.plan, scanned.images[0]
    temperature, spins = file.array.temperature, nucleus(file.scan.nucleus)
    frequency = file.larmor_frequency(file.scan.nucleus)
    sphere = Sphere(lying.radius, file.phantom.conductivity or 0.0, file.phantom.permittivity)
    relaxation = lying.background.relaxation

    def snr(factors: dict[str, float]) -> float:
        moment = equilibrium_magnetisation(spins, concentration, file.b0, temperature)
        moment *= factors.get("sodium of the bath", 1.0)
        angle = plan.flip_angle * factors.get("flip angle", 1.0)
        moment *= float(
            relaxation.steady_state(plan.repetition_time, angle, scale=factors.get("T1 of the bath", 1.0))
        )
        moment *= float(
            relaxation.decay(scanned.readout.echo_time, scale=factors.get("T2* of the bath", 1.0))
        )
        ball = replace(sphere, conductivity=sphere.conductivity * factors.get("conductivity", 1.0))
        rate = snr_of_moment(ultimate_snr_at_centre(ball, frequency), frequency, temperature)
        return moment * rate * float(np.sqrt(scanned.dwell_time)) / images.noise_gain

    return snr
