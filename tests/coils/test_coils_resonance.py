"""Facts about fitting one resonance."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coilbench.base.errors import MeasurementError
from coils.resonance import (
    Resonance,
    coupling_from_split,
    fit_resonance,
    fit_resonances,
    fit_touchstone,
    read_trace,
    seven_db_rule,
    three_db_rule,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from coils.resonance import Kind


def series_circuit(
    f: NDArray[np.float64], centre: float, q0: float, coupling: float
) -> NDArray[np.complex128]:
    """Return the reflection of a series resonator with Q0 whose resistance is Z0 / coupling."""
    resistance = 50.0 / coupling
    inductance = q0 * resistance / (2 * np.pi * centre)
    omega, omega0 = 2 * np.pi * f, 2 * np.pi * centre
    z = resistance + 1j * omega * inductance + omega0**2 * inductance / (1j * omega)
    return (z - 50.0) / (z + 50.0)


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


def test_two_overlapping_resonances_are_refused_and_their_places_named() -> None:
    """A split dip is not one resonance; the message says where both dips are, to a tenth of a bandwidth."""
    f = np.linspace(32.8e6, 34.8e6, 201)
    split = series_circuit(f, 33.5e6, 190.0, 1.0) * series_circuit(f, 34.0e6, 190.0, 0.9)
    with pytest.raises(
        MeasurementError, match=r"not one resonance.*2 dips at 33\.[45]\d+, 3[34]\.[09]\d+ MHz"
    ):
        fit_resonance(f, split)


def test_pure_noise_is_refused_in_each_of_sixty_traces() -> None:
    """Nothing can be stated about a trace without a resonance, of an open cable or of a dead channel."""
    rng = np.random.default_rng(8)
    f = np.linspace(33.0e6, 34.6e6, 201)
    level = rng.choice([0.0, 0.9], size=(60, 1))
    noise = 1e-3 * (rng.normal(size=(60, 201)) + 1j * rng.normal(size=(60, 201)))
    for kind in ("reflection", "transmission"):
        outcomes = fit_resonances(f, level + noise, kind=kind)
        assert all(isinstance(outcome, MeasurementError) for outcome in outcomes)


@pytest.mark.parametrize("level", [0.0, 1e-8])
def test_a_dead_trace_is_called_dead(level: float) -> None:
    """A receiver that delivers zeros, or less than any analyzer's noise floor, is not connected."""
    rng = np.random.default_rng(9)
    dead = level * (rng.normal(size=101) + 1j * rng.normal(size=101))
    with pytest.raises(MeasurementError, match=r"dead.*check the cable"):
        fit_resonance(np.linspace(33e6, 34e6, 101), dead)


def test_a_spike_of_one_point_is_no_resonance() -> None:
    """A glitch would be a Q of 20000; it is refused for the points that its bandwidth holds."""
    rng = np.random.default_rng(10)
    trace = 0.95 + 1e-5 * (rng.normal(size=201) + 1j * rng.normal(size=201))
    trace[80] -= 0.3
    with pytest.raises(MeasurementError, match=r"fewer than 2 points|not one resonance|outside"):
        fit_resonance(np.linspace(33e6, 34.6e6, 201), trace)


def test_many_traces_give_what_each_gives_alone_and_each_its_own_refusal() -> None:
    """Five channels of one sweep, of which one is dead and one too narrow: the others are as fitted alone."""
    rng = np.random.default_rng(11)
    f = np.linspace(33.3e6, 34.3e6, 151)
    traces = [series_circuit(f, 33.8e6 + 3e4 * n, 120.0 + 40 * n, 0.6 + 0.3 * n) for n in range(3)]
    traces += [np.zeros(f.size), series_circuit(f, 33.8e6, 20.0, 1.0)]
    noisy = np.array(traces) + 1e-4 * (rng.normal(size=(5, 151)) + 1j * rng.normal(size=(5, 151)))
    noisy[3] = 0.0
    together = fit_resonances(f, noisy)
    for trace, outcome in zip(noisy[:3], together[:3], strict=True):
        alone = fit_resonance(f, trace)
        assert isinstance(outcome, Resonance)
        assert outcome.q_unloaded == pytest.approx(alone.q_unloaded, rel=1e-6)
        assert outcome.uncertainty.q_unloaded == pytest.approx(alone.uncertainty.q_unloaded, rel=1e-3)
    assert "dead" in str(together[3])
    assert "loaded bandwidths" in str(together[4])


def test_directivity_in_front_of_a_long_line_is_found() -> None:
    """-34 dB before 219 ns of cable: without the term Q errs by several percent, with it by nothing."""
    f = np.linspace(28.0e6, 30.0e6, 201)
    behind = 0.85 * np.exp(-2j * np.pi * 219e-9 * (f - 29e6)) * series_circuit(f, 29.7e6, 77.0, 0.55)
    seen = behind + 0.02 * np.exp(0.7j)
    fit = fit_resonance(f, seen)
    assert fit.q_unloaded == pytest.approx(77.0, rel=1e-5)
    assert fit.directivity == pytest.approx(0.02 * np.exp(0.7j), rel=1e-4)
    assert fit.delay == pytest.approx(219e-9, rel=1e-5)
    plain = fit_resonance(f, seen, directivity=False, leakage=False)
    assert abs(plain.q_loaded / (77.0 / 1.55) - 1.0) > 0.01
    assert abs(plain.q_loaded - 77.0 / 1.55) < 2.0 * plain.uncertainty.q_loaded, "and its bar says so"


def test_a_fit_evaluates_to_its_own_trace() -> None:
    """`Resonance.evaluate` is the model: its distance from the data is the stated residual."""
    rng = np.random.default_rng(12)
    f = np.linspace(33.2e6, 34.5e6, 173)
    x = (f - f.mean()) / (f[-1] - f[0])
    trace = (
        0.9 * np.exp(-2j * np.pi * 150e-9 * (f - 33.8e6)) * (series_circuit(f, 33.8e6, 150.0, 0.8) + 0.05 * x)
    )
    trace += 0.03j + 1e-5 * (rng.normal(size=173) + 1j * rng.normal(size=173))
    for terms in ({}, {"leakage": True}, {"directivity": False}):
        fit = fit_resonance(f, trace, **terms)
        rms = np.sqrt(np.mean(np.abs(fit.evaluate(f) - trace) ** 2))
        assert rms == pytest.approx(fit.residual, rel=1e-6)


def test_unequal_shapes_are_a_programming_error() -> None:
    """Vectors must match and be long enough."""
    with pytest.raises(ValueError, match="equal length"):
        fit_resonance(np.linspace(1e6, 2e6, 20), np.zeros(19, dtype=np.complex128))
    with pytest.raises(ValueError, match="at least 8"):
        fit_resonance(np.linspace(1e6, 2e6, 5), np.zeros(5, dtype=np.complex128))


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    """A wrong ending or a broken table is named."""
    with pytest.raises(ValueError, match=r"trace\.csv"):
        fit_touchstone(tmp_path / "trace.csv")
    broken = tmp_path / "broken.txt"
    broken.write_text("% GHz\n1.0 2.0\n1.1 x y\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.txt"):
        fit_touchstone(broken)


def test_rounded_frequencies_of_a_file_are_evened_out(tmp_path: Path) -> None:
    """A grid of 1.4 kHz printed in MHz with three decimals misplaces points; the fit is as good."""
    f = np.linspace(13.65e6, 14.35e6, 501)
    s = series_circuit(f, 14.0e6, 160.0, 1.2)
    lines = ["# MHz S RI R 50"]
    lines += [f"{x / 1e6:.3f} {y.real:.9f} {y.imag:.9f}" for x, y in zip(f, s, strict=True)]
    path = tmp_path / "loop.s1p"
    path.write_text("\n".join(lines), encoding="ascii")
    trace = read_trace(path)
    assert np.allclose(trace.frequencies, f, rtol=0.0, atol=1.0)
    fit = fit_touchstone(path)
    assert fit.q_unloaded == pytest.approx(160.0, rel=1e-6)
    assert fit.residual < 1e-8


@given(
    points=st.lists(
        st.tuples(st.floats(0.1, 9.0), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0)), min_size=1, max_size=30
    ),
    unit=st.sampled_from(["kHz", "MHz", "GHz"]),
    through=st.none() | st.floats(0.01, 1.0),
    parameter=st.sampled_from(["S11", "S21"]),
    extra=st.booleans(),
)
def test_npl_tables_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory,
    points: list[tuple[float, float, float]],
    unit: str,
    through: float | None,
    parameter: str,
    extra: bool,
) -> None:
    """Any head and number of columns: frequency in the head's unit, kind, magnitude of the through line."""
    path = tmp_path_factory.mktemp("npl") / "table.txt"
    lines = [f"% VNA {parameter} DATA FILE", f"% {unit}   Re.   Im."]
    if through is not None:
        lines.append(f"% CALIBRATION: None  (thru mag. {through!r})")
    lines += [f"  {f!r}  {re!r} {im!r}" + ("  -53.9  12.3" if extra else "") for f, re, im in points]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    trace = read_trace(path)
    scale = {"kHz": 1e3, "MHz": 1e6, "GHz": 1e9}[unit]
    assert trace.frequencies == pytest.approx([scale * f for f, _, _ in points], rel=1e-15)
    assert list(trace.s) == [complex(re, im) for _, re, im in points]
    assert trace.kind == ("reflection" if parameter == "S11" else "transmission")
    assert trace.through == (1.0 if through is None else through)


def test_a_two_port_file_is_taken_as_two_probes(tmp_path: Path) -> None:
    """S21 of a .s2p is the coil between two probes."""
    f = np.linspace(33.3e6, 34.3e6, 101)
    s21 = 0.01 / (1.0 + 95j * (f / 33.8e6 - 33.8e6 / f))
    rows = [f"{x:.1f} 0.9 0 {y.real:.9e} {y.imag:.9e} 0 0 0.9 0" for x, y in zip(f, s21, strict=True)]
    path = tmp_path / "probes.s2p"
    path.write_text("# Hz S RI R 50\n" + "\n".join(rows), encoding="ascii")
    fit = fit_touchstone(path)
    assert fit.kind == "transmission"
    assert fit.q_loaded == pytest.approx(95.0, rel=1e-4)
    assert fit.q_unloaded == pytest.approx(95.0 * (1.0 + 0.01 / 0.99), rel=1e-4)


def test_uneven_frequencies_are_left_alone(tmp_path: Path) -> None:
    """A list sweep that is truly uneven stays as it is."""
    f = np.array([1.0, 1.1, 1.3, 1.4, 1.6, 1.7, 1.75, 1.9, 2.0]) * 1e6
    path = tmp_path / "list.s1p"
    path.write_text("# MHz S RI R 50\n" + "\n".join(f"{x / 1e6} 0.5 0.1" for x in f), encoding="ascii")
    assert np.allclose(read_trace(path).frequencies, f)


_F = np.linspace(33.0e6, 34.6e6, 101)
_CIRCLE = 1.0 / (1.0 + 95j * (_F / 33.8e6 - 33.8e6 / _F))
_STRANGE = {
    "constant": np.full(101, 0.9 + 0j),
    "cable alone": np.exp(-6j * np.pi * np.linspace(-1.0, 1.0, 101)),
    "ramp": np.linspace(-1.0, 1.0, 101) + 0j,
    "magnitude without phase": np.abs(1.0 - _CIRCLE) + 0j,
    "spike": np.eye(1, 101, 40)[0] + 0j,
    "step": (_F > 33.7e6) + 0j,
    "alternating": (-1.0) ** np.arange(101) + 0j,
    "turning backwards": 1.0 - np.conj(_CIRCLE),
    "overdriven": np.clip((1.0 - _CIRCLE).real, -0.5, 0.5) + 1j * np.clip((1.0 - _CIRCLE).imag, -0.5, 0.5),
}


@pytest.mark.parametrize("name", list(_STRANGE))
@pytest.mark.parametrize("kind", ["reflection", "transmission"])
def test_strange_traces_are_refused_in_words_never_by_a_crash(name: str, kind: Kind) -> None:
    """Wrong channel, no phase, a spike, an overdriven receiver: `MeasurementError`, whatever is fitted."""
    for terms in ({}, {"leakage": True, "directivity": True}, {"delay": False}):
        with pytest.raises(MeasurementError):
            fit_resonance(_F, _STRANGE[name], kind=kind, **terms)
    for rule in (three_db_rule, seven_db_rule, coupling_from_split):
        with contextlib.suppress(MeasurementError):
            rule(_F, _STRANGE[name])
