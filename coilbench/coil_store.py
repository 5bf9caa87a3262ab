"""Where coil records are kept: ``coil.json`` and a Touchstone file in each run folder, and nowhere else.

What a coil's passport says is read from the run folders every time; there is no index to lose or repair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.base.nuclei import NUCLEI
from coilbench.session import storing, write_atomically
from coils.quality import read_record, record_text
from coils.quality.record_json import MAXIMUM_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import skrf

    from coils.quality import CoilRecord

#: Name of the record in its run folder.
RECORD_NAME: Final = "coil.json"
_TOUCHSTONE: Final = re.compile(r"coil\.s(\d{1,3})p")


@dataclass(frozen=True, slots=True)
class Visit:
    """One run of a coil.

    Parameters
    ----------
    folder
        The run folder.
    record
        What it says.
    """

    folder: Path
    record: CoilRecord

    def network(self) -> skrf.Network | None:
        """Return the sweep that the record rests on; None where the run kept none.

        Raises
        ------
        MeasurementError
            The file is there and cannot be read.
        """
        from skrf import Network

        for path in sorted(self.folder.glob("coil.s*p")):
            if _TOUCHSTONE.fullmatch(path.name):
                try:
                    network = Network(str(path))
                except (ValueError, OSError, IndexError, KeyError) as error:
                    raise MeasurementError(f"{path}: cannot be read as Touchstone: {error}") from error
                if len(network.f) == 0:
                    raise MeasurementError(f"{path}: cannot be read as Touchstone: it holds no frequency")
                return network
        return None


@dataclass(frozen=True, slots=True)
class History:
    """Every run of one coil.

    Parameters
    ----------
    serial_number
        Of the coil.
    visits
        In the order of time, the last one last.
    remarks
        Records that could not be read, a line each.
    """

    serial_number: str
    visits: tuple[Visit, ...]
    remarks: tuple[str, ...]


def keep_record(folder: Path, record: CoilRecord, network: skrf.Network | None = None, /) -> Path:
    """Write a record, and the sweep it rests on, into a run folder; return the record's path.

    Raises
    ------
    StorageError
        The disk refused.
    """
    if network is not None:
        with storing(folder / "coil"):
            network.write_touchstone("coil", dir=str(folder))
    return write_atomically(folder / RECORD_NAME, record_text(record))


def read_visit(folder: Path, /) -> Visit:
    """Return what a run folder says of its coil.

    Raises
    ------
    MeasurementError
        It holds no record, or one that cannot be read.
    """
    try:
        return Visit(folder, _read(folder / RECORD_NAME))
    except OSError as error:
        raise MeasurementError(f"{folder / RECORD_NAME}: {error.strerror or error}") from error


def read_history(runs: Path, serial_number: str, /) -> History:
    """Return every run of one coil below ``runs``.

    Raises
    ------
    BenchFileError
        There is none; the coils that there are, are named.
    """
    visits: list[Visit] = []
    others: set[str] = set()
    remarks: list[str] = []
    for visit in _visits(runs, remarks):
        if visit.record.serial_number == serial_number:
            visits.append(visit)
        else:
            others.add(visit.record.serial_number)
    if not visits:
        known = f"; there are: {', '.join(sorted(others)[:20])}" if others else ""
        unread = f" ({len(remarks)} records could not be read)" if remarks else ""
        raise BenchFileError(
            f"{runs} holds no record of a coil with serial number {serial_number!r}{known}{unread}; "
            "`coilbench sweep` and `coilbench tune` keep one"
        )
    visits.sort(key=lambda visit: (visit.record.measured, visit.folder.name))
    return History(serial_number, tuple(visits), tuple(remarks))


def _visits(runs: Path, remarks: list[str]) -> Iterator[Visit]:
    """Yield every readable record below a folder; say of the others why they are left out."""
    for path in sorted(runs.glob(f"*/{RECORD_NAME}")):
        try:
            yield Visit(path.parent, _read(path))
        except (MeasurementError, OSError, UnicodeDecodeError) as error:
            remarks.append(f"{path.parent.name}/{RECORD_NAME} is left out: {error}")


def _read(path: Path) -> CoilRecord:
    """Read one record.

    Raises
    ------
    MeasurementError
        It is none, or names a nucleus that is none.
    """
    if path.stat().st_size > MAXIMUM_BYTES:
        raise MeasurementError(f"{path.stat().st_size} bytes are too many for a coil record")
    record = read_record(path.read_text(encoding="utf-8"))
    for group in record.nuclei:
        if group.nucleus not in NUCLEI:
            raise MeasurementError(f"no nucleus is called {group.nucleus!r}")
    return record
