"""The doctor: is everything there that a run needs? One line for each thing, with its remedy."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from coilbench.base.errors import BenchFileError, CoilbenchError
from coilbench.bench import openers
from coilbench.bench_file import read_bench_file
from coilbench.session import software
from drivers.complaints import Complaints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import Console

    from drivers.protocols import Instrument

#: A default run keeps a raw stream of 250 MB and an HDF5 copy of it; room for several runs.
FREE_BYTES: Final = 2 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, whether it passed, and what was found or what to do."""

    subject: str
    passed: bool
    finding: str

    def as_json(self) -> dict[str, Any]:
        """Return the check as JSON values."""
        return asdict(self)


def check_bench(path: Path, /) -> list[Check]:
    """Check the installation, the disk, the bench file and each instrument in it.

    Parameters
    ----------
    path
        Bench file.
    """
    versions = software()
    folder = next(parent for parent in path.resolve().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    checks = [
        Check("Python", sys.version_info >= (3, 11), f"{versions.pop('python')} (3.11 or newer is needed)"),
        Check("packages", True, ", ".join(f"{name} {version}" for name, version in versions.items())),
        Check("disk", free > FREE_BYTES, f"{free / 1e9:.0f} GB free where the bench file is"),
    ]
    try:
        file = read_bench_file(path)
    except BenchFileError as error:
        return [*checks, Check("bench file", False, str(error))]
    checks.append(
        Check("bench file", True, f"{path}: {file.name}, {file.b0:g} T, {file.array.channels} channels")
    )
    return [*checks, *_instruments(openers(file))]


def _instruments(opening: dict[str, Callable[[], Instrument]]) -> Iterator[Check]:
    with ThreadPoolExecutor(max_workers=len(opening), thread_name_prefix="check") as pool:
        yield from pool.map(_instrument, opening.items())


def _instrument(named: tuple[str, Callable[[], Instrument]]) -> Check:
    name, opener = named
    try:
        instrument = opener()
        try:
            identity = instrument.identity
            with Complaints() as complaints:
                instrument.make_safe()
        finally:
            instrument.close()
    except CoilbenchError as error:
        return Check(name, False, str(error))
    if complaints.texts:
        return Check(name, False, "; ".join(complaints.texts))
    return Check(name, True, f"{identity}; outputs off")


def print_checks(console: Console, checks: list[Check]) -> None:
    """Print one line for each check."""
    table = Table(show_header=False)
    for check in checks:
        table.add_row(
            "[green]✓ ok[/]" if check.passed else "[bold red]✗ FAIL[/]", check.subject, check.finding
        )
    console.print(table)
