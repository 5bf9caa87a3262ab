"""From the address in a bench file to an open link.

=====================================  ==========================================
``tcp://192.168.1.20:5025``            a TCP stream (raw SCPI socket, own protocols)
``socket://127.0.0.1:1234``            the same, for instruments that are serial elsewhere
``/dev/ttyACM0``, ``COM5``             a serial line
``TCPIP::192.168.1.20::INSTR``         VXI-11, through VISA
``TCPIP::192.168.1.20::hislip0::INSTR``  HiSLIP, through VISA
``USB0::0x0AAD::...::INSTR``           USBTMC, through VISA
``TCPIP::192.168.1.20::5025::SOCKET``  a TCP stream: our own, which is faster and notices a lost peer
``replay://path/to/transcript.jsonl``  a recording
=====================================  ==========================================
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coilbench.base.errors import ConnectionFailed
from drivers.link import Link
from drivers.tcp import TcpWire
from drivers.transcript import RecordingWire, ReplayWire

if TYPE_CHECKING:
    from drivers.link import Wire

_STREAM: Final = re.compile(r"^(tcp|socket)://(\[[0-9A-Fa-f:.]+\]|[^\[\]:/]+):(\d{1,5})$")
_VISA_STREAM: Final = re.compile(r"^TCPIP\d*::([^:,\s]+)::(\d{1,5})::SOCKET$", re.IGNORECASE)
_VISA: Final = re.compile(r"^(TCPIP|USB|GPIB|PXI|VXI)\d*::.+$", re.IGNORECASE)
_SERIAL: Final = re.compile(r"^(/dev/.+|COM\d+|/.*/pts/\d+)$", re.IGNORECASE)
_REPLAY: Final = "replay://"
_FORMS: Final = (
    "tcp://host:port, socket://host:port, /dev/ttyACM0, COM5, TCPIP::host::hislip0::INSTR, "
    "TCPIP::host::INSTR or USB0::...::INSTR"
)


def open_link(
    address: str,
    *,
    name: str,
    timeout: float = 5.0,
    newline: bytes = b"\n",
    baud_rate: int = 115_200,
    record: Path | None = None,
) -> Link:
    """Open a link to ``address``.

    Parameters
    ----------
    address
        One of the forms at the top of this module.
    name
        The instrument's name in the bench file, for errors and logs.
    timeout
        Seconds an ordinary answer may take, and seconds to connect.
    newline
        What ends a line that is sent.
    baud_rate
        For serial lines only.
    record
        A new file for a transcript of all bytes.

    Raises
    ------
    ConnectionFailed
        The address has none of the known forms, or nothing answers there.
    """
    wire = _wire(address.strip(), name, baud_rate)
    if record is not None:
        wire = RecordingWire(wire, record)
    return Link(wire, name, timeout=timeout, newline=newline)


def _wire(address: str, name: str, baud_rate: int) -> Wire:
    if match := _STREAM.match(address):
        scheme, host, port = match.groups()
        return TcpWire(host.strip("[]"), int(port), scheme=scheme)
    if match := _VISA_STREAM.match(address):
        return TcpWire(match[1], int(match[2]))
    if _SERIAL.match(address):
        from drivers.serialport import SerialWire

        return SerialWire(address, baud_rate)
    if address.startswith(_REPLAY):
        return ReplayWire(Path(address.removeprefix(_REPLAY)))
    if _VISA.match(address):
        from drivers.visa import VisaWire

        return VisaWire(address)
    raise ConnectionFailed(f"{name} ({address})", f"not an address; write {_FORMS}")
