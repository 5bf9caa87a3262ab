"""Dips of a reflection and peaks of a transmission, in words and as frequencies between the points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.resonance.model import Kind

#: Prominence of an extreme, as a part of the trace's range of |S|², below which it is ripple.
_PROMINENCE: Final = 0.1


def extremes(frequencies: NDArray[np.float64], s: NDArray[np.complex128], kind: Kind) -> tuple[float, ...]:
    """Return the frequencies of dips (reflection) or peaks (transmission), rising, between the points.

    Parameters
    ----------
    frequencies
        Hz, shape (point,), rising.
    s
        Shape (point,).
    kind
        What to look for.
    """
    power = np.abs(s) ** 2
    height = power if kind == "transmission" else -power
    least = _PROMINENCE * float(np.ptp(height))
    if least == 0.0:
        return ()
    found: list[int] = []
    top, bottom, rising = 0, 0, True
    for index, value in enumerate(height):
        if rising:
            if value > height[top]:
                top = index
            elif value < height[top] - least:
                found.append(top)
                bottom, rising = index, False
        elif value < height[bottom]:
            bottom = index
        elif value > height[bottom] + least:
            top, rising = index, True
    return tuple(vertex(frequencies, height, index) for index in found if index > 0)


def vertex(frequencies: NDArray[np.float64], height: NDArray[np.float64], index: int) -> float:
    """Return where the parabola through a point and its neighbours is extreme; the point itself at an end."""
    if not 0 < index < height.size - 1:
        return float(frequencies[index])
    x = frequencies[index - 1 : index + 2] - frequencies[index]
    curve, slope, _ = np.polyfit(x / x[2], height[index - 1 : index + 2], 2)
    shift = 0.0 if curve == 0.0 else float(np.clip(-0.5 * slope / curve, -1.0, 1.0))
    return float(frequencies[index] + shift * x[2])


def describe_extremes(frequencies: NDArray[np.float64], s: NDArray[np.complex128], kind: Kind) -> str:
    """Say what there is instead of one resonance, and what to do about it."""
    places = extremes(frequencies, s, kind)
    word = "peaks" if kind == "transmission" else "dips"
    if len(places) > 1:
        where = ", ".join(f"{place / 1e6:.4f}" for place in places[:4])
        return (
            f"{len(places)} {word} at {where} MHz: a neighbour splits it; detune or decouple the neighbour, "
            "or take the coupling from the splitting"
        )
    return (
        "look for a neighbour that overlaps it, a cable that moved, or a sweep far wider than the resonance"
    )
