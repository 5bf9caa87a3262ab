"""Quantities of all runs in one SQLite file, for trends. The run folders are the truth; this is an index.

Rows are added, never changed: the same run analysed by another version is another row. The file can be
deleted at any time, and a damaged one is put aside and made again from the folders.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from coilbench.base.errors import BenchFileError, MeasurementError, StorageError
from coilbench.quantities import quantities_of_record
from coilbench.session import storing, write_atomically
from recon.trend import ControlChart, control_chart, days_overdue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from coilbench.quantities import Quantity

#: Name of the index in the folder of runs.
STORE_NAME: Final = "trends.sqlite"
#: Folder beside the runs that holds the signed resets.
RESETS_NAME: Final = "baseline-resets"
#: Seconds that one process waits for another's write; an index of a thousand runs takes less.
_PATIENCE: Final = 30.0
#: Layout of the tables, in the file's user_version; another one is made again.
_LAYOUT: Final = 1
_TABLES: Final = """
CREATE TABLE source (path TEXT PRIMARY KEY, stamp TEXT NOT NULL);
CREATE TABLE measurement (
    coil TEXT NOT NULL, run TEXT NOT NULL, started TEXT NOT NULL,
    name TEXT NOT NULL, place TEXT NOT NULL, value REAL NOT NULL, unit TEXT NOT NULL, u REAL, k REAL NOT NULL,
    verdict TEXT, algorithm TEXT NOT NULL, version TEXT NOT NULL,
    UNIQUE (run, name, place, algorithm, version)
);
CREATE INDEX by_quantity ON measurement (coil, name, place, started);
"""


#: Of a row that a trend is made of.
_COLUMNS: Final = "run, started, value, u, unit, algorithm, version"


@dataclass(frozen=True, slots=True)
class Reset:
    """A change made on purpose, after which a coil's baseline begins anew.

    Parameters
    ----------
    coil
        Serial number.
    when
        Runs from then on belong to the new baseline; UTC.
    reason, signed_by
        What was changed, and who says so.
    """

    coil: str
    when: datetime
    reason: str
    signed_by: str

    def __post_init__(self) -> None:
        if not self.reason.strip() or not self.signed_by.strip():
            raise ValueError("a baseline is reset for a reason, and somebody signs for it")


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """One quantity of one coil over its runs.

    Parameters
    ----------
    name, place, unit
        Of the quantity.
    runs, times
        Names and UTC, in order of time.
    values
        Shape (run,).
    uncertainties
        Standard, nan where unknown, shape (run,).
    algorithm, version
        What computed all of them: that of the newest run.
    older
        Runs left out because only another version has analysed them.
    chart
        Baseline, limits and alarms.
    """

    name: str
    place: str
    unit: str
    runs: tuple[str, ...]
    times: tuple[datetime, ...]
    values: np.ndarray[tuple[int], np.dtype[np.float64]]
    uncertainties: np.ndarray[tuple[int], np.dtype[np.float64]]
    algorithm: str
    version: str
    older: int
    chart: ControlChart

    def overdue_days(self, now: datetime, period_days: float) -> float:
        """Return by how many days the next run is late."""
        return days_overdue(self.times[-1], now, period_days)


@dataclass(frozen=True, slots=True)
class RunNumbers:
    """What one run measured.

    Parameters
    ----------
    run
        Name of its folder.
    started
        UTC.
    quantities
        All of them.
    """

    run: str
    started: datetime
    quantities: tuple[Quantity, ...]


class TrendStore:
    """The index of a folder of runs; a context manager that closes it.

    Parameters
    ----------
    runs
        Folder of the run folders.

    Raises
    ------
    StorageError
        The disk refuses, or another process holds the index for half a minute.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.remarks: list[str] = []
        self._path = runs / STORE_NAME
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._make_again(error)

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def refresh(self) -> int:
        """Add what run folders hold and the index does not; return the number of rows added.

        A record that cannot be read is left out, and ``remarks`` say so.

        Raises
        ------
        StorageError
            The disk refuses.
        """
        try:
            return self._add_new()
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self._path}: {error}; is another program using it?") from error
        except sqlite3.DatabaseError as error:
            self._connection.close()
            self._make_again(error)
            return self._add_new()

    def coils(self) -> tuple[str, ...]:
        """Return the serial numbers that have runs, in alphabetical order."""
        rows = self._connection.execute("SELECT DISTINCT coil FROM measurement ORDER BY coil")
        return tuple(str(row[0]) for row in rows)

    def quantities(self, coil: str) -> tuple[tuple[str, str], ...]:
        """Return name and place of everything that was measured of a coil."""
        rows = self._connection.execute(
            "SELECT DISTINCT name, place FROM measurement WHERE coil = ? ORDER BY name, place", (coil,)
        )
        return tuple((str(name), str(place)) for name, place in rows)

    def trend(self, coil: str, name: str, place: str = "") -> Trend:
        """Return one quantity over all runs, judged; every version apart.

        Raises
        ------
        BenchFileError
            It was never measured; what there is, is named.
        """
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM measurement "  # noqa: S608 - our own column names
            "WHERE coil = ? AND name = ? AND place = ? ORDER BY started, run, rowid",
            (coil, name, place),
        ).fetchall()
        if not rows:
            known = ", ".join(self.coils()) or "none"
            raise BenchFileError(
                f"no run of coil {coil!r} states {name!r} {place}; coils with runs: {known}. `coilbench run` "
                "and `coilbench qc` measure"
            )
        return _trend(name, place, rows, read_resets(self.runs, coil))

    def trends(self, coil: str, *, now: RunNumbers | None = None) -> tuple[Trend, ...]:
        """Return every quantity of a coil, or of a run of it with all runs before.

        Parameters
        ----------
        coil
            Serial number.
        now
            A run, in the index or not: only what it measured is returned, and nothing after it counts.
        """
        moment = datetime.max.replace(tzinfo=UTC) if now is None else now.started
        found: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        for row in self._connection.execute(
            f"SELECT name, place, {_COLUMNS} FROM measurement "  # noqa: S608 - our own column names
            "WHERE coil = ? ORDER BY name, place, started, run, rowid",
            (coil,),
        ):
            if datetime.fromisoformat(row[3]) <= moment and (now is None or row[2] != now.run):
                found.setdefault((row[0], row[1]), []).append(row[2:])
        if now is not None:
            own = _rows_of(now)
            found = {key: [*found.get(key, ()), row] for key, row in own.items()}
        resets = read_resets(self.runs, coil)
        return tuple(_trend(name, place, rows, resets) for (name, place), rows in found.items())

    def _open(self) -> None:
        with storing(self._path):
            self.runs.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            with self._writing():
                layout = self._connection.execute("PRAGMA user_version").fetchone()[0]
                if layout == 0:
                    for statement in _TABLES.strip().split(";\n"):
                        self._connection.execute(statement)
                    self._connection.execute(f"PRAGMA user_version = {_LAYOUT}")
                elif layout != _LAYOUT:
                    raise sqlite3.DatabaseError(f"layout {layout} is not {_LAYOUT}")
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self._path}: {error}; is the folder writable?") from error

    def _make_again(self, error: Exception) -> None:
        """Put a damaged index aside and begin an empty one."""
        aside = self._path.with_name(f"{STORE_NAME}.damaged")
        with contextlib.suppress(AttributeError, sqlite3.Error):
            self._connection.close()
        with storing(self._path):
            self._path.replace(aside)
            for ending in ("-wal", "-shm"):
                self._path.with_name(STORE_NAME + ending).unlink(missing_ok=True)
        self.remarks.append(f"the index was damaged ({error}); it is made again, the old one is {aside.name}")
        self._open()
        self._add_new()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _add_new(self) -> int:
        added = 0
        with self._writing():
            known = dict(self._connection.execute("SELECT path, stamp FROM source"))
            for path in sorted(
                (*self.runs.glob("*/record.json"), *self.runs.glob("*/qc-[0-9][0-9][0-9].json"))
            ):
                about = path.stat()
                name, stamp = path.relative_to(self.runs).as_posix(), f"{about.st_mtime_ns} {about.st_size}"
                if known.get(name) == stamp:
                    continue
                try:
                    rows = list(_rows(path))
                except (MeasurementError, OSError, ValueError, KeyError, TypeError) as error:
                    self.remarks.append(f"{name} is left out: {error}")
                    continue
                before = self._connection.total_changes
                marks = ", ".join("?" * 12)
                self._connection.executemany(f"INSERT OR IGNORE INTO measurement VALUES ({marks})", rows)  # noqa: S608 - question marks
                added += self._connection.total_changes - before
                self._connection.execute("INSERT OR REPLACE INTO source VALUES (?, ?)", (name, stamp))
        return added


def reset_baseline(runs: Path, reset: Reset, /) -> Path:
    """Write down a signed reset beside the run folders; return its file.

    Raises
    ------
    StorageError
        The disk refused.
    """
    folder = runs / RESETS_NAME
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    when = reset.when.astimezone(UTC)
    text = json.dumps(
        {"coil": reset.coil, "when": when.isoformat(), "reason": reset.reason, "signed_by": reset.signed_by},
        indent=1,
    )
    name = f"{when:%Y-%m-%dT%H-%M-%SZ}"
    path = folder / f"{name}.json"
    number = 2
    while path.exists():
        path, number = folder / f"{name}_{number}.json", number + 1
    return write_atomically(path, text)


def read_resets(runs: Path, coil: str, /) -> tuple[Reset, ...]:
    """Return the resets of a coil, in order of time.

    Raises
    ------
    MeasurementError
        One cannot be read: without it, charts would be wrong.
    """
    found = []
    for path in sorted((runs / RESETS_NAME).glob("*.json")):
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            when = datetime.fromisoformat(plain["when"])
            reset = Reset(str(plain["coil"]), when, str(plain["reason"]), str(plain["signed_by"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MeasurementError(f"{path}: the baseline reset cannot be read: {error}") from error
        if reset.coil == coil:
            found.append(reset)
    return tuple(sorted(found, key=lambda reset: reset.when))


def _trend(name: str, place: str, rows: Sequence[tuple[Any, ...]], resets: Iterable[Reset]) -> Trend:
    """Return the trend of rows in order of time; those of other versions than the last are left out."""
    algorithm, version = rows[-1][5:7]
    kept = [row for row in rows if row[5:7] == (algorithm, version)]
    times = tuple(datetime.fromisoformat(row[1]) for row in kept)
    values = np.array([row[2] for row in kept], dtype=np.float64)
    spread = np.array([np.nan if row[3] is None else row[3] for row in kept], dtype=np.float64)
    begins = [index for reset in resets if (index := sum(time < reset.when for time in times)) < len(times)]
    resolution = float(np.nanmedian(spread)) if np.isfinite(spread).any() else 0.0
    return Trend(
        name=name,
        place=place,
        unit=kept[-1][4],
        runs=tuple(row[0] for row in kept),
        times=times,
        values=values,
        uncertainties=spread,
        algorithm=algorithm,
        version=version,
        older=len({row[0] for row in rows}) - len({row[0] for row in kept}),
        chart=control_chart(values, resets=begins, resolution=resolution),
    )


def _rows_of(now: RunNumbers) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Return a run's numbers as rows of trends, by name and place."""
    started = now.started.astimezone(UTC).isoformat()
    return {
        (one.name, one.place): (
            now.run, started, one.value, one.uncertainty, one.unit, one.algorithm, one.version,
        )
        for one in now.quantities
        if one.value is not None
    }  # fmt: skip


def _rows(path: Path) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that a file of a run folder makes."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    record = plain
    if path.name != "record.json":
        record = json.loads((path.parent / "record.json").read_text(encoding="utf-8"))
    started = datetime.fromisoformat(record["started_utc"])
    started = (started if started.tzinfo else started.replace(tzinfo=UTC)).astimezone(UTC)
    measured: Iterable[Quantity] = quantities_of_record(plain)
    for one in measured:
        if one.value is not None:
            yield (
                str(record["array"]), path.parent.name, started.isoformat(),
                one.name, one.place, one.value, one.unit, one.uncertainty, one.coverage_factor,
                None if one.verdict is None else str(one.verdict), one.algorithm, one.version,
            )  # fmt: skip
