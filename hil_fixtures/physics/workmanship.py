"""How well an array is built: the spreads of everything that a seed draws, and what an analyzer adds.

`CAREFUL` is an array from a careful bench. `NOMINAL` has the spreads of ordinary parts and hands;
`UNMODELLED` is the same with what a circuit diagram leaves out, and an analyzer whose calibration is not
perfect; `HARD` is about twice as bad as `NOMINAL`, beyond the travel of many trimmers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Workmanship:
    """Spreads of one way of building arrays.

    "Half width" is that of a uniform spread; "deviation" the standard deviation of a normal one, cut at two
    deviations unless said otherwise: parts beyond are sorted out by the maker. All are fractions of the
    design value unless a unit is given.

    Parameters
    ----------
    loop
        Half width of the hand-bent loops' inductance.
    part
        Half width of fixed inductors and capacitors.
    neighbour_coupling, other_coupling
        Deviation of the coupling k left between neighbours (overlap is set by hand) and between all other
        pairs after compensation.
    reworked_beyond
        Couplings beyond so many deviations are reworked before the array leaves the bench.
    trimmer_span, trimmer_offset
        Deviation of the trimmers' span and of their value at mid travel.
    trimmer_bend, trimmer_wave
        Deviation of the two curvatures of a trimmer's scale, as a fraction of its span.
    start
        Half width of the mistuning of a freshly soldered channel; held by the ends of the travel.
    play, play_deviation
        Play of the gears, steps.
    load
        Half width of the phantom's conductivity.
    lead
        Inductance of a trimmer's leads, H; drawn from `STRAY_RANGE` times this.
    port_capacitance
        Across every port's connector, F; drawn from `STRAY_RANGE` times this.
    delay
        Deviation of the delay between the analyzer's reference planes and the ports, s; not cut.
    directivity_db
        Size of the analyzer's residual directivity at every port; None: no residual errors.
    """

    loop: float
    part: float
    neighbour_coupling: float
    other_coupling: float
    reworked_beyond: float
    trimmer_span: float
    trimmer_offset: float
    trimmer_bend: float
    trimmer_wave: float
    start: float
    play: float = 20.0
    play_deviation: float = 0.0
    load: float = 0.0
    lead: float = 0.0
    port_capacitance: float = 0.0
    delay: float = 0.0
    directivity_db: float | None = None


#: Leads and connector capacitances lie between these factors times the usual one: wires are cut by eye.
STRAY_RANGE: Final = (0.7, 1.3)

#: Loops bent on a former, 1 % parts, overlaps trimmed with an analyzer, trimmers of one lot.
CAREFUL: Final = Workmanship(
    loop=0.02,
    part=0.01,
    neighbour_coupling=0.002,
    other_coupling=0.00125,
    reworked_beyond=1.4,
    trimmer_span=0.03,
    trimmer_offset=0.02,
    trimmer_bend=0.02,
    trimmer_wave=0.01,
    start=0.22,
)

#: Loops bent by hand, 2 % parts, couplings left up to 0.004, 5 % trimmers whose scales are bent by up to 6 %
#: of the span (two deviations), with an S-shape of up to 1.6 % besides that no tuner's model has.
NOMINAL: Final = Workmanship(
    loop=0.03,
    part=0.02,
    neighbour_coupling=0.0025,
    other_coupling=0.0025,
    reworked_beyond=1.6,
    trimmer_span=0.025,
    trimmer_offset=0.025,
    trimmer_bend=0.03,
    trimmer_wave=0.008,
    start=0.28,
    play_deviation=4.0,
    load=0.20,
)

#: As nominal, with 15 mm of trimmer leads (1 nH to 5 mm of wire), a connector's stray capacitance, cables
#: that warmed up, and the residual directivity of a worn calibration kit.
UNMODELLED: Final = replace(
    NOMINAL,
    lead=3e-9,
    port_capacitance=1e-12,
    delay=30e-12,
    directivity_db=-38.0,
)

#: Every spread of a nominal array twice as wide, couplings one and a half times (up to 0.006): about half
#: of these arrays cannot be tuned within their travel. The start is bounded by the travel already.
HARD: Final = Workmanship(
    loop=0.06,
    part=0.04,
    neighbour_coupling=0.00375,
    other_coupling=0.00375,
    reworked_beyond=1.6,
    trimmer_span=0.05,
    trimmer_offset=0.05,
    trimmer_bend=0.06,
    trimmer_wave=0.016,
    start=0.28,
    play=30.0,
    play_deviation=8.0,
    load=0.40,
)
