"""Broyden's method on the reflections of all ports at once, without a model of the circuit.

1. All dips are tracked to their frequencies by secants, all channels in parallel.
2. Four moves, one for each kind of trimmer on all channels, measure each channel's 4 x 4 Jacobian of its two
   complex reflections.
3. Gauss-Newton steps of all channels at once, each within its own trust radius; each sweep corrects every
   channel's Jacobian by Broyden's rank-one update (Broyden, Math Comp 19:577 (1965)), steps measured by what
   they do. A channel that got worse goes back and trusts less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from hands import BenchPort, Finished, Hands, Trace
    from numpy.typing import NDArray

#: Wide and narrow sweeps: half width over centre, points.
_WIDE: Final = (0.22, 301)
_NARROW: Final = (0.02, 41)

#: Relative distance of dip and frequency at which tracking ends, a third of a bandwidth; most sweeps of it.
_NEAR: Final = 2e-3
_TRACKING: Final = 14

#: Relative shift of a dip per step of its tune trimmer before it has been measured.
_FIRST_SLOPE: Final = -5e-5

#: Steps by which the Jacobian is measured: tune, match.
_PROBE: Final = (12.0, 100.0)

#: Trust radius at first, at most and at the end: change of a channel's reflections that a step may promise.
_RADIUS: Final = (0.4, 1.0, 0.004)

#: Most sweeps of Gauss-Newton steps before the Jacobian is measured again, and most measurements of it.
_STEPS: Final = 20
_JACOBIANS: Final = 3


@dataclass(slots=True)
class _Channel:
    """What is known of one channel; 2 ports, 4 axes (two tune, two match).

    Parameters
    ----------
    ports
        Their places in the sweep.
    axes
        Names, in the order of the Jacobian's columns.
    positions, error
        Where the best reflections were seen, shape (4,), and these as real and imaginary parts, shape (4,).
    jacobian
        d error / d steps, shape (4, 4).
    radius
        Most change that the next step may promise.
    """

    ports: list[int]
    axes: list[str]
    positions: NDArray[np.float64]
    error: NDArray[np.float64]
    jacobian: NDArray[np.float64]
    radius: float

    @property
    def worst(self) -> float:
        """The larger of the two reflections."""
        return float(np.max(np.hypot(self.error[:2], self.error[2:])))


def broyden(hands: Hands, limit_db: float = -20.0, aim_db: float = -23.0) -> Finished:
    """Tune and match all ports together."""
    hands.settle()
    _track_all(hands)
    aim = 10.0 ** (aim_db / 20.0)
    channels = _channels(hands)
    for _ in range(_JACOBIANS):
        _see(hands, channels)
        if all(channel.worst < aim for channel in channels):
            break
        _measure_jacobians(hands, channels)
        _descend(hands, channels, aim)
    return hands.judge(limit_db)


def _track_all(hands: Hands) -> None:
    """Bring all dips near their frequencies by secants."""
    slopes = {port.port: _FIRST_SLOPE for port in hands.ports}
    before: dict[int, tuple[int, float]] = {}
    for _ in range(_TRACKING):
        traces = hands.sweep(hands.ports, *_WIDE)
        away = {port.port: _distance(port, traces[port.port]) for port in hands.ports}
        if all(abs(distance) < _NEAR for distance in away.values()):
            return
        wanted: dict[str, float] = {}
        for port in hands.ports:
            position, distance = hands.positions[port.tune], away[port.port]
            last = before.get(port.port)
            if last is not None and position != last[0]:
                secant = (distance - last[1]) / (position - last[0])
                # a dip that jumped to a neighbour's gives a slope that no trimmer has
                if 4.0 * _FIRST_SLOPE < secant < 0.2 * _FIRST_SLOPE:
                    slopes[port.port] = secant
            before[port.port] = position, distance
            if abs(distance) >= _NEAR:
                wanted[port.tune] = position + float(np.clip(-distance / slopes[port.port], -800.0, 800.0))
        hands.turn(wanted)


def _distance(port: BenchPort, trace: Trace) -> float:
    return trace.dip()[0] / port.frequency - 1.0


def _channels(hands: Hands) -> list[_Channel]:
    places: dict[str, list[int]] = {}
    for place, port in enumerate(hands.ports):
        places.setdefault(port.tune.partition(".")[0], []).append(place)
    nothing = np.zeros(4)
    return [
        _Channel(
            own,
            [hands.ports[p].tune for p in own] + [hands.ports[p].match for p in own],
            nothing,
            nothing,
            np.zeros((4, 4)),
            _RADIUS[0],
        )
        for own in places.values()
    ]


def _errors(hands: Hands, channels: list[_Channel]) -> list[NDArray[np.float64]]:
    """Sweep and return each channel's reflections as real and imaginary parts."""
    traces = hands.sweep(hands.ports, *_NARROW)
    own = np.array([traces[port.port].at(port.frequency) for port in hands.ports])
    return [np.concatenate((own[one.ports].real, own[one.ports].imag)) for one in channels]


def _places(hands: Hands, channel: _Channel) -> NDArray[np.float64]:
    return np.array([hands.positions[name] for name in channel.axes], dtype=np.float64)


def _see(hands: Hands, channels: list[_Channel]) -> None:
    """Take the present point as each channel's best."""
    for channel, error in zip(channels, _errors(hands, channels), strict=True):
        channel.positions, channel.error = _places(hands, channel), error


def _measure_jacobians(hands: Hands, channels: list[_Channel]) -> None:
    """Move one kind of trimmer of all channels at a time.

    What the neighbours' trimmers did at the same time is taken for the channel's own.
    """
    for column in range(4):
        wanted: dict[str, float] = {}
        for channel in channels:
            position = channel.positions[column]
            # towards the middle of the travel, where there is room
            wanted[channel.axes[column]] = position + (1 if position < 2000 else -1) * _PROBE[column // 2]
        hands.turn(wanted)
        for channel, error in zip(channels, _errors(hands, channels), strict=True):
            there = _places(hands, channel)
            steps = there[column] - channel.positions[column]
            if steps:
                channel.jacobian[:, column] = (error - channel.error) / steps
            channel.positions, channel.error = there, error
    for channel in channels:
        channel.radius = _RADIUS[0]


def _descend(hands: Hands, channels: list[_Channel], aim: float) -> None:
    """Take Gauss-Newton steps with Broyden updates; the trimmers end where each channel was best."""
    for _ in range(_STEPS):
        if all(one.worst < aim for one in channels):
            break
        moving = [one for one in channels if one.worst >= 0.7 * aim and one.radius > _RADIUS[2]]
        if not moving:
            break
        wanted: dict[str, float] = {}
        for channel in moving:
            target = channel.positions + _newton_step(channel)
            wanted |= dict(zip(channel.axes, target.tolist(), strict=True))
        hands.turn(wanted)
        back: dict[str, float] = {}
        for channel, error in zip(channels, _errors(hands, channels), strict=True):
            _learn(hands, channel, error)
            back |= dict(zip(channel.axes, channel.positions.tolist(), strict=True))
        hands.turn(back)


def _learn(hands: Hands, channel: _Channel, error: NDArray[np.float64]) -> None:
    """Update the Jacobian; keep the point when it is better, else trust less."""
    there = _places(hands, channel)
    made = there - channel.positions
    if not np.any(made):
        # only the neighbours have moved
        channel.error = error
        return
    promised = channel.jacobian @ made
    wrong = error - channel.error - promised
    weight = made * np.sum(channel.jacobian**2, axis=0)
    channel.jacobian = channel.jacobian + np.outer(wrong, weight) / float(weight @ made)
    if np.sum(error**2) < np.sum(channel.error**2):
        if np.linalg.norm(wrong) < 0.3 * np.linalg.norm(promised):
            channel.radius = min(_RADIUS[1], 2.0 * channel.radius)
        channel.positions, channel.error = there, error
    else:
        channel.radius *= 0.4


def _newton_step(channel: _Channel) -> NDArray[np.float64]:
    """Return the damped step in steps that promises at most the radius of change.

    Columns are scaled: a step of a match trimmer does a tenth of what one of a tune trimmer does.
    """
    scale = np.maximum(np.linalg.norm(channel.jacobian, axis=0), 1e-9)
    scaled = channel.jacobian / scale
    left, values, right = np.linalg.svd(scaled)
    along = left.T @ -channel.error
    step = np.zeros(4)
    damping = 1e-3
    for _ in range(40):
        step = right.T @ (values * along / (values**2 + damping**2))
        if float(np.linalg.norm(scaled @ step)) <= channel.radius:
            break
        damping *= 1.5
    return np.asarray(step / scale)
