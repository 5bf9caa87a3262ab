"""The array's loops as the bench file says they lie, and how far neighbours can be moved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.decoupling.overlap import coupling_along
from coils.decoupling.remedies import Neighbours
from coils.magnetics.arrays import cylinder_array
from coils.magnetics.inductance import self_inductance
from coils.magnetics.loops import strip_wire_radius

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coilbench.bench_file import BenchFile
    from coils.decoupling.remedies import Relation
    from coils.magnetics.loops import Loop

#: Way of a neighbour to either side over the distance between centres: well past an overlap of 14 %.
_TRAVEL: Final = 0.15
#: Positions along it: a spline through them is smooth to 1e-4 of k.
_POSITIONS: Final = 9


def loops_of(file: BenchFile, /) -> tuple[Loop, ...] | None:
    """Return the array's loops, channel 1 first; None where the bench file does not say how they lie."""
    geometry = file.array.geometry
    if geometry is None:
        return None
    return cylinder_array(
        file.array.channels,
        geometry.radius,
        geometry.height,
        strip_wire_radius(geometry.strip_width),
        width_to_pitch=geometry.width_to_pitch,
    )


def with_travels(file: BenchFile, relations: Sequence[Relation], /) -> tuple[Relation, ...]:
    """Give overlapped and side-by-side pairs the coupling over the way one of them can be moved.

    Parameters
    ----------
    relations
        How pairs lie; unchanged where the bench file has no geometry.
    """
    loops = loops_of(file)
    return tuple(
        relation
        if loops is None or relation.kind not in {Neighbours.OVERLAP, Neighbours.GAP}
        else _with_travel(file, loops, relation)
        for relation in relations
    )


def _with_travel(file: BenchFile, loops: tuple[Loop, ...], relation: Relation) -> Relation:
    geometry = file.array.geometry
    if geometry is None or max(relation.channels) > len(loops):
        return relation
    first, second = (loops[channel - 1] for channel in relation.channels)
    ahead = (relation.channels[1] - relation.channels[0]) % len(loops)
    # on a ring the second loop may lie before the first: apart is the other way round then
    way = 1.0 if 2 * ahead <= len(loops) else -1.0
    pitch = 2.0 * np.pi * geometry.radius / len(loops)
    travel = coupling_along(
        lambda apart: (first, second.turned(way * apart / geometry.radius)),
        np.linspace(-_TRAVEL * pitch, _TRAVEL * pitch, _POSITIONS),
    )
    return replace(relation, travel=travel, inductance=(self_inductance(first), self_inductance(second)))
