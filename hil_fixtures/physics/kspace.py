"""k-space of the phantom as every loop sees it, in closed form: no grid, no transform of images.

A loop's receive field Bx + jBy (its B1-, up to conjugation and a factor 2) is harmonic inside every ball
of sodium, so it is a sum of (r/R)^l Y_lm about the ball's centre, and

    integral over ball of (r/R)^l Y_lm(r) exp(-2 pi i k.r) d3r
        = 4 pi (-i)^l Y_lm(k/|k|) R^3 j_{l+1}(x)/x,      x = 2 pi |k| R.

A vial displaces the background: it counts with its own magnetisation less the background's. Along a
straight spoke Y_lm is constant, so a spoke costs a few small matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import spherical_jn

from hil_fixtures.physics.harmonics import degrees, orders, project, spherical_harmonics
from hil_fixtures.physics.magnetics import magnetic_field
from hil_fixtures.physics.spins import equilibrium_magnetization, steady_state, transverse_decay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coilbench.base.nuclei import Nucleus
    from hil_fixtures.physics.arrays import Complex, Real
    from hil_fixtures.physics.geometry import LoopArray
    from hil_fixtures.physics.phantom import Compartment, Phantom
    from hil_fixtures.physics.shot import Shot

#: Degrees kept: the next term is below (8/12)^19 and (1.5/6)^7 of the field at the ball's surface.
BODY_DEGREE: Final = 18
VIAL_DEGREE: Final = 6


def receive_field(array: LoopArray, loop: int, points: Real) -> Complex:
    """Return Bx + jBy of a loop (counted from 0) in T per A at points (point, 3) in m.

    This is the one place where the sense of rotation is chosen: phasors are exp(+j omega t), the field
    points along +z, a faster spin turns counter-clockwise in the received signal, and the loop feels
    Mx - jMy of the spins, hence Bx + jBy = 2 conj(B1-).
    """
    field = magnetic_field(array.filament(loop), points)
    return np.asarray(field[:, 0] + 1j * field[:, 1])


@dataclass(frozen=True, slots=True, eq=False)
class Ball:
    """One compartment and the loops' receive fields in it.

    Parameters
    ----------
    compartment
        What fills it.
    field
        Shape (loop, (degree + 1)^2): coefficients of (r/R)^l Y_lm, T per A.
    degree
        Highest l.
    """

    compartment: Compartment
    field: Complex
    degree: int

    def tables(self, k_radius: Real) -> Real:
        """Return R^3 j_{l+1}(x)/x in m^3, shape (degree + 1, point), at |k| in 1/m."""
        radius = self.compartment.radius_m
        x = 2.0 * np.pi * np.maximum(np.abs(k_radius), 1e-6) * radius
        order = np.arange(1, self.degree + 2)[:, None]
        sign = np.where(k_radius < 0.0, -1.0, 1.0) ** (order - 1)
        return np.asarray(sign * radius**3 * spherical_jn(order, x) / x, dtype=np.float64)

    def kernel(self) -> Complex:
        """Return 4 pi (-i)^l times the field's coefficients."""
        return np.asarray(self.field * (4.0 * np.pi * (-1j) ** degrees(self.degree)))


@lru_cache(maxsize=8)
def balls(array: LoopArray, phantom: Phantom) -> tuple[Ball, ...]:
    """Return the background and then every vial with the loops' fields in them.

    Raises
    ------
    ValueError
        The background is not centred in the array.
    """
    body = phantom.background
    centre = np.array(body.position_m)

    def first_loop(points: Real) -> Complex:
        return receive_field(array, 0, points)[:, None]

    if np.any(centre):
        raise ValueError(f"the phantom stands at {body.position_m}, not in the middle of the array")
    reference = project(first_loop, centre, body.radius_m, BODY_DEGREE)
    # Loop n is loop 0 turned by phi_n: coefficients turn by -m phi_n, the transverse field by +phi_n.
    turn = np.array([array.azimuth(loop) for loop in range(array.count)])
    turned = reference * np.exp(1j * np.outer(turn, 1.0 - orders(BODY_DEGREE)))

    def all_loops(points: Real) -> Complex:
        return np.stack([receive_field(array, loop, points) for loop in range(array.count)], axis=1)

    vials = (
        Ball(
            vial,
            project(all_loops, np.array(vial.position_m), vial.radius_m, VIAL_DEGREE, margin=4),
            VIAL_DEGREE,
        )
        for vial in phantom.vials
    )
    return (Ball(body, turned, BODY_DEGREE), *vials)


@dataclass(frozen=True, slots=True, eq=False)
class Spokes:
    """Everything of a spoke that does not depend on its direction.

    Parameters
    ----------
    k_radius
        Shape (time,), 1/m.
    weights
        Shape (ball, time): net magnetisation of each ball in A/m (peak), 0 before the pulse's end.
    tables
        For each ball, shape (l, time), m^3.
    """

    k_radius: Real
    weights: Real
    tables: tuple[Real, ...]


def prepare(
    content: Sequence[Ball], shot: Shot, times: Real, nucleus: Nucleus, b0: float, temperature: float
) -> Spokes:
    """Return what all shots with one waveform share, at ``times`` in s from their triggers."""
    k_radius = np.interp(times, shot.k_times, shot.k_radius)
    since = np.maximum(times - shot.rf_centre, 0.0)
    alive = times >= shot.rf_end
    weights = np.empty((len(content), len(times)))
    for row, ball in enumerate(content):
        inside = ball.compartment
        amount = equilibrium_magnetization(nucleus, inside.concentration_mmol_l, b0, temperature)
        amount *= steady_state(shot.flip_angle, shot.repetition_time, inside.t1)
        weights[row] = amount * transverse_decay(inside, since) * alive
    weights[1:] -= weights[0]
    return Spokes(k_radius, weights, tuple(ball.tables(k_radius) for ball in content))


def spoke_signals(content: Sequence[Ball], receive: Complex, spokes: Spokes, directions: Real) -> Complex:
    """Return the signal of every spoke at the outputs of a linear receiver.

    Parameters
    ----------
    content
        From `balls`.
    receive
        Shape (output, loop): output per flux linked with a loop at unit current.
    spokes
        From `prepare`.
    directions
        Shape (spoke, 3), unit vectors.

    Returns
    -------
    Shape (spoke, output, time): sum over loops of receive times the integral over the phantom of
    (Bx + jBy) M exp(-2 pi i k.r), without precession.
    """
    total: Complex | None = None
    for ball, weight, table in zip(content, spokes.weights, spokes.tables, strict=True):
        angular = spherical_harmonics(directions, ball.degree)
        products = (receive @ ball.kernel())[None, :, :] * angular[:, None, :]
        by_degree = np.add.reduceat(products, np.arange(ball.degree + 1) ** 2, axis=-1)
        part = _times_real(by_degree, table * weight)
        centre = np.array(ball.compartment.position_m)
        if np.any(centre):
            path = directions @ centre
            part *= np.exp(-2j * np.pi * np.multiply.outer(path, spokes.k_radius))[:, None, :]
        total = part if total is None else total + part
    if total is None:
        raise ValueError("there is nothing in the phantom")
    return total


def _times_real(left: Complex, right: Real) -> Complex:
    """Return a complex stack times a real matrix by two real products: a third of the complex work."""
    result = np.empty((*left.shape[:-1], right.shape[-1]), dtype=np.complex128)
    result.real = left.real @ right
    result.imag = left.imag @ right
    return result
