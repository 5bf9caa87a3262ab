"""Rows of the benchmark table about operators and CG-SENSE: 64³, 10 000 spokes x 256 samples, 2 threads.

Ours and the peer run in a process each, in turn on the same scan, so load hits both; the best times count.
Peers that take longer run once a command, for all rows they stand in: ours then runs three times before and
three times after, or six times where the peer has run, and the median counts, as a long run meets the
machine's average.
Errors are measured against the exact sum (gridding, forward) or our own image at 1e-6 (CG-SENSE).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from table import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FOLDER: Final = Path(__file__).parent / "reconstruction"
#: Peers too slow to be run more than once a command.
_SLOW: Final = ("sigpy", "BART")


@dataclass(frozen=True, slots=True)
class Trial:
    """Best wall and processor time in s, peak memory in MB and error of one program."""

    seconds: float
    processor: float
    memory: float
    error: float


class Program:
    """One program in its own process, that runs when told."""

    def __init__(self, folder: Path, task: str, name: str) -> None:
        self.name = name
        self._reports: list[dict[str, float]] = []
        command = [sys.executable, str(_FOLDER / "trial.py"), str(folder), task, name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def run(self) -> None:
        """Run once and keep the report."""
        print("go", file=self._process.stdin, flush=True)
        self._reports.append(json.loads(self._answer()))
        seconds = self._reports[-1]["seconds"]
        print(f"  {self.name}: {seconds:.2f} s", file=sys.stderr, flush=True)

    def finish(self, typical: Callable[[list[float]], float] = min) -> Trial:
        """End the process and return its best run, or what else is typical."""
        self._process.communicate()
        seconds, processor = (typical([r[key] for r in self._reports]) for key in ("seconds", "processor"))
        return Trial(seconds, processor, self._reports[-1]["memory"], self._reports[-1]["error"])

    def _answer(self) -> str:
        if self._process.stdout is None or not (line := self._process.stdout.readline()):
            raise RuntimeError(f"{self.name} ended without an answer: see its message above")
        return line


@cache
def scan_folder(channels: int) -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """Return a folder with the scan, made once a run; it goes when the run ends."""
    temporary = tempfile.TemporaryDirectory(prefix="coilbench-")
    folder = Path(temporary.name)
    print(f"making a scan of {channels} channels in {folder}", file=sys.stderr, flush=True)
    sys.path[:0] = [str(_FOLDER), str(Path(__file__).parents[1])]
    from scan import make_scan

    make_scan(folder, channels)
    return folder, temporary


def trials(task: str, channels: int, ours: str, peer: str) -> tuple[Trial, Trial]:
    """Run ours and the peer in turn."""
    folder, _ = scan_folder(channels)
    mine = Program(folder, task, ours)
    mine.run()
    if task != "cg" and peer not in _SLOW:
        other = Program(folder, task, peer)
        for _ in range(4):
            other.run()
            mine.run()
        return mine.finish(), other.finish()
    mine.run()
    mine.run()
    theirs = single_trial(task, channels, peer)
    for _ in range(3):
        mine.run()
    return mine.finish(median), theirs


@cache
def single_trial(task: str, channels: int, peer: str) -> Trial:
    """Run a peer once a command."""
    program = Program(scan_folder(channels)[0], task, peer)
    program.run()
    return program.finish()


@cache
def reference_image(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the image of all channels, ten iterations, transforms at 1e-6, and where the phantom is."""
    from recon.cg_sense import cg_sense
    from recon.nufft import NonUniformTransform

    folder, _ = scan_folder(channels)
    from scan import phantom, read_scan

    scan = read_scan(folder)
    transform = NonUniformTransform(scan.grid, scan.positions, tolerance=1e-6, backend="ducc0")
    image = cg_sense(scan.samples, transform, scan.weights, scan.sensitivities).image
    return image, phantom(scan.grid) != 0


def image_error(channels: int, program: str) -> float:
    """Return the relative difference of a CG image from the reference in the phantom.

    Up to one factor for peers.
    """
    folder, _ = scan_folder(channels)
    whole, inside = reference_image(channels)
    image, exact = np.load(folder / f"image_{program}.npy")[inside], whole[inside]
    factor = 1.0 if program.startswith("ours") else np.vdot(image, exact) / np.vdot(image, image)
    return float(np.linalg.norm(factor * image - exact) / np.linalg.norm(exact))


def compare_programs(task: str, channels: int, ours: str, peer: str) -> Row:
    """Return the row of one pair."""
    mine, theirs = trials(task, channels, ours, peer)
    errors = [mine.error, theirs.error]
    if task == "cg":
        errors = [image_error(channels, ours), image_error(channels, peer)]
    size = (
        f"{channels} channels; errors {errors[0]:.1e}, {errors[1]:.1e}; "
        f"processor {mine.processor:.1f}, {theirs.processor:.1f} s; "
        f"peak {mine.memory:.0f}, {theirs.memory:.0f} MB; load {os.getloadavg()[0]:.1f}"
    )
    name = row_name(task, channels, ours, peer)
    command = f"python bench.py bench {name}"
    return Row(name, mine.seconds, theirs.seconds, "s", theirs.seconds / mine.seconds, size, peer, command)


def row_name(task: str, channels: int, ours: str, peer: str) -> str:
    """Return e.g. ``cg32-ducc0-BART``: ours on ducc0 beside BART."""
    return f"{task}{channels}-{ours.removeprefix('ours-')}-{'plain' if peer in ours else peer}"


def _pairs() -> list[tuple[str, str, str]]:
    gridding = [
        ("ours-finufft", "finufft"),
        ("ours-ducc0", "ducc0"),
        ("ours-numba", "ducc0"),
        ("ours-finufft", "mri-nufft"),
        ("ours-numba", "mri-nufft"),
        ("ours-finufft", "sigpy"),
        ("ours-finufft", "BART"),
    ]
    iterative = [
        ("ours-finufft", "finufft"),
        ("ours-ducc0", "ducc0"),
        ("ours-numba", "numba"),
        ("ours-finufft", "mri-nufft"),
        ("ours-ducc0", "mri-nufft"),
        ("ours-numba", "mri-nufft"),
        ("ours-finufft", "BART"),
        ("ours-ducc0", "BART"),
        ("ours-numba", "BART"),
        ("ours-finufft-compressed", "BART"),
        ("ours-ducc0-compressed", "BART"),
        ("ours-numba-compressed", "BART"),
    ]
    operators = [(task, *pair) for task in ("adjoint", "forward") for pair in gridding]
    return [*operators, *(("cg", *pair) for pair in iterative)]


#: Each takes from half a minute to ten: ``table`` runs them only when they are named.
ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType(
    {
        row_name(task, channels, ours, peer): partial(compare_programs, task, channels, ours, peer)
        for channels in (8, 32)
        for task, ours, peer in _pairs()
    }
)
