"""A run that is stopped or killed: outputs off, what was acquired readable, one sentence, exit code 3."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest

#: The lab's clocks stand still, so nothing but the program itself can switch the outputs off: an instrument's
#: own watchdog is slower than this, in wall seconds, or not there (analyzer).
PROMPT = 2.0

#: A run's bench and guardian, with PIN bias on, and then nothing: as during a procedure that uses bias.
BIASED = """
import sys, time
from pathlib import Path
from coilbench.bench import open_bench, safe_actions
from coilbench.bench_file import read_bench_file
from coilbench.guardian import Guardian

file = read_bench_file(Path(sys.argv[2]))
with Guardian(safe_actions(file), Path("guardian.jsonl")), open_bench(file) as bench:
    bench.tuner.set_bias(2, 0.05)
    bench.tuner.set_bias(7, 0.02)
    time.sleep(60)
"""


def stored(bench) -> int:
    """Count the spokes and noise windows of which the run has said that they are stored."""
    spokes = [event["data"] for event in bench.events("scan.progress")]
    return sum(
        max(d["done"] for d in spokes if d["noise"] is noise) for noise in {d["noise"] for d in spokes}
    )


def test_killed_while_scanning_rf_goes_off_and_the_spokes_stay(bench, start, wait_until, read_whole) -> None:
    bench.change("spokes = 800", "spokes = 2400")
    run = start(bench)
    wait_until(bench.is_scanning, "spokes")
    wait_until(lambda: bench.lab.state["rf"]["scanner"], "the RF amplifier")
    run.process.kill()
    wait_until(lambda: bench.is_safe, "RF off after the kill", within=PROMPT)
    acknowledged = stored(bench)
    assert acknowledged > 64
    assert read_whole(bench.folder / "raw.mrd")[0] >= acknowledged
    assert not (bench.folder / "record.json").exists()


def test_killed_in_the_middle_of_a_sweep_the_analyzer_goes_silent(bench, start, wait_until) -> None:
    bench.lab.faults.analyzer.stop_mid_sweep = True
    run = start(bench)
    wait_until(lambda: bool(bench.events("tune.started")), "tuning")
    wait_until(lambda: bench.lab.state["rf"]["analyzer"], "the analyzer's source")
    run.process.kill()
    wait_until(lambda: bench.is_safe, "the source off after the kill", within=PROMPT)
    assert not (bench.folder / "record.json").exists()


def test_killed_with_pin_bias_on_the_bias_goes_off(bench, start, wait_until) -> None:
    run = start(bench, script=(sys.executable, "-c", BIASED))
    wait_until(lambda: bench.lab.state["bias"][6] != 0.0, "bias of channel 7")
    assert bench.lab.state["bias"][1] == pytest.approx(0.05)
    run.process.kill()
    wait_until(lambda: bench.is_safe, "bias off after the kill", within=PROMPT)
    log = bench.path.parent / "guardian.jsonl"
    wait_until(lambda: log.is_file() and log.read_bytes().count(b"\n") == 3, "the guardian's log")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {line["reason"] for line in lines} == {"the owner died"}
    assert all(line["safe"] for line in lines)


@pytest.mark.parametrize(("number", "said"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_stopped_while_scanning(bench, start, wait_until, messages, read_whole, number, said: str) -> None:
    bench.change("spokes = 800", "spokes = 2400")
    run = start(bench)
    wait_until(bench.is_scanning, "spokes")
    run.signal(number)
    code, out, err = run.end()
    assert code == 3
    assert bench.is_safe
    assert out == ""
    assert "Traceback" not in err
    first, second = messages(err)
    assert first == f"stopped by {said}; outputs are off"
    assert str(bench.folder) in second
    assert "coilbench recon" in second
    assert read_whole(bench.folder / "raw.mrd")[0] >= stored(bench) > 64
    assert not (bench.folder / "record.json").exists()
    (failed,) = bench.events("failed")
    assert failed["message"] == first


@pytest.mark.parametrize(("number", "said"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_stopped_while_tuning(detuned_bench, start, wait_until, messages, number, said: str) -> None:
    bench = detuned_bench
    run = start(bench, "--json")
    wait_until(lambda: bool(bench.events("tune.swept")), "a sweep")
    run.signal(number)
    code, out, err = run.end()
    assert code == 3
    assert bench.is_safe
    first, second = messages(err)
    assert first == f"stopped by {said}; outputs are off"
    assert "nothing had been acquired yet" in second
    assert len(err.splitlines()) == 2
    assert json.loads(out)["verdict"] == "could not measure"
    assert not bench.events("tune.finished")


def test_a_second_ctrl_c_does_not_interrupt_the_first(bench, start, wait_until, messages) -> None:
    bench.change("spokes = 800", "spokes = 2400")
    run = start(bench)
    wait_until(bench.is_scanning, "spokes")
    for _ in range(5):
        run.signal(signal.SIGINT)
    code, _, err = run.end()
    assert code == 3
    assert "Traceback" not in err
    assert messages(err)[0] == "stopped by Ctrl-C; outputs are off"
    assert bench.is_safe


def children(parent: int, word: bytes) -> list[int]:
    """Return the processes that ``parent`` has started with ``word`` in their command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look
            if f"PPid:\t{parent}\n" in (folder / "status").read_text():
                found += [int(folder.name)] if word in (folder / "cmdline").read_bytes() else []
    return found


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="finds the guardian in /proc")
def test_a_run_whose_guardian_is_killed_ends_with_everything_off(bench, start, wait_until, messages) -> None:
    bench.change("spokes = 800", "spokes = 2400")
    run = start(bench)
    wait_until(bench.is_scanning, "spokes")
    (guardian,) = children(run.process.pid, b"coilbench.guardian")
    os.kill(guardian, signal.SIGKILL)
    code, _, err = run.end()
    assert code == 3
    assert bench.is_safe
    assert any("the guardian had ended during the run" in line for line in messages(err))
    assert not (bench.folder / "record.json").exists()
