"""The hands at a simulated bench: they understand the sentences that a run asks a person with.

On TCP: one sentence a line in ASCII, answered by ``done`` when it is done, or by ``cannot: `` and why. What
they understand is by the words, whatever stands around them:

=========================================  =====================================================
``probes`` and ``loop N``                  the probes face channel N
``probes`` and ``free air``                the probes are far from everything
``phantom`` and ``out of``, or ``into``    the load
``port(s) N, N`` and ``to the analyzer``   their cables end at the analyzer
``port(s) N, N`` and ``preamplifier``      at their preamplifiers
``port(s) N, N`` and ``open``              nothing is connected
``trimmer NAME`` and ``by`` X ``pF``       a screw, 10 % too far or too short as hands do
=========================================  =====================================================
"""

from __future__ import annotations

import re
from itertools import cycle
from typing import TYPE_CHECKING, Final

from hil_fixtures.physics.trimmers import FUNCTIONS, SPAN

if TYPE_CHECKING:
    from hil_fixtures.instruments.wire import Wire
    from hil_fixtures.physics.probe_stand import Ending, ProbeStand
    from hil_fixtures.physics.world import World

#: Longest sentence in bytes.
_LONGEST: Final = 1024
_LOOP: Final = re.compile(r"\bloop (\d+)")
_TRIMMER: Final = re.compile(r"\btrimmer (\S+) by ([+-]\d+(?:\.\d+)?) pf")
#: How much of what was asked for a hand does, one turn after the other.
_HANDS: Final = (1.1, 0.9, 1.0)
_PORTS: Final = re.compile(r"\bports? ((?:\d+(?:, )?)+)")
_ENDINGS: Final[tuple[tuple[str, Ending], ...]] = (
    ("to the analyzer", "analyzer"),
    ("preamplifier", "preamplifier"),
    ("open", "open"),
)


class Operator:
    """Does at once what it is told.

    Parameters
    ----------
    world
        Whose phantom it moves.
    stand
        Whose probes and cables it moves; None: there are none.
    """

    def __init__(self, world: World, stand: ProbeStand | None) -> None:
        self._world = world
        self._stand = stand
        self._skill = cycle(_HANDS)
        #: All that was asked, done or not.
        self.heard: Final[list[str]] = []

    def __call__(self, sentence: str) -> None:
        """Do what a sentence asks.

        Raises
        ------
        ValueError
            It makes no sense, or this bench does not have what it takes.
        """
        self.heard.append(sentence)
        text = sentence.lower()
        if "probes" in text:
            self._move_probes(text)
        elif "phantom" in text:
            self._move_phantom(text)
        elif trimmer := _TRIMMER.search(text):
            self._turn(trimmer[1], float(trimmer[2]) * 1e-12)
        elif ports := _PORTS.search(text):
            self._connect([int(port) for port in ports[1].replace(" ", "").split(",")], text)
        else:
            raise ValueError(f"nobody here knows how to: {sentence}")

    def open_link(self, wire: Wire, /) -> _Listening:
        """Return the operator's end of a connection."""
        del wire
        return _Listening(self)

    def _move_probes(self, text: str) -> None:
        loop = _LOOP.search(text)
        if loop:
            self._standing().face(int(loop[1]))
        elif "free air" in text:
            self._standing().face(None)
        else:
            raise ValueError(f"hold the probes where? {text}")

    def _move_phantom(self, text: str) -> None:
        if "out of" in text:
            self._world.remove_load()
        elif "into" in text:
            self._world.set_load()
        else:
            raise ValueError(f"the phantom out or in? {text}")

    def _turn(self, name: str, change: float) -> None:
        """Turn a screw by about a change of capacitance, held by the ends of its travel."""
        lowest, highest = self._world.axis_limits(name)
        column = self._world.axis_names.index(name) % len(FUNCTIONS)
        scale = (highest - lowest) / (2.0 * SPAN * self._world.design.trimmers[column])
        target = round(self._world.axis_position(name) + next(self._skill) * change * scale)
        self._world.move_axis(name, min(max(target, lowest), highest))

    def _connect(self, ports: list[int], text: str) -> None:
        for words, ending in _ENDINGS:
            if words in text:
                self._standing().end(ports, ending)
                return
        raise ValueError(f"connect the ports to what? {text}")

    def _standing(self) -> ProbeStand:
        if self._stand is None:
            raise ValueError("this simulated bench has no probes and no cables; start it with --probes")
        return self._stand


class _Listening:
    """One connection."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._pending = b""

    def receive(self, data: bytes, /) -> bytes:
        """Do what the complete lines ask and return the answers."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        answers = [self._answer(line) for line in lines]
        if len(self._pending) > _LONGEST:
            self._pending = b""
            answers.append(b"cannot: that sentence has no end\n")
        return b"".join(answers)

    def closed(self) -> None:
        """Nothing to free."""

    def _answer(self, line: bytes) -> bytes:
        try:
            self._operator(line.decode("ascii").strip())
        except ValueError as error:
            return f"cannot: {error}".encode("ascii", "replace").replace(b"\n", b" ") + b"\n"
        return b"done\n"
