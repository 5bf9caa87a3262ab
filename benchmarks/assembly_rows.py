"""Rows of the benchmark table about N-port assembly."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from table import Row, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def stitching() -> Row:
    """Assemble 16 ports from 120 pairs: ours with known 20 dB loads beside scikit-rf's for ideal loads."""
    from skrf.network import Network, n_twoports_2_nport

    from coils.assembly import PartialSweep, assemble, from_terminated_waves, plan_connections

    rng = np.random.default_rng(3)
    ports, points = 16, 120
    f = np.linspace(30e6, 130e6, points)
    waves = rng.standard_normal((points, ports, ports)) + 1j * rng.standard_normal((points, ports, ports))
    waves *= 0.8 / np.linalg.norm(waves, ord=2, axis=(-2, -1))[:, None, None]
    loads = 0.1 * np.exp(2j * np.pi * rng.random((points, ports)))
    true = from_terminated_waves(waves, loads)
    parts, networks = [], []
    for connection in plan_connections(range(1, ports + 1)).connections:
        pair = tuple(sorted(connection.ports))
        rows = np.array(pair) - 1
        block = waves[:, rows[:, None], rows]
        s = from_terminated_waves(block, loads[:, rows])
        parts.append(PartialSweep(pair, f, s))
        networks.append(Network(f=f, f_unit="Hz", s=s, z0=50, name=f"p{pair[0]}_{pair[1]}"))

    def ours() -> object:
        return assemble(parts, loads, noise=1e-6)

    def peer() -> object:
        return n_twoports_2_nport(networks, nports=ports, port_sep="_")

    error = np.abs(assemble(parts, loads, noise=1e-6).s - true).max()
    naive = np.abs(n_twoports_2_nport(networks, nports=ports, port_sep="_").s - true).max()
    size = f"120 pairs to 16 ports, 120 points; error {error:.0e} (peer {naive:.0e})"
    return compare("stitching", size, ours, peer, "scikit-rf n_twoports_2_nport, ideal loads")


ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType({"stitching": stitching})
