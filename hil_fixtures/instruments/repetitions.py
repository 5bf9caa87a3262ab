"""What a Pulseq file does to spins and receivers, repetition by repetition.

True here: each repetition has one RF pulse, one output trigger, and a readout along one straight line
through the centre of k-space; anything else is refused. All times of a repetition count from its
trigger. Gradients are integrated as Pulseq defines them: raster samples sit at cell centres and hold.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.nuclei import NUCLEI
from hil_fixtures.instruments.pulseq_reader import SequenceError, ShapedGradient, Trapezoid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hil_fixtures.instruments.pulseq_reader import PulseqFile, RfEvent

#: A file states amplitudes with six digits; more than that above a limit is too much.
_LIMIT_TOLERANCE: Final = 1e-5

#: Largest distance from the straight line, relative to the largest radius: scanner protocol, section 5.
_STRAIGHTNESS: Final = 1e-3

#: Largest step in s between points of a linear gradient's moment: 170 T/m/s bend it by 2.4e-4 1/m at most.
_LINEAR_STEP: Final = 1e-6

#: Largest relative difference between a file's gyromagnetic ratio and its nucleus'; values derived from
#: magnetic moments differ by 0.06 % for 23Na from those of shielded nuclei.
_GAMMA_TOLERANCE: Final = 2e-3


#: Decimals of times in s that count from a trigger: far below every raster, far above rounding.
_DECIMALS: Final = 12

#: Two amplitudes of six digits each may differ by this much and mean the same.
_SAME_WAVEFORM: Final = 1.2e-5


class GradientLimit(SequenceError):  # noqa: N818 - reads as a statement
    """A gradient or slew rate is above the scanner's limits."""


@dataclass(frozen=True, slots=True)
class GradientLimits:
    """Largest gradient in T/m and slew rate in T/m/s of one axis."""

    amplitude: float = 0.04
    slew_rate: float = 170.0


@dataclass(frozen=True, slots=True)
class Repetition:
    """One RF pulse, one trigger, one spoke; times in s from the trigger.

    Parameters
    ----------
    trigger_time
        Of this repetition's trigger, s from the start of the file.
    repetition_time
        s to the next trigger.
    flip_angle, rf_centre, rf_duration, rf_frequency
        Of the pulse: rad, s, s, Hz.
    direction
        Shape (3,), unit vector.
    k_times, k_radius
        Shape (m,): s and 1/m, linear in between; the radius is held after the last point.
    """

    trigger_time: float
    repetition_time: float
    flip_angle: float
    rf_centre: float
    rf_duration: float
    rf_frequency: float
    direction: NDArray[np.float64]
    k_times: NDArray[np.float64]
    k_radius: NDArray[np.float64]


def gamma_bar(definitions: Mapping[str, str]) -> float:
    """Return the gyromagnetic ratio over 2π in Hz/T that a file is written for.

    Raises
    ------
    SequenceError
        The file names no nucleus and no ratio, an unknown nucleus alone, or two that disagree.
    """
    name = definitions.get("Nucleus", "")
    stated = definitions.get("Gamma_Hz_T", "")
    tabled = NUCLEI[name].gamma_bar if name in NUCLEI else None
    try:
        given = float(stated) if stated else None
    except ValueError:
        raise SequenceError(f"[DEFINITIONS] Gamma_Hz_T is no number: {stated!r}") from None
    if given is None and tabled is None:
        raise SequenceError(
            "[DEFINITIONS] names neither a known Nucleus nor Gamma_Hz_T; without them gradients have no limit"
        )
    if given is not None and tabled is not None and abs(given / tabled - 1.0) > _GAMMA_TOLERANCE:
        raise SequenceError(f"[DEFINITIONS] Gamma_Hz_T {given:g} is not that of {name}, {tabled:g}")
    return given if given is not None else float(tabled or math.nan)


def read_repetitions(file: PulseqFile, b0: float, limits: GradientLimits) -> tuple[Repetition, ...]:
    """Return all repetitions of a file, checked.

    Parameters
    ----------
    file
        As read.
    b0
        T; gives the carrier when the file names none.
    limits
        Of each gradient axis.

    Raises
    ------
    SequenceError
        The file cannot be played (``GradientLimit``: its gradients are too strong).
    """
    gamma = gamma_bar(file.definitions)
    carrier = (
        file.number("TransmitFrequency_Hz") if "TransmitFrequency_Hz" in file.definitions else abs(gamma) * b0
    )
    raster = file.number("GradientRasterTime")
    curves = {
        identifier: _curve(identifier, file, raster, gamma, limits) for identifier in sorted(file.gradients)
    }
    return _Timeline(file, carrier, curves).repetitions()


@dataclass(frozen=True, slots=True)
class _Curve:
    """Moment of one gradient event: s from the block's start, 1/m."""

    times: NDArray[np.float64]
    moments: NDArray[np.float64]


def _curve(identifier: int, file: PulseqFile, raster: float, gamma: float, limits: GradientLimits) -> _Curve:
    event = file.gradients[identifier]
    held = isinstance(event, ShapedGradient) and event.time == 0
    times, values = _points(identifier, event, file, raster)
    steps = np.diff(values) / raster if held else np.diff(values) / np.diff(times)
    peak = float(np.max(np.abs(values), initial=0.0)) / abs(gamma)
    slew = float(np.max(np.abs(steps), initial=0.0)) / abs(gamma)
    if peak > limits.amplitude * (1.0 + _LIMIT_TOLERANCE):
        raise GradientLimit(
            f"gradient {identifier} reaches {peak * 1e3:.4g} mT/m, allowed {limits.amplitude * 1e3:g}"
        )
    if slew > limits.slew_rate * (1.0 + _LIMIT_TOLERANCE):
        raise GradientLimit(
            f"gradient {identifier} slews with {slew:.4g} T/m/s, allowed {limits.slew_rate:g}"
        )
    if held:
        return _Curve(times, np.concatenate([[0.0], np.cumsum(values) * raster]))
    return _linear(times, values)


def _points(
    identifier: int, event: ShapedGradient | Trapezoid, file: PulseqFile, raster: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cell edges and held values, or the points of a linear gradient."""
    if isinstance(event, Trapezoid):
        times = np.cumsum(np.array([event.delay, event.rise, event.flat, event.fall]))
        values = event.amplitude * np.array([0.0, 1.0, 1.0, 0.0])
        keep = np.append(np.diff(times) > 0.0, True)
        return times[keep], values[keep]
    samples = event.amplitude * _shape(file, event.shape, f"gradient {identifier}")
    if event.time == 0:
        return event.delay + np.arange(samples.size + 1, dtype=np.float64) * raster, samples
    if event.time == -1:
        times = np.arange(samples.size + 2, dtype=np.float64) * (raster / 2.0)
        return event.delay + times, np.concatenate([[event.first], samples, [event.last]])
    times = event.delay + _shape(file, event.time, f"gradient {identifier}") * raster
    if times.size != samples.size or np.any(np.diff(times) <= 0.0):
        raise SequenceError(f"gradient {identifier}: its time shape does not fit its shape, or does not rise")
    return times, samples


def _linear(times: NDArray[np.float64], values: NDArray[np.float64]) -> _Curve:
    """Return the moment of straight pieces, finely enough that straight pieces follow it."""
    pieces = [
        np.linspace(start, stop, 2 + int((stop - start) / _LINEAR_STEP) * (a != b))[:-1]
        for start, stop, a, b in zip(times[:-1], times[1:], values[:-1], values[1:], strict=True)
    ]
    fine = np.concatenate([*pieces, times[-1:]])
    slope = np.interp(fine, times, values)
    moments = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2.0 * np.diff(fine))])
    return _Curve(fine, moments)


def _shape(file: PulseqFile, identifier: int, user: str) -> NDArray[np.float64]:
    try:
        return file.shapes[identifier]
    except KeyError:
        raise SequenceError(f"{user} refers to shape {identifier}, which is not in [SHAPES]") from None


@dataclass(frozen=True, slots=True)
class _Pulse:
    """An RF pulse in the file's time."""

    block_start: float
    centre: float
    duration: float
    flip_angle: float
    frequency: float


def _with_shared_waveform(repetition: Repetition, before: Repetition) -> Repetition:
    """Return the repetition with the waveform of the one before when they differ by rounding only.

    Spokes in different directions have one waveform, but a file gives it to six digits per axis.
    """
    if not np.array_equal(repetition.k_times, before.k_times):
        return repetition
    largest = float(np.max(np.abs(before.k_radius)))
    if np.max(np.abs(repetition.k_radius - before.k_radius)) > _SAME_WAVEFORM * largest:
        return repetition
    return replace(repetition, k_times=before.k_times, k_radius=before.k_radius)


class _Timeline:
    """All events of a file in its own time, in order."""

    def __init__(self, file: PulseqFile, carrier: float, curves: Mapping[int, _Curve]) -> None:
        self._file = file
        self._carrier = carrier
        self._curves = curves
        self._pulse_forms = {identifier: self._pulse_form(identifier) for identifier in file.rf}
        self._pulses: list[_Pulse] = []
        self._triggers: list[float] = []
        self._readouts: list[tuple[float, float]] = []
        self._gradients: list[tuple[float, int, int]] = []
        self._end = self._walk()

    def repetitions(self) -> tuple[Repetition, ...]:
        """Return the repetitions, or say what is wrong with the first wrong one."""
        triggers, pulses = self._triggers, self._pulses
        if not triggers:
            raise SequenceError("the file gives no output trigger (extension TRIGGERS, type 1)")
        if len(triggers) != len(pulses):
            raise SequenceError(
                f"{len(pulses)} RF pulses and {len(triggers)} triggers; each repetition has one of each"
            )
        lengths = [round(length, _DECIMALS) for length in np.diff(triggers).tolist()] or [self._end]
        lengths.append(lengths[-1])
        found: list[Repetition] = []
        for number, (pulse, trigger, length) in enumerate(zip(pulses, triggers, lengths, strict=False)):
            repetition = self._repetition(number, pulse, trigger, length)
            found.append(_with_shared_waveform(repetition, found[-1]) if found else repetition)
        return tuple(found)

    def _walk(self) -> float:
        file, raster, rasters = self._file, self._file.number("BlockDurationRaster"), 0
        for number, block in enumerate(file.blocks, 1):
            start = rasters * raster
            rasters += block.duration
            try:
                if block.rf:
                    self._pulses.append(self._placed(block.rf, start))
                if block.adc:
                    adc = file.adc[block.adc]
                    first = start + adc.delay
                    self._readouts.append((first, first + adc.samples * adc.dwell))
                if block.extension:
                    self._triggers += [
                        start + trigger.delay
                        for trigger in file.triggers[block.extension]
                        if trigger.is_output
                    ]
                for axis, identifier in enumerate(block.gradients):
                    if identifier:
                        self._gradients.append((start, axis, self._known(identifier)))
            except KeyError as error:
                raise SequenceError(f"block {number} refers to event {error}, which is not there") from None
        return rasters * raster

    def _known(self, identifier: int) -> int:
        _ = self._curves[identifier]
        return identifier

    def _placed(self, identifier: int, start: float) -> _Pulse:
        event, (flip_angle, duration) = self._file.rf[identifier], self._pulse_forms[identifier]
        frequency = self._carrier * (1.0 + event.frequency_ppm * 1e-6) + event.frequency
        return _Pulse(start, start + event.delay + event.centre, duration, flip_angle, frequency)

    def _pulse_form(self, identifier: int) -> tuple[float, float]:
        """Return flip angle in rad and duration in s."""
        event: RfEvent = self._file.rf[identifier]
        user = f"RF pulse {identifier}"
        raster = self._file.number("RadiofrequencyRasterTime")
        magnitude = event.amplitude * _shape(self._file, event.magnitude, user)
        has_phase = event.phase and bool(np.any(_shape(self._file, event.phase, user)))
        if has_phase or event.phase_offset or event.phase_ppm:
            raise SequenceError(f"{user} has a phase; only pulses along one axis can be played")
        if event.time == 0:
            return 2.0 * np.pi * abs(float(np.sum(magnitude))) * raster, magnitude.size * raster
        times = _shape(self._file, event.time, user) * raster
        if times.size != magnitude.size:
            raise SequenceError(f"{user}: its time shape does not fit its magnitude")
        return 2.0 * np.pi * abs(float(np.trapezoid(magnitude, times))), float(times[-1])

    def _repetition(self, number: int, pulse: _Pulse, trigger: float, length: float) -> Repetition:
        following = self._pulses[number + 1].block_start if number + 1 < len(self._pulses) else self._end
        # Half a raster cell of the finest raster forgives rounding of a trigger at the centre itself.
        if not pulse.centre <= trigger + 5e-8 or trigger >= following:
            raise SequenceError(
                f"repetition {number}: its trigger does not come between its RF pulse and the next"
            )
        direction, times, radius = self._spoke(number, pulse, trigger, following)
        return Repetition(
            trigger_time=trigger,
            repetition_time=length,
            flip_angle=pulse.flip_angle,
            rf_centre=round(pulse.centre - trigger, _DECIMALS),
            rf_duration=pulse.duration,
            rf_frequency=pulse.frequency,
            direction=direction,
            k_times=times,
            k_radius=radius,
        )

    def _spoke(
        self, number: int, pulse: _Pulse, trigger: float, following: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return direction, times from the trigger and radii, from the pulse to the end of the readout."""
        first = bisect.bisect_left(self._gradients, (pulse.block_start,))
        events = self._gradients[first : bisect.bisect_left(self._gradients, (following,))]
        centre = round(pulse.centre - trigger, _DECIMALS)
        end = round(self._readout_end(pulse, following, events) - trigger, _DECIMALS)
        placed = [
            (np.round(start - trigger + self._curves[i].times, _DECIMALS), axis, self._curves[i].moments)
            for start, axis, i in events
        ]
        nodes = np.unique(np.concatenate([[centre, end], *(times for times, _, _ in placed)]))
        nodes = nodes[(nodes >= centre) & (nodes <= end)]
        k = np.zeros((3, nodes.size))
        for times, axis, moments in placed:
            k[axis] += np.interp(nodes, times, moments)
        k -= k[:, :1]
        length = np.linalg.norm(k, axis=0)
        largest = int(np.argmax(length))
        if length[largest] == 0.0:
            return np.array([0.0, 0.0, 1.0]), nodes, np.zeros(nodes.size)
        direction = k[:, largest] / length[largest]
        radius = direction @ k
        bend = float(np.max(np.linalg.norm(k - np.outer(direction, radius), axis=0)))
        if bend > _STRAIGHTNESS * length[largest]:
            raise SequenceError(
                f"repetition {number}: the readout leaves the straight line by {bend:.3g} of "
                f"{length[largest]:.3g} 1/m; only straight spokes can be played"
            )
        return direction, nodes, radius

    def _readout_end(
        self, pulse: _Pulse, following: float, events: Sequence[tuple[float, int, int]]
    ) -> float:
        first = bisect.bisect_left(self._readouts, (pulse.centre,))
        readouts = self._readouts[first : bisect.bisect_left(self._readouts, (following,))]
        if readouts:
            return readouts[-1][1]
        return max((start + float(self._curves[i].times[-1]) for start, _, i in events), default=following)
