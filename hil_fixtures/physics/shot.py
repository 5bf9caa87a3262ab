"""What the scanner did around one trigger, as the spins and receivers see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Real


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One RF pulse, one trigger, one straight spoke through the centre of k-space.

    Parameters
    ----------
    index
        Unique, counts up over the life of a world; draws the shot's noise.
    time
        Of the trigger, s on the scanner's clock.
    transmit_frequency
        Carrier in Hz; it runs on between shots.
    flip_angle
        rad; 0 gives noise only.
    rf_centre
        Of the pulse, s from the trigger; usually negative.
    rf_duration
        s. The pulse acts at its centre; no signal is received before its end.
    repetition_time
        s, for the steady state.
    direction
        Shape (3,), unit vector of the spoke.
    k_times, k_radius
        Shape (point,): |k| in 1/m at times in s from the trigger, straight in between, held outside.
    """

    index: int
    time: float
    transmit_frequency: float
    flip_angle: float
    rf_centre: float
    rf_duration: float
    repetition_time: float
    direction: Real
    k_times: Real
    k_radius: Real

    def __post_init__(self) -> None:
        """Check shapes and the direction's length.

        Raises
        ------
        ValueError
            The direction is no unit vector of three, the times do not rise, or the lengths differ.
        """
        if np.shape(self.direction) != (3,) or abs(float(np.linalg.norm(self.direction)) - 1.0) > 1e-6:
            raise ValueError(f"a shot's direction is a unit vector of three; got {self.direction}")
        if self.k_times.ndim != 1 or self.k_times.shape != self.k_radius.shape or not self.k_times.size:
            raise ValueError(
                f"k_times and k_radius are equally long; got {self.k_times.shape} and {self.k_radius.shape}"
            )
        if np.any(np.diff(self.k_times) < 0.0):
            raise ValueError("k_times must not fall")

    @property
    def rf_end(self) -> float:
        """End of the RF pulse in s from the trigger."""
        return self.rf_centre + 0.5 * self.rf_duration

    def waveform(self) -> tuple[float, float, float, float, bytes, bytes]:
        """Return what shots must share to have the same signal but for direction and carrier phase."""
        return (
            self.flip_angle,
            self.rf_centre,
            self.rf_duration,
            self.repetition_time,
            self.k_times.tobytes(),
            self.k_radius.tobytes(),
        )

    def identity(self) -> tuple[object, ...]:
        """Return what tells this shot from every other."""
        return (
            self.index,
            self.time,
            self.transmit_frequency,
            np.asarray(self.direction).tobytes(),
            self.waveform(),
        )
