"""Facts about noise predicted from S-parameters."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.covariance import (
    compare_covariance,
    correlation,
    correlation_uncertainty,
    noise_covariance,
    power_uncertainty,
    snr_factor,
)

BOLTZMANN = 1.380649e-23


def random_network(rng: np.random.Generator, ports: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Z and S of a random passive reciprocal network."""
    a, b = rng.normal(size=(2, ports, ports))
    z = 20.0 * (a @ a.T + 0.2 * np.eye(ports)) + 15j * (b + b.T)
    identity = np.eye(ports)
    return z, (z - 50 * identity) @ np.linalg.inv(z + 50 * identity)


def samples_of(rng: np.random.Generator, covariance: np.ndarray, count: int) -> np.ndarray:
    """Return the sample covariance of complex noise."""
    size = covariance.shape[0]
    white = (rng.normal(size=(size, count)) + 1j * rng.normal(size=(size, count))) / np.sqrt(2)
    noise = np.linalg.cholesky(covariance) @ white
    return noise @ noise.conj().T / count


def test_bosma_agrees_with_thermal_noise_of_the_resistances() -> None:
    """Twiss: open-circuit voltages have 4kTB Re Z; sent into 50 ohm they give kTB (I - S S^H)."""
    z, s = random_network(np.random.default_rng(3), 5)
    into_load = np.sqrt(50.0) * np.linalg.inv(z + 50.0 * np.eye(5))
    twiss = 4 * BOLTZMANN * 300.0 * 1e4 * into_load @ z.real @ into_load.conj().T
    predicted = noise_covariance(s, bandwidth=1e4, temperature=300.0)
    assert np.allclose(predicted, twiss, rtol=1e-12, atol=1e-12 * np.abs(twiss).max())


def test_a_matched_isolated_port_delivers_ktb_and_the_preamplifier_adds_its_own() -> None:
    """1 dB at 290 K adds 25.9 % of kT0B."""
    c = noise_covariance(np.zeros((3, 3)), bandwidth=2e4, temperature=290.0, noise_figure_db=[0.0, 1.0, 3.0])
    ktb = BOLTZMANN * 290.0 * 2e4
    assert np.diag(c).real == pytest.approx(ktb * 10 ** (np.array([0.0, 1.0, 3.0]) / 10))
    assert np.abs(c - np.diag(np.diag(c))).max() == 0.0


def test_a_total_reflection_delivers_only_the_preamplifiers_noise() -> None:
    """A detuned port has no thermal noise of its own."""
    c = noise_covariance(np.diag([1j, 0.0]), bandwidth=1.0, temperature=300.0, noise_figure_db=0.5)
    added = BOLTZMANN * 290.0 * (10**0.05 - 1)
    assert c[0, 0].real == pytest.approx(added, rel=1e-9)
    assert c[1, 1].real == pytest.approx(added + BOLTZMANN * 300.0, rel=1e-9)


def test_ports_without_receivers_still_take_part() -> None:
    """Selecting ports is taking the block of the full covariance, not of the full S."""
    _, s = random_network(np.random.default_rng(4), 4)
    full = noise_covariance(s, bandwidth=1.0, temperature=300.0)
    some = noise_covariance(s, bandwidth=1.0, temperature=300.0, ports=(3, 1))
    assert np.array_equal(some, full[np.ix_([2, 0], [2, 0])])
    alone = noise_covariance(s[np.ix_([2, 0], [2, 0])], bandwidth=1.0, temperature=300.0)
    assert not np.allclose(some / BOLTZMANN, alone / BOLTZMANN, rtol=1e-2)


def test_an_active_network_is_refused() -> None:
    """A wrong calibration must not become a noise prediction."""
    with pytest.raises(MeasurementError, match="gain"):
        noise_covariance(np.diag([1.1, 0.0]), bandwidth=1.0, temperature=300.0)


def test_correlation_names_the_dead_channel() -> None:
    """A channel without noise is counted from 1."""
    with pytest.raises(ValueError, match=r"channel \[2\]"):
        correlation(np.diag([1.0, 0.0, 2.0]).astype(np.complex128))


def test_sampling_errors_of_power_and_correlation_are_as_stated() -> None:
    """300 draws of 500 samples: relative power 1/sqrt(N), correlation sqrt(((1-r²)² + 1 - r²) / 2N)."""
    rng = np.random.default_rng(6)
    rho = np.array([[1.0, 0.6j, 0.0], [-0.6j, 1.0, 0.2], [0.0, 0.2, 1.0]], dtype=np.complex128)
    draws = np.array([samples_of(rng, rho, 500) for _ in range(300)])
    power_scatter = np.std(draws[:, 0, 0].real)
    assert power_scatter == pytest.approx(power_uncertainty(500), rel=0.17)
    errors = correlation(draws) - rho
    found = np.sqrt(np.mean(np.abs(errors) ** 2, axis=0))
    stated = correlation_uncertainty(rho, 500)
    upper = np.triu_indices(3, 1)
    # 300 draws know a standard deviation to 4 %: four times that
    assert found[upper] == pytest.approx(stated[upper], rel=0.17)


@pytest.mark.parametrize("gains_known", [True, False])
def test_chi_square_of_a_true_prediction_has_its_degrees_of_freedom(gains_known: bool) -> None:
    """Mean and spread over 200 draws are those of chi-square; unknown gains cost one degree per channel."""
    rng = np.random.default_rng(7)
    _, s = random_network(rng, 4)
    truth = noise_covariance(s, bandwidth=1.0, temperature=300.0, noise_figure_db=0.7) * 1e21
    gain = np.array([1.0, 1.0, 1.0, 1.0]) if gains_known else np.array([3.0, 0.5, 1.2, 8.0])
    results = [
        compare_covariance(
            samples_of(rng, truth * np.outer(gain, gain), 2000), truth, 2000, gains_known=gains_known
        )
        for _ in range(200)
    ]
    freedom = 16 if gains_known else 12
    assert {r.degrees_of_freedom for r in results} == {freedom}
    chi = np.array([r.chi_square for r in results])
    # mean of 200 draws: standard error sqrt(2 dof / 200); plus the O(1/N) bias of a finite sample
    assert chi.mean() == pytest.approx(freedom, abs=4 * np.sqrt(2 * freedom / 200))
    assert np.mean([r.agrees(0.05) for r in results]) > 0.88
    if gains_known:
        deviations = np.mean([np.abs(r.deviation) ** 2 for r in results], axis=0)
        assert deviations == pytest.approx(np.ones((4, 4)), abs=0.45)
    else:
        assert np.mean([r.gain for r in results], axis=0) == pytest.approx(gain, rel=0.01)


def test_a_wrong_prediction_is_found_out() -> None:
    """Two exchanged channels do not agree, with or without knowing the gains."""
    rng = np.random.default_rng(9)
    _, s = random_network(rng, 4)
    truth = noise_covariance(s, bandwidth=1.0, temperature=300.0, noise_figure_db=0.7) * 1e21
    exchanged = truth[np.ix_([1, 0, 2, 3], [1, 0, 2, 3])]
    measured = samples_of(rng, exchanged, 4000)
    assert not compare_covariance(measured, truth, 4000).agrees()
    assert not compare_covariance(measured, truth, 4000, gains_known=False).agrees()


def test_too_few_samples_are_refused() -> None:
    """Ten samples per channel at least."""
    with pytest.raises(ValueError, match="at least 30"):
        compare_covariance(np.eye(3, dtype=np.complex128), np.eye(3, dtype=np.complex128), 29)


def test_snr_factor_follows_from_signal_and_noise_of_a_detuned_port() -> None:
    """Signal power p, noise p + x: at |S11|² = 0.75 and 0.7 dB at 295 K the factor is 0.8204."""
    s = np.diag([np.sqrt(0.75), 0.0]).astype(np.complex128)
    x = (10**0.07 - 1) * 290.0 / 295.0
    factor = snr_factor(s, 0.7, temperature=295.0)
    assert factor[0] == pytest.approx(np.sqrt(0.25 / (0.25 + x) * (1 + x)), rel=1e-12)
    assert factor[1] == pytest.approx(1.0)
    assert snr_factor(s, 0.0) == pytest.approx([1.0, 1.0])


def test_snr_factor_of_a_dead_port_is_zero() -> None:
    """Total reflection receives nothing, whatever the preamplifier."""
    assert snr_factor(np.eye(2, dtype=np.complex128), 0.7) == pytest.approx([0.0, 0.0])
    assert snr_factor(np.eye(2, dtype=np.complex128), 0.0) == pytest.approx([0.0, 0.0])
