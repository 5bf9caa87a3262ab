"""Facts about decoupling matrices, judged by scikit-rf's Circuit and by a power balance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.circuit.series import available
from coils.decoupling.matrix import best_plane, bridge_ports, decouple_completely
from coils.decoupling.reactive import Branch, ReactiveNetwork, put_behind

SODIUM, PROTON = 33.78e6, 127.73e6
LOSSLESS = {"capacitor_q": math.inf, "inductor_q": math.inf}


def measured(seed: int, count: int, *, common: float = 0.15) -> np.ndarray:
    """Return S of matched loops, turned by a line: κ up to 1.5, common resistances up to ``common``."""
    rng = np.random.default_rng(seed)
    kappa = np.triu(rng.uniform(-1.5, 1.5, (count, count)), 1)
    shared = np.triu(rng.uniform(-common, common, (count, count)), 1)
    z = np.eye(count) + shared + shared.T + 1j * (kappa + kappa.T + np.diag(rng.normal(0, 0.1, count)))
    inside = np.eye(count) - 2 * np.linalg.inv(z + np.eye(count))
    return np.exp(-0.8j) * inside


def in_scikit_rf(
    network: ReactiveNetwork, s: np.ndarray, frequency: float, q_c: float, q_l: float
) -> np.ndarray:
    """Return S at the outer ports from a Circuit of one network for each element."""
    from skrf.circuit import Circuit
    from skrf.frequency import Frequency
    from skrf.network import Network

    band = Frequency.from_f([frequency], unit="hz")
    count = network.ports
    nodes: list[list[tuple[Network, int]]] = [[] for _ in range(2 * count + 1)]
    for place in range(count):
        nodes[place + 1].append((Circuit.Port(band, f"port{place}", z0=50), 0))
    array = Network(frequency=band, s=s[None], z0=50, name="array")
    for place in range(count):
        nodes[count + place + 1].append((array, place))
    for number, branch in enumerate(network.branches):
        omega = 2 * np.pi * frequency
        if branch.susceptance > 0:
            x = 1 / (omega * branch.value)
            z = x / q_c - 1j * x
        else:
            x = omega * branch.value
            z = x / q_l + 1j * x
        a, b = sorted(branch.nodes)
        if a == 0:
            element = np.array([[[(z - 50) / (z + 50)]]])
            nodes[b].append((Network(frequency=band, s=element, z0=50, name=f"e{number}"), 0))
            continue
        element = np.array([[[z, 100], [100, z]]]) / (z + 100)
        both = Network(frequency=band, s=element, z0=50, name=f"e{number}")
        nodes[a].append((both, 0))
        nodes[b].append((both, 1))
    return Circuit(nodes[1:]).network.s[0]


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("design", [bridge_ports, decouple_completely])
def test_the_array_behind_the_network_is_what_scikit_rf_connects(design, count: int) -> None:
    """At the design frequency and the other nucleus' one, with lossy elements."""
    s = measured(50 + count, count)
    network = design(s, SODIUM)
    for frequency, array in ((SODIUM, s), (PROTON, measured(60 + count, count))):
        found = put_behind(network, array, frequency, capacitor_q=600.0, inductor_q=170.0)
        truth = in_scikit_rf(network, array, frequency, 600.0, 170.0)
        assert np.abs(found.s - truth).max() < 1e-9


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_bridges_match_every_port_with_all_others_terminated(count: int) -> None:
    """S_ii = 0 at once; one element a pair and two a port; coupling falls by several dB at least."""
    s = measured(70 + count, count)
    network = bridge_ports(s, SODIUM)
    behind = put_behind(network, s, SODIUM, **LOSSLESS)
    assert behind.worst_reflection_db < -180.0
    assert len(network.branches) <= count * (count - 1) // 2 + 2 * count
    planed = s * np.exp(-2j * best_plane(s))
    better = put_behind(bridge_ports(planed, SODIUM), planed, SODIUM, **LOSSLESS)
    assert better.worst_reflection_db < -180.0
    before = 20 * np.log10(np.abs(s - np.diag(np.diag(s))).max())
    assert better.worst_coupling_db <= behind.worst_coupling_db + 1e-6
    # common resistances of 0.15 leave 0.075 in first order, about 0.1 with several neighbours
    assert better.worst_coupling_db < min(before - 1.0, -18.0)


@pytest.mark.parametrize("count", [2, 4, 7])
def test_in_the_right_plane_bridges_take_reactive_coupling_away_altogether(count: int) -> None:
    """Without common resistance nothing is left; a quarter wave off, a good part is."""
    s = measured(80 + count, count, common=0.0)
    phase = best_plane(s)
    planed = s * np.exp(-2j * phase)
    behind = put_behind(bridge_ports(planed, SODIUM), planed, SODIUM, **LOSSLESS)
    # the plane is found to 1e-5 rad, which leaves as much
    assert behind.worst_coupling_db < -80.0
    if count > 2:  # two ports have a second such plane
        assert np.exp(2j * phase) * np.exp(0.8j) == pytest.approx(-1.0, abs=1e-4)
        off = s * np.exp(-2j * (phase + np.pi / 2))
        assert put_behind(bridge_ports(off, SODIUM), off, SODIUM, **LOSSLESS).worst_coupling_db > -40.0


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_complete_network_takes_everything_away(count: int) -> None:
    """S = 0 to rounding, common resistance included, with no more than N(2N+1) elements."""
    s = measured(90 + count, count, common=0.3 / count)
    network = decouple_completely(s, SODIUM)
    assert len(network.branches) <= count * (2 * count + 1)
    behind = put_behind(network, s, SODIUM, **LOSSLESS)
    assert np.abs(behind.s).max() < 1e-10
    assert behind.efficiency == pytest.approx(np.ones(count), abs=1e-10)


def test_efficiency_is_what_the_elements_do_not_dissipate() -> None:
    """Sum of |V|² Re y over all elements, from voltages of a nodal solution of its own."""
    count = 3
    s = measured(101, count)
    network = bridge_ports(s, SODIUM)
    found = put_behind(network, s, SODIUM, capacitor_q=300.0, inductor_q=100.0)
    array = np.linalg.inv(np.eye(count) + s) @ (np.eye(count) - s) / 50
    y = np.zeros((2 * count + 1, 2 * count + 1), dtype=complex)
    elements = []
    for branch in network.branches:
        x = 1 / branch.susceptance
        z = x * (1 / 300 - 1j) if x > 0 else -x * (1 / 100 + 1j)
        a, b = branch.nodes
        elements.append((a, b, 1 / z))
        y[np.ix_([a, b], [a, b])] += np.array([[1, -1], [-1, 1]]) / z
    y[count + 1 :, count + 1 :] += array
    y[range(1, count + 1), range(1, count + 1)] += 1 / 50
    for port in range(count):
        source = np.zeros(2 * count)
        source[port] = 1.0
        v = np.concatenate([[0], np.linalg.solve(y[1:, 1:], source)])
        lost = sum(abs(v[a] - v[b]) ** 2 * element.real for a, b, element in elements)
        inner = v[count + 1 :]
        kept = (inner.conj() @ array @ inner).real
        assert found.efficiency[port] == pytest.approx(kept / (kept + lost), rel=1e-9)


def test_real_parts_leave_a_residual_that_shrinks_with_their_q_and_step() -> None:
    """Infinite Q, Q of 900 and 220, 24 values a decade: from nothing upwards; stated, not hidden."""
    s = measured(102, 4, common=0.05)
    network = decouple_completely(s, SODIUM)
    ideal = put_behind(network, s, SODIUM, **LOSSLESS).worst_coupling_db
    half = put_behind(network, s, SODIUM, capacitor_q=1800.0, inductor_q=440.0)
    usual = put_behind(network, s, SODIUM)
    bought = put_behind(network.with_capacitors(available("E24")), s, SODIUM)
    assert ideal < -190.0
    assert half.worst_coupling_db == pytest.approx(usual.worst_coupling_db - 6.0, abs=0.5)
    assert np.all(half.efficiency > usual.efficiency)
    assert usual.worst_coupling_db < -38.0
    assert bought.worst_coupling_db > usual.worst_coupling_db + 3.0
    assert 0.9 < usual.efficiency.min() < 0.99


def test_the_other_nucleus_is_not_helped() -> None:
    """A network right at 23Na makes a mess of 1H: the prediction says so."""
    s = measured(103, 3)
    network = bridge_ports(s, SODIUM)
    assert put_behind(network, measured(104, 3), PROTON).worst_reflection_db > -3.0


def test_parts_are_stated_as_what_they_are() -> None:
    """2πfC at 33.78 MHz: 10 mS is 47.1 pF; -10 mS is 471 nH."""
    assert str(Branch((1, 2), 0.01, SODIUM)) == "47.12 pF between nodes 1 and 2"
    assert str(Branch((0, 2), -0.01, SODIUM)) == "471.15 nH between nodes 0 and 2"


def test_what_is_no_array_is_refused() -> None:
    """A missing pair, gain, an element nowhere, unequal port counts."""
    s = measured(105, 3)
    hole = s.copy()
    hole[2, 0] = complex("nan")
    with pytest.raises(MeasurementError, match="1 values missing"):
        bridge_ports(hole, SODIUM)
    with pytest.raises(MeasurementError, match="not that of a passive array"):
        decouple_completely(np.diag([1.1, 0.0]).astype(complex), SODIUM)
    with pytest.raises(ValueError, match="no such element"):
        ReactiveNetwork(2, (Branch((1, 5), 0.01, SODIUM),))
    with pytest.raises(ValueError, match="does not fit"):
        put_behind(bridge_ports(s, SODIUM), s[:2, :2], SODIUM)
