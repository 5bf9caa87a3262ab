"""Runs that need only analyzer and tuner: guarded, in a run folder, ending in a record of the coil."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from coilbench.array_plans import character_plan
from coilbench.base.errors import BenchFileError
from coilbench.base.events import Event
from coilbench.base.verdict import overall
from coilbench.bench import open_some, safe_actions
from coilbench.bench_file import read_bench_file
from coilbench.coil_record import coil_record
from coilbench.coil_store import keep_record
from coilbench.guardian import Guardian
from coilbench.outcome import Outcome
from coilbench.report.page import Page, Section, render
from coilbench.session import run_folder, software, stop_signals, storing, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import skrf

    from coilbench.base.events import EventSink
    from coilbench.base.verdict import Judged
    from coilbench.bench_file import BenchFile
    from coilbench.procedures.characterise import CharacterisePlan
    from coilbench.session import RunFolder
    from coils.quality import Calibration, NucleusRecord
    from drivers.protocols import Abort, Instrument, NetworkAnalyzer, TransientAnalyzer, Tuner

#: Seconds of silence after which the guardian takes the run for hung.
_SILENCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class ArrayRun:
    """A run on an array: open instruments and a folder.

    Parameters
    ----------
    kind
        What is done, such as ``"tune"``.
    file
        The bench file.
    folder
        Receives events and everything measured.
    started
        UTC.
    instruments
        Open, by the names of their tables in the bench file.
    abort
        True when the guardian is gone: no run goes on unguarded.
    """

    kind: str
    file: BenchFile
    folder: RunFolder
    started: datetime
    instruments: Mapping[str, Instrument]
    abort: Abort

    @property
    def analyzer(self) -> NetworkAnalyzer:
        """The open analyzer."""
        return cast("NetworkAnalyzer", self._instrument("analyzer"))

    @property
    def transient_analyzer(self) -> TransientAnalyzer:
        """The open analyzer, if it follows S-parameters over time.

        Raises
        ------
        BenchFileError
            Its driver cannot.
        """
        analyzer = self._instrument("analyzer")
        if not hasattr(analyzer, "record"):
            raise BenchFileError(f"{analyzer.name} cannot record over time; leave out switching")
        return cast("TransientAnalyzer", analyzer)

    @property
    def tuner(self) -> Tuner:
        """The open tuner."""
        return cast("Tuner", self._instrument("tuner"))

    def _instrument(self, name: str) -> Instrument:
        """Return an open instrument.

        Raises
        ------
        BenchFileError
            The run was started without it.
        """
        if name not in self.instruments:
            raise BenchFileError(f"`coilbench {self.kind}` needs the {name}; leave out --no-{name}")
        return self.instruments[name]

    def step(self, message: str, /) -> None:
        """Tell what begins now."""
        self.folder.emit(Event("step", message))

    def character_plan(self) -> CharacterisePlan:
        """Return how this array is characterised."""
        return character_plan(self.file)


@contextmanager
def array_run(
    bench: Path,
    runs: Path,
    kind: str,
    watcher: EventSink,
    /,
    *,
    serial_number: str | None = None,
    instruments: Sequence[str] = ("analyzer", "tuner"),
    ports_at_once: int | None = None,
) -> Iterator[ArrayRun]:
    """Open an array's instruments and a run folder, guarded; leave outputs off and everything closed.

    Parameters
    ----------
    bench
        Bench file.
    runs
        Where the run folder is made.
    kind
        What is done; also names the folder.
    watcher
        Receives every event.
    serial_number
        Of the coil on the bench now, where it is another one than the bench file says.
    instruments
        Which instruments to open.
    ports_at_once
        How many of the array's ports are connected to the analyzer at a time; None: all.

    Raises
    ------
    CoilbenchError
        The run could not be made or finished.
    """
    file = read_bench_file(bench)
    if serial_number is not None:
        file = _with_serial_number(file, serial_number)
    name = f"{file.array.serial_number}-{kind}"
    with stop_signals(), run_folder(runs, name, watcher) as folder:
        with storing(folder.path / "bench.toml"):
            shutil.copyfile(bench, folder.path / "bench.toml")
        actions = tuple(action for action in safe_actions(file) if action.name in instruments)
        with Guardian(actions, folder.path / "guardian.jsonl", timeout=_SILENCE) as guardian:
            folder.emit(Event("step", "Open instruments"))
            with open_some(file, instruments, ports_at_once=ports_at_once) as opened:
                for instrument in opened.values():
                    folder.emit(Event("instrument", f"{instrument.name}: {instrument.identity}"))
                yield ArrayRun(kind, file, folder, datetime.now(UTC), opened, lambda: guardian.is_lost)


def _with_serial_number(file: BenchFile, serial_number: str) -> BenchFile:
    """Return the bench file for another coil of the same kind.

    Raises
    ------
    BenchFileError
        The serial number is empty or too long.
    """
    if not 0 < len(serial_number) <= 64:
        raise BenchFileError(f"--serial takes 1 to 64 characters; got {len(serial_number)}")
    array = file.array.model_copy(update={"serial_number": serial_number})
    return file.model_copy(update={"array": array})


@dataclass(frozen=True, slots=True)
class Statement:
    """What a run on an array has to say.

    Parameters
    ----------
    nuclei
        For the coil's record.
    judged
        Verdicts.
    lines
        For a person, one each.
    sections
        Of the report.
    values
        Of record.json, besides what every run writes.
    network
        The sweep that the coil's record rests on; None: none.
    s_uncertainty
        Expanded uncertainty of each |S|, linear; None: as planned.
    calibration
        That S rests on; None: the analyzer's own.
    """

    nuclei: tuple[NucleusRecord, ...]
    judged: tuple[Judged, ...]
    lines: tuple[str, ...]
    sections: tuple[Section, ...]
    values: Mapping[str, Any]
    network: skrf.Network | None = None
    s_uncertainty: float | None = None
    calibration: Calibration | None = None


def conclude(run: ArrayRun, said: Statement, /) -> Outcome:
    """Write the coil's record, the report and record.json, and return the outcome.

    Raises
    ------
    StorageError
        The disk refused.
    """
    path = run.folder.path
    planned = run.character_plan().uncertainty
    record = coil_record(
        run.file,
        said.nuclei,
        said.judged,
        run=path.name,
        kind=run.kind,
        measured=run.started,
        s_uncertainty=planned if said.s_uncertainty is None else said.s_uncertainty,
        calibration=said.calibration,
    )
    keep_record(path, record, said.network)
    return conclude_without_coil(run, said.judged, said.lines, said.sections, said.values)


def conclude_without_coil(
    run: ArrayRun,
    judged: tuple[Judged, ...],
    lines: tuple[str, ...],
    sections: tuple[Section, ...],
    values: Mapping[str, Any],
    /,
) -> Outcome:
    """Write the report and record.json of a run that says nothing of the coil, and return the outcome.

    Raises
    ------
    StorageError
        The disk refused.
    """
    run.step("Write report and record")
    file, path = run.file, run.folder.path
    outcome = Outcome(path, judged, lines)
    identities = {instrument.name: instrument.identity for instrument in run.instruments.values()}
    facts = (
        ("run", path.name),
        ("started", run.started.strftime("%Y-%m-%d %H:%M UTC")),
        ("array", f"{file.array.serial_number}, {file.array.channels} channels"),
        ("field", f"{file.b0:g} T"),
        ("load", file.phantom.name),
        *((name, identity) for name, identity in identities.items()),
    )
    title = f"coilbench {run.kind}: {file.array.serial_number}"
    page = Page(title, facts, overall(judged), judged, lines, sections, "In short")
    write_atomically(outcome.report, render(page))
    run.folder.finish(
        {
            "run": path.name,
            "kind": run.kind,
            "verdict": str(overall(judged)),
            "judged": list(judged),
            "truths": list(lines),
            "started_utc": run.started.isoformat(timespec="seconds"),
            "bench": file.name,
            "array": file.array.serial_number,
            "b0_t": file.b0,
            "instruments": identities,
            "software": software(),
            "report": str(outcome.report),
            **values,
        }
    )
    return outcome
