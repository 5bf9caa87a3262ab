"""From a driver's name in the bench file to an open instrument.

Drivers are entry points of the group ``coilbench.instruments``: a function ``open_KIND(address, *, name)``
that returns an open instrument of that kind. Another package adds a driver by naming such a function in
its metadata.
"""

from __future__ import annotations

import difflib
import inspect
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, cast

from coilbench.base.errors import BenchFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.protocols import Instrument

#: The group of entry points that drivers belong to.
GROUP: Final = "coilbench.instruments"


def driver_names(kind: str | None = None) -> tuple[str, ...]:
    """Return the names of installed drivers in alphabetical order.

    Parameters
    ----------
    kind
        Only those that open an ``"analyzer"``, ``"tuner"``, ``"receiver"``, ``"scanner"`` or ``"switch"``;
        None: all.
    """
    entries = entry_points(group=GROUP)
    return tuple(sorted({entry.name for entry in entries if kind is None or entry.attr == f"open_{kind}"}))


def open_instrument(
    driver: str, address: str | Sequence[str], /, *, name: str, **options: object
) -> Instrument:
    """Open the instrument at ``address`` with the driver called ``driver``.

    Parameters
    ----------
    driver
        One of ``driver_names()``.
    address
        As ``drivers.address`` reads it; several for an instrument of several boards.
    name
        What the bench file calls the instrument.
    options
        Handed to the driver.

    Raises
    ------
    BenchFileError
        No driver of that name, or an option that the driver does not know; the text names the nearest ones.
    ConnectionFailed
        Nothing answers at the address.
    """
    opener = _opener(driver)
    _require_known(driver, opener, options)
    return opener(address, name=name, **options)


def _opener(driver: str) -> Callable[..., Instrument]:
    found = [entry for entry in entry_points(group=GROUP) if entry.name == driver]
    if not found:
        names = driver_names()
        near = difflib.get_close_matches(driver, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise BenchFileError(
            f"no instrument driver is called {driver!r}; {hint}Installed are {', '.join(names)}"
        )
    return cast("Callable[..., Instrument]", found[0].load())


def _require_known(driver: str, opener: Callable[..., Instrument], options: dict[str, object]) -> None:
    known = [
        parameter.name
        for parameter in inspect.signature(opener).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name != "name"
    ]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=2, cutoff=0.4)
            hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
            raise BenchFileError(
                f"driver {driver!r} has no option {option!r}; {hint}It knows {', '.join(known) or 'none'}"
            )
