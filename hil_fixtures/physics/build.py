"""Soldering one array: the ideal design with the tolerances that a seed draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hil_fixtures.physics.cables import drawn_cables
from hil_fixtures.physics.design import Design, design_channel
from hil_fixtures.physics.geometry import inductance_by_distance, overlapped_array
from hil_fixtures.physics.network import ArrayCircuit
from hil_fixtures.physics.parts import FixedParts
from hil_fixtures.physics.sample import places_apart
from hil_fixtures.physics.trimmers import Axis, soldered_axes
from hil_fixtures.physics.workmanship import CAREFUL, STRAY_RANGE, Workmanship

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Real
    from hil_fixtures.physics.cables import Cables
    from hil_fixtures.physics.geometry import LoopArray
    from hil_fixtures.physics.sample import Load


#: Deviation of what compensation leaves of a pair's coupling, as a part of it, at most: even the largest
#: rest kept (1.6 deviations) is smaller than what was there. Only far pairs of many loops couple as little.
_REST: Final = 0.55


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
    conductivity
        Of the phantom that is really in it, as a part of the one it was designed for.
    cables
        Between analyzer and ports.
    """

    circuit: ArrayCircuit
    axes: dict[str, Axis]
    design: Design
    conductivity: float
    cables: Cables


def solder(
    channels: int,
    load: Load,
    frequencies: tuple[float, float],
    random: np.random.Generator,
    workmanship: Workmanship = CAREFUL,
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
        return np.asarray(values * (1.0 + random.uniform(-workmanship.part, workmanship.part, channels)))

    fixed = FixedParts(
        spread(ideal.trap_inductance),
        spread(ideal.trap_capacitance),
        spread(ideal.detune_na),
        spread(ideal.detune_h),
    )
    inductance = _residual_inductance(array, random, workmanship)
    axes = soldered_axes(design, channels, random, workmanship)
    conductivity = 1.0 + float(random.uniform(-workmanship.load, workmanship.load))
    strays = replace(
        fixed,
        lead_inductance=workmanship.lead * random.uniform(*STRAY_RANGE, (channels, 4)),
        port_capacitance=workmanship.port_capacitance * random.uniform(*STRAY_RANGE, (channels, 2)),
    )
    cables = drawn_cables(2 * channels, workmanship.delay, workmanship.directivity_db, random)
    return SolderedArray(ArrayCircuit(array, inductance, strays), axes, design, conductivity, cables)


def _residual_inductance(array: LoopArray, random: np.random.Generator, workmanship: Workmanship) -> Real:
    count = array.count
    by_place = np.array(inductance_by_distance(array))
    own = by_place[0] * (1.0 + random.uniform(-workmanship.loop, workmanship.loop, count))
    places = places_apart(count)
    before = np.abs(by_place[places] / by_place[0])
    deviation = np.where(
        places == 1, workmanship.neighbour_coupling, np.minimum(workmanship.other_coupling, _REST * before)
    )
    most = workmanship.reworked_beyond
    left = np.clip(random.standard_normal((count, count)), -most, most)
    drawn = np.triu(left * deviation, 1)
    coupling = drawn + drawn.T + np.eye(count)
    return np.asarray(coupling * np.sqrt(np.outer(own, own)))
