"""Arrays of equal loops: rings round a cylinder and rows in a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coils.magnetics.loops import bend, rectangle

if TYPE_CHECKING:
    from coils.magnetics.loops import Loop


def ring(loop: Loop, count: int) -> tuple[Loop, ...]:
    """Return ``count`` copies of a loop, equally spaced in angle about the z axis, the first in place.

    Raises
    ------
    ValueError
        Fewer than one copy is asked for.
    """
    if count < 1:
        raise ValueError(f"a ring needs at least one loop, got {count}")
    return (loop, *(loop.turned(2.0 * np.pi * place / count) for place in range(1, count)))


def row(loop: Loop, count: int, pitch: float) -> tuple[Loop, ...]:
    """Return ``count`` copies of a loop, ``pitch`` m apart along x, centred where the loop was.

    Raises
    ------
    ValueError
        Fewer than one copy is asked for, or the pitch is not positive.
    """
    if count < 1 or pitch <= 0.0:
        raise ValueError(f"a row needs at least one loop and a positive pitch, got {count}, {pitch} m")
    return tuple(loop.moved((pitch * (place - 0.5 * (count - 1)), 0.0, 0.0)) for place in range(count))


def cylinder_array(
    count: int, radius: float, height: float, wire_radius: float, *, width_to_pitch: float = 1.14
) -> tuple[Loop, ...]:
    """Return equal rectangular loops round a cylinder, overlapped like shingles.

    Parameters
    ----------
    count
        Number of loops; loop 0 is centred on the x axis, the others follow counter-clockwise.
    radius
        Of the cylinder around z, m.
    height
        Of each loop along z, m, centred on z = 0.
    wire_radius
        Of the conductor, m.
    width_to_pitch
        Width along the circumference as a fraction of the distance between centres; above 1 the loops
        overlap. About 1.14 decouples neighbours that are as high as wide (``coils.decoupling`` finds it).

    Raises
    ------
    ValueError
        A number is not positive or a loop would close on itself.
    """
    if count < 2:
        raise ValueError(f"an array round a cylinder needs at least 2 loops, got {count}")
    width = width_to_pitch * 2.0 * np.pi * radius / count
    return ring(bend(rectangle(width, height, wire_radius), radius), count)
