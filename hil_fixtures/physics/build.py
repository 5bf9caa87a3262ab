"""Soldering one array: the ideal design with the tolerances that a seed draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hil_fixtures.physics.design import Design, design_channel
from hil_fixtures.physics.geometry import inductance_by_distance, overlapped_array
from hil_fixtures.physics.network import ArrayCircuit
from hil_fixtures.physics.parts import FixedParts
from hil_fixtures.physics.sample import places_apart
from hil_fixtures.physics.trimmers import Axis, soldered_axes

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Real
    from hil_fixtures.physics.geometry import LoopArray
    from hil_fixtures.physics.sample import Load

#: Half width of the uniform spread of hand-bent loops' inductance.
LOOP_TOLERANCE: Final = 0.02

#: Half width of the uniform spread of fixed inductors and capacitors: the 1 % grade.
PART_TOLERANCE: Final = 0.01

#: Standard deviation of the coupling left between neighbours: the overlap is set by hand.
NEIGHBOUR_RESIDUAL: Final = 0.002

#: Standard deviation of the coupling left between all other pairs after compensation.
COMPENSATED_RESIDUAL: Final = 0.00125

#: Residuals beyond this many standard deviations are reworked before the array leaves the bench.
REWORKED_BEYOND: Final = 1.4


@dataclass(frozen=True, slots=True)
class SolderedArray:
    """One array as built.

    Parameters
    ----------
    circuit
        What no trimmer moves.
    axes
        Trimmers by name, at their starting positions.
    design
        The values it was built to.
    """

    circuit: ArrayCircuit
    axes: dict[str, Axis]
    design: Design


def solder(
    channels: int, load: Load, frequencies: tuple[float, float], random: np.random.Generator
) -> SolderedArray:
    """Build one array for two frequencies in Hz, designed for ``load``.

    At sodium frequencies the loops' high Q lets even k = 0.01 between next neighbours split resonances;
    real arrays cancel it by counter-wound inductors or transformers (an 8-channel 23Na array, PMC5779625).
    Here each pair's mutual inductance is cancelled up to a small random rest.
    """
    array = overlapped_array(channels)
    design = design_channel(array, load, frequencies)
    ideal = design.parts(channels)

    def spread(values: Real) -> Real:
        return np.asarray(values * (1.0 + random.uniform(-PART_TOLERANCE, PART_TOLERANCE, channels)))

    fixed = FixedParts(
        spread(ideal.trap_inductance),
        spread(ideal.trap_capacitance),
        spread(ideal.detune_na),
        spread(ideal.detune_h),
    )
    circuit = ArrayCircuit(array, _residual_inductance(array, random), fixed)
    return SolderedArray(circuit, soldered_axes(design, channels, random), design)


def _residual_inductance(array: LoopArray, random: np.random.Generator) -> Real:
    count = array.count
    own = inductance_by_distance(array)[0] * (1.0 + random.uniform(-LOOP_TOLERANCE, LOOP_TOLERANCE, count))
    deviation = np.where(places_apart(count) == 1, NEIGHBOUR_RESIDUAL, COMPENSATED_RESIDUAL)
    left = np.clip(random.standard_normal((count, count)), -REWORKED_BEYOND, REWORKED_BEYOND)
    drawn = np.triu(left * deviation, 1)
    coupling = drawn + drawn.T + np.eye(count)
    return np.asarray(coupling * np.sqrt(np.outer(own, own)))
