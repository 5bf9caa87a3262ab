"""How much of a material's magnetisation is seen: steady state after T1, decay with T2*.

Sodium in gels and tissue decays with two time constants (fractions 0.6 and 0.4 after a hard pulse, spin
3/2); in saline with one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.constants import N_A, Boltzmann, hbar

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from coilbench.base.nuclei import Nucleus


@dataclass(frozen=True, slots=True)
class Relaxation:
    """Relaxation times of a material.

    Parameters
    ----------
    t1
        In s.
    t2_star
        Components of the transverse decay as (fraction, time in s); the fractions sum to 1.
    """

    t1: float
    t2_star: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if self.t1 <= 0 or not self.t2_star or any(time <= 0 for _, time in self.t2_star):
            raise ValueError(f"relaxation times must be positive, got {self}")
        total = sum(fraction for fraction, _ in self.t2_star)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"fractions of the transverse decay must sum to 1, got {total:g}")

    def decay(self, time: ArrayLike, *, scale: ArrayLike = 1.0) -> NDArray[np.float64]:
        """Return the transverse magnetisation left ``time`` seconds after excitation, 1 at 0.

        Parameters
        ----------
        time
            In s.
        scale
            Factor on all transverse times; broadcasts with ``time``.
        """
        elapsed, factor = np.asarray(time, dtype=np.float64), np.asarray(scale, dtype=np.float64)
        total = np.zeros(np.broadcast_shapes(elapsed.shape, factor.shape))
        for fraction, constant in self.t2_star:
            total = total + fraction * np.exp(-elapsed / (constant * factor))
        return total

    def steady_state(
        self, repetition_time: float, flip_angle: ArrayLike, *, scale: ArrayLike = 1.0
    ) -> NDArray[np.float64]:
        """Return the transverse magnetisation right after each pulse of a spoiled train, 1 at most.

        Parameters
        ----------
        repetition_time
            In s.
        flip_angle
            In rad.
        scale
            Factor on T1; broadcasts with ``flip_angle``.

        Notes
        -----
        sin a (1 - E1) / (1 - cos a E1), E1 = exp(-TR / T1): Ernst, Anderson, Rev Sci Instrum 37:93 (1966).
        """
        angle = np.asarray(flip_angle, dtype=np.float64)
        e1 = np.exp(-repetition_time / (self.t1 * np.asarray(scale, dtype=np.float64)))
        magnetisation: NDArray[np.float64] = np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1)
        return magnetisation


def equilibrium_magnetisation(
    nucleus: Nucleus, concentration: float, field: float, temperature: float
) -> float:
    """Return the magnetisation of spins in equilibrium in A/m, which is the moment in A m² of each m³.

    Parameters
    ----------
    nucleus
        Of the spins.
    concentration
        mol/m³, which is mmol/L.
    field
        B0 in T.
    temperature
        K.

    Notes
    -----
    Curie's law, c N_A (gamma hbar)² I (I + 1) B0 / (3 k T): Abragam, The Principles of Nuclear Magnetism
    (1961), chapter I.
    """
    moment = 2 * np.pi * nucleus.gamma_bar * hbar
    square = moment**2 * nucleus.spin * (nucleus.spin + 1)
    return float(concentration * N_A * square * field / (3 * Boltzmann * temperature))
