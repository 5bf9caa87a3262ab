"""Elements with two terminals, in series and in parallel, for all channels of one kind at once.

An element's value is a vector: one entry for each channel. Frequencies may be complex: at ``f - ih`` a lossy
circuit answers as if every resonance were ``2h`` wider, which `coils.tuning` uses. Losses follow powers of
frequency: ``Q(f) = q (f / 1 MHz)^q_exponent``.

The derivative of any S-parameter by an element's value follows from the current through it, so a tree of
elements needs to answer two questions only: what is your impedance, and how does a current spread?
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

Complex: TypeAlias = "NDArray[np.complex128]"
Real: TypeAlias = "NDArray[np.float64]"

#: Frequency in Hz at which quality factors and resistances are stated.
REFERENCE_FREQUENCY: Final = 1e6


@dataclass(frozen=True, slots=True)
class Capacitor:
    """A capacitor with losses.

    Parameters
    ----------
    name
        Unique in its channel.
    value
        F, shape (channel,).
    q, q_exponent
        Quality factor at 1 MHz and its power of frequency.
    """

    name: str
    value: Real
    q: float = np.inf
    q_exponent: float = 0.0

    @property
    def log_slope(self) -> float:
        """Relative change of impedance for a relative change of value."""
        return -1.0

    def impedance(self, frequencies: Complex) -> Complex:
        """Return ohm, shape (frequency, channel), for frequencies of shape (frequency, 1)."""
        # Divided while frequencies are real: a complex division costs five times as much.
        reactance = 1.0 / (2.0 * np.pi * self.value * frequencies)
        return np.asarray(reactance * (_inverse_q(self, frequencies) - 1j))


@dataclass(frozen=True, slots=True)
class Inductor:
    """An inductor with losses; parameters as `Capacitor`, value in H."""

    name: str
    value: Real
    q: float = np.inf
    q_exponent: float = 0.0

    @property
    def log_slope(self) -> float:
        """Relative change of impedance for a relative change of value."""
        return 1.0

    def impedance(self, frequencies: Complex) -> Complex:
        """Return ohm, shape (frequency, channel), for frequencies of shape (frequency, 1)."""
        reactance = 2.0 * np.pi * self.value * frequencies
        return np.asarray(reactance * (_inverse_q(self, frequencies) + 1j))


@dataclass(frozen=True, slots=True)
class Resistor:
    """A resistance that follows a power of frequency: 0.5 for skin effect, 2 for a conducting sample.

    Parameters
    ----------
    name
        Unique in its channel.
    value
        Ohm at 1 MHz, shape (channel,).
    exponent
        Power of frequency.
    """

    name: str
    value: Real
    exponent: float = 0.0

    @property
    def log_slope(self) -> float:
        """Relative change of impedance for a relative change of value."""
        return 1.0

    def impedance(self, frequencies: Complex) -> Complex:
        """Return ohm, shape (frequency, channel), for frequencies of shape (frequency, 1)."""
        if self.exponent == 0.0:
            value = np.asarray(self.value, dtype=np.complex128)
            return np.broadcast_to(value, (len(frequencies), len(value)))
        law = (frequencies / REFERENCE_FREQUENCY) ** self.exponent
        return np.asarray(self.value * law, dtype=np.complex128)


Element: TypeAlias = Capacitor | Inductor | Resistor


@dataclass(frozen=True, slots=True)
class Series:
    """Branches one behind the other."""

    parts: tuple[Branch, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """Branches side by side."""

    parts: tuple[Branch, ...]


Branch: TypeAlias = Element | Series | Parallel


def series(*parts: Branch) -> Branch:
    """Return the branches in series; one alone is itself."""
    return parts[0] if len(parts) == 1 else Series(parts)


def parallel(*parts: Branch) -> Branch:
    """Return the branches in parallel; one alone is itself."""
    return parts[0] if len(parts) == 1 else Parallel(parts)


def leaves(branch: Branch) -> Iterator[Element]:
    """Yield every element of a branch."""
    if isinstance(branch, Series | Parallel):
        for part in branch.parts:
            yield from leaves(part)
    else:
        yield branch


def replaced(branch: Branch, values: Mapping[str, Real]) -> Branch:
    """Return the branch with the values of the named elements changed."""
    if isinstance(branch, Series | Parallel):
        return type(branch)(tuple(replaced(part, values) for part in branch.parts))
    value = values.get(branch.name)
    if value is None:
        return branch
    if isinstance(branch, Resistor):
        return Resistor(branch.name, value, branch.exponent)
    return type(branch)(branch.name, value, branch.q, branch.q_exponent)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A branch at some frequencies.

    Parameters
    ----------
    branch
        What was evaluated.
    impedance
        Ohm, shape (frequency, channel).
    parts
        Its parts, evaluated.
    """

    branch: Branch
    impedance: Complex
    parts: tuple[Evaluated, ...] = field(default=())

    def spread(self, current: Complex) -> Iterator[tuple[Element, Complex, Complex]]:
        """Yield every element with its impedance and its current when ``current`` enters the branch.

        Parameters
        ----------
        current
            A, shape (..., frequency, channel).
        """
        if isinstance(self.branch, Series):
            for part in self.parts:
                yield from part.spread(current)
        elif isinstance(self.branch, Parallel):
            voltage = current * self.impedance
            for part in self.parts:
                yield from part.spread(voltage / part.impedance)
        else:
            yield self.branch, self.impedance, current


def evaluate(branch: Branch, frequencies: Complex) -> Evaluated:
    """Evaluate a branch.

    Parameters
    ----------
    frequencies
        Hz, shape (frequency, 1); may be complex.
    """
    if isinstance(branch, Series):
        parts = tuple(evaluate(part, frequencies) for part in branch.parts)
        total = parts[0].impedance
        for part in parts[1:]:
            total = total + part.impedance
        return Evaluated(branch, total, parts)
    if isinstance(branch, Parallel):
        parts = tuple(evaluate(part, frequencies) for part in branch.parts)
        admittance = 1.0 / parts[0].impedance
        for part in parts[1:]:
            admittance = admittance + 1.0 / part.impedance
        return Evaluated(branch, 1.0 / admittance, parts)
    return Evaluated(branch, branch.impedance(frequencies))


def _inverse_q(element: Capacitor | Inductor, frequencies: Complex) -> Complex:
    if element.q_exponent == 0.0 or np.isinf(element.q):
        return np.asarray(1.0 / element.q + 0j)
    return np.asarray((frequencies / REFERENCE_FREQUENCY) ** -element.q_exponent / element.q + 0j)
