"""What one nucleus gives and the other takes in a loop with a trap, over the trap coil's inductance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coils.circuit.coil import PartQuality, performance
from coils.circuit.dual_tuned import trap_coil, trap_loop_for_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coils.circuit.coil import Loops
    from coils.circuit.dual_tuned import TrapLoop
    from coils.circuit.elements import Real


@dataclass(frozen=True, slots=True)
class TradeOff:
    """Points of a trade-off, ready for a plot.

    Parameters
    ----------
    inductances
        Lt, H, shape (point,); those without a solution are in ``impossible``.
    low, high
        SNR at the lower and the upper nucleus over that of the same loop with lossless parts, shape (point,).
    isolation_db
        |S21| between the loop's two ports at the lower and at the upper frequency, shape (point, 2).
    values
        Element values before matching, one for each point.
    impossible
        Inductances in H that no trap can be built with, and why.
    """

    inductances: Real
    low: Real
    high: Real
    isolation_db: Real
    values: tuple[TrapLoop, ...]
    impossible: tuple[tuple[float, str], ...]

    def best(self, *, low_importance: float = 0.5) -> int:
        """Return the point with the largest weighted geometric mean of the two SNRs.

        Parameters
        ----------
        low_importance
            Weight of the lower nucleus, 0 to 1.
        """
        merit = low_importance * np.log(self.low) + (1.0 - low_importance) * np.log(self.high)
        return int(np.argmax(merit))


def trade_off(
    loops: Loops,
    frequencies: tuple[float, float],
    inductances: Sequence[float],
    *,
    tune_share: float = 0.6,
    quality: PartQuality | None = None,
) -> TradeOff:
    """Return SNR at both nuclei for several trap coils, each fully matched, all losses counted.

    Parameters
    ----------
    loops
        One loop on its sample.
    frequencies
        The lower and the upper, Hz.
    inductances
        Of the trap's coil, H.
    tune_share
        Share of the loop's reactance at the lower nucleus that the tune capacitor carries.
    quality
        Of the parts; None: the defaults of `PartQuality`.

    Raises
    ------
    ValueError
        None of the inductances has a solution; the text gives the reason for the last.
    """
    made = quality or PartQuality()
    own = float(loops.inductance[0, 0])
    kept: list[float] = []
    values: list[TrapLoop] = []
    rows: list[tuple[float, float, float, float]] = []
    impossible: list[tuple[float, str]] = []
    for inductance in inductances:
        try:
            value = trap_loop_for_share(own, frequencies, inductance, tune_share)
            low, high = performance(trap_coil(loops, frequencies, value, made))
        except ValueError as reason:
            impossible.append((inductance, str(reason)))
            continue
        kept.append(inductance)
        values.append(value)
        rows.append((low.part_snr, high.part_snr, low.isolation_db, high.isolation_db))
    if not rows:
        raise ValueError(f"no trap can be built with these coils; the last: {impossible[-1][1]}")
    table = np.array(rows)
    return TradeOff(np.array(kept), table[:, 0], table[:, 1], table[:, 2:], tuple(values), tuple(impossible))
