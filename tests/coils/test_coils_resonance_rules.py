"""Facts about the 3 dB and 7 dB rules: exact where theory says so, worth their stated bar elsewhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.resonance import fit_resonance, rules_of_thumb, seven_db_rule, three_db_rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

CENTRE, Q0 = 33.8e6, 190.0


def reflection(f: NDArray[np.float64], coupling: float, q0: float = Q0) -> NDArray[np.complex128]:
    """Return the reflection of a series resonator of resistance Z0 / coupling."""
    t = f / CENTRE - CENTRE / f
    z = (1.0 + 1j * q0 * t) / coupling
    return np.asarray((z - 1.0) / (z + 1.0))


def sweep(widths: float, points: int, coupling: float = 1.0, off: float = 0.0) -> NDArray[np.float64]:
    """Return a sweep over ``widths`` loaded bandwidths, its grid shifted by ``off`` steps."""
    span = widths * CENTRE * (1.0 + coupling) / Q0
    grid = np.linspace(-0.5 * span, 0.5 * span, points)
    return CENTRE + grid + off * (grid[1] - grid[0])


def test_at_critical_match_a_fifth_of_the_power_returns_half_a_loaded_width_apart() -> None:
    """|S|² is exactly 1/2 at ± f0/2QL and exactly 1/5, -6.99 dB, at ± f0/2Q0 (Q0 = 2 QL)."""
    for level, width in ((0.5, 1.0 / (0.5 * Q0)), (0.2, 1.0 / Q0)):
        # t = f/f0 - f0/f = ± width solved for f
        upper = CENTRE * (0.5 * width + math.sqrt(1.0 + (0.5 * width) ** 2))
        lower = CENTRE**2 / upper
        assert upper - lower == pytest.approx(width * CENTRE, rel=1e-12)
        assert np.abs(reflection(np.array([lower, upper]), 1.0)) ** 2 == pytest.approx([level] * 2, rel=1e-9)


@pytest.mark.parametrize("off", [0.0, 0.13, 0.37, 0.5, 0.81])
def test_interpolated_rules_are_exact_where_points_alone_err_by_percents(off: float) -> None:
    """201 points over 10 widths: to 2e-3 between the points; the nearest points may miss 5 and 10 %."""
    f = sweep(10.0, 201, off=off)
    s = reflection(f, 1.0)
    three, seven = three_db_rule(f, s), seven_db_rule(f, s)
    assert three.states == "loaded"
    assert three.q == pytest.approx(Q0 / 2, rel=2e-3)
    assert seven.states == "unloaded"
    assert seven.q == pytest.approx(Q0, rel=4e-3)
    fit = fit_resonance(f, s)
    assert fit.q_unloaded == pytest.approx(Q0, rel=5e-4)


def test_points_without_interpolation_are_percents_off() -> None:
    """What a marker without interpolation reads: the worst over grid shifts is 3 to 5 % and 7 to 10 %."""
    worst = {0.5: 0.0, 0.2: 0.0}
    for off in np.linspace(0.0, 0.95, 20):
        f = sweep(10.0, 201, off=float(off))
        power = np.abs(reflection(f, 1.0)) ** 2
        for level, q in ((0.5, Q0 / 2), (0.2, Q0)):
            inside = f[power <= level]
            worst[level] = max(worst[level], abs(CENTRE / (inside[-1] - inside[0]) / q - 1.0))
    # a width of 20 (10) steps loses up to two steps, at least one for some shift
    assert 1 / 20 < worst[0.5] < 2.2 / 18
    assert 1 / 10 < worst[0.2] < 2.4 / 8


@pytest.mark.parametrize("coupling", [0.2, 0.6, 1.0, 1.7, 4.0])
def test_half_of_the_absorbed_power_gives_the_loaded_q_for_any_coupling(coupling: float) -> None:
    """Absorbed power is a Lorentz line of the loaded width, over- and undercoupled."""
    f = sweep(6.0, 401, coupling, off=0.3)
    rule = three_db_rule(f, reflection(f, coupling))
    assert rule.q == pytest.approx(Q0 / (1.0 + coupling), rel=1e-3)


@pytest.mark.parametrize("coupling", [0.7, 0.9, 1.1, 1.4])
def test_the_seven_db_rule_states_what_a_mismatch_may_do_to_it(coupling: float) -> None:
    """Off critical match it errs by (3κ - 1 - κ²)^(-1/2); the bar holds that for either branch."""
    f = sweep(6.0, 801, coupling)
    rule = seven_db_rule(f, reflection(f, coupling))
    expected = Q0 / math.sqrt(3.0 * coupling - 1.0 - coupling**2)
    assert rule.q == pytest.approx(expected, rel=2e-3)
    assert abs(rule.q - Q0) <= rule.uncertainty * 1.01
    assert rule.uncertainty > 0.5 * abs(rule.q - Q0)


@pytest.mark.parametrize("noise", [3e-4, 3e-3])
def test_the_rules_bars_hold_their_scatter(noise: float) -> None:
    """Over 120 noisy traces the scatter is no larger than the stated bars, and not a tenth of them."""
    rng = np.random.default_rng(31)
    f = sweep(5.0, 161)
    clean = reflection(f, 1.0)
    rows = []
    for _ in range(120):
        s = clean + noise / math.sqrt(2.0) * (rng.normal(size=f.size) + 1j * rng.normal(size=f.size))
        three, seven = three_db_rule(f, s), seven_db_rule(f, s)
        rows.append(((three.q - Q0 / 2) / three.uncertainty, (seven.q - Q0) / seven.uncertainty))
    spread = np.sqrt(np.mean(np.square(rows), axis=0))
    # 120 draws know a standard deviation to 6.5 %
    assert np.all(spread < 1.2)
    assert np.all(spread > 0.1)


def test_the_transmission_rule_takes_half_of_the_peak() -> None:
    """S21 = p / (1 + i Q_L t): the width at half power is f0 / Q_L."""
    f = sweep(4.0, 333, off=0.2)
    t = f / CENTRE - CENTRE / f
    rule = three_db_rule(f, 0.004 / (1.0 + 95.0j * t), kind="transmission")
    assert rule.q == pytest.approx(95.0, rel=1e-3)


def test_rules_beside_a_fit_agree_with_it_behind_a_lossy_cable() -> None:
    """1.4 dB of cable there and back: referred to the detuned point, both rules agree within three bars."""
    rng = np.random.default_rng(32)
    f = sweep(6.0, 301)
    behind = 0.85 * np.exp(-2j * np.pi * 30e-9 * (f - CENTRE)) * reflection(f, 1.05)
    s = behind + 1e-3 * (rng.normal(size=f.size) + 1j * rng.normal(size=f.size))
    fit = fit_resonance(f, s)
    three, seven = rules_of_thumb(f, s, fit)
    assert abs(three.q - fit.q_loaded) < 3.0 * three.uncertainty
    assert abs(seven.q - fit.q_unloaded) < 3.0 * seven.uncertainty
    shallow = reflection(f, 0.2)
    assert [rule.rule for rule in rules_of_thumb(f, shallow, fit_resonance(f, shallow))] == ["3 dB"]


def test_rules_that_cannot_be_read_say_why() -> None:
    """Too narrow a sweep, a dip that is too shallow, a dip at the edge."""
    narrow = sweep(0.8, 101)
    with pytest.raises(MeasurementError, match="ends before half power"):
        three_db_rule(narrow, reflection(narrow, 1.0))
    f = sweep(6.0, 201, 0.2)
    with pytest.raises(MeasurementError, match="does not reach -7 dB"):
        seven_db_rule(f, reflection(f, 0.2))
    with pytest.raises(MeasurementError, match="edge"):
        three_db_rule(f[120:], reflection(f[120:], 1.0))
