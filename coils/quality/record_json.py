"""A coil record as JSON and back: every number comes back bit for bit, and damage is told with its place.

Complex numbers are ``[re, im]``, times ISO 8601, and numbers that JSON lacks the texts ``"nan"``, ``"inf"``
and ``"-inf"``.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from coilbench.base.errors import MeasurementError
from coils.quality.record import CoilRecord

#: Version of the layout; readers refuse another one.
SCHEMA: Final = 1
#: A record larger than this is none: 128 channels at two nuclei take about 3 MB.
MAXIMUM_BYTES: Final = 1 << 25


def record_text(record: CoilRecord, /) -> str:
    """Return a record as JSON text."""
    return json.dumps({"schema": SCHEMA, **_plain(record)}, indent=1, allow_nan=False)


def read_record(text: str, /) -> CoilRecord:
    """Return the record that a JSON text holds.

    Raises
    ------
    MeasurementError
        The text is no such record; where it goes wrong is in the message.
    """
    if len(text) > MAXIMUM_BYTES:
        raise MeasurementError(f"{len(text)} characters are too many for a coil record")
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MeasurementError(f"is not JSON: {error}") from None
    if not isinstance(found, dict) or found.pop("schema", None) != SCHEMA:
        raise MeasurementError(f"is no coil record of layout {SCHEMA}; a newer coilbench may have written it")
    try:
        record = _read(CoilRecord, found, "record")
    except (ValueError, TypeError, OverflowError) as error:
        raise MeasurementError(f"is no coil record: {error}") from None
    if not isinstance(record, CoilRecord):
        raise MeasurementError("is no coil record")
    return record


def _refuse_constant(name: str) -> float:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{name} is not a JSON number")


def _plain(value: Any) -> Any:  # noqa: ANN401, PLR0911 - any JSON value, a return for each kind
    """Return a record's part as JSON values."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _read(kind: Any, value: Any, place: str) -> Any:  # noqa: ANN401 - a type as annotations name it
    """Return a JSON value as an instance of ``kind``.

    Raises
    ------
    ValueError
        It is none; ``place`` is in the text.
    """
    if get_origin(kind) in (Union, UnionType):
        return _read_union(get_args(kind), value, place)
    if get_origin(kind) is tuple:
        _expect(isinstance(value, list), place, "a list", value)
        element = get_args(kind)[0]
        return tuple(_read(element, item, f"{place}[{index}]") for index, item in enumerate(value))
    if is_dataclass(kind):
        return _read_dataclass(kind, value, place)
    return _read_scalar(kind, value, place)


def _read_union(kinds: tuple[Any, ...], value: Any, place: str) -> Any:  # noqa: ANN401
    """Read ``X | None``."""
    if value is None and NoneType in kinds:
        return None
    (kind,) = (each for each in kinds if each is not NoneType)
    return _read(kind, value, place)


def _read_dataclass(kind: Any, value: Any, place: str) -> Any:  # noqa: ANN401
    """Read an object with exactly the fields of a dataclass; those with a default may be missing."""
    _expect(isinstance(value, dict), place, "an object", value)
    hints = _hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise ValueError(f"{place} has unknown entries: {', '.join(map(repr, unknown[:3]))}")
    return kind(**{name: _read(hints[name], item, f"{place}.{name}") for name, item in value.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401
    return get_type_hints(kind)


def _read_scalar(kind: Any, value: Any, place: str) -> Any:  # noqa: ANN401
    """Read a number, a text, a time or a word of an enumeration."""
    if kind is float:
        return _float(value, place)
    if kind is complex:
        _expect(isinstance(value, list) and len(value) == 2, place, "[re, im]", value)
        return complex(_float(value[0], place), _float(value[1], place))
    if kind is datetime:
        _expect(isinstance(value, str), place, "a time", value)
        return datetime.fromisoformat(value)
    if kind in (int, str):
        _expect(type(value) is kind, place, kind.__name__, value)
        return value
    return kind(value)


def _float(value: Any, place: str) -> float:  # noqa: ANN401
    if isinstance(value, str):
        _expect(value in ("nan", "inf", "-inf"), place, "a number", value)
        return float(value)
    _expect(isinstance(value, (int, float)) and not isinstance(value, bool), place, "a number", value)
    return float(value)


def _expect(is_right: bool, place: str, what: str, value: object) -> None:
    """Raise ValueError unless it is right."""
    if not is_right:
        raise ValueError(f"{place}: expected {what}, got {str(value)[:40]!r}")
