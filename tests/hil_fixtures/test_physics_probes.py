"""The probes and the stand against closed forms, a nodal circuit and the laws of passive networks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.constants import mu_0
from scipy.optimize import minimize_scalar, root
from scipy.special import ellipe, ellipk

from hil_fixtures.physics import parts
from hil_fixtures.physics.design import match_ports
from hil_fixtures.physics.magnetics import Filament, magnetic_field, mutual_inductance, self_inductance
from hil_fixtures.physics.network import Z0, loop_impedance
from hil_fixtures.physics.probe_stand import Preamplifiers, ProbeStand, StandSettings
from hil_fixtures.physics.probes import (
    ProbePair,
    circle,
    decoupled_spacing,
    look_at,
    probe_filaments,
    probe_impedance,
)
from hil_fixtures.physics.workmanship import CAREFUL
from hil_fixtures.physics.world import World, WorldSettings

if TYPE_CHECKING:
    from collections.abc import Callable

PAIR = ProbePair()
UP = np.array([0.0, 0.0, 1.0])


def decibels(values: np.ndarray) -> np.ndarray:
    return np.asarray(20.0 * np.log10(np.abs(values)))


@pytest.fixture(scope="module")
def world() -> World:
    """Return a tuned array with one channel off and another a little mistuned."""
    tuned = World.tuned(3)
    tuned.set_bias(4, 0.08)
    tuned.move_axis("ch2.na.tune", tuned.axis_position("ch2.na.tune") + 150)
    return tuned


def test_circles_have_maxwells_mutual_inductance_and_the_textbook_self_inductance() -> None:
    """Coaxial circles of 12 and 9 mm, 15 mm apart, to 1e-9; L = mu0 a (ln 8a/w - 2) to a thin wire's 2e-3."""
    a, b, z = 12e-3, 9e-3, 15e-3
    found = mutual_inductance(
        circle(np.zeros(3), np.array([1.0, 0.0, 0.0]), a),
        circle(np.array([z, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]), b),
    )
    m = 4 * a * b / ((a + b) ** 2 + z**2)
    k = np.sqrt(m)
    expected = mu_0 * np.sqrt(a * b) * ((2 / k - k) * ellipk(m) - 2 / k * ellipe(m))
    assert found == pytest.approx(expected, rel=1e-9)
    own = self_inductance(circle(np.zeros(3), np.array([1.0, 0.0, 0.0]), PAIR.radius), PAIR.wire_radius)
    assert own == pytest.approx(
        mu_0 * PAIR.radius * (np.log(8 * PAIR.radius / PAIR.wire_radius) - 2), rel=5e-3
    )


def test_overlapped_probes_do_not_couple_and_a_millimetre_matters() -> None:
    """At the spacing, 1.5 radii, k < 1e-6; half a millimetre further k is above 1e-2."""
    spacing = decoupled_spacing(PAIR)
    assert spacing / PAIR.radius == pytest.approx(1.53, abs=0.03)
    normal = np.array([0.0, 1.0, 0.0])

    def coupling(distance: float) -> float:
        one, other = (circle(z * UP, normal, PAIR.radius) for z in (0.0, distance))
        return (
            mutual_inductance(one, other, 2 * PAIR.wire_radius)
            / look_at(PAIR, World().circuit.array, None).own[0, 0]
        )

    assert abs(coupling(spacing)) < 1e-6
    assert abs(coupling(spacing + 0.5e-3)) > 1e-2


def test_a_small_probe_sees_the_loops_field_times_its_area(world: World) -> None:
    """A tenth of the size, in the field's middle: M = B A to 1e-3, by Biot-Savart; sign included."""
    small = replace(PAIR, radius=PAIR.radius / 10, wire_radius=PAIR.wire_radius / 10)
    array = world.circuit.array
    probes = probe_filaments(small, array, 5)
    for row, probe in enumerate(probes):
        centre = probe.points.mean(axis=0)
        normal = np.array([*centre[:2], 0.0]) / np.hypot(*centre[:2])
        for loop in (5, 6, 1):
            field = magnetic_field(array.filament(loop), centre[None])[0] @ normal
            expected = field * np.pi * small.radius**2
            assert look_at(small, array, 5).loops[row, loop] == pytest.approx(expected, rel=2e-3)


def test_the_phantom_couples_probes_and_loops_as_its_own_field_says(world: World) -> None:
    """Quasi-static check at 100 kHz: the resistance between probe and loop is the power of E in the sphere.

    E = -i omega A by a Gauss integral of the vector potential over a sphere in which only the l = 1 field is
    left (a uniform B of each): R_ij = omega^2 sigma B_i.B_j (2/15) pi R^5, to the 2 % that B varies over a
    small sphere.
    """
    from hil_fixtures.physics.sample import Load

    load, array = Load(5e-3, 0.6, 78.0), world.circuit.array
    axis = np.array([1e5])
    found = probe_impedance(PAIR, array, 2, load, axis)
    empty = probe_impedance(PAIR, array, 2, None, axis)
    omega = 2 * np.pi * axis[0]
    conductors = (*probe_filaments(PAIR, array, 2), array.filament(4))
    fields = [magnetic_field(one, np.zeros((1, 3)))[0] for one in conductors]
    factor = omega**2 * load.conductivity * 2 * np.pi / 15 * load.radius**5
    between, across = (found.own - empty.own)[0, 0, 1].real, (found.loops - empty.loops)[0, 1, 4].real
    assert between == pytest.approx(factor * fields[0] @ fields[1], rel=0.02)
    assert across == pytest.approx(factor * fields[1] @ fields[2], rel=0.02)


def test_array_and_probes_are_reciprocal_and_passive(world: World) -> None:
    stand = ProbeStand(world)
    stand.face(2)
    stand.end([3, 9], "preamplifier")
    stand.end([1], "open")
    scattering = stand.scattering(np.geomspace(1e6, 1e9, 41))
    np.testing.assert_allclose(scattering, scattering.transpose(0, 2, 1), atol=1e-12)
    assert np.max(np.linalg.svd(scattering, compute_uv=False)) < 1.0 + 1e-12


def test_far_probes_leave_the_array_as_it_is_and_see_little_of_each_other(world: World) -> None:
    """Below -70 dB between them at both frequencies; S of the array equals the world's."""
    axis = np.array(world.frequencies)
    scattering = ProbeStand(world).scattering(axis)
    np.testing.assert_allclose(scattering[:, :16, :16], world.scattering(axis), atol=1e-14)
    assert np.all(decibels(scattering[:, 16, 17]) < -75.0)
    assert not np.any(scattering[:, :16, 16:])


def nodal(world: World, stand: ProbeStand, frequency: float, faced: int | None) -> np.ndarray:
    """Return S of probes 17 and 18 from a modified nodal matrix with every termination in it.

    Nodes of channel c: 4c port Na, +1 a, +2 c, +3 port H (b is ground); then 8 loop and 2 probe currents.
    """
    axis = np.array([frequency])
    fixed, values = world.circuit.fixed, world.capacitances()
    inside = parts.capacitor_impedance
    matrix = np.zeros((42, 42), dtype=complex)

    def branch(one: int, other: int | None, impedance: complex) -> None:
        for node in (one, other):
            if node is not None:
                matrix[node, node] += 1 / impedance
        if other is not None:
            matrix[one, other] -= 1 / impedance
            matrix[other, one] -= 1 / impedance

    reflections = stand.reflections(stand.endings, axis)[0]
    for c in range(8):
        port_na, a, end, port_h = range(4 * c, 4 * c + 4)
        tune_na, match_na, tune_h, match_h = (inside(values[c : c + 1, k], axis)[0, 0] for k in range(4))
        trap = parts.inductor_impedance(fixed.trap_inductance[c : c + 1], axis)[0, 0]
        trap += inside(fixed.trap_capacitance[c : c + 1], axis)[0, 0]
        branch(a, None, tune_na)
        branch(port_na, a, match_na)
        branch(end, None, tune_h)
        branch(end, None, trap)
        branch(port_h, end, match_h)
        if current := world.bias(c + 1):
            diode = parts.DIODE_BULK + parts.DIODE_CHARGE / current
            for node, inductor in ((a, fixed.detune_na[c]), (end, fixed.detune_h[c])):
                branch(node, None, parts.inductor_impedance(np.array([inductor]), axis)[0, 0] + diode)
        for node, port in ((port_na, c), (port_h, 8 + c)):
            matrix[node, node] += (1 - reflections[port]) / (1 + reflections[port]) / Z0
        matrix[a, 32 + c] -= 1
        matrix[end, 32 + c] += 1
        matrix[32 + c, a] += 1
        matrix[32 + c, end] -= 1
    place = None if faced is None else faced - 1
    probes = probe_impedance(PAIR, world.circuit.array, place, world.load, axis)
    matrix[32:40, 32:40] = loop_impedance(world.circuit, world.load, axis)[0]
    matrix[40:, 32:40] = probes.loops[0]
    matrix[32:40, 40:] = probes.loops[0].T
    matrix[40:, 40:] = probes.own[0] + Z0 * np.eye(2)
    return np.eye(2) - 2 * Z0 * np.linalg.inv(matrix)[40:, 40:]


@pytest.mark.parametrize("faced", [2, 5, None])
def test_a_nodal_circuit_with_every_termination_gives_the_same(world: World, faced: int | None) -> None:
    """50 ohm, preamplifiers, open ports: S of the probes to 1e-12, at both nuclei and beside them."""
    stand = ProbeStand(world)
    stand.face(faced)
    low, high = world.frequencies
    for preamplified, opened in (((), ()), ((2, 10), (5,)), ((1, 3, 5, 7, 9), (2, 13, 16))):
        stand.end(range(1, 17), "analyzer")
        stand.end(preamplified, "preamplifier")
        stand.end(opened, "open")
        for frequency in (low, 1.01 * low, high, 0.98 * high):
            found = stand.scattering(np.array([frequency]))[0, 16:, 16:]
            np.testing.assert_allclose(found, nodal(world, stand, frequency, faced), atol=1e-12)


def test_an_imperfect_calibration_shows_at_the_arrays_ports_and_not_at_the_probes() -> None:
    """The array reads as its world shows it; transmission between the probes is the truth."""
    rough = replace(CAREFUL, delay=30e-12, directivity_db=-38.0)
    world = World(WorldSettings(workmanship=rough), seed=2)
    stand, axis = ProbeStand(world), np.array(world.frequencies)
    shown = stand.shown_scattering(axis)
    np.testing.assert_allclose(shown[:, :16, :16], world.shown_scattering(axis), atol=1e-14)
    assert np.max(np.abs(shown[:, :16, :16] - world.scattering(axis))) > 0.01
    stand.face(3)
    np.testing.assert_array_equal(
        stand.shown_scattering(axis)[:, 16:, 16:], stand.scattering(axis)[:, 16:, 16:]
    )


def test_ports_that_are_not_at_the_analyzer_read_an_open_cable(world: World) -> None:
    stand = ProbeStand(world)
    stand.end([2], "preamplifier")
    scattering = stand.scattering(np.array(world.frequencies))
    np.testing.assert_array_equal(scattering[:, 1, 1], 1.0)
    assert not np.any(scattering[:, 1, [0, *range(2, 18)]])


@pytest.fixture
def matched_alone(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return an array of lossless parts whose channel 1 is matched, all others off, the probes over it."""
    capacitor, inductor = parts.capacitor_impedance, parts.inductor_impedance
    monkeypatch.setattr(parts, "capacitor_impedance", lambda c, f: capacitor(c, f, np.inf))
    monkeypatch.setattr(parts, "inductor_impedance", lambda value, f: inductor(value, f, np.inf))
    world = World(seed=1)
    axis = np.array(world.frequencies)
    for channel in range(2, 9):
        world.set_bias(channel, 0.08)
    values = match_ports(
        world.circuit.fixed, loop_impedance(world.circuit, world.load, axis), world.capacitances(), axis
    )
    monkeypatch.setattr(world, "capacitances", lambda: values)
    stand = ProbeStand(world)
    stand.face(1)

    def reflections(logarithms: np.ndarray) -> np.ndarray:
        values[0] = np.exp(logarithms)
        own = stand.scattering(axis)[[0, 1], [0, 8], [0, 8]]
        return np.concatenate((own.real, own.imag))

    assert root(reflections, np.log(values[0]), tol=1e-12).success
    assert np.max(np.abs(reflections(np.log(values[0])))) < 1e-9
    return world


@pytest.mark.parametrize("resistance", [1.0, 2.0, 5.0])
def test_preamplifiers_decouple_as_the_closed_form_says(matched_alone: World, resistance: float) -> None:
    """The best line gives 20 log10((50 + r)/2r), 28.1, 22.3 and 14.8 dB, to 0.1 dB; none gives more.

    Any line gives a current between 1 - |rho| and 1 + |rho| of that with 50 ohm. Other channels and the
    other nucleus' port take the last 0.1 dB.
    """
    axis = np.array(matched_alone.frequencies)
    direct = probe_impedance(PAIR, matched_alone.circuit.array, 0, matched_alone.load, axis).own
    background = 2 * Z0 * direct[:, 0, 1] / (direct[:, 0, 0] + Z0) ** 2
    closed_form = 20 * np.log10((Z0 + resistance) / (2 * resistance))
    worst = -20 * np.log10(2 * Z0 / (Z0 + resistance))
    for nucleus, port in ((0, 1), (1, 9)):

        def decoupling(error: float, nucleus: int = nucleus, port: int = port) -> float:
            stand = ProbeStand(matched_alone, StandSettings(preamplifiers=Preamplifiers(resistance, error)))
            stand.face(1)
            levels = []
            for ending in ("analyzer", "preamplifier"):
                stand.end([port], ending)
                scattering = stand.scattering(axis[nucleus : nucleus + 1])[0]
                levels.append(scattering[16, 17] - background[nucleus])
            return float(decibels(levels[0] / levels[1]))

        assert decoupling(_best(decoupling, largest=True)) == pytest.approx(closed_form, abs=0.1)
        assert decoupling(_best(decoupling, largest=False)) == pytest.approx(worst, abs=0.1)


def _best(function: Callable[[float], float], *, largest: bool) -> float:
    """Return where a function of half a turn, with one maximum and one minimum, is extreme."""
    sign = -1.0 if largest else 1.0
    near = min(np.linspace(0.0, np.pi, 24), key=lambda x: sign * function(x))
    bounds = (near - 0.15, near + 0.15)
    return float(minimize_scalar(lambda x: sign * function(x), bounds=bounds, method="bounded").x)


def test_the_wrong_phase_is_worse_than_no_preamplifier() -> None:
    """A quarter wave too long: the loop carries over 5 dB more current than with 50 ohm, in a real array."""
    world = World.tuned(1)
    for channel in range(2, 9):
        world.set_bias(channel, 0.08)
    stand = ProbeStand(world, StandSettings(preamplifiers=Preamplifiers(2.0, np.pi / 2)))
    stand.face(1)
    axis = np.array(world.frequencies)
    with_50_ohm = stand.scattering(axis)[:, 16, 17]
    stand.end([1, 9], "preamplifier")
    change = decibels(with_50_ohm / stand.scattering(axis)[:, 16, 17])
    assert np.all(change < -5.0)


def test_after_a_change_of_bias_the_network_goes_from_the_old_state_to_the_new(world: World) -> None:
    """Exactly the old one before, within 1e-6 of the new after 20 lifetimes, and in between that of I(t)."""
    stand = ProbeStand(world, StandSettings(carrier_lifetime=3e-6))
    stand.face(2)
    frequency = world.frequencies[0]
    world.set_bias(2, 0.0)
    old = stand.scattering(np.array([frequency]))[0]
    world.set_bias(2, 0.07)
    new = stand.scattering(np.array([frequency]))[0]
    course = stand.transient(frequency, np.array([-1e-6, 0.0, 3e-6, 60e-6]))
    np.testing.assert_array_equal(course[:2], np.stack((old, old)))
    np.testing.assert_allclose(course[3], new, atol=1e-6)
    world.set_bias(2, 0.07 * (1 - np.exp(-1.0)))
    np.testing.assert_allclose(course[2], stand.scattering(np.array([frequency]))[0], atol=1e-12)
    world.set_bias(2, 0.0)


def test_what_is_not_there_is_refused(world: World) -> None:
    stand = ProbeStand(world)
    with pytest.raises(ValueError, match="1 to 8"):
        stand.face(9)
    with pytest.raises(ValueError, match="1 to 16"):
        stand.end([17], "open")
    with pytest.raises(ValueError, match="analyzer, preamplifier, open"):
        stand.end([1], "short")  # type: ignore[arg-type]
    assert stand.endings == ("analyzer",) * 16


def test_filaments_close() -> None:
    """The elements of a closed conductor add up to nothing."""
    for one in probe_filaments(PAIR, World().circuit.array, 3):
        assert isinstance(one, Filament)
        np.testing.assert_allclose(one.elements.sum(axis=0), 0.0, atol=1e-15)
