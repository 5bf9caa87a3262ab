"""Coil designs: matched at every port, isolated as theory says, spectra of birdcages in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.nuclei import nucleus
from coils.circuit.birdcage import (
    Birdcage,
    Drive,
    birdcage_netlist,
    driven_birdcage,
    parallel_wires,
    rotating_share,
)
from coils.circuit.coil import Coil, Loops, PartQuality, performance, single_loop
from coils.circuit.designs import nested_loops, overlapped_pair, single_tuned, switched_loop
from coils.circuit.detuning import PinDiode
from coils.circuit.dual_tuned import trap_coil, trap_loop, trap_loop_for_share
from coils.circuit.expand import array_netlist
from coils.circuit.netlist import Netlist, Part, Port
from coils.circuit.nodal import solve_netlist
from coils.circuit.thermal import noise_shares

B0 = 3.0
FREQUENCIES = (nucleus("23Na").larmor_frequency(B0), nucleus("1H").larmor_frequency(B0))
INDUCTANCE = 300e-9
LOSSLESS = PartQuality(np.inf, np.inf)


def loaded_loop(inductance: float = INDUCTANCE) -> Loops:
    """Return a loop of Q 191 at 23Na and 146 at 1H, as 11 cm loops on a head-sized sphere have."""
    omega = 2 * np.pi * np.array(FREQUENCIES)
    low, high = omega * inductance / np.array([191.0, 146.0])
    return single_loop(inductance, FREQUENCIES, (float(low), float(high)))


def matched(coil: Coil) -> bool:
    """Tell whether every port reflects less than -200 dB at its own frequency."""
    return all(port.reflection_db < -200 for port in performance(coil))


def test_loop_of_two_resistances_has_both() -> None:
    """Copper and sample are split so that both totals come back; impossible pairs are refused."""
    loop = loaded_loop()
    omega = 2 * np.pi * np.array(FREQUENCIES)
    q = omega * INDUCTANCE / loop.resistance(np.array(FREQUENCIES))[:, 0, 0]
    assert q == pytest.approx([191.0, 146.0])
    with pytest.raises(ValueError, match="no sum of copper"):
        single_loop(INDUCTANCE, FREQUENCIES, (1.0, 1.0))
    with pytest.raises(ValueError, match="expected"):
        Loops(np.eye(2), np.ones(3), np.eye(3))


@pytest.mark.parametrize("correlation", [0.1, 0.5])
def test_overlapped_pair_is_isolated_up_to_the_samples_coupling(correlation: float) -> None:
    """With M = 0 and lossless parts what is left is the even and odd mode of the sample's resistances."""
    bare = Loops(np.array([[INDUCTANCE]]), np.zeros(1), np.array([[1e-4]]))
    pair = overlapped_pair(bare, FREQUENCIES[0], correlation=correlation, quality=LOSSLESS)
    assert matched(pair)
    # both ports show r = sqrt(R^2 - R12^2) when matched, and S21 is (R - r) / R12
    seen = np.sqrt(1.0 - correlation**2)
    isolation = performance(pair)[0].isolation_db
    assert isolation == pytest.approx(20 * np.log10((1 - seen) / correlation), abs=1e-6)


def test_waves_in_the_sample_count_in_an_overlapped_pair_as_in_the_loop() -> None:
    """What the wavelength adds to one loop's sample resistance is in both of the pair, and shared alike."""
    waves = np.array([[3e-10]])
    bare = Loops(np.array([[INDUCTANCE]]), np.zeros(1), np.array([[1e-4]]), waves)
    pair = overlapped_pair(bare, FREQUENCIES[1], correlation=0.3, quality=LOSSLESS)
    axis = np.array(FREQUENCIES)
    expected = bare.resistance(axis) * np.array([[1.0, 0.3], [0.3, 1.0]])
    assert pair.loops.resistance(axis) == pytest.approx(expected)
    with pytest.raises(ValueError, match="waves"):
        Loops(np.eye(2), np.ones(2), np.eye(2), waves)


def test_residual_coupling_of_a_pair_is_its_reactance() -> None:
    """K Q/2 = x couples two matched loops by |S21| = x/sqrt(1 + x^2)-like mode splitting: exact by modes."""
    bare = Loops(np.array([[INDUCTANCE]]), np.zeros(1), np.array([[1e-4]]))
    resistance = float(bare.resistance(np.array(FREQUENCIES[:1]))[0, 0, 0])
    reactance = 2 * np.pi * FREQUENCIES[0] * INDUCTANCE
    for k in (0.001, 0.01):
        pair = overlapped_pair(bare, FREQUENCIES[0], coupling=k, correlation=0.0, quality=LOSSLESS)
        assert matched(pair)
        # source resistance r with r^2 = R^2 + (wM)^2 matches; |S21| is wM / (r + R)
        mutual = k * reactance
        seen = np.hypot(resistance, mutual)
        expected = mutual / (seen + resistance)
        assert performance(pair)[0].isolation_db == pytest.approx(20 * np.log10(expected), abs=1e-6)


def test_trap_coil_is_matched_at_both_nuclei() -> None:
    """Four coupled loops with 8 ports: every one matched with the others terminated, at its own nucleus."""
    rng = np.random.default_rng(4)
    one = loaded_loop()
    coupling = np.eye(4) + 0.005 * (np.ones((4, 4)) - np.eye(4)) * rng.uniform(-1, 1)
    shared = 0.3 ** np.abs(np.arange(4)[:, None] - np.arange(4))
    loops = Loops(one.inductance * coupling, np.repeat(one.copper, 4), one.sample * shared)
    values = trap_loop_for_share(INDUCTANCE, FREQUENCIES, 120e-9, 0.45)
    coil = trap_coil(loops, FREQUENCIES, values)
    ports = performance(coil)
    assert len(ports) == 8
    assert matched(coil)
    assert [port.frequency for port in ports] == [FREQUENCIES[0]] * 4 + [FREQUENCIES[1]] * 4


def test_lossless_trap_loop_resonates_at_both_frequencies() -> None:
    """Ct and trap cancel the loop's reactance at both, for any C1 that has a solution."""
    for c1 in (56e-12, 68e-12, 82e-12):
        values = trap_loop(INDUCTANCE, FREQUENCIES, 120e-9, c1)
        for frequency in FREQUENCIES:
            omega = 2 * np.pi * frequency
            branch = 1j * omega * values.inductance + 1 / (1j * omega * values.series)
            trap = 1 / (1 / branch + 1j * omega * values.parallel)
            ring = 1j * omega * INDUCTANCE + 1 / (1j * omega * values.tune) + trap
            assert abs(ring) < 1e-11 * omega * INDUCTANCE
    for c1, text in ((1e-9, "resonates below"), (5e-12, "resonates above"), (20e-12, "smaller capacitor")):
        with pytest.raises(ValueError, match=text):
            trap_loop(INDUCTANCE, FREQUENCIES, 120e-9, c1)
    with pytest.raises(ValueError, match="at least"):
        trap_loop_for_share(INDUCTANCE, FREQUENCIES, 20e-9, 0.45)


def test_part_snr_is_the_loops_share_of_the_noise() -> None:
    """SNR factors from waves equal those from every part's own thermal noise in the nodal solution."""
    coil = trap_coil(loaded_loop(), FREQUENCIES, trap_loop_for_share(INDUCTANCE, FREQUENCIES, 120e-9, 0.45))
    for port in performance(coil):
        axis = np.array([port.frequency])
        netlist = array_netlist(coil.circuit, coil.loops.impedance(axis), axis)
        shares = {
            k: v[0, port.port, port.port].real
            for k, v in noise_shares(netlist, axis, temperature=300.0).items()
        }
        assert port.part_snr == pytest.approx(np.sqrt(shares["loops"] / sum(shares.values())), rel=1e-9)
        assert port.sample_snr < port.part_snr < 1.0


def test_lossless_parts_cost_no_snr() -> None:
    """With ideal parts all noise is the loop's, however the trap divides the current."""
    values = trap_loop_for_share(INDUCTANCE, FREQUENCIES, 200e-9, 0.5)
    for port in performance(trap_coil(loaded_loop(), FREQUENCIES, values, LOSSLESS)):
        assert port.part_snr == pytest.approx(1.0, abs=1e-9)


def test_switched_loop_is_matched_in_both_states_with_the_same_parts() -> None:
    """Biased it serves 23Na, unbiased 1H; forward bias buys SNR at 23Na, reverse bias at 1H."""
    low, high = switched_loop(loaded_loop(), FREQUENCIES)
    assert matched(low)
    assert matched(high)
    for name in ("Ct", "Cm", "Ct.add", "Cm.add"):
        assert low.values()[0][name] == high.values()[0][name]
    starved, same = switched_loop(loaded_loop(), FREQUENCIES, current=0.01)
    assert performance(starved)[0].part_snr < 0.7 * performance(low)[0].part_snr
    assert performance(same)[0].part_snr == pytest.approx(performance(high)[0].part_snr, abs=0.02)
    tight = PinDiode(off_resistance=1e6)
    small = PinDiode(bulk=0.5, charge=0.01, off_capacitance=0.25e-12, off_resistance=1e6)
    _, biased = switched_loop(loaded_loop(), FREQUENCIES, diodes=(tight, small))
    assert performance(biased)[0].part_snr > 0.9 > 0.7 > performance(high)[0].part_snr
    with pytest.raises(ValueError, match="take smaller diodes"):
        switched_loop(loaded_loop(900e-9), FREQUENCIES)


def test_trap_of_nested_loops_stops_the_counter_current() -> None:
    """A trap with 60 nH takes away 95 % of the 23Na loop's current at 1H for 5 % of SNR at 23Na."""
    own, inner = 300e-9, 200e-9
    mutual = 0.05 * np.sqrt(own * inner)
    loops = Loops(
        np.array([[own, mutual], [mutual, inner]]),
        np.array([0.04, 0.03]),
        np.array([[1.6e-4, 2e-5], [2e-5, 8e-5]]),
    )
    induced, snr, isolation = {}, {}, {}
    for trap in (None, 60e-9):
        coil = nested_loops(loops, FREQUENCIES, trap_inductance=trap)
        assert matched(coil)
        currents = coil.solve([FREQUENCIES[1]]).currents()[0, :, 1]
        induced[trap] = abs(currents[0] / currents[1])
        ports = performance(coil)
        snr[trap], isolation[trap] = ports[0].part_snr, ports[1].isolation_db
    # without a trap the lower loop's reactance is nearly that of its inductance: M over L
    assert induced[None] == pytest.approx(mutual / own, rel=0.1)
    assert induced[60e-9] < 0.05 * induced[None]
    assert 0.0 < 1 - snr[60e-9] / snr[None] < 0.05
    assert isolation[60e-9] < isolation[None] - 20.0
    with pytest.raises(ValueError, match="at least"):
        nested_loops(loops, FREQUENCIES, trap_inductance=10e-9)


def test_reversed_roles_are_refused() -> None:
    """A pair needs one loop, nested loops two."""
    pair = Loops(np.eye(2) * INDUCTANCE, np.ones(2), np.eye(2) * 1e-4)
    with pytest.raises(ValueError, match="one loop"):
        overlapped_pair(pair, FREQUENCIES[0])
    with pytest.raises(ValueError, match="got 1"):
        nested_loops(loaded_loop(), FREQUENCIES)
    assert matched(single_tuned(pair, FREQUENCIES[0]))


def cage(kind: str, *, lossy: bool) -> Birdcage:
    """Return a head-sized birdcage of 12 legs with couplings between all legs and neighbouring segments."""
    legs = parallel_wires(12, 0.14, 0.2, 0.003)
    rings = (40e-9, 4e-9, 1e-9, 0.0, 0.0, -0.5e-9, -1e-9)
    losses = (0.15, 0.05) if lossy else (0.0, 0.0)
    return Birdcage(kind, legs, rings, 10e-12, *losses)


@pytest.mark.parametrize("kind", ["low-pass", "high-pass"])
def test_birdcage_resonates_where_the_closed_form_says(kind: str) -> None:
    """The lossless netlist's susceptance changes sign within 1e-9 of each mode m >= 1, and nowhere else.

    A port across one capacitor excites one of each degenerate pair; Foster: the susceptance of a lossless
    network rises between its poles, so each resonance is one upward crossing.
    """
    bird = cage(kind, lossy=False)
    netlist = birdcage_netlist(bird, Drive(0.0, 1e-3, (0,)))
    modes = bird.mode_frequencies()
    modes = modes[modes > 0] if kind == "high-pass" else modes[1:]

    def susceptance(frequencies: np.ndarray) -> np.ndarray:
        s = solve_netlist(netlist, frequencies).s[:, 0, 0]
        return ((1 - s) / (1 + s)).imag

    assert np.all(susceptance(modes * (1 - 1e-9)) < 0)
    assert np.all(susceptance(modes * (1 + 1e-9)) > 0)
    scan = susceptance(np.linspace(0.5 * modes.min(), 1.2 * modes.max(), 1201))
    upward = np.count_nonzero((scan[:-1] < 0) & (scan[1:] > 0))
    assert upward == len(modes)


def test_textbook_spectra_without_couplings() -> None:
    """Tropp: w^2 C = 1/(L_leg + L_ring/(2 sin^2)) low-pass, 1/(L_ring + 2 sin^2 L_leg) high-pass."""
    leg, ring, c = 100e-9, 40e-9, 10e-12
    sine = np.sin(np.pi * np.arange(1, 9) / 16) ** 2
    none = (0.0,) * 8
    low = Birdcage("low-pass", (leg, *none), (ring, *none), c).mode_frequencies()
    high = Birdcage("high-pass", (leg, *none), (ring, *none), c).mode_frequencies()
    assert low[1:] == pytest.approx(1 / (2 * np.pi * np.sqrt(c * (leg + ring / (2 * sine)))))
    assert high[1:] == pytest.approx(1 / (2 * np.pi * np.sqrt(c * (ring + 2 * sine * leg))))
    assert np.all(np.diff(low) > 0)
    assert np.all(np.diff(high) < 0)


@pytest.mark.parametrize("kind", ["low-pass", "high-pass"])
def test_quadrature_ports_are_matched_isolated_and_turn_the_field(kind: str) -> None:
    """Two ports 90 degrees apart: matched, isolated below -45 dB; in quadrature 99.99 % of the mode turns."""
    bird, drive = driven_birdcage(cage(kind, lossy=True), FREQUENCIES[1])
    assert bird.mode_frequencies()[1] == pytest.approx(FREQUENCIES[1], rel=1e-12)
    solution = solve_netlist(birdcage_netlist(bird, drive), np.array([FREQUENCIES[1]]))
    s = solution.s[0]
    assert np.max(np.abs(np.diag(s))) < 1e-10
    assert abs(s[0, 1]) < 10 ** (-45 / 20)
    legs = solution.current("legs")[0]
    assert rotating_share(legs @ np.array([1, -1j])) > 0.9999
    assert rotating_share(legs @ np.array([1, 0])) == pytest.approx(0.5, abs=0.01)


def test_parallel_wires_are_grovers() -> None:
    """Straight wires: closed form for one far pair (mu0 l^2 / 4 pi d) and for a long thin one."""
    mu_0 = 4e-7 * np.pi
    far = parallel_wires(4, 50.0, 0.1, 1e-3)
    assert far[2] == pytest.approx(mu_0 * 0.1**2 / (4 * np.pi * 100.0), rel=1e-6)
    assert far[0] == pytest.approx(mu_0 * 0.1 / (2 * np.pi) * (np.log(200) - 1 + 0.01), rel=1e-4)
    with pytest.raises(ValueError, match="multiple of 4"):
        Birdcage("low-pass", (1e-7, 1e-8), (1e-8,), 1e-11)


def test_a_port_may_be_measured_data() -> None:
    """A measured one-port across a birdcage's port loads it like the impedance it is."""
    bird, drive = driven_birdcage(cage("low-pass", lossy=True), FREQUENCIES[1])
    netlist = birdcage_netlist(bird, drive)
    assert all(isinstance(part, Part) for part in netlist.parts if part.name.startswith("match"))
    one = Netlist(netlist.parts, netlist.ports[:1])
    both = solve_netlist(netlist, np.array([FREQUENCIES[1]])).s[0]
    alone = solve_netlist(one, np.array([FREQUENCIES[1]])).s[0, 0, 0]
    # an open second port reflects everything
    assert alone == pytest.approx(both[0, 0] + both[0, 1] * both[1, 0] / (1 - both[1, 1]), abs=1e-12)
    assert isinstance(netlist.ports[0], Port)
