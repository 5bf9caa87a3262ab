"""What every peer does with the instruments: sweep some ports, find a dip, turn trimmers from below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import InstrumentFault, ReplyTimeout
from drivers.protocols import Segment, SweepPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from drivers.protocols import NetworkAnalyzer, Tuner

#: Steps below its target from which a trimmer approaches when it goes down; more than the gears' play.
RUN_UP: Final = 60

#: How often a sweep that failed is taken again.
_REPEATS: Final = 5


@dataclass(frozen=True, slots=True)
class BenchPort:
    """One port to tune: its number from 1, its frequency in Hz, and the names of its two axes."""

    port: int
    frequency: float
    tune: str
    match: str


@dataclass(frozen=True, slots=True)
class Finished:
    """What a peer says at its end.

    Parameters
    ----------
    reached
        Whether every port was below the limit in its last sweep of the array.
    levels_db
        |S_ii| in that sweep, by port.
    """

    reached: bool
    levels_db: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Trace:
    """One port's reflection: frequencies in Hz and S_ii, both of shape (frequency,)."""

    frequencies: NDArray[np.float64]
    reflection: NDArray[np.complex128]

    def at(self, frequency: float) -> complex:
        """Return S_ii at a frequency inside the sweep."""
        return complex(np.interp(frequency, self.frequencies, self.reflection))

    def dip(self) -> tuple[float, float]:
        """Return frequency in Hz and depth |S| of the lowest reflection; a parabola through |S|^2."""
        power = np.abs(self.reflection) ** 2
        place = int(np.clip(np.argmin(power), 1, power.size - 2))
        left, middle, right = power[place - 1 : place + 2]
        bend = left - 2.0 * middle + right
        shift = float(np.clip(0.5 * (left - right) / bend, -1.0, 1.0)) if bend > 0.0 else 0.0
        step = self.frequencies[place + 1] - self.frequencies[place]
        depth = max(middle - 0.25 * (left - right) * shift, 0.0)
        return float(self.frequencies[place] + shift * step), float(np.sqrt(depth))


class Hands:
    """An analyzer and a tuner in the hands of somebody who knows the ports.

    Parameters
    ----------
    ports
        To tune.
    if_bandwidth
        Of all sweeps, Hz.
    """

    def __init__(
        self,
        analyzer: NetworkAnalyzer,
        tuner: Tuner,
        ports: Sequence[BenchPort],
        if_bandwidth: float = 1e3,
    ) -> None:
        self.ports: Final = tuple(ports)
        self._analyzer = analyzer
        self._tuner = tuner
        self._bandwidth = if_bandwidth
        self._axes = tuner.axes
        self.positions: Final = tuner.positions()
        self._plan: SweepPlan | None = None

    def sweep(self, ports: Sequence[BenchPort], span: float, points: int) -> dict[int, Trace]:
        """Sweep ports over ``span`` (half width over centre) around each frequency that they have."""
        centres = sorted({port.frequency for port in ports})
        plan = SweepPlan(
            tuple(Segment(f * (1.0 - span), f * (1.0 + span), points | 1) for f in centres), self._bandwidth
        )
        if plan != self._plan:
            self._analyzer.configure(plan)
            self._plan = plan
        network = self._take([port.port for port in ports])
        frequencies = np.asarray(network.f, dtype=np.float64)
        traces: dict[int, Trace] = {}
        for place, port in enumerate(ports):
            own = np.abs(frequencies / port.frequency - 1.0) <= span * (1.0 + 1e-6)
            traces[port.port] = Trace(frequencies[own], np.asarray(network.s[own, place, place]))
        return traces

    def turn(self, wanted: Mapping[str, float]) -> None:
        """Turn axes to positions, held by the travel; those that go down pass below their target."""
        targets: dict[str, int] = {}
        for name, position in wanted.items():
            axis = self._axes[name]
            targets[name] = round(float(np.clip(position, axis.minimum + RUN_UP, axis.maximum)))
        targets = {name: target for name, target in targets.items() if target != self.positions[name]}
        below = {name: target - RUN_UP for name, target in targets.items() if target < self.positions[name]}
        for move in (below, targets):
            if move:
                self.positions.update(self._tuner.move(move))

    def settle(self) -> None:
        """Approach every axis from below where it is: afterwards the play is known."""
        names = [name for port in self.ports for name in (port.tune, port.match)]
        here = {name: max(self.positions[name], self._axes[name].minimum + RUN_UP) for name in names}
        self.positions.update(self._tuner.move({name: target - RUN_UP for name, target in here.items()}))
        self.positions.update(self._tuner.move(here))

    def judge(self, limit_db: float) -> Finished:
        """Sweep the whole array and say whether all ports are below a limit."""
        traces = self.sweep(self.ports, 0.02, 21)
        levels = {
            port.port: float(20.0 * np.log10(max(abs(traces[port.port].at(port.frequency)), 1e-9)))
            for port in self.ports
        }
        return Finished(max(levels.values()) < limit_db, levels)

    def _take(self, ports: Sequence[int]) -> object:
        for attempt in range(_REPEATS):
            try:
                return self._analyzer.sweep(ports)
            except (InstrumentFault, ReplyTimeout):
                if attempt == _REPEATS - 1:
                    raise
        raise AssertionError("unreachable")
