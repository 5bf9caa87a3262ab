"""``coilbench snr``: images by what they allow, runs by every method and of the ultimate."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest


def test_one_image_has_the_snr_that_hazen_prints_and_ours_which_says_what_it_is_biased_by(
    shared_data, record
) -> None:
    """Hazen 2.0's smoothing of the first GE image: 184.41; ours 0.5 % less, with its bias in words."""
    image = min((shared_data / "phantom_dicom" / "ge").iterdir())
    found = record("snr", image)
    assert round(found["as_hazen_prints"], 2) == 184.41
    assert round(found["snr"], 2) == 183.45
    assert found["biased"] is True
    assert "texture" in found["bias"]
    assert "snr_by_background" not in found


def test_the_air_of_an_image_gives_a_snr_labelled_biased_or_none(shared_data, record, run) -> None:
    """The GE image is a magnitude; the Philips images are not, and raw data need no such word."""
    image = min((shared_data / "phantom_dicom" / "ge").iterdir())
    found = record("snr", image, "--channels", 1)
    # by the difference of two scans 162 to 184, as regions go
    assert 150 < found["snr_by_background"] < 200
    assert "wrong where filters" in found["bias_by_background"]
    signed = min((shared_data / "phantom_dicom" / "philips").iterdir())
    assert "no magnitude" in record("snr", signed, "--channels", 8)["error"]
    assert "for images" in record("snr", run, "--channels", 8)["error"]


def test_the_air_of_four_channels_gives_their_snr(record, tmp_path) -> None:
    """A disk of 100 in the root of four channels' squares: 100 within 4 u; two are not believed."""
    rng = np.random.default_rng(9)
    y, x = np.ogrid[-60:60, -50:50]
    disk = 50.0 * ((x / 30) ** 2 + (y / 30) ** 2 < 1)
    parts = rng.standard_normal((2, 4, *disk.shape))
    image = np.sqrt(np.sum((parts[0] + disk) ** 2 + parts[1] ** 2, axis=0))
    nib.save(nib.Nifti1Image(image.T[:, :, None].astype(np.float32), np.eye(4)), tmp_path / "a.nii")
    found = record("snr", tmp_path / "a.nii", "--channels", 4)
    assert abs(found["snr_by_background"] - 100.0) < 4 * found["u_snr_by_background"]
    assert "not known here" in found["bias_by_background"]
    assert "expected of" not in found["bias_by_background"]
    assert "another number" in record("snr", tmp_path / "a.nii", "--channels", 2)["bias_by_background"]


def test_a_runs_snr_is_stated_by_every_method_for_each_channel_and_of_the_ultimate(
    run, finished, record, run_here
) -> None:
    """The numbers of the run itself, and the share of the ultimate with its uncertainty, also in words."""
    found = record("snr", run)
    live = finished.measured.quantified
    assert found["background_snr"] == pytest.approx(live.background_snr.value, rel=1e-4)
    spread = np.hypot(found["u_background_snr"], found["u_background_snr_by_pseudo_replicas"])
    assert abs(found["background_snr_by_pseudo_replicas"] - found["background_snr"]) < 4 * spread
    assert [row["snr"] for row in found["channels"]] == pytest.approx(
        [snr.value for snr in live.channel_snr], rel=1e-3
    )
    assert all(row["u_snr"] > 0 and row["convention"].startswith("real-sd") for row in found["channels"])
    share = found["share_of_ultimate_snr"]
    assert share == pytest.approx(found["snr_at_centre"] / found["ultimate_snr_at_centre"], rel=1e-9)
    # A tuned array of this drawing reaches 55 to 70 %: tests/hil_fixtures/test_physics_receive.py.
    assert 0.55 - 3 * found["u_share_of_ultimate_snr"] < share < 0.70 + 3 * found["u_share_of_ultimate_snr"]
    assert found["u_share_of_ultimate_snr"] < 0.1 * share
    assert "share of ultimate snr: 0." in run_here("snr", run).out


def test_a_finished_run_keeps_its_share_of_the_ultimate_for_the_trend_and_the_reader(run, finished) -> None:
    """Record, list of quantities and page state the same number, each with its uncertainty."""
    stated = finished.measured.ultimate
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    assert record["snr"]["ultimate"]["share_of_ultimate_snr"] == pytest.approx(stated.share)
    rows = {row["name"]: row for row in record["quantities"]}
    share = rows["share of the ultimate SNR at the centre"]
    assert (share["value"], share["uncertainty"]) == pytest.approx((stated.share, stated.uncertainty))
    assert rows["SNR of the background, median"]["algorithm"] == "SNR units, whitened Roemer"
    alone = [row for row in record["quantities"] if row["name"] == "SNR of the background, channel alone"]
    assert [row["value"] for row in alone] == pytest.approx([row["snr"] for row in record["snr"]["channels"]])
    assert all(row["uncertainty"] > 0 for row in alone)
    assert f"{100 * stated.share:.1f} ± " in (run / "report.html").read_text(encoding="utf-8")


def test_without_the_balls_conductivity_the_rest_is_stated_and_the_reason(run, record, tmp_path) -> None:
    """Nothing bounds the SNR of a ball of unknown conductivity; the SNR itself does not need it."""
    folder = tmp_path / run.name
    shutil.copytree(run, folder)
    text = (folder / "bench.toml").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if not line.startswith("conductivity")]
    assert len(kept) == len(text.splitlines()) - 1
    (folder / "bench.toml").write_text("\n".join(kept), encoding="utf-8")
    found = record("snr", folder)
    assert found["background_snr"] > 0
    assert "share_of_ultimate_snr" not in found
    assert "needs phantom.conductivity" in found["notes"]
