"""Programs for the MaRCoS sequencer ("marga"): what a board does from one trigger to the next.

Facts are from the public sources of marcos_client (marmachine.py, marcompile.py) and marga (hdl/marga.sv,
mardecode.sv, marbuffer.sv, rx_chain_model.sv). A program is a list of 32-bit words:

==========================  =======================================================================
``op << 24 | data24``       0 NOP, 1 FINISH, 2 WAIT, 3 TRIG (with time-out), 4 TRIG_FOREVER
``1 << 31 | buffer << 24``  plus ``delay7 << 16 | data16``: write a buffer after ``delay7`` clocks
==========================  =======================================================================

A buffer word takes one clock and ``WAIT n`` takes n + 3. The trigger input reacts to **both** edges: the
trigger pulse must be over before the window and its re-arming are, else its end triggers the next window.
A TRIG that times out goes on as if it had been triggered, which would silently shift all windows: we use
TRIG_FOREVER.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

#: Operations (marmachine.py INOP.. ITRIGFOREVER).
FINISH, WAIT, TRIG_FOREVER = 1, 2, 4
#: Buffers (marmachine.py): receive rates, local oscillator 0, gates, receive control.
RX0_RATE, RX1_RATE, LO_LOW, LO_HIGH, GATES, RX_CONTROL = 3, 4, 9, 10, 15, 16
#: Bits of RX_CONTROL for both receivers (marga.sv); the oscillator selectors, bits 0 to 3, stay 0.
RATE_VALID, NOT_RESET, ENABLE = 0x0030, 0x00C0, 0x0300
#: Bit 15 of LO_HIGH holds the oscillator's phase at zero; its word has 31 bits (marga.sv, dds0_phase_clear).
LO_CLEAR, LO_BITS = 0x8000, 31
#: Bit 1 of GATES is the receive gate (marga.sv, rx_gate_o).
RX_GATE = 0x0002

#: Clock of the board in Hz: SDRlab 122-16 (marcos_client local_config.py.example).
CLOCK_FREQUENCY: Final = 122.88e6
#: Decimation of the receive filter, smallest and largest (marmachine.py CIC_FASTEST_RATE, CIC_SLOWEST_RATE).
DECIMATION_RANGE: Final = (4, 4095)
#: Stages of the receive filter, differential delay 1 (marmachine.py CIC_STAGES).
FILTER_STAGES: Final = 6
#: Longest wait in one word, in clocks (marmachine.py COUNTER_MAX).
_LONGEST_WAIT: Final = 0xFFFFFF
#: Clocks that WAIT takes besides its count: decode, last count, prepare (mardecode.sv; marcompile.py).
_WAIT_OVERHEAD: Final = 3
#: Clocks from the trigger's edge to a change of the first buffer word after TRIG_FOREVER: four synchronising
#: registers and the edge detector, state change, prepare and decode (mardecode.sv), three in marbuffer.sv.
_TRIGGER_LATENCY: Final = 10
#: Clocks between the last enabled clock and the filter's reset, so that its pipeline has delivered the last
#: sample.
_DRAIN: Final = 256
#: Clocks that the filter is held in reset, and then needs before it takes a rate (rx_chain_model.sv: 20).
_RESET: Final = 50
#: Words before the enable word of each window that must lie between the trigger and the window's opening.
_WORDS_AFTER_TRIGGER: Final = 3


@dataclass(frozen=True, slots=True)
class Window:
    """What every receive window is like, in the board's own numbers.

    Parameters
    ----------
    oscillator
        Phase increment of the local oscillator, 31 bits.
    decimation
        Clocks per complex sample.
    samples
        Complex samples per window.
    delay
        Clocks from the trigger to the opening.
    """

    oscillator: int
    decimation: int
    samples: int
    delay: int


def oscillator_word(frequency: float, clock_frequency: float = CLOCK_FREQUENCY) -> int:
    """Return the phase increment nearest to ``frequency`` (Hz), the true one also above half the clock."""
    return round(frequency / clock_frequency * (1 << LO_BITS)) % (1 << LO_BITS)


def oscillator_frequency(word: int, clock_frequency: float = CLOCK_FREQUENCY) -> float:
    """Return the frequency in Hz that the oscillator really runs at."""
    return word * clock_frequency / (1 << LO_BITS)


def shortest_delay() -> int:
    """Return the fewest clocks from a trigger to the opening of a window."""
    return _TRIGGER_LATENCY + _WORDS_AFTER_TRIGGER


def gain_correction(decimation: int) -> float:
    """Return what the filter's output is to be multiplied with, from 1 to below 2.

    The filter shifts its sum down by whole bits only: the rest of ``(4096 / decimation) ** stages`` is a
    factor 2 ** frac(stages * log2(4096 / decimation)) (marcompile.py cic_words).
    """
    bits = FILTER_STAGES * np.log2(4096 / decimation)
    return float(2.0 ** (bits - np.floor(bits)))


def build(window: Window, count: int) -> bytes:
    """Return the program of ``count`` windows, one after each trigger, as little-endian words.

    The filter is cleared before each trigger, so that all windows begin alike, and the oscillator's phase
    restarts at each trigger.

    Raises
    ------
    ValueError
        A number does not fit the board.
    """
    fastest, slowest = DECIMATION_RANGE
    if (
        not fastest <= window.decimation <= slowest
        or not 0 <= window.oscillator < 1 << LO_BITS
        or window.samples < 1
        or count < 1
        or window.delay < shortest_delay()
    ):
        raise ValueError(f"the board cannot sample {count} windows of {window}")
    one = _window(window)
    words = [_write(RX_CONTROL, 0), _write(GATES, 0), *one * count, _operation(FINISH)]
    return np.array(words, dtype="<u4").tobytes()


def _window(window: Window) -> list[int]:
    low, high = window.oscillator & 0xFFFF, window.oscillator >> 16
    ready = [
        _write(RX_CONTROL, 0),
        *_wait(_RESET),
        _write(RX_CONTROL, NOT_RESET),
        _write(RX0_RATE, window.decimation),
        _write(RX1_RATE, window.decimation),
        *_wait(_RESET),
        _write(RX_CONTROL, NOT_RESET | RATE_VALID),
        *_wait(4),
        _write(RX_CONTROL, NOT_RESET),
        _write(LO_LOW, low),
        _operation(TRIG_FOREVER),
    ]
    # on trigger: two oscillator words and the gate, then wait; the enable word itself comes at the delay
    opening = [
        _write(LO_HIGH, high | LO_CLEAR),
        _write(LO_HIGH, high),
        _write(GATES, RX_GATE),
        *_wait(window.delay - shortest_delay()),
        _write(RX_CONTROL, NOT_RESET | ENABLE),
    ]
    # a quarter of a sample longer: the count of samples must not hang on a single clock
    enabled = window.samples * window.decimation + window.decimation // 4
    closing = [
        *_wait(enabled - 1),
        _write(RX_CONTROL, NOT_RESET),
        _write(GATES, 0),
        *_wait(_DRAIN),
        _write(RX_CONTROL, 0),
    ]
    return [*ready, *opening, *closing]


def _operation(code: int, data: int = 0) -> int:
    return code << 24 | data


def _write(buffer: int, data: int) -> int:
    return 1 << 31 | buffer << 24 | data


def _wait(clocks: int) -> list[int]:
    """Return words that take exactly ``clocks`` clocks; what is too short for WAIT is filled with NOP."""
    words: list[int] = []
    while clocks >= _WAIT_OVERHEAD:
        count = min(clocks - _WAIT_OVERHEAD, _LONGEST_WAIT)
        words.append(_operation(WAIT, count))
        clocks -= count + _WAIT_OVERHEAD
    return words + [_operation(0)] * clocks
