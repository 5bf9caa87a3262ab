"""From core readings to concentrations: the line through the reference vials, and its uncertainty.

The model is evaluated for many input vectors at once (``recon.tsc.budget``). Vials of one material share its
T1 and T2* error, all share the flip angle's, and each compartment has a flip angle of its own besides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from recon.tsc.budget import COVERAGE_FACTOR, DRAWS, Inputs, propagate
from recon.tsc.regression import Line, fit_line, leave_one_out, reject_outliers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from recon.blur import Spill
    from recon.phantom import Phantom, Tolerance
    from recon.tsc.budget import Uncertainty
    from recon.tsc.protocol import Protocol

#: Relative change of T2* at which the spill matrix is computed; between, a parabola.
_SPILL_STEP: Final = 0.1
#: Least weight scale of a reference on the line, relative to the largest concentration.
_LEAST_CONCENTRATION: Final = 0.05


@dataclass(frozen=True, slots=True)
class VialEstimate:
    """The measured concentration of one vial.

    Parameters
    ----------
    name
        Of the vial.
    concentration
        In mmol/L.
    uncertainty
        Standard uncertainty in mmol/L, by linear propagation.
    interval
        Ends of the 95 % coverage interval in mmol/L, by Monte Carlo.
    contributions
        (cause, standard uncertainty in mmol/L), largest first.
    reference
        The stated concentration of a reference vial in mmol/L, None for an unknown one.
    reading
        Mean of the core in units of the bath.
    ratio
        Relaxation-corrected concentration relative to the bath.
    ratio_uncertainty
        Standard uncertainty of ``ratio``.
    monte_carlo_uncertainty
        Standard deviation of the Monte Carlo draws in mmol/L.
    is_linear_valid
        Whether Monte Carlo confirms the linear propagation (JCGM 101:2008, 8.2).
    rejected
        Why a reference was left out of the line; None where it was not.
    """

    name: str
    concentration: float
    uncertainty: float
    interval: tuple[float, float]
    contributions: tuple[tuple[str, float], ...]
    reference: float | None
    reading: float
    ratio: float
    ratio_uncertainty: float
    monte_carlo_uncertainty: float
    is_linear_valid: bool
    rejected: str | None = None

    @property
    def expanded_uncertainty(self) -> float:
        """Distance in mmol/L from the value within which the truth lies, 95 %.

        Where Monte Carlo does not confirm the linear propagation, the farther end of its interval.
        """
        if self.is_linear_valid:
            return COVERAGE_FACTOR * self.uncertainty
        low, high = self.interval
        return max(self.concentration - low, high - self.concentration)

    @property
    def noise_uncertainty(self) -> float:
        """The part of the standard uncertainty in mmol/L that another scan would draw anew."""
        return dict(self.contributions).get("noise", 0.0)

    @property
    def systematic_uncertainty(self) -> float:
        """The part of the standard uncertainty in mmol/L that averaging scans does not lower."""
        return float(np.sqrt(max(self.uncertainty**2 - self.noise_uncertainty**2, 0.0)))


@dataclass(frozen=True, slots=True)
class Regression:
    """The line ratio = slope · concentration through the references, and what speaks against it.

    Parameters
    ----------
    slope, slope_uncertainty
        In L/mmol.
    intercept, intercept_uncertainty
        Of a line that need not pass through the origin, in units of the bath.
    chi_squared, degrees_of_freedom
        Lack of fit of the line through the origin, with all correlations.
    lack_of_fit_probability
        Probability of a worse fit if the line is true; below 0.01 a reference is wrong.
    left_out
        (reference, its distance from the line through the others in standard uncertainties).
    rejected
        (reference, reason) of those that were not used.
    """

    slope: float
    slope_uncertainty: float
    intercept: float
    intercept_uncertainty: float
    chi_squared: float
    degrees_of_freedom: int
    lack_of_fit_probability: float
    left_out: tuple[tuple[str, float], ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()

    @property
    def has_intercept(self) -> bool:
        """Whether the intercept differs from 0 by more than twice its uncertainty."""
        return abs(self.intercept) > 2 * self.intercept_uncertainty


@dataclass(frozen=True, slots=True)
class Calibration:
    """All vials, the line, and the bath.

    Parameters
    ----------
    vials
        In the phantom's order.
    regression
        Through the references that were not rejected.
    background
        The bath's concentration in mmol/L.
    background_uncertainty
        Of the bath; its parts as for a vial.
    """

    vials: tuple[VialEstimate, ...]
    regression: Regression
    background: float
    background_uncertainty: Uncertainty


class CalibrationModel:
    """Concentrations as a function of core readings, references, relaxation and flip angle.

    Parameters
    ----------
    phantom
        Vials, materials, tolerances; at least two references.
    spill
        Spill matrix for a factor on all transverse times.
    protocol
        Repetition time and flip angles.
    echo_time
        In s.
    """

    def __init__(
        self,
        phantom: Phantom,
        spill: Callable[[float], Spill],
        protocol: Protocol,
        *,
        echo_time: float,
    ) -> None:
        self._phantom = phantom
        self._protocol = protocol
        self._te = echo_time
        self._spills = tuple(spill(scale) for scale in (1 - _SPILL_STEP, 1.0, 1 + _SPILL_STEP))
        names = [material.name for material in phantom.materials]
        self._material = np.array([0, *(names.index(vial.material.name) for vial in phantom.vials)])
        self._reference = np.array([vial.is_reference for vial in phantom.vials])
        self._used = np.ones(int(self._reference.sum()), dtype=np.bool_)
        self._stated = np.array(
            [vial.concentration for vial in phantom.vials if vial.concentration is not None]
        )
        least = self._stated.max() * _LEAST_CONCENTRATION
        self._line_weights = 1 / np.maximum(self._stated, least) ** 2
        self._factors = protocol.compartment_factors(len(phantom.vials))

    def relaxation_weights(
        self, t1: NDArray[np.float64], t2: NDArray[np.float64], flip: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the signal per spin of the bath and every vial at the echo time, (draw, 1 + vial).

        Parameters
        ----------
        t1, t2
            Factors on the materials' T1 and T2*, shape (draw, material).
        flip
            Factor on the flip angle of each compartment, shape (draw, 1 + vial).
        """
        angle, tr = self._protocol.flip_angle * self._factors * flip, self._protocol.repetition_time
        materials = self._phantom.materials
        columns = []
        for place, index in enumerate(self._material):
            relaxation = materials[index].relaxation
            start = relaxation.steady_state(tr, angle[:, place], scale=t1[:, index])
            columns.append(start * relaxation.decay(self._te, scale=t2[:, index]))
        return np.stack(columns, axis=1)

    def nominal_weights(self) -> NDArray[np.float64]:
        """Return the signal per spin of the bath and every vial as stated, shape (1 + vial,)."""
        ones = np.ones((1, len(self._phantom.materials)))
        weights = self.relaxation_weights(ones, ones, np.ones((1, self._material.size)))
        return np.asarray(weights[0], dtype=np.float64)

    def calibrate(
        self,
        readings: NDArray[np.float64],
        covariances: Mapping[str, NDArray[np.float64]],
        *,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> Calibration:
        """Return concentrations with their uncertainty.

        Parameters
        ----------
        readings
            Core means in units of the bath, shape (vial,).
        covariances
            Of the readings, shape (vial, vial), by cause; ``"noise"`` is what averaging scans lowers.
        draws, seed
            Of the Monte Carlo.
        """
        inputs = self._inputs(readings, covariances)
        ratios = self._ratios(inputs.probes())
        total = inputs.covariance
        ratio_slopes = inputs.derivatives(ratios)
        residual = self._residual_covariance(ratios[0], ratio_slopes, total)
        observed = ratios[0][self._reference]
        names = [vial.name for vial in self._phantom.vials if vial.is_reference]
        rejected = reject_outliers(names, self._stated, observed, residual)
        self._used = np.array([name not in rejected for name in names])
        self._line_weights = self._used / np.maximum(np.diagonal(residual), 1e-30)
        found = propagate(self._outputs, inputs, draws=draws, seed=seed)
        ratio_uncertainty = np.sqrt(np.einsum("ij,jk,ik->i", ratio_slopes, total, ratio_slopes))
        vials = tuple(
            VialEstimate(
                name=vial.name,
                concentration=one.value,
                uncertainty=one.linear,
                interval=one.interval,
                contributions=one.contributions,
                reference=vial.concentration,
                reading=float(readings[index]),
                ratio=float(ratios[0, index]),
                ratio_uncertainty=float(ratio_uncertainty[index]),
                monte_carlo_uncertainty=one.monte_carlo,
                is_linear_valid=one.is_linear_valid,
                rejected=rejected.get(vial.name),
            )
            for index, (vial, one) in enumerate(zip(self._phantom.vials, found, strict=False))
        )
        bath = found[-1]
        regression = self._regression(observed, residual, names, 1 / bath.value, rejected)
        return Calibration(
            vials,
            replace(regression, slope_uncertainty=bath.linear / bath.value**2),
            background=bath.value,
            background_uncertainty=bath,
        )

    def _inputs(
        self, readings: NDArray[np.float64], covariances: Mapping[str, NDArray[np.float64]]
    ) -> Inputs:
        materials, references = self._phantom.materials, [v for v in self._phantom.vials if v.is_reference]
        compartments = len(self._phantom.vials) + 1
        nominal = np.concatenate([readings, self._stated, np.ones(2 * len(materials) + 1 + compartments)])
        blocks: list[tuple[str, tuple[Tolerance, ...], NDArray[np.float64]]] = [
            ("reference concentrations", tuple(v.concentration_tolerance for v in references), self._stated),
            ("T1", tuple(m.t1_tolerance for m in materials), np.ones(len(materials))),
            ("T2*", tuple(m.t2_star_tolerance for m in materials), np.ones(len(materials))),
        ]
        rectangular = np.zeros(nominal.size, dtype=np.bool_)
        whole = {cause: _embed(block, 0, nominal.size) for cause, block in covariances.items()}
        start = readings.size
        for cause, tolerances, scale in blocks:
            spread = np.array([tolerance.standard for tolerance in tolerances]) * scale
            whole[cause] = _embed(np.diag(spread**2), start, nominal.size)
            kinds = [tolerance.distribution == "rectangular" for tolerance in tolerances]
            rectangular[start : start + len(kinds)] = kinds
            start += len(kinds)
        common = np.array([[self._protocol.flip_angle_uncertainty**2]])
        own = np.eye(compartments) * self._protocol.flip_angle_spread**2
        whole["flip angle"] = _embed(common, start, nominal.size) + _embed(own, start + 1, nominal.size)
        return Inputs(nominal, whole, rectangular)

    def _split(self, inputs: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        vials = len(self._phantom.vials)
        sizes = [vials, self._stated.size, *[len(self._phantom.materials)] * 2, 1]
        readings, stated, t1, t2, common, own = np.split(inputs, np.cumsum(sizes), axis=1)
        return readings, stated, t1, t2, common * own

    def _outputs(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return concentrations of all vials and of the bath in mmol/L, shape (draw, vial + 1)."""
        ratios = self._ratios(inputs)
        slopes = self._slopes(inputs, ratios)
        return np.concatenate([ratios, np.ones((inputs.shape[0], 1))], axis=1) / slopes[:, None]

    def _ratios(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return relaxation-corrected concentrations relative to the bath, shape (draw, vial)."""
        readings, _, t1, t2, flip = self._split(inputs)
        below, here, above = self._spills
        own = t2[:, None, self._material[1:]]
        matrix = _parabola(below.vials, here.vials, above.vials, own)
        offset = _parabola(below.offset, here.offset, above.offset, t2[:, :1])
        contrasts = np.linalg.solve(matrix, (readings - offset)[..., None])[..., 0]
        weights = self.relaxation_weights(t1, t2, flip)
        ratios: NDArray[np.float64] = contrasts * weights[:, :1] / weights[:, 1:]
        return ratios

    def _slopes(self, inputs: NDArray[np.float64], ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the slope of the line through the origin and the references, shape (draw,)."""
        stated = self._split(inputs)[1]
        weighted = stated * self._line_weights
        slopes: NDArray[np.float64] = np.sum(weighted * ratios[:, self._reference], axis=1) / np.sum(
            weighted * stated, axis=1
        )
        return slopes

    def _residual_covariance(
        self, ratios: NDArray[np.float64], derivatives: NDArray[np.float64], total: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the covariance of ratio - slope · stated concentration of the references."""
        # The median: one wrong reference must not set the scale by which it is judged.
        slope = float(np.median(ratios[self._reference] / self._stated))
        residual = derivatives[self._reference].copy()
        count = len(self._phantom.vials)
        for index in range(self._stated.size):
            residual[index, count + index] -= slope
        covariance: NDArray[np.float64] = residual @ total @ residual.T
        return covariance

    def _regression(
        self,
        observed: NDArray[np.float64],
        residual: NDArray[np.float64],
        names: list[str],
        slope: float,
        rejected: Mapping[str, str],
    ) -> Regression:
        used = self._used
        kept = residual[np.ix_(used, used)]
        stated, values = self._stated[used], observed[used]
        line: Line = fit_line(stated, values, kept, through_origin=True)
        free = fit_line(stated, values, kept) if np.ptp(stated) > 0 else None
        off = leave_one_out(self._stated, observed, residual)
        return Regression(
            slope=slope,
            slope_uncertainty=line.slope_uncertainty,
            intercept=free.intercept if free else 0.0,
            intercept_uncertainty=free.intercept_uncertainty if free else float("inf"),
            chi_squared=line.chi_squared,
            degrees_of_freedom=line.degrees_of_freedom,
            lack_of_fit_probability=line.lack_of_fit_probability,
            left_out=tuple((name, float(value)) for name, value in zip(names, off, strict=True)),
            rejected=tuple(rejected.items()),
        )


def _embed(block: NDArray[np.float64], start: int, size: int) -> NDArray[np.float64]:
    """Return ``block`` on the diagonal of a (size, size) matrix of zeros, from ``start`` on."""
    whole = np.zeros((size, size))
    stop = start + block.shape[0]
    whole[start:stop, start:stop] = block
    return whole


def _parabola(
    below: NDArray[np.float64],
    here: NDArray[np.float64],
    above: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return values at ``scale`` from those at 1 - step, 1 and 1 + step."""
    at = (scale - 1) / _SPILL_STEP
    value: NDArray[np.float64] = here + 0.5 * at * (above - below) + 0.5 * at**2 * (above - 2 * here + below)
    return value
