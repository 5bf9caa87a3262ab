"""Issue a coil's passport: read its records from the run folders, write the page, say what it says."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coilbench.base.errors import MeasurementError
from coilbench.base.verdict import Judged, Verdict, overall
from coilbench.coil_store import read_history
from coilbench.report.passport import comparison_lines, last_comparison, passport_page, standing
from coilbench.session import storing, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import skrf

    from coilbench.coil_store import History

#: What a file name may hold; the rest is replaced, and the whole name told apart by a digest.
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Passport:
    """A passport as issued.

    Parameters
    ----------
    page
        The HTML file.
    verdict
        Of every quantity's last judgement.
    judged, lines
        What it rests on; what changed, and what could not be read.
    values
        All of it as JSON values.
    """

    page: Path
    verdict: Verdict
    judged: tuple[Judged, ...]
    lines: tuple[str, ...]
    values: Mapping[str, Any]


def write_passport(runs: Path, serial_number: str, out: Path | None = None, /) -> Passport:
    """Write the passport of one coil.

    Parameters
    ----------
    runs
        Folder of the run folders.
    serial_number
        Of the coil.
    out
        HTML file; by default ``passports/SERIAL.html`` below ``runs``.

    Raises
    ------
    BenchFileError
        No run folder holds a record of this coil.
    StorageError
        The disk refused.
    """
    history = read_history(runs, serial_number)
    page = out or passport_path(runs, serial_number)
    with storing(page):
        page.parent.mkdir(parents=True, exist_ok=True)
    network, remarks = _network(history)
    write_atomically(page, passport_page(history, network))
    judged = standing(history)
    comparison = last_comparison(history)
    lines = (*comparison_lines(comparison), *history.remarks, *remarks)
    values = {
        "serial_number": serial_number,
        "verdict": str(overall(judged)),
        "judged": list(judged),
        "truths": list(lines),
        "report": str(page),
        "visits": [
            {
                "run": visit.folder.name,
                "kind": visit.record.kind,
                "measured_utc": visit.record.measured.isoformat(timespec="seconds"),
                "verdict": str(visit.record.verdict),
            }
            for visit in history.visits
        ],
        "compared_with": None if comparison is None else comparison.before,
        "changes": [] if comparison is None else list(comparison.changes),
    }
    return Passport(page, overall(judged), judged, lines, values)


def passport_path(runs: Path, serial_number: str, /) -> Path:
    """Return where the passport of a coil is written below a folder of runs; of no other coil."""
    return runs / "passports" / f"{file_name(serial_number)}.html"


def _network(history: History) -> tuple[skrf.Network | None, tuple[str, ...]]:
    """Return the sweep of the last visit that kept an S-matrix, or why there is none."""
    for visit in reversed(history.visits):
        if any(group.scattering is not None for group in visit.record.nuclei):
            try:
                return visit.network(), ()
            except MeasurementError as error:
                return None, (str(error),)
    return None, ()


def file_name(serial_number: str) -> str:
    """Return a file name that no other serial number has, also where upper and lower case are the same."""
    plain = _UNSAFE.sub("-", serial_number).strip(".")[:48]
    if plain == serial_number == serial_number.upper():
        return f"coil-{plain}"
    digest = hashlib.sha256(serial_number.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"coil-{plain}-{digest}"
