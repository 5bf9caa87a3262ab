"""What a person at the trimmers is told, shows and answers: plan, instructions, live view, result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

from drivers.protocols import Segment, SweepPlan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from coilbench.procedures.tune_plan import NucleusPorts, PortOutcome
    from coils.tuning.advice import Rework
    from coils.tuning.by_hand import Turn
    from coils.tuning.design import ArrayDesign
    from coils.tuning.gauge import Advice


class Reply(StrEnum):
    """What a person may answer to an instruction."""

    READY = "ready"
    UNDO = "undo"
    SKIP = "skip"
    END = "end"


@dataclass(frozen=True, slots=True)
class LiveView:
    """What is shown while a person turns.

    Parameters
    ----------
    axis, port, nucleus
        The trimmer, its port (counted from 1), and what the port is for.
    frequency
        Where the port shall not reflect, Hz.
    frequencies, reflections
        The last quick sweep, shape (frequency,), Hz and S_ii.
    marker, target
        S_ii at ``frequency`` now, and where it belongs once this trimmer stands right.
    dip
        Frequency of the lowest reflection, Hz.
    is_more
        Whether the turn adds capacitance.
    before, now, after
        Capacitance at the start, now and to reach, F; None where there is no drawing.
    advice
        What to do.
    """

    axis: str
    port: int
    nucleus: str
    frequency: float
    frequencies: NDArray[np.float64]
    reflections: NDArray[np.complex128]
    marker: complex
    target: complex
    dip: float
    is_more: bool
    before: float | None
    now: float | None
    after: float | None
    advice: Advice


#: Says an instruction and returns what a person answers once the screwdriver is in place.
AskHand: TypeAlias = Callable[[str], Reply]
#: Shows a view and returns True when the person has let go (pressed Enter).
ShowLive: TypeAlias = Callable[[LiveView], bool]


@dataclass(frozen=True, slots=True)
class HandPlan:
    """What to tune by hand, and how to sweep.

    Parameters
    ----------
    nuclei
        In rising order of frequency.
    limit_db, margin_db
        Every |S_ii| must be below the limit; with a drawing turning goes on by the margin.
    design
        The array's drawing, ports counted as in ``nuclei``; None: each port by its dip alone.
    turns
        Travel of each kind of trimmer in turns, by its element's name (``na.tune``), where it is known.
    clockwise
        What a turn clockwise does to the capacitance.
    span, points
        Half width over its centre of the wide sweeps, and their points.
    live_points
        Of the quick sweeps.
    if_bandwidth, power_dbm
        Of all sweeps, Hz and dBm.
    most_turns
        Instructions after which it ends.
    """

    nuclei: tuple[NucleusPorts, ...]
    limit_db: float = -20.0
    margin_db: float = 1.0
    design: ArrayDesign | None = None
    turns: Mapping[str, float] = field(default_factory=dict)
    clockwise: Literal["more", "less"] = "more"
    span: float = 0.2
    points: int = 201
    live_points: int = 61
    if_bandwidth: float = 1e3
    power_dbm: float = -10.0
    most_turns: int = 300

    def array_plan(self, span: float, points: int) -> SweepPlan:
        """Return one segment around each nucleus; its frequency is on the axis."""
        segments = tuple(
            Segment(group.frequency * (1.0 - span), group.frequency * (1.0 + span), points | 1)
            for group in self.nuclei
        )
        return SweepPlan(segments, self.if_bandwidth, self.power_dbm)

    def port_plan(self, frequency: float, span: float, points: int) -> SweepPlan:
        """Return one segment around one frequency."""
        segment = Segment(frequency * (1.0 - span), frequency * (1.0 + span), points | 1)
        return SweepPlan((segment,), self.if_bandwidth, self.power_dbm)

    def instruction(self, turn: Turn, element: str) -> str:
        """Return a turn in words: which, which way, how far."""
        more = turn.change > 0.0
        travel = self.turns.get(element)
        by_turns = "" if travel is None else f", {abs(turn.part) * travel:.1f} turns {self.way(is_more=more)}"
        return (
            f"{turn.axis}: {abs(turn.change) * 1e12:.2f} pF {'more' if more else 'less'} "
            f"({turn.before * 1e12:.2f} to {turn.after * 1e12:.2f} pF, {abs(turn.part) * 100:.0f} % of its "
            f"travel{by_turns})"
        )

    def way(self, *, is_more: bool) -> str:
        """Return which way a turn goes that adds capacitance, or takes it away."""
        return "clockwise" if is_more == (self.clockwise == "more") else "counter-clockwise"


@dataclass(frozen=True, slots=True)
class HandResult:
    """What came of tuning by hand.

    Parameters
    ----------
    ports
        In the order of the plan.
    turns, sweeps
        Instructions carried out, and sweeps of the array (or of one port after another).
    silent
        Trimmers that did not answer.
    advice
        Fixed capacitors whose change makes unreachable ports reachable.
    """

    ports: tuple[PortOutcome, ...]
    turns: int
    sweeps: int
    silent: tuple[str, ...] = ()
    advice: tuple[Rework, ...] = ()

    @property
    def reached(self) -> bool:
        """Whether every port is below the limit."""
        return all(port.reached for port in self.ports)
