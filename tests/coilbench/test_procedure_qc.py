"""Quality control of a finished simulated run: a sound coil passes, a faulty channel is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coilbench.base.verdict import Verdict
from coilbench.procedures.qc import control_quality, keep_quality, read_quality
from coilbench.qc_limits import QualityLimits


@pytest.fixture(scope="module")
def scan(finished):
    acquired = finished.measured.acquired
    return acquired.file, acquired.scanned, finished.measured.quantified.tsc.sensitivities


@pytest.fixture(scope="module")
def first(scan):
    return control_quality(*scan)


def test_a_first_scan_measures_everything_and_judges_no_change(first, scan):
    names = {quantity.name for quantity in first.quantities}
    assert {"uniformity, noise-corrected", "streak ratio", "diameter along z", "resolution"} <= names
    assert first.health is None
    assert "no baseline" in first.statements[-1]
    for quantity in first.quantities:
        if quantity.name.startswith("diameter"):
            # 0.2 mm: what the model leaves of a wall that k-space undersamples three times
            allowed = 4 * quantity.uncertainty + 0.2
            assert quantity.value == pytest.approx(2e3 * scan[0].phantom.radius, abs=allowed)
            assert quantity.uncertainty < 1.0


def test_what_this_phantom_and_scan_cannot_show_is_said_with_the_reason(first):
    """Vials of 15 mm in voxels of 6.25 mm are no small balls; spokes have no ghosts."""
    assert any("no vial has a radius of 12.5 mm (two voxels)" in line for line in first.statements)
    assert any("no phase-encoding direction" in line for line in first.statements)


def test_vials_of_two_voxels_show_the_resolution(scan):
    """Said to be 12 mm when they are 15 mm, the check vials look broader than promised: that is judged."""
    file, scanned, sensitivities = scan
    vials = [
        vial.model_copy(update={"radius": 0.012}) if vial.role == "check" else vial
        for vial in file.phantom.vials
    ]
    told = file.model_copy(update={"phantom": file.phantom.model_copy(update={"vials": vials})})
    quality = control_quality(told, scanned, sensitivities)
    found = [one for one in quality.quantities if one.name.endswith(("A", "B", "C")) and "at" in one.name]
    assert len(found) == sum(vial.role == "check" for vial in vials)
    assert all(one.unit == "mm" and one.uncertainty > 0 for one in found)
    at_balls = [one for one in quality.judged if one.name.startswith("resolution at")]
    assert len(at_balls) == len(found)
    assert any(one.verdict is not Verdict.PASS for one in at_balls)


def test_the_same_coil_passes_against_its_baseline(first, scan, tmp_path):
    path = keep_quality(tmp_path, first)
    assert keep_quality(tmp_path, first).name == "qc-002.json"
    assert path.name == "qc-001.json"
    again = control_quality(*scan, baseline=read_quality(tmp_path))
    assert again.health is not None
    assert again.health.is_healthy
    assert all(one.verdict is Verdict.PASS for one in again.judged if "change" in one.name)


def test_a_channel_of_another_gain_fails_and_is_named(first, scan, tmp_path):
    keep_quality(tmp_path, first)
    before = read_quality(tmp_path)
    channel = 2
    mark = before.fingerprint
    signal, rho = mark.signal.copy(), mark.correlation.copy()
    signal[channel - 1] /= 4.0
    level = mark.noise_level_db.copy()
    level[channel - 1] -= 12.04
    mark = replace(mark, signal=signal, correlation=rho, noise_level_db=level)
    quality = control_quality(*scan, baseline=replace(before, fingerprint=mark))
    assert quality.verdict is Verdict.FAIL
    assert "channel 2: noise +12.0 dB" in quality.statements[0]
    assert "gain changed" in quality.statements[0]


def test_a_baseline_of_another_coil_or_none_is_refused(first, scan, tmp_path):
    with pytest.raises(MeasurementError, match="coilbench qc"):
        read_quality(tmp_path)
    keep_quality(tmp_path, first)
    before = read_quality(tmp_path)
    fewer = replace(
        before.fingerprint,
        signal=before.fingerprint.signal[:, :1],
        signal_uncertainty=before.fingerprint.signal_uncertainty[:, :1],
        voxels=np.array([50]),
    )
    with pytest.raises(MeasurementError, match="same coil"):
        control_quality(*scan, baseline=replace(before, fingerprint=fewer))
    with pytest.raises(ValueError, match="warning comes before"):
        QualityLimits(noise_warn_db=2.0)
