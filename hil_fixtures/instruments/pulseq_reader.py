"""Pulseq 1.5 text files, as the simulated scanner reads them.

True here: what a file contains is either understood or refused with its section and line, never
skipped. Not here: what the events mean for spins and receivers (``repetitions``).

Source: Pulseq file specification 1.5.0 (pulseq/doc/specification.pdf).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

Row = TypeVar("Row")

#: Output triggers have type 1, inputs 2: specification, extension TRIGGERS.
_OUTPUT_TRIGGER: Final = 1


class SequenceError(ValueError):
    """The file cannot be played; the text says where and why."""


@dataclass(frozen=True, slots=True)
class RfEvent:
    """An RF pulse.

    Parameters
    ----------
    amplitude
        Hz, peak.
    magnitude, phase, time
        Identifiers of shapes; ``time`` 0 means samples at the raster's centres, ``phase`` 0 no phase.
    centre, delay
        s; the centre counts from the pulse's first moment, the delay from the block's start.
    frequency_ppm, frequency
        Offsets from the carrier, in ppm of it and in Hz.
    phase_ppm, phase_offset
        Phase offsets in rad/MHz and rad.
    """

    amplitude: float
    magnitude: int
    phase: int
    time: int
    centre: float
    delay: float
    frequency_ppm: float
    phase_ppm: float
    frequency: float
    phase_offset: float


@dataclass(frozen=True, slots=True)
class ShapedGradient:
    """A gradient of arbitrary shape: amplitude in Hz/m, shape identifiers, delay in s.

    ``time`` 0 means samples at the centres of the raster cells, -1 samples twice as dense.
    """

    amplitude: float
    first: float
    last: float
    shape: int
    time: int
    delay: float


@dataclass(frozen=True, slots=True)
class Trapezoid:
    """A trapezoidal gradient: Hz/m and s."""

    amplitude: float
    rise: float
    flat: float
    fall: float
    delay: float


@dataclass(frozen=True, slots=True)
class AdcEvent:
    """A stretch of sampling: number of samples, dwell time and delay in s."""

    samples: int
    dwell: float
    delay: float


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger: whether it is given (else awaited), delay and duration in s."""

    is_output: bool
    delay: float
    duration: float


@dataclass(frozen=True, slots=True)
class Block:
    """Events that start together: duration in block rasters, identifiers (0: none)."""

    duration: int
    rf: int
    gradients: tuple[int, int, int]
    adc: int
    extension: int


@dataclass(frozen=True, slots=True)
class PulseqFile:
    """All events of a file by their identifiers; times in s, gradients in Hz/m."""

    definitions: Mapping[str, str]
    blocks: tuple[Block, ...]
    rf: Mapping[int, RfEvent]
    gradients: Mapping[int, ShapedGradient | Trapezoid]
    adc: Mapping[int, AdcEvent]
    triggers: Mapping[int, tuple[Trigger, ...]]
    shapes: Mapping[int, NDArray[np.float64]]

    def number(self, definition: str) -> float:
        """Return a definition's value.

        Raises
        ------
        SequenceError
            It is missing or no number.
        """
        try:
            return float(self.definitions[definition])
        except KeyError:
            raise SequenceError(f"[DEFINITIONS] lacks {definition}") from None
        except ValueError:
            raise SequenceError(
                f"[DEFINITIONS] {definition} is no number: {self.definitions[definition]!r}"
            ) from None


def decompress(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the ``count`` samples of a stored shape.

    A compressed shape holds the derivative, run-length coded: two equal values are followed by how many
    more of them there are (specification, "Compression").

    Raises
    ------
    SequenceError
        The stored values do not make ``count`` samples.
    """
    if values.size == count:
        return values
    steps: list[float] = []
    position, stored = 0, values.tolist()
    while position < len(stored):
        step = stored[position]
        if position + 2 < len(stored) and stored[position + 1] == step:
            repeats = round(stored[position + 2])
            if not 0 <= repeats <= count - 2:
                raise SequenceError(f"[SHAPES] a run of {stored[position + 2]:g} in {count} samples")
            steps += [step] * (repeats + 2)
            position += 3
        else:
            steps.append(step)
            position += 1
    if len(steps) != count:
        raise SequenceError(f"[SHAPES] a shape of {count} samples unpacks to {len(steps)}")
    return np.cumsum(np.asarray(steps))


def read_pulseq(text: str) -> PulseqFile:
    """Return what a Pulseq text file says.

    Raises
    ------
    SequenceError
        Anything that is malformed, missing or not understood.
    """
    _check_signature(text)
    sections = _split(text)
    for required in ("VERSION", "DEFINITIONS", "BLOCKS"):
        if required not in sections:
            raise SequenceError(f"section [{required}] is missing")
    _check_version(sections["VERSION"])
    definitions = {
        name: value.strip() for name, _, value in (line.partition(" ") for _, line in sections["DEFINITIONS"])
    }
    gradients: dict[int, ShapedGradient | Trapezoid] = {}
    gradients.update(_table(sections, "GRADIENTS", 7, _shaped))
    trapezoids = _table(sections, "TRAP", 6, _trapezoid)
    if both := gradients.keys() & trapezoids.keys():
        raise SequenceError(f"gradient {min(both)} is both in [GRADIENTS] and in [TRAP]")
    gradients.update(trapezoids)
    return PulseqFile(
        definitions=definitions,
        blocks=tuple(_table(sections, "BLOCKS", 8, _block).values()),
        rf=_table(sections, "RF", 12, _rf),
        gradients=gradients,
        adc=_table(sections, "ADC", 9, _adc),
        triggers=_extensions(sections.get("EXTENSIONS", [])),
        shapes=_shapes(sections.get("SHAPES", [])),
    )


#: Numbered lines of one section.
_Lines = list[tuple[int, str]]

_SECTIONS: Final = frozenset(
    (
        "VERSION",
        "DEFINITIONS",
        "BLOCKS",
        "RF",
        "GRADIENTS",
        "TRAP",
        "ADC",
        "EXTENSIONS",
        "SHAPES",
        "SIGNATURE",
    )
)


def _split(text: str) -> dict[str, _Lines]:
    sections: dict[str, _Lines] = {}
    current: _Lines | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        if line.startswith("["):
            name = line.strip("[]")
            if name not in _SECTIONS or name in sections:
                raise SequenceError(f"line {number}: section {line} is unknown or comes twice")
            current = sections[name] = []
        elif current is None:
            raise SequenceError(f"line {number}: {line[:40]!r} stands before the first section")
        else:
            current.append((number, line))
    return sections


def _check_signature(text: str) -> None:
    """Compare the MD5 of what stands before ``[SIGNATURE]`` with the signature, when there is one."""
    body, mark, tail = text.rpartition("\n[SIGNATURE]")
    fields = dict(line.split(maxsplit=1) for line in tail.splitlines() if len(line.split(maxsplit=1)) == 2)
    if mark and fields.get("Type") == "md5":
        # The line feed before the section is not signed: specification, [SIGNATURE].
        digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        if fields.get("Hash", "").strip().lower() != digest:
            raise SequenceError(f"[SIGNATURE] says {fields.get('Hash')}, the file's MD5 is {digest}")


def _check_version(lines: _Lines) -> None:
    version = {name: value.strip() for name, _, value in (line.partition(" ") for _, line in lines)}
    if (version.get("major"), version.get("minor")) != ("1", "5"):
        raise SequenceError(
            f"[VERSION] {version.get('major')}.{version.get('minor')} cannot be played, only 1.5"
        )


def _table(
    sections: Mapping[str, _Lines], section: str, columns: int, make: Callable[[list[str]], Row]
) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    for number, line in sections.get(section, []):
        fields = line.split()
        try:
            if len(fields) != columns:
                raise ValueError(f"{len(fields)} fields, {columns} are needed")  # noqa: TRY301 - one message for all
            identifier = int(fields[0])
            rows[identifier] = make(fields[1:])
        except ValueError as error:
            raise SequenceError(f"[{section}] line {number}: {error}") from None
    return rows


def _block(row: list[str]) -> Block:
    duration, rf, x, y, z, adc, extension = (int(field) for field in row)
    return Block(duration, rf, (x, y, z), adc, extension)


def _rf(row: list[str]) -> RfEvent:
    amplitude, magnitude, phase, time, centre, delay, ppm, phase_ppm, frequency, offset, _use = row
    return RfEvent(
        amplitude=float(amplitude),
        magnitude=int(magnitude),
        phase=int(phase),
        time=int(time),
        centre=float(centre) * 1e-6,
        delay=float(delay) * 1e-6,
        frequency_ppm=float(ppm),
        phase_ppm=float(phase_ppm),
        frequency=float(frequency),
        phase_offset=float(offset),
    )


def _shaped(row: list[str]) -> ShapedGradient:
    amplitude, first, last, shape, time, delay = row
    return ShapedGradient(
        float(amplitude), float(first), float(last), int(shape), int(time), float(delay) * 1e-6
    )


def _trapezoid(row: list[str]) -> Trapezoid:
    amplitude, rise, flat, fall, delay = (float(field) for field in row)
    return Trapezoid(amplitude, rise * 1e-6, flat * 1e-6, fall * 1e-6, delay * 1e-6)


def _adc(row: list[str]) -> AdcEvent:
    return AdcEvent(int(row[0]), float(row[1]) * 1e-9, float(row[2]) * 1e-6)


def _extensions(lines: _Lines) -> dict[int, tuple[Trigger, ...]]:
    """Return the triggers of each extension list."""
    links: dict[int, tuple[int, int, int]] = {}
    triggers: dict[int, Trigger] = {}
    trigger_type: int | None = None
    for number, line in lines:
        fields = line.split()
        try:
            if fields[0] == "extension":
                if fields[1] != "TRIGGERS":
                    raise ValueError(f"extension {fields[1]} cannot be played")  # noqa: TRY301
                trigger_type = int(fields[2])
            elif trigger_type is None:
                identifier, kind, reference, following = (int(field) for field in fields)
                links[identifier] = (kind, reference, following)
            else:
                identifier, kind, _channel, delay, duration = (int(field) for field in fields)
                triggers[identifier] = Trigger(kind == _OUTPUT_TRIGGER, delay * 1e-6, duration * 1e-6)
        except (ValueError, IndexError) as error:
            raise SequenceError(f"[EXTENSIONS] line {number}: {error}") from None
    return {start: _follow(start, links, triggers, trigger_type) for start in links}


def _follow(
    start: int,
    links: Mapping[int, tuple[int, int, int]],
    triggers: Mapping[int, Trigger],
    trigger_type: int | None,
) -> tuple[Trigger, ...]:
    found: list[Trigger] = []
    following = start
    while following:
        if following not in links or len(found) > len(links):
            raise SequenceError(f"[EXTENSIONS] the list from {start} is broken at {following}")
        kind, reference, following = links[following]
        if kind != trigger_type or reference not in triggers:
            raise SequenceError(
                f"[EXTENSIONS] the list from {start} refers to type {kind}, event {reference}"
            )
        found.append(triggers[reference])
    return tuple(found)


def _shapes(lines: _Lines) -> dict[int, NDArray[np.float64]]:
    shapes: dict[int, NDArray[np.float64]] = {}
    pending: list[tuple[int, int, list[float]]] = []
    for number, line in lines:
        try:
            if line.lower().startswith("shape_id"):
                pending.append((int(line.split()[1]), 0, []))
            elif line.lower().startswith("num_samples"):
                identifier, _, values = pending[-1]
                pending[-1] = (identifier, int(line.split()[1]), values)
            else:
                pending[-1][2].append(float(line))
        except (ValueError, IndexError) as error:
            raise SequenceError(f"[SHAPES] line {number}: {error}") from None
    for identifier, count, values in pending:
        shapes[identifier] = decompress(np.asarray(values), count)
    return shapes
