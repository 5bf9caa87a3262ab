"""The receive filter against a CIC built from running sums at the converter's clock."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.demodulate import cic_response, design_filter, residual_phase

#: Small decimation so that the clock-rate signals of these tests stay short.
R = 16
STAGES = 6
INTERVAL = 1e-5


def _hardware_cic(signal: np.ndarray, decimation: int = R, stages: int = STAGES) -> np.ndarray:
    """Return running sums at the clock, one in R kept: sample n sees clocks up to (n + 1)·R - 1."""
    for _ in range(stages):
        padded = np.concatenate((np.zeros((*signal.shape[:-1], decimation), signal.dtype), signal), axis=-1)
        total = np.cumsum(padded, axis=-1)
        signal = (total[..., decimation:] - total[..., :-decimation]) / decimation
    return signal[..., decimation - 1 :: decimation]


def _clock_times(samples: int, decimation: int = R) -> np.ndarray:
    """Clock times such that CIC output n is centred at (n + 1 - stages/2)·interval."""
    return (np.arange(samples * decimation) + 0.5) / decimation * INTERVAL


@pytest.mark.parametrize("factor", [1, 2, 3])
@settings(max_examples=25, deadline=None)
@given(position=st.floats(-0.35, 0.35))
def test_tones_in_the_pass_band_arrive_unchanged(factor, position):
    """A tone comes out with gain 1 and its phase at the stated sample times: within the design's ripple."""
    receive = design_filter(stages=STAGES, decimation=R, interval=INTERVAL, factor=factor)
    frequency = position / receive.output_interval
    samples = 120
    received = _hardware_cic(np.exp(2j * np.pi * frequency * _clock_times(samples))).astype(np.complex64)
    filtered = receive.apply(received[None, None], STAGES)[0, 0]
    # R·interval/2 of discrete group delay per stage: (R - 1)/2 clocks, so half a clock per stage is left.
    centre = (receive.centres(samples, STAGES) + 1 - STAGES / 2 * (R - 1) / R - 0.5 / R) * INTERVAL
    expected = receive.response(frequency) * np.exp(2j * np.pi * frequency * centre)
    np.testing.assert_allclose(filtered, expected, atol=2e-5)
    assert abs(receive.response(frequency) - 1.0) < 2e-3


def test_response_is_the_transform_of_the_impulse_response():
    """The stated response equals the DTFT of the whole chain's impulse response, also where it aliases."""
    receive = design_filter(stages=STAGES, decimation=R, interval=INTERVAL)
    cic = np.ones(1)
    for _ in range(STAGES):
        cic = np.convolve(cic, np.ones(R) / R)
    spread = np.zeros((receive.taps.size - 1) * R + 1)
    spread[::R] = receive.taps
    impulse = np.convolve(spread, cic)
    clocks = np.arange(impulse.size) - (impulse.size - 1) / 2
    frequency = np.linspace(-3.3, 3.3, 67) / INTERVAL
    transform = np.cos(2 * np.pi * np.outer(frequency, clocks) * INTERVAL / R) @ impulse
    np.testing.assert_allclose(receive.response(frequency), transform, atol=1e-12)


@pytest.mark.parametrize(("decimation", "factor"), [(16, 1), (1229, 1), (4095, 1), (16, 3), (2048, 4)])
def test_noise_bandwidth_is_the_integral_of_the_response(decimation, factor):
    """∫|H|² over the whole converter band, summed on a fine grid, agrees to 1e-9."""
    receive = design_filter(stages=STAGES, decimation=decimation, interval=INTERVAL, factor=factor)
    # A trigonometric polynomial is integrated exactly by equidistant points, more than its degree.
    points = (receive.taps.size + STAGES + 2) * decimation
    grid = (np.arange(points) / points - 0.5) * decimation
    integral = np.mean(receive.response(grid / INTERVAL) ** 2) * decimation / INTERVAL
    assert receive.noise_bandwidth == pytest.approx(integral, rel=1e-9)
    assert receive.relative_noise_bandwidth == pytest.approx(integral * INTERVAL * factor, rel=1e-9)


def test_white_noise_leaves_with_the_stated_power():
    """White noise of unit density measured through the chain has the power B, within its sampling error."""
    rng = np.random.default_rng(5)
    receive = design_filter(stages=STAGES, decimation=R, interval=INTERVAL)
    rows, samples = 40, 1000
    clock_rate = R / INTERVAL
    noise = rng.standard_normal((rows, samples * R, 2)) @ np.array([1.0, 1j]) * np.sqrt(clock_rate / 2)
    filtered = receive.apply(_hardware_cic(noise).astype(np.complex64), STAGES)
    # Neighbouring outputs are correlated; their number of independent values is at least half of them.
    tolerance = 4.0 / np.sqrt(filtered.size / 2)
    assert np.mean(np.abs(filtered) ** 2) == pytest.approx(receive.noise_bandwidth, rel=tolerance)


def test_nothing_contaminated_comes_out():
    """Settling samples are not numbers here, and no output notices."""
    receive = design_filter(stages=STAGES, decimation=R, interval=INTERVAL)
    data = np.ones((2, 3, 40), np.complex64)
    data[..., :STAGES] = np.nan
    filtered = receive.apply(data, STAGES)
    assert filtered.shape == (2, 3, 40 - STAGES - 2 * receive.half_width)
    np.testing.assert_allclose(filtered, 1.0, atol=1e-5)
    assert receive.centres(40, STAGES)[0] == STAGES + receive.half_width
    assert receive.centres(40, STAGES)[-1] == 40 - 1 - receive.half_width


@pytest.mark.parametrize("factor", [1, 4])
def test_filtering_is_linear_and_rowwise(factor):
    """Filtering a batch larger than the cache blocks equals a plain convolution row by row."""
    rng = np.random.default_rng(7)
    receive = design_filter(stages=STAGES, decimation=R, interval=INTERVAL, factor=factor)
    data = (rng.standard_normal((31, 5, 470)) + 1j * rng.standard_normal((31, 5, 470))).astype(np.complex64)
    filtered = receive.apply(data, 3)
    expected = np.stack([np.convolve(row, receive.taps, "valid")[3::factor] for row in data.reshape(-1, 470)])
    np.testing.assert_allclose(filtered.reshape(expected.shape), expected, atol=2e-5)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_decimation_keeps_aliases_out(factor):
    """What would fold into the pass band arrives at least 48 dB down."""
    receive = design_filter(stages=STAGES, decimation=R, interval=INTERVAL, factor=factor)
    inside = np.linspace(-0.35, 0.35, 71)
    for image in range(1, factor // 2 + 1):
        assert np.abs(receive.response((image + inside) / receive.output_interval)).max() < 4e-3


def test_cic_droop():
    """Six stages lose 5.5 dB at a quarter of the output rate."""
    assert 20 * np.log10(cic_response(6, 1229, 0.25)) == pytest.approx(-5.48, abs=0.02)


def test_residual_phase_stops_a_turning_spin():
    """A spin 0.03 Hz above the oscillator turns counter-clockwise and is turned back."""
    times = np.linspace(0.0, 5e-3, 11)
    turned = np.exp(2j * np.pi * 30.0 * times) * residual_phase(30.0, times)
    np.testing.assert_allclose(turned, 1.0, atol=1e-6)


def test_bad_requests_are_refused():
    """No filter for zero stages, and no output from a window shorter than the filter."""
    with pytest.raises(ValueError, match="cannot design"):
        design_filter(stages=0, decimation=R, interval=INTERVAL)
    receive = design_filter(stages=STAGES, decimation=R, interval=INTERVAL)
    with pytest.raises(ValueError, match="too short"):
        receive.apply(np.zeros((1, 1, 18), np.complex64), STAGES)
