"""A calibration kit: its standards, and how well each is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from coils.calibration.standards import OffsetStandard, Standard, ThruStandard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DefinitionUncertainty:
    """How far a real standard may be from its definition, as standard uncertainties.

    Parameters
    ----------
    reflection
        Of the complex reflection, at all frequencies (both reflections of a thru together).
    reflection_per_hertz
        Grows from 0 Hz with frequency; added to ``reflection`` as a sum of squares.
    delay
        Of the electrical length, s, one way.
    """

    reflection: float = 0.0
    reflection_per_hertz: float = 0.0
    delay: float = 0.0

    def of_reflection(self, frequencies: NDArray[np.float64], /) -> NDArray[np.float64]:
        """Return the standard uncertainty of the complex reflection, shape (frequency,)."""
        return np.hypot(self.reflection, self.reflection_per_hertz * frequencies)


@dataclass(frozen=True, slots=True)
class Kit:
    """A calibration kit.

    Parameters
    ----------
    name
        Maker, model and serial number.
    standards
        By the names that the steps use: ``short``, ``open``, ``load``, ``thru``, ``reflect``, ``line``.
    uncertainties
        By the same names; a standard without one counts as exactly known.
    """

    name: str
    standards: Mapping[str, Standard]
    uncertainties: Mapping[str, DefinitionUncertainty] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that every uncertainty belongs to a standard.

        Raises
        ------
        ValueError
            One does not.
        """
        if unknown := set(self.uncertainties) - set(self.standards):
            raise ValueError(
                f"kit {self.name!r} has no standard {', '.join(sorted(unknown))}; it has "
                f"{', '.join(self.standards)}"
            )
        object.__setattr__(self, "standards", MappingProxyType(dict(self.standards)))
        object.__setattr__(self, "uncertainties", MappingProxyType(dict(self.uncertainties)))

    def standard(self, name: str, /) -> Standard:
        """Return a standard.

        Raises
        ------
        ValueError
            The kit has none of that name.
        """
        if name not in self.standards:
            raise ValueError(f"kit {self.name!r} has no {name}; it has {', '.join(self.standards)}")
        return self.standards[name]


def ideal_kit(name: str = "ideal standards") -> Kit:
    """Return a kit of perfect standards: what is assumed when nothing else is known."""
    return Kit(
        name,
        {
            "short": OffsetStandard("short"),
            "open": OffsetStandard("open"),
            "load": OffsetStandard("load"),
            "thru": ThruStandard(),
            "reflect": OffsetStandard("short"),
        },
    )
