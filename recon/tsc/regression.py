"""The line through reference vials: slope, intercept test, lack of fit, vials that do not belong to it.

Generalised least squares with the full covariance of what is observed (vials share gain, flip angle and
relaxation times). Reading a concentration off the line: Madelin, Regatte, J Magn Reson Imaging 38:511
(2013); its variance with the covariance of slope and intercept: JCGM 100:2008, H.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Probability of a worse fit below which the line does not describe the references.
SIGNIFICANCE: Final = 0.01
#: A reference is doubted when it is so many standard uncertainties off the line through the others.
_DOUBTED: Final = 3.0
#: Fewest references of which one may be rejected: three must agree against it.
FEWEST_FOR_REJECTION: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Observed = intercept + slope · concentration.

    Parameters
    ----------
    slope
        Observed units per mmol/L.
    intercept
        In observed units; 0 of a line through the origin.
    covariance
        Of (intercept, slope), shape (2, 2); first row and column 0 of a line through the origin.
    chi_squared
        Squared residuals in units of their covariance.
    degrees_of_freedom
        Observations less parameters.
    """

    slope: float
    intercept: float
    covariance: NDArray[np.float64]
    chi_squared: float
    degrees_of_freedom: int

    @property
    def slope_uncertainty(self) -> float:
        """Standard uncertainty of the slope."""
        return float(np.sqrt(self.covariance[1, 1]))

    @property
    def intercept_uncertainty(self) -> float:
        """Standard uncertainty of the intercept; 0 of a line through the origin."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def has_intercept(self) -> bool:
        """Whether the intercept differs from 0 by more than twice its uncertainty."""
        return abs(self.intercept) > 2 * self.intercept_uncertainty

    @property
    def lack_of_fit_probability(self) -> float:
        """Probability of a worse fit if the line is true; 1 without degrees of freedom."""
        if self.degrees_of_freedom < 1:
            return 1.0
        return float(scipy.stats.chi2.sf(self.chi_squared, self.degrees_of_freedom))

    def predict(self, observed: float, uncertainty: float) -> tuple[float, float]:
        """Return the concentration read off the line in mmol/L, and its standard uncertainty.

        Parameters
        ----------
        observed, uncertainty
            Of an unknown sample, independent of the line.

        Notes
        -----
        c = (y - b) / g;  u²(c) = [u²(y) + u²(b) + c² u²(g) + 2 c cov(b, g)] / g².
        """
        concentration = (observed - self.intercept) / self.slope
        design = np.array([1.0, concentration])
        variance = uncertainty**2 + design @ self.covariance @ design
        return float(concentration), float(np.sqrt(variance) / abs(self.slope))


def fit_line(
    concentrations: NDArray[np.float64],
    observed: NDArray[np.float64],
    covariance: NDArray[np.float64],
    *,
    through_origin: bool = False,
) -> Line:
    """Fit a line by generalised least squares.

    Parameters
    ----------
    concentrations
        In mmol/L, shape (vial,).
    observed
        Shape (vial,).
    covariance
        Of the residuals, shape (vial, vial): of ``observed`` and, times the squared slope, of the stated
        concentrations.
    through_origin
        No intercept: right where the noise floor is removed, as in coherent combination.

    Raises
    ------
    ValueError
        Fewer vials than parameters, or all of one concentration where an intercept is asked for.
    """
    columns = [concentrations] if through_origin else [np.ones_like(concentrations), concentrations]
    design = np.stack(columns, axis=1)
    if design.shape[0] < design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(f"{concentrations.tolist()} mmol/L do not determine a line")
    inverse = np.linalg.pinv(covariance, hermitian=True)
    parameters_covariance = np.linalg.inv(design.T @ inverse @ design)
    parameters = parameters_covariance @ design.T @ inverse @ observed
    rest = observed - design @ parameters
    whole = np.zeros((2, 2))
    whole[2 - design.shape[1] :, 2 - design.shape[1] :] = parameters_covariance
    return Line(
        slope=float(parameters[-1]),
        intercept=0.0 if through_origin else float(parameters[0]),
        covariance=whole,
        chi_squared=float(rest @ inverse @ rest),
        degrees_of_freedom=int(design.shape[0] - design.shape[1]),
    )


def leave_one_out(
    concentrations: NDArray[np.float64], observed: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far each vial is off the line through the origin and the others, in its uncertainties.

    Parameters
    ----------
    concentrations, observed, covariance
        As in ``fit_line``; at least two vials.

    Returns
    -------
    Shape (vial,). Under the model each is a standard normal number.

    Notes
    -----
    (y_i - ŷ_i(others)) / u: with P = V⁻¹ - V⁻¹ c (cᵀ V⁻¹ c)⁻¹ cᵀ V⁻¹ it is (P y)_i / sqrt(P_ii), the deleted
    residual of generalised least squares. Cook, Weisberg, Residuals and Influence in Regression (1982), 2.2.
    """
    inverse = np.linalg.pinv(covariance, hermitian=True)
    projected = inverse @ concentrations
    remover = inverse - np.outer(projected, projected) / (concentrations @ projected)
    spread = np.sqrt(np.maximum(np.diagonal(remover), np.finfo(np.float64).tiny))
    return np.asarray(remover @ observed / spread, dtype=np.float64)


def reject_outliers(
    names: Sequence[str],
    concentrations: NDArray[np.float64],
    observed: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> dict[str, str]:
    """Return the references that do not lie on the line of the others, each with the reason.

    The worst is taken out while the line does not fit, it is more than three standard uncertainties off the
    line through the others, and at least three others remain that agree. Never one of fewer than four: then
    nobody can say which is wrong, and the lack of fit is all that can be reported.

    Parameters
    ----------
    names
        Of the vials.
    concentrations, observed, covariance
        As in ``fit_line``.
    """
    kept = list(range(len(names)))
    reasons: dict[str, str] = {}
    while len(kept) >= FEWEST_FOR_REJECTION:
        c, y, v = concentrations[kept], observed[kept], covariance[np.ix_(kept, kept)]
        line = fit_line(c, y, v, through_origin=True)
        if line.lack_of_fit_probability >= SIGNIFICANCE:
            return reasons
        off = leave_one_out(c, y, v)
        worst = int(np.argmax(np.abs(off)))
        if abs(off[worst]) < _DOUBTED:
            break
        index = kept.pop(worst)
        reasons[names[index]] = (
            f"{off[worst]:+.1f} standard uncertainties off the line through the other references"
        )
    rest = fit_line(concentrations[kept], observed[kept], covariance[np.ix_(kept, kept)], through_origin=True)
    # What is left still disagrees: the culprit was not found, so nobody is accused.
    return reasons if rest.lack_of_fit_probability >= SIGNIFICANCE else {}
