"""What a coil's conductor is made of: its resistance by the skin effect, and the round wire it acts like.

Round wires and joints here, flat ones in ``strip``. Not true: proximity of other conductors, surface
roughness. Resistances are per metre, of one current.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from scipy.constants import mu_0
from scipy.special import ive

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Ohm m, annealed copper at 20 °C: International Annealed Copper Standard, IEC 60028 (1925).
COPPER: Final = 1.7241e-8
#: Ohm m, silver at 20 °C: CRC Handbook of Chemistry and Physics, 95th ed., section 12.
SILVER: Final = 1.587e-8
#: Ohm m, eutectic tin-lead solder Sn63Pb37: NIST Solder Properties, release 4.0 (2002), table 1.14.
SOLDER: Final = 1.45e-7


class Conductor(Protocol):
    """A conductor of constant section."""

    @property
    def wire_radius(self) -> float:
        """Radius in m of the round wire with the same external inductance."""
        ...

    def resistance(self, frequency: ArrayLike, /) -> NDArray[np.float64]:
        """Return the resistance in ohm/m, of the shape of ``frequency`` in Hz."""
        ...


@dataclass(frozen=True, slots=True)
class RoundWire:
    """A round wire, or a tube with a wall of several skin depths.

    Parameters
    ----------
    radius
        m.
    resistivity
        Ohm m.

    Raises
    ------
    ValueError
        A number is not positive.
    """

    radius: float
    resistivity: float = COPPER

    def __post_init__(self) -> None:
        check_positive(radius=self.radius, resistivity=self.resistivity)

    @property
    def wire_radius(self) -> float:
        """Its own radius in m."""
        return self.radius

    def impedance(self, frequency: ArrayLike, /) -> NDArray[np.complex128]:
        """Return the internal impedance in ohm/m, of the shape of ``frequency`` in Hz.

        Exact for an isolated wire: k rho I0(ka) / (2 pi a I1(ka)), k = (1 + j) / skin depth. Schelkunoff,
        Bell Syst. Tech. J. 13:532 (1934).
        """
        depth = skin_depth(frequency, self.resistivity)
        ka = (1.0 + 1.0j) * self.radius / depth
        impedance = ka * self.resistivity / (2.0 * np.pi * self.radius**2) * ive(0, ka) / ive(1, ka)
        return np.asarray(impedance, dtype=np.complex128)

    def resistance(self, frequency: ArrayLike, /) -> NDArray[np.float64]:
        """Return the resistance in ohm/m, of the shape of ``frequency`` in Hz."""
        return np.asarray(self.impedance(frequency).real)


def skin_depth(frequency: ArrayLike, resistivity: float = COPPER) -> NDArray[np.float64]:
    """Return the skin depth in m, of the shape of ``frequency`` in Hz.

    Raises
    ------
    ValueError
        A frequency is not positive.
    """
    f = np.asarray(frequency, dtype=np.float64)
    if not np.all(f > 0.0):
        raise ValueError("frequencies must be positive (Hz)")
    return np.asarray(np.sqrt(resistivity / (np.pi * f * float(mu_0))))


def joint_resistance(frequency: ArrayLike, length: float, width: float) -> NDArray[np.float64]:
    """Return the resistance in ohm of a soldered joint, of the shape of ``frequency`` in Hz.

    Parameters
    ----------
    frequency
        Hz.
    length
        Of solder that the current crosses on its surface, m.
    width
        Of the joint, m.

    Notes
    -----
    Both faces carry the current evenly: a clean joint of 3 mm in a 5 mm strip adds 1.3 milliohm at 34 MHz.
    """
    check_positive(length=length, width=width)
    return np.asarray(SOLDER / skin_depth(frequency, SOLDER) * length / (2.0 * width))


def check_positive(**numbers: float) -> None:
    """Raise ValueError, naming the first number that is not positive and finite."""
    for name, value in numbers.items():
        if not (np.isfinite(value) and value > 0.0):
            raise ValueError(f"{name} must be positive (SI units), got {value}")
