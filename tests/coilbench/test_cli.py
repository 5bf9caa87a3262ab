"""The command line as a person or a script meets it: exit codes, streams, start-up."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def coilbench(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coilbench", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        encoding="utf-8",
    )


def test_help_names_the_commands_and_loads_no_science() -> None:
    script = (
        "import sys; sys.argv = ['coilbench', '--help']\n"
        "from coilbench.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'numpy', 'scipy', 'skrf', 'matplotlib', 'pyvisa', 'h5py', 'finufft', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    bench = (
        "demo",
        "init",
        "sim",
        "run",
        "doctor",
        "recon",
        "noise",
        "snr",
        "tsc",
        "report",
        "qc",
        "trend",
        "export",
    )
    coil = ("sweep", "tune", "match", "decouple", "qfactor", "detune", "design", "passport", "calibrate")
    for command in (*bench, *coil):
        assert command in done.stdout


@pytest.mark.parametrize("words", [("sweeep",), ("run", "--no-such-option"), ("demo", "--seed", "x")])
def test_wrong_words_cannot_measure_and_explain_on_stderr(words: tuple[str, ...]) -> None:
    done = coilbench(*words)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.strip()


def test_missing_bench_file_is_one_sentence_and_a_json_record(tmp_path: Path) -> None:
    done = coilbench("run", "none.toml", "--json", cwd=tmp_path)
    assert done.returncode == 3
    assert "coilbench init" in done.stderr
    record = json.loads(done.stdout)
    assert record["verdict"] == "could not measure"
    assert "none.toml" in record["error"]


def test_init_writes_a_bench_file_once(tmp_path: Path) -> None:
    first = coilbench("init", cwd=tmp_path)
    assert first.returncode == 0
    assert first.stdout.strip() == "bench.toml"
    assert "s11_db" in (tmp_path / "bench.toml").read_text(encoding="utf-8")
    again = coilbench("init", cwd=tmp_path)
    assert again.returncode == 3
    assert "--force" in again.stderr


def test_all_unreachable_instruments_are_named_at_once(tmp_path: Path) -> None:
    coilbench("init", cwd=tmp_path)
    path = tmp_path / "bench.toml"
    text = path.read_text(encoding="utf-8")
    ports = ("4880", "5025", "5030", "5040", "11111", "11112", "11113", "11114")
    for number, port in enumerate(ports, start=1):
        text = text.replace(port, str(number))  # privileged ports: nobody listens
    path.write_text(text, encoding="utf-8")
    done = coilbench("run", "bench.toml", "--runs", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 3
    for name in ("analyzer", "tuner", "receiver", "scanner"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*/record.json"))
