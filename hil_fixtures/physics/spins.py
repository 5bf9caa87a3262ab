"""Sodium after a pulse: how much magnetisation there is, how fast it goes.

True: hard pulses acting at their centre, full spoiling between repetitions, one T1 and two T2* a
compartment, a uniform transmit field (a volume coil of its own, not the array). Not true: relaxation
and precession during the pulse, B0 inhomogeneity beyond what T2* says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.constants import N_A, Boltzmann, hbar

if TYPE_CHECKING:
    from coilbench.base.nuclei import Nucleus
    from hil_fixtures.physics.arrays import Real
    from hil_fixtures.physics.phantom import Compartment

#: CODATA 2018 as scipy carries it: J/K, 1/mol, J s.
BOLTZMANN: Final = float(Boltzmann)
AVOGADRO: Final = float(N_A)
HBAR: Final = float(hbar)


def equilibrium_magnetization(
    nucleus: Nucleus, concentration_mmol_l: float, b0: float, temperature: float
) -> float:
    """Return M0 in A/m by Curie's law, N gamma^2 hbar^2 I(I+1) B0 / 3kT.

    Abragam, The Principles of Nuclear Magnetism (1961), chapter I.
    """
    gamma = 2.0 * np.pi * nucleus.gamma_bar
    number = concentration_mmol_l * AVOGADRO
    spin = nucleus.spin * (nucleus.spin + 1.0)
    return number * (gamma * HBAR) ** 2 * spin * b0 / (3.0 * BOLTZMANN * temperature)


def steady_state(flip_angle: float, repetition_time: float, t1: float) -> float:
    """Return the transverse magnetisation right after the pulse as a fraction of M0, spoiled steady state.

    Ernst and Anderson, Rev Sci Instrum 37:93 (1966): sin(a) (1 - E1) / (1 - cos(a) E1).
    """
    recovery = -np.expm1(-repetition_time / t1)
    kept = float(np.exp(-repetition_time / t1))
    return float(np.sin(flip_angle) * recovery / (1.0 - np.cos(flip_angle) * kept))


def transverse_decay(compartment: Compartment, times: Real) -> Real:
    """Return what is left of the transverse magnetisation at ``times`` in s after the pulse's centre."""
    short = compartment.short_fraction * np.exp(-times / compartment.t2_short)
    return np.asarray(short + (1.0 - compartment.short_fraction) * np.exp(-times / compartment.t2_long))
