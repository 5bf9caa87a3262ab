"""Quantities as CSV and JSON: value, uncertainty, unit, k, verdict, algorithm; null or empty, never NaN."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final

from coilbench.quantities import Quantity
from coilbench.session import jsonable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Version of the layout of both.
TABLE_SCHEMA: Final = 1
#: What makes a spreadsheet take a text for a formula: OWASP, "CSV Injection".
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS: Final = tuple(field.name for field in fields(Quantity))


def quantities_json(quantities: Sequence[Quantity], about: Mapping[str, Any], /) -> str:
    """Return quantities as one JSON object: ``about`` (run, coil, time) and a list.

    Raises
    ------
    ValueError
        ``about`` holds a key of the table itself.
    """
    own = {"schema": TABLE_SCHEMA, "quantities": [asdict(quantity) for quantity in quantities]}
    if own.keys() & about.keys():
        raise ValueError(f"{sorted(own.keys() & about.keys())} are names of the table itself")
    return json.dumps(jsonable({**about, **own}), indent=1, allow_nan=False)


def quantities_csv(quantities: Sequence[Quantity], about: Mapping[str, str], /) -> str:
    """Return quantities as CSV (RFC 4180): columns of ``about`` first, the same in every row.

    Text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow([*about, *_COLUMNS])
    for quantity in quantities:
        values = [getattr(quantity, column) for column in _COLUMNS]
        writer.writerow([_cell(value) for value in (*about.values(), *values)])
    return buffer.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
