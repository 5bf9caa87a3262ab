"""Reactance in the conductor that two neighbouring loops share, chosen so that it cancels their coupling.

Two loops with currents in the same sense pass a shared conductor in opposite directions: its impedance Z_s
adds to both loops and -Z_s to what couples them, ``Z12 = R12 + jωM - Z_s`` (+Z_s where the leads cross before
the shared part). So M < 0 (side by side) takes a capacitor, which cancels at one frequency only; M > 0 an
inductor, which cancels at all. At the other nucleus of a dual-tuned array a capacitor leaves ``1 - (ω0/ω)²``
of the coupling: nearly all of it above ω0, and below ω0 many times as much, reversed. Three elements cancel
at both nuclei.

Shared resistance of the sample stays, and the element's own loss adds to both loops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Q, no unit, of a porcelain chip capacitor: an assumption for a first estimate; give the data sheet's value.
CAPACITOR_Q: Final = 900.0
#: Q, no unit, of an air-wound inductor of a few turns: an assumption for a first estimate; better measure it.
INDUCTOR_Q: Final = 220.0


@dataclass(frozen=True, slots=True)
class SharedNetwork:
    """Elements in the shared conductor: a capacitor in series with an inductor that a capacitor may bridge.

    Parameters
    ----------
    capacitor, inductor, bridge
        Series capacitor in F, inductor in H, capacitor across the inductor in F; None: not there.
    crossed
        True where the leads must cross, so that both currents pass in the same direction.
    """

    capacitor: float | None = None
    inductor: float | None = None
    bridge: float | None = None
    crossed: bool = False

    def impedance(
        self, frequency: float, *, capacitor_q: float = CAPACITOR_Q, inductor_q: float = INDUCTOR_Q
    ) -> complex:
        """Return its impedance in ohm at a frequency in Hz; Q is taken as constant."""
        omega = 2.0 * math.pi * frequency
        total = 0.0j
        if self.capacitor is not None:
            total += _capacitor(omega, self.capacitor, capacitor_q)
        if self.inductor is not None:
            coil = omega * self.inductor * (1.0 / inductor_q + 1j)
            if self.bridge is not None:
                across = _capacitor(omega, self.bridge, capacitor_q)
                coil = coil * across / (coil + across)
            total += coil
        return total

    def __str__(self) -> str:
        """Return its parts list."""
        parts = [
            f"{name} {value * scale:.4g} {unit}"
            for name, value, scale, unit in (
                ("capacitor", self.capacitor, 1e12, "pF"),
                ("inductor", self.inductor, 1e9, "nH"),
                ("capacitor across it", self.bridge, 1e12, "pF"),
            )
            if value is not None
        ]
        return f"{', '.join(parts)}{', leads crossed' if self.crossed else ''}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two loops as they are at one frequency.

    Parameters
    ----------
    frequency
        Hz.
    inductance
        Of both loops, H.
    resistance
        Of both loops with their sample, ohm.
    mutual
        Mutual inductance in H for currents in the same sense.
    common_resistance
        Through the sample, ohm.
    """

    frequency: float
    inductance: tuple[float, float]
    resistance: tuple[float, float]
    mutual: float
    common_resistance: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no pair of loops."""
        if min(*self.inductance, *self.resistance, self.frequency) <= 0.0:
            raise ValueError(f"frequency, inductances and resistances must be positive: {self}")
        if abs(self.mutual) >= math.sqrt(self.inductance[0] * self.inductance[1]):
            raise ValueError(
                f"M = {self.mutual:.3g} H exceeds the inductances {self.inductance}: k must be < 1"
            )


@dataclass(frozen=True, slots=True)
class PairOutcome:
    """What a network does to a pair at one frequency.

    Parameters
    ----------
    frequency
        Hz.
    k_before, k_after
        Mutual reactance over that of √(L1 L2), signed.
    kq_before, kq_after
        Mutual reactance over √(R1 R2), signed; R with the network's loss in the second.
    resistive_after
        Common resistance over √(R1 R2), signed: no reactance takes it away.
    added_resistance
        In each loop, ohm.
    added_reactance
        In each loop, ohm: to be tuned out.
    snr_factor
        √(R / (R + added)) of both loops: what its loss leaves of the SNR.
    """

    frequency: float
    k_before: float
    k_after: float
    kq_before: float
    kq_after: float
    resistive_after: float
    added_resistance: float
    added_reactance: float
    snr_factor: tuple[float, float]


def shared_capacitor(mutual: float, frequency: float) -> SharedNetwork:
    """Return the shared capacitor that cancels a mutual inductance at one frequency.

    Parameters
    ----------
    mutual
        H, for currents in the same sense; a positive one needs crossed leads.
    frequency
        Hz.

    Raises
    ------
    ValueError
        There is nothing to cancel.
    """
    omega = 2.0 * math.pi * frequency
    return SharedNetwork(capacitor=1.0 / (omega**2 * _size(mutual)), crossed=mutual > 0.0)


def shared_inductor(mutual: float) -> SharedNetwork:
    """Return the shared inductor that cancels a mutual inductance at all frequencies.

    Parameters
    ----------
    mutual
        H, for currents in the same sense; a negative one needs crossed leads.

    Raises
    ------
    ValueError
        There is nothing to cancel.
    """
    return SharedNetwork(inductor=_size(mutual), crossed=mutual < 0.0)


def shared_dual_network(
    mutual: float, low: float, high: float, *, pole: float | None = None
) -> SharedNetwork:
    """Return three elements that cancel a negative mutual inductance at two frequencies, leads uncrossed.

    A reactance must be ω M < 0 at both. By Foster's theorem it rises with frequency, so there is a pole
    between: an inductor with a capacitor across it, in series with a capacitor.

    Parameters
    ----------
    mutual
        H, negative; a positive one needs just `shared_inductor`.
    low, high
        The nuclei's frequencies in Hz.
    pole
        Hz, between them; None: their geometric mean. Nearer to one of them costs loss there.

    Raises
    ------
    ValueError
        M is not negative, or the pole does not lie between the frequencies.
    """
    middle = math.sqrt(low * high) if pole is None else pole
    if mutual >= 0.0:
        raise ValueError(f"M = {mutual:.3g} H is not negative: a shared inductor cancels it at both nuclei")
    if not low < middle < high:
        raise ValueError(f"the pole must lie between {low:.6g} and {high:.6g} Hz, got {middle:.6g} Hz")
    first, second, between = ((2.0 * math.pi * f) ** 2 for f in (low, high, middle))
    below, above = first / (between - first), second / (second - between)
    elastance = -mutual * (second - first) / (below + above)
    series = -mutual * first + elastance * below
    return SharedNetwork(1.0 / series, elastance / between, 1.0 / elastance)


def predict_pair(
    network: SharedNetwork,
    pair: Pair,
    *,
    capacitor_q: float = CAPACITOR_Q,
    inductor_q: float = INDUCTOR_Q,
) -> PairOutcome:
    """Predict what a network in the shared conductor does to a pair at the pair's frequency.

    Raises
    ------
    ValueError
        A Q is not positive.
    """
    if min(capacitor_q, inductor_q) <= 0.0:
        raise ValueError(f"a Q must be positive, got {capacitor_q} and {inductor_q}")
    omega = 2.0 * math.pi * pair.frequency
    shared = network.impedance(pair.frequency, capacitor_q=capacitor_q, inductor_q=inductor_q)
    sign = 1.0 if network.crossed else -1.0
    reactance = omega * pair.mutual + sign * shared.imag
    common = pair.common_resistance + sign * shared.real
    whole = omega * math.sqrt(pair.inductance[0] * pair.inductance[1])
    first, second = (r + shared.real for r in pair.resistance)
    return PairOutcome(
        frequency=pair.frequency,
        k_before=omega * pair.mutual / whole,
        k_after=reactance / whole,
        kq_before=omega * pair.mutual / math.sqrt(pair.resistance[0] * pair.resistance[1]),
        kq_after=reactance / math.sqrt(first * second),
        resistive_after=common / math.sqrt(first * second),
        added_resistance=shared.real,
        added_reactance=shared.imag,
        snr_factor=(math.sqrt(pair.resistance[0] / first), math.sqrt(pair.resistance[1] / second)),
    )


def left_at_other(cancelled: float, others: Sequence[float]) -> tuple[float, ...]:
    """Return the part of k that a shared capacitor, right at one frequency, leaves at others: 1 - (ω0/ω)².

    Parameters
    ----------
    cancelled
        Frequency at which k is zero, Hz.
    others
        Hz.
    """
    return tuple(1.0 - (cancelled / other) ** 2 for other in others)


def _capacitor(omega: float, value: float, q: float) -> complex:
    """Return the impedance of a capacitor with a series resistance."""
    return (1.0 / q - 1j) / (omega * value)


def _size(mutual: float) -> float:
    if mutual == 0.0 or not math.isfinite(mutual):
        raise ValueError(f"M = {mutual} H: there is nothing to cancel")
    return abs(mutual)
