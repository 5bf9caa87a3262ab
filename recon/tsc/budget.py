"""Uncertainty of a model's outputs: linear propagation beside Monte Carlo, and whether they agree.

Linear propagation (JCGM 100:2008, 5.2.2: u² = J V Jᵀ, correlations in V) tells which cause matters; Monte
Carlo (JCGM 101:2008) draws all inputs and needs neither linearity nor a normal output. Both are stated, and
JCGM 101:2008, 8.2 decides whether the first may be used alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

#: Relative step of the numerical derivatives; the models are smooth on the scale of their tolerances.
_STEP: Final = 1e-3
#: Coverage factor of 95 % for a normal distribution.
COVERAGE_FACTOR: Final = 1.96
#: Draws of a Monte Carlo: they place the ends of a 95 % interval to 2 % of the standard uncertainty.
DRAWS: Final = 20_000
#: Significant digits to which a standard uncertainty matters: JCGM 101:2008, 7.9.2.
_DIGITS: Final = 2
#: Density of the standard normal distribution at its 2.5 % point: places the sampling error of a quantile.
_DENSITY_AT_END: Final = 0.0584


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Best values of all inputs and how they vary.

    Parameters
    ----------
    nominal
        Shape (input,).
    covariances
        Covariance matrix, shape (input, input), by cause; the causes are independent of each other.
    rectangular
        Inputs drawn from a rectangular instead of a normal distribution, shape (input,); these must not be
        correlated with others.
    """

    nominal: NDArray[np.float64]
    covariances: Mapping[str, NDArray[np.float64]]
    rectangular: NDArray[np.bool_]

    def __post_init__(self) -> None:
        size = self.nominal.size
        for cause, covariance in self.covariances.items():
            if covariance.shape != (size, size):
                raise ValueError(f"{cause}: covariance {covariance.shape} for {size} inputs")
        if self.rectangular.shape != (size,):
            raise ValueError(f"rectangular {self.rectangular.shape} for {size} inputs")

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Sum over the causes, shape (input, input)."""
        total = np.zeros((self.nominal.size,) * 2)
        for part in self.covariances.values():
            total += part
        return total

    @property
    def steps(self) -> NDArray[np.float64]:
        """Step of each input for numerical derivatives, shape (input,)."""
        return np.maximum(np.abs(self.nominal), 0.1) * _STEP

    def probes(self) -> NDArray[np.float64]:
        """Return the nominal inputs, then each stepped up, then each stepped down: (1 + 2 input, input)."""
        steps = np.diag(self.steps)
        return np.concatenate([self.nominal[None], self.nominal + steps, self.nominal - steps])

    def derivatives(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return d output / d input, shape (output, input), from the model's values at ``probes``."""
        count = self.nominal.size
        up, down = values[1 : 1 + count], values[1 + count :]
        return np.asarray(((up - down) / (2 * self.steps[:, None])).T, dtype=np.float64)

    def draw(self, draws: int, seed: int) -> NDArray[np.float64]:
        """Return random inputs, shape (draw, input)."""
        generator = np.random.default_rng(seed)
        total = self.covariance
        normal = total.copy()
        normal[self.rectangular] = 0.0
        normal[:, self.rectangular] = 0.0
        values, vectors = np.linalg.eigh(normal)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        sample = self.nominal + generator.standard_normal((draws, self.nominal.size)) @ root.T
        flat = np.flatnonzero(self.rectangular)
        half = np.sqrt(3 * np.diagonal(total)[flat])
        sample[:, flat] += half * generator.uniform(-1.0, 1.0, (draws, flat.size))
        return np.asarray(sample, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """What is known of one output.

    Parameters
    ----------
    value
        The model at the nominal inputs.
    linear
        Standard uncertainty by linear propagation.
    contributions
        (cause, standard uncertainty), largest first; their squares sum to that of ``linear``.
    monte_carlo
        Standard deviation of the draws.
    interval
        Ends of the 95 % coverage interval, by Monte Carlo (probabilistically symmetric).
    is_linear_valid
        Whether the ends of ``value`` ± 1.96 ``linear`` agree with the interval to half a unit of the second
        digit of the uncertainty (JCGM 101:2008, 8.2), allowing for twice the draws' own sampling error.
    """

    value: float
    linear: float
    contributions: tuple[tuple[str, float], ...]
    monte_carlo: float
    interval: tuple[float, float]
    is_linear_valid: bool


def propagate(
    model: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    inputs: Inputs,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[Uncertainty, ...]:
    """Return the uncertainty of every output of ``model``.

    Parameters
    ----------
    model
        Maps inputs, shape (draw, input), to outputs, shape (draw, output).
    inputs
        Best values, covariances, distributions.
    draws, seed
        Of the Monte Carlo.

    Raises
    ------
    ValueError
        Fewer than 100 draws: their 2.5 % point would be one of two values.
    """
    if draws < 100:
        raise ValueError(f"a 95 % interval needs at least 100 draws, got {draws}")
    values = model(inputs.probes())
    jacobian = inputs.derivatives(values)
    causes = {
        cause: np.sqrt(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian))
        for cause, covariance in inputs.covariances.items()
    }
    spread = model(inputs.draw(draws, seed))
    low, high = np.quantile(spread, (0.025, 0.975), axis=0)
    deviation = spread.std(axis=0, ddof=1)
    result = []
    for index, value in enumerate(values[0]):
        parts = sorted(((cause, float(part[index])) for cause, part in causes.items()), key=_smallest_last)
        linear = float(np.sqrt(sum(part**2 for _, part in parts)))
        interval = (float(low[index]), float(high[index]))
        valid = is_linear_valid(float(value), linear, interval, draws)
        result.append(
            Uncertainty(float(value), linear, tuple(parts), float(deviation[index]), interval, valid)
        )
    return tuple(result)


def numerical_tolerance(uncertainty: float, digits: int = _DIGITS) -> float:
    """Return half a unit of the last significant digit of a standard uncertainty: JCGM 101:2008, 7.9.2."""
    if uncertainty <= 0:
        return 0.0
    exponent = int(np.floor(np.log10(uncertainty))) - digits + 1
    return float(0.5 * 10.0**exponent)


def is_linear_valid(value: float, linear: float, interval: tuple[float, float], draws: int) -> bool:
    """Return whether linear propagation gives the same 95 % interval as Monte Carlo: JCGM 101:2008, 8.2.

    Parameters
    ----------
    value, linear
        The estimate and its standard uncertainty by linear propagation.
    interval
        Ends of the Monte Carlo interval.
    draws
        Of the Monte Carlo: their sampling error, twice, is not held against the linear propagation.
    """
    sampling = 2 * linear * np.sqrt(0.025 * 0.975 / draws) / _DENSITY_AT_END
    tolerance = numerical_tolerance(linear) + sampling
    low, high = value - COVERAGE_FACTOR * linear, value + COVERAGE_FACTOR * linear
    return bool(abs(low - interval[0]) <= tolerance and abs(high - interval[1]) <= tolerance)


def _smallest_last(item: tuple[str, float]) -> float:
    return -item[1]
