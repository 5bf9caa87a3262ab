"""One tuning of one simulated array, judged by the truth."""

from __future__ import annotations

import time
import traceback
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from broyden import broyden
from cases import CASES, change_load
from coordinate import coordinate_search
from hands import BenchPort, Hands
from meter import Meter, MeteredAnalyzer, MeteredTuner

from coilbench.procedures import NucleusPorts, TunePlan, tune
from coilbench.simulated_drawing import drawing
from drivers.actuators.tune_controller import open_tuner
from drivers.analyzers.rohde_schwarz_znb import open_analyzer
from hil_fixtures.in_memory import in_memory
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from cases import Case

    from coilbench.base.events import Event
    from coils.tuning.belief import Belief
    from drivers.protocols import NetworkAnalyzer, Tuner
    from hil_fixtures.physics.reach import Attainable

#: What every port must be below, dB.
LIMIT_DB: Final = -20.0

#: Bandwidths in Hz that give -70 dB of noise: the analyzer's in memory, and a ZNBT's at -10 dBm.
_MEMORY_BANDWIDTH: Final = 1e3
_WIRED_BANDWIDTH: Final = 1e4

#: Events that are about every axis, not about one that is in trouble.
_ROUTINE: Final = frozenset({"tune.moved", "tune.swept", "tune.started"})


@dataclass(frozen=True, slots=True)
class Question:
    """Which trial: case, tuner, seed, and whether over the wires."""

    case: str
    tuner: str
    seed: int
    wires: bool = False


@dataclass(slots=True)
class Answer:
    """What became of it; all levels are the truth's, in dB.

    Parameters
    ----------
    worst_db, best_db
        Worst port at the end, and the least worst that the travel allows.
    ports_ok, ports
        Ports below the limit, of those that could be asked for.
    claimed
        Whether the tuner said that all is reached.
    sweeps, port_sweeps, moves, refused, failed
        As in `hil_fixtures.in_memory.Ledger`.
    cpu
        Seconds of the tuner's own thinking.
    culprit, accused
        The broken axis, and those that the tuner says do not follow their motors.
    advice, helps
        What it said to change, and whether the array can be tuned with it.
    reasons
        Its words about ports that were not reached.
    error
        What it died of.
    """

    question: Question
    worst_db: float = 0.0
    best_db: float = 0.0
    ports_ok: int = 0
    ports: int = 0
    claimed: bool = False
    sweeps: int = 0
    port_sweeps: int = 0
    moves: int = 0
    refused: int = 0
    failed: int = 0
    cpu: float = 0.0
    culprit: str = ""
    accused: list[str] = field(default_factory=list)
    advice: list[tuple[str, float]] = field(default_factory=list)
    helps: bool = False
    reasons: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def is_reachable(self) -> bool:
        """Whether all ports asked for can be below the limit at once."""
        return self.best_db < LIMIT_DB

    @property
    def is_named(self) -> bool:
        """Whether the broken axis is accused, or is the one that a port is said not to answer to."""
        return self.culprit in self.accused or any(
            self.culprit in words and "does not answer" in words for words in self.reasons
        )

    @property
    def innocent(self) -> list[str]:
        """Sound axes that are accused."""
        return [axis for axis in self.accused if axis != self.culprit]

    @property
    def is_tuned(self) -> bool:
        """Whether all ports asked for are."""
        return not self.error and self.ports_ok == self.ports


@dataclass(slots=True)
class _Said:
    """What a tuner says."""

    reached: bool
    reasons: list[str] = field(default_factory=list)
    advice: list[tuple[str, float]] = field(default_factory=list)
    accused: list[str] = field(default_factory=list)
    belief: Belief | None = None


def nucleus_groups(world: World) -> tuple[NucleusPorts, NucleusPorts]:
    """Return the ports as the bench file would give them."""
    count = world.channel_count
    low, high = world.frequencies
    return (
        NucleusPorts(world.settings.low_nucleus, low, tuple(range(1, count + 1)), "na"),
        NucleusPorts(world.settings.high_nucleus, high, tuple(range(count + 1, 2 * count + 1)), "h"),
    )


def bench_ports(world: World) -> list[BenchPort]:
    """Return all ports with their axes."""
    return [
        BenchPort(port, group.frequency, *(f"ch{channel}.{group.axis_prefix}.{kind}" for kind in KINDS))
        for group in nucleus_groups(world)
        for channel, port in enumerate(group.ports, start=1)
    ]


KINDS: Final = ("tune", "match")


def true_levels(world: World) -> np.ndarray:
    """Return |S_ii| in dB of every port at its own frequency."""
    low, high = world.scattering(np.array(world.frequencies))
    count = world.channel_count
    return 20.0 * np.log10(np.abs(np.concatenate((np.diag(low)[:count], np.diag(high)[count:]))))


def run(question: Question) -> Answer:
    """Tune one array; whatever the tuner raises is in the answer."""
    answer = Answer(question)
    case = CASES[question.case]
    with ExitStack() as stack:
        world, analyzer, tuner = _open(question, case, stack)
        answer.culprit = case.spoil(world, question.seed)
        bandwidth = _WIRED_BANDWIDTH if question.wires else _MEMORY_BANDWIDTH
        kept = None
        try:
            if case.is_load_change:
                world.move_axes(world.best_reflections().positions)
                kept = _tune(question, world, analyzer, tuner, bandwidth, Meter()).belief
                change_load(world)
            best = world.best_reflections()
            meter = Meter()
            start = time.thread_time()
            said = None
            try:
                said = _tune(question, world, analyzer, tuner, bandwidth, meter, kept)
            finally:
                answer.cpu = time.thread_time() - start - meter.inside
                _count(answer, meter)
                _judge(answer, world, best)
            _listen(answer, said, world)
        except Exception as error:  # noqa: BLE001 - the campaign goes on and reports it
            where = traceback.extract_tb(error.__traceback__)[-1]
            answer.error = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
    return answer


def _open(question: Question, case: Case, stack: ExitStack) -> tuple[World, NetworkAnalyzer, Tuner]:
    if question.wires:
        lab = stack.enter_context(Lab(case.settings(), question.seed, serial=False))
        analyzer = open_analyzer(lab.addresses["analyzer_hislip"], name="analyzer")
        stack.enter_context(closing(analyzer))
        tuner = open_tuner(lab.addresses["tuner"], name="tuner")
        stack.enter_context(closing(tuner))
        return lab.world, analyzer, tuner
    world = World(case.settings(), question.seed)
    in_hand, hands = in_memory(world, question.seed)
    in_hand.faults.every = case.failing
    in_hand.faults.drift = case.drift
    return world, in_hand, hands


def _tune(
    question: Question,
    world: World,
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    bandwidth: float,
    meter: Meter,
    kept: Belief | None = None,
) -> _Said:
    counted = MeteredAnalyzer(analyzer, meter), MeteredTuner(tuner, meter)
    peer = PEERS.get(question.tuner)
    if peer is not None:
        finished = peer(Hands(*counted, bench_ports(world), bandwidth))
        return _Said(finished.reached)
    words: list[str] = []

    def listen(event: Event) -> None:
        if event.kind not in _ROUTINE:
            words.append(event.message)

    plan = TunePlan(
        nucleus_groups(world),
        design=None if question.tuner == "local" else drawing(world),
        kept=kept,
        check_motors=CASES[question.case].check_motors,
        if_bandwidth=bandwidth,
    )
    result = tune(*counted, plan, emit=listen)
    return _Said(
        result.reached,
        words,
        [(rework.part, rework.change) for rework in result.advice],
        [suspect.axis for suspect in result.suspects],
        result.belief,
    )


def _count(answer: Answer, meter: Meter) -> None:
    ledger = meter.ledger
    answer.sweeps, answer.port_sweeps = ledger.sweeps, ledger.port_sweeps
    answer.moves, answer.refused, answer.failed = ledger.moves, ledger.refused, ledger.failed


def _judge(answer: Answer, world: World, best: Attainable) -> None:
    wanted = np.array(best.wanted)
    levels = true_levels(world)[wanted]
    answer.best_db, answer.worst_db = best.worst_db, float(np.max(levels))
    answer.ports, answer.ports_ok = int(levels.size), int(np.sum(levels < LIMIT_DB))


def _listen(answer: Answer, said: _Said, world: World) -> None:
    answer.claimed, answer.advice, answer.reasons = said.reached, said.advice, said.reasons
    answer.accused = said.accused
    if said.advice and not answer.is_reachable:
        for part, change in said.advice:
            world.rework(part, change)
        answer.helps = world.best_reflections().is_below(LIMIT_DB)


PEERS: Final[dict[str, Callable[[Hands], Any]]] = {"coordinate": coordinate_search, "broyden": broyden}
