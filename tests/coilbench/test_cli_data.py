"""The commands on finished runs and on images: recon, noise, snr, tsc, report, export; in this process."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest

from coilbench.phantom_run import judge_run
from coilbench.run_report import report_page

#: Exit codes of verdicts.
CODES = {"pass": 0, "marginal": 0, "fail": 1, "inconclusive": 2}


def test_a_stored_run_gives_the_numbers_it_gave_when_it_was_made(run, finished, record) -> None:
    """Same raw data, same algorithms: equal but for the order of summation in float32."""
    found = record("tsc", run)
    live = finished.measured.quantified.tsc
    assert [row["vial"] for row in found["vials"]] == [vial.name for vial in live.vials]
    for row, vial in zip(found["vials"], live.vials, strict=True):
        assert row["concentration_mmol_l"] == pytest.approx(vial.concentration, rel=1e-4)
        assert row["uncertainty_mmol_l"] == pytest.approx(vial.uncertainty, rel=1e-3)
    assert found["exit"] == CODES[found["verdict"]]
    assert "not measurable" in found["not_measured"]


def test_tsc_writes_the_map_and_both_uncertainties_where_they_belong(run, record, tmp_path) -> None:
    """NIfTI and DICOM hold the same values; noise and systematic uncertainty are files of their own."""
    found = record("tsc", run, "--out", tmp_path / "maps", "--dicom", "--plot", tmp_path / "plots")
    names = {"tsc", "tsc_u_noise", "tsc_u_systematic"}
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        name + suffix for name in names for suffix in (".nii.gz", ".dcm")
    }
    for name in names:
        image = np.asarray(nib.load(tmp_path / "maps" / f"{name}.nii.gz").get_fdata(), dtype=np.float32)
        stored = pydicom.dcmread(tmp_path / "maps" / f"{name}.dcm")
        values = np.frombuffer(stored.FloatPixelData, dtype="<f4")
        assert np.array_equal(np.sort(image.ravel()), np.sort(values))
        assert str(stored.PatientName).startswith("PHANTOM^")
    pictures = sorted((tmp_path / "plots").iterdir())
    assert len(pictures) == 4
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert len(found["files"]) == 10


def test_the_vials_lie_in_the_sodium_map_where_the_bench_file_says(run, finished) -> None:
    """Through the whole chain, simulated world to NIfTI: strong vials are not where they are mirrored to."""
    image = nib.load(run / "tsc.nii.gz")
    values = np.asarray(image.get_fdata())
    for vial in finished.measured.file.phantom.vials:
        if vial.concentration_mmol_l < 90:
            continue
        place = 1e3 * np.array(vial.position)
        voxel = np.linalg.inv(image.affine) @ [*place, 1.0]
        here = values[tuple(np.rint(voxel[:3]).astype(int))]
        for mirror in np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1], [-1, -1, 1], [-1, -1, -1]]):
            there = np.linalg.inv(image.affine) @ [*(place * mirror), 1.0]
            others = [
                np.linalg.norm(place * mirror - 1e3 * np.array(other.position)) - 1e3 * other.radius
                for other in finished.measured.file.phantom.vials
            ]
            if min(others) > 10:  # a mirrored place that lies in the bath
                assert here > 1.5 * values[tuple(np.rint(there[:3]).astype(int))], (vial.name, mirror)


def test_noise_of_a_run_stands_beside_its_prediction(run, finished, record, tmp_path) -> None:
    found = record("noise", run, "--plot", tmp_path / "noise.svg")
    comparison = finished.measured.noise.comparison
    assert found["chi_square"] == pytest.approx(comparison.chi_square, rel=1e-4)
    assert found["power_over_prediction"] == pytest.approx(list(comparison.power_ratio), rel=1e-4)
    assert found["exit"] == CODES[found["verdict"]]
    assert (tmp_path / "noise.svg").read_text(encoding="utf-8").count("<svg") == 1


def test_report_writes_the_page_again_and_leaves_the_record(run, record, tmp_path) -> None:
    before = (run / "record.json").read_bytes()
    found = record("report", run, "--out", tmp_path / "page.html")
    assert (run / "record.json").read_bytes() == before
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for words in ("Uncertainty budget", "Monte Carlo", "not measurable", "predicted", "residual"):
        assert words in page
    assert found["verdict"] == json.loads(before)["verdict"]
    assert found["remarks"] == []


def test_export_gives_every_quantity_and_map_of_one_study(run, record, tmp_path) -> None:
    found = record("export", run, "--out", tmp_path, "--phantom", "PHANTOM^ball 7")
    assert {path.name for path in tmp_path.iterdir()} == {path.rsplit("/", 1)[-1] for path in found["files"]}
    files = [pydicom.dcmread(path) for path in sorted(tmp_path.glob("*.dcm"))]
    assert len({file.StudyInstanceUID for file in files}) == 1
    assert {str(file.PatientName) for file in files} == {"PHANTOM^ball 7"}
    rows = list(csv.DictReader((tmp_path / "quantities.csv").read_text(encoding="utf-8").splitlines()))
    table = json.loads((tmp_path / "quantities.json").read_text(encoding="utf-8"))
    assert len(rows) == len(table["quantities"]) > 50
    assert {row["name"] for row in rows} >= {
        "noise level",
        "sodium concentration",
        "largest noise correlation",
    }
    assert all(row["algorithm"] and row["version"] for row in rows)
    point = json.loads((tmp_path / "quantities.quaac.json").read_text(encoding="utf-8"))["datapoints"][0]
    assert point["measurement value"] == pytest.approx(float(rows[0]["value"]))


def test_a_patient_is_not_exported(run, run_here, tmp_path) -> None:
    done = run_here("export", run, "--out", tmp_path / "x", "--phantom", "Doe^John")
    assert done.code == 3
    assert "patients are not exported" in done.text
    assert not list(tmp_path.rglob("*.dcm"))


def test_two_images_have_the_snr_that_hazen_prints(shared_data, record) -> None:
    """Hazen 2.0 on GSTT-CSC/hazen's MagNET pairs: 183.97 and 386.01, found without a hint where to look."""
    for maker, printed in (("ge", 183.97), ("philips", 386.01)):
        pair = sorted((shared_data / "phantom_dicom" / maker).iterdir())
        found = record("snr", *pair)
        assert round(found["as_hazen_prints"], 2) == printed
        assert found["u_snr"] < 0.02 * found["snr"]
    assert "offset" in found["notes"]  # the Philips file's intercept is not 0
    assert found["snr"] < 0.3 * printed


def test_two_niftis_of_known_noise_have_their_snr(record, tmp_path) -> None:
    """A disk of 100 with unit noise, twice: 100 within three of its own standard uncertainties."""
    rng = np.random.default_rng(8)
    y, x = np.ogrid[-50:50, -40:40]
    disk = 100.0 * ((x / 30) ** 2 + (y / 30) ** 2 < 1)
    for name in "ab":
        noisy = (disk + rng.standard_normal(disk.shape)).T[:, :, None].astype(np.float32)
        nib.save(nib.Nifti1Image(noisy, np.eye(4)), tmp_path / f"{name}.nii")
    found = record("snr", tmp_path / "a.nii", tmp_path / "b.nii")
    assert found["snr"] == pytest.approx(100.0, abs=3 * found["u_snr"])
    assert found["u_snr"] == pytest.approx(100 / np.sqrt(2 * found["degrees_of_freedom"]), rel=0.05)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("noise", "an image holds no noise scan"),
        ("tsc", "describe it with --phantom FILE"),
        ("recon", "is an image already"),
        ("export", "no run folder"),
    ],
)
def test_what_an_image_cannot_give_is_said(shared_data, run_here, command, said) -> None:
    done = run_here(command, shared_data / "phantom_dicom" / "ge" / "IM-0003-0001.dcm")
    assert done.code == 3
    assert said in done.text


def test_a_hostile_vial_name_stays_text(finished) -> None:
    """A name that is markup or a broken formula is escaped on the page and drawn as it stands."""
    name = "<script>alert(1)</script>$\\frac"
    measured = finished.measured
    file = measured.file.model_copy(deep=True)
    object.__setattr__(file.phantom.vials[4], "name", name)
    vials = measured.quantified.tsc.vials
    renamed = (*vials[:4], replace(vials[4], name=name), *vials[5:])
    tsc = replace(measured.quantified.tsc, vials=renamed)
    changed = replace(
        measured,
        acquired=replace(measured.acquired, file=file),
        quantified=replace(measured.quantified, tsc=tsc),
    )
    page = report_page(changed, judge_run(changed), (name,), name)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5


def test_the_snr_map_of_a_real_scan_is_drawn_and_of_images_refused(shared_data, record, tmp_path) -> None:
    """The 16-channel set of cloudmr-tools: one slice of 96 x 96, largest SNR 181.4."""
    found = record("snr", shared_data / "kspace_16ch" / "kspace16ch.npz", "--plot", tmp_path / "snr.png")
    assert found["maximum_snr"] == pytest.approx(181.4, abs=0.1)
    assert (tmp_path / "snr.png").read_bytes().startswith(b"\x89PNG")
    pair = sorted((shared_data / "phantom_dicom" / "ge").iterdir())
    assert "leave out --plot" in record("snr", *pair, "--plot", tmp_path / "b.png")["error"]
