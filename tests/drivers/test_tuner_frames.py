"""The frames of the tuner protocol, against the worked examples of docs/reference/tuner-protocol.md."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.actuators.tune_frames import LINE_LIMIT, checksum, frame, parse_reply, parse_status


def test_the_checksum_has_the_documented_check_value():
    """CRC-16/CCITT-FALSE of 123456789 is 29B1."""
    assert checksum("123456789") == "29B1"


@pytest.mark.parametrize(
    ("sequence", "command", "line"),
    [
        (0, "HELLO", ">0 HELLO*C591"),
        (3, "LIMITS ch1.na.tune ch1.na.match", ">3 LIMITS ch1.na.tune ch1.na.match*C2D3"),
        (4, "MOVE ch1.na.tune=1200 ch1.na.match=800", ">4 MOVE ch1.na.tune=1200 ch1.na.match=800*5A1E"),
        (14, "BIAS 2 100.0", ">14 BIAS 2 100.0*4A97"),
    ],
)
def test_requests_are_framed_as_in_the_manual(sequence, command, line):
    """Four frames of section 9, byte for byte."""
    assert frame(sequence, command) == line


def test_a_request_that_no_controller_takes_is_refused_here():
    """Too long, not ASCII, or holding a character that frames are made of."""
    for command in ("MOVE " + "a" * LINE_LIMIT, "BIAS µ", "STOP*", "STOP\nSAFE"):
        with pytest.raises(ValueError, match="2048"):
            frame(1, command)


def test_replies_are_read_as_in_the_manual():
    """OK with values, an error with its words, and a complaint without a number (section 9)."""
    ok = parse_reply("<3 OK ch1.na.tune=0:4000 ch1.na.match=0:4000*2E4A")
    assert ok is not None
    assert (ok.sequence, ok.error, ok.text) == (3, None, "ch1.na.tune=0:4000 ch1.na.match=0:4000")
    refused = parse_reply("<8 ERR 21 ch2.h.tune=4001 is outside 0 to 4000*564C")
    assert refused is not None
    assert (refused.sequence, refused.error, refused.text) == (8, 21, "ch2.h.tune=4001 is outside 0 to 4000")
    garbled = parse_reply("<- ERR 2 checksum*7392")
    assert garbled is not None
    assert (garbled.sequence, garbled.error) == (None, 2)


@given(st.integers(0, 40), st.integers(1, 255))
def test_any_single_damaged_byte_is_noticed(place, flip):
    """No reply with one byte changed is ever taken for whole."""
    raw = bytearray(b"<4 OK 1500*BA3A")
    raw[place % len(raw)] ^= flip
    assert parse_reply(raw.decode("latin-1")) is None


@given(st.text(max_size=60))
def test_no_text_breaks_the_parsers(text):
    """Whatever a line says, the answer is a value or None."""
    parse_reply(text)
    parse_status(text)


def test_a_status_lists_the_axes_that_are_not_done():
    """The status of section 9 in the middle of a move."""
    status = parse_status(
        "moving=1 fault=1 bias=on watchdog=armed ch1.na.tune=moving:640 ch5.h.tune=stalled:-3"
    )
    assert status is not None
    assert (status.moving, status.faults, status.bias_is_on, status.watchdog) == (1, 1, True, "armed")
    assert status.axes == {"ch1.na.tune": ("moving", 640), "ch5.h.tune": ("stalled", -3)}
    assert parse_status("moving=1 fault=1 bias=on watchdog=armed ch1.na.tune=lost:1") is None
