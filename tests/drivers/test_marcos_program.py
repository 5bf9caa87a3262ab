"""The sequencer's programs, run word by word by a small model of marga's state machine (mardecode.sv)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.receivers import marcos_program as program
from drivers.receivers.marcos_program import Window

#: Clocks from the trigger's edge to the first executed word, and from a word to its buffer's output.
EDGE_TO_WORD, WORD_TO_OUTPUT = 7, 3


def play(code: bytes):
    """Return (clock, buffer, data) of every output; the clock is counted from the last trigger."""
    outputs, clock, triggers = [], 0, 0
    for word in np.frombuffer(code, dtype="<u4").tolist():
        operation, data = word >> 24, word & 0xFFFFFF
        if operation & 0x80:
            assert data >> 16 == 0, "delays are not used"
            outputs.append((clock + WORD_TO_OUTPUT, operation & 0x7F, data & 0xFFFF, triggers))
            clock += 1
        elif operation == 2:
            clock += data + 3
        elif operation == 4:
            triggers += 1
            clock = EDGE_TO_WORD
        elif operation == 1:
            return outputs, triggers
        else:
            assert operation == 0, f"unexpected operation {operation}"
            clock += 1
    pytest.fail("the program has no end")


def writes(outputs, buffer, trigger):
    return [(clock, data) for clock, place, data, number in outputs if place == buffer and number == trigger]


window_numbers = st.builds(
    Window,
    oscillator=st.integers(0, 2**31 - 1),
    decimation=st.integers(4, 4095),
    samples=st.integers(1, 5000),
    delay=st.integers(program.shortest_delay(), 10**8),
)


@settings(max_examples=60, deadline=None)
@given(window_numbers, st.integers(1, 3))
def test_the_window_opens_at_its_delay_and_stays_open_for_its_samples(window, count):
    """To the clock: enable comes at the delay, and lasts long enough for the samples, not for one more."""
    outputs, triggers = play(program.build(window, count))
    assert triggers == count
    for number in range(1, count + 1):
        control = writes(outputs, 16, number)
        (opened,) = [clock for clock, data in control if data & 0x0300 == 0x0300]
        closed = next(clock for clock, data in control if clock > opened and not data & 0x0300)
        assert opened == window.delay
        assert (closed - opened) // window.decimation == window.samples
        assert (closed - opened) % window.decimation < window.decimation / 2


@settings(max_examples=30, deadline=None)
@given(window_numbers)
def test_the_oscillator_restarts_right_after_the_trigger(window):
    """Its phase is held at 0 for one clock, and its word is complete before the window opens."""
    outputs, _ = play(program.build(window, 2))
    for number in (1, 2):
        (low,) = [data for _, data in writes(outputs, 9, number - 1)]
        (clear, first), (start, second) = writes(outputs, 10, number)
        assert (start - clear, clear) == (1, EDGE_TO_WORD + WORD_TO_OUTPUT)
        assert first == second | 0x8000
        assert second << 16 | low == window.oscillator


def test_the_filter_is_cleared_and_given_its_rate_before_each_trigger():
    """Reset, at least 20 clocks until a rate is taken (rx_chain_model.sv), valid taken back, not enabled."""
    outputs, _ = play(program.build(Window(1, 123, 10, 100), 2))
    for before in (0, 1):
        control = writes(outputs, 16, before)
        reset = max(clock for clock, data in control if not data & 0x00C0)
        valid = next(clock for clock, data in control if clock > reset and data & 0x0030 == 0x0030)
        released = next(clock for clock, data in control if clock > reset and data & 0x00C0 == 0x00C0)
        assert valid - released >= 20
        assert control[-1][1] == 0x00C0
        assert [data for _, data in writes(outputs, 3, before)] == [123]
        assert [data for _, data in writes(outputs, 4, before)] == [123]


def test_the_last_sample_has_left_the_filter_before_it_is_cleared():
    """Some 100 clocks lie between closing the window and the reset."""
    outputs, _ = play(program.build(Window(1, 4, 10, 100), 1))
    control = writes(outputs, 16, 1)
    closed = next(clock for clock, data in control if data == 0x00C0)
    reset = next(clock for clock, data in control if data == 0)
    assert reset - closed > 100


def test_everything_is_off_at_the_end():
    """Receive gate and filters."""
    outputs, _ = play(program.build(Window(1, 4, 10, 100), 3))
    last = {buffer: data for _, buffer, data, _ in outputs}
    assert last[16] == 0
    assert last[15] == 0


def test_words_are_those_of_the_published_machine_code():
    """FINISH, TRIG_FOREVER and a buffer word as marmachine.py's insta and instb give them."""
    words = np.frombuffer(program.build(Window(0x12345678, 64, 100, 1000), 1), dtype="<u4").tolist()
    assert words[-1] == 0x01000000
    assert 0x04000000 in words
    assert 0x83000040 in words
    assert 0x84000040 in words
    assert 0x89005678 in words
    assert {0x8A009234, 0x8A001234} <= set(words)
    assert {0x900000C0, 0x900000F0, 0x900003C0} <= set(words)


@pytest.mark.parametrize(
    "window",
    [
        Window(1, 3, 10, 100),
        Window(1, 4096, 10, 100),
        Window(1 << 31, 4, 10, 100),
        Window(1, 4, 10, 12),
        Window(1, 4, 0, 99),
    ],
)
def test_what_the_board_cannot_do_is_refused(window):
    """Decimation, oscillator, delay and samples out of range."""
    with pytest.raises(ValueError, match="cannot sample"):
        program.build(window, 1)


@given(st.floats(1.0, 122e6))
def test_the_oscillators_frequency_is_rounded_to_its_step(frequency):
    """31 bits of 122.88 MHz: 0.0572 Hz per step, also above half the clock."""
    actual = program.oscillator_frequency(program.oscillator_word(frequency))
    assert abs(actual - frequency) <= 122.88e6 / 2**31 / 2 * 1.0001


def test_gain_correction_undoes_the_filters_shift():
    """Exact powers of two need none; otherwise gain times factor is a power of two between 1 and 2."""
    assert program.gain_correction(1024) == 1.0
    assert program.gain_correction(2048) == 1.0
    for decimation in range(4, 4096, 17):
        factor = program.gain_correction(decimation)
        assert 1.0 <= factor < 2.0
        assert np.log2((4096 / decimation) ** 6 / factor) == pytest.approx(
            round(np.log2((4096 / decimation) ** 6 / factor)), abs=1e-9
        )
