"""A ZNBT channel: stimulus settings, traces and the result of its last sweep. No clock, no wire."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from hil_fixtures.instruments.scpi_syntax import ScpiError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Frequency limits in Hz of the ZNBT8 (R&S ZNB/ZNBT user manual 1173.9163.02, "Key features").
FREQUENCY_LIMITS: Final = (9e3, 8.5e9)

#: Source power limits in dBm, as R&S' own Python library `rohdeschwarz` 1.21 gives them for ZNx.
POWER_LIMITS: Final = (-40.0, 10.0)

#: Most points of a sweep, from the same library.
POINTS_LIMIT: Final = 100_001

#: IF bandwidths in Hz within one decade, 1 Hz to 1 MHz (ZNB/ZNBT user manual, "Bandwidth").
_BANDWIDTH_STEPS: Final = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
BANDWIDTHS: Final = (*(step * 10.0**decade for decade in range(6) for step in _BANDWIDTH_STEPS), 1e6)

#: A trace's S-parameter: port where the wave comes out, port that is driven, both from 1.
SParameter = tuple[int, int]


def nearest_bandwidth(wanted: float) -> float:
    """Return the IF bandwidth in Hz that the analyzer sets: the next higher step, at most 1 MHz."""
    return next((step for step in BANDWIDTHS if step >= wanted * (1.0 - 1e-9)), BANDWIDTHS[-1])


def s_parameter_name(parameter: SParameter) -> str:
    """Return ``"S21"``, or ``"S1009"`` when a port has two digits (ZNB/ZNBT user manual, "S-Params Tab")."""
    digits = max(len(str(port)) for port in parameter)
    return "S" + "".join(f"{port:0{digits}d}" for port in parameter)


def parse_s_parameter(text: str, port_count: int) -> SParameter:
    """Return the ports of ``"S21"`` or ``"S1009"``: the same number of digits for both.

    Raises
    ------
    ScpiError
        No S-parameter of this analyzer (-224).
    """
    match = re.fullmatch(r"[Ss](\d+)", text.strip())
    half = len(match[1]) // 2 if match else 0
    if match is None or len(match[1]) != 2 * half:
        raise ScpiError(-224, text)
    ports = int(match[1][:half]), int(match[1][half:])
    if not all(1 <= port <= port_count for port in ports):
        raise ScpiError(-224, text)
    return ports


@dataclass(slots=True)
class SweepSegment:
    """One line of the segment table; bandwidth in Hz, power in dBm."""

    start: float
    stop: float
    points: int
    bandwidth: float
    power: float
    is_on: bool = True

    def axis(self) -> NDArray[np.float64]:
        """Return the segment's frequencies in Hz."""
        if self.points == 1:  # a single point lies at the start, to which the manual sets the stop
            return np.array([self.start])
        return np.linspace(self.start, self.stop, self.points)


@dataclass(frozen=True, slots=True)
class Stimulus:
    """What a sweep drives: per point frequency in Hz, IF bandwidth in Hz and source power in dBm.

    A time sweep has the points' times in s as well; its frequencies are all the same.
    """

    frequencies: NDArray[np.float64]
    bandwidths: NDArray[np.float64]
    powers: NDArray[np.float64]
    driven_ports: tuple[int, ...]
    times: NDArray[np.float64] | None = None

    @property
    def duration(self) -> float:
        """Seconds of one sweep over all driven ports: one bandwidth's settling per point and port."""
        if self.times is not None:
            return float(self.times[-1])
        return float(np.sum(1.0 / self.bandwidths)) * len(self.driven_ports)

    @property
    def axis(self) -> NDArray[np.float64]:
        """What the trace is drawn over: Hz, or s in a time sweep."""
        return self.frequencies if self.times is None else self.times


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What the last completed sweep measured.

    Parameters
    ----------
    frequencies
        Shape (frequency,), Hz, or s after a time sweep.
    scattering
        Shape (frequency, port, port); only the entries of ``measured`` mean anything.
    measured
        S-parameters with values.
    """

    frequencies: NDArray[np.float64]
    scattering: NDArray[np.complex128]
    measured: frozenset[SParameter]


@dataclass(slots=True)
class Channel:
    """All settings of a channel, at first as after ``*RST``; and what it has measured."""

    number: int
    start: float = FREQUENCY_LIMITS[0]
    stop: float = FREQUENCY_LIMITS[1]
    points: int = 201
    sweep_type: str = "LIN"
    cw_frequency: float = 1e9
    stop_time: float = 0.0
    trigger: str = "IMM"
    bandwidth: float = 1e4
    power: float = -10.0
    is_averaging: bool = False
    average_count: int = 10
    average_mode: str = "AUTO"
    sweep_count: int = 1
    is_continuous: bool = True
    segments: list[SweepSegment] = field(default_factory=list)
    has_segment_bandwidths: bool = False
    has_segment_powers: bool = False
    calibration: tuple[str, tuple[int, ...]] | None = None
    traces: dict[str, SParameter] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    active_trace: str | None = None
    group: tuple[int, ...] = ()
    result: SweepResult | None = None
    averaged_sweeps: int = 0
    completed_sweeps: int = 0

    @property
    def name(self) -> str:
        """The channel's name."""
        return f"Ch{self.number}"

    def segments_on(self) -> list[SweepSegment]:
        """Return the segments that are swept."""
        return [segment for segment in self.segments if segment.is_on]

    def axis(self) -> NDArray[np.float64]:
        """Return what the next sweep is drawn over: frequencies in Hz, or times in s."""
        if self.sweep_type == "CW":
            return np.linspace(0.0, self.time_span(), self.points)
        if self.sweep_type == "SEGM":
            return np.concatenate([segment.axis() for segment in self.segments_on()])
        if self.points == 1:
            return np.array([self.start])
        if self.sweep_type == "LOG":
            return np.geomspace(self.start, self.stop, self.points)
        return np.linspace(self.start, self.stop, self.points)

    def time_span(self) -> float:
        """Return the duration of a time sweep in s: as asked for, or the least that its points need."""
        return max(self.stop_time, (self.points - 1) / self.bandwidth * max(1, len(self.driven_ports())))

    def stimulus(self) -> Stimulus:
        """Return what the next sweep drives."""
        times = self.axis() if self.sweep_type == "CW" else None
        frequencies = self.axis() if times is None else np.full(self.points, self.cw_frequency)
        bandwidths = np.full(frequencies.size, self.bandwidth)
        powers = np.full(frequencies.size, self.power)
        if self.sweep_type == "SEGM":
            segments = self.segments_on()
            counts = [segment.points for segment in segments]
            if self.has_segment_bandwidths:
                bandwidths = np.repeat([segment.bandwidth for segment in segments], counts)
            if self.has_segment_powers:
                powers = np.repeat([segment.power for segment in segments], counts)
        return Stimulus(frequencies, bandwidths, powers, self.driven_ports(), times)

    def calibrated_ports(self) -> tuple[int, ...]:
        """Return the ports of the active system error correction."""
        return self.calibration[1] if self.calibration else ()

    def driven_ports(self) -> tuple[int, ...]:
        """Return the ports that a sweep drives in turn.

        A full n-port correction of one S-parameter needs all n ports driven.
        """
        calibrated = set(self.calibrated_ports())
        driven = {source for _, source in self.traces.values()}
        if calibrated & {port for parameter in self.traces.values() for port in parameter}:
            driven |= calibrated
        return tuple(sorted(driven | (calibrated if not self.traces else set())))

    def measured_parameters(self) -> frozenset[SParameter]:
        """Return the S-parameters that a sweep measures: of all traces and of all calibrated ports."""
        ports = [port for port in self.calibrated_ports() if port in self.driven_ports()]
        return frozenset(self.traces.values()) | {(out, source) for out in ports for source in ports}

    def segment(self, number: int) -> SweepSegment:
        """Return a segment by its number from 1.

        Raises
        ------
        ScpiError
            There is none (-114).
        """
        if not 1 <= number <= len(self.segments):
            raise ScpiError(-114)
        return self.segments[number - 1]

    def trace(self, name: str) -> SParameter:
        """Return what a trace measures.

        Raises
        ------
        ScpiError
            There is no such trace (-224).
        """
        if name not in self.traces:
            raise ScpiError(-224, name)
        return self.traces[name]

    def add_trace(self, name: str, parameter: SParameter) -> None:
        """Create a trace or give it another parameter, and make it the active one."""
        self.traces[name] = parameter
        self.formats.setdefault(name, "MLOG")
        self.active_trace = name

    def delete_trace(self, name: str) -> None:
        """Delete a trace; the oldest left becomes active."""
        self.trace(name)
        del self.traces[name], self.formats[name]
        if self.active_trace == name:
            self.active_trace = next(iter(self.traces), None)

    def delete_all_traces(self) -> None:
        """Delete all traces and with them the S-parameter group."""
        self.group = ()
        self.traces.clear()
        self.formats.clear()
        self.active_trace = None

    def group_names(self) -> list[str]:
        """Return the names of the S-parameter group's traces, row by row of the matrix."""
        return [f"{self.name}_SG_{s_parameter_name(pair)}" for pair in self.group_parameters()]

    def group_parameters(self) -> list[SParameter]:
        """Return the S-parameters of the group, row by row of the matrix."""
        return [(out, source) for out in self.group for source in self.group]

    def define_group(self, ports: tuple[int, ...]) -> None:
        """Replace the S-parameter group by that of ``ports``; none deletes it."""
        for name in self.group_names():
            if name in self.traces:
                self.delete_trace(name)
        self.group = ports
        for name, parameter in zip(self.group_names(), self.group_parameters(), strict=True):
            self.add_trace(name, parameter)
        if ports:
            self.active_trace = self.group_names()[0]

    def available_parameters(self) -> list[SParameter]:
        """Return what DATA:CALL reads: the calibrated ports' matrix, else the traces' S-parameters."""
        ports = self.calibrated_ports()
        if ports:
            return [(out, source) for out in ports for source in ports]
        return list(dict.fromkeys(self.traces.values()))

    def values(self, parameter: SParameter) -> NDArray[np.complex128]:
        """Return one S-parameter of the last sweep; complex not-a-numbers where it was not measured."""
        out, source = parameter
        if self.result is None or parameter not in self.result.measured:
            return np.full(self.axis().size, complex(np.nan, np.nan))
        return self.result.scattering[:, out - 1, source - 1]

    def restart_average(self) -> None:
        """Let the next sweep be the first of its average (AVERage:CLEar)."""
        self.averaged_sweeps = 0

    def forget_result(self) -> None:
        """Note that the frequency axis has changed: nothing measured belongs to it."""
        self.result = None
        self.restart_average()
