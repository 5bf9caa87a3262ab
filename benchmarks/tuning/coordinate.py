"""Coordinate search: one resonance after the other, as a technician with an analyzer does it.

The dip is tracked to its frequency with steps of the tune trimmer that are halved when it has passed; then
the match trimmer climbs to the deepest dip; both again until the port is below its aim. When all ports have
had their turn, neighbours have moved them: another round, for those that are above the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hands import BenchPort, Finished, Hands, Trace

#: First steps of the tune and the match trimmer, and the last below which a search ends.
_TUNE_STEP: Final = 256.0
_MATCH_STEP: Final = 256.0
_LAST_STEP: Final = 4.0

#: Wide and narrow sweeps: half width over centre, points. A narrow one sees two per cent around.
_WIDE: Final = (0.22, 301)
_NARROW: Final = (0.03, 101)

#: Relative distance of dip and frequency that is left alone: a fiftieth of a bandwidth.
_CENTRED: Final = 1e-4

#: Rounds over all ports, and turns of tune and match at one port.
_ROUNDS: Final = 6
_TURNS: Final = 4


def coordinate_search(hands: Hands, limit_db: float = -20.0, aim_db: float = -25.0) -> Finished:
    """Tune and match every port, one after the other."""
    hands.settle()
    aim = 10.0 ** (aim_db / 20.0)
    waiting = list(hands.ports)
    finished = hands.judge(limit_db)
    for _ in range(_ROUNDS):
        for port in waiting:
            _serve(hands, port, aim)
        finished = hands.judge(limit_db)
        # with a margin: the neighbours' turns will move this port as well
        waiting = [port for port in hands.ports if finished.levels_db[port.port] >= limit_db - 1.0]
        if finished.reached:
            break
    return finished


def _serve(hands: Hands, port: BenchPort, aim: float) -> None:
    """Tune and match one port until it is below its aim."""
    for turn in range(_TURNS):
        trace = _track(hands, port, _TUNE_STEP if turn == 0 else _TUNE_STEP / 8.0)
        if abs(trace.at(port.frequency)) < aim:
            return
        _climb(hands, port, _MATCH_STEP if turn == 0 else _MATCH_STEP / 4.0, aim)


def _look(hands: Hands, port: BenchPort) -> Trace:
    """Sweep the port narrowly; widely when its dip is not inside."""
    trace = hands.sweep((port,), *_NARROW)[port.port]
    dip, depth = trace.dip()
    if depth > 0.93 or abs(dip / port.frequency - 1.0) > 0.9 * _NARROW[0]:
        trace = hands.sweep((port,), *_WIDE)[port.port]
    return trace


def _track(hands: Hands, port: BenchPort, step: float) -> Trace:
    """Bring the dip to the port's frequency: more capacitance lowers it."""
    trace = _look(hands, port)
    side = 0.0
    while step >= _LAST_STEP:
        away = trace.dip()[0] / port.frequency - 1.0
        if abs(away) < _CENTRED:
            break
        now = 1.0 if away > 0.0 else -1.0
        if side not in (now, 0.0):
            step *= 0.5
        side = now
        before = hands.positions[port.tune]
        hands.turn({port.tune: before + now * step})
        if hands.positions[port.tune] == before:
            break
        trace = _look(hands, port)
    return trace


def _climb(hands: Hands, port: BenchPort, step: float, aim: float) -> None:
    """Turn the match trimmer to the deepest dip."""
    best = _look(hands, port).dip()[1]
    direction = 1.0
    tried_both = False
    while step >= 2.0 * _LAST_STEP and best > 0.5 * aim:
        before = hands.positions[port.match]
        hands.turn({port.match: before + direction * step})
        depth = _look(hands, port).dip()[1]
        if depth < best and hands.positions[port.match] != before:
            best, tried_both = depth, False
            continue
        hands.turn({port.match: before})
        direction = -direction
        if tried_both:
            step *= 0.5
        tried_both = not tried_both
