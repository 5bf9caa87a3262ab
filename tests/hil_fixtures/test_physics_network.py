"""The array's circuit against a nodal solve, ngspice, and the laws that every passive network obeys."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hil_fixtures.physics import parts
from hil_fixtures.physics.geometry import inductance_by_distance
from hil_fixtures.physics.network import Z0, loop_impedance
from hil_fixtures.physics.workmanship import CAREFUL, UNMODELLED
from hil_fixtures.physics.world import World, WorldSettings

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: The nodal circuits ground b, so the 1H port's hot lead is the other one there.
POLARITY = np.repeat([1.0, -1.0], 8)


@pytest.fixture(scope="module", params=[CAREFUL, UNMODELLED], ids=["careful", "with strays"])
def mistuned(request: pytest.FixtureRequest) -> World:
    """Return a world with nothing special about it: one channel biased, trimmers anywhere."""
    world = World(WorldSettings(workmanship=request.param), seed=3)
    world.reshape_loops(1.01, 1.3)
    world.set_bias(4, 0.08)
    return world


@dataclass(frozen=True)
class Branch:
    """Two nodes (0 is ground), a complex impedance."""

    one: int
    other: int
    impedance: complex


def branches(world: World, frequency: float) -> list[Branch]:
    """Every branch but loops and ports; nodes of channel c: 4c+1 port Na, +2 a, +3 c, +4 port H; b is 0."""
    axis = np.array([frequency])
    fixed, values = world.circuit.fixed, world.capacitances()
    omega = 2.0 * np.pi * frequency
    capacitors = [
        parts.capacitor_impedance(values[:, column], axis)[0]
        + 1j * omega * np.broadcast_to(fixed.lead_inductance, (8, 4))[:, column]
        for column in range(4)
    ]
    connectors = np.broadcast_to(fixed.port_capacitance, (8, 2))
    trap = (
        parts.inductor_impedance(fixed.trap_inductance, axis)
        + parts.capacitor_impedance(fixed.trap_capacitance, axis)
    )[0]
    found = []
    for c in range(8):
        port_na, a, end, port_h = (4 * c + k for k in (1, 2, 3, 4))
        found += [
            Branch(a, 0, capacitors[0][c]),
            Branch(port_na, a, capacitors[1][c]),
            Branch(end, 0, capacitors[2][c]),
            Branch(port_h, end, capacitors[3][c]),
            Branch(end, 0, trap[c]),
        ]
        found += [
            Branch(port, 0, -1j / (omega * farad))
            for port, farad in ((port_na, connectors[c, 0]), (port_h, connectors[c, 1]))
            if farad
        ]
        current = world.bias(c + 1)
        if current:
            diode = parts.DIODE_BULK + parts.DIODE_CHARGE / current
            for node, inductor in ((a, fixed.detune_na[c]), (end, fixed.detune_h[c])):
                coil = parts.inductor_impedance(np.array([inductor]), axis)[0, 0]
                found.append(Branch(node, 0, coil + diode))
    return found


def nodal_matrix(world: World, frequency: float) -> NDArray[np.complex128]:
    """Return the modified nodal matrix, ports terminated: 32 node voltages, then 8 loop currents c to a."""
    matrix = np.zeros((40, 40), dtype=complex)
    for branch in branches(world, frequency):
        for one, other, sign in (
            (branch.one, branch.one, 1),
            (branch.other, branch.other, 1),
            (branch.one, branch.other, -1),
            (branch.other, branch.one, -1),
        ):
            if one and other:
                matrix[one - 1, other - 1] += sign / branch.impedance
    for node in port_nodes():
        matrix[node, node] += 1.0 / Z0
    for c in range(8):
        matrix[4 * c + 1, 32 + c] -= 1.0
        matrix[4 * c + 2, 32 + c] += 1.0
        matrix[32 + c, 4 * c + 1] += 1.0
        matrix[32 + c, 4 * c + 2] -= 1.0
    matrix[32:, 32:] = loop_impedance(world.circuit, world.load, np.array([frequency]))[0]
    return matrix


def port_nodes() -> NDArray[np.intp]:
    return np.array([4 * c for c in range(8)] + [4 * c + 3 for c in range(8)])


def frequencies(world: World) -> NDArray[np.float64]:
    low, high = world.frequencies
    return np.array([low, 0.97 * low, high, 1.04 * high])


def test_reduced_solver_is_the_nodal_one(mistuned: World) -> None:
    axis = frequencies(mistuned)
    found = mistuned.scattering(axis)
    nodes = port_nodes()
    for row, frequency in enumerate(axis):
        excitation = np.zeros((40, 16))
        excitation[nodes, np.arange(16)] = 1.0 / Z0
        voltages = np.linalg.solve(nodal_matrix(mistuned, frequency), excitation)[nodes]
        expected = POLARITY[:, None] * (2.0 * voltages - np.eye(16)) * POLARITY
        np.testing.assert_allclose(found[row], expected, atol=1e-11)


def test_thermal_noise_of_every_resistance_adds_up_to_bosmas_theorem(mistuned: World) -> None:
    """4kTR in every branch and 4kT Re(Z) in the loops give kT(1 - S S^H) at the ports, to 1e-10."""
    frequency = mistuned.frequencies[0]
    nodes = port_nodes()
    inverse = np.linalg.inv(nodal_matrix(mistuned, frequency))
    covariance = np.zeros((16, 16), dtype=complex)
    for branch in branches(mistuned, frequency):
        source = np.zeros(40, dtype=complex)
        for node, sign in ((branch.one, 1.0), (branch.other, -1.0)):
            if node:
                source[node - 1] += sign / branch.impedance
        transfer = (inverse @ source)[nodes] / np.sqrt(Z0)
        covariance += 4.0 * branch.impedance.real * np.outer(transfer, transfer.conj())
    loops = loop_impedance(mistuned.circuit, mistuned.load, np.array([frequency]))[0].real
    transfer = inverse[nodes, 32:] / np.sqrt(Z0)
    covariance += 4.0 * transfer @ loops @ transfer.conj().T
    scattering = mistuned.scattering(np.array([frequency]))[0]
    expected = POLARITY[:, None] * (np.eye(16) - scattering @ scattering.conj().T) * POLARITY
    np.testing.assert_allclose(covariance, expected, atol=1e-10)


def test_loop_currents_take_the_power_that_the_ports_do_not_return(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With lossless parts T^H Re(Z_loops) T = 1 - S^H S: all power ends in the loops, to 1e-10."""
    lossless_capacitor, lossless_inductor = parts.capacitor_impedance, parts.inductor_impedance
    monkeypatch.setattr(parts, "capacitor_impedance", lambda c, f: lossless_capacitor(c, f, np.inf))
    monkeypatch.setattr(parts, "inductor_impedance", lambda value, f: lossless_inductor(value, f, np.inf))
    world = World(seed=3)
    axis = frequencies(world)
    response = world.response(axis)
    loops = loop_impedance(world.circuit, world.load, axis).real
    dissipated = response.currents.conj().transpose(0, 2, 1) @ loops @ response.currents
    absent = np.eye(16) - response.scattering.conj().transpose(0, 2, 1) @ response.scattering
    np.testing.assert_allclose(dissipated, absent, atol=1e-10)


def test_emf_in_a_loop_leaves_the_ports_as_reciprocity_says(mistuned: World) -> None:
    """B = -T^T e / 2, against port voltages of the nodal circuit with a source in each loop."""
    frequency = mistuned.frequencies[0]
    nodes = port_nodes()
    voltages = np.linalg.inv(nodal_matrix(mistuned, frequency))[nodes, 32:]
    waves = POLARITY[:, None] * voltages / np.sqrt(Z0)
    currents = mistuned.response(np.array([frequency])).currents[0]
    np.testing.assert_allclose(-0.5 * currents.T, waves, atol=1e-11)


def test_array_is_reciprocal_and_passive(mistuned: World) -> None:
    axis = np.geomspace(1e6, 1e9, 101)
    scattering = mistuned.scattering(axis)
    np.testing.assert_allclose(scattering, scattering.transpose(0, 2, 1), atol=1e-12)
    assert np.max(np.linalg.svd(scattering, compute_uv=False)) < 1.0 + 1e-12


def test_one_frequency_alone_gives_the_same_as_in_a_sweep(mistuned: World) -> None:
    axis = np.linspace(30e6, 36e6, 11)
    np.testing.assert_allclose(mistuned.scattering(axis)[4], mistuned.scattering(axis[4:5])[0], rtol=1e-12)


def spice_netlist(world: World, frequency: float) -> str:
    """Return the array as a subcircuit, sixteen times, each driven at one port; losses frozen."""
    omega = 2.0 * np.pi * frequency
    loops = loop_impedance(world.circuit, world.load, np.array([frequency]))[0]
    inductance = loops.imag / omega
    pins = " ".join(f"p{port}" for port in range(16))
    lines = ["array", ".option rshunt=1e12", f".subckt array {pins}"]
    names = {0: "0"}
    for c in range(8):
        names |= {4 * c + 1: f"p{c}", 4 * c + 2: f"a{c}", 4 * c + 3: f"c{c}", 4 * c + 4: f"p{8 + c}"}
    for number, branch in enumerate(branches(world, frequency)):
        one, other = names[branch.one], names[branch.other]
        # ngspice makes 1 milliohm of a resistor of none
        middle = f"m{number}" if branch.impedance.real else one
        if branch.impedance.real:
            lines.append(f"R{number} {one} {middle} {branch.impedance.real:.17g}")
        reactance = branch.impedance.imag
        kind, value = ("L", reactance / omega) if reactance > 0 else ("C", -1.0 / (reactance * omega))
        lines.append(f"{kind}{number} {middle} {other} {value:.17g}")
    for c in range(8):
        lines.append(f"Vs{c} c{c} s{c}_0 0")
        for other in range(8):
            at = f"s{c}_{other} s{c}_{other + 1}"
            resistance = loops[c, other].real
            if other == c:
                lines.append(f"Rl{c} {at} {resistance:.17g}")
            else:
                lines.append(f"H{c}_{other} {at} Vs{other} {resistance:.17g}")
        lines.append(f"Ll{c} s{c}_8 a{c} {inductance[c, c]:.17g}")
    lines += [
        f"K{c}_{other} Ll{c} Ll{other} "
        f"{inductance[c, other] / np.sqrt(inductance[c, c] * inductance[other, other]):.17g}"
        for c in range(8)
        for other in range(c)
    ]
    lines.append(".ends")
    for driven in range(16):
        nodes = " ".join(f"x{driven}_{port}" for port in range(16))
        lines.append(f"X{driven} {nodes} array")
        for port in range(16):
            end = f"e{driven}" if port == driven else "0"
            lines.append(f"Rt{driven}_{port} x{driven}_{port} {end} {Z0}")
        lines.append(f"Ve{driven} e{driven} 0 AC 1")
    lines += [".control", "set numdgt=15", f"ac lin 1 {frequency:.17g} {frequency:.17g}"]
    lines += [
        f"wrdata s{driven} " + " ".join(f"v(x{driven}_{port})" for port in range(16)) for driven in range(16)
    ]
    return "\n".join([*lines, "quit 0", ".endc", ".end", ""])


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
@pytest.mark.parametrize("nucleus", [0, 1])
def test_ngspice_gives_the_same_scattering_matrix(mistuned: World, tmp_path: Path, nucleus: int) -> None:
    """All sixteen ports, coupled inductors and coupled losses; ngspice's shunts of 1e12 ohm do not show."""
    frequency = mistuned.frequencies[nucleus]
    (tmp_path / "array.cir").write_text(spice_netlist(mistuned, frequency))
    subprocess.run(["ngspice", "-b", "array.cir"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    columns = []
    for driven in range(16):
        row = np.loadtxt(tmp_path / f"s{driven}").reshape(16, 3)
        columns.append(2.0 * (row[:, 1] + 1j * row[:, 2]))
    expected = POLARITY[:, None] * (np.stack(columns, axis=1) - np.eye(16)) * POLARITY
    np.testing.assert_allclose(mistuned.scattering(np.array([frequency]))[0], expected, atol=1e-8)


def loop_q(world: World, frequency: float) -> float:
    impedance = loop_impedance(world.circuit, world.load, np.array([frequency]))[0, 0, 0]
    return float(impedance.imag / impedance.real)


def test_loading_lowers_the_loops_quality_factor() -> None:
    """Loop, solder and sample alone: about 710/370 at 23Na and 1620/124 at 1H, sample-dominated at 1H only.

    A 10 mm strip and an 8 cm sphere; a thinner conductor around a larger sphere gives 264/191 and 714/146.
    """
    world = World(seed=0)
    low, high = world.frequencies
    loaded = loop_q(world, low), loop_q(world, high)
    world.remove_load()
    empty = loop_q(world, low), loop_q(world, high)
    assert loaded == pytest.approx((370.0, 124.0), rel=0.05)
    assert empty == pytest.approx((710.0, 1620.0), rel=0.05)


def dip(world: World, port: int, low: float, high: float) -> tuple[float, float]:
    """Frequency and depth of a port's lowest reflection on a grid of 4 kHz or finer."""
    axis = np.linspace(low, high, 4001)
    reflection = np.abs(world.scattering(axis)[:, port, port])
    lowest = int(np.argmin(reflection))
    return float(axis[lowest]), float(reflection[lowest])


def test_more_tune_capacitance_lowers_the_dip() -> None:
    """Both nuclei, and each by its own trimmer much more than by the other's."""
    world = World.tuned(2)
    (low, high), step = world.frequencies, 200
    before_na, before_h = dip(world, 2, 0.95 * low, 1.05 * low)[0], dip(world, 10, 0.9 * high, 1.1 * high)[0]
    assert before_na == pytest.approx(low, rel=2e-3)
    assert before_h == pytest.approx(high, rel=5e-3)
    world.move_axis("ch3.na.tune", world.axis_position("ch3.na.tune") + step)
    after = dip(world, 2, 0.95 * low, 1.05 * low)[0]
    assert after < before_na - 50e3
    assert abs(dip(world, 10, 0.9 * high, 1.1 * high)[0] - before_h) < 0.2 * (before_na - after) * high / low
    world.move_axis("ch3.h.tune", world.axis_position("ch3.h.tune") + step)
    assert dip(world, 10, 0.9 * high, 1.1 * high)[0] < before_h - 500e3


@pytest.mark.parametrize(("frequency_index", "first_port"), [(0, 0), (1, 8)])
def test_bias_blocks_the_channels_current(frequency_index: int, first_port: int) -> None:
    """At 50 mA the loop current of a detuned channel falls by more than 25 dB at both frequencies."""
    world = World.tuned(1)
    axis = np.array([world.frequencies[frequency_index]])
    before = world.response(axis).currents[0, 4, first_port + 4]
    world.set_bias(5, 0.05)
    after = world.response(axis).currents[0, 4, first_port + 4]
    assert 20.0 * np.log10(abs(before / after)) > 25.0


def test_changing_the_load_changes_the_match() -> None:
    """Half the conductivity is seen at 1H, no phantom at both nuclei; matched ports are below -40 dB."""
    world = World.tuned(4)
    low, high = np.array(world.frequencies[:1]), np.array(world.frequencies[1:])
    world.set_load(0.3)
    half = np.min(np.abs(np.diag(world.scattering(high)[0])[8:]))
    world.remove_load()
    empty_h = np.min(np.abs(np.diag(world.scattering(high)[0])[8:]))
    empty_na = np.min(np.abs(np.diag(world.scattering(low)[0])[:8]))
    assert half > 0.03
    assert empty_h > 2.0 * half
    assert empty_na > 0.03
    assert world.load is None


def test_sixteen_ports_at_402_points_take_less_than_30_ms(mistuned: World) -> None:
    """Best of five; a quarter of it on an idle two-core machine."""
    import time

    axis = np.linspace(30e6, 140e6, 402)
    durations = []
    for _ in range(5):
        begin = time.perf_counter()
        mistuned.scattering(axis)
        durations.append(time.perf_counter() - begin)
    assert min(durations) < 30e-3


def test_uncompensated_coupling_would_split_the_resonances() -> None:
    """Why pairs are compensated: k of next neighbours times the loaded Q is above one."""
    world = World(seed=0)
    by_place = inductance_by_distance(world.circuit.array)
    assert abs(by_place[2] / by_place[0]) * loop_q(world, world.frequencies[0]) > 1.0
    left = world.circuit.inductance / np.sqrt(np.outer(*2 * [np.diag(world.circuit.inductance)]))
    assert np.max(np.abs(left - np.eye(8))) < 0.01
