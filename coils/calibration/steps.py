"""Which standards each kind of calibration connects, in which order, and what each raw sweep is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

#: ``sol``: reflections only. ``solt``: short, open, load and a known thru. ``unknown-thru``: any reciprocal
#: thru. ``trl``: thru, reflect, line. ``one-path``: SOLT of an analyzer that measures forward only.
CalibrationKind: TypeAlias = Literal["sol", "solt", "unknown-thru", "trl", "one-path"]

_REFLECTIONS = ("short", "open", "load")


@dataclass(frozen=True, slots=True)
class CalibrationStep:
    """One standard to connect.

    Parameters
    ----------
    standard
        Its name in the kit.
    ports
        One port, or the two that it joins, counted from 1.
    """

    standard: str
    ports: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the raw sweep, such as ``short-1`` or ``thru-1-2``."""
        return "-".join([self.standard, *map(str, self.ports)])

    @property
    def instruction(self) -> str:
        """What a person has to do."""
        if len(self.ports) == 1:
            return f"connect {self.standard.upper()} to port {self.ports[0]}"
        return f"connect {self.standard.upper()} between ports {self.ports[0]} and {self.ports[1]}"


def calibration_steps(kind: CalibrationKind, ports: Sequence[int]) -> tuple[CalibrationStep, ...]:
    """Return the steps of a calibration, standard after standard on one port before the next port.

    Parameters
    ----------
    kind
        What to solve for.
    ports
        Ports of the analyzer, counted from 1; for more than two, every other port is joined to the first.

    Raises
    ------
    ValueError
        The kind does not exist or does not exist for that many ports.
    """
    chosen = tuple(ports)
    if kind not in get_args(CalibrationKind):
        raise ValueError(f"calibrations are {', '.join(get_args(CalibrationKind))}; got {kind!r}")
    if not chosen or len(set(chosen)) != len(chosen) or min(chosen) < 1:
        raise ValueError(f"a calibration needs different ports, counted from 1; got {chosen}")
    _require_count(kind, len(chosen))
    if kind == "trl":
        first, second = chosen
        return (
            CalibrationStep("thru", chosen),
            CalibrationStep("reflect", (first,)),
            CalibrationStep("reflect", (second,)),
            CalibrationStep("line", chosen),
        )
    reflecting = chosen[:1] if kind == "one-path" else chosen
    reflections = [CalibrationStep(name, (port,)) for port in reflecting for name in _REFLECTIONS]
    thrus = [] if kind == "sol" else [CalibrationStep("thru", (chosen[0], other)) for other in chosen[1:]]
    return (*reflections, *thrus)


def _require_count(kind: CalibrationKind, count: int) -> None:
    if kind in {"trl", "one-path"} and count != 2:
        raise ValueError(f"a {kind} calibration is made of two ports; got {count}")
    if kind in {"solt", "unknown-thru"} and count < 2:
        raise ValueError(f"a {kind} calibration needs two or more ports; got {count}")
