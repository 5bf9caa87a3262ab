"""R&S OSP open switch and control units: relays between an analyzer and a device with more ports.

Written from the user manual 1178.7100.02 (pages 253 to 255: ROUTe:CLOSe and its query) and the operating
manual 1505.3896.12 (page 152: common commands). Each change is made in two steps, breaking before making,
and read back. The query tells the true position of latching relays; of failsafe relays and solid-state
switches it tells the control line only, so that a stuck contact of those shows up in the data alone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from coilbench.base.errors import (
    BenchFileError,
    ConnectionFailed,
    InstrumentError,
    InstrumentFault,
    ProtocolError,
)
from drivers.address import open_link
from drivers.scpi import ScpiSession
from drivers.switches.channel_list import Relay, States, format_channel_list
from drivers.switches.routing import RoutingMatrix, read_routes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_log: Final = logging.getLogger("coilbench.switch")

#: Seconds in which relays must have moved; external ones have a delay of 100 ms each by default (page 270).
_SWITCHING_TIMEOUT: Final = 5.0


def open_switch(
    address: str,
    *,
    name: str,
    routes: Mapping[str, str],
    parked: str,
    forbidden: Sequence[str] = (),
    timeout: float = 5.0,
) -> OspSwitch:
    """Open a switch unit and park every relay.

    Parameters
    ----------
    address
        ``tcp://host:5025``, or a VISA resource.
    name
        The instrument's name in the bench file.
    routes, parked, forbidden
        The wiring, as `read_routes` takes it.
    timeout
        Seconds an ordinary answer may take.

    Raises
    ------
    BenchFileError
        The wiring cannot be read.
    ConnectionFailed
        Nobody is there, or no switch unit.
    InstrumentFault
        The wiring names relays that are not there, or one does not reach its parked state.
    """
    try:
        matrix = read_routes(routes, parked, forbidden)
    except ValueError as error:
        raise BenchFileError(f"[instruments.{name}] {error}") from error
    link = open_link(address, name=name, timeout=timeout)
    try:
        return OspSwitch(ScpiSession(link), matrix)
    except BaseException:
        link.close()
        raise


class OspSwitch:
    """An open switch unit; a ``SwitchMatrix``. Made by ``open_switch``.

    Parameters
    ----------
    session
        Open; closed with the switch.
    matrix
        The wiring.
    """

    def __init__(self, session: ScpiSession, matrix: RoutingMatrix) -> None:
        self._session: Final = session
        self._matrix: Final = matrix
        self._states: dict[Relay, int] = {}
        self._connected: tuple[int, ...] | None = None
        if "OSP" not in session.identity.upper():
            raise ConnectionFailed(session.name, f"expected an R&S OSP switch unit, got '{session.identity}'")
        session.begin("*CLS")
        self.park()

    @property
    def name(self) -> str:
        """Name and address, as error messages give them."""
        return self._session.name

    @property
    def identity(self) -> str:
        """The answer to ``*IDN?``."""
        return self._session.identity

    @property
    def analyzer_ports(self) -> tuple[int, ...]:
        """Ports on the analyzer's side, counted from 1."""
        return self._matrix.analyzer_ports

    @property
    def device_ports(self) -> tuple[int, ...]:
        """Ports on the device's side, counted from 1."""
        return self._matrix.device_ports

    @property
    def connected(self) -> tuple[int, ...] | None:
        """Device ports at analyzer port 1, 2, ...; empty when parked; None after a failure."""
        return self._connected

    def connect(self, device_ports: Sequence[int], /) -> tuple[int, ...]:
        """Connect analyzer port 1, 2, ... to ``device_ports``; every other device port ends in its load.

        Raises
        ------
        ValueError
            No such route, or a combination that the wiring excludes; nothing has moved.
        InstrumentFault
            The unit refused, or a relay (named) is not where it was sent. Its state is unknown then.
        ReplyTimeout, ConnectionLost, ProtocolError
            The unit does not answer, is gone, or answers what the manual does not allow.
        """
        wanted = self._matrix.states(device_ports)
        connected, self._connected = self._connected, None
        if connected is None:
            self._set(dict(self._matrix.parked))
        elif breaking := self._matrix.breaking(self._states, wanted):
            self._set(breaking)
        self._set(wanted)
        self._verify(wanted)
        self._connected = tuple(device_ports)
        return self._connected

    def park(self) -> None:
        """Let every device port end in its load; errors as ``connect``."""
        self._connected = None
        parked = dict(self._matrix.parked)
        self._set(parked)
        self._verify(parked)
        self._connected = ()

    def make_safe(self) -> None:
        """Park; a unit that is gone is left as it is."""
        if self._session.is_closed:
            return
        try:
            self.park()
        except InstrumentError as error:
            _log.warning("%s: cannot be parked: %s", self.name, error)

    def close(self) -> None:
        """Park and release the link; may be called twice."""
        self.make_safe()
        self._session.close()

    def _set(self, states: States) -> None:
        """Set relays and wait until they have moved; the error queue is read afterwards."""
        command = f"ROUT:CLOS {format_channel_list(states)}"
        self._session.configure(command)
        self._session.wait("*OPC?", _SWITCHING_TIMEOUT)
        self._states = {**self._states, **states}

    def _verify(self, states: States) -> None:
        """Ask every relay whether it is where it should be.

        Raises
        ------
        InstrumentFault
            Some are not; all are named.
        """
        listed = format_channel_list(states)
        question = f"ROUT:CLOS? {listed}"
        answer = self._session.query(question)
        fields = [field.strip() for field in answer.split(",")]
        if len(fields) != len(states) or not set(fields) <= {"0", "1"}:
            self._session.poison()
            raise ProtocolError(
                self.name, f"expected {len(states)} times 0 or 1, got '{answer[:80]}'", question
            )
        wrong = [str(relay) for relay, field in zip(sorted(states), fields, strict=True) if field == "0"]
        if wrong:
            self._states = {}
            raise InstrumentFault(
                self.name,
                f"{', '.join(wrong)} did not reach the state asked for; is it stuck, or switched by hand?",
                question,
            )
