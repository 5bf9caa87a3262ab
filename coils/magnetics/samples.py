"""What lies in the coil: conducting bodies of simple shape, non-magnetic, of one material."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.constants import epsilon_0, mu_0

#: Relative permittivity of water near room temperature at radio frequency: Kaatze, J. Chem. Eng. Data 34:371
#: (1989), 78.4 at 25 °C and 80.1 at 20 °C.
WATER: Final = 80.0


@dataclass(frozen=True, slots=True)
class Sphere:
    """A conducting sphere.

    Parameters
    ----------
    radius
        m.
    conductivity
        S/m.
    permittivity
        Relative.
    centre
        m.

    Raises
    ------
    ValueError
        A property is out of range.
    """

    radius: float
    conductivity: float
    permittivity: float = WATER
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not self.radius > 0.0:
            raise ValueError(f"a sphere's radius must be positive (m), got {self.radius}")
        _check_material(self.conductivity, self.permittivity)


@dataclass(frozen=True, slots=True)
class HalfSpace:
    """A conducting body that fills all space below a plane of constant z.

    Parameters
    ----------
    conductivity
        S/m.
    permittivity
        Relative.
    surface
        z of the plane, m.

    Raises
    ------
    ValueError
        A property is out of range.
    """

    conductivity: float
    permittivity: float = WATER
    surface: float = 0.0

    def __post_init__(self) -> None:
        _check_material(self.conductivity, self.permittivity)


def wavenumber(frequency: float, conductivity: float, permittivity: float) -> complex:
    """Return the complex wavenumber in rad/m of e^{jωt - jkz}: k² = ω mu0 (ω eps - jσ), Im k <= 0."""
    omega = 2.0 * np.pi * frequency
    squared = omega * mu_0 * (omega * epsilon_0 * permittivity - 1j * conductivity)
    return complex(np.sqrt(squared))


def _check_material(conductivity: float, permittivity: float) -> None:
    if not (np.isfinite(conductivity) and conductivity >= 0.0):
        raise ValueError(f"the conductivity cannot be negative (S/m), got {conductivity}")
    if not (np.isfinite(permittivity) and permittivity >= 1.0):
        raise ValueError(f"the relative permittivity cannot be below 1, got {permittivity}")
