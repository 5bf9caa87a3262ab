"""MaRCoS boards (SDRlab 122-16 with the marga FPGA design) as one receiver, two channels per board.

Every board waits for the same trigger and restarts its local oscillator with it. The boards have no time
stamps and know nothing of one another: windows are told apart by counting triggers, so any window or
sample too few on any channel makes the whole run worthless (``DataLost``).
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import (
    ConnectionFailed,
    DataLost,
    InstrumentError,
    LimitExceeded,
    ReplyTimeout,
    RunAborted,
)
from drivers.protocols import Abort, ReceiveBlock, ReceivePlan, ReceiveSetting, never
from drivers.receivers import marcos_program as program
from drivers.receivers.marcos_board import CHANNELS_PER_BOARD, Board, halt, open_board, samples_of, shortage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from drivers.receivers.marcos_wire import BoardLink, Reply

_log: Final = logging.getLogger("coilbench.marcos")

#: Samples per channel that a run may hold without relying on the server to empty the FIFO in time: 16384
#: (marga.sv RX_FIFO_LENGTH) less the 2048 that make the server call it full (hardware.cpp, run_seq).
FIFO_SAMPLES: Final = 16384 - 2048
#: An output sample's effective centre lies this many samples before its end: half of 6 stages.
_GROUP_DELAY: Final = program.FILTER_STAGES / 2
#: Integers of the FPGA to fractions of full scale (marcos_client experiment.py, run).
_SCALE: Final = 2.0**-24
#: Seconds that the other boards get to finish when one has failed, and between two looks at ``abort``.
_GRACE, _LOOK = 1.0, 0.02


def open_receiver(
    addresses: Sequence[str],
    *,
    name: str,
    full_scale: float = 0.25,
    timeout: float = 5.0,
    trigger_timeout: float = 10.0,
    repetition_limit: float = 1.0,
    clock_frequency: float = program.CLOCK_FREQUENCY,
) -> MarcosReceiver:
    """Open any number of boards as one receiver and halt whatever they were doing.

    Parameters
    ----------
    addresses
        ``tcp://host:port`` of each board in the order of the channels; without a port 11111 is meant.
    name
        The receiver's name in the bench file.
    full_scale
        Peak volts at the input that drive the converter to its limit (SDRlab 122-16: 0.25 V).
    timeout
        Seconds that an ordinary answer may take.
    trigger_timeout
        Seconds from ``collect`` to the first trigger, at most.
    repetition_limit
        Seconds from one trigger to the next, at most.
    clock_frequency
        Hz.

    Raises
    ------
    ConnectionFailed
        One or more boards are missing, silent, or speak another version; all of them are named.
    ValueError
        No address, or one twice.
    """
    places = [addresses] if isinstance(addresses, str) else list(addresses)
    if not places or len(set(places)) < len(places):
        raise ValueError(f"a receiver needs the addresses of its boards, each once; got {places}")
    numbered = [f"{name} board {number}" for number in range(1, len(places) + 1)]
    with ThreadPoolExecutor(len(places), thread_name_prefix="open") as pool:
        pending = [
            pool.submit(open_board, place, name=label, timeout=timeout)
            for place, label in zip(places, numbered, strict=True)
        ]
    boards = [future.result() for future in pending if future.exception() is None]
    failures = [error for future in pending if (error := future.exception()) is not None]
    if failures:
        for board in boards:
            board.link.close()
        raise _all_missing(name, failures, len(places))
    waits = _Patience(timeout, trigger_timeout, repetition_limit)
    return MarcosReceiver(boards, name=name, full_scale=full_scale, patience=waits, clock=clock_frequency)


@dataclass(frozen=True, slots=True)
class _Patience:
    """Seconds: for an ordinary answer, for the first trigger, between triggers."""

    reply: float
    trigger: float
    repetition: float


@dataclass(frozen=True, slots=True)
class _Run:
    """What was armed: number of windows, and the first one's number since ``configure``."""

    windows: int
    first: int


class MarcosReceiver:
    """Open boards; a ``Receiver``. Made by ``open_receiver``."""

    def __init__(
        self, boards: Sequence[Board], *, name: str, full_scale: float, patience: _Patience, clock: float
    ) -> None:
        self._boards: Final = tuple(boards)
        self._name: Final = name
        self._full_scale: Final = full_scale
        self._patience: Final = patience
        self._clock: Final = clock
        self._setting: ReceiveSetting | None = None
        self._window: program.Window | None = None
        self._next_window = 0
        self._run: _Run | None = None
        self._is_suspect = False
        self._pool: Final = ThreadPoolExecutor(len(boards), thread_name_prefix=name)
        self._closed = False

    @property
    def name(self) -> str:
        """Name and addresses, as error messages give them."""
        return f"{self._name} ({', '.join(board.link.address for board in self._boards)})"

    @property
    def identity(self) -> str:
        """Version and nature (hardware, simulation or software) of every board's server."""
        return "; ".join(board.identity for board in self._boards)

    @property
    def channel_count(self) -> int:
        """Receive channels of all boards: board 1 rx0, board 1 rx1, board 2 rx0, ..."""
        return CHANNELS_PER_BOARD * len(self._boards)

    def configure(self, plan: ReceivePlan, /) -> ReceiveSetting:
        """Set all boards and return what was really set; the window counter restarts at 0.

        The oscillator's frequency, the dwell time and the delay are rounded to what the boards have; a delay
        shorter than the shortest becomes that.

        Raises
        ------
        LimitExceeded
            The boards cannot sample so; the text says what is allowed.
        """
        decimation = round(plan.dwell_time * self._clock)
        self._check(plan, decimation)
        delay = max(round(plan.delay * self._clock), program.shortest_delay())
        word = program.oscillator_word(plan.frequency, self._clock)
        self._window = program.Window(word, decimation, plan.samples, delay)
        dwell_time = decimation / self._clock
        actual = ReceivePlan(
            program.oscillator_frequency(word, self._clock), dwell_time, plan.samples, delay / self._clock
        )
        self._setting = ReceiveSetting(
            plan=actual,
            first_sample_time=actual.delay + (1 - _GROUP_DELAY) * dwell_time,
            settling_samples=program.FILTER_STAGES,
            filter_stages=program.FILTER_STAGES,
            filter_decimation=decimation,
        )
        self._next_window = 0
        return self._setting

    @property
    def windows_per_run(self) -> int:
        """Most windows that one ``arm`` may ask for without overflowing a board's FIFO.

        Raises
        ------
        ValueError
            The receiver has not been configured.
        """
        return FIFO_SAMPLES // self._configured().samples

    def arm(self, windows: int, /) -> None:
        """Let every board wait for ``windows`` triggers; returns when all have been told.

        Raises
        ------
        LimitExceeded
            More windows than ``windows_per_run``.
        ReplyTimeout, ConnectionLost, ConnectionFailed
            A board (named) does not listen.
        ValueError
            Not configured, armed already, or no window asked for.
        """
        window = self._configured()
        if self._run is not None:
            raise ValueError(f"{self.name} is armed already; collect first")
        if windows < 1:
            raise ValueError(f"a run needs at least one window; got {windows}")
        if windows > self.windows_per_run:
            raise LimitExceeded(
                self.name,
                f"{windows} windows of {window.samples} samples overflow the FIFO; at most "
                f"{self.windows_per_run} in one run",
            )
        if self._is_suspect:
            self._all(halt)
            self._is_suspect = False
        request = {"run_seq": program.build(window, windows)}
        try:
            self._all(lambda link: link.send(request))
        except BaseException:
            self._is_suspect = True
            raise
        self._run = _Run(windows, self._next_window)
        self._next_window += windows

    def collect(self, *, abort: Abort = never) -> ReceiveBlock:
        """Return what was received since ``arm``.

        Windows that were lost keep their numbers: the next run goes on counting after them.

        Raises
        ------
        DataLost
            A board reports an error or delivered another number of samples; the whole block is discarded.
        ReplyTimeout, ConnectionLost, ProtocolError
            A board (named) stopped answering, vanished, or sent what it must not.
        RunAborted
            ``abort`` answered True; the boards are halted before they are armed again.
        ValueError
            Not armed.
        """
        run, self._run = self._run, None
        window = self._configured()
        if run is None:
            raise ValueError(f"{self.name} is not armed")
        self._is_suspect = True
        replies = self._receive_all(run, abort)
        channels: list[NDArray[np.complex64]] = []
        complaints: list[str] = []
        for board, reply in zip(self._boards, replies, strict=True):
            complaints.extend(f"{board.link.name} reports: {word}" for word in reply.errors)
            for number, samples in enumerate(samples_of(board.link.name, reply)):
                channels.append(samples)
                if samples.size != run.windows * window.samples:
                    complaints.append(
                        shortage(board.link.name, number, samples.size, run.windows, window.samples)
                    )
        if complaints:
            raise DataLost(
                f"the {run.windows} windows from number {run.first} are discarded: {'; '.join(complaints)}"
            )
        self._is_suspect = False
        data = np.stack([samples.reshape(run.windows, window.samples) for samples in channels], axis=1)
        data *= np.float32(program.gain_correction(window.decimation) * _SCALE * self._full_scale)
        numbers = np.arange(run.first, run.first + run.windows, dtype=np.int64)
        return ReceiveBlock(data, run.first, numbers * window.samples)

    def make_safe(self) -> None:
        """Halt every board; a board that is gone or still waits for triggers is only reported to the log."""
        if self._closed:
            return
        self._run = None
        for future in [self._pool.submit(halt, board.link, self._patience.reply) for board in self._boards]:
            error = future.exception()
            if error is not None:
                _log.warning("cannot be halted: %s", error)
                self._is_suspect = True

    def close(self) -> None:
        """Halt the boards and release the links; may be called twice."""
        self.make_safe()
        self._closed = True
        self._pool.shutdown()
        for board in self._boards:
            board.link.close()

    def _configured(self) -> program.Window:
        if self._window is None:
            raise ValueError(f"{self.name} has not been configured")
        return self._window

    def _check(self, plan: ReceivePlan, decimation: int) -> None:
        fastest, slowest = program.DECIMATION_RANGE
        shortest, longest = fastest / self._clock * 1e6, slowest / self._clock * 1e6
        wrong: list[str] = []
        if not 0.0 < plan.frequency < self._clock:
            wrong.append(
                f"frequency {plan.frequency / 1e6:g} MHz; allowed are 0 to {self._clock / 1e6:g} MHz"
            )
        if not fastest <= decimation <= slowest:
            wrong.append(
                f"dwell time {plan.dwell_time * 1e6:g} µs; allowed are {shortest:.4g} to {longest:.4g} µs"
            )
        if not 1 <= plan.samples <= FIFO_SAMPLES:
            wrong.append(f"{plan.samples} samples; allowed are 1 to {FIFO_SAMPLES}")
        if plan.delay < 0.0:
            wrong.append(f"delay {plan.delay:g} s; it must not be negative")
        if wrong:
            raise LimitExceeded(self.name, "; ".join(wrong))
        if plan.frequency > self._clock / 2:
            _log.warning(
                "%s: %.4f MHz lies above half the clock (%.2f MHz): noise from below folds in "
                "unless a band-pass filter keeps it out",
                self.name,
                plan.frequency / 1e6,
                self._clock / 2e6,
            )

    def _all(self, act: Callable[[BoardLink], object]) -> None:
        """Do something with all boards at once; every failure is reported."""
        failures = [
            error
            for future in [self._pool.submit(act, board.link) for board in self._boards]
            if (error := future.exception()) is not None
        ]
        if failures:
            raise _together(failures)

    def _receive_all(self, run: _Run, abort: Abort) -> list[Reply]:
        """Return every board's reply; when one fails the others get a moment to finish, not all the time."""
        patience = self._patience.trigger + run.windows * self._patience.repetition
        given_up = threading.Event()
        hint = (
            f": {run.windows} triggers are needed and not all came; did the scanner play? A real board hears "
            "nothing else while it waits for a trigger: restart its marcos_server if it stays silent"
        )
        pending = [
            self._pool.submit(board.link.receive, patience, given_up.is_set, hint=hint)
            for board in self._boards
        ]
        aborted = False
        grace: float | None = None
        while waiting := [future for future in pending if not future.done()]:
            wait(waiting, timeout=_LOOK, return_when=FIRST_COMPLETED)
            if abort():
                aborted = True
                given_up.set()
            if any(future.done() and future.exception() is not None for future in pending):
                grace = grace or time.monotonic() + _GRACE
                if time.monotonic() > grace:
                    given_up.set()
        failures = [error for future in pending if (error := future.exception()) is not None]
        if aborted and failures:
            raise RunAborted(
                f"{self.name}: receiving was stopped on request; the run's windows are discarded"
            )
        if failures:
            raise _together(failures)
        return [future.result() for future in pending]


def _together(failures: Sequence[BaseException]) -> BaseException:
    """Return the most telling failure with the others as notes."""
    # boards given up because another failed say only that they were not finished
    ranked = sorted(failures, key=lambda error: isinstance(error, ReplyTimeout))
    for other in ranked[1:]:
        ranked[0].add_note(f"also: {other}")
    return ranked[0]


def _all_missing(name: str, failures: Sequence[BaseException], count: int) -> ConnectionFailed:
    strangers = [error for error in failures if not isinstance(error, InstrumentError)]
    if strangers:
        raise strangers[0]
    listed = "; ".join(str(error) for error in failures)
    return ConnectionFailed(name, f"{len(failures)} of {count} boards cannot be used: {listed}")
