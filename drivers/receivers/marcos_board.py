"""One MaRCoS board: opening it, halting it, and the samples in its replies.

The sign of the board's imaginary part is the opposite of a spin's turn (MaRGE,
marge/controller/experiment_gui.py); it is turned round here.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import ConnectionFailed, InstrumentFault, ProtocolError, ReplyTimeout
from drivers.address import open_link
from drivers.receivers.marcos_wire import PORT, VERSION, BoardLink, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_log: Final = logging.getLogger("coilbench.marcos")

#: Receive channels of a board (marga.sv).
CHANNELS_PER_BOARD: Final = 2
_ADDRESS_WITHOUT_PORT: Final = re.compile(r"^(?:tcp://)?(\[[0-9A-Fa-f:.]+\]|[^\[\]:/]+)$")


@dataclass(frozen=True, slots=True)
class Board:
    """One open board.

    Parameters
    ----------
    link
        Its server.
    identity
        Version and nature (hardware, simulation or software) of the server.
    """

    link: BoardLink
    identity: str


def open_board(address: str, *, name: str, timeout: float) -> Board:
    """Open a board, ask it who it is, and halt whatever it was doing.

    Parameters
    ----------
    address
        ``tcp://host:port``, or a host alone for port 11111.
    name
        What errors call it.
    timeout
        Seconds that an ordinary answer may take.

    Raises
    ------
    ConnectionFailed
        Nobody is there, nobody answers, or the version is another.
    InstrumentFault, ProtocolError, ConnectionLost
        It does not halt, sends what it must not, or goes away.
    """
    short = _ADDRESS_WITHOUT_PORT.match(address)
    link = BoardLink(open_link(f"tcp://{short[1]}:{PORT}" if short else address, name=name, timeout=timeout))
    try:
        identity = _identity(link)
        halt(link)
    except ReplyTimeout as error:
        link.close()
        raise ConnectionFailed(
            link.name,
            f"takes the connection but answers nothing for {timeout:g} s; marcos_server serves one client at "
            "a time: close the other one, or restart the server if it still waits for a trigger",
            error.command,
        ) from error
    except BaseException:
        link.close()
        raise
    return Board(link, identity)


def _identity(link: BoardLink) -> str:
    reply = link.ask({"are_you_real": 0})
    _check_version(link.name, reply)
    nature = reply.results.get("are_you_real")
    if not isinstance(nature, str):
        expected = "hardware, simulation or software"
        raise ProtocolError(link.name, f"expected {expected}, got {nature!r}", "are_you_real")
    return f"MaRCoS {'.'.join(map(str, reply.version))} {nature}"


def _check_version(name: str, reply: Reply) -> None:
    """Apply the server's own rule: another major version is an error, minor a warning, debug a remark."""
    theirs, ours = (".".join(map(str, version)) for version in (reply.version, VERSION))
    if reply.version[0] != VERSION[0]:
        raise ConnectionFailed(name, f"speaks protocol {theirs}, this driver {ours}; update the older one")
    if reply.version[1] != VERSION[1]:
        _log.warning("%s: speaks protocol %s, this driver %s", name, theirs, ours)
    elif reply.version[2] != VERSION[2]:
        _log.info("%s: speaks protocol %s, this driver %s", name, theirs, ours)


def halt(link: BoardLink, timeout: float | None = None) -> None:
    """Stop the sequencer and empty the FIFOs; a link that still owes a reply is opened again first.

    Raises
    ------
    InstrumentError
        The board is gone, does not listen, or did not halt.
    """
    if link.is_busy:
        link.reopen()
    reply = link.ask({"halt_and_reset": 0}, timeout)
    if reply.results.get("halt_and_reset") is not True:
        raise InstrumentFault(link.name, f"did not halt: {dict(reply.results)}", "halt_and_reset")


def samples_of(name: str, reply: Reply) -> tuple[NDArray[np.complex64], ...]:
    """Return each channel's samples in the FPGA's units, right-handed; nothing received is no samples.

    Raises
    ------
    ProtocolError
        The reply holds something else than samples.
    """
    results = reply.results.get("run_seq")
    arrays: Mapping[str, object] = results if isinstance(results, dict) else {}
    return tuple(_channel(name, arrays, number) for number in range(CHANNELS_PER_BOARD))


def _channel(name: str, arrays: Mapping[str, object], number: int) -> NDArray[np.complex64]:
    in_phase = _integers(name, arrays.get(f"rx{number}_i", []))
    quadrature = _integers(name, arrays.get(f"rx{number}_q", []))
    if in_phase.size != quadrature.size:
        raise ProtocolError(
            name, f"channel {number}: {in_phase.size} real and {quadrature.size} imaginary parts", "run_seq"
        )
    samples = np.empty(in_phase.size, dtype=np.complex64)
    samples.real = in_phase
    samples.imag = -quadrature.astype(np.float32)
    return samples


def _integers(name: str, values: object) -> NDArray[np.int32]:
    """Return two's complement numbers, which the server sends as unsigned ones."""
    try:
        return np.array(values, dtype=np.uint32).view(np.int32)
    except (OverflowError, TypeError, ValueError) as error:
        raise ProtocolError(name, f"samples are no 32-bit integers: {error}", "run_seq") from None


def shortage(name: str, channel: int, got: int, windows: int, samples: int) -> str:
    """Return in words what a channel delivered instead of ``windows`` of ``samples`` samples each."""
    whole, rest = divmod(got, samples)
    part = f" and {rest} samples" if rest else ""
    return (
        f"{name} rx{channel} delivered {whole} windows{part} instead of {windows} (of {samples} samples each)"
    )
