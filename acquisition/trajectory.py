"""Density-adapted centre-out radial trajectories, exactly as the gradient raster plays them.

True here: the gradient holds each raster sample for the whole raster interval, so k is linear between
raster edges and exact on them. Not modelled: gradient delay, eddy currents, an amplifier that joins the
samples by straight lines instead (for 40 mT/m-class designs that moves k by at most 0.04 1/m).

k in cycles/m, gradients in T/m, times in s from the start of the gradient.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

#: Golden means in two dimensions: the eigenvector of [0 1 0; 0 0 1; 1 0 1] to the eigenvalue 1.46557
#: (Chan et al., Magn Reson Med 61:354 (2009)).
GOLDEN_MEANS: Final = (0.4655712318767680, 0.6823278038280193)

#: s. Gradient raster of the common interpreters (Pulseq specification 1.5, default raster times).
GRADIENT_RASTER: Final = 10e-6


def golden_directions(count: int, /) -> NDArray[np.float64]:
    """Return ``count`` unit vectors that cover the sphere evenly for every count.

    Returns
    -------
    Shape (count, 3), centre-out: cos θ = 2·frac(m φ1) - 1, azimuth 2π·frac(m φ2), m from 1.

    Notes
    -----
    Chan et al., Magn Reson Med 61:354 (2009).
    """
    number = np.arange(1, count + 1, dtype=np.float64)
    z = 2.0 * np.mod(number * GOLDEN_MEANS[0], 1.0) - 1.0
    azimuth = 2.0 * np.pi * np.mod(number * GOLDEN_MEANS[1], 1.0)
    rho = np.sqrt(1.0 - z**2)
    return np.stack((rho * np.cos(azimuth), rho * np.sin(azimuth), z), axis=1)


def nyquist_spokes(fov: float, kmax: float, /) -> int:
    """Return the number of centre-out spokes that meet Nyquist at ``kmax`` (1/m) for ``fov`` (m)."""
    return math.ceil(4.0 * math.pi * (kmax * fov) ** 2)


@dataclass(frozen=True, slots=True)
class RadialDesign:
    """One density-adapted spoke: a linear ramp, a plateau, then k²·dk/dt constant.

    Parameters
    ----------
    gamma_bar
        Gyromagnetic ratio over 2π in Hz/T.
    kmax
        End of the spoke in cycles/m.
    readout_duration
        From the start of the gradient to ``kmax``, in s; a whole number of rasters.
    plateau
        Gradient G0 of the plateau in T/m.
    k0
        Radius in cycles/m at which the density adaptation begins.
    slew
        Slew rate of the ramp in T/m/s, nowhere exceeded.
    raster
        Gradient raster in s.

    Notes
    -----
    Nagel et al., Magn Reson Med 62:1565 (2009), eqs. 6, 7 and 9.
    """

    gamma_bar: float
    kmax: float
    readout_duration: float
    plateau: float
    k0: float
    slew: float
    raster: float = GRADIENT_RASTER

    def __post_init__(self) -> None:
        """Check the design against its own limits.

        Raises
        ------
        ValueError
            A value is not positive, k0 lies beyond kmax, the slew rate at the end of the plateau is
            too high (eq. 9), or the readout is no whole number of rasters.
        """
        if not all(math.isfinite(value) and value > 0.0 for value in astuple(self)):
            raise ValueError(f"a radial design needs positive numbers only; got {self!r}")
        if self.k0 > self.kmax * (1.0 + 1e-12):
            raise ValueError(f"k0 = {self.k0:.6g} 1/m lies beyond kmax = {self.kmax:.6g} 1/m")
        least = 2.0 * self.gamma_bar * self.plateau**2 / self.slew
        if self.k0 < least * (1.0 - 1e-9) and self.k0 < self.kmax:
            raise ValueError(
                f"k0 = {self.k0:.6g} 1/m needs more slew rate than {self.slew:.6g} T/m/s; "
                f"at {self.plateau:.6g} T/m it must be at least {least:.6g} 1/m"
            )
        rasters = self.readout_duration / self.raster
        if abs(rasters - round(rasters)) > 1e-6:
            raise ValueError(
                f"the readout must be a whole number of rasters of {self.raster:.6g} s; got "
                f"{self.readout_duration:.9g} s, nearest {round(rasters) * self.raster:.9g} s"
            )

    @property
    def ramp_time(self) -> float:
        """Duration of the first ramp in s."""
        return self.plateau / self.slew

    @property
    def plateau_end(self) -> float:
        """Time t0 in s at which k reaches k0."""
        return self.k0 / (self.gamma_bar * self.plateau) + 0.5 * self.ramp_time

    @property
    def points(self) -> int:
        """Number of raster samples in the readout, ramp-down not counted."""
        return round(self.readout_duration / self.raster)

    def analytic_radius(self, times: ArrayLike, /) -> NDArray[np.float64]:
        """Return the continuous |k| in cycles/m at ``times`` (s), any shape; 0 before the gradient."""
        time = np.maximum(np.asarray(times, dtype=np.float64), 0.0)
        ramp = 0.5 * self.gamma_bar * self.slew * np.minimum(time, self.ramp_time) ** 2
        plateau = self.gamma_bar * self.plateau * (time - 0.5 * self.ramp_time)
        late = np.maximum(time - self.plateau_end, 0.0)
        adapted = np.cbrt(3.0 * self.gamma_bar * self.k0**2 * self.plateau * late + self.k0**3)
        return np.select([time < self.ramp_time, time < self.plateau_end], [ramp, plateau], adapted)

    def waveform(self) -> NDArray[np.float64]:
        """Return the gradient in T/m at the raster centres: ``points`` samples, then the ramp-down.

        k is evaluated at the raster edges and differentiated, so kmax and the readout duration are
        exact and the slew rate nowhere exceeds the design's.
        """
        edges = np.arange(self.points + 1) * self.raster
        readout = np.diff(self.analytic_radius(edges)) / (self.gamma_bar * self.raster)
        ramp = max(1, math.ceil(readout[-1] / (self.slew * self.raster)))
        fall = readout[-1] * (1.0 - (np.arange(ramp) + 0.5) / ramp)
        return np.concatenate((readout, fall))

    def radius(self, times: ArrayLike, /) -> NDArray[np.float64]:
        """Return |k| in cycles/m at ``times`` (s from the gradient's start) by integrating the waveform.

        Any shape. 0 before the gradient; constant after the ramp-down.
        """
        waveform = self.waveform()
        edges = np.arange(waveform.size + 1) * self.raster
        travelled = np.concatenate(([0.0], np.cumsum(waveform) * (self.gamma_bar * self.raster)))
        return np.asarray(np.interp(np.asarray(times, dtype=np.float64), edges, travelled), dtype=np.float64)


def design_radial(
    *,
    gamma_bar: float,
    kmax: float,
    readout_duration: float,
    max_gradient: float,
    max_slew: float,
    raster: float = GRADIENT_RASTER,
) -> RadialDesign:
    """Return the density-adapted spoke with the highest plateau that both limits allow.

    Parameters
    ----------
    gamma_bar
        Hz/T.
    kmax
        cycles/m; 1/(2·resolution).
    readout_duration
        s, a whole number of rasters.
    max_gradient
        T/m; the plateau is this or, where the slew rate forbids it, less.
    max_slew
        T/m/s.
    raster
        s.

    Raises
    ------
    ValueError
        The readout is too short for these limits (the shortest one is named), or not on the raster.
    """
    slew_limited = _slew_limited_plateau(gamma_bar, kmax, readout_duration, max_slew)
    if slew_limited is not None and slew_limited <= max_gradient:
        plateau = slew_limited
        k0 = 2.0 * gamma_bar * plateau**2 / max_slew
    else:
        plateau = max_gradient
        k0 = _adaptation_radius(gamma_bar, kmax, readout_duration, plateau, max_slew)
    return RadialDesign(gamma_bar, kmax, readout_duration, plateau, k0, max_slew, raster)


def _readout(gamma_bar: float, kmax: float, plateau: float, k0: float, slew: float) -> float:
    """Return the readout duration of a design in s."""
    plateau_end = k0 / (gamma_bar * plateau) + 0.5 * plateau / slew
    return plateau_end + (kmax**3 - k0**3) / (3.0 * gamma_bar * k0**2 * plateau)


def _slew_limited_plateau(gamma_bar: float, kmax: float, readout: float, slew: float) -> float | None:
    """Return the plateau at which eq. 9 holds with equality, None when the readout is too short."""
    highest = math.sqrt(kmax * slew / (2.0 * gamma_bar))

    def excess(plateau: float) -> float:
        return _readout(gamma_bar, kmax, plateau, 2.0 * gamma_bar * plateau**2 / slew, slew) - readout

    if excess(highest) > 0.0:
        return None
    return _root(excess, highest * 1e-3, highest)


def _adaptation_radius(gamma_bar: float, kmax: float, readout: float, plateau: float, slew: float) -> float:
    """Return the k0 in 1/m that makes the readout as long as asked for at a given plateau."""
    shortest = _readout(gamma_bar, kmax, plateau, kmax, slew)
    if shortest > readout:
        raise ValueError(
            f"a readout of {readout:.6g} s does not reach {kmax:.6g} 1/m with {plateau:.6g} T/m and "
            f"{slew:.6g} T/m/s; the shortest takes {shortest:.6g} s"
        )
    return _root(lambda k0: _readout(gamma_bar, kmax, plateau, k0, slew) - readout, kmax * 1e-4, kmax)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the root of a falling function to the last digit of a double, by bisection."""
    middle = 0.5 * (low + high)
    while low < middle < high:
        if function(middle) > 0.0:
            low = middle
        else:
            high = middle
        middle = 0.5 * (low + high)
    return middle
