"""HiSLIP, VXI-11 and USBTMC through PyVISA: an installed VISA if there is one, else PyVISA-py.

Raw sockets do not come here: PyVISA-py leaves Nagle's delay on, spins on a lost peer until the timeout and
then calls it a timeout, and its clear does not return. ``drivers.tcp`` carries them instead.

``PYVISA_LIBRARY`` chooses another VISA, as everywhere with PyVISA.
"""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import time
import traceback
from typing import TYPE_CHECKING, Final, cast

from drivers.link import WireLost, WireRefused, WireTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyvisa
    from pyvisa.highlevel import VisaLibraryBase
    from pyvisa.resources import MessageBasedResource

_LAN: Final = re.compile(
    r"^TCPIP\d*::([^:,\s]+)(?:,(\d+))?(?:::([A-Za-z]+\d*)(?:,(\d+))?)?::INSTR$", re.IGNORECASE
)
#: Ports that must answer before VISA is asked: HiSLIP (IVI-6.1, 4.1) and the VXI-11 portmapper (RFC 1833).
_HISLIP_PORT: Final = 4880
_PORTMAPPER: Final = 111
#: Seconds between looks at a library that returns at once with nothing.
_PAUSE: Final = 0.005


class VisaWire:
    """A message-based VISA resource.

    Parameters
    ----------
    resource
        Such as ``TCPIP::192.168.1.20::hislip0::INSTR``.
    """

    def __init__(self, resource: str) -> None:
        self._name = resource
        self._resource: MessageBasedResource | None = None
        self._ended_without_newline = False

    @property
    def address(self) -> str:
        """The resource's name."""
        return self._name

    def open(self, timeout: float, /) -> None:
        """Open the resource, or raise ``WireRefused``."""
        import pyvisa

        self.close()
        _knock(self._name, timeout)
        try:
            opened = _visa().open_resource(self._name)
        except (pyvisa.Error, OSError, ValueError, RuntimeError) as error:
            _close_left_open(error)
            raise WireRefused(
                f"VISA cannot open it ({error}); is the address right and is remote control by LAN or USB "
                "enabled in the instrument?"
            ) from error
        self._resource = cast("MessageBasedResource", opened)
        self._ended_without_newline = False

    def send(self, data: bytes, timeout: float, /) -> None:
        """Send one message, or raise ``WireTimeout`` or ``WireLost``."""
        resource = self._opened()
        self._ended_without_newline = False
        with _translated():
            resource.timeout = _milliseconds(timeout)
            resource.write_raw(data)

    def receive_into(self, buffer: memoryview, timeout: float, /) -> int:
        """Write at least one byte into ``buffer``, or raise ``WireTimeout`` or ``WireLost``.

        VISA marks the end of a message; where the instrument sent no newline before it, one is added,
        so that lines and blocks end the same way on every wire. Without a timeout nothing is looked for:
        VISA answers belong to their question, and a look costs at least a millisecond.
        """
        from pyvisa.constants import StatusCode

        if self._ended_without_newline:
            self._ended_without_newline = False
            buffer[:1] = b"\n"
            return 1
        resource = self._opened()
        if timeout <= 0.0:
            raise WireTimeout
        deadline = time.monotonic() + timeout
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            with _translated(), resource.ignore_warning(StatusCode.success_max_count_read):
                resource.timeout = _milliseconds(remaining)
                data, status = resource.visalib.read(resource.session, len(buffer))
            if data:
                buffer[: len(data)] = data
                more_follows = status == StatusCode.success_max_count_read
                self._ended_without_newline = not more_follows and data[-1:] != b"\n"
                return len(data)
            if remaining == 0.0:
                raise WireTimeout
            # PyVISA-py returns at once with nothing when it is asked again after the end of a message
            time.sleep(min(_PAUSE, remaining))

    def clear(self, timeout: float, /) -> bool:
        """Send a device clear and return True."""
        resource = self._opened()
        self._ended_without_newline = False
        with _translated():
            resource.timeout = _milliseconds(timeout)
            resource.clear()
        return True

    def close(self) -> None:
        """Close the resource; may be called twice."""
        resource, self._resource = self._resource, None
        if resource is not None:
            # the peer may be gone already: then there is nothing left to release
            with contextlib.suppress(WireLost, WireTimeout), _translated():
                resource.close()

    def _opened(self) -> MessageBasedResource:
        if self._resource is None:
            raise WireLost("the VISA resource is closed")
        return self._resource


def _visa() -> pyvisa.ResourceManager:
    """Return the process's resource manager; a new one where somebody else has closed the shared one."""
    import pyvisa

    return pyvisa.ResourceManager(_library())


@functools.cache
def _library() -> VisaLibraryBase:
    """Return the VISA library found; looking for one takes 0.2 s, too long while RF is on."""
    from pyvisa.highlevel import open_visa_library

    return open_visa_library("")


def _milliseconds(seconds: float) -> int:
    # 0 would mean "immediately" and make PyVISA-py's sockets non-blocking
    return max(1, round(seconds * 1e3))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    import pyvisa
    from pyvisa.constants import StatusCode

    try:
        yield
    except TimeoutError:
        raise WireTimeout from None
    except pyvisa.errors.VisaIOError as error:
        if error.error_code == StatusCode.error_timeout:
            raise WireTimeout from None
        raise WireLost(f"VISA lost it ({error.description})") from error
    except (pyvisa.Error, OSError, EOFError, RuntimeError, ValueError) as error:
        # PyVISA-py says RuntimeError when the peer closes or its HiSLIP messages are out of order
        raise WireLost(f"VISA lost it ({error})") from error


def _knock(resource: str, timeout: float) -> None:
    """Refuse an unreachable instrument at once; VISA takes its own time and PyVISA-py leaks a socket then."""
    match = _LAN.match(resource)
    if match is None:
        return
    host, host_port, device, device_port = match.groups()
    is_hislip = device is not None and device.lower().startswith("hislip")
    port = int(device_port or host_port or (_HISLIP_PORT if is_hislip else _PORTMAPPER))
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise WireRefused(
            f"port {port} cannot be opened ({reason}); is it switched on, on this network, and is "
            f"{'HiSLIP' if is_hislip else 'VXI-11'} enabled in its remote settings?"
        ) from error


def _close_left_open(error: BaseException) -> None:
    """Close the sockets of a HiSLIP handshake that failed: PyVISA-py 0.8.1 leaves them open in its frames."""
    seen: BaseException | None = error
    while seen is not None:
        for frame, _line in traceback.walk_tb(seen.__traceback__):
            owner = frame.f_locals.get("self")
            for part in ("_sync", "_async"):
                left = getattr(owner, part, None)
                if isinstance(left, socket.socket):
                    left.close()
        seen = seen.__cause__ or seen.__context__
