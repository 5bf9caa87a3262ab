"""Simulated phantom scans of healthy and faulty arrays, for judging who finds which fault.

Signal and noise come of `hil_fixtures.physics` (wire loops around a conducting sphere, k-space in closed
form, noise by Bosma's theorem), never of the reconstruction. What differs between healthy scans of an array:

- the phantom lies elsewhere in the coil, and coil and phantom elsewhere on the table (deviations of 1.5 and
  2 mm along every axis),
- loading: conductivity by 10 %, which changes S, hence noise, its correlation, and sensitivities,
- temperature of coil and phantom by 3 K, common gain by 0.3 dB, each channel's by 0.1 dB and 3° of phase,
- concentration or flip angle: signal by 5 %; one global phase; noise of scan and noise scan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from coilbench.base.nuclei import nucleus
from hil_fixtures.physics import kspace, noise
from hil_fixtures.physics.harmonics import project
from hil_fixtures.physics.network import Z0
from hil_fixtures.physics.shot import Shot
from hil_fixtures.physics.world import World, WorldSettings
from recon.channel_health import channel_health
from recon.density import spoke_weights
from recon.fingerprint import array_fingerprint, coarse_regions
from recon.grid import Grid
from recon.noise import noise_model
from recon.nufft import NonUniformTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.channel_health import ArrayHealth
    from recon.fingerprint import ArrayFingerprint

Fault = Literal["healthy", "dead", "noisy", "swapped", "sign-flipped", "mis-scaled", "detuned"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)

#: What is drawn for each fault in dB, from the detectable size on: how far noise, gain or signal change.
SEVERITY: Final[dict[str, tuple[float, float]]] = {
    "dead": (3.0, 20.0),  # noise below that of a sound channel
    "noisy": (3.0, 12.0),
    "mis-scaled": (3.0, 12.0),
    "detuned": (4.0, 10.0),
}
#: Arrays that scans are drawn from: channels of each.
ARRAYS: Final = (4, 6, 8, 8, 12, 16)
#: Matrix, m of field of view, spokes, samples of a spoke, noise samples of a channel.
MATRIX: Final = 20
FIELD_OF_VIEW: Final = 0.22
SPOKES: Final = 400
SAMPLES: Final = 40
NOISE_SAMPLES: Final = 10_000
#: s: sample interval; start of the spoke after the pulse; repetition.
DWELL: Final = 40e-6
ECHO_TIME: Final = 0.3e-3
REPETITION_TIME: Final = 0.1


@dataclass(frozen=True, slots=True)
class Question:
    """One scan: which seed, and what is wrong with the array."""

    fault: Fault
    seed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said of one scan.

    Parameters
    ----------
    question
        The scan.
    channels
        Of the array.
    faulty
        Channels that have the fault, counted from 1.
    severity
        dB; 0 where a fault has no size.
    found
        Channel and cause of every finding.
    texts
        The findings in words.
    """

    question: Question
    channels: int
    faulty: tuple[int, ...]
    severity: float
    found: tuple[tuple[int, str], ...]
    texts: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether exactly the faulty channels were named, with the right cause."""
        return set(self.found) == {(channel, self.question.fault) for channel in self.faulty}


def run(question: Question) -> Answer:
    """Scan one array of the pool, sound and with the fault, and judge the second by the first."""
    random = np.random.default_rng([question.seed, FAULTS.index(question.fault)])
    bench = _bench(int(random.integers(len(ARRAYS))))
    faulty, severity, matrix, own = _draw_fault(question.fault, bench.channels, random)
    health = bench.judge(random, matrix, own)
    return Answer(
        question,
        bench.channels,
        faulty,
        severity,
        tuple((finding.channel, finding.cause) for finding in health.findings),
        tuple(finding.text for finding in health.findings),
    )


def _draw_fault(
    fault: Fault, channels: int, random: np.random.Generator
) -> tuple[tuple[int, ...], float, NDArray[np.complex128], NDArray[np.float64]]:
    """Return faulty channels, size in dB, what mixes the samples, and each channel's own noise.

    The own noise is in units of the channel's sound noise.
    """
    mixing, own = np.eye(channels, dtype=np.complex128), np.zeros(channels)
    one, other = (int(index) for index in random.choice(channels, 2, replace=False))
    size = float(random.uniform(*SEVERITY[fault])) if fault in SEVERITY else 0.0
    if fault == "healthy":
        return (), 0.0, mixing, own
    if fault == "swapped":
        mixing[[one, other]] = mixing[[other, one]]
        return (one + 1, other + 1), size, mixing, own
    if fault == "sign-flipped":
        mixing[one, one] = -1.0
    elif fault == "mis-scaled":
        mixing[one, one] = 10 ** (float(random.choice([-size, size])) / 20)
    elif fault == "noisy":
        own[one] = np.sqrt(10 ** (size / 10) - 1)
    elif fault == "dead":
        mixing[one, one] = 0.0
        own[one] = 0.0 if random.random() < 0.1 else 10 ** (-size / 20)
    else:  # detuned: the coil's share falls, a mismatched port hands on as much noise of its own
        mixing[one, one] = 10 ** (-size / 20)
        own[one] = np.sqrt(1 - 10 ** (-size / 10))
    return (one + 1,), size, mixing, own


@lru_cache(maxsize=len(ARRAYS))
def _bench(number: int) -> Bench:
    return Bench(ARRAYS[number], number)


class Bench:
    """One array, tuned, with its baseline.

    Parameters
    ----------
    channels
        Loops.
    seed
        Of the array's parts and of the baseline.
    """

    def __init__(self, channels: int, seed: int) -> None:
        self.channels = channels
        self._world = World.tuned(seed, WorldSettings(channels=channels))
        load = self._world.load
        if load is None:
            raise ValueError("the world's phantom is missing")
        self._conductivity = load.conductivity
        self._grid = Grid.cube(MATRIX, FIELD_OF_VIEW)
        radii = self._grid.nyquist * np.linspace(0.0, 1.0, SAMPLES) ** (2 / 3)
        self._shot = Shot(
            0, 0.0, 0.0, np.pi / 2, -ECHO_TIME, 0.2e-3, REPETITION_TIME, np.array([0.0, 0.0, 1.0]),
            np.arange(SAMPLES) * DWELL, radii,
        )  # fmt: skip
        self._directions = _golden(SPOKES)
        self._positions = self._directions[:, None, :] * radii[None, :, None]
        weights = spoke_weights(radii) * (0.54 + 0.46 * np.cos(np.pi * radii / self._grid.nyquist)) / SPOKES
        self._weights = np.tile(weights, (SPOKES, 1)).astype(np.float32)
        self._transform = NonUniformTransform(self._grid, self._positions)
        guard = 1.5 * self._grid.resolution
        inside = self._grid.distances((0, 0, 0)) <= self._world.settings.phantom.radius_m - guard
        for vial in self._world.settings.phantom.vials:
            inside &= self._grid.distances(vial.position_m) >= vial.radius_m + 0.5 * guard
        self._regions = coarse_regions(inside)
        self._brightness = 1.0
        self._brightness = self._usual_brightness()
        self.baseline = self._scan(np.random.default_rng([seed, 999]), np.eye(channels), np.zeros(channels))

    def judge(
        self, random: np.random.Generator, mixing: NDArray[np.complex128], own: NDArray[np.float64]
    ) -> ArrayHealth:
        """Scan the array with a fault and hold it against its baseline."""
        return channel_health(self._scan(random, mixing, own), self.baseline)

    def _usual_brightness(self) -> float:
        """Return the factor on the signal that makes the strongest region's median channel SNR 20."""
        chain, signal, _ = self._emit(np.random.default_rng(0))
        images = self._grid_samples(signal)
        gain = float(np.linalg.norm(self._weights))
        sigma = np.sqrt(np.real(np.diagonal(chain)) / 2)[:, None]
        snr = np.abs(images[:, self._regions >= 0]) / sigma / gain
        return 20.0 / float(np.median(snr.max(axis=0)))

    def _emit(
        self, random: np.random.Generator
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128], float]:
        """Return noise covariance, signal (channel, spoke, sample) and common gain of a healthy scan."""
        world, settings = self._world, self._world.settings
        world.set_load(self._conductivity * (1 + 0.1 * random.standard_normal()))
        kelvin = settings.temperature + 3.0 * random.standard_normal()
        chain = world.receive_chain(world.spin_frequency)
        ports = slice(0, self.channels)
        scattering = world.scattering(np.array([world.spin_frequency]))[0, ports, ports]
        density = noise.wave_density(scattering, kelvin, settings.noise_figure_db)
        covariance = noise.sample_covariance(density, settings.preamp_gain_db, DWELL) / (2 * Z0)
        place = 1.5e-3 * random.standard_normal(3)
        spokes = kspace.prepare(
            balls := self._balls(place), self._shot, self._shot.k_times, nucleus("23Na"), settings.b0, kelvin
        )
        clean = kspace.spoke_signals(balls, chain.volts_per_flux(), spokes, self._directions)
        table = np.exp(-2j * np.pi * (self._positions @ (2e-3 * random.standard_normal(3))))
        strength = (1 + 0.05 * random.standard_normal()) * np.exp(2j * np.pi * random.random())
        signal = np.moveaxis(clean, 1, 0) * table * strength * self._brightness
        return covariance, signal, float(10 ** (0.3 * random.standard_normal() / 20))

    def _balls(self, place: NDArray[np.float64]) -> tuple[kspace.Ball, ...]:
        """Return the phantom and its vials shifted by ``place``, with every loop's field in them."""
        array = self._world.circuit.array

        def fields(points: NDArray[np.float64]) -> NDArray[np.complex128]:
            return np.stack(
                [kspace.receive_field(array, loop, points) for loop in range(array.count)], axis=1
            )

        phantom = self._world.settings.phantom
        result = []
        for part in (phantom.background, *phantom.vials):
            degree = 12 if part is phantom.background else 3
            centre = np.array(part.position_m) + place
            moved = replace(part, position_m=tuple(float(value) for value in centre))
            result.append(
                kspace.Ball(moved, project(fields, centre, part.radius_m, degree, margin=4), degree)
            )
        return tuple(result)

    def _scan(
        self, random: np.random.Generator, mixing: NDArray[np.complex128], own: NDArray[np.float64]
    ) -> ArrayFingerprint:
        """Return the fingerprint of one scan with its own noise scan."""
        covariance, signal, gain = self._emit(random)
        drift = 10 ** (0.1 * random.standard_normal(self.channels) / 20)
        drift = gain * drift * np.exp(1j * np.radians(3.0 * random.standard_normal(self.channels)))
        sound = np.sqrt(np.real(np.diagonal(covariance)) / 2)

        def received(samples: NDArray[np.complex128]) -> NDArray[np.complex64]:
            parts = random.standard_normal((2, *samples.shape))
            added = (parts[0] + 1j * parts[1]) * (own * sound)[:, None]
            return (drift[:, None] * (mixing @ samples + added)).astype(np.complex64)

        quiet = received(noise.draw(covariance, NOISE_SAMPLES + 8, random)[:, 8:])
        model = noise_model(quiet.reshape(self.channels, -1, 500), DWELL)
        heard = noise.draw(covariance, SPOKES * SAMPLES + 8, random)[:, 8:]
        samples = received(signal.reshape(self.channels, -1) + heard)
        images = self._grid_samples(samples.reshape(self.channels, SPOKES, SAMPLES))
        gain_of_image = float(np.linalg.norm(self._weights))
        return array_fingerprint(images, model, self._regions, noise_gain=gain_of_image)

    def _grid_samples(self, samples: NDArray[np.complex128]) -> NDArray[np.complex64]:
        return self._transform.adjoint((samples * self._weights).astype(np.complex64))


def _golden(count: int) -> NDArray[np.float64]:
    """Return directions by two-dimensional golden means: Chan et al., Magn Reson Med 61:354 (2009)."""
    number = np.arange(count)
    z = 2 * ((number * 0.4655712318767680) % 1) - 1
    azimuth = 2 * np.pi * ((number * 0.6823278038280193) % 1)
    rho = np.sqrt(1 - z**2)
    return np.stack([rho * np.cos(azimuth), rho * np.sin(azimuth), z], axis=-1)
