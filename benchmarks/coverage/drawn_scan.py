"""A phantom scan in which everything that can be wrong is a little wrong, in closed form.

Another forward model than the reconstruction's: Biot-Savart fields of loops, expanded in harmonics about
every ball, and the exact transforms of those (``hil_fixtures.physics.kspace``); no grid, no NUFFT.

Every seed draws another array (size, coupling, gains, noise correlation: B1-), another transmit field
(reference voltage and each compartment's own: B1+), T1 and T2* of every material, what the references
really contain, where the phantom lies and how it is turned, where each vial sits in it, a drifting gain, the
frequency (of the whole and of every compartment), the gradients' delay, and receiver noise. Directions are
left out in every scan: half of what the phantom asks for is played.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hil_fixtures.physics.geometry import LoopArray
from hil_fixtures.physics.harmonics import project
from hil_fixtures.physics.kspace import BODY_DEGREE, VIAL_DEGREE, Ball, Spokes, receive_field, spoke_signals
from hil_fixtures.physics.phantom import Compartment
from hil_fixtures.physics.spins import steady_state, transverse_decay

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

#: Golden means: Chan et al., Magn Reson Med 61:354 (2009).
_GOLDEN = (0.4655712318767680, 0.6823278038280193)


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations of what is drawn; relative unless a unit is named.

    Parameters
    ----------
    t1, t2_star
        Of every material.
    preparation
        Of the references' concentrations.
    flip, flip_own
        Of the flip angle: common, and of every compartment besides.
    shift, turn
        Of the phantom, m and rad per axis.
    seat
        Of every vial in the phantom, m per axis.
    gain_drift
        Change of the receive gain over the scan.
    frequency, frequency_own
        Offset in Hz: common, and of every compartment besides (shim, susceptibility).
    delay
        Of the gradients against the receivers in s, after its calibration.
    noise
        Standard deviation of a sample's real part, relative to the largest sample.
    """

    t1: float = 0.03
    t2_star: float = 0.05
    preparation: float = 0.01
    flip: float = 0.03
    flip_own: float = 0.02
    shift: float = 2e-3
    turn: float = 0.035
    seat: float = 0.3e-3
    gain_drift: float = 0.01
    frequency: float = 5.0
    frequency_own: float = 5.0
    delay: float = 0.2e-6
    noise: float = 2.8e-3

    def only(self, *names: str) -> Spread:
        """Return the same with nothing drawn but ``names`` and noise (which ``draw_scan`` switches off).

        Raises
        ------
        ValueError
            There is no source of that name.
        """
        known = [one.name for one in fields(self)]
        if unknown := set(names) - set(known):
            raise ValueError(f"sources are {', '.join(known)}; got {', '.join(sorted(unknown))}")
        return replace(self, **dict.fromkeys(set(known) - {*names, "noise"}, 0.0))


def _saline(name: str, place: tuple[float, float, float], radius: float, amount: float) -> Compartment:
    return Compartment(name, place, radius, amount, 55e-3, 50e-3, 50e-3, 0.0, "reference")


#: A bath with four references and three unknowns; A is so large that its core misses only 3 %.
#: No mirror image of it is itself. Relaxation times as published for saline and agar of 4 to 5 %.
COMPARTMENTS: tuple[Compartment, ...] = (
    Compartment("bath", (0.0, 0.0, 0.0), 0.080, 40.0, 55e-3, 50e-3, 50e-3, 0.0, "background"),
    _saline("saline 20", (0.050, 0.006, -0.012), 0.015, 20.0),
    _saline("saline 70", (-0.012, 0.050, 0.008), 0.015, 70.0),
    _saline("saline 100", (-0.050, -0.010, 0.006), 0.015, 100.0),
    _saline("saline 145", (0.008, -0.046, -0.020), 0.015, 145.0),
    Compartment("saline A", (0.0, 0.0, 0.0), 0.023, 60.0, 55e-3, 50e-3, 50e-3, 0.0, "check"),
    Compartment("agar B", (-0.006, 0.012, -0.050), 0.015, 50.0, 40e-3, 8e-3, 27e-3, 0.6, "check"),
    Compartment("agar C", (0.012, -0.010, 0.051), 0.013, 80.0, 38e-3, 5e-3, 20e-3, 0.6, "check"),
)


def _large(name: str, place: tuple[float, float, float], amount: float, *, gel: bool = False) -> Compartment:
    if gel:
        return Compartment(name, place, 0.0230, amount, 40e-3, 8e-3, 27e-3, 0.6, "check")
    role = "reference" if name != "saline A" else "check"
    return Compartment(name, place, 0.0215, amount, 55e-3, 50e-3, 50e-3, 0.0, role)


#: Vials so large that cores of two voxels and more lie 1.5 widths of the point spread from every wall.
LARGE_VIALS: tuple[Compartment, ...] = (
    COMPARTMENTS[0],
    _large("saline 20", (0.051, 0.006, -0.005), 20.0),
    _large("saline 70", (-0.006, 0.051, 0.006), 70.0),
    _large("saline 145", (-0.051, -0.008, 0.004), 145.0),
    _large("saline A", (0.008, -0.051, -0.007), 60.0),
    _large("agar B", (-0.004, 0.006, -0.052), 50.0, gel=True),
    _large("agar C", (0.006, -0.005, 0.052), 80.0, gel=True),
)
#: Concentrations of the unknown vials are drawn between these, mmol/L.
_UNKNOWN = (30.0, 150.0)


@dataclass(frozen=True)
class Design:
    """What is played and received: the same in every scan.

    Parameters
    ----------
    matrix, fov
        Of the cube that is reconstructed; m.
    spokes, samples, channels
        Counts.
    duration, echo_time, repetition_time
        s.
    spread
        What is drawn.
    contents
        The bath, then every vial, as described.
    stream
        Sets the random numbers of this design apart from another's with the same seeds.
    """

    matrix: int = 32
    fov: float = 0.2
    spokes: int = 1000
    samples: int = 64
    channels: int = 6
    duration: float = 5e-3
    echo_time: float = 0.2e-3
    repetition_time: float = 0.1
    flip_angle: float = np.pi / 2
    noise_windows: int = 32
    spread: Spread = field(default_factory=Spread)
    contents: tuple[Compartment, ...] = COMPARTMENTS
    stream: int = 20

    @classmethod
    def large(cls, spread: Spread | None = None) -> Design:
        """Return a scan of 5 mm voxels of the phantom with large vials, by the same share of the spokes."""
        return cls(
            matrix=36,
            fov=0.18,
            spokes=1550,
            samples=72,
            duration=2e-3,
            spread=spread or Spread(),
            contents=LARGE_VIALS,
            stream=21,
        )

    @property
    def dwell_time(self) -> float:
        """Time between samples in s."""
        return self.duration / self.samples

    @cached_property
    def times(self) -> Real:
        """Sample times in s after the pulse."""
        return self.echo_time + np.arange(self.samples) * self.dwell_time

    @cached_property
    def radii(self) -> Real:
        """|k| of the samples in 1/m, as planned."""
        return self.radius(self.times)

    def radius(self, times: Real) -> Real:
        """|k| in 1/m: even to half the end, then of equal density (Nagel 2009, eq 6)."""
        limit, since = 0.5 * self.matrix / self.fov, np.maximum(times - self.echo_time, 0.0)
        k0 = 0.5 * limit
        speed = (k0 + (limit**3 - k0**3) / (3 * k0**2)) / (self.times[-1] - self.echo_time)
        t0 = k0 / speed
        outer = np.cbrt(np.maximum(3 * k0**2 * speed * (since - t0) + k0**3, 0.0))
        return np.where(since < t0, speed * since, outer)

    @cached_property
    def directions(self) -> Real:
        """Unit vectors, shape (spoke, 3)."""
        number = np.arange(self.spokes)
        z = 2 * ((number * _GOLDEN[0]) % 1) - 1
        azimuth = 2 * np.pi * ((number * _GOLDEN[1]) % 1)
        rho = np.sqrt(1 - z**2)
        return np.stack([rho * np.cos(azimuth), rho * np.sin(azimuth), z], axis=-1)

    @property
    def trajectory(self) -> NDArray[np.float32]:
        """Shape (spoke, sample, 3), 1/m."""
        return (self.directions[:, None, :] * self.radii[None, :, None]).astype(np.float32)


@dataclass(frozen=True)
class DrawnScan:
    """One scan and the truth about it.

    Parameters
    ----------
    samples
        complex64, shape (channel, spoke, sample).
    noise
        Pre-scan without pulses, complex64, shape (channel, window, sample).
    concentrations
        Of all vials in mmol/L, shape (vial,).
    places
        Of all vials in m, shape (vial, 3).
    """

    samples: NDArray[np.complex64]
    noise: NDArray[np.complex64]
    concentrations: Real
    places: Real


def draw_scan(design: Design, seed: int, *, noise: bool = True) -> DrawnScan:
    """Return the scan of one seed; with ``noise`` False the same without receiver noise."""
    random = np.random.default_rng([seed, design.stream])
    contents, flips, places = _draw_phantom(design, random)
    signal = _signal(design, contents, flips, random)
    drift = 1 + design.spread.gain_drift * random.standard_normal() * np.linspace(-0.5, 0.5, design.spokes)
    signal *= drift[:, None, None]
    root = _noise_root(design.channels, random)
    level = design.spread.noise * float(np.abs(signal).max())
    windows = level * _white(root, (design.noise_windows, 256), random)
    samples = np.moveaxis(signal, 1, 0)
    if noise:
        samples = samples + level * _white(root, samples.shape[1:], random)
    amounts = np.array([inside.concentration_mmol_l for inside in contents[1:]])
    return DrawnScan(samples.astype(np.complex64), windows, amounts, places)


def _draw_phantom(design: Design, random: np.random.Generator) -> tuple[tuple[Compartment, ...], Real, Real]:
    """Return what is really in the array: contents, flip angle of each, places of the vials."""
    spread = design.spread
    errors: dict[tuple[float, float], tuple[float, float]] = {}
    turn = Rotation.from_rotvec(spread.turn * random.standard_normal(3))
    shift = spread.shift * random.standard_normal(3)
    contents, places = [], []
    for inside in design.contents:
        key = (inside.t1, inside.t2_long)
        if key not in errors:
            t1, t2 = random.standard_normal(2)
            errors[key] = (1 + spread.t1 * t1, 1 + spread.t2_star * t2)
        t1_error, t2_error = errors[key]
        amount = inside.concentration_mmol_l
        if inside.role == "reference":
            amount *= 1 + spread.preparation * random.standard_normal()
        elif inside.role == "check":
            amount = random.uniform(*_UNKNOWN)
        place = turn.apply(np.array(inside.position_m)) + shift
        if inside.role != "background":
            place = place + spread.seat * random.standard_normal(3)
            places.append(place)
        contents.append(
            Compartment(
                inside.name,
                (float(place[0]), float(place[1]), float(place[2])),
                inside.radius_m,
                float(amount),
                inside.t1 * t1_error,
                inside.t2_short * t2_error,
                inside.t2_long * t2_error,
                inside.short_fraction,
                inside.role,
            )
        )
    common = 1 + spread.flip * random.standard_normal()
    flips = design.flip_angle * common * (1 + spread.flip_own * random.standard_normal(len(contents)))
    return tuple(contents), flips, np.array(places)


def _signal(
    design: Design, contents: tuple[Compartment, ...], flips: Real, random: np.random.Generator
) -> Complex:
    """Return the noise-free samples, shape (spoke, channel, sample)."""
    array = LoopArray(
        design.channels,
        radius=0.125 + 0.004 * random.standard_normal(),
        height=0.16 + 0.006 * random.standard_normal(),
        width=0.14,
        strip_width=5e-3,
    )

    def fields(points: Real) -> Complex:
        return np.stack([receive_field(array, loop, points) for loop in range(array.count)], axis=1)

    balls = []
    for place, inside in enumerate(contents):
        degree, margin = (BODY_DEGREE, 24) if place == 0 else (VIAL_DEGREE, 4)
        centre = np.array(inside.position_m)
        balls.append(Ball(inside, project(fields, centre, inside.radius_m, degree, margin), degree))
    mixing = np.eye(array.count) + 0.08 * _complex(random, (array.count, array.count))
    gains = np.exp(0.1 * random.standard_normal(array.count) + 2j * np.pi * random.random(array.count))
    weights = _weights(design, contents, flips, random)
    radii = design.radius(design.times - design.spread.delay * random.standard_normal())
    total = np.zeros((design.spokes, design.channels, design.samples), dtype=np.complex128)
    unit = np.ones((1, design.samples))
    for ball, weight in zip(balls, weights, strict=True):
        spokes = Spokes(radii, unit, (ball.tables(radii),))
        total += weight * spoke_signals([ball], gains[:, None] * mixing, spokes, design.directions)
    return total


def _weights(
    design: Design, contents: tuple[Compartment, ...], flips: Real, random: np.random.Generator
) -> Complex:
    """Return the signal per volume of every ball at every sample; a vial's less the bath's it displaces."""
    common = design.spread.frequency * random.standard_normal()
    offsets = common + design.spread.frequency_own * random.standard_normal(len(contents))
    weights = np.stack(
        [
            inside.concentration_mmol_l
            * steady_state(float(flip), design.repetition_time, inside.t1)
            * transverse_decay(inside, design.times)
            * np.exp(2j * np.pi * offset * design.times)
            for inside, flip, offset in zip(contents, flips, offsets, strict=True)
        ]
    )
    weights[1:] -= weights[0]
    return weights


def _noise_root(channels: int, random: np.random.Generator) -> Complex:
    """Return a root of the noise covariance: correlated and unequal channels, mean variance 1 per part."""
    root = np.eye(channels) + 0.15 * _complex(random, (channels, channels))
    root = root * np.exp(0.15 * random.standard_normal(channels))[:, None]
    return root / np.sqrt(np.mean(np.sum(np.abs(root) ** 2, axis=1)))


def _white(root: Complex, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.complex64]:
    parts = random.standard_normal((root.shape[0], *shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    mixed = root.astype(np.complex64) @ parts.reshape(root.shape[0], -1)
    return mixed.reshape(root.shape[0], *shape)


def _complex(random: np.random.Generator, shape: tuple[int, ...]) -> Complex:
    return (random.standard_normal(shape) + 1j * random.standard_normal(shape)) / np.sqrt(2.0)
