"""The drawing of a simulated array as its builder has it: nominal values, data sheets, tolerances.

Nothing of what a seed draws is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coils.tuning.curves import TrimmerType
from coils.tuning.design import TrapLoop, trap_loop_array
from hil_fixtures.physics.geometry import inductance_by_distance
from hil_fixtures.physics.network import ArrayCircuit, loop_impedance
from hil_fixtures.physics.sample import Load
from hil_fixtures.physics.trimmers import FUNCTIONS, SPAN

if TYPE_CHECKING:
    from coils.tuning.design import ArrayDesign
    from hil_fixtures.physics.world import World


def drawing(world: World) -> ArrayDesign:
    """Return what the builder of a world's array knows before anything is measured."""
    settings, design, array = world.settings, world.design, world.circuit.array
    inductance = inductance_by_distance(array)[0]
    ideal = ArrayCircuit(array, inductance * np.eye(array.count), design.parts(array.count))
    load = Load(settings.phantom.radius_m, settings.load_conductivity, settings.load_permittivity)
    losses = loop_impedance(ideal, load, np.array(world.frequencies))[:, 0, 0].real
    channels = range(1, settings.channels + 1)
    trimmers = tuple(
        TrimmerType(name, middle * (1.0 - SPAN), middle * (1.0 + SPAN))
        for name, middle in zip(FUNCTIONS, design.trimmers, strict=True)
    )
    low, high = (tuple(first + channel - 1 for channel in channels) for first in (0, settings.channels))
    return trap_loop_array(
        TrapLoop(
            inductance,
            (float(losses[0]), float(losses[1])),
            design.trap_inductance,
            design.trap_capacitance,
        ),
        world.frequencies,
        (trimmers[0], trimmers[1], trimmers[2], trimmers[3]),
        (low, high),
        tuple(tuple(f"ch{channel}.{function}" for function in FUNCTIONS) for channel in channels),
    )
