"""Facts about shared reactances and counter-wound inductors, judged by a nodal solution."""

from __future__ import annotations

import numpy as np
import pytest

from coils.decoupling.counter_wound import predict_windings, wind_for
from coils.decoupling.shared_conductor import (
    Pair,
    SharedNetwork,
    left_at_other,
    predict_pair,
    shared_capacitor,
    shared_dual_network,
    shared_inductor,
)

SODIUM, PROTON = 33.78e6, 127.73e6
L1, L2 = 0.25e-6, 0.31e-6
M = -3.1e-9  # side by side


def mutual_impedance(network: SharedNetwork, pair: Pair, q_c: float, q_l: float) -> tuple[complex, complex]:
    """Return Z12 and Z11 of two loops with a shared branch, by nodal analysis.

    Each loop: ground, coil (L, R, coupled), node B, port, node A, shared branch, ground. The port's current
    is injected from A to B. Seen from the shared branch both coils turn in opposite senses when the loops
    turn in the same, so the coupled-coil matrix carries -M for uncrossed leads.
    """
    w = 2 * np.pi * pair.frequency
    sense = 1.0 if network.crossed else -1.0
    z_coils = np.diag(pair.resistance) + 1j * w * np.diag(pair.inductance)
    z_coils = z_coils + sense * (pair.common_resistance + 1j * w * pair.mutual) * np.array([[0, 1], [1, 0]])
    y = np.zeros((3, 3), dtype=complex)  # B1, B2, A
    y[:2, :2] += np.linalg.inv(z_coils)
    z_shared = 0j
    if network.capacitor:
        z_shared += 1 / (1j * w * network.capacitor) + 1 / (w * network.capacitor * q_c)
    if network.inductor:
        branch = 1 / (1j * w * network.inductor + w * network.inductor / q_l)
        if network.bridge:
            branch += 1 / (1 / (1j * w * network.bridge) + 1 / (w * network.bridge * q_c))
        z_shared += 1 / branch
    y[2, 2] += 1 / z_shared
    inject = np.array([[1, 0], [0, 1], [-1, -1]], dtype=complex)
    z = inject.T @ np.linalg.solve(y, inject)
    return sense * complex(z[0, 1]), complex(z[0, 0])


def pair_at(frequency: float, mutual: float = M) -> Pair:
    return Pair(frequency, (L1, L2), (0.3, 0.42), mutual, common_resistance=0.05)


@pytest.mark.parametrize("frequency", [SODIUM, PROTON])
@pytest.mark.parametrize(
    "network",
    [
        shared_capacitor(M, SODIUM),
        shared_capacitor(-M, PROTON),
        shared_inductor(M),
        shared_inductor(-M),
        shared_dual_network(M, SODIUM, PROTON),
        shared_dual_network(M, SODIUM, PROTON, pole=60e6),
    ],
    ids=str,
)
def test_the_prediction_is_the_nodal_solution(network: SharedNetwork, frequency: float) -> None:
    """Residual k and kQ, common and added resistance and reactance, with lossy elements."""
    pair = pair_at(frequency, M if network.crossed == (network.capacitor is None) else -M)
    z12, z11 = mutual_impedance(network, pair, 700.0, 180.0)
    found = predict_pair(network, pair, capacitor_q=700.0, inductor_q=180.0)
    w = 2 * np.pi * frequency
    root = np.sqrt((0.3 + found.added_resistance) * (0.42 + found.added_resistance))
    scale = w * np.sqrt(L1 * L2)
    assert found.k_after == pytest.approx(z12.imag / scale, abs=1e-9)
    assert found.kq_after == pytest.approx(z12.imag / root, abs=1e-7)
    assert found.resistive_after == pytest.approx(z12.real / root, abs=1e-9)
    assert 0.3 + found.added_resistance == pytest.approx(z11.real, rel=1e-9)
    assert w * L1 + found.added_reactance == pytest.approx(z11.imag, rel=1e-9)
    assert found.snr_factor[0] == pytest.approx(np.sqrt(0.3 / z11.real), rel=1e-9)


def test_a_shared_capacitor_cancels_at_one_nucleus_only() -> None:
    """Right at 23Na it leaves 93 % at 1H; right at 1H it leaves 13 times the coupling, reversed, at 23Na."""
    for cancelled, other, left in ((SODIUM, PROTON, 0.930), (PROTON, SODIUM, -13.30)):
        network = shared_capacitor(M, cancelled)
        assert abs(predict_pair(network, pair_at(cancelled)).k_after) < 1e-12
        outcome = predict_pair(network, pair_at(other))
        assert outcome.k_after / outcome.k_before == pytest.approx(left, abs=0.005)
        assert left_at_other(cancelled, (other,))[0] == pytest.approx(outcome.k_after / outcome.k_before)


def test_three_elements_cancel_at_both_nuclei_and_an_inductor_does_alone() -> None:
    """Within rounding without loss; all values positive; a lossy trap leaves its loss only."""
    lossless = {"capacitor_q": 1e12, "inductor_q": 1e12}
    for network in (shared_dual_network(M, SODIUM, PROTON), shared_inductor(M)):
        for frequency in (SODIUM, PROTON):
            outcome = predict_pair(network, pair_at(frequency), **lossless)
            assert abs(outcome.k_after) < 1e-9
            assert outcome.added_resistance < 1e-9
    dual = shared_dual_network(M, SODIUM, PROTON)
    assert min(dual.capacitor or 0, dual.inductor or 0, dual.bridge or 0) > 0
    # Z_s = jωM at Q 900 / 220: the capacitors and the trap may cost a few milliohm, not the SNR
    assert predict_pair(dual, pair_at(SODIUM)).snr_factor[0] > 0.97


def test_what_no_network_can_do_is_refused() -> None:
    """Nothing to cancel, a positive M for the dual network, a pole outside, impossible loops."""
    with pytest.raises(ValueError, match="nothing to cancel"):
        shared_capacitor(0.0, SODIUM)
    with pytest.raises(ValueError, match="shared inductor"):
        shared_dual_network(-M, SODIUM, PROTON)
    with pytest.raises(ValueError, match="between"):
        shared_dual_network(M, SODIUM, PROTON, pole=20e6)
    with pytest.raises(ValueError, match="k must be < 1"):
        Pair(SODIUM, (L1, L2), (0.3, 0.3), 0.3e-6)
    with pytest.raises(ValueError, match="positive"):
        Pair(SODIUM, (L1, L2), (0.0, 0.3), M)
    with pytest.raises(ValueError, match="Q must be"):
        predict_pair(shared_inductor(M), pair_at(SODIUM), inductor_q=0.0)


def ring(count: int) -> np.ndarray:
    """Return the inductances of unequal loops with coupling to second neighbours."""
    rng = np.random.default_rng(31)
    inductance = rng.uniform(0.22e-6, 0.28e-6, count)
    k = np.zeros((count, count))
    for i in range(count):
        k[i, (i + 1) % count] = rng.normal(0, 0.003)
        k[i, (i + 2) % count] = rng.uniform(-0.02, 0.02)
    k = k + k.T + np.eye(count)
    return k * np.sqrt(np.outer(inductance, inductance))


def test_counter_wound_inductors_cancel_next_nearest_neighbours_at_both_nuclei() -> None:
    """The Z-matrix of all branches, reduced to the loops, has no M between these pairs."""
    count = 7
    matrix = ring(count)
    pairs = [(i + 1, (i + 2) % count + 1) for i in range(count)]
    windings = wind_for(matrix, pairs, coupling=0.45)
    resistance = {SODIUM: np.full(count, 0.25), PROTON: np.linspace(1.5, 2.0, count)}
    outcomes = predict_windings(matrix, windings, resistance, inductor_q=150.0)
    branches = count + 2 * len(windings)
    for outcome in outcomes:
        w = 2 * np.pi * outcome.frequency
        z = np.zeros((branches, branches), dtype=complex)
        z[:count, :count] = np.diag(resistance[outcome.frequency]) + 1j * w * matrix
        loops = np.zeros((branches, count))
        loops[:count] = np.eye(count)
        for number, one in enumerate(windings):
            a, b = count + 2 * number, count + 2 * number + 1
            own = w * one.inductance * (1j + 1 / 150.0)
            across = 1j * w * one.coupling * one.inductance
            z[a, a], z[b, b], z[a, b], z[b, a] = own, own, across, across
            loops[a, one.pair[0] - 1] = 1.0
            loops[b, one.pair[1] - 1] = -1.0 if one.opposed else 1.0
        reduced = loops.T @ z @ loops
        assert np.abs(reduced.imag - w * outcome.inductance).max() < 1e-12 * np.abs(reduced).max()
        assert np.abs(reduced.real - outcome.resistance).max() < 1e-12 * np.abs(reduced).max()
        for first, second in pairs:
            assert abs(reduced[first - 1, second - 1].imag) < 1e-12 * w * matrix.max()
            assert outcome.k_after[first - 1, second - 1] == pytest.approx(0.0, abs=1e-12)
        # neighbours are not cancelled but weakened: more self-inductance
        assert 0 < abs(outcome.k_after[0, 1]) < abs(outcome.k_before[0, 1])
        assert np.all(outcome.snr_factor < 1.0)
        expected = np.sqrt(resistance[outcome.frequency] / np.diag(reduced).real)
        assert outcome.snr_factor == pytest.approx(expected)


def test_a_given_winding_needs_the_coupling_that_follows() -> None:
    """Less inductance needs more coupling; more than can be wound is refused with what would do."""
    matrix = np.array([[250.0, -4.0], [-4.0, 250.0]]) * 1e-9
    (one,) = wind_for(matrix, [(1, 2)], winding=8e-9)
    assert one.coupling == pytest.approx(0.5)
    assert not one.opposed
    assert one.mutual == pytest.approx(4e-9)
    assert "in the same sense" in str(one)
    with pytest.raises(ValueError, match=r"needs a coupling of 1\.00.*5\.00 nH"):
        wind_for(matrix, [(1, 2)], winding=4e-9)
    with pytest.raises(ValueError, match="either"):
        wind_for(matrix, [(1, 2)])
    with pytest.raises(ValueError, match="no pair"):
        wind_for(matrix, [(1, 3)], coupling=0.5)
    with pytest.raises(ValueError, match="symmetric"):
        wind_for(matrix + np.array([[0, 1e-7], [0, 0]]), [(1, 2)], coupling=0.5)
