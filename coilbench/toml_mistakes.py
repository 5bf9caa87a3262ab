"""Turn a validation error into sentences: file, line, key, what is allowed, the nearest valid name."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

Location = tuple[int | str, ...]


def key_lines(text: str, /) -> dict[Location, int]:
    """Map each key and table of a TOML text to the line (from 1) that names it.

    Arrays of tables carry their index: ``("phantom", "vials", 0, "name")``. Inline tables are found by
    the key that opens them.
    """
    lines: dict[Location, int] = {(): 1}
    counts: dict[Location, int] = {}
    table: Location = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header is not None:
            table = _split(header.group(2))
            if header.group(1) == "[[":
                index = counts.get(table, -1) + 1
                counts[table] = index
                table = (*table, index)
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key is not None:
            lines.setdefault((*table, *_split(key.group(1))), number)
    return lines


def _split(dotted: str) -> Location:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def nearest(name: str, names: Iterable[str], /) -> str:
    """Return ``"; did you mean 'x'?"`` for the name nearest to ``name``, or an empty text."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def describe_mistakes(path: Path, text: str, error: ValidationError, model: type[BaseModel], /) -> list[str]:
    """Return one sentence for each mistake in ``error``, ordered by line.

    Parameters
    ----------
    path, text
        The file and what it holds.
    error
        What validating it against ``model`` raised.
    """
    lines = key_lines(text)
    found: list[tuple[int, str]] = []
    for mistake in error.errors(include_url=False):
        location: Location = tuple(part for part in mistake["loc"] if part != "[key]")
        line = _line(lines, location)
        dotted = ".".join(str(part) for part in location) or "the file"
        found.append((line, f"{path}:{line}: {dotted}: {_sentence(mistake, location, model)}"))
    return [sentence for _, sentence in sorted(found)]


def _line(lines: dict[Location, int], location: Location) -> int:
    while location not in lines:
        location = location[:-1]
    return lines[location]


def _sentence(mistake: Any, location: Location, model: type[BaseModel]) -> str:  # noqa: ANN401 - pydantic's record
    given = mistake["input"]
    match mistake["type"]:
        case "extra_forbidden":
            names = list(_table(model, location[:-1]).model_fields)
            return f"unknown key{nearest(str(location[-1]), names)} (allowed here: {', '.join(names)})"
        case "missing":
            return "is missing and has no default"
        case "literal_error":
            expected = str(mistake["ctx"]["expected"])
            names = re.findall(r"'([^']+)'", expected)
            return f"got {given!r}; allowed: {expected}{nearest(str(given), names)}"
        case "value_error":
            return str(mistake["ctx"]["error"])
        case _:
            return f"{mistake['msg']}; got {given!r}"


def _table(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel]:
    """Return the model of the table at ``location`` below ``model``."""
    for part in location:
        if isinstance(part, int):
            continue
        inner = _model_in(model.model_fields[part].annotation)
        if inner is None:
            return model
        model = inner
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - a type expression
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        inner = _model_in(argument)
        if inner is not None:
            return inner
    return None
