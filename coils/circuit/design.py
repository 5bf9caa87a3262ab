"""From a field, two nuclei, a loop and a drawer of capacitors to the parts of a dual-tuned coil.

Every coil and every C1 from the drawer has at most one exact solution for the rest
(`coils.circuit.dual_tuned`). They are ranked by the SNR that their currents cost at both nuclei, then
matched in full, best first, until one can be built from fixed capacitors and trimmers. What was turned
down, and why, is part of the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.nuclei import nucleus
from coilbench.base.units import engineering
from coils.circuit.coil import Loops, PartQuality, performance
from coils.circuit.detuning import PinDiode
from coils.circuit.dual_tuned import (
    MATCH_HIGH,
    MATCH_LOW,
    TUNE_HIGH,
    TUNE_LOW,
    trap_coil,
    trap_loop,
)
from coils.circuit.feasibility import rank_solutions
from coils.circuit.series import available, split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coils.circuit.coil import Coil, PortPerformance
    from coils.circuit.dual_tuned import TrapLoop
    from coils.circuit.series import Trimmed

#: Coils that can be wound with a few turns of 1 mm wire on 5 mm, H.
_COILS: Final = tuple(float(value) for value in np.geomspace(30e-9, 400e-9, 24))

#: Most solutions that are matched in full before the search gives up.
_MOST_MATCHED: Final = 40

#: Names of what a design has to trim, in the order of the ring.
TRIMMED: Final = (TUNE_LOW, MATCH_LOW, TUNE_HIGH, MATCH_HIGH)


@dataclass(frozen=True, slots=True)
class Request:
    """What a dual-tuned loop shall be.

    Parameters
    ----------
    b0
        T.
    nuclei
        Two names, in any order.
    loops
        One loop on its sample.
    capacitors
        ``"E6"``, ``"E12"``, ``"E24"``, or a list in F.
    trap_coils
        Inductances that can be had, H.
    quality
        Of the parts.
    trimmer
        Smallest and largest capacitance of the trimmers at hand, F.
    tolerance
        Of fixed capacitors and of the trap's coil, relative.
    loop_spread, load_spread
        How far the loop's inductance as built, and its resistance with another load, may be off, relative.
    low_importance
        Weight of the lower nucleus' SNR, 0 to 1.
    low_snr_at_least, high_snr_at_least
        SNR over that with lossless parts.
    """

    b0: float
    nuclei: tuple[str, str]
    loops: Loops
    capacitors: str | Sequence[float] = "E24"
    trap_coils: Sequence[float] = _COILS
    quality: PartQuality = field(default_factory=PartQuality)
    trimmer: tuple[float, float] = (1e-12, 30e-12)
    tolerance: float = 0.02
    loop_spread: float = 0.03
    load_spread: float = 0.2
    low_importance: float = 0.5
    low_snr_at_least: float = 0.0
    high_snr_at_least: float = 0.0

    def frequencies(self) -> tuple[float, float]:
        """Return the lower and the upper Larmor frequency in Hz.

        Raises
        ------
        ValueError
            A nucleus is unknown, or both have the same frequency.
        """
        low, high = sorted(nucleus(name).larmor_frequency(self.b0) for name in self.nuclei)
        if not 0.0 < low < high:
            raise ValueError(f"two nuclei of different frequency are needed; got {self.nuclei}, {self.b0} T")
        return low, high


@dataclass(frozen=True, slots=True)
class DetuningInductor:
    """An inductor that a PIN diode puts across a section.

    Parameters
    ----------
    frequency
        Hz.
    inductance
        H.
    depth_db
        Ideal ratio of loop currents tuned over detuned; probes see 30 to 50 dB of it.
    """

    frequency: float
    inductance: float
    depth_db: float


@dataclass(frozen=True, slots=True)
class Design:
    """A dual-tuned loop that can be built.

    Parameters
    ----------
    coil
        With all nominal values, matched.
    trap_coil, trap_series
        Lt to wind and C1 to solder, H and F.
    trimmed
        Ct, both Cm and C2 by element name: fixed capacitor and range of its trimmer.
    detuning
        For the lower and the upper nucleus.
    ports
        What each is worth.
    turned_down
        Reasons why others were not taken, with how many.
    """

    coil: Coil
    trap_coil: float
    trap_series: float
    trimmed: Mapping[str, Trimmed]
    detuning: tuple[DetuningInductor, DetuningInductor]
    ports: tuple[PortPerformance, ...]
    turned_down: Mapping[str, int]

    def lines(self) -> tuple[str, ...]:
        """Return the list of parts in words, one a line."""
        rows = [f"Lt {engineering(self.trap_coil, 'H')}", f"C1 {engineering(self.trap_series, 'F')}"]
        rows += [f"{name} {_described(part)}" for name, part in self.trimmed.items()]
        rows += [
            f"detuning at {engineering(each.frequency, 'Hz')}: {engineering(each.inductance, 'H')}, "
            f"{each.depth_db:.0f} dB ideally"
            for each in self.detuning
        ]
        rows += [
            f"SNR at {engineering(port.frequency, 'Hz')}: {port.part_snr:.2f} of that with lossless parts, "
            f"{port.sample_snr:.2f} of the sample's limit"
            for port in self.ports
        ]
        return tuple(rows)


def design_dual_tuned(request: Request) -> Design:
    """Return the best dual-tuned loop that can be built from what there is.

    Raises
    ------
    ValueError
        None can; the text counts the reasons.
    """
    frequencies = request.frequencies()
    if request.loops.count != 1:
        raise ValueError(f"expected one loop, got {request.loops.count}")
    drawer = available(request.capacitors)
    ranked, unsolved, objections = rank_solutions(request, frequencies, drawer)
    for values in ranked[:_MOST_MATCHED]:
        try:
            coil = trap_coil(request.loops, frequencies, values, request.quality)
            return _build(request, coil, drawer, values, objections + unsolved)
        except ValueError as reason:
            objections[str(reason)] += 1
    if len(ranked) > _MOST_MATCHED:
        objections[f"ranked below the best {_MOST_MATCHED}, not tried"] = len(ranked) - _MOST_MATCHED
    # What had a solution tells more about the wishes than what had none.
    common = (*objections.most_common(4), *unsolved.most_common(2))
    told = "; ".join(f"{reason} ({count} times)" for reason, count in common)
    raise ValueError(f"no coil can be built from these parts: {told}")


def _described(part: Trimmed) -> str:
    """Return a capacitance, its fixed capacitor and its trimmer in words."""
    fixed = f"{engineering(part.fixed, 'F')} fixed and " if part.fixed else ""
    span = f"{engineering(part.low, 'F', 3)} to {engineering(part.high, 'F', 3)}"
    return f"{engineering(part.target, 'F')}: {fixed}a trimmer of {span}"


def _build(
    request: Request, coil: Coil, drawer: Sequence[float], values: TrapLoop, turned_down: Mapping[str, int]
) -> Design:
    """Return the design, if trimmers reach and the SNR wanted is there with all losses."""
    ports = performance(coil)
    if ports[0].part_snr < request.low_snr_at_least or ports[1].part_snr < request.high_snr_at_least:
        raise ValueError("costs more SNR than allowed")
    smallest, largest = request.trimmer
    nominal = coil.values()[0]
    corners = _corners(request, values)
    trimmed = {}
    for name in TRIMMED:
        target = float(nominal[name][0])
        needed = [target, *(float(corner.values()[0][name][0]) for corner in corners)]
        try:
            trimmed[name] = split(
                target,
                drawer,
                reach=(min(needed), max(needed)),
                smallest_trimmer=smallest,
                tolerance=request.tolerance,
            )
        except ValueError as reason:
            raise ValueError(f"{name}: {reason}") from None
    wide = [name for name, part in trimmed.items() if part.high > largest]
    if wide:
        raise ValueError(f"{wide[0]} needs a trimmer beyond {engineering(largest, 'F')}")
    return Design(
        coil,
        values.inductance,
        values.series,
        trimmed,
        (_detuning(coil, 0, request.quality), _detuning(coil, 1, request.quality)),
        ports,
        dict(turned_down),
    )


def _corners(request: Request, values: TrapLoop) -> list[Coil]:
    """Return the coil as it may come out: every combination of loop, load, Lt and C1 at their limits."""
    frequencies = request.frequencies()
    coils = []
    for loop, load, part, c1 in product((-1.0, 1.0), repeat=4):
        off = 1.0 + load * request.load_spread
        waves = request.loops.sample_waves
        loops = Loops(
            request.loops.inductance * (1.0 + loop * request.loop_spread),
            request.loops.copper,
            request.loops.sample * off,
            None if waves is None else waves * off,
        )
        built = trap_loop(
            float(loops.inductance[0, 0]),
            frequencies,
            values.inductance * (1.0 + part * request.tolerance),
            values.series * (1.0 + c1 * request.tolerance),
        )
        coils.append(trap_coil(loops, frequencies, built, request.quality))
    return coils


def _detuning(
    coil: Coil, place: int, quality: PartQuality, diode: PinDiode | None = None, current: float = 0.1
) -> DetuningInductor:
    """Return the inductor that makes a section block its own nucleus."""
    tap = coil.taps[place]
    solution = coil.solve([tap.frequency])
    section = complex(np.asarray(solution.states[tap.bank][tap.section].impedance)[0, 0])
    ring = 1.0 / complex(solution.inverse[0, 0, 0])
    omega = 2.0 * math.pi * tap.frequency
    inductance = 1.0 / (omega * (1.0 / section).imag)
    switch = (diode or PinDiode()).impedance(tap.frequency, current)
    axis = np.array([[tap.frequency + 0j]])
    branch = complex(quality.inductor("detune", np.array([inductance])).impedance(axis)[0, 0]) + switch
    block = 1.0 / (1.0 / section + 1.0 / branch)
    depth = 20.0 * math.log10(abs((ring - section + block) / ring))
    return DetuningInductor(tap.frequency, inductance, depth)
