"""The receive FIFOs of a MaRCoS board and the server that empties them.

True here: samples arrive at the CIC's rate, the server reads at a constant rate, what finds the FIFO
full is lost; the server notices a FIFO that is nearly full and one that is almost over.

Source: marcos_server src/hardware.cpp, run_seq and read_rx; marga hdl/marfifo.sv.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hil_fixtures.instruments.marcos_packets import Answer
    from hil_fixtures.instruments.marcos_program import Window

#: Pairs of samples in one receiver's FIFO: marcos_server src/hardware.hpp, MARGA_RX_FIFO_SPACE.
DEPTH: Final = 16384

#: Pairs per clock that the server reads from one receiver: marcos_server with the Verilated core
#: delivered 30 674 of 100 000 pairs that came every 4 clocks to both receivers.
_READING: Final = (30_674 - DEPTH) / (100_000 * 4)

#: Pairs below the brim at which the server reports an overflow: twice its largest read.
_FULL_MARGIN: Final = 2 * 1024


class RxFifo:
    """Both receivers' FIFOs during one program.

    Parameters
    ----------
    stuck_depth
        Depth with a server that does not read while the program runs; None for a healthy one.
    """

    def __init__(self, stuck_depth: int | None = None) -> None:
        self._depth = DEPTH if stuck_depth is None else stuck_depth
        self._reading = _READING if stuck_depth is None else 0.0
        self._full_at: int | None = None
        self._nearly_full = 0
        self._level = 0.0
        self._time = -math.inf

    def rewind(self) -> None:
        """Begin with the other receiver."""
        self._level, self._time = 0.0, -math.inf

    def kept(self, window: Window) -> NDArray[np.bool_] | slice:
        """Return which samples of the receiver's next window the server will have read."""
        if self._level:
            self._level = max(0.0, self._level - self._reading * (window.opened - self._time))
        self._time = window.opened + window.count * window.rate
        read = self._reading * window.rate
        growth = 1.0 - read
        before = self._level
        self._level = max(0.0, before + growth * window.count)
        self._note(min(self._level, self._depth), window)
        if growth <= 0.0 or self._level <= self._depth:
            return slice(None)
        number = np.arange(window.count)
        last = math.floor((self._depth - before) / growth)
        room = np.floor((number + 1 - last) * read) > np.floor((number - last) * read)
        kept: NDArray[np.bool_] = (number < last) | room
        self._level = float(self._depth)
        return kept

    def report(self, answer: Answer) -> None:
        """Say what the server noticed."""
        if self._full_at is not None:
            answer.errors.append(f"RX FIFO/s full during sequence around byte address 0x{self._full_at:x}")
        elif self._nearly_full:
            answer.warnings.append(f"RX FIFO/s almost filled during sequence {self._nearly_full} times")

    def _note(self, level: float, window: Window) -> None:
        if level > max(self._depth - _FULL_MARGIN, self._depth // 2):
            self._full_at = window.address if self._full_at is None else self._full_at
        elif level > 2 * self._depth // 3:
            self._nearly_full += 1
