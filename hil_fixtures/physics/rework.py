"""Changing fixed parts of a finished array with the soldering iron, and their names.

=============== ==== ==========================================================
part            unit what
=============== ==== ==========================================================
ch3.na.tune     F    fixed capacitor in parallel with that trimmer of channel 3
ch3.na.match    F    likewise
ch3.h.tune      F    likewise
ch3.h.match     F    likewise
ch3.trap.C1     F    capacitor in series with the trap's inductor
ch3.trap.Lt     H    the trap's inductor
=============== ==== ==========================================================
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hil_fixtures.physics.trimmers import axis_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hil_fixtures.physics.arrays import Real
    from hil_fixtures.physics.network import ArrayCircuit
    from hil_fixtures.physics.trimmers import Axis

#: Fixed parts of a channel that are not in parallel with a trimmer.
TRAP_PARTS: Final = ("trap.C1", "trap.Lt")


def part_names(channels: int) -> tuple[str, ...]:
    """Return the names of all parts that can be changed."""
    traps = (f"ch{channel}.{part}" for channel in range(1, channels + 1) for part in TRAP_PARTS)
    return (*axis_names(channels), *traps)


def rework(circuit: ArrayCircuit, axes: Mapping[str, Axis], part: str, change: float) -> ArrayCircuit:
    """Change a fixed part; a capacitor at a trimmer changes its axis, all others give a new circuit.

    Parameters
    ----------
    change
        F or H to add; negative: a smaller part.

    Raises
    ------
    ValueError
        There is no such part, or nothing of it would be left.
    """
    if part in axes:
        axes[part].add_capacitance(change)
        return circuit
    known = part_names(circuit.array.count)
    if part not in known:
        raise ValueError(f"no part called {part!r}; there are {', '.join(known)}")
    channel, _, name = part.partition(".")
    place = int(channel.removeprefix("ch")) - 1
    if name == "trap.C1":
        fixed = replace(
            circuit.fixed, trap_capacitance=_changed(circuit.fixed.trap_capacitance, place, part, change)
        )
    else:
        fixed = replace(
            circuit.fixed, trap_inductance=_changed(circuit.fixed.trap_inductance, place, part, change)
        )
    return replace(circuit, fixed=fixed)


def _changed(values: Real, place: int, part: str, change: float) -> Real:
    new = values.copy()
    new[place] += change
    if not new[place] > 0.0:
        raise ValueError(f"{part} is {values[place]:.4g}; it cannot be changed by {change:.4g}")
    return new
