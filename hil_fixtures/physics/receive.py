"""What the receivers sample after each trigger: spins, array, preamplifiers, noise, decimation.

True: signal and noise of the present array, each flat over the receive bandwidth (taken at the spins'
frequency and at the local oscillator's). Not true: quantisation and overload, which are the receivers'.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zlib import crc32

import numpy as np

from hil_fixtures.physics import cic, kspace, noise
from hil_fixtures.physics.network import Z0

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coilbench.base.nuclei import Nucleus
    from hil_fixtures.physics.arrays import Complex, Real
    from hil_fixtures.physics.kspace import Ball
    from hil_fixtures.physics.shot import Shot

#: Most bytes of sampled shots that are kept for boards that ask later.
_KEPT: Final = 96 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Window:
    """What a receiver was told: oscillator in Hz, opening after the trigger and interval in s, samples."""

    lo_frequency: float
    start: float
    interval: float
    count: int

    @property
    def times(self) -> Real:
        """Output grid from the window's opening on, s from the trigger."""
        return np.asarray(self.start + self.interval * np.arange(self.count), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """The array and preamplifiers as they are now.

    Parameters
    ----------
    currents
        Shape (loop, receive port): T at the spins' frequency.
    density
        Covariance density of noise waves at the local oscillator's frequency, W/Hz.
    frequency
        Of the spins, Hz.
    gain_db
        Voltage gain of the preamplifiers.
    """

    currents: Complex
    density: Complex
    frequency: float
    gain_db: float

    def volts_per_flux(self) -> Complex:
        """Return peak volts at the receivers per peak flux linkage of each loop, shape (port, loop).

        Reciprocity: flux psi induces -j omega psi, which sends waves b = -T^T e / 2; a wave of power P
        has sqrt(2 P Z0) peak volts, and RMS waves come of peak emf over sqrt(2).
        """
        omega = 2.0 * np.pi * self.frequency
        gain = 10.0 ** (self.gain_db / 20.0)
        return np.asarray(gain * 0.5 * np.sqrt(Z0) * 1j * omega * self.currents.T)


class Listener:
    """Samples shots once and gives every board its channels of the same samples.

    Parameters
    ----------
    content
        Balls of sodium.
    nucleus, b0, temperature
        Of the spins; T and K.
    seed
        Draws the noise together with each shot's index.
    """

    def __init__(
        self, content: Sequence[Ball], nucleus: Nucleus, b0: float, temperature: float, seed: int
    ) -> None:
        self._content = content
        self._nucleus = nucleus
        self._b0 = b0
        self._temperature = temperature
        self._seed = seed
        self._kept: OrderedDict[tuple[object, ...], Complex] = OrderedDict()
        self._spokes: OrderedDict[tuple[object, ...], kspace.Spokes] = OrderedDict()

    def sample(
        self, shots: Sequence[Shot], window: Window, state: int, chain: Chain, *, loaded: bool
    ) -> list[Complex]:
        """Return each shot's samples of all channels, shape (channel, count), V.

        Parameters
        ----------
        state
            Changes whenever anything changes that ``chain`` or ``loaded`` depend on.
        loaded
            Whether the phantom is in the array.
        """
        keys = [(state, window, *shot.identity()) for shot in shots]
        new = [place for place, key in enumerate(keys) if key not in self._kept]
        fresh: dict[int, Complex] = {}
        if new:
            values = self._sample_new([shots[place] for place in new], window, chain, loaded=loaded)
            fresh = dict(zip(new, values, strict=True))
        result = []
        for place, key in enumerate(keys):
            if place in fresh:
                self._kept[key] = fresh[place]
            result.append(self._kept[key])
        self._forget(window.count * len(result[0]) * 16 if result else 1)
        return result

    def _forget(self, bytes_each: int) -> None:
        while len(self._kept) > max(1, _KEPT // max(1, bytes_each)):
            self._kept.popitem(last=False)

    def _sample_new(
        self, shots: Sequence[Shot], window: Window, chain: Chain, *, loaded: bool
    ) -> list[Complex]:
        covariance = noise.sample_covariance(chain.density, chain.gain_db, window.interval)
        salt = crc32(repr(window).encode())
        sampled = [
            noise.draw(covariance, window.count, np.random.default_rng([self._seed, 1, salt, shot.index]))
            for shot in shots
        ]
        groups: dict[tuple[object, ...], list[int]] = {}
        for place, shot in enumerate(shots):
            if loaded and shot.flip_angle != 0.0:
                groups.setdefault(shot.waveform(), []).append(place)
        for places in groups.values():
            signals = self.signals([shots[place] for place in places], window, chain)
            for place, values in zip(places, signals, strict=True):
                sampled[place] += values
        return sampled

    def signals(self, shots: Sequence[Shot], window: Window, chain: Chain) -> Complex:
        """Return the noise-free samples of shots that share one waveform, shape (shot, channel, count)."""
        spokes = self._prepared(shots[0], window)
        directions = np.stack([shot.direction for shot in shots])
        values = kspace.spoke_signals(self._content, chain.volts_per_flux(), spokes, directions)
        offset = chain.frequency - window.lo_frequency
        # Carrier phase at the trigger, then precession; a receiver's oscillator restarts at each trigger.
        turns = np.array(
            [
                np.fmod(shot.transmit_frequency * shot.time, 1.0)
                + (shot.transmit_frequency - chain.frequency) * shot.rf_centre
                for shot in shots
            ]
        )
        values *= np.exp(2j * np.pi * turns)[:, None, None] * np.exp(2j * np.pi * offset * window.times)
        # The weights know tones near the oscillator only; the CIC's own gain corrects those further off.
        correction = cic.response(offset, window.interval) / cic.discrete_response(offset, window.interval)
        return cic.causal_filter(np.array(cic.SIGNAL_WEIGHTS) * correction, values)

    def _prepared(self, shot: Shot, window: Window) -> kspace.Spokes:
        key = (shot.waveform(), window.start, window.interval, window.count)
        if key not in self._spokes:
            self._spokes[key] = kspace.prepare(
                self._content, shot, window.times, self._nucleus, self._b0, self._temperature
            )
            while len(self._spokes) > 8:
                self._spokes.popitem(last=False)
        return self._spokes[key]
