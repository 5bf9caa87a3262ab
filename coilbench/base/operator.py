"""What a run asks a person to do with their hands, in whole sentences.

A procedure calls ``ask`` with one of these sentences and goes on when it returns: the person has done it.
Whoever cannot do it raises, and the procedure ends with the outputs off. A simulated bench's operator
understands the same sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

#: Shows a sentence and returns when it has been done; what it returns is not used, so `input` will do.
Ask: TypeAlias = Callable[[str], object]


def hold_probes_over(channel: int, /) -> str:
    """Return the sentence that brings the probes to a channel's loop (counted from 1)."""
    return f"Hold the probes over the middle of loop {channel}, fixed to a stand."


def take_probes_away() -> str:
    """Return the sentence that takes the probes from everything that they could couple to."""
    return "Hold the probes in free air, half a metre from the array and from metal."


def turn_trimmer(axis: str, change: float, /) -> str:
    """Return the sentence that turns a trimmer until it has so much more capacitance, F (negative: less)."""
    return f"Turn trimmer {axis} by {change * 1e12:+.4f} pF."


def take_phantom_out() -> str:
    """Return the sentence that empties the array."""
    return "Take the phantom out of the array."


def put_phantom_in() -> str:
    """Return the sentence that loads the array."""
    return "Put the phantom into the array, as for the scan."


def connect_to_analyzer(ports: Sequence[int], /) -> str:
    """Return the sentence that connects ports of the array to the analyzer's ports of the same numbers."""
    return f"Connect {_ports(ports)} to the analyzer."


def connect_to_preamplifier(ports: Sequence[int], /) -> str:
    """Return the sentence that connects ports of the array to their preamplifiers, which are powered."""
    return f"Connect {_ports(ports)} to the preamplifier, powered."


def leave_open(ports: Sequence[int], /) -> str:
    """Return the sentence that disconnects ports of the array at the coil."""
    return f"Disconnect {_ports(ports)} at the coil and leave it open."


def _ports(ports: Sequence[int]) -> str:
    numbers = ", ".join(str(port) for port in ports)
    return f"port {numbers}" if len(ports) == 1 else f"ports {numbers}"
