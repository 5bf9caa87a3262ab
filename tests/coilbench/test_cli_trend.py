"""The command trend on folders of made-up runs: alarms, exit codes, resets, hostile names."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coilbench.quantities import Quantity
from coilbench.session import jsonable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BEGIN = datetime(2026, 1, 5, 7, tzinfo=UTC)


def make_runs(
    folder: Path,
    count: int,
    *,
    coil: str = "NA-8",
    fall: float = 0.0,
    name: str = "noise level",
    seed: int = 1,
) -> Path:
    """Write daily records of the level of two channels; in the last run channel 2 falls by ``fall`` dB."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        started = BEGIN + timedelta(days=number)
        levels = -97.0 + 0.05 * np.clip(rng.standard_normal(2), -1.5, 1.5)
        levels[1] -= fall * (number == count - 1)
        quantities = [
            Quantity(
                name, float(level), "dB(V)", 0.05, place=f"channel {channel}", algorithm="a", version="1"
            )
            for channel, level in enumerate(levels, start=1)
        ]
        run = folder / f"{started:%Y-%m-%dT%H-%M-%SZ}_{coil.lower()}_{number:04x}"
        run.mkdir(parents=True)
        record = {
            "run": run.name,
            "array": coil,
            "started_utc": started.isoformat(),
            "quantities": quantities,
        }
        (run / "record.json").write_text(json.dumps(jsonable(record)), encoding="utf-8")
    return folder


@pytest.fixture
def trend(run_here) -> Callable[..., dict[str, Any]]:
    """Return what runs `coilbench trend --json` and gives its object with the exit code."""

    def run(*words: object) -> dict[str, Any]:
        done = run_here("trend", *words, "--json")
        return {**json.loads(done.out), "exit": done.code, "said": done.text}

    return run


def test_a_channel_that_falls_by_6_db_fails_and_is_named(tmp_path, trend) -> None:
    found = trend(make_runs(tmp_path / "runs", 30, fall=6.0))
    assert found["exit"] == 1
    (alarm, rest) = found["judged"]
    assert "channel 2" in alarm["name"]
    assert "Shewhart" in alarm["limit"]
    assert rest["value"] == 1.0
    page = (tmp_path / "runs" / "trends" / "coil-NA-8.html").read_text(encoding="utf-8")
    assert page.count("noise level, channel") >= 3


def test_a_steady_coil_passes_and_a_new_one_is_inconclusive(tmp_path, trend) -> None:
    """Values within 1.5 deviations ring no single-run alarm; below 20 runs limits are provisional."""
    assert trend(make_runs(tmp_path / "old", 24))["exit"] == 0
    found = trend(make_runs(tmp_path / "new", 8))
    assert found["exit"] == 2
    assert all(one["is_provisional"] for one in found["quantities"])


def test_a_signed_reset_begins_a_new_baseline(tmp_path, trend, run_here) -> None:
    runs = make_runs(tmp_path / "runs", 22)
    unsigned = run_here("trend", runs, "--reset", "preamplifier 2 replaced")
    assert unsigned.code == 3
    assert "who signs" in unsigned.text
    found = trend(runs, "--reset", "preamplifier 2 <replaced>", "--signed-by", "A. Nobody")
    assert [reset["signed_by"] for reset in found["resets"]] == ["A. Nobody"]
    page = (runs / "trends" / "coil-NA-8.html").read_text(encoding="utf-8")
    assert "preamplifier 2 &lt;replaced&gt; (signed by A. Nobody)" in page


def test_several_coils_must_be_told_apart(tmp_path, trend) -> None:
    runs = make_runs(tmp_path / "runs", 3)
    make_runs(runs, 3, coil="NA-9")
    found = trend(runs)
    assert found["exit"] == 3
    assert "NA-8, NA-9" in found["error"]
    assert trend(runs, "--coil", "NA-9")["coil"] == "NA-9"
    assert "NA-8, NA-9" in trend(runs, "--coil", "NA-1")["error"]


def test_a_hostile_quantity_stays_text_and_a_damaged_record_is_named(tmp_path, trend) -> None:
    runs = make_runs(tmp_path / "runs", 6, name="noise <script>alert(1)</script>")
    broken = runs / "2026-02-01T07-00-00Z_broken_0000"
    broken.mkdir()
    (broken / "record.json").write_text('{"quantities": [', encoding="utf-8")
    found = trend(runs)
    assert any("broken" in remark for remark in found["remarks"])
    page = (runs / "trends" / "coil-NA-8.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_no_folder_and_no_runs_are_said(tmp_path, trend) -> None:
    assert "there is no folder" in trend(tmp_path / "none")["error"]
    assert "no run with quantities" in trend(tmp_path)["error"]


def test_every_rule_says_how_soon_it_rings(tmp_path, trend) -> None:
    """Simulated run lengths within three standard uncertainties of what Markov chains give exactly."""
    runs = make_runs(tmp_path / "runs", 6)
    exact = {
        "Shewhart": (370.4, 43.9),
        "Westgard": (158.3, 13.0),
        "EWMA": (494.4, 9.6),
        "CUSUM": (465.4, 10.4),
    }
    found = {one["rule"]: one for one in trend(runs)["run_lengths"]}
    assert {rule for rule, one in found.items() if one["raises_alarms"]} == {"Shewhart", "EWMA"}
    for rule, (sound, changed) in exact.items():
        one = found[rule]
        assert one["between_false_alarms"] == pytest.approx(sound, abs=3 * one["u_between_false_alarms"])
        u = one["u_after_change_by_one_deviation"]
        assert one["after_change_by_one_deviation"] == pytest.approx(changed, abs=3 * u)
    page = (runs / "trends" / "coil-NA-8.html").read_text(encoding="utf-8")
    assert "Westgard (no alarm): by chance every" in page
