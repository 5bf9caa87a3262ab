"""Tune and match all ports of an array at their frequencies, with the bench's analyzer and tuner.

The decisions are in `coils.tuning`; here they meet instruments. With a drawing of the array the model leads
(`coils.tuning.by_design`); what it leaves above the limit, and arrays without a drawing, are tuned by their
measured slopes (`coils.tuning.local`). Every sweep and every move is an event with all its data, positions
before it included: each move can be taken back. Detuning bias is switched off first. Nothing is assumed of
what was set: frequencies and positions are read back. A sweep that fails is taken again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import InstrumentFault, ReplyTimeout, RunAborted
from coilbench.base.events import Event, EventSink, ignore
from coilbench.procedures.tune_plan import (
    NucleusPorts,
    PortOutcome,
    TunePlan,
    TuneResult,
    nucleus_ports,
    reflection_levels,
)
from coils.tuning import by_design, local
from coils.tuning.belief import Prior
from coils.tuning.design_state import NARROW_SPAN, Finished, HomeAndReturn
from coils.tuning.local_state import ArraySweep, Move, Phase, Stop
from drivers.protocols import Abort, never

if TYPE_CHECKING:
    from collections.abc import Mapping

    import skrf

    from coils.tuning.design_state import DesignTuning
    from coils.tuning.local_state import TuningState, Unreached
    from drivers.protocols import NetworkAnalyzer, Tuner

__all__ = ["NucleusPorts", "TunePlan", "TuneResult", "nucleus_ports", "reflection_levels", "tune"]

#: Half width of the narrow sweeps by slopes over their centre, and the points of all narrow sweeps: a loaded
#: bandwidth is about 1 %.
_SLOPES_SPAN: Final = 0.02
_NARROW_POINTS: Final = 21
_DESIGN_POINTS: Final = 61
_KEPT_POINTS: Final = 121
#: Fewest points of a wide sweep that shows every dip.
_WALKING_POINTS: Final = 201
#: Complaints in a row after which a sweep is given up; silence counts twice.
_PATIENCE: Final = 6


def tune(
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    plan: TunePlan,
    *,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> TuneResult:
    """Tune and match every port of the plan.

    Ports that cannot reach the limit are in the result with the reason and, where the model knows it, with
    the capacitor to change; the trimmers then stand where the array was best.

    Raises
    ------
    RunAborted
        ``abort`` said so; the trimmers stay where they are.
    InstrumentError
        An instrument failed, and failed again.
    ValueError
        The plan names axes or ports that do not exist.
    """
    return _Tuning(analyzer, tuner, plan, emit, abort).run()


@dataclass(frozen=True, slots=True)
class _Ending:
    """What the decisions ended with."""

    unreached: tuple[Unreached, ...]
    design: DesignTuning | None = None
    finished: Finished | None = None


class _Tuning:
    """One run of `tune`: the instruments and what has been counted."""

    def __init__(
        self, analyzer: NetworkAnalyzer, tuner: Tuner, plan: TunePlan, emit: EventSink, abort: Abort
    ) -> None:
        self.analyzer = analyzer
        self.tuner = tuner
        self.plan = plan
        self.emit = emit
        self.abort = abort
        self.tunable = sorted(
            (port for group in plan.nuclei for port in group.tunable_ports()), key=lambda port: port.port
        )
        self.positions: dict[str, int] = {}
        self.networks: list[skrf.Network] = []
        self.swept = (0.0, 0)
        self.failed = 0
        self.moves = 0

    @property
    def sweeps(self) -> int:
        """Sweeps taken."""
        return len(self.networks)

    def run(self) -> TuneResult:
        """Sweep, move and sweep again until it is over."""
        self.positions = self.tuner.positions()
        for channel in range(1, self.tuner.bias_channels + 1):
            self.tuner.set_bias(channel, 0.0)
        self._say(
            "tune.started",
            f"tuning {len(self.tunable)} ports to below {self.plan.goal.limit_db:g} dB",
            limit_db=self.plan.goal.limit_db,
            aim_db=self.plan.goal.aim_db,
            frequencies={group.nucleus: group.frequency for group in self.plan.nuclei},
            positions=dict(self.positions),
        )
        ending = self._by_slopes() if self.plan.design is None else self._by_design()
        before, after = self.networks[0], self.networks[-1]
        finished, state = ending.finished, ending.design
        result = TuneResult(
            before,
            after,
            self._outcomes(before, after, ending.unreached),
            self.sweeps,
            self.moves,
            dict(self.positions),
            self.failed,
            () if finished is None else finished.reworks,
            () if finished is None else finished.suspects,
            None if state is None or state.estimate is None else state.estimate.belief,
        )
        self._conclude(result)
        return result

    # By the drawing

    def _by_design(self) -> _Ending:
        """Follow `coils.tuning.by_design`; what it has no explanation for goes on by slopes."""
        design = self.plan.design
        if design is None:
            raise ValueError("the plan has no design")
        prior = Prior.from_design(design) if self.plan.kept is None else Prior.kept(self.plan.kept)
        state = by_design.begin(
            prior, self._travel(), self.positions, self.plan.goal, check_motors=self.plan.check_motors
        )
        while True:
            purpose = state.purpose
            self._configure_for(state)
            state, action = by_design.advance(state, self._swept_array(), self.positions)
            self._tell_sweep(str(purpose), state.reflections_db, None)
            if isinstance(action, Finished):
                break
            if isinstance(action, HomeAndReturn):
                self._home_and_return(action)
            else:
                self._move(action, str(state.purpose))
        for suspect in action.suspects:
            self._say(
                "tune.suspect",
                f"{suspect.axis} {suspect.text}: check motor, coupling and cable",
                axis=suspect.axis,
                trouble=suspect.kind,
            )
        if action.restore is not None:
            self._move(action.restore, "back to the best")
            self._swept_array()
        if action.unreached and not action.reworks and not state.stuck.any():
            self._say("tune.by_slopes", "the drawing does not explain what is left; going on by slopes")
            return _Ending(self._by_slopes().unreached, state, action)
        return _Ending(action.unreached, state, action)

    def _configure_for(self, state: DesignTuning) -> None:
        span = state.span
        if span is None:
            self._configure(self.plan.span, max(self.plan.points, _WALKING_POINTS))
        else:
            self._configure(span, _DESIGN_POINTS if span == NARROW_SPAN else _KEPT_POINTS)

    def _home_and_return(self, action: HomeAndReturn) -> None:
        self._check_abort()
        before = dict(self.positions)
        self.tuner.home()
        self.positions = self.tuner.positions()
        self._say("tune.homed", "all axes homed", before=before, positions=dict(self.positions))
        # homing takes along the axes that are on no drawing
        self._move(Move({}, {**before, **action.targets}), "home and back")

    # By measured slopes

    def _by_slopes(self) -> _Ending:
        """Follow `coils.tuning.local`."""
        state, move = local.begin(self.tunable, self._travel(), self.positions, self.plan.goal)
        self._move(move, str(Phase.BASELINE))
        if not self.networks:
            self._configure(self.plan.span, self.plan.points)
            self._swept_array()
        self._configure(_SLOPES_SPAN, _NARROW_POINTS)
        stop = self._iterate(state)
        if stop.restore is not None:
            self._move(stop.restore, str(Phase.STOPPED))
        self._configure(self.plan.span, self.plan.points)
        self._swept_array()
        return _Ending(stop.unreached)

    def _iterate(self, state: TuningState) -> Stop:
        """Take narrow sweeps and follow `coils.tuning.local.advance` until it stops."""
        wide = False
        while True:
            purpose = state.phase
            if purpose is Phase.WALKING and not wide:
                wide = True
                self._configure(self.plan.span, max(self.plan.points, _WALKING_POINTS))
            state, action = local.advance(state, self._swept_array(), self.positions)
            self._tell_sweep(str(purpose), state.reflections_db, state.error)
            if isinstance(action, Stop):
                return action
            self._move(action, str(state.phase))

    # The instruments

    def _travel(self) -> Mapping[str, tuple[int, int]]:
        return {name: (axis.minimum, axis.maximum) for name, axis in self.tuner.axes.items()}

    def _configure(self, span: float, points: int) -> None:
        if (span, points) != self.swept:
            self.analyzer.configure(self.plan.sweep_plan(span, points))
            self.swept = (span, points)

    def _swept_array(self) -> ArraySweep:
        """Sweep all ports; a sweep that fails is taken again."""
        failures, patience = 0, _PATIENCE
        while True:
            self._check_abort()
            try:
                network = self.analyzer.sweep([port.port for port in self.tunable], abort=self.abort)
            except (InstrumentFault, ReplyTimeout) as error:
                self.failed += 1
                failures += 1
                # silence costs its deadline each time, a complaint nothing
                patience -= 2 if isinstance(error, ReplyTimeout) else 1
                if patience <= 0:
                    error.add_note(f"sweep {self.sweeps + 1} failed {failures} times; tuning ends here")
                    raise
                self._say("tune.sweep_failed", f"a sweep failed and is taken again: {error}")
                span, points = self.swept
                self.analyzer.configure(self.plan.sweep_plan(span, points))
                continue
            self.networks.append(network)
            return ArraySweep(np.asarray(network.f), np.asarray(network.s))

    def _move(self, move: Move, purpose: str) -> None:
        """Pass the approach, then go to the targets."""
        self._check_abort()
        if not move.targets:
            return
        before = {name: self.positions[name] for name in move.targets}
        try:
            for targets in (move.approach, move.targets):
                if targets:
                    self.positions.update(self.tuner.move(targets, abort=self.abort))
        except RunAborted:
            self.positions = self.tuner.positions()
            self._tell_move(move, before, f"{purpose}, aborted")
            raise
        self.moves += len(move.targets)
        self._tell_move(move, before, purpose)

    # What is told

    def _tell_move(self, move: Move, before: Mapping[str, int], purpose: str) -> None:
        self._say(
            "tune.moved",
            f"{len(move.targets)} trimmers moved ({purpose})",
            purpose=purpose,
            before=dict(before),
            approach=dict(move.approach),
            targets=dict(move.targets),
            positions=dict(self.positions),
        )

    def _tell_sweep(self, purpose: str, reflections_db: tuple[float, ...], error: float | None) -> None:
        levels = dict(zip((port.port for port in self.tunable), reflections_db, strict=True))
        above = sum(level >= self.plan.goal.limit_db for level in levels.values())
        self._say(
            "tune.swept",
            f"sweep {self.sweeps} ({purpose}): {len(levels) - above} of {len(levels)} ports below "
            f"{self.plan.goal.limit_db:g} dB, worst {max(levels.values()):.1f} dB",
            sweep=self.sweeps,
            purpose=purpose,
            reflections_db={str(port): level for port, level in levels.items()},
            prediction_error=error,
        )

    def _outcomes(
        self, before: skrf.Network, after: skrf.Network, unreached: tuple[Unreached, ...]
    ) -> tuple[PortOutcome, ...]:
        """Judge every port by the last sweep; what `coils.tuning` knows of a failure is the reason."""
        reasons = {entry.port: entry.reason for entry in unreached}
        order = [port.port for port in self.tunable]
        outcomes = []
        for group in self.plan.nuclei:
            levels = (
                reflection_levels(before, order, group.ports, group.frequency),
                reflection_levels(after, order, group.ports, group.frequency),
            )
            for channel, (port, first, last) in enumerate(zip(group.ports, *levels, strict=True), start=1):
                reached = last < self.plan.goal.limit_db
                reason = (
                    "" if reached else reasons.get(port, "rose above the limit after it had been reached")
                )
                outcomes.append(
                    PortOutcome(port, channel, group.nucleus, group.frequency, first, last, reached, reason)
                )
        return tuple(outcomes)

    def _conclude(self, result: TuneResult) -> None:
        for port in result.ports:
            if not port.reached:
                self._say(
                    "tune.unreached",
                    f"port {port.port} (channel {port.channel}, {port.nucleus}) stays at "
                    f"{port.after_db:.1f} dB: {port.reason}",
                    port=port.port,
                    channel=port.channel,
                    nucleus=port.nucleus,
                    reflection_db=port.after_db,
                    reason=port.reason,
                )
        for advice in result.advice:
            self._say(
                "tune.advice", f"to make it reachable: {advice}", part=advice.part, change=advice.change
            )
        worst = max(port.after_db for port in result.ports)
        reached = sum(port.reached for port in result.ports)
        self._say(
            "tune.finished",
            f"{reached} of {len(result.ports)} ports below {self.plan.goal.limit_db:g} dB after "
            f"{result.sweeps} sweeps and {result.moves} trimmer movements; worst {worst:.1f} dB",
            reached=result.reached,
            sweeps=result.sweeps,
            failed_sweeps=result.failed_sweeps,
            moves=result.moves,
            reflections_db={str(port.port): port.after_db for port in result.ports},
            positions=result.positions,
        )

    def _check_abort(self) -> None:
        if self.abort():
            raise RunAborted(f"tuning stopped after {self.sweeps} sweeps; the trimmers stay where they are")

    def _say(self, kind: str, message: str, **data: object) -> None:
        self.emit(Event(kind, message, data))
