"""Any analyzer and tuner, with what they are asked for counted and the time they take kept apart."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from coilbench.base.errors import LimitExceeded
from drivers.protocols import never
from hil_fixtures.in_memory import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import skrf

    from drivers.protocols import Abort, Axis, NetworkAnalyzer, SweepPlan, Tuner


class Meter:
    """What one tuning costs.

    True here: ``inside`` is CPU time of this thread spent in the instruments, the simulated world's own
    solving included; a tuner's own time is what is left of its thread's.
    """

    def __init__(self) -> None:
        self.ledger: Final = Ledger()
        self.inside = 0.0

    @contextmanager
    def instrument(self) -> Iterator[None]:
        """Count the time inside, and requests beyond limits."""
        start = time.thread_time()
        try:
            yield
        except LimitExceeded:
            self.ledger.refused += 1
            raise
        finally:
            self.inside += time.thread_time() - start


class MeteredAnalyzer:
    """A ``NetworkAnalyzer`` that passes everything on to another."""

    def __init__(self, analyzer: NetworkAnalyzer, meter: Meter) -> None:
        self._analyzer = analyzer
        self._meter = meter

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the driver has
        return getattr(self._analyzer, name)

    def configure(self, plan: SweepPlan, /) -> SweepPlan:
        """Pass on."""
        with self._meter.instrument():
            return self._analyzer.configure(plan)

    def sweep(self, ports: Sequence[int] | None = None, /, *, abort: Abort = never) -> skrf.Network:
        """Pass on and count the ports; a failure is counted by itself."""
        with self._meter.instrument():
            try:
                network = self._analyzer.sweep(ports, abort=abort)
            except Exception:
                self._meter.ledger.failed += 1
                raise
        self._meter.ledger.note_sweep(network.nports)
        return network


class MeteredTuner:
    """A ``Tuner`` that passes everything on to another."""

    def __init__(self, tuner: Tuner, meter: Meter) -> None:
        self._tuner = tuner
        self._meter = meter
        self._positions = tuner.positions()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the driver has
        return getattr(self._tuner, name)

    @property
    def axes(self) -> Mapping[str, Axis]:
        """All axes by name."""
        return self._tuner.axes

    def positions(self) -> dict[str, int]:
        """Pass on."""
        with self._meter.instrument():
            return self._tuner.positions()

    def move(self, targets: Mapping[str, int], /, *, abort: Abort = never) -> dict[str, int]:
        """Pass on and count the axes that really go somewhere."""
        with self._meter.instrument():
            reached = self._tuner.move(targets, abort=abort)
        self._meter.ledger.note_moves({name for name, at in reached.items() if at != self._positions[name]})
        self._positions.update(reached)
        return reached
