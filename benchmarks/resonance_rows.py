"""Rows of resonance fits: one trace, the sixteen of an array sweep, and one that needs a further term."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
import skrf
from skrf.qfactor import Qfactor
from table import Row, compare

from coils.resonance import fit_resonance, fit_resonances

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

POINTS: Final = 201
TRACES: Final = 16


def traces(count: int, noise: float) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Return frequencies in Hz and reflections of loops of Q 190 at 33.8 MHz, shape (trace, point)."""
    rng = np.random.default_rng(1)
    f = np.linspace(33.3e6, 34.3e6, POINTS)
    centre = 33.8e6 + 5e4 * rng.standard_normal((count, 1))
    s = 1.0 - 1.1 / (1.0 + 95j * (f / centre - centre / f))
    return f, s + noise * (rng.standard_normal(s.shape) + 1j * rng.standard_normal(s.shape))


def networks(f: NDArray[np.float64], s: NDArray[np.complex128]) -> list[skrf.Network]:
    """Return the traces as scikit-rf's networks."""
    return [skrf.Network(f=f, f_unit="Hz", s=row.reshape(-1, 1, 1), z0=50) for row in s]


def peer_fit(network: skrf.Network) -> object:
    """Fit with scikit-rf's most robust method."""
    return Qfactor(network, res_type="reflection").fit(method="NLQFIT7")


def qfactor() -> Row:
    """Fit a resonance of 201 points with uncertainties: ours beside scikit-rf's NLQFIT7."""
    f, s = traces(1, 1e-3)
    (network,) = networks(f, s)
    return compare(
        "qfactor",
        "201 points, QL 95, -60 dB noise",
        lambda: fit_resonance(f, s[0]),
        lambda: peer_fit(network),
        "scikit-rf Qfactor NLQFIT7",
        repeats=15,
    )


def qfactor_array() -> Row:
    """Fit the sixteen reflections of an array sweep at once; the peer fits one after the other."""
    f, s = traces(TRACES, 1e-3)
    peers = networks(f, s)
    return compare(
        "qfactor-array",
        "16 traces of 201 points at once",
        lambda: fit_resonances(f, s),
        lambda: [peer_fit(network) for network in peers],
        "scikit-rf Qfactor NLQFIT7",
    )


def qfactor_cable() -> Row:
    """Fit a resonance behind 200 ns of cable with directivity, which the peer does not look for."""
    f, s = traces(1, 1e-4)
    behind = np.exp(-2j * np.pi * 200e-9 * (f - 33.8e6)) * s + 0.02
    (network,) = networks(f, behind)
    return compare(
        "qfactor-cable",
        "201 points, 200 ns, -34 dB directivity",
        lambda: fit_resonance(f, behind[0]),
        lambda: peer_fit(network),
        "scikit-rf Qfactor NLQFIT7",
    )


RESONANCE_ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType(
    {"qfactor": qfactor, "qfactor-array": qfactor_array, "qfactor-cable": qfactor_cable}
)
