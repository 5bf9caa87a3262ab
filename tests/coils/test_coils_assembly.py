"""N-port assembly: exact with known loads, as quiet as the sweeps, and suspicious of wrong cables."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coilbench.base.errors import MeasurementError
from coilbench.base.verdict import Verdict
from coils.assembly import (
    PartialSweep,
    assemble,
    from_terminated_waves,
    plan_connections,
    relabelled,
    suspect_connections,
    to_terminated_waves,
)
from coils.assembly.checks import indistinguishable_ports, judge_assembly, largest_gain, reciprocity_error
from coils.assembly.covering import cover_pairs, schoenheim_bound


def smooth(rng, points, *shape):
    """Return complex functions of frequency that vary slowly and differ everywhere."""
    order = np.arange(4)
    waves = np.exp(2j * np.pi * np.outer(np.linspace(0.0, 1.0, points), order))
    weights = rng.standard_normal((4, *shape)) + 1j * rng.standard_normal((4, *shape))
    return np.tensordot(waves, weights, axes=1)


def device(rng, ports, points, *, reciprocal=True, norm=0.9):
    """Return a random passive device's S-matrix, shape (points, ports, ports)."""
    s = smooth(rng, points, ports, ports)
    if reciprocal:
        s = s + np.swapaxes(s, -1, -2)
    return norm * s / np.linalg.norm(s, ord=2, axis=(-2, -1)).max()


def twenty_db_loads(rng, ports, points):
    """Return loads of exactly 20 dB return loss with a phase of their own at each port and frequency."""
    return 0.1 * np.exp(1j * np.angle(smooth(rng, points, ports)))


def terminated(s, chosen, loads):
    """Return the S-matrix of ports ``chosen`` while all others end in their loads.

    By elimination of the waves at the other ports, S_cc + S_cr Γ (1 - S_rr Γ)⁻¹ S_rc; nothing of the tested
    code is in it.
    """
    rest = [port for port in range(s.shape[-1]) if port not in chosen]
    block = s[:, chosen][:, :, chosen]
    if not rest:
        return block
    gamma = np.einsum("fi,ij->fij", loads[:, rest], np.eye(len(rest)))
    inner = np.eye(len(rest)) - s[:, rest][:, :, rest] @ gamma
    return block + s[:, chosen][:, :, rest] @ gamma @ np.linalg.solve(inner, s[:, rest][:, :, chosen])


def sweeps(s, loads, connections, rng=None, noise=0.0, mistakes=None):
    """Return what an analyzer measures; ``mistakes`` gives, by place, the ports it was really on."""
    frequencies = np.linspace(30e6, 130e6, s.shape[0])
    parts = []
    for place, ports in enumerate(connections):
        really = (mistakes or {}).get(place, ports)
        block = terminated(s, [port - 1 for port in really], loads)
        if noise:
            block = block + noise / np.sqrt(2) * (
                rng.standard_normal(block.shape) + 1j * rng.standard_normal(block.shape)
            )
        parts.append(PartialSweep(ports, frequencies, block))
    return parts


def pairs(ports, cables=2):
    return [connection.ports for connection in plan_connections(range(1, ports + 1), cables).connections]


# -- plan -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ports", range(2, 34))
def test_two_cables_measure_every_pair_once_and_move_one_cable_a_step(ports):
    """n(n-1)/2 connections cannot be undercut, and after the first each moves exactly one cable."""
    plan = plan_connections(range(1, ports + 1))
    assert sorted(tuple(sorted(c.ports)) for c in plan.connections) == list(
        combinations(range(1, ports + 1), 2)
    )
    assert plan.lower_bound == len(plan.connections)
    assert [len(c.moved) for c in plan.connections] == [2] + [1] * (len(plan.connections) - 1)


@pytest.mark.parametrize("ports", range(3, 18))
def test_a_one_source_analyzer_sees_every_pair_both_ways_round(ports):
    """n(n-1) ordered pairs, one cable moved in each step."""
    plan = plan_connections(range(1, ports + 1), both_directions=True)
    assert len({c.ports for c in plan.connections}) == len(plan.connections) == ports * (ports - 1)
    assert plan.cable_moves == len(plan.connections) + 1


@pytest.mark.parametrize(
    ("ports", "cables", "known"),
    # La Jolla Covering Repository, C(v, k, 2): the smallest coverings known
    [(8, 4, 6), (16, 4, 20), (9, 3, 12), (16, 8, 6), (5, 4, 3), (32, 8, 20)],
)
def test_four_and_eight_cables_need_no_more_connections_than_the_best_known(ports, cables, known):
    """Where a construction fits, the covering is as small as any known."""
    plan = plan_connections(range(1, ports + 1), cables)
    assert len(plan.connections) == known
    assert plan.lower_bound <= known


@settings(max_examples=20, deadline=None)
@given(ports=st.integers(2, 24), cables=st.integers(2, 9))
def test_every_covering_covers_and_none_beats_the_bound(ports, cables):
    """Every pair lies in a block of at most ``cables`` ports; Schoenheim's bound holds."""
    blocks = cover_pairs(ports, cables)
    covered = {pair for block in blocks for pair in combinations(sorted(block), 2)}
    assert covered == set(combinations(range(ports), 2))
    assert all(len(set(block)) == len(block) <= cables for block in blocks)
    assert len(blocks) >= (schoenheim_bound(ports, cables) if ports > cables else 1)


def test_ports_keep_their_cables_between_connections_of_many_cables():
    """A port that is in two connections in a row is not unscrewed in between, and moves are counted."""
    plan = plan_connections([3, 5, 6, 8, 11, 12, 14, 20], 4)
    assert {port for c in plan.connections for port in c.ports} == {3, 5, 6, 8, 11, 12, 14, 20}
    for before, after in zip(plan.connections, plan.connections[1:], strict=False):
        for port in set(before.ports) & set(after.ports):
            assert before.ports.index(port) == after.ports.index(port)


@pytest.mark.parametrize("bad", [([1], 2), ([1, 1, 2], 2), ([1, 2], 1)])
def test_senseless_plans_are_refused(bad):
    """One port, one port twice, one cable."""
    with pytest.raises(ValueError, match="two or more cables and different ports"):
        plan_connections(*bad)
    with pytest.raises(ValueError, match="two cables"):
        plan_connections([1, 2, 3], 3, both_directions=True)


# -- waves ------------------------------------------------------------------------------------------


def test_load_waves_agree_with_scikit_rfs_renormalisation_for_real_loads():
    """Power waves to a real load are b - Γ a and a - Γ b over √(1 - Γ²): scikit-rf's follow from ours."""
    from skrf.network import renormalize_s

    rng = np.random.default_rng(4)
    s = device(rng, 3, 5, reciprocal=False)
    ohms = np.array([35.0, 61.0, 80.0])
    gamma = np.tile((ohms - 50.0) / (ohms + 50.0), (5, 1)).astype(complex)
    ours = to_terminated_waves(s, gamma)
    theirs = renormalize_s(s, np.full((5, 3), 50.0), np.tile(ohms, (5, 1)))
    # b - Γ a = b' - Γ (a' + Γ b') = (1 - Γ²) b' - Γ a'
    root = np.sqrt(1.0 - gamma[0] ** 2)
    expected = root[:, None] * ours * root[None, :] - np.diag(gamma[0])
    np.testing.assert_allclose(theirs, expected, atol=1e-13)


@settings(max_examples=25, deadline=None)
@given(ports=st.integers(1, 7), points=st.integers(1, 4), seed=st.integers(0, 1000))
def test_there_and_back_is_the_identity(ports, points, seed):
    """The two conversions are inverse to each other, for pairs (closed form) as for others."""
    rng = np.random.default_rng(seed)
    s, loads = device(rng, ports, points, reciprocal=False), twenty_db_loads(rng, ports, points)
    np.testing.assert_allclose(from_terminated_waves(to_terminated_waves(s, loads), loads), s, atol=1e-13)


# -- assembly ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ports", "points", "reciprocal"), [(8, 23, True), (8, 9, False), (32, 3, False)])
def test_twenty_db_loads_are_taken_out_exactly(ports, points, reciprocal):
    """8 x 8 and 32 x 32 from pairs to 1e-12; scikit-rf's assembly for ideal loads errs by 1e-2."""
    from skrf.network import Network, n_twoports_2_nport

    rng = np.random.default_rng(ports)
    s, loads = device(rng, ports, points, reciprocal=reciprocal), twenty_db_loads(rng, ports, points)
    parts = sweeps(s, loads, pairs(ports))
    assembly = assemble(parts, loads, noise=1e-9)
    assert not assembly.missing
    assert not assembly.suspicions
    assert np.abs(assembly.s - s).max() < 1e-12
    ordered = []
    for part in parts:
        flipped = part.ports[0] > part.ports[1]
        block = part.s[:, ::-1, ::-1] if flipped else part.s
        network = Network(f=part.frequencies, f_unit="Hz", s=block, z0=50)
        network.name = "p{}_{}".format(*sorted(part.ports))
        ordered.append(network)
    naive = n_twoports_2_nport(ordered, nports=ports, port_sep="_")
    # a pair's error is Σ_k S_ik Γ_k S_kj: of the order of 0.1 times the square of the couplings
    assert np.abs(naive.s - s).max() > 3e-3


@pytest.mark.parametrize(("ports", "cables"), [(9, 3), (10, 4), (6, 5)])
def test_any_number_of_cables_is_exact(ports, cables):
    """Entries measured more than once, by connections of different sizes, are averaged."""
    rng = np.random.default_rng(cables)
    s, loads = device(rng, ports, 7), twenty_db_loads(rng, ports, 7)
    assembly = assemble(sweeps(s, loads, pairs(ports, cables)), loads, noise=1e-9)
    assert np.abs(assembly.s - s).max() < 1e-12


@pytest.mark.parametrize("ports", [8, 32])
def test_noise_is_not_doubled(ports):
    """The error with noisy sweeps is at most twice the noise of one sweep, and as large as it says."""
    rng = np.random.default_rng(5)
    noise, points = 1e-3, 40
    s, loads = device(rng, ports, points), twenty_db_loads(rng, ports, points)
    assembly = assemble(sweeps(s, loads, pairs(ports), rng, noise), loads, noise=noise)
    error = np.abs(assembly.s - s)
    rms = np.sqrt(np.mean(error**2, axis=0))
    # 40 frequencies: the root mean square of one entry scatters by 1/√80, the largest of 1024 by 4 times that
    assert rms.max() < 2.0 * noise
    assert np.sqrt(np.mean(error**2)) < 1.1 * noise
    stated = np.sqrt(np.mean(assembly.uncertainty(noise) ** 2, axis=0))
    # per entry 1/√80; all entries together: 1/√(2 ports² 40)
    assert np.abs(rms / stated - 1.0).max() < 5.0 / np.sqrt(2 * points)
    assert np.mean(rms**2 / stated**2) == pytest.approx(1.0, abs=5.0 / np.sqrt(ports**2 * points))
    # reflections are seen ports - 1 times: the spread between them is the noise
    assert assembly.spread == pytest.approx(noise, rel=5.0 / np.sqrt(2 * points * (ports - 2)) + 0.05)


def test_the_uncertainty_holds_loads_that_are_known_badly():
    """Loads wrong by random reflections cause the error that is stated for them (first order)."""
    rng = np.random.default_rng(11)
    u, squares = 3e-3, []
    s, loads = device(rng, 6, 3), twenty_db_loads(rng, 6, 3)
    parts = sweeps(s, loads, pairs(6))
    for _ in range(200):
        wrong = loads + u / np.sqrt(2) * (rng.standard_normal((3, 6)) + 1j * rng.standard_normal((3, 6)))
        squares.append(np.abs(assemble(parts, wrong, noise=1.0).s - s) ** 2)
    seen = np.sqrt(np.mean(squares, axis=0))
    stated = assemble(parts, loads, noise=1.0).uncertainty(0.0, u)
    off = ~np.eye(6, dtype=bool)
    # 200 draws of a few loads each: 1/√200 of scatter, 5 times; reflections are averages over pairs, for
    # which the stated sum over all other ports is an upper bound
    assert seen[:, off] == pytest.approx(stated[:, off], rel=5 / np.sqrt(200))
    assert np.all(seen[:, ~off] < 1.4 * stated[:, ~off])


# -- what is missing --------------------------------------------------------------------------------


def test_what_was_not_measured_is_marked_and_never_a_number():
    """A missing pair is nan and masked, is named, and no Touchstone file can be made of the rest."""
    rng = np.random.default_rng(2)
    s, loads = device(rng, 5, 3), twenty_db_loads(rng, 5, 3)
    connections = [ports for ports in pairs(5) if set(ports) != {2, 4}]
    assembly = assemble(sweeps(s, loads, connections), loads, noise=1e-3)
    assert assembly.missing == ((2, 4),)
    assert np.isnan(assembly.s[:, 1, 3]).all()
    assert np.isnan(assembly.s[:, 3, 1]).all()
    assert assembly.masked.mask.sum() == 2 * 3
    assert np.isfinite(assembly.masked.sum())
    with pytest.raises(MeasurementError, match="2-4"):
        assembly.network()
    verdicts = {row.name: row.verdict for row in judge_assembly(assembly, 1e-3)}
    assert verdicts["pairs not measured"] is Verdict.FAIL
    assert verdicts["largest gain"] is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("seed", range(8))
def test_missing_pairs_spoil_the_others_by_no_more_than_stated(seed):
    """Their waves come back from the loads; the bound for a passive device holds and is not idle."""
    rng = np.random.default_rng(seed)
    s, loads = device(rng, 7, 3), twenty_db_loads(rng, 7, 3)
    gone = {(1, 2), (5, 7), (3, 4)}
    connections = [ports for ports in pairs(7) if tuple(sorted(ports)) not in gone]
    assembly = assemble(sweeps(s, loads, connections), loads, noise=1e-3)
    waves = to_terminated_waves(s, loads)
    largest = max(np.abs(waves[:, one - 1, other - 1]).max() for one, other in gone)
    seen = np.abs(assembly.s - s)
    bound = assembly.missing_error(largest)
    known = np.isfinite(seen[0])
    assert np.all(seen[:, known] <= bound[:, known] + 1e-12)
    assert np.all(bound[:, known] <= assembly.missing_error()[:, known])
    assert seen[:, known].max() > 0.05 * bound[:, known].max()


def test_a_port_never_seen_and_a_sweep_with_gaps_are_missing():
    """Half a pair (an analyzer that measures forward only) does not count as a pair."""
    rng = np.random.default_rng(3)
    s, loads = device(rng, 4, 3), twenty_db_loads(rng, 4, 3)
    parts = sweeps(s, loads, [(1, 2), (1, 3), (3, 2)])
    holed = parts[1].s.copy()
    holed[1, 0, 1] = np.nan
    parts[1] = PartialSweep(parts[1].ports, parts[1].frequencies, holed)
    assembly = assemble(parts, loads, noise=1e-3)
    assert assembly.incomplete == (1,)
    assert assembly.missing == ((1, 3), (1, 4), (2, 4), (3, 4), (4, 4))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda parts, loads: (parts, loads[:, :3]), "sweep was made at port 4"),
        (lambda parts, loads: (parts, loads[:2]), "one row for each frequency"),
        (lambda parts, loads: (parts, np.where(loads == loads[0, 0], np.nan, loads)), "known load"),
        (lambda _parts, loads: ([], loads), "at least one"),
        (
            lambda parts, loads: (
                [*parts, PartialSweep((1, 2), parts[0].frequencies + 1e6, parts[0].s)],
                loads,
            ),
            "different frequencies",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, text):
    """The message says what was expected."""
    rng = np.random.default_rng(3)
    s, loads = device(rng, 4, 3), twenty_db_loads(rng, 4, 3)
    parts, loads = change(sweeps(s, loads, pairs(4)), loads)
    with pytest.raises(ValueError, match=text):
        assemble(parts, loads, noise=1e-3)


def test_partial_sweeps_check_themselves():
    """Ports count from 1, differ, and give the shape."""
    f, s = np.array([1e6]), np.zeros((1, 2, 2), complex)
    for ports in ((0, 1), (2, 2), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"port"):
            PartialSweep(ports, f, s)
    with pytest.raises(ValueError, match="positive"):
        suspect_connections([PartialSweep((1, 2), f, s)], np.zeros(2, complex), 0.0)


# -- wrong cables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_exchanged_cables_are_named_and_nothing_else_is(seed):
    """Random devices of 3 to 9 ports: every exchanged pair is found, named and put right; no false alarm."""
    rng = np.random.default_rng(seed)
    ports = int(rng.integers(3, 10))
    noise = 1e-3
    s, loads = device(rng, ports, 21), twenty_db_loads(rng, ports, 21)
    connections = pairs(ports)
    # the fewest sweeps that see each port twice can name one mistake; each further two sweeps one more
    count = 1 if ports < 6 else int(rng.integers(1, 4))
    wrong = rng.choice(len(connections), size=count, replace=False)
    mistakes = {int(place): connections[place][::-1] for place in wrong}
    parts = sweeps(s, loads, connections, rng, noise, mistakes)
    found = suspect_connections(parts, loads, noise)
    assert {suspicion.index: suspicion.actual for suspicion in found} == mistakes
    assert all("cables exchanged" in str(suspicion) for suspicion in found)
    for suspicion in found:
        parts[suspicion.index] = relabelled(parts[suspicion.index], suspicion)
    repaired = assemble(parts, loads, noise=noise)
    assert not repaired.suspicions
    assert np.sqrt(np.mean(np.abs(repaired.s - s) ** 2)) < 2.0 * noise


@pytest.mark.parametrize("seed", range(30))
def test_a_cable_on_a_third_port_is_named(seed):
    """The port it was really on is found; its pair is missing, not wrong."""
    rng = np.random.default_rng(1000 + seed)
    ports, noise = int(rng.integers(4, 9)), 1e-3
    s, loads = device(rng, ports, 21), twenty_db_loads(rng, ports, 21)
    connections = pairs(ports)
    place = int(rng.integers(len(connections)))
    planned = connections[place]
    third = int(rng.choice([port for port in range(1, ports + 1) if port not in planned]))
    really = (third, planned[1]) if rng.random() < 0.5 else (planned[0], third)
    parts = sweeps(s, loads, connections, rng, noise, {place: really})
    assembly = assemble(parts, loads, noise=noise)
    assert [(each.index, each.actual) for each in assembly.suspicions] == [(place, really)]
    assert f"on port {third} instead of" in str(assembly.suspicions[0])
    assert assembly.missing == (tuple(sorted(planned)),)
    assert np.nanmax(np.abs(assembly.s - s)) < np.nanmax(assembly.missing_error()) + 6 * noise


def test_four_cables_in_any_wrong_order_are_put_right():
    """With four cables on eight ports, 24 orders are possible; the true one is named."""
    rng = np.random.default_rng(8)
    s, loads = device(rng, 8, 21), twenty_db_loads(rng, 8, 21)
    connections = pairs(8, 4)
    truth = (connections[2][2], connections[2][0], connections[2][3], connections[2][1])
    found = suspect_connections(sweeps(s, loads, connections, rng, 1e-3, {2: truth}), loads, 1e-3)
    assert [(each.index, each.actual) for each in found] == [(2, truth)]


def test_a_bad_contact_is_reported_without_inventing_an_exchange():
    """A sweep that no exchange explains is left out and named; the rest is assembled."""
    rng = np.random.default_rng(9)
    s, loads = device(rng, 6, 21), twenty_db_loads(rng, 6, 21)
    parts = sweeps(s, loads, pairs(6), rng, 1e-3)
    loose = parts[7]
    parts[7] = PartialSweep(loose.ports, loose.frequencies, loose.s * 0.8 + 0.15j * np.eye(2))
    assembly = assemble(parts, loads, noise=1e-3)
    assert [each.index for each in assembly.suspicions] == [7]
    assert assembly.suspicions[0].actual is None
    assert "Measure it again" in str(assembly.suspicions[0])
    assert assembly.missing == (tuple(sorted(loose.ports)),)
    with pytest.raises(ValueError, match="cannot relabel"):
        relabelled(parts[7], assembly.suspicions[0])


def test_ports_with_equal_reflections_cannot_be_told_apart_and_this_is_said():
    """Exchanging cables of a device whose ports are alike cannot be noticed; the blind pairs are listed."""
    rng = np.random.default_rng(10)
    s = device(rng, 5, 11)
    s[:, range(5), range(5)] = s[:, :1, 0]
    loads = np.zeros((11, 5), complex)
    connections = pairs(5)
    parts = sweeps(s, loads, connections, rng, 1e-4, {3: connections[3][::-1]})
    assembly = assemble(parts, loads, noise=1e-4)
    assert assembly.suspicions == ()
    assert indistinguishable_ports(assembly, 1e-4) == tuple(combinations(range(1, 6), 2))
    different = assemble(sweeps(device(rng, 5, 11), loads, connections), loads, noise=1e-4)
    assert indistinguishable_ports(different, 1e-4) == ()


# -- checks of the whole ----------------------------------------------------------------------------


def test_a_good_assembly_passes_and_an_amplifier_does_not():
    """Reciprocity and passivity are judged with the noise."""
    rng = np.random.default_rng(12)
    s, loads = device(rng, 4, 15), twenty_db_loads(rng, 4, 15)
    good = assemble(sweeps(s, loads, pairs(4), rng, 1e-3), loads, noise=1e-3)
    assert all(row.verdict is Verdict.PASS for row in judge_assembly(good, 1e-3))
    active = s / largest_gain(s).max() * 1.05
    bad = assemble(sweeps(active, loads, pairs(4), rng, 1e-3), loads, noise=1e-3)
    verdicts = {row.name: row.verdict for row in judge_assembly(bad, 1e-3)}
    assert verdicts["largest gain"] is Verdict.FAIL
    # what a calibration wrong by 0.03 could explain is not called active
    verdicts = {row.name: row.verdict for row in judge_assembly(bad, 1e-3, systematic=0.03)}
    assert verdicts["largest gain"] is Verdict.INCONCLUSIVE
    good_rows = judge_assembly(good, 1e-3, systematic=0.03)
    assert all(row.verdict is Verdict.PASS for row in good_rows)
    one_way = device(rng, 4, 15, reciprocal=False)
    assert reciprocity_error(one_way).max() > 0.01
    isolator = assemble(sweeps(one_way, loads, pairs(4), rng, 1e-3), loads, noise=1e-3)
    verdicts = {row.name: row.verdict for row in judge_assembly(isolator, 1e-3)}
    assert verdicts["|Sij - Sji|"] is Verdict.FAIL
    assert "|Sij - Sji|" not in {row.name for row in judge_assembly(isolator, 1e-3, reciprocal=False)}
    with pytest.raises(ValueError, match="incomplete"):
        largest_gain(np.full((1, 2, 2), np.nan, complex))


def test_noise_that_is_taken_for_too_small_leaves_pairs_missing():
    """Where every connection disagrees, the matrix has holes and fails; nothing is made up."""
    rng = np.random.default_rng(14)
    s, loads = device(rng, 4, 15), twenty_db_loads(rng, 4, 15)
    assembly = assemble(sweeps(s, loads, pairs(4), rng, 1e-3), loads, noise=1e-7)
    assert len(assembly.missing) >= 3
    assert all(suspicion.actual is None for suspicion in assembly.suspicions)
    verdicts = {row.name: row.verdict for row in judge_assembly(assembly, 1e-7)}
    assert verdicts["connections that disagree"] is Verdict.FAIL


def test_an_assembly_goes_to_scikit_rf():
    """Frequencies, S and the reference impedance arrive."""
    rng = np.random.default_rng(13)
    s, loads = device(rng, 3, 4), twenty_db_loads(rng, 3, 4)
    network = assemble(sweeps(s, loads, pairs(3)), loads, noise=1e-6).network(75.0)
    np.testing.assert_allclose(network.s, s, atol=1e-13)
    assert np.all(network.z0 == 75.0)
    assert network.f[-1] == 130e6
