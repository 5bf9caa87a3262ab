"""Relay states as R&S switch units write them: ``(@F01M01(0301,0002),F01M02(0101))``.

Frame, module, and for each relay its state and its two-digit number (R&S OSP user manual 1178.7100.02, pages
253 to 255). In the example relay 1 of module F01M01 is in state 3, relay 2 in state 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

_MODULE: Final = re.compile(r"(F\d{2}[MA]\d{2})\(([\d,\s]*)\)")
#: State with leading zeros (two digits or more), and the relay's number in two digits.
_ELEMENT: Final = re.compile(r"\d{2,3}\d{2}")


@dataclass(frozen=True, slots=True, order=True)
class Relay:
    """One relay: its module, such as ``F01M02``, and its number there."""

    module: str
    number: int

    def __str__(self) -> str:
        """Return ``F01M02 K3``, as the front panel shows it."""
        return f"{self.module} K{self.number}"


#: Which state each of some relays is in.
States: TypeAlias = "Mapping[Relay, int]"


def parse_channel_list(text: str, /) -> dict[Relay, int]:
    """Return the states in a channel list, with or without ``(@`` and ``)`` around it.

    Raises
    ------
    ValueError
        Not a channel list, or a relay is named twice.
    """
    body = text.strip()
    if body.startswith("(@") and body.endswith(")"):
        body = body[2:-1]
    states: dict[Relay, int] = {}
    rest = _MODULE.sub("", body).replace(",", "").strip()
    if rest or not body:
        raise ValueError(f"expected relay states such as F01M01(0301,0002),F01M02(0101); got {text!r}")
    for module, elements in _MODULE.findall(body):
        for element in elements.split(","):
            if not _ELEMENT.fullmatch(element.strip()):
                raise ValueError(
                    f"expected a state and a two-digit relay number, such as 0301; got {element!r}"
                )
            relay = Relay(module, int(element.strip()[-2:]))
            if relay in states:
                raise ValueError(f"{relay} is named twice in {text!r}")
            states[relay] = int(element.strip()[:-2])
    return states


def format_channel_list(states: States, /) -> str:
    """Return the channel list of some states, module after module."""
    modules: dict[str, list[str]] = {}
    for relay in sorted(states):
        modules.setdefault(relay.module, []).append(f"{states[relay]:02d}{relay.number:02d}")
    return "(@" + ",".join(f"{module}({','.join(parts)})" for module, parts in modules.items()) + ")"
