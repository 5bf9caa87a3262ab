"""The command qc on stored runs: what is kept, what it is held against, exit codes; in this process."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def runs(finished, tmp_path_factory) -> Path:
    """Return a folder with one run as `coilbench run` leaves it, and the same scan again a day later."""
    source = finished.outcome.folder
    folder = tmp_path_factory.mktemp("qc-runs")
    for name, day in (("2026-03-01T07-00-00Z_small_0001", "01"), ("2026-03-02T07-00-00Z_small_0002", "02")):
        shutil.copytree(source, folder / name)
        shutil.copyfile(source.parents[1] / "bench.toml", folder / name / "bench.toml")
        record = json.loads((folder / name / "record.json").read_text(encoding="utf-8"))
        record["started_utc"] = f"2026-03-{day}T07:00:00+00:00"
        (folder / name / "record.json").write_text(json.dumps(record), encoding="utf-8")
    for old in (folder / "2026-03-02T07-00-00Z_small_0002").glob("qc-*.json"):
        old.unlink()
    return folder


@pytest.fixture
def qc(run_here) -> Callable[..., dict[str, Any]]:
    """Return what runs `coilbench qc --json` and gives its object with the exit code."""

    def run(*words: object) -> dict[str, Any]:
        done = run_here("qc", *words, "--json")
        return {**json.loads(done.out), "exit": done.code}

    return run


def test_the_same_scan_again_shows_no_fault_against_the_oldest_run(runs, qc) -> None:
    """Held against itself, no channel has changed; the result is kept beside the earlier ones."""
    later = runs / "2026-03-02T07-00-00Z_small_0002"
    found = qc(later)
    assert found["baseline"] == "2026-03-01T07-00-00Z_small_0001"
    assert found["findings"] == []
    assert {"channels with a fault", "uniformity change"} <= {one["name"] for one in found["judged"]}
    assert found["exit"] == {"pass": 0, "marginal": 0, "fail": 1, "inconclusive": 2}[found["verdict"]]
    assert found["kept"].endswith("qc-001.json")
    assert (later / "qc-001.json").is_file()


def test_a_first_run_has_no_baseline_and_says_so(runs, qc) -> None:
    found = qc(runs / "2026-03-01T07-00-00Z_small_0001")
    assert found["baseline"] is None
    assert any("no baseline" in line for line in found["statements"])
    assert found["kept"].endswith("qc-002.json")


def test_a_run_without_quality_control_is_no_baseline(runs, run_here, tmp_path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(runs / "2026-03-01T07-00-00Z_small_0001", bare)
    for old in bare.glob("qc-*.json"):
        old.unlink()
    done = run_here("qc", runs / "2026-03-02T07-00-00Z_small_0002", "--baseline", bare)
    assert done.code == 3
    assert "holds no quality control" in done.text


def test_a_run_draws_its_channels_and_takes_no_second_path(runs, qc, run_here, tmp_path) -> None:
    later = runs / "2026-03-02T07-00-00Z_small_0002"
    qc(later, "--plot", tmp_path / "levels.png")
    assert (tmp_path / "levels.png").read_bytes().startswith(b"\x89PNG")
    done = run_here("qc", later, later)
    assert done.code == 3
    assert "one file of raw data is taken" in done.text


def test_the_report_of_a_later_run_draws_its_trend_and_a_first_one_says_there_is_none(
    runs, run_here, tmp_path
) -> None:
    """Two runs of one coil: charts of noise and signal apart, up to the run that is reported."""
    first, later = sorted(path for path in runs.iterdir() if (path / "record.json").is_file())
    assert run_here("report", later, "--out", tmp_path / "later.html").code in (0, 1, 2)
    page = (tmp_path / "later.html").read_text(encoding="utf-8")
    noise, signal = (
        page.index("<h2>Noise</h2>", page.index("Quality control</h2>")),
        page.index("<h2>Signal</h2>"),
    )
    assert noise < page.index("noise level, channel 1 / dB(V)", noise) < signal
    assert page.count("2026-03-01") >= 10
    run_here("report", first, "--out", tmp_path / "first.html")
    page = (tmp_path / "first.html").read_text(encoding="utf-8")
    assert "No chart: no other run of coil SIM-8-0001 has been made before it" in page
    assert "2026-03-02" not in page


def test_the_other_nucleus_is_checked_by_sweep_and_by_a_second_state_of_its_ports(runs, qc, tmp_path) -> None:
    """Isolation at 23Na of every port with its uncertainty; SNR against a scan whose channel 3 lost 30 %.

    20 log10(0.7) = -3.1 dB of signal at the same noise: 30 % of SNR, beyond the limit of 20 %.
    """
    first, later = sorted(path for path in runs.iterdir() if (path / "record.json").is_file())
    alone = qc(first)
    isolation = [one for one in alone["quantities"] if one["name"] == "isolation from the 1H ports"]
    assert [one["place"] for one in isolation] == [f"channel {number}" for number in range(1, 9)]
    assert all(-60 < one["value"] < 0 < one["uncertainty"] for one in isolation)
    worst = next(one for one in alone["judged"] if one["name"] == "worst isolation from the 1H ports")
    assert worst["value"] == max(one["value"] for one in isolation)
    assert any("--other-ports" in line for line in alone["statements"])
    shutil.copytree(later, tmp_path / "open")
    newest = max((tmp_path / "open").glob("qc-*.json"))
    kept = json.loads(newest.read_text(encoding="utf-8"))
    kept["fingerprint"]["signal"][2] = [
        [0.7 * real, 0.7 * imaginary] for real, imaginary in kept["fingerprint"]["signal"][2]
    ]
    newest.write_text(json.dumps(kept), encoding="utf-8")
    found = qc(first, "--other-ports", tmp_path / "open")
    changes = {
        one["name"][-10:-1]: (one["value"], one["verdict"])
        for one in found["judged"]
        if one["name"].startswith("SNR change by the 1H ports")
    }
    assert len(changes) == 8
    assert changes["channel 3"][0] == pytest.approx(30.0, abs=0.5)
    assert changes["channel 3"][1] in ("fail", "inconclusive")
    assert all(value < 0.5 for name, (value, _) in changes.items() if name != "channel 3")
