"""Asking a person to do something with their hands: what procedures say and what can be answered.

A command line, a window and a test's script are operators alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from coilbench.base.errors import RunAborted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Answer(StrEnum):
    """What an operator may answer."""

    DONE = "done"
    REPEAT = "repeat"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator is asked to do.

    Parameters
    ----------
    instruction
        One line, such as ``"connect SHORT to port 1"``.
    number, total
        This is request ``number`` of ``total``.
    reason
        Why it is asked again; empty the first time.
    """

    instruction: str
    number: int
    total: int
    reason: str = ""


class Operator(Protocol):
    """A person at the bench, or who stands for one."""

    def ask(self, request: Request, /) -> Answer:
        """Wait until the request is done.

        Returns
        -------
        ``DONE``; ``REPEAT`` to do the request before this one again; ``ABORT`` to end.
        """
        ...


def carry_out(
    requests: Sequence[Request], operator: Operator, act: Callable[[int], str | None], /, *, attempts: int = 3
) -> None:
    """Ask for one request after the other and act on each that is done.

    Parameters
    ----------
    requests
        In order.
    operator
        Who is asked.
    act
        Called with the place of a request that was said to be done; returns why it was not, or None.
    attempts
        How often one request may turn out not to have been done.

    Raises
    ------
    RunAborted
        The operator wants to end, or a request was not done after all attempts.
    """
    place, failures, reason = 0, 0, ""
    while place < len(requests):
        request = requests[place]
        answer = operator.ask(Request(request.instruction, request.number, request.total, reason))
        if answer is Answer.ABORT:
            raise RunAborted(f"ended by the operator at: {request.instruction}")
        if answer is Answer.REPEAT:
            place, failures, reason = max(0, place - 1), 0, "as you asked"
            continue
        objection = act(place)
        if objection is None:
            place, failures, reason = place + 1, 0, ""
            continue
        failures, reason = failures + 1, objection
        if failures == attempts:
            raise RunAborted(f"{request.instruction}: not done after {attempts} attempts ({objection})")
