"""The phantom: a ball of weak sodium solution with ball-shaped vials of known content in it.

True: sharp walls of no thickness; each compartment homogeneous; a vial displaces the background. The
whole ball conducts alike (other ions than sodium make up the difference), so the coils feel one sphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import numpy as np


@dataclass(frozen=True, slots=True)
class Compartment:
    """A homogeneous ball.

    Parameters
    ----------
    name
        As the bench file calls it.
    position_m
        Centre in m, magnet frame x, y, z.
    radius_m
        m.
    concentration_mmol_l
        Sodium in mmol/L, which is mol/m^3.
    t1, t2_short, t2_long
        s; T2* rather than T2.
    short_fraction
        Part of the transverse magnetisation that decays with ``t2_short``; 0.6 in slow motion (satellite
        transitions of spin 3/2), 0 in saline.
    role
        Whether its concentration is stated to calibrate the others, or to be checked.
    """

    name: str
    position_m: tuple[float, float, float]
    radius_m: float
    concentration_mmol_l: float
    t1: float
    t2_short: float
    t2_long: float
    short_fraction: float
    role: Literal["background", "reference", "check"]


@dataclass(frozen=True, slots=True)
class Phantom:
    """A ball with vials.

    Parameters
    ----------
    background
        The ball itself, centred where the loops are.
    vials
        Inside it, none touching another.
    """

    background: Compartment
    vials: tuple[Compartment, ...]

    def __post_init__(self) -> None:
        """Check that every vial has its own place.

        Raises
        ------
        ValueError
            A vial sticks out of the ball, or two overlap.
        """
        centre = np.array(self.background.position_m)
        for vial in self.vials:
            reach = float(np.linalg.norm(np.array(vial.position_m) - centre)) + vial.radius_m
            if reach > self.background.radius_m:
                raise ValueError(f"vial {vial.name!r} reaches {reach:.4f} m, out of {self.background.name!r}")
        for one, other in combinations(self.vials, 2):
            distance = float(np.linalg.norm(np.subtract(one.position_m, other.position_m)))
            if distance < one.radius_m + other.radius_m:
                raise ValueError(f"vials {one.name!r} and {other.name!r} overlap")

    @property
    def radius_m(self) -> float:
        """Radius of the whole phantom in m."""
        return self.background.radius_m

    @property
    def references(self) -> tuple[Compartment, ...]:
        """Vials whose concentration may calibrate the others."""
        return tuple(vial for vial in self.vials if vial.role == "reference")

    @property
    def checks(self) -> tuple[Compartment, ...]:
        """Vials whose concentration is to be found and compared with the truth."""
        return tuple(vial for vial in self.vials if vial.role == "check")


def _saline(
    name: str,
    position: tuple[float, float, float],
    concentration: float,
    role: Literal["reference", "check"] = "reference",
) -> Compartment:
    """Return a vial of saline: T1 and T2* as seen at room temperature, one exponential."""
    return Compartment(name, position, 0.015, concentration, 55e-3, 50e-3, 50e-3, 0.0, role)


#: The phantom of the simulated bench. No two vials are mirror images of each other in any plane through
#: the centre, so a swapped or flipped axis shows. Relaxation: saline about 55 and 50 ms; agar of 4 to 5 %
#: T1 35 to 40 ms, T2* 4 to 8 ms and 17 to 27 ms, as published values scatter.
DEFAULT_PHANTOM: Final = Phantom(
    background=Compartment(
        "background", (0.0, 0.0, 0.0), 0.080, 30.0, 55e-3, 50e-3, 50e-3, 0.0, "background"
    ),
    vials=(
        _saline("saline 20", (0.046, 0.012, -0.018), 20.0),
        _saline("saline 60", (-0.014, 0.045, 0.022), 60.0),
        _saline("saline 100", (-0.042, -0.020, 0.012), 100.0),
        _saline("saline 145", (0.010, -0.040, -0.030), 145.0),
        _saline("saline A", (0.024, -0.018, 0.042), 45.0, role="check"),
        Compartment("agar B", (-0.026, 0.014, -0.042), 0.015, 50.0, 40e-3, 8e-3, 27e-3, 0.6, "check"),
        Compartment("agar C", (0.028, 0.036, 0.024), 0.015, 80.0, 38e-3, 5e-3, 20e-3, 0.6, "check"),
    ),
)
