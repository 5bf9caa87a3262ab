"""Packets of the MaRCoS server, protocol 1.0.5: msgpack in, msgpack out.

True here: the array of five in a request and of six in a reply, the version rule, the order of results,
the texts of errors, warnings and infos. Integers are packed in their shortest form, as mpack does.

Source: marcos_server src/iface.cpp, hardware.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeGuard, cast

import msgpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Major, minor, debug: marcos_server src/version.hpp.
VERSION: Final = (1, 0, 5)

#: Packet types: marcos_server src/iface.hpp.
REQUEST, EMERGENCY_STOP, CLOSE_SERVER, REPLY, REPLY_ERROR = 0, 1, 2, 128, 129

#: Bytes of one packet at most: marcos_server src/iface.cpp, max_size.
LARGEST_PACKET: Final = 32 * 1024 * 1024

#: Bytes of program memory: marcos_server src/hardware.hpp.
_MEMORY: Final = 256 * 1024

#: Outputs whose buffers are empty, one bit each: marcos_server src/hardware.hpp, MAR_BUF_ALL_EMPTY.
_ALL_EMPTY: Final = 0xFFFFFF

#: Register numbers: marcos_server src/hardware.cpp, init_mem.
_CONTROL, _DIRECT, _EXECUTION, _BUFFERS_EMPTY, _RX_LOCATIONS = 0, 2, 4, 9, 10

_OK, _ERROR = 0, -1


def _word(version: tuple[int, int, int]) -> int:
    major, minor, debug = version
    return major << 16 | minor << 8 | debug


@dataclass(slots=True)
class Answer:
    """What a reply will say.

    Parameters
    ----------
    results
        By command, in the server's order.
    errors, warnings, infos
        Texts.
    """

    results: dict[str, object] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)

    def pack(self, kind: int, index: int) -> bytes:
        """Return the reply's bytes; ``index`` is the request's."""
        texts = {"errors": self.errors, "warnings": self.warnings, "infos": self.infos}
        status = {name: listed for name, listed in texts.items() if listed}
        return cast("bytes", msgpack.packb([kind, index + 1, 0, _word(VERSION), self.results, status]))


@dataclass(frozen=True, slots=True)
class Packet:
    """A request as far as it could be read.

    Parameters
    ----------
    kind, index, version
        As sent; 0 where the field is missing or no number.
    commands
        By name.
    is_whole
        False for a packet that is not of the protocol's form: it is answered, then the connection ends.
    """

    kind: int
    index: int
    version: int
    commands: Mapping[str, object]
    is_whole: bool


def read_packet(received: object) -> Packet:
    """Return what an unpacked message asks for."""
    fields = received if isinstance(received, list) else []
    numbers = [value if _is_word(value) else 0 for value in [*fields, None, None, None, None][:4]]
    payload = fields[4] if len(fields) == 5 else None
    commands = payload if isinstance(payload, dict) else {}
    is_whole = isinstance(payload, dict) and all(_is_word(value) for value in fields[:4])
    return Packet(numbers[0], numbers[1], numbers[3], commands, is_whole)


def check_version(answer: Answer, version: int) -> None:
    """Say how far the client's version is from the server's."""
    client = (version >> 16 & 0xFF, version >> 8 & 0xFF, version & 0xFF)
    theirs, ours = ".".join(map(str, client)), ".".join(map(str, VERSION))
    if client[0] != VERSION[0]:
        answer.errors.append(f"Client version {theirs} significantly different from server version {ours}")
    elif client[1] != VERSION[1]:
        answer.warnings.append(f"Client version {theirs} different from server version {ours}")
    elif client[2] != VERSION[2]:
        answer.infos.append(f"Client version {theirs} differs slightly from server version {ours}")


@dataclass(slots=True)
class Registers:
    """The board's registers as far as clients can see them, and the commands that need nothing else.

    Parameters
    ----------
    write_buffer
        Takes the word of a ``direct`` command.
    halt
        Stops what runs and switches the receivers off.
    """

    write_buffer: Callable[[int], None]
    halt: Callable[[], None]
    words: list[int] = field(default_factory=lambda: [0] * 16)

    def answer(
        self, commands: Mapping[str, object], run: Callable[[bytes, Answer], object], answer: Answer
    ) -> None:
        """Do ``commands`` in the server's order and note their results.

        Parameters
        ----------
        commands
            By name.
        run
            Runs a program and returns the result of ``run_seq``.
        answer
            Takes results and texts.
        """
        if not commands:
            answer.errors.append("no commands present or incorrectly formatted request")
        table: dict[str, Callable[[object, Answer], object]] = {
            "halt_and_reset": self._halt_and_reset,
            "read_mem": lambda _value, _answer: _OK,
            "fpga_clk": self._fpga_clock,
            "ctrl": lambda value, _answer: self._store(_CONTROL, value),
            "direct": self._direct,
            "regrd": lambda value, _answer: self._register(value),
            "regstatus": lambda _value, _answer: [self._register(n) for n in range(4, 11)],
            "mar_mem": self._memory,
            "acq_rlim": self._retry_limit,
            "read_rx": self._read_rx,
            "run_seq": lambda value, answer: run(value if isinstance(value, bytes) else b"", answer),
            "test_net": self._test_net,
            "test_bus": lambda _value, _answer: [0, 0, 0],
            "are_you_real": lambda _value, _answer: "simulation",
        }
        for name, do in table.items():
            if commands.get(name) is not None:
                answer.results[name] = do(commands[name], answer)
        if unknown := len(commands) - len(answer.results):
            answer.errors.append("not all client commands were understood")
            answer.results.update({f"UNKNOWN{number}": _ERROR for number in range(unknown, 0, -1)})

    def _halt_and_reset(self, _value: object, _answer: Answer) -> bool:
        self.halt()
        return True

    def _fpga_clock(self, value: object, answer: Answer) -> int:
        if isinstance(value, list) and len(value) == 3:
            return _OK
        answer.errors.append("you only provided some FPGA clock control words; check you're providing all 3")
        return _ERROR

    def _store(self, register: int, value: object) -> int:
        self.words[register] = value & 0xFFFFFFFF if _is_word(value) else 0
        return _OK

    def _direct(self, value: object, _answer: Answer) -> int:
        self._store(_DIRECT, value)
        self.write_buffer(self.words[_DIRECT])
        return _OK

    def _register(self, value: object) -> int:
        if not _is_word(value) or not 0 <= value < len(self.words):
            return 0
        fixed = {_EXECUTION: 0, _BUFFERS_EMPTY: _ALL_EMPTY, _RX_LOCATIONS: 0}
        return fixed.get(value, self.words[value])

    def _memory(self, value: object, answer: Answer) -> int:
        size = len(value) if isinstance(value, bytes) else 0
        if size <= _MEMORY:
            answer.infos.append(f"mar mem data bytes copied: {size}")
            return _OK
        answer.errors.append(
            f"too much mar mem data: {size} bytes > {_MEMORY} -- streaming not yet implemented"
        )
        return _ERROR

    def _retry_limit(self, value: object, answer: Answer) -> int:
        if _is_word(value) and 1000 <= value <= 10_000_000:
            return _OK
        answer.errors.append(
            "acquisition retry limit outside the range [1000, 10,000,000]; check your settings"
        )
        return _ERROR

    def _read_rx(self, _value: object, answer: Answer) -> int:
        answer.warnings.append("no RX data received")
        return _OK

    def _test_net(self, value: object, _answer: Answer) -> dict[str, list[float]]:
        size = range(value if _is_word(value) else 0)
        return {"array1": [1.01 * k for k in size], "array2": [1.01 * (k + 10) for k in size]}


def _is_word(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
