"""Choosing the parts: element values from B0 and the loop, and the trimmer settings that match all ports."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from hil_fixtures.physics.geometry import inductance_by_distance
from hil_fixtures.physics.network import Z0, ArrayCircuit, couple, loop_impedance, respond, sections
from hil_fixtures.physics.parts import FixedParts

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil_fixtures.physics.arrays import Complex, Real
    from hil_fixtures.physics.geometry import LoopArray
    from hil_fixtures.physics.sample import Load

#: Inductor of the trap in H; more favours 1H, less 23Na.
TRAP_INDUCTANCE: Final = 120e-9

#: Share of the loop's reactance at 23Na that the 23Na tune capacitor carries: wide tuning at 23Na.
TUNE_SHARE: Final = 0.45

#: Reflections below this count as matched.
_MATCHED: Final = 1e-9

#: How much more match capacitance built arrays need than the uncoupled ideal, on average: at 23Na the
#: couplings left between loops let each also feel its neighbours' terminations.
_COUPLED_MATCH: Final = (1.11, 1.01)

#: Rounds of L-matches before Newton's method, and its most steps.
_ROUNDS: Final = 12
_NEWTON_STEPS: Final = 30


@dataclass(frozen=True, slots=True)
class Design:
    """Values that match both ports of every channel of a typical array.

    Parameters
    ----------
    trap_inductance, trap_capacitance
        Series branch of the trap, H and F.
    detune_na, detune_h
        Detuning inductors, H.
    trimmers
        23Na tune and match, 1H tune and match in F.
    """

    trap_inductance: float
    trap_capacitance: float
    detune_na: float
    detune_h: float
    trimmers: tuple[float, float, float, float]

    def parts(self, channels: int) -> FixedParts:
        """Return the same parts for every channel."""
        return FixedParts(
            np.full(channels, self.trap_inductance),
            np.full(channels, self.trap_capacitance),
            np.full(channels, self.detune_na),
            np.full(channels, self.detune_h),
        )


@lru_cache(maxsize=8)
def design_channel(array: LoopArray, load: Load, frequencies: tuple[float, float]) -> Design:
    """Return element values for the lower and the upper of two frequencies in Hz.

    Notes
    -----
    With the tune capacitor's share fixed, the trap's reactance is due at both frequencies. Its series
    branch is capacitive at the lower and inductive at the upper: a quadratic in 1/C1. Of the two
    solutions the larger C1 keeps the circulating current small. The match trimmers then follow
    numerically, with all ports terminated and the sample's coupling between loops.

    Raises
    ------
    ValueError
        The trap's inductor is too small for these frequencies, or no match exists.
    """
    low, high = (2.0 * np.pi * frequency for frequency in frequencies)
    inductance = inductance_by_distance(array)[0]
    tune = 1.0 / (TUNE_SHARE * low * low * inductance)
    # The capacitance that the trap must show at each frequency.
    shown = [1.0 / (w * w * inductance - 1.0 / tune) for w in (low, high)]
    a, b = low * low * TRAP_INDUCTANCE, high * high * TRAP_INDUCTANCE
    discriminant = (b - a) ** 2 / 4.0 - (b - a) / (shown[0] - shown[1])
    if discriminant <= 0.0:
        raise ValueError(f"a trap of {TRAP_INDUCTANCE} H cannot serve {frequencies} Hz with this loop")
    from_a = (b - a) / 2.0 - np.sqrt(discriminant)
    if shown[0] - 1.0 / from_a <= 0.0:
        from_a = (b - a) / 2.0 + np.sqrt(discriminant)
    parallel = float(shown[0] - 1.0 / from_a)
    first = Design(
        trap_inductance=TRAP_INDUCTANCE,
        trap_capacitance=1.0 / float(a + from_a),
        detune_na=1.0 / (low * low * tune),
        detune_h=1.0 / (high * high * float(shown[1])),
        trimmers=(tune, 0.12 * tune, parallel, 0.1 * parallel),
    )
    ideal = ArrayCircuit(array, inductance * np.eye(array.count), first.parts(array.count))
    matched = match_ports(
        ideal.fixed,
        loop_impedance(ideal, load, np.array(frequencies)),
        np.tile(first.trimmers, (array.count, 1)),
        np.array(frequencies),
    )
    values = matched.mean(axis=0)
    cut = sections(ideal.fixed, matched, np.zeros(array.count), np.array(frequencies))
    return Design(
        first.trap_inductance,
        first.trap_capacitance,
        _resonate(cut.impedance[0, 0], low),
        _resonate(cut.impedance[1, array.count], high),
        (
            float(values[0]),
            float(values[1]) * _COUPLED_MATCH[0],
            float(values[2]),
            float(values[3]) * _COUPLED_MATCH[1],
        ),
    )


def _resonate(section: complex, omega: float) -> float:
    """Return the inductor in H that makes a capacitive section block the loop's current."""
    return 1.0 / (omega * float((1.0 / section).imag))


def match_ports(fixed: FixedParts, loops: Complex, start: Real, frequencies: Real) -> Real:
    """Return the trimmer capacitances at which no port reflects at its own frequency.

    Parameters
    ----------
    fixed
        The channels' fixed parts.
    loops
        The loops' impedance at both frequencies, shape (2, channel, channel).
    start
        Shape (channel, 4), F.
    frequencies
        The lower and the upper, Hz.

    Returns
    -------
    Shape (channel, 4), F. L-match after L-match until all agree, then Newton's method, which also
    knows the losses of the trimmers.

    Raises
    ------
    ValueError
        A port cannot be matched by these trimmers, or Newton's method does not arrive.
    """
    channels = len(start)
    silent = np.zeros(channels)
    settled = _match_in_turn(fixed, loops, start, frequencies)

    def reflections(logarithms: Real) -> Real:
        response = respond(fixed, loops, np.exp(logarithms).reshape(channels, 4), silent, frequencies)
        own = np.diagonal(response.scattering, axis1=1, axis2=2)
        error = np.concatenate((own[0, :channels], own[1, channels:]))
        return np.concatenate((error.real, error.imag))

    logarithms: Real = np.asarray(np.log(settled).ravel(), dtype=np.float64)
    error = reflections(logarithms)
    for _ in range(_NEWTON_STEPS):
        if np.max(np.abs(error)) < _MATCHED:
            return np.asarray(np.exp(logarithms).reshape(channels, 4))
        step = np.linalg.solve(_jacobian(reflections, logarithms, error), error)
        logarithms = np.asarray(logarithms - step, dtype=np.float64)
        error = reflections(logarithms)
    raise ValueError(f"no match found: worst reflection {np.max(np.abs(error)):.3g}")


def _match_in_turn(fixed: FixedParts, loops: Complex, start: Real, frequencies: Real) -> Real:
    channels = len(start)
    silent = np.zeros(channels)
    capacitances = start.copy()
    for _ in range(_ROUNDS):
        for nucleus in range(2):
            cut = sections(fixed, capacitances, silent, frequencies)
            inverse = np.linalg.inv(couple(loops, cut.impedance))[nucleus]
            own = slice(nucleus * channels, (nucleus + 1) * channels)
            # What the section's terminals see: the loop with its neighbours and its other section.
            source = 1.0 / np.diagonal(inverse) - cut.impedance[nucleus, own]
            matched = l_match(1.0 / source + cut.fixed[nucleus, own], float(frequencies[nucleus]))
            both = slice(2 * nucleus, 2 * nucleus + 2)
            # A trimmer with leads acts as more capacitance than it has.
            resonance = (2.0 * np.pi * frequencies[nucleus]) ** 2 * fixed.lead_inductance[:, both] * matched
            capacitances[:, both] = matched / (1.0 + resonance)
    return capacitances


def l_match(admittance: Complex, frequency: float) -> Real:
    """Return the shunt and series capacitances in F, shape (channel, 2), that match sources to 50 ohm.

    Parameters
    ----------
    admittance
        Of the inductive sources, shape (channel,), S.
    frequency
        Hz.

    Raises
    ------
    ValueError
        A source's conductance is above 20 mS, or it is not inductive enough: no such match exists.
    """
    omega = 2.0 * np.pi * frequency
    conductance = admittance.real
    if np.any(conductance >= 1.0 / Z0):
        raise ValueError(f"at {frequency:.4g} Hz a loop is too heavily loaded for a capacitive match")
    needed = -np.sqrt(conductance / Z0 - conductance**2)
    shunt = (needed - admittance.imag) / omega
    series = -(conductance**2 + needed**2) / (needed * omega)
    if np.any(shunt <= 0.0):
        raise ValueError(f"at {frequency:.4g} Hz a loop cannot be tuned by a capacitor across the section")
    return np.stack((shunt, series), axis=1)


def _jacobian(function: Callable[[Real], Real], point: Real, value: Real) -> Real:
    small = 1e-7
    columns = [(function(point + small * unit) - value) / small for unit in np.eye(len(point))]
    return np.stack(columns, axis=1)
