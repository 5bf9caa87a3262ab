"""Nuclei and their Larmor frequencies.

Frequencies are never typed in: they follow from B0 and the IUPAC frequency ratio Ξ of each nucleus
(Harris et al., Pure Appl. Chem. 73:1795 (2001)), because moment-derived gammas are 600 ppm off for 23Na.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Proton gyromagnetic ratio over 2π in Hz/T, CODATA 2018 (free proton).
PROTON_GAMMA_BAR: Final = 42.577478461e6


@dataclass(frozen=True, slots=True)
class Nucleus:
    """A nucleus that the bench may be tuned to.

    Parameters
    ----------
    name
        Mass number and symbol, such as ``"23Na"``.
    spin
        Nuclear spin quantum number I.
    frequency_ratio_percent
        IUPAC Ξ in percent of the 1H frequency in the same field.
    """

    name: str
    spin: float
    frequency_ratio_percent: float

    @property
    def gamma_bar(self) -> float:
        """Gyromagnetic ratio over 2π in Hz/T."""
        return PROTON_GAMMA_BAR * self.frequency_ratio_percent / 100.0

    def larmor_frequency(self, b0: float, /) -> float:
        """Return the Larmor frequency in Hz in a field of ``b0`` tesla."""
        return self.gamma_bar * b0


#: Ξ in percent: IUPAC recommendations 2001, table 1.
NUCLEI: Final[Mapping[str, Nucleus]] = MappingProxyType(
    {
        nucleus.name: nucleus
        for nucleus in (
            Nucleus("1H", 0.5, 100.0),
            Nucleus("2H", 1.0, 15.350609),
            Nucleus("7Li", 1.5, 38.863797),
            Nucleus("13C", 0.5, 25.145020),
            Nucleus("17O", 2.5, 13.556457),
            Nucleus("19F", 0.5, 94.094011),
            Nucleus("23Na", 1.5, 26.451900),
            Nucleus("31P", 0.5, 40.480742),
            Nucleus("35Cl", 1.5, 9.797909),
            Nucleus("37Cl", 1.5, 8.155725),
            Nucleus("39K", 1.5, 4.666373),
            Nucleus("129Xe", 0.5, 27.810186),
        )
    }
)


def nucleus(name: str, /) -> Nucleus:
    """Return the nucleus called ``name``.

    Raises
    ------
    ValueError
        The name is not in the table; the text lists the names that are.
    """
    try:
        return NUCLEI[name]
    except KeyError:
        raise ValueError(f"no nucleus called {name!r}; known: {', '.join(NUCLEI)}") from None
