"""MaRCoS messages: literal bytes of the real server, any cutting, and hostile input."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.receivers.marcos_wire import ReplyParser, pack_request

#: Sent by a client of the real server and answered by it: {'are_you_real': 0} as request 7, protocol 1.0.5.
REQUEST = bytes.fromhex("95 00 07 00 ce 00 01 00 05 81 ac 61 72 65 5f 79 6f 75 5f 72 65 61 6c 00")
REPLY = msgpack.packb([128, 8, 0, 65541, {"are_you_real": "simulation"}, {}])


def test_a_request_is_what_the_real_server_takes():
    """Byte for byte."""
    assert pack_request(7, {"are_you_real": 0}) == REQUEST


def test_a_program_travels_as_binary():
    """The server reads run_seq with mpack_node_bin_data: no text, no array."""
    assert msgpack.unpackb(pack_request(1, {"run_seq": b"\x00\x00\x00\x01"}))[4] == {"run_seq": b"\0\0\0\1"}


@given(st.lists(st.integers(1, len(REPLY) - 1), max_size=8))
def test_any_cutting_gives_the_same_reply(cuts):
    """A reply comes in whatever pieces TCP makes of it."""
    places = [0, *sorted(set(cuts)), len(REPLY)]
    parser = ReplyParser()
    replies = [parser.feed(REPLY[start:end]) for start, end in pairwise(places)]
    assert replies[:-1] == [None] * (len(places) - 2)
    assert replies[-1] is not None
    assert replies[-1].results == {"are_you_real": "simulation"}
    assert replies[-1].version == (1, 0, 5)
    assert replies[-1].index == 8


def test_the_servers_words_are_kept():
    """Errors, warnings and infos, in their order."""
    status = {"errors": ["a", "b"], "warnings": ["c"], "infos": ["d"]}
    reply = ReplyParser().feed(msgpack.packb([129, 1, 0, 65541, {}, status]))
    assert reply is not None
    assert (reply.errors, reply.warnings, reply.infos) == (("a", "b"), ("c",), ("d",))


@pytest.mark.parametrize(
    "stranger",
    [b"HTTP/1.1 400 Bad Request\r\n", b"\xc1", msgpack.packb([128, 1]), msgpack.packb([0, 1, 0, 1, {}, {}])],
)
def test_what_is_no_reply_is_refused(stranger):
    """Text, reserved codes, and arrays of another shape."""
    with pytest.raises(ValueError, match=r"msgpack|expected"):
        ReplyParser().feed(stranger)


def test_an_endless_reply_is_refused():
    """A reply that never ends does not fill the memory."""
    parser = ReplyParser(largest=1000)
    head = b"\xdb\x7f\xff\xff\xff"
    assert parser.feed(head + b"x" * 900) is None
    with pytest.raises(ValueError, match="BufferFull"):
        parser.feed(b"x" * 200)


@example(data=b"\x81\x90\x00")  # a map whose key is a list
@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(data):
    """Whatever comes: a reply, nothing yet, or ValueError."""
    with contextlib.suppress(ValueError):
        ReplyParser().feed(data)
