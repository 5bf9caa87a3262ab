"""ZNBT commands of the segment table of a segmented sweep (ZNB/ZNBT user manual, "Define Segments")."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hil_fixtures.instruments.scpi_syntax import ScpiError, number_text
from hil_fixtures.instruments.znbt_channel import POINTS_LIMIT, SweepSegment
from hil_fixtures.instruments.znbt_stimulus import axis_changed, bandwidth, frequency, of_channel, power
from hil_fixtures.instruments.znbt_system import on_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil_fixtures.instruments.rs_znbt import RsZnbt
    from hil_fixtures.instruments.scpi_syntax import Argument
    from hil_fixtures.instruments.scpi_tree import Action, Call, CommandTree
    from hil_fixtures.instruments.znbt_channel import Channel


def add_commands(tree: CommandTree, analyzer: RsZnbt) -> None:
    """Enter the commands into the analyzer's tree."""
    _add_list(tree, analyzer)
    _add_settings(tree, analyzer)
    _add_controls(tree, analyzer)


def _add_list(tree: CommandTree, analyzer: RsZnbt) -> None:
    def add(call: Call) -> None:
        channel, number = analyzer.channel(call.suffixes[0]), call.suffixes[1]
        if number != len(channel.segments) + 1:
            raise ScpiError(-114)
        last = max((segment.stop for segment in channel.segments), default=channel.start)
        stop = max(channel.stop, last + 1.0)
        channel.segments.append(SweepSegment(last, stop, 51, channel.bandwidth, channel.power))
        axis_changed(analyzer, channel)

    def insert(call: Call) -> None:
        # <start>, <stop>, <points>, <power>, <segment time or delay>, <unused>, <bandwidth>[, <LO>, <sel.>]
        channel, number = analyzer.channel(call.suffixes[0]), call.suffixes[1]
        if not 1 <= number <= len(channel.segments) + 1:
            raise ScpiError(-114)
        start, stop = frequency(call.argument(0)), frequency(call.argument(1))
        points = call.argument(2).integer(minimum=1, maximum=POINTS_LIMIT)
        if stop < start:
            raise ScpiError(-222)
        segment = SweepSegment(start, stop, points, bandwidth(call.argument(6)), power(call.argument(3)))
        channel.segments.insert(number - 1, segment)
        channel.has_segment_bandwidths = channel.has_segment_powers = True
        axis_changed(analyzer, channel)

    def delete(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.segment(call.suffixes[1])
        del channel.segments[call.suffixes[1] - 1]
        _leave_empty_list(channel)
        axis_changed(analyzer, channel)

    def delete_all(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.segments.clear()
        _leave_empty_list(channel)
        axis_changed(analyzer, channel)

    def total_time(channel: Channel) -> str:
        return number_text(channel.stimulus().duration if channel.sweep_type == "SEGM" else 0.0)

    read = partial(of_channel, analyzer)
    prefix = "[SENSe<Ch>:]SEGMent<Seg>:"
    tree.add(prefix + "ADD", command=add, arguments=0)
    tree.add(prefix + "INSert", command=insert, arguments=9)
    tree.add(prefix + "DELete", command=delete, arguments=0)
    tree.add(prefix + "DELete:ALL", command=delete_all, arguments=0)
    tree.add(prefix + "CLEar", command=delete_all, arguments=0)
    tree.add(prefix + "COUNt", query=read(lambda channel: str(len(channel.segments))), query_arguments=0)
    tree.add(prefix + "SWEep:TIME:SUM", query=read(total_time), query_arguments=0)


def _leave_empty_list(channel: Channel) -> None:
    """Fall back to a linear sweep when too few points are left for a segmented one."""
    if channel.sweep_type == "SEGM" and sum(segment.points for segment in channel.segments_on()) < 2:
        channel.sweep_type = "LIN"


def _set_start(_channel: Channel, segment: SweepSegment, argument: Argument) -> None:
    segment.start = frequency(argument)
    if segment.stop <= segment.start:
        segment.stop = segment.start + 1.0


def _set_stop(_channel: Channel, segment: SweepSegment, argument: Argument) -> None:
    segment.stop = frequency(argument)
    if segment.points == 1:
        segment.start = segment.stop
    elif segment.start >= segment.stop:
        segment.start = segment.stop - 1.0


def _set_points(_channel: Channel, segment: SweepSegment, argument: Argument) -> None:
    segment.points = argument.integer(minimum=1, maximum=POINTS_LIMIT)


def _set_bandwidth(channel: Channel, segment: SweepSegment, argument: Argument) -> None:
    segment.bandwidth = bandwidth(argument)
    channel.has_segment_bandwidths = True


def _set_power(channel: Channel, segment: SweepSegment, argument: Argument) -> None:
    segment.power = power(argument)
    channel.has_segment_powers = True


def _set_state(_channel: Channel, segment: SweepSegment, argument: Argument) -> None:
    segment.is_on = argument.boolean()


def _add_settings(tree: CommandTree, analyzer: RsZnbt) -> None:
    def setting(change: Callable[[Channel, SweepSegment, Argument], None]) -> Action:
        def act(call: Call) -> None:
            channel = analyzer.channel(call.suffixes[0])
            change(channel, channel.segment(call.suffixes[1]), call.argument())
            _leave_empty_list(channel)
            axis_changed(analyzer, channel)

        return act

    def reading(read: Callable[[SweepSegment], str]) -> Action:
        return lambda call: read(analyzer.channel(call.suffixes[0]).segment(call.suffixes[1]))

    prefix = "[SENSe<Ch>:]SEGMent<Seg>"
    for name, change, read in (
        (":FREQuency:STARt", _set_start, lambda segment: number_text(segment.start)),
        (":FREQuency:STOP", _set_stop, lambda segment: number_text(segment.stop)),
        (":SWEep:POINts", _set_points, lambda segment: str(segment.points)),
        (":BWIDth[:RESolution]", _set_bandwidth, lambda segment: number_text(segment.bandwidth)),
        (":POWer[:LEVel]", _set_power, lambda segment: number_text(segment.power)),
        ("[:STATe]", _set_state, lambda segment: on_off(segment.is_on)),
    ):
        tree.add(prefix + name, command=setting(change), query=reading(read))


def _add_controls(tree: CommandTree, analyzer: RsZnbt) -> None:
    def control_bandwidths(call: Call) -> None:
        analyzer.channel(call.suffixes[0]).has_segment_bandwidths = call.argument().boolean()

    def control_powers(call: Call) -> None:
        analyzer.channel(call.suffixes[0]).has_segment_powers = call.argument().boolean()

    prefix = "[SENSe<Ch>:]SEGMent<Seg>"
    tree.add(
        prefix + ":BWIDth[:RESolution]:CONTrol",
        command=control_bandwidths,
        query=of_channel(analyzer, lambda channel: on_off(channel.has_segment_bandwidths)),
    )
    tree.add(
        prefix + ":POWer[:LEVel]:CONTrol",
        command=control_powers,
        query=of_channel(analyzer, lambda channel: on_off(channel.has_segment_powers)),
    )
