"""What to do about an array's coupling: its S-matrix with the loops on, its reflections with them off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coilbench.base.events import Event
from coilbench.procedures.probing import bias_off_afterwards, set_bias
from coils.decoupling.advice import advise
from coils.decoupling.pairs import NucleusData, PairCost, cost_pairs
from drivers.protocols import Segment, SweepPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from coilbench.array_run import ArrayRun
    from coilbench.procedures.characterise import ArrayCharacter, NucleusCharacter
    from coilbench.procedures.decouple import DecouplingResult
    from coils.decoupling.remedies import Relation

#: Half width of a sweep that stands for one frequency, and its points.
_SPREAD: Final = 1e-4
_POINTS: Final = 3
#: H; stands in where nobody said: what a pair costs does not depend on it, element values do.
_SOME_INDUCTANCE: Final = 1e-7
#: Expanded over standard uncertainty.
_COVERAGE: Final = 2.0


@dataclass(frozen=True, slots=True)
class CouplingAdvice:
    """What coupling costs, and what to do.

    Parameters
    ----------
    costs
        Every pair at every nucleus, the costliest first.
    lines
        For a person.
    values
        As JSON values.
    """

    costs: tuple[PairCost, ...]
    lines: tuple[str, ...]
    values: dict[str, Any]


def coupling_advice(
    run: ArrayRun,
    character: ArrayCharacter,
    found: DecouplingResult,
    bias_current: float,
    inductances: Mapping[str, float],
    relations: Sequence[Relation],
    /,
) -> CouplingAdvice:
    """Sweep once more with all loops detuned, and rank the pairs by the SNR they cost.

    Parameters
    ----------
    character
        The array as it is.
    found
        What was measured of its decoupling.
    bias_current
        That detunes a channel, A.
    inductances
        Of each loop in H by nucleus; may be empty.
    relations
        How loops lie.

    Raises
    ------
    RunAborted, InstrumentError
        The sweep could not be made.
    """
    open_loop = _open_loops(run, character, bias_current)
    lines: list[str] = []
    data: list[NucleusData] = []
    costs: list[PairCost] = []
    for group in character.nuclei:
        try:
            one = _data(run, character, group, found, open_loop[group.nucleus], inductances)
            costs += cost_pairs(one)
            data.append(one)
        except MeasurementError as error:
            lines.append(f"{group.nucleus}: no advice on coupling: {error}")
    costs.sort(key=lambda cost: (-round(cost.snr_loss, 4), -abs(cost.kq)))
    if data and all(one.nucleus in inductances for one in data):
        try:
            lines += advise(data, relations).lines()
        except MeasurementError as error:
            lines.append(f"no advice on coupling: {error}")
    elif costs:
        worst = costs[0]
        lines.append(
            f"Costliest pair: channels {worst.channels[0]}-{worst.channels[1]} at {worst.nucleus}, "
            f"{worst.s_db:.1f} dB, kQ {worst.kq:.2f}, {100.0 * max(worst.snr_loss, 0.0):.1f} % of the SNR. "
            "With --inductance the remedies are named with their element values."
        )
    return CouplingAdvice(tuple(costs), tuple(lines), {"pairs": list(costs), "advice": lines})


def _open_loops(
    run: ArrayRun, character: ArrayCharacter, bias_current: float
) -> dict[str, NDArray[np.complex128]]:
    """Return each port's reflection with all loops detuned, by nucleus."""
    order = _order(character)
    sweep = run.file.sweep
    segments = tuple(
        Segment(group.frequency * (1.0 - _SPREAD), group.frequency * (1.0 + _SPREAD), _POINTS)
        for group in character.nuclei
    )
    channels = range(1, run.tuner.bias_channels + 1)
    with bias_off_afterwards(run.tuner, channels):
        set_bias(run.tuner, dict.fromkeys(channels, bias_current))
        run.analyzer.configure(SweepPlan(segments, sweep.if_bandwidth, sweep.sweep_power_dbm))
        network = run.analyzer.sweep(order, abort=run.abort)
    run.folder.emit(Event("decouple.open_loop", "every port read with all loops detuned"))
    found = {}
    for group in character.nuclei:
        at = int(np.argmin(np.abs(network.f - group.frequency)))
        places = [order.index(port) for port in group.ports]
        found[group.nucleus] = np.asarray(np.diagonal(network.s[at])[places], dtype=np.complex128)
    return found


def _data(
    run: ArrayRun,
    character: ArrayCharacter,
    group: NucleusCharacter,
    found: DecouplingResult,
    open_loop: NDArray[np.complex128],
    inductances: Mapping[str, float],
) -> NucleusData:
    """Return one nucleus as advice needs it.

    Raises
    ------
    MeasurementError
        A channel's Q is not known.
    """
    unknown = [str(channel) for channel, fit in enumerate(group.resonances, start=1) if fit is None]
    if unknown:
        raise MeasurementError(f"channels {', '.join(unknown)} are not one resonance; tune them first")
    network, order = character.network, _order(character)
    at = int(np.argmin(np.abs(network.f - group.frequency)))
    seen = {row.channel: row.reflection for row in found.preamplifiers if row.nucleus == group.nucleus}
    count = len(group.ports)
    return NucleusData(
        group.nucleus,
        group.frequency,
        np.asarray(network.s[at], dtype=np.complex128),
        tuple(order.index(port) + 1 for port in group.ports),
        np.array([fit.q_unloaded for fit in group.resonances if fit is not None]),
        np.full(count, inductances.get(group.nucleus, _SOME_INDUCTANCE)),
        open_loop,
        np.array([seen[channel] for channel in range(1, count + 1)]) if len(seen) == count else None,
        s_uncertainty=run.character_plan().uncertainty / _COVERAGE,
        noise_figure_db=run.file.array.preamplifier_noise_figure_db,
    )


def _order(character: ArrayCharacter) -> list[int]:
    return sorted(port for group in character.nuclei for port in group.ports)
