"""One loop for two nuclei: a capacitor section for the lower, an LCC trap section for the upper.

Around the ring the loop's reactance must be cancelled at both frequencies by the tune capacitor Ct and the
trap (Lt and C1 in series, C2 across both). With elastances ``x = w^2 L`` and the branch's capacitance ``B =
1/(1/C1 - w^2 Lt)``, positive at the lower and negative at the upper frequency,

    1/Ct + 1/(C2 + B_low) = x_low,    1/Ct + 1/(C2 + B_high) = x_high

gives a quadratic for C2, so a fixed C1 from the drawer has an exact solution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.circuit.array import Arm, ArrayCircuit, Bank, Section, Stage
from coils.circuit.coil import Coil, Loops, PartQuality, Tap
from coils.circuit.elements import parallel, series
from coils.circuit.matched import match_coil

if TYPE_CHECKING:
    from coils.circuit.elements import Element, Real

#: Names of the elements.
TUNE_LOW: Final = "Ct.low"
MATCH_LOW: Final = "Cm.low"
TUNE_HIGH: Final = "C2"
MATCH_HIGH: Final = "Cm.high"
TRAP_COIL: Final = "Lt"
TRAP_SERIES: Final = "C1"

#: Capacitors to the ports of loops of Q 100 to 300 are about this share of the tune capacitors.
_MATCH_SHARE: Final = 0.13


@dataclass(frozen=True, slots=True)
class TrapLoop:
    """Element values of a loop with a trap before its ports are matched; F and H.

    Parameters
    ----------
    tune
        Ct, the section of the lower nucleus.
    inductance, series, parallel
        Lt, C1 and C2 of the trap.
    """

    tune: float
    inductance: float
    series: float
    parallel: float

    def tune_share(self, loop_inductance: float, frequency: float) -> float:
        """Return the share of the loop's reactance at a frequency in Hz that Ct carries."""
        return 1.0 / ((2.0 * math.pi * frequency) ** 2 * loop_inductance * self.tune)


def trap_loop(
    loop_inductance: float, frequencies: tuple[float, float], inductance: float, series_capacitance: float
) -> TrapLoop:
    """Return the lossless trap loop with a given coil and C1.

    Parameters
    ----------
    loop_inductance
        H.
    frequencies
        The lower and the upper, Hz.
    inductance, series_capacitance
        Lt and C1, H and F.

    Raises
    ------
    ValueError
        No positive Ct and C2 exist; the text says which way C1 or Lt must change.
    """
    omega = [2.0 * math.pi * frequency for frequency in frequencies]
    low, high = (w * w * loop_inductance for w in omega)
    elastance = 1.0 / series_capacitance
    lows, highs = (elastance - w * w * inductance for w in omega)
    given = f"Lt = {inductance * 1e9:.4g} nH with C1 = {series_capacitance * 1e12:.4g} pF"
    if lows <= 0.0:
        raise ValueError(f"{given} resonates below {frequencies[0] / 1e6:.4g} MHz: make C1 or Lt smaller")
    if highs >= 0.0:
        raise ValueError(f"{given} resonates above {frequencies[1] / 1e6:.4g} MHz: make C1 or Lt larger")
    below, above = 1.0 / lows, 1.0 / highs
    middle, product = (below + above) / 2.0, (below - above) / (high - low)
    # Of the two roots only the larger keeps the trap capacitive at both frequencies.
    parallel_capacitance = -middle + math.sqrt(((below - above) / 2.0) ** 2 + product)
    if parallel_capacitance <= 0.0:
        raise ValueError(f"{given} leaves no room for C2: make Lt or C1 smaller")
    rest = low - 1.0 / (parallel_capacitance + below)
    if rest <= 0.0:
        raise ValueError(
            f"{given} makes the trap a smaller capacitor than the loop needs at "
            f"{frequencies[0] / 1e6:.4g} MHz: make C1 or Lt larger"
        )
    return TrapLoop(1.0 / rest, inductance, series_capacitance, parallel_capacitance)


def trap_loop_for_share(
    loop_inductance: float, frequencies: tuple[float, float], inductance: float, share: float
) -> TrapLoop:
    """Return the trap loop whose Ct carries a given share of the reactance at the lower frequency.

    Of the two solutions it is the one with the larger C1, which is worth more at the upper nucleus.

    Parameters
    ----------
    loop_inductance, frequencies, inductance
        As in `trap_loop`.
    share
        Between 0 and 1; more of it tunes the lower nucleus over a wider range.

    Raises
    ------
    ValueError
        The coil is too small for this share; the text gives the smallest.
    """
    low, high = (2.0 * math.pi * frequency for frequency in frequencies)
    rest = share * low * low * loop_inductance
    shown = [1.0 / (w * w * loop_inductance - rest) for w in (low, high)]
    a, b = low * low * inductance, high * high * inductance
    discriminant = (b - a) ** 2 / 4.0 - (b - a) / (shown[0] - shown[1])
    if discriminant < 0.0:
        smallest = 4.0 / ((shown[0] - shown[1]) * (high * high - low * low))
        raise ValueError(
            f"a trap coil of {inductance * 1e9:.4g} nH cannot serve both frequencies with a share of "
            f"{share:g}: it needs at least {smallest * 1e9:.4g} nH, or a larger share"
        )
    from_low = (b - a) / 2.0 - math.sqrt(discriminant)
    return trap_loop(loop_inductance, frequencies, inductance, 1.0 / (a + from_low))


def trap_coil(
    loops: Loops, frequencies: tuple[float, float], values: TrapLoop, quality: PartQuality | None = None
) -> Coil:
    """Return a dual-tuned coil: every loop carries both nuclei through one trap, ports matched.

    One conductor sees the same tissue at both nuclei and needs no isolation between loops. The price is
    paid in the trap's coil: a larger Lt gives to the upper nucleus what it takes from the lower
    (`coils.circuit.trade_off`), and the ports of a channel isolate each other by 12 to 20 dB only.

    Parameters
    ----------
    loops
        One or several; all get the same parts, then each its own trimming.
    frequencies
        The lower and the upper, Hz.
    values
        From `trap_loop`; C2 and Ct are trimmed from there.
    quality
        Of the parts; None: the defaults of `PartQuality`.

    Returns
    -------
    Ports: the lower nucleus of all channels, then the upper.

    Raises
    ------
    ValueError
        A port cannot be matched.
    """
    made = quality or PartQuality()
    count = loops.count
    every: Real = np.ones(count)

    def arm(first: int, match: Element) -> Arm:
        return Arm(np.arange(first, first + count, dtype=np.intp), (Stage("series", match),))

    branch = series(
        made.inductor(TRAP_COIL, values.inductance * every),
        made.capacitor(TRAP_SERIES, values.series * every),
    )
    sections = (
        Section(
            made.capacitor(TUNE_LOW, values.tune * every),
            arm(0, made.capacitor(MATCH_LOW, _MATCH_SHARE * values.tune * every)),
        ),
        Section(
            parallel(branch, made.capacitor(TUNE_HIGH, values.parallel * every)),
            arm(count, made.capacitor(MATCH_HIGH, _MATCH_SHARE * values.parallel * every)),
        ),
    )
    circuit = ArrayCircuit((Bank(np.arange(count, dtype=np.intp), sections),), np.zeros(2 * count))
    taps = (
        Tap(0, 0, frequencies[0], TUNE_LOW, MATCH_LOW),
        Tap(0, 1, frequencies[1], TUNE_HIGH, MATCH_HIGH),
    )
    return match_coil(Coil(loops, circuit, taps))
