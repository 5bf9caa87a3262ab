"""What a ball of one material looks like in a centre-out radial image: the point spread with T2* decay.

Signal decays while k grows, so short T2* blurs, and every vial's edge reaches into its core. For the
radially symmetric k-space of many directions, the image of a ball is one integral:

    I(r) = 4 pi ∫ k² F(k) D(t(k)) / D(t(0)) H(k) sinc(2 k r) dk,

with the ball's transform F, the decay D and the window H. I is 1 deep inside a large ball.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from recon.density import window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.density import Window
    from recon.relaxation import Relaxation

#: Points of the integral over k: 60 per cycle of the highest sinc at the edge of a 0.3 m image.
_STEPS: Final = 2000


@dataclass(frozen=True, slots=True, eq=False)
class RadialReadout:
    """When a spoke is where in k-space.

    Parameters
    ----------
    times
        Of the samples, in s after the centre of the RF pulse; increasing, shape (sample,).
    radii
        |k| in 1/m of the samples, not decreasing, shape (sample,).
    filter_window
        Window that the reconstruction lays on k-space.
    nyquist
        |k| in 1/m at which the window ends.
    """

    times: NDArray[np.float64]
    radii: NDArray[np.float64]
    filter_window: Window
    nyquist: float

    def __post_init__(self) -> None:
        if self.times.shape != self.radii.shape or self.times.ndim != 1 or self.times.size < 2:
            raise ValueError(f"times {self.times.shape} and radii {self.radii.shape} of a spoke must match")
        tolerance = 1e-6 * float(self.radii[-1])
        if np.any(np.diff(self.times) <= 0) or np.any(np.diff(self.radii) < -tolerance):
            raise ValueError("a centre-out spoke moves outwards in time")

    @property
    def echo_time(self) -> float:
        """Time in s at which the spoke leaves the centre of k-space."""
        still = np.flatnonzero(self.radii <= 1e-3 * self.radii[-1])
        return float(self.times[still[-1]] if still.size else self.times[0])

    @property
    def extent(self) -> float:
        """|k| in 1/m up to which the last sample's shell reaches."""
        return float(1.5 * self.radii[-1] - 0.5 * self.radii[-2])

    def time_at(self, radius: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the time in s at which the spoke passes ``radius`` (1/m)."""
        moving = np.concatenate([[True], np.diff(self.radii) > 0])
        start = int(np.flatnonzero(self.radii <= 1e-3 * self.radii[-1])[-1]) if self.radii[0] <= 0 else 0
        keep = np.flatnonzero(moving & (np.arange(self.radii.size) > start))
        keep = np.concatenate([[start], keep])
        return np.interp(radius, self.radii[keep], self.times[keep])


def ball_transform(radius: float, k: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Fourier transform of a ball of ones in m³ at |k| in 1/m: 2 R² j1(2 pi k R) / k."""
    x = 2 * np.pi * radius * np.asarray(k, dtype=np.float64)
    small = x < 1e-2
    safe = np.where(small, 1.0, x)
    shape = np.where(small, 1 / 3 - x**2 / 30, (np.sin(safe) - safe * np.cos(safe)) / safe**3)
    return 4 * np.pi * radius**3 * shape


def ball_image(
    readout: RadialReadout,
    radius: float,
    relaxation: Relaxation,
    distances: NDArray[np.float64],
    *,
    t2_star_scale: float = 1.0,
) -> NDArray[np.float64]:
    """Return the image of a ball at ``distances`` from its centre, 1 deep inside a large ball.

    Parameters
    ----------
    readout
        The spoke.
    radius
        Of the ball in m.
    relaxation
        Of the material in the ball.
    distances
        From the ball's centre in m, any shape.
    t2_star_scale
        Factor on the transverse times.
    """
    k = np.linspace(0.0, readout.extent, _STEPS)
    decay = relaxation.decay(readout.time_at(k), scale=t2_star_scale)
    decay = decay / relaxation.decay(readout.echo_time, scale=t2_star_scale)
    integrand = (
        4 * np.pi * k**2 * ball_transform(radius, k) * decay
        * window(k, readout.nyquist, readout.filter_window)
    )  # fmt: skip
    reach = float(np.max(distances, initial=0.0))
    table = np.linspace(0.0, reach, max(2, int(np.ceil(reach / (0.05 / readout.extent))) + 1))
    values = np.trapezoid(integrand * np.sinc(2 * k * table[:, None]), k, axis=1)
    image = np.interp(np.asarray(distances).ravel(), table, values).reshape(np.shape(distances))
    return np.asarray(image, dtype=np.float64)


def recovery(
    readout: RadialReadout, radius: float, relaxation: Relaxation, core: float, *, steps: int = 200
) -> float:
    """Return the mean image value over a core of radius ``core`` (m) of a ball of ones.

    Parameters
    ----------
    readout
        The spoke.
    radius
        Of the ball in m.
    relaxation
        Of its material.
    core
        Radius of the region of interest in m.
    steps
        Shells of the average.
    """
    edges = np.linspace(0.0, core, steps + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    shells = np.diff(edges**3) / core**3
    return float(np.sum(shells * ball_image(readout, radius, relaxation, middle)))
