"""All simulated instruments of a bench around one world, in this process or in one of their own.

``python -m hil_fixtures.instruments.lab --seed 1`` prints one JSON line with the addresses when it is
ready. It ends on SIGTERM, and 3 s after its standard input has closed: a guardian that outlives the
program that started the bench still finds the instruments and can switch them off.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from hil_fixtures.instruments.marcos_board import MarcosBoard, MarcosFaults
from hil_fixtures.instruments.nanovna_h import NanoVnaH
from hil_fixtures.instruments.operator import Operator
from hil_fixtures.instruments.rs_znbt import RsZnbt
from hil_fixtures.instruments.scanner import Scanner, ScannerFaults
from hil_fixtures.instruments.serial_line import SerialLine
from hil_fixtures.instruments.trigger_line import TriggerLine
from hil_fixtures.instruments.tune_controller import TuneController, TunerFaults
from hil_fixtures.instruments.wire import TcpServer
from hil_fixtures.physics.probe_stand import ProbeStand, StandSettings
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hil_fixtures.instruments.faults import AnalyzerFaults, LinkFaults
    from hil_fixtures.instruments.wire import Wire
    from hil_fixtures.physics.settings import WorldSettings

#: Receive channels of one board.
_CHANNELS_PER_BOARD: Final = 2

#: Wall seconds for a guardian after the program that started the lab has gone.
GRACE: Final = 3.0

#: Ports of a bank, of which an analyzer for array and probes has as many as it needs.
_BANK: Final = 8


@dataclass(frozen=True, slots=True)
class LabPorts:
    """TCP ports; 0 takes a free one. The boards have consecutive ports from ``receivers``."""

    analyzer_hislip: int = 0
    analyzer_tcp: int = 0
    tuner_tcp: int = 0
    scanner: int = 0
    receivers: int = 0
    inspect: int = 0
    operator: int = 0

    @classmethod
    def from_base(cls, base: int) -> LabPorts:
        """Return consecutive ports from ``base``."""
        return cls(base, base + 1, base + 2, base + 3, base + 4, base + 8, base + 9)


#: Where a bench file that is written without asking expects the instruments.
DEFAULT_PORTS: Final = LabPorts(4880, 5025, 5030, 5040, 11111, 5050, 5060)


@dataclass(frozen=True, slots=True)
class LabFaults:
    """What can be broken; each part is changed in place, at any time."""

    analyzer: AnalyzerFaults
    analyzer_link: LinkFaults
    nanovna: AnalyzerFaults
    nanovna_link: LinkFaults
    tuner: TunerFaults
    tuner_link: LinkFaults
    receivers: tuple[MarcosFaults, ...]
    receiver_links: tuple[LinkFaults, ...]
    scanner: ScannerFaults
    scanner_link: LinkFaults


class Lab:
    """Every simulated instrument of one bench, started and stopped together.

    Parameters
    ----------
    settings
        Of the world.
    seed
        Of tolerances, noise and trigger waits.
    time_scale
        Wall seconds per second of motion, sweep and scan; 0 lets nothing take time.
    serial
        Whether serial instruments are on pseudo terminals where the system has them, else ``socket://``.
    tuned
        Start with all ports matched.
    ports
        TCP ports to take.
    probes
        A stand with two probes and cables that can be moved, on an analyzer of more ports: the array's
        first, then the probes'. Changes of bias trigger this analyzer's time sweeps. None: no stand.
    """

    def __init__(
        self,
        settings: WorldSettings | None = None,
        seed: int = 0,
        time_scale: float = 0.0,
        *,
        serial: bool = True,
        tuned: bool = False,
        ports: LabPorts | None = None,
        probes: StandSettings | None = None,
    ) -> None:
        ports = LabPorts() if ports is None else ports
        self.world: Final = World.tuned(seed, settings) if tuned else World(settings, seed)
        self.stand: Final = None if probes is None else ProbeStand(self.world, probes)
        self.operator: Final = Operator(self.world, self.stand)
        device = self.world if self.stand is None else self.stand
        self._stack = ExitStack()
        self._is_started = False
        self._line = TriggerLine(self.world)
        self._analyzer = RsZnbt(
            device,
            port_count=device.port_count if self.stand is None else _BANK * -(-device.port_count // _BANK),
            time_scale=time_scale,
            seed=seed,
            hislip_port=ports.analyzer_hislip,
            socket_port=ports.analyzer_tcp,
        )
        self.world.watch_bias(self._analyzer.external_trigger)
        kind: Literal["socket"] | None = None if serial else "socket"
        self._nanovna = NanoVnaH(self.world, time_scale=time_scale, seed=seed, kind=kind)
        self._tuner = TuneController(self.world, time_scale)
        self._scanner = Scanner(self.world, self._line, time_scale)
        self._boards = tuple(
            MarcosBoard(number, self._line, seed)
            for number in range(-(-self.world.channel_count // _CHANNELS_PER_BOARD))
        )
        self._tuner_line = SerialLine(self._tuner.open_link, kind, self._tuner.link_faults)
        self._servers = {
            "tuner": TcpServer(self._tuner.open_link, port=ports.tuner_tcp, shape=self._tuner.link_faults),
            "scanner": TcpServer(
                self._scanner.open_link, port=ports.scanner, shape=self._scanner.link_faults
            ),
            "inspect": TcpServer(self._inspect, port=ports.inspect),
            "operator": TcpServer(self.operator.open_link, port=ports.operator),
        }
        for number, board in enumerate(self._boards):
            port = ports.receivers + number if ports.receivers else 0
            self._servers[f"receiver{number + 1}"] = TcpServer(
                board.open_link, port=port, shape=board.link_faults
            )
        self.faults: Final = LabFaults(
            analyzer=self._analyzer.faults,
            analyzer_link=self._analyzer.link_faults,
            nanovna=self._nanovna.faults,
            nanovna_link=self._nanovna.link_faults,
            tuner=self._tuner.faults,
            tuner_link=self._tuner.link_faults,
            receivers=tuple(board.faults for board in self._boards),
            receiver_links=tuple(board.link_faults for board in self._boards),
            scanner=self._scanner.faults,
            scanner_link=self._scanner.link_faults,
        )

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where the instruments are, by the names that a bench file's writer knows.

        ``receivers`` is a list in the order of the channels; ``inspect`` answers every connection with
        one JSON line (`state`); ``operator`` does what sentences ask. ``probe_ports`` are analyzer ports,
        where there are probes.
        """
        at = {name: _url(server) for name, server in self._servers.items()}
        return {
            "analyzer_hislip": self._analyzer.hislip_resource,
            "analyzer_tcp": "tcp://{}:{}".format(*self._analyzer.socket_address),
            "nanovna": self._nanovna.address,
            "tuner": self._tuner_line.address,
            "tuner_tcp": at["tuner"],
            "receivers": [at[f"receiver{number + 1}"] for number in range(len(self._boards))],
            "scanner": at["scanner"],
            "inspect": at["inspect"],
            "operator": at["operator"],
            **({} if self.stand is None else {"probe_ports": list(self.stand.probe_ports)}),
        }

    @property
    def state(self) -> Mapping[str, Any]:
        """RF outputs by name (``rf``), bias currents in A (``bias``), step counts by axis (``steps``)."""
        world = self.world
        return {
            "rf": world.rf_outputs,
            "bias": [world.bias(channel) for channel in range(1, world.channel_count + 1)],
            "steps": {name: world.axis_position(name) for name in world.axis_names},
        }

    def start(self) -> Self:
        """Start everything, once; returns when all can be reached.

        Raises
        ------
        OSError
            A port is taken; what had started is stopped.
        """
        if self._is_started:
            return self
        with ExitStack() as stack:
            for part in (self._tuner, self._scanner, self._analyzer, self._nanovna, self._tuner_line):
                stack.enter_context(part)
            for server in self._servers.values():
                stack.enter_context(server)
            self._stack = stack.pop_all()
        self._is_started = True
        return self

    def hang_up(self, name: str) -> None:
        """Reset the connections of ``analyzer``, ``tuner`` (TCP), ``scanner`` or ``receiver1`` to ``4``.

        Raises
        ------
        KeyError
            There is no such instrument.
        """
        if name == "analyzer":
            self._analyzer.hang_up()
        else:
            self._servers[name].hang_up()

    def unplug(self, name: str) -> None:
        """Stop the server of ``tuner`` (TCP), ``scanner`` or ``receiver1`` to ``4``: it cannot be reached."""
        self._servers[name].close()

    def close(self) -> None:
        """Stop everything; may be called twice.

        Raises
        ------
        ExceptionGroup
            A simulated instrument has failed on its own thread.
        """
        self._stack.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _inspect(self, wire: Wire) -> _Inspector:
        wire.send(json.dumps(self.state).encode() + b"\n")
        wire.close()
        return _Inspector()


class _Inspector:
    """A connection to the inspect port, which only tells."""

    def receive(self, _data: bytes, /) -> bytes:
        """Answer nothing."""
        return b""

    def closed(self) -> None:
        """Nothing to free."""


def _url(server: TcpServer) -> str:
    host, port = server.address
    return f"tcp://{host}:{port}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the instruments until asked to end, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hil_fixtures.instruments.lab", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tuned", action="store_true", help="start with all ports matched")
    parser.add_argument("--probes", action="store_true", help="with probes and cables that can be moved")
    parser.add_argument("--time-scale", type=float, default=0.0, help="wall seconds per simulated second")
    parser.add_argument("--no-pty", action="store_true", help="serve serial instruments on socket://")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port-base", type=int, help="first of ten consecutive TCP ports")
    where.add_argument(
        "--default-ports", action="store_true", help="4880, 5025, 5030, 5040, 5050, 5060, 11111.."
    )
    chosen = parser.parse_args(arguments)
    ports = LabPorts()
    if chosen.port_base is not None:
        ports = LabPorts.from_base(chosen.port_base)
    elif chosen.default_ports:
        ports = DEFAULT_PORTS
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    # Ctrl-C reaches the whole foreground group: a lab that belongs to another program must outlive
    # that program's own clean-up, which still talks to the instruments.
    if sys.stdin.isatty():
        signal.signal(signal.SIGINT, lambda _number, _frame: ended.set())
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    lab = Lab(
        seed=chosen.seed,
        time_scale=chosen.time_scale,
        serial=not chosen.no_pty,
        tuned=chosen.tuned,
        ports=ports,
        probes=StandSettings() if chosen.probes else None,
    )
    try:
        lab.start()
    except OSError as error:
        print(f"simulated bench: {error}; is another one running? Choose --port-base.", file=sys.stderr)
        return 1
    with lab:
        print(json.dumps(lab.addresses), flush=True)
        threading.Thread(target=_watch_owner, args=(ended,), daemon=True).start()
        ended.wait()
    return 0


def _watch_owner(ended: threading.Event) -> None:
    """Wait until standard input closes, then for the grace."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    ended.wait(GRACE)
    ended.set()


if __name__ == "__main__":
    sys.exit(main())
