"""The bench of a person at the trimmers, and tuning each port by its dip where there is no drawing.

A port that the analyzer does not have is connected by hand to its first one, all others ending in 50 ohm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import RunAborted
from coilbench.base.events import Event
from coilbench.procedures.manual_plan import HandResult, LiveView, Reply
from coilbench.procedures.tune_plan import PortOutcome
from coils.quality import decibels
from coils.tuning.by_dip import advise_by_dip, find_dip, next_by_dip
from coils.tuning.gauge import Advice
from coils.tuning.local_state import ArraySweep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coilbench.base.events import EventSink
    from coilbench.procedures.manual_plan import AskHand, HandPlan, ShowLive
    from coils.tuning.by_dip import Dip, DipTurn
    from coils.tuning.local_state import TunablePort
    from drivers.protocols import Abort, NetworkAnalyzer, SweepPlan

#: Turns of one port before it is left, and rounds over all ports: each pulls its neighbours.
_MOST_AT_PORT: Final = 30
_ROUNDS: Final = 5
#: Half width of a quick sweep beyond the dip's way, and how near the dip must be for it.
_LIVE: Final = 0.04
#: Largest change of S between two looks at a trimmer that does not answer.
_NO_ANSWER: Final = 0.01


@dataclass(slots=True)
class Bench:
    """Analyzer, person and listeners.

    Parameters
    ----------
    analyzer, plan, ask, show, emit, abort
        As `coilbench.procedures.manual.tune_by_hand` takes them.
    connected
        Port at the analyzer's first, where cables are moved by hand; 0: none yet.
    """

    analyzer: NetworkAnalyzer
    plan: HandPlan
    ask: AskHand
    show: ShowLive
    emit: EventSink
    abort: Abort
    connected: int = 0

    @property
    def ports(self) -> tuple[TunablePort, ...]:
        """All ports of the plan, by number."""
        every = (port for group in self.plan.nuclei for port in group.tunable_ports())
        return tuple(sorted(every, key=lambda port: port.port))

    @property
    def has_all_ports(self) -> bool:
        """Whether no cable has to be moved."""
        return {port.port for port in self.ports} <= set(self.analyzer.reflection_ports)

    def say(self, kind: str, message: str, **data: object) -> None:
        """Tell the listeners."""
        self.emit(Event(kind, message, data))

    def configure(self, plan: SweepPlan) -> None:
        """Set the analyzer."""
        self.analyzer.configure(plan)

    def sweep_array(self) -> ArraySweep:
        """Sweep all ports once."""
        self.check_abort()
        network = self.analyzer.sweep([port.port for port in self.ports], abort=self.abort)
        return ArraySweep(np.asarray(network.f), np.asarray(network.s))

    def look(self, port: int) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Sweep one port once; return frequencies and reflections."""
        self.check_abort()
        there = port if self.has_all_ports else self.analyzer.reflection_ports[0]
        network = self.analyzer.sweep((there,), abort=self.abort)
        return np.asarray(network.f), np.asarray(network.s)[:, 0, 0]

    def connect(self, port: int) -> bool:
        """Have a port connected where cables are moved by hand; False when the person wants to end."""
        if self.has_all_ports or self.connected == port:
            return True
        first = self.analyzer.reflection_ports[0]
        text = f"Connect port {port} to the analyzer's port {first}, all other ports to 50 Ω loads."
        if self.ask(text) is Reply.END:
            return False
        self.connected = port
        self.say("hand.connected", f"port {port} is at the analyzer", port=port)
        return True

    def view(
        self,
        axis: str,
        port: int,
        frequencies: NDArray[np.float64],
        trace: NDArray[np.complex128],
        dip: Dip,
        *,
        is_more: bool,
        target: complex,
        capacitances: tuple[float, float, float] | None,
        advice: Advice,
    ) -> LiveView:
        """Return what to show of a quick sweep."""
        group = next(group for group in self.plan.nuclei if port in group.ports)
        before, now, after = (None, None, None) if capacitances is None else capacitances
        return LiveView(
            axis,
            port,
            group.nucleus,
            group.frequency,
            frequencies,
            trace,
            dip.reflection,
            target,
            dip.frequency,
            is_more,
            before,
            now,
            after,
            advice,
        )

    def check_abort(self) -> None:
        """End when asked to.

        Raises
        ------
        RunAborted
            ``abort`` said so.
        """
        if self.abort():
            raise RunAborted("tuning by hand stopped; the trimmers stay as they are")

    def conclude(self, result: HandResult) -> None:
        """Tell the end."""
        for port in result.ports:
            if not port.reached:
                self.say(
                    "hand.unreached",
                    f"port {port.port} (channel {port.channel}, {port.nucleus}) stays at "
                    f"{port.after_db:.1f} dB: {port.reason}",
                    port=port.port,
                    reflection_db=port.after_db,
                    reason=port.reason,
                )
        reached = sum(port.reached for port in result.ports)
        self.say(
            "hand.finished",
            f"{reached} of {len(result.ports)} ports below {self.plan.limit_db:g} dB after "
            f"{result.turns} turns and {result.sweeps} sweeps",
            reached=result.reached,
            turns=result.turns,
            sweeps=result.sweeps,
        )


def tune_by_dips(bench: Bench) -> HandResult:
    """Go round the ports, each by its dip, until all are below the limit or nothing helps.

    Raises
    ------
    RunAborted
        The bench's abort said so.
    """
    return _ByDips(bench).run()


class _ByDips:
    """One run without a drawing."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.plan = bench.plan
        self.turns = 0
        self.sweeps = 0
        self.silent: list[str] = []
        self.has_ended = False
        self.done: list[tuple[str, DipTurn, TunablePort]] = []

    def run(self) -> HandResult:
        """Go round until a whole round finds nothing to do."""
        bench = self.bench
        bench.say(
            "hand.started",
            f"tuning {len(bench.ports)} ports by hand, each by its dip, to below {self.plan.limit_db:g} dB",
        )
        first: dict[int, float] = {}
        last: dict[int, float] = {}
        for _ in range(_ROUNDS):
            before = self.turns
            for port in bench.ports:
                if self.has_ended or not bench.connect(port.port):
                    self.has_ended = True
                    break
                start, end = self._tune(port)
                first.setdefault(port.port, start)
                last[port.port] = end
            if self.has_ended or self.turns == before:
                break
        result = HandResult(self._outcomes(first, last), self.turns, self.sweeps, tuple(self.silent))
        bench.conclude(result)
        return result

    def _tune(self, port: TunablePort) -> tuple[float, float]:
        """Turn one port's trimmers; return its |S_ii| in dB before and after."""
        dip = self._found(port)
        start = dip
        unanswered = 0
        for _ in range(_MOST_AT_PORT):
            turn = next_by_dip(dip, port.frequency, self.plan.limit_db)
            axis = "" if turn is None else port.tune if turn.trimmer == "tune" else port.match
            if turn is None or axis in self.silent or self.turns >= self.plan.most_turns:
                break
            seen = self._turned(port, axis, turn, dip)
            if seen is None:
                break
            dip, change = seen
            unanswered = unanswered + 1 if change < _NO_ANSWER else 0
            if unanswered == 2:
                self.silent.append(axis)
                self.bench.say("hand.silent", f"{axis} does not answer: its port stays as it was", axis=axis)
        return decibels(abs(start.reflection)), decibels(abs(dip.reflection))

    def _found(self, port: TunablePort) -> Dip:
        """Sweep a port widely and then around its dip."""
        bench, plan = self.bench, self.plan
        self.sweeps += 1
        bench.configure(plan.port_plan(port.frequency, plan.span, plan.points))
        dip = find_dip(*bench.look(port.port), port.frequency)
        bench.configure(plan.port_plan(port.frequency, self._span(dip, port), plan.live_points))
        return find_dip(*bench.look(port.port), port.frequency)

    def _span(self, dip: Dip, port: TunablePort) -> float:
        return min(self.plan.span, abs(dip.frequency / port.frequency - 1.0) + _LIVE)

    def _turned(self, port: TunablePort, axis: str, turn: DipTurn, before: Dip) -> tuple[Dip, float] | None:
        """Ask for a turn and show the port; return its dip and the change of S, None at the end."""
        bench = self.bench
        way = self.plan.way(is_more=turn.is_more)
        bench.configure(self.plan.port_plan(port.frequency, self._span(before, port), self.plan.live_points))
        first = bench.look(port.port)[1]
        bench.say("hand.asked", f"{axis}: {turn.reason}", axis=axis, port=port.port, is_more=turn.is_more)
        reply = bench.ask(f"Turn {axis} {way}: {turn.reason}.")
        if reply is Reply.UNDO and self.done:
            name, last, _ = self.done.pop()
            back = self.plan.way(is_more=not last.is_more)
            bench.say("hand.undone", f"{name} is turned back", axis=name, is_more=not last.is_more)
            bench.ask(f"Take back: turn {name} {back} until the dip is where it was.")
            return self._found(port), 1.0
        if reply is not Reply.READY:
            self.has_ended = reply is Reply.END
            return None
        while True:
            frequencies, trace = bench.look(port.port)
            dip = find_dip(frequencies, trace, port.frequency)
            advice = advise_by_dip(turn, before, dip, port.frequency, self.plan.limit_db)
            view = bench.view(
                axis,
                port.port,
                frequencies,
                trace,
                dip,
                is_more=turn.is_more,
                target=0j,
                capacitances=None,
                advice=advice,
            )
            if bench.show(view):
                break
        self.turns += 1
        self.done.append((axis, turn, port))
        bench.say(
            "hand.turned",
            f"{axis}: dip from {before.frequency / 1e6:.3f} to {dip.frequency / 1e6:.3f} MHz, "
            f"port {port.port} at {decibels(abs(dip.reflection)):.1f} dB",
            axis=axis,
            port=port.port,
            before_dip=before.frequency,
            after_dip=dip.frequency,
            reflection_db=decibels(abs(dip.reflection)),
        )
        return dip, 1.0 if advice is Advice.STOP else float(np.max(np.abs(trace - first)))

    def _outcomes(self, first: dict[int, float], last: dict[int, float]) -> tuple[PortOutcome, ...]:
        outcomes = []
        for group in self.plan.nuclei:
            for channel, port in enumerate(group.tunable_ports(), start=1):
                level = last.get(port.port, 0.0)
                is_reached = level < self.plan.limit_db
                names = [axis for axis in (port.tune, port.match) if axis in self.silent]
                reason = "; ".join(f"{axis} does not answer" for axis in names)
                if port.port not in last:
                    reason = "never looked at: ended before"
                outcomes.append(
                    PortOutcome(
                        port.port,
                        channel,
                        group.nucleus,
                        group.frequency,
                        first.get(port.port, 0.0),
                        level,
                        is_reached,
                        "" if is_reached else reason or f"left after {self.turns} turns",
                    )
                )
        return tuple(outcomes)
