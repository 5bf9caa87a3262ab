"""Each fault does to the wire what its name says, and heals."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
import pyvisa
import serial

from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.faults import LinkFaults
from hil_fixtures.instruments.nanovna_h import NanoVnaH
from hil_fixtures.instruments.rs_znbt import RsZnbt

if TYPE_CHECKING:
    from collections.abc import Iterator

IDENTITY = b"Rohde-Schwarz,ZNBT8-16Port,1318700624999999,3.32\n"


@pytest.fixture
def analyzer() -> Iterator[RsZnbt]:
    with RsZnbt(AsymmetricNetwork(2)) as analyzer:
        yield analyzer


@pytest.fixture
def link(analyzer: RsZnbt) -> Iterator[socket.socket]:
    with socket.create_connection(analyzer.socket_address, timeout=2) as link:
        link.sendall(b"INIT:CONT OFF;:SWE:POIN 3\n")
        yield link


def ask(link: socket.socket, count: int, message: bytes = b"*IDN?\n", patience: float = 2.0) -> bytes:
    """Return up to ``count`` bytes of the answer; fewer if the wire goes quiet or ends."""
    link.settimeout(patience)
    if message:
        link.sendall(message)
    received = b""
    try:
        while len(received) < count and (part := link.recv(count - len(received))):
            received += part
    except TimeoutError:
        pass
    return received


def test_dropped_reply_is_missing_and_the_next_one_comes(analyzer: RsZnbt, link: socket.socket) -> None:
    """What a client without device clear gets next is the answer to its later question."""
    analyzer.link_faults.drop_reply()
    assert ask(link, 1, patience=0.05) == b""
    assert ask(link, 2, b"SWE:POIN?\n") == b"3\n"
    assert ask(link, len(IDENTITY)) == IDENTITY


def test_half_then_stall_goes_silent_until_healed(analyzer: RsZnbt, link: socket.socket) -> None:
    analyzer.link_faults.half_then_stall()
    assert ask(link, len(IDENTITY), patience=0.3) == IDENTITY[: len(IDENTITY) // 2]
    assert ask(link, 1, patience=0.05) == b""
    analyzer.link_faults.heal()
    assert ask(link, len(IDENTITY)) == IDENTITY


def test_close_mid_reply_ends_the_stream(analyzer: RsZnbt, link: socket.socket) -> None:
    analyzer.link_faults.close_mid_reply()
    assert ask(link, len(IDENTITY)) == IDENTITY[: len(IDENTITY) // 2]
    assert link.recv(1) == b""


def test_hang_up_in_place_of_a_reply(analyzer: RsZnbt, link: socket.socket) -> None:
    analyzer.link_faults.hang_up()
    assert ask(link, 1) == b""


def test_power_cut_resets_the_connection(analyzer: RsZnbt, link: socket.socket) -> None:
    assert ask(link, len(IDENTITY)) == IDENTITY
    analyzer.hang_up()
    with pytest.raises(ConnectionResetError):
        link.recv(1)


def test_split_changes_pieces_not_bytes(analyzer: RsZnbt, link: socket.socket) -> None:
    """With a pause between pieces the first read gets one piece only."""
    analyzer.link_faults.split(7, pause=0.002)
    link.sendall(b"*IDN?\n")
    first = link.recv(1000)
    assert first == IDENTITY[:7]
    assert first + ask(link, len(IDENTITY) - 7, b"") == IDENTITY


def test_delay_holds_one_reply_back(analyzer: RsZnbt, link: socket.socket) -> None:
    analyzer.link_faults.delay(0.1)
    begin = time.monotonic()
    assert ask(link, len(IDENTITY)) == IDENTITY
    assert time.monotonic() - begin >= 0.1


def test_garbage_has_the_length_of_the_reply_and_follows_the_seed() -> None:
    reply = b"0123456789" * 10
    first, second = LinkFaults(3), LinkFaults(3)
    first.garbage(2)
    second.garbage(1)
    (piece,) = first(reply)
    assert len(piece.data) == len(reply)
    assert piece.data != reply
    assert second(reply) == (piece,)
    assert second(reply)[0].data == reply


def test_counted_faults_come_after_those_let_pass() -> None:
    faults = LinkFaults()
    faults.pass_unharmed(2)
    faults.drop_reply()
    faults.prepend(b"\xff")
    seen = [b"".join(piece.data for piece in faults(b"x")) for _ in range(5)]
    assert seen == [b"x", b"x", b"", b"\xffx", b"x"]


def test_pieces_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 byte"):
        LinkFaults().split(0)


def test_stopped_sweep_never_completes_until_aborted(analyzer: RsZnbt, link: socket.socket) -> None:
    """The analyzer answers others, and this client again after ABORt from elsewhere."""
    analyzer.faults.stop_mid_sweep = True
    assert ask(link, 2, b"INIT;*OPC?\n", patience=0.05) == b""
    with socket.create_connection(analyzer.socket_address, timeout=2) as other:
        assert ask(other, len(IDENTITY)) == IDENTITY
        other.sendall(b"ABOR\n")
    assert ask(link, 2, b"") == b"1\n"


def test_not_a_number_and_error_of_a_sweep(analyzer: RsZnbt, link: socket.socket) -> None:
    analyzer.faults.not_a_number = True
    analyzer.faults.sweep_error = (-310, "System error;Level unleveled")
    assert ask(link, 2, b"INIT;*OPC?\n") == b"1\n"
    assert ask(link, 22, b"CALC:DATA? SDAT\n") == b"9.91000000000000E+37,9"
    link.recv(1000)
    assert ask(link, 36, b"SYST:ERR?\n") == b'-310,"System error;Level unleveled"\n'


def test_stalled_hislip_answer_is_a_timeout_and_cleared(analyzer: RsZnbt) -> None:
    """Half a block, silence, then device clear: the session is in step again."""
    manager = pyvisa.ResourceManager("@py")
    visa = manager.open_resource(
        analyzer.hislip_resource, read_termination="\n", write_termination="\n", timeout=100
    )
    visa.write("FORM REAL,64")
    analyzer.link_faults.half_then_stall()
    with pytest.raises(pyvisa.VisaIOError):
        visa.query_binary_values("CALC:DATA:STIM?", datatype="d")
    analyzer.link_faults.heal()
    visa.close()
    visa = manager.open_resource(
        analyzer.hislip_resource, read_termination="\n", write_termination="\n", timeout=2000
    )
    assert visa.query("*IDN?").encode() + b"\n" == IDENTITY
    visa.close()
    manager.close()


def test_nanovna_loses_its_echo_and_stalls_mid_scan() -> None:
    """The first reply after a command is its echo; the second what it prints."""
    with NanoVnaH(AsymmetricNetwork(2)) as analyzer, serial.Serial(analyzer.address, timeout=2) as port:
        rows = [b"%d \r\n" % frequency for frequency in range(1_000_000, 2_000_001, 100_000)]
        printed = b"".join(rows) + b"ch> "
        analyzer.link_faults.drop_reply()
        port.write(b"version\r")
        assert port.read(12) == b"1.2.52\r\nch> "
        analyzer.link_faults.pass_unharmed(1)
        analyzer.link_faults.half_then_stall()
        port.timeout = 0.3
        port.write(b"scan 1000000 2000000 11 1\r")
        assert port.read(1000) == b"scan 1000000 2000000 11 1\r\n" + printed[: len(printed) // 2]
        analyzer.faults.stop_mid_sweep = True
        analyzer.link_faults.heal()
        port.write(b"scan 1000000 2000000 11 3\r")
        assert port.read(1000) == b"scan 1000000 2000000 11 3\r\n"
