"""Every fault leaves its own trace: the channel and the cause are named, and sound arrays are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recon.channel_health import HealthTolerance, channel_health
from recon.fingerprint import ArrayFingerprint

CHANNELS, REGIONS, SAMPLES = 7, 12, 5000.0


def array(seed: int, mixing: np.ndarray | None = None, own: np.ndarray | None = None) -> ArrayFingerprint:
    """Fingerprint of loops around an object after ``mixing`` of their outputs and noise of their own.

    Levels and correlations of the noise are exact here but for 0.05 dB and the sampling error; signals
    vary by 4 % from region to region.
    """
    rng = np.random.default_rng(seed)
    mixing = np.eye(CHANNELS, dtype=complex) if mixing is None else mixing
    own = np.zeros(CHANNELS) if own is None else own
    angle = 2 * np.pi * np.arange(CHANNELS) / CHANNELS
    place = 2 * np.pi * np.arange(REGIONS) / REGIONS
    apart = angle[:, None] - place[None, :]
    signal = 10 * np.exp(1.2 * np.cos(apart) + 0.8j * np.sin(apart) + 1j * angle[:, None])
    near = np.eye(CHANNELS) + 0.3j * np.eye(CHANNELS, k=1)
    psi = near @ near.conj().T
    psi = mixing @ psi @ mixing.conj().T + np.diag(own**2 * np.real(np.diagonal(psi)))
    power = np.real(np.diagonal(psi))
    scale = np.sqrt(np.where(power > 0, power, 1))
    rho = psi / np.outer(scale, scale)
    rho[power <= 0, :] = rho[:, power <= 0] = 0
    np.fill_diagonal(rho, 1)
    error = rng.standard_normal((2, CHANNELS, CHANNELS)) / np.sqrt(2 * SAMPLES)
    error = np.triu(error[0] + 1j * error[1], 1)
    vary = 1 + 0.04 * rng.standard_normal((CHANNELS, REGIONS))
    level = np.where(power > 0, 20 * np.log10(scale), -np.inf) + 0.05 * rng.standard_normal(CHANNELS)
    noise = 0.02 * (rng.standard_normal((CHANNELS, REGIONS)) + 1j * rng.standard_normal((CHANNELS, REGIONS)))
    turned = np.exp(2j * np.pi * rng.random(REGIONS))
    return ArrayFingerprint(
        ("",) * CHANNELS,
        level,
        0.06,
        rho + error + error.conj().T,
        SAMPLES,
        (mixing @ (signal * vary) + noise) * turned * 1.1,
        np.full((CHANNELS, REGIONS), 0.02),
        np.full(REGIONS, 50),
    )


BASELINE = array(0)


def faulty(channel: int, factor: complex, own: float = 0.0, seed: int = 1):
    mixing, extra = np.eye(CHANNELS, dtype=complex), np.zeros(CHANNELS)
    mixing[channel - 1, channel - 1], extra[channel - 1] = factor, own
    return channel_health(array(seed, mixing, extra), BASELINE)


def test_a_sound_array_is_healthy_and_what_all_share_is_told_apart():
    for seed in range(1, 30):
        assert channel_health(array(seed), BASELINE).is_healthy
    louder = array(5)
    louder = replace(louder, noise_level_db=louder.noise_level_db + 3.0, signal=louder.signal * 2)
    health = channel_health(louder, BASELINE)
    assert health.is_healthy
    assert health.common_noise_db == pytest.approx(3.0, abs=0.1)
    assert health.common_signal_db == pytest.approx(6.0, abs=0.2)


@pytest.mark.parametrize("channel", [1, 5])
@pytest.mark.parametrize(
    ("factor", "own", "cause", "words"),
    [
        (0.0, 0.5, "dead", "noise -6.0 dB, uncorrelated with all: preamplifier open"),
        (0.0, 0.0, "dead", "no noise at all: receiver not connected"),
        (0.0, 2.0, "dead", "noisy or oscillating"),
        (1.0, 1.5, "noisy", "noise of its own"),
        (0.5, 0.0, "mis-scaled", "gain changed"),
        (3.0, 0.0, "mis-scaled", "gain changed"),
        (-1.0, 0.0, "sign-flipped", "sign flipped"),
        (1j, 0.0, "phase-turned", "cable of another length"),
        (0.5, 0.87, "detuned", "lost to the coil"),
    ],
)
def test_each_fault_is_named_with_its_channel(channel, factor, own, cause, words):
    health = faulty(channel, factor, own)
    assert [(one.channel, one.cause) for one in health.findings] == [(channel, cause)]
    text = health.findings[0].text
    assert text.startswith(f"channel {channel}: ")
    if "-6.0" in words:
        # the level scatters by 0.08 dB
        words = words.replace("-6.0", f"{health.findings[0].noise_change_db:+.1f}")
        assert health.findings[0].noise_change_db == pytest.approx(-6.0, abs=0.4)
    assert words in text


@pytest.mark.parametrize("pair", [(1, 2), (3, 6)])
def test_exchanged_channels_are_named_as_a_pair(pair):
    one, other = pair
    order = np.arange(CHANNELS)
    order[[one - 1, other - 1]] = order[[other - 1, one - 1]]
    health = channel_health(array(3, np.eye(CHANNELS, dtype=complex)[order]), BASELINE)
    assert [(f.channel, f.cause, f.other) for f in health.findings] == [
        (one, "swapped", other),
        (other, "swapped", one),
    ]


def test_cables_exchanged_before_amplifiers_of_unequal_gain_are_exchanged():
    """The pattern of the other coil comes through this channel's gain: 5 dB more, and 5 dB less."""
    order = np.arange(CHANNELS)
    order[[1, 3]] = order[[3, 1]]
    mixing = np.eye(CHANNELS, dtype=complex)[order]
    mixing[1] *= 1.8
    mixing[3] /= 1.8
    health = channel_health(array(3, mixing), BASELINE)
    assert [(f.channel, f.cause, f.other) for f in health.findings] == [(2, "swapped", 4), (4, "swapped", 2)]


def test_a_cable_s_phase_is_no_coupling():
    """A phase of 25 degrees, too little to be named, turns correlations of 0.3 with it."""
    mixing = np.eye(CHANNELS, dtype=complex)
    mixing[2, 2] = np.exp(1j * np.radians(25))
    assert channel_health(array(2, mixing), BASELINE, HealthTolerance(correlation=0.08)).is_healthy


def test_two_faults_at_once_are_both_named():
    mixing, own = np.eye(CHANNELS, dtype=complex), np.zeros(CHANNELS)
    mixing[1, 1], mixing[4, 4], own[4] = -1.0, 0.0, 0.4
    health = channel_health(array(4, mixing, own), BASELINE)
    assert [(f.channel, f.cause) for f in health.findings] == [(2, "sign-flipped"), (5, "dead")]


def test_a_new_coupling_is_named_by_its_pair():
    tied = array(6)
    rho = tied.correlation.copy()
    rho[0, 3] += 0.4
    rho[3, 0] += 0.4
    health = channel_health(replace(tied, correlation=rho), BASELINE)
    assert [(f.channel, f.cause, f.other) for f in health.findings] == [(1, "coupled", 4)]
    assert "decoupling" in health.findings[0].text


def test_tolerances_are_what_counts_as_a_change():
    quieter = faulty(2, 10 ** (-0.7 / 20))
    assert quieter.is_healthy
    mixing = np.eye(CHANNELS, dtype=complex)
    mixing[1, 1] = 10 ** (-0.7 / 20)
    strict = HealthTolerance(noise_level_db=0.4)
    found = channel_health(array(1, mixing), BASELINE, strict).findings
    assert [one.channel for one in found] == [2]
    with pytest.raises(ValueError, match="positive"):
        HealthTolerance(phase=0.0)


def test_another_array_is_refused():
    fewer = BASELINE.channel(1)
    assert fewer.channel == 1
    small = replace(
        BASELINE,
        names=("",) * 2,
        noise_level_db=BASELINE.noise_level_db[:2],
        correlation=BASELINE.correlation[:2, :2],
        signal=BASELINE.signal[:2],
        signal_uncertainty=BASELINE.signal_uncertainty[:2],
    )
    with pytest.raises(ValueError, match="2 channels"):
        channel_health(small, BASELINE)
