"""The rows of the benchmark table: each a function that times ours and the peer in one run."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from assembly_rows import ROWS as ASSEMBLY_ROWS
from circuit_rows import CIRCUIT_ROWS
from gridding_rows import ROWS as GRIDDING_ROWS
from magnetics_rows import MAGNETICS_ROWS
from noise_rows import ROWS as NOISE_ROWS
from probe_rows import ROWS as PROBE_ROWS
from recon_rows import ROWS as RECON_ROWS
from resonance_rows import RESONANCE_ROWS
from table import Row, compare
from tsc_rows import ROWS as TSC_ROWS
from tuning_rows import TUNING_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def gridding() -> Row:
    """Plan and grid 256 spokes of 8 channels: ours beside one bare finufft call of the same accuracy."""
    import finufft

    from recon.grid import Grid
    from recon.nufft import TOLERANCE, NonUniformTransform

    rng = np.random.default_rng(2)
    directions = rng.standard_normal((256, 1, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    positions = directions * (100.0 * np.linspace(0.0, 1.0, 500) ** (1 / 3))[None, :, None]
    samples = (rng.standard_normal((8, 256, 500)) + 1j * rng.standard_normal((8, 256, 500))).astype(
        np.complex64
    )
    grid = Grid((64, 64, 64), (0.32, 0.32, 0.32))
    angles = (2 * np.pi * 0.32 / 64 * positions.reshape(-1, 3).T).astype(np.float32)
    x, y, z = (np.ascontiguousarray(axis) for axis in angles)

    data = samples.reshape(8, -1)

    def ours() -> object:
        return NonUniformTransform(grid, positions).adjoint(samples)

    def peer() -> object:
        return finufft.nufft3d1(z, y, x, data, (64, 64, 64), eps=TOLERANCE, isign=1, upsampfac=2.0)

    return compare(
        "gridding",
        f"8 channels, 256 x 500 samples, 64³, eps {TOLERANCE:g}",
        ours,
        peer,
        "finufft, upsampfac 2",
    )


def query() -> Row:
    """Write a setting and query it over a raw socket: ours beside pyvisa-py."""
    import pyvisa

    from drivers.address import open_link
    from hil_fixtures.instruments.lab import Lab

    with Lab(tuned=True) as lab:
        address = lab.addresses["analyzer_tcp"]
        host, port = address.removeprefix("tcp://").split(":")
        manager = pyvisa.ResourceManager("@py")
        session = manager.open_resource(
            f"TCPIP::{host}::{port}::SOCKET", read_termination="\n", write_termination="\n"
        )
        link = open_link(address, name="analyzer")

        def ours() -> None:
            for _ in range(20):
                link.write_line("SENS1:SWE:POIN 201")
                link.write_line("SENS1:SWE:POIN?")
                link.read_line()

        def peer() -> None:
            for _ in range(20):
                session.write("SENS1:SWE:POIN 201")
                session.query("SENS1:SWE:POIN?")

        row = compare(
            "query", "20 x (write, write, read) on loopback", ours, peer, "pyvisa-py SOCKET", repeats=3
        )
        link.close()
        session.close()
        manager.close()
    return row


ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType(
    {
        **RESONANCE_ROWS,
        "gridding": gridding,
        "query": query,
        **ASSEMBLY_ROWS,
        **CIRCUIT_ROWS,
        **GRIDDING_ROWS,
        **MAGNETICS_ROWS,
        **NOISE_ROWS,
        **PROBE_ROWS,
        **TSC_ROWS,
        **TUNING_ROWS,
        **RECON_ROWS,
    }
)
#: Rows that take minutes, most beside slow peers: they run only when named.
WHEN_NAMED: Final = frozenset({*RECON_ROWS, *GRIDDING_ROWS, *PROBE_ROWS})
