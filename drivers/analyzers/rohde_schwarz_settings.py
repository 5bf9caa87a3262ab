"""A sweep plan as R&S commands, and back: one segment as a linear sweep, several as a segmented one.

R&S ZNB/ZNBT User Manual 1173.9163.02, SENSe:SEGMent, SENSe:SWEep, SENSe:AVERage, SOURce:POWer; segments are
made in the order of R&S's own example RsInstrument_ZNB_Segmented_Sweep.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coilbench.base.errors import InstrumentFault
from drivers.protocols import Segment, SweepPlan

if TYPE_CHECKING:
    from drivers.scpi import ScpiSession


def settings(plan: SweepPlan) -> list[str]:
    """Return the commands that set ``plan`` in channel 1."""
    return [
        # the segments of a running segmented sweep cannot all be deleted
        "SENS1:SWE:TYPE LIN",
        f"SENS1:BAND {plan.if_bandwidth:.12g}",
        f"SOUR1:POW {plan.power_dbm:.12g}",
        *(_linear(plan.segments[0]) if len(plan.segments) == 1 else _segmented(plan)),
        f"SENS1:AVER:COUN {plan.averages}",
        f"SENS1:AVER {'ON' if plan.averages > 1 else 'OFF'}",
        f"SENS1:SWE:COUN {plan.averages}",
    ]


def read_back(session: ScpiSession, plan: SweepPlan) -> SweepPlan:
    """Return what was really set of ``plan``.

    Returns
    -------
    The plan with the narrowest bandwidth and the highest power of all segments.

    Raises
    ------
    InstrumentFault
        There are not as many segments as were set.
    """
    averages = session.query_integer("SENS1:SWE:COUN?")
    if len(plan.segments) == 1:
        return SweepPlan(
            (_segment(session, "SENS1"),),
            session.query_number("SENS1:BAND?"),
            session.query_number("SOUR1:POW?"),
            averages,
        )
    count = session.query_integer("SENS1:SEGM:COUN?")
    if count != len(plan.segments):
        raise InstrumentFault(
            session.name, f"{len(plan.segments)} segments were set, {count} are there", "SENS1:SEGM:COUN?"
        )
    prefixes = [f"SENS1:SEGM{number}" for number in range(1, count + 1)]
    return SweepPlan(
        tuple(_segment(session, prefix) for prefix in prefixes),
        min(session.query_number(f"{prefix}:BWID?") for prefix in prefixes),
        max(session.query_number(f"{prefix}:POW?") for prefix in prefixes),
        averages,
    )


def _segment(session: ScpiSession, prefix: str) -> Segment:
    return Segment(
        session.query_number(f"{prefix}:FREQ:STAR?"),
        session.query_number(f"{prefix}:FREQ:STOP?"),
        session.query_integer(f"{prefix}:SWE:POIN?"),
    )


def _linear(segment: Segment) -> list[str]:
    return [
        f"SENS1:FREQ:STAR {segment.start:.12g}",
        f"SENS1:FREQ:STOP {segment.stop:.12g}",
        f"SENS1:SWE:POIN {segment.points}",
    ]


def _segmented(plan: SweepPlan) -> list[str]:
    commands = ["SENS1:SEGM:DEL:ALL"]
    for number, segment in enumerate(plan.segments, start=1):
        prefix = f"SENS1:SEGM{number}"
        commands += [
            f"{prefix}:ADD",
            f"{prefix}:FREQ:STAR {segment.start:.12g}",
            f"{prefix}:FREQ:STOP {segment.stop:.12g}",
            f"{prefix}:SWE:POIN {segment.points}",
            f"{prefix}:BWID {plan.if_bandwidth:.12g}",
            f"{prefix}:POW {plan.power_dbm:.12g}",
        ]
    return [*commands, "SENS1:SWE:TYPE SEGM"]
