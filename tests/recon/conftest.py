"""An independent forward model: analytic k-space of balls seen by harmonic sensitivities.

Shares nothing with the reconstruction's operators. A sensitivity exp(q·r) with q·q = 0 is harmonic, and the
transform of a ball times exp(q·r) is the ball's transform at the complex frequency k + i q / 2 pi: exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from recon.grid import Grid
from recon.phantom import Material, Phantom, Tolerance, Vial
from recon.psf import RadialReadout
from recon.relaxation import Relaxation

MATRIX, FIELD_OF_VIEW = 32, 0.2
NYQUIST = MATRIX / (2 * FIELD_OF_VIEW)
SPOKES, SAMPLES, CHANNELS = 1500, 100, 8
DWELL, ECHO_TIME, REPETITION_TIME = 50e-6, 0.2e-3, 0.1
BODY_RADIUS, VIAL_RADIUS, BATH_CONCENTRATION = 0.08, 0.015, 50.0
CENTRES = (
    (0.0, 0.0, 0.0),
    *((0.047 * np.cos(a), 0.047 * np.sin(a), 0.0) for a in np.arange(6) * np.pi / 3),
)
CONCENTRATIONS = (20.0, 145.0, 100.0, 60.0, 80.0, 40.0, 120.0)
REFERENCES = (1, 2, 4)
SALINE = Relaxation(0.055, ((1.0, 0.050),))
GEL = Relaxation(0.040, ((0.6, 0.006), (0.4, 0.025)))
RELAXATIONS = (SALINE, SALINE, SALINE, SALINE, GEL, GEL, GEL)


def golden_directions(count: int) -> np.ndarray:
    """Two-dimensional golden means: Chan et al., Magn Reson Med 61:354 (2009)."""
    m = np.arange(count)
    z = 2 * ((m * 0.4655712318767680) % 1) - 1
    azimuth = 2 * np.pi * ((m * 0.6823278038280193) % 1)
    rho = np.sqrt(1 - z**2)
    return np.stack([rho * np.cos(azimuth), rho * np.sin(azimuth), z], axis=-1)


def density_adapted_radii(times: np.ndarray, limit: float) -> np.ndarray:
    """|k|(t): linear to half the limit, then equal sample density (Nagel, MRM 62:1565 (2009), eq 6).

    Half, so that 100 samples leave the centre in steps of 1.3 1/m; the default scan's 500 take 0.7.
    """
    k0 = 0.5 * limit
    end = times[-1]
    # The linear part takes t0 = k0 / v, the rest (limit³ - k0³) / (3 k0² v).
    speed = (k0 + (limit**3 - k0**3) / (3 * k0**2)) / end
    t0 = k0 / speed
    return np.where(times < t0, speed * times, np.cbrt(3 * k0**2 * speed * (times - t0) + k0**3))


def ball_transform(k: np.ndarray, radius: float) -> np.ndarray:
    """Transform of a ball of ones at complex frequency vectors k, (..., 3)."""
    squared = (2 * np.pi * radius) ** 2 * np.einsum("...i,...i->...", k, k).astype(np.complex128)
    z = np.sqrt(squared)
    small = np.abs(z) < 1e-2
    safe = np.where(small, 1.0, z)
    shape = np.where(small, 1 / 3 - squared / 30, (np.sin(safe) - safe * np.cos(safe)) / safe**3)
    return 4 * np.pi * radius**3 * shape


def channel_terms(channel: int) -> list[tuple[complex, np.ndarray]]:
    """Amplitudes and exponents of one channel's sensitivity: strong on its own side of the cylinder."""
    angle = 2 * np.pi * channel / CHANNELS
    radial = np.array([np.cos(angle), np.sin(angle), 0.0])
    tangential = np.array([-np.sin(angle), np.cos(angle), 0.0])
    axial = np.array([0.0, 0.0, 1.0])
    phase = np.exp(1j * 1.3 * angle)
    return [(0.6 * phase, 14 * (radial + 1j * tangential)), (0.4 * phase, 14 * (radial + 1j * axial))]


def sensitivity(channel: int, positions: np.ndarray) -> np.ndarray:
    return sum(a * np.exp(positions @ q) for a, q in channel_terms(channel))


def spectrum(k: np.ndarray, balls, channels=(0,)) -> np.ndarray:
    """Exact k-space at k (..., 3) of balls (centre, radius, amplitude) seen by channels, (channel, ...)."""
    signals = np.zeros((len(channels), *k.shape[:-1]), complex)
    for index, channel in enumerate(channels):
        for amplitude, q in [(1.0, np.zeros(3))] if channel is None else channel_terms(channel):
            for centre, radius, content in balls:
                shift = np.exp(-2j * np.pi * (k @ np.array(centre)) + np.array(centre) @ q)
                ball = ball_transform(k + 1j * q / (2 * np.pi), radius)
                signals[index] += amplitude * content * shift * ball
    return signals


@dataclass(frozen=True)
class Simulation:
    """Channel k-space of the bath and of each vial without decay, (channel, spoke, sample) each."""

    trajectory: np.ndarray
    times: np.ndarray
    radii: np.ndarray
    body: np.ndarray
    vials: np.ndarray

    def signal(self, concentrations=CONCENTRATIONS, relaxations=RELAXATIONS, bath=SALINE, flip=np.pi / 2):
        """Noise-free k-space for given contents; every decay is applied sample by sample."""
        bath_signal = BATH_CONCENTRATION * self._weight(bath, flip)
        total = self.body * bath_signal
        for vial, concentration, relaxation in zip(self.vials, concentrations, relaxations, strict=True):
            total = total + vial * (concentration * self._weight(relaxation, flip) - bath_signal)
        return total.astype(np.complex64)

    def _weight(self, relaxation, flip):
        e1 = np.exp(-REPETITION_TIME / relaxation.t1)
        start = np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1)
        return start * sum(f * np.exp(-self.times / t) for f, t in relaxation.t2_star)


@pytest.fixture(scope="session")
def simulation() -> Simulation:
    times = np.arange(SAMPLES) * DWELL
    radii = density_adapted_radii(times, NYQUIST)
    trajectory = golden_directions(SPOKES)[:, None, :] * radii[None, :, None]
    shifts = [np.exp(-2j * np.pi * trajectory @ np.array(centre)) for centre in CENTRES]
    shape = (SPOKES, SAMPLES)
    body = np.zeros((CHANNELS, *shape), np.complex64)
    vials = np.zeros((len(CENTRES), CHANNELS, *shape), np.complex64)
    for channel in range(CHANNELS):
        for amplitude, q in channel_terms(channel):
            complex_k = trajectory + 1j * q / (2 * np.pi)
            body[channel] += amplitude * ball_transform(complex_k, BODY_RADIUS)
            small = amplitude * ball_transform(complex_k, VIAL_RADIUS)
            for vial, (centre, shift) in enumerate(zip(CENTRES, shifts, strict=True)):
                vials[vial, channel] += small * shift * np.exp(np.array(centre) @ q)
    return Simulation(trajectory, times + ECHO_TIME, radii, body, vials)


@pytest.fixture(scope="session")
def grid() -> Grid:
    return Grid.cube(MATRIX, FIELD_OF_VIEW)


@pytest.fixture(scope="session")
def readout(simulation: Simulation) -> RadialReadout:
    return RadialReadout(simulation.times, simulation.radii, "hamming", NYQUIST)


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    saline, gel = Material("saline", SALINE), Material("gel", GEL)
    materials = {SALINE: saline, GEL: gel}
    vials = tuple(
        Vial(
            f"vial {index + 1}",
            CENTRES[index],
            VIAL_RADIUS,
            materials[RELAXATIONS[index]],
            CONCENTRATIONS[index] if index in REFERENCES else None,
            Tolerance(0.01),
        )
        for index in range(len(CENTRES))
    )
    return Phantom((0.0, 0.0, 0.0), BODY_RADIUS, saline, vials)


@pytest.fixture(scope="session")
def exact_spectrum():
    """Return ``spectrum(k, balls, channels)``; channel None is uniform, a number one of the simulation's."""
    return spectrum


@pytest.fixture(scope="session")
def sensitivities_on():
    """Return the simulation's sensitivities on any grid, 0 outside a ball around the centre."""

    def evaluate(grid: Grid, channels, radius: float) -> np.ndarray:
        maps = np.array([sensitivity(channel, grid.positions()) for channel in channels])
        return (maps * (grid.distances((0.0, 0.0, 0.0)) < radius)).astype(np.complex64)

    return evaluate


@pytest.fixture(scope="session")
def scaled():
    """Return a relaxation with its times scaled."""

    def scale(relaxation: Relaxation, t1: float, t2: float) -> Relaxation:
        components = tuple((fraction, time * t2) for fraction, time in relaxation.t2_star)
        return replace(relaxation, t1=relaxation.t1 * t1, t2_star=components)

    return scale
