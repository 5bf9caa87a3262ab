"""Closed forms of matching, traps, detuning, baluns, cables and preamplifiers against the nodal solution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coils.circuit.baluns import Cable, cable_trap_capacitance, cable_trap_impedance, lattice_balun
from coils.circuit.detuning import PinDiode, block_resistance, detuning_depth_db, detuning_inductance
from coils.circuit.matching import l_match, l_networks
from coils.circuit.netlist import Impedance, Netlist, Part, Port, capacitor, inductor, resistor
from coils.circuit.nodal import solve_netlist
from coils.circuit.preamplifier import Amplifier, decoupling_db, matching_reactances, three_elements
from coils.circuit.traps import LccTrap, lc_trap, lcc_traps

SODIUM, PROTON = 33.8e6, 127.7e6
OMEGA = 2 * np.pi * np.array([SODIUM, PROTON])


def driven(parts: tuple, frequency: float, impedance: complex = 50.0) -> complex:
    """Return S11 of a netlist whose port is between the nodes port and 0."""
    netlist = Netlist(parts, (Port(("port", "0"), impedance),))
    return complex(solve_netlist(netlist, np.array([frequency])).s[0, 0, 0])


def impedance_between(parts: tuple, plus: str, minus: str, frequency: float) -> complex:
    """Return the impedance between two nodes from the reflection at a 50 ohm port put there."""
    s = solve_netlist(Netlist(parts, (Port((plus, minus)),)), np.array([frequency])).s[0, 0, 0]
    return complex(50 * (1 + s) / (1 - s))


@settings(deadline=None, max_examples=50)
@given(resistance=st.floats(0.05, 30.0), inductance=st.floats(50e-9, 1e-6), frequency=st.floats(10e6, 300e6))
def test_l_match_leaves_no_reflection(resistance: float, inductance: float, frequency: float) -> None:
    """Tune across the loop, match in series: |S11| is rounding, for every loop that can be matched."""
    reactance = 2 * np.pi * frequency * inductance
    try:
        match = l_match(complex(resistance, reactance), frequency)
    except ValueError:
        assert resistance**2 + reactance**2 <= 50 * resistance * (1 + 1e-9) or reactance < 50
        return
    parts = (
        Part(Impedance("loop", np.array([complex(resistance, reactance)])), ("a", "0")),
        capacitor("Ct", "a", "0", match.tune),
        capacitor("Cm", "a", "port", match.match),
    )
    # rounding of the susceptances is amplified by their ratio to the loop's conductance, its Q
    assert abs(driven(parts, frequency)) < 1e-15 * (50 + 10 * reactance / resistance)


def test_l_match_exists_only_below_the_ports_conductance() -> None:
    """A loop of 50 ohm or less across its ends, or with too little inductance, is refused with the reason."""
    with pytest.raises(ValueError, match="must exceed 50 ohm"):
        l_match(complex(40.0, 10.0), SODIUM)
    with pytest.raises(ValueError, match="inductive susceptance"):
        l_match(complex(300.0, 1.0), SODIUM)
    with pytest.raises(ValueError, match="does not dissipate"):
        l_networks(10j)


@settings(deadline=None, max_examples=50)
@given(resistance=st.floats(0.1, 1e3), reactance=st.floats(-500.0, 500.0), z0=st.floats(5.0, 300.0))
def test_every_l_network_matches(resistance: float, reactance: float, z0: float) -> None:
    """Two or four lossless L-networks exist for every dissipative source and show the port z0."""
    networks = l_networks(complex(resistance, reactance), z0)
    assert len(networks) in (2, 4)
    for network in networks:
        seen = network.input_impedance(complex(resistance, reactance))
        scale = 1 + (resistance**2 + reactance**2) / (resistance * min(z0, resistance))
        assert abs(seen - z0) < 1e-12 * z0 * scale


def test_lcc_trap_blocks_proton_and_is_a_capacitor_at_sodium() -> None:
    """Both solutions resonate at 1H and are the capacitance wanted at 23Na, to rounding."""
    wanted, coil = 80e-12, 120e-9
    traps = lcc_traps(PROTON, SODIUM, wanted, coil)
    for trap in traps:
        parts = (
            inductor("Lt", "a", "b", coil),
            capacitor("C1", "b", "0", trap.series),
            capacitor("C2", "a", "0", trap.parallel),
        )
        assert trap.blocked_frequency() == pytest.approx(PROTON, rel=1e-12)
        assert trap.equivalent_capacitance(SODIUM) == pytest.approx(wanted, rel=1e-12)
        at_sodium = impedance_between(parts, "a", "0", SODIUM)
        assert at_sodium.imag == pytest.approx(-1 / (OMEGA[0] * wanted), rel=1e-12)
        # lossless: the residual admittance at the pole is rounding
        assert abs(impedance_between(parts, "a", "0", PROTON)) > 1e10
    gentle, strong = traps
    assert gentle.series_resistance(SODIUM, 0.1) < strong.series_resistance(SODIUM, 0.1)
    assert gentle.block_resistance(0.4) < strong.block_resistance(0.4)


def test_lcc_traps_losses_are_right() -> None:
    """The block at 1H is exact; the loss at 23Na errs by 100 times less with a tenth of it."""
    trap = lcc_traps(PROTON, SODIUM, 80e-12, 120e-9)[1]
    errors = []
    for ohm in (1.0, 0.1):
        parts = (
            resistor("R", "a", "r", ohm),
            inductor("Lt", "r", "b", trap.inductance),
            capacitor("C1", "b", "0", trap.series),
            capacitor("C2", "a", "0", trap.parallel),
        )
        low = impedance_between(parts, "a", "0", SODIUM).real / trap.series_resistance(SODIUM, ohm) - 1
        high = impedance_between(parts, "a", "0", PROTON).real / trap.block_resistance(ohm) - 1
        errors.append((abs(low), abs(high)))
    (low, high), (low10, high10) = errors
    assert low10 == pytest.approx(low / 100, rel=0.05)
    assert max(high, high10) < 1e-9


def test_lcc_trap_that_cannot_exist_is_refused_with_the_smallest_coil() -> None:
    """The limit named by the refusal is sharp: just above it a trap exists, at it both solutions meet."""
    with pytest.raises(ValueError, match=r"at least (\S+) nH"):
        lcc_traps(PROTON, SODIUM, 80e-12, 10e-9)
    smallest = 4 / (80e-12 * (OMEGA[1] ** 2 - OMEGA[0] ** 2))
    first, second = lcc_traps(PROTON, SODIUM, 80e-12, smallest * (1 + 1e-12))
    assert first.series == pytest.approx(second.series, rel=1e-4)
    with pytest.raises(ValueError, match="lower frequency than it blocks"):
        lcc_traps(SODIUM, PROTON, 80e-12, 100e-9)


def test_plain_trap_adds_inductance_below_its_resonance() -> None:
    """L/(1 - (f/f0)^2) and R/(1 - (f/f0)^2)^2 at 23Na; L/(C R) at 1H."""
    trap = lc_trap(PROTON, 40e-9)
    parts = (
        resistor("R", "a", "b", 0.05),
        inductor("L", "b", "0", 40e-9),
        capacitor("C", "a", "0", trap.capacitance),
    )
    seen = impedance_between(parts, "a", "0", SODIUM)
    # neglected: (R / wL)^2 = 3.5e-5
    assert seen.imag == pytest.approx(OMEGA[0] * trap.added_inductance(SODIUM), rel=4e-5)
    assert seen.real == pytest.approx(trap.series_resistance(SODIUM, 0.05), rel=4e-5)
    block = abs(impedance_between(parts, "a", "0", PROTON))
    assert block == pytest.approx(trap.block_resistance(0.05), rel=4e-5)
    assert isinstance(lcc_traps(PROTON, SODIUM, 1e-10, 1e-7)[0], LccTrap)


def test_detuning_depth_is_the_ratio_of_loop_currents() -> None:
    """The formula against loop currents of the matched and of the detuned circuit, driven by the same emf."""
    inductance, resistance, section = 300e-9, 0.35, 160e-12
    omega = OMEGA[0]
    rest = 1 / (omega * (omega * inductance - 1 / (omega * section)))  # the loop's other capacitor
    coil = detuning_inductance(section, SODIUM)
    diode = PinDiode()
    on = diode.impedance(SODIUM, 0.1).real
    assert on == pytest.approx(0.5)
    block = block_resistance(section, SODIUM, omega * coil / 200, on)

    def loop_current(*, detuned: bool) -> float:
        parts = [
            # a port of 1 milliohm in series is the emf: an unloaded source, but for 0.3 %
            inductor("L", "port", "a", inductance),
            resistor("R", "a", "b", resistance - 1e-3 if detuned else 2 * resistance - 1e-3),
            capacitor("rest", "b", "c", rest),
            capacitor("section", "c", "0", section),
        ]
        if detuned:
            parts += [inductor("Ld", "c", "d", coil, 200.0), resistor("diode", "d", "0", on)]
        netlist = Netlist(tuple(parts), (Port(("port", "0"), 1e-3),))
        return float(abs(solve_netlist(netlist, np.array([SODIUM])).current("L")[0, 0]))

    depth = 20 * np.log10(loop_current(detuned=False) / loop_current(detuned=True))
    # first order in (r / X)^2 = (0.66 / 29)^2, and the block's reactance of r X in quadrature: 5e-4 dB
    assert depth == pytest.approx(detuning_depth_db(resistance, block), abs=0.01)
    assert detuning_depth_db(resistance, 75.0 * 100) == pytest.approx(80.6, abs=0.1)


def test_unbiased_diode_is_open() -> None:
    """Reverse-biased it is its capacitance; bias lowers its resistance towards the bulk's."""
    diode = PinDiode()
    assert abs(diode.impedance(SODIUM, 0.0)) > 3e3
    assert diode.impedance(SODIUM, 10.0).real == pytest.approx(0.302)


@pytest.mark.parametrize("balanced", [10.0, 50.0, 200.0])
def test_lattice_balun_matches_and_balances(balanced: float) -> None:
    """No reflection, opposite voltages at the load, no current in its grounded middle."""
    balun = lattice_balun(balanced, SODIUM)
    halves = (
        *balun.parts("port", "0", "plus", "minus"),
        resistor("load+", "plus", "tap", balanced / 2),
        resistor("load-", "tap", "minus", balanced / 2),
        resistor("ground", "tap", "0", 10.0),
    )
    solution = solve_netlist(Netlist(halves, (Port(("port", "0")),)), np.array([SODIUM]))
    assert abs(solution.s[0, 0, 0]) < 1e-14
    power = abs(solution.current("load+")[0, 0]) ** 2 * balanced
    assert power == pytest.approx(1.0, rel=1e-12)
    assert abs(solution.current("ground")[0, 0]) < 1e-14
    plus, minus = solution.voltage("plus")[0, 0], solution.voltage("minus")[0, 0]
    assert abs(plus + minus) < 1e-13 * abs(plus)


def test_cable_is_a_chain_of_its_pieces() -> None:
    """ABCD of one cable is the product of two halves; quarter wave inverts; the netlist's line agrees."""
    cable = Cable(length=1.7, loss_db_per_metre=0.4)
    frequencies = np.array([SODIUM, PROTON])
    half = Cable(length=0.85, loss_db_per_metre=0.4).abcd(frequencies)
    assert np.allclose(half @ half, cable.abcd(frequencies), rtol=1e-13)
    load = np.array([3.0 + 20.0j, 80.0 - 5.0j])
    seen = cable.input_impedance(load, frequencies)
    parts = (cable.line("cable", ("port", "0"), ("end", "0")), Part(Impedance("Z", load), ("end", "0")))
    s = solve_netlist(Netlist(parts, (Port(("port", "0")),)), frequencies).s[:, 0, 0]
    assert np.allclose(50 * (1 + s) / (1 - s), seen, rtol=1e-12)
    matched = np.abs(cable.line("c", ("a", "b"), ("c", "b")).scattering(np.array([100e6]))[0, 0, 1])
    assert 20 * np.log10(matched) == pytest.approx(-0.68, rel=1e-12)
    quarter = Cable(length=299792458.0 * 0.695 / SODIUM / 4)
    inverted = quarter.input_impedance(np.array([10.0 + 0j]), np.array([SODIUM]))
    assert inverted[0] == pytest.approx(250.0, rel=1e-12)


def test_cable_trap_shows_q_times_its_reactance() -> None:
    """At resonance the common mode meets Q w L (to 1/Q^2), a tenth away much less."""
    c = cable_trap_capacitance(90e-9, PROTON)
    seen = np.abs(cable_trap_impedance(90e-9, c, 150.0, np.array([PROTON, 1.1 * PROTON])))
    assert seen[0] == pytest.approx(150 * OMEGA[1] * 90e-9, rel=1 / 150**2)
    assert seen[1] < seen[0] / 20


@pytest.mark.parametrize(("ohm", "expected"), [(1.0, 28.1), (2.0, 22.3), (5.0, 14.8)])
def test_preamp_decoupling_of_usual_inputs(ohm: float, expected: float) -> None:
    """20 log10((50 + r)/(2 r)): 28.1, 22.3, 14.8 dB; the wrong phase makes it worse than none."""
    amplifier = Amplifier(ohm + 0j)
    assert decoupling_db(amplifier) == pytest.approx(expected, abs=0.05)
    assert decoupling_db(amplifier) == pytest.approx(20 * np.log10((50 + ohm) / (2 * ohm)), abs=1e-9)
    worst = decoupling_db(amplifier, np.pi)
    assert worst == pytest.approx(20 * np.log10((50 + ohm) / 100), abs=1e-9)
    assert -6.02 < worst < -5.1


def coil_current(coil: complex, network: tuple, load: complex) -> float:
    """Return the current that an emf of 1 V in the coil drives through it, into the loaded network."""
    seen = impedance_between(
        (*network, Part(Impedance("load", np.array([load])), ("amp", "0"))), "coil", "0", SODIUM
    )
    return abs(1.0 / (coil + seen))


@settings(deadline=None, max_examples=50)
@given(
    r=st.floats(0.5, 20.0),
    x=st.floats(-30.0, 30.0).filter(lambda value: abs(value) > 0.1),
    x_opt=st.floats(-20.0, 20.0),
    coil=st.complex_numbers(min_magnitude=1.0, max_magnitude=100.0).filter(lambda z: z.real > 0.5),
)
def test_three_reactances_match_for_noise_and_decouple(
    r: float, x: float, x_opt: float, coil: complex
) -> None:
    """Every T and Pi shows the amplifier Z_opt; the best and the worst give the two ends of the phase."""
    amplifier = Amplifier(complex(r, x), complex(50.0, x_opt))
    if abs(x + x_opt) < 0.1:
        return
    reference = 1.0 / (2.0 * coil.real)
    for worst in (False, True):
        matrix = matching_reactances(coil, amplifier, worst=worst)
        assert abs(matrix.output_impedance(coil) - amplifier.noise_optimum) < 1e-9 * 50
        for network in three_elements(matrix, SODIUM):
            parts = network.parts("coil", "amp", "0")
            current = coil_current(coil, parts, amplifier.input_impedance)
            depth = -20 * np.log10(current / reference)
            assert depth == pytest.approx(decoupling_db(amplifier, np.pi * worst), abs=0.01)


def test_phase_of_the_line_is_all_that_matters() -> None:
    """Behind any length of 50 ohm line the coil's current follows the formula to 1e-9 dB."""
    amplifier = Amplifier(2.0 + 0j)
    coil = 3.0 + 0j
    best = matching_reactances(coil, amplifier)
    parts = three_elements(best, SODIUM)[0].parts("coil", "mid", "0")
    for theta in np.linspace(0.0, np.pi, 13):
        line = Cable(length=299792458.0 * 0.695 * theta / (2 * np.pi * SODIUM)).line(
            "line", ("mid", "0"), ("amp", "0")
        )
        current = coil_current(coil, (*parts, line), 2.0)
        depth = -20 * np.log10(current * 2 * coil.real)
        assert depth == pytest.approx(decoupling_db(amplifier, 2 * theta), abs=1e-9)


def test_a_network_of_infinite_reactance_is_refused() -> None:
    """A high input resistance decouples best at infinite reactances; passive coils only."""
    with pytest.raises(ValueError, match="infinite reactances"):
        matching_reactances(3.0 + 0j, Amplifier(1000.0 + 0j))
    with pytest.raises(ValueError, match="infinite reactances"):
        matching_reactances(3.0 + 0j, Amplifier(2.0 + 0j), worst=True)
    with pytest.raises(ValueError, match="positive resistances"):
        matching_reactances(3j, Amplifier(2.0 + 0j))
