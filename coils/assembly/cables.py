"""Notice a cable on the wrong port: a port's reflection is measured many times and must always be the same.

The measured reflections are compared in waves that vanish in the loads (`coils.assembly.waves`), where they
do not depend on which other port was connected. A connection that disagrees with the others is
tried with its cables exchanged and with each other port in place of one of its own; it is explained when
one of these agrees. Two ports with the same reflection cannot be told apart in this way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import gammainccinv

from coils.assembly.partial import PartialSweep, require_one_axis
from coils.assembly.plan import orders
from coils.assembly.waves import to_terminated_waves

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

#: Mean square deviation over its expectation that is suspicious: 3 standard deviations at every frequency, as
#: errors of cables and connectors are alike at neighbouring frequencies.
_SUSPICIOUS: Final = 9.0
#: Chance of a false alarm of one trace at few frequencies with independent noise.
_FALSE_ALARM: Final = 1e-7
#: The median of many values has this variance relative to their mean's (Gaussian noise: pi/2).
_MEDIAN_VARIANCE: Final = 1.5707963267948966
#: A wrong sweep among this few moves their median.
_FEW: Final = 4


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A connection that disagrees with the others.

    Parameters
    ----------
    index
        Place in the list of partial sweeps, from 0.
    ports
        Ports it should have been connected to, in the order of the cables.
    explanations
        Ports that would agree with all other connections, in the order of the cables; best first; empty when
        nothing explains it.
    deviation
        Root mean square deviation of its worst reflection, in units of its expected noise.
    """

    index: int
    ports: tuple[int, ...]
    explanations: tuple[tuple[int, ...], ...]
    deviation: float

    @property
    def actual(self) -> tuple[int, ...] | None:
        """The only explanation; None when there is none or more than one."""
        return self.explanations[0] if len(self.explanations) == 1 else None

    def __str__(self) -> str:
        """Name the connection and what is probably wrong with it."""
        text = f"connection {self.index + 1} (ports {_listed(self.ports)})"
        if not self.explanations:
            return (
                f"{text} disagrees with the others by {self.deviation:.0f} times the noise; no exchange of "
                "cables explains it. Measure it again"
            )
        return f"{text}: {' or '.join(_explained(self.ports, actual) for actual in self.explanations[:3])}"


def _listed(ports: tuple[int, ...]) -> str:
    return ", ".join(str(port) for port in ports)


def _explained(ports: tuple[int, ...], actual: tuple[int, ...]) -> str:
    if set(ports) == set(actual):
        return f"cables exchanged, really on ports {_listed(actual)}"
    wrong = [
        f"cable {cable} was on port {there} instead of {planned}"
        for cable, (planned, there) in enumerate(zip(ports, actual, strict=True), 1)
        if planned != there
    ]
    return ", ".join(wrong)


def relabelled(part: PartialSweep, suspicion: Suspicion) -> PartialSweep:
    """Return the sweep under the ports it was really made at.

    Raises
    ------
    ValueError
        The suspicion has no single explanation, or belongs to another sweep.
    """
    if suspicion.actual is None or suspicion.ports != part.ports:
        raise ValueError(f"cannot relabel {part.name}: {suspicion}")
    return replace(part, ports=suspicion.actual)


def suspect_connections(
    parts: Sequence[PartialSweep], loads: NDArray[np.complex128], noise: float
) -> tuple[Suspicion, ...]:
    """Return the connections that disagree with the others, with what explains each.

    Parameters
    ----------
    parts
        All sweeps; a port seen by fewer than two of them cannot be checked.
    loads
        Reflection of each port's load when not connected, shape (frequency, port) or (port,).
    noise
        Standard deviation of a complex S-parameter between two connections, cables and connectors included.

    Raises
    ------
    ValueError
        The noise is not positive, or the sweeps do not fit each other.
    """
    if not noise > 0.0:
        raise ValueError(f"the repeatability of a connection must be positive; got {noise}")
    session = _Session(tuple(parts), loads, noise)
    found: dict[int, Suspicion] = {}
    while (worst := session.most_improved(exclude=found.keys())) is not None:
        found[worst.index] = worst
        session.exclude_or_relabel(worst)
    # what nothing explained may be plain once the others are right
    again = {index: session.reconsider(suspicion) for index, suspicion in found.items()}
    return tuple(suspicion for index in sorted(again) if (suspicion := again[index]) is not None)


class _Session:
    """The present belief of which ports each sweep was made at, and what follows from it."""

    def __init__(self, parts: tuple[PartialSweep, ...], loads: NDArray[np.complex128], noise: float) -> None:
        points = require_one_axis(parts).size
        self.parts = parts
        self.loads = np.broadcast_to(loads, (points, loads.shape[-1]))
        self.variance = noise * noise
        # upper quantile of χ² with two degrees of freedom for each frequency, over its mean
        self.threshold = max(_SUSPICIOUS, float(gammainccinv(points, _FALSE_ALARM)) / points)
        self._known: dict[tuple[int, int | None], tuple[NDArray[np.complex128], int]] = {}
        self.labels: list[tuple[int, ...] | None] = [part.ports for part in parts]
        self.reflections = [self.reflections_at(index, part.ports) for index, part in enumerate(parts)]

    def reflections_at(self, index: int, ports: tuple[int, ...]) -> NDArray[np.complex128]:
        """Return the load-referred reflections of a sweep if it was made at ``ports``, shape (cable, f)."""
        load = self.loads[:, [port - 1 for port in ports]]
        waves = to_terminated_waves(self.parts[index].s, load)
        return np.ascontiguousarray(np.diagonal(waves, axis1=-2, axis2=-1).T)

    def deviations(self, index: int, ports: tuple[int, ...]) -> list[float]:
        """Return, by cable, the mean square deviation from the other sweeps, over its expectation."""
        own = self.reflections[index] if ports == self.labels[index] else self.reflections_at(index, ports)
        return [
            self._deviation(trace, *self._consensus(port, index))
            for trace, port in zip(own, ports, strict=True)
        ]

    def _deviation(self, trace: NDArray[np.complex128], centre: NDArray[np.complex128], count: int) -> float:
        if count == 0:
            return 0.0
        spread = 1.0 + (_MEDIAN_VARIANCE if count > 2 else 1.0) / count
        return float(np.mean(np.abs(trace - centre) ** 2)) / (self.variance * spread)

    def _consensus(self, port: int, without: int | None = None) -> tuple[NDArray[np.complex128], int]:
        """Return the median of a port's reflection over the sweeps, and how many there are."""
        if (port, without) not in self._known:
            stack = np.array([trace for index, trace in self._traces(port) if index != without])
            count = len(stack)
            centre = np.median(stack.real, axis=0) + 1j * np.median(stack.imag, axis=0) if count else stack
            self._known[port, without] = (centre, count)
        return self._known[port, without]

    def _traces(self, port: int) -> list[tuple[int, NDArray[np.complex128]]]:
        return [
            (index, self.reflections[index][labels.index(port)])
            for index, labels in enumerate(self.labels)
            if labels is not None and port in labels
        ]

    def _candidates(self) -> set[int]:
        """Return the sweeps worth a closer look: away from the median, or of ports seen rarely."""
        found: set[int] = set()
        for port in range(1, self.loads.shape[1] + 1):
            traces = self._traces(port)
            centre, count = self._consensus(port)
            found |= {
                index
                for index, trace in traces
                if count <= _FEW or self._deviation(trace, centre, count) > 0.5 * self.threshold
            }
        return found

    def most_improved(self, exclude: Collection[int]) -> Suspicion | None:
        """Return the suspect whose best explanation helps most; None when nothing is suspicious."""
        best: tuple[float, Suspicion] | None = None
        for index in sorted(self._candidates().difference(exclude)):
            labels = self.labels[index]
            if labels is None:
                continue
            now = self.deviations(index, labels)
            if max(now) <= self.threshold:
                continue
            suspicion, gain = self._explain(index, labels, now)
            if best is None or gain > best[0]:
                best = (gain, suspicion)
        return None if best is None else best[1]

    def reconsider(self, suspicion: Suspicion) -> Suspicion | None:
        """Return an unexplained suspicion as it looks now; None when it agrees with the others after all."""
        if suspicion.explanations:
            return suspicion
        ports = self.parts[suspicion.index].ports
        now = self.deviations(suspicion.index, ports)
        if max(now) <= self.threshold:
            return None
        return self._explain(suspicion.index, ports, now)[0]

    def _explain(self, index: int, labels: tuple[int, ...], now: list[float]) -> tuple[Suspicion, float]:
        tried = [(self.deviations(index, ports), ports) for ports in self._hypotheses(labels)]
        good = sorted(((max(values), ports) for values, ports in tried if max(values) <= self.threshold))
        suspicion = Suspicion(
            index=index,
            ports=self.parts[index].ports,
            explanations=tuple(ports for _, ports in good),
            deviation=float(np.sqrt(max(now))),
        )
        # a sweep that something explains goes before one that nothing does, whatever its size
        gain = sum(now) * (1e12 if good else 1.0)
        return suspicion, gain

    def _hypotheses(self, labels: tuple[int, ...]) -> list[tuple[int, ...]]:
        exchanged = list(orders(labels))
        absent = [port for port in range(1, self.loads.shape[1] + 1) if port not in labels]
        replaced = [
            (*labels[:cable], port, *labels[cable + 1 :]) for cable in range(len(labels)) for port in absent
        ]
        return exchanged + replaced

    def exclude_or_relabel(self, suspicion: Suspicion) -> None:
        """Believe an only explanation; otherwise leave the sweep out of all further comparisons."""
        self._known.clear()
        self.labels[suspicion.index] = suspicion.actual
        if suspicion.actual is not None:
            self.reflections[suspicion.index] = self.reflections_at(suspicion.index, suspicion.actual)
