"""ZNBT commands of a channel's sweep: frequencies, bandwidth, power, averages, correction file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hil_fixtures.instruments.scpi_syntax import ScpiError, number_text
from hil_fixtures.instruments.znbt_channel import (
    BANDWIDTHS,
    FREQUENCY_LIMITS,
    POINTS_LIMIT,
    POWER_LIMITS,
    nearest_bandwidth,
)
from hil_fixtures.instruments.znbt_system import on_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil_fixtures.instruments.rs_znbt import RsZnbt
    from hil_fixtures.instruments.scpi_syntax import Argument
    from hil_fixtures.instruments.scpi_tree import Action, Call, CommandTree
    from hil_fixtures.instruments.znbt_channel import Channel

_LOWEST, _HIGHEST = FREQUENCY_LIMITS


def add_commands(tree: CommandTree, analyzer: RsZnbt) -> None:
    """Enter the commands into the analyzer's tree."""
    _add_frequencies(tree, analyzer)
    _add_sweep(tree, analyzer)
    _add_receiver(tree, analyzer)
    _add_correction(tree, analyzer)


def frequency(argument: Argument) -> float:
    """Return a frequency within the analyzer's limits; Hz, resolution 1 Hz as without option K19."""
    return float(round(argument.number("Hz", minimum=_LOWEST, maximum=_HIGHEST)))


def bandwidth(argument: Argument) -> float:
    """Return the IF bandwidth that is set for the one asked for, Hz."""
    return nearest_bandwidth(
        argument.number("Hz", minimum=BANDWIDTHS[0], maximum=BANDWIDTHS[-1], default=1e4)
    )


def power(argument: Argument) -> float:
    """Return a source power in dBm."""
    return argument.number("dBm", minimum=POWER_LIMITS[0], maximum=POWER_LIMITS[1], default=-10.0)


def of_channel(analyzer: RsZnbt, read: Callable[[Channel], str]) -> Action:
    """Return a query of the channel in the first suffix."""
    return lambda call: read(analyzer.channel(call.suffixes[0]))


def axis_changed(analyzer: RsZnbt, channel: Channel) -> None:
    """Forget what was measured at other frequencies and sweep anew."""
    channel.forget_result()
    analyzer.restart(channel)


def _add_frequencies(tree: CommandTree, analyzer: RsZnbt) -> None:
    def set_start(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.start = frequency(call.argument())
        channel.stop = max(channel.stop, min(channel.start + 1.0, _HIGHEST))
        axis_changed(analyzer, channel)

    def set_stop(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.stop = frequency(call.argument())
        channel.start = min(channel.start, max(channel.stop - 1.0, _LOWEST))
        axis_changed(analyzer, channel)

    def set_centre(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        centre = frequency(call.argument())
        half = min(0.5 * (channel.stop - channel.start), centre - _LOWEST, _HIGHEST - centre)
        channel.start, channel.stop = centre - half, centre + half
        axis_changed(analyzer, channel)

    def set_span(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        centre = 0.5 * (channel.start + channel.stop)
        wanted = call.argument().number("Hz", minimum=0.0, maximum=_HIGHEST - _LOWEST)
        half = min(0.5 * wanted, centre - _LOWEST, _HIGHEST - centre)
        channel.start, channel.stop = centre - half, centre + half
        axis_changed(analyzer, channel)

    def spacing(channel: Channel) -> str:
        return number_text((channel.stop - channel.start) / max(channel.points - 1, 1))

    read = partial(of_channel, analyzer)
    tree.add(
        "[SENSe<Ch>:]FREQuency:STARt",
        command=set_start,
        query=read(lambda channel: number_text(channel.start)),
    )
    tree.add(
        "[SENSe<Ch>:]FREQuency:STOP", command=set_stop, query=read(lambda channel: number_text(channel.stop))
    )
    tree.add(
        "[SENSe<Ch>:]FREQuency:CENTer",
        command=set_centre,
        query=read(lambda channel: number_text(0.5 * (channel.start + channel.stop))),
    )
    tree.add(
        "[SENSe<Ch>:]FREQuency:SPAN",
        command=set_span,
        query=read(lambda channel: number_text(channel.stop - channel.start)),
    )
    tree.add("[SENSe<Ch>:]SWEep:STEP", query=read(spacing), query_arguments=0)

    def set_fixed(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.cw_frequency = frequency(call.argument())
        axis_changed(analyzer, channel)

    for word in ("CW", "FIXed"):
        tree.add(
            f"[SENSe<Ch>:]FREQuency:{word}",
            command=set_fixed,
            query=read(lambda channel: number_text(channel.cw_frequency)),
        )


def _add_sweep(tree: CommandTree, analyzer: RsZnbt) -> None:
    def set_points(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.points = call.argument().integer(minimum=1, maximum=POINTS_LIMIT, default=201)
        axis_changed(analyzer, channel)

    def set_type(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        kind = call.argument().choice("LINear", "LOGarithmic", "SEGMent", "CW")
        if kind == "SEGM" and sum(segment.points for segment in channel.segments_on()) < 2:
            raise ScpiError(-221, "at least 2 distinct frequency points are needed")
        channel.sweep_type = kind
        axis_changed(analyzer, channel)

    def set_count(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.sweep_count = call.argument().integer(minimum=1, maximum=32767, default=1)
        analyzer.restart(channel)

    def set_time(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.stop_time = call.argument().number("s", minimum=0.0, maximum=1e5)
        axis_changed(analyzer, channel)

    def linear_sweep_time(channel: Channel) -> str:
        if channel.sweep_type == "CW":
            return number_text(channel.time_span())
        # Also in a segmented sweep, where it means nothing: SEGMent:SWEep:TIME:SUM? is right there.
        return number_text(channel.points / channel.bandwidth * len(channel.driven_ports()))

    read = partial(of_channel, analyzer)
    tree.add("[SENSe<Ch>:]SWEep:POINts", command=set_points, query=read(lambda channel: str(channel.points)))
    tree.add("[SENSe<Ch>:]SWEep:TYPE", command=set_type, query=read(lambda channel: channel.sweep_type))
    tree.add(
        "[SENSe<Ch>:]SWEep:COUNt", command=set_count, query=read(lambda channel: str(channel.sweep_count))
    )
    # In time sweeps the stop time; in others this instrument takes the time it needs, whatever is set.
    tree.add("[SENSe<Ch>:]SWEep:TIME", command=set_time, query=read(linear_sweep_time), query_arguments=0)
    tree.add("[SENSe<Ch>:]SWEep:TIME:AUTO", query=read(lambda _channel: "1"), query_arguments=0)


def _add_receiver(tree: CommandTree, analyzer: RsZnbt) -> None:
    def set_bandwidth(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.bandwidth = bandwidth(call.argument())
        analyzer.restart(channel)

    def set_power(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.power = power(call.argument())
        analyzer.restart(channel)

    def set_averaging(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.is_averaging = call.argument().boolean()
        channel.restart_average()
        analyzer.restart(channel)

    def set_average_count(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.average_count = call.argument().integer(minimum=1, maximum=1000, default=10)
        channel.restart_average()
        analyzer.restart(channel)

    def set_average_mode(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.average_mode = call.argument().choice("AUTO", "FLATten", "REDuce", "MOVing")
        channel.restart_average()

    def clear_average(call: Call) -> None:
        analyzer.channel(call.suffixes[0]).restart_average()

    read = partial(of_channel, analyzer)
    for word in ("BANDwidth", "BWIDth"):
        tree.add(
            f"[SENSe<Ch>:]{word}[:RESolution]",
            command=set_bandwidth,
            query=read(lambda channel: number_text(channel.bandwidth)),
        )
    tree.add(
        "SOURce<Ch>:POWer<Pt>[:LEVel][:IMMediate][:AMPLitude]",
        command=set_power,
        query=read(lambda channel: number_text(channel.power)),
    )
    tree.add(
        "[SENSe<Ch>:]AVERage[:STATe]",
        command=set_averaging,
        query=read(lambda channel: on_off(channel.is_averaging)),
    )
    tree.add(
        "[SENSe<Ch>:]AVERage:COUNt",
        command=set_average_count,
        query=read(lambda channel: str(channel.average_count)),
    )
    tree.add(
        "[SENSe<Ch>:]AVERage:MODE", command=set_average_mode, query=read(lambda channel: channel.average_mode)
    )
    tree.add("[SENSe<Ch>:]AVERage:CLEar", command=clear_average, arguments=0)


def _add_correction(tree: CommandTree, analyzer: RsZnbt) -> None:
    def load(call: Call) -> None:
        channel = analyzer.channel(call.argument(0).integer(minimum=1, maximum=9999))
        name = call.argument(1).string()
        if name not in analyzer.calibrations:
            raise ScpiError(-256, name)
        channel.calibration = (name, analyzer.calibrations[name])
        analyzer.restart(channel)

    def loaded(call: Call) -> str:
        channel = analyzer.channel(call.argument(0).integer(minimum=1, maximum=9999))
        return f"'{channel.calibration[0] if channel.calibration else ''}'"

    def remove(call: Call) -> None:
        channel = analyzer.channel(call.argument(0).integer(minimum=1, maximum=9999))
        channel.calibration = None
        analyzer.restart(channel)

    tree.add(
        "[SENSe<Ch>:]CORRection[:STATe]",
        query=of_channel(analyzer, lambda channel: on_off(channel.calibration is not None)),
    )
    tree.add("MMEMory:LOAD:CORRection", command=load, query=loaded, arguments=2)
    tree.add("MMEMory:LOAD:CORRection:RESolve", command=remove)
