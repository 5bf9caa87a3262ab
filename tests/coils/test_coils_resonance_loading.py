"""Facts about loaded and unloaded coils, and about Q through two probes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.quality import Reading, coil_loading
from coils.resonance import (
    check_isolation,
    compare_loading,
    fit_resonance,
    loading_from_q,
    measure_with_probes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

CENTRE = 33.8e6


def noise(rng: np.random.Generator, size: int, rms: float) -> NDArray[np.complex128]:
    return np.asarray(rms / math.sqrt(2.0) * (rng.normal(size=size) + 1j * rng.normal(size=size)))


@pytest.mark.parametrize(
    ("unloaded", "loaded", "figure_db"), [(264.0, 191.0, 5.59), (714.0, 146.0, 0.99), (400.0, 200.0, 3.01)]
)
def test_the_noise_figure_is_that_of_the_resistances(
    unloaded: float, loaded: float, figure_db: float
) -> None:
    """R_coil = ωL/Q_U, R_coil + R_sample = ωL/Q_L: F = total over sample resistance, SNR its inverse root."""
    coil, total = 1.0 / unloaded, 1.0 / loaded
    factor = total / (total - coil)
    loading = loading_from_q(unloaded, loaded, 1.0, 1.0)
    assert loading.noise_figure_db == pytest.approx(10 * math.log10(factor), rel=1e-12)
    assert loading.noise_figure_db == pytest.approx(figure_db, abs=0.01)
    assert loading.snr_share == pytest.approx(factor**-0.5, rel=1e-12)
    assert loading.ratio == pytest.approx(unloaded / loaded, rel=1e-12)


def test_the_passport_states_the_same_loading() -> None:
    """`coils.quality` works with expanded uncertainties: same values, and twice the standard uncertainty."""
    here = loading_from_q(264.0, 191.0, 2.0, 1.5)
    there = coil_loading(Reading(264.0, 4.0), Reading(191.0, 3.0))
    assert there.ratio.value == pytest.approx(here.ratio, rel=1e-12)
    assert there.ratio.uncertainty == pytest.approx(2.0 * here.u_ratio, rel=1e-12)
    assert there.snr_share.value == pytest.approx(here.snr_share, rel=1e-12)
    assert there.noise_figure_db.value == pytest.approx(here.noise_figure_db, rel=1e-12)


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.9])
def test_uncertainties_of_quotients_are_those_of_drawn_pairs(correlation: float) -> None:
    """A million pairs of Q with 1 and 2 % errors: ratio, share and noise figure scatter as stated."""
    rng = np.random.default_rng(41)
    relative = np.array([0.01, 0.02])
    cross = correlation * relative.prod()
    covariance = np.array([[relative[0] ** 2, cross], [cross, relative[1] ** 2]])
    pairs = np.array([500.0, 200.0]) * (1.0 + rng.multivariate_normal([0.0, 0.0], covariance, size=1_000_000))
    loading = loading_from_q(500.0, 200.0, 5.0, 4.0, correlation=correlation)
    share = 1.0 - pairs[:, 1] / pairs[:, 0]
    # linear propagation, second order of 2 % errors neglected
    assert loading.u_ratio == pytest.approx(np.std(pairs[:, 0] / pairs[:, 1]), rel=5e-3)
    assert loading.u_sample_share == pytest.approx(np.std(share), rel=5e-3)
    assert loading.u_snr_share == pytest.approx(np.std(np.sqrt(share)), rel=5e-3)
    assert loading.u_noise_figure_db == pytest.approx(np.std(-10 * np.log10(share)), rel=5e-3)
    low, high = loading.noise_figure_interval_db
    inside = (-10 * np.log10(share) > low) & (-10 * np.log10(share) < high)
    assert np.mean(inside) == pytest.approx(0.95, abs=3e-3)


def test_an_error_that_both_traces_share_leaves_the_ratio() -> None:
    """With full correlation and equal relative errors the quotient is certain."""
    loading = loading_from_q(500.0, 200.0, 10.0, 4.0, correlation=1.0)
    assert loading.u_sample_share < 1e-12


def test_a_load_that_does_not_lower_q_by_more_than_its_uncertainty_is_refused() -> None:
    """Exchanged traces, a dry phantom, and a drop within the noise state no noise figure."""
    for unloaded, loaded in ((190.0, 260.0), (200.0, 200.0), (200.0, 197.0)):
        with pytest.raises(MeasurementError, match=r"not above the uncertainty.*conducts"):
            loading_from_q(unloaded, loaded, 2.0, 2.0)


def test_arguments_that_make_no_sense_are_programming_errors() -> None:
    """Q of zero, negative uncertainty, correlation beyond one."""
    for arguments in ((0.0, 1.0, 1.0, 1.0), (2.0, 1.0, -1.0, 1.0), (math.inf, 1.0, 1.0, 1.0)):
        with pytest.raises(ValueError, match="must"):
            loading_from_q(*arguments)
    with pytest.raises(ValueError, match="correlation"):
        loading_from_q(2.0, 1.0, 0.1, 0.1, correlation=1.5)


def test_loading_from_two_traces_is_that_of_the_circuit_whatever_the_match() -> None:
    """Empty Q 300 undercoupled and mismatched, loaded Q 120 critical: share 0.6 within two bars."""
    rng = np.random.default_rng(42)

    def trace(
        q0: float, coupling: float, centre: float
    ) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        span = 4.0 * centre * (1 + coupling) / q0
        f = np.linspace(centre - span / 2, centre + span / 2, 201)
        z = (1.0 + 1j * q0 * (f / centre - centre / f)) / coupling
        return f, (z - 1.0) / (z + 1.0) + noise(rng, 201, 1e-3)

    empty = fit_resonance(*trace(300.0, 2.5, 33.9e6))
    loaded = fit_resonance(*trace(120.0, 1.0, CENTRE))
    loading = compare_loading(empty, loaded)
    assert abs(loading.sample_share - 0.6) < 2.0 * loading.u_sample_share
    assert loading.u_sample_share < 5e-3
    assert loading.shift == pytest.approx(-1e5, rel=1e-2)


def test_other_resonances_are_not_compared() -> None:
    """127.7 MHz is not 33.8 MHz on a load, and a transmission no reflection."""
    f = np.linspace(33.0e6, 34.6e6, 201)
    t = f / CENTRE - CENTRE / f
    low = fit_resonance(f, 1.0 - 1.0 / (1.0 + 80j * t))
    high = fit_resonance(f * 3.78, 1.0 - 1.0 / (1.0 + 80j * t))
    with pytest.raises(MeasurementError, match="same resonance"):
        compare_loading(low, high)
    through = fit_resonance(f, 0.01 / (1.0 + 80j * t), kind="transmission")
    with pytest.raises(ValueError, match="like with like"):
        compare_loading(low, through)


def probed(
    f: NDArray[np.float64], q0: float, one: float, two: float, leak: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Return S21 through a series loop seen by two probes as β1 and β2 of its resistance."""
    t = f / CENTRE - CENTRE / f
    return np.asarray(2.0 * math.sqrt(one * two) / (1.0 + one + two + 1j * q0 * t) + leak)


def test_probes_give_the_coils_own_q_after_their_leakage_in_air_is_subtracted() -> None:
    """-72 dB of slanting leakage and 1 % of loading: Q0 within two bars, without the air trace as well."""
    rng = np.random.default_rng(43)
    f = np.linspace(CENTRE - 4e5, CENTRE + 4e5, 301)
    x = (f - CENTRE) / 8e5
    leak = 2.0e-4 * np.exp(0.6j) * (1.0 + 0.8 * x + 0.3j * x)
    s21 = probed(f, 250.0, 0.005, 0.005, leak) + noise(rng, f.size, 3e-6)
    air = leak + noise(rng, f.size, 3e-6)
    found = measure_with_probes(f, s21, air)
    assert abs(found.resonance.q_unloaded - 250.0) < 2.0 * found.resonance.uncertainty.q_unloaded
    assert found.resonance.uncertainty.q_unloaded < 1.0
    assert found.isolation_db == pytest.approx(20 * math.log10(2.0e-4 * 1.41), abs=0.3)
    assert found.probe_loading == pytest.approx(0.01 / 1.01, rel=0.02)
    assert found.peak_db == pytest.approx(20 * math.log10(0.01 / 1.01), abs=0.05)
    alone = measure_with_probes(f, s21)
    assert abs(alone.resonance.q_unloaded - 250.0) < 2.0 * alone.resonance.uncertainty.q_unloaded
    assert alone.isolation_db is None


@pytest.mark.parametrize("quotient", [0.25, 1.0, 4.0])
def test_unequal_probes_stay_inside_the_bar(quotient: float) -> None:
    """Probes up to four times unlike: the loading correction is off by up to a quarter, and the bar knows."""
    rng = np.random.default_rng(44)
    f = np.linspace(CENTRE - 4e5, CENTRE + 4e5, 301)
    one, two = 0.02 * math.sqrt(quotient), 0.02 / math.sqrt(quotient)
    found = measure_with_probes(f, probed(f, 250.0, one, two, 0.0 * f) + noise(rng, f.size, 1e-6))
    assert abs(found.resonance.q_unloaded - 250.0) < 2.0 * found.resonance.uncertainty.q_unloaded


def test_probes_that_see_each_other_are_refused() -> None:
    """-60 dB in air is a measurement of the probes; the message says where and what to do."""
    f = np.linspace(33.0e6, 34.6e6, 101)
    air = 1e-3 * np.exp(1j * f / 1e6) * (1.0 + (f - 33.0e6) / 1.6e7)
    with pytest.raises(
        MeasurementError, match=r"see each other: \|S21\| = -59\.\d dB in air at 34\.6000 MHz"
    ):
        check_isolation(f, air)
    with pytest.raises(MeasurementError, match="zero at every point"):
        check_isolation(f, 0.0 * air)
    assert check_isolation(f, 0.1 * air) == pytest.approx(-79.2, abs=0.1)


def test_probes_too_near_or_too_far_are_refused() -> None:
    """A peak above -20 dB loads the coil; one less than 20 dB above the probes' own coupling drowns in it."""
    rng = np.random.default_rng(45)
    f = np.linspace(CENTRE - 4e5, CENTRE + 4e5, 301)
    with pytest.raises(MeasurementError, match="move them away"):
        measure_with_probes(f, probed(f, 250.0, 0.1, 0.1, 0.0 * f) + noise(rng, f.size, 1e-5))
    leak = 2.5e-4 + noise(rng, f.size, 1e-7)
    with pytest.raises(MeasurementError, match="bring the probes nearer"):
        measure_with_probes(f, probed(f, 250.0, 5e-4, 5e-4, leak), leak + noise(rng, f.size, 1e-7))
    with pytest.raises(ValueError, match="shape"):
        measure_with_probes(f, probed(f, 250.0, 0.01, 0.01, 0.0 * f), leak[:-1])
