"""ZNBT commands of the whole instrument: common commands, system, formats, RF, channels, triggering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hil_fixtures.instruments.scpi_syntax import ScpiError, number_text
from hil_fixtures.instruments.znbt_channel import FREQUENCY_LIMITS

if TYPE_CHECKING:
    from hil_fixtures.instruments.rs_znbt import RsZnbt
    from hil_fixtures.instruments.scpi_tree import Call, CommandTree

#: The serial number ends as that of R&S' own simulated instruments; then the firmware.
_SERIAL: Final = "1318700624999999,3.32"
#: Ports that this model is sold with; a smaller simulated instrument says it is one of 16.
_SIZES: Final = (16, 20, 24)


def add_commands(tree: CommandTree, analyzer: RsZnbt) -> None:
    """Enter the commands into the analyzer's tree."""
    _add_common(tree, analyzer)
    _add_system(tree, analyzer)
    _add_format(tree, analyzer)
    _add_channels(tree, analyzer)
    _add_sweep_control(tree, analyzer)


def model_ports(port_count: int) -> int:
    """Return the ports in the model's name."""
    return next((size for size in _SIZES if size >= port_count), _SIZES[-1])


def on_off(value: bool) -> str:
    """Return a state as the analyzer answers it."""
    return "1" if value else "0"


def _add_common(tree: CommandTree, analyzer: RsZnbt) -> None:
    status = analyzer.status

    async def wait(_call: Call) -> None:
        await analyzer.wait()

    async def wait_and_answer(_call: Call) -> str:
        await analyzer.wait()
        return "1"

    def set_event_enable(call: Call) -> None:
        status.event_enable = call.argument().integer(minimum=0, maximum=255)

    def set_service_enable(call: Call) -> None:
        status.service_enable = call.argument().integer(minimum=0, maximum=255)

    size = model_ports(analyzer.port_count)
    identity = f"Rohde-Schwarz,ZNBT8-{size}Port,{_SERIAL}"
    tree.add("*IDN", query=lambda _call: identity, query_arguments=0)
    # The port extension that makes a ZNBT8 an instrument of so many ports.
    tree.add("*OPT", query=lambda _call: f"ZNBT8-B1{size}", query_arguments=0)
    tree.add("*RST", command=lambda _call: analyzer.reset(), arguments=0)
    tree.add("*CLS", command=lambda _call: status.clear(), arguments=0)
    tree.add("*ESR", query=lambda _call: str(status.take_event_status()), query_arguments=0)
    tree.add("*STB", query=lambda _call: str(status.status_byte(False)), query_arguments=0)
    tree.add("*ESE", command=set_event_enable, query=lambda _call: str(status.event_enable))
    tree.add("*SRE", command=set_service_enable, query=lambda _call: str(status.service_enable))
    tree.add("*TST", query=lambda _call: "0", query_arguments=0)
    tree.add("*WAI", command=wait, arguments=0)
    tree.add("*TRG", command=lambda _call: analyzer.trigger(), arguments=0)
    tree.add(
        "*OPC",
        command=lambda _call: analyzer.complete_later(),
        query=wait_and_answer,
        arguments=0,
        query_arguments=0,
    )
    for word in ("@LOC", "@REM"):  # remote and local need no state here
        tree.add(word, command=lambda _call: None, arguments=0)


def _add_system(tree: CommandTree, analyzer: RsZnbt) -> None:
    status = analyzer.status
    tree.add("SYSTem:ERRor[:NEXT]", query=lambda _call: status.next_error(), query_arguments=0)
    tree.add("SYSTem:ERRor:ALL", query=lambda _call: status.all_errors(), query_arguments=0)
    tree.add("SYSTem:ERRor:COUNt", query=lambda _call: str(status.error_count), query_arguments=0)
    tree.add("SYSTem:PRESet", command=lambda _call: analyzer.reset(), arguments=0)
    tree.add("SYSTem:VERSion", query=lambda _call: "1999.0", query_arguments=0)
    tree.add(
        "SYSTem:DISPlay:UPDate", command=lambda call: _ignore(call.argument().choice("ON", "OFF", "ONCE"))
    )

    def frequency_limit(call: Call) -> str:
        lowest, highest = FREQUENCY_LIMITS
        return number_text(lowest if call.argument().choice("MINimum", "MAXimum") == "MIN" else highest)

    tree.add("SYSTem:FREQuency", query=frequency_limit)
    tree.add("INSTrument:PORT:COUNt", query=lambda _call: str(analyzer.port_count), query_arguments=0)
    tree.add("INSTrument:TPORt:COUNt", query=lambda _call: str(analyzer.port_count), query_arguments=0)
    tree.add(
        "OUTPut<Ch>[:STATe]",
        command=lambda call: analyzer.switch_rf(call.argument().boolean()),
        query=lambda _call: on_off(analyzer.is_rf_on),
    )


def _ignore(_value: str) -> None:
    """Accept a setting that shows nowhere in this instrument."""


def _add_format(tree: CommandTree, analyzer: RsZnbt) -> None:
    def set_format(call: Call) -> None:
        kind = call.argument().choice("ASCii", "REAL")
        bits = call.arguments[1].integer(minimum=0, maximum=64) if len(call.arguments) > 1 else 0
        if kind == "REAL" and bits not in (0, 32, 64):
            raise ScpiError(-224)
        analyzer.data_format = "ASC" if kind == "ASC" else f"REAL,{bits or 32}"

    def format_text(_call: Call) -> str:
        return "ASC,0" if analyzer.data_format == "ASC" else analyzer.data_format

    def set_border(call: Call) -> None:
        analyzer.is_little_endian = call.argument().choice("NORMal", "SWAPped") == "SWAP"

    tree.add("FORMat[:DATA]", command=set_format, query=format_text, arguments=2)
    tree.add(
        "FORMat:BORDer",
        command=set_border,
        query=lambda _call: "SWAP" if analyzer.is_little_endian else "NORM",
    )


def _add_channels(tree: CommandTree, analyzer: RsZnbt) -> None:
    def catalog(_call: Call) -> str:
        parts = (f"{number},{channel.name}" for number, channel in sorted(analyzer.channels.items()))
        return f"'{','.join(parts)}'"

    def set_state(call: Call) -> None:
        (number,) = call.suffixes
        if call.argument().boolean():
            analyzer.ensured_channel(number)
            analyzer.active_channel = number
        else:
            analyzer.channel(number)
            analyzer.delete_channel(number)

    def select(call: Call) -> None:
        number = call.argument().integer(minimum=1, maximum=9999)
        analyzer.channel(number)
        analyzer.active_channel = number

    tree.add("CONFigure:CHANnel<Ch>:CATalog", query=catalog, query_arguments=0)
    tree.add(
        "CONFigure:CHANnel<Ch>[:STATe]",
        command=set_state,
        query=lambda call: on_off(call.suffixes[0] in analyzer.channels),
    )
    tree.add("CONFigure:CHANnel<Ch>:NAME", query=lambda call: f"'{analyzer.channel(call.suffixes[0]).name}'")
    tree.add("INSTrument:NSELect", command=select, query=lambda _call: str(analyzer.active_channel))


def _add_sweep_control(tree: CommandTree, analyzer: RsZnbt) -> None:
    def initiate(call: Call) -> None:
        chosen = analyzer.channel(call.suffixes[0])
        everything = analyzer.triggers_all_channels
        for channel in analyzer.channels.values() if everything else (chosen,):
            analyzer.initiate(channel)

    def initiate_all(_call: Call) -> None:
        for channel in analyzer.channels.values():
            analyzer.initiate(channel)

    def set_continuous(call: Call) -> None:
        analyzer.set_continuous(analyzer.channel(call.suffixes[0]), call.argument().boolean())

    def set_all_continuous(call: Call) -> None:
        for channel in analyzer.channels.values():
            analyzer.set_continuous(channel, call.argument().boolean())

    def set_scope(call: Call) -> None:
        analyzer.triggers_all_channels = call.argument().choice("ALL", "SINGle") == "ALL"

    tree.add("INITiate<Ch>[:IMMediate]", command=initiate, arguments=0)
    tree.add("INITiate<Ch>[:IMMediate]:ALL", command=initiate_all, arguments=0)
    tree.add(
        "INITiate<Ch>[:IMMediate]:SCOPe",
        command=set_scope,
        query=lambda _call: "ALL" if analyzer.triggers_all_channels else "SING",
    )
    tree.add(
        "INITiate<Ch>:CONTinuous",
        command=set_continuous,
        query=lambda call: on_off(analyzer.channel(call.suffixes[0]).is_continuous),
    )
    tree.add("INITiate<Ch>:CONTinuous:ALL", command=set_all_continuous)
    tree.add("ABORt", command=lambda _call: analyzer.abort(), arguments=0)

    def set_trigger(call: Call) -> None:
        analyzer.channel(call.suffixes[0]).trigger = call.argument().choice("IMMediate", "EXTernal")

    tree.add(
        "TRIGger<Ch>[:SEQuence]:SOURce",
        command=set_trigger,
        query=lambda call: analyzer.channel(call.suffixes[0]).trigger,
    )
