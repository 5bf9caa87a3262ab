"""What a run tells its readers: one stream for the command line, the log and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened during a run.

    Parameters
    ----------
    kind
        Dotted word, such as ``"tune.moved"`` or ``"scan.progress"``.
    message
        One line for a person, with units.
    data
        JSON values for a program; the same facts as the message, in SI units.
    """

    kind: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


#: Receives events; must return quickly and never raise.
EventSink: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Drop an event: the sink of callers who do not watch."""
