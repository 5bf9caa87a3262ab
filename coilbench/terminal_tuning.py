"""What a person at the trimmers sees in the terminal: a live Smith chart, the trimmer's way, what to do."""

from __future__ import annotations

import select
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, Self

from rich.live import Live

from coilbench.base.errors import RunAborted
from coilbench.base.operator import turn_trimmer
from coilbench.base.units import engineering
from coilbench.procedures.manual_plan import Reply
from coilbench.terminal_smith import Trace, beside, describe_reflection, draw_smith, shows_braille
from coils.tuning.gauge import Advice

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.table import Table

    from coilbench.base.events import EventSink
    from coilbench.base.operator import Ask
    from coilbench.procedures.manual_plan import LiveView

#: Looks after which a hand lets go.
_MOST_LOOKS: Final = 8
#: Cells of the bar that shows a trimmer's way.
_BAR: Final = 21


def draw_live(view: LiveView, /, *, columns: int = 45, braille: bool = True) -> Table:
    """Return a Smith chart with trace, dot (``o``) and target (``x``), and the words beside it.

    Parameters
    ----------
    columns, braille
        As `coilbench.terminal_smith.draw_smith` takes them.
    """
    traces = [
        Trace("x", (), view.target),
        Trace("o", [complex(each) for each in view.reflections], view.marker),
    ]
    return beside(draw_smith(traces, columns=columns, braille=braille), live_words(view))


def live_words(view: LiveView, /) -> list[str]:
    """Return what stands beside the chart, line by line."""
    off = view.dip - view.frequency
    words = [
        f"{view.axis}, port {view.port}, {view.nucleus} at {engineering(view.frequency, 'Hz', digits=6)}",
        f"o  {describe_reflection(view.marker)}",
        f"dip {off / 1e3:+.0f} kHz from there",
        "",
    ]
    if view.before is not None and view.now is not None and view.after is not None:
        ends = f"{view.before * 1e12:.2f} pF", f"{view.after * 1e12:.2f} pF"
        words.append(f"{ends[0]} {_bar(view.before, view.now, view.after)} {ends[1]}")
        words.append(f"now {view.now * 1e12:.2f} pF")
    else:
        words.append(f"{'more' if view.is_more else 'less'} capacitance")
    return [*words, "", f"▸ {view.advice}", "", "Enter when you let go"]


def _bar(before: float, now: float, after: float) -> str:
    """Return how far a trimmer has gone; ``|`` is where it is, held by the ends."""
    part = (now - before) / (after - before) if after != before else 1.0
    place = round(min(max(part, 0.0), 1.0) * (_BAR - 1))
    return "".join("|" if cell == place else "-" for cell in range(_BAR))


class PersonAtTrimmers:
    """The person at the terminal: a context manager whose ``ask`` and ``show`` `tune_by_hand` takes.

    Parameters
    ----------
    console
        Where to draw; standard error, so that standard output stays for results.
    watcher
        The progress display, which stands still meanwhile; any other event sink is left alone.
    """

    def __init__(self, console: Console, watcher: EventSink) -> None:
        self._console = console
        self._pausing = getattr(watcher, "pausing", nullcontext)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._stop()

    def ask(self, instruction: str, /) -> Reply:
        """Show an instruction and wait for Enter, u, s or e; errors as `RunAborted` at the end of input."""
        with self._pausing():
            while True:
                self._console.print(f"\n  ▸ {instruction}", markup=False, highlight=False)
                self._console.print(
                    "    Enter: look while turning; u undo the last, s skip, e end: ", markup=False, end=""
                )
                line = sys.stdin.readline()
                if not line:
                    raise RunAborted(f"nobody answered: {instruction}")
                answers = {"": Reply.READY, "u": Reply.UNDO, "s": Reply.SKIP, "e": Reply.END}
                answer = answers.get(line.strip().lower())
                if answer is not None:
                    return answer

    def show(self, view: LiveView, /) -> bool:
        """Draw a view over the last one; True once Enter has been pressed."""
        drawn = draw_live(view, braille=shows_braille(self._console.encoding))
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(drawn, refresh=True)
        if _pressed_enter():
            self._stop()
            return True
        return False

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class OperatorAtTrimmers:
    """Turns as the chart says, by sentences to whoever stands at the bench; draws nothing.

    Parameters
    ----------
    ask
        Carries out a sentence, such as that of a simulated bench's operator.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._looks = 0

    def ask(self, _instruction: str, /) -> Reply:
        """Be ready."""
        self._looks = 0
        return Reply.READY

    def show(self, view: LiveView, /) -> bool:
        """Turn by what is missing; True when it is right, or has not become so after many looks."""
        self._looks += 1
        if view.advice is Advice.STOP or self._looks > _MOST_LOOKS or view.now is None or view.after is None:
            return True
        self._ask(turn_trimmer(view.axis, view.after - view.now))
        return False


def _pressed_enter() -> bool:
    """Take a line from standard input if there is one, and answer whether there was."""
    if sys.platform == "win32":
        import msvcrt

        pressed = False
        while msvcrt.kbhit():
            pressed |= msvcrt.getwch() in "\r\n"
        return pressed
    if not select.select([sys.stdin], [], [], 0.0)[0]:
        return False
    sys.stdin.readline()
    return True
