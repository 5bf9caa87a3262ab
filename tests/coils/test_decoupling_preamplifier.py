"""Facts about preamplifier decoupling and its phase, judged by chain matrices of the whole circuit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coils.decoupling.phase_shifter import phase_shifter
from coils.decoupling.preamplifier import (
    advise_phase,
    decoupling_db,
    extreme_phases,
    phase_window,
)

F = 33.78e6
W = 2 * np.pi * F


def series(z: complex) -> np.ndarray:
    return np.array([[1, z], [0, 1]], dtype=complex)


def shunt(y: complex) -> np.ndarray:
    return np.array([[1, 0], [y, 1]], dtype=complex)


def line(phase: float, loss_db: float = 0.0, z0: float = 50.0) -> np.ndarray:
    gamma = 1j * phase + loss_db / 20 * np.log(10)
    return np.array([[np.cosh(gamma), z0 * np.sinh(gamma)], [np.sinh(gamma) / z0, np.cosh(gamma)]])


class Coil:
    """A loop with lossy shunt and series capacitors; the chain runs from the loop to the port."""

    def __init__(self, *, r: float = 0.31, inductance: float = 0.21e-6, q: float = np.inf, off: float = 0.0):
        self.loop = r + 1j * W * inductance
        g, b = (1 / self.loop).real, (1 / self.loop).imag
        wanted = np.sqrt(g / 50 - g * g)
        shunt_b, series_x = wanted - b, wanted / (g * g + wanted * wanted)
        assert series_x > 0
        # B' > 0 leaves a capacitive node, so the series element is an inductor's reactance
        lossy = 1 - 1j / q if np.isfinite(q) else 1.0
        self.match = shunt(1j * shunt_b * (1 + off) * lossy) @ series(1j * series_x * lossy)

    def reflection(self, *, open_loop: bool = False) -> complex:
        a, b, c, d = self.match.ravel()
        # with the loop open, looking back from the port I1 = 0
        z = d / c if open_loop else (d * self.loop + b) / (c * self.loop + a)
        return (z - 50) / (z + 50)

    def current(self, chain: np.ndarray, load: complex) -> complex:
        """Loop current per induced volt with a chain and a load behind the port."""
        a, b, c, d = (self.match @ chain).ravel()
        return 1 / (self.loop + (a * load + b) / (c * load + d))


def reflection(z: complex) -> complex:
    return (z - 50) / (z + 50)


@pytest.mark.parametrize("coil", [Coil(), Coil(q=180.0), Coil(off=0.002), Coil(q=90.0, off=-0.004, r=1.4)])
@pytest.mark.parametrize("preamplifier", [2.0, 1.3 + 6j, 11 - 20j, 180 + 90j])
def test_decoupling_over_the_phase_is_that_of_the_whole_circuit(coil: Coil, preamplifier: complex) -> None:
    """From three measured reflections alone, at all phases, for lossy and mistuned matches too."""
    phases = np.linspace(-1.6, 3.3, 57)
    found = decoupling_db(
        coil.reflection(), coil.reflection(open_loop=True), reflection(preamplifier), phases, loss_db=0.15
    )
    at_50 = coil.current(np.eye(2), 50.0)
    for phase, value in zip(phases, found, strict=True):
        truth = 20 * np.log10(abs(at_50 / coil.current(line(phase, 0.15), preamplifier)))
        assert value == pytest.approx(truth, abs=1e-9)


@pytest.mark.parametrize(("ohm", "best"), [(1.0, 28.13), (2.0, 22.28), (5.0, 14.81)])
def test_a_lossless_match_reaches_roemers_closed_form_and_falls_below_none(ohm: float, best: float) -> None:
    """20 log10((50 + r) / 2r) at the best phase, -20 log10(1 + ρ) at the worst."""
    coil = Coil()
    gamma = reflection(ohm)
    phases = extreme_phases(coil.reflection(), coil.reflection(open_loop=True), gamma)
    values = decoupling_db(coil.reflection(), coil.reflection(open_loop=True), gamma, np.array(phases))
    assert values[0] == pytest.approx(20 * np.log10((50 + ohm) / (2 * ohm)), abs=1e-6)
    assert values[0] == pytest.approx(best, abs=0.01)
    assert values[1] == pytest.approx(-20 * np.log10(1 + abs(gamma)), abs=1e-6)
    assert values[1] < -5.1


def test_decoupling_is_measured_as_current_of_a_loop_among_others() -> None:
    """The same holds for one loop of a coupled pair: its neighbour's port stays as it is."""
    coil, z_neighbour, mutual = Coil(r=0.3), 0.4 + 0.9j, 0.35j
    coil.loop = coil.loop - mutual**2 / z_neighbour  # what the neighbour reflects into it
    found = decoupling_db(coil.reflection(), coil.reflection(open_loop=True), reflection(2.0), 0.4)
    truth = 20 * np.log10(abs(coil.current(np.eye(2), 50.0) / coil.current(line(0.4), 2.0)))
    assert found == pytest.approx(truth, abs=1e-9)


complex_numbers = st.builds(
    lambda size, angle: size * np.exp(1j * angle), st.floats(0.05, 0.98), st.floats(-3.14, 3.14)
)


@settings(max_examples=150, deadline=None)
@given(s11=complex_numbers, opened=complex_numbers, gamma=complex_numbers, level=st.floats(-8.0, 30.0))
def test_extremes_and_window_are_those_of_a_dense_scan(
    s11: complex, opened: complex, gamma: complex, level: float
) -> None:
    """No phase is better than the best or worse than the worst; the window holds what reaches the level."""
    if abs(s11 - opened) < 0.02:
        return
    phases = np.linspace(-np.pi / 2, np.pi / 2, 3001)
    scan = decoupling_db(s11, opened, gamma, phases)
    best, worst = extreme_phases(s11, opened, gamma)
    top, bottom = decoupling_db(s11, opened, gamma, np.array([best, worst]))
    assert scan.max() <= top + 1e-9
    assert scan.min() >= bottom - 1e-9
    assert abs(best) <= np.pi / 2 + 1e-12
    window = phase_window(s11, opened, gamma, level)
    reached = scan >= level
    if window is None:
        assert top < level + 1e-9
        assert not reached.any()
        return
    low, high = window
    inside = np.any([(phases + turn >= low) & (phases + turn <= high) for turn in (-np.pi, 0, np.pi)], axis=0)
    # up to the scan's own grid at the edges
    assert np.count_nonzero(inside != reached) <= 4
    edges = decoupling_db(s11, opened, gamma, np.array([low, high]))
    if high - low < np.pi - 1e-9:
        assert edges == pytest.approx([level, level], abs=1e-6)


def test_following_the_advice_moves_the_circuit_to_its_optimum() -> None:
    """From 5 dB worse than nothing to 22 dB, by cable and by the network alike."""
    coil, preamplifier = Coil(), 2.0
    s11, opened = coil.reflection(), coil.reflection(open_loop=True)
    start = extreme_phases(s11, opened, reflection(preamplifier))[1]
    seen = reflection(preamplifier) * np.exp(-2j * start)
    advice = advise_phase(s11, opened, seen, frequency=F, velocity_factor=0.66)
    assert advice.is_worse_than_none
    assert advice.now_db == pytest.approx(-5.68, abs=0.01)
    assert "worse than no preamplifier" in str(advice)
    at_50 = coil.current(np.eye(2), 50.0)
    beta = W / (0.66 * 299792458.0)
    by_cable = coil.current(line(start + beta * advice.length), preamplifier)
    assert 20 * np.log10(abs(at_50 / by_cable)) == pytest.approx(22.28, abs=0.01)
    half_wave_more = coil.current(line(start + beta * (advice.length + advice.half_wave)), preamplifier)
    assert abs(half_wave_more) == pytest.approx(abs(by_cable), rel=1e-9)
    shifter = advice.shifter
    assert shifter is not None
    if shifter.low_pass:
        arm, across = 1j * W * shifter.series, 1j * W * shifter.shunt
    else:
        arm, across = 1 / (1j * W * shifter.series), 1 / (1j * W * shifter.shunt)
    network = shunt(across) @ series(arm) @ shunt(across) @ line(start)
    assert abs(coil.current(network, preamplifier)) == pytest.approx(abs(by_cable), rel=1e-6)
    there = advise_phase(s11, opened, seen * np.exp(-2j * advice.change), frequency=F)
    assert there.is_in_window
    assert there.shifter is None
    assert "leave it" in str(there)


def test_the_window_narrows_as_the_preamplifier_gets_better() -> None:
    """3 dB below the best |1 - ρe^jδ| = √2 (1 - ρ); the cable's phase is half of δ each way."""
    coil = Coil()
    for ohm in (1.0, 2.0, 5.0):
        advice = advise_phase(
            coil.reflection(), coil.reflection(open_loop=True), reflection(ohm), frequency=F
        )
        rho = abs(reflection(ohm))
        gain = 10**0.3
        delta = np.arccos((1 + rho**2 - gain * (1 - rho) ** 2) / (2 * rho))
        assert advice.window[1] - advice.change == pytest.approx(delta / 2, abs=1e-6)


def test_the_interval_of_now_holds_what_the_uncertain_phase_may_give() -> None:
    """500 draws of the phase: 95 % lie inside."""
    rng = np.random.default_rng(41)
    coil = Coil()
    s11, opened = coil.reflection(), coil.reflection(open_loop=True)
    gamma = reflection(2.0) * np.exp(0.5j)
    draws = [gamma * np.exp(1j * rng.normal(0, 0.2)) for _ in range(500)]
    advice = advise_phase(s11, opened, gamma, frequency=F, phase_uncertainty=0.2)
    values = np.array([decoupling_db(s11, opened, draw) for draw in draws])
    inside = np.mean((values >= advice.now_low_db) & (values <= advice.now_high_db))
    assert 0.92 < inside <= 0.98


def test_a_phase_that_cannot_matter_or_a_level_out_of_reach_is_said() -> None:
    """A matched preamplifier, a dead port, an impossible shifter, 30 dB from 5 ohm."""
    coil = Coil()
    s11, opened = coil.reflection(), coil.reflection(open_loop=True)
    with pytest.raises(ValueError, match="matched preamplifier"):
        extreme_phases(s11, opened, 0.0)
    with pytest.raises(ValueError, match="is it connected"):
        extreme_phases(opened, opened, 0.9)
    with pytest.raises(ValueError, match="π-section"):
        phase_shifter(0.0, F)
    advice = advise_phase(s11, opened, reflection(5.0), frequency=F, level_db=30.0)
    assert "out of reach" in str(advice)
