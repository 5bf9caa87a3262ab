"""A bench in the test's own process and a scan of seconds, for runs over real wires."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pytest

from acquisition.playback import StreamReader
from coilbench.base.errors import TruncatedStream
from coilbench.bench import open_bench
from coilbench.bench_file import read_bench_file
from coilbench.cli import main
from coilbench.phantom_run import acquire, conclude, quantify
from coilbench.session import run_folder
from coilbench.simulated_bench import bench_file_text
from hil_fixtures.instruments.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from coilbench.outcome import Outcome
    from coilbench.run_report import Measured

#: Of the template, with what makes the scan small: voxels of 6 mm, vials of 30 mm, k-space three times
#: undersampled at its edge, which a ball in a 200 mm field of view survives.
SMALL = {
    '"320 mm"': '"200 mm"',
    "matrix = 64": "matrix = 32",
    "spokes = 3200": "spokes = 800",
    "noise_windows = 128": "noise_windows = 64",
    "repetitions = 2": "repetitions = 1",
    'if_bandwidth = "1 kHz"': 'if_bandwidth = "100 kHz"',
    "points = 201": "points = 101",
}
#: Wall seconds for anything that a test waits for; the machine may be busy.
PATIENCE = 60.0


def until(is_true: Callable[[], bool], what: str, *, within: float = PATIENCE) -> float:
    """Look every few milliseconds and return the seconds it took; fail when it takes too long."""
    begin = time.monotonic()
    while not is_true():
        assert time.monotonic() - begin < within, f"waited {within} s for: {what}"
        time.sleep(0.005)
    return time.monotonic() - begin


@dataclass
class SmallBench:
    """A bench file for a lab, and where its runs go."""

    lab: Lab
    path: Path
    runs: Path

    def change(self, old: str, new: str) -> None:
        text = self.path.read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        self.path.write_text(text.replace(old, new), encoding="utf-8")

    @property
    def folder(self) -> Path:
        (only,) = self.runs.iterdir()
        return only

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind that have been written so far, whole lines only."""
        if not self.runs.is_dir():
            return []
        whole = [
            json.loads(line)
            for log in self.runs.glob("*/events.jsonl")
            for line in log.read_bytes().split(b"\n")[:-1]
        ]
        return [event for event in whole if event["kind"] == kind]

    def is_scanning(self) -> bool:
        """Tell whether spokes, not only noise windows, have been stored."""
        return any(not event["data"]["noise"] for event in self.events("scan.progress"))

    @property
    def is_safe(self) -> bool:
        """No RF on any output and no bias on any channel, by what the world feels."""
        state = self.lab.state
        return not any(state["rf"].values()) and not any(state["bias"])


def small_bench(lab: Lab, folder: Path) -> SmallBench:
    bench = SmallBench(lab, folder / "bench.toml", folder / "runs")
    bench.path.write_text(bench_file_text(lab.addresses), encoding="utf-8")
    for old, new in SMALL.items():
        bench.change(old, new)
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SmallBench]:
    """Yield a tuned bench on which a whole run takes seconds."""
    with Lab(seed=3, tuned=True) as lab:
        yield small_bench(lab, tmp_path)


@pytest.fixture
def detuned_bench(tmp_path: Path) -> Iterator[SmallBench]:
    """Yield a bench as it comes from soldering: tuning takes many sweeps."""
    with Lab(seed=3) as lab:
        yield small_bench(lab, tmp_path)


def whole_acquisitions(path: Path) -> tuple[int, bool]:
    """Read a stream, checked against its index; return how many are whole and whether it was finished."""
    count = 0
    with StreamReader(path) as reader:
        try:
            for acquisition in reader:
                assert acquisition.data.shape[0] == 8
                count += 1
        except TruncatedStream:
            return count, False
    return count, True


@pytest.fixture
def read_whole() -> Callable[[Path], tuple[int, bool]]:
    return whole_acquisitions


@dataclass(frozen=True)
class Finished:
    """A run that went through, and its bench afterwards."""

    measured: Measured
    outcome: Outcome
    was_safe: bool


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return one small run that went through, for many tests that read."""
    folder = tmp_path_factory.mktemp("finished")
    with Lab(seed=3, tuned=True) as lab:
        bench = small_bench(lab, folder)
        with run_folder(bench.runs, "small", lambda _event: None) as run:
            with open_bench(read_bench_file(bench.path)) as instruments:
                acquired = acquire(instruments, run)
            measured = quantify(acquired, run)
            return Finished(measured, conclude(measured, run), bench.is_safe)


@pytest.fixture(scope="module")
def run(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of a finished run's folder, as `coilbench run` leaves it: with its bench file."""
    folder = tmp_path_factory.mktemp("stored") / finished.outcome.folder.name
    shutil.copytree(finished.outcome.folder, folder)
    shutil.copyfile(finished.outcome.folder.parents[1] / "bench.toml", folder / "bench.toml")
    return folder


def no_json(word: str) -> float:
    pytest.fail(f"{word} is no JSON")


class CommandProcess:
    """``coilbench run`` as a person starts it: a process of its own, in a group of its own."""

    def __init__(self, bench: SmallBench, *words: str, script: tuple[str, ...] = ()) -> None:
        command = script or (sys.executable, "-m", "coilbench")
        self.process = subprocess.Popen(
            [*command, "run", str(bench.path), "--runs", str(bench.runs), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=bench.path.parent,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "400"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.communicate()

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal; Ctrl-C reaches the whole group, as at a terminal."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end and return exit code, standard output and standard error."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Callable[..., CommandProcess]]:
    """Return what starts ``coilbench run`` on a bench; the process does not outlive the test."""
    with ExitStack() as stack:
        yield lambda *words, **options: stack.enter_context(CommandProcess(*words, **options))


@pytest.fixture
def wait_until() -> Callable[..., float]:
    return until


@dataclass(frozen=True)
class Failure:
    """How a command ended: its code, its words for people, line by line, and its seconds."""

    code: int
    lines: list[str]
    out: str
    seconds: float

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def words_for_people(err: str) -> list[str]:
    """Return the messages among the lines of the progress display."""
    return [line.removeprefix("coilbench: ") for line in err.splitlines() if line.startswith("coilbench: ")]


@pytest.fixture
def messages() -> Callable[[str], list[str]]:
    return words_for_people


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Failure]:
    """Return what runs the command line in this process, and breaks something at a given moment."""

    def run(
        *words: object,
        when: Callable[[], bool] | None = None,
        then: Callable[[], object] | None = None,
    ) -> Failure:
        monkeypatch.setattr(sys, "argv", ["coilbench", *map(str, words)])
        over = threading.Event()

        def interfere() -> None:
            while when is not None and not over.wait(0.002):
                if when():
                    if then is not None:
                        then()
                    return

        saboteur = threading.Thread(target=interfere)
        saboteur.start()
        begin = time.monotonic()
        try:
            with pytest.raises(SystemExit) as end:
                main()
        finally:
            over.set()
            saboteur.join()
        seconds = time.monotonic() - begin
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        assert isinstance(end.value.code, int)
        return Failure(end.value.code, words_for_people(captured.err), captured.out, seconds)

    return run


@pytest.fixture
def record(run_here: Callable[..., Failure]) -> Callable[..., dict[str, Any]]:
    """Return what runs a command with --json and gives its object and its exit code."""

    def read(*words: object) -> dict[str, Any]:
        done = run_here(*words, "--json")
        found = dict(json.loads(done.out, parse_constant=no_json))
        return {**found, "exit": done.code}

    return read
