"""Serial lines on pseudo-terminals: exclusive, patient, and honest about a pulled cable."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from coilbench.base.errors import ConnectionFailed, ConnectionLost, ReplyTimeout
from drivers.address import open_link

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform == "win32":
    pytest.skip("no pseudo-terminals on this system", allow_module_level=True)

import pty
import tty


class Terminal:
    """The instrument's end of a serial line."""

    def __init__(self) -> None:
        self.master, self._slave = pty.openpty()
        tty.setraw(self.master)
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)

    def pull(self) -> None:
        for end in (self.master, self._slave):
            if end >= 0:
                os.close(end)
        self.master = self._slave = -1


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    end = Terminal()
    yield end
    end.pull()


def test_link_serial_keeps_a_line_that_comes_in_two_parts(terminal: Terminal) -> None:
    """The first half of a line waits through a timeout for the second."""
    with open_link(terminal.path, name="tuner", timeout=1.0) as link:
        os.write(terminal.master, b"OK 12")
        with pytest.raises(ReplyTimeout, match="OK 12"):
            link.read_line(0.05)
        os.write(terminal.master, b"34\r\n")
        assert link.read_line() == "OK 1234"
        link.write_line("POS?")
        assert os.read(terminal.master, 100) == b"POS?\n"


def test_link_serial_refuses_a_second_opener(terminal: Terminal) -> None:
    """Two programs on one line would each get half of every answer: the second is refused."""
    with (
        open_link(terminal.path, name="tuner"),
        pytest.raises(ConnectionFailed, match=f"guardian \\({terminal.path}\\).*no other program"),
    ):
        open_link(terminal.path, name="guardian")


def test_link_serial_pulled_cable_is_connection_lost(terminal: Terminal) -> None:
    """A line whose other end vanishes is lost; closing it afterwards is quiet."""
    link = open_link(terminal.path, name="nanovna", timeout=1.0)
    terminal.pull()
    with pytest.raises(ConnectionLost, match="cable"):
        link.read_line()
    link.close()


def test_link_serial_missing_port_says_what_to_check() -> None:
    """A port that is not there is named, with what to check."""
    with pytest.raises(ConnectionFailed, match="plugged in"):
        open_link("/dev/coilbench-no-such-port", name="nanovna")


def test_link_serial_exact_read_of_a_binary_block(terminal: Terminal) -> None:
    """All 256 byte values pass unchanged: no newline or control character is translated."""
    block = bytes(range(256)) * 4
    with open_link(terminal.path, name="nanovna", timeout=2.0) as link:
        os.write(terminal.master, block)
        assert bytes(link.read_exact(len(block))) == block
