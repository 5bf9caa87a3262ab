"""ZNBT commands of traces and data: definition, selection, S-parameter group, values and stimulus axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hil_fixtures.instruments.faults import NOT_A_NUMBER
from hil_fixtures.instruments.scpi_syntax import ScpiError, block
from hil_fixtures.instruments.znbt_channel import parse_s_parameter, s_parameter_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from hil_fixtures.instruments.rs_znbt import RsZnbt
    from hil_fixtures.instruments.scpi_tree import Answer, Call, CommandTree
    from hil_fixtures.instruments.znbt_channel import Channel, SParameter

#: Trace formats with two values per point.
_COMPLEX_FORMATS: Final = ("POL", "SMIT")

_FORMATS: Final = ("MLOGarithmic", "MLINear", "PHASe", "REAL", "IMAGinary", "POLar", "SMITh")


def add_commands(tree: CommandTree, analyzer: RsZnbt) -> None:
    """Enter the commands into the analyzer's tree."""
    _add_traces(tree, analyzer)
    _add_trace_deletion(tree, analyzer)
    _add_trace_catalogs(tree, analyzer)
    _add_group(tree, analyzer)
    _add_data(tree, analyzer)


def encode(values: NDArray[np.float64], analyzer: RsZnbt) -> Answer:
    """Return numbers in the data format and byte order that are set."""
    filled = np.where(np.isnan(values), NOT_A_NUMBER, values)
    if analyzer.data_format == "ASC":
        return ",".join(f"{value:.14E}" for value in filled)
    width = 4 if analyzer.data_format == "REAL,32" else 8
    order = "<" if analyzer.is_little_endian else ">"
    return block(filled.astype(f"{order}f{width}").tobytes())


def pairs(values: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return complex numbers as real, imaginary, real, ... (SDATa)."""
    return np.stack((values.real, values.imag), axis=-1).ravel()


def formatted(values: NDArray[np.complex128], trace_format: str) -> NDArray[np.float64]:
    """Return a trace as it is displayed (FDATa): one value per point, or two in polar diagrams."""
    if trace_format in _COMPLEX_FORMATS:
        return pairs(values)
    if trace_format == "MLOG":
        with np.errstate(divide="ignore"):
            return np.asarray(20.0 * np.log10(np.abs(values)))
    if trace_format == "PHAS":
        return np.degrees(np.angle(values))
    if trace_format == "MLIN":
        return np.abs(values)
    return np.asarray(values.real if trace_format == "REAL" else values.imag)


def _catalog(names: Iterable[str]) -> str:
    return f"'{','.join(names)}'"


def _add_traces(tree: CommandTree, analyzer: RsZnbt) -> None:
    def define(call: Call) -> None:
        name, parameter = call.argument(0).string(), call.argument(1).string()
        measured = parse_s_parameter(parameter, analyzer.port_count)
        channel = analyzer.ensured_channel(call.suffixes[0])
        channel.add_trace(name, measured)
        analyzer.restart(channel)

    def measure(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.trace(call.argument(0).string())
        define(call)

    def measured(call: Call) -> str:
        channel = analyzer.channel(call.suffixes[0])
        return f"'{s_parameter_name(channel.trace(call.argument().string()))}'"

    def select(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        name = call.argument().string()
        channel.trace(name)
        channel.active_trace = name

    def selected(call: Call) -> str:
        return f"'{analyzer.channel(call.suffixes[0]).active_trace or ''}'"

    tree.add("CALCulate<Ch>:PARameter:SDEFine", command=define, arguments=2)
    tree.add("CALCulate<Ch>:PARameter:MEASure", command=measure, query=measured, arguments=2)
    tree.add("CALCulate<Ch>:PARameter:SELect", command=select, query=selected)


def _add_trace_deletion(tree: CommandTree, analyzer: RsZnbt) -> None:
    def delete(call: Call) -> None:
        analyzer.channel(call.suffixes[0]).delete_trace(call.argument().string())

    def delete_channel_traces(call: Call) -> None:
        analyzer.channel(call.suffixes[0]).delete_all_traces()

    def delete_all_traces(_call: Call) -> None:
        for channel in analyzer.channels.values():
            channel.delete_all_traces()

    tree.add("CALCulate<Ch>:PARameter:DELete", command=delete)
    tree.add("CALCulate<Ch>:PARameter:DELete:CALL", command=delete_channel_traces, arguments=0)
    tree.add("CALCulate<Ch>:PARameter:DELete:ALL", command=delete_all_traces, arguments=0)


def _add_trace_catalogs(tree: CommandTree, analyzer: RsZnbt) -> None:
    def channel_catalog(call: Call) -> str:
        channel = analyzer.channel(call.suffixes[0])
        return _catalog(f"{name},{s_parameter_name(pair)}" for name, pair in channel.traces.items())

    def all_names() -> list[str]:
        return [name for channel in analyzer.channels.values() for name in channel.traces]

    def instrument_catalog(_call: Call) -> str:
        return _catalog(f"{number},{name}" for number, name in enumerate(all_names(), start=1))

    def owner(call: Call) -> str:
        return str(_owner(analyzer, call.argument().string()).number)

    def show(call: Call) -> None:
        _owner(analyzer, call.argument().string())

    def set_format(call: Call) -> None:
        channel = analyzer.channel(call.suffixes[0])
        channel.formats[_active(channel)] = call.argument().choice(*_FORMATS)

    def read_format(call: Call) -> str:
        channel = analyzer.channel(call.suffixes[0])
        return channel.formats[_active(channel)]

    tree.add("CALCulate<Ch>:PARameter:CATalog", query=channel_catalog, query_arguments=0)
    tree.add("CONFigure:TRACe<Trc>:CATalog", query=instrument_catalog, query_arguments=0)
    tree.add("CONFigure:TRACe<Trc>:CHANnel:NAME:ID", query=owner)
    tree.add("DISPlay[:WINDow<Wnd>]:TRACe<WndTr>:EFEed", command=show)
    tree.add("CALCulate<Ch>:FORMat", command=set_format, query=read_format)


def _owner(analyzer: RsZnbt, name: str) -> Channel:
    """Return the channel of a trace.

    Raises
    ------
    ScpiError
        There is no such trace (-224).
    """
    for channel in analyzer.channels.values():
        if name in channel.traces:
            return channel
    raise ScpiError(-224, name)


def _active(channel: Channel) -> str:
    if channel.active_trace is None:
        raise ScpiError(-200, "no trace is active")
    return channel.active_trace


def _add_group(tree: CommandTree, analyzer: RsZnbt) -> None:
    def define(call: Call) -> None:
        call.argument()
        ports = tuple(argument.integer(minimum=1, maximum=analyzer.port_count) for argument in call.arguments)
        if list(ports) != sorted(set(ports)):
            raise ScpiError(-224, "ports in ascending order")
        channel = analyzer.ensured_channel(call.suffixes[0])
        channel.define_group(ports)
        analyzer.restart(channel)

    def ports(call: Call) -> str:
        return ",".join(map(str, analyzer.channel(call.suffixes[0]).group)) or "NONE"

    def delete(call: Call) -> None:
        analyzer.channel(call.suffixes[0]).define_group(())

    def all_ports(_call: Call) -> str:
        return ",".join(str(port) for port in range(1, analyzer.port_count + 1))

    tree.add(
        "CALCulate<Ch>:PARameter:DEFine:SGRoup",
        command=define,
        query=ports,
        arguments=analyzer.port_count,
    )
    tree.add("CALCulate<Ch>:PARameter:DELete:SGRoup", command=delete, arguments=0)
    # Each test port is a logical port of its own, all in one group.
    tree.add("SOURce<Ch>:GROup<Grp>:COUNt", query=lambda _call: "1", query_arguments=0)
    tree.add("SOURce<Ch>:GROup<Grp>:PORTs", query=all_ports, query_arguments=0)
    tree.add("SOURce<Ch>:GROup<Grp>:PORT", query=all_ports, query_arguments=0)
    tree.add("SOURce<Ch>:LPORt<LogPt>", query=lambda call: str(call.suffixes[1]), query_arguments=0)


def _matrix(analyzer: RsZnbt, channel: Channel, parameters: list[SParameter]) -> Answer:
    """Return several S-parameters one after another."""
    if not parameters:
        raise ScpiError(-200, "nothing is measured")
    return encode(pairs(np.concatenate([channel.values(pair) for pair in parameters])), analyzer)


def _trace_data(analyzer: RsZnbt, channel: Channel, name: str, kind: str) -> Answer:
    values = channel.values(channel.trace(name))
    return encode(pairs(values) if kind == "SDAT" else formatted(values, channel.formats[name]), analyzer)


def _add_data(tree: CommandTree, analyzer: RsZnbt) -> None:
    async def active_data(call: Call) -> Answer:
        kind = call.argument().choice("SDATa", "FDATa")
        channel = await analyzer.refreshed(call.suffixes[0])
        return _trace_data(analyzer, channel, _active(channel), kind)

    async def named_data(call: Call) -> Answer:
        name, kind = call.argument(0).string(), call.argument(1).choice("SDATa", "FDATa")
        channel = await analyzer.refreshed(_owner(analyzer, name).number)
        return _trace_data(analyzer, channel, name, kind)

    async def group_data(call: Call) -> Answer:
        call.argument().choice("SDATa")
        channel = await analyzer.refreshed(call.suffixes[0])
        return _matrix(analyzer, channel, channel.group_parameters())

    async def all_data(call: Call) -> Answer:
        call.argument().choice("SDATa")
        channel = await analyzer.refreshed(call.suffixes[0])
        return _matrix(analyzer, channel, channel.available_parameters())

    def all_catalog(call: Call) -> str:
        return _catalog(map(s_parameter_name, analyzer.channel(call.suffixes[0]).available_parameters()))

    def axis(call: Call) -> Answer:
        return encode(analyzer.channel(call.suffixes[0]).axis(), analyzer)

    def completed(call: Call) -> str:
        return str(analyzer.channel(call.suffixes[0]).completed_sweeps)

    tree.add("CALCulate<Ch>:DATA", query=active_data)
    tree.add("CALCulate<Ch>:DATA:TRACe", query=named_data, query_arguments=2)
    tree.add("CALCulate<Ch>:DATA:SGRoup", query=group_data)
    tree.add("CALCulate<Ch>:DATA:CALL", query=all_data)
    tree.add("CALCulate<Ch>:DATA:CALL:CATalog", query=all_catalog, query_arguments=0)
    tree.add("CALCulate<Ch>:DATA:STIMulus", query=axis, query_arguments=0)
    tree.add("CALCulate<Ch>:DATA:NSWeep:COUNt", query=completed, query_arguments=0)
