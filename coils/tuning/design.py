"""What the builder of an array knows before anything is measured: circuit, values, tolerances, axes.

The tuner's model starts here. It needs no more than what is on the drawing and in data sheets; every number
has a tolerance, and what is on no drawing (leads of trimmers, capacitance of sockets, length of cables) is
there with a wide one.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from coils.circuit.array import Arm, ArrayCircuit, Bank, Section, Stage
from coils.circuit.elements import Capacitor, Inductor, Resistor, leaves, parallel, series

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coils.circuit.elements import Branch
    from coils.tuning.curves import TrimmerType

#: Name of the loop's own inductance in every bank.
LOOP: Final = "loop"
#: Tolerances (standard deviations, relative): loops bent by hand, fixed parts of the 2 % grade, losses.
_LOOP_SPREAD: Final = 0.03
_PART_SPREAD: Final = 0.02
_LOSS_SPREAD: Final = 0.5
#: Inductance of a trimmer's leads and capacitance of a socket: usual values and their spread, H and F.
_LEAD: Final = 1.5e-9
_LEAD_SPREAD: Final = 1.5e-9
_SOCKET: Final = 0.5e-12
_SOCKET_SPREAD: Final = 0.5e-12


@dataclass(frozen=True, slots=True)
class Spread:
    """How far an element's value may be from the drawing.

    Parameters
    ----------
    kind
        ``"relative"``: the logarithm of the value is normal with ``width``; ``"absolute"``: the value is,
        with ``width`` in its unit.
    width
        Standard deviation.
    """

    kind: Literal["relative", "absolute"]
    width: float


@dataclass(frozen=True, slots=True)
class ArrayDesign:
    """A bank of like channels as drawn.

    Parameters
    ----------
    circuit
        One bank with nominal values; an inductor called ``loop`` in its ring.
    frequencies
        Where each arm's ports shall not reflect, Hz, in the order of the sections with arms.
    trimmers
        In the order of ``axes``' columns.
    axes
        Name of the axis of each channel and trimmer.
    spreads
        By element; elements without are exact, trimmers have their own.
    coupling
        Standard deviation of the coupling coefficient between any two loops.
    resistance_coupling
        Standard deviation of R_mn over the geometric mean of R_mm and R_nn.
    delay
        Standard deviation of the one-way delay between reference plane and port, s.
    """

    circuit: ArrayCircuit
    frequencies: tuple[float, ...]
    trimmers: tuple[TrimmerType, ...]
    axes: tuple[tuple[str, ...], ...]
    spreads: Mapping[str, Spread]
    coupling: float = 0.008
    resistance_coupling: float = 0.3
    delay: float = 50e-12

    def __post_init__(self) -> None:
        """Check that the parts fit each other.

        Raises
        ------
        ValueError
            More than one bank, an unknown element, or axes and trimmers of different numbers.
        """
        if len(self.circuit.banks) != 1:
            raise ValueError(f"a design is one bank of like channels; got {len(self.circuit.banks)}")
        known = {element.name for element in self.bank.elements()}
        named = {trimmer.element for trimmer in self.trimmers} | set(self.spreads) | {LOOP}
        if not named <= known:
            raise ValueError(f"no such element: {', '.join(sorted(named - known))}")
        if len(self.axes) != self.channels or any(len(row) != len(self.trimmers) for row in self.axes):
            raise ValueError(f"need {self.channels} rows of {len(self.trimmers)} axes")
        if len(self.arms) != len(self.frequencies):
            raise ValueError(f"need a frequency for each of {len(self.arms)} arms; got {self.frequencies}")

    @property
    def bank(self) -> Bank:
        """The channels."""
        return self.circuit.banks[0]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.bank.loops.size

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms, in the order of ``frequencies``."""
        return tuple(section.arm for section in self.bank.sections if section.arm is not None)

    def arm_trimmers(self) -> tuple[tuple[int, ...], ...]:
        """Return the columns of the trimmers in each arm's section: those that tune and match its port."""
        found = []
        for section in self.bank.sections:
            if section.arm is not None:
                branches = (section.across, *(stage.branch for stage in section.arm.stages))
                names = {element.name for branch in branches for element in leaves(branch)}
                columns = (column for column, trimmer in enumerate(self.trimmers) if trimmer.element in names)
                found.append(tuple(columns))
        return tuple(found)

    def port_frequencies(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return where each port shall not reflect, Hz, shape (port,)."""
        wanted = np.zeros(self.circuit.port_count)
        for arm, frequency in zip(self.arms, self.frequencies, strict=True):
            wanted[arm.ports] = frequency
        return wanted


@dataclass(frozen=True, slots=True)
class TrapLoop:
    """Values of a loop that one trap tunes to two nuclei, with a tapped section for each.

    Parameters
    ----------
    loop_inductance
        H.
    loop_resistance
        Of copper and load together at the two frequencies, ohm.
    trap_inductance, trap_capacitance
        Lt and C1 in series; the upper nucleus' tune trimmer lies across both. H and F.
    capacitor_q, inductor_q
        Quality factors at the lower frequency.
    """

    loop_inductance: float
    loop_resistance: tuple[float, float]
    trap_inductance: float
    trap_capacitance: float
    capacitor_q: float = 1000.0
    inductor_q: float = 220.0


def trap_loop_array(
    values: TrapLoop,
    frequencies: tuple[float, float],
    trimmers: tuple[TrimmerType, TrimmerType, TrimmerType, TrimmerType],
    ports: tuple[tuple[int, ...], tuple[int, ...]],
    axes: tuple[tuple[str, ...], ...],
) -> ArrayDesign:
    """Return the design of like loops with a trap each.

    Parameters
    ----------
    values
        Of every channel.
    frequencies
        The lower and the upper, Hz.
    trimmers
        Lower tune and match, upper tune and match; their ``element`` names are used.
    ports
        Index in S of each channel's lower and upper port.
    axes
        Of each channel, in the order of ``trimmers``.
    """
    count = len(ports[0])
    names = [trimmer.element for trimmer in trimmers]
    every = np.ones(count)
    copper, sample = _resistances(values.loop_resistance, frequencies)
    # Q ~ sqrt(f) for an inductor of skin-effect resistance, stated at the lower frequency
    inductor_q = values.inductor_q / (frequencies[0] / 1e6) ** 0.5

    def trimmer(place: int) -> Branch:
        capacitor = Capacitor(names[place], trimmers[place].middle * every, values.capacitor_q)
        return series(capacitor, Inductor(f"{names[place]}.lead", _LEAD * every))

    def arm(place: int, indices: tuple[int, ...]) -> Arm:
        socket = Stage("shunt", Capacitor(f"{names[place]}.socket", _SOCKET * every))
        return Arm(np.array(indices, dtype=np.intp), (socket, Stage("series", trimmer(place))))

    ring = series(
        Inductor(LOOP, values.loop_inductance * every),
        Resistor("copper", copper * every, 0.5),
        Resistor("sample", sample * every, 2.0),
    )
    branch = series(
        Inductor("trap.L", values.trap_inductance * every, inductor_q, 0.5),
        Capacitor("trap.C1", values.trap_capacitance * every, values.capacitor_q),
    )
    sections = (
        Section(ring),
        Section(trimmer(0), arm(1, ports[0])),
        Section(parallel(branch, trimmer(2)), arm(3, ports[1])),
    )
    spreads = {LOOP: Spread("relative", _LOOP_SPREAD)}
    spreads |= {name: Spread("relative", _PART_SPREAD) for name in ("trap.L", "trap.C1")}
    spreads |= {name: Spread("relative", _LOSS_SPREAD) for name in ("copper", "sample")}
    spreads |= {f"{name}.lead": Spread("absolute", _LEAD_SPREAD) for name in names}
    spreads |= {f"{names[place]}.socket": Spread("absolute", _SOCKET_SPREAD) for place in (1, 3)}
    total = len(ports[0]) + len(ports[1])
    circuit = ArrayCircuit((Bank(np.arange(count, dtype=np.intp), sections),), np.zeros(total))
    return ArrayDesign(circuit, frequencies, trimmers, axes, MappingProxyType(spreads))


def _resistances(loop: tuple[float, float], frequencies: tuple[float, float]) -> tuple[float, float]:
    """Split a loop's resistance at two frequencies into parts that rise with f^0.5 and f^2, at 1 MHz."""
    low, high = (frequency / 1e6 for frequency in frequencies)
    matrix = np.array([[low**0.5, low**2], [high**0.5, high**2]])
    copper, sample = np.linalg.solve(matrix, np.array(loop))
    # a loop without load has next to no quadratic part, and rounding must not turn it negative
    return max(float(copper), 1e-3 * loop[0] / low**0.5), max(float(sample), 1e-3 * loop[0] / low**2)
