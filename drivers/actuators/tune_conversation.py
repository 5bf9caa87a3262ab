"""A conversation with a tune/match controller: numbered questions, safe repetition, bounded patience.

A request whose answer is lost or damaged is sent again with the same bytes; the controller answers it again
without executing it twice (docs/reference/tuner-protocol.md, section 3). A controller that stays silent is
treated as dead: the link is closed, so that nothing late is ever taken for an answer.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from typing import TYPE_CHECKING, Final

from coilbench.base.errors import InstrumentFault, LimitExceeded, ProtocolError, ReplyTimeout
from drivers.actuators.tune_frames import (
    BEYOND_LIMIT,
    GARBLED,
    LINE_LIMIT,
    SEQUENCE_NUMBERS,
    Reply,
    frame,
    parse_reply,
)

if TYPE_CHECKING:
    from drivers.link import Link

_log: Final = logging.getLogger("coilbench.tuner")

#: Times that a request is sent again before the link is given up (section 4).
REPETITIONS: Final = 3


class Conversation:
    """Asks one question at a time and checks every answer.

    Parameters
    ----------
    link
        Open; its ``timeout`` is the patience for one answer. Closed by whoever opened it.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sequence = 0
        self._repetitions = 0

    @property
    def repetitions(self) -> int:
        """How many requests had to be sent again so far; not zero means a bad cable or a noisy bench."""
        return self._repetitions

    def begin(self) -> None:
        """Say HELLO, so that no number left by an earlier host can hide a command.

        Raises
        ------
        ReplyTimeout, ConnectionLost
            Nobody speaks this protocol here.
        """
        with self._link.lock:
            # any number will do; a random one is not taken for the answer to an earlier host's HELLO
            self._sequence = random.randrange(SEQUENCE_NUMBERS)
            self._link.write(b"\n", command="line feed")
            self._exchange("HELLO", opening=True)

    def resume(self) -> None:
        """Open the link again and say HELLO.

        Raises
        ------
        ConnectionFailed, ReplyTimeout, ConnectionLost
            The controller does not come back.
        """
        with self._link.lock:
            self._link.reopen()
            self.begin()

    def ask(self, command: str) -> str:
        """Return what the controller answers after OK.

        Raises
        ------
        LimitExceeded
            The controller refused a target or a current beyond its limits.
        InstrumentFault
            It refused for another reason; its words are in the text.
        ReplyTimeout, ConnectionLost
            It does not answer, or is gone; the link is closed.
        ProtocolError
            It does not understand a frame, however often it is sent.
        """
        with self._link.lock:
            self._sequence = (self._sequence + 1) % SEQUENCE_NUMBERS
            reply = self._exchange(command, opening=False)
        if reply.error is None:
            return reply.text
        kind = LimitExceeded if reply.error in BEYOND_LIMIT else InstrumentFault
        raise kind(self._link.describe(), f"refused with error {reply.error}, {reply.text}", command)

    def _exchange(self, command: str, *, opening: bool) -> Reply:
        line = frame(self._sequence, command)
        complaint: Reply | None = None
        for repetition in range(REPETITIONS + 1):
            if repetition:
                self._repetitions += 1
                _log.warning("%s: repeating '%s'", self._link.describe(), command)
            self._link.write_line(line)
            reply = self._await(opening=opening)
            if reply is None:
                continue
            if reply.sequence is not None:
                return reply
            complaint = reply
        name = self._link.describe()
        self._link.close()
        if complaint is not None:
            raise ProtocolError(
                name,
                f"sent {REPETITIONS + 1} times, understood never: error {complaint.error}, {complaint.text}",
                command,
            )
        raise ReplyTimeout(
            name,
            f"no undamaged answer to {REPETITIONS + 1} requests of {self._link.timeout:g} s each; check "
            "cable, power and address, then open it again",
            command,
        )

    def _await(self, *, opening: bool) -> Reply | None:
        """Return the outstanding request's reply, a garbled-request complaint, or None to send it again."""
        deadline = time.monotonic() + self._link.timeout
        while True:
            try:
                raw = self._link.read_until(b"\n", max(0.0, deadline - time.monotonic()), limit=LINE_LIMIT)
            except ReplyTimeout:
                return None
            except ProtocolError:
                # no end of line in more bytes than a line may have: drop them, else they stay for ever
                raw = self._link.read_some(limit=sys.maxsize)
            # "<" stands at the beginning of replies only: what comes before it is noise or a torn reply
            line = raw[max(0, raw.rfind(b"<")) :].decode("ascii", errors="replace")
            reply = parse_reply(line.removesuffix("\n"))
            if reply is None:
                _log.warning("%s: damaged reply %r", self._link.describe(), bytes(raw[:100]))
                if not opening or time.monotonic() >= deadline:
                    return None
            elif reply.sequence == self._sequence or (
                not opening and reply.sequence is None and reply.error in GARBLED
            ):
                return reply
