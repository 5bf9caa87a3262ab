"""What a report says of an S-matrix that was assembled from sweeps of a few ports each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coilbench.report.page import Rows, Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coilbench.procedures.assemble import AssembledDevice


def listed_pairs(pairs: Sequence[tuple[int, int]], /) -> str:
    """Return pairs of ports such as ``"2-5, 3-7"``; a port that was never seen as ``"4"``."""
    return ", ".join(str(one) if one == other else f"{one}-{other}" for one, other in pairs)


def assembly_section(device: AssembledDevice, notices: Sequence[str], /) -> Section:
    """Return how the connections agree, port by port, and what was suspicious or is missing.

    Parameters
    ----------
    notices
        Suspicions that came up while measuring; most were settled by measuring again.
    """
    assembly = device.assembly
    rows = tuple(
        (
            str(port),
            str(int(seen)),
            f"{spread:.2g}" if np.isfinite(spread) else "",
            listed_pairs([pair for pair in device.missing if port in pair]),
        )
        for port, seen, spread in zip(device.ports, np.diag(assembly.count), assembly.spread, strict=True)
    )
    table = Rows(("port", "connections", "its reflection between them", "not measured with"), rows)
    remarks = [*dict.fromkeys([*notices, *(str(suspicion) for suspicion in assembly.suspicions)])]
    tables = (table, Rows(("suspicious connections",), tuple((text,) for text in remarks)))
    text = (
        "The same port seen through different connections must reflect the same; the third column is the "
        "root mean square of what it did not. Pairs that are not measured are left open, never filled in."
    )
    return Section("Connections", text, (), tables if remarks else tables[:1])
