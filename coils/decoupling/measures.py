"""What pick-up probes say about preamplifier decoupling and detuning, and what S says about isolation.

Two small probes that hardly see each other read a transmission in proportion to the current in the loop
under them. So ratios of such readings are ratios of loop currents: preamplifier decoupling (Roemer et al.,
Magn Reson Med 16:192 (1990)) and detuning depth. What the probes see of each other directly can be measured
with the loop away and is then subtracted as a complex number.

Intervals are 95 % and not symmetric in dB. A reading that vanishes in its uncertainty yields a lower bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

#: Standard deviations of a 95 % interval of a normal distribution.
COVERAGE: Final = 1.959964
#: Standard deviations that a reference reading must stand above zero, else its ratio has no useful interval.
_CLEAR: Final = 5.0
#: Fewest readings from which a scatter is estimated; below it the t factor exceeds 1.6 times the normal one.
_FEWEST_READINGS: Final = 4


@dataclass(frozen=True, slots=True)
class Reading:
    """A complex S-parameter with its standard uncertainty.

    Parameters
    ----------
    value
        Linear.
    uncertainty
        Of the real and of the imaginary part each, linear.
    """

    value: complex
    uncertainty: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no reading."""
        if not (np.isfinite(self.value) and 0.0 <= self.uncertainty < math.inf):
            raise ValueError(f"a reading is finite and its uncertainty not negative; got {self}")

    def __sub__(self, other: Reading) -> Reading:
        """Return the difference of two independent readings."""
        return Reading(self.value - other.value, math.hypot(self.uncertainty, other.uncertainty))


@dataclass(frozen=True, slots=True)
class Decibels:
    """A ratio in dB with its 95 % interval.

    Parameters
    ----------
    value_db
        Best estimate.
    low_db, high_db
        Ends of the interval; infinite where the data bound the ratio on one side only.
    """

    value_db: float
    low_db: float
    high_db: float

    @property
    def is_bound(self) -> bool:
        """Whether only one end is known: then ``value_db`` is no estimate."""
        return math.isinf(self.low_db) or math.isinf(self.high_db)

    def __str__(self) -> str:
        """Return it as a table prints it."""
        if math.isinf(self.high_db):
            return f"> {self.low_db:.1f} dB"
        if math.isinf(self.low_db):
            return f"< {self.high_db:.1f} dB"
        return f"{self.value_db:.1f} dB ({self.low_db:.1f} to {self.high_db:.1f})"


def average_readings(samples: ArrayLike, *, floor: float = 0.0) -> Reading:
    """Return the mean of repeated readings and its standard uncertainty.

    Parameters
    ----------
    samples
        Complex S-parameters of the same state, shape (repeat,), at least four.
    floor
        Standard uncertainty that does not average (directivity, drift, cables), linear.

    Raises
    ------
    ValueError
        Fewer than four readings.
    """
    values = np.asarray(samples, dtype=np.complex128).ravel()
    if values.size < _FEWEST_READINGS:
        raise ValueError(
            f"a scatter needs at least {_FEWEST_READINGS} readings, got {values.size}; repeat the sweep"
        )
    mean = complex(values.mean())
    variance = float(np.sum(np.abs(values - mean) ** 2)) / (2.0 * (values.size - 1))
    return Reading(mean, math.hypot(math.sqrt(variance / values.size), floor))


def suppression(reference: Reading, state: Reading, *, background: Reading | None = None) -> Decibels:
    """Return how many dB smaller the loop's current is in a state than in the reference state.

    Parameters
    ----------
    reference, state
        Transmission between the probes, same probes, same place, same frequency.
    background
        The same with the loop away (or known to carry no current): what the probes see of each other.

    Returns
    -------
    Positive when the current fell. Only a lower bound where the state's reading vanishes in its uncertainty.

    Raises
    ------
    MeasurementError
        The reference itself does not stand clear of its uncertainty.

    Notes
    -----
    With a = state and b = reference, |a|/|b| has the linearised standard uncertainty
    sqrt(u_a² + |a/b|² u_b²) / |b|; its ends, not its value, are turned into dB. A background's uncertainty
    enters a and b alike and is counted in both, on the safe side while |a| < |b|.
    """
    if background is not None:
        reference, state = reference - background, state - background
    whole = abs(reference.value)
    if whole <= _CLEAR * reference.uncertainty or whole == 0.0:
        raise MeasurementError(
            f"the reference reading {whole:.2e} is not clear of its uncertainty {reference.uncertainty:.2e}: "
            "bring the probes closer to the loop, or sweep with a narrower IF bandwidth"
        )
    ratio = abs(state.value) / whole
    spread = COVERAGE * math.hypot(state.uncertainty, ratio * reference.uncertainty) / whole
    return Decibels(_loss(ratio), _loss(ratio + spread), _loss(max(ratio - spread, 0.0)))


def preamplifier_decoupling(
    with_50_ohm: Reading, with_preamplifier: Reading, *, background: Reading | None = None
) -> Decibels:
    """Return the preamplifier decoupling: loop current with 50 ohm at the port over that with preamplifier.

    Parameters
    ----------
    with_50_ohm, with_preamplifier
        Probe transmission at the nucleus' frequency, preamplifier powered in the second.
    background
        See `suppression`.

    Returns
    -------
    Negative where the preamplifier makes coupling worse: then the phase between match and preamplifier is
    wrong, see `coils.decoupling.preamplifier`.
    """
    return suppression(with_50_ohm, with_preamplifier, background=background)


def detuning_depth(tuned: Reading, detuned: Reading, *, background: Reading | None = None) -> Decibels:
    """Return the active detuning depth: loop current tuned over detuned, at one nucleus' frequency.

    Parameters
    ----------
    tuned, detuned
        Probe transmission in both bias states.
    background
        See `suppression`; without it cross-talk of the probes limits what can be seen, commonly to 30-50 dB.
    """
    return suppression(tuned, detuned, background=background)


def isolation(
    s: NDArray[np.complex128], first: Sequence[int], second: Sequence[int], *, uncertainty: float = 0.0
) -> tuple[Decibels, tuple[int, int]]:
    """Return the worst isolation between two groups of ports, and the pair it belongs to.

    Parameters
    ----------
    s
        S-matrix at one frequency, shape (port, port).
    first, second
        Ports from 1, such as those of two nuclei; a port in both groups is not paired with itself.
    uncertainty
        Standard uncertainty of each |S|, linear.

    Returns
    -------
    -20 log10 |S_ij| of the largest transmission, positive for a passive array.

    Raises
    ------
    MeasurementError
        A pair was not measured (nan).
    ValueError
        No pairs, or a port that the matrix does not have.
    """
    matrix = np.asarray(s, dtype=np.complex128)
    pairs = [(a, b) for a in first for b in second if a != b]
    if not pairs:
        raise ValueError("isolation needs two groups of ports that form at least one pair")
    count = matrix.shape[-1]
    if matrix.shape != (count, count) or not all(1 <= port <= count for pair in pairs for port in pair):
        raise ValueError(f"ports {first} and {second} are not all in an S-matrix of shape {matrix.shape}")
    sizes = [max(abs(matrix[a - 1, b - 1]), abs(matrix[b - 1, a - 1])) for a, b in pairs]
    missing = [pair for pair, size in zip(pairs, sizes, strict=True) if not np.isfinite(size)]
    if missing:
        raise MeasurementError(f"not measured between ports {missing[0][0]} and {missing[0][1]}")
    worst = int(np.argmax(sizes))
    size, spread = float(sizes[worst]), COVERAGE * uncertainty
    level = Decibels(_loss(size), _loss(size + spread), _loss(max(size - spread, 0.0)))
    return level, pairs[worst]


def _loss(ratio: float) -> float:
    return -20.0 * math.log10(ratio) if ratio > 0.0 else math.inf
