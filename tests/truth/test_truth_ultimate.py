"""The ultimate SNR in absolute units: magnetisation of spins, and noise of a conducting ball."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.constants import Boltzmann, epsilon_0, mu_0
from scipy.integrate import quad
from scipy.special import spherical_jn

from coilbench.base.nuclei import nucleus
from coils.magnetics.samples import Sphere
from coils.magnetics.snr import snr_of_moment, ultimate_snr_at_centre
from recon.relaxation import equilibrium_magnetisation


def test_water_has_the_published_nuclear_susceptibility() -> None:
    """Protons of water at 25 °C: chi = 4.04e-9 (Levitt, Spin Dynamics, 2nd edition; 1 %)."""
    protons = 2 * 997.0 / 18.015e-3  # mol/m³
    magnetisation = equilibrium_magnetisation(nucleus("1H"), protons, 3.0, 298.15)
    assert magnetisation * mu_0 / 3.0 == pytest.approx(4.04e-9, rel=0.01)


def test_spin_three_halves_counts_five_times() -> None:
    """I (I + 1) of 3/2 over that of 1/2 is 5; gamma enters squared, the temperature inverted."""
    sodium, proton = nucleus("23Na"), nucleus("1H")
    ratio = equilibrium_magnetisation(sodium, 40.0, 3.0, 310.0) / equilibrium_magnetisation(
        proton, 40.0, 3.0, 155.0
    )
    assert ratio == pytest.approx(5 * 0.264519**2 / 2, rel=1e-6)


@pytest.mark.parametrize("field", [1.5, 3.0, 7.0, 9.4])
def test_sodium_in_a_head_sized_ball_has_the_integrals_snr(field: float) -> None:
    """40 mmol/L in (4 mm)³, ball of 90 mm and 0.5 S/m: 0.37 per root second at 1.5 T, 2.9 at 9.4 T.

    Losses sigma |E|² of the l = 1 mode, integrated numerically: R / B² = sigma (8 pi / 3) ∫ |j1(kr)|² r² dr
    over 4 |k|² / 9 omega², for each of two linear modes in quadrature.
    """
    sodium = nucleus("23Na")
    frequency = sodium.larmor_frequency(field)
    omega = 2 * np.pi * frequency
    k = np.sqrt(omega**2 * mu_0 * 78 * epsilon_0 - 1j * omega * mu_0 * 0.5)
    integral = quad(lambda r: abs(spherical_jn(1, k * r)) ** 2 * r**2, 0, 0.09, epsabs=0, epsrel=1e-10)[0]
    resistance = 0.5 * 8 * np.pi / 3 * integral / (4 * abs(k) ** 2 / (9 * omega**2))
    expected = np.sqrt(2) * omega / np.sqrt(4 * Boltzmann * 310.0 * resistance)
    rate = snr_of_moment(ultimate_snr_at_centre(Sphere(0.09, 0.5, 78), frequency), frequency, 310.0)
    assert rate == pytest.approx(expected, rel=1e-6)
    moment = equilibrium_magnetisation(sodium, 40.0, field, 310.0) * 0.004**3
    assert 0.36 * field / 1.5 < moment * rate < 3.0


def test_the_quasi_static_limit_is_the_power_of_a_uniform_rotating_field() -> None:
    """R / B² = 2 pi sigma omega² a⁵ / 15 of each of two linear fields in quadrature; closed form."""
    frequency, radius, conductivity = 1e6, 0.07, 0.3
    omega = 2 * np.pi * frequency
    resistance = 2 * np.pi * conductivity * omega**2 * radius**5 / 15
    expected = np.sqrt(2) * omega / np.sqrt(4 * Boltzmann * 300.0 * resistance)
    ultimate = ultimate_snr_at_centre(Sphere(radius, conductivity), frequency, full_wave=False)
    assert snr_of_moment(ultimate, frequency, 300.0) == pytest.approx(expected, rel=1e-9)
