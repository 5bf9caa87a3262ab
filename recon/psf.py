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

#: Steps of the integral over k: 60 per cycle of the fastest sine at 0.3 m and 100 1/m.
_STEPS: Final = 2000
#: Length of the sine transform: a table of distances 60 times finer than the sampling theorem asks.
_TABLE: Final = 2**17


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


class BallImage:
    """The image of a ball of ones as a function of the distance from its centre; 1 deep in a large ball.

    Parameters
    ----------
    readout
        The spoke.
    radius
        Of the ball in m.
    relaxation
        Of the material in the ball.
    t2_star_scale
        Factor on the transverse times.
    """

    def __init__(
        self, readout: RadialReadout, radius: float, relaxation: Relaxation, *, t2_star_scale: float = 1.0
    ) -> None:
        step = readout.extent / _STEPS
        k: NDArray[np.float64] = np.asarray(np.arange(_STEPS + 1) * step, dtype=np.float64)
        decay = relaxation.decay(readout.time_at(k), scale=t2_star_scale)
        decay = decay / relaxation.decay(readout.echo_time, scale=t2_star_scale)
        tapered = decay * window(k, readout.nyquist, readout.filter_window)
        integrand = 4 * np.pi * k * ball_transform(radius, k) * tapered * step
        integrand[-1] *= 0.5
        # I(r) = ∫ 4 pi k F D H sin(2 pi k r) / (2 pi r) dk: a sine transform.
        self._distances = np.arange(_TABLE // 2) / (_TABLE * step)
        self._values = -np.fft.rfft(integrand, _TABLE).imag[: _TABLE // 2]
        self._values[1:] /= 2 * np.pi * self._distances[1:]
        self._values[0] = float(np.sum(integrand * k))

    def __call__(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the image at ``distances`` from the centre in m, same shape."""
        values = np.interp(np.ravel(distances), self._distances, self._values)
        return np.asarray(values.reshape(np.shape(distances)), dtype=np.float64)


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
    return float(np.sum(shells * BallImage(readout, radius, relaxation)(middle)))
