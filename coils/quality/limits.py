"""What a coil array must keep: one frozen set of limits, judged where the quantity was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest (and, from ``q_ratio`` on, smallest) values allowed; None: not judged.

    Parameters
    ----------
    reflection_db
        |S_ii| at the port's own frequency: -20 dB leaves 1 % of the power.
    coupling_db
        |S_ij| between channels of one nucleus.
    isolation_db
        |S_ij| between ports of different nuclei, at either frequency. At -10 dB a tenth of the power goes
        into the other port; loops that carry both nuclei reach -12 to -17 dB without further filters.
    q_ratio
        Smallest Q_U/Q_L: 1.3 leaves 48 % of the SNR of a coil without losses of its own. Not judged by
        default: what a loop can reach depends on its size, its load and the frequency.
    detuning_db
        Smallest loss of the coil's response when it is actively detuned, dB.
    preamplifier_decoupling_db
        Smallest loss of the coil's response when its preamplifier takes the place of a matched load, dB.
    """

    reflection_db: float | None = -20.0
    coupling_db: float | None = -10.0
    isolation_db: float | None = -10.0
    q_ratio: float | None = None
    detuning_db: float | None = 25.0
    preamplifier_decoupling_db: float | None = 15.0
