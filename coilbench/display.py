"""What a person sees while a run goes on: steps, bars, notes. Reads the event stream, nothing else."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rich.console import Console
    from rich.progress import TaskID

    from coilbench.base.events import Event


class Display:
    """Progress on a terminal; a context manager and an event sink.

    Parameters
    ----------
    console
        Where to write; standard error, so that standard output stays for results.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._current: TaskID | None = None

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the last bar when all went well and stop drawing."""
        if error is None:
            self._finish()
        self._progress.stop()

    def __call__(self, event: Event, /) -> None:
        """Show an event: ``step`` begins a bar, ``*.progress`` moves it, ``note`` is a line of its own."""
        if event.kind == "step":
            self._finish()
            self._current = self._progress.add_task(event.message, total=None, note="")
        elif event.kind == "note":
            self._progress.console.print(event.message, highlight=False)
        elif self._current is not None:
            if event.kind.endswith("progress"):
                self._progress.update(
                    self._current, completed=event.data["done"], total=event.data["total"], note=event.message
                )
            else:
                self._progress.update(self._current, note=event.message)

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Stand still while a person is asked something."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def _finish(self) -> None:
        if self._current is None:
            return
        task = self._progress.tasks[self._current]
        total = task.total if task.total is not None else max(1, int(task.completed))
        self._progress.update(self._current, total=total, completed=total, note="")
