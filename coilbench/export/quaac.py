"""Quantities as a QuAAC document, the vendor-neutral exchange format of quality assurance.

QuAAC wants a performer with a mail address. By default that is the program itself, at a domain that
belongs to nobody (RFC 2606); a person is named only where the user says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coilbench.base.errors import BenchFileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from coilbench.quantities import Quantity

#: ``Name <mail@domain>``.
_PERFORMER: Final = re.compile(r"\s*(?P<name>[^<>]+?)\s*<(?P<email>[^<>\s]+@[^<>\s]+)>\s*")
#: Who measured when nobody is named; RFC 2606 keeps the domain free.
PROGRAM: Final = "coilbench <coilbench@example.org>"


@dataclass(frozen=True, slots=True)
class QuaacSource:
    """What the quantities are of.

    Parameters
    ----------
    run
        Name of the run.
    measured
        When, UTC.
    coil, phantom
        Serial number, and name.
    performer
        ``Name <mail@domain>``.
    """

    run: str
    measured: datetime
    coil: str
    phantom: str = ""
    performer: str = PROGRAM


def quaac_json(quantities: Sequence[Quantity], source: QuaacSource, /) -> str:
    """Return quantities as a QuAAC document in JSON; what has no value is left out and named.

    Raises
    ------
    BenchFileError
        The performer is no name with a mail address.

    Notes
    -----
    QuAAC 1.0, https://quaac.readthedocs.io.
    """
    library = _library()
    coil = _equipment(source.coil, "RF coil array")
    phantom = [_equipment(source.phantom, "phantom")] if source.phantom else []
    performer = _user(source.performer)
    points = [
        library.DataPoint(
            name=f"{quantity.name} ({quantity.place})" if quantity.place else quantity.name,
            perform_datetime=source.measured,
            measurement_value=quantity.value,
            measurement_unit=quantity.unit or "1",
            reference_value=quantity.limit or None,
            description=f"{quantity.algorithm} {quantity.version}".strip(),
            performer=performer,
            primary_equipment=coil,
            ancillary_equipment=phantom,
            parameters={
                "standard uncertainty": quantity.uncertainty,
                "coverage factor": quantity.coverage_factor,
                "verdict": None if quantity.verdict is None else str(quantity.verdict),
                "run": source.run,
            },
        )
        for quantity in quantities
        if quantity.value is not None
    ]
    missing = [quantity.name for quantity in quantities if quantity.value is None]
    document: Any = library.Document(datapoints=points, **{"not measured": missing})
    return str(document.model_dump_json(indent=1, by_alias=True))


def _equipment(name: str, kind: str) -> Any:  # noqa: ANN401 - an untyped library
    return _library().Equipment(
        name=name, type=kind, serial_number=name, manufacturer="not stated", model="not stated"
    )


def _user(text: str) -> Any:  # noqa: ANN401 - an untyped library
    from pydantic import ValidationError

    match = _PERFORMER.fullmatch(text)
    expected = "a performer is a name with a mail address, such as 'QC robot <qc@hospital.org>'"
    if match is None:
        raise BenchFileError(f"{expected}; got {text!r}")
    try:
        return _library().User(name=match["name"], email=match["email"])
    except ValidationError as error:
        raise BenchFileError(f"{expected}; got {text!r}: {error.errors()[0]['msg']}") from None


def _library() -> Any:  # noqa: ANN401 - its models take names that its aliases hide from type checkers
    import quaac

    return quaac
