"""Derivatives of every S-parameter by every element's value, from the one solution there is.

A reciprocal network needs no second solve: for a change dz of the impedance of a two-terminal element,
``dS_ij = I_i I_j dz / 2`` with I_i the current through the element for a unit wave incident at port i (the
adjoint method of Director and Rohrer, IEEE Trans. Circuit Theory 16:318 (1969), for waves instead of
sources). So the derivatives of a whole S-matrix are vectors, one for each element, and are kept as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from coils.circuit.array import SectionState, Solution
    from coils.circuit.elements import Complex, Element, Real


@dataclass(frozen=True, slots=True)
class ElementSensitivity:
    """Derivatives by the logarithm of one element's values in one bank.

    Parameters
    ----------
    name
        Of the element.
    bank
        Its index.
    factor
        Shape (frequency, channel).
    current
        Through the element for unit incident waves, A per sqrt(W), shape (frequency, channel, port).
    """

    name: str
    bank: int
    factor: Complex
    current: Complex

    def reflections(self) -> Complex:
        """Return dS_ii / d ln(value), shape (frequency, port, channel)."""
        return np.asarray((self.factor[:, :, None] * self.current**2).swapaxes(1, 2))

    def matrix(self, channel: int) -> Complex:
        """Return dS / d ln(value) of one channel's element, shape (frequency, port, port)."""
        current = self.current[:, channel]
        return np.asarray(self.factor[:, channel, None, None] * current[:, :, None] * current[:, None, :])


def element_sensitivities(solution: Solution) -> Iterator[ElementSensitivity]:
    """Yield the derivatives by every element of the circuit, in the order of `Bank.elements`."""
    currents = solution.currents()
    for number, (bank, states) in enumerate(zip(solution.circuit.banks, solution.states, strict=True)):
        ring = currents[:, bank.loops, :]
        for state in states:
            turn = _turn(solution, state)
            for element, impedance, by_ring, by_wave in _element_currents(state):
                current = by_ring[:, :, None] * ring
                arm = state.section.arm
                if arm is not None and by_wave is not None:
                    current[:, np.arange(arm.ports.size), arm.ports] += by_wave * turn
                yield ElementSensitivity(element.name, number, 0.5 * element.log_slope * impedance, current)


def by_loop_impedance(solution: Solution, row: NDArray[np.intp], column: NDArray[np.intp]) -> Complex:
    """Return dS_ii / dZ for pairs of loops, Z their mutual (or, where equal, own) impedance.

    Parameters
    ----------
    row, column
        Loops, shape (pair,).

    Returns
    -------
    Shape (frequency, port, pair), 1/ohm.
    """
    twice = np.where(row == column, 0.5, 1.0)
    currents = solution.currents()
    product = currents[:, row, :] * currents[:, column, :]
    return np.asarray((twice[:, None] * product).swapaxes(1, 2))


def by_delay(solution: Solution) -> Complex:
    """Return dS_ii / d delay of the port's own line, 1/s, shape (frequency, port)."""
    own = np.arange(solution.s.shape[-1])
    return np.asarray(-4j * np.pi * solution.frequencies[:, None] * solution.s[:, own, own])


def _turn(solution: Solution, state: SectionState) -> Complex | float:
    """Return how a port's line turns the wave before it enters the arm."""
    delays: Real = solution.circuit.delays
    if state.section.arm is None or not np.any(delays):
        return 1.0
    own = delays[state.section.arm.ports]
    return np.asarray(np.exp(-2j * np.pi * solution.frequencies[:, None] * own))


def _element_currents(
    state: SectionState,
) -> Iterator[tuple[Element, Complex, Complex, Complex | None]]:
    """Yield each element with its impedance and its currents per ring current and per incident wave."""
    if state.admittance is None or state.impedance is None or state.voltage is None:
        for element, impedance, current in state.across.spread(np.ones_like(state.across.impedance)):
            yield element, impedance, current, None
        return
    both = np.stack((state.impedance, state.voltage))
    into = both / state.across.impedance
    for element, impedance, current in state.across.spread(into):
        yield element, impedance, current[0], current[1]
    # what enters the section from its arm: all of the branch's current but that of the ring
    through = into - np.array([1.0, 0.0])[:, None, None]
    at = both
    arm = state.section.arm
    stages = () if arm is None else arm.stages
    for stage, evaluated in zip(reversed(stages), reversed(state.stages), strict=True):
        if stage.place == "series":
            for element, impedance, current in evaluated.spread(through):
                yield element, impedance, current[0], current[1]
            at = at + through * evaluated.impedance
        else:
            shunted = at / evaluated.impedance
            for element, impedance, current in evaluated.spread(shunted):
                yield element, impedance, current[0], current[1]
            through = through + shunted


def own_sensitivities(solution: Solution, number: int) -> Iterator[ElementSensitivity]:
    """Yield the derivatives of the S-parameters among each channel's own ports, for one bank.

    Parameters
    ----------
    number
        Of the bank.

    Returns
    -------
    As `element_sensitivities`, with ``current`` of shape (frequency, channel, arm): only the ports of the
    channel itself, in the order of the sections that have arms. Costs a channel's share of the whole.
    """
    bank, states = solution.circuit.banks[number], solution.states[number]
    arms = [state.section.arm for state in states if state.section.arm is not None]
    own = solution.inverse[:, bank.loops, bank.loops]
    ring = np.stack([-own * solution.voltage[:, arm.ports] for arm in arms], axis=2)
    place = 0
    for state in states:
        turn = _turn(solution, state)
        for element, impedance, by_ring, by_wave in _element_currents(state):
            current = by_ring[:, :, None] * ring
            if by_wave is not None:
                current[:, :, place] += by_wave * turn
            yield ElementSensitivity(element.name, number, 0.5 * element.log_slope * impedance, current)
        place += state.section.arm is not None
