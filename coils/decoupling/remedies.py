"""Which remedy fits a pair of loops, from how they lie and what couples them at each nucleus."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.decoupling.counter_wound import wind_for
from coils.decoupling.overlap import advise_move
from coils.decoupling.shared_conductor import (
    INDUCTOR_Q,
    Pair,
    predict_pair,
    shared_capacitor,
    shared_dual_network,
    shared_inductor,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from coils.decoupling.counter_wound import Winding
    from coils.decoupling.overlap import Move, Travel
    from coils.decoupling.pairs import NucleusData, PairCost
    from coils.decoupling.shared_conductor import PairOutcome, SharedNetwork

#: |kQ| at which two matched loops transmit -20 dB: x = kQ/2 = 0.1.
TOLERATED_KQ: Final = 0.2
#: Coupling of the windings that a counter-wound pair is proposed with.
_WINDING_COUPLING: Final = 0.5
#: Standard uncertainties by which mutual inductances at two frequencies must differ to count as different.
_DIFFERENT: Final = 3.0
#: Part of the larger one by which they may differ besides: Q and L of real loops are not known better.
_SAME: Final = 0.15


class Neighbours(StrEnum):
    """How two loops lie, and so what can be done about their coupling."""

    OVERLAP = "overlapped"
    GAP = "side by side"
    SHARED = "sharing a conductor"
    APART = "next-nearest"


class RemedyKind(StrEnum):
    """What to do."""

    NOTHING = "nothing"
    MOVE = "move"
    NETWORK = "network"
    WINDINGS = "counter-wound inductors"
    PHASE = "preamplifier phase"
    INSPECT = "look for another path"


@dataclass(frozen=True, slots=True)
class Relation:
    """How two channels' loops lie.

    Parameters
    ----------
    channels
        From 1, the lower first.
    kind
        See `Neighbours`; pairs without a relation count as next-nearest.
    travel
        Coupling over the way one of them can be moved; None: only the direction is advised.
    inductance
        Of both loops without traps in H, as the travel's k counts them; None: those of the nucleus' data.
    """

    channels: tuple[int, int]
    kind: Neighbours
    travel: Travel | None = None
    inductance: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do about a pair.

    Parameters
    ----------
    kind
        Which remedy.
    text
        One or two sentences for the bench.
    moves
        For a move: one, or two where the sign of k is not known.
    network
        For a network.
    outcomes
        For a network: what it does at each nucleus.
    winding
        For counter-wound inductors.
    """

    kind: RemedyKind
    text: str
    moves: tuple[Move, ...] = ()
    network: SharedNetwork | None = None
    outcomes: tuple[PairOutcome, ...] = ()
    winding: Winding | None = None


def choose_remedy(
    costs: Sequence[PairCost], data: Sequence[NucleusData], relation: Relation, *, tolerated_kq: float
) -> Remedy:
    """Choose the remedy for one pair.

    Parameters
    ----------
    costs
        The pair at each nucleus.
    data
        What was measured at each nucleus, same order.
    relation
        How the loops lie.
    tolerated_kq
        |kQ| that needs no remedy.
    """
    if all(abs(cost.kq) <= tolerated_kq for cost in costs):
        return Remedy(RemedyKind.NOTHING, _small(costs, tolerated_kq))
    signed = any(cost.sign_known for cost in costs)
    if any(cost.other_kq is not None for cost in costs):
        return Remedy(
            RemedyKind.INSPECT,
            "|S21| fits a weak and a strong coupling: measure the ports with their loops open, or look "
            "whether the resonance is split",
        )
    mutual, spread = _common_mutual(costs)
    if mutual is None:
        return _contradiction(costs, data, relation)
    if relation.kind is Neighbours.SHARED:
        return _network(mutual, costs, data, signed=signed, tolerated_kq=tolerated_kq)
    if relation.kind is not Neighbours.APART:
        moved = _move(mutual, spread, data[0], relation, signed=signed)
        if moved is not None:
            return moved
    return _windings(mutual, relation.channels, data, signed=signed)


def _small(costs: Sequence[PairCost], tolerated_kq: float) -> str:
    shared = [cost for cost in costs if abs(cost.common_resistance) > tolerated_kq]
    if not shared:
        return "leave it"
    parts = ", ".join(f"{abs(cost.common_resistance):.2f} at {cost.nucleus}" for cost in shared)
    return (
        f"leave it: what is left is common resistance of the sample ({parts}), which nothing lossless removes"
    )


def _common_mutual(costs: Sequence[PairCost]) -> tuple[float | None, float]:
    """Return the weighted mean of the mutual inductances and its uncertainty; None where they contradict.

    A sign that is known at one nucleus is taken for the others, where it is not.
    """
    signs = [math.copysign(1.0, cost.mutual) for cost in costs if cost.sign_known]
    values = np.array(
        [
            cost.mutual if cost.sign_known else abs(cost.mutual) * (signs[0] if signs else 1.0)
            for cost in costs
        ]
    )
    spreads = np.array([max(cost.mutual_uncertainty, 1e-15) for cost in costs])
    weights = 1.0 / spreads**2
    mean = float(np.sum(weights * values) / np.sum(weights))
    allowed = np.hypot(_DIFFERENT * spreads, _SAME * np.max(np.abs(values)))
    if np.any(np.abs(values - mean) > allowed):
        return None, math.nan
    return mean, float(1.0 / np.sqrt(np.sum(weights)))


def _contradiction(costs: Sequence[PairCost], data: Sequence[NucleusData], relation: Relation) -> Remedy:
    """Return what to look for, and the move for the nucleus that loses most, where the nuclei disagree.

    A saline head adds 0.2 nH to overlapped neighbours at 1H and 3 T, a tenth of that at 23Na: what can be
    moved away is then right for one nucleus.
    """
    values = ", ".join(f"{cost.mutual * 1e9:+.2f} nH at {cost.nucleus}" for cost in costs)
    text = (
        f"not one mutual inductance ({values}): the sample adds to it at the higher frequency, and so do "
        "cables' shields, traps and leads"
    )
    worst = max(range(len(costs)), key=lambda place: abs(costs[place].kq))
    cost = costs[worst]
    moved = None
    if relation.kind in {Neighbours.OVERLAP, Neighbours.GAP} and relation.travel is not None:
        spread = max(cost.mutual_uncertainty, 1e-15)
        moved = _move(cost.mutual, spread, data[worst], relation, signed=cost.sign_known)
    if moved is None:
        return Remedy(RemedyKind.INSPECT, f"{text}; look for these before anything is moved")
    return replace(moved, text=f"{text}; for {cost.nucleus} {moved.text}")


def _move(
    mutual: float, spread: float, data: NucleusData, relation: Relation, *, signed: bool
) -> Remedy | None:
    """Return the advice to move, or None where the travel does not reach."""
    first, second = relation.channels
    own = relation.inductance or (float(data.inductance[first - 1]), float(data.inductance[second - 1]))
    scale = math.sqrt(own[0] * own[1])
    if relation.travel is None:
        way = ("move apart" if mutual > 0.0 else "move closer") if signed else "sign unknown: try both ways"
        return Remedy(
            RemedyKind.MOVE,
            f"k = {mutual / scale:+.4f}, {way}; with their shapes it could be said by how much",
        )
    try:
        moves = advise_move(relation.travel, mutual / scale, uncertainty=spread / scale, sign_known=signed)
    except MeasurementError:
        return None
    text = " or ".join(str(move) for move in moves)
    if len(moves) > 1:
        text += "; make a quarter of the first and see whether the coupling falls"
    return Remedy(RemedyKind.MOVE, text, moves=moves)


def _network(
    mutual: float,
    costs: Sequence[PairCost],
    data: Sequence[NucleusData],
    *,
    signed: bool,
    tolerated_kq: float,
) -> Remedy:
    """Return the elements for the shared conductor, and what they do at every nucleus."""
    wrong = [cost for cost in costs if abs(cost.kq) > tolerated_kq]
    # Side by side M is negative; where the sign is not known that is what sharing a conductor means.
    value = mutual if signed else -abs(mutual)
    frequencies = sorted(cost.frequency for cost in costs)
    candidates = [shared_inductor(value)] if value > 0.0 else [shared_capacitor(value, wrong[0].frequency)]
    if value < 0.0 and len(frequencies) > 1:
        candidates.append(shared_dual_network(value, frequencies[0], frequencies[-1]))
    pairs = [_pair(value, cost, one) for cost, one in zip(costs, data, strict=True)]
    predicted = [(network, tuple(predict_pair(network, pair) for pair in pairs)) for network in candidates]
    # the first that is good at every nucleus, else the last
    network, outcomes = next(
        (one for one in predicted if all(abs(outcome.kq_after) <= tolerated_kq for outcome in one[1])),
        predicted[-1],
    )
    after = "; ".join(
        f"kQ {outcome.kq_before:+.2f} to {outcome.kq_after:+.2f} at {cost.nucleus} for "
        f"{(1.0 - min(outcome.snr_factor)) * 100.0:.1f} % of SNR"
        for outcome, cost in zip(outcomes, costs, strict=True)
    )
    return Remedy(RemedyKind.NETWORK, f"shared {network} ({after})", network=network, outcomes=outcomes)


def _pair(mutual: float, cost: PairCost, data: NucleusData) -> Pair:
    a, b = cost.channels[0] - 1, cost.channels[1] - 1
    resistance = data.resistance
    common = 0.0 if math.isnan(cost.common_resistance) else cost.common_resistance
    return Pair(
        data.frequency,
        (float(data.inductance[a]), float(data.inductance[b])),
        (float(resistance[a]), float(resistance[b])),
        mutual,
        common * math.sqrt(float(resistance[a] * resistance[b])),
    )


def _windings(
    mutual: float, channels: tuple[int, int], data: Sequence[NucleusData], *, signed: bool
) -> Remedy:
    """Return counter-wound inductors for the pair."""
    first, second = channels
    matrix = _pair_matrix(data[0].inductance, first, second, mutual)
    (winding,) = wind_for(matrix, ((first, second),), coupling=_WINDING_COUPLING)
    losses = []
    for one in data:
        least = min(float(one.resistance[first - 1]), float(one.resistance[second - 1]))
        added = 2.0 * math.pi * one.frequency * winding.inductance / INDUCTOR_Q
        losses.append(f"{(1.0 - math.sqrt(least / (least + added))) * 100.0:.1f} % of SNR at {one.nucleus}")
    text = f"{winding} (for {', '.join(losses)})"
    if not signed:
        text += "; where coupling rises, reverse one"
    return Remedy(RemedyKind.WINDINGS, text, winding=winding)


def _pair_matrix(
    inductance: NDArray[np.float64], first: int, second: int, mutual: float
) -> NDArray[np.float64]:
    matrix = np.diag(inductance)
    matrix[first - 1, second - 1] = matrix[second - 1, first - 1] = mutual
    return np.asarray(matrix, dtype=np.float64)
