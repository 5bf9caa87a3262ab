"""What the sequence did: repetition time, flip angles, timing; with what is not known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Protocol:
    """Repetition time and flip angles, and how well they, frequency and timing are known.

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
    frequency_uncertainty
        Standard uncertainty in Hz of the receiver's frequency, the same for all compartments.
    frequency_spread
        Standard uncertainty in Hz of each compartment's own frequency besides (shim, susceptibility).
    delay_uncertainty
        Standard uncertainty in s of the gradients' delay against the receivers, after its calibration
        (``recon.delay`` states it).
    """

    repetition_time: float
    flip_angle: float
    flip_angle_uncertainty: float = 0.03
    flip_angle_spread: float = 0.0
    flip_angle_factors: tuple[float, ...] = ()
    frequency_uncertainty: float = 5.0
    frequency_spread: float = 5.0
    delay_uncertainty: float = 0.2e-6

    def __post_init__(self) -> None:
        if self.repetition_time <= 0 or not 0 < self.flip_angle < np.pi:
            raise ValueError(
                f"a repetition time above 0 s and a flip angle between 0 and pi expected, got {self}"
            )
        uncertainties = (
            self.flip_angle_uncertainty,
            self.flip_angle_spread,
            self.frequency_uncertainty,
            self.frequency_spread,
            self.delay_uncertainty,
        )
        if min(uncertainties) < 0:
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
