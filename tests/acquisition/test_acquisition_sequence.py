"""The written Pulseq file, read back by pypulseq, which shares no code with the trajectory."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pypulseq
import pytest

from acquisition.sequence import GradientLimits, RadialTiming, radial_sequence
from acquisition.trajectory import design_radial, golden_directions
from coilbench.base.nuclei import nucleus

SODIUM = nucleus("23Na")
TIMING = RadialTiming(
    pulse_duration=0.2e-3, dead_time=0.1e-3, repetition_time=20e-3, window_samples=520, dwell_time=10.0016e-6
)
LIMITS = GradientLimits(max_gradient=0.03, max_slew=150.0)
DESIGN = design_radial(
    gamma_bar=SODIUM.gamma_bar, kmax=100.0, readout_duration=5e-3, max_gradient=0.02, max_slew=120.0
)


def _text(directions, **changes):
    arguments = {
        "flip_angle": np.pi / 2,
        "nucleus": SODIUM,
        "transmit_frequency": 33787650.0,
        "b0": 3.0,
        "fov": 0.32,
        "limits": LIMITS,
        **changes,
    }
    timing = arguments.pop("timing", TIMING)
    return radial_sequence(DESIGN, directions, timing, **arguments)


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """Return seven repetitions after a round trip through a file."""
    path = tmp_path_factory.mktemp("seq") / "scan.seq"
    path.write_text(_text(golden_directions(7)), encoding="utf-8")
    sequence = pypulseq.Sequence(
        pypulseq.Opts(
            gamma=SODIUM.gamma_bar, max_grad=30, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s", B0=3.0
        )
    )
    sequence.read(str(path))
    return sequence


def test_definitions_name_the_nucleus_exactly(parsed):
    """Nucleus, gamma, limits, carrier, field of view and name are there with all their digits."""
    definitions = parsed.definitions
    assert definitions["Nucleus"] == "23Na"
    assert float(definitions["Gamma_Hz_T"]) == SODIUM.gamma_bar
    assert float(definitions["MaxGrad_T_m"]) == 0.03
    assert float(definitions["MaxSlew_T_m_s"]) == 150.0
    assert float(definitions["TransmitFrequency_Hz"]) == 33787650.0
    np.testing.assert_allclose(definitions["FOV"], 0.32)
    assert "Name" in definitions


def test_trajectory_ends_at_kmax_along_every_direction(parsed):
    """Pypulseq joins raster samples by lines instead of holding them: k agrees within 0.04 1/m."""
    # The format keeps six digits of an amplitude: 5e-6 of kmax.
    starts = np.cumsum([0.0, *parsed.block_durations.values()])
    for number, direction in enumerate(golden_directions(7)):
        block = parsed.get_block(2 * number + 2)
        area = np.array([block.gx.area, block.gy.area, block.gz.area])
        beyond = DESIGN.radius(1.0)
        np.testing.assert_allclose(area, beyond * direction, atol=5e-4)
        assert starts[2 * number + 1] == pytest.approx(number * 20e-3 + 0.2e-3)
    k_adc, _, excitations, _, t_adc = parsed.calculate_kspace()
    radius = np.linalg.norm(k_adc, axis=0).reshape(7, 520)
    since_gradient = (t_adc.reshape(7, 520) - np.asarray(excitations)[:, None]) - 0.2e-3
    assert np.abs(radius - DESIGN.radius(since_gradient)).max() < 0.04


def test_one_repetition(parsed):
    """A 90 degree hard pulse, then a trigger at its very end, then dead time; the repetition lasts TR."""
    pulse, readout = parsed.get_block(1), parsed.get_block(2)
    assert np.trapezoid(pulse.rf.signal.real, pulse.rf.t) == pytest.approx(0.25, rel=1e-6)
    assert pulse.block_duration == pytest.approx(0.2e-3)
    assert pulse.rf.delay == 0.0
    (trigger,) = readout.trigger.values()
    assert trigger.type == "output"
    assert trigger.delay == 0.0
    assert readout.gx.delay == pytest.approx(0.1e-3)
    assert readout.adc.num_samples == 520
    assert readout.adc.dwell == pytest.approx(10e-6)
    assert pulse.block_duration + readout.block_duration == pytest.approx(20e-3)


def test_interpreter_rules_are_kept(parsed):
    """Pypulseq's own timing check finds nothing."""
    is_ok, report = parsed.check_timing()
    assert is_ok, report


def test_gradients_stay_within_the_nucleus_limits(parsed):
    """The peak in Hz/m corresponds to the design's plateau in T/m for sodium, not for protons."""
    peak = max(
        np.linalg.norm(
            [np.abs(getattr(parsed.get_block(2 * n + 2), axis).waveform).max() for axis in ("gx", "gy", "gz")]
        )
        for n in range(7)
    )
    assert peak / SODIUM.gamma_bar == pytest.approx(DESIGN.waveform().max(), rel=1e-5)
    assert DESIGN.waveform().max() <= DESIGN.plateau * (1 + 1e-12)


def test_full_scan_is_written_quickly():
    """3200 spokes share one shape; building and writing takes less than the 6 s budget."""
    start = time.perf_counter()
    text = _text(golden_directions(3200))
    assert time.perf_counter() - start < 6.0
    assert text.count("shape_id") < 10
    assert len(text) < 2e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limits": GradientLimits(0.011, 150.0)}, "amplitude violation"),
        ({"limits": GradientLimits(0.03, 100.0)}, "Slew rate violation"),
        ({"nucleus": nucleus("1H")}, "made for"),
        ({"timing": dataclasses.replace(TIMING, repetition_time=5e-3)}, "does not hold"),
        ({"timing": dataclasses.replace(TIMING, repetition_time=20.003e-3)}, "repetition time must be"),
        ({"timing": dataclasses.replace(TIMING, dead_time=0.103e-3)}, "dead time must be"),
    ],
)
def test_what_cannot_be_played_is_refused(changes, message):
    """Limits are those of the file's nucleus; nothing is clipped or rounded silently."""
    with pytest.raises(ValueError, match=message):
        _text(golden_directions(2), **changes)
