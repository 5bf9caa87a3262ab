"""What is believed of an array: every value of the drawing as corrected by sweeps, and the model it makes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from coils.circuit.array import ArrayCircuit, Solution, solve
from coils.tuning.curves import TERMS
from coils.tuning.design import LOOP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coils.circuit.elements import Complex, Real
    from coils.tuning.design import ArrayDesign


#: What a kept belief may have lost, relative to the drawing's tolerances: parts and curves stay, while the
#: load, the loop around it and the cables change.
_KEPT: Final = 0.05
_KEPT_LOOP: Final = 0.3
#: Part of the drawing's tolerances that counts as nothing.
_KNOWN: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Belief:
    """Values as believed now.

    Parameters
    ----------
    design
        What was drawn.
    values
        Of every element that is not a trimmer, each of shape (channel,).
    terms
        Corrections of the trimmers' curves, shape (channel, trimmer, 4).
    delays
        Between the planes of reference and the ports, s, shape (port,).
    coupling
        Coupling coefficients of the loops, symmetric, zero diagonal, shape (loop, loop).
    resistance
        Mutual resistance of the loops at each arm's frequency over the geometric mean of their own
        resistances there, symmetric, zero diagonal, shape (arm, loop, loop).
    """

    design: ArrayDesign
    values: Mapping[str, Real]
    terms: Real
    delays: Real
    coupling: Real
    resistance: Real

    @classmethod
    def from_design(cls, design: ArrayDesign) -> Self:
        """Return what the drawing says."""
        trimmers = {trimmer.element for trimmer in design.trimmers}
        values = {
            element.name: element.value.copy()
            for element in design.bank.elements()
            if element.name not in trimmers
        }
        count, arms = design.channels, len(design.arms)
        return cls(
            design,
            values,
            np.zeros((count, len(design.trimmers), TERMS)),
            np.zeros(design.circuit.port_count),
            np.zeros((count, count)),
            np.zeros((arms, count, count)),
        )

    def capacitances(self, places: Real) -> Real:
        """Return the trimmers' capacitances in F at places (channel, trimmer), -1 to 1; shape as places."""
        columns = [
            trimmer.capacitance(places[:, column], self.terms[:, column])
            for column, trimmer in enumerate(self.design.trimmers)
        ]
        return np.stack(columns, axis=1)

    def circuit(self, capacitances: Real) -> ArrayCircuit:
        """Return the circuit with trimmers of the given capacitances in F, shape (channel, trimmer)."""
        values = dict(self.values)
        for column, trimmer in enumerate(self.design.trimmers):
            values[trimmer.element] = capacitances[:, column]
        return replace(self.design.circuit.with_values([values]), delays=self.delays)

    def solve(self, frequencies: Real | Complex, capacitances: Real) -> Solution:
        """Return what the array should show.

        Parameters
        ----------
        frequencies
            Hz, shape (frequency,), real or complex.
        capacitances
            Of the trimmers in F, shape (channel, trimmer).
        """
        circuit = self.circuit(capacitances)
        return solve(circuit, frequencies, self.loops(frequencies))

    def loops(self, frequencies: Real | Complex) -> Complex:
        """Return the loops' mutual impedances in ohm, shape (frequency, loop, loop); the diagonal is 0."""
        own = self.values[LOOP]
        mutual = self.coupling * np.sqrt(np.outer(own, own))
        impedance = 2j * np.pi * np.asarray(frequencies)[:, None, None] * mutual
        band, ratio = self.bands(frequencies)
        scale = np.sqrt(self.loop_resistance()[:, :, None] * self.loop_resistance()[:, None, :])
        shared = self.resistance * scale
        return np.asarray(impedance + ratio[:, None, None] ** 2 * shared[band], dtype=np.complex128)

    def bands(self, frequencies: Real | Complex) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], Complex]:
        """Return the arm whose frequency is nearest (as a ratio), and the ratio to it, for each frequency."""
        wanted = np.array(self.design.frequencies)
        distance = np.abs(np.log(np.abs(frequencies)[:, None] / wanted))
        band = np.asarray(np.argmin(distance, axis=1), dtype=np.intp)
        return band, np.asarray(np.asarray(frequencies) / wanted[band], dtype=np.complex128)

    def loop_resistance(self) -> Real:
        """Return what the loops lose in copper and sample at each arm's frequency, ohm, shape (arm, loop)."""
        megahertz = np.array(self.design.frequencies)[:, None] / 1e6
        copper, sample = self.values["copper"], self.values["sample"]
        return np.asarray(copper * megahertz**0.5 + sample * megahertz**2, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed before a measurement, and how far the truth may be from it (standard deviations).

    Parameters
    ----------
    belief
        Most probable values.
    elements
        By element: of the logarithm or of the value, as the design's spreads say.
    terms
        Of the curves' corrections, shape (trimmer, 4).
    delay
        s.
    coupling, resistance
        Of the coupling coefficients and the relative mutual resistances.
    """

    belief: Belief
    elements: Mapping[str, float]
    terms: Real
    delay: float
    coupling: float
    resistance: float

    @classmethod
    def from_design(cls, design: ArrayDesign) -> Self:
        """Return what the drawing says."""
        return cls(
            Belief.from_design(design),
            {name: spread.width for name, spread in design.spreads.items()},
            np.stack([trimmer.widths() for trimmer in design.trimmers]),
            design.delay,
            design.coupling,
            design.resistance_coupling,
        )

    @classmethod
    def kept(cls, belief: Belief) -> Self:
        """Return what an earlier tuning of this array leaves: its parts, but not its load."""
        drawn = cls.from_design(belief.design)
        share = dict.fromkeys(drawn.elements, _KEPT) | {LOOP: _KEPT_LOOP, "sample": 1.0, "copper": _KEPT_LOOP}
        return cls(
            belief,
            {name: width * share[name] for name, width in drawn.elements.items()},
            drawn.terms * _KEPT,
            drawn.delay * _KEPT_LOOP,
            drawn.coupling * _KEPT_LOOP,
            drawn.resistance,
        )

    @classmethod
    def known(cls, belief: Belief) -> Self:
        """Return what is known when nothing but the trimmers' places can have changed."""
        drawn = cls.from_design(belief.design)
        return cls(
            belief,
            {name: width * _KNOWN for name, width in drawn.elements.items()},
            drawn.terms * _KNOWN,
            drawn.delay * _KNOWN,
            drawn.coupling * _KNOWN,
            drawn.resistance * _KNOWN,
        )
