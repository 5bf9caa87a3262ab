"""What capacitors and inductors lose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.constants import mu_0
from scipy.special import ellipe, ellipk

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class CapacitorLoss:
    """The losses of one capacitor: dielectric and metal.

    ESR = tan(delta) / (ωC) + R_m √(f / 1 MHz): the dielectric loses a constant angle, electrodes and leads
    follow the skin effect. Fiore, ESR Losses in Ceramic Capacitors, ATC Circuit Designer's Notebook (2000).

    Parameters
    ----------
    capacitance
        F.
    dissipation_factor
        tan(delta) of the dielectric.
    metal_resistance
        R_m, ohm at 1 MHz.

    Raises
    ------
    ValueError
        The capacitance is not positive or a loss negative.
    """

    capacitance: float
    dissipation_factor: float
    metal_resistance: float

    def __post_init__(self) -> None:
        if not self.capacitance > 0.0:
            raise ValueError(f"a capacitance must be positive (F), got {self.capacitance}")
        if self.dissipation_factor < 0.0 or self.metal_resistance < 0.0:
            raise ValueError(
                f"losses cannot be negative, got a dissipation factor of {self.dissipation_factor:.3g} and "
                f"{self.metal_resistance:.3g} ohm of metal; check Q and frequencies against the data sheet"
            )

    @classmethod
    def from_q(
        cls, capacitance: float, first: tuple[float, float], second: tuple[float, float]
    ) -> CapacitorLoss:
        """Take the losses from a data sheet's Q at two frequencies.

        Parameters
        ----------
        capacitance
            F.
        first, second
            Frequency in Hz and Q there.

        Raises
        ------
        ValueError
            The two frequencies are equal, or no non-negative losses have these Q.
        """
        (f1, q1), (f2, q2) = first, second
        if f1 == f2:
            raise ValueError(
                f"two different frequencies are needed to tell dielectric from metal, got {f1} Hz"
            )
        omega = 2.0 * np.pi * np.array((f1, f2))
        reactance = 1.0 / (omega * capacitance)
        columns = np.stack((reactance, np.sqrt(np.array((f1, f2)) / 1e6)), axis=1)
        dielectric, metal = np.linalg.solve(columns, reactance / np.array((q1, q2)))
        return cls(capacitance, float(dielectric), float(metal))

    def resistance(self, frequency: ArrayLike) -> NDArray[np.float64]:
        """Return the equivalent series resistance in ohm, of the shape of ``frequency`` in Hz."""
        f = np.asarray(frequency, dtype=np.float64)
        dielectric = self.dissipation_factor / (2.0 * np.pi * f * self.capacitance)
        return np.asarray(dielectric + self.metal_resistance * np.sqrt(f / 1e6))

    def q(self, frequency: ArrayLike) -> NDArray[np.float64]:
        """Return the quality factor, of the shape of ``frequency`` in Hz."""
        f = np.asarray(frequency, dtype=np.float64)
        return np.asarray(1.0 / (2.0 * np.pi * f * self.capacitance * self.resistance(f)))


def inductor_resistance(
    frequency: ArrayLike, inductance: float, q: float, reference: float
) -> NDArray[np.float64]:
    """Return the series resistance in ohm of an inductor, of the shape of ``frequency`` in Hz.

    Parameters
    ----------
    frequency
        Hz; well below the self resonance.
    inductance
        H.
    q, reference
        Quality factor at a reference frequency in Hz; the skin effect makes it grow as √f.

    Raises
    ------
    ValueError
        A number is not positive.
    """
    if min(inductance, q, reference) <= 0.0:
        raise ValueError(f"an inductor needs positive L, Q and frequency, got {inductance}, {q}, {reference}")
    f = np.asarray(frequency, dtype=np.float64)
    return np.asarray(2.0 * np.pi * reference * inductance / q * np.sqrt(f / reference))


def solenoid_inductance(turns: float, diameter: float, length: float) -> float:
    """Return the inductance in H of a single-layer air coil of mean ``diameter`` and ``length`` in m.

    Lorenz's current sheet in complete elliptic integrals of k² = d² / (d² + l²): Rosa and Grover, Bull. Bur.
    Standards 8:1 (1912), equation 72. Round wire lowers it by a few per cent at wide pitch (their section 6).

    Raises
    ------
    ValueError
        A number is not positive.
    """
    if min(turns, diameter, length) <= 0.0:
        raise ValueError(f"a coil needs positive turns and sizes, got {turns}, {diameter} m, {length} m")
    m = diameter**2 / (diameter**2 + length**2)
    k = np.sqrt(m)
    shape = (2.0 * m - 1.0) / k**3 * ellipe(m) + (1.0 - m) / k**3 * ellipk(m) - 1.0
    return float(mu_0 * turns**2 * diameter**3 / (3.0 * length**2) * shape)


def solenoid_q(frequency: ArrayLike, diameter: float, length: float) -> NDArray[np.float64]:
    """Return the best Q of a single-layer air coil of copper, of the shape of ``frequency`` in Hz.

    For the best wire, about 0.7 of the pitch; practice reaches 80 %. Callendar, Wireless Eng. 24:185 (1947),
    fitting Medhurst's measurements: √f / (6.9 / R + 5.4 / l) with R and l in cm.
    """
    radius_cm, length_cm = 50.0 * diameter, 100.0 * length
    return np.asarray(np.sqrt(np.asarray(frequency, dtype=np.float64)) / (6.9 / radius_cm + 5.4 / length_cm))
