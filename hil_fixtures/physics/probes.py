"""Two small loops side by side that look at the array: what a bench measures loop currents with.

True: their inductances to each other and to every loop by Neumann's integral, what the phantom adds to
both, their own copper and 50 ohm. Not true: electric coupling, and the hand that holds them.

The pair is overlapped so that its loops do not couple, like neighbours of an array; what is left is the
accuracy of the hand that set the overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import root_scalar

from hil_fixtures.physics.harmonics import degrees, project
from hil_fixtures.physics.magnetics import (
    MU_0,
    Filament,
    magnetic_field,
    mutual_inductance,
    self_inductance,
)
from hil_fixtures.physics.network import Z0
from hil_fixtures.physics.parts import COPPER_RESISTIVITY
from hil_fixtures.physics.sample import MULTIPOLES, multipole_answers

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Complex, Real
    from hil_fixtures.physics.geometry import LoopArray
    from hil_fixtures.physics.sample import Load

#: Nodes of a probe's circle: spaced below its wire radius.
_NODES: Final = 256


@dataclass(frozen=True, slots=True)
class ProbePair:
    """The probes: two equal circles in one plane, side by side along z.

    Parameters
    ----------
    radius
        Of each loop, m.
    wire_radius
        m; 0.6 mm is thin semi-rigid cable.
    distance
        From the array's cylinder outwards when they face a channel, m.
    residual
        Coupling coefficient that the setting of the overlap leaves.
    """

    radius: float = 9e-3
    wire_radius: float = 0.6e-3
    distance: float = 25e-3
    residual: float = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What the probes see where they are.

    Parameters
    ----------
    own
        Their inductance matrix, H, shape (2, 2).
    resistance
        Of each at 1 Hz's root: ohm per root of Hz (skin effect).
    loops
        Mutual inductances to the array's loops, H, shape (2, loop).
    """

    own: Real
    resistance: float
    loops: Real


@dataclass(frozen=True, slots=True, eq=False)
class ProbeImpedance:
    """The probes' part of the impedance matrix of all loops, ohm.

    Parameters
    ----------
    own
        Shape (frequency, 2, 2), without the 50 ohm of their ports.
    loops
        Between probes and array, shape (frequency, 2, loop).
    """

    own: Complex
    loops: Complex


def circle(centre: Real, normal: Real, radius: float) -> Filament:
    """Return a circle as equally spaced nodes; a positive current turns right-handed about ``normal``."""
    along = np.cross(normal, np.array([0.0, 0.0, 1.0]))
    along = along / np.linalg.norm(along)
    across = np.cross(normal, along)
    angle = 2.0 * np.pi * np.arange(_NODES) / _NODES
    points = centre + radius * (np.outer(np.cos(angle), along) + np.outer(np.sin(angle), across))
    tangents = np.outer(-np.sin(angle), along) + np.outer(np.cos(angle), across)
    return Filament(points, tangents * (2.0 * np.pi * radius / _NODES))


@lru_cache(maxsize=8)
def decoupled_spacing(pair: ProbePair) -> float:
    """Return the distance in m of the probes' centres at which their mutual inductance is zero.

    Where they cross, one wire lies on the other. For thin wires the distance is close to 1.5 radii.
    """
    normal = np.array([1.0, 0.0, 0.0])

    def coupling(spacing: float) -> float:
        one, other = (circle(np.array([0.0, 0.0, z]), normal, pair.radius) for z in (0.0, spacing))
        return mutual_inductance(one, other, 2.0 * pair.wire_radius)

    return float(root_scalar(coupling, bracket=(1.2 * pair.radius, 1.9 * pair.radius), xtol=1e-9).root)


def probe_filaments(pair: ProbePair, array: LoopArray, channel: int) -> tuple[Filament, Filament]:
    """Return the probes where they face a channel (from 0): outside the loop's middle, parallel to it."""
    angle = array.azimuth(channel)
    normal = np.array([np.cos(angle), np.sin(angle), 0.0])
    middle = (array.radius + pair.distance) * normal
    half = np.array([0.0, 0.0, 0.5 * decoupled_spacing(pair)])
    return circle(middle + half, normal, pair.radius), circle(middle - half, normal, pair.radius)


@lru_cache(maxsize=64)
def look_at(pair: ProbePair, array: LoopArray, channel: int | None) -> Sight:
    """Return what the probes see facing a channel (from 0), or far from everything (None)."""
    own = self_inductance(circle(np.zeros(3), np.array([1.0, 0.0, 0.0]), pair.radius), pair.wire_radius)
    # A round wire of radius w and skin depth d << w has rho l / (2 pi w d), d = sqrt(rho / (pi f mu0)).
    resistance = float(pair.radius / pair.wire_radius * np.sqrt(np.pi * MU_0 * COPPER_RESISTIVITY))
    matrix = own * np.array([[1.0, pair.residual], [pair.residual, 1.0]])
    loops = np.zeros((2, array.count))
    if channel is not None:
        for row, probe in enumerate(probe_filaments(pair, array, channel)):
            loops[row] = [mutual_inductance(probe, array.filament(loop)) for loop in range(array.count)]
    return Sight(matrix, resistance, loops)


@lru_cache(maxsize=64)
def sphere_overlaps(pair: ProbePair, array: LoopArray, channel: int, radius: float) -> tuple[Real, Real]:
    """Return how much probes and loops share of each multipole of a sphere's field, T^2 m^3 / A^2.

    Returns
    -------
    Between probes, shape (MULTIPOLES, 2, 2), and from probes to loops, shape (MULTIPOLES, 2, loop).
    """
    filaments = [*probe_filaments(pair, array, channel), *map(array.filament, range(array.count))]

    def radial_fields(points: Real) -> Complex:
        return np.stack(
            [np.sum(magnetic_field(one, points) * points, axis=1) / radius + 0j for one in filaments], axis=1
        )

    surface = project(radial_fields, np.zeros(3), radius, MULTIPOLES)
    degree = degrees(MULTIPOLES)
    shared = np.zeros((MULTIPOLES, 2, len(filaments)))
    for multipole in range(1, MULTIPOLES + 1):
        part = surface[:, degree == multipole]
        # As in `sample.multipole_overlaps`; real, because the fields are.
        shared[multipole - 1] = (part[:2] @ part.conj().T).real * radius**3 / multipole**2
    return shared[:, :, :2], shared[:, :, 2:]


def probe_impedance(
    pair: ProbePair, array: LoopArray, channel: int | None, load: Load | None, frequencies: Real
) -> ProbeImpedance:
    """Return the probes' impedances among themselves and to the array, facing ``channel`` (from 0) or none.

    Parameters
    ----------
    frequencies
        Shape (frequency,), Hz.
    """
    sight = look_at(pair, array, channel)
    omega = 2j * np.pi * frequencies[:, None, None]
    own = omega * sight.own + (sight.resistance * np.sqrt(frequencies))[:, None, None] * np.eye(2)
    loops = omega * sight.loops
    if channel is not None and load is not None:
        answers = multipole_answers(load, frequencies)
        between, across = sphere_overlaps(pair, array, channel, load.radius)
        own = own + np.einsum("lf,lij->fij", answers, between)
        loops = loops + np.einsum("lf,lij->fij", answers, across)
    return ProbeImpedance(np.asarray(own, dtype=np.complex128), np.asarray(loops, dtype=np.complex128))


def add_probes(
    scattering: Complex, currents: Complex, admittance: Complex, probes: ProbeImpedance
) -> Complex:
    """Return the S-matrix of array and probes; the probes' two ports come last.

    Parameters
    ----------
    scattering, currents
        Of the array alone: shape (frequency, port, port), and loop current per incident wave, shape
        (frequency, loop, port).
    admittance
        Loop currents per emf with all ports terminated, S, shape (frequency, loop, loop).
    probes
        Their impedances.

    Notes
    -----
    With T the currents and Y the admittance, an emf e in the loops drives I = T a + Y e and sends
    b = S a - T^T e / 2. The probes' currents J put e = -Z^T J into the loops, and in their own rings
    (Z_pp + Z0) J + Z I = -2 sqrt(Z0) a_p, b_p = a_p + sqrt(Z0) J.
    """
    z = probes.loops
    seen = z @ currents
    ring = probes.own + Z0 * np.eye(2) - z @ admittance @ z.swapaxes(1, 2)
    inverse = np.linalg.inv(ring)
    back = -np.sqrt(Z0) * inverse @ seen
    corner = np.eye(2) - 2.0 * Z0 * inverse
    array = scattering - 0.5 * seen.swapaxes(1, 2) @ inverse @ seen
    top = np.concatenate((array, back.swapaxes(1, 2)), axis=2)
    return np.asarray(np.concatenate((top, np.concatenate((back, corner), axis=2)), axis=1))
