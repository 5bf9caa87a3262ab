"""Serial lines through pySerial, opened for this process alone.

A second program on the same port is refused, because two readers would each get half of every answer.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from drivers.link import WireLost, WireRefused, WireTimeout

if TYPE_CHECKING:
    import serial

#: Seconds one look at the port may take. It is never changed while the port is open: pySerial sets up the
#: whole port anew when its timeout changes.
_SLICE: Final = 0.05


class SerialWire:
    """A serial line.

    Parameters
    ----------
    port
        ``/dev/ttyACM0``, ``COM5`` or whatever the system calls it.
    baud_rate
        Bits per second; USB virtual ports ignore it.
    """

    def __init__(self, port: str, baud_rate: int = 115_200) -> None:
        self._port = port
        self._baud_rate = baud_rate
        self._serial: serial.Serial | None = None

    @property
    def address(self) -> str:
        """The port's name."""
        return self._port

    def open(self, timeout: float, /) -> None:
        """Open the port exclusively, or raise ``WireRefused``."""
        import serial

        self.close()
        try:
            self._serial = serial.Serial(
                self._port, self._baud_rate, timeout=_SLICE, write_timeout=timeout, exclusive=True
            )
        except (serial.SerialException, OSError, ValueError) as error:
            raise WireRefused(
                f"cannot be opened ({error}); is it plugged in, is the port right, and is no other program "
                "using it?"
            ) from error

    def send(self, data: bytes, timeout: float, /) -> None:
        """Send all bytes, or raise ``WireTimeout`` or ``WireLost``; the timeout is the one of ``open``."""
        import serial

        del timeout
        port = self._opened()
        try:
            port.write(data)
        except serial.SerialTimeoutException:
            raise WireTimeout from None
        except (serial.SerialException, OSError, TypeError) as error:
            raise WireLost(f"the serial line was lost while sending ({error})") from error

    def receive_into(self, buffer: memoryview, timeout: float, /) -> int:
        """Write at least one byte into ``buffer``, or raise ``WireTimeout`` or ``WireLost``."""
        import serial

        port = self._opened()
        deadline = time.monotonic() + timeout
        try:
            while not port.in_waiting:
                remaining = deadline - time.monotonic()
                if remaining <= 0.0:
                    raise WireTimeout
                if first := port.read(1):
                    break
            else:
                first = b""
            # what else has arrived comes without waiting
            more = min(port.in_waiting, len(buffer) - len(first))
            data = first + (port.read(more) if more else b"")
        except (serial.SerialException, OSError, TypeError) as error:
            # TypeError: what pySerial does when another thread closes the port meanwhile
            raise WireLost(f"the serial line was lost ({error})") from error
        buffer[: len(data)] = data
        return len(data)

    def clear(self, timeout: float, /) -> bool:
        """Return False: a serial line has no device clear."""
        del timeout
        return False

    def close(self) -> None:
        """Close the port; may be called twice."""
        port, self._serial = self._serial, None
        if port is not None:
            # an unplugged adapter fails on closing too; there is nothing left to release
            with contextlib.suppress(OSError):
                port.close()

    def _opened(self) -> serial.Serial:
        if self._serial is None:
            raise WireLost("the serial line is closed")
        return self._serial
