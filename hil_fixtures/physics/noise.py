"""Thermal noise of the array and its preamplifiers at the receivers' inputs.

Conventions. The array, its load and the terminations of all other ports are at one temperature T, so
noise waves leave the receive ports with kT(1 - S S^H) W/Hz (Bosma, Philips Res Rep Suppl 10 (1967)),
where S is the block of the receive ports. Each preamplifier adds k 290 K (F - 1) at its input, matched
to 50 ohm, uncorrelated with the others, sending none back. A complex envelope v of power P has
|v|^2 = 2 Z0 P (peak volts), its noise in a band B of complex samples E|v|^2 = 2 Z0 kT B.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hil_fixtures.physics import cic
from hil_fixtures.physics.network import Z0
from hil_fixtures.physics.spins import BOLTZMANN

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Complex

#: Reference temperature of noise figures in K (IEEE).
REFERENCE_TEMPERATURE: Final = 290.0


def wave_density(scattering: Complex, temperature: float, noise_figure_db: float) -> Complex:
    """Return the covariance density in W/Hz of noise waves at the receive ports, preamplifiers included.

    Parameters
    ----------
    scattering
        Block of the receive ports, shape (port, port).
    temperature
        K.
    noise_figure_db
        Of every preamplifier.
    """
    unit = np.eye(len(scattering))
    passive = temperature * (unit - scattering @ scattering.conj().T)
    active = REFERENCE_TEMPERATURE * (10.0 ** (noise_figure_db / 10.0) - 1.0) * unit
    return np.asarray(BOLTZMANN * (passive + active))


def sample_covariance(density: Complex, gain_db: float, interval: float) -> Complex:
    """Return E[v v^H] in V^2 of settled receiver samples (peak envelope), shape (port, port).

    Parameters
    ----------
    density
        From `wave_density`.
    gain_db
        Voltage gain of the preamplifiers.
    interval
        Between the CIC's output samples, s.
    """
    return np.asarray(density * (2.0 * Z0 * 10.0 ** (gain_db / 10.0) * cic.NOISE_GAIN / interval))


def draw(covariance: Complex, count: int, random: np.random.Generator) -> Complex:
    """Return ``count`` successive samples of CIC-coloured noise, shape (port, count).

    Parameters
    ----------
    covariance
        Of settled samples; the first five have yet to fill the filter and are weaker.
    """
    ports = len(covariance)
    white = random.standard_normal((ports, 2 * count)).view(np.complex128)
    mixing = np.linalg.cholesky(covariance * (0.5 / cic.NOISE_GAIN))
    return cic.causal_filter(cic.noise_weights(), np.asarray(mixing @ white))
