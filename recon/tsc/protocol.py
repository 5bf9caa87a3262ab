"""What the sequence did: repetition time and flip angles, with what is not known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Protocol:
    """Repetition time and flip angles.

    Parameters
    ----------
    repetition_time
        In s.
    flip_angle
        In rad, as played.
    flip_angle_uncertainty
        Relative standard uncertainty, the same for all compartments (reference voltage).
    flip_angle_spread
        Relative standard uncertainty of each compartment's own flip angle besides: transmit field not
        uniform, or noise of the B1+ map.
    flip_angle_factors
        Flip angle over ``flip_angle`` in the bath and then in every vial, from a B1+ map; empty: all 1.
    """

    repetition_time: float
    flip_angle: float
    flip_angle_uncertainty: float = 0.03
    flip_angle_spread: float = 0.0
    flip_angle_factors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.repetition_time <= 0 or not 0 < self.flip_angle < np.pi:
            raise ValueError(
                f"a repetition time above 0 s and a flip angle between 0 and pi expected, got {self}"
            )
        if self.flip_angle_uncertainty < 0 or self.flip_angle_spread < 0:
            raise ValueError(f"uncertainties are not negative, got {self}")

    def compartment_factors(self, vials: int) -> NDArray[np.float64]:
        """Return the factor on the flip angle of the bath and each vial, shape (1 + vial,).

        Raises
        ------
        ValueError
            Factors are given, but not one for the bath and each vial.
        """
        if not self.flip_angle_factors:
            return np.ones(1 + vials)
        if len(self.flip_angle_factors) != 1 + vials:
            raise ValueError(
                f"{1 + vials} flip angle factors expected (bath, then every vial), "
                f"got {len(self.flip_angle_factors)}"
            )
        return np.array(self.flip_angle_factors)
