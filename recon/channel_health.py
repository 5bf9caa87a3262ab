"""Which channel of an array changed since its baseline, and why: a cause with a name, not just a number.

Every fault leaves its own trace in four numbers of a channel, each against the baseline:

    ===============  =============  =============  =========  ===========================
    cause            signal         noise          phase      noise correlation kept
    ===============  =============  =============  =========  ===========================
    dead             gone           any            any        none
    noisy            same           up by k        same       1 / k: the new noise is its own
    mis-scaled       by a           by the same a  same       all: a gain is a gain
    sign-flipped     same           same           turned pi  all, with the sign turned
    swapped          another's      another's      another's  another's
    detuned          down           other than it  any        some
    ===============  =============  =============  =========  ===========================

What all channels share (a warmer room, another concentration, drift of a common gain) is told apart from
what one does alone: the median over the channels is taken off. Phases and exchanges can be pinned to a
channel from three channels on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from recon.fingerprint import ArrayFingerprint

#: Names what computes the findings below; counted up whenever they change.
ALGORITHM: Final = "channel health"
VERSION: Final = "2"

Cause = Literal[
    "dead", "noisy", "mis-scaled", "sign-flipped", "phase-turned", "swapped", "detuned", "coupled", "changed"
]

#: Amplitude of the baseline's signal below which a channel counts as dead: -16 dB, between the gain settings
#: of receivers (a step of 12 dB is one) and what a dead channel picks up from its neighbours (-26 dB).
_DEAD: Final = 0.16
#: Chance explains values up to this many standard deviations.
_SIGMAS: Final = 5.0
#: Standard deviations in dB of a sound channel's signal and noise from day to day: phantom and array put
#: down again within 2 mm and 2 degrees, gains within 5 %, loading within 10 %; arrays of 4 to 32 loops as
#: ``benchmarks/phantom_arrays.py`` draws them show 0.6 to 0.8 and 0.3 to 0.4.
_SIGNAL_SPREAD: Final = 0.75
_NOISE_SPREAD: Final = 0.35
#: Of the part of its noise correlation that a sound channel keeps under another load.
_CORRELATION_SPREAD: Final = 0.1
#: Misfit (chi-squared, two degrees of freedom) beyond which neither more noise nor a gain explains a change.
_MISFIT: Final = 25.0
#: Up to so many channels every exchange and turn is tried: one fault of so few can make any of them look odd,
#: or sound.
_FEW: Final = 8
#: By how much an exchange of two channels, or a turn of one, must lessen what the baseline does not explain
#: of the channels, in units of one channel's power. Patterns of neighbours have a cosine of 0.85: exchanged,
#: 0.28 of each is not explained.
_EXCHANGE: Final = 0.2


@dataclass(frozen=True, slots=True)
class HealthTolerance:
    """What a sound channel may differ from its baseline after what all channels share is taken off.

    Parameters
    ----------
    noise_level_db
        Of its noise, dB.
    signal_level_db
        Loss of its signal, dB; half as much again for a gain in signal, which no fault makes.
    phase
        Against the other channels, rad.
    correlation
        Absolute change of a noise correlation coefficient.
    """

    noise_level_db: float = 1.75
    signal_level_db: float = 3.5
    phase: float = 0.6
    correlation: float = 0.15

    def __post_init__(self) -> None:
        if min(self.noise_level_db, self.signal_level_db, self.phase, self.correlation) <= 0:
            raise ValueError(f"tolerances are positive, got {self}")


@dataclass(frozen=True, slots=True)
class ChannelFinding:
    """What happened to one channel.

    Parameters
    ----------
    channel
        Counted from 1.
    cause
        The simplest that explains the change; ``"changed"`` when none does.
    other
        The channel it is exchanged or coupled with; None for the other causes.
    noise_change_db, signal_change_db
        Against the baseline and the array's common change; -inf when nothing is left.
    phase_change
        Against the other channels, rad.
    correlation_kept
        Part of the baseline's noise correlation with the others that is left; 1 for a sound channel.
    text
        All of it as one line for a person, with what to look at.
    """

    channel: int
    cause: Cause
    other: int | None
    noise_change_db: float
    signal_change_db: float
    phase_change: float
    correlation_kept: float
    text: str


@dataclass(frozen=True, slots=True)
class ArrayHealth:
    """An array against its baseline.

    Parameters
    ----------
    findings
        In the order of the channels; empty for a healthy array.
    common_noise_db, common_signal_db
        Median change over the channels: temperature, gain, concentration or flip angle, not one channel.
    """

    findings: tuple[ChannelFinding, ...]
    common_noise_db: float
    common_signal_db: float

    @property
    def is_healthy(self) -> bool:
        """Whether no channel has changed beyond its tolerance."""
        return not self.findings


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """Changes of all channels, shape (channel,) each; correlations (channel, channel)."""

    noise_db: NDArray[np.float64]
    noise_uncertainty_db: float
    signal: NDArray[np.complex128]
    signal_uncertainty: NDArray[np.float64]
    kept: NDArray[np.complex128]
    kept_uncertainty: NDArray[np.float64]
    correlation: NDArray[np.complex128]
    correlation_before: NDArray[np.complex128]
    correlation_uncertainty: NDArray[np.float64]

    @property
    def signal_db(self) -> NDArray[np.float64]:
        return _decibel(np.abs(self.signal))


def channel_health(
    current: ArrayFingerprint, baseline: ArrayFingerprint, tolerance: HealthTolerance | None = None
) -> ArrayHealth:
    """Return which channels changed since the baseline, each with its cause.

    Parameters
    ----------
    current, baseline
        Fingerprints of the same regions of the same phantom.
    tolerance
        What counts as a change.

    Raises
    ------
    ValueError
        The fingerprints differ in channels or regions.
    """
    tolerance = tolerance or HealthTolerance()
    if current.channels != baseline.channels:
        raise ValueError(
            f"an array of {current.channels} channels cannot be held against a baseline of "
            f"{baseline.channels}"
        )
    places, signal = _exchanged(current, baseline)
    change = _change(current, baseline, signal, places)
    findings = [
        finding
        for index in range(current.channels)
        if (finding := _judge(index, int(places[index]), change, tolerance)) is not None
    ]
    found = {finding.channel for finding in findings}
    findings += list(_couplings(change, found, tolerance))
    levels = _finite(current.noise_level_db - baseline.noise_level_db)
    strengths = _finite(_level(current.signal) - _level(baseline.signal))
    return ArrayHealth(
        tuple(sorted(findings, key=lambda finding: finding.channel)),
        float(np.median(levels)) if levels.size else 0.0,
        float(np.median(strengths)) if strengths.size else 0.0,
    )


def _exchanged(
    current: ArrayFingerprint, baseline: ArrayFingerprint
) -> tuple[NDArray[np.int64], NDArray[np.complex128]]:
    """Return for each channel whose baseline it shows, from 0, and all signals on the baseline's scale.

    Exchanges of two channels and quarter turns of one are tried, the best first, as long as one makes the
    array much more like its baseline. Each trial is aligned anew: such channels disturb the phases of all,
    those of a small array beyond recognition.
    """
    order, turns = np.arange(current.channels), np.ones(current.channels, dtype=np.complex128)
    signal = _aligned(current, baseline)
    misfit = _misfit(signal, baseline.signal)
    for _ in range(current.channels // 2):
        # an exchange disturbs both of its channels
        odd = (misfit > 0.5 * _EXCHANGE) | (current.channels <= _FEW)
        suspects = [int(index) for index in np.flatnonzero(odd)]
        best = (float(misfit.sum()) - _EXCHANGE, order, turns, signal, misfit)
        for channels, trial, turned in _trials(order, turns, suspects):
            seen = _aligned(replace(current, signal=(current.signal * turned[:, None])[trial]), baseline)
            left = _misfit(seen, baseline.signal)
            if left.sum() < best[0] and left[channels].sum() < 0.5 * misfit[channels].sum():
                best = (float(left.sum()), trial, turned, seen, left)
        if best[1] is order:
            break
        _, order, turns, signal, misfit = best
    places = np.argsort(order)
    return places, signal[places] * turns.conj()[:, None]


def _trials(
    order: NDArray[np.int64], turns: NDArray[np.complex128], suspects: list[int]
) -> Iterator[tuple[list[int], NDArray[np.int64], NDArray[np.complex128]]]:
    """Yield places that take part, and order and turns of the channels with one change more."""
    for one, other in combinations(suspects, 2):
        trial = order.copy()
        trial[[one, other]] = order[[other, one]]
        yield [one, other], trial, turns
    for place in suspects:
        for quarter in (1j, -1.0, -1j):
            turned = turns.copy()
            turned[order[place]] *= quarter
            yield [place], order.copy(), turned


def _aligned(current: ArrayFingerprint, baseline: ArrayFingerprint) -> NDArray[np.complex128]:
    """Return the signal in the baseline's scale and phases; a dead channel has no say in either."""
    signal = current.aligned(baseline)
    weak = np.linalg.norm(signal, axis=1) < _DEAD * np.linalg.norm(baseline.signal, axis=1)
    if not weak.any() or weak.all():
        return signal
    return current.aligned(replace(baseline, signal=np.where(weak[:, None], 0, baseline.signal)))


def _misfit(signal: NDArray[np.complex128], reference: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the part of each channel's power that its baseline times a gain above 0 does not explain.

    Gains are left out: cables exchanged before amplifiers of unequal gain are exchanged, too.
    """
    power = np.sum(np.abs(reference) ** 2, axis=1) * np.sum(np.abs(signal) ** 2, axis=1)
    common = np.maximum(np.sum(np.real(signal * reference.conj()), axis=1), 0)
    return np.asarray(1 - common**2 / np.where(power > 0, power, 1), dtype=np.float64)


def _change(
    current: ArrayFingerprint,
    baseline: ArrayFingerprint,
    signal: NDArray[np.complex128],
    places: NDArray[np.int64],
) -> _Change:
    """Compare every channel with the baseline of the place it is at."""
    reference = baseline.signal[places]
    power = np.sum(np.abs(reference) ** 2, axis=1)
    safe = np.where(power > 0, power, 1)
    ratio = np.sum(signal * reference.conj(), axis=1) / safe
    scale = np.linalg.norm(signal) / max(float(np.linalg.norm(current.signal)), np.finfo(float).tiny)
    uncertainty = (
        np.sqrt(np.sum((current.signal_uncertainty * scale * np.abs(reference)) ** 2, axis=1)) / safe
    )
    noise = current.noise_level_db - baseline.noise_level_db[places]
    usual = _finite(noise)
    before = baseline.correlation[np.ix_(places, places)]
    # a channel's phase turns its correlations with it: that is no coupling
    clear = np.abs(ratio) > _SIGMAS * uncertainty
    turns = np.where(clear, np.exp(1j * np.angle(ratio)), 1)
    after = current.correlation * np.outer(turns.conj(), turns)
    alive = np.isfinite(noise)
    others = ~np.eye(current.channels, dtype=bool) & alive[None, :]
    # a dead neighbour correlates with nobody: only living ones say what a channel has kept
    weight = np.sum(np.abs(before) ** 2, axis=1, where=others)
    kept = np.sum(before.conj() * after, axis=1, where=others) / np.where(weight > 0, weight, 1)
    samples = 1 / (1 / current.samples + 1 / baseline.samples)
    return _Change(
        noise_db=noise - (float(np.median(usual)) if usual.size else 0.0),
        noise_uncertainty_db=float(
            np.hypot(current.noise_level_uncertainty_db, baseline.noise_level_uncertainty_db)
        ),
        signal=ratio,
        signal_uncertainty=np.asarray(uncertainty, dtype=np.float64),
        kept=kept,
        kept_uncertainty=1 / np.sqrt(np.maximum(weight, 1e-12) * samples),
        correlation=after,
        correlation_before=before,
        correlation_uncertainty=np.hypot(current.correlation_uncertainty, baseline.correlation_uncertainty),
    )


def _judge(index: int, place: int, change: _Change, tolerance: HealthTolerance) -> ChannelFinding | None:
    """Return what happened to one channel; None when it is sound."""
    noise, signal = float(change.noise_db[index]), float(change.signal_db[index])
    phase = float(np.angle(change.signal[index]))
    # below the noise, a signal has no phase
    clear = abs(change.signal[index]) > _SIGMAS * change.signal_uncertainty[index]
    cause: Cause | None
    if place != index:
        cause = "swapped"
    elif not np.isfinite(noise) or abs(change.signal[index]) < _DEAD:
        cause = "dead"
    elif clear and abs(phase) > tolerance.phase:
        cause = "sign-flipped" if abs(phase) > 0.75 * np.pi else "phase-turned"
    else:
        cause = _amplitude_cause(index, change, tolerance)
    if cause is None:
        return None
    kept = float(np.abs(change.kept[index]))
    return ChannelFinding(
        channel=index + 1,
        cause=cause,
        other=place + 1 if place != index else None,
        noise_change_db=noise,
        signal_change_db=signal,
        phase_change=phase,
        correlation_kept=kept,
        text=f"channel {index + 1}: {_text(index, place, cause, change)}",
    )


def _amplitude_cause(index: int, change: _Change, tolerance: HealthTolerance) -> Cause | None:
    """Return whether a gain, more noise or something else explains a change of levels; None for none.

    Each explanation is fitted to signal, noise and kept correlation with its one parameter.
    """
    noise, signal = float(change.noise_db[index]), float(change.signal_db[index])
    noise_limit = max(tolerance.noise_level_db, _SIGMAS * change.noise_uncertainty_db)
    blur = 20 / np.log(10) * float(change.signal_uncertainty[index] / abs(change.signal[index]))
    loss_limit = max(tolerance.signal_level_db, _SIGMAS * blur)
    if abs(noise) <= noise_limit:
        # a gain or more noise would show in the noise: what is left is the coil, or where it lies
        if abs(signal) <= loss_limit * (1.0 if signal < 0 else 1.5):
            return None
        return "detuned" if signal < 0 else "changed"
    kept = float(np.real(change.kept[index]))
    spread = np.array(
        [
            np.hypot(_SIGNAL_SPREAD, blur),
            np.hypot(_NOISE_SPREAD, change.noise_uncertainty_db),
            np.hypot(_CORRELATION_SPREAD, float(change.kept_uncertainty[index])),
        ]
    )

    def misfit(model: NDArray[np.float64]) -> float:
        return float(np.sum(((np.array([signal, noise, kept]) - model) / spread) ** 2))

    gains = np.linspace(-40.0, 40.0, 801)
    by_gain = min(misfit(np.array([gain, gain, 1.0])) for gain in gains)
    by_noise = min(misfit(np.array([0.0, more, 10 ** (-more / 20)])) for more in gains[gains >= 0])
    if min(by_gain, by_noise) <= _MISFIT:
        return "mis-scaled" if by_gain < by_noise else "noisy"
    return "detuned" if signal < min(-tolerance.signal_level_db, noise - 1.0) else "changed"


def _text(index: int, place: int, cause: Cause, change: _Change) -> str:
    """Return the numbers that lead to a cause, and where to look."""
    noise, signal = float(change.noise_db[index]), float(change.signal_db[index])
    levels = f"noise {_signed(noise)}, signal {_signed(signal)}"
    if cause == "swapped":
        return f"shows the signal of channel {place + 1}: swapped cables or ports"
    if cause == "dead":
        return _dead_text(index, change)
    turned = np.degrees(float(np.angle(change.signal[index])))
    texts: dict[Cause, str] = {
        "sign-flipped": f"phase turned by {turned:.0f}°, {levels}: sign flipped; look for a turned balun, "
        "cable or mixer",
        "phase-turned": f"phase turned by {turned:.0f}°, {levels}: look for a cable of another length",
        "mis-scaled": f"{levels}, correlations kept: gain changed; look at the amplifier's gain setting and "
        "attenuators",
        "noisy": f"{levels}, correlations diluted to {abs(change.kept[index]):.0%}: noise of its own; look "
        "at the preamplifier and for interference",
        "detuned": f"{levels}: signal lost to the coil, not to the gain; look at tuning, detuning bias and "
        "solder joints",
    }
    return texts.get(
        cause, f"{levels}, correlations kept {abs(change.kept[index]):.0%}: no single known cause"
    )


def _dead_text(index: int, change: _Change) -> str:
    """Return what of a dead channel's chain is still alive."""
    noise = float(change.noise_db[index])
    if not np.isfinite(noise):
        return "no signal and no noise at all: receiver not connected or not powered"
    largest = float(np.max(np.delete(np.abs(change.correlation[index]), index), initial=0.0))
    floor = max(0.05, _SIGMAS * float(np.max(change.correlation_uncertainty[index])))
    if largest < floor:
        where = (
            "preamplifier open" if noise < 1.0 else "preamplifier noisy or oscillating, coil not connected"
        )
        return f"no signal, noise {_signed(noise)}, uncorrelated with all: {where}"
    return (
        f"no signal, noise {_signed(noise)}, correlation up to {largest:.2f}: coil detuned or its bias stuck "
        "on; the preamplifier works"
    )


def _couplings(change: _Change, found: set[int], tolerance: HealthTolerance) -> Iterator[ChannelFinding]:
    """Yield pairs of otherwise sound channels whose noise correlation changed."""
    moved = np.abs(change.correlation - change.correlation_before)
    limit = np.maximum(tolerance.correlation, _SIGMAS * change.correlation_uncertainty)
    for first, second in np.argwhere(np.triu(moved > limit, 1)):
        one, other = int(first) + 1, int(second) + 1
        if found & {one, other}:
            continue
        before = abs(change.correlation_before[first, second])
        after = abs(change.correlation[first, second])
        yield ChannelFinding(
            channel=one,
            cause="coupled",
            other=other,
            noise_change_db=float(change.noise_db[first]),
            signal_change_db=float(change.signal_db[first]),
            phase_change=float(np.angle(change.signal[first])),
            correlation_kept=float(np.abs(change.kept[first])),
            text=f"channels {one} and {other}: noise correlation {before:.2f} became {after:.2f}: look at "
            "their decoupling and cable traps",
        )


def _level(signal: NDArray[np.complex128]) -> NDArray[np.float64]:
    return _decibel(np.sqrt(np.mean(np.abs(signal) ** 2, axis=1)))


def _decibel(amplitude: NDArray[np.float64]) -> NDArray[np.float64]:
    safe = np.where(amplitude > 0, amplitude, 1)
    return np.asarray(np.where(amplitude > 0, 20 * np.log10(safe), -np.inf), dtype=np.float64)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _signed(decibel: float) -> str:
    return f"{decibel:+.1f} dB" if np.isfinite(decibel) else "none"
