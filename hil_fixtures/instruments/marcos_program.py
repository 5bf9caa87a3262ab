"""What a MaRCoS board does when it runs a program: words in, receive windows out.

True here: instruction set, output buffers with their delays, local oscillators, CIC rates and reset as
in the marga core; each instruction takes one clock, WAIT three more than it says, and what follows a
trigger comes out ten clocks after it. Not here: transmit, gradients, the second edge of a trigger pulse,
and the sampling of the trigger by the clock: scanner and boards share their reference.

Source: marga hdl/mardecode.sv, marbuffer.sv, marga.sv, rx_chain_model.sv; marcos_client marmachine.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil_fixtures.physics.shot import Shot

#: Hz; the SDRlab 122-16's converter and logic clock: marcos_client local_config.py.
CLOCK: Final = 122.88e6

#: Width of the oscillators' phase accumulators: marga.sv.
_PHASE_STEPS: Final = 2.0**31

#: Output buffers: marmachine.py.
_RX0_RATE, _RX1_RATE, _LO_FIRST, _LO_LAST, _RX_CONTROL, _BUFFERS = 3, 4, 9, 14, 16, 24

#: Instructions: marmachine.py.
_FINISH, _WAIT, _TRIGGER, _TRIGGER_FOREVER = 1, 2, 3, 4

#: Clocks that WAIT takes beyond its count: two states of mardecode.sv and the instruction itself.
_WAIT_EXTRA: Final = 3

#: Clocks from a trigger to what the next instruction puts out: four to synchronise and compare, two states
#: and the instruction in mardecode.sv, three in marbuffer.sv.
_TRIGGER_LATENCY: Final = 10

#: CIC rate after reset: rx_chain_model.sv.
_RESET_RATE: Final = 600

#: Clocks after the end of reset before a rate is taken: rx_chain_model.sv.
_RATE_AFTER_RESET: Final = 20

#: The oscillator selection that mixes with a constant: marga.sv.
_NO_OSCILLATOR: Final = 3


class NeedsTrigger(Exception):  # noqa: N818 - a statement, caught where triggers come from
    """The program waits for a trigger that has not come yet.

    Parameters
    ----------
    forever
        Whether it waits without a time limit.
    """

    def __init__(self, forever: bool) -> None:
        self.forever: Final = forever
        super().__init__(forever)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch with one receiver enabled.

    Parameters
    ----------
    receiver
        0 or 1.
    shot
        The trigger before it; None when there was none, or it timed out.
    start, rate, count
        Clocks from the trigger to the opening, clocks per sample, samples.
    oscillator
        Phase increment per clock in units of 2^-31 turns.
    turns
        How far the oscillator is ahead of one that was at zero at the trigger.
    opened
        Clocks, absolute.
    address
        Byte address that the program counter shows while the window is open.
    """

    receiver: int
    shot: Shot | None
    start: int
    rate: int
    count: int
    oscillator: int
    turns: float
    opened: float
    address: int


@dataclass(slots=True)
class _Oscillator:
    """One phase accumulator."""

    phase: float = 0.0
    time: float = 0.0
    step: int = 0
    cleared: bool = False

    def turns(self, now: float) -> float:
        """Return its phase in turns at ``now``."""
        if self.cleared:
            return 0.0
        return math.fmod(self.phase + self.step * (now - self.time) / _PHASE_STEPS, 1.0)

    def set_words(self, now: float, low: int, high: int) -> None:
        """Take new phase words."""
        self.phase, self.time = self.turns(now), now
        self.step, self.cleared = (high & 0x7FFF) << 16 | low, bool(high & 0x8000)


@dataclass(frozen=True, slots=True)
class _Opening:
    """What held when a window opened: clocks of it and of its trigger, the oscillator."""

    time: float
    trigger: float
    shot: Shot | None
    step: int
    turns: float


@dataclass(slots=True)
class _Chain:
    """One receiver: its CIC decimator and the open window, if any."""

    rate: int = _RESET_RATE
    counted: int = 0
    running_since: float = math.inf
    opened: _Opening | None = None


@dataclass(slots=True)
class BoardState:
    """What stays on a board from one program to the next."""

    buffers: list[int] = field(default_factory=lambda: [0] * _BUFFERS)
    oscillators: tuple[_Oscillator, _Oscillator, _Oscillator] = field(
        default_factory=lambda: (_Oscillator(), _Oscillator(), _Oscillator())
    )
    chains: tuple[_Chain, _Chain] = field(default_factory=lambda: (_Chain(), _Chain()))


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a program.

    Parameters
    ----------
    windows
        In the order of their closing.
    timed_out
        Byte addresses of the instructions whose trigger did not come in time.
    """

    windows: tuple[Window, ...]
    timed_out: tuple[int, ...]


#: Time in clocks, buffer, value, byte address of the instruction.
_Event: TypeAlias = tuple[float, int, int, int]


class Program:
    """A program as the client sent it.

    Parameters
    ----------
    code
        Little-endian 32-bit words; a rest of fewer than four bytes is ignored.
    """

    def __init__(self, code: bytes) -> None:
        words = np.frombuffer(code, "<u4", count=len(code) // 4)
        self._words: list[int] = words.tolist()
        ends = np.flatnonzero(words >> 24 == _FINISH)
        if ends.size:
            self._words = self._words[: int(ends[0])]
        operations = [word >> 24 for word in self._words]
        self.triggers: Final = operations.count(_TRIGGER) + operations.count(_TRIGGER_FOREVER)

    def run(self, state: BoardState, shots: Sequence[Shot], idle: float, *, no_more: bool) -> Run:
        """Run the program with the triggers ``shots`` and leave ``state`` as it ends.

        Parameters
        ----------
        state
            Of the board; changed.
        shots
            In the order of their times. A trigger that comes while the program does not wait is missed.
        idle
            Clocks that the program had waited when the first trigger came.
        no_more
            No further triggers will come: waits with a limit time out, waits without end the program.

        Raises
        ------
        NeedsTrigger
            The program waits, and more triggers may come.
        """
        return _Execution(self._words, state, shots, idle, no_more).run()


def _lead(words: Sequence[int]) -> int:
    """Return the clocks from a program's start to its first wait for a trigger."""
    clocks = 0
    for word in words:
        operation = word >> 24
        if operation in (_TRIGGER, _TRIGGER_FOREVER):
            break
        clocks += (word & 0xFFFFFF) + _WAIT_EXTRA if operation == _WAIT else 1
    return clocks


class _Execution:
    """One run of a program."""

    def __init__(
        self, words: Sequence[int], state: BoardState, shots: Sequence[Shot], idle: float, no_more: bool
    ) -> None:
        self._words = words
        self._state = state
        self._shots = shots
        self._no_more = no_more
        self._next_shot = 0
        self._now = shots[0].time * CLOCK - idle - _lead(words) if shots else 0.0
        self._busy = [-math.inf] * _BUFFERS
        self._triggered: list[tuple[float, Shot | None]] = [(self._now, None)]
        self._timed_out: list[int] = []
        self._windows: list[Window] = []

    def run(self) -> Run:
        """Step through the program, then through what its buffers put out."""
        events = self._issue()
        end = max([self._now, *(event[0] for event in events[-_BUFFERS:])])
        section = 0
        for time, buffer, value, address in sorted(events, key=lambda event: event[0]):
            while section + 1 < len(self._triggered) and self._triggered[section + 1][0] <= time:
                section += 1
            self._put_out(time, buffer, value, address, section)
        for receiver in (0, 1):
            self._switch(end, receiver, False, len(self._words) * 4, section)
        return Run(tuple(self._windows), tuple(self._timed_out))

    def _issue(self) -> list[_Event]:
        events: list[_Event] = []
        for index, word in enumerate(self._words):
            operation, data = word >> 24, word & 0xFFFFFF
            if operation & 0x80:
                buffer = operation & 0x1F
                if buffer < _BUFFERS:
                    # A buffer's queue counts each delay from the output before it: marbuffer.sv.
                    begin = max(self._now, self._busy[buffer] + 1.0)
                    self._busy[buffer] = begin + (data >> 16 & 0x7F)
                    events.append((self._busy[buffer], buffer, data & 0xFFFF, index * 4))
                self._now += 1.0
            elif operation == _WAIT:
                self._now += data + _WAIT_EXTRA
            elif operation in (_TRIGGER, _TRIGGER_FOREVER):
                if not self._await(operation == _TRIGGER_FOREVER, data, index * 4):
                    break
            else:
                self._now += 1.0
        return events

    def _await(self, forever: bool, limit: int, address: int) -> bool:
        """Wait for a trigger; False when it will never come."""
        while self._next_shot < len(self._shots):
            shot = self._shots[self._next_shot]
            time = shot.time * CLOCK
            # How long the first wait was, wall time has decided.
            if time - self._now > limit and not forever and self._next_shot:
                break
            self._next_shot += 1
            # Half a clock forgives rounding of absolute times.
            if time >= self._now - 0.5:
                self._now = time + _TRIGGER_LATENCY
                self._triggered.append((time, shot))
                return True
        else:
            if not self._no_more:
                raise NeedsTrigger(forever)
            if forever:
                return False
        self._now += limit
        self._triggered.append((self._now, None))
        self._timed_out.append(address)
        return True

    def _put_out(self, time: float, buffer: int, value: int, address: int, section: int) -> None:
        buffers, before = self._state.buffers, self._state.buffers[buffer]
        buffers[buffer] = value
        if _LO_FIRST <= buffer <= _LO_LAST:
            first = buffer - (buffer - _LO_FIRST) % 2
            oscillator = self._state.oscillators[(first - _LO_FIRST) // 2]
            oscillator.set_words(time, buffers[first], buffers[first + 1])
        elif buffer == _RX_CONTROL:
            for receiver in (0, 1):
                self._reset(time, receiver, before, value)
                self._switch(time, receiver, bool(value >> (8 + receiver) & 1), address, section)
        if buffer in (_RX_CONTROL, _RX0_RATE, _RX1_RATE):
            for receiver in (0, 1):
                self._take_rate(time, receiver)

    def _reset(self, time: float, receiver: int, before: int, after: int) -> None:
        chain, bit = self._state.chains[receiver], 1 << (6 + receiver)
        if not after & bit:
            chain.rate, chain.counted, chain.running_since = _RESET_RATE, 0, math.inf
        elif not before & bit or math.isinf(chain.running_since):
            chain.running_since = time

    def _take_rate(self, time: float, receiver: int) -> None:
        chain, buffers = self._state.chains[receiver], self._state.buffers
        word, is_valid = buffers[_RX0_RATE + receiver], buffers[_RX_CONTROL] >> (4 + receiver) & 1
        # Bits 12 up address other parameters of the open CIC: marcompile.py, cic_words.
        is_ready = time - chain.running_since >= _RATE_AFTER_RESET
        if is_valid and is_ready and not word >> 12 and word & 0xFFF:
            chain.rate = word & 0xFFF

    def _switch(self, time: float, receiver: int, enabled: bool, address: int, section: int) -> None:
        """Open or close a receiver's window."""
        chain = self._state.chains[receiver]
        if enabled and chain.opened is None:
            trigger, shot = self._triggered[section]
            selected = self._state.buffers[_RX_CONTROL] >> (2 * receiver) & 3
            oscillator = _Oscillator() if selected == _NO_OSCILLATOR else self._state.oscillators[selected]
            ahead = oscillator.turns(time) - oscillator.step * (time - trigger) / _PHASE_STEPS
            chain.opened = _Opening(time, trigger, shot, oscillator.step, ahead % 1.0)
        elif not enabled and chain.opened is not None:
            opened, chain.opened = chain.opened, None
            if not math.isinf(chain.running_since):
                self._close(receiver, chain, opened, time, address)

    def _close(self, receiver: int, chain: _Chain, opened: _Opening, time: float, address: int) -> None:
        # The decimator counts on where the last window left it: only a reset or a whole number of
        # samples makes the next window's first sample come one sample after its opening.
        first = round(opened.time - opened.trigger) - chain.counted
        count, chain.counted = divmod(chain.counted + round(time - opened.time), chain.rate)
        if count:
            window = Window(
                receiver=receiver,
                shot=opened.shot,
                start=first,
                rate=chain.rate,
                count=count,
                oscillator=opened.step,
                turns=opened.turns,
                opened=opened.time,
                address=address,
            )
            self._windows.append(window)
