"""Facts about the SNR of arrays, the ultimate, and the matrices that lead there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.constants import N_A, hbar, k
from scipy.special import spherical_jn

from coils.magnetics.arrays import cylinder_array, ring
from coils.magnetics.conductors import RoundWire
from coils.magnetics.field import magnetic_field, receive_field
from coils.magnetics.half_space import half_space_resistance
from coils.magnetics.inductance import inductance_matrix, mutual_inductance
from coils.magnetics.loops import circle, rectangle
from coils.magnetics.matrices import array_matrices, radiation_resistance
from coils.magnetics.samples import HalfSpace, Sphere, wavenumber
from coils.magnetics.snr import optimal_snr, sum_of_squares_snr, ultimate_snr_at_centre
from coils.magnetics.sphere import multipoles
from coils.magnetics.strip import Strip

MU0 = 4e-7 * np.pi
HEAD = Sphere(0.085, 0.6)
SODIUM, PROTON = 33.8e6, 127.7e6


def random_covariance(rng: np.random.Generator, channels: int) -> np.ndarray:
    a = rng.normal(size=(channels, channels + 2)) + 1j * rng.normal(size=(channels, channels + 2))
    return a @ a.conj().T


def test_optimal_snr_is_the_most_of_all_combinations() -> None:
    """Cauchy-Schwarz: weights C^-1 b reach it, random weights and the sum of squares never exceed it."""
    rng = np.random.default_rng(3)
    covariance = random_covariance(rng, 5)
    b = rng.normal(size=(5, 2, 3)) + 1j * rng.normal(size=(5, 2, 3))
    best = optimal_snr(b, covariance)
    assert best.shape == (2, 3)

    def snr(weights: np.ndarray, signal: np.ndarray) -> float:
        return abs(weights.conj() @ signal) / np.sqrt((weights.conj() @ covariance @ weights).real)

    signal = b[:, 1, 2]
    assert snr(np.linalg.solve(covariance, signal), signal) == pytest.approx(best[1, 2], rel=1e-12)
    assert snr(signal, signal) == pytest.approx(sum_of_squares_snr(b, covariance)[1, 2], rel=1e-12)
    for _ in range(50):
        assert snr(rng.normal(size=5) + 1j * rng.normal(size=5), signal) < best[1, 2]
    assert np.all(sum_of_squares_snr(b, covariance) < best)


def test_snr_does_not_care_how_channels_are_mixed_but_the_sum_of_squares_does() -> None:
    """Any invertible network b -> T b, C -> T C T^H; for white noise both combinations agree."""
    rng = np.random.default_rng(4)
    covariance = random_covariance(rng, 4)
    b = rng.normal(size=(4, 3)) + 1j * rng.normal(size=(4, 3))
    mix = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    mixed = optimal_snr(mix @ b, mix @ covariance @ mix.conj().T)
    assert mixed == pytest.approx(optimal_snr(b, covariance), rel=1e-10)
    assert not np.allclose(
        sum_of_squares_snr(mix @ b, mix @ covariance @ mix.conj().T),
        sum_of_squares_snr(b, covariance),
        rtol=0.01,
    )
    white = 2.0 * np.eye(4)
    assert optimal_snr(b, white) == pytest.approx(sum_of_squares_snr(b, white), rel=1e-12)
    assert sum_of_squares_snr(np.zeros((4, 2), dtype=complex), white) == pytest.approx(np.zeros(2))


def test_covariances_that_are_none_are_refused() -> None:
    b = np.ones((2, 3), dtype=complex)
    with pytest.raises(ValueError, match="positive definite"):
        optimal_snr(b, np.array(((1.0, 2.0), (2.0, 1.0))))
    with pytest.raises(ValueError, match="Hermitian"):
        optimal_snr(b, np.array(((1.0, 0.5), (0.2, 1.0))))
    with pytest.raises(ValueError, match="2 channels"):
        sum_of_squares_snr(b, np.eye(3))
    with pytest.raises(ValueError, match="infinite"):
        ultimate_snr_at_centre(Sphere(0.1, 0.0), SODIUM)


def test_ultimate_snr_without_waves_is_that_of_a_uniform_rotating_field() -> None:
    """B (1, j) in a sphere: |E| = ω B r √(1 + cos²θ) / 2 twice over; integrated numerically."""
    x, w = np.polynomial.legendre.leggauss(30)
    r = 0.5 * HEAD.radius * (1 + x)
    omega = 2 * np.pi * SODIUM
    # E of the parts along x and y: ω B (r x axis) / 2; their squares add: r² (1 + cos²θ) / 4
    angular = 2 * np.pi * w @ ((1 + x**2) / 4)
    power = HEAD.conductivity * omega**2 * angular * (0.5 * HEAD.radius * w @ r**4)
    assert ultimate_snr_at_centre(HEAD, SODIUM, full_wave=False) == pytest.approx(
        1 / np.sqrt(power), rel=1e-12
    )


def test_waves_raise_the_ultimate_snr_little_at_sodium_and_by_a_third_at_protons() -> None:
    """The dipole mode j1(kr) with the same field at the centre; 1.02 and 1.33 at 3 T, 1 towards 0 Hz."""
    x, w = np.polynomial.legendre.leggauss(40)
    r = 0.5 * HEAD.radius * (1 + x)
    for f, known in ((1e3, 1.0), (SODIUM, 1.02), (PROTON, 1.33)):
        k = wavenumber(f, 0.6, 80.0)
        loss = 0.5 * HEAD.radius * w @ (np.abs(3 * spherical_jn(1, k * r) / k) ** 2 * r**2)
        ratio = ultimate_snr_at_centre(HEAD, f) / ultimate_snr_at_centre(HEAD, f, full_wave=False)
        assert ratio == pytest.approx(1 / np.sqrt(loss / (HEAD.radius**5 / 5)), rel=1e-8)
        assert ratio == pytest.approx(known, abs=5e-3)


def test_waves_vanish_from_the_ultimate_snr_with_the_square_of_the_frequency() -> None:
    """One linear mode in a 90 mm sphere: R/B² = 2 pi s w² a⁵ / 15 to 4e-5 at 1 MHz, to 4e-7 at 100 kHz.

    Two such modes in quadrature receive, and B1- is half of what one makes: R/B² = 1 / (2 SNR²).
    """
    sphere = Sphere(0.09, 0.5)
    for f, off in ((1e6, 4e-5), (1e5, 4e-7)):
        static = 2 * np.pi * sphere.conductivity * (2 * np.pi * f) ** 2 * sphere.radius**5 / 15
        found = 0.5 / ultimate_snr_at_centre(sphere, f) ** 2
        assert found == pytest.approx(static, rel=off)
        assert found != pytest.approx(static, rel=off / 2)


def test_ultimate_snr_of_sodium_in_a_head_is_that_of_the_mode_integral() -> None:
    """40 mmol/l in (4 mm)³ at the centre of a head, 310 K, per root of a hertz: five fields, three digits.

    SNR = w M0 V 2 |B1-| / sqrt(4 k T R), M0 = c N_A (gamma hbar)² I (I + 1) B0 / 3 k T. The numbers were
    computed elsewhere from the integral of |j1(k r)|² r², as of Ocali and Atalar (1998).
    """
    head, temperature, volume = Sphere(0.09, 0.5, permittivity=70.0), 310.0, 4e-3**3
    gamma = 2 * np.pi * 11.262e6
    for b0, known in ((1.5, 0.367), (3.0, 0.745), (4.7, 1.20), (7.0, 1.90), (9.4, 2.77)):
        omega = gamma * b0
        magnetisation = 40 * N_A * (gamma * hbar) ** 2 * 1.5 * 2.5 * b0 / (3 * k * temperature)
        per_ampere = ultimate_snr_at_centre(head, omega / (2 * np.pi))
        snr = omega * magnetisation * volume * 2 * per_ampere / np.sqrt(4 * k * temperature)
        assert snr == pytest.approx(known, rel=2.5e-3)


@pytest.mark.parametrize("full_wave", [False, True])
def test_arrays_without_own_noise_come_near_the_ultimate_and_never_exceed_it(full_wave: bool) -> None:
    """Eight loops reach 97.6 % at the centre, three rings more; lossless loops only look at the sample."""
    eight = cylinder_array(8, 0.12, 0.107, 1.25e-3)
    tilted = ring(circle(0.05, 1e-3, vertices=12).turned(0.9, (0, 1, 0)).moved((0.085, 0, 0.1)), 8)
    below = ring(circle(0.05, 1e-3, vertices=12).turned(2.2, (0, 1, 0)).moved((0.085, 0, -0.1)), 8)
    centre = np.zeros((1, 3))
    ratios = []
    for loops in (eight, (*eight, *tilted, *below)):
        expansion = multipoles(loops, HEAD)
        b = receive_field(expansion.field(centre, PROTON, full_wave=full_wave))
        resistance = expansion.resistance(PROTON, full_wave=full_wave)[0]
        snr = optimal_snr(b, resistance + 1e-9 * np.eye(len(loops)))[0]
        ratios.append(snr / ultimate_snr_at_centre(HEAD, PROTON, full_wave=full_wave))
    assert ratios[0] == pytest.approx(0.98, abs=0.01)
    assert ratios[0] < ratios[1] < 1.0
    assert ratios[1] > 0.995


def test_the_array_hears_the_spins_sense_alone() -> None:
    """Phases at the centre fall with the angle; from the other side they rise, and the SNR is the same."""
    loops = cylinder_array(5, 0.12, 0.107, 1.25e-3)
    centre = np.zeros(3)
    b = receive_field(magnetic_field(loops, centre))
    assert np.diff(np.unwrap(np.angle(b))) == pytest.approx(np.full(4, -2 * np.pi / 5))
    resistance = multipoles(loops, HEAD).resistance(SODIUM)[0]
    assert optimal_snr(b, resistance) == pytest.approx(optimal_snr(b.conj(), resistance), rel=1e-9)


def test_the_front_door_holds_what_its_rooms_say() -> None:
    """L, conductor by length, sample; in the order (frequency, loop, loop); Z = R + jωL."""
    strip = Strip(10e-3)
    loops = [
        circle(0.04, strip.wire_radius).moved((0, 0, 0.12)),
        rectangle(0.05, 0.08, strip.wire_radius).turned(1.2, (0, 1, 0)).moved((0.12, 0, 0)),
        circle(0.03, strip.wire_radius).turned(-1.3, (1, 0, 0)).moved((0, -0.02, -0.13)),
    ]
    f = np.array([SODIUM, PROTON])
    matrices = array_matrices(loops, HEAD, f, conductor=strip, parts_resistance=((0.01,), (0.02,)))
    assert matrices.impedance.shape == (2, 3, 3)
    assert np.allclose(matrices.inductance, inductance_matrix(loops))
    for place, one in enumerate(f):
        expected = multipoles(loops, HEAD).resistance(one)[0]
        expected += np.diag([strip.resistance(one) * loop.length + 0.01 * (place + 1) for loop in loops])
        assert np.allclose(matrices.resistance[place], expected, rtol=1e-12)
        assert matrices.impedance[place, 0, 1].imag == pytest.approx(
            2 * np.pi * one * mutual_inductance(loops[0], loops[1]), rel=1e-12
        )
    assert np.all(matrices.q_loaded < matrices.q_unloaded)
    empty = array_matrices(loops, None, f, conductor=strip)
    assert np.all(empty.sample == 0.0)
    assert np.all(empty.q_unloaded > matrices.q_unloaded)
    static = array_matrices(loops, HEAD, f, conductor=strip, full_wave=False)
    assert np.all(static.q_loaded[1] > matrices.q_loaded[1])


def test_the_front_door_knows_the_half_space_and_free_space() -> None:
    """The surface's matrix plus radiation when asked for."""
    wire = RoundWire(1e-3)
    loops = [circle(0.05, 1e-3, vertices=30).moved((x, 0, 0.02)) for x in (0.0, 0.08)]
    body = HalfSpace(0.6)
    loaded = array_matrices(loops, body, PROTON, conductor=wire, radiates=True)
    expected = half_space_resistance(loops, body, PROTON) + radiation_resistance(loops, PROTON)
    assert np.allclose(loaded.sample, expected, rtol=1e-12)
    assert loaded.frequency.shape == (1,)
    with pytest.raises(ValueError, match=r"loop 0 acts like a wire of 0\.001 m"):
        array_matrices(loops, body, PROTON, conductor=Strip(10e-3))


def test_small_loops_radiate_as_dipoles() -> None:
    """mu0 ω⁴ m.m' / 6 pi c³ (Balanis, 5-24: 31171 (area/λ²)²); perpendicular ones do not share it."""
    one = rectangle(0.02, 0.03, 1e-4)
    tilted = one.turned(0.5, (1, 0, 0)).moved((0.01, 0.02, 0))
    upright = one.turned(np.pi / 2, (1, 0, 0))
    got = radiation_resistance([one, tilted, upright], (SODIUM, PROTON))
    for place, f in enumerate((SODIUM, PROTON)):
        dipole = 31171 * (one.area[2] / (299792458 / f) ** 2) ** 2
        size = (2 * np.pi * f / 299792458 * 0.04) ** 2
        assert got[place, 0, 0] == pytest.approx(dipole, rel=size)
        assert got[place, 0, 1] == pytest.approx(dipole * np.cos(0.5), rel=size)
        assert abs(got[place, 0, 2]) < 1e-3 * dipole


def test_the_pages_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/howto/array-from-geometry.md prints plausible numbers: Q, and shares of the ultimate SNR."""
    page = Path(__file__).parents[2] / "docs" / "howto" / "array-from-geometry.md"
    if not page.is_file():
        pytest.skip("the documentation is not here")
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(compile(code, page.name, "exec"), {})  # noqa: S102 - our own page
    shares = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines() if "ultimate" in line]
    assert shares == pytest.approx((0.746, 0.960), abs=2e-3)
