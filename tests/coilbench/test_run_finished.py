"""A run that went through: its folder as other programs read it, its record, its exit code."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import nibabel
import numpy as np
import pypulseq
import pytest
import skrf

from acquisition.playback import StreamReader
from coilbench.outcome import Outcome
from coilbench.phantom_run import judge_run

if TYPE_CHECKING:
    from pathlib import Path


def refuse_constant(word: str) -> float:
    raise AssertionError(f"{word} is no JSON")


def judged_with(finished, **limits: float) -> Outcome:
    """Judge the same measurement by other limits."""
    acquired = finished.measured.acquired
    file = acquired.file.model_copy(update={"limits": acquired.file.limits.model_copy(update=limits)})
    measured = replace(finished.measured, acquired=replace(acquired, file=file))
    return Outcome(finished.outcome.folder, judge_run(measured), ())


def test_the_folder_holds_what_the_reference_promises_and_nothing_half_written(finished) -> None:
    names = {path.name for path in finished.outcome.folder.iterdir()}
    assert names == {
        "events.jsonl",
        "before.s16p",
        "after.s16p",
        "scan.seq",
        "raw.mrd",
        "raw.idx",
        "raw.h5",
        "image.nii.gz",
        "tsc.nii.gz",
        "tsc_u_noise.nii.gz",
        "tsc_u_systematic.nii.gz",
        "coil.json",
        "qc-001.json",
        "coil.s16p",
        "record.json",
        "report.html",
    }
    assert finished.was_safe


@pytest.mark.parametrize("name", ["before.s16p", "after.s16p"])
def test_plain_scikit_rf_reads_a_passive_reciprocal_array_of_16_ports(finished, name: str) -> None:
    network = skrf.Network(str(finished.outcome.folder / name))
    assert network.nports == 16
    # Trace noise of standard deviation s per entry lifts the largest singular value by at most about
    # 2 s sqrt(16); S - S^T of a reciprocal array shows s.
    difference = (network.s - network.s.transpose(0, 2, 1))[:, *np.triu_indices(16, 1)]
    noise = np.sqrt(np.mean(np.abs(difference) ** 2) / 2.0)
    assert noise < 3e-3
    assert np.linalg.norm(network.s, 2, axis=(1, 2)).max() <= 1.0 + 8.0 * noise


def test_the_stored_sequence_is_the_scan(finished) -> None:
    """Another program counts as many excitations as spokes were stored."""
    sequence = pypulseq.Sequence()
    sequence.read(str(finished.outcome.folder / "scan.seq"))
    assert len(sequence.block_events) == 2 * 800
    assert sequence.definitions["Nucleus"] == "23Na"


def test_stream_and_hdf5_hold_the_same_whole_scan(finished) -> None:
    folder: Path = finished.outcome.folder
    with StreamReader(folder / "raw.mrd") as reader:
        streamed = list(reader)
    assert len(streamed) == 64 + 800
    with h5py.File(folder / "raw.h5") as file:
        stored = file["dataset/data"][()]
    assert len(stored) == len(streamed)
    for row, line in zip(stored, streamed, strict=True):
        assert row["head"]["scan_counter"] == line.scan_counter
        np.testing.assert_array_equal(row["data"].view(np.complex64).reshape(8, -1), line.data)


def test_the_images_show_the_ball_where_it_is(finished) -> None:
    """Voxels in the ball are brighter than those outside it, in a volume of the field of view."""
    image: Any = nibabel.load(finished.outcome.folder / "image.nii.gz")
    tsc: Any = nibabel.load(finished.outcome.folder / "tsc.nii.gz")
    assert image.shape == tsc.shape == (32, 32, 32)
    assert image.header.get_zooms() == pytest.approx((6.25, 6.25, 6.25))
    voxels = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"), axis=-1)
    places = nibabel.affines.apply_affine(image.affine, voxels)
    distance = np.linalg.norm(places, axis=-1)
    values = image.get_fdata()
    radius = 1e3 * finished.measured.file.phantom.radius
    assert np.median(values[distance < radius - 7.0]) > 3.0 * np.median(values[distance > radius + 7.0])


def test_the_record_is_strict_json_and_agrees_with_the_outcome(finished) -> None:
    text = (finished.outcome.folder / "record.json").read_text(encoding="utf-8")
    record = json.loads(text, parse_constant=refuse_constant)
    assert record["schema"] == 1
    assert record["verdict"] == str(finished.outcome.verdict)
    assert [row["name"] for row in record["judged"]] == [row.name for row in finished.outcome.judged]


def test_every_event_is_one_line_with_its_time(finished) -> None:
    lines = (finished.outcome.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line, parse_constant=refuse_constant) for line in lines]
    assert [event["utc"] for event in events] == sorted(event["utc"] for event in events)
    kinds = {event["kind"] for event in events}
    assert {"step", "tune.swept", "tune.finished", "characterise.finished", "scan.progress"} <= kinds
    assert "failed" not in kinds


def test_the_report_needs_no_network_and_states_the_verdict(finished) -> None:
    page = finished.outcome.report.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", page)
    assert "<script" not in page
    assert str(finished.outcome.verdict) in page.lower()
    assert finished.outcome.folder.name in page


def test_the_exit_code_follows_from_limits_and_uncertainty(finished) -> None:
    """Wide limits pass; a limit inside the uncertainty is inconclusive; a missed one fails."""
    errors = [row for row in judged_with(finished).judged if row.name.startswith("[Na]")]
    beyond = max(row.value + row.uncertainty for row in errors)
    assert judged_with(finished, tsc_tolerance_mmol_l=1.01 * beyond).exit_code == 0
    assert judged_with(finished, tsc_tolerance_mmol_l=0.99 * beyond).exit_code == 2
    snr = finished.measured.quantified.median_snr
    assert judged_with(finished, tsc_tolerance_mmol_l=0.99 * beyond, snr_minimum=1.5 * snr).exit_code == 1


def test_json_prints_the_record_alone(bench, start) -> None:
    code, out, err = start(bench, "--json").end()
    record = json.loads(out, parse_constant=refuse_constant)
    assert code == {"pass": 0, "fail": 1, "inconclusive": 2}[record["verdict"]]
    assert err == ""
    assert record == json.loads((bench.folder / "record.json").read_text(encoding="utf-8"))
    assert (bench.folder / "bench.toml").read_bytes() == bench.path.read_bytes()
    assert bench.is_safe
