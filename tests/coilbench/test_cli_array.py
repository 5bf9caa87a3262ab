"""The commands on a coil array, as a person meets them, against the simulated bench over its wires."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import skrf
from rich.console import Console

from coilbench.coil_store import read_history
from coilbench.terminal_array import print_smith_charts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Failure, SmallBench

    from hil_fixtures.physics.world import World


def record(done: Failure) -> dict[str, Any]:
    return dict(json.loads(done.out))


def worst_reflection(world: World) -> float:
    """Return the world's own largest |S_ii| of all ports at their frequencies."""
    own = np.diagonal(world.scattering(np.array(world.frequencies)), axis1=1, axis2=2)
    return float(np.abs(np.concatenate((own[0, :8], own[1, 8:]))).max())


def folder_of(found: dict[str, Any], bench: SmallBench) -> Path:
    return bench.runs / str(found["run"])


def test_a_coil_is_swept_its_trimmers_turned_away_matched_again_and_gets_its_passport(
    bench: SmallBench,
    run_here: Callable[..., Failure],
) -> None:
    """The record holds the world's own S; matching repairs what hands have done; the page loads nothing."""
    world = bench.lab.world
    words = (bench.path, "--runs", bench.runs, "--json")
    first = run_here("sweep", *words)
    assert first.code == 0, first.text
    swept = record(first)
    assert swept["verdict"] == "pass"
    folder = folder_of(swept, bench)
    names = {"bench.toml", "coil.json", "coil.s16p", "events.jsonl", "record.json", "report.html"}
    assert {path.name for path in folder.iterdir()} == names
    kept = skrf.Network(str(folder / "coil.s16p"))
    at = int(np.argmin(np.abs(kept.f - world.frequencies[0])))
    truth = world.scattering(np.array([kept.f[at]]))[0]
    assert np.abs(kept.s[at] - truth).max() < 5e-3  # the uncertainty that the record states
    assert bench.is_safe
    console = Console(file=io.StringIO(), width=140)
    print_smith_charts(console, folder)
    drawn = console.file.getvalue()
    assert drawn.count("return loss") == 16
    assert "23Na, 33.78" in drawn
    assert "1H, 127.7" in drawn

    rng = np.random.default_rng(7)
    for name in world.axis_names:
        if name.endswith(".match"):
            away = world.axis_position(name) + int(rng.choice((-1, 1)) * rng.integers(150, 350))
            world.move_axis(name, int(np.clip(away, 100, 3900)))
    assert worst_reflection(world) > 0.15
    matched = record(run_here("match", *words))
    assert matched["verdict"] == "pass"
    assert matched["matching"]["sweeps"] <= 12
    assert worst_reflection(world) < 0.1

    issued = run_here("passport", "SIM-8-0001", "--runs", bench.runs, "--json")
    assert issued.code == 0, issued.text
    passport = record(issued)
    assert [visit["kind"] for visit in passport["visits"]] == ["sweep", "match"]
    page = (bench.runs / "passports" / "coil-SIM-8-0001.html").read_text(encoding="utf-8")
    assert "Coil passport: SIM-8-0001" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=.https?:", page)
    assert page.count("<svg") >= 7


def test_tune_ends_with_every_port_matched_and_says_where_to_look(
    detuned_bench: SmallBench,
    run_here: Callable[..., Failure],
) -> None:
    """From the soldering bench to below -20 dB; another coil's serial number is kept with the record."""
    done = run_here("tune", detuned_bench.path, "--runs", detuned_bench.runs, "--serial", "SN <7>")
    assert done.code == 0, done.text
    assert "report.html" in done.out
    assert "coilbench passport 'SN <7>'" in done.out
    assert worst_reflection(detuned_bench.lab.world) < 0.1
    (visit,) = read_history(detuned_bench.runs, "SN <7>").visits
    assert visit.record.kind == "tune"
    report = (visit.folder / "report.html").read_text(encoding="utf-8")
    assert "SN &lt;7&gt;" in report
    assert "SN <7>" not in report
    unknown = run_here("passport", "SN-8", "--runs", detuned_bench.runs)
    assert unknown.code == 3
    assert "there are: SN <7>" in unknown.text


def test_an_array_without_tuner_is_swept_and_its_failure_is_a_verdict(
    detuned_bench: SmallBench,
    run_here: Callable[..., Failure],
) -> None:
    detuned_bench.lab.unplug("tuner")
    text = detuned_bench.path.read_text(encoding="utf-8")
    address = re.search(r'driver = "coilbench-tuner"\naddress = "(.*)"', text)
    assert address is not None
    detuned_bench.change(f'address = "{address[1]}"\nguardian', 'address = "/dev/none"\nguardian')
    words = (detuned_bench.path, "--runs", detuned_bench.runs)
    refused = run_here("sweep", *words)
    assert refused.code == 3
    assert "tuner" in refused.text
    done = run_here("sweep", *words, "--no-tuner", "--json")
    assert done.code == 1
    assert record(done)["verdict"] == "fail"


def test_how_far_each_port_is_off_is_told_of_a_simulated_bench_without_a_bench_file(
    tmp_path: Path,
    run_here: Callable[..., Failure],
) -> None:
    """An array as it comes from soldering: every port reflects nearly all; no tuner is opened to say so."""
    done = run_here("match", "--report", "--simulated", "--seed", "4", "--runs", tmp_path, "--json")
    assert done.code == 1, done.text
    assert (tmp_path / "simulated-bench.toml").is_file()
    found = record(done)
    assert found["array"] == "SIM-8-0001"
    assert len(found["instruments"]) == 1
    assert [row["port"] for row in found["match_state"]] == list(range(1, 17))
    assert max(row["reflection_db"] for row in found["match_state"]) > -1.0


def test_a_serial_number_too_long_is_one_sentence(
    tmp_path: Path,
    run_here: Callable[..., Failure],
) -> None:
    done = run_here("sweep", "--simulated", "--serial", "x" * 65, "--runs", tmp_path)
    assert done.code == 3
    assert done.lines[0] == "--serial takes 1 to 64 characters; got 65"


@pytest.mark.parametrize("word", ["sweep", "tune", "match"])
def test_every_command_explains_a_missing_bench_file(
    tmp_path: Path,
    run_here: Callable[..., Failure],
    word: str,
) -> None:
    done = run_here(word, tmp_path / "none.toml", "--runs", tmp_path, "--json")
    assert done.code == 3
    assert "coilbench init" in done.lines[0]
    assert record(done)["verdict"] == "could not measure"
