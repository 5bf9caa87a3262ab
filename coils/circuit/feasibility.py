"""Which coils and capacitors make a dual-tuned loop at all: closed forms, before anything is matched."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from coils.circuit.dual_tuned import TRAP_COIL, TRAP_SERIES, TUNE_HIGH, TUNE_LOW, trap_loop
from coils.circuit.matching import l_match

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coils.circuit.coil import Loops, PartQuality
    from coils.circuit.design import Request
    from coils.circuit.dual_tuned import TrapLoop


def rank_solutions(
    request: Request,
    frequencies: tuple[float, float],
    drawer: Sequence[float],
) -> tuple[list[TrapLoop], Counter[str], Counter[str]]:
    """Return every solution worth matching, best first, and why others are none.

    Parameters
    ----------
    request
        What is wanted.
    frequencies
        The lower and the upper, Hz.
    drawer
        Capacitors for C1, F.

    Returns
    -------
    Solutions; how many combinations of coil and C1 have none, by reason; how many solutions are turned down,
    by reason.
    """
    unsolved: Counter[str] = Counter()
    objections: Counter[str] = Counter()
    own = float(request.loops.inductance[0, 0])
    ranked: list[tuple[float, TrapLoop]] = []
    for inductance in request.trap_coils:
        for c1 in drawer:
            try:
                values = trap_loop(own, frequencies, inductance, c1)
            except ValueError as reason:
                # The text begins with the values tried; what they have in common is what counts.
                unsolved[str(reason).split(" pF ", 1)[-1]] += 1
                continue
            snr = first_order_snr(values, request.loops, frequencies, request.quality)
            objection = _objection(request, frequencies, values, snr)
            if objection is None:
                weights = (request.low_importance, 1.0 - request.low_importance)
                merit = sum(weight * math.log(each) for weight, each in zip(weights, snr, strict=True))
                ranked.append((merit, values))
            else:
                objections[objection] += 1
    ranked.sort(key=lambda each: -each[0])
    return [values for _, values in ranked], unsolved, objections


def _objection(
    request: Request, frequencies: tuple[float, float], values: TrapLoop, snr: tuple[float, float]
) -> str | None:
    """Return why a solution is not worth matching in full, from closed forms; None where it is."""
    if snr[0] < request.low_snr_at_least or snr[1] < request.high_snr_at_least:
        return "costs more SNR than allowed"
    if not _within_trimmers(request, frequencies, values):
        return "Ct or C2 would need a trimmer of a wider range"
    omega = [2.0 * math.pi * frequency for frequency in frequencies]
    resistance = request.loops.resistance(np.array(frequencies))[:, 0, 0] / np.square(snr)
    branch = 1.0 / (1.0 / values.series - omega[1] ** 2 * values.inductance)
    seen = (
        complex(resistance[0], 1.0 / (omega[0] * values.tune)),
        1.0
        / (
            1.0 / complex(resistance[1], 1.0 / (omega[1] * (values.parallel + branch)))
            + 1j * omega[1] * branch
        ),
    )
    for name, impedance, frequency in zip(("lower", "upper"), seen, frequencies, strict=True):
        try:
            match = l_match(impedance, frequency)
        except ValueError:
            return f"the {name} nucleus' section cannot be matched by capacitors"
        if min(match.tune, match.match) < request.trimmer[0]:
            return f"the {name} nucleus' port would need less than a trimmer's minimum"
    return None


def _within_trimmers(request: Request, frequencies: tuple[float, float], values: TrapLoop) -> bool:
    """Tell, without losses and ports, whether trimmers span what Ct and C2 may have to be."""
    own = float(request.loops.inductance[0, 0])
    tune, parallel = [], []
    for loop, part, c1 in product((-1.0, 1.0), repeat=3):
        try:
            built = trap_loop(
                own * (1.0 + loop * request.loop_spread),
                frequencies,
                values.inductance * (1.0 + part * request.tolerance),
                values.series * (1.0 + c1 * request.tolerance),
            )
        except ValueError:
            return False
        tune.append(built.tune)
        parallel.append(built.parallel)
    span = request.trimmer[1] - request.trimmer[0]
    return max(max(each) - min(each) for each in (tune, parallel)) <= span


def first_order_snr(
    values: TrapLoop, loops: Loops, frequencies: tuple[float, float], quality: PartQuality
) -> tuple[float, float]:
    """Return the SNR at both frequencies over that with lossless parts, to first order in the losses.

    Parameters
    ----------
    values
        From `coils.circuit.dual_tuned.trap_loop`.
    loops
        One loop.
    frequencies
        The lower and the upper, Hz.
    quality
        Of the parts.

    Returns
    -------
    Square roots of ``R / (R + sum R_n |I_n / I|^2)`` with the loop's resistance R and the parts' R_n, which
    carry the shares I_n of the loop's current; the match capacitors' losses are left out.
    """
    axis = np.array(frequencies)
    omega = 2.0 * np.pi * axis
    one = np.ones(1)
    column = axis[:, None] + 0j
    coil = quality.inductor(TRAP_COIL, values.inductance * one).impedance(column)[:, 0].real
    c1, c2, ct = (
        quality.capacitor(name, value * one).impedance(column)[:, 0].real
        for name, value in (
            (TRAP_SERIES, values.series),
            (TUNE_HIGH, values.parallel),
            (TUNE_LOW, values.tune),
        )
    )
    branch = 1.0 / (1.0 / values.series - omega**2 * values.inductance)
    through = branch / (branch + values.parallel)
    lost = ct + (coil + c1) * through**2 + c2 * (1.0 - through) ** 2
    resistance = loops.resistance(axis)[:, 0, 0]
    low, high = np.sqrt(resistance / (resistance + lost))
    return float(low), float(high)
