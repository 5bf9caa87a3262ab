"""Facts about loop couplings found from S-matrices."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.decoupling.couplings import find_couplings

F0 = 33.8e6
W0 = 2 * np.pi * F0


class Bench:
    """Loops with shunt and series capacitors behind 50 ohm ports, solved by nodal analysis."""

    def __init__(self, z_loops: np.ndarray, shunt: np.ndarray, series: np.ndarray) -> None:
        self.z_loops, self.shunt, self.series = z_loops, shunt, series

    def scattering(self, *, loops: bool = True) -> np.ndarray:
        count = self.shunt.size
        y = np.zeros((2 * count, 2 * count), dtype=complex)  # first the loops' nodes, then the ports'
        if loops:
            y[:count, :count] += np.linalg.inv(self.z_loops)
        for i in range(count):
            shunt, series = 1j * W0 * self.shunt[i], 1j * W0 * self.series[i]
            y[i, i] += shunt + series
            y[count + i, count + i] += series
            y[i, count + i] -= series
            y[count + i, i] -= series
        z = np.linalg.inv(y)[count:, count:] if loops else None
        if z is None:
            z = np.diag(1 / (1j * W0 * self.shunt) + 1 / (1j * W0 * self.series))
        eye = np.eye(count)
        return (z - 50 * eye) @ np.linalg.inv(z + 50 * eye)


def match_elements(r: float, x: float) -> tuple[float, float]:
    """Shunt and series capacitor that match r + jx to 50 ohm."""
    g, b = r / (r * r + x * x), -x / (r * r + x * x)
    wanted = -np.sqrt(g / 50 - g * g)
    shunt = (-wanted - b) / W0
    node = 1 / (g + 1j * (b + W0 * shunt))
    return (shunt, 1 / (W0 * node.imag)) if node.imag > 0 else ((wanted - b) / W0, -1 / (W0 * node.imag))


def array(rng: np.random.Generator, count: int, off: float) -> tuple[Bench, np.ndarray]:
    """Return an array of unequal loops, each roughly matched alone, and its loop impedances."""
    inductance = rng.uniform(0.2e-6, 0.3e-6, count)
    k = rng.uniform(-0.03, 0.03, (count, count))
    mutual = np.triu(k, 1) * np.sqrt(np.outer(inductance, inductance))
    mutual = mutual + mutual.T + np.diag(inductance)
    resistance = rng.uniform(0.2, 0.5, count)
    common = np.triu(rng.uniform(-0.3, 0.3, (count, count)), 1) * np.sqrt(np.outer(resistance, resistance))
    z = common + common.T + np.diag(resistance) + 1j * W0 * mutual
    elements = np.array([match_elements(z[i, i].real, z[i, i].imag) for i in range(count)])
    elements *= 1 + off * rng.normal(size=elements.shape)
    return Bench(z, elements[:, 0], elements[:, 1]), z


@pytest.mark.parametrize(("count", "off"), [(2, 0.0), (3, 1e-3), (8, 3e-3)])
def test_couplings_of_unequal_mistuned_loops_are_those_of_the_nodal_solution(count: int, off: float) -> None:
    """Signed kQ and common resistances, to rounding, however strongly coupled; β in its closed form."""
    bench, z = array(np.random.default_rng(count), count, off)
    open_loop = np.diag(bench.scattering(loops=False))
    found = find_couplings(bench.scattering(), open_loop)
    root = np.sqrt(np.diag(z).real)
    upper = np.triu_indices(count, 1)
    assert found.signs_known
    assert np.abs((z.imag / np.outer(root, root))[upper]).max() > 1.0  # the peaks split
    assert found.reactive[upper] == pytest.approx((z.imag / np.outer(root, root))[upper], rel=1e-7, abs=1e-8)
    assert found.resistive[upper] == pytest.approx((z.real / np.outer(root, root))[upper], rel=1e-7, abs=1e-8)
    behind = 1 / (1j * W0 * bench.shunt + 1 / (50 + 1 / (1j * W0 * bench.series)))  # what a loop sees
    assert found.match == pytest.approx(behind.real / np.diag(z).real, rel=1e-8)
    assert np.diag(found.reactive) == pytest.approx((np.diag(z).imag + behind.imag) / root**2, abs=1e-6)
    assert np.abs(found.scattering() - bench.scattering()).max() < 1e-12


def test_taking_one_coupling_away_leaves_what_the_nodal_solution_gives_without_it() -> None:
    """S of the loops without M_13, all others kept."""
    bench, z = array(np.random.default_rng(21), 4, 2e-3)
    open_loop = np.diag(bench.scattering(loops=False))
    found = find_couplings(bench.scattering(), open_loop)
    less = z.copy()
    less[0, 2] = less[2, 0] = z[0, 2].real
    expected = Bench(less, bench.shunt, bench.series).scattering()
    assert np.abs(found.without(1, 3).scattering() - expected).max() < 1e-9
    less[0, 2] = less[2, 0] = 0.0
    expected = Bench(less, bench.shunt, bench.series).scattering()
    assert np.abs(found.without(3, 1, resistance=True).scattering() - expected).max() < 1e-9


def test_k_is_that_of_the_inductances() -> None:
    """M / sqrt(L_i L_j), with each loop's own Q."""
    bench, z = array(np.random.default_rng(22), 3, 1e-3)
    found = find_couplings(bench.scattering(), np.diag(bench.scattering(loops=False)))
    q = np.diag(z).imag / np.diag(z).real
    expected = z.imag / np.sqrt(np.outer(np.diag(z).imag, np.diag(z).imag))
    np.fill_diagonal(expected, 0.0)
    assert found.k(q) == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_a_reversed_port_reverses_signs_but_not_sizes() -> None:
    """Half a wave more of cable is the same open-loop reflection: a reversed channel cannot be seen."""
    bench, _ = array(np.random.default_rng(23), 3, 1e-3)
    s, opened = bench.scattering(), np.diag(bench.scattering(loops=False))
    flip = np.diag([1.0, -1.0, 1.0])
    straight, reversed_port = find_couplings(s, opened), find_couplings(flip @ s @ flip, opened)
    assert reversed_port.reactive == pytest.approx(flip @ straight.reactive @ flip, abs=1e-12)


def test_ports_with_unlike_cables_leave_the_sign_open() -> None:
    """A quarter wave more in one channel turns its reflection by half a turn: only sizes stay."""
    bench, _ = array(np.random.default_rng(24), 2, 1e-3)
    s, opened = bench.scattering(), np.diag(bench.scattering(loops=False)).copy()
    line = np.diag([1.0, -1j])
    found = find_couplings(line @ s @ line, opened * np.array([1.0, -1.0]))
    straight = find_couplings(s, opened)
    assert not found.signs_known
    assert np.abs(found.reactive) == pytest.approx(np.abs(straight.reactive), abs=1e-10)


def test_stated_uncertainties_are_root_sums_of_difference_quotients() -> None:
    """Every part of every S moved by itself, off the match too; 1e-6 steps leave 1e-5."""
    bench, _ = array(np.random.default_rng(27), 4, 6e-3)
    s, opened = bench.scattering(), np.diag(bench.scattering(loops=False))
    stated = find_couplings(s, opened, uncertainty=1.0).uncertainty
    at = find_couplings(s, opened).reactive
    total = np.zeros((4, 4))
    for place in np.ndindex(4, 4):
        for part in (1e-6, 1e-6j):
            moved = s.copy()
            moved[place] += part
            total += ((find_couplings(moved, opened).reactive - at) / 1e-6) ** 2
    assert stated == pytest.approx(np.sqrt(total), rel=1e-3)


def test_noise_scatters_the_couplings_as_stated() -> None:
    """400 draws know a standard deviation to 3.5 %; four times that."""
    rng = np.random.default_rng(25)
    bench, _ = array(rng, 3, 1e-3)
    s, opened = bench.scattering(), np.diag(bench.scattering(loops=False))
    sigma = 1e-3
    draws = []
    for _ in range(400):
        noise = rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))
        draws.append(find_couplings(s + sigma * noise, opened, uncertainty=sigma))
    scatter = np.std([d.reactive for d in draws], axis=0)
    stated = np.mean([d.uncertainty for d in draws], axis=0)
    assert scatter / stated == pytest.approx(np.ones((3, 3)), abs=0.14)


def test_what_does_not_belong_together_is_refused() -> None:
    """A lossy match, a missing pair, a foreign open-loop reflection, wrong shapes."""
    bench, _ = array(np.random.default_rng(26), 3, 1e-3)
    s, opened = bench.scattering(), np.diag(bench.scattering(loops=False))
    with pytest.raises(MeasurementError, match=r"port 2 reflects only 0\.50"):
        find_couplings(s, opened * np.array([1.0, 0.5, 1.0]))
    hole = s.copy()
    hole[0, 1] = complex("nan")
    with pytest.raises(MeasurementError, match="missing pairs"):
        find_couplings(hole, opened)
    with pytest.raises(MeasurementError, match="reference plane"):
        find_couplings(np.diag([-1.1, 0.0, 0.0]).astype(complex), np.ones(3, dtype=complex))
    with pytest.raises(MeasurementError, match="no loop"):
        find_couplings(np.eye(2, dtype=complex), np.ones(2, dtype=complex))
    with pytest.raises(ValueError, match="do not fit"):
        find_couplings(s, opened[:2])
