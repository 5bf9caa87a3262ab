"""One array of 16 ports in four programs: our reduced and nodal solvers, ngspice, scikit-rf; and CoSimPy."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coils.circuit.array import Z0, Arm, ArrayCircuit, Bank, Section, Stage, solve
from coils.circuit.elements import Capacitor, Inductor, Resistor, parallel, series
from coils.circuit.expand import LOOPS, array_netlist
from coils.circuit.nodal import solve_netlist
from coils.circuit.sensitivities import (
    by_delay,
    by_loop_impedance,
    element_sensitivities,
    own_sensitivities,
)
from coils.circuit.spice import read_scattering, spice_deck

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = 8
#: Both nuclei at 3 T and points beside their resonances.
FREQUENCIES = np.array([33.1e6, 33.8e6, 127.7e6, 131.0e6])


def loops_of(frequencies: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return coupled loops with a full sample resistance matrix: 300 nH, k to 3 %, correlated losses."""
    coupling = 0.03 * rng.uniform(-1, 1, (CHANNELS, CHANNELS))
    inductance = 300e-9 * (np.eye(CHANNELS) + np.triu(coupling, 1) + np.triu(coupling, 1).T)
    reach = np.exp(-0.7 * np.abs(np.arange(CHANNELS)[:, None] - np.arange(CHANNELS)))
    sample = 1.1e-4 * reach
    mega = frequencies[:, None, None] / 1e6
    return 2j * np.pi * mega * 1e6 * inductance + sample * mega**2 + 0.03 * np.eye(CHANNELS) * mega**0.5


def array_of(rng: np.random.Generator, *, delays: bool = False) -> ArrayCircuit:
    """Return eight trap loops, each with a 23Na and a 1H section, all values different."""

    def spread(value: float) -> np.ndarray:
        return value * rng.uniform(0.95, 1.05, CHANNELS)

    def trimmer(name: str, value: float) -> object:
        return series(Capacitor(name, spread(value), 2000.0, -0.2), Inductor(f"{name}.lead", spread(3e-9)))

    def arm(ports: np.ndarray, match: str, value: float) -> Arm:
        socket = Stage("shunt", Capacitor(f"{match}.socket", spread(1e-12)))
        return Arm(ports, (socket, Stage("series", trimmer(match, value))))

    trap = series(Inductor("Lt", spread(120e-9), 40.0, 0.5), Capacitor("C1", spread(70e-12), 900.0))
    sections = (
        Section(Resistor("joints", spread(0.02))),
        Section(trimmer("CtNa", 155e-12), arm(np.arange(CHANNELS), "CmNa", 24e-12)),
        Section(parallel(trap, trimmer("CtH", 19e-12)), arm(np.arange(CHANNELS, 16), "CmH", 3.2e-12)),
    )
    lines = rng.uniform(20e-12, 60e-12, 16) if delays else np.zeros(16)
    return ArrayCircuit((Bank(np.arange(CHANNELS), sections),), lines)


@pytest.fixture(scope="module")
def reduced() -> tuple[ArrayCircuit, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(21)
    circuit = array_of(rng)
    loops = loops_of(FREQUENCIES, rng)
    return circuit, loops, solve(circuit, FREQUENCIES, loops).s


def test_reduced_and_nodal_solver_agree(reduced: tuple) -> None:
    """Eight loop currents or 128 unknowns: one S to 1e-12, with lines at the ports too, and one current."""
    circuit, loops, s = reduced
    nodal = solve_netlist(array_netlist(circuit, loops, FREQUENCIES), FREQUENCIES)
    assert np.max(np.abs(nodal.s - s)) < 1e-12
    rng = np.random.default_rng(22)
    lines = array_of(rng, delays=True)
    mine = solve(lines, FREQUENCIES, loops)
    nodal = solve_netlist(array_netlist(lines, loops, FREQUENCIES), FREQUENCIES)
    assert np.max(np.abs(nodal.s - mine.s)) < 1e-12
    currents, mine_too = nodal.current(LOOPS), mine.currents()
    assert np.max(np.abs(currents - mine_too)) < 1e-11 * np.max(np.abs(mine_too))
    assert np.max(np.linalg.norm(mine.s, 2, axis=(1, 2))) < 1.0


def test_ngspice_agrees(reduced: tuple, tmp_path: Path) -> None:
    """ngspice, excited port by port at each frequency, gives all 256 S-parameters to 1e-12."""
    if shutil.which("ngspice") is None:
        pytest.skip("ngspice is not installed")
    circuit, loops, s = reduced
    for point in (1, 2):
        here = FREQUENCIES[point : point + 1]
        netlist = array_netlist(circuit, loops[point : point + 1], here)
        folder = tmp_path / str(point)
        folder.mkdir()
        deck = folder / "array.cir"
        deck.write_text(spice_deck(netlist, float(here[0]), folder), encoding="utf-8")
        done = subprocess.run(
            ["ngspice", "-b", str(deck)], capture_output=True, text=True, timeout=60, check=False
        )
        theirs = read_scattering(netlist, folder)
        assert np.max(np.abs(theirs - s[point])) < 1e-12, done.stderr[-500:]


def test_skrf_circuit_agrees(reduced: tuple) -> None:
    """scikit-rf's Circuit, built from the values alone, gives the same S to 1e-12.

    Its nodes are grounded, so each channel's middle node is its ground and the 1H port's sign turns.
    """
    skrf = pytest.importorskip("skrf")
    joined = pytest.importorskip("skrf.circuit").Circuit
    circuit, loops, s = reduced
    frequency = skrf.Frequency.from_f(FREQUENCIES, unit="Hz")
    values = {element.name: element for element in circuit.banks[0].elements()}
    mega = FREQUENCIES / 1e6

    def impedance(name: str, channel: int) -> np.ndarray:
        if name == "joints":
            return values[name].value[channel] + 0j * mega
        value, omega = values[name].value[channel], 2e6 * np.pi * mega
        if name in ("CtNa", "CmNa", "CtH", "CmH"):
            lead = 1j * omega * values[f"{name}.lead"].value[channel]
            return 1 / (omega * value) * (1 / (2000.0 * mega**-0.2) - 1j) + lead
        if name == "C1":
            return 1 / (omega * value) * (1 / 900.0 - 1j)
        if name == "Lt":
            return omega * value * (1 / (40.0 * mega**0.5) + 1j)
        return -1j / (omega * value)  # sockets

    def two_port(z: np.ndarray, name: str) -> object:
        s_z = np.empty((len(mega), 2, 2), dtype=complex)
        s_z[:, 0, 0] = s_z[:, 1, 1] = z / (z + 2 * Z0)
        s_z[:, 0, 1] = s_z[:, 1, 0] = 2 * Z0 / (z + 2 * Z0)
        return skrf.Network(frequency=frequency, s=s_z, z0=Z0, name=name)

    # the loops as a network of 16 grounded terminals: ends a and c of each channel; joints are in series
    total = loops + np.array([impedance("joints", c) for c in range(CHANNELS)]).T[:, :, None] * np.eye(
        CHANNELS
    )
    ends = np.kron(np.array([[1.0, -1.0]]), np.eye(CHANNELS))
    y = Z0 * (ends.T @ np.linalg.inv(total) @ ends)
    s_loops = np.linalg.solve(np.eye(16) + y, np.eye(16) - y)
    array = skrf.Network(frequency=frequency, s=s_loops, z0=Z0, name="array")
    connections = []
    for c in range(CHANNELS):
        ground = [joined.Ground(frequency, f"gnd{k}_{c}") for k in range(5)]
        ports = [joined.Port(frequency, f"port{k}_{c:02d}", z0=Z0) for k in range(2)]
        trap = 1 / (1 / (impedance("Lt", c) + impedance("C1", c)) + 1 / impedance("CtH", c))
        for k, (end, tune, match, across) in enumerate(
            (
                (c, "CtNa", "CmNa", impedance("CtNa", c)),
                (CHANNELS + c, "CtH", "CmH", trap),
            )
        ):
            section = two_port(across, f"{tune}{c}")
            series_part = two_port(impedance(match, c), f"{match}{c}")
            socket = two_port(impedance(f"{match}.socket", c), f"{match}socket{c}")
            connections += [
                [(array, end), (section, 0), (series_part, 0)],
                [(section, 1), (ground[2 * k], 0)],
                [(series_part, 1), (socket, 0), (ports[k], 0)],
                [(socket, 1), (ground[2 * k + 1], 0)],
            ]
    theirs = joined(connections)
    names = [network.name for network in theirs.networks_list() if network.name.startswith("port")]
    order = [names.index(f"port{k}_{c:02d}") for k in range(2) for c in range(CHANNELS)]
    external = theirs.s_external[:, order][:, :, order]
    sign = np.repeat([1.0, -1.0], CHANNELS)
    assert np.max(np.abs(sign[:, None] * external * sign - s)) < 1e-12


def slope(function, step: float) -> np.ndarray:
    """Return the derivative at 0 by a central difference of fourth order."""
    near, far = (function(k * step) - function(-k * step) for k in (1, 2))
    return (8 * near - far) / (12 * step)


@pytest.mark.parametrize("channel", [0, 5])
def test_derivatives_by_every_element_are_finite_differences(channel: int) -> None:
    """All 256 S-parameters by each of the 13 elements of a channel, with lines at the ports: to 1e-6.

    The truncation of the fourth-order difference is (Q step)^4: 1e-8 of the slope at a step of 3e-5.
    """
    rng = np.random.default_rng(30 + channel)
    circuit, loops = array_of(rng, delays=True), loops_of(FREQUENCIES, rng)
    values = {element.name: element.value for element in circuit.banks[0].elements()}
    assert len(values) == 13
    unit = np.eye(CHANNELS)[channel]

    def moved(name: str, by: float) -> np.ndarray:
        changed = circuit.with_values([{name: values[name] * np.exp(by * unit)}])
        return solve(changed, FREQUENCIES, loops).s

    seen = set()
    for each in element_sensitivities(solve(circuit, FREQUENCIES, loops)):
        expected = slope(lambda by, name=each.name: moved(name, by), 3e-5)
        error = np.max(np.abs(each.matrix(channel) - expected))
        assert error < 1e-6 * np.max(np.abs(expected)) + 1e-10, each.name
        seen.add(each.name)
    assert seen == set(values)


def test_derivatives_by_couplings_and_lines_are_finite_differences() -> None:
    """Reflections by own and mutual impedances of loops, and by a port's delay: to 1e-6."""
    rng = np.random.default_rng(33)
    circuit, loops = array_of(rng, delays=True), loops_of(FREQUENCIES, rng)
    solution = solve(circuit, FREQUENCIES, loops)
    row, column = np.array([0, 2, 6]), np.array([1, 2, 3])
    slopes = by_loop_impedance(solution, row, column)
    for place, (one, two) in enumerate(zip(row, column, strict=True)):

        def moved(by: float, one: int = one, two: int = two) -> np.ndarray:
            changed = loops.copy()
            changed[:, one, two] += by
            changed[:, two, one] += by * (one != two)
            return np.einsum("fii->fi", solve(circuit, FREQUENCIES, changed).s)

        expected = slope(moved, 1e-4)
        assert np.max(np.abs(slopes[:, :, place] - expected)) < 1e-6 * np.max(np.abs(expected))

    def delayed(by: float) -> np.ndarray:
        lines = ArrayCircuit(circuit.banks, circuit.delays + by)
        return np.einsum("fii->fi", solve(lines, FREQUENCIES, loops).s)

    expected = slope(delayed, 1e-14)
    assert np.max(np.abs(by_delay(solution) - expected)) < 1e-6 * np.max(np.abs(expected))


def test_a_channels_own_derivatives_are_the_wholes() -> None:
    """The cheap derivatives among a channel's own ports are the matching entries of the full ones."""
    rng = np.random.default_rng(34)
    circuit, loops = array_of(rng, delays=True), loops_of(FREQUENCIES, rng)
    solution = solve(circuit, FREQUENCIES, loops)
    ports = np.stack([np.arange(CHANNELS), np.arange(CHANNELS, 16)], axis=1)
    channel = np.arange(CHANNELS)[:, None]
    for whole, own in zip(element_sensitivities(solution), own_sensitivities(solution, 0), strict=True):
        assert whole.name == own.name
        assert np.allclose(whole.current[:, channel, ports], own.current, rtol=1e-10)


def test_cosimpy_agrees(reduced: tuple) -> None:
    """CoSimPy, given a 16-port of loops and a 2-port for each section, gives the same S to 1e-12."""
    matrix = pytest.importorskip("cosimpy").S_Matrix
    circuit, loops, s = reduced
    evaluated = solve(circuit, FREQUENCIES, loops).states[0]
    y = np.kron(
        np.ones((2, 2)), np.linalg.inv(loops + np.eye(CHANNELS) * evaluated[0].across.impedance[:, None])
    )
    bare = np.linalg.solve(np.eye(16) + Z0 * y, np.eye(16) - Z0 * y)
    networks = []
    for state in evaluated[1:]:
        socket, match = state.stages
        for channel in range(CHANNELS):
            z1, z2, z3 = (part.impedance[:, channel] for part in (state.across, match, socket))
            # chain matrix of shunt, series, shunt, from the loop to the port
            a, b = 1 + z2 / z3, z2
            c, d = 1 / z1 + 1 / z3 + z2 / (z1 * z3), 1 + z2 / z1
            low = a + b / Z0 + c * Z0 + d
            two = (
                np.array([[a + b / Z0 - c * Z0 - d, 2 + 0 * z1], [2 + 0 * z1, -a + b / Z0 - c * Z0 + d]])
                / low
            )
            networks.append(matrix(np.moveaxis(two, -1, 0), FREQUENCIES))
    (theirs,) = matrix(bare, FREQUENCIES)._singlePortConnSMatrix(networks)
    assert np.max(np.abs(theirs.S - s)) < 1e-12
