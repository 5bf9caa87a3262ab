"""Arrays around a conducting ball of sodium: what each puts out, signal and noise, from one day to the next.

Nothing here comes of the reconstruction: fields by Biot and Savart, losses of a sphere and k-space in closed
form, noise by Bosma's theorem (`hil_fixtures.physics`). What differs between days:

- the phantom lies elsewhere in the coil (1.5 mm along every axis, turned by 2 degrees), and coil and phantom
  elsewhere on the table (2 mm, 2 degrees); all standard deviations,
- loading: conductivity by 10 %, which changes noise, its correlation, and sensitivities,
- temperature by 3 K, concentration or flip angle by 5 %, one global phase.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from coilbench.base.nuclei import nucleus
from hil_fixtures.physics import kspace, noise
from hil_fixtures.physics.harmonics import degrees, project
from hil_fixtures.physics.magnetics import Filament, magnetic_field
from hil_fixtures.physics.network import Z0
from hil_fixtures.physics.phantom import DEFAULT_PHANTOM
from hil_fixtures.physics.sample import MULTIPOLES, Load, multipole_answers
from hil_fixtures.physics.shot import Shot
from hil_fixtures.physics.world import World, WorldSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

#: T; K; S/m and relative permittivity of the ball as the coils feel it.
FIELD: Final = 3.0
TEMPERATURE: Final = 293.15
CONDUCTIVITY: Final = 0.6
PERMITTIVITY: Final = 78.0
#: Quadrature nodes of a drawn loop: 28 mm and more from the ball, three times their spacing.
_NODES: Final = 48
#: Degrees of the fields in the ball and its vials: each truncated field is a field, too.
_DEGREES: Final = (12, 3)
#: s: sample interval; start of the spoke after the pulse; repetition.
DWELL: Final = 40e-6
ECHO_TIME: Final = 0.3e-3
REPETITION_TIME: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Spokes:
    """Where a scan samples k-space.

    Parameters
    ----------
    directions
        Unit vectors, shape (spoke, 3).
    radii
        1/m, shape (sample,).
    """

    directions: NDArray[np.float64]
    radii: NDArray[np.float64]

    @property
    def positions(self) -> NDArray[np.float64]:
        """Places in k-space in 1/m, shape (spoke, sample, 3)."""
        return self.directions[:, None, :] * self.radii[None, :, None]


class PhantomArray(Protocol):
    """What a scan needs of an array."""

    @property
    def channels(self) -> int:
        """Number of loops."""

    def emit(
        self, spokes: Spokes, random: np.random.Generator
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Return noise covariance (channel, channel) and signal (channel, spoke, sample) of another day."""


class SolderedArray:
    """Equal loops on a cylinder, neighbours decoupled by overlap, tuned and matched: |rho| about 0.03."""

    def __init__(self, channels: int, seed: int) -> None:
        self.channels = channels
        self._world = World.tuned(seed, WorldSettings(channels=channels))

    def emit(
        self, spokes: Spokes, random: np.random.Generator
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Return noise covariance and signal of another day."""
        world, settings = self._world, self._world.settings
        world.set_load(CONDUCTIVITY * (1 + 0.1 * random.standard_normal()))
        kelvin = TEMPERATURE + 3.0 * random.standard_normal()
        chain = world.receive_chain(world.spin_frequency)
        ports = slice(0, self.channels)
        scattering = world.scattering(np.array([world.spin_frequency]))[0, ports, ports]
        density = noise.wave_density(scattering, kelvin, settings.noise_figure_db)
        covariance = noise.sample_covariance(density, settings.preamp_gain_db, DWELL) / (2 * Z0)
        array = world.circuit.array

        def fields(points: NDArray[np.float64]) -> NDArray[np.complex128]:
            return np.stack(
                [kspace.receive_field(array, loop, points) for loop in range(array.count)], axis=1
            )

        return covariance, _signal(fields, chain.volts_per_flux(), spokes, _pose(random), kelvin, random)


class DrawnArray:
    """Round loops of unequal size at uneven places, coupled, behind amplifiers of unequal gain.

    Half of them lie on a sphere like a helmet, half on a cylinder. What is drawn: places (each the farthest
    from all others out of 20), sizes by 15 %, tilts of 5 degrees, copper losses of 0.2 to 2 of the sample's,
    couplings that leave noise correlated by 0.1 to 0.2 on average and 0.5 at most, gains up to a factor of
    1.7 apart.
    """

    def __init__(self, channels: int, random: np.random.Generator) -> None:
        self.channels = channels
        places, outward = _places(channels, random)
        apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 10 * np.eye(channels)
        # Roemer et al., Magn Reson Med 16:192 (1990): round loops 1.5 radii apart do not couple
        usual = float(np.median(apart.min(axis=1))) / 1.5 * random.uniform(0.9, 1.25)
        radii = np.clip(usual * random.uniform(0.85, 1.15, channels), 0.02, 0.07)
        tilt = Rotation.from_rotvec(np.radians(5) * random.standard_normal((channels, 3)))
        self._filaments = [
            _round_loop(*loop) for loop in zip(places, tilt.apply(outward), radii, strict=True)
        ]
        sample = self._resistance(np.zeros(3), CONDUCTIVITY)
        self._copper = np.diag(sample) * np.clip(random.uniform(0.2, 2.0) * random.uniform(0.7, 1.4), 0.2, 2)
        drawn = np.triu(random.standard_normal((channels, channels)), 1)
        coupling = random.uniform(0, 0.2) * (drawn + drawn.T) * np.minimum(1, (2 * usual / apart) ** 3)
        gains = np.exp(random.uniform(-0.5, 0.5, channels) * np.log(1.7))
        # a residual reactance lets a part of each loop's current flow in the others
        self._mixing = gains[:, None] * (np.eye(channels) + 1j * coupling)
        self._mixing *= 1 / np.sqrt(np.diag(sample) + self._copper)

    def emit(
        self, spokes: Spokes, random: np.random.Generator
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Return noise covariance and signal of another day."""
        kelvin = TEMPERATURE + 3.0 * random.standard_normal()
        conductivity = CONDUCTIVITY * (1 + 0.1 * random.standard_normal())
        pose = _pose(random)
        covariance = kelvin / TEMPERATURE * self.covariance(pose[0], conductivity)

        def fields(points: NDArray[np.float64]) -> NDArray[np.complex128]:
            field = [magnetic_field(filament, points) for filament in self._filaments]
            return np.stack([one[:, 0] + 1j * one[:, 1] for one in field], axis=1)

        return covariance, _signal(fields, self._mixing, spokes, pose, kelvin, random)

    def covariance(
        self, place: NDArray[np.float64], conductivity: float = CONDUCTIVITY
    ) -> NDArray[np.complex128]:
        """Return the noise covariance with the phantom at ``place`` (m), in units of one loop's power."""
        resistance = self._resistance(place, conductivity) + np.diag(self._copper)
        return np.asarray(2 * self._mixing @ resistance @ self._mixing.conj().T)

    def _resistance(self, place: NDArray[np.float64], conductivity: float) -> NDArray[np.float64]:
        """Return what a ball at ``place`` adds to the loops' resistances in ohm (`physics.sample`)."""
        radius = DEFAULT_PHANTOM.radius_m

        def radial(points: NDArray[np.float64]) -> NDArray[np.complex128]:
            unit = (points - place) / radius
            field = [np.sum(magnetic_field(one, points) * unit, axis=1) for one in self._filaments]
            return np.stack(field, axis=1).astype(np.complex128)

        surface = project(radial, place, radius, MULTIPOLES)[:, 1:]
        degree = degrees(MULTIPOLES)[1:]
        frequency = np.array([nucleus("23Na").larmor_frequency(FIELD)])
        answers = multipole_answers(Load(radius, conductivity, PERMITTIVITY), frequency)[:, 0].real
        weight = answers[degree.astype(np.intp) - 1] * radius**3 / degree**2
        return np.asarray(np.real((surface * weight) @ surface.conj().T), dtype=np.float64)


def _places(channels: int, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centres in m of loops around the phantom and their outward normals, shape (channel, 3)."""
    distance, helmet = random.uniform(0.108, 0.13), random.random() < 0.5
    places: list[NDArray[np.float64]] = []
    while len(places) < channels:
        turn = random.uniform(0, 2 * np.pi, 20)
        height = random.uniform(-0.8, 0.8, 20) if helmet else random.uniform(-0.5, 0.5, 20)
        across = np.sqrt(1 - height**2) if helmet else np.ones(20)
        tried = distance * np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)
        if not places:
            places.append(tried[0])
            continue
        gap = np.linalg.norm(tried[:, None] - np.array(places)[None], axis=2).min(axis=1)
        places.append(tried[int(np.argmax(gap))])
    found = np.array(places)
    outward = found * (1.0 if helmet else np.array([1.0, 1.0, 0.0])) / distance
    return found, outward


def _round_loop(place: NDArray[np.float64], outward: NDArray[np.float64], radius: float) -> Filament:
    first = np.cross(outward, np.eye(3)[int(np.argmin(np.abs(outward)))])
    first /= np.linalg.norm(first)
    second = np.cross(outward, first)
    angle = 2 * np.pi * np.arange(_NODES)[:, None] / _NODES
    points = place + radius * (np.cos(angle) * first + np.sin(angle) * second)
    tangent = np.cos(angle) * second - np.sin(angle) * first
    return Filament(points, tangent * 2 * np.pi * radius / _NODES)


def _pose(random: np.random.Generator) -> tuple[NDArray[np.float64], Rotation]:
    """Return where the phantom lies in the coil that day: shift in m and turn."""
    return 1.5e-3 * random.standard_normal(3), Rotation.from_rotvec(np.radians(2) * random.standard_normal(3))


def _signal(
    fields: Callable[[NDArray[np.float64]], NDArray[np.complex128]],
    receive: NDArray[np.complex128],
    spokes: Spokes,
    pose: tuple[NDArray[np.float64], Rotation],
    kelvin: float,
    random: np.random.Generator,
) -> NDArray[np.complex128]:
    """Return the spokes' samples, shape (channel, spoke, sample), of the phantom as it lies that day."""
    place, turn = pose
    phantom = DEFAULT_PHANTOM
    content = []
    for part in (phantom.background, *phantom.vials):
        degree = _DEGREES[part is not phantom.background]
        centre = turn.apply(np.array(part.position_m)) + place
        x, y, z = (float(value) for value in centre)
        moved = replace(part, position_m=(x, y, z))
        content.append(kspace.Ball(moved, project(fields, centre, part.radius_m, degree, margin=4), degree))
    shot = Shot(
        0, 0.0, 0.0, np.pi / 2, -ECHO_TIME, 0.2e-3, REPETITION_TIME, np.array([0.0, 0.0, 1.0]),
        np.arange(spokes.radii.size) * DWELL, spokes.radii,
    )  # fmt: skip
    prepared = kspace.prepare(content, shot, shot.k_times, nucleus("23Na"), FIELD, kelvin)
    table = Rotation.from_rotvec(np.radians(2) * random.standard_normal(3))
    clean = kspace.spoke_signals(content, receive, prepared, table.inv().apply(spokes.directions))
    shift = np.exp(-2j * np.pi * (spokes.positions @ (2e-3 * random.standard_normal(3))))
    strength = (1 + 0.05 * random.standard_normal()) * np.exp(2j * np.pi * random.random())
    return np.asarray(np.moveaxis(clean, 1, 0) * shift * strength)
