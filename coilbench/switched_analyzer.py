"""An analyzer with few ports and a switch matrix, together as an analyzer with many.

Whatever sweeps a ``NetworkAnalyzer`` sweeps this one as well. The ways through the switch and the loads of
the ports that are not connected are known from Touchstone files, measured once with a calibrated analyzer.
Ports that were not asked for stay in their loads; a sweep of all ports is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from coilbench.base.errors import BenchFileError, InstrumentFault, RunAborted
from coils.assembly import PartialSweep, assemble, plan_connections
from coils.calibration import MeasuredStandard, deembed
from drivers.protocols import Abort, SweepPlan, never

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import skrf
    from numpy.typing import NDArray

    from drivers.protocols import NetworkAnalyzer, SwitchMatrix

#: From analyzer port, device port and frequencies to S of the way between them, shape (frequency, 2, 2).
Ways: TypeAlias = Callable[[int, int, "NDArray[np.float64]"], "NDArray[np.complex128]"]
#: From frequencies to the reflections of the device ports' loads, shape (frequency, port).
Loads: TypeAlias = Callable[["NDArray[np.float64]"], "NDArray[np.complex128]"]


@dataclass(frozen=True, slots=True)
class SwitchData:
    """What is known of a switch.

    Parameters
    ----------
    ways, loads
        As above.
    repeatability
        Standard deviation of a complex S-parameter between two connections.
    """

    ways: Ways
    loads: Loads
    repeatability: float = 1e-3


def read_switch_data(
    folder: Path, pairs: Sequence[tuple[int, int]], repeatability: float = 1e-3
) -> SwitchData:
    """Read ``way-<analyzer port>-<device port>.s2p`` and ``load-<device port>.s1p``.

    Parameters
    ----------
    pairs
        Analyzer and device port of every route.

    Raises
    ------
    BenchFileError
        Files are missing or cannot be read; all are named.
    """
    ways: dict[tuple[int, int], MeasuredStandard] = {}
    loads: dict[int, MeasuredStandard] = {}
    unreadable: list[str] = []
    for analyzer, device in pairs:
        for name in (f"way-{analyzer}-{device}.s2p", f"load-{device}.s1p"):
            try:
                standard = read_standard(folder / name)
            except (OSError, ValueError, IndexError) as error:
                unreadable.append(f"{name} ({error})")
                continue
            if name.startswith("way"):
                ways[analyzer, device] = standard
            else:
                loads[device] = standard
    if unreadable:
        raise BenchFileError(
            f"[instruments.switch] {folder}: cannot read {'; '.join(sorted(set(unreadable)))}"
        )

    def way(analyzer: int, device: int, frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
        return ways[analyzer, device].scattering(frequencies)

    def load(frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
        out = np.zeros((frequencies.size, max(loads)), dtype=np.complex128)
        for device, standard in loads.items():
            out[:, device - 1] = standard.scattering(frequencies)[:, 0, 0]
        return out

    return SwitchData(way, load, repeatability)


class SwitchedAnalyzer:
    """A ``NetworkAnalyzer`` with as many ports as the switch leads to; owns both instruments.

    Parameters
    ----------
    analyzer
        Open; its ports 1, 2, ... are at the switch's analyzer ports.
    switch
        Open.
    data
        Ways and loads.
    """

    def __init__(self, analyzer: NetworkAnalyzer, switch: SwitchMatrix, data: SwitchData) -> None:
        self.analyzer = analyzer
        self.switch = switch
        self._data = data

    @property
    def name(self) -> str:
        """Name and address of the analyzer."""
        return self.analyzer.name

    @property
    def identity(self) -> str:
        """What both instruments say they are."""
        return f"{self.analyzer.identity} behind {self.switch.identity}"

    @property
    def port_count(self) -> int:
        """Highest device port of the switch."""
        return max(self.switch.device_ports)

    @property
    def reflection_ports(self) -> tuple[int, ...]:
        """All device ports of the switch."""
        return self.switch.device_ports

    def configure(self, plan: SweepPlan, /) -> SweepPlan:
        """Set the analyzer's sweep and return it as read back; errors as the analyzer's."""
        return self.analyzer.configure(plan)

    def sweep(self, ports: Sequence[int] | None = None, /, *, abort: Abort = never) -> skrf.Network:
        """Connect one pair after the other, sweep each, and return S of ``ports`` in their order.

        Raises
        ------
        ValueError
            The switch leads to no such port, or no sweep is configured.
        RunAborted
            ``abort`` said so, between two connections or within a sweep.
        InstrumentFault
            A relay did not move, or the connections contradict each other (named).
        ReplyTimeout, ConnectionLost, ProtocolError
            One of the two instruments failed.
        """
        from skrf.network import Network

        wanted = self.switch.device_ports if ports is None else tuple(ports)
        self._require(wanted)
        cables = self.switch.analyzer_ports
        connections = (
            [wanted]
            if len(wanted) == 1
            else [c.ports for c in plan_connections(wanted, len(cables)).connections]
        )
        parts = [self._sweep_connected(connection, abort) for connection in connections]
        assembly = assemble(parts, self._data.loads(parts[0].frequencies), noise=self._data.repeatability)
        if assembly.suspicions:
            raise InstrumentFault(self.name, "; ".join(map(str, assembly.suspicions)))
        rows = np.array(wanted) - 1
        return Network(f=assembly.frequencies, f_unit="Hz", s=assembly.s[:, rows[:, None], rows], z0=50.0)

    def make_safe(self) -> None:
        """Switch RF off and park the switch."""
        self.analyzer.make_safe()
        self.switch.make_safe()

    def close(self) -> None:
        """Make safe and release both links; may be called twice."""
        try:
            self.analyzer.close()
        finally:
            self.switch.close()

    def _sweep_connected(self, ports: tuple[int, ...], abort: Abort) -> PartialSweep:
        if abort():
            raise RunAborted(f"{self.name}: stopped before ports {ports}")
        self.switch.connect(ports)
        network = self.analyzer.sweep(self.switch.analyzer_ports[: len(ports)], abort=abort)
        frequencies = np.asarray(network.f, dtype=np.float64)
        fixtures = np.stack(
            [
                self._data.ways(cable, port, frequencies)
                for cable, port in zip(self.switch.analyzer_ports, ports, strict=False)
            ]
        )
        return PartialSweep(ports, frequencies, deembed(np.asarray(network.s, dtype=np.complex128), fixtures))

    def _require(self, ports: tuple[int, ...]) -> None:
        absent = [port for port in ports if port not in self.switch.device_ports]
        if absent or not ports or len(set(ports)) != len(ports):
            raise ValueError(
                f"{self.switch.name} leads to the ports {', '.join(map(str, self.switch.device_ports))}; "
                f"got {ports}"
            )


def read_standard(path: Path, /) -> MeasuredStandard:
    """Read a Touchstone file as a function of frequency.

    Raises
    ------
    OSError, ValueError, IndexError
        It cannot be read, or holds another number of ports than its name says.
    """
    from skrf.network import Network

    network = Network(str(path))
    expected = int(path.suffix[2])
    if network.nports != expected:
        raise ValueError(f"{network.nports} ports instead of {expected}")
    return MeasuredStandard(np.asarray(network.f), np.asarray(network.s))
