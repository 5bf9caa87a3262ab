"""What each kind of instrument can do, as small protocols, and the plans they are given.

A plan goes in, the plan as the instrument really set it comes out: what was really set is data.
Who opens an instrument closes it. Every blocking call has a deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import skrf
    from numpy.typing import NDArray

#: Answers True when the caller wants the wait to end now.
Abort: TypeAlias = Callable[[], bool]


def never() -> bool:
    """Return False: the abort of callers who wait to the end."""
    return False


@runtime_checkable
class Instrument(Protocol):
    """What every open instrument can do."""

    @property
    def name(self) -> str:
        """Name and address, as error messages give them."""
        ...

    @property
    def identity(self) -> str:
        """What the instrument says it is (its ``*IDN?`` or equivalent)."""
        ...

    def make_safe(self) -> None:
        """Switch RF, bias and motion off; never raises on an instrument that is already gone."""
        ...

    def close(self) -> None:
        """Make safe and release the link; may be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of a sweep: ``points`` frequencies from ``start`` to ``stop`` in Hz, both included."""

    start: float
    stop: float
    points: int

    def __post_init__(self) -> None:
        """Check the order of the ends.

        Raises
        ------
        ValueError
            ``start`` is not below ``stop``, or fewer than two points.
        """
        if not 0.0 < self.start < self.stop or self.points < 2:
            raise ValueError(
                f"a segment needs 0 < start < stop and at least 2 points; got {self.start} Hz, "
                f"{self.stop} Hz, {self.points} points"
            )


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What a network analyzer shall sweep.

    Parameters
    ----------
    segments
        In rising order, not overlapping. Two nuclei are two segments.
    if_bandwidth
        Hz.
    power_dbm
        Source power at the port.
    averages
        Sweeps averaged by the instrument.
    """

    segments: tuple[Segment, ...]
    if_bandwidth: float = 1e3
    power_dbm: float = -10.0
    averages: int = 1

    @property
    def points(self) -> int:
        """Number of frequencies in all segments."""
        return sum(segment.points for segment in self.segments)


class NetworkAnalyzer(Instrument, Protocol):
    """Measures S-parameters."""

    @property
    def port_count(self) -> int:
        """Number of test ports."""
        ...

    @property
    def reflection_ports(self) -> tuple[int, ...]:
        """Ports (counted from 1) whose own reflection can be measured without moving a cable."""
        ...

    def configure(self, plan: SweepPlan, /) -> SweepPlan:
        """Set the sweep and return it as read back.

        Raises
        ------
        LimitExceeded
            The source power is above the driver's limit.
        InstrumentFault
            The instrument refused a setting.
        """
        ...

    def sweep(self, ports: Sequence[int] | None = None, /, *, abort: Abort = never) -> skrf.Network:
        """Trigger one sweep and return the S-parameters of ``ports`` (counted from 1; None: all).

        The frequency axis is read from the instrument. All parameters come from one trigger. An
        analyzer that cannot measure all S-parameters of ``ports`` raises ValueError.

        Raises
        ------
        ReplyTimeout, ConnectionLost, InstrumentFault, ProtocolError
            The instrument stopped answering, vanished, complained, or sent what it must not.
        """
        ...


@dataclass(frozen=True, slots=True)
class TimePlan:
    """One S-parameter at one frequency over time.

    Parameters
    ----------
    out, source
        Ports, counted from 1: the wave that comes out of ``out`` while ``source`` is driven.
    frequency
        Hz.
    duration
        s; an instrument takes more where its bandwidth needs it.
    points
        Equidistant over the duration.
    if_bandwidth
        Hz.
    power_dbm
        Source power at the port.
    """

    out: int
    source: int
    frequency: float
    duration: float
    points: int = 201
    if_bandwidth: float = 1e6
    power_dbm: float = 0.0


@runtime_checkable
class TransientAnalyzer(NetworkAnalyzer, Protocol):
    """A network analyzer that can also follow one S-parameter over time."""

    def record(
        self, plan: TimePlan, cause: Callable[[], None] | None = None, /, *, abort: Abort = never
    ) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Record an S-parameter and return its times in s and values, each of shape (point,).

        With ``cause`` time zero is a pulse at the trigger input; what ``cause`` does must give it. Frequency
        sweeps are to be configured anew afterwards.

        Raises
        ------
        LimitExceeded
            The source power is above the driver's limit.
        ReplyTimeout, ConnectionLost, InstrumentFault, ProtocolError
            No pulse came; the instrument stopped answering, vanished, complained, or sent what it must not.
        """
        ...


@runtime_checkable
class ForwardAnalyzer(NetworkAnalyzer, Protocol):
    """A network analyzer that drives its first port only."""

    def sweep_forward(self, *, abort: Abort = never) -> tuple[skrf.Network, skrf.Network]:
        """Sweep and return S11 and S21, each as a one-port Network; errors as ``sweep``."""
        ...


@dataclass(frozen=True, slots=True)
class Axis:
    """One motorised trimmer.

    Parameters
    ----------
    name
        As the controller calls it, such as ``"ch3.h.match"``.
    minimum, maximum
        Travel limits in steps, as the controller reports them.
    """

    name: str
    minimum: int
    maximum: int


class Tuner(Instrument, Protocol):
    """Moves trimmer capacitors and switches detuning bias."""

    @property
    def axes(self) -> Mapping[str, Axis]:
        """All axes by name."""
        ...

    def positions(self) -> dict[str, int]:
        """Return the absolute position of every axis in steps."""
        ...

    def move(self, targets: Mapping[str, int], /, *, abort: Abort = never) -> dict[str, int]:
        """Move several axes at once and return their positions when all are done.

        Raises
        ------
        LimitExceeded
            A target lies outside its axis' travel; nothing has moved.
        InstrumentFault
            An axis did not arrive (its name is in the text).
        """
        ...

    def home(self) -> None:
        """Move every axis to its lower end and count from there."""
        ...

    def stop(self) -> None:
        """Stop all motion now."""
        ...

    @property
    def bias_channels(self) -> int:
        """Number of detuning bias outputs, counted from 1."""
        ...

    def set_bias(self, channel: int, current: float, /) -> float:
        """Set a detuning bias current in A and return it as read back.

        Raises
        ------
        LimitExceeded
            Above the limit of the controller or of the bench file.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReceivePlan:
    """What the receivers shall sample after each trigger.

    Parameters
    ----------
    frequency
        Local oscillator in Hz.
    dwell_time
        Complex sample interval in s at the output of the receiver's own decimation.
    samples
        Complex samples in each window.
    delay
        From the trigger to the opening of the window, in s.
    """

    frequency: float
    dwell_time: float
    samples: int
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class ReceiveSetting:
    """The plan as the receiver really set it, and what follows from its filters.

    Parameters
    ----------
    plan
        The plan with quantised frequency and dwell time.
    first_sample_time
        Time from the trigger to the effective (group-delay corrected) centre of sample 0, in s;
        may be negative.
    settling_samples
        Samples at the start of each window that the receiver's filter had not yet filled.
    filter_stages, filter_decimation
        The receiver's CIC filter: number of stages and decimation factor (input clocks per sample).
    """

    plan: ReceivePlan
    first_sample_time: float
    settling_samples: int
    filter_stages: int
    filter_decimation: int


@dataclass(frozen=True, slots=True)
class ReceiveBlock:
    """What all receivers sampled in consecutive windows.

    Parameters
    ----------
    data
        complex64, shape (window, channel, sample), volts at the receiver's input (peak amplitude of
        the complex envelope), right-handed: a spin faster than the local oscillator turns counter-clockwise.
    first_window
        Number of the first window since ``configure``, counted by trigger.
    first_sample
        Absolute sample index of each window's first sample since ``configure``, int64, shape (window,).
    """

    data: NDArray[np.complex64]
    first_window: int
    first_sample: NDArray[np.int64]


class Receiver(Instrument, Protocol):
    """Any number of boards that sample together as one receiver."""

    @property
    def channel_count(self) -> int:
        """Receive channels of all boards."""
        ...

    def configure(self, plan: ReceivePlan, /) -> ReceiveSetting:
        """Set all boards and return what was really set; the window counter restarts at 0."""
        ...

    @property
    def windows_per_run(self) -> int:
        """Most windows that one ``arm`` may ask for without overflowing a board's memory."""
        ...

    def arm(self, windows: int, /) -> None:
        """Let every board wait for ``windows`` triggers; returns when all have been told."""
        ...

    def collect(self, *, abort: Abort = never) -> ReceiveBlock:
        """Return what was received since ``arm``.

        Raises
        ------
        DataLost
            A board overflowed or delivered another number of samples; the whole block is discarded.
        ReplyTimeout, ConnectionLost
            A board (named) stopped answering or vanished.
        """
        ...


class Scanner(Instrument, Protocol):
    """Plays a pulse sequence and triggers the receivers."""

    @property
    def b0(self) -> float:
        """Field in T as the scanner reports it."""
        ...

    def load(self, sequence: str, /) -> int:
        """Load a Pulseq file's text and return the number of triggers that it will give."""
        ...

    def enable_rf(self, enabled: bool, /) -> None:
        """Switch the RF amplifier; without it a scan is a noise scan with the same triggers."""
        ...

    def play(self, first: int, count: int, /) -> None:
        """Start playing ``count`` repetitions from number ``first`` (from 0); returns at once."""
        ...

    def wait(self, *, abort: Abort = never) -> None:
        """Wait until the repetitions asked for have been played."""
        ...


class SwitchMatrix(Instrument, Protocol):
    """Connects the few ports of an analyzer to some of the many ports of a device."""

    @property
    def analyzer_ports(self) -> tuple[int, ...]:
        """Ports on the analyzer's side, counted from 1."""
        ...

    @property
    def device_ports(self) -> tuple[int, ...]:
        """Ports on the device's side, counted from 1."""
        ...

    @property
    def connected(self) -> tuple[int, ...] | None:
        """Device ports at analyzer port 1, 2, ...; empty when parked; None when not known."""
        ...

    def connect(self, device_ports: Sequence[int], /) -> tuple[int, ...]:
        """Connect analyzer port 1, 2, ... to ``device_ports``, breaking before making, and read back.

        Every other device port ends in its load, always the same one.

        Raises
        ------
        ValueError
            No such connection; nothing has moved.
        InstrumentFault
            A relay (named) is not where it was sent.
        """
        ...

    def park(self) -> None:
        """Let every device port end in its load."""
        ...
