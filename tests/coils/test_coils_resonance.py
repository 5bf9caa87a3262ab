"""Facts about fitting one resonance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.resonance import Resonance, fit_resonance, fit_touchstone

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def series_circuit(
    f: NDArray[np.float64], centre: float, q0: float, coupling: float
) -> NDArray[np.complex128]:
    """Return the reflection of a series resonator with Q0 whose resistance is Z0 / coupling."""
    resistance = 50.0 / coupling
    inductance = q0 * resistance / (2 * np.pi * centre)
    omega, omega0 = 2 * np.pi * f, 2 * np.pi * centre
    z = resistance + 1j * omega * inductance + omega0**2 * inductance / (1j * omega)
    return (z - 50.0) / (z + 50.0)


def circle(f: NDArray[np.float64], result: Resonance, turns_at: float) -> NDArray[np.complex128]:
    """Evaluate the fitted model independently of the fitting code."""
    t = f / result.frequency - result.frequency / f
    lorentz = 1 / (1 + 1j * result.q_loaded * t)
    leak = result.leakage * result.q_loaded * t
    return np.exp(-2j * np.pi * result.delay * (f - turns_at)) * (
        result.detuned + result.diameter * lorentz + leak
    )


@pytest.mark.parametrize("coupling", [0.3, 1.0, 2.5])
def test_a_series_circuit_gives_back_its_own_q_coupling_and_frequency(coupling: float) -> None:
    """Without noise the closed form of an RLC circuit is found to rounding."""
    f = np.linspace(33.0e6, 34.6e6, 201)
    fit = fit_resonance(f, series_circuit(f, 33.79e6, 190.0, coupling))
    assert fit.q_unloaded == pytest.approx(190.0, rel=1e-6)
    assert fit.q_loaded == pytest.approx(190.0 / (1 + coupling), rel=1e-6)
    assert fit.coupling == pytest.approx(coupling, rel=1e-6)
    assert fit.frequency == pytest.approx(33.79e6, abs=1.0)
    assert abs(fit.delay) < 1e-13
    assert fit.residual < 1e-8


def test_stated_uncertainties_cover_the_scatter_of_repeated_noisy_traces() -> None:
    """Over 60 draws the normalised errors have a standard deviation of one within chance."""
    rng = np.random.default_rng(5)
    f = np.linspace(33.2e6, 34.5e6, 151)
    clean = series_circuit(f, 33.8e6, 150.0, 0.8) * np.exp(-2j * np.pi * 3e-9 * (f - f.mean()))
    errors = []
    for _ in range(60):
        noise = rng.normal(size=(2, f.size)) * 2e-3
        fit = fit_resonance(f, clean + noise[0] + 1j * noise[1])
        u = fit.uncertainty
        errors.append(
            (
                (fit.q_loaded - 150 / 1.8) / u.q_loaded,
                (fit.q_unloaded - 150.0) / u.q_unloaded,
                (fit.frequency - 33.8e6) / u.frequency,
                (fit.delay - 3e-9) / u.delay,
            )
        )
    spread = np.sqrt(np.mean(np.square(errors), axis=0))
    # 60 draws know their standard deviation to 9 %: four times that
    assert np.all(np.abs(spread - 1.0) < 0.37)


def test_a_long_uncalibrated_cable_shows_as_delay() -> None:
    """215 ns of cable with 20 % loss change neither Q_L nor f_L."""
    f = np.linspace(13.6e6, 14.4e6, 201)
    behind = 0.8 * np.exp(-2j * np.pi * 215e-9 * f) * series_circuit(f, 14.0e6, 150.0, 1.1)
    fit = fit_resonance(f, behind)
    assert fit.delay == pytest.approx(215e-9, rel=1e-5)
    assert fit.q_unloaded == pytest.approx(150.0, rel=1e-5)


def test_a_sweep_of_less_than_one_and_a_half_bandwidths_is_refused_and_says_how_wide_it_must_be() -> None:
    """The message states the span in bandwidths."""
    f = np.linspace(33.7e6, 33.9e6, 101)
    with pytest.raises(MeasurementError, match=r"spans 0\.\d\d loaded bandwidths, 1\.5 are needed"):
        fit_resonance(f, series_circuit(f, 33.8e6, 100.0, 1.0))


def test_two_overlapping_resonances_are_refused() -> None:
    """A split dip is not one resonance."""
    f = np.linspace(32.8e6, 34.8e6, 201)
    split = series_circuit(f, 33.5e6, 190.0, 1.0) * series_circuit(f, 34.0e6, 190.0, 0.9)
    with pytest.raises(MeasurementError, match="not one resonance"):
        fit_resonance(f, split)


def test_pure_noise_is_refused() -> None:
    """Nothing can be stated about a trace without a resonance."""
    rng = np.random.default_rng(8)
    f = np.linspace(33.0e6, 34.6e6, 201)
    with pytest.raises(MeasurementError):
        fit_resonance(f, 0.9 + 1e-3 * (rng.normal(size=201) + 1j * rng.normal(size=201)))


def test_unequal_shapes_are_a_programming_error() -> None:
    """Vectors must match and be long enough."""
    with pytest.raises(ValueError, match="equal length"):
        fit_resonance(np.linspace(1e6, 2e6, 20), np.zeros(19, dtype=np.complex128))
    with pytest.raises(ValueError, match="at least 8"):
        fit_resonance(np.linspace(1e6, 2e6, 5), np.zeros(5, dtype=np.complex128))


def test_npl_transmission_resonator(shared_data: Path) -> None:
    """Q0 of Figure 6b is 7546 (NPL Report MAT 58)."""
    fit = fit_touchstone(shared_data / "resonators" / "Figure6b.txt")
    assert fit.kind == "transmission"
    assert fit.q_unloaded == pytest.approx(7546.0, rel=1e-3)
    assert fit.q_loaded == pytest.approx(7455.0, rel=1e-3)


def test_npl_reflection_resonator(shared_data: Path) -> None:
    """Q0 of Table 6(c), 27 MHz span, is 862 (NPL Report MAT 58)."""
    fit = fit_touchstone(shared_data / "resonators" / "Table6c27.txt")
    assert fit.kind == "reflection"
    assert fit.q_unloaded == pytest.approx(862.0, rel=1e-3)
    assert fit.q_loaded == pytest.approx(708.5, rel=1e-3)


def test_npl_resonator_with_leakage_between_the_probes_needs_the_leakage_term(shared_data: Path) -> None:
    """Figure 23: without the term the misfit is ten times larger and Q_L 11 % too high."""
    rows = np.loadtxt(shared_data / "resonators" / "Figure23.txt", comments="%")
    f, s = rows[:, 0] * 1e9, rows[:, 1] + 1j * rows[:, 2]
    without = fit_resonance(f, s, kind="transmission", leakage=False, directivity=False)
    with_it = fit_resonance(f, s, kind="transmission", leakage=True, delay=False)
    assert with_it.q_loaded == pytest.approx(4750.0, rel=2e-3)
    assert without.q_loaded == pytest.approx(5266.0, rel=5e-3)
    assert with_it.residual < 0.1 * without.residual
    rms = np.sqrt(np.mean(np.abs(circle(f, with_it, 0.0) - s) ** 2))
    assert rms == pytest.approx(with_it.residual, rel=1e-6)


def test_every_loop_capture_is_fitted_or_refused_for_its_span(shared_data: Path) -> None:
    """Captures of at least 1.5 bandwidths fit; their uncalibrated cable shows the same delay in each."""
    fits, refused = {}, {}
    for path in sorted((shared_data / "loop_s1p").glob("*.s1p")):
        try:
            fits[path.stem] = fit_touchstone(path)
        except MeasurementError as error:
            refused[path.stem] = str(error)
    assert set(fits) == {"10m310322", "20m310322"}
    assert all("loaded bandwidths" in text for text in refused.values())
    assert all(fit.residual <= 1.1e-2 for fit in fits.values())
    assert fits["10m310322"].q_loaded == pytest.approx(50.9, rel=5e-3)
    assert fits["20m310322"].q_loaded == pytest.approx(71.9, rel=5e-3)
    delays = [fit.delay for fit in fits.values()]
    assert delays == pytest.approx([219e-9] * len(delays), rel=5e-3)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    """A wrong ending or a broken table is named."""
    with pytest.raises(ValueError, match=r"trace\.csv"):
        fit_touchstone(tmp_path / "trace.csv")
    broken = tmp_path / "broken.txt"
    broken.write_text("% GHz\n1.0 2.0\n1.1 x y\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.txt"):
        fit_touchstone(broken)
