"""Loops over a conducting half-space: noise resistance matrix, wave effects included.

Only the transverse-electric part of a loop's field enters the body; there E_z = 0 and no charge appears. In
the quasi-static limit the matrix is a double line integral, like Neumann's, of (dx dx' + dy dy' - dz dz')
times the second antiderivative of 1/R in the height h = z + z', h ln(h + R) - R: any closed loops, tilted
ones too. In full, each transverse wavenumber κ enters with the transmission 2κ/(κ + γ) and decays as e^{γz},
where γ² = κ² - k²; outside, the wave is neglected.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.polynomial.chebyshev import Chebyshev
from numpy.polynomial.legendre import leggauss
from scipy.constants import mu_0
from scipy.special import j0, j1

from coils.magnetics.samples import wavenumber

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from coils.magnetics.loops import Loop
    from coils.magnetics.samples import HalfSpace

#: Gauss-Legendre nodes of one panel of the integrals over κ.
_PANEL_NODES: Final = 24
#: κ times height at which e^{-κh} ends the integrals: 1e-14.
_END: Final = 32.0
#: Degree of the polynomial in distance through the wave's part of the kernel, per unit of |k| distance.
_DEGREES_PER_RADIAN: Final = 6


def circle_resistance(
    radius: float, distance: float, body: HalfSpace, frequency: ArrayLike, *, full_wave: bool = True
) -> NDArray[np.float64]:
    """Return the noise resistance in ohm of a circle parallel to the surface, shape (frequency,).

    Parameters
    ----------
    radius, distance
        Of the circle, and from the surface, m.
    body
        Conductivity and permittivity count.
    frequency
        Hz.
    full_wave
        Off: as ω² sigma 2 pi (mu0 a/2)² times the integral of J1(κa)² e^{-2κd} / (2κ²).

    Raises
    ------
    ValueError
        Radius or distance is not positive.

    Notes
    -----
    Harpen, Med. Phys. 14:616 (1987), for the quasi-static loss.
    """
    if radius <= 0.0 or distance <= 0.0:
        raise ValueError(f"radius and distance must be positive (m), got {radius} and {distance}")
    frequencies = np.atleast_1d(np.asarray(frequency, dtype=np.float64))
    result = np.empty(len(frequencies))
    for place, f in enumerate(frequencies):
        k = wavenumber(f, body.conductivity, body.permittivity)
        kappa, weight = _wavenumbers(2.0 * distance, radius, k)
        power = j1(kappa * radius) ** 2 * np.exp(-2.0 * kappa * distance) / (2.0 * kappa**2)
        power *= _wave_factor(kappa, k) if full_wave else 1.0
        omega = 2.0 * np.pi * f
        result[place] = (
            omega**2 * body.conductivity * 2.0 * np.pi * (mu_0 * radius / 2.0) ** 2 * (weight @ power)
        )
    return result


def half_space_resistance(
    loops: Sequence[Loop], body: HalfSpace, frequency: ArrayLike, *, full_wave: bool = True
) -> NDArray[np.float64]:
    """Return the noise resistance matrices in ohm, shape (frequency, loop, loop).

    Parameters
    ----------
    loops
        All above the surface; with ``full_wave`` each parallel to it.
    body
        Surface and material.
    frequency
        Hz.
    full_wave
        Off: quasi-static, for loops of any shape.

    Raises
    ------
    ValueError
        There is no loop, a conductor touches the body, or a loop is not parallel where it must be.
    """
    if not loops:
        raise ValueError("a resistance matrix needs at least one loop")
    frequencies = np.atleast_1d(np.asarray(frequency, dtype=np.float64))
    heights = [loop.path[:, 2] - body.surface for loop in loops]
    lowest = min(float(height.min()) for height in heights)
    if lowest <= 0.0:
        raise ValueError(f"a conductor is {-lowest:.4g} m below the surface; all must be above it")
    if full_wave and any(float(np.ptp(height)) > 1e-6 * lowest for height in heights):
        raise ValueError("wave effects are known for loops parallel to the surface; pass full_wave=False")
    nodes = [loop.nodes(2.0 * lowest) for loop in loops]
    reach = float(np.linalg.norm(np.ptp(np.concatenate([points for points, _ in nodes]), axis=0)[:2]))
    static = np.empty((len(loops), len(loops)))
    wave = np.zeros((len(frequencies), len(loops), len(loops)))
    kernels: dict[float, list[Chebyshev]] = {}
    for i, (points, elements) in enumerate(nodes):
        for j, (others, other_elements) in enumerate(nodes[: i + 1]):
            product = elements[:, :2] @ other_elements[:, :2].T - np.outer(
                elements[:, 2], other_elements[:, 2]
            )
            h = np.add.outer(points[:, 2], others[:, 2]) - 2.0 * body.surface
            rho2 = sum(np.subtract.outer(points[:, axis], others[:, axis]) ** 2 for axis in (0, 1))
            r = np.sqrt(rho2 + h**2)
            static[i, j] = static[j, i] = np.sum(product * (h * np.log(h + r) - r))
            if full_wave:
                height = round(float(h[0, 0]), 12)
                if height not in kernels:
                    kernels[height] = [_wave_kernel(height, reach, body, f) for f in frequencies]
                rho = np.sqrt(rho2)
                wave[:, i, j] = wave[:, j, i] = [np.sum(product * kernel(rho)) for kernel in kernels[height]]
    omega = 2.0 * np.pi * frequencies[:, None, None]
    return np.asarray(omega**2 * body.conductivity * mu_0**2 / (16.0 * np.pi) * (static + wave))


def _wave_factor(kappa: NDArray[np.float64], k: complex) -> NDArray[np.float64]:
    """Return the loss at each transverse wavenumber over the quasi-static one."""
    gamma = np.asarray(np.sqrt(kappa**2 - k**2 + 0j), dtype=np.complex128)
    return np.asarray(np.abs(2.0 * kappa / (kappa + gamma)) ** 2 * kappa / gamma.real)


def _wavenumbers(height: float, reach: float, k: complex) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights in κ for kernels e^{-κ height} that oscillate as κ reach and bend at Re k.

    Near Re k the loss changes over |Im k|: panels shrink towards it.
    """
    end = _END / height
    bend = min(k.real, 0.5 * end)
    widths = bend * 0.5 ** np.arange(12)
    around = np.concatenate(((0.0,), bend - widths, bend + widths[::-1])) if bend > 0.0 else np.zeros(1)
    start = float(around.max())
    step = min(10.0 / reach, 6.0 / height)
    edges = np.unique(np.concatenate((around, (bend,), np.arange(start + step, end + step, step))))
    parts = [np.linspace(low, high, 2 + int((high - low) / step))[:-1] for low, high in pairwise(edges)]
    edges = np.concatenate((*parts, edges[-1:]))
    abscissae, weights = leggauss(_PANEL_NODES)
    half = 0.5 * np.diff(edges)
    nodes = (edges[:-1] + half)[:, None] + half[:, None] * abscissae
    return nodes.ravel(), (half[:, None] * weights).ravel()


def _wave_kernel(height: float, reach: float, body: HalfSpace, frequency: float) -> Chebyshev:
    """Return what waves add to the kernel h ln(h + R) - R, as a function of the distance along the surface.

    The integral of (J0(κρ) - 1) e^{-κh} (factor - 1) / κ²; the 1 changes nothing for closed loops.
    """
    k = wavenumber(frequency, body.conductivity, body.permittivity)
    kappa, weight = _wavenumbers(height, reach, k)
    spectrum = weight * np.exp(-kappa * height) * (_wave_factor(kappa, k) - 1.0) / kappa**2
    degree = 32 + int(_DEGREES_PER_RADIAN * abs(k) * reach)

    def sampled(rho: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((j0(np.outer(rho, kappa)) - 1.0) @ spectrum)

    return Chebyshev.interpolate(sampled, degree, domain=(0.0, reach))
