"""Trim a coil on paper: the capacitances at which no port reflects at its own frequency, losses included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from coils.circuit.elements import leaves
from coils.circuit.matching import l_match
from coils.circuit.newton import solve_match
from coils.circuit.sensitivities import element_sensitivities

if TYPE_CHECKING:
    from coils.circuit.coil import Coil, Tap
    from coils.circuit.elements import Complex, Real

#: Rounds of L-matches, section after section, before Newton's method takes over: each brings the couplings
#: between sections and channels nearer to their final values.
_ROUNDS: Final = 8


def match_coil(coil: Coil) -> Coil:
    """Return the coil with its tune and match capacitors such that every port is matched.

    Parameters
    ----------
    coil
        Values near those wanted; the tune capacitors decide which of several solutions is found.

    Raises
    ------
    ValueError
        A section cannot be matched by a capacitor across it and one in series, or no common solution exists.
    """
    for _ in range(_ROUNDS):
        for tap in coil.taps:
            coil = _match_tap(coil, tap)
    given = coil.values()
    start = np.concatenate([given[tap.bank][name] for tap in coil.taps for name in (tap.tune, tap.match)])

    def reflections(values: Real) -> Complex:
        trimmed = _with(coil, values)
        return np.concatenate(
            [np.diagonal(trimmed.solve([tap.frequency]).s[0])[list(coil.ports(tap))] for tap in coil.taps]
        )

    def slopes(values: Real) -> Complex:
        trimmed = _with(coil, values)
        return np.concatenate([_slopes(trimmed, tap) for tap in coil.taps])

    return _with(coil, solve_match(reflections, start, slopes))


def _match_tap(coil: Coil, tap: Tap) -> Coil:
    """Return the coil with one section of every channel of a bank matched, the others as they are."""
    solution = coil.solve([tap.frequency])
    bank = coil.circuit.banks[tap.bank]
    state = solution.states[tap.bank][tap.section]
    if state.impedance is None:
        raise ValueError(f"section {tap.section} of bank {tap.bank} has no port to match")
    # What a section's terminals see: the loop with its neighbours and its other sections.
    rest = 1.0 / solution.inverse[0, bank.loops, bank.loops] - state.impedance[0]
    tuner = next(e for e in leaves(bank.sections[tap.section].across) if e.name == tap.tune)
    axis = np.array([[tap.frequency + 0j]])
    fixed = 1.0 / state.across.impedance[0] - 1.0 / tuner.impedance(axis)[0]
    found = [l_match(complex(1.0 / (1.0 / z + y)), tap.frequency) for z, y in zip(rest, fixed, strict=True)]
    values: list[dict[str, Real]] = [{} for _ in coil.circuit.banks]
    values[tap.bank] = {
        tap.tune: np.array([match.tune for match in found]),
        tap.match: np.array([match.match for match in found]),
    }
    return coil.with_values(values)


def _slopes(coil: Coil, tap: Tap) -> Complex:
    """Return the derivatives of a tap's own reflections by all trimmers, shape (port, trimmer)."""
    ports = list(coil.ports(tap))
    solution = coil.solve([tap.frequency])
    by_name = {(each.bank, each.name): each for each in element_sensitivities(solution)}
    columns = [
        by_name[other.bank, name].reflections()[0, ports]
        for other in coil.taps
        for name in (other.tune, other.match)
    ]
    return np.concatenate(columns, axis=1)


def _with(coil: Coil, flat: Real) -> Coil:
    """Return the coil with its trimmed values taken from a vector: tap by tap, tune, match, all channels."""
    values: list[dict[str, Real]] = [{} for _ in coil.circuit.banks]
    place = 0
    for tap in coil.taps:
        for name in (tap.tune, tap.match):
            count = coil.circuit.banks[tap.bank].loops.size
            values[tap.bank][name] = flat[place : place + count]
            place += count
    return coil.with_values(values)
