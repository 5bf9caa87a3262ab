"""Facts about k: from split modes, from a whole split trace, and from S21 and S11 of two matched loops.

Truth is the circuit of two inductively coupled series loops, solved here by inverting its impedance matrix.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.resonance import coupling_from_matched, coupling_from_split, coupling_of_modes

if TYPE_CHECKING:
    from numpy.typing import NDArray

CENTRE, INDUCTANCE = 33.8e6, 200e-9


def two_loops(
    f: NDArray[np.float64],
    k: float,
    *,
    q: tuple[float, float] = (190.0, 190.0),
    centre: tuple[float, float] = (CENTRE, CENTRE),
    ports: tuple[bool, bool] = (True, True),
) -> NDArray[np.complex128]:
    """Return S (frequency, port, port) of two loops, each matched to its port while alone, or without."""
    omega = 2 * np.pi * f
    z = np.zeros((f.size, 2, 2), dtype=np.complex128)
    resistance = np.empty(2)
    for loop in range(2):
        own = 2 * np.pi * centre[loop]
        resistance[loop] = own * INDUCTANCE / q[loop]
        z[:, loop, loop] = resistance[loop] + 1j * omega * INDUCTANCE + own**2 * INDUCTANCE / (1j * omega)
    z[:, 0, 1] = z[:, 1, 0] = 1j * omega * k * INDUCTANCE
    load = np.diag(np.where(ports, resistance, 0.0))
    root = np.sqrt(load)
    return np.asarray(np.eye(2) - 2.0 * root @ np.linalg.inv(z + load) @ root)


def noise(rng: np.random.Generator, size: int, rms: float) -> NDArray[np.complex128]:
    return np.asarray(rms / math.sqrt(2.0) * (rng.normal(size=size) + 1j * rng.normal(size=size)))


@pytest.mark.parametrize("k", [0.01, 0.05, 0.2])
def test_modes_of_two_identical_lossless_loops_lie_at_one_over_root_one_plus_minus_k(k: float) -> None:
    """Then k = (f2² - f1²)/(f2² + f1²) exactly: eigenvalues of the inductance matrix with its capacitors."""
    matrix = INDUCTANCE * np.array([[1.0, k], [k, 1.0]])
    capacitance = 1.0 / ((2 * np.pi * CENTRE) ** 2 * INDUCTANCE)
    lower, upper = np.sort(np.sqrt(np.linalg.eigvals(np.linalg.inv(matrix) / capacitance).real)) / (2 * np.pi)
    found, _ = coupling_of_modes(float(lower), float(upper))
    assert found == pytest.approx(k, rel=1e-12)


@pytest.mark.parametrize("strength", [1.5, 2.0, 4.0])
def test_the_damped_correction_finds_k_where_peaks_alone_are_up_to_a_third_low(strength: float) -> None:
    """Peaks of S21 at Q t = ± √((kQ)² - 1); k Q = 1.5 to 4: 1 % with the loaded Q, 3 to 25 % without."""
    q = 190.0 / 2.0
    k = strength / q
    f = np.linspace(CENTRE * (1 - 1.5 * k), CENTRE * (1 + 1.5 * k), 200_001)
    height = np.abs(two_loops(f, k)[:, 1, 0])
    lower = f[: f.size // 2][np.argmax(height[: f.size // 2])]
    upper = f[f.size // 2 :][np.argmax(height[f.size // 2 :])]
    damped, u = coupling_of_modes(float(lower), float(upper), q=q, u_frequency=100.0, u_q=1.0)
    assert damped == pytest.approx(k, rel=1e-2)
    plain, _ = coupling_of_modes(float(lower), float(upper))
    assert plain < k * math.sqrt(1.0 - 0.9 / strength**2)
    assert 0.0 < u < 0.02 * k


def test_the_uncertainty_of_k_from_modes_is_that_of_drawn_numbers() -> None:
    """200000 draws of both frequencies and Q scatter k as propagated."""
    rng = np.random.default_rng(51)
    lower, upper, q = 33.6e6, 34.1e6, 95.0
    _, u = coupling_of_modes(lower, upper, q=q, u_frequency=2e3, u_q=2.0)
    size = 200_000
    one, two = lower + 2e3 * rng.normal(size=size), upper + 2e3 * rng.normal(size=size)
    drawn = np.hypot((two**2 - one**2) / (two**2 + one**2), 1.0 / (q + 2.0 * rng.normal(size=size)))
    assert u == pytest.approx(np.std(drawn), rel=0.01)


def test_modes_in_the_wrong_order_are_a_programming_error() -> None:
    """Frequencies rise."""
    with pytest.raises(ValueError, match="rise"):
        coupling_of_modes(34e6, 33e6)


@pytest.mark.parametrize(
    ("k", "q", "shift", "passive"),
    [
        (0.03, (190.0, 190.0), 0.0, True),
        (0.05, (120.0, 250.0), 0.01, True),
        (0.02, (200.0, 150.0), 0.004, False),
    ],
)
def test_a_split_reflection_gives_k_of_unlike_and_detuned_loops(
    k: float, q: tuple[float, float], shift: float, passive: bool
) -> None:
    """Noiseless: k to 1e-4 behind 40 ns of line, with both Q and both frequencies; the modes' k is larger."""
    centres = (CENTRE, CENTRE * (1 + shift))
    f = np.linspace(CENTRE * (1 - 2.5 * k), CENTRE * (1 + 2.5 * k), 401)
    s = two_loops(f, k, q=q, centre=centres, ports=(True, not passive))[:, 0, 0]
    found = coupling_from_split(f, s * np.exp(-2j * np.pi * 40e-9 * (f - CENTRE)))
    assert found.k == pytest.approx(k, rel=1e-4)
    assert found.frequencies == pytest.approx(centres, rel=1e-5)
    loaded = (q[0] / 2.0, q[1] if passive else q[1] / 2.0)
    assert found.q_loaded == pytest.approx(loaded, rel=1e-3)
    if shift == 0.0:
        assert found.k_of_modes == pytest.approx(k, rel=0.05)


def test_a_split_transmission_gives_k_of_equal_loops_and_carries_what_detuning_may_do() -> None:
    """Two modes cannot tell k from detuning: with loops 0.8 % apart the bar holds the difference."""
    k = 0.03
    f = np.linspace(CENTRE * (1 - 2.5 * k), CENTRE * (1 + 2.5 * k), 401)
    equal = coupling_from_split(f, two_loops(f, k)[:, 1, 0], kind="transmission")
    assert equal.k == pytest.approx(k, rel=1e-4)
    assert equal.q_loaded[0] == pytest.approx(95.0, rel=1e-3)
    apart = two_loops(f, k, centre=(CENTRE * 0.996, CENTRE * 1.004))[:, 1, 0]
    found = coupling_from_split(f, apart, kind="transmission", detuning=0.008)
    assert found.k == pytest.approx(math.hypot(k, 0.008), rel=3e-3)
    assert abs(found.k - k) < 2.0 * found.uncertainty


def test_the_bar_of_k_from_a_split_trace_holds() -> None:
    """24 noisy traces: normalised errors have a standard deviation of one within chance (3 times 14 %)."""
    rng = np.random.default_rng(52)
    k = 0.025
    f = np.linspace(CENTRE * (1 - 2.5 * k), CENTRE * (1 + 2.5 * k), 161)
    clean = two_loops(f, k, q=(180.0, 210.0), centre=(CENTRE, 1.002 * CENTRE))[:, 0, 0]
    errors = []
    for _ in range(24):
        found = coupling_from_split(f, clean + noise(rng, f.size, 3e-3))
        errors.append((found.k - k) / found.uncertainty)
    assert abs(float(np.sqrt(np.mean(np.square(errors)))) - 1.0) < 0.43


def test_traces_that_are_not_two_split_loops_are_refused() -> None:
    """One resonance, a pair too weakly coupled, and three loops."""
    f = np.linspace(CENTRE - 1.5e6, CENTRE + 1.5e6, 301)
    with pytest.raises(MeasurementError, match=r"not split|too noisy"):
        coupling_from_split(f, two_loops(f, 0.0)[:, 0, 0])
    with pytest.raises(MeasurementError, match=r"not split.*\|S21\| and \|S11\|"):
        coupling_from_split(f, two_loops(f, 0.004)[:, 0, 0])
    three = two_loops(f, 0.03)[:, 0, 0] * two_loops(f, 0.0, centre=(CENTRE * 1.004, CENTRE))[:, 0, 0]
    with pytest.raises(MeasurementError, match="not two coupled loops"):
        coupling_from_split(f, three)
    with pytest.raises(ValueError, match="16 points"):
        coupling_from_split(f[:10], three[:10])


@pytest.mark.parametrize("x", [0.05, 0.285, 0.8, 1.3, 2.85, 9.0])
def test_matched_loops_read_the_half_circle_and_s11_picks_the_branch(x: float) -> None:
    """|S21| = x/(1+x²), |S11| = x²/(1+x²) of the circuit; with both, k to 1e-3 on either branch."""
    k = 2.0 * x / 190.0
    s = two_loops(np.array([CENTRE]), k)[0]
    s21, s11 = abs(s[1, 0]), abs(s[0, 0])
    assert s21 == pytest.approx(x / (1 + x**2), rel=1e-9)
    assert s11 == pytest.approx(x**2 / (1 + x**2), rel=1e-9)
    found = coupling_from_matched(s21, 190.0, u_s21=1e-3, s11=s11, u_s11=1e-2)
    assert found.is_resolved
    assert found.k == pytest.approx(k, rel=1e-3)
    assert found.candidates[0].branch == ("weak" if x < 1 else "strong")


def test_s21_alone_leaves_two_candidates_and_says_so() -> None:
    """-11.4 dB at Q 190 is k = 0.003 or 0.037: both are reported, and no single k is handed out."""
    s21 = abs(two_loops(np.array([CENTRE]), 0.003)[0, 1, 0])
    found = coupling_from_matched(s21, 190.0, u_s21=2e-3)
    assert not found.is_resolved
    assert {c.branch for c in found.candidates} == {"weak", "strong"}
    values = sorted(c.k for c in found.candidates)
    assert values[0] == pytest.approx(0.003, rel=1e-3)
    assert values[0] * values[1] == pytest.approx((2.0 / 190.0) ** 2, rel=1e-3)
    with pytest.raises(MeasurementError, match=r"k is 0\.0\d+ or 0\.0\d+.*measure \|S11\|"):
        _ = found.k
    with pytest.raises(MeasurementError, match="or"):
        _ = found.uncertainty


def test_a_poor_s11_does_not_decide() -> None:
    """|S11| known to 0.5 leaves both branches; known to 0.03 it leaves one."""
    s = two_loops(np.array([CENTRE]), 0.006)[0]
    s21, s11 = abs(s[1, 0]), abs(s[0, 0])
    assert not coupling_from_matched(s21, 190.0, u_s21=2e-3, s11=s11, u_s11=0.5).is_resolved
    assert coupling_from_matched(s21, 190.0, u_s21=2e-3, s11=s11, u_s11=0.03).is_resolved


@pytest.mark.parametrize("x", [0.2, 0.9, 2.5])
def test_the_bar_of_k_from_matched_loops_holds(x: float) -> None:
    """Of 400 draws of |S21|, |S11| and Q, k lies within one and two bars in 68 and 95 %, within chance."""
    rng = np.random.default_rng(53)
    k = 2.0 * x / 190.0
    inside, refused = [], 0
    for _ in range(400):
        s21 = x / (1 + x**2) + 2e-3 * rng.normal()
        s11 = x**2 / (1 + x**2) + 0.01 * rng.normal()
        q = 190.0 + 3.0 * rng.normal()
        try:
            found = coupling_from_matched(s21, q, u_s21=2e-3, u_q=3.0, s11=abs(s11), u_s11=0.01)
        except MeasurementError:
            refused += 1
            continue
        inside.append(abs(found.k - k) / found.uncertainty)
    assert refused <= 3, "one in a thousand contradicts by chance"
    for width, probability in ((1.0, 0.683), (1.96, 0.95)):
        chance = 3.3 * math.sqrt(probability * (1 - probability) / 400)
        assert abs(np.mean(np.array(inside) < width) - probability) < chance


def test_readings_that_no_two_matched_loops_give_are_refused() -> None:
    """More than half the amplitude through, or |S11| off the half circle."""
    with pytest.raises(MeasurementError, match=r"cannot come from two matched loops"):
        coupling_from_matched(0.6, 190.0, u_s21=0.01)
    with pytest.raises(MeasurementError, match=r"\|S11\| = 0\.5"):
        coupling_from_matched(0.1, 190.0, u_s21=0.002, s11=0.5, u_s11=0.03)
    with pytest.raises(ValueError, match="positive"):
        coupling_from_matched(0.1, -1.0, u_s21=0.01)
