"""The simulated tune/match controller keeps docs/reference/tuner-protocol.md, byte by byte."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_fixtures.instruments.serial_line import SerialLine
from hil_fixtures.instruments.tune_controller import SPEED, TuneController
from hil_fixtures.instruments.tuner_frames import Conversation, Refusal
from hil_fixtures.instruments.wire import TcpServer
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "tuner-protocol.md"


def crc(content: str) -> str:
    """CRC-16/CCITT-FALSE bit by bit, as its definition says."""
    register = 0xFFFF
    for byte in content.encode():
        register ^= byte << 8
        for _ in range(8):
            register = (register << 1 ^ (0x1021 if register & 0x8000 else 0)) & 0xFFFF
    return f"{register:04X}"


def framed(start: str, content: str) -> bytes:
    return f"{start}{content}*{crc(content)}\n".encode()


class Host:
    """A client that frames requests and checks the frames of replies."""

    def __init__(self, exchange: Callable[[bytes], bytes]) -> None:
        self._exchange = exchange
        self._sequence = -1

    def ask(self, command: str) -> str:
        self._sequence += 1
        reply = self._exchange(framed(">", f"{self._sequence} {command}"))
        found = re.fullmatch(rb"<(([0-9]+) (OK|ERR)(.*))\*([0-9A-F]{4})\n", reply)
        assert found, reply
        assert found[5].decode() == crc(found[1].decode())
        assert int(found[2]) == self._sequence
        return (found[3] + found[4]).decode()


class Wall:
    """Wall time that stands still until told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def blank() -> World:
    return World(seed=5)


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def world(blank: World) -> Iterator[World]:
    for name in ("ch1.na.tune", "ch1.na.match", "ch2.h.match"):
        blank.move_axis(name, 1000)
    yield blank
    for channel in range(1, 9):
        blank.set_bias(channel, 0.0)


@pytest.fixture
def slow(world: World, wall: Wall) -> TuneController:
    """Return a controller in real time on a wall clock of our own."""
    return TuneController(world, time_scale=1.0, now=wall)


@pytest.fixture
def host(slow: TuneController) -> Host:
    return Host(slow.open_link().receive)


def test_checksum_is_the_documented_one() -> None:
    """The check value of CRC-16/CCITT-FALSE, and our own frame of HELLO as the page prints it."""
    assert crc("123456789") == "29B1"
    assert framed(">", "0 HELLO").decode().strip() in DOCUMENT.read_text(encoding="utf-8")


def test_every_example_in_the_document_carries_its_checksum() -> None:
    """Section 9: all frames but the damaged one have the CRC of their content."""
    frames = re.findall(
        r"^    [HC] ([<>])(.*)\*([0-9A-F]{4})$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE
    )
    wrong = [content for _, content, check in frames if crc(content) != check]
    assert len(frames) > 35
    assert wrong == ["10 MOVE ch3.na.tune=3000"]


def test_document_opening_is_what_the_controller_says(world: World) -> None:
    """The first eight lines of section 9 and the damaged request, byte for byte, on instantaneous motors."""
    link = TuneController(world).open_link()
    text = DOCUMENT.read_text(encoding="utf-8")
    pairs = re.findall(r"^    H (>.*)\n    C (<.*)$", text, re.MULTILINE)
    for request, reply in [*pairs[:4], pairs[8]]:
        assert link.receive(request.encode() + b"\n").decode() == reply + "\n"
    damaged = next(pair for pair in pairs if pair[1].startswith("<-"))
    assert link.receive(damaged[0].encode() + b"\n").decode() == damaged[1] + "\n"


def test_names_and_limits_of_all_axes(host: Host) -> None:
    """Thirty-two axes, four for each channel in the documented order, 0 to 4000 steps."""
    names = [f"ch{c}.{n}.{k}" for c in range(1, 9) for n in ("na", "h") for k in ("tune", "match")]
    assert host.ask("AXES") == "OK 32 " + " ".join(names)
    assert host.ask("LIMITS") == "OK " + " ".join(f"{name}=0:4000" for name in names)
    assert host.ask("BIASLIMIT") == "OK 8 200.0"


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_any_fragmentation_gives_the_same_replies(data: st.DataObject) -> None:
    """However a stream of requests, noise and empty lines is cut, the replies are the same."""
    stream = b"\n".join(
        [b"", framed(">", "1 A"), b"noise", framed(">", "2 B c=1").replace(b"\n", b"\r\n"), b">3 C*0000\n"]
    )
    whole = Conversation(lambda request: " ".join(request.arguments), lambda: None).receive(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    cut = Conversation(lambda request: " ".join(request.arguments), lambda: None)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert b"".join(cut.receive(piece) for piece in pieces) == whole
    assert whole.count(b"\n") == 4


@pytest.mark.parametrize(
    "line",
    [
        b"MOVE\n",
        b">x IDENT*0000\n",
        b">01 IDENT*0000\n",
        b">70000 IDENT*0000\n",
        b">1  IDENT*0000\n",
        b">" + b"A" * 2048 + b"\n",
    ],
)
def test_malformed_line_is_answered_without_a_number(slow: TuneController, line: bytes) -> None:
    """Error 1 with a dash; the link stays usable."""
    link = slow.open_link()
    assert link.receive(line).startswith(b"<- ERR 1 ")
    assert Host(link.receive).ask("VERSION") == "OK 1.0"


def test_repeated_request_is_executed_once() -> None:
    """The same bytes give the same reply; a command that was executed twice would count two."""
    calls: list[int] = []

    def count(request: object) -> str:
        del request
        calls.append(1)
        return str(len(calls))

    conversation = Conversation(count, lambda: None)
    request = framed(">", "9 MOVE ch3.na.tune=1000")
    assert conversation.receive(request) == conversation.receive(request) == framed("<", "9 OK 1")
    other = conversation.receive(framed(">", "9 MOVE ch3.na.tune=900"))
    assert other == framed("<", "9 ERR 3 sequence number 9 was used for another request")
    assert conversation.receive(framed(">", "10 MOVE ch3.na.tune=1000")) == framed("<", "10 OK 2")


def test_refusals_are_remembered_too() -> None:
    """A refused command that is repeated is not tried again: it might succeed the second time."""
    calls: list[int] = []

    def refuse(request: object) -> str:
        del request
        calls.append(1)
        raise Refusal(23, "x is moving")

    conversation = Conversation(refuse, lambda: None)
    request = framed(">", "9 MOVE x=1")
    assert (
        conversation.receive(request) == conversation.receive(request) == framed("<", "9 ERR 23 x is moving")
    )
    assert len(calls) == 1


def test_hello_forgets_what_an_earlier_host_sent(world: World) -> None:
    """The same number and bytes as an earlier host's last request: executed, once HELLO has been said."""
    link = TuneController(world).open_link()
    bias = framed(">", "7 BIAS 1 50")
    link.receive(bias)
    Host(TuneController(world).open_link().receive).ask("SAFE")
    link.receive(bias)
    assert world.bias(1) == 0.0
    assert link.receive(framed(">", "7 HELLO")) == framed("<", "7 OK")
    link.receive(framed(">", "6 VERSION"))
    link.receive(bias)
    assert world.bias(1) == pytest.approx(0.05)


def test_move_is_accepted_then_done(host: Host, wall: Wall, world: World) -> None:
    """1200 steps take 1.5 s: half way after 0.75 s, then done; the capacitor follows at the end."""
    host.ask("HOME ch1.na.tune")
    wall.seconds += 10.0
    assert host.ask("STATUS") == "OK moving=0 fault=0 bias=off watchdog=idle"
    assert host.ask("MOVE ch1.na.tune=1200 ch1.na.match=1000") == "OK 1500"
    wall.seconds += 0.75
    assert host.ask("STATUS") == "OK moving=1 fault=0 bias=off watchdog=armed ch1.na.tune=moving:600"
    assert host.ask("MOVE ch1.na.tune=0") == "ERR 23 ch1.na.tune is moving"
    wall.seconds += 0.75
    assert host.ask("STATUS") == "OK moving=0 fault=0 bias=off watchdog=idle"
    assert host.ask("POS ch1.na.tune ch1.na.match") == "OK ch1.na.tune=1200 ch1.na.match=1000"
    assert world.axis_position("ch1.na.tune") == 1200


def test_a_refused_move_moves_nothing(host: Host, world: World) -> None:
    """Everything is checked before anything starts."""
    before = world.axis_position("ch2.h.match")
    assert host.ask("MOVE ch2.h.match=100 ch2.h.tune=4001") == "ERR 21 ch2.h.tune=4001 is outside 0 to 4000"
    assert host.ask("MOVE ch2.h.match=100 ch9.h.tune=1") == "ERR 20 no axis is called ch9.h.tune"
    assert host.ask("MOVE ch2.h.match=100 ch2.h.match=1").startswith("ERR 11 ")
    assert host.ask("MOVE ch2.h.match=1.5").startswith("ERR 11 ")
    assert host.ask("MOVE ch2.h.tune=-1") == "ERR 21 ch2.h.tune=-1 is outside 0 to 4000"
    assert host.ask("POS ch2.h.match") == f"OK ch2.h.match={before}"


def test_stop_halts_on_the_way(host: Host, wall: Wall, world: World) -> None:
    """STOP from another link too; the position stays valid and the axis may move on."""
    host.ask("MOVE ch1.na.tune=2000")
    wall.seconds += 0.5
    assert host.ask("STOP") == "OK"
    there = 1000 + round(0.5 * SPEED)
    assert host.ask("STATUS") == f"OK moving=0 fault=0 bias=off watchdog=idle ch1.na.tune=stopped:{there}"
    assert world.axis_position("ch1.na.tune") == there
    host.ask("CLEAR")
    assert host.ask("STATUS ch1.na.tune").endswith(f" ch1.na.tune=done:{there}")


def test_stalled_axis_needs_homing(host: Host, slow: TuneController, wall: Wall, world: World) -> None:
    """A stuck axis is reported, refused, and good again after HOME once it is free."""
    slow.faults.stuck.add("ch1.na.tune")
    host.ask("MOVE ch1.na.tune=1100 ch2.h.match=1100")
    wall.seconds += 1.0
    assert host.ask("STATUS") == "OK moving=0 fault=1 bias=off watchdog=idle ch1.na.tune=stalled:1000"
    assert host.ask("MOVE ch1.na.tune=1200") == "ERR 22 ch1.na.tune has stalled; home it first"
    slow.faults.stuck.clear()
    assert host.ask("HOME ch1.na.tune") == "OK 1250"
    wall.seconds += 1.25
    assert host.ask("STATUS") == "OK moving=0 fault=0 bias=off watchdog=idle"
    assert host.ask("POS ch1.na.tune ch2.h.match") == "OK ch1.na.tune=0 ch2.h.match=1100"
    assert world.axis_position("ch1.na.tune") == 0


def test_slipping_axis_lies_until_homed(world: World) -> None:
    """The count says 1200, the capacitor got a quarter of the way; homing makes both agree."""
    controller = TuneController(world)
    host = Host(controller.open_link().receive)
    controller.faults.slipping["ch1.na.tune"] = 0.75
    host.ask("MOVE ch1.na.tune=1200")
    assert host.ask("STATUS ch1.na.tune").endswith("ch1.na.tune=done:1200")
    assert world.axis_position("ch1.na.tune") == 1050
    host.ask("HOME ch1.na.tune")
    assert host.ask("POS ch1.na.tune") == "OK ch1.na.tune=0"
    assert world.axis_position("ch1.na.tune") == 0


def test_end_switch_is_a_fault_with_a_valid_position(world: World) -> None:
    """State limit, at the switch; CLEAR makes it done."""
    controller = TuneController(world)
    host = Host(controller.open_link().receive)
    controller.faults.end_switch["ch1.na.tune"] = 1100
    host.ask("MOVE ch1.na.tune=1500")
    assert host.ask("STATUS") == "OK moving=0 fault=1 bias=off watchdog=idle ch1.na.tune=limit:1100"
    assert world.axis_position("ch1.na.tune") == 1100
    host.ask("CLEAR")
    assert host.ask("STATUS") == "OK moving=0 fault=0 bias=off watchdog=idle"


def test_bias_is_set_read_and_limited(host: Host, world: World) -> None:
    """0.1 mA steps up to 200 mA; more is refused, not clipped."""
    assert host.ask("BIAS 2 100.5") == "OK 2=100.5"
    assert world.bias(2) == pytest.approx(0.1005)
    assert host.ask("BIAS?") == "OK 1=0.0 2=100.5 3=0.0 4=0.0 5=0.0 6=0.0 7=0.0 8=0.0"
    assert host.ask("BIAS 2 200.1") == "ERR 31 200.1 mA is outside 0.0 to 200.0 mA"
    assert host.ask("BIAS 2 -1") == "ERR 31 -1.0 mA is outside 0.0 to 200.0 mA"
    assert host.ask("BIAS 9 1") == "ERR 30 there is no bias channel 9, only 1 to 8"
    assert host.ask("BIAS 2 1.23").startswith("ERR 11 ")
    assert host.ask("BIAS? 2") == "OK 2=100.5"


def test_watchdog_makes_safe_and_latches(host: Host, wall: Wall, world: World) -> None:
    """After 2 s of silence bias is off and motion stopped; only CLEAR allows either again."""
    assert host.ask("WATCHDOG?") == "OK 2000"
    host.ask("BIAS 2 100.0")
    host.ask("MOVE ch1.na.tune=4000")
    wall.seconds += 1.0
    assert "watchdog=armed" in host.ask("STATUS")
    wall.seconds += 2.5
    there = 1000 + round(3.0 * SPEED)
    status = f"OK moving=0 fault=0 bias=off watchdog=tripped ch1.na.tune=stopped:{there}"
    assert host.ask("STATUS") == status
    assert world.bias(2) == 0.0
    assert world.axis_position("ch1.na.tune") == there
    for refused in ("BIAS 2 1", "MOVE ch1.na.tune=1000", "HOME"):
        assert host.ask(refused) == "ERR 40 the watchdog has tripped; CLEAR first"
    assert host.ask("BIAS 2 0") == "OK 2=0.0"
    assert host.ask("CLEAR") == "OK"
    assert host.ask("BIAS 2 1") == "OK 2=1.0"


def test_only_the_owner_keeps_the_watchdog_quiet(slow: TuneController, wall: Wall, world: World) -> None:
    """A second link that asks all the time does not keep a dead host's bias on."""
    owner, watcher = Host(slow.open_link().receive), Host(slow.open_link().receive)
    owner.ask("BIAS 1 50")
    for _ in range(5):
        wall.seconds += 0.5
        watcher.ask("STATUS")
    assert watcher.ask("STATUS") == "OK moving=0 fault=0 bias=off watchdog=tripped"
    assert world.bias(1) == 0.0


def test_damaged_requests_do_not_feed_the_watchdog(slow: TuneController, wall: Wall, world: World) -> None:
    """A host that only sends rubbish is as good as silent."""
    link = slow.open_link()
    Host(link.receive).ask("BIAS 1 50")
    for _ in range(5):
        wall.seconds += 0.5
        link.receive(b">1 STATUS*0000\n")
    assert "watchdog=tripped" in Host(slow.open_link().receive).ask("STATUS")
    assert world.bias(1) == 0.0


def test_guardian_makes_safe_over_tcp(world: World) -> None:
    """Over real sockets: one client biases, another sends SAFE; the first sees it."""
    with (
        TuneController(world) as controller,
        TcpServer(controller.open_link) as server,
        socket.create_connection(server.address) as first,
        socket.create_connection(server.address) as second,
    ):
        host, guardian = Host(over(first)), Host(over(second))
        host.ask("HELLO")
        assert host.ask("BIAS 3 80") == "OK 3=80.0"
        assert guardian.ask("SAFE") == "OK"
        assert host.ask("STATUS") == "OK moving=0 fault=0 bias=off watchdog=idle"


def test_silent_host_is_noticed_without_any_request(world: World) -> None:
    """Over a real socket and real time: nobody says anything, the bias goes off all the same."""
    with TuneController(world) as controller, TcpServer(controller.open_link) as server:
        with socket.create_connection(server.address) as client:
            host = Host(over(client))
            assert host.ask("WATCHDOG 100") == "OK 100"
            assert host.ask("BIAS 3 80") == "OK 3=80.0"
            deadline = time.monotonic() + 5.0
            while world.bias(3) and time.monotonic() < deadline:
                time.sleep(0.005)
        assert world.bias(3) == 0.0


def test_serial_line_speaks_the_same_bytes(world: World) -> None:
    """On a terminal (or its socket): opening as the document says, after half a line of an earlier host."""
    with (
        TuneController(world) as controller,
        SerialLine(controller.open_link) as line,
        serial.serial_for_url(line.address, timeout=5.0) as port,
    ):
        port.write(b">12 MO")
        port.write(b"\n" + framed(">", "0 HELLO"))
        assert port.readline() == framed("<", "- ERR 1 frame")
        assert port.readline() == framed("<", "0 OK")


def test_faults_of_replies(slow: TuneController) -> None:
    """A corrupt reply, and silence; both heal."""
    link = slow.open_link()
    slow.faults.corrupt_replies = 1
    request = framed(">", "1 VERSION")
    good = framed("<", "1 OK 1.0")
    bad = link.receive(request)
    assert len(bad) == len(good)
    assert bad != good
    assert link.receive(request) == good
    slow.faults.silent = True
    assert link.receive(request) == b""


def over(connection: socket.socket) -> Callable[[bytes], bytes]:
    """Return an exchange of one line each way over a socket."""
    connection.settimeout(5.0)
    stream = connection.makefile("rb")

    def exchange(request: bytes) -> bytes:
        connection.sendall(request)
        return stream.readline()

    return exchange
