"""Which numbers of a noise scan are not those of sound receivers: channel, quantity, limit, advice.

Judged on the scan alone; changes against an earlier scan are judged elsewhere. A limit is the larger of what
a sound receiver may have and what chance makes of this many samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.noise.model import NoiseModel

Quantity = Literal[
    "noise",
    "offset",
    "kurtosis",
    "quadrature ratio",
    "quadrature correlation",
    "clipping",
    "drift",
    "bandwidth",
    "spur",
    "correlation",
    "samples",
]

#: Chance explains values up to this many standard deviations: 6e-7 per number, a false alarm in some
#: thousand scans of 32 channels.
_SIGMAS: Final = 5.0
#: Gain error of 2.5 % between I and Q, and 3° of quadrature error: image of a line at -32 dB, analogue
#: receivers' usual specification. Digital down-conversion has none.
_QUADRATURE: Final = 0.05
#: 1 dB over a scan: a preamplifier that warms up drifts by tenths.
_DRIFT: Final = 0.25
#: Relative; channels share one digital filter.
_BANDWIDTH: Final = 0.02
#: Values at one limit; Gaussian noise of float samples has one, coarse quantisation a few.
_CLIPPED: Final = 8
#: -20 dB: a line of 1 % of the noise power changes no SNR but shows as an artefact in an image.
_SPUR_DB: Final = -20.0
#: Kurtosis of clipped or bursting noise is off 3 by more than this.
_KURTOSIS: Final = 0.1
#: Neighbours of one array reach about 0.5; over this most of one channel's noise is the other's.
_CORRELATION: Final = 0.9


@dataclass(frozen=True, slots=True)
class NoiseFinding:
    """Something that is not as it should be.

    Parameters
    ----------
    channel
        Counted from 1; 0 for the scan as a whole.
    quantity
        What was looked at.
    value, limit
        What was found, and how far it might go.
    text
        What it means and what to look at.
    """

    channel: int
    quantity: Quantity
    value: float
    limit: float
    text: str


def find_faults(model: NoiseModel) -> tuple[NoiseFinding, ...]:
    """Return what is wrong with the receivers, channel by channel; empty when they are sound."""
    return (*_scan_findings(model), *_channel_findings(model), *_pair_findings(model))


def offset_limit(model: NoiseModel) -> float:
    """Return how large |mean| / sigma may be by chance: 5 / sqrt(N), passed once in 250 000 channels."""
    return float(_SIGMAS / np.sqrt(model.effective_samples))


def _scan_findings(model: NoiseModel) -> Iterator[NoiseFinding]:
    if not model.has_enough_samples:
        needed = 100.0 * model.channels
        yield NoiseFinding(
            0,
            "samples",
            model.effective_samples,
            needed,
            f"{model.effective_samples:.0f} independent noise samples for {model.channels} channels cost "
            f"{100 * model.combination_loss:.1f} % of the SNR; take at least {needed:.0f}",
        )


def _channel_findings(model: NoiseModel) -> Iterator[NoiseFinding]:
    chance = _SIGMAS / np.sqrt(model.effective_samples)
    offset, ratio = offset_limit(model), max(_QUADRATURE, 2 * chance)
    drift, kurtosis = max(_DRIFT, np.sqrt(12) * chance), max(_KURTOSIS, chance * np.sqrt(24 / 2))
    usual = float(np.median(model.bandwidth_ratio))
    bandwidth = max(_BANDWIDTH * usual, _SIGMAS * model.bandwidth_uncertainty)
    for index in range(model.channels):
        channel = index + 1
        if channel in model.dead_channels:
            yield NoiseFinding(
                channel, "noise", 0.0, 0.0, f"channel {channel} shows no noise at all: is it connected?"
            )
            continue
        numbers: tuple[tuple[Quantity, float, float, float, str], ...] = (
            ("offset", model.offset[index], 0.0, offset, "a constant offset; look at the receiver's zero"),
            ("kurtosis", model.kurtosis[index], 3.0, kurtosis, "not Gaussian: clipping or bursts"),
            (
                "quadrature ratio", model.quadrature_ratio[index], 1.0, ratio,
                "I and Q of unequal gain: an image of every signal at the mirrored frequency",
            ),
            (
                "quadrature correlation", model.quadrature_correlation[index], 0.0, max(_QUADRATURE, chance),
                "I and Q not at right angles: an image of every signal at the mirrored frequency",
            ),
            ("drift", model.drift[index], 0.0, drift, "noise power that changes during the scan"),
            ("bandwidth", model.bandwidth_ratio[index], usual, bandwidth, "another filter than the others"),
        )  # fmt: skip
        for quantity, value, expected, limit, meaning in numbers:
            if abs(value - expected) > limit:
                yield NoiseFinding(
                    channel,
                    quantity,
                    float(value),
                    limit,
                    f"channel {channel}: {quantity} {value:.3g} (expected {expected:.3g} ± {limit:.2g}): "
                    f"{meaning}",
                )
        if model.extremes[index] > _CLIPPED:
            yield NoiseFinding(
                channel,
                "clipping",
                float(model.extremes[index]),
                _CLIPPED,
                f"channel {channel}: {model.extremes[index]} values at one limit: the receiver clips; lower "
                "its gain",
            )
    for spur in model.spurs:
        if spur.level_db > _SPUR_DB:
            yield NoiseFinding(
                spur.channel,
                "spur",
                spur.level_db,
                _SPUR_DB,
                f"channel {spur.channel}: a line at {spur.frequency:+.0f} Hz, {spur.level_db:.0f} dB of the "
                "noise: look for a switching supply, a clock or a leaking door",
            )


def _pair_findings(model: NoiseModel) -> Iterator[NoiseFinding]:
    magnitude = np.abs(model.correlation)
    for first, second in np.argwhere(np.triu(magnitude, 1) > _CORRELATION):
        yield NoiseFinding(
            int(first) + 1,
            "correlation",
            float(magnitude[first, second]),
            _CORRELATION,
            f"channels {first + 1} and {second + 1} carry {100 * magnitude[first, second]:.0f} % the same "
            "noise: two cables on one coil, or crosstalk behind the preamplifiers",
        )
