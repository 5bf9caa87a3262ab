"""The commands for foreign data on real measurements, against the numbers published with them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path


def record(*words: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "coilbench", *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        encoding="utf-8",
    )
    assert done.returncode == code, done.stderr
    return dict(json.loads(done.stdout))


def test_snr_of_the_16_channel_set_is_the_published_one(shared_data: Path) -> None:
    """cloudmr-tools test data: noise bandwidth 0.792, correlation 0.136/0.440, SNR 181.4 and 100.7."""
    found = record("snr", str(shared_data / "kspace_16ch" / "kspace16ch.npz"))
    assert found["noise_bandwidth_ratio"] == pytest.approx(0.792, abs=1e-3)
    assert found["mean_noise_correlation"] == pytest.approx(0.136, abs=1e-3)
    assert found["largest_noise_correlation"] == pytest.approx(0.440, abs=1e-3)
    assert found["maximum_snr"] == pytest.approx(181.4, abs=0.1)
    assert found["median_snr_of_object"] == pytest.approx(100.7, abs=0.1)
    assert found["pseudo_replica_over_analytic"] == pytest.approx(1.0, abs=0.015)
    assert found["unwhitened_over_whitened"] == pytest.approx(0.886, abs=1e-3)


def test_the_16_channel_set_becomes_a_nifti_image_in_snr_units(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "image.nii.gz"
    found = record("recon", str(shared_data / "kspace_16ch" / "kspace16ch.npz"), "--out", str(out))
    image = nib.load(out)
    assert image.shape[:2] == (96, 96)
    assert found["unit"].startswith("SNR units")
    assert float(np.max(image.get_fdata())) == pytest.approx(found["maximum"], rel=1e-6)
    assert found["maximum"] == pytest.approx(181.4, rel=0.01)


def test_the_xenon_lung_scan_shows_lungs_and_airways(shared_data: Path, tmp_path: Path) -> None:
    """Real 3D radial 129Xe: gas in a quarter or less of the cube, far above the background's level."""
    out = tmp_path / "lungs.nii.gz"
    found = record("recon", str(shared_data / "radial_129xe" / "demo_radial_mri_data.mat"), "--out", str(out))
    assert found["matrix_z_y_x"] == [64, 64, 64]
    assert found["density_weights"] == "iterated"
    image = np.asarray(nib.load(out).get_fdata())
    gas = image > 0.25 * image.max()
    assert 0.01 < gas.mean() < 0.25
    corners = image[:8, :8, :8]
    assert np.median(image[gas]) > 5 * np.median(corners)


def test_resonators_and_loops_have_the_published_q_or_are_refused(shared_data: Path) -> None:
    """NPL report MAT 58: Q0 7546 and 862; a sweep of less than 1.5 bandwidths states nothing."""
    found = record(
        "qfactor",
        *(str(shared_data / "resonators" / name) for name in ("Figure6b.txt", "Table6c27.txt")),
    )
    assert [row["q_unloaded"] for row in found["rows"]] == pytest.approx([7546.0, 862.0], rel=1e-3)
    loops = sorted(str(path) for path in (shared_data / "loop_s1p").glob("*.s1p"))
    assert len(loops) == 5
    found = record("qfactor", *loops, code=3)
    fitted = {row["file"]: row for row in found["rows"]}
    assert set(fitted) == {"10m310322.s1p", "20m310322.s1p"}
    assert all(48 * 0.99 <= row["q_loaded"] <= 125 and row["residual"] < 1.15e-2 for row in fitted.values())
    assert len(found["refused"]) == 3
    assert all("1.5 are needed" in line for line in found["refused"])


def test_data_without_noise_scan_have_no_snr_and_say_so(shared_data: Path) -> None:
    path = shared_data / "radial_129xe" / "demo_radial_mri_data.mat"
    assert "no noise scan" in record("snr", str(path), code=3)["error"]
