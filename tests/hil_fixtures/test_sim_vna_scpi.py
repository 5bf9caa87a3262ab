"""SCPI messages are cut, read and refused as IEEE 488.2 and SCPI-99 say."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil_fixtures.instruments.scpi_syntax import Argument, MessageSplitter, ScpiError, block, number_text
from hil_fixtures.instruments.scpi_tree import Call, CommandTree, StatusRegisters, execute


def echo(call: Call) -> str:
    return f"{list(call.suffixes)}{[argument.text for argument in call.arguments]}"


@pytest.fixture
def tree() -> CommandTree:
    tree = CommandTree()
    tree.add("[SENSe<Ch>:]SEGMent<Seg>:SWEep:POINts", command=lambda _call: None, query=echo)
    tree.add("[SENSe<Ch>:]SEGMent<Seg>:SWEep:TIME[:SUM]", query=echo, query_arguments=0)
    tree.add("CALCulate<Ch>:PARameter:SDEFine", query=echo, query_arguments=2)
    tree.add("*IDN", query=lambda _call: "me", query_arguments=0)
    tree.add("DATA:BLOCk", query=lambda _call: block(b"a;b\n"), query_arguments=0)
    return tree


def answer(tree: CommandTree, message: str) -> tuple[bytes, str]:
    status = StatusRegisters()
    return asyncio.run(execute(message, tree, status)), status.all_errors()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("SEGM:SWE:POIN?", "[1, 1][]"),
        ("SENS2:SEGM3:SWE:POIN? MAX", "[2, 3]['MAX']"),
        ("sense2:segment3:sweep:points? max", "[2, 3]['max']"),
        (":SENSe:SEGMent4:SWEep:TIME?", "[1, 4][]"),
        (":SEGMent4:SWEep:TIME:SUM?", "[1, 4][]"),
        ('CALC2:PAR:SDEF? \'a,b;c\' , "it""s"', '[2]["\'a,b;c\'", \'"it""s"\']'),
        ("SENS2:SEGM3:SWE:POIN?;TIME?", "[2, 3][];[2, 3][]"),
        ("SENS2:SEGM3:SWE:POIN?;*IDN?;TIME:SUM?", "[2, 3][];me;[2, 3][]"),
        ("SENS2:SEGM3:SWE:POIN?;:SEGM5:SWE:TIME?", "[2, 3][];[1, 5][]"),
        ("SENS2:SEGM3:SWE:POIN 5;POIN?", "[2, 3][]"),
    ],
)
def test_header_forms(tree: CommandTree, message: str, expected: str) -> None:
    """Short and long forms in any case, optional nodes, suffixes, and the path of the next unit."""
    assert answer(tree, message) == (expected.encode() + b"\n", '0,"No error"')


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("SEGME:SWE:POIN?", -113),
        ("SEGM:SWE2:POIN?", -113),
        ("SEGM:SWE:TIME 3", -113),
        ("SEGM:SWE:POIN? 1,2", -108),
        ("SEGM:SWE:PO&N?", -101),
        ("SEGM::POIN?", -102),
        ("CALC:PAR:SDEF? 'a,b", -151),
        ("CALC:PAR:SDEF? 'a',,'b'", -102),
        ("CALC:PAR:SDEF? #3999abc", -161),
        ("SENS2:SEGM3:SWE:POIN?;SEGM5:SWE:TIME?", -113),
    ],
)
def test_refused_headers(tree: CommandTree, message: str, code: int) -> None:
    """Each mistake has its SCPI number; the last case lacks the colon that goes back to the root."""
    assert answer(tree, message)[1].startswith(f'{code},"')


def test_units_after_a_refused_one_are_carried_out(tree: CommandTree) -> None:
    reply, errors = answer(tree, "*IDN?;NONSENSE 3;*IDN?")
    assert reply == b"me;me\n"
    assert errors == '-113,"Undefined header;NONSENSE 3"'


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("1 kHz", "Hz", 1e3),
        ("127.732MHZ", "Hz", 127.732e6),
        ("1.5E+3", "Hz", 1.5e3),
        (".5", "", 0.5),
        ("100 ms", "s", 0.1),
        ("-10 dBm", "dBm", -10.0),
        ("MIN", "Hz", -100.0),
        ("MAXimum", "Hz", 1e10),
    ],
)
def test_numbers_with_units(text: str, unit: str, value: float) -> None:
    assert Argument(text).number(unit, minimum=-100.0, maximum=1e10) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "unit", "code"),
    [("12 dBm", "Hz", -131), ("fast", "Hz", -104), ("2e10", "Hz", -222), ("'3'", "", -104)],
)
def test_refused_numbers(text: str, unit: str, code: int) -> None:
    with pytest.raises(ScpiError) as caught:
        Argument(text).number(unit, minimum=-100.0, maximum=1e10)
    assert caught.value.code == code


def test_boolean_and_choice() -> None:
    assert [Argument(text).boolean() for text in ("ON", "off", "1", "0", "-3")] == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert [Argument(text).choice("SWAPped", "NORMal") for text in ("swap", "Normal")] == ["SWAP", "NORM"]
    for refused in ("SWAPP", "YES"):
        with pytest.raises(ScpiError):
            Argument(refused).choice("SWAPped", "NORMal")


@given(
    st.lists(st.one_of(st.text("AB?;:,'#12 ", max_size=9), st.binary(max_size=20)), max_size=5),
    st.lists(st.integers(1, 7), max_size=60),
)
def test_splitter_finds_the_same_messages_in_any_fragmentation(
    parts: list[str | bytes], cuts: list[int]
) -> None:
    """Messages with blocks (which may hold line feeds) survive every way of cutting the stream."""
    stream = b""
    for part in parts:
        stream += (block(part) if isinstance(part, bytes) else part.encode()) + b"\n"
    whole = MessageSplitter().feed(stream)
    splitter, pieces, position = MessageSplitter(), [], 0
    for cut in cuts:
        pieces += splitter.feed(stream[position : position + cut])
        position += cut
    assert pieces + splitter.feed(stream[position:]) == whole


def test_block_with_line_feeds_is_one_message() -> None:
    payload = b"\n#\n;"
    assert MessageSplitter().feed(b"A 1," + block(payload) + b"\r\nB\n") == ["A 1,#14\n#\n;", "B"]


def test_answers_that_are_blocks_stay_whole(tree: CommandTree) -> None:
    assert answer(tree, "DATA:BLOC?;*IDN?")[0] == b"#14a;b\n;me\n"


def test_error_queue_overflow_keeps_the_oldest_and_says_so() -> None:
    status = StatusRegisters()
    for number in range(40):
        status.report(-222, f"Data out of range;{number}")
    errors = [status.next_error() for _ in range(31)]
    assert errors[0] == '-222,"Data out of range;0"'
    assert errors[29:] == ['-350,"Queue overflow"', '0,"No error"']


def test_status_byte_summarises_queue_events_and_service_request() -> None:
    """IEEE 488.2 chapter 11: bit 2 error queue, 4 message available, 5 event summary, 6 master summary."""
    status = StatusRegisters()
    assert status.status_byte(True) == 16
    status.report(-113, "Undefined header")
    assert status.status_byte(False) == 4
    status.event_enable, status.service_enable = 32, 32
    assert status.status_byte(False) == 4 | 32 | 64
    assert status.take_event_status() == 32
    assert status.status_byte(False) == 4


@pytest.mark.parametrize(
    ("value", "text"), [(1e3, "1000"), (0.0201, "0.0201"), (-10.0, "-10"), (8.5e9, "8500000000")]
)
def test_number_text(value: float, text: str) -> None:
    assert number_text(value) == text
