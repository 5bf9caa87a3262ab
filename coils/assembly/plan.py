"""Which ports to connect in which order, so that every pair is measured once and few cables move.

Two cables: the n(n-1)/2 pairs in an order in which each step moves one cable. More cables: coverings from
`coils.assembly.covering`, with the smallest number that is possible (Schönheim's bound) beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from coils.assembly.covering import cover_pairs, schoenheim_bound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Connection:
    """One way to connect the analyzer.

    Parameters
    ----------
    ports
        Device ports in the order of the analyzer's cables 1, 2, ...
    moved
        Cables, counted from 1, that differ from the connection before.
    """

    ports: tuple[int, ...]
    moved: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ConnectionPlan:
    """All connections, in order.

    Parameters
    ----------
    connections
        Every pair of ports occurs in at least one.
    lower_bound
        No plan with fewer connections exists below this number.
    """

    connections: tuple[Connection, ...]
    lower_bound: int

    @property
    def cable_moves(self) -> int:
        """How often a cable is screwed on, the first connection included."""
        return sum(len(connection.moved) for connection in self.connections)


def plan_connections(
    ports: Sequence[int], cables: int = 2, *, both_directions: bool = False
) -> ConnectionPlan:
    """Plan the sweeps that measure every pair of ``ports``.

    Parameters
    ----------
    ports
        Device ports to measure, any order.
    cables
        Test ports of the analyzer.
    both_directions
        For analyzers with one source (NanoVNA): every pair is connected both ways round. Two cables only.

    Returns
    -------
    For two cables the smallest plan, one cable moved in each step. For more the best covering found.

    Raises
    ------
    ValueError
        Fewer than two cables or ports, a port named twice, or ``both_directions`` with more than two cables.
    """
    chosen = tuple(ports)
    if len(set(chosen)) != len(chosen) or len(chosen) < 2 or cables < 2:
        raise ValueError(f"a plan needs two or more cables and different ports; got {cables} and {chosen}")
    if both_directions:
        if cables != 2:
            raise ValueError(f"both directions are planned for two cables; got {cables}")
        order = list(_both_ways(chosen))
        return ConnectionPlan(_with_moves(order), len(order))
    if len(chosen) <= cables:
        return ConnectionPlan(_with_moves([chosen]), 1)
    if cables == 2:
        order = list(_one_cable_at_a_time(chosen))
        return ConnectionPlan(_with_moves(order), len(order))
    blocks = [tuple(chosen[place] for place in block) for block in cover_pairs(len(chosen), cables)]
    return ConnectionPlan(_with_moves(list(_few_moves(blocks))), schoenheim_bound(len(chosen), cables))


def _one_cable_at_a_time(ports: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield every pair once; consecutive pairs differ on one cable.

    One cable stays on a port while the other visits all later ones, up and down in turns; then the cable that
    stayed moves on, or the one that arrived next to it stays and the other moves.
    """
    last = len(ports) - 1
    on_first = True  # whether the staying cable is cable 1
    rising = True
    for stays in range(last):
        visits = range(stays + 1, last + 1) if rising else range(last, stays, -1)
        for visit in visits:
            pair = (ports[stays], ports[visit])
            yield pair if on_first else pair[::-1]
        # after falling, the moving cable stands on the next port that stays
        on_first = on_first if rising else not on_first
        rising = not rising


def _both_ways(ports: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield every ordered pair once, one cable moved in each step."""
    here = ports[1]
    for source in ports:
        others = [port for port in ports if port != source]
        others.remove(here)
        following = ports[(ports.index(source) + 1) % len(ports)]
        if len(others) > 1 and others[-1] == following:  # cable 2 must not end where cable 1 goes next
            others = [others[-1], *others[:-1]]
        tour = [here, *others]
        for receiver in tour:
            yield source, receiver
        here = tour[-1]
        if here == following:
            here = source


def _few_moves(blocks: list[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Yield the blocks, next the one that shares most ports with the last; shared ports keep their cable."""
    left = list(blocks)
    current = left.pop(0)
    yield current
    while left:
        following = max(left, key=lambda block: len(set(block) & set(current)))
        left.remove(following)
        current = _keep_cables(current, following)
        yield current


def _keep_cables(current: tuple[int, ...], following: tuple[int, ...]) -> tuple[int, ...]:
    new = iter(port for port in following if port not in current)
    kept: list[int] = []
    for port in current:
        if port in following:
            kept.append(port)
        else:
            arrival = next(new, None)
            if arrival is not None:
                kept.append(arrival)
    return (*kept, *new)


def _with_moves(order: list[tuple[int, ...]]) -> tuple[Connection, ...]:
    connections: list[Connection] = []
    before: tuple[int, ...] = ()
    for ports in order:
        moved = tuple(
            cable for cable, port in enumerate(ports, 1) if cable > len(before) or before[cable - 1] != port
        )
        connections.append(Connection(ports, moved))
        before = ports
    return tuple(connections)


def orders(ports: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield every other order of the ports of a connection."""
    return (order for order in permutations(ports) if order != ports)
