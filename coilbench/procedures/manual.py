"""Tune an array with a person at the trimmers: say which, which way and how far, and show what it does.

With a drawing and an analyzer on all ports the model leads (`coils.tuning.by_hand`); otherwise each port is
tuned by its dip (`coils.tuning.by_dip`), with its cable moved where the analyzer has too few ports. Every
instruction and every observed change is an event with the capacitances before and after; `Reply.UNDO` asks
for the last turn to be taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.events import EventSink, ignore
from coilbench.procedures.manual_plan import (
    AskHand,
    HandPlan,
    HandResult,
    LiveView,
    Reply,
    ShowLive,
)
from coilbench.procedures.manual_ports import Bench, tune_by_dips
from coilbench.procedures.tune_plan import PortOutcome
from coils.quality import decibels
from coils.tuning import by_hand
from coils.tuning.belief import Prior
from coils.tuning.by_dip import find_dip
from coils.tuning.gauge import advise
from coils.tuning.targets import own_reflections
from drivers.protocols import Abort, never

if TYPE_CHECKING:
    from coils.tuning.by_hand import HandTuning, Turn
    from coils.tuning.design import ArrayDesign
    from coils.tuning.local_state import ArraySweep
    from drivers.protocols import NetworkAnalyzer

__all__ = ["HandPlan", "HandResult", "LiveView", "Reply", "tune_by_hand"]

#: Half widths of the sweeps that follow turns: narrow when all trimmers stand near their targets.
_NARROW: Final = 0.06
_NARROW_POINTS: Final = 121
_NEARLY: Final = 0.04
#: Half width of a quick sweep over what its trimmer moves: bandwidths of about 1 % and a turn's error.
_LIVE: Final = 0.04
#: Part of a clear turn that must be seen, or the trimmer does not answer; so often before it is given up.
_ANSWER: Final = 0.2
_ATTEMPTS: Final = 2
#: Sweeps without progress (sum of squares or worst reflection below this part of the best) that end it.
_PATIENCE: Final = 2
_PROGRESS: Final = 0.8
#: Part of the travel before its end, as the data sheet has it, where a trimmer that stops is at its end.
_AT_END: Final = 0.15


def tune_by_hand(
    analyzer: NetworkAnalyzer,
    plan: HandPlan,
    *,
    ask: AskHand,
    show: ShowLive,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> HandResult:
    """Guide a person until every port is below the limit, or nothing is left to turn.

    Parameters
    ----------
    analyzer
        With all ports of the plan, or with one: then ``ask`` also says which port to connect.
    plan
        What to tune.
    ask
        Says an instruction, returns what is answered.
    show
        Receives a view after each quick sweep, returns True when the person has let go.

    Raises
    ------
    RunAborted
        ``abort`` said so; the trimmers stay as they are.
    InstrumentError
        The analyzer failed.
    """
    bench = Bench(analyzer, plan, ask, show, emit, abort)
    if plan.design is None or not bench.has_all_ports:
        return tune_by_dips(bench)
    return _ByModel(bench, plan.design).run()


class _ByModel:
    """One run led by the model."""

    def __init__(self, bench: Bench, design: ArrayDesign) -> None:
        self.bench = bench
        self.plan = bench.plan
        self.design = design
        self.sweeps = 0
        self.turns = 0
        self.unanswered: dict[str, int] = {}
        self.silent: list[str] = []
        self.answered: set[str] = set()
        self.best = (float("inf"), float("inf"))
        self.stalled = 0
        self.done: list[tuple[Turn, float, complex]] = []

    def run(self) -> HandResult:
        """Sweep, ask, look, until it is over."""
        bench, plan = self.bench, self.plan
        bench.say("hand.started", f"tuning {len(bench.ports)} ports by hand to below {plan.limit_db:g} dB")
        prior = Prior.from_design(self.design)
        first = self._sweep(plan.span, plan.points)
        state = by_hand.begin(prior, first, plan.limit_db, plan.margin_db)
        start = state.reflections
        self._tell(state)
        while not state.is_reached and self.turns < plan.most_turns:
            turn = by_hand.next_turn(state)
            if turn is None:
                if not state.touched.any() or self.stalled >= _PATIENCE:
                    break
                state = self._again(state)
                continue
            followed = self._follow(state, turn)
            if followed is None:
                break
            state = followed
        if state.touched.any():
            state = self._again(state)
        return self._conclude(state, np.abs(start))

    def _again(self, state: HandTuning) -> HandTuning:
        """Sweep the array and learn."""
        left = np.abs(np.log(state.capacitances / state.target.capacitances))
        is_near = float(np.max(left)) < _NEARLY
        sweep = (
            self._sweep(_NARROW, _NARROW_POINTS) if is_near else self._sweep(self.plan.span, self.plan.points)
        )
        state = by_hand.take_in(state, sweep)
        self._tell(state)
        power = float(np.sum(np.abs(state.reflections[state.wanted]) ** 2))
        is_better = power < _PROGRESS * self.best[0] or state.worst < _PROGRESS * self.best[1]
        self.stalled = 0 if is_better else self.stalled + 1
        self.best = min(power, self.best[0]), min(state.worst, self.best[1])
        return state

    def _follow(self, state: HandTuning, turn: Turn) -> HandTuning | None:
        """Ask for a turn and watch it; None when the person wants to end."""
        element = self.design.trimmers[turn.column].element
        text = self.plan.instruction(turn, element)
        place = (
            f"; port {turn.port + 1} goes to {decibels(abs(turn.reflection)):.1f} dB, "
            f"{turn.reflection.real:+.2f} {turn.reflection.imag:+.2f}j in the Smith chart"
        )
        self.bench.say(
            "hand.asked", text, axis=turn.axis, before=turn.before, after=turn.after, port=turn.port + 1
        )
        reply = self.bench.ask(f"Turn {text}{place}.")
        if reply is Reply.END:
            return None
        if reply is Reply.SKIP:
            self.bench.say("hand.skipped", f"{turn.axis} is left where it is", axis=turn.axis)
            return by_hand.give_up(state, turn)
        if reply is Reply.UNDO and not self.done:
            self.bench.say("hand.note", "there is no turn to take back")
            return state
        if reply is Reply.UNDO:
            last, now, reflection = self.done.pop()
            back = last.back(now, reflection)
            answer = self.bench.ask(f"Take back: turn {self.plan.instruction(back, element)}.")
            return state if answer is not Reply.READY else self._watched(state, back, is_undo=True)
        return self._watched(state, turn)

    def _watched(self, state: HandTuning, turn: Turn, *, is_undo: bool = False) -> HandTuning:
        """Show the port until the person lets go, and note where the trimmer stands then."""
        before = complex(own_reflections(state.belief, state.capacitances)[turn.port])
        now, level = self._live(state, turn)
        self.turns += 1
        self.bench.say(
            "hand.undone" if is_undo else "hand.turned",
            f"{turn.axis} went from {turn.before * 1e12:.2f} to {now * 1e12:.2f} pF; asked for "
            f"{turn.after * 1e12:.2f} pF; port {turn.port + 1} at {level:.1f} dB",
            axis=turn.axis,
            before=turn.before,
            after=now,
            asked=turn.after,
            port=turn.port + 1,
            reflection_db=level,
        )
        if abs(now - turn.before) < _ANSWER * abs(turn.change) and abs(turn.change) > 4.0 * turn.tolerance:
            return self._unanswered(state, turn, now)
        self.unanswered.pop(turn.axis, None)
        self.answered.add(turn.axis)
        if not is_undo:
            self.done.append((turn, now, before))
        return by_hand.note_turn(state, turn, now)

    def _unanswered(self, state: HandTuning, turn: Turn, now: float) -> HandTuning:
        """Ask once more; then its travel ends here, or the trimmer is named and left."""
        attempts = self.unanswered.get(turn.axis, 0) + 1
        self.unanswered[turn.axis] = attempts
        if attempts < _ATTEMPTS:
            return state
        left = turn.highest - now if turn.change > 0.0 else now - turn.lowest
        if turn.axis in self.answered or left < _AT_END * (turn.highest - turn.lowest):
            self.bench.say(
                "hand.end",
                f"{turn.axis} is at the {'upper' if turn.change > 0.0 else 'lower'} end of its travel, "
                f"{now * 1e12:.2f} pF",
                axis=turn.axis,
                capacitance=now,
            )
            return by_hand.note_end(state, turn, now)
        self.silent.append(turn.axis)
        self.bench.say(
            "hand.silent",
            f"{turn.axis} does not answer: its port stays as it was; stuck, or at its end",
            axis=turn.axis,
        )
        return by_hand.give_up(state, turn)

    def _live(self, state: HandTuning, turn: Turn) -> tuple[float, float]:
        """Return capacitance in F and |S_ii| in dB when the person lets go."""
        frequency = float(self.design.port_frequencies()[turn.port])
        wide = self.plan.port_plan(frequency, self.plan.span, self.plan.live_points)
        grid = np.linspace(wide.segments[0].start, wide.segments[0].stop, wide.points)
        # as wide as the dip's way, so that it stays in sight
        ends = by_hand.gauge(state, turn, grid).reflections(np.array([turn.before, turn.after]))
        dips = grid[np.argmin(np.abs(ends), axis=1)]
        way = float(np.max(np.abs(dips / frequency - 1.0)))
        span = min(self.plan.span, way + _LIVE)
        self.bench.configure(self.plan.port_plan(frequency, span, self.plan.live_points))
        gauge = None
        while True:
            frequencies, trace = self.bench.look(turn.port + 1)
            if gauge is None:
                gauge = by_hand.gauge(state, turn, frequencies)
            now = gauge.read(trace)[0]
            dip = find_dip(frequencies, trace, frequency)
            view = self.bench.view(
                turn.axis,
                turn.port + 1,
                frequencies,
                trace,
                dip,
                is_more=turn.change > 0.0,
                target=turn.reflection,
                capacitances=(turn.before, now, turn.after),
                advice=advise(turn, now),
            )
            if self.bench.show(view):
                return now, decibels(abs(dip.reflection))

    def _sweep(self, span: float, points: int) -> ArraySweep:
        self.bench.configure(self.plan.array_plan(span, points))
        self.sweeps += 1
        return self.bench.sweep_array()

    def _tell(self, state: HandTuning) -> None:
        levels = [decibels(float(size)) for size in np.abs(state.reflections)]
        below = sum(level < self.plan.limit_db for level in levels)
        self.bench.say(
            "hand.swept",
            f"sweep {self.sweeps}: {below} of {len(levels)} ports below {self.plan.limit_db:g} dB, worst "
            f"{max(levels):.1f} dB",
            sweep=self.sweeps,
            reflections_db={str(port + 1): level for port, level in enumerate(levels)},
            capacitances={
                axis: float(state.capacitances[channel, column])
                for channel, row in enumerate(self.design.axes)
                for column, axis in enumerate(row)
            },
        )

    def _conclude(self, state: HandTuning, start: np.ndarray[tuple[int], np.dtype[np.float64]]) -> HandResult:
        reworks = () if state.is_reached else state.reworks()
        for advice in reworks:
            self.bench.say("hand.advice", f"to make it reachable: {advice}", part=advice.part)
        sizes = np.abs(state.reflections)
        outcomes = []
        for group in self.plan.nuclei:
            for channel, port in enumerate(group.ports, start=1):
                level = decibels(float(sizes[port - 1]))
                axes = set(self.design.axes[channel - 1])
                reasons = [f"{axis} does not answer" for axis in self.silent if axis in axes]
                reasons += [f"unreachable: {item}" for item in reworks if item.part in axes]
                is_reached = level < self.plan.limit_db
                reason = "" if is_reached else "; ".join(reasons) or f"left after {self.turns} turns"
                outcomes.append(
                    PortOutcome(
                        port,
                        channel,
                        group.nucleus,
                        group.frequency,
                        decibels(float(start[port - 1])),
                        level,
                        is_reached,
                        reason,
                    )
                )
        result = HandResult(tuple(outcomes), self.turns, self.sweeps, tuple(self.silent), reworks)
        self.bench.conclude(result)
        return result
