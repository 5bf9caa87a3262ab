"""Scans of one array on two days, the second with a fault: simulated arrays, and a real one of 16 channels.

Since the baseline, besides what `phantom_arrays` says: every channel's gain by up to 5 % and its phase by
3 degrees, the common gain by 0.3 dB, the noise of scan and noise scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from phantom_arrays import DWELL, Spokes

from hil_fixtures.physics import noise
from hil_fixtures.physics.phantom import DEFAULT_PHANTOM
from recon.channel_health import channel_health
from recon.density import spoke_weights
from recon.fingerprint import array_fingerprint, coarse_regions
from recon.grid import Grid
from recon.noise import noise_model
from recon.nufft import NonUniformTransform

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from phantom_arrays import PhantomArray

    from recon.channel_health import ArrayHealth
    from recon.fingerprint import ArrayFingerprint
    from recon.noise import NoiseModel

#: Matrix, m of field of view, spokes, samples of a spoke, noise samples of a channel.
MATRIX: Final = 20
FIELD_OF_VIEW: Final = 0.22
SPOKES: Final = 400
SAMPLES: Final = 40
NOISE_SAMPLES: Final = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What a fault does to the samples.

    Parameters
    ----------
    mixing
        Shape (channel, channel): what comes out of the sound samples.
    own
        Each channel's own new noise in units of its sound noise, shape (channel,).
    """

    mixing: NDArray[np.complex128]
    own: NDArray[np.float64]


class Electronics:
    """What receivers do to the loops' outputs: drift since the baseline, and a fault.

    Parameters
    ----------
    change
        The fault; None on the baseline's day, before any drift.
    sound
        Deviation of the real part of each channel's sound noise.
    random
        Draws the drift and the noise.
    """

    def __init__(
        self, change: Change | None, sound: NDArray[np.float64], random: np.random.Generator
    ) -> None:
        count = len(sound)
        self._random = random
        if change is None:
            self._drift = np.ones(count, dtype=np.complex128)
            change = Change(np.eye(count, dtype=np.complex128), np.zeros(count))
        else:
            gain = (1 + random.uniform(-0.05, 0.05, count)) * 10 ** (0.3 * random.standard_normal() / 20)
            self._drift = gain * np.exp(1j * np.radians(3.0 * random.standard_normal(count)))
        self._mixing, self._own = change.mixing, change.own * sound

    def receive(self, samples: NDArray[np.complex128]) -> NDArray[np.complex64]:
        """Return what arrives of samples of shape (channel, sample)."""
        parts = self._random.standard_normal((2, *samples.shape))
        added = (parts[0] + 1j * parts[1]) * self._own[:, None]
        return (self._drift[:, None] * (self._mixing @ samples + added)).astype(np.complex64)


class SimulatedScans:
    """An array in simulation, with its baseline.

    Parameters
    ----------
    array
        To be scanned.
    snr
        Of the strongest channel in one voxel, median over the phantom.
    random
        Draws the baseline.
    """

    def __init__(self, array: PhantomArray, snr: float, random: np.random.Generator) -> None:
        self._array = array
        self._grid = Grid.cube(MATRIX, FIELD_OF_VIEW)
        radii = self._grid.nyquist * np.linspace(0.0, 1.0, SAMPLES) ** (2 / 3)
        self._spokes = Spokes(golden_directions(SPOKES), radii)
        weights = spoke_weights(radii) * (0.54 + 0.46 * np.cos(np.pi * radii / self._grid.nyquist)) / SPOKES
        self._weights = np.tile(weights, (SPOKES, 1)).astype(np.float32)
        self._transform = NonUniformTransform(self._grid, self._spokes.positions)
        guard = 1.5 * self._grid.resolution
        inside = self._grid.distances((0, 0, 0)) <= DEFAULT_PHANTOM.radius_m - guard
        for vial in DEFAULT_PHANTOM.vials:
            inside &= self._grid.distances(vial.position_m) >= vial.radius_m + 0.5 * guard
        self._regions = coarse_regions(inside)
        covariance, signal = array.emit(self._spokes, np.random.default_rng(0))
        images = self._gridded(signal)[:, self._regions >= 0]
        sigma = np.sqrt(np.real(np.diagonal(covariance)) / 2)[:, None]
        found = np.median(np.max(np.abs(images) / sigma, axis=0)) / float(np.linalg.norm(self._weights))
        self._brightness = snr / float(found)
        self.baseline = self.scan(random, None)

    @property
    def channels(self) -> int:
        """Number of loops."""
        return self._array.channels

    def judge(self, random: np.random.Generator, change: Change) -> ArrayHealth:
        """Scan the array with a fault and hold it against its baseline."""
        return channel_health(self.scan(random, change), self.baseline)

    def scan(self, random: np.random.Generator, change: Change | None) -> ArrayFingerprint:
        """Return the fingerprint of one scan with its own noise scan; None for the baseline's day."""
        covariance, signal = self._array.emit(self._spokes, random)
        sound = np.sqrt(np.real(np.diagonal(covariance)) / 2)
        electronics = Electronics(change, sound, random)
        quiet = electronics.receive(noise.draw(covariance, NOISE_SAMPLES + 8, random)[:, 8:])
        model = noise_model(quiet.reshape(self.channels, -1, 500), DWELL)
        heard = noise.draw(covariance, SPOKES * SAMPLES + 8, random)[:, 8:]
        samples = electronics.receive(self._brightness * signal.reshape(self.channels, -1) + heard)
        images = self._gridded(samples.reshape(self.channels, SPOKES, SAMPLES))
        gain = float(np.linalg.norm(self._weights))
        return array_fingerprint(images, model, self._regions, noise_gain=gain)

    def _gridded(self, samples: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
        return self._transform.adjoint((samples * self._weights).astype(np.complex64))


class MeasuredScans:
    """One real scan of 16 channels with its noise scan, repeated with other noise.

    Half of the noise windows are the baseline's, the other half, drawn with replacement, the later scans'.
    Each repetition adds simulated noise of the measured covariance to the k-space, moves the table by 2 mm
    of an assumed field of view of 220 mm, changes every sensitivity by a smooth 4 % and its slope by 4 % from
    edge to edge, and couples the channels anew by 1 %.

    Parameters
    ----------
    path
        Arrays ``signal`` (y, x, channel) and ``noise`` (sample, window, channel).
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self._samples = arrays["signal"].transpose(2, 0, 1).astype(np.complex128)
            windows = arrays["noise"].transpose(2, 1, 0).astype(np.complex128)
        self._early, self._late = windows[:, ::2], windows[:, 1::2]
        self._model = noise_model(windows.astype(np.complex64), 1.0)
        self._mixing = np.linalg.cholesky(np.einsum("cws,dws->cd", windows, windows.conj()) / windows[0].size)
        squares = np.sqrt(np.sum(np.abs(_image(self._samples)) ** 2, axis=0))
        self._regions = coarse_regions((squares > 0.3 * np.percentile(squares, 99))[None])
        self.baseline = self._fingerprint(np.random.default_rng(0), None, self._early)

    @property
    def channels(self) -> int:
        """Number of loops."""
        return int(self._samples.shape[0])

    @property
    def noise(self) -> NoiseModel:
        """Of the whole noise scan."""
        return self._model

    def judge(self, random: np.random.Generator, change: Change) -> ArrayHealth:
        """Repeat the scan with a fault and hold it against its baseline."""
        chosen = random.integers(self._late.shape[1], size=self._late.shape[1])
        return channel_health(self._fingerprint(random, change, self._late[:, chosen]), self.baseline)

    def _fingerprint(
        self,
        random: np.random.Generator,
        change: Change | None,
        windows: NDArray[np.complex128],
    ) -> ArrayFingerprint:
        count, height, width = self._samples.shape
        y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        drawn = 0.04 * (random.standard_normal((3, count)) + 1j * random.standard_normal((3, count)))
        smooth = np.exp(drawn[0, :, None, None] + drawn[1, :, None, None] * x + drawn[2, :, None, None] * y)
        steps = np.array([height, width]) / 0.22 * 2e-3 * random.standard_normal(2)
        table = np.exp(
            -2j * np.pi * (np.fft.fftfreq(height)[:, None] * steps[0] + np.fft.fftfreq(width) * steps[1])
        )
        moved = np.fft.ifft2(np.fft.fft2(_image(self._samples)) * table) * smooth
        coupling = 0.01 * random.standard_normal((count, count))
        coupled = np.eye(count) + 1j * (np.triu(coupling, 1) + np.triu(coupling, 1).T)
        added = self._mixing @ (random.standard_normal((2, count, height * width)).T @ [1, 1j]).T / np.sqrt(2)
        electronics = Electronics(change, self._model.sigma, random)
        samples = coupled @ (_samples(moved).reshape(count, -1) + added)
        images = _image(electronics.receive(samples).reshape(count, height, width))
        quiet = electronics.receive(coupled @ windows.reshape(count, -1)).reshape(windows.shape)
        return array_fingerprint(
            images[:, None].astype(np.complex64), noise_model(quiet, 1.0), self._regions, noise_gain=1.0
        )


def _image(samples: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    axes = (-2, -1)
    return np.asarray(
        np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(samples, axes=axes), norm="ortho"), axes=axes)
    )


def _samples(image: NDArray[np.complex128]) -> NDArray[np.complex128]:
    axes = (-2, -1)
    return np.asarray(
        np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=axes), norm="ortho"), axes=axes)
    )


def golden_directions(count: int) -> NDArray[np.float64]:
    """Return directions by two-dimensional golden means: Chan et al., Magn Reson Med 61:354 (2009)."""
    number = np.arange(count)
    z = 2 * ((number * 0.4655712318767680) % 1) - 1
    azimuth = 2 * np.pi * ((number * 0.6823278038280193) % 1)
    rho = np.sqrt(1 - z**2)
    return np.stack([rho * np.cos(azimuth), rho * np.sin(azimuth), z], axis=-1)
