"""From the measured S-matrices of an array to a ranked list of what to do about its coupling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from coils.decoupling.counter_wound import predict_windings
from coils.decoupling.pairs import cost_pairs, snr_without_coupling
from coils.decoupling.preamplifier import advise_phase
from coils.decoupling.remedies import (
    TOLERATED_KQ,
    Neighbours,
    Relation,
    Remedy,
    RemedyKind,
    choose_remedy,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coils.decoupling.counter_wound import Winding, WindingOutcome
    from coils.decoupling.pairs import NucleusData, PairCost
    from coils.decoupling.preamplifier import PhaseAdvice


@dataclass(frozen=True, slots=True)
class PairAdvice:
    """One pair, what it costs and what to do.

    Parameters
    ----------
    channels
        From 1.
    neighbours
        How the loops lie.
    costs
        At each nucleus.
    remedy
        What fits.
    """

    channels: tuple[int, int]
    neighbours: Neighbours
    costs: tuple[PairCost, ...]
    remedy: Remedy

    @property
    def worst_snr_loss(self) -> float:
        """Largest part of SNR it costs either channel at any nucleus."""
        return max(cost.snr_loss for cost in self.costs)

    @property
    def worst_kq(self) -> float:
        """Largest |kQ| at any nucleus."""
        return max(abs(cost.kq) for cost in self.costs)

    def __str__(self) -> str:
        """Return one line."""
        numbers = ", ".join(
            f"{cost.nucleus} kQ {cost.kq:{'+' if cost.sign_known else ''}.2f} ({cost.s_db:.1f} dB, "
            f"SNR -{max(cost.snr_loss, 0.0) * 100.0:.1f} %)"
            for cost in self.costs
        )
        return f"{self.channels[0]}-{self.channels[1]} {self.neighbours}: {numbers}: {self.remedy.text}"


@dataclass(frozen=True, slots=True)
class ChannelPhase:
    """Preamplifier decoupling of one channel at one nucleus."""

    nucleus: str
    channel: int
    advice: PhaseAdvice


@dataclass(frozen=True, slots=True)
class ArrayAdvice:
    """What to do about an array's coupling, the costliest pair first.

    Parameters
    ----------
    pairs
        All pairs, ranked by the SNR they cost at their worse nucleus, then by kQ.
    phases
        Preamplifier decoupling where it was measured.
    snr_kept
        For each nucleus each channel's SNR over that without any mutual reactance; empty where unknown.
    wound
        For each nucleus the whole array with all proposed counter-wound inductors in place; empty where none
        are proposed.
    """

    pairs: tuple[PairAdvice, ...]
    phases: tuple[ChannelPhase, ...]
    snr_kept: tuple[tuple[str, tuple[float, ...]], ...]
    wound: tuple[tuple[str, WindingOutcome], ...] = ()

    @property
    def windings(self) -> tuple[Winding, ...]:
        """All counter-wound inductors proposed, as `coils.decoupling.counter_wound` predicts them."""
        return tuple(pair.remedy.winding for pair in self.pairs if pair.remedy.winding is not None)

    @property
    def to_do(self) -> tuple[PairAdvice, ...]:
        """Pairs that need something done, ranked."""
        return tuple(pair for pair in self.pairs if pair.remedy.kind is not RemedyKind.NOTHING)

    def lines(self) -> tuple[str, ...]:
        """Return the advice as text: pairs to treat, then phases to change, then what it is worth."""
        rows = [str(pair) for pair in self.to_do]
        rows += [
            f"preamplifier of channel {one.channel} at {one.nucleus}: {one.advice}"
            for one in self.phases
            if not one.advice.is_in_window
        ]
        rows += [
            f"{nucleus}: all windings together cost {lost * 100.0:.1f} % of the SNR in the worst channel"
            for nucleus, lost in ((name, 1.0 - one.snr_factor.min()) for name, one in self.wound)
        ]
        rows += [
            f"{nucleus}: mutual inductances leave {min(kept) * 100.0:.1f} % of the SNR in the worst channel"
            for nucleus, kept in self.snr_kept
        ]
        return tuple(rows) if rows else ("nothing to do",)


def advise(
    data: Sequence[NucleusData],
    relations: Sequence[Relation] = (),
    *,
    tolerated_kq: float = TOLERATED_KQ,
    velocity_factor: float = 0.66,
) -> ArrayAdvice:
    """Rank the pairs of an array by what they cost, and say what to do about each.

    Parameters
    ----------
    data
        What was measured at each nucleus; the same channels in the same order.
    relations
        How loops lie; pairs not named count as next-nearest.
    tolerated_kq
        |kQ| that needs no remedy; 0.2 is -20 dB between matched loops.
    velocity_factor
        Of the cables to the preamplifiers.

    Returns
    -------
    Remedies are for one pair at a time; do the first, then measure again: each move or network shifts its
    neighbours a little.

    Raises
    ------
    ValueError
        No data, or different numbers of channels.
    MeasurementError
        See `coils.decoupling.pairs.cost_pairs`.
    """
    counts = {len(one.ports) for one in data}
    if len(counts) != 1:
        raise ValueError(
            f"expected data of one array, the same channels at every nucleus; got {counts or 'none'}"
        )
    known = {tuple(sorted(relation.channels)): relation for relation in relations}
    phases = _phases(data, velocity_factor)
    pairs = []
    for costs in zip(*(cost_pairs(one) for one in data), strict=True):
        channels = costs[0].channels
        relation = known.get(channels, Relation(channels, Neighbours.APART))
        remedy = choose_remedy(costs, data, replace(relation, channels=channels), tolerated_kq=tolerated_kq)
        if remedy.kind is RemedyKind.WINDINGS:
            remedy = _phase_first(costs, phases, tolerated_kq) or remedy
        pairs.append(PairAdvice(channels, relation.kind, costs, remedy))
    pairs.sort(key=lambda pair: (-round(pair.worst_snr_loss, 4), -pair.worst_kq))
    kept = [(one.nucleus, snr_without_coupling(one)) for one in data]
    return ArrayAdvice(
        tuple(pairs),
        phases,
        tuple(
            (nucleus, tuple(float(part) for part in parts)) for nucleus, parts in kept if parts is not None
        ),
        _wind(data, pairs),
    )


def _wind(data: Sequence[NucleusData], pairs: Sequence[PairAdvice]) -> tuple[tuple[str, WindingOutcome], ...]:
    """Return the array at each nucleus with all proposed windings in place."""
    windings = [pair.remedy.winding for pair in pairs if pair.remedy.winding is not None]
    if not windings:
        return ()
    found = []
    for place, one in enumerate(data):
        matrix = np.diag(one.inductance)
        for pair in pairs:
            a, b = pair.channels[0] - 1, pair.channels[1] - 1
            matrix[a, b] = matrix[b, a] = pair.costs[place].mutual
        found.append((one.nucleus, predict_windings(matrix, windings, {one.frequency: one.resistance})[0]))
    return tuple(found)


def _phases(data: Sequence[NucleusData], velocity_factor: float) -> tuple[ChannelPhase, ...]:
    """Return the phase advice of all channels whose preamplifier and open-loop reflection were measured."""
    found = []
    for one in data:
        if one.preamplifier is None or one.open_loop is None:
            continue
        for channel, (seen, opened) in enumerate(zip(one.preamplifier, one.open_loop, strict=True)):
            own = complex(one.channels[channel, channel])
            advice = advise_phase(
                own,
                complex(opened),
                complex(seen),
                frequency=one.frequency,
                velocity_factor=velocity_factor,
            )
            found.append(ChannelPhase(one.nucleus, channel + 1, advice))
    return tuple(found)


def _phase_first(
    costs: tuple[PairCost, ...], phases: Sequence[ChannelPhase], tolerated_kq: float
) -> Remedy | None:
    """Return the advice to set preamplifier phases where that alone makes a distant pair tolerable.

    The current that a loop sends on is D dB less, so a receiving neighbour hears kQ/2 of it, D dB down: the
    smaller D of both loops counts.
    """
    texts, reached = [], []
    for cost in (cost for cost in costs if abs(cost.kq) > tolerated_kq):
        own = [one for one in phases if one.nucleus == cost.nucleus and one.channel in cost.channels]
        if len(own) < len(cost.channels):
            return None
        reached.append(
            min(one.advice.now_db if one.advice.is_in_window else one.advice.best_db for one in own)
        )
        if abs(cost.kq) * 10.0 ** (-reached[-1] / 20.0) > tolerated_kq:
            return None
        texts += [
            f"channel {one.channel} at {one.nucleus}: {one.advice}"
            for one in own
            if not one.advice.is_in_window
        ]
    if texts:
        return Remedy(RemedyKind.PHASE, "; ".join(texts))
    return Remedy(
        RemedyKind.NOTHING, f"leave it: the preamplifiers decouple by {min(reached):.0f} dB (in receive only)"
    )


__all__ = ["ArrayAdvice", "ChannelPhase", "PairAdvice", "advise"]
