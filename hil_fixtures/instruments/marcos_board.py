"""A simulated MaRCoS board: two receive channels behind the msgpack server, protocol 1.0.5.

True here: packets, replies and error texts of marcos_server; one client at a time, a second one hangs
until the first has gone; a malformed packet is answered once and the connection dropped. The FIFO has
its depth and the server its reading speed.
Against marcos_server: a trigger that times out is reported as an error (`MarcosSettings`).

Signs: the oscillator of marga mixes with the other hand, so Q comes with the wrong sign for MRI: a
client conjugates what it reads (MaRGE controller/experiment_gui.py does).

Source: marcos_server src/iface.cpp, hardware.cpp; marcos_client experiment.py, marcompile.py.
"""

from __future__ import annotations

import copy
import math
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgpack
import numpy as np

from hil_fixtures.instruments.faults import LinkFaults
from hil_fixtures.instruments.marcos_packets import (
    CLOSE_SERVER,
    EMERGENCY_STOP,
    LARGEST_PACKET,
    REPLY,
    REPLY_ERROR,
    Answer,
    Registers,
    check_version,
    read_packet,
)
from hil_fixtures.instruments.marcos_program import CLOCK, BoardState, NeedsTrigger, Program
from hil_fixtures.instruments.rx_fifo import RxFifo
from hil_fixtures.instruments.trigger_line import SampleRequest, silent_shot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hil_fixtures.instruments.marcos_packets import Packet
    from hil_fixtures.instruments.marcos_program import Run, Window
    from hil_fixtures.instruments.trigger_line import TriggerLine
    from hil_fixtures.instruments.wire import Wire
    from hil_fixtures.physics.shot import Shot

#: V peak at the converter for full scale: Red Pitaya SDRlab 122-16 data sheet (0.5 V peak to peak).
FULL_SCALE: Final = 0.25

#: Stages of the CIC decimators and the power of two its gain is normalised to: marmachine.py, marcompile.py.
_CIC_STAGES, _CIC_NORMAL_RATE = 6, 4096

#: Hz; an oscillator at rest mixes with a constant, where the world's circuit has no answer.
_LOWEST_FREQUENCY: Final = 1e3

#: Wall seconds between two looks at whether a waiting program's triggers are overdue.
_GLANCE: Final = 0.05

#: Clocks of the scanner that a board may have waited for its first trigger: sets the phase of an
#: oscillator that the program does not restart. Any number large against a turn will do.
_LONGEST_IDLE: Final = 2**31


def cic_factor(rate: int) -> float:
    """Return by how much the CIC's power-of-two shift leaves samples of this rate too small."""
    return float(2.0 ** math.fmod(_CIC_STAGES * math.log2(_CIC_NORMAL_RATE / rate), 1.0))


@dataclass(frozen=True, slots=True)
class MarcosSettings:
    """How a board behaves.

    Parameters
    ----------
    trigger_wait
        Wall seconds after which a TRIG instruction times out, whatever its limit in clocks. In the
        scanner's time its limit holds as it is.
    report_timeouts
        Whether time-outs are reported as errors. marcos_server 1.0.5 goes on without a word.
    """

    trigger_wait: float = 3.0
    report_timeouts: bool = True


@dataclass(slots=True)
class MarcosFaults:
    """What is broken on a board; may be changed at any time.

    Parameters
    ----------
    silent
        Executes and answers nothing.
    hang_up
        Resets the connection when a program shall run.
    lost_samples
        Samples missing at the end of its second channel.
    fifo_depth
        Pairs, with a server too busy to read while the program runs; None for a healthy board.
    """

    silent: bool = False
    hang_up: bool = False
    lost_samples: int = 0
    fifo_depth: int | None = None


class _Armed:
    """A program that waits for its triggers."""

    def __init__(self, program: Program, board: MarcosBoard, idle: float) -> None:
        self.done: Final = threading.Event()
        self.run: Run | None = None
        self.samples: Sequence[NDArray[np.complex128]] = ()
        self.forever = False
        self.heard = time.monotonic()
        self._program = program
        self._board = board
        self._idle = idle
        self._shots: list[Shot] = []

    def offer(self, shots: Sequence[Shot], /) -> Sequence[SampleRequest] | None:
        """Go on with these triggers; None while more are needed."""
        self._shots += shots
        self.heard = time.monotonic()
        return self.attempt(no_more=False)

    def attempt(self, *, no_more: bool) -> Sequence[SampleRequest] | None:
        """Run with the triggers there are; None when more are needed."""
        state = copy.deepcopy(self._board.state)
        try:
            self.run = self._program.run(state, self._shots, self._idle, no_more=no_more)
        except NeedsTrigger as needs:
            self.forever = needs.forever
            return None
        self._board.state = state
        return self._board.requests(self.run)

    def deliver(self, samples: Sequence[NDArray[np.complex128]], /) -> None:
        """Take the samples and let the board answer."""
        self.samples = samples
        self.done.set()


class MarcosBoard:
    """One board: its server, its two receivers.

    Parameters
    ----------
    number
        From 0; the board has channels ``2 * number`` and ``2 * number + 1`` of the array.
    line
        Its trigger input and what it samples.
    seed
        Draws how long a program waits for its first trigger.
    settings, faults
        Behaviour.
    """

    def __init__(
        self,
        number: int,
        line: TriggerLine,
        seed: int = 0,
        settings: MarcosSettings | None = None,
        faults: MarcosFaults | None = None,
    ) -> None:
        self.faults: Final = faults if faults is not None else MarcosFaults()
        self.link_faults: Final = LinkFaults(number)
        self.line: Final = line
        self.state = BoardState()
        self._settings = settings if settings is not None else MarcosSettings()
        self._number = number
        self._random = np.random.default_rng((seed, number))
        self._registers = Registers(self._write_buffer, self._halt)
        self._links: deque[MarcosLink] = deque()
        self._is_shut = False

    def open_link(self, wire: Wire, /) -> MarcosLink:
        """Return the server's end of a new connection; it is served when those before it have gone."""
        link = MarcosLink(self, wire)
        self._links.append(link)
        if self._links[0] is link:
            link.serve()
        return link

    def release(self, link: MarcosLink) -> None:
        """Serve the next connection when ``link`` was the one served."""
        was_served = self._links[0] is link
        self._links.remove(link)
        if was_served and self._links:
            self._links[0].serve()

    def process(self, packet: Packet, link: MarcosLink) -> bytes | None:
        """Return the reply to a packet; None when its client has gone. Called on a worker thread."""
        answer = Answer()
        check_version(answer, packet.version)
        if packet.kind == EMERGENCY_STOP:
            answer.errors.append("Emergency stop not yet implemented!")
            answer.warnings.append("Tried to carry out emergency stop!")
            return answer.pack(REPLY_ERROR, packet.index)
        if packet.kind == CLOSE_SERVER:
            self._is_shut = True
            answer.infos.append("Shutting down server.")
            return answer.pack(REPLY, packet.index)
        self._registers.answer(packet.commands, lambda code, into: self._run(code, into, link), answer)
        return None if link.is_gone.is_set() else answer.pack(REPLY, packet.index)

    @property
    def is_shut(self) -> bool:
        """Whether a client has closed the server."""
        return self._is_shut

    def requests(self, run: Run) -> list[SampleRequest]:
        """Return what the windows of a run want of the world; untriggered ones want noise."""
        silent: dict[float, Shot] = {}
        return [self._request(window, silent) for window in run.windows]

    def _request(self, window: Window, silent: dict[float, Shot]) -> SampleRequest:
        shot = window.shot
        if shot is None:
            # Both receivers of a board hear the same noise at the same time.
            if window.opened not in silent:
                silent[window.opened] = silent_shot(self.line.next_index())
            shot = silent[window.opened]
        return SampleRequest(
            shot=shot,
            channel=2 * self._number + window.receiver,
            frequency=max(window.oscillator * CLOCK / 2.0**31, _LOWEST_FREQUENCY),
            start=window.start / CLOCK,
            interval=window.rate / CLOCK,
            count=window.count,
        )

    def _write_buffer(self, word: int) -> None:
        code = struct.pack("<I", 0x80000000 | (word & 0x1F00FFFF))
        Program(code).run(self.state, (), 0.0, no_more=True)

    def _halt(self) -> None:
        self._write_buffer(16 << 24)

    def _run(self, code: bytes, answer: Answer, link: MarcosLink) -> object:
        """Run a program and return the result of ``run_seq``."""
        armed = _Armed(Program(code), self, float(self._random.integers(_LONGEST_IDLE)))
        requests = armed.attempt(no_more=False)
        if requests is None:
            requests = self._await(armed, link)
        if requests is not None:
            armed.deliver(self.line.sample([requests])[0])
        if armed.run is None or link.is_gone.is_set():
            return 0
        return self._result(armed.run, armed.samples, answer)

    def _await(self, armed: _Armed, link: MarcosLink) -> Sequence[SampleRequest] | None:
        """Wait for the triggers; return what is still to be sampled when they did not come."""
        link.armed = armed
        self.line.arm(armed)
        if link.is_gone.is_set():
            link.let_go()
        while not armed.done.wait(_GLANCE):
            quiet = time.monotonic() - armed.heard
            if not armed.forever and quiet > self._settings.trigger_wait and self.line.disarm(armed):
                return armed.attempt(no_more=True)
        link.armed = None
        return None

    def _result(self, run: Run, samples: Sequence[NDArray[np.complex128]], answer: Answer) -> object:
        if run.timed_out and self._settings.report_timeouts:
            answer.errors.append(
                f"{len(run.timed_out)} trigger/s timed out during sequence, first around byte address "
                f"0x{run.timed_out[0]:x}"
            )
        fifo = RxFifo(self.faults.fifo_depth)
        result: dict[str, list[int]] = {}
        for receiver in (0, 1):
            chosen = [
                (window, data)
                for window, data in zip(run.windows, samples, strict=True)
                if window.receiver == receiver
            ]
            words = [_words(window, data)[:, fifo.kept(window)] for window, data in chosen]
            if words:
                read = np.concatenate(words, axis=1)
                if receiver == 1 and self.faults.lost_samples:
                    read = read[:, : -self.faults.lost_samples]
                result[f"rx{receiver}_i"], result[f"rx{receiver}_q"] = read.tolist()
            fifo.rewind()
        fifo.report(answer)
        if not result:
            answer.warnings.append("no RX data received")
            return 0
        return result


class MarcosLink:
    """The server's end of one connection."""

    def __init__(self, board: MarcosBoard, wire: Wire) -> None:
        self.is_gone: Final = threading.Event()
        self.armed: _Armed | None = None
        self._board = board
        self._wire = wire
        self._unpacker = msgpack.Unpacker(max_buffer_size=LARGEST_PACKET, strict_map_key=False)
        self._packets: deque[Packet] = deque()
        self._is_served = False
        self._is_busy = False

    def serve(self) -> None:
        """Begin to answer: every connection before this one has gone."""
        if self._board.is_shut:
            self._wire.abort()
            return
        self._is_served = True
        self._board.line.connect()
        self._continue()

    def receive(self, data: bytes, /) -> bytes:
        """Take what arrived; replies go over the wire when they are ready."""
        if self._board.faults.silent:
            return b""
        try:
            self._unpacker.feed(data)
            self._packets.extend(read_packet(received) for received in self._unpacker)
        except (ValueError, TypeError, msgpack.UnpackException):  # no msgpack, or too much of it
            self._wire.abort()
        self._continue()
        return b""

    def closed(self) -> None:
        """Give the server to the next connection."""
        self.is_gone.set()
        self.let_go()
        if self._is_served:
            self._board.line.disconnect()
        self._board.release(self)

    def let_go(self) -> None:
        """End the wait of a program whose client has gone."""
        if (armed := self.armed) is not None:
            self._board.line.disarm(armed)
            armed.done.set()

    def _continue(self) -> None:
        if self._is_served and self._packets and not self._is_busy:
            self._is_busy = True
            self._wire.loop.start_task(self._work())

    async def _work(self) -> None:
        while self._packets and not self.is_gone.is_set():
            packet = self._packets.popleft()
            if self._board.faults.hang_up and "run_seq" in packet.commands:
                self._wire.abort()
                return
            reply = await self._wire.loop.in_worker(self._board.process, packet, self)
            if reply is not None:
                self._wire.send(reply)
            if not packet.is_whole or self._board.is_shut:
                self._wire.close()
                return
        self._is_busy = False


def _words(window: Window, data: NDArray[np.complex128]) -> NDArray[np.uint32]:
    """Return I and Q of one window as they are on the wire, shape (2, sample)."""
    turned = data * np.exp(-2j * np.pi * window.turns) / FULL_SCALE
    pair = np.clip(np.stack([turned.real, -turned.imag]), -1.0, 1.0)
    scaled = np.rint(pair * (2.0**24 / cic_factor(window.rate))).astype(np.int32)
    words: NDArray[np.uint32] = scaled.view(np.uint32)
    return words
