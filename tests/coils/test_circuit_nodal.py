"""The nodal solver against closed forms, other programs' formulas, and the laws every circuit keeps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from coils.circuit.array import Z0
from coils.circuit.netlist import (
    Coupled,
    Impedance,
    Line,
    Netlist,
    NPort,
    Part,
    Port,
    capacitor,
    inductor,
    resistor,
)
from coils.circuit.nodal import solve_netlist
from coils.circuit.terminations import connect, terminate
from coils.circuit.thermal import noise_shares, thermal_noise
from coils.covariance import BOLTZMANN

FREQUENCIES = np.array([30e6, 33.8e6, 127.7e6])


def random_netlist(rng: np.random.Generator, ports: int = 3, nodes: int = 7) -> Netlist:
    """Return a connected lossy circuit with coupled branches, a lossy line and a random passive device."""
    names = ["0", *(f"n{number}" for number in range(nodes))]
    parts: list = [
        resistor(f"R{k}", *pair, float(rng.uniform(5, 200)), 0.5) for k, pair in enumerate(pairwise(names))
    ]
    parts += [
        capacitor(f"C{k}", *rng.choice(names, 2, replace=False), float(rng.uniform(5e-12, 2e-10)), 300.0)
        for k in range(6)
    ]
    parts += [
        inductor(f"L{k}", *rng.choice(names, 2, replace=False), float(rng.uniform(1e-8, 4e-7)), 30.0, 0.5)
        for k in range(4)
    ]
    root = rng.standard_normal((3, 3))
    losses = rng.standard_normal((3, 3))
    branches = tuple(tuple(rng.choice(names, 2, replace=False)) for _ in range(3))
    parts.append(Coupled("loops", branches, 1e-7 * root @ root.T, losses @ losses.T))
    parts.append(Line("cable", ("n0", "n1"), ("n3", "0"), 75.0, 3e-9, 0.02))
    device = rng.standard_normal((2, 2)) + 1j * rng.standard_normal((2, 2))
    device *= 0.9 / np.linalg.norm(device, 2)
    parts.append(NPort("device", (("n2", "0"), ("n4", "n5")), device[None], 30.0))
    at = [Port((names[-1 - number], names[number]), 50.0 + 20.0 * number) for number in range(ports)]
    return Netlist(tuple(parts), tuple(at))


def test_ladder_of_three_parts_is_the_closed_form() -> None:
    """A series inductor and a shunt capacitor between 50 and 75 ohm: S from the chain matrix."""
    netlist = Netlist(
        (inductor("L", "in", "out", 200e-9, 150.0), capacitor("C", "out", "0", 40e-12, 800.0)),
        (Port(("in", "0"), 50.0), Port(("out", "0"), 75.0)),
    )
    omega = 2 * np.pi * FREQUENCIES
    z, y = omega * 200e-9 * (1j + 1 / 150), omega * 40e-12 / (1 / 800 - 1j)
    a, b, c, d = 1 + z * y, z, y, 1.0
    low = a * 75 + b + c * 50 * 75 + d * 50
    expected = np.empty((3, 2, 2), dtype=complex)
    expected[:, 0, 0] = (a * 75 + b - c * 50 * 75 - d * 50) / low
    expected[:, 1, 1] = (-a * 75 + b - c * 50 * 75 + d * 50) / low
    expected[:, 0, 1] = expected[:, 1, 0] = 2 * np.sqrt(50 * 75) / low
    assert np.max(np.abs(solve_netlist(netlist, FREQUENCIES).s - expected)) < 1e-14


@pytest.mark.parametrize("seed", range(5))
def test_scattering_is_passive_and_reciprocal_without_devices(seed: int) -> None:
    """Reciprocity holds to rounding for every circuit of reciprocal parts; no passive circuit has gain."""
    netlist = random_netlist(np.random.default_rng(seed))
    reciprocal = Netlist(tuple(p for p in netlist.parts if p.name != "device"), netlist.ports)
    s = solve_netlist(reciprocal, FREQUENCIES).s
    assert np.max(np.abs(s - s.swapaxes(1, 2))) < 1e-13
    for each in (s, solve_netlist(netlist, FREQUENCIES).s):
        assert np.max(np.linalg.norm(each, 2, axis=(1, 2))) < 1.0


def test_voltages_and_currents_obey_kirchhoff() -> None:
    """In a loop of three parts the voltages add up to the port's and one current flows through all."""
    netlist = Netlist(
        (
            inductor("L", "a", "b", 100e-9, 100.0),
            Coupled("loop", (("b", "c"),), np.array([[50e-9]]), np.array([[1.5]])),
            capacitor("C", "c", "d", 30e-12),
        ),
        (Port(("a", "d")),),
    )
    solution = solve_netlist(netlist, FREQUENCIES)
    voltage = solution.voltage("a", "d")
    assert np.allclose(
        solution.voltage("a", "b") + solution.voltage("b", "c") + solution.voltage("c", "d"), voltage
    )
    current = (1.0 - solution.s[:, 0]) / np.sqrt(50.0)
    for each in (solution.current("L"), solution.current("loop")[:, 0], solution.current("C")):
        assert np.allclose(each, current, rtol=1e-12)
    with pytest.raises(KeyError, match="no node"):
        solution.voltage("nowhere")
    with pytest.raises(KeyError, match="no part"):
        solution.current("nothing")


def test_floating_circuits_get_their_own_reference() -> None:
    """Two circuits that only a mutual inductance joins: no ground, S is that of the transformer."""
    coupled = Coupled("M", (("a", "b"), ("c", "d")), np.array([[1e-7, 4e-8], [4e-8, 2e-7]]), np.eye(2))
    netlist = Netlist((coupled,), (Port(("a", "b")), Port(("c", "d"))))
    assert netlist.references() == {"a", "c"}
    z = 2j * np.pi * FREQUENCIES[:, None, None] * coupled.inductance + np.eye(2)
    expected = np.linalg.solve(z + 50 * np.eye(2), z - 50 * np.eye(2))
    assert np.max(np.abs(solve_netlist(netlist, FREQUENCIES).s - expected)) < 1e-14


def test_devices_without_admittances_are_exact() -> None:
    """A through, half a wave of line and an open, none of which has Y or Z, are what they are."""
    half_wave = Line("line", ("a", "0"), ("b", "0"), 50.0, 0.5 / 100e6)
    through = NPort("through", (("b", "0"), ("c", "0")), np.array([[[0, 1], [1, 0]]], dtype=complex))
    open_end = NPort("open", (("c", "0"),), np.array([[[1.0 + 0j]]]))
    netlist = Netlist((half_wave, through, open_end), (Port(("a", "0")), Port(("c", "0"))))
    s = solve_netlist(netlist, np.array([50e6, 100e6])).s
    minus = -np.array([[0, 1], [1, 0]])
    assert np.max(np.abs(s[1] - minus)) < 1e-14
    assert np.max(np.abs(s[0] - 1j * minus)) < 1e-14


def test_complex_references_are_power_waves() -> None:
    """A port conjugate to what it sees reflects nothing; renormalising agrees with scikit-rf."""
    network = pytest.importorskip("skrf.network")
    netlist = random_netlist(np.random.default_rng(8))
    s = solve_netlist(netlist, FREQUENCIES).s
    other = np.array([20.0 - 15.0j, 90.0 + 40.0j, 50.0 + 0.0j])
    ports = tuple(Port(p.terminals, complex(z)) for p, z in zip(netlist.ports, other, strict=True))
    changed = solve_netlist(Netlist(netlist.parts, ports), FREQUENCIES).s
    old = np.tile([50.0, 70.0, 90.0], (3, 1)).astype(complex)
    expected = network.renormalize_s(s, old, np.tile(other, (3, 1)), "power", "power")
    assert np.max(np.abs(changed - expected)) < 1e-13
    coil = Impedance("coil", np.array([4.0 + 70.0j]))
    one = Netlist((Part(coil, ("a", "0")),), (Port(("a", "0"), 4.0 - 70.0j),))
    assert np.max(np.abs(solve_netlist(one, FREQUENCIES).s)) < 1e-15


def test_complex_frequencies_continue_the_response() -> None:
    """S at f - jh is analytic: Cauchy's integral over a circle gives the value in its middle."""
    netlist = Netlist(
        (inductor("L", "a", "b", 300e-9, 200.0), capacitor("C", "b", "0", 73e-12, 900.0)), (Port(("a", "0")),)
    )
    circle = 33.8e6 - 0.5e6j + 0.4e6 * np.exp(2j * np.pi * np.arange(32) / 32)
    middle = solve_netlist(netlist, np.array([33.8e6 - 0.5e6j])).s[0, 0, 0]
    assert abs(np.mean(solve_netlist(netlist, circle).s) - middle) < 1e-12


def test_skrf_circuit_agrees_on_random_grounded_circuits() -> None:
    """scikit-rf's Circuit, which joins S-matrices node by node, gives the same S to 1e-12."""
    skrf = pytest.importorskip("skrf")
    circuit = pytest.importorskip("skrf.circuit").Circuit
    frequency = skrf.Frequency.from_f(FREQUENCIES, unit="Hz")
    medium = skrf.media.DefinedGammaZ0(frequency, z0=50)
    p1, p2 = circuit.Port(frequency, "p1", z0=50), circuit.Port(frequency, "p2", z0=50)
    first, second = medium.inductor(180e-9, name="L"), medium.resistor(7.0, name="R")
    shunt, ground = medium.capacitor(60e-12, name="C"), circuit.Ground(frequency, "gnd")
    connections = [
        [(p1, 0), (first, 0)],
        [(first, 1), (second, 0), (shunt, 0)],
        [(shunt, 1), (ground, 0)],
        [(second, 1), (p2, 0)],
    ]
    netlist = Netlist(
        (inductor("L", "1", "2", 180e-9), resistor("R", "2", "3", 7.0), capacitor("C", "2", "0", 60e-12)),
        (Port(("1", "0")), Port(("3", "0"))),
    )
    theirs = circuit(connections).s_external
    assert np.max(np.abs(solve_netlist(netlist, FREQUENCIES).s - theirs)) < 1e-12


def test_mistakes_are_answered() -> None:
    """Doubled names, no ports, impedances of nothing, unequal lengths: each says what to do."""
    part = resistor("R", "a", "0", 50.0)
    with pytest.raises(ValueError, match="more than once: R"):
        Netlist((part, part), (Port(("a", "0")),))
    with pytest.raises(ValueError, match="at least one port"):
        Netlist((part,), ())
    for bad, text in (
        (resistor("short", "a", "0", 0.0), "make its two nodes one"),
        (Part(Impedance("Z", np.ones(7) + 0j), ("a", "0")), "has 7 points"),
        (Coupled("M", (("a", "0"),), np.eye(1), np.ones((5, 1, 1))), "has 5 points"),
        (NPort("N", (("a", "0"),), np.zeros((1, 2, 2)) + 0j), "expected"),
    ):
        with pytest.raises(ValueError, match=text):
            solve_netlist(Netlist((bad,), (Port(("a", "0")),)), FREQUENCIES)
    with pytest.raises(ValueError, match="positive resistance"):
        solve_netlist(Netlist((part,), (Port(("a", "0"), -5.0),)), FREQUENCIES)


@pytest.mark.parametrize("seed", range(4))
def test_noise_of_all_parts_at_one_temperature_is_bosmas(seed: int) -> None:
    """Each part's noise, sent to the ports by the transposed solution, adds up to k T B (1 - S S^H)."""
    netlist = random_netlist(np.random.default_rng(seed))
    s = solve_netlist(netlist, FREQUENCIES).s
    noise = thermal_noise(netlist, FREQUENCIES, temperature=310.0, bandwidth=20e3)
    expected = BOLTZMANN * 310.0 * 20e3 * (np.eye(3) - s @ s.conj().swapaxes(1, 2))
    assert np.max(np.abs(noise - expected)) < 1e-12 * np.max(np.abs(expected))


def test_noise_of_a_cold_coil_is_the_samples() -> None:
    """At 0 K copper leaves what the sample's share of the resistance makes."""
    parts = (
        inductor("L", "a", "b", 300e-9),
        resistor("copper", "b", "c", 0.2),
        resistor("sample", "c", "d", 0.3),
        capacitor("C", "d", "0", 73e-12),
    )
    netlist = Netlist(parts, (Port(("a", "0")),))
    shares = noise_shares(
        netlist, FREQUENCIES, temperature={"L": 0.0, "C": 0.0, "copper": 77.0, "sample": 310.0}
    )
    ratio = shares["copper"][:, 0, 0] / shares["sample"][:, 0, 0]
    assert np.allclose(ratio, 0.2 * 77 / (0.3 * 310), rtol=1e-12)
    assert not np.any(shares["L"])
    assert not np.any(shares["C"])
    with pytest.raises(ValueError, match="no temperature given for 'L'"):
        noise_shares(netlist, FREQUENCIES, temperature={})


def test_an_amplifier_has_no_thermal_noise_of_its_own() -> None:
    """A device with gain must be given 0 K: its noise is no dissipation."""
    gain = NPort("amplifier", (("a", "0"), ("b", "0")), np.array([[[0.1, 0.0], [10.0, 0.1]]]) + 0j)
    netlist = Netlist((gain, resistor("R", "a", "0", 80.0)), (Port(("b", "0")),))
    with pytest.raises(ValueError, match="has gain"):
        thermal_noise(netlist, FREQUENCIES, temperature=290.0)
    noise = thermal_noise(netlist, FREQUENCIES, temperature={"amplifier": 0.0, "R": 290.0})
    # R at the input as a source: its available waves times |S21|^2, mismatch included
    reflection = (80 - 50) / (80 + 50)
    expected = BOLTZMANN * 290 * (1 - reflection**2) * (10 / (1 - 0.1 * reflection)) ** 2
    assert np.allclose(noise[:, 0, 0], expected, rtol=1e-12)


def test_measured_ports_join_exactly_as_skrf_connects_them() -> None:
    """Any ports of an N-port joined to any of another equal scikit-rf's connect, at any mismatch."""
    skrf = pytest.importorskip("skrf")
    network = pytest.importorskip("skrf.network")
    rng = np.random.default_rng(5)

    def scattering(ports: int) -> np.ndarray:
        return 0.3 * (rng.standard_normal((3, ports, ports)) + 1j * rng.standard_normal((3, ports, ports)))

    s, other = scattering(5), scattering(3)
    frequency = skrf.Frequency.from_f(FREQUENCIES, unit="Hz")
    mine, theirs = (skrf.Network(frequency=frequency, s=each, z0=50) for each in (s, other))
    one = network.connect(mine, 3, theirs, 1)
    assert np.max(np.abs(connect(s, other, [(4, 2)]) - one.s)) < 1e-13
    two = network.connect(mine, 1, theirs, 0, num=2)  # ports 2 and 3 to ports 1 and 2
    assert np.max(np.abs(connect(s, other, [(2, 1), (3, 2)]) - two.s)) < 1e-13


def test_terminations_in_the_netlist_and_on_its_scattering_agree() -> None:
    """Closing two of three ports by complex loads: inside the circuit and afterwards on S, to 1e-13."""
    netlist = random_netlist(np.random.default_rng(11))
    fifty = Netlist(netlist.parts, tuple(Port(p.terminals, Z0) for p in netlist.ports))
    s = solve_netlist(fifty, FREQUENCIES).s
    loads = {1: 12.0 + 30.0j, 3: 200.0 - 80.0j}
    reflections = {port: (z - Z0) / (z + Z0) for port, z in loads.items()}
    closed = tuple(
        Part(Impedance(f"load{port}", np.array([z])), fifty.ports[port - 1].terminals)
        for port, z in loads.items()
    )
    inside = solve_netlist(Netlist((*fifty.parts, *closed), (fifty.ports[1],)), FREQUENCIES).s
    assert np.max(np.abs(terminate(s, reflections) - inside)) < 1e-13
    with pytest.raises(ValueError, match="no port"):
        terminate(s, {4: 0.0})
    with pytest.raises(ValueError, match="once only"):
        connect(s, s, [(1, 1), (1, 2)])
