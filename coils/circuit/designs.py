"""Designs of the review, each with what it is good for and what it costs; ports matched, losses included.

The single loop with a trap is in `coils.circuit.dual_tuned`, the birdcage in `coils.circuit.birdcage`. What a
design is worth in numbers is `coils.circuit.coil.performance`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.circuit.array import Arm, ArrayCircuit, Bank, Section, Stage
from coils.circuit.coil import Coil, Loops, PartQuality, Tap
from coils.circuit.detuning import PinDiode
from coils.circuit.elements import Capacitor, Resistor, parallel, series
from coils.circuit.matched import match_coil
from coils.circuit.matching import l_match
from coils.circuit.newton import solve_match
from coils.circuit.traps import lcc_traps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.circuit.elements import Branch, Complex, Real

#: Capacitors to the ports of loops of Q 100 to 300 are about this share of the tune capacitors.
_MATCH_SHARE: Final = 0.13

#: A PIN diode for small currents: 1 ohm at 20 mA and 0.25 pF are usual data sheet values.
SMALL_DIODE: Final = PinDiode(bulk=0.5, charge=0.01, off_capacitance=0.25e-12, off_resistance=20e3)


def single_tuned(
    loops: Loops, frequency: float, *, tune_share: float = 0.5, quality: PartQuality | None = None
) -> Coil:
    """Return loops for one nucleus, each with fixed capacitors and one tapped section.

    Parameters
    ----------
    loops
        One or several.
    frequency
        Hz.
    tune_share
        Share of the loop's reactance that the tapped section carries, below 1; the rest is in fixed
        capacitors along the conductor. More of it widens the range of the trimmer and raises its voltage.
    quality
        Of the parts; None: the defaults of `PartQuality`.

    Raises
    ------
    ValueError
        A port cannot be matched.
    """
    made = quality or PartQuality()
    bank = _tapped_bank(np.arange(loops.count, dtype=np.intp), loops, frequency, tune_share, made)
    circuit = ArrayCircuit((bank,), np.zeros(loops.count))
    return match_coil(Coil(loops, circuit, (Tap(0, 1, frequency, "Ct", "Cm"),)))


def overlapped_pair(
    loop: Loops,
    frequency: float,
    *,
    coupling: float = 0.0,
    correlation: float = 0.3,
    quality: PartQuality | None = None,
) -> Coil:
    """Return two geometrically decoupled coils: equal loops overlapped until their mutual inductance is nil.

    No parts, no frequency: overlap decouples both nuclei at once. But it fixes the distance of the loops,
    leaves next neighbours alone, and cannot take away what the sample couples: currents of both loops meet
    in it. Both matched, they are isolated by ``|S21| = (1 - sqrt(1 - c^2)) / c`` with ``c = R12 / R11`` and
    no better.

    Parameters
    ----------
    loop
        One of them.
    frequency
        Hz.
    coupling
        What is left of the coupling coefficient.
    correlation
        Of the sample's resistances, R12 over R11.
    quality
        Of the parts; None: the defaults of `PartQuality`.

    Raises
    ------
    ValueError
        Not one loop, or a port cannot be matched.
    """
    if loop.count != 1:
        raise ValueError(f"a pair is made of one loop, got {loop.count}")
    mutual = np.array([[1.0, coupling], [coupling, 1.0]])
    shared = np.array([[1.0, correlation], [correlation, 1.0]])
    waves = None if loop.sample_waves is None else loop.sample_waves * shared
    pair = Loops(loop.inductance * mutual, np.repeat(loop.copper, 2), loop.sample * shared, waves)
    return single_tuned(pair, frequency, quality=quality)


def nested_loops(
    loops: Loops,
    frequencies: tuple[float, float],
    *,
    trap_inductance: float | None = 60e-9,
    quality: PartQuality | None = None,
) -> Coil:
    """Return a loop for each nucleus, one inside the other, the lower's with a trap for the upper.

    Each loop is best for its own nucleus, geometry is free, and the nuclei may have different numbers of
    channels. Without a trap the lower loop, inductive at the upper frequency, carries a counter-current that
    bends the upper nucleus' field. A trap takes it away and costs the lower nucleus a few percent of SNR; a
    larger coil in it blocks better and costs more.

    Parameters
    ----------
    loops
        First that of the lower nucleus, then that of the upper.
    frequencies
        The lower and the upper, Hz.
    trap_inductance
        Of the trap's coil in H; None: an ordinary capacitor in the trap's place, for comparison.
    quality
        Of the parts; None: the defaults of `PartQuality`.

    Raises
    ------
    ValueError
        Not two loops, a trap's coil too small, or a port that cannot be matched.
    """
    if loops.count != 2:
        raise ValueError(f"expected the loop of the lower nucleus and that of the upper, got {loops.count}")
    made = quality or PartQuality()
    every = np.ones(1)
    low, high = frequencies
    # Half of the loop's reactance in the trap: it replaces the fixed capacitors.
    needed = 2.0 / ((2.0 * math.pi * low) ** 2 * float(loops.inductance[0, 0]))
    blocking: Branch = made.capacitor("C.fixed", needed * every)
    if trap_inductance is not None:
        trap = lcc_traps(high, low, needed, trap_inductance)[1]
        coil = made.inductor("trap.L", trap_inductance * every)
        blocking = parallel(
            series(coil, made.capacitor("trap.C1", trap.series * every)),
            made.capacitor("trap.C2", trap.parallel * every),
        )
    tapped = _tapped_section(np.array([0], dtype=np.intp), float(loops.inductance[0, 0]), low, 0.5, made)
    lower = Bank(np.array([0], dtype=np.intp), (Section(blocking), tapped))
    upper = _tapped_bank(np.array([1], dtype=np.intp), loops, high, 0.5, made)
    taps = (Tap(0, 1, low, "Ct", "Cm"), Tap(1, 1, high, "Ct", "Cm"))
    return match_coil(Coil(loops, ArrayCircuit((lower, upper), np.zeros(2)), taps))


def switched_loop(
    loop: Loops,
    frequencies: tuple[float, float],
    *,
    diodes: tuple[PinDiode, PinDiode] = (PinDiode(), SMALL_DIODE),
    current: float = 0.1,
    quality: PartQuality | None = None,
) -> tuple[Coil, Coil]:
    """Return one loop that PIN diodes switch between two nuclei, in its two states: the lower, the upper.

    No trap, one port. But the lower nucleus pays for the resistance of the diode that adds its capacitor, and
    the upper for its leak when open, which lies across a loop of some 30 kilohm: reverse bias is part of the
    design. Both can never be received at once, interleaved sequences wait for the switching, and the bias
    lines need chokes at both frequencies.

    Parameters
    ----------
    loop
        One loop.
    frequencies
        The lower and the upper, Hz.
    diodes
        In series with the added tune capacitor, and with the added match capacitor; the second must have a
        small capacitance, because the match capacitor of the upper nucleus is about 1 pF.
    current
        Forward bias in A in the lower state.
    quality
        Of the parts; None: the defaults of `PartQuality`.

    Returns
    -------
    Both have the same capacitors: ``Ct`` and ``Cm``, and those added ``Ct.add`` and ``Cm.add``.

    Raises
    ------
    ValueError
        A state cannot be matched.
    """
    made = quality or PartQuality()
    starts = []
    for frequency in frequencies:
        match = l_match(complex(loop.impedance(np.array([frequency]))[0, 0, 0]), frequency)
        starts.append(np.array([match.tune, match.match]))
    open_diodes = np.array([each.off_capacitance for each in diodes])
    start = np.concatenate((starts[1] - open_diodes, starts[0] - starts[1]))
    if np.any(start <= 0.0):
        raise ValueError(
            f"the upper nucleus needs {starts[1][0] * 1e12:.3g} pF to tune and "
            f"{starts[1][1] * 1e12:.3g} pF to match, less than the open diodes have: take smaller "
            "diodes or a smaller loop"
        )

    def state(values: Real, *, conducting: bool) -> Coil:
        tune, match, tune_added, match_added = (np.array([value]) for value in values)
        bias = current if conducting else 0.0
        across = parallel(
            made.capacitor("Ct", tune),
            series(made.capacitor("Ct.add", tune_added), _diode("D.tune", diodes[0], bias)),
        )
        arm = parallel(
            made.capacitor("Cm", match),
            series(made.capacitor("Cm.add", match_added), _diode("D.match", diodes[1], bias)),
        )
        section = Section(across, Arm(np.array([0], dtype=np.intp), (Stage("series", arm),)))
        circuit = ArrayCircuit((Bank(np.array([0], dtype=np.intp), (section,)),), np.zeros(1))
        return Coil(loop, circuit, (Tap(0, 0, frequencies[0 if conducting else 1], "Ct", "Cm"),))

    def reflections(values: Real) -> Complex:
        both = (state(values, conducting=True), state(values, conducting=False))
        return np.array([coil.solve([coil.taps[0].frequency]).s[0, 0, 0] for coil in both])

    values = solve_match(reflections, start)
    return state(values, conducting=True), state(values, conducting=False)


def _tapped_bank(
    ports: NDArray[np.intp], loops: Loops, frequency: float, share: float, made: PartQuality
) -> Bank:
    """Return loops with fixed capacitors and a tapped section; port k feeds loop k."""
    own = np.diagonal(loops.inductance)[ports]
    fixed = 1.0 / ((1.0 - share) * (2.0 * math.pi * frequency) ** 2 * own)
    return Bank(
        ports,
        (Section(made.capacitor("C.fixed", fixed)), _tapped_section(ports, own, frequency, share, made)),
    )


def _tapped_section(
    ports: NDArray[np.intp], inductance: Real | float, frequency: float, share: float, made: PartQuality
) -> Section:
    tune = np.ones(len(ports)) / (share * (2.0 * math.pi * frequency) ** 2 * inductance)
    match = Stage("series", made.capacitor("Cm", _MATCH_SHARE * tune))
    return Section(made.capacitor("Ct", tune), Arm(ports, (match,)))


def _diode(name: str, diode: PinDiode, current: float) -> Branch:
    """Return a diode as elements: its resistance, or what it is when it does not conduct."""
    bulk = Resistor(f"{name}.bulk", np.array([diode.bulk]))
    if current > 0.0:
        return series(bulk, Resistor(f"{name}.charge", np.array([diode.charge / current])))
    off = parallel(
        Resistor(f"{name}.leak", np.array([diode.off_resistance])),
        Capacitor(f"{name}.junction", np.array([diode.off_capacitance])),
    )
    return series(bulk, off)
