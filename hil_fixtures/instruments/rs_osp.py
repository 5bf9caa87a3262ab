"""A simulated R&S OSP switch unit behind a raw socket, written from its manuals.

User manual 1178.7100.02, pages 253 to 255: ``ROUTe:CLOSe`` takes ``(@FxxMyy(ssee,...),...)``, also ranges
``(ssee:ssff)``; its query answers 1 for each element in the state named, else 0: for latching relays from the
true position, for failsafe ones from the control line. Operating manual 1505.3896.12, page 152: common
commands; ``*RST`` brings all relays to state 0. What the manuals leave open: elements that do not exist are
taken as -222.

Modules: M01 to M03 with six SPDT relays each, M04 to M07 with one SP8T each. They are wired to a
``SwitchedDevice``: the first sixteen SPDT relays belong to the ports, the last two to the sides.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from hil_fixtures.instruments.faults import LinkFaults
from hil_fixtures.instruments.scpi_socket import RawSocket
from hil_fixtures.instruments.scpi_syntax import ScpiError
from hil_fixtures.instruments.scpi_tree import CommandTree, StatusRegisters, execute
from hil_fixtures.instruments.wire import TcpServer

if TYPE_CHECKING:
    from types import TracebackType

    from hil_fixtures.instruments.scpi_tree import Call
    from hil_fixtures.instruments.switched_device import SwitchedDevice

IDENTITY: Final = "Rohde&Schwarz,OSP230,1505.3009K03/100001,2.42"

#: States of each relay by module and number.
_STATES: Final = {(module, number): 2 for module in (1, 2, 3) for number in range(1, 7)} | {
    (module, 1): 9 for module in (4, 5, 6, 7)
}
#: Wall seconds that coaxial relays take at full time scale: 15 to 30 ms (Agilent, "RF and Microwave Test
#: Accessories", overview of electromechanical switches).
_SWITCHING_TIME: Final = 0.015

_MODULE: Final = re.compile(r"F(\d\d)M(\d\d)\(([^()]*)\)")
_ELEMENTS: Final = re.compile(r"(\d{2,3})(\d\d)(?::(\d{2,3})(\d\d))?")


@dataclass(slots=True)
class SwitchFaults:
    """What a test makes the relays do wrong.

    Parameters
    ----------
    stuck
        Relays (module, number) that do not move, and tell so.
    stuck_contacts
        Relays whose contact does not move while the control line, and so the answer, does.
    """

    stuck: set[tuple[int, int]] = field(default_factory=set)
    stuck_contacts: set[tuple[int, int]] = field(default_factory=set)


class RsOsp:
    """The unit and its server.

    Parameters
    ----------
    device
        What the relays act on.
    time_scale
        Wall seconds per second of switching; 0 lets relays take no time.
    seed
        Of link faults.
    port
        0 takes a free one.
    """

    def __init__(
        self, device: SwitchedDevice, *, time_scale: float = 0.0, seed: int = 0, port: int = 0
    ) -> None:
        self.faults: Final = SwitchFaults()
        self.link_faults: Final = LinkFaults(seed)
        self.history: Final[list[dict[tuple[int, int], int]]] = []
        self._device = device
        self._time_scale = time_scale
        self._status = StatusRegisters()
        self._lines = dict.fromkeys(_STATES, 0)
        self._moved_until = 0.0
        self._tree = self._commands()
        self._server = TcpServer(lambda wire: RawSocket(wire, self), port=port, shape=self.link_faults)

    @property
    def address(self) -> str:
        """Where drivers find it."""
        host, port = self._server.address
        return f"tcp://{host}:{port}"

    @property
    def states(self) -> dict[tuple[int, int], int]:
        """State of each relay's control line by module and number."""
        return dict(self._lines)

    def hang_up(self) -> None:
        """Reset every connection."""
        self._server.hang_up()

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    async def answer(self, message: str, /) -> bytes:
        """Carry out a message."""
        return await execute(message, self._tree, self._status)

    def trigger(self) -> None:
        """Ignore bus triggers."""

    def status_byte(self, message_available: bool, /) -> int:
        """Return the status byte."""
        return self._status.status_byte(message_available)

    def interrupted(self) -> None:
        """Do nothing: a raw socket has no interrupted queries."""

    def _commands(self) -> CommandTree:
        tree, status = CommandTree(), self._status
        tree.add("*IDN", query=lambda _call: IDENTITY, query_arguments=0)
        tree.add("*RST", command=lambda _call: self._move(dict.fromkeys(_STATES, 0)), arguments=0)
        tree.add("*CLS", command=lambda _call: status.clear(), arguments=0)
        tree.add("*ESR", query=lambda _call: str(status.take_event_status()), query_arguments=0)
        tree.add("*OPC", query=self._wait, query_arguments=0)
        tree.add("SYSTem:ERRor[:NEXT]", query=lambda _call: status.next_error(), query_arguments=0)
        tree.add("ROUTe:CLOSe", command=self._close, query=self._is_closed, arguments=99, query_arguments=99)
        return tree

    async def _wait(self, _call: Call) -> str:
        await asyncio.sleep(max(0.0, self._moved_until - asyncio.get_running_loop().time()))
        return "1"

    def _close(self, call: Call) -> None:
        self._move(dict(_elements(call)))
        self._moved_until = asyncio.get_running_loop().time() + _SWITCHING_TIME * self._time_scale

    def _is_closed(self, call: Call) -> str:
        return ",".join(str(int(self._lines[relay] == state)) for relay, state in _elements(call))

    def _move(self, wanted: dict[tuple[int, int], int]) -> None:
        for relay, state in wanted.items():
            if relay in self.faults.stuck:
                continue
            self._lines[relay] = state
            if relay not in self.faults.stuck_contacts:
                self._throw(relay, state)
        self.history.append(dict(self._lines))

    def _throw(self, relay: tuple[int, int], state: int) -> None:
        """Move a contact of the device's matrix."""
        module, number = relay
        if module >= 4:
            side, half = divmod(module - 4, 2)
            self._device.selectors[side][half] = state
            return
        place = 6 * (module - 1) + number - 1
        if place < len(self._device.port_relays):
            self._device.port_relays[place] = state
        else:
            self._device.sides[place - len(self._device.port_relays)] = state


def _elements(call: Call) -> list[tuple[tuple[int, int], int]]:
    """Return relays and states of a channel list in the order named.

    Raises
    ------
    ScpiError
        No channel list (-104), or an element or state that does not exist (-222).
    """
    text = ",".join(argument.text for argument in call.arguments)
    if not text:
        raise ScpiError(-109)
    if not (text.startswith("(@") and text.endswith(")")):
        raise ScpiError(-104, text)
    found: list[tuple[tuple[int, int], int]] = []
    rest = _MODULE.sub("", text[2:-1]).replace(",", "").strip()
    if rest:
        raise ScpiError(-104, text)
    for frame, module, elements in _MODULE.findall(text):
        for element in elements.split(","):
            match = _ELEMENTS.fullmatch(element.strip())
            if match is None:
                raise ScpiError(-104, element)
            state, first = int(match[1]), int(match[2])
            last = int(match[4]) if match[4] else first
            if match[3] and match[3] != match[1]:
                raise ScpiError(-104, element)
            for number in range(first, last + 1):
                relay = (int(module), number)
                if int(frame) != 1 or relay not in _STATES or state >= _STATES[relay]:
                    raise ScpiError(-222, element)
                found.append((relay, state))
    return found
