"""What a point or a ball of one material looks like in a centre-out radial image, with T2* decay.

Signal decays while k grows, so short T2* blurs, and every vial's edge reaches into its core. For the
radially symmetric k-space of many directions, the image of a ball is one integral:

    I(r) = 4 pi ∫ k² F(k) D(t(k)) / D(t(0)) H(k) sinc(2 k r) dk,

with the ball's transform F, the decay D and the window H. I is 1 deep inside a large ball. With F = 1 it is
the point spread, in 1/m³.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.optimize

from recon.density import window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.density import Taper
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
    filter_window: Taper
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


def transfer_function(
    readout: RadialReadout,
    relaxation: Relaxation,
    *,
    t2_star_scale: float = 1.0,
    frequency: float = 0.0,
    since: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return even steps of |k| in 1/m up to the end of k-space, and by what each is multiplied.

    Parameters
    ----------
    readout
        The spoke.
    relaxation
        Of the material.
    t2_star_scale
        Factor on the transverse times.
    frequency, since
        The material's offset in Hz, and the time in s at which its phase is that of the receiver: the real
        part of the image is returned.

    Returns
    -------
    |k| and decay (1 at the echo time) times window, shape (step,) each.
    """
    k = np.linspace(0.0, readout.extent, _STEPS + 1)
    times = readout.time_at(k)
    decay = relaxation.decay(times, scale=t2_star_scale)
    decay = decay / relaxation.decay(readout.echo_time, scale=t2_star_scale)
    if frequency:
        decay = decay * np.cos(2 * np.pi * frequency * (times - since))
    return k, decay * window(k, readout.nyquist, readout.filter_window)


def point_spread(
    readout: RadialReadout,
    relaxation: Relaxation,
    distances: NDArray[np.float64],
    *,
    t2_star_scale: float = 1.0,
) -> NDArray[np.float64]:
    """Return the image of a point of one unit, in 1/m³, at ``distances`` in m, same shape.

    Notes
    -----
    4 pi ∫ H(k) k² sinc(2 k r) dk by the trapezoidal rule: exact to the square of r / 2000 voxels.
    """
    k, transfer = transfer_function(readout, relaxation, t2_star_scale=t2_star_scale)
    measure = 4 * np.pi * k**2 * transfer * k[1]
    measure[-1] *= 0.5
    flat = np.ravel(np.asarray(distances, dtype=np.float64))
    values = np.array([float(measure @ np.sinc(2 * k * r)) for r in flat])
    return values.reshape(np.shape(distances))


def full_width(readout: RadialReadout, relaxation: Relaxation, *, t2_star_scale: float = 1.0) -> float:
    """Return the full width at half maximum of the point spread in m: the resolution of that material.

    Parameters
    ----------
    readout
        The spoke.
    relaxation
        Of the material; its decay widens the point spread.
    t2_star_scale
        Factor on the transverse times.

    Raises
    ------
    ValueError
        The point spread does not fall to half of its peak within 20 voxels.

    Notes
    -----
    Without decay 1.5904 voxels of 1 / (2 kmax) (no window), 1.9897 (Hamming).
    """

    def excess(r: float) -> float:
        at = point_spread(readout, relaxation, np.array([r, 0.0]), t2_star_scale=t2_star_scale)
        return float(at[0] - 0.5 * at[1])

    voxel = 0.5 / readout.extent
    reach = np.arange(1, 81) * 0.25 * voxel
    below = next((float(r) for r in reach if excess(float(r)) <= 0), None)
    if below is None:
        raise ValueError("the point spread stays above half of its peak over 20 voxels: it has no width")
    half: Any = scipy.optimize.brentq(excess, below - 0.25 * voxel, below, xtol=1e-6 * voxel)
    return 2 * float(half)


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
    t2_star_scale, frequency, since
        As of ``transfer_function``.
    """

    def __init__(
        self,
        readout: RadialReadout,
        radius: float,
        relaxation: Relaxation,
        *,
        t2_star_scale: float = 1.0,
        frequency: float = 0.0,
        since: float = 0.0,
    ) -> None:
        k, transfer = transfer_function(
            readout, relaxation, t2_star_scale=t2_star_scale, frequency=frequency, since=since
        )
        step = float(k[1])
        integrand = 4 * np.pi * k * ball_transform(radius, k) * transfer * step
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
