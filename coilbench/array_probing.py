"""Runs on an array that need hands: Q without and with the load, active detuning, decoupling."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from coilbench.array_geometry import with_travels
from coilbench.array_measurements import array_statement
from coilbench.array_plans import coil_limits
from coilbench.array_run import Statement, array_run, conclude
from coilbench.base.verdict import Judged, Verdict, judge
from coilbench.coil_record import expected_share
from coilbench.decoupling_advice import coupling_advice
from coilbench.procedures.characterise import characterise
from coilbench.procedures.decouple import DecouplePlan, measure_decoupling
from coilbench.procedures.detune import DetunePlan, measure_detuning
from coilbench.procedures.probing import ProbeReading
from coilbench.procedures.qfactor import QPlan, measure_q
from coilbench.procedures.switching import SwitchingPlan
from coilbench.procedures.tune import nucleus_ports
from coilbench.report import probing_sections as sections
from coilbench.report.array_sections import scattering_section
from coils.quality import NucleusRecord, Reading, judge_readings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from coilbench.array_run import ArrayRun
    from coilbench.base.events import EventSink
    from coilbench.base.operator import Ask
    from coilbench.outcome import Outcome
    from coilbench.procedures.tune import NucleusPorts
    from coils.decoupling.measures import Decibels
    from coils.decoupling.remedies import Relation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hands:
    """How a run is done that needs a person.

    Parameters
    ----------
    ask
        Told what to do; returns when it is done.
    probes
        The analyzer's ports of two probes; None: there are none.
    channels
        To measure, counted from 1; None: all.
    bias_current
        That detunes a channel, A.
    serial_number
        Of the coil, where it is another one than the bench file says.
    """

    ask: Ask
    probes: tuple[int, int] | None = None
    channels: tuple[int, ...] | None = None
    bias_current: float = 0.08
    serial_number: str | None = None


def measure_array_q(bench: Path, runs: Path, watcher: EventSink, hands: Hands, /) -> Outcome:
    """Measure every channel's Q with and without the load, and what share of the SNR that leaves.

    Raises
    ------
    CoilbenchError
        It could not be measured; outputs are off.
    """
    with array_run(bench, runs, "qfactor", watcher, serial_number=hands.serial_number) as run:
        groups = nucleus_ports(run.file)
        run.step("Characterise the array")
        character = characterise(run.analyzer, run.character_plan(), emit=run.folder.emit, abort=run.abort)
        run.step("Q with and without the phantom")
        plan = QPlan(
            groups,
            hands.probes,
            hands.channels,
            hands.bias_current,
            power_dbm=_power(run),
            if_bandwidth=300.0,
        )
        found = measure_q(run.analyzer, run.tuner, plan, ask=hands.ask, emit=run.folder.emit, abort=run.abort)
        base = array_statement(character, (), (), {})
        loadings = {group.nucleus: _by_channel(group, found.loadings(group.nucleus)) for group in groups}
        nuclei = tuple(
            replace(
                record,
                loadings=loadings[record.nucleus],
                share_of_ultimate=expected_share(run.file, record, loadings[record.nucleus]),
            )
            for record in base.nuclei
        )
        silent = [row for row in found.channels if row.loading is None]
        judged = (
            *base.judged,
            judge("channels without a statement on Q", len(silent), "", at_most=0),
            *(each for nucleus in nuclei for each in judge_readings(nucleus, coil_limits(run.file))),
        )
        shares = {record.nucleus: record.share_of_ultimate for record in nuclei}
        lines = (
            *(
                f"{nucleus}: the array has {sections.plus_minus(share)} of the ultimate SNR at the middle of "
                "the phantom, by its geometry, Q and S."
                for nucleus, share in shares.items()
                if share is not None
            ),
            *(f"Channel {row.channel}, {row.nucleus}: {row.refusal}." for row in silent),
        )
        shown = (sections.loading_section(found), scattering_section(character))
        values = {**base.values, "q_factors": found.data(), "share_of_ultimate_snr": shares}
        statement = Statement(nuclei, judged, lines, shown, values, network=character.network)
        return conclude(run, statement)


def measure_array_detuning(
    bench: Path, runs: Path, watcher: EventSink, hands: Hands, /, *, switching: bool = True
) -> Outcome:
    """Measure depth and speed of every channel's active detuning at every nucleus.

    Raises
    ------
    CoilbenchError
        It could not be measured; outputs are off.
    ValueError
        There are no probes.
    """
    if hands.probes is None:
        raise ValueError("active detuning is measured with two probes")
    with array_run(bench, runs, "detune", watcher, serial_number=hands.serial_number) as run:
        groups = nucleus_ports(run.file)
        run.step("Depth and speed of active detuning")
        plan = DetunePlan(
            groups,
            ProbeReading(hands.probes, power_dbm=_power(run)),
            hands.channels,
            hands.bias_current,
            switching=SwitchingPlan(power_dbm=_power(run)) if switching else None,
        )
        found = measure_detuning(
            run.transient_analyzer, run.tuner, plan, ask=hands.ask, emit=run.folder.emit, abort=run.abort
        )
        limit = run.file.limits.detuning_db
        nuclei, judged = [], []
        for group in groups:
            depths = found.depths(group.nucleus)
            nuclei.append(_record(group, detuning_db=_readings(group, depths)))
            judged.append(judge_depths(f"{group.nucleus} smallest detuning", group, depths, limit))
        lines = (
            *_depth_lines("detuned by", {group.nucleus: found.depths(group.nucleus) for group in groups}),
            *(
                f"Channel {channel}, {nucleus}: switching: {reason}."
                for (channel, nucleus), reason in found.refusals.items()
            ),
        )
        statement = Statement(
            tuple(nuclei),
            tuple(judged),
            lines,
            sections.detuning_sections(found, limit),
            {"detuning": found.data()},
        )
        return conclude(run, statement)


def measure_array_decoupling(
    bench: Path,
    runs: Path,
    watcher: EventSink,
    hands: Hands,
    /,
    *,
    inductances: Mapping[str, float] | None = None,
    relations: Sequence[Relation] = (),
) -> Outcome:
    """Measure what keeps the channels apart, and say what to do about the pairs that it does not.

    Parameters
    ----------
    inductances
        Of each loop in H by nucleus, a trap in it included; without them the advice names no element values.
    relations
        How loops lie; pairs not named count as next-nearest. By how much to move one follows from
        [array.geometry].

    Raises
    ------
    CoilbenchError
        It could not be measured; outputs are off.
    """
    with array_run(bench, runs, "decouple", watcher, serial_number=hands.serial_number) as run:
        groups = nucleus_ports(run.file)
        run.step("Characterise the array")
        character = characterise(run.analyzer, run.character_plan(), emit=run.folder.emit, abort=run.abort)
        run.step("Coupling" if hands.probes is None else "Coupling and preamplifier decoupling")
        probes = None if hands.probes is None else ProbeReading(hands.probes, power_dbm=_power(run))
        plan = DecouplePlan(
            groups,
            probes,
            channels=hands.channels,
            bias_current=hands.bias_current,
            if_bandwidth=run.file.sweep.if_bandwidth,
            power_dbm=run.file.sweep.sweep_power_dbm,
        )
        found = measure_decoupling(
            run.analyzer, run.tuner, plan, ask=hands.ask, emit=run.folder.emit, abort=run.abort
        )
        advice = coupling_advice(
            run,
            character,
            found,
            hands.bias_current,
            inductances or {},
            with_travels(run.file, relations),
        )
        base = array_statement(character, advice.lines, (), {})
        nuclei, judged = [], [*base.judged]
        for group, record in zip(groups, base.nuclei, strict=True):
            depths = found.decoupling(group.nucleus)
            if probes is None:
                nuclei.append(record)
                continue
            nuclei.append(replace(record, preamplifier_decoupling_db=_readings(group, depths)))
            name = f"{group.nucleus} smallest preamplifier decoupling"
            limit = run.file.limits.preamplifier_decoupling_db
            judged.append(judge_depths(name, group, depths, limit))
        shown = (
            sections.coupling_section(advice),
            *sections.preamplifier_sections(found, run.file.limits.preamplifier_decoupling_db),
            scattering_section(character),
        )
        values = {**base.values, "decoupling": found.data(), "coupling": advice.values}
        depths_by_nucleus = {group.nucleus: found.decoupling(group.nucleus) for group in groups}
        lines = (*_depth_lines("preamplifiers decouple by", depths_by_nucleus), *advice.lines)
        statement = Statement(tuple(nuclei), tuple(judged), lines, shown, values, network=character.network)
        return conclude(run, statement)


def judge_depths(
    name: str, group: NucleusPorts, depths: Mapping[int, Decibels], at_least: float, /
) -> Judged:
    """Judge the channel that is worst: the whole interval must lie on one side of the limit.

    A channel that was not measured leaves at best no verdict.
    """
    limit = f"≥ {at_least:g} dB"
    judged = [
        Judged(
            f"{name} (ch {channel})",
            depth.low_db if depth.is_bound else depth.value_db,
            "dB",
            None if depth.is_bound else max(depth.value_db - depth.low_db, depth.high_db - depth.value_db),
            limit,
            _depth_verdict(depth, at_least),
        )
        for channel, depth in sorted(depths.items())
    ]
    missing = [str(channel) for channel in range(1, len(group.ports) + 1) if channel not in depths]
    if missing and not any(each.verdict is Verdict.FAIL for each in judged):
        said = f"{name} (ch {', '.join(missing)} not measured)"
        return Judged(said, math.nan, "dB", None, limit, Verdict.INCONCLUSIVE)
    rank = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.MARGINAL: 2, Verdict.PASS: 3}
    return min(judged, key=lambda each: (rank[each.verdict], each.value))


def _depth_verdict(depth: Decibels, at_least: float) -> Verdict:
    if depth.low_db >= at_least:
        return Verdict.PASS
    return Verdict.FAIL if depth.high_db < at_least else Verdict.INCONCLUSIVE


def _depth_lines(words: str, by_nucleus: Mapping[str, Mapping[int, Decibels]]) -> tuple[str, ...]:
    """Say of each nucleus which channel has least and which most."""
    said = []
    for nucleus, depths in by_nucleus.items():
        ranked = sorted(depths.items(), key=lambda entry: entry[1].low_db)
        if ranked:
            (first, least), (last, most) = ranked[0], ranked[-1]
            more = f" to {most} (channel {last})" if len(ranked) > 1 else ""
            said.append(f"{nucleus}: {words} {least} (channel {first}){more}.")
    return tuple(said)


def _power(run: ArrayRun) -> float:
    """Return the most that probes may be fed with, dBm: they see little."""
    return min(0.0, run.file.limits.source_power_dbm)


def _record(group: NucleusPorts, **measured: Any) -> NucleusRecord:  # noqa: ANN401 - fields of NucleusRecord
    return NucleusRecord(group.nucleus, group.frequency, group.ports, **measured)


def _by_channel(group: NucleusPorts, found: Mapping[int, T]) -> tuple[T | None, ...]:
    return tuple(found.get(channel) for channel in range(1, len(group.ports) + 1))


def _readings(group: NucleusPorts, depths: Mapping[int, Decibels]) -> tuple[Reading | None, ...]:
    """Return what a record keeps: of a bound its known end, without an uncertainty."""
    found: list[Reading | None] = []
    for depth in _by_channel(group, depths):
        if depth is None:
            found.append(None)
        elif depth.is_bound:
            end = depth.low_db if math.isfinite(depth.low_db) else depth.high_db
            found.append(Reading(end) if math.isfinite(end) else None)
        else:
            spread = max(depth.value_db - depth.low_db, depth.high_db - depth.value_db)
            found.append(Reading(depth.value_db, spread))
    return tuple(found)
