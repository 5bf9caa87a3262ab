"""Plays a radial scan and turns what the receivers deliver into MRD acquisitions, spoke by spoke.

While one run of windows is filtered, sorted and consumed, the next is already armed and playing: a
single thread talks to the instruments, everything else happens in the caller's. A run whose data were
lost is played again, at most ``RETRIES`` times; what still is missing then is an error, never a gap.
However a scan ends, the RF amplifier is off afterwards.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from acquisition.assemble import Assembler
from acquisition.demodulate import design_filter
from acquisition.header import scan_header
from acquisition.plan import RadialScanPlan, plan_scan
from acquisition.sequence import radial_sequence
from acquisition.sort import Line, LineFlag, LineSorter, Readout, find_readout
from coilbench.base.errors import DataLost, InstrumentError, InstrumentFault, RunAborted
from coilbench.base.events import Event, EventSink, ignore
from drivers.protocols import Abort, ReceivePlan, never

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from concurrent.futures import Future

    import ismrmrd

    from acquisition.demodulate import ReceiveFilter
    from drivers.protocols import ReceiveBlock, Receiver, ReceiveSetting, Scanner

#: How often a run whose data were lost is played again.
RETRIES: Final = 2
#: Relative difference between planned and reported field beyond which the plan is for another magnet:
#: 1e-4 is 3.4 kHz for 23Na at 3 T, a tenth of the receive band.
_FIELD_TOLERANCE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class _Run:
    """Repetitions that are armed and played together, and how often that was tried before."""

    first: int
    count: int
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class RadialScan:
    """A radial scan made ready on one scanner and one receiver; made by ``prepare_scan``.

    Parameters
    ----------
    scanner, receiver
        Open instruments; whoever opened them closes them.
    plan
        What shall be scanned.
    setting
        What the receiver really set.
    receive_filter
        The whole receive chain.
    readout
        Which samples of a window are k-space.
    sequence
        Text of the Pulseq file that the scanner has loaded.
    """

    scanner: Scanner
    receiver: Receiver
    plan: RadialScanPlan
    setting: ReceiveSetting
    receive_filter: ReceiveFilter
    readout: Readout
    sequence: str

    def header(self, coil_labels: Sequence[str] | None = None, /) -> Any:  # noqa: ANN401 - untyped library
        """Return the MRD header for noise and scan, an ``ismrmrd.xsd.ismrmrdHeader``.

        Parameters
        ----------
        coil_labels
            One per receive channel; by default ch1, ch2, ...

        Raises
        ------
        ValueError
            Not one label per channel.
        """
        count = self.receiver.channel_count
        labels = coil_labels or [f"ch{number}" for number in range(1, count + 1)]
        if len(labels) != count:
            raise ValueError(f"{len(labels)} coil labels for {count} receive channels")
        return scan_header(self.plan, self.setting, self.receive_filter, self.readout, labels)

    def acquire(
        self,
        *,
        noise: bool = False,
        repetition: int = 0,
        abort: Abort = never,
        on_event: EventSink = ignore,
        full_scale: float | None = None,
    ) -> Generator[ismrmrd.Acquisition, None, None]:
        """Play the scan, or its noise scan, and return its acquisitions as they arrive.

        RF is off when the iterator has ended or was closed. A consumer that may fail in between closes it,
        best with ``contextlib.closing``: a forgotten iterator ends only when it is garbage.

        Parameters
        ----------
        noise
            Play ``plan.noise_windows`` repetitions without RF; the acquisitions are flagged as noise
            measurement, have no trajectory and hold every clean sample of their window.
        repetition
            Of the whole scan, from 0; counted on in ``scan_counter`` and ``idx.repetition``.
        abort
            Asked again and again, from two threads; the scan stops when it answers True.
        on_event
            Told the progress and what had to be repeated.
        full_scale
            V at the receivers' input beyond which they clip, for the lines' flags.

        Yields
        ------
        Each with data (channel, sample) in volts, trajectory (sample, 3) = k·fov/matrix, spoke number in
        ``idx.kspace_encode_step_1``, repetition in ``user_int[1]`` and ``LineFlag`` in ``user_int[0]``.

        Raises
        ------
        DataLost
            Windows were lost although they were played ``RETRIES`` times more.
        RunAborted
            ``abort`` answered True.
        InstrumentError
            Scanner or receiver failed. RF is off in all these cases.
        """
        if noise and self.plan.noise_windows == 0:
            return
        assembler = Assembler(
            self.plan, self.setting, self.receive_filter, self.readout, noise=noise, repetition=repetition
        )
        player = _Player(self, assembler, noise=noise, abort=abort, on_event=on_event, full_scale=full_scale)
        yield from player.play()


def prepare_scan(scanner: Scanner, receiver: Receiver, plan: RadialScanPlan, /) -> RadialScan:
    """Load the sequence, set the receiver and design the filters; nothing is played.

    Raises
    ------
    InstrumentError
        An instrument refuses, the scanner's field is not the plan's, or the scanner would give another
        number of triggers.
    ValueError
        The receiver's real timing does not hold the readout.
    """
    field = scanner.b0
    if abs(field - plan.b0) > _FIELD_TOLERANCE * plan.b0:
        raise InstrumentError(
            scanner.name, f"reports a field of {field:.6g} T; the scan is planned for {plan.b0:.6g} T"
        )
    sequence = radial_sequence(
        plan.design,
        plan.directions,
        plan.timing,
        flip_angle=plan.flip_angle,
        nucleus=plan.nucleus,
        transmit_frequency=plan.transmit_frequency,
        b0=plan.b0,
        fov=plan.fov,
        limits=plan.limits,
    )
    triggers = scanner.load(sequence)
    if triggers != plan.spokes:
        raise InstrumentFault(
            scanner.name, f"would give {triggers} triggers for a sequence of {plan.spokes} repetitions"
        )
    setting = receiver.configure(_receive_plan(plan))
    receive_filter = design_filter(
        stages=setting.filter_stages,
        decimation=setting.filter_decimation,
        interval=setting.plan.dwell_time,
        factor=plan.decimation,
    )
    readout = find_readout(setting, receive_filter, plan.dead_time, plan.readout_duration)
    return RadialScan(scanner, receiver, plan, setting, receive_filter, readout, sequence)


def acquire(
    scanner: Scanner,
    receiver: Receiver,
    plan: RadialScanPlan,
    *,
    abort: Abort = never,
    on_event: EventSink = ignore,
    noise: bool = False,
) -> Iterator[ismrmrd.Acquisition]:
    """Prepare a scan and return its acquisitions as they arrive.

    For noise scan, scan and header from one preparation use ``prepare_scan``. Parameters and errors are
    those of ``prepare_scan`` and ``RadialScan.acquire``.
    """
    scan = prepare_scan(scanner, receiver, plan)
    yield from scan.acquire(noise=noise, abort=abort, on_event=on_event)


def _receive_plan(plan: RadialScanPlan) -> ReceivePlan:
    return ReceivePlan(plan.transmit_frequency, plan.receiver_interval, plan.window_samples)


class _Player:
    """One playing of a scan: the wire in one thread, the numbers in the caller's."""

    def __init__(
        self,
        scan: RadialScan,
        assembler: Assembler,
        *,
        noise: bool,
        abort: Abort,
        on_event: EventSink,
        full_scale: float | None,
    ) -> None:
        self._scan = scan
        self._assembler = assembler
        self._noise = noise
        self._abort = abort
        self._on_event = on_event
        self._count = scan.plan.noise_windows if noise else scan.plan.spokes
        flags = LineFlag.NOISE if noise else scan.readout.flags
        self._sorter = LineSorter(scan.plan.order[: self._count], flags=flags, full_scale=full_scale)
        self._pending = deque(_runs(0, self._count, scan.receiver.windows_per_run))
        self._stop = threading.Event()
        #: Windows that the receiver has counted since it was configured.
        self._windows = 0

    def play(self) -> Iterator[ismrmrd.Acquisition]:
        """Play all runs, one ahead of the caller."""
        scanner = self._scan.scanner
        pool = ThreadPoolExecutor(1, thread_name_prefix="scan")
        finished = False
        try:
            self._configure()
            scanner.enable_rf(not self._noise)
            future = self._next(pool)
            while future is not None:
                run, first, outcome = future.result()
                lines = self._settle(run, first, outcome)
                future = self._next(pool)
                if isinstance(outcome, DataLost) or not lines:
                    continue
                yield from self._assembler.acquisitions(outcome, lines)
                self._report()
            finished = True
        finally:
            self._stop.set()
            try:
                if finished:
                    scanner.enable_rf(False)
                else:
                    scanner.make_safe()
            finally:
                pool.shutdown(cancel_futures=True)
                if not finished:
                    self._scan.receiver.make_safe()

    def _next(self, pool: ThreadPoolExecutor) -> Future[tuple[_Run, int, ReceiveBlock | DataLost]] | None:
        """Start the next run, None when there is none."""
        if not self._pending:
            return None
        if self._abort():
            raise RunAborted(
                f"the scan was stopped on request with {len(self._sorter.missing)} of {self._count} "
                "repetitions still to play"
            )
        return pool.submit(self._play_run, self._pending.popleft())

    def _play_run(self, run: _Run) -> tuple[_Run, int, ReceiveBlock | DataLost]:
        """Arm, play and collect; returns the window number that the run began with."""
        scanner, receiver = self._scan.scanner, self._scan.receiver
        first = self._windows
        receiver.arm(run.count)
        scanner.play(run.first, run.count)
        outcome: ReceiveBlock | DataLost
        try:
            outcome = receiver.collect(abort=self._is_over)
        except DataLost as error:
            outcome = error
        scanner.wait(abort=self._is_over)
        self._windows += run.count
        return run, first, outcome

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._abort()

    def _settle(self, run: _Run, first: int, outcome: ReceiveBlock | DataLost) -> list[Line]:
        """Return the lines of a run; what is missing of it is put back in the queue."""
        if isinstance(outcome, DataLost):
            self._repeat([run], str(outcome))
            return []
        lines = self._sorter.sort(outcome, run.first - first)
        arrived = {line.repetition for line in lines}
        lost = [number for number in range(run.first, run.first + run.count) if number not in arrived]
        if lost:
            self._repeat(
                [_Run(piece.first, piece.count, run.attempt) for piece in _pieces(lost)],
                f"{len(lost)} of {run.count} windows did not come",
            )
        return lines

    def _repeat(self, runs: list[_Run], reason: str) -> None:
        """Queue runs again and let the receiver count from 0, or give up."""
        lost = sum(run.count for run in runs)
        if runs[0].attempt >= RETRIES:
            raise DataLost(
                f"{lost} repetitions from number {runs[0].first} were lost {RETRIES + 1} times: {reason}. "
                "The lines before are complete; check triggers and receivers, or use fewer samples"
            )
        self._on_event(
            Event(
                "scan.repeated",
                f"{lost} repetitions from number {runs[0].first} are played again: {reason}",
                {"first": runs[0].first, "count": lost, "reason": reason},
            )
        )
        self._pending.extend(_Run(run.first, run.count, run.attempt + 1) for run in runs)
        self._configure()

    def _configure(self) -> None:
        """Set the receiver anew, so that its windows count from 0.

        Raises
        ------
        InstrumentFault
            It set something else than when the scan was prepared.
        """
        setting = self._scan.receiver.configure(_receive_plan(self._scan.plan))
        if setting != self._scan.setting:
            raise InstrumentFault(
                self._scan.receiver.name,
                f"set {setting} after it had set {self._scan.setting} for the same plan",
            )
        self._windows = 0

    def _report(self) -> None:
        done = self._count - len(self._sorter.missing)
        what = "noise windows" if self._noise else "spokes"
        self._on_event(
            Event(
                "scan.progress",
                f"{done} of {self._count} {what}",
                {"done": done, "total": self._count, "noise": self._noise},
            )
        )


def _runs(first: int, count: int, most: int) -> list[_Run]:
    """Return ``count`` repetitions from ``first`` in runs of at most ``most``."""
    return [_Run(start, min(most, first + count - start)) for start in range(first, first + count, most)]


def _pieces(numbers: list[int]) -> list[_Run]:
    """Return rising numbers as runs without holes."""
    cuts = np.flatnonzero(np.diff(numbers) > 1) + 1
    return [_Run(int(piece[0]), int(piece.size)) for piece in np.split(np.array(numbers), cuts)]


__all__ = ["RadialScan", "RadialScanPlan", "acquire", "plan_scan", "prepare_scan"]
