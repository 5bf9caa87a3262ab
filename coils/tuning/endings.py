"""How tuning by design ends: at the best place seen, with every port above the limit explained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from coils.quality import decibels
from coils.tuning.design_state import DesignTuning, Finished, Purpose, amplitude
from coils.tuning.local_state import Move, Unreached
from coils.tuning.suspects import Suspect, named_suspects, strange_channels

if TYPE_CHECKING:
    from coils.tuning.advice import Rework


def finished(state: DesignTuning, reworks: tuple[Rework, ...]) -> tuple[DesignTuning, Finished]:
    """End here or, when it is better, where the best sweep was taken."""
    worse = state.ranked(state.reflections) > state.ranked(state.best_reflections)
    restore = None
    if worse:
        back = state.best_positions != state.positions
        down = back & (state.best_positions < state.positions)
        restore = Move(
            state.named(state.best_positions - state.goal.play, down), state.named(state.best_positions, back)
        )
    # who stood still once and was not needed again
    doubtful = state.accused & ~state.stuck
    text = "seems to have stood still when it was sent"
    suspects = state.suspects + named_suspects(state.design.axes, doubtful, "stuck", text)
    suspects = tuple(_hedged(state, suspect) for suspect in suspects)
    state = replace(state, purpose=Purpose.STOPPED, suspects=suspects)
    return state, Finished(_unreached(state, reworks), reworks, suspects, restore)


def _hedged(state: DesignTuning, suspect: Suspect) -> Suspect:
    """Say so when the model does not explain a suspect's channel: the culprit may be one of its fellows."""
    for axes, strange in zip(state.design.axes, strange_channels(state.known), strict=True):
        if strange and suspect.axis in axes:
            others = ", ".join(axis for axis in axes if axis != suspect.axis)
            return replace(suspect, text=f"{suspect.text}, or it is one of {others}")
    return suspect


def _unreached(state: DesignTuning, reworks: tuple[Rework, ...]) -> tuple[Unreached, ...]:
    """Name the ports above the limit with what keeps them there."""
    sizes = np.abs(state.reflections)
    if state.ranked(state.best_reflections) < state.ranked(state.reflections):
        sizes = np.abs(state.best_reflections)
    found = []
    for arm in state.design.arms:
        for channel, port in enumerate(arm.ports):
            if sizes[port] < amplitude(state.goal.limit_db):
                continue
            axes = set(state.design.axes[channel])
            reasons = [f"{item.axis} {item.text}" for item in state.suspects if item.axis in axes]
            reasons += [f"unreachable: {item}" for item in reworks if item.part in axes]
            if not reasons and reworks:
                reasons = ["unreachable while the neighbours are: " + ", ".join(r.part for r in reworks)]
            text = "; ".join(reasons) or f"no progress in {state.sweeps} sweeps"
            found.append(Unreached(int(port) + 1, decibels(float(sizes[port])), text))
    return tuple(found)
