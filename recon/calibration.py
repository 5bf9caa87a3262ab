"""From core readings to concentrations: the line through the reference vials, and its uncertainty.

The model is evaluated for many input vectors at once: once for the value, at small steps for the
sensitivity coefficients (JCGM 100:2008), and for random draws of all inputs (JCGM 101:2008). Vials of one
material share its T1 and T2* error, all share the flip angle's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.stats

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recon.blur import Spill
    from recon.phantom import Phantom, Tolerance

#: Relative step of the numerical derivatives; the model is smooth on the scale of its tolerances.
_STEP: Final = 1e-3
#: Relative change of T2* at which the spill matrix is computed; between, a parabola.
_SPILL_STEP: Final = 0.1
#: Coverage factor of 95 % for a normal distribution.
COVERAGE_FACTOR: Final = 1.96


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
        Standard uncertainty in mmol/L.
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

    @property
    def expanded_uncertainty(self) -> float:
        """Half width of the symmetric 95 % interval in mmol/L."""
        return COVERAGE_FACTOR * self.uncertainty


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
    """

    slope: float
    slope_uncertainty: float
    intercept: float
    intercept_uncertainty: float
    chi_squared: float
    degrees_of_freedom: int

    @property
    def has_intercept(self) -> bool:
        """Whether the intercept differs from 0 by more than twice its uncertainty."""
        return abs(self.intercept) > 2 * self.intercept_uncertainty

    @property
    def lack_of_fit_probability(self) -> float:
        """Probability of a worse fit if the line is true; below 0.01 a reference is wrong."""
        return float(scipy.stats.chi2.sf(self.chi_squared, self.degrees_of_freedom))


@dataclass(frozen=True, slots=True)
class Calibration:
    """All vials, the line, and the bath's concentration in mmol/L."""

    vials: tuple[VialEstimate, ...]
    regression: Regression
    background: float


@dataclass(frozen=True, slots=True, eq=False)
class _Inputs:
    """Where each input lies in the input vector, its cause, and how to draw it."""

    nominal: NDArray[np.float64]
    covariances: dict[str, NDArray[np.float64]]
    rectangular: NDArray[np.bool_]


class CalibrationModel:
    """Concentrations as a function of core readings, references, relaxation and flip angle.

    Parameters
    ----------
    phantom
        Vials, materials, tolerances; at least two references.
    spill
        Spill matrix for a factor on all transverse times.
    repetition_time, echo_time
        In s.
    flip_angle
        In rad.
    flip_angle_uncertainty
        Relative standard uncertainty.
    """

    def __init__(
        self,
        phantom: Phantom,
        spill: Callable[[float], Spill],
        *,
        repetition_time: float,
        echo_time: float,
        flip_angle: float,
        flip_angle_uncertainty: float,
    ) -> None:
        self._phantom = phantom
        self._tr, self._te, self._flip = repetition_time, echo_time, flip_angle
        self._flip_uncertainty = flip_angle_uncertainty
        self._spills = tuple(spill(scale) for scale in (1 - _SPILL_STEP, 1.0, 1 + _SPILL_STEP))
        names = [material.name for material in phantom.materials]
        self._material = np.array([names.index(vial.material.name) for vial in phantom.vials])
        self._reference = np.array([vial.is_reference for vial in phantom.vials])
        self._stated = np.array(
            [vial.concentration for vial in phantom.vials if vial.concentration is not None]
        )
        self._line_weights = 1 / np.maximum(self._stated, self._stated.max() * 0.05) ** 2

    def relaxation_weights(
        self, t1: NDArray[np.float64], t2: NDArray[np.float64], flip: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the signal per spin of every material at the echo time, shape (draw, material).

        Parameters
        ----------
        t1, t2
            Factors on the materials' T1 and T2*, shape (draw, material).
        flip
            Factor on the flip angle, shape (draw,).
        """
        return np.stack(
            [
                material.relaxation.steady_state(self._tr, self._flip * flip, scale=t1[:, index])
                * material.relaxation.decay(self._te, scale=t2[:, index])
                for index, material in enumerate(self._phantom.materials)
            ],
            axis=1,
        )

    def calibrate(
        self,
        readings: NDArray[np.float64],
        noise: NDArray[np.float64],
        unevenness: float = 0.0,
        *,
        draws: int = 2000,
        seed: int = 0,
    ) -> Calibration:
        """Return concentrations with their uncertainty.

        Parameters
        ----------
        readings
            Core means in units of the bath, shape (vial,).
        noise
            Their noise covariance, shape (vial, vial).
        unevenness
            Standard deviation of each reading beyond noise, relative to the reading or to the bath,
            whichever is larger: shading multiplies, streaks from elsewhere add.
        draws, seed
            Of the Monte Carlo.
        """
        inputs = self._inputs(readings, noise, unevenness)
        steps = np.diag(np.maximum(np.abs(inputs.nominal), 0.1) * _STEP)
        probes = np.concatenate([inputs.nominal[None], inputs.nominal + steps, inputs.nominal - steps])
        ratios = self._ratios(probes)
        ratio_slopes = _derivatives(ratios, steps)
        total = sum(inputs.covariances.values(), np.zeros((inputs.nominal.size,) * 2))
        residual = self._residual_covariance(ratios[0], ratio_slopes, total)
        self._line_weights = 1 / np.maximum(np.diagonal(residual), 1e-30)
        values = self._concentrations(probes, ratios)
        slopes = _derivatives(values, steps)
        lines = self._slopes(probes, ratios)
        line_slope = _derivatives(lines[:, None], steps)
        sample = self._draw(inputs, draws, seed)
        spread = self._concentrations(sample, self._ratios(sample))
        low, high = np.quantile(spread, (0.025, 0.975), axis=0)
        causes = {
            cause: np.sqrt(np.einsum("ij,jk,ik->i", slopes, covariance, slopes))
            for cause, covariance in inputs.covariances.items()
        }
        uncertainty = np.sqrt(np.einsum("ij,jk,ik->i", slopes, total, slopes))
        ratio_uncertainty = np.sqrt(np.einsum("ij,jk,ik->i", ratio_slopes, total, ratio_slopes))
        vials = tuple(
            VialEstimate(
                name=vial.name,
                concentration=float(values[0, index]),
                uncertainty=float(uncertainty[index]),
                interval=(float(low[index]), float(high[index])),
                contributions=tuple(
                    sorted(
                        ((cause, float(part[index])) for cause, part in causes.items()),
                        key=lambda item: -item[1],
                    )
                ),
                reference=vial.concentration,
                reading=float(readings[index]),
                ratio=float(ratios[0, index]),
                ratio_uncertainty=float(ratio_uncertainty[index]),
            )
            for index, vial in enumerate(self._phantom.vials)
        )
        slope_uncertainty = float(np.sqrt((line_slope @ total @ line_slope.T)[0, 0]))
        regression = self._regression(ratios[0], residual, float(lines[0]), slope_uncertainty)
        return Calibration(vials, regression, background=1 / regression.slope)

    def _inputs(
        self, readings: NDArray[np.float64], noise: NDArray[np.float64], unevenness: float
    ) -> _Inputs:
        materials, references = self._phantom.materials, [v for v in self._phantom.vials if v.is_reference]
        nominal = np.concatenate([readings, self._stated, np.ones(2 * len(materials) + 1)])
        blocks: list[tuple[str, tuple[Tolerance, ...], NDArray[np.float64]]] = [
            ("reference concentrations", tuple(v.concentration_tolerance for v in references), self._stated),
            ("T1", tuple(m.t1_tolerance for m in materials), np.ones(len(materials))),
            ("T2*", tuple(m.t2_star_tolerance for m in materials), np.ones(len(materials))),
        ]
        rectangular = np.zeros(nominal.size, dtype=np.bool_)
        covariances = {
            "noise": _embed(noise, 0, nominal.size),
            "unevenness": _embed(
                np.diag((unevenness * np.maximum(np.abs(readings), 1.0)) ** 2), 0, nominal.size
            ),
        }
        start = readings.size
        for cause, tolerances, scale in blocks:
            spread = np.array([tolerance.standard for tolerance in tolerances]) * scale
            covariances[cause] = _embed(np.diag(spread**2), start, nominal.size)
            kinds = [tolerance.distribution == "rectangular" for tolerance in tolerances]
            rectangular[start : start + len(kinds)] = kinds
            start += len(kinds)
        covariances["flip angle"] = _embed(np.array([[self._flip_uncertainty**2]]), start, nominal.size)
        return _Inputs(nominal, covariances, rectangular)

    def _draw(self, inputs: _Inputs, draws: int, seed: int) -> NDArray[np.float64]:
        generator = np.random.default_rng(seed)
        total = sum(inputs.covariances.values(), np.zeros((inputs.nominal.size,) * 2))
        count = len(self._phantom.vials)
        sample = np.tile(inputs.nominal, (draws, 1))
        sample[:, :count] += generator.multivariate_normal(
            np.zeros(count), total[:count, :count], size=draws, method="eigh"
        )
        spread = np.sqrt(np.diagonal(total))[count:]
        normal = generator.standard_normal((draws, spread.size))
        uniform = generator.uniform(-np.sqrt(3), np.sqrt(3), (draws, spread.size))
        sample[:, count:] += spread * np.where(inputs.rectangular[count:], uniform, normal)
        return sample

    def _split(self, inputs: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        sizes = [len(self._phantom.vials), self._stated.size, *[len(self._phantom.materials)] * 2]
        readings, stated, t1, t2, flip = np.split(inputs, np.cumsum(sizes), axis=1)
        return readings, stated, t1, t2, flip[:, 0]

    def _ratios(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return relaxation-corrected concentrations relative to the bath, shape (draw, vial)."""
        readings, _, t1, t2, flip = self._split(inputs)
        below, here, above = self._spills
        own = t2[:, None, self._material]
        matrix = _parabola(below.vials, here.vials, above.vials, own)
        offset = _parabola(below.offset, here.offset, above.offset, t2[:, :1])
        contrasts = np.linalg.solve(matrix, (readings - offset)[..., None])[..., 0]
        weights = self.relaxation_weights(t1, t2, flip)
        ratios: NDArray[np.float64] = contrasts * weights[:, :1] / weights[:, self._material]
        return ratios

    def _slopes(self, inputs: NDArray[np.float64], ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the slope of the line through the origin and the references, shape (draw,)."""
        stated = self._split(inputs)[1]
        weighted = stated * self._line_weights
        slopes: NDArray[np.float64] = np.sum(weighted * ratios[:, self._reference], axis=1) / np.sum(
            weighted * stated, axis=1
        )
        return slopes

    def _concentrations(
        self, inputs: NDArray[np.float64], ratios: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return ratios / self._slopes(inputs, ratios)[:, None]

    def _residual_covariance(
        self, ratios: NDArray[np.float64], derivatives: NDArray[np.float64], total: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the covariance of ratio - slope · stated concentration of the references."""
        slope = float(np.sum(ratios[self._reference] * self._stated) / np.sum(self._stated**2))
        residual = derivatives[self._reference].copy()
        count = len(self._phantom.vials)
        for index in range(self._stated.size):
            residual[index, count + index] -= slope
        covariance: NDArray[np.float64] = residual @ total @ residual.T
        return covariance

    def _regression(
        self,
        ratios: NDArray[np.float64],
        residual: NDArray[np.float64],
        slope: float,
        slope_uncertainty: float,
    ) -> Regression:
        observed = ratios[self._reference]
        inverse = np.linalg.pinv(residual, hermitian=True)
        through = self._stated @ inverse @ observed / (self._stated @ inverse @ self._stated)
        rest = observed - through * self._stated
        design = np.stack([np.ones_like(self._stated), self._stated], axis=1)
        weighted = design * self._line_weights[:, None]
        solver = np.linalg.solve(design.T @ weighted, weighted.T)
        return Regression(
            slope=slope,
            slope_uncertainty=slope_uncertainty,
            intercept=float((solver @ observed)[0]),
            intercept_uncertainty=float(np.sqrt((solver @ residual @ solver.T)[0, 0])),
            chi_squared=float(rest @ inverse @ rest),
            degrees_of_freedom=self._stated.size - 1,
        )


def _embed(block: NDArray[np.float64], start: int, size: int) -> NDArray[np.float64]:
    """Return ``block`` on the diagonal of a (size, size) matrix of zeros, from ``start`` on."""
    whole = np.zeros((size, size))
    stop = start + block.shape[0]
    whole[start:stop, start:stop] = block
    return whole


def _derivatives(values: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return d value / d input, shape (value, input), from rows: nominal, all steps up, all down."""
    count = steps.shape[0]
    up, down = values[1 : 1 + count], values[1 + count :]
    derivatives: NDArray[np.float64] = ((up - down) / (2 * np.diagonal(steps)[:, None])).T
    return derivatives


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
