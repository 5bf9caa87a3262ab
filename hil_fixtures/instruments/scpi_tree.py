"""A SCPI instrument's command tree, error queue and status registers.

True here: SCPI-99 volume 1 chapters 6 and 7 (optional nodes, path of the following unit) and the status
model of IEEE 488.2 chapter 11. Commands are entered as manuals print them:
``"[SENSe<Ch>:]SWEep:POINts"``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from hil_fixtures.instruments.scpi_syntax import (
    ERROR_TEXTS,
    Argument,
    ScpiError,
    Unit,
    parse_unit,
    short_form,
    split_outside_quotes,
)

#: What an action answers: text, bytes (a block), nothing, or any of them later.
Answer: TypeAlias = str | bytes | None

#: Entries that the error queue holds (R&S ZNB: not stated; other R&S analyzers: 30).
_QUEUE_LENGTH: Final = 30


@dataclass(frozen=True, slots=True)
class Call:
    """A command found in the tree.

    Parameters
    ----------
    suffixes
        Numeric suffixes of the ``<...>`` nodes in the order of the pattern; 1 where none was sent.
    arguments
        As sent.
    """

    suffixes: tuple[int, ...]
    arguments: tuple[Argument, ...]

    def argument(self, index: int = 0) -> Argument:
        """Return an argument that must be there.

        Raises
        ------
        ScpiError
            It is not (-109).
        """
        if index >= len(self.arguments):
            raise ScpiError(-109)
        return self.arguments[index]

    def at_most(self, count: int) -> None:
        """Check that there are no more arguments than the command takes.

        Raises
        ------
        ScpiError
            There are (-108).
        """
        if len(self.arguments) > count:
            raise ScpiError(-108, self.arguments[count].text)


Action: TypeAlias = Callable[[Call], Answer | Awaitable[Answer]]


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    takes_suffix: bool = False
    set_action: _Leaf | None = None
    query_action: _Leaf | None = None


@dataclass(frozen=True, slots=True)
class _Leaf:
    action: Action
    #: For each ``<...>`` node of the pattern its position in this spelling, or None where left out.
    suffix_positions: tuple[int | None, ...]
    argument_limit: int


@dataclass(frozen=True, slots=True)
class _PatternNode:
    word: str
    has_suffix: bool
    is_optional: bool


class CommandTree:
    """All commands of an instrument."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(
        self,
        pattern: str,
        *,
        command: Action | None = None,
        query: Action | None = None,
        arguments: int = 1,
        query_arguments: int = 1,
    ) -> None:
        """Enter a command.

        Parameters
        ----------
        pattern
            Such as ``"[SENSe<Ch>:]SEGMent<Seg>:SWEep:POINts"`` or ``"*CLS"``.
        command, query
            What its two forms do; None where a form does not exist.
        arguments, query_arguments
            Most arguments each form takes.
        """
        nodes = _parse_pattern(pattern)
        for spelling in _spellings(nodes):
            positions = {index: place for place, index in enumerate(spelling)}
            suffixes = tuple(positions.get(i) for i, node in enumerate(nodes) if node.has_suffix)
            end = self._grow([nodes[index] for index in spelling])
            if command is not None:
                end.set_action = _Leaf(command, suffixes, arguments)
            if query is not None:
                end.query_action = _Leaf(query, suffixes, query_arguments)

    def find(self, unit: Unit, path: tuple[tuple[str, int | None], ...]) -> tuple[Action, Call]:
        """Return the action of ``unit`` below ``path`` and what to call it with.

        Raises
        ------
        ScpiError
            No such command (-113) or too many arguments (-108).
        """
        spelled = unit.header.nodes if unit.header.is_absolute else path + unit.header.nodes
        node = self._root
        for word, suffix in spelled:
            child = node.children.get(word)
            if child is None or (suffix is not None and not child.takes_suffix):
                raise ScpiError(-113, unit.text)
            node = child
        leaf = node.query_action if unit.header.is_query else node.set_action
        if leaf is None:
            raise ScpiError(-113, unit.text)
        suffixes = tuple(
            1 if place is None or (sent := spelled[place][1]) is None else sent
            for place in leaf.suffix_positions
        )
        call = Call(suffixes, unit.arguments)
        call.at_most(leaf.argument_limit)
        return leaf.action, call

    def _grow(self, nodes: list[_PatternNode]) -> _Node:
        node = self._root
        for part in nodes:
            child = node.children.setdefault(short_form(part.word), _Node())
            node.children[part.word.upper()] = child
            child.takes_suffix = child.takes_suffix or part.has_suffix
            node = child
        return node


def _parse_pattern(pattern: str) -> tuple[_PatternNode, ...]:
    """Return the nodes of a pattern; brackets enclose one node each."""
    return tuple(
        _PatternNode(word, bool(suffix), bool(opening))
        for opening, word, suffix in re.findall(r"(\[?):?([*@]?[A-Za-z]+)(<\w+>)?:?\]?", pattern)
    )


def _spellings(nodes: tuple[_PatternNode, ...]) -> list[tuple[int, ...]]:
    """Return the node numbers of every way to leave out optional nodes, but never of all."""
    spellings: list[tuple[int, ...]] = [()]
    for index, node in enumerate(nodes):
        longer = [(*spelling, index) for spelling in spellings]
        spellings = longer + spellings if node.is_optional else longer
    return [spelling for spelling in spellings if spelling]


class StatusRegisters:
    """Error queue and standard event status."""

    def __init__(self) -> None:
        self._errors: deque[tuple[int, str]] = deque()
        self.event_status = 0
        self.event_enable = 0
        self.service_enable = 0

    @property
    def error_count(self) -> int:
        """Number of errors waiting in the queue."""
        return len(self._errors)

    def report(self, code: int, text: str) -> None:
        """Append an error and set its class' bit in the event status register (IEEE 488.2, 11.5.1)."""
        if len(self._errors) == _QUEUE_LENGTH:
            self._errors[-1] = (-350, ERROR_TEXTS[-350])
        else:
            self._errors.append((code, text))
        self.event_status |= {1: 32, 2: 16, 4: 4}.get(-code // 100, 8) if code < 0 else 8

    def next_error(self) -> str:
        """Take the oldest error as ``-113,"Undefined header;FOO"``."""
        code, text = self._errors.popleft() if self._errors else (0, ERROR_TEXTS[0])
        return f'{code},"{text.replace(chr(34), chr(34) * 2)}"'

    def all_errors(self) -> str:
        """Take all errors, separated by commas."""
        first = self.next_error()
        return ",".join([first, *(self.next_error() for _ in range(len(self._errors)))])

    def clear(self) -> None:
        """Empty the queue and the event status (``*CLS``)."""
        self._errors.clear()
        self.event_status = 0

    def complete_operation(self) -> None:
        """Set the bit that ``*OPC`` asks for."""
        self.event_status |= 1

    def take_event_status(self) -> int:
        """Return the event status and clear it (``*ESR?``)."""
        status, self.event_status = self.event_status, 0
        return status

    def status_byte(self, message_available: bool) -> int:
        """Return the status byte (``*STB?``, serial poll) with its summary bits 2, 4, 5 and 6."""
        status = 4 * bool(self._errors) | 16 * message_available
        status |= 32 * bool(self.event_status & self.event_enable)
        return status | 64 * bool(status & self.service_enable & ~64)


async def execute(message: str, tree: CommandTree, status: StatusRegisters) -> bytes:
    """Carry out a message and return its answers, joined by semicolons and ended by a line feed.

    An error goes to the error queue, as R&S analyzers do with the command behind its text, and ends its
    unit; the following units are still carried out, unless the message cannot be taken apart at all.
    """
    answers: list[bytes] = []
    path: tuple[tuple[str, int | None], ...] = ()
    try:
        texts = [text for text in split_outside_quotes(message, ";") if text.strip()]
    except ScpiError as error:
        status.report(error.code, f"{ERROR_TEXTS[error.code]};{message.strip()}")
        return b""
    for text in texts:
        try:
            unit = parse_unit(text)
            action, call = tree.find(unit, path)
            path = _following_path(unit, path)
            answer = action(call)
            if isinstance(answer, Awaitable):
                answer = await answer
        except ScpiError as error:
            status.report(error.code, f"{ERROR_TEXTS[error.code]};{text.strip()}")
            continue
        if answer is not None:
            answers.append(answer.encode("latin-1") if isinstance(answer, str) else answer)
    return b";".join(answers) + b"\n" if answers else b""


def _following_path(
    unit: Unit, path: tuple[tuple[str, int | None], ...]
) -> tuple[tuple[str, int | None], ...]:
    """Return where the next unit of the message starts; common commands leave it where it was."""
    if unit.header.nodes[0][0].startswith(("*", "@")):
        return path
    return ((() if unit.header.is_absolute else path) + unit.header.nodes)[:-1]
