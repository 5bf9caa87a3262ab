"""The drawing of a simulated array as its builder has it: nominal values, data sheets, tolerances.

Nothing of what a seed draws is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coils.tuning.curves import TrimmerType
from coils.tuning.design import TrapLoop, trap_loop_array
from hil_fixtures.physics.design import design_channel
from hil_fixtures.physics.geometry import inductance_by_distance, overlapped_array
from hil_fixtures.physics.network import ArrayCircuit, loop_impedance
from hil_fixtures.physics.sample import Load
from hil_fixtures.physics.trimmers import FUNCTIONS, SPAN

if TYPE_CHECKING:
    from coils.tuning.design import ArrayDesign
    from hil_fixtures.physics.settings import WorldSettings
    from hil_fixtures.physics.world import World


def drawing(world: World) -> ArrayDesign:
    """Return what the builder of a world's array knows before anything is measured."""
    values, (na_tune, na_match, h_tune, h_match) = drawn_values(world.settings, world.frequencies)
    channels = range(1, world.channel_count + 1)
    low, high = (tuple(first + channel - 1 for channel in channels) for first in (0, world.channel_count))
    return trap_loop_array(
        values,
        world.frequencies,
        (na_tune, na_match, h_tune, h_match),
        (low, high),
        tuple(tuple(f"ch{channel}.{function}" for function in FUNCTIONS) for channel in channels),
    )


def drawn_values(
    settings: WorldSettings, frequencies: tuple[float, float]
) -> tuple[TrapLoop, tuple[TrimmerType, TrimmerType, TrimmerType, TrimmerType]]:
    """Return the values that every channel of a world is built to, and its trimmers' data sheets.

    Parameters
    ----------
    settings
        Of the world.
    frequencies
        The lower and the upper Larmor frequency, Hz.
    """
    array = overlapped_array(settings.channels)
    load = Load(settings.phantom.radius_m, settings.load_conductivity, settings.load_permittivity)
    design = design_channel(array, load, frequencies)
    inductance = inductance_by_distance(array)[0]
    ideal = ArrayCircuit(array, inductance * np.eye(array.count), design.parts(array.count))
    losses = loop_impedance(ideal, load, np.array(frequencies))[:, 0, 0].real
    first, second, third, fourth = (
        TrimmerType(name, middle * (1.0 - SPAN), middle * (1.0 + SPAN))
        for name, middle in zip(FUNCTIONS, design.trimmers, strict=True)
    )
    values = TrapLoop(
        float(inductance),
        (float(losses[0]), float(losses[1])),
        design.trap_inductance,
        design.trap_capacitance,
    )
    return values, (first, second, third, fourth)
