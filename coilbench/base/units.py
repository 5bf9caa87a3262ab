"""Text with engineering units at the edge, SI floats inside."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX: Final[Mapping[str, int]] = MappingProxyType(
    {"p": -12, "n": -9, "u": -6, "µ": -6, "μ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9}
)
_STEPS: Final = (("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("µ", -6), ("n", -9), ("p", -12))
_NUMBER: Final = re.compile(
    r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([pnuµμmkMG]?)([A-Za-zΩ%/]*)\s*$"
)


def parse_quantity(text: str | float, unit: str, /) -> float:
    """Return ``text`` such as ``"78.9M"``, ``"150 MHz"`` or ``"-15 dBm"`` as a float in ``unit``.

    Parameters
    ----------
    text
        A number, or a number with an optional SI prefix and unit. The arithmetic is decimal, so
        ``"1.001 MHz"`` is exactly 1001000.0.
    unit
        The unit expected, such as ``"Hz"``, ``"s"``, ``"T"``; ``"dBm"`` and ``"dB"`` take no prefix.

    Raises
    ------
    ValueError
        The text is no number, or names another unit.
    """
    if isinstance(text, (int, float)):
        return float(text)
    example = f"expected a number in {unit}, such as '10 {unit}'"
    if unit.startswith("dB"):
        stripped = text.strip().removesuffix(unit).strip()
        try:
            return float(Decimal(stripped))
        except InvalidOperation:
            raise ValueError(f"{example}; got {text!r}") from None
    match = _NUMBER.match(text)
    if match is None:
        raise ValueError(f"{example}; got {text!r}")
    number, prefix, named = match.groups()
    if prefix == "m" and not named and unit == "m":
        prefix, named = "", "m"
    if named not in ("", unit):
        raise ValueError(f"{example}; got {text!r}")
    return float(Decimal(number).scaleb(_PREFIX[prefix]))


def engineering(value: float, unit: str, /, digits: int = 4) -> str:
    """Return ``value`` with an SI prefix, such as ``"33.79 MHz"``."""
    if value == 0.0:
        return f"0 {unit}"
    for prefix, exponent in _STEPS:
        if abs(value) >= 10.0**exponent:
            return f"{value / 10.0**exponent:.{digits}g} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"
